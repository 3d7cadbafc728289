"""A circuit breaker: calls that fail, or take long, too often are not made for a while.

Closed, open and half-open after Nygard, "Release It!" (2007); over a sliding window of calls, with a rate of errors and
one of slow calls, as in resilience4j.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Literal, Self

from classic_cv.errors import ParameterError

State = Literal["closed", "open", "half-open"]

Outcome = Literal["good", "slow", "failed", "cancelled"]

_log = logging.getLogger(__name__)


class Breaker:
    """Whether to call something that may be in trouble. Safe to use from several threads.

    Closed: every call is made. When, over the last ``window`` calls and at least ``minimum``, the share of failed or of
    slow ones reaches its rate, it opens: no call is made for ``cool_down`` seconds. Then it is half-open: up to
    ``trials`` calls at a time are made. When ``trials`` of them went well it closes, with an empty window; when one
    fails or is slow it opens again.

    Args:
        window: calls that are judged.
        minimum: calls without which nothing is judged, at most ``window``.
        error_rate, slow_rate: above 0, at most 1.
        slow_seconds: a call that took longer is slow; None for none, which a ``Fallback`` replaces by its deadline.
        cool_down: seconds.
        trials: at a time, and in a row to close.
        clock: seconds that only grow.

    Attributes:
        on_change: called with the new state, in the order of the changes and outside any lock; what it raises is
            logged. It may be called by any thread that uses the breaker.

    Raises:
        ParameterError: a value that is not allowed.
    """

    def __init__(
        self,
        window: int = 20,
        minimum: int = 5,
        error_rate: float = 0.5,
        slow_rate: float = 0.5,
        slow_seconds: float | None = None,
        cool_down: float = 1.0,
        trials: int = 3,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        _check_count("window", window)
        _check_count("minimum", minimum, most=window)
        _check_count("trials", trials)
        _check_positive("error_rate", error_rate, most=1)
        _check_positive("slow_rate", slow_rate, most=1)
        _check_positive("cool_down", cool_down)
        if slow_seconds is not None:
            _check_positive("slow_seconds", slow_seconds)
        self.slow_seconds = slow_seconds
        self.on_change: Callable[[str], None] | None = None
        self._minimum, self._trials, self._cool_down = minimum, trials, cool_down
        self._rates: dict[Outcome, float] = {"failed": error_rate, "slow": slow_rate}
        self._clock = clock
        self._lock = threading.Lock()
        self._state: State = "closed"
        self._period = 0
        self._window: deque[Outcome] = deque(maxlen=window)
        self._opened = 0.0
        self._trying = self._tried = 0
        self._news: deque[State] = deque()
        self._telling = threading.Lock()

    @property
    def state(self) -> State:
        """What the next call would meet: half-open as soon as the time of being open has passed."""
        with self._lock:
            self._cool()
            state = self._state
        self._tell()
        return state

    def acquire(self) -> Permit | None:
        """Leave to make one call; None where it must not be made."""
        with self._lock:
            self._cool()
            permit = self._permit()
        self._tell()
        return permit

    def settle(self, permit: Permit, outcome: Outcome) -> None:
        """Count how a permitted call went; nothing where the permit is settled or of an earlier period."""
        with self._lock:
            if not permit.settled:
                permit.settled = True
                if permit.period == self._period:
                    self._count(outcome)
        self._tell()

    def _permit(self) -> Permit | None:
        if self._state == "open" or (self._state == "half-open" and self._trying >= self._trials):
            return None
        if self._state == "half-open":
            self._trying += 1
        return Permit(self, self._period)

    def _count(self, outcome: Outcome) -> None:
        if self._state == "half-open":
            self._trying -= 1
        if outcome == "cancelled":
            return
        if self._state == "half-open":
            self._count_trial(outcome)
            return
        self._window.append(outcome)
        n = len(self._window)
        if n >= self._minimum and any(
            self._window.count(kind) / n >= rate for kind, rate in self._rates.items()
        ):
            self._change("open")

    def _count_trial(self, outcome: Outcome) -> None:
        if outcome != "good":
            self._change("open")
            return
        self._tried += 1
        if self._tried >= self._trials:
            self._change("closed")

    def _cool(self) -> None:
        if self._state == "open" and self._clock() - self._opened >= self._cool_down:
            self._change("half-open")

    def _change(self, state: State) -> None:
        self._state = state
        self._period += 1
        self._window.clear()
        self._trying = self._tried = 0
        if state == "open":
            self._opened = self._clock()
        self._news.append(state)

    def _tell(self) -> None:
        """Tell of changes in their order. Whoever comes while another thread tells, or from within, leaves it to that.

        The news are looked at again after each turn: one that came between the last look and the release is not lost.
        """
        while self._news and self._telling.acquire(blocking=False):
            try:
                while self._news:
                    self._tell_one(self._news.popleft())
            finally:
                self._telling.release()

    def _tell_one(self, state: State) -> None:
        if self.on_change is None:
            return
        try:
            self.on_change(state)
        except Exception:
            # The change has happened, and the call that brought it about is not to blame.
            _log.exception("on_change(%r) failed", state)


class Permit:
    """Leave to make one call: exactly one of its methods says how it went; any later ones change nothing.

    A permit of an earlier period, before the last change of the breaker's state, is ignored. As a context manager it is
    cancelled at the end, whatever is raised, unless it was settled.
    """

    __slots__ = ("_breaker", "period", "settled")

    def __init__(self, breaker: Breaker, period: int) -> None:
        self._breaker = breaker
        self.period = period
        self.settled = False

    def succeeded(self, seconds: float) -> None:
        """It went well and took so long."""
        slowest = self._breaker.slow_seconds
        self._breaker.settle(self, "slow" if slowest is not None and seconds > slowest else "good")

    def failed(self) -> None:
        """It went wrong."""
        self._breaker.settle(self, "failed")

    def cancelled(self) -> None:
        """It says nothing of what was called."""
        self._breaker.settle(self, "cancelled")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.cancelled()


def _check_count(name: str, value: int, most: int | None = None) -> None:
    if value < 1 or (most is not None and value > most):
        raise ParameterError(f"{name}={value!r}: allowed are 1 to {most or 'any number'}")


def _check_positive(name: str, value: float, most: float = math.inf) -> None:
    if not (0 < value <= most and math.isfinite(value)):
        limit = "" if math.isinf(most) else f" and at most {most}"
        raise ParameterError(f"{name}={value!r}: allowed are numbers above 0{limit}")
