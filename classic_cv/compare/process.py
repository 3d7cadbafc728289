"""A contestant's process as the harness sees it: started under limits, asked, watched, ended."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil

from classic_cv._latency import import_path
from classic_cv.compare.cpu import TreeMeter
from classic_cv.compare.limits import cores_of, environment, pinned

Outcome = Literal[
    "ok",
    "over budget",
    "undertrained",
    "crashed",
    "hung",
    "out of memory",
    "disqualified",
    "failed",
]

OVER = 1.05
"""More than so many times its CPU seconds, and a contestant is over budget."""

KILLED = 1.5
"""At so many times its CPU seconds, and ``GRACE`` seconds more, a fit is ended without a model."""

GRACE = 10.0

POLL = 0.05
"""Seconds between two looks at a process."""

WALL_FACTOR, WALL_LEAST = 3.0, 120.0
"""A fit whose wall time is so many times its CPU seconds, and at least so many seconds, hangs."""

SILENT = 180.0
"""Seconds within which a process that answers has to."""


class Ended(Exception):
    """A contestant's process came to an end that is an outcome.

    Attributes:
        outcome: which.
        cpu_seconds: that its fit had used by then; None outside of a fit.
    """

    def __init__(self, outcome: Outcome, message: str, cpu_seconds: float | None = None) -> None:
        super().__init__(message)
        self.outcome, self.cpu_seconds = outcome, cpu_seconds


class _TimeIsUp(Exception):
    """The budget ended while a better model than the one that is kept was being made."""


@dataclass(frozen=True)
class Rules:
    """What holds for every contestant of a comparison.

    Attributes:
        cores: that processes are pinned to while they fit and answer on all threads.
        memory_limit: bytes of resident memory of a process and all that it started; None for none.
        silent, wall_factor, wall_least, grace: when a process hangs or is ended, see the constants of this module.
    """

    cores: tuple[int, ...]
    memory_limit: int | None = None
    silent: float = SILENT
    wall_factor: float = WALL_FACTOR
    wall_least: float = WALL_LEAST
    grace: float = GRACE


@dataclass
class Fit:
    """A fit that came to its end: what the contestant tells, and what was measured of it."""

    told: dict[str, Any]
    cpu_seconds: float
    seconds: float
    peak_rss_mb: float


@dataclass
class Contestant:
    """A process of one contestant, on some of the cores.

    Args:
        rules: of the comparison.
        cores: that it may use.
        log: a file that receives what it prints.
    """

    rules: Rules
    cores: Sequence[int]
    log: Path
    started: float = field(init=False)
    kept: dict[str, Any] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.started = time.perf_counter()
        with self.log.open("ab") as log, pinned(self.cores):
            self.process = subprocess.Popen(
                # -P: no module from the working directory; the path is handed over.
                [sys.executable, "-P", "-m", "classic_cv.compare.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment(len(self.cores), import_path()),
                # Ctrl-C is the harness's to handle, and everything that it starts ends with it.
                start_new_session=True,
            )
        self.meter = TreeMeter(self.process.pid)
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def __enter__(self) -> Contestant:
        return self

    def __exit__(self, *exception: object) -> None:
        self.end()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            try:
                self._answers.put(json.loads(line))
            except ValueError:
                break
        self._answers.put(None)

    def ask(self, do: str, seconds: float | None = None, **arguments: Any) -> dict[str, Any]:
        """Send a message and wait for its answer.

        Raises:
            Ended: there is none, or it says that something failed.
        """
        self._send(do, arguments)
        patience = self.rules.silent if seconds is None else seconds
        deadline = time.perf_counter() + patience

        def watch() -> None:
            if time.perf_counter() > deadline:
                raise Ended("hung", f"gave no answer to {do!r} within {patience:g} s")
            self._check_memory(self.meter.read().rss_bytes, None)

        return self._wait(watch, 1.0)

    def fit(self, budget: float, on_use: Callable[[float, list[Any] | None], None], **arguments: Any) -> Fit:
        """Let it fit, and watch what it uses.

        Args:
            budget: CPU seconds.
            on_use: called now and then with the CPU seconds used and the contestant's own progress.
            arguments: of the message.

        Raises:
            Ended: it did not come to its end.
        """
        before, started = self.meter.read().cpu_seconds, time.perf_counter()
        self._send("fit", {"budget": budget, **arguments})
        most_wall = max(self.rules.wall_least, self.rules.wall_factor * budget)
        state = {"used": 0.0, "peak": 0.0}

        def watch() -> None:
            use = self.meter.read()
            used = use.cpu_seconds - before
            state["used"], state["peak"] = used, max(state["peak"], use.rss_bytes)
            self._check_memory(use.rss_bytes, used)
            self._check_cores(used)
            if self.kept is not None and used > budget:
                raise _TimeIsUp
            if used > KILLED * budget + self.rules.grace:
                raise Ended(
                    "over budget", f"ended after {used:.0f} CPU seconds of {budget:g}, without a model", used
                )
            if time.perf_counter() - started > most_wall:
                raise Ended("hung", f"no model after {most_wall:.0f} s; it used {used:.0f} CPU seconds", used)

        try:
            told = self._wait(watch, POLL, lambda progress: on_use(state["used"], progress))
        except _TimeIsUp:
            assert self.kept is not None
            told = self.kept
        used = self.meter.read().cpu_seconds - before
        if told.get("opened"):
            raise Ended("disqualified", _opened(told["opened"]), used)
        return Fit(told, used, time.perf_counter() - started, state["peak"] / 1e6)

    def _send(self, do: str, arguments: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        # A process that is gone is noticed by its missing answer.
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write((json.dumps({"do": do, **arguments}) + "\n").encode())
            self.process.stdin.flush()

    def _wait(
        self,
        watch: Callable[[], None],
        every: float,
        on_progress: Callable[[list[Any] | None], None] | None = None,
    ) -> dict[str, Any]:
        """The next answer; looks at the process meanwhile."""
        while True:
            try:
                answer = self._answers.get(timeout=every)
            except queue.Empty:
                watch()
                if on_progress:
                    on_progress(None)
                continue
            if answer is None:
                raise Ended("crashed", self._last_words())
            if "kept" in answer:
                self.kept = answer["kept"]
                continue
            if "progress" in answer:
                if on_progress:
                    on_progress(answer["progress"])
                continue
            if "failed" in answer:
                if answer.get("opened"):
                    raise Ended("disqualified", _opened(answer["opened"]))
                outcome: Outcome = "out of memory" if "MemoryError" in answer["failed"] else "failed"
                raise Ended(outcome, str(answer["failed"]))
            return answer

    def _last_words(self) -> str:
        """How the process ended, with the last line that it printed."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        code = self.process.poll()
        how = (
            f"was ended by {signal.Signals(-code).name}" if code and code < 0 else f"ended with status {code}"
        )
        with contextlib.suppress(OSError):
            lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            if lines:
                how += f"; last line: {lines[-1][:300]}"
        return f"its process {how}"

    def _check_memory(self, rss: int, used: float | None) -> None:
        limit = self.rules.memory_limit
        if limit is not None and rss > limit:
            raise Ended("out of memory", f"used {rss / 1e6:,.0f} MB, allowed are {limit / 1e6:,.0f}", used)

    def _check_cores(self, used: float) -> None:
        more = cores_of(self.process.pid) - set(self.cores)
        if more:
            raise Ended(
                "disqualified",
                f"let itself run on cores {sorted(more)}, allowed are {sorted(self.cores)}: more threads at a time "
                "than the others have",
                used,
            )

    def end(self) -> None:
        """End the process and all that it started, those that left its session too."""
        for child in self.meter.descendants():
            with contextlib.suppress(psutil.Error):
                child.kill()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for stream in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                if stream:
                    stream.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)


def _opened(paths: Sequence[str]) -> str:
    shown = ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
    return f"tried to open what belongs to the test part: {shown}"
