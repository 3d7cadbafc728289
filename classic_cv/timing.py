"""Clock, thread limits, warm-up, percentiles, peak memory."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

Item = TypeVar("Item")

PERCENTILES = (50, 90, 95, 99)


@contextlib.contextmanager
def thread_limit(threads: int) -> Iterator[None]:
    """Limit OpenCV's and BLAS's threads inside the block; OpenCV's limit is restored after it."""
    from threadpoolctl import threadpool_limits

    before = cv2.getNumThreads()
    cv2.setNumThreads(threads)
    try:
        with threadpool_limits(limits=threads):
            yield
    finally:
        cv2.setNumThreads(before)


def latencies_ms(function: Callable[[Item], object], items: Sequence[Item], warm_up: int = 5) -> list[float]:
    """Milliseconds of ``function(item)`` for each item, after ``warm_up`` calls that are not counted."""
    for index in range(warm_up):
        function(items[index % len(items)])
    times = []
    for item in items:
        start = time.perf_counter()
        function(item)
        times.append((time.perf_counter() - start) * 1e3)
    return times


def one_by_one(function: Callable[[Item], object], items: Sequence[Item]) -> dict[str, float]:
    """Percentiles in ms of ``function(item)`` on one thread."""
    with thread_limit(1):
        return percentiles(latencies_ms(function, items))


def percentiles(times: Sequence[float]) -> dict[str, float]:
    """``{"p50": …, "p90": …, "p95": …, "p99": …}`` of ``times``, in their unit."""
    values = np.percentile(times, PERCENTILES)
    return {f"p{q}": float(value) for q, value in zip(PERCENTILES, values, strict=True)}


def peak_rss_mb() -> float:
    """Peak resident memory of this process so far, in MB (10^6 bytes)."""
    # Where the system tells: ru_maxrss begins with what the parent held when it started this process.
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def cpu_name() -> str:
    """The CPU's model name, or the machine's architecture where the system does not tell."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
