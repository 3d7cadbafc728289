"""What clients can do to a connection before a request reaches the application, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
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
BODY_TIMEOUT = 2.0

GET = b"GET /fast HTTP/1.1\r\nHost: x\r\n\r\n"

LARGE = bytes(16 * 2**20)
"""An answer that does not fit into what the system buffers for sockets."""

seen: list[str] = []
"""What the application was asked for, and by whom it was left."""


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the length of the body, but for these paths:

    ``/early`` before the body came, ``/slow`` after a while, ``/begun`` with the body of the answer after a while,
    ``/large`` with much, and ``/wait`` not before the client goes away.
    """
    if scope["type"] == "lifespan":
        for phase in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{phase}.complete"})
        return
    path = scope["path"]
    seen.append(path)
    length, more = 0, path != "/early"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            seen.append(f"{path} left")
            return
        length, more = length + len(message["body"]), message["more_body"] or path == "/wait"
    if path == "/slow":
        await asyncio.sleep(0.3)
    body = LARGE if path == "/large" else b"%d bytes" % length
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]}
    )
    if path == "/begun":
        await asyncio.sleep(0.3)
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

    def is_ended(self) -> bool:
        """Whether the connection ends here in good order, which a reset is not."""
        return self._file.read(1) == b""

    def close(self) -> None:
        self._file.close()
        self.socket.close()


Connect = Callable[[], Client]


@contextlib.contextmanager
def serving() -> Iterator[tuple[uvicorn.Server, int]]:
    """A server of ``app`` in a thread, and its port."""
    settings = ServeSettings(
        models=(ModelSource(name="m", path="/m"),),
        header_timeout=HEADER_TIMEOUT,
        body_timeout=BODY_TIMEOUT,
        drain=5.0,
    )
    server = uvicorn.Server(ServiceConfig(settings, lambda: app))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.getsockname()[1]
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield server, number
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[uvicorn.Server, int]]:
    with serving() as running:
        yield running


@pytest.fixture(scope="module")
def port(server: tuple[uvicorn.Server, int]) -> int:
    return server[1]


@pytest.fixture
def connect(port: int) -> Iterator[Connect]:
    clients: list[Client] = []

    def make() -> Client:
        clients.append(Client(port))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def n_connections(server: tuple[uvicorn.Server, int]) -> Callable[[], int]:
    """How many the server has; there are none of other tests."""
    connections = server[0].server_state.connections
    eventually(lambda: not connections)
    return lambda: len(connections)


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


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
    client.send(GET)
    reply = client.reply()
    assert ok(reply) == b"0 bytes"
    assert reply is not None
    assert "server:" not in reply.head
    assert "connection:" not in reply.head


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


def test_only_bytes_of_a_head_count_for_its_size(connect: Connect) -> None:
    client = connect()
    first = b"POST / HTTP/1.1\r\nContent-Length: 100000\r\nX: %b\r\n\r\n" % (8000 * b"y")
    client.send(first[:4000])
    time.sleep(0.05)
    client.send(first[4000:] + 100_000 * b"x")
    assert ok(client.reply()) == b"100000 bytes"

    client.send(b"POST /early HTTP/1.1\r\nContent-Length: 100000\r\n\r\n")
    ok(client.reply())
    second = head_of(MAX_HEAD - 100)
    client.send(100_000 * b"x" + second[:8000])
    for part in (second[8000:12_000], second[12_000:]):
        time.sleep(0.05)
        client.send(part)
    assert ok(client.reply()) == b"0 bytes"


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


CHUNKED = b"POST /chunks HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"


def test_a_few_trailers_are_dropped(connect: Connect) -> None:
    client = connect()
    client.send(CHUNKED + b"X-Sum: 1\r\n\r\n")
    assert ok(client.reply()) == b"3 bytes"
    client.send(GET)
    assert ok(client.reply()) == b"0 bytes"


@pytest.mark.parametrize(
    ("start", "part", "pause"),
    [
        (b"", 20 * (b"X: %b\r\n" % (1000 * b"y")), 0.0),
        (b"", b"X: %b\r\n" % (1000 * b"y"), 0.01),
        (b"X: ", 1000 * b"y", 0.01),
    ],
    ids=["at once", "one by one", "one without an end"],
)
def test_too_many_trailers_are_refused(connect: Connect, start: bytes, part: bytes, pause: float) -> None:
    client = connect()
    client.send(CHUNKED + start)
    for _ in range(20 if pause else 1):
        time.sleep(pause)
        client.send(part)
    assert f"larger than {MAX_HEAD} bytes" in refused(client.reply(), 431)
    assert client.is_ended()


def test_a_body_that_was_answered_is_not_refused_as_well(connect: Connect) -> None:
    client = connect()
    client.send(b"POST /early HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    ok(client.reply())
    client.send(b"no size\r\n")
    assert client.is_ended()


@pytest.mark.parametrize("head", [b"HTTP/1.1\r\nConnection: close", b"HTTP/1.0"])
def test_an_early_answer_is_seen_where_it_is_the_last(connect: Connect, head: bytes) -> None:
    client = connect()
    client.send(b"POST /early %b\r\nContent-Length: 6000000\r\n\r\n" % head)
    for _ in range(5):
        time.sleep(0.05)
        client.send(1_000_000 * b"x")
    reply = client.reply()
    assert ok(reply) == b"0 bytes"
    assert reply is not None
    assert "connection: close" in reply.head
    assert client.is_ended()


def test_an_early_answer_keeps_nobody_for_long(connect: Connect) -> None:
    client = connect()
    client.send(b"POST /early HTTP/1.1\r\nConnection: close\r\nContent-Length: 300000\r\n\r\n")
    ok(client.reply())
    assert client.is_ended()
    start = time.monotonic()
    with contextlib.suppress(ConnectionError):
        while time.monotonic() - start < 10:
            client.send(b"x")
            time.sleep(0.05)
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    "later",
    [
        GET,
        b"GET / HTTP/1.1\r\nX: " + 40_000 * b"y",
        b"\x00 this is no HTTP \x00\r\n\r\n",
        b"POST /smuggled HTTP/1.1\r\nContent-Length: 10000000\r\n\r\n" + 10_000_000 * b"x",
    ],
    ids=["request", "large head", "no http", "large body"],
)
@pytest.mark.parametrize("pause", [0.0, 0.1])
def test_nothing_is_looked_at_before_the_earlier_answer(connect: Connect, later: bytes, pause: float) -> None:
    seen.clear()
    client = connect()
    client.send(b"GET /slow HTTP/1.1\r\n\r\n" + (b"" if pause else later))
    if pause:
        time.sleep(pause)
        client.send(later)
    reply = client.reply()
    assert ok(reply) == b"0 bytes"
    assert reply is not None
    assert "connection: close" in reply.head
    assert client.is_ended()
    assert seen == ["/slow"]


def test_nothing_is_looked_at_behind_a_last_request(connect: Connect) -> None:
    seen.clear()
    client = connect()
    client.send(b"GET /slow HTTP/1.1\r\nConnection: close\r\n\r\n" + GET)
    client.send(b"POST /smuggled HTTP/1.1\r\nContent-Length: 5000000\r\n\r\n" + 5_000_000 * b"x")
    assert ok(client.reply()) == b"0 bytes"
    assert client.is_ended()
    assert seen == ["/slow"]


def test_an_answer_that_has_begun_is_the_last_as_well(connect: Connect) -> None:
    client = connect()
    client.send(b"GET /begun HTTP/1.1\r\n\r\n")
    time.sleep(0.1)
    client.send(GET)
    reply = client.reply()
    assert ok(reply) == b"0 bytes"
    assert reply is not None
    assert "connection:" not in reply.head
    assert client.is_ended()


@pytest.mark.parametrize("data", [b"", GET, b"GET / HTTP/1.1\r\nX: " + 40_000 * b"y"])
def test_a_client_that_leaves_is_noticed(
    connect: Connect, caplog: pytest.LogCaptureFixture, data: bytes
) -> None:
    seen.clear()
    client = connect()
    client.send(b"GET /wait HTTP/1.1\r\n\r\n")
    eventually(lambda: seen == ["/wait"])
    client.send(data)
    time.sleep(0.1)
    client.close()
    eventually(lambda: seen == ["/wait", "/wait left"])
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"


@pytest.mark.parametrize("behind", [b"", b"GET /smuggled HTTP/1.1\r\n\r\n", b"\x81\x05hello"])
@pytest.mark.parametrize("body", [b"", b"Content-Length: 0\r\n"])
def test_another_protocol_is_not_taken_up(connect: Connect, body: bytes, behind: bytes) -> None:
    seen.clear()
    client = connect()
    client.send(b"GET /up HTTP/1.1\r\n" + UPGRADE + body + b"\r\n" + behind)
    reply = client.reply()
    assert ok(reply) == b"0 bytes"
    assert reply is not None
    assert "connection: close" in reply.head
    client.send(behind)
    assert client.is_ended()
    assert seen == ["/up"]


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"POST / HTTP/1.1\r\nContent-Length: 28\r\n" + UPGRADE, "send it without Upgrade (curl --http1.1)"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + UPGRADE, "curl --http1.1"),
        (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n", "CONNECT is not possible"),
    ],
    ids=["length", "chunks", "connect"],
)
def test_a_body_behind_an_upgrade_is_no_request(connect: Connect, head: bytes, expected: str) -> None:
    seen.clear()
    client = connect()
    client.send(head + b"\r\nGET /smuggled HTTP/1.1\r\n\r\n")
    assert expected in refused(client.reply(), 400)
    assert client.is_ended()
    assert seen == []


def test_an_answer_that_nobody_takes_is_given_up(connect: Connect, n_connections: Callable[[], int]) -> None:
    start = time.monotonic()
    clients = [connect() for _ in range(3)]
    for client, version in zip(clients, (b"1.1", b"1.0", b"1.1"), strict=True):
        client.send(b"GET /large HTTP/%b\r\n\r\n" % version)
    eventually(lambda: n_connections() == 3)
    # One of them asks for more, which gains no time; nor does a little progress.
    clients[2].send(GET)
    while n_connections() and time.monotonic() - start < 20:
        with contextlib.suppress(OSError):
            clients[0].socket.recv(1000)
        time.sleep(0.05)
    assert not n_connections()
    assert time.monotonic() - start >= 0.9 * BODY_TIMEOUT


def test_an_answer_may_be_taken_slowly(connect: Connect) -> None:
    client = connect()
    for _ in range(2):
        client.send(b"GET /large HTTP/1.1\r\n\r\n")
        # Longer than a head may take, but not than a body.
        time.sleep(HEADER_TIMEOUT + 0.1)
        assert ok(client.reply()) == LARGE
    client.send(b"GET /large HTTP/1.1\r\nConnection: close\r\n\r\n")
    time.sleep(HEADER_TIMEOUT + 0.1)
    assert ok(client.reply()) == LARGE
    assert client.is_ended()


def test_there_is_an_end_to_connections(
    connect: Connect, n_connections: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert n_connections() == 0
    monkeypatch.setattr(protocol, "MAX_CONNECTIONS", 2)
    first, second = connect(), connect()
    for client in (first, second):
        client.send(b"GET /wait HTTP/1.1\r\n\r\n")
    eventually(lambda: n_connections() == 2)
    reply = connect().reply()
    assert "too many connections" in refused(reply, 503)
    assert reply is not None
    assert "retry-after: 1" in reply.head

    second.close()
    eventually(lambda: n_connections() == 1)
    third = connect()
    third.send(GET)
    ok(third.reply())


def test_idle_connections_make_room(
    connect: Connect, n_connections: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert n_connections() == 0
    monkeypatch.setattr(protocol, "MAX_CONNECTIONS", 3)
    busy, older, newer = connect(), connect(), connect()
    busy.send(b"GET /wait HTTP/1.1\r\n\r\n")
    for client in (newer, older, newer):
        client.send(GET)
        ok(client.reply())
        # The loop's clock counts milliseconds.
        time.sleep(0.01)
    newest = connect()
    newest.send(GET)
    ok(newest.reply())
    assert older.is_ended()
    newer.send(GET)
    ok(newer.reply())


def test_requests_on_their_way_are_answered_when_the_service_ends() -> None:
    with serving() as (server, port):
        silent, late, half, kept, answered = (Client(port) for _ in range(5))
        half.send(GET[:20])
        kept.send(GET)
        ok(kept.reply())
        answered.send(b"GET /slow HTTP/1.1\r\n\r\n")
        eventually(lambda: len(server.server_state.connections) == 5)
        time.sleep(0.05)
        server.should_exit = True
        eventually(lambda: not server.servers[0].is_serving())
        late.send(GET)
        kept.send(GET)
        half.send(GET[20:])
        for client in (late, half, kept, answered):
            reply = client.reply()
            assert ok(reply) == b"0 bytes"
            assert reply is not None
            assert "connection: close" in reply.head
            assert client.is_ended()
        assert silent.is_ended()
        for client in (silent, late, half, kept, answered):
            client.close()
