"""What a check writes to be worked with: its findings as CSV, and the data without what must not stay in it."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.artifact import write_atomically
from classic_cv.checks.finding import Finding
from classic_cv.dataset import Dataset, Part, Split
from classic_cv.dataset._dataset import PARTS, part_of
from classic_cv.dataset._manifest import MISSING_TARGETS
from classic_cv.dataset._sources import ArraySource, FileSource, printable
from classic_cv.errors import DatasetError, ParameterError

COLUMNS = ("check", "kind", "severity", "item", "file", "score", "note", "message")

DELIMITERS = {".csv": ",", ".tsv": "\t"}
"""What stands between the fields of a manifest, by its suffix."""

Row = tuple[int, Part]
"""(position in the data set, part)"""


def findings_csv(findings: Sequence[Finding], names: Sequence[str]) -> str:
    """The findings as CSV with ``COLUMNS``: a row per file of each item, one without a file where there is no item.

    ``item`` counts the items of a finding from 1: files with the same number belong together. A score has as many
    digits as it takes to read it back exactly.

    Args:
        findings: in the order in which they are told.
        names: the data set's.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for finding in findings:
        writer.writerows(_finding_rows(finding, names))
    return text.getvalue()


def _finding_rows(finding: Finding, names: Sequence[str]) -> Iterator[list[str]]:
    head = [finding.check, finding.kind, finding.severity]
    if not finding.items:
        yield [*head, "", "", "", "", finding.message]
    for number, item in enumerate(finding.items, start=1):
        for index in item.indices:
            yield [*head, str(number), names[index], repr(float(item.score)), item.note, finding.message]


def check_clean_path(dataset: Dataset, path: Path) -> None:
    """Fail before any work when the cleaned data cannot be written in the form that ``path`` asks for.

    Raises:
        ParameterError: images of files need a name that ends in ``.csv`` or ``.tsv``, those of an npz ``.npz``; or
            ``path`` is the very file that the data were read from.
        DatasetError: a manifest cannot hold a name, see ``clean_manifest``; of an image that is left out later, too:
            only the checks will tell.
    """
    suffix = path.suffix.lower()
    allowed = [".npz"] if isinstance(dataset.source, ArraySource) else list(DELIMITERS)
    if suffix not in allowed:
        held = "an npz" if allowed == [".npz"] else "image files"
        raise ParameterError(
            f"{path}: cannot hold the cleaned data of {held}; give a name that ends in {' or '.join(allowed)}"
        )
    if path.exists() and path.samefile(dataset.path):
        raise ParameterError(f"{path}: is the data that is checked; give another name for the cleaned data")
    if isinstance(dataset.source, FileSource):
        clean_manifest(dataset, [(index, "train") for index in range(len(dataset))], path.parent)


def clean_rows(split: Split, readable: NDArray[np.integer], drop: AbstractSet[int]) -> list[Row]:
    """What stays, by position in the data set, with its part.

    Args:
        split: the parts; an image that is in none does not stay.
        readable: positions of the images that can be decoded.
        drop: positions to leave out.
    """
    kept = set(readable.tolist()) - drop
    parts = zip(PARTS, (split.train, split.val, split.test), strict=True)
    return sorted((index, part) for part, indices in parts for index in indices.tolist() if index in kept)


def write_clean(path: Path, dataset: Dataset, rows: Sequence[Row]) -> None:
    """Write the images of ``rows`` as a manifest, or an npz with the arrays of the one that was read.

    Parts are written as they are here, so that a test part that was split off stays the same.

    Raises:
        ParameterError: see ``check_clean_path``.
        DatasetError: see ``check_clean_path``; or nothing is left.
        ArtifactError: the file cannot be written.
    """
    check_clean_path(dataset, path)
    if not rows:
        raise DatasetError(f"{path}: no image is left to be written")
    if isinstance(dataset.source, ArraySource):
        write_atomically(path, _npz(dataset, rows))
    else:
        delimiter = DELIMITERS[path.suffix.lower()]
        write_atomically(path, clean_manifest(dataset, rows, path.parent, delimiter).encode())


def clean_manifest(dataset: Dataset, rows: Sequence[Row], folder: Path, delimiter: str = ",") -> str:
    """The images of ``rows`` as a manifest that is to lie in ``folder``.

    Its columns are path, the target, split, and group where the data has groups. Paths are relative to ``folder``
    for files below it, and absolute for others.

    Raises:
        DatasetError: a path is not UTF-8, or a target or a group begins or ends with a blank or means "none":
            read back, it would be another one.
    """
    columns = ["path", dataset.target_name, "split", *(["group"] if dataset.groups is not None else [])]
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(columns)
    for index, part in rows:
        group = [] if dataset.groups is None else [_field(dataset, index, str(dataset.groups[index]), {""})]
        target = _field(dataset, index, dataset.targets[index], MISSING_TARGETS)
        writer.writerow([_path(dataset, index, folder), target, part, *group])
    return text.getvalue()


def _path(dataset: Dataset, index: int, folder: Path) -> str:
    source = dataset.source
    if not isinstance(source, FileSource):
        raise ParameterError(f"{dataset.path}: its images are no files; a manifest lists files")
    # Not resolved: a link stays the name by which the user knows the file.
    file = Path(os.path.abspath(os.path.join(source.root, source.files[index])))
    below = Path(os.path.abspath(folder))
    shown = f"./{file.relative_to(below)}" if file.is_relative_to(below) else str(file)
    # A reader strips blanks; without need the dot is only noise.
    shown = shown.removeprefix("./") if shown[2:].strip() == shown[2:] else shown
    try:
        shown.encode()
    except UnicodeEncodeError:
        raise _unwritable(dataset, index, f"its path {printable(shown)} is not UTF-8") from None
    if shown.strip() != shown:
        raise _unwritable(dataset, index, "its file name ends with a blank")
    return shown


def _field(dataset: Dataset, index: int, text: str, missing: AbstractSet[str]) -> str:
    if text.strip() != text or text.casefold() in missing:
        raise _unwritable(dataset, index, f"{text!r} would be read back as something else")
    return text


def _unwritable(dataset: Dataset, index: int, reason: str) -> DatasetError:
    return DatasetError(
        f"{dataset.names[index]}: cannot be written into a manifest: {reason}; rename it first"
    )


def _npz(dataset: Dataset, rows: Sequence[Row]) -> bytes:
    """The arrays of the npz that ``dataset`` was read from, cut down to ``rows``, with the labels as stored there."""
    places = {index: _place(dataset.names[index]) for index, _ in rows}
    with np.load(dataset.path, allow_pickle=False) as stored:
        arrays = {"class_names": stored["class_names"]} if "class_names" in stored.files else {}
        keys = {part: _key(stored.files, part) for part in PARTS}
        for part in PARTS:
            chosen = [places[index] for index, its in rows if its == part]
            for what in ("images", "labels"):
                if chosen:
                    arrays[f"{keys[part]}_{what}"] = _taken(stored, chosen, what)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _place(name: str) -> tuple[str, int]:
    """``train_images[17]`` as (``train``, 17)."""
    key, _, number = name.removesuffix("]").rpartition("[")
    return key.removesuffix("_images"), int(number)


def _key(files: Sequence[str], part: Part) -> str:
    """What the npz calls a part; the part's own name where it has none."""
    found = [file.removesuffix("_images") for file in files if file.endswith("_images")]
    return next((name for name in found if part_of(name) == part), part)


def _taken(stored: Any, places: Sequence[tuple[str, int]], what: str) -> NDArray[Any]:
    """The rows ``places`` of the arrays of images or of labels, in this order."""
    keys = list(dict.fromkeys(key for key, _ in places))
    return np.concatenate([stored[f"{key}_{what}"][[i for k, i in places if k == key]] for key in keys])
