"""Answers on their way out: what is noted of them, and headers that all of them have."""

from __future__ import annotations

from starlette.types import Message, Send

from classic_cv.serve.record import Record

SECURITY = tuple(
    (name.encode(), value.encode())
    for name, value in {
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        "cross-origin-resource-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
        "cache-control": "no-store",
        "permissions-policy": "camera=()",
    }.items()
)
"""Headers of every answer that does not have its own of the name."""


class Answering:
    """The ``send`` of one request.

    Attributes:
        has_started: the status is out, and no other answer can be given.
    """

    def __init__(self, record: Record, send: Send) -> None:
        self._record = record
        self._send = send
        self.has_started = False

    async def send(self, message: Message) -> None:
        """Send a part of the answer."""
        if message["type"] == "http.response.start":
            self.has_started = True
            self._record.status = message["status"]
            own = {name for name, _ in message["headers"]}
            added = [pair for pair in SECURITY if pair[0] not in own]
            request_id = (b"x-request-id", self._record.request_id.encode())
            message["headers"] = [*message["headers"], *added, request_id]
        await self._send(message)
