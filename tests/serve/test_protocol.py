"""What clients can do to a connection before a request reaches the application, over real sockets."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import uvicorn

from classic_cv.serve import protocol
from classic_cv.serve.protocol import MAX_HEAD
from classic_cv.serve.service import ServiceConfig
from classic_cv.serve.settings import ModelSource, ServeSettings

HEADER_TIMEOUT = 0.4

GET = b"GET /fast HTTP/1.1\r\nHost: x\r\n\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers ``/early`` before the body came, ``/slow`` after a while, all others with the length of the body."""
    if scope["type"] == "lifespan":
        for phase in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{phase}.complete"})
        return
    length, more = 0, scope["path"] != "/early"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length, more = length + len(message["body"]), message["more_body"]
    if scope["path"] == "/slow":
        await asyncio.sleep(0.3)
    body = b"%d bytes" % length
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]}
    )
    await send({"type": "http.response.body", "body": body})


class Reply(NamedTuple):
    status: int
    head: str
    body: bytes

    @property
    def error(self) -> str:
        """The message of a refusal, which is in the form of all errors."""
        assert "content-type: application/json" in self.head
        assert "x-content-type-options: nosniff" in self.head
        assert re.search(r"^x-request-id: [0-9a-f]{16}\r$", self.head, re.MULTILINE)
        [(key, message)] = json.loads(self.body).items()
        assert key == "error"
        return str(message)


class Client:
    """A connection on which tests write bytes."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._file = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def drip(self, data: bytes, seconds: float = 0.05) -> float:
        """Send byte by byte until the other side has enough; returns the seconds until then."""
        start = time.monotonic()
        self.socket.settimeout(seconds)
        try:
            for byte in data:
                self.send(bytes([byte]))
                try:
                    self.socket.recv(1, socket.MSG_PEEK)
                    break
                except TimeoutError:
                    continue
        except OSError:
            pass
        self.socket.settimeout(20)
        return time.monotonic() - start

    def reply(self) -> Reply | None:
        """The next answer; None where the connection ends without one."""
        try:
            status = self._file.readline()
        except ConnectionResetError:
            return None
        if not status:
            return None
        head = ""
        while (line := self._file.readline()) not in (b"\r\n", b""):
            head += line.decode()
        found = re.search(r"content-length: (\d+)", head)
        assert found is not None
        return Reply(int(status.split()[1]), head, self._file.read(int(found[1])))

    def is_closed(self) -> bool:
        return self.reply() is None

    def close(self) -> None:
        self._file.close()
        self.socket.close()


Connect = Callable[[], Client]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Of a server of ``app`` in a thread."""
    settings = ServeSettings(
        models=(ModelSource(name="m", path="/m"),), header_timeout=HEADER_TIMEOUT, drain=1.0
    )
    server = uvicorn.Server(ServiceConfig(settings, lambda: app))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.getsockname()[1]
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield number
        server.should_exit = True
        thread.join()


@pytest.fixture
def connect(port: int) -> Iterator[Connect]:
    clients: list[Client] = []

    def make() -> Client:
        clients.append(Client(port))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def ok(reply: Reply | None) -> bytes:
    assert reply is not None
    assert reply.status == 200
    return reply.body


def refused(reply: Reply | None, status: int) -> str:
    assert reply is not None
    assert reply.status == status
    return reply.error


def test_requests_are_answered_one_after_another_on_a_connection(connect: Connect) -> None:
    client = connect()
    client.send(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello")
    assert ok(client.reply()) == b"5 bytes"
    # Between requests a client may wait for longer than a head may take.
    time.sleep(2 * HEADER_TIMEOUT)
    client.send(GET + GET)
    assert ok(client.reply()) == b"0 bytes"
    reply = client.reply()
    assert ok(reply) == b"0 bytes"
    assert reply is not None
    assert "server:" not in reply.head


def test_a_connection_that_sends_nothing_is_closed(connect: Connect) -> None:
    start = time.monotonic()
    assert connect().is_closed()
    assert time.monotonic() - start >= 0.9 * HEADER_TIMEOUT


def test_half_a_head_is_waited_for_and_then_refused(connect: Connect) -> None:
    client = connect()
    client.send(GET[:20])
    assert "did not come in time" in refused(client.reply(), 408)
    assert client.is_closed()


def test_dripping_a_head_gains_no_time(connect: Connect) -> None:
    client = connect()
    seconds = client.drip(b"GET /fast HTTP/1.1\r\nX: " + 200 * b"y")
    refused(client.reply(), 408)
    assert seconds < 5

    client = connect()
    client.send(GET)
    ok(client.reply())
    assert client.drip(200 * b"\r\n") < 5
    assert client.is_closed()


def test_a_second_request_has_the_time_out_of_a_head_as_well(connect: Connect) -> None:
    client = connect()
    client.send(GET)
    ok(client.reply())
    client.send(GET[:20])
    refused(client.reply(), 408)

    client = connect()
    client.send(b"GET /slow HTTP/1.1\r\n\r\n" + GET[:20])
    ok(client.reply())
    refused(client.reply(), 408)


def test_a_body_may_take_longer_than_a_head(connect: Connect) -> None:
    client = connect()
    client.send(b"POST / HTTP/1.1\r\nContent-Length: 6\r\n\r\nabc")
    time.sleep(2 * HEADER_TIMEOUT)
    client.send(b"def")
    assert ok(client.reply()) == b"6 bytes"


def head_of(size: int) -> bytes:
    """A request whose line and headers count so many bytes."""
    return b"GET /%b HTTP/1.1\r\nX-Long: %b\r\n\r\n" % (100 * b"p", (size - 101 - 6) * b"y")


def test_a_head_may_be_so_large_and_no_larger(connect: Connect) -> None:
    client = connect()
    client.send(head_of(MAX_HEAD))
    ok(client.reply())
    client.send(head_of(MAX_HEAD + 1))
    assert f"larger than {MAX_HEAD} bytes" in refused(client.reply(), 431)
    assert client.is_closed()


def test_a_head_without_an_end_is_refused_when_it_is_too_large(connect: Connect) -> None:
    client = connect()
    client.send(GET[:-2])
    for _ in range(20):
        time.sleep(0.01)
        client.send(b"X: %b\r\n" % (1000 * b"y"))
    refused(client.reply(), 431)


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"hello\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    ids=["tls", "words", "url", "two lengths", "length and chunks"],
)
def test_what_is_not_http_is_refused(connect: Connect, data: bytes) -> None:
    client = connect()
    client.send(data)
    assert refused(client.reply(), 400) == "this is not a valid HTTP request"
    assert client.is_closed()


def test_a_bad_chunk_ends_the_request(connect: Connect) -> None:
    client = connect()
    client.send(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    time.sleep(0.05)
    client.send(b"no size\r\n")
    refused(client.reply(), 400)
    assert client.is_closed()


def test_what_follows_a_request_does_not_spoil_its_answer(connect: Connect) -> None:
    client = connect()
    client.send(b"GET /slow HTTP/1.1\r\n\r\n")
    time.sleep(0.05)
    client.send(b"\x00 this is no HTTP \x00\r\n\r\n")
    assert ok(client.reply()) == b"0 bytes"
    assert client.is_closed()


def test_a_body_that_was_not_waited_for_is_dropped(connect: Connect) -> None:
    client = connect()
    client.send(b"POST /early HTTP/1.1\r\nContent-Length: 300000\r\n\r\n")
    assert ok(client.reply()) == b"0 bytes"
    client.send(300_000 * b"x")
    client.send(GET)
    assert ok(client.reply()) == b"0 bytes"

    client.send(b"POST /early HTTP/1.1\r\nContent-Length: 300000\r\n\r\n")
    ok(client.reply())
    assert client.drip(200 * b"x") < 5
    assert client.is_closed()


def test_another_protocol_is_not_taken_up(connect: Connect) -> None:
    client = connect()
    client.send(b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert ok(client.reply()) == b"0 bytes"
    client.send(b"\x81\x05hello")
    refused(client.reply(), 400)
    assert client.is_closed()


def test_there_is_an_end_to_connections(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    # Those of earlier tests are gone once a request is answered behind them.
    time.sleep(0.1)
    monkeypatch.setattr(protocol, "MAX_CONNECTIONS", 2)
    first, second = connect(), connect()
    first.send(GET)
    ok(first.reply())
    second.send(GET)
    ok(second.reply())

    reply = connect().reply()
    assert "too many connections" in refused(reply, 503)
    assert reply is not None
    assert "retry-after: 1" in reply.head

    second.close()
    time.sleep(0.1)
    third = connect()
    third.send(GET)
    ok(third.reply())
