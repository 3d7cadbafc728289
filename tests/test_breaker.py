"""The circuit breaker: when it opens, how it tries again, and that no thread can make it count wrongly."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from classic_cv.breaker import Breaker, Permit
from classic_cv.errors import ParameterError


class Clock:
    """A clock that stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def permit_of(breaker: Breaker) -> Permit:
    permit = breaker.acquire()
    assert permit is not None
    return permit


def state_of(breaker: Breaker) -> str:
    return breaker.state


def fail(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        permit_of(breaker).failed()


def succeed(breaker: Breaker, times: int = 1, seconds: float = 0.01) -> None:
    for _ in range(times):
        permit_of(breaker).succeeded(seconds)


def opened(clock: Clock, **more: Any) -> Breaker:
    """One that a single failure has opened."""
    breaker = Breaker(window=1, minimum=1, clock=clock, **more)
    fail(breaker)
    assert state_of(breaker) == "open"
    return breaker


def half_open(clock: Clock, **more: Any) -> Breaker:
    breaker = opened(clock, **more)
    clock.now += 1.0
    assert state_of(breaker) == "half-open"
    return breaker


def test_nothing_is_judged_before_the_minimum_of_calls() -> None:
    breaker = Breaker(window=20, minimum=5)
    fail(breaker, 4)
    assert state_of(breaker) == "closed"
    fail(breaker)
    assert state_of(breaker) == "open"
    assert breaker.acquire() is None


def test_it_opens_when_the_share_of_errors_reaches_its_rate() -> None:
    breaker = Breaker(window=20, minimum=5, error_rate=0.5)
    succeed(breaker, 10)
    fail(breaker, 9)
    assert state_of(breaker) == "closed"
    fail(breaker)
    assert state_of(breaker) == "open"


def test_calls_before_the_window_are_forgotten() -> None:
    breaker = Breaker(window=4, minimum=4, error_rate=0.75)
    fail(breaker, 2)
    succeed(breaker, 4)
    fail(breaker, 2)
    assert state_of(breaker) == "closed"
    fail(breaker)
    assert state_of(breaker) == "open"


def test_slow_calls_open_it_by_their_own_rate() -> None:
    breaker = Breaker(window=10, minimum=4, slow_rate=0.5, slow_seconds=0.2)
    succeed(breaker, 2)
    # Exactly as long as allowed is not slow.
    succeed(breaker, 2, seconds=0.2)
    succeed(breaker, 3, seconds=0.3)
    assert state_of(breaker) == "closed"
    succeed(breaker, 1, seconds=0.3)
    assert state_of(breaker) == "open"


def test_without_a_limit_no_call_is_slow() -> None:
    breaker = Breaker(window=4, minimum=1)
    succeed(breaker, 4, seconds=1e6)
    assert state_of(breaker) == "closed"


def test_errors_and_slow_calls_are_not_added_up() -> None:
    breaker = Breaker(window=10, minimum=10, error_rate=0.6, slow_rate=0.6, slow_seconds=0.1)
    fail(breaker, 5)
    succeed(breaker, 5, seconds=1.0)
    assert state_of(breaker) == "closed"


def test_it_is_open_for_its_time_then_half_open(clock: Clock) -> None:
    breaker = opened(clock, cool_down=2.0)
    clock.now += 1.99
    assert state_of(breaker) == "open"
    assert breaker.acquire() is None
    clock.now += 0.02
    assert state_of(breaker) == "half-open"
    assert breaker.acquire() is not None


def test_so_many_trials_at_a_time_and_a_cancelled_one_makes_room(clock: Clock) -> None:
    breaker = half_open(clock, trials=2)
    first = permit_of(breaker)
    permit_of(breaker)
    assert breaker.acquire() is None
    first.cancelled()
    assert state_of(breaker) == "half-open"
    assert breaker.acquire() is not None
    assert breaker.acquire() is None


def test_good_trials_close_it_with_an_empty_window(clock: Clock) -> None:
    breaker = Breaker(window=5, minimum=5, clock=clock, trials=2)
    fail(breaker, 5)
    clock.now += 1.0
    succeed(breaker)
    assert state_of(breaker) == "half-open"
    succeed(breaker)
    assert state_of(breaker) == "closed"
    # Together with the earlier failures these would be too many.
    fail(breaker, 4)
    assert state_of(breaker) == "closed"


@pytest.mark.parametrize("bad", [Permit.failed, lambda permit: permit.succeeded(1.0)])
def test_one_bad_trial_opens_it_for_the_whole_time_again(clock: Clock, bad: Callable[[Permit], None]) -> None:
    breaker = half_open(clock, trials=3, slow_seconds=0.5)
    succeed(breaker, 2)
    bad(permit_of(breaker))
    assert state_of(breaker) == "open"
    clock.now += 0.99
    assert state_of(breaker) == "open"
    clock.now += 0.02
    assert state_of(breaker) == "half-open"
    # The good ones before it no longer count.
    succeed(breaker, 2)
    assert state_of(breaker) == "half-open"


def test_a_permit_of_an_earlier_period_changes_nothing(clock: Clock) -> None:
    breaker = Breaker(window=2, minimum=2, clock=clock, trials=1)
    early = [permit_of(breaker) for _ in range(3)]
    fail(breaker, 2)
    early[0].failed()
    clock.now += 1.0
    trial = permit_of(breaker)
    early[1].failed()
    assert state_of(breaker) == "half-open"
    early[2].succeeded(0.01)
    assert state_of(breaker) == "half-open"
    assert breaker.acquire() is None
    trial.succeeded(0.01)
    assert state_of(breaker) == "closed"


def test_a_late_trial_of_the_last_round_does_not_count_in_this_one(clock: Clock) -> None:
    breaker = half_open(clock, trials=2)
    late = permit_of(breaker)
    fail(breaker)
    clock.now += 1.0
    current = permit_of(breaker)
    late.succeeded(0.01)
    current.succeeded(0.01)
    assert state_of(breaker) == "half-open"
    late.failed()
    assert state_of(breaker) == "half-open"


def test_only_the_first_word_on_a_call_counts() -> None:
    breaker = Breaker(window=4, minimum=2)
    permit = permit_of(breaker)
    permit.succeeded(0.01)
    permit.failed()
    permit.failed()
    permit.cancelled()
    assert state_of(breaker) == "closed"
    # One good and one failed call are in the window, not one failed of three.
    fail(breaker)
    assert state_of(breaker) == "open"


def test_as_a_context_manager_it_is_cancelled_unless_it_was_settled(clock: Clock) -> None:
    breaker = half_open(clock, trials=1)

    def broken() -> None:
        with permit_of(breaker):
            assert breaker.acquire() is None
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken()
    assert state_of(breaker) == "half-open"
    with permit_of(breaker) as permit:
        permit.succeeded(0.01)
    assert state_of(breaker) == "closed"


def test_changes_are_told_in_order_and_outside_the_lock(clock: Clock) -> None:
    breaker = Breaker(window=1, minimum=1, trials=1, clock=clock)
    told: list[tuple[str, str]] = []

    def on_change(state: str) -> None:
        # Would not return if a lock were held.
        told.append((state, breaker.state))

    breaker.on_change = on_change
    fail(breaker)
    clock.now += 1.0
    succeed(breaker)
    assert told == [("open", "open"), ("half-open", "half-open"), ("closed", "closed")]


def test_a_change_made_while_one_is_told_is_told_after_it(clock: Clock) -> None:
    breaker = Breaker(window=1, minimum=1, trials=1, clock=clock)
    told: list[str] = []

    def on_change(state: str) -> None:
        if state == "open":
            clock.now += 1.0
            assert state_of(breaker) == "half-open"
        told.append(state)

    breaker.on_change = on_change
    fail(breaker)
    assert told == ["open", "half-open"]


def test_an_error_of_the_listener_is_logged_and_not_the_calls(caplog: pytest.LogCaptureFixture) -> None:
    breaker = Breaker(window=1, minimum=1)

    def on_change(state: str) -> None:
        raise RuntimeError("no disk")

    breaker.on_change = on_change
    fail(breaker)
    assert state_of(breaker) == "open"
    assert "no disk" in caplog.text


def test_threads_get_no_more_trials_than_there_are(clock: Clock) -> None:
    breaker = half_open(clock, trials=3)
    start = threading.Barrier(8)
    got: list[Permit] = []

    def try_often() -> None:
        start.wait()
        for _ in range(200):
            permit = breaker.acquire()
            if permit is not None:
                got.append(permit)

    threads = [threading.Thread(target=try_often) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 3
    for permit in got:
        permit.succeeded(0.01)
    assert state_of(breaker) == "closed"


def test_threads_that_fail_together_open_it_once() -> None:
    breaker = Breaker(window=8, minimum=8, cool_down=1000)
    told: list[str] = []
    breaker.on_change = told.append
    permits = [permit_of(breaker) for _ in range(64)]
    start = threading.Barrier(8)

    def fail_all(mine: list[Permit]) -> None:
        start.wait()
        for permit in mine:
            permit.failed()

    threads = [threading.Thread(target=fail_all, args=(permits[k::8],)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == ["open"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"window": 0}, "window=0: allowed are 1 to any number"),
        ({"minimum": 21}, "minimum=21: allowed are 1 to 20"),
        ({"error_rate": 0.0}, "error_rate=0.0: allowed are numbers above 0 and at most 1"),
        ({"slow_rate": 1.1}, "slow_rate=1.1"),
        ({"slow_seconds": -1.0}, "slow_seconds=-1.0"),
        ({"cool_down": float("nan")}, "cool_down=nan"),
        ({"cool_down": float("inf")}, "cool_down=inf"),
        ({"trials": 0}, "trials=0"),
    ],
)
def test_values_that_are_not_allowed(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError) as raised:
        Breaker(**values)
    assert message in str(raised.value)
