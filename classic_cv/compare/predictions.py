"""Predictions that somebody else's model has made for the test images, from a CSV file."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classic_cv.dataset._dataset import class_name
from classic_cv.dataset._manifest import PATH_COLUMNS, read_table
from classic_cv.deep.predictor import are_probabilities
from classic_cv.errors import DatasetError
from classic_cv.task import listed

SUM_TOLERANCE = 1e-3
"""How far from 1 the sum of probabilities may be."""


@dataclass(frozen=True, eq=False)
class GivenPredictions:
    """What a file predicts for the test images, in their order.

    Attributes:
        labels: int64 (n,), class numbers.
        probabilities: float32 (n, n_classes), rows sum to 1; None where the file has labels only.
        ms: float64 (n,), as the file says; None where it does not. Nobody else has measured them.
        notes: sentences on rows that are not used.
    """

    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32] | None
    ms: NDArray[np.float64] | None
    notes: tuple[str, ...] = ()


def read_predictions(file: Path, names: Sequence[str], class_names: Sequence[str]) -> GivenPredictions:
    """Predictions for the test images ``names`` from a CSV file in UTF-8.

    Its columns are ``path`` (or ``file``: an image as the data set names it, with any folders before that; or the
    file's base name where only one test image has it), ``label`` or a column per class with its probability, and
    perhaps ``ms``, milliseconds per image. With both, ``label`` is what counts. Backslashes separate folders as
    slashes do. Rows of other images are left out.

    Args:
        file: the CSV.
        names: of the test images, as ``Dataset.names``.
        class_names: by class number.

    Raises:
        DatasetError: it cannot be read or is empty, columns are missing, a test image is missing or occurs twice, a
            label is no class, or a value is no number or no probability.
    """
    rows = read_table(file)
    if len(rows) < 2:
        raise DatasetError(
            f"{file}: has no predictions; expected are a header and a row for each of {len(names):,} images"
        )
    header = [class_name(name) for name in rows[0][1]]
    columns = _find_columns(file, header, class_names)
    found = _rows_of_images(file, rows[1:], len(header), columns.path, names)
    table = [(line, fields) for line, fields in (rows[1:][row] for row in found)]
    probabilities = ms = None
    if columns.classes is not None:
        values = _numbers(file, table, header, columns.classes)
        probabilities = _checked_probabilities(file, table, values)
    if columns.ms is not None:
        ms = _numbers(file, table, header, [columns.ms])[:, 0]
        if ms.min() < 0:
            raise DatasetError(f"{file}: line {table[int(ms.argmin())][0]}: ms is below 0")
    if columns.label is not None:
        labels = _labels(file, table, columns.label, class_names)
    else:
        assert probabilities is not None
        labels = probabilities.argmax(axis=1).astype(np.int64)
    unused = len(rows) - 1 - len(found)
    notes = (f"{unused:,} rows of other images than the test images are not used",) if unused else ()
    return GivenPredictions(labels, probabilities, ms, notes)


@dataclass(frozen=True)
class _Columns:
    """Positions of the columns."""

    path: int
    label: int | None
    classes: list[int] | None
    ms: int | None


def _find_columns(file: Path, header: Sequence[str], class_names: Sequence[str]) -> _Columns:
    found = f"its columns are: {', '.join(header)}"
    allowed = "expected are path, label or a column per class, and perhaps ms"
    known = [class_name(name) for name in class_names]
    twice = [name for name in dict.fromkeys(header) if name and header.count(name) > 1]
    if twice:
        raise DatasetError(f"{file}: column {twice[0]!r} occurs more than once; {found}")
    paths = [header.index(name) for name in PATH_COLUMNS if name in header and name not in known]
    if len(paths) != 1:
        what = "both a path and a file column" if paths else "no path column"
        raise DatasetError(f"{file}: {what}; {found}; {allowed}")
    missing = [name for name in known if name not in header]
    label = header.index("label") if "label" in header and "label" not in known else None
    if missing and (label is None or len(missing) < len(known)):
        what = (
            f"no label column, and none for the classes {listed(missing)}"
            if len(missing) == len(known)
            else f"no column for the classes {listed(missing)}"
        )
        raise DatasetError(f"{file}: {what}; {found}; {allowed}")
    ms = header.index("ms") if "ms" in header and "ms" not in known else None
    return _Columns(paths[0], label, None if missing else [header.index(name) for name in known], ms)


def _parts(name: str) -> tuple[str, ...]:
    """A path's folders and file, whatever separates them, in Unicode's composed form."""
    return tuple(part for part in class_name(name).replace("\\", "/").split("/") if part not in ("", "."))


class _Names:
    """Finds the test image that a path is meant for."""

    def __init__(self, file: Path, names: Sequence[str]) -> None:
        self.file, self.names = file, names
        self.full = {_parts(name): position for position, name in enumerate(names)}
        self.bases: dict[str, list[int]] = {}
        for position, name in enumerate(names):
            self.bases.setdefault(_parts(name)[-1], []).append(position)

    def position(self, text: str, line: int) -> int | None:
        """The image whose name ``text`` is or ends with, or whose base name it is; None for no test image."""
        parts = _parts(text)
        for start in range(len(parts)):
            if parts[start:] in self.full:
                return self.full[parts[start:]]
        same = self.bases.get(parts[0], []) if len(parts) == 1 else []
        if len(same) > 1:
            raise DatasetError(
                f"{self.file}: line {line}: {len(same)} test images are called {parts[0]!r}, such as "
                f"{listed([self.names[k] for k in same], 2)}; give the path as the data set names it"
            )
        return same[0] if same else None


def _rows_of_images(
    file: Path, rows: Sequence[tuple[int, list[str]]], width: int, path: int, names: Sequence[str]
) -> list[int]:
    """The position in ``rows`` of each image's row."""
    known = _Names(file, names)
    found: dict[int, int] = {}
    for row, (line, fields) in enumerate(rows):
        if len(fields) != width:
            raise DatasetError(f"{file}: line {line}: {len(fields)} fields where the header has {width}")
        position = known.position(fields[path], line)
        if position is None:
            continue
        if position in found:
            first = rows[found[position]][0]
            raise DatasetError(f"{file}: lines {first} and {line} are both for {names[position]!r}; keep one")
        found[position] = row
    missing = [name for position, name in enumerate(names) if position not in found]
    if missing:
        raise DatasetError(
            f"{file}: {len(missing):,} of {len(names):,} test images have no prediction: {listed(missing, 5)}; add "
            "a row for each, with the path as the data set names it"
        )
    return [found[position] for position in range(len(names))]


def _numbers(
    file: Path, table: Sequence[tuple[int, list[str]]], header: Sequence[str], columns: Sequence[int]
) -> NDArray[np.float64]:
    """float64 (n, len(columns)), finite."""
    values = np.full((len(table), len(columns)), np.nan)
    for row, (line, fields) in enumerate(table):
        for k, column in enumerate(columns):
            with contextlib.suppress(ValueError):
                values[row, k] = float(fields[column])
            if not np.isfinite(values[row, k]):
                raise DatasetError(
                    f"{file}: line {line}: {header[column]} is {fields[column]!r}, expected is a number such as 0.25"
                )
    return values


def _checked_probabilities(
    file: Path, table: Sequence[tuple[int, list[str]]], values: NDArray[np.float64]
) -> NDArray[np.float32]:
    wrong = [row for row in range(len(values)) if not are_probabilities(values[row : row + 1], SUM_TOLERANCE)]
    if wrong:
        row = values[wrong[0]]
        raise DatasetError(
            f"{file}: line {table[wrong[0]][0]}: the values of the classes are from {row.min():g} to {row.max():g} "
            f"and sum to {row.sum():g}, expected are probabilities from 0 to 1 that sum to 1; write the softmax of "
            "logits"
        )
    values = np.clip(values, 0, 1)
    found: NDArray[np.float32] = (values / values.sum(axis=1, keepdims=True)).astype(np.float32)
    return found


def _labels(
    file: Path, table: Sequence[tuple[int, list[str]]], column: int, class_names: Sequence[str]
) -> NDArray[np.int64]:
    known = {class_name(name): number for number, name in enumerate(class_names)}
    labels = np.empty(len(table), np.int64)
    for row, (line, fields) in enumerate(table):
        number = known.get(class_name(fields[column]))
        if number is None:
            raise DatasetError(
                f"{file}: line {line}: label {fields[column]!r} is no class; the classes are {listed(class_names)}"
            )
        labels[row] = number
    return labels
