"""Predictions for paths as the command line gives them: files, folders, standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.abstention import UNKNOWN, abstains
from classic_cv.artifact import check_writable
from classic_cv.dataset import find_images
from classic_cv.errors import ArtifactError, DatasetError, ImageError
from classic_cv.extraction import extract_batches
from classic_cv.model import Model

STANDARD_INPUT = "-"


class PathSource:
    """Image files, and standard input, as a source of images."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = paths
        self.names = ["<stdin>" if path == STANDARD_INPUT else path for path in paths]

    def read(self, index: int) -> Path | bytes:
        """The path of a file, which is read when it is decoded, or the bytes on standard input."""
        path = self.paths[index]
        return sys.stdin.buffer.read() if path == STANDARD_INPUT else Path(path)


def expand(paths: Sequence[str]) -> list[str]:
    """File names as given, folders replaced by the image files below them.

    Raises:
        DatasetError: a folder without image files, or - given twice.
    """
    if list(paths).count(STANDARD_INPUT) > 1:
        raise DatasetError("- is given twice: standard input can be read only once")
    names: list[str] = []
    for path in paths:
        if path != STANDARD_INPUT and Path(path).is_dir():
            found = [str(file) for file in find_images(Path(path))]
            if not found:
                raise DatasetError(f"{path}: no image files in this folder")
            names += found
        else:
            names.append(path)
    return names


def predict_paths(
    model: Model, paths: Sequence[str], top: int = 5, jobs: int = 1, abstain: float | None = None
) -> Iterator[dict[str, Any]]:
    """Predict files and folders, batch by batch.

    Args:
        abstain: the label is ``unknown`` where no class is so probable; ``abstention.check_abstention`` allows it.

    Yields:
        per image ``{"path", "label", "probability", "top": [{"label", "probability"}, …]}``, with ``abstain`` and
        ``"abstained"`` before ``"top"``; or ``{"path", "value"}`` from a model that estimates a number, or
        ``{"path", "error"}`` for one that cannot be read.
    """
    source = PathSource(expand(paths))
    for batch in extract_batches(source, range(len(source.names)), model.featurizer, jobs):
        outputs = model.outputs(batch.features) if batch.kept else ()
        for index, row in zip(batch.kept, outputs, strict=True):
            yield _prediction(model, source.names[index], row, top, abstain)
        for problem in batch.problems:
            yield {"path": problem.source, "error": str(problem)}


def check_explaining(paths: Sequence[str], file: Path, *used: Path) -> None:
    """Check that an explanation of the one image among ``paths`` can be written to ``file``, before any work.

    Args:
        used: files that are read, and so must not be overwritten.

    Raises:
        DatasetError: no or several images.
        ArtifactError: ``file`` is no PNG, cannot be written, or is one of the files that are read.
    """
    names = expand(paths)
    if len(names) != 1:
        raise DatasetError(f"--explain draws one image, but {len(names)} are given: give one")
    if file.suffix.lower() != ".png":
        raise ArtifactError(f"{file}: an explanation is a PNG image; give a name that ends in .png")
    check_writable(file)
    read = [*map(Path, names), *used]
    if file.exists() and any(path.exists() and file.samefile(path) for path in read):
        raise ArtifactError(f"{file}: is read here and would be overwritten; give another name")


def predict_explained(
    model: Model,
    paths: Sequence[str],
    file: Path,
    class_name: str | None = None,
    top: int = 5,
    abstain: float | None = None,
) -> dict[str, Any]:
    """Predict one image, and draw what each of its parts adds to the score of a class into a PNG file.

    Returns:
        What ``predict_paths`` yields, with ``explanation``: ``class, score, bias, groups, file``.

    Raises:
        ImageError: the image cannot be used.
        ExplanationError: the model cannot be explained, or has no such class.
        ArtifactError: the file cannot be written.
    """
    source = PathSource(expand(paths))
    item = source.read(0)
    try:
        explanation = model.explain(item, class_name)
        explanation.save_drawing(file, item)
    except ImageError as error:
        raise ImageError(source.names[0], error.reason) from None
    [output] = model.outputs(model.features([item]))
    prediction = _prediction(model, source.names[0], output, top, abstain)
    return {**prediction, "explanation": {**explanation.to_table(), "file": str(file)}}


def _prediction(model: Model, name: str, output: Any, top: int, abstain: float | None) -> dict[str, Any]:
    """An image's name and its ranked classes, or the number that is estimated."""
    if model.task == "regression":
        return {"path": name, "value": float(output)}
    ranked = _ranked(output, model.class_names, top)
    told = {"path": name, **ranked[0]}
    if abstain is not None:
        told["abstained"] = bool(abstains(output, abstain))
        if told["abstained"]:
            told["label"] = UNKNOWN
    return {**told, "top": ranked}


def _ranked(row: NDArray[np.float32], names: Sequence[str], top: int) -> list[dict[str, Any]]:
    order = np.argsort(-row, kind="stable")[:top]
    return [{"label": names[k], "probability": float(row[k])} for k in order]
