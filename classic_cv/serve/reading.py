"""The body of a request: received within limits, and the one image that a form in it holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from classic_cv.serve.problems import Problem
from classic_cv.serve.record import Record

LONGEST_DECLARED = 18
"""Digits of a Content-Length: more are no length of anything."""

STALL = 2.0
"""Seconds in which some of a body has to come: who sends nothing keeps the place of one who would."""

MAX_PART_HEAD = 8192
"""Bytes of the headers of a form's part at most."""

MAX_BOUNDARY = 70
"""Bytes of a form's boundary at most (RFC 2046)."""

_HOW = "send the image as it is, curl --data-binary @FILE, or as a form with one file: curl -F image=@FILE"


def declared_length(record: Record) -> int | None:
    """The length of the body as the head of the request says it; None where it does not say.

    Raises:
        Problem: it is no number.
    """
    value = record.headers.get(b"content-length")
    if value is None:
        return None
    if not value.isdigit() or len(value) > LONGEST_DECLARED:
        raise Problem(400, "Content-Length is not a number of bytes")
    return int(value)


def check_head(record: Record, max_bytes: int) -> None:
    """Refuse a body by what the head of the request says of it.

    Raises:
        Problem: it is too long, or encoded.
    """
    encoding = record.headers.get(b"content-encoding", b"identity").strip().lower()
    if encoding not in (b"", b"identity"):
        raise Problem(415, "the body has a Content-Encoding; only identity is taken: send it as it is")
    length = declared_length(record)
    if length is not None and length > max_bytes:
        raise too_long(max_bytes)


def too_long(max_bytes: int) -> Problem:
    """The problem of a body over the limit."""
    return Problem(
        413, f"the body is longer than the {max_bytes} bytes that are allowed: send smaller images"
    )


async def read_body(
    receive: Receive, record: Record, max_bytes: int, seconds: float, holding: Callable[[int], None]
) -> bytes:
    """Receive a body.

    Args:
        receive: gives the parts of it.
        record: told how much came.
        max_bytes: of it at most.
        seconds: until all of it must have come, however slowly it drips; nothing may come for ``STALL`` at most.
        holding: told the bytes of each part; raises when too many are held.

    Raises:
        Problem: too long, too late, or ``holding`` refuses it.
        ClientDisconnect: the client went away.
    """
    parts: list[bytes] = []
    try:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        async with asyncio.timeout(min(seconds, STALL)) as limit:
            while not record.is_read:
                part = await _next_part(receive, record)
                holding(len(part))
                if record.received > max_bytes:
                    raise too_long(max_bytes)
                parts.append(part)
                if not record.is_read:
                    limit.reschedule(min(end, loop.time() + STALL))
    except TimeoutError:
        message = f"the body did not come within {seconds:g} seconds, or nothing came for {STALL:g} seconds"
        raise Problem(408, message, {"Connection": "close"}) from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _next_part(receive: Receive, record: Record) -> bytes:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    part: bytes = message.get("body", b"")
    record.received += len(part)
    record.is_read = not message.get("more_body", False)
    return part


def check_content_type(record: Record) -> None:
    """Refuse, before it is received, a body that is neither an image nor a form that can hold one.

    Any other type is taken for an image: what curl sends without being told a type is called a form without files.

    Raises:
        Problem: several bodies in one that are no form.
    """
    kind = _kind(record)
    if kind.startswith(b"multipart/") and kind != b"multipart/form-data":
        raise Problem(415, f"a body of type {kind.decode('latin-1')} is not taken: {_HOW}")


def image_in(record: Record, body: bytes) -> bytes:
    """The encoded image in a body: all of it, or the one part of a form.

    Raises:
        Problem: a form that is damaged, or has not exactly one part.
    """
    if _kind(record) != b"multipart/form-data":
        return body
    _, options = parse_options_header(record.headers[b"content-type"])
    boundary = options.get(b"boundary", b"")
    if not 0 < len(boundary) <= MAX_BOUNDARY:
        raise Problem(400, f"the form's boundary must have 1 to {MAX_BOUNDARY} bytes")
    return _only_part(body, b"--" + boundary)


def _kind(record: Record) -> bytes:
    """The type of the body, without its parameters."""
    return record.headers.get(b"content-type", b"").split(b";", 1)[0].strip().lower()


def _only_part(body: bytes, delimiter: bytes) -> bytes:
    """What the one part of a form holds.

    By searches that take no longer for a hostile body: as one part is all that is taken, there is nothing to parse
    byte by byte.
    """
    closing = b"\r\n" + delimiter
    if body.count(closing) > 1:
        raise Problem(400, f"the form has several parts, exactly one is taken; {_HOW}")
    end = body.find(closing + b"--")
    if end < 0 or not body.startswith(delimiter + b"\r\n"):
        raise Problem(400, f"the form is damaged: it has no part between its boundaries; {_HOW}")
    start = body.find(b"\r\n\r\n", len(delimiter), len(delimiter) + MAX_PART_HEAD)
    if not 0 <= start < end:
        raise Problem(400, f"the headers of the form's part do not end within {MAX_PART_HEAD} bytes")
    _check_part_head(body[len(delimiter) + 2 : start])
    return body[start + 4 : end]


def _check_part_head(head: bytes) -> None:
    """Refuse a part that is no field of a form, or is encoded."""
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n") if b":" in line)
    kind, _ = parse_options_header(fields.get(b"content-disposition"))
    if kind != b"form-data":
        raise Problem(400, "the form's part has no Content-Disposition: form-data")
    encoding = fields.get(b"content-transfer-encoding", b"binary").strip()
    if encoding not in (b"binary", b"8bit", b"7bit"):
        raise Problem(415, "the form's part has a Content-Transfer-Encoding; send its bytes as they are")
