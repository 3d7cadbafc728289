"""The course of a training as JSON lines: one object per line, so that a run can be followed and plotted."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from classic_cv.errors import ArtifactError


class JsonLines:
    """Appends objects to a file, each at once; without a path it keeps them nowhere.

    Raises:
        ArtifactError: the file cannot be opened for writing.
    """

    def __init__(self, path: Path | None, append: bool = False) -> None:
        self.file: IO[str] | None = None
        if path is not None:
            try:
                self.file = path.open("a" if append else "w", encoding="utf-8")
            except OSError as error:
                raise ArtifactError(
                    f"{path}: the log cannot be written ({error.strerror}); give another file"
                ) from None

    def write(self, **entry: Any) -> None:
        """One line; numbers that JSON does not know (NaN, infinity) become null."""
        if self.file is not None:
            finite = {key: _finite(value) for key, value in entry.items()}
            self.file.write(json.dumps(finite, ensure_ascii=False) + "\n")
            self.file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.file is not None:
            self.file.close()


def _finite(value: Any) -> Any:
    """Floats rounded to six digits; None for NaN and infinity; NumPy's numbers as Python's; inside of lists too."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    if not isinstance(value, float):
        return value
    return float(f"{value:.6g}") if abs(value) < float("inf") else None
