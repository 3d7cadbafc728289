"""The models of a service as they are given on the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from classic_cv.errors import ClassicCVError
from classic_cv.serve.settings import ModelSource

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What needs no escapes in a path of a request."""

_ADDRESS = re.compile(r"[a-z]+:.*", re.IGNORECASE)


class SourceError(ClassicCVError):
    """Models or primaries were given in a way that is not clear."""


def model_sources(models: Sequence[str], primaries: Sequence[str] = ()) -> tuple[ModelSource, ...]:
    """Models by name, with their primaries.

    Args:
        models: ``FILE`` or ``NAME=FILE``; the name is the file's without its ending by default.
        primaries: ``URL_OR_FILE`` for the only model, or ``NAME=URL_OR_FILE``.

    Raises:
        SourceError: a name that does not fit into a path, or occurs twice; a primary for no model, or a second one.
    """
    sources: dict[str, ModelSource] = {}
    for text in models:
        source = _model(text)
        if source.name in sources:
            raise SourceError(
                f"{text}: there is a model {source.name!r} already; give it another name: other={source.path}"
            )
        sources[source.name] = source
    for text in primaries:
        name, primary = _primary(text, tuple(sources))
        if sources[name].primary is not None:
            raise SourceError(f"{text}: the model {name!r} has a primary already")
        sources[name] = msgspec.structs.replace(sources[name], primary=primary)
    return tuple(sources.values())


def _model(text: str) -> ModelSource:
    name, sign, rest = text.partition("=")
    if not sign or not _NAME.fullmatch(name) or Path(text).exists():
        name, rest = Path(text).stem, text
    if not _NAME.fullmatch(name):
        raise SourceError(
            f"{text}: {name!r} is no name for a model: up to 64 letters without accents, digits, dots, underscores and "
            f"hyphens; give it one: NAME={rest}"
        )
    return ModelSource(name=name, path=_absolute(rest))


def _primary(text: str, names: tuple[str, ...]) -> tuple[str, str]:
    """The name of the model that a primary is for, and the primary."""
    name, sign, rest = text.partition("=")
    if sign and name in names:
        return name, _absolute(rest)
    if sign and _NAME.fullmatch(name) and not Path(text).exists():
        raise SourceError(f"{text}: there is no model {name!r}: there are {', '.join(names)}")
    if len(names) > 1:
        raise SourceError(f"{text}: for which of the models {', '.join(names)} is it? Give NAME={text}")
    return names[0], _absolute(text)


def _absolute(text: str) -> str:
    """A path that stays right; links in it are followed anew at each look, since replacing one replaces the file."""
    return text if _ADDRESS.fullmatch(text) else str(Path.cwd() / text)
