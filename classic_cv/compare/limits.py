"""What holds for every contestant's process: cores, thread counts, and files that it must not open."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_MAX_THREADS",
    "LOKY_MAX_CPU_COUNT",
)
"""Environment variables that libraries read once, when they are imported."""


def environment(threads: int, path: Iterable[str]) -> dict[str, str]:
    """The environment of a contestant's process: so many threads, and where this process finds modules."""
    found = dict(os.environ) | dict.fromkeys(THREAD_VARIABLES, str(threads))
    # A thread that waits for work must not burn the CPU seconds of its contestant, nor another one's core.
    found |= {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": os.pathsep.join(path), "PYTHONHASHSEED": "0"}
    return found


@contextmanager
def pinned(cores: Iterable[int]) -> Iterator[None]:
    """Processes that are started inside the block run on these cores only; Linux."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(cores))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cores_of(pid: int) -> set[int]:
    """Cores that any thread of a process may run on; empty where that cannot be found out."""
    if not hasattr(os, "sched_getaffinity"):
        return set()
    found: set[int] = set()
    try:
        threads = [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    except OSError:
        threads = [pid]
    for thread in threads:
        try:
            found |= os.sched_getaffinity(thread)
        except OSError:
            continue
    return found


class Guard:
    """Refuses to open what holds test images or their labels, and to connect, inside a contestant's process.

    An audit hook (PEP 578): it cannot be removed, and sees what goes through Python, whatever link or spelling the
    path is given by; what native code opens by itself it does not see.

    Attributes:
        opened: paths that were asked for.
    """

    EVENTS = ("open", "os.listdir", "os.scandir")

    def __init__(self) -> None:
        self.opened: list[str] = []
        self._identities: set[tuple[int, int]] = set()
        self._is_hooked = self._is_alone = False

    def forbid(self, paths: Iterable[str]) -> None:
        """Refuse these files and folders from now on."""
        self._hook()
        for path in paths:
            identity = _identity(path)
            if identity:
                self._identities.add(identity)

    def refuse_connections(self) -> None:
        """Refuse to connect to any host from now on, this one included."""
        self._hook()
        self._is_alone = True

    def _hook(self) -> None:
        if not self._is_hooked:
            sys.addaudithook(self._check)
            self._is_hooked = True

    def _check(self, event: str, arguments: tuple[Any, ...]) -> None:
        # Addresses of hosts are tuples; those within the machine, of pools of processes, are paths.
        if self._is_alone and event == "socket.connect" and isinstance(arguments[1], tuple):
            raise PermissionError(
                f"a connection to {arguments[1][0]}: contestants compute by themselves; only oip:URL may connect"
            )
        if event not in self.EVENTS or not arguments:
            return
        path = arguments[0]
        if isinstance(path, str | bytes | os.PathLike) and _identity(path) in self._identities:
            self.opened.append(os.fsdecode(path))
            raise PermissionError(
                f"{os.fsdecode(path)}: belongs to the test part, which no contestant may open"
            )


def _identity(path: Any) -> tuple[int, int] | None:
    """Device and number of a file, the same for every link to it."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def verified_threads() -> dict[str, int]:
    """Threads that each library loaded in this process computes with, as it says itself, and the cores it may use."""
    import cv2
    from threadpoolctl import threadpool_info

    found = {"opencv": cv2.getNumThreads()}
    if hasattr(os, "sched_getaffinity"):
        found["cores"] = len(os.sched_getaffinity(0))
    for pool in threadpool_info():
        name = str(pool["internal_api"])
        found[name] = max(found.get(name, 0), int(pool["num_threads"]))
    torch = sys.modules.get("torch")
    if torch is not None:
        found["torch"] = int(torch.get_num_threads())
    return found


def set_threads(threads: int) -> None:
    """Limit what no environment variable limits: OpenCV's own pool."""
    import cv2

    cv2.setNumThreads(threads)
