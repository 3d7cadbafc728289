"""CPU seconds and memory of a process and all that it started, read while they live.

``getrusage`` counts a child only once it has ended and was waited for: the workers of joblib and the loaders of a deep
network do not end before the fit does, and would be free.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import signal
import sys
import time
from dataclasses import dataclass, field

import psutil

SET_PARENT_DEATH_SIGNAL, SET_CHILD_SUBREAPER = 1, 36
"""Of Linux's prctl(2)."""


def stay_in_tree() -> None:
    """End with the parent, and adopt processes whose own parent ended, so that they stay in the tree. Linux only."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            prctl = ctypes.CDLL(None, use_errno=True).prctl
            prctl(SET_PARENT_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0)
            prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@dataclass
class TreeUse:
    """What a tree of processes uses at a moment.

    Attributes:
        cpu_seconds: user and system time of all of them so far, those that ended included.
        rss_bytes: resident memory of those that live.
        processes: how many live.
    """

    cpu_seconds: float
    rss_bytes: int
    processes: int


@dataclass
class TreeMeter:
    """Reads the CPU seconds of a process and its descendants; what it has counted never falls.

    Args:
        pid: of the root.
    """

    pid: int
    _seen: dict[tuple[int, float], float] = field(default_factory=dict)
    _alive: set[int] = field(default_factory=set)
    _most: float = 0.0

    def read(self) -> TreeUse:
        """The tree now; where the root has ended, what was seen last."""
        rss, count, waited_for = 0, 0, 0.0
        for process in self._living():
            with contextlib.suppress(psutil.Error), process.oneshot():
                times = process.cpu_times()
                self._seen[process.pid, process.create_time()] = times.user + times.system
                # Those that ended and were waited for by it; Linux adds their own children's time to theirs.
                waited_for += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
                rss += process.memory_info().rss
                count += 1
        own = self._own_of_living()
        # One that ended is either counted by the parent that waited for it, or as it was seen last.
        self._most = max(self._most, own + waited_for, sum(self._seen.values()))
        return TreeUse(self._most, rss, count)

    def descendants(self) -> list[psutil.Process]:
        """The processes that the root has started, and theirs."""
        return self._living()[1:]

    def _living(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self.pid)
            found = [root, *root.children(recursive=True)]
        except psutil.Error:
            found = []
        self._alive = {process.pid for process in found}
        return found

    def _own_of_living(self) -> float:
        return sum(seconds for (pid, _), seconds in self._seen.items() if pid in self._alive)


class CpuBudget:
    """The CPU seconds of a fit, counted from when this is made, of this process and all that it started.

    Args:
        total: seconds that there are; infinity for no limit.
    """

    EVERY = 0.2
    """Seconds of CPU time between two looks at other processes, which cost milliseconds."""

    AT_LEAST_EVERY = 0.5
    """Seconds of any time: who waits for other processes uses none, and they do."""

    def __init__(self, total: float) -> None:
        self.total = total
        self._meter = TreeMeter(psutil.Process().pid)
        self._others = 0.0
        self._looked = self._looked_at = -math.inf
        self._start = self._now()

    def _now(self) -> float:
        own, now = time.process_time(), time.monotonic()
        if own - self._looked >= self.EVERY or now - self._looked_at >= self.AT_LEAST_EVERY:
            self._others = max(self._others, self._meter.read().cpu_seconds - own)
            self._looked, self._looked_at = own, now
        return own + max(self._others, 0.0)

    def used(self) -> float:
        """Seconds that are spent."""
        return self._now() - self._start

    @property
    def left(self) -> float:
        """Seconds that are left; negative once they are overspent."""
        return self.total - self.used()
