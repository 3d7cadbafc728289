"""What is to be learned from a data set: classes, one class against the rest, or a number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from classic_cv.dataset import Dataset, quantile_bins
from classic_cv.errors import DatasetError

TaskKind = Literal["classification", "regression"]
TaskName = Literal["auto", "classification", "regression"]

MAX_NUMERIC_CLASSES = 20
"""A target with more different numbers than this is a measurement, not a class."""


@dataclass(frozen=True, eq=False)
class Task:
    """Targets of all samples of a data set.

    Attributes:
        kind: ``classification`` or ``regression``.
        y: int64 class numbers into ``class_names``, or float64 targets, (len(dataset),).
        class_names: of a classification; empty for a regression.
        positive: the class that is told from all others, where only that is asked.
        note: how the kind was decided, where that may surprise; else empty.
    """

    kind: TaskKind
    y: NDArray[Any]
    class_names: tuple[str, ...] = ()
    positive: str | None = None
    note: str = ""


def rest_of(positive: str) -> str:
    """What all other classes together are called."""
    return f"not {positive}"


def make_task(dataset: Dataset, task: TaskName = "auto", positive: str | None = None) -> Task:
    """Decide what is learned.

    Args:
        dataset: its targets.
        task: ``auto`` takes a manifest's numeric target with more than 20 different values as a regression.
        positive: a class; all others become one class, ``not CLASS``.

    Raises:
        DatasetError: a regression without numeric targets, or ``positive`` is no class.
    """
    numeric = numbers_of(dataset)
    distinct = len(dataset.class_names)
    measured = dataset.numeric is not None and distinct > MAX_NUMERIC_CLASSES
    if positive is not None:
        if task == "regression":
            raise DatasetError(
                "a positive class makes a classification: give --positive or --task regression"
            )
        return _one_against_rest(dataset, positive)
    if task == "regression" or (task == "auto" and measured):
        if numeric is None:
            raise DatasetError(
                f"{dataset.path}: the target {dataset.target_name!r} is not numeric, such as "
                f"{dataset.targets[0]!r}: a regression needs numbers; leave --task out to tell classes apart"
            )
        note = (
            f"the target {dataset.target_name!r} has {distinct} different numbers, more than "
            f"{MAX_NUMERIC_CLASSES}: estimated as a number (--task classification overrides)"
        )
        return Task("regression", numeric, note=note if task == "auto" else "")
    return Task("classification", dataset.y, dataset.class_names)


def numbers_of(dataset: Dataset) -> NDArray[np.float64] | None:
    """The targets as numbers, also of folders and arrays where all are; None where some are not."""
    if dataset.numeric is not None:
        return dataset.numeric
    try:
        values = np.array([float(name) for name in dataset.class_names])
    except ValueError:
        return None
    return values[dataset.y] if np.isfinite(values).all() else None


def _one_against_rest(dataset: Dataset, positive: str) -> Task:
    if positive not in dataset.class_names:
        known = ", ".join(repr(name) for name in dataset.class_names[:20])
        raise DatasetError(f"{dataset.path}: no class {positive!r} for --positive; its classes are: {known}")
    y = (dataset.y == dataset.class_names.index(positive)).astype(np.int64)
    return Task("classification", y, (rest_of(positive), positive), positive)


def strata_of(dataset: Dataset, task: Task) -> NDArray[np.int64] | None:
    """What the split is stratified by: bins of a numeric target; None for the data's own classes.

    One class against the rest keeps the split of all classes, so that its figures compare with theirs.
    """
    return quantile_bins(task.y) if task.kind == "regression" else None


def listed(names: Sequence[str], most: int = 10) -> str:
    """``'a', 'b' and 3 more``."""
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
