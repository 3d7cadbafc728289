"""How much a worker takes on: bodies that are received, requests in flight, threads that compute."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from classic_cv.serve.metrics import Metrics
from classic_cv.serve.problems import Problem
from classic_cv.serve.reading import check_head, read_body
from classic_cv.serve.record import record_of
from classic_cv.serve.settings import ServeSettings
from classic_cv.timing import available_cores

T = TypeVar("T")

PATIENCE = 0.02
"""Seconds until it is watched whether a client still waits: watching costs more than a quick answer."""

MOST_HELD = 4
"""Bodies of the greatest length that are held in memory at most while they are received; smaller ones are more."""

SMALL = 256 * 1024
"""Bytes of a body that are always taken: a few long uploads must not keep everybody else away."""


class _Outcome(NamedTuple):
    value: Any = None
    error: BaseException | None = None


class Work:
    """A computation whose outcome is waited for, unless the client goes away.

    Attributes:
        outcome: what it returns or raises; ``ClientDisconnect`` where the client went away first.
        is_wanted: ends when nobody waits any more.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.outcome: asyncio.Future[_Outcome] = loop.create_future()
        self.is_wanted = True

    def check(self) -> None:
        """Stop here, on the computing thread, when nobody waits for the outcome.

        Raises:
            ClientDisconnect: nobody does.
        """
        if not self.is_wanted:
            raise ClientDisconnect

    def settle(self, outcome: _Outcome) -> None:
        """End the waiting, unless it has ended; on the thread of the loop."""
        if not self.outcome.done():
            self.outcome.set_result(outcome)


class Admission:
    """Places for requests, all of one event loop. Nothing queues without a place, and there are few of them.

    A request has a reading place while its body is received, and then a place in flight until its computation has
    ended, which is later than its client's going away where that cannot be stopped.
    """

    def __init__(self, settings: ServeSettings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._pool = ThreadPoolExecutor(n_threads(settings), thread_name_prefix="compute")
        self._max_held = MOST_HELD * settings.max_body
        self._held = 0
        self.reading = 0
        self.in_flight = 0

    def close(self) -> None:
        """Take no more computations; what is computed ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def body(self, request: Request) -> bytes:
        """Receive the body of a request, if there is a place for it.

        Raises:
            Problem: there is none, or the body is refused.
            ClientDisconnect: the client went away.
        """
        settings, record = self._settings, record_of(request)
        check_head(record, settings.max_body)
        if self.reading >= settings.max_reading or self.in_flight >= settings.places:
            raise busy()
        self.reading += 1
        start = time.perf_counter()
        try:
            body = await read_body(
                request.receive,
                record,
                settings.max_body,
                settings.body_timeout,
                lambda n_bytes: self._hold(n_bytes, record.received),
            )
        finally:
            self.reading -= 1
            self._held -= record.received
        self._metrics.stage("read", time.perf_counter() - start)
        return body

    async def compute(self, request: Request, function: Callable[[Work], T]) -> T:
        """What ``function`` returns, on a thread.

        Args:
            function: gets the work, whose ``check`` it calls between parts that take long.

        Raises:
            Problem: all places are taken.
            ClientDisconnect: the client went away.
            Exception: whatever ``function`` raises.
        """
        if self.in_flight >= self._settings.places:
            raise busy()
        loop = asyncio.get_running_loop()
        work = Work(loop)
        running = self._pool.submit(self._run, work, function, loop, time.perf_counter())
        self._change(1)
        watching = loop.call_later(PATIENCE, self._watch, request.receive, work, running)
        try:
            outcome = await work.outcome
        finally:
            work.is_wanted = False
            watching.cancel()
        if outcome.error is not None:
            raise outcome.error
        value: T = outcome.value
        return value

    def _run(
        self, work: Work, function: Callable[[Work], T], loop: asyncio.AbstractEventLoop, submitted: float
    ) -> None:
        """On a thread of the pool: compute, and tell the loop."""
        try:
            self._metrics.stage("wait", time.perf_counter() - submitted)
            work.check()
            outcome = _Outcome(function(work))
        except BaseException as error:
            # Whatever it is: a request that is not told of it would wait for ever, and keep its place.
            outcome = _Outcome(error=error)
        loop.call_soon_threadsafe(self._ended, work, outcome)

    def _ended(self, work: Work, outcome: _Outcome) -> None:
        self._change(-1)
        work.settle(outcome)

    def _watch(self, receive: Receive, work: Work, running: Future[None]) -> None:
        """From now on, look whether the client still waits, as long as its request is computed."""
        watcher = asyncio.ensure_future(self._until_gone(receive, work, running))
        work.outcome.add_done_callback(lambda _: watcher.cancel())

    async def _until_gone(self, receive: Receive, work: Work, running: Future[None]) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        work.settle(_Outcome(error=ClientDisconnect()))
        if running.cancel():
            # It had not begun, so nobody else tells that it has ended.
            self._change(-1)

    def _hold(self, n_bytes: int, received: int) -> None:
        """Account for a part of a body that is being received; it is not the small ones that are too much."""
        self._held += n_bytes
        if self._held > self._max_held and received > SMALL:
            raise busy()

    def _change(self, change: int) -> None:
        self.in_flight += change
        self._metrics.in_flight(change)


def busy() -> Problem:
    """The problem of a request that there is no place for."""
    return Problem(503, "too many requests at a time: try again in a second", {"Retry-After": "1"})


def n_threads(settings: ServeSettings) -> int:
    """Threads of a worker that compute: its share of the cores; a thread that waits for a primary takes none."""
    if settings.threads is not None:
        return settings.threads
    if settings.has_primary:
        return settings.places
    return max(1, available_cores() // settings.workers)
