"""Figures of a service that works: time added, steady load, overload, memory, start."""

from __future__ import annotations

import socket
import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks._load import Reply, answer_in
from benchmarks._requests import classify, infer
from benchmarks._service import MB, Service, load, loaded, memory, service
from benchmarks._setting import Row, Setting, behind, in_a_row, p, summary
from classic_cv.timing import thread_limit

BLOCK = 50
"""Requests of one way before the next has its turn."""
STEADY_RATE = 300.0
SOON = 0.05
"""Seconds in which an overloaded service has to answer what it accepts."""
STREAK = 20


def added(setting: Setting) -> list[Row]:
    """Time that HTTP adds to a prediction in this process, in alternating blocks."""
    with service(setting.model_path) as found, Line(found) as line, thread_limit(1):
        raw, oip = classify(setting.jpeg), infer(setting.name, setting.jpeg)
        ways: dict[str, Callable[[], object]] = {
            "in process": lambda: setting.model.predict_proba([setting.jpeg]),
            "POST /classify": lambda: line.ask(raw),
            "OIP infer, binary": lambda: line.ask(oip),
        }
        times = _in_turns(ways, setting.seconds or 20.0)
    own = 1e3 * statistics.median(times.pop("in process"))
    return [_added_row(name, own, 1e3 * statistics.median(calls)) for name, calls in times.items()]


def _in_turns(ways: dict[str, Callable[[], object]], seconds: float) -> dict[str, list[float]]:
    """Seconds of every call, after one block of each that does not count."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        _block(way)
    end = time.monotonic() + seconds
    while True:
        for name, way in ways.items():
            times[name] += _block(way)
        if time.monotonic() >= end:
            return times


def _block(way: Callable[[], object]) -> list[float]:
    return [_seconds(way) for _ in range(BLOCK)]


def _seconds(way: Callable[[], object]) -> float:
    start = time.perf_counter()
    way()
    return time.perf_counter() - start


def _added_row(name: str, own: float, http: float) -> Row:
    measured = f"{http - own:.3f} ms: {http:.3f} against {own:.3f}, {http / own:.2f} times"
    details = {"p50_ms": http, "in_process_p50_ms": own, "added_ms": http - own, "ratio": http / own}
    return Row(f"added by {name}, p50", "< 1 ms", measured, details)


class Line:
    """One kept-alive connection of this thread; it waits for every answer."""

    def __init__(self, found: Service) -> None:
        self.socket = socket.create_connection((found.host, found.port), timeout=10.0)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def ask(self, request: bytes) -> bytes:
        """The body of the answer.

        Raises:
            RuntimeError: the status is not 200, or there is no answer.
        """
        self.socket.sendall(request)
        data = b""
        while (answer := answer_in(data)) is None:
            part = self.socket.recv(65536)
            if not part:
                raise RuntimeError("the service closed the connection")
            data += part
        if answer.status != 200:
            raise RuntimeError(f"status {answer.status}: {answer.body[:300]!r}")
        return answer.body


def steady(setting: Setting) -> list[Row]:
    """300 requests a second for five minutes."""
    seconds = setting.seconds or 300.0
    with service(setting.model_path) as found:
        with load(found, [classify(setting.jpeg)], [(STEADY_RATE, seconds)]) as running:
            running.wait(min(10.0, seconds / 3))
            before = memory(found.process.pid)
            replies = running.replies()
        after = memory(found.process.pid)
    numbers = {**summary(replies), "rss_before": before.rss, "rss_after": after.rss}
    failed = sum(one.status != 200 for one in replies)
    title = f"steady: {STEADY_RATE:g} requests/s for {seconds:g} s"
    latency = f"p99 {numbers['p99_ms']:.2f} ms, p50 {numbers['p50_ms']:.2f} ms{behind(numbers)}"
    growth = f"{(after.rss - before.rss) / MB:+.2f} MB, to {after.rss / MB:.1f} MB"
    return [
        Row(title, "p99 < 10 ms", latency, numbers),
        Row("steady: errors", "0", f"{failed} of {len(replies):,}: {numbers['outcomes']}"),
        Row("steady: memory", "< +5 MB", growth),
    ]


def overload(setting: Setting) -> list[Row]:
    """Twice the requests that it can bear, and then a quarter of them."""
    seconds, request = setting.seconds or 15.0, [classify(setting.jpeg)]
    with service(setting.model_path) as found:
        calm = loaded(found, request, [(1.0, min(5.0, seconds))], in_flight=4)
        capacity = _throughput(calm)
        phases = [(2 * capacity, seconds), (capacity / 4, 5.0)]
        with load(found, request, phases, connections=256) as running:
            replies = running.replies()
    end = running.start + seconds
    during = [one for one in replies if one.due < end - 1e-9]
    back = _recovery(replies[len(during) :], end)
    return _overload_rows(capacity, during, back)


def _throughput(replies: list[Reply]) -> float:
    """Answers per second of a closed loop."""
    good = sorted(one.done for one in replies if one.status == 200)
    if len(good) < 2:
        raise RuntimeError(f"the service bears no load: {summary(replies)['outcomes']}")
    return (len(good) - 1) / (good[-1] - good[0])


def _recovery(replies: list[Reply], end: float) -> float | None:
    """Seconds from ``end`` until the first of so many requests in a row that are all answered soon."""
    first = in_a_row([one.status == 200 and one.seconds < SOON for one in replies], STREAK)
    return None if first is None else replies[first].due - end


def _overload_rows(capacity: float, during: list[Reply], back: float | None) -> list[Row]:
    refused = [one for one in during if one.status == 503]
    other = [one for one in during if one.status not in (200, 503)]
    without = sum(not one.retry_after for one in refused)
    numbers = {**summary(during), "capacity": capacity, "recovery_s": back, "no_retry_after": without}
    numbers["refused_p99_ms"] = 1e3 * p(99, [one.seconds for one in refused])
    refusals = f"{len(refused) / len(during):.1%} of {len(during):,}, {without} without Retry-After"
    rate = f"overload: {2 * capacity:.0f} requests/s of {capacity:.0f}"
    latency = f"{numbers['p99_ms']:.1f} ms, p50 {numbers['p50_ms']:.1f} ms{behind(numbers)}"
    return [
        Row(f"{rate}, refused", "503", f"{refusals}; {len(other)} other failures", numbers),
        Row("overload: p99 of accepted", "< 50 ms", latency),
        Row("overload: recovery", "< 1 s", "not within 5 s" if back is None else f"{back:.2f} s"),
    ]


def used(setting: Setting) -> list[Row]:
    """Memory of one worker after 1,000 requests."""
    with service(setting.model_path) as found, Line(found) as line:
        before = memory(found.process.pid)
        for _ in range(500):
            line.ask(classify(setting.jpeg))
            line.ask(infer(setting.name, setting.jpeg))
        after = memory(found.process.pid)
    measured = f"{after.rss / MB:.1f} MB; PSS {after.pss / MB:.1f} MB; {before.rss / MB:.1f} MB at the start"
    details: dict[str, Any] = {"rss": after.rss, "pss": after.pss, "rss_at_start": before.rss}
    return [Row("memory of a worker after 1,000 requests", "< 120 MB", measured, details)]


def start(setting: Setting) -> list[Row]:
    """From the start of the process to the line that says that it is ready; the median of seven."""
    seconds = []
    for _ in range(8):
        with service(setting.model_path) as found:
            seconds.append(found.seconds)
    times = sorted(seconds[1:])  # the first fills the file cache
    measured = f"{statistics.median(times):.3f} s ({times[0]:.3f} to {times[-1]:.3f})"
    return [Row("start to ready", "< 0.7 s", measured, {"seconds": times})]
