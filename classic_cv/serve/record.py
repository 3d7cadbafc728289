"""What is known of a request while it is answered: for the log, the metrics and its answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.types import Scope

if TYPE_CHECKING:
    from classic_cv.answer import Answer

_KEY = "classic_cv.record"


@dataclass(slots=True)
class Record:
    """A request and what became of it.

    Attributes:
        request_id: comes back in the answer.
        method: of HTTP.
        headers: of the request, names in small letters; of several with a name the last.
        endpoint: the template of the route, ``other`` for paths that there are not.
        status: of the answer; 0 until it starts.
        received: bytes of the body so far.
        is_read: the whole body was received.
        model: name of the model that was asked.
        images: how many were answered.
        served_by, reason: of the answers, several joined by commas.
        client_gone: the client did not wait for the answer.
    """

    request_id: str
    method: str
    headers: dict[bytes, bytes]
    endpoint: str = "other"
    status: int = 0
    received: int = 0
    is_read: bool = False
    model: str | None = None
    images: int | None = None
    served_by: str | None = None
    reason: str | None = None
    client_gone: bool = field(default=False)

    def put_into(self, scope: Scope) -> None:
        """Let ``record_of`` find it."""
        scope[_KEY] = self

    def answered(self, answers: Iterable[Answer]) -> None:
        """Note who answered the images, and why."""
        answers = list(answers)
        self.images = len(answers)
        self.served_by = joined(answer.served_by for answer in answers)
        self.reason = joined(answer.reason for answer in answers)


def record_of(request: Request) -> Record:
    """The record of a request."""
    record: Record = request.scope[_KEY]
    return record


def joined(texts: Iterable[str | None]) -> str | None:
    """The different texts in the order of their first appearance, by commas; None where there is none."""
    return ",".join(dict.fromkeys(text for text in texts if text is not None)) or None
