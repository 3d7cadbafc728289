"""What is wrong with a request, as a status and the JSON ``{"error": "…"}`` with nothing internal in it."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec
from msgspec import UNSET, UnsetType
from starlette.responses import Response

from classic_cv.errors import ClassicCVError, ExplanationError, ImageError
from classic_cv.oip.tensors import OipError
from classic_cv.serve.registry import UnknownModelError

JSON = "application/json"

LONGEST_MESSAGE = 1000
"""Characters; a message may repeat what was sent."""

_STATUS: Mapping[type[ClassicCVError], int] = {
    ImageError: 400,
    OipError: 400,
    UnknownModelError: 404,
    ExplanationError: 422,
}

# How Python shows objects that a library put into its message: with their place in memory.
_OBJECT = re.compile(r"<[^<>]* at 0x[0-9a-fA-F]+>")


class ErrorBody(msgspec.Struct, omit_defaults=True):
    """Why a request was refused; the protocol's form.

    Attributes:
        error: what is wrong, what is allowed and what to do.
        request_id: of an internal error, by which the log has more of it.
    """

    error: str
    request_id: str | UnsetType = UNSET


class Problem(ClassicCVError):
    """A request is refused.

    Attributes:
        status: of HTTP.
        message: for the client.
        headers: of the answer, besides those that every answer has.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})


def problem_of(error: Exception) -> Problem | None:
    """The problem that an error is to the client; None where it is ours, and its message may hold internals."""
    if isinstance(error, Problem):
        return error
    for kind, status in _STATUS.items():
        if isinstance(error, kind):
            return Problem(status, str(error))
    return None


def refusal(problem: Problem) -> Response:
    """The answer that tells a problem."""
    return json_response(ErrorBody(_shown(problem.message)), problem.status, problem.headers)


def internal_error(request_id: str) -> Response:
    """The answer where something is wrong with the service."""
    return json_response(ErrorBody("internal error", request_id), 500)


def json_response(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Anything that msgspec encodes, as JSON."""
    return Response(msgspec.json.encode(value), status, headers, JSON)


def _shown(message: str) -> str:
    """A message as it may be sent: of bounded length, valid Unicode, and without places in memory."""
    text = _OBJECT.sub("an object", message).encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= LONGEST_MESSAGE else text[: LONGEST_MESSAGE - 1] + "…"
