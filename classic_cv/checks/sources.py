"""Where images come from: folder, camera, date, the data's own groups, and whether that tells the class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks import small_model
from classic_cv.checks.predictive import Separation, separations
from classic_cv.checks.subject import Subject

UNKNOWN = "unknown"
"""The source of images whose file does not say: a source like others, since whole collections lack EXIF."""

DAY, MONTH = len("2024-05-31"), len("2024-05")


@dataclass(frozen=True, eq=False)
class Source:
    """One way to say where images come from.

    Attributes:
        name: ``folder``, ``camera``, ``day``, ``month`` or ``group``.
        values: str (n,), of the images asked for.
        probabilities: float64 (n, n_classes), from how often each class has the source among other images.
        separations: how well the source tells each class, the best first.
        shared: share of the images whose source has images of several classes.
    """

    name: str
    values: NDArray[np.str_]
    probabilities: NDArray[np.float64]
    separations: list[Separation]
    shared: float


def find_sources(subject: Subject, indices: NDArray[np.intp], codes: NDArray[np.intp]) -> list[Source]:
    """What is known of the images' sources, and how well it tells their classes.

    Args:
        subject: the data.
        indices: intp (n,), positions in the data set, all decoded.
        codes: intp (n,), their classes.

    Returns:
        those of which some source holds several images, and that are not the same for all.
    """
    found = []
    for name, values in _values(subject, indices).items():
        _, numbers, counts = np.unique(values, return_inverse=True, return_counts=True)
        # The data's own groups are never divided by a fold, so that they would tell nothing.
        groups = np.arange(len(indices)) if name == "group" else subject.groups(indices)
        fold = (
            small_model.folds(codes, groups, subject.job.seed)
            if len(counts) > 1 and counts.max() > 1
            else None
        )
        if fold is not None:
            found.append(_source(name, values, numbers, codes, fold))
    return found


def _values(subject: Subject, indices: NDArray[np.intp]) -> dict[str, NDArray[np.str_]]:
    survey = subject.survey
    rows = survey.rows(indices)
    dates = survey.date[rows]
    values: dict[str, Any] = {
        "folder": survey.folder[rows],
        "camera": survey.camera[rows],
        "day": dates.astype(f"U{DAY}"),
        "month": dates.astype(f"U{MONTH}"),
    }
    if subject.dataset.groups is not None:
        values["group"] = subject.dataset.groups[indices]
    return {name: np.where(column == "", UNKNOWN, column) for name, column in values.items()}


def _source(
    name: str,
    values: NDArray[np.str_],
    numbers: NDArray[np.intp],
    codes: NDArray[np.intp],
    fold: NDArray[np.intp],
) -> Source:
    n_classes = int(codes.max()) + 1
    counts = np.zeros((int(numbers.max()) + 1, n_classes))
    np.add.at(counts, (numbers, codes), 1)
    probabilities = np.tile(np.bincount(codes) / len(codes), (len(codes), 1))
    for number in range(fold.max() + 1):
        held_out = fold == number
        others = counts.copy()
        np.subtract.at(others, (numbers[held_out], codes[held_out]), 1)
        probabilities[held_out] = _shares(others)[numbers[held_out]]
    told = fold >= 0
    shared = float(((counts > 0).sum(axis=1) > 1)[numbers].mean())
    return Source(
        name, values, probabilities, separations([name], [probabilities[told]], codes[told]), shared
    )


def _shares(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of (n_sources, n_classes) the classes' shares in each source, with one image of the overall shares added."""
    overall = counts.sum(axis=0) / counts.sum()
    return np.asarray((counts + overall) / (counts.sum(axis=1, keepdims=True) + 1), np.float64)
