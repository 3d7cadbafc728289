"""The log of a service: one JSON object a line on standard error, without anything of what was sent."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from classic_cv.errors import ClassicCVError
from classic_cv.serve.stderr import StandardError

LONGEST_TRACEBACK = 3000

_ENCODER = json.JSONEncoder(separators=(",", ":"), default=str)


class RequestLog:
    """Writes what happened as JSON lines with ``time``, ``pid`` and ``event``.

    Args:
        quiet: no line per request.
        write: takes each line, the newline included; standard error by default.
    """

    def __init__(self, quiet: bool = False, write: Callable[[bytes], object] | None = None) -> None:
        self.quiet = quiet
        self._write = StandardError().write if write is None else write

    def request(
        self,
        *,
        request_id: str,
        method: str,
        endpoint: str,
        status: int,
        ms: float,
        bytes: int,
        model: str | None = None,
        images: int | None = None,
        served_by: str | None = None,
        reason: str | None = None,
        client_gone: bool = False,
    ) -> None:
        """A request that was answered, or whose client went away.

        Args:
            endpoint: the template of the route, never the path that was asked for.
            bytes: of the body that was received.
            reason: why the primary did not answer.
        """
        if self.quiet:
            return
        fields = {
            "request_id": request_id,
            "method": method,
            "endpoint": endpoint,
            "status": status,
            "ms": round(ms, 3),
            "bytes": bytes,
            "model": model,
            "images": images,
            "served_by": served_by,
            "reason": reason,
            "client_gone": client_gone or None,
        }
        self._line("request", fields)

    def event(self, name: str, **fields: Any) -> None:
        """Something else; an exception among the fields becomes its message, and a traceback if it was not foreseen."""
        plain: dict[str, Any] = {}
        for key, value in fields.items():
            plain[key] = value
            if isinstance(value, BaseException):
                plain[key] = str(value)
            if isinstance(value, BaseException) and not isinstance(value, ClassicCVError):
                # The end, so that a line is written in one piece.
                plain["traceback"] = "".join(traceback.format_exception(value))[-LONGEST_TRACEBACK:]
        self._line(name, plain)

    def _line(self, name: str, fields: dict[str, Any]) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        record = {"time": now, "pid": os.getpid(), "event": name}
        record |= {key: value for key, value in fields.items() if value is not None}
        self._write(f"{_ENCODER.encode(record)}\n".encode("ascii"))
