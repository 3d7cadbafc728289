"""``classic-cv serve`` as a process: started, looked at, stopped; and the load on it, from another process."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec
import psutil

from benchmarks._load import Job, Reply

READY_WITHIN = 60.0
"""Seconds; a process that is not ready by then is ended."""
MB = 1e6


class Memory(NamedTuple):
    """Bytes of a process: resident, and with shared pages divided among those who share them."""

    rss: int
    pss: int


class Service(NamedTuple):
    """A service that is ready."""

    process: subprocess.Popen[str]
    url: str
    seconds: float
    """From the start of the process to the line that says that it is ready."""

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 0

    @property
    def alive(self) -> bool:
        return self.process.poll() is None


@contextlib.contextmanager
def service(model: Path, *options: str) -> Iterator[Service]:
    """``classic-cv serve MODEL`` on a free port of the loopback, until the end of the block.

    Raises:
        RuntimeError: it did not start; the message has its log.
    """
    command = [sys.executable, "-m", "classic_cv", "serve", str(model), "--port", "0", "--quiet", *options]
    with tempfile.TemporaryFile("w+") as log:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            line = first_line(process)
            seconds = time.perf_counter() - start
            found = re.search(r"http://\S+", line)
            if found is None:
                log.seek(0)
                raise RuntimeError(f"no service: {line!r}, exit status {process.poll()}\n{log.read()}")
            yield Service(process, found[0], seconds)
        finally:
            stop(process)


def first_line(process: subprocess.Popen[str]) -> str:
    """The first line of its output; empty when it ends, or takes too long, before."""
    timer = threading.Timer(READY_WITHIN, process.kill)
    timer.start()
    try:
        return process.stdout.readline() if process.stdout else ""
    finally:
        timer.cancel()


def stop(process: subprocess.Popen[str], seconds: float = 15.0) -> None:
    """SIGTERM, and what is left of it and its children after ``seconds`` is killed."""
    with contextlib.suppress(psutil.NoSuchProcess):
        family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
        process.send_signal(signal.SIGTERM)
        for left in psutil.wait_procs(family, timeout=seconds)[1]:
            left.kill()
    process.wait()
    if process.stdout:
        process.stdout.close()


def workers(found: Service) -> set[int]:
    """Process ids of the workers of a service that has several."""
    ids = set()
    for child in psutil.Process(found.process.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            words = " ".join(child.cmdline())
            if child.status() != psutil.STATUS_ZOMBIE and "resource_tracker" not in words:
                ids.add(child.pid)
    return ids


def memory(pid: int) -> Memory:
    """Of a process, now."""
    info = psutil.Process(pid).memory_full_info()
    return Memory(info.rss, getattr(info, "pss", info.rss))


class Running(NamedTuple):
    """Load under way in a process of its own."""

    process: subprocess.Popen[bytes]
    start: float
    """When the first request is due, on the monotonic clock."""

    def wait(self, seconds: float) -> None:
        """Until ``seconds`` after the start."""
        time.sleep(max(0.0, self.start + seconds - time.monotonic()))

    def replies(self) -> list[Reply]:
        """All of them, at the end.

        Raises:
            RuntimeError: the client ended without them.
        """
        output, _ = self.process.communicate()
        if self.process.returncode:
            raise RuntimeError(f"the load client ended with exit status {self.process.returncode}")
        return msgspec.json.decode(output, type=list[Reply])


@contextlib.contextmanager
def load(
    on: Service, requests: list[bytes], phases: list[tuple[float, float]], **options: Any
) -> Iterator[Running]:
    """Requests to a service by the options of `Job`; ended with the block.

    Raises:
        RuntimeError: the client did not start.
    """
    job = Job(on.host, on.port, requests, phases, **options)
    command = [sys.executable, str(Path(__file__).with_name("_load.py"))]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ)
    try:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("no pipes to the load client")
        process.stdin.write(msgspec.json.encode(job))
        process.stdin.close()
        process.stdin = None
        start = process.stdout.readline()
        if not start:
            raise RuntimeError("the load client did not start")
        yield Running(process, float(start))
    finally:
        process.kill()
        process.wait()


def loaded(
    on: Service, requests: list[bytes], phases: list[tuple[float, float]], **options: Any
) -> list[Reply]:
    """The replies to such load."""
    with load(on, requests, phases, **options) as running:
        return running.replies()
