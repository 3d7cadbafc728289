"""Selective classification: the share of images that is answered above a threshold, and of right answers among them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from classic_cv.abstention import abstains
from classic_cv.stats import accuracy_interval

THRESHOLDS = tuple(round(0.01 * k, 2) for k in range(1, 100))
"""Those that can be suggested: two digits, so that what is told is what was measured."""

SHOWN = (*(round(0.5 + 0.05 * k, 2) for k in range(10)), 0.97, 0.99)
"""Of the curve; below 0.5 few answers are held back, and above 0.9 most is decided."""

GOALS = (0.99, 0.98, 0.95, 0.90)
"""Accuracies that answers may be asked to have, the most demanding first."""

LEAST_COVERAGE = 0.5
"""A goal is not suggested where fewer than half of the images would be answered: that is another model's task."""

FEWEST_ANSWERS = 30
"""With fewer answers an accuracy of 99 % cannot be told from one of 90 %."""


class Answered(NamedTuple):
    """What a threshold does.

    Attributes:
        threshold: of the top-1 probability.
        coverage: share of the images that are answered.
        accuracy: share of right answers among them; None where there is none.
        ci95: its 95 % interval by Wilson.
        n: answered images.
    """

    threshold: float
    coverage: float
    accuracy: float | None
    ci95: tuple[float, float] | None
    n: int

    def to_table(self) -> dict[str, Any]:
        """JSON-like data."""
        return {**self._asdict(), "ci95": None if self.ci95 is None else list(self.ci95)}


def answered(probabilities: NDArray[np.float32], y: NDArray[np.int64], threshold: float) -> Answered:
    """What a threshold does to labelled images.

    Args:
        probabilities: (n, n_classes), n at least 1.
        y: (n,), class numbers.
        threshold: see ``classic_cv.abstention.abstains``.
    """
    kept = ~abstains(probabilities, threshold)
    n, right = int(kept.sum()), int((probabilities.argmax(axis=1) == y)[kept].sum())
    if not n:
        return Answered(threshold, 0.0, None, None, 0)
    return Answered(threshold, n / len(y), right / n, accuracy_interval(right, n), n)


def area(probabilities: NDArray[np.float32], y: NDArray[np.int64]) -> float:
    """The mean accuracy over all coverages, the most probable answers first (Geifman et al. 2019): 1 where every right
    answer is more probable than every wrong one and none is wrong; the accuracy where probabilities say nothing.

    Answers of the same probability count as their mean.
    """
    right = (probabilities.argmax(axis=1) == y).astype(np.float64)
    _, codes, counts = np.unique(-probabilities.max(axis=1), return_inverse=True, return_counts=True)
    means = np.bincount(codes, right) / counts
    accuracy = np.cumsum(np.repeat(means, counts)) / np.arange(1, len(y) + 1)
    return float(accuracy.mean())


def threshold_for(goal: float, probabilities: NDArray[np.float32], y: NDArray[np.int64]) -> float | None:
    """The smallest of ``THRESHOLDS`` above which so large a share of answers is right; None where there is none."""
    confidence = probabilities.max(axis=1).astype(np.float32)
    order = np.argsort(confidence)
    wrong = np.append(0, np.cumsum((probabilities.argmax(axis=1) != y)[order]))
    below = np.searchsorted(confidence[order], np.array(THRESHOLDS, np.float32))
    n = len(y) - below
    enough = (n >= FEWEST_ANSWERS) & (n - (wrong[-1] - wrong[below]) >= goal * n)
    return THRESHOLDS[int(enough.argmax())] if enough.any() else None
