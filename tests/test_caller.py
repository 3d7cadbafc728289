"""Calls on threads of their own: places, hanging calls, and closing while calls are under way."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from classic_cv import _caller
from classic_cv._caller import Call, Caller

SOON = 20.0
"""Seconds within which things happen that take microseconds on an idle machine."""


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What hanging calls wait for; open at the end of each test."""
    gate = threading.Event()
    yield gate
    gate.set()


def started(caller: Caller, work: Callable[[], Any]) -> Call[Any]:
    call = caller.start(work)
    assert call is not None
    return call


def value_of(call: Call[Any]) -> Any:
    outcome = call.outcome(SOON)
    assert outcome is not None
    return outcome.value


def test_a_value_an_error_and_their_seconds() -> None:
    caller = Caller(1, "test")
    assert value_of(started(caller, lambda: 42)) == 42

    def leave() -> None:
        time.sleep(0.02)
        raise SystemExit("bye")

    outcome = started(caller, leave).outcome(SOON)
    assert outcome is not None
    assert isinstance(outcome.error, SystemExit)
    assert 0.02 <= outcome.seconds < SOON
    # The thread has survived it.
    assert value_of(started(caller, lambda: "next")) == "next"


def test_a_call_is_waited_for_so_long(gate: threading.Event) -> None:
    call = started(Caller(1, "test"), gate.wait)
    start = time.perf_counter()
    assert call.outcome(0.05) is None
    assert 0.05 <= time.perf_counter() - start < SOON
    assert call.outcome(-1.0) is None
    gate.set()
    assert value_of(call) is True


def test_no_more_calls_than_places(gate: threading.Event) -> None:
    caller = Caller(2, "test")
    calls = [started(caller, gate.wait) for _ in range(2)]
    assert caller.start(gate.wait) is None
    gate.set()
    assert [value_of(call) for call in calls] == [True, True]
    assert value_of(started(caller, lambda: 1)) == 1


def test_a_place_is_free_as_soon_as_the_call_is_known_to_have_ended() -> None:
    caller = Caller(1, "test")
    for number in range(500):
        assert value_of(started(caller, partial(int, number))) == number


def test_threads_are_used_again() -> None:
    caller = Caller(4, "test")
    names = {value_of(started(caller, threading.get_ident)) for _ in range(20)}
    assert len(names) == 1


def test_what_hangs_for_long_takes_no_place_any_more(
    gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_caller, "MOST_HUNG", 2)
    caller = Caller(1, "test")
    for _ in range(2):
        monkeypatch.setattr(_caller, "PATIENCE", 0.0)
        started(caller, gate.wait).give_up()
        monkeypatch.setattr(_caller, "PATIENCE", 1e9)
        assert caller.start(gate.wait) is None
    monkeypatch.setattr(_caller, "PATIENCE", 0.0)
    last = started(caller, gate.wait)
    # Waited for, so it takes its place however long it is.
    assert caller.start(gate.wait) is None
    last.give_up()
    # Three hang now: one more would be too many to bear.
    assert caller.start(gate.wait) is None
    gate.set()
    assert value_of(last) is True
    assert value_of(started(caller, lambda: 1)) == 1


def test_what_was_given_up_long_ago_is_still_under_way(
    gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_caller, "PATIENCE", 0.0)
    caller = Caller(1, "test")
    call = started(caller, gate.wait)
    call.give_up()
    assert not call.takes_place
    assert caller.busy
    gate.set()
    assert value_of(call) is True
    assert not caller.busy


def test_whether_the_places_are_taken_by_young_calls(
    gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_caller, "MOST_HUNG", 1)
    caller = Caller(1, "test")
    assert not caller.is_brisk(60.0)
    hung = started(caller, gate.wait)
    assert caller.is_brisk(60.0)
    time.sleep(0.02)
    assert not caller.is_brisk(0.01)
    monkeypatch.setattr(_caller, "PATIENCE", 0.0)
    hung.give_up()
    second = started(caller, gate.wait)
    # The first one has no place any more, so that it does not matter how old it is.
    assert caller.is_brisk(hung.age - 0.01)
    second.give_up()
    assert caller.start(gate.wait) is None
    assert not caller.is_brisk(hung.age - 0.01)


def test_a_system_without_threads_is_a_call_that_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    caller = Caller(1, "test")

    def no_thread(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        assert caller.start(lambda: 1) is None
    assert value_of(started(caller, lambda: 1)) == 1


def test_closing_lets_calls_end_and_then_does_the_last_thing(gate: threading.Event) -> None:
    caller = Caller(2, "test")
    last: list[str] = []
    call = started(caller, gate.wait)
    caller.close(lambda: last.append("first"))
    caller.close(lambda: last.append("second"))
    assert caller.start(lambda: 1) is None
    assert last == []
    gate.set()
    assert value_of(call) is True
    until = time.monotonic() + SOON
    while not last and time.monotonic() < until:
        time.sleep(0.001)
    assert last == ["first"]


def test_closing_an_idle_one_does_the_last_thing_at_once_and_ends_its_threads() -> None:
    caller = Caller(2, "idle-test")
    value_of(started(caller, lambda: 1))
    last: list[str] = []
    caller.close(lambda: last.append("done"))
    assert last == ["done"]
    until = time.monotonic() + SOON
    while time.monotonic() < until and any(t.name == "idle-test" for t in threading.enumerate()):
        time.sleep(0.001)
    assert not [thread for thread in threading.enumerate() if thread.name == "idle-test"]


def close_among_calls() -> tuple[list[int], list[int]]:
    """Close while four threads start calls: how many had ended when the last thing was done, and all that ended."""
    caller = Caller(4, "test")
    ended: list[int] = []
    seen: list[int] = []

    def work() -> None:
        time.sleep(0.0005)
        ended.append(1)

    def many() -> None:
        for _ in range(20):
            caller.start(work)

    threads = [threading.Thread(target=many) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.002)
    caller.close(lambda: seen.append(len(ended)))
    for thread in threads:
        thread.join()
    until = time.monotonic() + SOON
    while not seen and time.monotonic() < until:
        time.sleep(0.001)
    time.sleep(0.002)
    return seen, ended


def test_closing_while_threads_start_calls_does_the_last_thing_once_and_after_all() -> None:
    for _ in range(20):
        seen, ended = close_among_calls()
        assert seen == [len(ended)]


ENDS = """
import threading, time
from classic_cv._caller import Caller
caller = Caller(2, "test")
caller.start(threading.Event().wait)
caller.start(lambda: (time.sleep(0.1), print("ended", flush=True)))
"""


def test_a_hanging_call_does_not_keep_the_interpreter_and_a_short_one_ends() -> None:
    run = subprocess.run([sys.executable, "-c", ENDS], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout, run.stderr) == (0, "ended\n", "")


FORKED = """
import os, threading
from classic_cv._caller import Caller
caller = Caller(2, "test")
gate = threading.Event()
held = caller.start(gate.wait)
caller.start(lambda: 1).outcome(20)
child = os.fork()
if not child:
    outcome = caller.start(lambda: 2).outcome(20)
    os._exit(0 if outcome is not None and outcome.value == 2 and not caller.busy else 1)
print(os.waitpid(child, 0)[1], caller.start(lambda: 3).outcome(20).value, caller.busy)
gate.set()
held.outcome(20)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_has_threads_of_its_own() -> None:
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED], capture_output=True, text=True, timeout=60
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "0 3 True\n", "")
