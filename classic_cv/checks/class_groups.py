"""Properties that divide the classes into two groups: each class alone is hidden among those of its group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.auc import auc_with_interval
from classic_cv.checks.predictive import log_chance

CUTS = 3
"""Gaps between the classes' medians that are tried, the widest first: what a group was treated to makes one of them."""

FEWEST_CLASSES = 4
"""Two against two: a group of one is a class that is told alone."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """A property by which images of one group of classes are told from those of all others.

    Attributes:
        name: the property.
        codes: the classes of the smaller group.
        auc: area under the ROC curve of the property itself, 0.5 to 1.
        ci95: its interval.
        p: Mann-Whitney test, corrected for the properties, and for all ways to divide the classes in two.
    """

    name: str
    codes: tuple[int, ...]
    auc: float
    ci95: tuple[float, float]
    p: float


def groupings(columns: Mapping[str, NDArray[np.floating[Any]]], codes: NDArray[np.intp]) -> list[Grouping]:
    """For each property the division of the classes in two that it tells best; none of fewer than four classes.

    Args:
        columns: (n,) of each property, finite.
        codes: (n,), classes.
    """
    n_classes = len(np.unique(codes))
    if n_classes < FEWEST_CLASSES:
        return []
    tried = float(np.log(2) * (n_classes - 1) + np.log(max(1, len(columns))))
    found = [_best(name, column, codes, tried) for name, column in columns.items()]
    return [one for one in found if one is not None]


def _best(
    name: str, column: NDArray[np.floating[Any]], codes: NDArray[np.intp], tried: float
) -> Grouping | None:
    classes = np.unique(codes)
    medians = np.array([np.median(column[codes == code]) for code in classes])
    order = np.argsort(medians, kind="stable")
    # Both groups hold two classes at least.
    gaps = np.diff(medians[order])[1:-1]
    cuts = [int(place) + 2 for place in np.argsort(-gaps, kind="stable")[:CUTS] if gaps[place] > 0]
    found = [_grouping(name, column, codes, classes[order[cut:]], tried) for cut in cuts]
    return max((one for one in found if one is not None), key=lambda one: one.auc, default=None)


def _grouping(
    name: str,
    column: NDArray[np.floating[Any]],
    codes: NDArray[np.intp],
    high: NDArray[np.intp],
    tried: float,
) -> Grouping | None:
    positive = np.isin(codes, high)
    found = auc_with_interval(column, positive)
    if found is None:
        return None
    classes = np.unique(codes)
    low = np.setdiff1d(classes, high)
    # Of equal halves the one with the first class, whichever way the property runs.
    smaller = min(high, low, key=lambda group: (len(group), group.min()))
    p = float(np.exp(min(0.0, tried + log_chance(found.value, int(positive.sum()), len(codes)))))
    return Grouping(name, tuple(sorted(smaller.tolist())), found.value, (found.low, found.high), p)
