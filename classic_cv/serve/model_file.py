"""Model files as they are found: what tells one from the next in its place."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from classic_cv.errors import ArtifactError
from classic_cv.model import Model, load

VERSION_DIGITS = 8


class Stamp(NamedTuple):
    """What differs when a file was replaced or written to."""

    inode: int
    size: int
    mtime_ns: int


def stamp_of(path: str | Path) -> Stamp | None:
    """None: there is no such file now."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return Stamp(found.st_ino, found.st_size, found.st_mtime_ns)


class UnreadableError(ArtifactError):
    """The system does not let a file be read now."""


def check_readable(path: str | Path) -> None:
    """Raise UnreadableError where a file cannot be opened."""
    try:
        with open(path, "rb"):
            return
    except OSError as error:
        raise UnreadableError(f"{path}: cannot be read ({error.strerror or error})") from None


def version_of(data: bytes) -> str:
    """The first 8 hex digits of the SHA-256 of a file's bytes."""
    return hashlib.sha256(data).hexdigest()[:VERSION_DIGITS]


def read_model(path: str | Path) -> tuple[str, Model]:
    """The version and the model of a file.

    Raises:
        ArtifactError: it is no model, or was changed while it was read.
    """
    before = stamp_of(path)
    model = load(path)
    try:
        version = version_of(Path(path).read_bytes())
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror or error})") from None
    if stamp_of(path) != before:
        raise ArtifactError(f"{path}: was changed while it was read; replace it with one rename")
    return version, model
