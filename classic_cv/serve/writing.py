"""Answers on a connection: taken by the client in time, or given up.

uvicorn keeps an answer in memory for as long as its client does not read it. And it closes a connection at once: with
bytes of the client still to come that is a reset, which can cost the client the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    from classic_cv.serve.service import ServiceConfig
    from classic_cv.serve.settings import ServeSettings

LINGER = 1.0
"""Seconds that what a client still sends is dropped behind the last answer, so that it sees that."""


class Outlet(NamedTuple):
    """What an answer is written to: a transport, but for the closing, which is the connection's affair."""

    write: Callable[[bytes], None]
    is_closing: Callable[[], bool]
    close: Callable[[], None]


class LingeringProtocol(HttpToolsProtocol):
    """A connection that is aborted when an answer is not taken in time, and closed so that the last one arrives.

    An answer has the time-out of a body to be taken, from when it is complete or more than a little of it waits to be
    sent, whatever progress it makes. A client that asks again before it took an answer gains no time by that.

    A client that ends its side of the connection is taken for one that left, as it cannot be told from it.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._taking: asyncio.TimerHandle | None = None
        self._lingering: asyncio.TimerHandle | None = None
        self._is_deaf = False

    @property
    def _settings(self) -> ServeSettings:
        return cast("ServiceConfig", self.config).settings

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client connected."""
        super().connection_made(transport)
        self._outlet = Outlet(transport.write, transport.is_closing, self._end)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection ended, from whichever side."""
        self._stop_taking()
        if self._lingering is not None:
            self._lingering.cancel()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes came; behind the last request they are dropped."""
        if not self._is_deaf:
            super().data_received(data)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        if not self.transport.get_write_buffer_size():
            self._stop_taking()

    def on_headers_complete(self) -> None:
        """The head of a request is there."""
        super().on_headers_complete()
        self.cycle.transport = cast(asyncio.Transport, self._outlet)

    def on_response_complete(self) -> None:
        """An answer was written."""
        super().on_response_complete()
        self._start_taking()
        if self._is_deaf:
            self._unset_keepalive_if_required()

    def pause_writing(self) -> None:
        """More of an answer waits to be sent than the transport likes."""
        super().pause_writing()
        self._start_taking()

    def _answer_last(self) -> None:
        """Let the answer that is being given be the last, whatever the client sends meanwhile.

        It is not left unread: that would hide that the client goes away.
        """
        self.cycle.keep_alive = False
        self._is_deaf = True

    def _abandon(self) -> None:
        """Let the application know no client any more, and write nothing more of its answer."""
        if self._is_answering:
            self.cycle.disconnected = True
            self.cycle.waiting_for_100_continue = False
            self.cycle.message_event.set()

    def _end(self) -> None:
        """Close behind the last answer: at once where the client has sent all that it was going to."""
        if self._lingering is not None or self.transport.is_closing():
            return
        if self._is_deaf or self.cycle.more_body:
            self._linger()
        else:
            self._start_taking()
            self.transport.close()

    def _linger(self) -> None:
        """Say that no more answers come, and close when the client did or soon."""
        self._is_deaf = True
        self._start_taking()
        self.transport.write_eof()
        self.flow.resume_reading()
        self._unset_keepalive_if_required()
        self._lingering = self.loop.call_later(LINGER, self.transport.close)

    def _start_taking(self) -> None:
        if self._taking is None and self.transport.get_write_buffer_size():
            self._taking = self.loop.call_later(self._settings.body_timeout, self._not_taken)

    def _stop_taking(self) -> None:
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None

    def _not_taken(self) -> None:
        self._taking = None
        if self.transport.get_write_buffer_size():
            self.transport.abort()
