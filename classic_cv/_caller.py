"""Calls on daemon threads of their own: a caller waits as long as it wants, and a call that hangs holds up nobody."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Generic, NamedTuple, TypeVar

T = TypeVar("T")

PATIENCE = 2.0
"""Seconds after which a call that was given up takes no place any more: one that hangs for good should not keep
away, once all is well again, those that would be answered."""

MOST_HUNG = 64
"""Calls without a place that are borne with; each holds a thread and an image."""

LAST_WAIT = 2.0
"""Seconds that the end of the interpreter waits for calls: one inside OpenCV or ONNX Runtime would abort it."""


class Outcome(NamedTuple, Generic[T]):
    """How a call went: its value or its error, and the seconds from its start."""

    value: T | None
    error: BaseException | None
    seconds: float


class Call(Generic[T]):
    """One call that is under way or has ended."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._started = time.perf_counter()
        self._ended = threading.Event()
        self._outcome: Outcome[T] | None = None
        self._given_up: float | None = None

    def outcome(self, timeout: float) -> Outcome[T] | None:
        """How it went; None where that is not known within ``timeout`` seconds."""
        self._ended.wait(max(timeout, 0.0))
        return self._outcome

    def give_up(self) -> None:
        """Nobody waits any more; a call that has ended is not changed by it."""
        self._given_up = time.perf_counter()

    @property
    def age(self) -> float:
        """Seconds from its start."""
        return time.perf_counter() - self._started

    @property
    def takes_place(self) -> bool:
        """Whether it counts among the calls at a time."""
        return self._given_up is None or time.perf_counter() - self._given_up < PATIENCE

    def run(self) -> Outcome[T]:
        """Make the call, in the thread that this is called in."""
        value: T | None = None
        error: BaseException | None = None
        try:
            value = self._work()
        except BaseException as raised:
            # Without the traceback, whose frames hold the image, and this call in a cycle.
            error = raised.with_traceback(None)
        return Outcome(value, error, self.age)

    def end(self, outcome: Outcome[T]) -> None:
        """Tell whoever waits."""
        self._outcome = outcome
        self._ended.set()


class Caller:
    """Makes up to ``most`` calls at a time; none waits for its turn.

    Calls that hang, ``PATIENCE`` seconds after they were given up, are no longer counted, up to ``MOST_HUNG`` of them.

    Args:
        most: calls at a time.
        name: of the threads.

    Attributes:
        closed: whether no more calls are made.
    """

    def __init__(self, most: int, name: str) -> None:
        self.closed = False
        self._most = most
        self._name = name
        self._finally: Callable[[], None] | None = None
        self.begin()
        _callers.add(self)

    def begin(self) -> None:
        """Begin without threads and calls; also in a process that was just forked, where none of them is."""
        # Reentrant: the garbage collector, which runs anywhere, may close what owns this.
        self._lock = threading.RLock()
        self._running: set[Call[Any]] = set()
        self._idle: list[SimpleQueue[Call[Any] | None]] = []

    def start(self, work: Callable[[], T]) -> Call[T] | None:
        """Begin a call; None where all places are taken, it is closed, or the system gives no thread."""
        call = Call(work)
        with self._lock:
            if self.closed or not self._has_place():
                return None
            self._running.add(call)
            inbox = self._idle.pop() if self._idle else None
        if inbox is None:
            inbox = self._thread()
        if inbox is None:
            self._leave(call)
            self._finish()
            return None
        inbox.put(call)
        return call

    def close(self, finally_: Callable[[], None] | None = None) -> None:
        """Make no more calls; those under way end as they would, then ``finally_`` is called, once."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
            self._finally = finally_
            idle, self._idle = self._idle, []
        for inbox in idle:
            inbox.put(None)
        self._finish()

    @property
    def busy(self) -> bool:
        """Whether any call is under way, waited for or not."""
        with self._lock:
            return bool(self._running)

    def is_brisk(self, seconds: float) -> bool:
        """Whether all the calls that take the places began less than ``seconds`` ago."""
        with self._lock:
            calls = [call for call in self._running if call.takes_place]
            if len(calls) < self._most:
                # Those that hang are too many to bear.
                calls = list(self._running)
        return bool(calls) and max(call.age for call in calls) < seconds

    def _has_place(self) -> bool:
        running = len(self._running)
        if running < self._most:
            return True
        # Counted only where it matters: calls are few, but there are many starts.
        counted = sum(call.takes_place for call in self._running)
        return counted < self._most and running < self._most + MOST_HUNG

    def _thread(self) -> SimpleQueue[Call[Any] | None] | None:
        inbox: SimpleQueue[Call[Any] | None] = SimpleQueue()
        try:
            threading.Thread(target=self._serve, args=(inbox,), name=self._name, daemon=True).start()
        except RuntimeError:
            return None
        return inbox

    def _serve(self, inbox: SimpleQueue[Call[Any] | None]) -> None:
        """What a thread does: one call after another."""
        while (call := inbox.get()) is not None:
            outcome = call.run()
            # The place is free before the caller knows, who may start another call at once.
            stays = self._leave(call, inbox)
            call.end(outcome)
            del call, outcome
            self._finish()
            if not stays:
                return

    def _leave(self, call: Call[Any], inbox: SimpleQueue[Call[Any] | None] | None = None) -> bool:
        """Free the place of a call; whether its thread is to wait for another."""
        with self._lock:
            self._running.discard(call)
            stays = inbox is not None and not self.closed
            if inbox is not None and stays:
                self._idle.append(inbox)
        return stays

    def _finish(self) -> None:
        """After the last call of a closed one, what was to be done then."""
        with self._lock:
            if not self.closed or self._running:
                return
            last, self._finally = self._finally, None
        if last is not None:
            last()


_callers: weakref.WeakSet[Caller] = weakref.WeakSet()


def _after_fork() -> None:
    """Only the thread that forked goes on in the new process."""
    for caller in list(_callers):
        caller.begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@atexit.register
def _end_calls() -> None:
    """Let calls that end soon do so: Python ends daemon threads in a way that aborts C++ code."""
    callers = list(_callers)
    for caller in callers:
        caller.close()
    until = time.monotonic() + LAST_WAIT
    while any(caller.busy for caller in callers) and time.monotonic() < until:
        time.sleep(0.005)
