"""An HTTP connection that is kept, and whose every exchange ends by a point in time, whatever the server does.

The standard library's time-outs are for each read alone, so a server that sends a byte now and then would be waited
for without end: here every operation gets the time that is left of the whole. Only the system's name resolution is
outside of that.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from collections.abc import Mapping
from email.message import Message
from typing import Any, NamedTuple

from classic_cv.oip.tensors import OipError

CHUNK = 1 << 16
"""Bytes of a body that are read at a time."""


class Answered(NamedTuple):
    """An HTTP response, read to its end."""

    status: int
    headers: Message
    body: bytes


class Connection(http.client.HTTPConnection):
    """A connection to a server, opened when it is needed.

    Args:
        host, port: of the server.
        context: for TLS; None for none.
    """

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None) -> None:
        super().__init__(host, port)
        self.default_port = http.client.HTTPS_PORT if context else http.client.HTTP_PORT
        self._context = context
        self._until = 0.0

    def connect(self) -> None:
        """Open it; called by the base class where it is not open."""
        plain = _opened(self.host, self.port, self._until)
        try:
            sock = self._context.wrap_socket(plain, server_hostname=self.host) if self._context else plain
        except BaseException:
            plain.close()
            raise
        # The base class needs of a socket what this has.
        timed: Any = _TimedSocket(sock, self)
        self.sock = timed

    def exchange(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], until: float, limit: int
    ) -> Answered:
        """Send a request and read the response.

        Args:
            method, path, body, headers: of the request, which may be sent twice: where a kept connection turns out
                to have been closed by the server.
            until: when ``time.monotonic()`` says so, it is too late.
            limit: bytes of the response's body at most.

        Raises:
            TimeoutError: it is too late.
            OSError, http.client.HTTPException, ValueError: no connection, or no HTTP.
            OipError: the response is longer than ``limit``.
        """
        self._until = until
        was_open = self.sock is not None
        try:
            try:
                return self._once(method, path, body, headers, limit)
            except ConnectionError:
                if not was_open:
                    raise
                self.close()
                return self._once(method, path, body, headers, limit)
        except BaseException:
            self.close()
            raise

    def left(self) -> float:
        """Seconds that are left.

        Raises:
            TimeoutError: none.
        """
        seconds = self._until - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("timed out")
        return seconds

    def _once(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], limit: int
    ) -> Answered:
        self.request(method, path, body, headers)
        with self.getresponse() as response:
            return Answered(response.status, response.headers, _read(response, limit))


class _TimedSocket:
    """A socket whose operations end when the connection's time does."""

    def __init__(self, sock: socket.socket, connection: Connection) -> None:
        self.sock = sock
        self.connection = connection

    def sendall(self, data: bytes) -> None:
        self.sock.settimeout(self.connection.left())
        self.sock.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self))

    def close(self) -> None:
        self.sock.close()


class _TimedReader(io.RawIOBase):
    """What comes from a socket."""

    def __init__(self, timed: _TimedSocket) -> None:
        self._timed = timed
        # The file, not the socket, is read: it keeps the socket open until the end of a last response.
        self._file = timed.sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._timed.sock.settimeout(self._timed.connection.left())
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


def _opened(host: str, port: int, until: float) -> socket.socket:
    """A TCP connection to the first of a host's addresses that takes one.

    One that says nothing gets its share of the time that is left: the next one may answer.
    """
    problem = OSError("the host has no address")
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for n_tried, (family, kind, protocol, _, address) in enumerate(found):
        sock = socket.socket(family, kind, protocol)
        try:
            share = (until - time.monotonic()) / (len(found) - n_tried)
            sock.settimeout(max(share, 1e-3))
            sock.connect(address)
            # Head and body are sent one after another: neither must wait for the other's receipt.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
        except OSError as error:
            sock.close()
            problem = error
    raise problem


def _read(response: http.client.HTTPResponse, limit: int) -> bytes:
    """The body, piece by piece: what the server says of its length is no reason to take memory."""
    parts = []
    size = 0
    while part := response.read(CHUNK):
        size += len(part)
        if size > limit:
            raise OipError(f"the response has more than {limit} bytes")
        parts.append(part)
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)
    return b"".join(parts)
