"""The parameters in the address of a request, checked by the type of a struct."""

from __future__ import annotations

from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request

from classic_cv.serve.problems import Problem

Q = TypeVar("Q", bound=msgspec.Struct)

MOST_PARAMETERS = 16


def query_of(request: Request, kind: type[Q]) -> Q:
    """The parameters of a request as a struct of ``kind``.

    Raises:
        Problem: one is unknown, given twice, or has a value that is not allowed.
    """
    text = request.scope["query_string"].decode("latin-1")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_PARAMETERS) if text else []
    except ValueError:
        raise Problem(400, f"more than {MOST_PARAMETERS} parameters") from None
    given = dict(pairs)
    if len(given) < len(pairs):
        raise Problem(400, "a parameter is given twice; give each once")
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        known = ", ".join(field.encode_name for field in msgspec.structs.fields(kind))
        raise Problem(400, f"parameters: {error}; there are {known}") from None
