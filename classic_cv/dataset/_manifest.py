"""A CSV or TSV manifest: one row per image, with its path, its target and perhaps its split and group."""

from __future__ import annotations

import csv
import io
import math
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from classic_cv.dataset._dataset import Dataset, Part, class_name, listing, part_of, sorted_classes
from classic_cv.dataset._hashing import Problem
from classic_cv.dataset._sources import FileSource, os_reason, printable
from classic_cv.errors import DatasetError

SUFFIXES = (".csv", ".tsv")
PATH_COLUMNS = ("path", "file")
MISSING_TARGETS = frozenset({"", "nan", "<na>", "#n/a"})


class _Columns(NamedTuple):
    """Positions of the columns."""

    path: int
    target: int
    split: int | None
    group: int | None


class _Row(NamedTuple):
    line: int
    file: str
    target: str
    part: Part | None
    group: str


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: {os_reason(error)}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DatasetError(f"{path}: line {line} is not UTF-8 text; save the file as UTF-8") from None


def _rows(path: Path, text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    """(line number of its end, fields) of each row that is not blank."""
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    rows = []
    try:
        for row in reader:
            if any(field.strip() for field in row):
                rows.append((reader.line_num, [field.strip() for field in row]))
    except csv.Error as error:
        raise DatasetError(f"{path}: line {reader.line_num}: {error}") from None
    return rows


def _delimiter(path: Path, text: str) -> str:
    """Comma, tab or semicolon: the one that finds a path column in the header, the suffix's own first."""
    first = "\t" if path.suffix.lower() == ".tsv" else ","
    header = next((line for line in text.splitlines() if line.strip()), "")
    candidates = [first, *(other for other in ",\t;" if other != first)]

    def score(delimiter: str) -> tuple[bool, int]:
        fields = [field.strip().casefold() for field in next(csv.reader([header], delimiter=delimiter), [])]
        return any(name in fields for name in PATH_COLUMNS) and len(fields) > 1, len(fields)

    return max(candidates, key=score)


def read_table(path: Path) -> list[tuple[int, list[str]]]:
    """(line number, fields) of each row that is not blank, the header first; comma, tab or semicolon between fields.

    Raises:
        DatasetError: it cannot be read, is not UTF-8, or its quotes do not match.
    """
    text = _text(path)
    return _rows(path, text, _delimiter(path, text))


def has_path_column(path: Path) -> bool:
    """Whether this file's header has a path or file column; not every CSV beside images is a manifest."""
    try:
        rows = read_table(path)
    except DatasetError:
        return True  # meant or not, reading it says what is wrong
    return bool(rows) and any(field.casefold() in PATH_COLUMNS for field in rows[0][1])


def _columns(path: Path, header: Sequence[str], target: str | None) -> _Columns:
    names = [name.casefold() for name in header]
    found = f"its columns are: {', '.join(header)}"
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    if repeated:
        raise DatasetError(f"{path}: column {repeated[0]!r} occurs more than once; {found}")
    paths = [names.index(name) for name in PATH_COLUMNS if name in names]
    if len(paths) != 1:
        what = "both a path and a file column" if paths else "no path or file column"
        raise DatasetError(f"{path}: {what}; {found}; a manifest has one of them, and a target")
    split = names.index("split") if "split" in names else None
    group = names.index("group") if "group" in names else None
    # A column without a name is a row number that a data frame wrote.
    left = [i for i, name in enumerate(names) if name and i not in (paths[0], split, group)]
    if target is not None:
        matches = [i for i in left if names[i] == target.strip().casefold()]
        if not matches:
            raise DatasetError(f"{path}: no target column {target!r}; {found}")
        return _Columns(paths[0], matches[0], split, group)
    if not left:
        raise DatasetError(f"{path}: no target column beside {header[paths[0]]!r}; {found}")
    if len(left) > 1:
        choice = ", ".join(header[i] for i in left)
        raise DatasetError(
            f"{path}: several columns could be the target: {choice}; choose one with --target NAME"
        )
    return _Columns(paths[0], left[0], split, group)


def _locate(folder: Path, file: str) -> str:
    """``file`` as it can be opened from ``folder``; a path with backslashes may come from Windows."""
    if "\\" in file and os.sep == "/" and not os.path.exists(os.path.join(folder, file)):
        file = file.replace("\\", "/")
    return os.path.normpath(file)


def _file_problem(path: str) -> str | None:
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        return os_reason(error) if isinstance(error, OSError) else str(error)
    if stat.S_ISREG(mode):
        return None
    return "is a folder" if stat.S_ISDIR(mode) else "is not a regular file"


def _parse_row(fields: Sequence[str], width: int, columns: _Columns, folder: Path, line: int) -> _Row | str:
    """The sample that a row describes, or why it is none."""
    if len(fields) != width:
        return f"{len(fields)} fields where the header has {width}"
    part = None
    if columns.split is not None:
        part = part_of(fields[columns.split])
        if part is None:
            return f"split is {fields[columns.split]!r}, expected train, val or test"
    if fields[columns.target].casefold() in MISSING_TARGETS:
        return "no target"
    if not fields[columns.path]:
        return "no path"
    file = _locate(folder, fields[columns.path])
    problem = _file_problem(os.path.join(folder, file))
    if problem:
        return problem
    group = (fields[columns.group] or f"(line {line})") if columns.group is not None else ""
    return _Row(line, file, class_name(fields[columns.target]), part, group)


def _drop_repeated(rows: Sequence[_Row]) -> tuple[list[_Row], list[Problem], list[Problem]]:
    """Rows without repetitions; the problems (one image, several targets); the repetitions left out.

    The same image in two parts is kept in both: the given split is not changed, only reported on.
    """
    targets: dict[str, set[str]] = {}
    for row in rows:
        targets.setdefault(row.file, set()).add(row.target)
    kept: list[_Row] = []
    problems: list[Problem] = []
    repeated: list[Problem] = []
    first: dict[tuple[str, Part | None], int] = {}
    for row in rows:
        name = printable(row.file)
        if len(targets[row.file]) > 1:
            reason = f"line {row.line}: listed with several targets: {listing(sorted(targets[row.file]))}"
            problems.append(Problem(name, reason))
        elif (row.file, row.part) in first:
            repeated.append(Problem(name, f"line {row.line} repeats line {first[row.file, row.part]}"))
        else:
            first[row.file, row.part] = row.line
            kept.append(row)
    return kept, problems, repeated


def _numeric(targets: Sequence[str]) -> NDArray[np.float64] | None:
    """The targets as float64 if all are finite numbers."""
    try:
        values = [float(target) for target in targets if "_" not in target]
    except ValueError:
        return None
    finite = len(values) == len(targets) and all(math.isfinite(value) for value in values)
    return np.array(values, dtype=np.float64) if finite else None


def read_manifest(path: Path, target: str | None = None) -> Dataset:
    """Read the manifest ``path``; image paths are relative to its folder, or absolute.

    Raises:
        DatasetError: not UTF-8, no rows, columns missing or ambiguous, or no row that can be used.
    """
    rows = read_table(path)
    if len(rows) < 2:
        raise DatasetError(f"{path}: the manifest has no rows{'' if rows else ' and no header'}")
    header = rows[0][1]
    columns = _columns(path, header, target)
    split = columns.split
    if split is not None and not any(len(row) > split and row[split] for _, row in rows[1:]):
        columns = columns._replace(split=None)  # a column left empty gives no parts
    good: list[_Row] = []
    problems: list[Problem] = []
    for line, fields in rows[1:]:
        row = _parse_row(fields, len(header), columns, path.parent, line)
        if isinstance(row, _Row):
            good.append(row)
        else:
            name = fields[columns.path] if columns.path < len(fields) else path.name
            problems.append(Problem(printable(name or path.name), f"line {line}: {row}"))
    good, conflicts, repeated = _drop_repeated(good)
    problems += conflicts
    if not good:
        reasons = listing((f"{problem.source}: {problem.reason}" for problem in problems), most=2)
        raise DatasetError(
            f"{path}: none of its {len(rows) - 1:,} rows can be used ({reasons}); "
            f"paths are taken relative to {path.parent}"
        )
    unused = [name for i, name in enumerate(header) if name and i not in columns]
    targets = tuple(row.target for row in good)
    return Dataset(
        path=path,
        layout="manifest",
        source=FileSource(path.parent, [row.file for row in good]),
        targets=targets,
        class_names=sorted_classes(targets),
        target_name=header[columns.target],
        parts=tuple(row.part for row in good if row.part is not None) or None,
        groups=np.array([row.group for row in good]) if columns.group is not None else None,
        numeric=_numeric(targets),
        problems=tuple(problems),
        ignored=tuple(repeated),
        notes=(f"columns not used: {', '.join(unused)}",) if unused else (),
    )
