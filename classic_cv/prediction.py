"""Predictions for paths as the command line gives them: files, folders, standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.dataset import find_images
from classic_cv.errors import DatasetError
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
    model: Model, paths: Sequence[str], top: int = 5, jobs: int = 1
) -> Iterator[dict[str, Any]]:
    """Predict files and folders, batch by batch.

    Yields:
        per image ``{"path", "label", "probability", "top": [{"label", "probability"}, …]}``, or
        ``{"path", "value"}`` from a model that estimates a number, or
        ``{"path", "error"}`` for one that cannot be read.
    """
    source = PathSource(expand(paths))
    for batch in extract_batches(source, range(len(source.names)), model.featurizer, jobs):
        outputs = model.outputs(batch.features) if batch.kept else ()
        for index, row in zip(batch.kept, outputs, strict=True):
            if model.task == "regression":
                yield {"path": source.names[index], "value": float(row)}
                continue
            ranked = _ranked(row, model.class_names, top)
            yield {"path": source.names[index], **ranked[0], "top": ranked}
        for problem in batch.problems:
            yield {"path": problem.source, "error": str(problem)}


def _ranked(row: NDArray[np.float32], names: Sequence[str], top: int) -> list[dict[str, Any]]:
    order = np.argsort(-row, kind="stable")[:top]
    return [{"label": names[k], "probability": float(row[k])} for k in order]
