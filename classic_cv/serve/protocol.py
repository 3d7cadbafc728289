"""HTTP as uvicorn speaks it, with limits on what comes before an application sees a request.

uvicorn waits for ever for the head of a request, of any length, answers what is no HTTP in plain text, and queues
requests that come before the earlier ones are answered.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from enum import Enum, auto
from typing import Any, cast

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from classic_cv.serve.answering import SECURITY
from classic_cv.serve.writing import LingeringProtocol

MAX_HEAD = 16 * 1024
"""Bytes of the request line and the headers together; also of the trailers of a body."""

MAX_CONNECTIONS = 800
"""Of a worker; below the 1024 files that a process may usually have open."""

GRACE = 0.3
"""Seconds in which a request that is on its way when the service is ended is still answered."""

HEADERS = ((b"content-type", b"application/json"), *SECURITY, (b"connection", b"close"))

INVALID = "this is not a valid HTTP request"
TOO_LARGE = f"the request line and the headers, or the trailers, are larger than {MAX_HEAD} bytes"
TOO_SLOW = "the head of the request did not come in time"
TOO_MANY = "too many connections"
NO_UPGRADE = "a request with a body cannot ask for another protocol: send it without Upgrade (curl --http1.1)"
NO_PROXY = (
    "this is no proxy, and CONNECT is not possible: send the request itself, without Upgrade (curl --http1.1)"
)


class _Receiving(Enum):
    """What the next byte is a part of."""

    NOTHING = auto()
    HEAD = auto()
    BODY = auto()


class _RefusedError(Exception):
    """Raised to the parser, which passes it on as an error of a callback."""


class LimitedProtocol(LingeringProtocol):
    """One connection of a client.

    While no request is being answered a timer runs: from the beginning of a connection and from the first byte of
    each request the time-out of the head, between requests that of keeping alive. The rest of a body that was
    answered early is read and dropped for as long as a head may take, so that its sender sees the answer.

    There is no pipelining: where a request comes before the earlier one is answered, that answer is the last, and the
    client has to ask again on another connection (RFC 9112, 9.3.2).
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._timer: asyncio.TimerHandle | None = None
        self._receiving = _Receiving.NOTHING
        # Bytes since the head began or the body got longer, and what of them the parser has told.
        self._n_raw = 0
        self._n_fields = 0
        self._refusal = (400, INVALID)
        self._is_shutting_down = False

    @property
    def _idle_until(self) -> float:
        """When keeping alive ends, in the loop's time; infinite where the connection is not idle behind an answer."""
        task = self.timeout_keep_alive_task
        if (
            task is None
            or self._receiving is not _Receiving.NOTHING
            or self.transport.get_write_buffer_size()
        ):
            return math.inf
        return task.when()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client connected."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS and not self._make_room():
            self._refuse(503, TOO_MANY, (b"retry-after", b"1"))
            transport.close()
        else:
            self._start_timer(self._settings.header_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection ended, from whichever side."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._timer is None and not self._is_answering and not self._is_deaf:
            self._start_timer(self._settings.header_timeout)
        self._n_raw += len(data)
        super().data_received(data)
        if self._n_raw > MAX_HEAD and self._receiving is not _Receiving.NOTHING and not self._is_deaf:
            self._reject(431, TOO_LARGE)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        if self._is_answering:
            raise _RefusedError
        super().on_message_begin()
        self._receiving = _Receiving.HEAD
        self._n_raw = self._n_fields = 0
        self._start_timer(self._settings.header_timeout)

    def on_url(self, url: bytes) -> None:
        """A part of the request line."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; or a trailer, which nobody asks for."""
        self._count(len(name) + len(value))
        if self._receiving is _Receiving.HEAD:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head of a request is there."""
        is_upgrade = self.parser.should_upgrade()
        if is_upgrade:
            self._check_upgrade()
        super().on_headers_complete()
        self._stop_timer()
        self._receiving = _Receiving.BODY
        self._n_raw = self._n_fields = 0
        if is_upgrade:
            # What follows would be in the other protocol.
            self._answer_last()
        elif self._is_shutting_down:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._n_raw = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The last byte of a request."""
        self._receiving = _Receiving.NOTHING
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer was written."""
        super().on_response_complete()
        if self.cycle.more_body and not self._is_deaf:
            self._start_timer(self._settings.header_timeout)

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser did."""
        self._reject(*self._refusal)

    def timeout_keep_alive_handler(self) -> None:
        """Nothing came for long after an answer."""
        self._stop_timer()
        self._unset_keepalive_if_required()
        super().timeout_keep_alive_handler()

    def shutdown(self) -> None:
        """The service ends: answer what is there or on its way, and close."""
        self._is_shutting_down = True
        if self._is_answering:
            self.cycle.keep_alive = False
        elif self._receiving is not _Receiving.HEAD and not self._is_deaf:
            self._start_timer(GRACE)

    def _start_timer(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, self._timed_out)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _timed_out(self) -> None:
        """Too slow; to a client that sent no part of a request there is nothing to say."""
        self._timer = None
        if self._receiving is _Receiving.HEAD and not self.transport.is_closing():
            self._refuse(408, TOO_SLOW)
        else:
            self.transport.close()

    def _make_room(self) -> bool:
        """Close the connection that has been idle for longest, if any is."""
        oldest = min(cast("set[LimitedProtocol]", self.connections), key=lambda other: other._idle_until)
        if oldest._idle_until == math.inf:
            return False
        oldest.timeout_keep_alive_handler()
        return True

    def _count(self, n_bytes: int) -> None:
        self._n_fields += n_bytes
        if self._n_fields > MAX_HEAD:
            self._refusal = (431, TOO_LARGE)
            raise _RefusedError

    def _check_upgrade(self) -> None:
        """Refuse what a body would follow: the parser takes it for the other protocol, or for the next request."""
        headers = dict(self.headers)
        if self.parser.get_method() == b"CONNECT":
            self._refusal = (400, NO_PROXY)
        elif b"transfer-encoding" in headers or headers.get(b"content-length", b"").strip(b" \t0"):
            self._refusal = (400, NO_UPGRADE)
        else:
            return
        raise _RefusedError

    def _reject(self, status: int, message: str) -> None:
        """Refuse what cannot be read, unless an answer to an earlier request, or to this one, comes first."""
        if self._is_answering and not self.cycle.more_body:
            self._answer_last()
        elif self._receiving is _Receiving.BODY and (not self._is_answering or self.cycle.response_started):
            self._abandon()
            self._end()
        else:
            self._refuse(status, message)

    def _refuse(self, status: int, message: str, *headers: tuple[bytes, bytes]) -> None:
        """Answer for the application, for which the client is gone where it waits for a body."""
        self._stop_timer()
        self._abandon()
        body = msgspec.json.encode({"error": message})
        length = (b"content-length", b"%d" % len(body))
        request_id = (b"x-request-id", secrets.token_hex(8).encode())
        lines = [b"%b: %b\r\n" % pair for pair in (*HEADERS, *headers, length, request_id)]
        self.transport.write(b"".join([STATUS_LINE[status], *lines, b"\r\n", body]))
        self._linger()
