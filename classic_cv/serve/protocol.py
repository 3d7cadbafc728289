"""HTTP as uvicorn speaks it, with limits on what comes before an application sees a request.

uvicorn waits for ever for the head of a request, of any length, and answers what is no HTTP in plain text.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any, cast

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from classic_cv.serve.answering import SECURITY

if TYPE_CHECKING:
    from classic_cv.serve.service import ServiceConfig

MAX_HEAD = 16 * 1024
"""Bytes of the request line and the headers together."""

MAX_CONNECTIONS = 800
"""Of a worker; below the 1024 files that a process may usually have open."""

HEADERS = ((b"content-type", b"application/json"), *SECURITY, (b"connection", b"close"))

LINGER = 1.0
"""Seconds that the rest of what was refused is read and dropped: closed at once, the client would see a reset
connection in place of the answer."""

INVALID = "this is not a valid HTTP request"
TOO_LARGE = f"the request line and the headers are larger than {MAX_HEAD} bytes"
TOO_SLOW = "the head of the request did not come in time"
TOO_MANY = "too many connections"


class _HeadTooLargeError(Exception):
    """Raised to the parser, which passes it on as an error of a callback."""


class LimitedProtocol(HttpToolsProtocol):
    """One connection of a client.

    While no request is being answered a timer runs: from the beginning of a connection and from the first byte of
    each request the time-out of the head, between requests that of keeping alive. The rest of a body that was
    answered early is read and dropped for as long as a head may take, so that its sender sees the answer.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._timer: asyncio.TimerHandle | None = None
        self._is_in_head = False
        self._head_bytes = 0
        self._refusal = (400, INVALID)
        self._is_refused = False

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client connected."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            self._refuse(503, TOO_MANY, (b"retry-after", b"1"))
            transport.close()
        else:
            self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection ended, from whichever side."""
        self._stop_timer()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._is_refused:
            return
        if self._timer is None and not self._is_answering:
            self._start_timer()
        was_in_head = self._is_in_head
        super().data_received(data)
        if was_in_head and self._is_in_head and not self._is_refused:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD:
                self._refuse(431, TOO_LARGE)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._is_in_head, self._head_bytes = True, 0
        if not self._is_answering:
            self._start_timer()

    def on_headers_complete(self) -> None:
        """The head of a request is there."""
        self._is_in_head = False
        self._stop_timer()
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD:
            self._refusal = (431, TOO_LARGE)
            raise _HeadTooLargeError
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """An answer was written."""
        super().on_response_complete()
        if not self._is_answering and (self.cycle.more_body or self._is_in_head):
            self._start_timer()

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser did, unless an earlier request is being answered: that is ended first."""
        if self._is_answering and (self.pipeline or not self.cycle.more_body):
            self.cycle.keep_alive = False
            self.flow.pause_reading()
        elif self._is_answering and self.cycle.response_started:
            self.transport.close()
        else:
            self._refuse(*self._refusal)

    def timeout_keep_alive_handler(self) -> None:
        """Nothing came for long after an answer."""
        self._stop_timer()
        super().timeout_keep_alive_handler()

    def _start_timer(self) -> None:
        self._stop_timer()
        settings = cast("ServiceConfig", self.config).settings
        seconds = LINGER if self._is_refused else settings.header_timeout
        self._timer = self.loop.call_later(seconds, self._timed_out)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _timed_out(self) -> None:
        """Too slow; to a client that sent no part of a request there is nothing to say."""
        self._timer = None
        if self._is_in_head and not self._is_refused:
            self._refuse(408, TOO_SLOW)
        else:
            self.transport.close()

    def _refuse(self, status: int, message: str, *headers: tuple[bytes, bytes]) -> None:
        """Answer for the application, and close when the client did or soon."""
        if self._is_answering:
            # Its body is what cannot be read: for the application the client is gone.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        body = msgspec.json.encode({"error": message})
        length = (b"content-length", b"%d" % len(body))
        request_id = (b"x-request-id", secrets.token_hex(8).encode())
        lines = [b"%b: %b\r\n" % pair for pair in (*HEADERS, *headers, length, request_id)]
        self.transport.write(b"".join([STATUS_LINE[status], *lines, b"\r\n", body]))
        self.transport.write_eof()
        self._is_refused = True
        self._unset_keepalive_if_required()
        self._start_timer()
