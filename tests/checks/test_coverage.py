"""Accuracy over coverage, and thresholds for a goal: counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from classic_cv.checks.coverage import answered, area, threshold_for
from classic_cv.stats import accuracy_interval


def two_classes(confidence: list[float], right: list[bool]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Probabilities whose top is class 0, and labels that make them right or wrong."""
    P = np.stack([confidence, 1 - np.array(confidence)], axis=1).astype(np.float32)
    return P, np.where(right, 0, 1)


def test_a_threshold_keeps_what_is_as_probable() -> None:
    P, y = two_classes([0.9, 0.8, 0.7, 0.6], [True, True, False, True])
    found = answered(P, y, 0.7)
    assert (found.coverage, found.accuracy, found.n) == (0.75, 2 / 3, 3)
    assert found.ci95 == accuracy_interval(2, 3)
    assert answered(P, y, 0.95) == (0.95, 0.0, None, None, 0)
    assert answered(P, y, 0.95).to_table()["ci95"] is None


def test_the_area_is_the_mean_accuracy_over_coverages() -> None:
    assert area(*two_classes([0.9, 0.8, 0.7, 0.6], [True, True, False, True])) == pytest.approx(
        np.mean([1, 1, 2 / 3, 3 / 4])
    )
    # Probabilities that say nothing: the accuracy, whatever the order.
    assert area(*two_classes([0.7] * 4, [False, True, True, True])) == pytest.approx(0.75)
    assert area(*two_classes([0.7] * 4, [True, True, True, False])) == pytest.approx(0.75)


def test_the_smallest_threshold_that_reaches_a_goal_is_found() -> None:
    confidence = np.repeat([0.555, 0.755, 0.955], 100)
    right = np.concatenate([np.arange(100) < n for n in (50, 90, 99)])
    P, y = two_classes(confidence.tolist(), right.tolist())
    assert threshold_for(0.94, P, y) == 0.56
    assert threshold_for(0.98, P, y) == 0.76
    assert threshold_for(0.995, P, y) is None
    assert answered(P, y, 0.56).accuracy == pytest.approx(0.945)
    # A goal that all answers reach needs no threshold to speak of.
    assert threshold_for(0.7, P, y) == 0.01


def test_a_handful_of_right_answers_reaches_no_goal() -> None:
    confidence = [0.6] * 100 + [0.9] * 29
    right = [False] * 50 + [True] * 79
    P, y = two_classes(confidence, right)
    assert threshold_for(0.99, P, y) is None
    assert threshold_for(0.99, *two_classes([*confidence, 0.9], [*right, True])) == 0.61
