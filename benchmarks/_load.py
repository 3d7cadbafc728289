"""Load on an HTTP server from a process of its own: raw sockets, prebuilt requests, answers that are barely read.

    python benchmarks/_load.py < JOB.json

The job and the replies are JSON (`Job`, `Reply`). The first line of the output tells when the schedule begins, the
second holds all replies. An open loop sends at fixed times whatever comes back, and its latencies count from those
times, so that a server that stalls is charged for the requests that it kept waiting. Times are of the system's
monotonic clock, which the processes of a machine share.
"""

from __future__ import annotations

import asyncio
import gc
import re
import selectors
import sys
import time
from collections import deque
from collections.abc import Iterator
from itertools import cycle
from typing import NamedTuple, cast

import msgspec

SERVED_BY = re.compile(rb'"served_by":\s*"(\w+)"')
LEAD = 0.1
"""Seconds between the first line and the first request."""


class Job(msgspec.Struct):
    """What to send.

    Attributes:
        requests: whole requests, sent in turns.
        phases: of an open loop, one after another: requests per second, seconds.
        in_flight: None for the open loop; else a closed loop of so many requests at a time, for the seconds of all
            phases.
        connections: at most; a request that finds all of them busy waits.
        timeout: seconds until a request counts as failed and its connection is closed.
    """

    host: str
    port: int
    requests: list[bytes]
    phases: list[tuple[float, float]]
    in_flight: int | None = None
    connections: int = 64
    timeout: float = 5.0


class Reply(msgspec.Struct, array_like=True):
    """What came of one request.

    Attributes:
        due, fired, sent, done: seconds of the monotonic clock: when it was due, when this client came to it, when it
            was written to a connection, when its answer was complete.
        status: of the answer; 0 for none.
        error: why there is none.
        served_by: as the answer's JSON says.
        retry_after: the answer has that header.
    """

    due: float
    fired: float
    sent: float = 0.0
    done: float = 0.0
    status: int = 0
    error: str = ""
    served_by: str = ""
    retry_after: bool = False

    @property
    def seconds(self) -> float:
        """From when it was due."""
        return self.done - self.due


class Answer(NamedTuple):
    """A whole answer of a server; the head is in lower case."""

    status: int
    head: bytes
    body: bytes

    @property
    def closes(self) -> bool:
        """Whether the server closes the connection after it."""
        return b"\r\nconnection: close" in self.head


def schedule(phases: list[tuple[float, float]]) -> Iterator[float]:
    """Seconds from the start at which each request of an open loop is due."""
    begin = 0.0
    for rate, seconds in phases:
        yield from (begin + number / rate for number in range(round(rate * seconds)))
        begin += seconds


def answer_in(data: bytes | bytearray) -> Answer | None:
    """The answer that ``data`` holds; None while parts of it are missing.

    Raises:
        ValueError: it is no HTTP.
    """
    if data[:7] != b"HTTP/1."[: len(data)]:
        raise ValueError("no HTTP")
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    head, body = bytes(data[:end]).lower(), bytes(data[end + 4 :])
    status = int(head[9:12])
    if b"\r\ntransfer-encoding: chunked" in head:
        return Answer(status, head, body) if body.endswith(b"0\r\n\r\n") else None
    found = re.search(rb"\r\ncontent-length: *(\d+)", head)
    length = int(found[1]) if found else 0
    return Answer(status, head, body[:length]) if len(body) >= length else None


class Connection(asyncio.Protocol):
    """A kept-alive connection; one request at a time."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.reply: Reply | None = None
        self.data = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def ask(self, request: bytes, reply: Reply) -> None:
        """Send a request, whose outcome goes into ``reply``."""
        self.reply = reply
        self.timer = self.load.loop.call_later(self.load.job.timeout, self.give_up, "timeout")
        reply.sent = time.monotonic()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.data += data
        try:
            answer = answer_in(self.data)
        except ValueError:
            self.give_up("garbage")
            return
        if answer is not None:
            self._answered(answer)

    def _answered(self, answer: Answer) -> None:
        reply = self.reply
        self.data.clear()
        if reply is None:  # the server ends an idle connection
            self.transport.abort()
            return
        reply.status = answer.status
        reply.retry_after = b"\r\nretry-after:" in answer.head
        found = SERVED_BY.search(answer.body)
        reply.served_by = found[1].decode() if found else ""
        if answer.closes:
            self.transport.close()
        self._end("")

    def _end(self, error: str) -> None:
        reply, self.reply = self.reply, None
        if reply is not None:
            self.timer.cancel()
            reply.done = time.monotonic()
            reply.error = error
            self.load.ended(self)

    def give_up(self, error: str) -> None:
        """Close the connection; its request fails."""
        self.transport.abort()
        self._end(error)

    def connection_lost(self, error: Exception | None) -> None:
        self.load.lost(self)
        self._end("connection lost")


class Load:
    """A job under way, and its replies in the order in which they were due."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.loop = asyncio.get_running_loop()
        self.requests = cycle(job.requests)
        self.replies: list[Reply] = []
        self.idle: deque[Connection] = deque()
        self.waiting: deque[Reply] = deque()
        self.connections = 0
        self.unanswered = 0
        self.until = 0.0
        self.opening: set[asyncio.Task[None]] = set()
        self.quiet = asyncio.Event()

    def fire(self, due: float) -> None:
        """A request is due: send it, or let it wait for a connection."""
        reply = Reply(due, time.monotonic())
        self.replies.append(reply)
        self.unanswered += 1
        self.waiting.append(reply)
        if not self.idle:
            self._connect()
        self._send_waiting()

    def _connect(self) -> None:
        if self.connections < self.job.connections:
            self.connections += 1
            task = self.loop.create_task(self._open())
            self.opening.add(task)
            task.add_done_callback(self.opening.discard)

    def _send_waiting(self) -> None:
        while self.waiting and self.idle:
            connection = self.idle.pop()
            if not connection.transport.is_closing():
                connection.ask(next(self.requests), self.waiting.popleft())

    async def _open(self) -> None:
        address = self.job.host, self.job.port
        try:
            opened = self.loop.create_connection(lambda: Connection(self), *address)
            _, connection = await asyncio.wait_for(opened, self.job.timeout)
        except OSError:
            self.connections -= 1
            if self.waiting:
                self._refused(self.waiting.popleft())
            return
        self.idle.append(connection)
        self._send_waiting()

    def _refused(self, reply: Reply) -> None:
        reply.sent = reply.done = time.monotonic()
        reply.error = "no connection"
        self._count_down()

    def ended(self, connection: Connection) -> None:
        """The connection's request has an outcome."""
        if not connection.transport.is_closing():
            self.idle.append(connection)
        self._count_down()
        if self.job.in_flight is not None and time.monotonic() < self.until:
            self.fire(time.monotonic())
        self._send_waiting()

    def lost(self, connection: Connection) -> None:
        """The connection is closed."""
        self.connections -= 1
        if connection in self.idle:
            self.idle.remove(connection)
        if self.waiting:
            self._connect()

    def _count_down(self) -> None:
        self.unanswered -= 1
        if not self.unanswered:
            self.quiet.set()

    async def run(self, start: float) -> list[Reply]:
        """All replies, when every request has one or ran out of time."""
        self.until = start + sum(seconds for _, seconds in self.job.phases)
        await asyncio.sleep(start - time.monotonic())
        if self.job.in_flight is None:
            await self._pace(start)
        else:
            for _ in range(self.job.in_flight):
                self.fire(time.monotonic())
        await asyncio.sleep(max(0.0, self.until - time.monotonic()))
        await self._settle()
        return self.replies

    async def _pace(self, start: float) -> None:
        for offset in schedule(self.job.phases):
            wait = start + offset - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            self.fire(start + offset)

    async def _settle(self) -> None:
        while self.unanswered:
            self.quiet.clear()
            try:
                await asyncio.wait_for(self.quiet.wait(), self.job.timeout)
            except TimeoutError:
                while self.waiting:
                    self._refused(self.waiting.popleft())


async def _main(job: Job) -> list[Reply]:
    start = time.monotonic() + LEAD
    print(start, flush=True)
    return await Load(job).run(start)


def main() -> None:
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    # A collection over all replies would be a pause of the client; nothing here is a cycle.
    gc.disable()
    # epoll's time-outs are whole milliseconds, select's are not: a third of the interval at 300 requests a second.
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        replies = runner.run(_main(job))
    sys.stdout.buffer.write(msgspec.json.encode(replies) + b"\n")


if __name__ == "__main__":
    main()
