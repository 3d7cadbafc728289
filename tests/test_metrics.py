"""Figures of predictions: known values and independent implementations."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, log_loss

from classic_cv.metrics import classification_metrics, expected_calibration_error
from classic_cv.stats import accuracy_interval


def test_accuracy_interval_is_wilsons() -> None:
    # Newcombe (1998), table I: 81 of 263 gives 0.2553 to 0.3662.
    assert accuracy_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert accuracy_interval(0, 20)[0] == 0.0
    assert accuracy_interval(20, 20)[1] == 1.0


def test_calibration_error_by_hand() -> None:
    # Two images in the bin of 0.9 (one right), two in the bin of 0.6 (both right).
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]], np.float32)
    y = np.array([0, 1, 0, 1])
    assert expected_calibration_error(probabilities, y) == pytest.approx((2 * 0.4 + 2 * 0.4) / 4, abs=1e-6)


def test_certain_and_right_is_calibrated() -> None:
    assert expected_calibration_error(np.eye(3, dtype=np.float32), np.arange(3)) == 0.0


def test_figures_equal_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 300)
    scores = rng.normal(size=(300, 4)) + 2 * np.eye(4)[y]
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    figures = classification_metrics(y, probabilities, ["a", "b", "c", "d"])
    predicted = probabilities.argmax(axis=1)
    assert figures["n"] == 300
    assert figures["accuracy"] == accuracy_score(y, predicted)
    assert figures["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(y, predicted))
    assert figures["macro_f1"] == pytest.approx(f1_score(y, predicted, average="macro"))
    assert figures["log_loss"] == pytest.approx(log_loss(y, probabilities))
    assert np.trace(figures["confusion"]) == figures["accuracy"] * 300
    assert figures["per_class"]["c"]["n"] == (y == 2).sum()
    low, high = figures["accuracy_ci95"]
    assert low < figures["accuracy"] < high


def test_a_class_without_test_images_does_not_lower_the_averages() -> None:
    y = np.array([0, 0, 1])
    figures = classification_metrics(y, np.eye(3)[[0, 0, 1]], ["a", "b", "never"])
    assert figures["balanced_accuracy"] == 1.0
    assert figures["macro_f1"] == 1.0
    assert figures["per_class"]["never"]["n"] == 0
