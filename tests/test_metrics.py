"""Figures of predictions: known values and independent implementations."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    log_loss,
    mean_absolute_error,
    r2_score,
    root_mean_squared_error,
)

from classic_cv.metrics import (
    calibration_noise,
    classification_metrics,
    expected_calibration_error,
    regression_metrics,
    reliability,
)


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
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "log_loss"):
        low, high = figures[f"{name}_ci95"]
        assert low < figures[name] < high
    assert figures["ece"] == expected_calibration_error(probabilities, y)
    assert figures["reliability"] == reliability(probabilities, y)


def test_a_class_without_test_images_does_not_lower_the_averages() -> None:
    y = np.array([0, 0, 1])
    figures = classification_metrics(y, np.eye(3)[[0, 0, 1]], ["a", "b", "never"])
    assert figures["balanced_accuracy"] == 1.0
    assert figures["macro_f1"] == 1.0
    assert figures["per_class"]["never"]["n"] == 0


def binary(confidence: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities of two classes of which class 0 has these."""
    return np.stack([confidence, 1 - confidence], axis=1)


def test_reliability_by_hand() -> None:
    probabilities = binary(np.array([0.95, 0.91, 0.55, 0.45, 1.0]))
    rows = reliability(probabilities, np.array([0, 1, 0, 1, 0]), n_bins=10)
    assert [row["n"] for row in rows] == [0, 0, 0, 0, 0, 2, 0, 0, 0, 3]
    assert (rows[5]["low"], rows[5]["high"]) == (0.5, 0.6)
    assert rows[5]["confidence"] == pytest.approx(0.55)
    assert rows[5]["accuracy"] == 1.0
    assert rows[9]["confidence"] == pytest.approx((0.95 + 0.91 + 1) / 3)
    assert rows[9]["accuracy"] == pytest.approx(2 / 3)
    assert rows[0]["confidence"] is None
    assert rows[0]["accuracy"] is None


def test_reliability_is_scikit_learns_curve_and_adds_up_to_the_calibration_error() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 400)
    y = (rng.random(400) > confidence**2).astype(int)
    rows = [row for row in reliability(binary(confidence), y) if row["n"]]
    accuracy, mean = calibration_curve(y == 0, confidence, n_bins=15)
    np.testing.assert_allclose([row["accuracy"] for row in rows], accuracy)
    np.testing.assert_allclose([row["confidence"] for row in rows], mean)
    gaps = sum(row["n"] * abs(row["accuracy"] - row["confidence"]) for row in rows) / 400
    assert gaps == pytest.approx(expected_calibration_error(binary(confidence), y))


@pytest.mark.parametrize(("n", "p"), [(10, 0.7), (50, 0.7), (50, 0.99), (1, 0.6)])
def test_calibration_noise_of_one_bin_is_the_mean_deviation_of_a_binomial(n: int, p: float) -> None:
    k = np.arange(n + 1)
    expected = float(binom.pmf(k, n, p) @ np.abs(k / n - p))
    assert calibration_noise(binary(np.full(n, p)), n_draws=4000) == pytest.approx(expected, rel=0.05)


def test_calibration_noise_adds_up_over_bins_and_is_seeded() -> None:
    confidence = np.repeat([0.63, 0.83], [30, 10])
    k, m = np.arange(31), np.arange(11)
    expected = (
        30 * binom.pmf(k, 30, 0.63) @ np.abs(k / 30 - 0.63)
        + 10 * binom.pmf(m, 10, 0.83) @ np.abs(m / 10 - 0.83)
    ) / 40
    found = calibration_noise(binary(confidence))
    assert found == pytest.approx(float(expected), rel=0.05)
    assert found == calibration_noise(binary(confidence))
    assert found != calibration_noise(binary(confidence), seed=1)
    assert calibration_noise(np.eye(3)) == 0.0


def test_calibration_noise_is_what_perfect_calibration_shows() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 200)
    errors = [
        expected_calibration_error(binary(confidence), (rng.random(200) > confidence).astype(int))
        for _ in range(500)
    ]
    assert calibration_noise(binary(confidence)) == pytest.approx(np.mean(errors), rel=0.05)


def test_figures_of_numbers_equal_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(50, 10, 200)
    predictions = (y + rng.normal(1, 4, 200)).astype(np.float32)
    figures = regression_metrics(y, predictions)
    assert figures["n"] == 200
    assert figures["mae"] == pytest.approx(mean_absolute_error(y, predictions))
    assert figures["rmse"] == pytest.approx(root_mean_squared_error(y, predictions))
    assert figures["r2"] == pytest.approx(r2_score(y, predictions))
    for name in ("mae", "rmse", "r2"):
        low, high = figures[f"{name}_ci95"]
        assert low < figures[name] < high
    np.testing.assert_array_equal(figures["points"], np.stack([y, predictions.astype(float)], axis=1))


def test_intervals_of_numbers_cover_the_truth() -> None:
    rng = np.random.default_rng(0)
    # Of standard normal errors: their mean absolute value and root mean square; R2 beside a target of variance 9.
    truth = {"mae": np.sqrt(2 / np.pi), "rmse": 1.0, "r2": 1 - 1 / 9}
    covered = dict.fromkeys(truth, 0)
    for _ in range(100):
        y = rng.normal(0, 3, 80)
        figures = regression_metrics(y, y + rng.normal(0, 1, 80))
        for name, value in truth.items():
            low, high = figures[f"{name}_ci95"]
            covered[name] += low <= value <= high
    # 95 +- 2.2 of 100, and a percentile bootstrap of 80 is a little too narrow.
    assert all(86 <= count <= 100 for count in covered.values()), covered


def test_equal_numbers_have_no_r2_and_few_have_one() -> None:
    constant = regression_metrics(np.ones(4), np.array([1.0, 2.0, 3.0, 4.0]))
    assert (constant["mae"], constant["r2"], constant["r2_ci95"]) == (1.5, None, None)
    # In some samples of these five all numbers are equal, which leaves their R2 out, and says so to nobody.
    y, predictions = np.array([1.0, 1, 0, 1, 1]), np.array([0.9, 0.8, 0.1, 0.6, 0.7])
    few = regression_metrics(y, predictions)
    assert few["r2"] == pytest.approx(r2_score(y, predictions))
    low, high = few["r2_ci95"]
    assert low < few["r2"] < high


def test_a_single_image_has_figures_without_intervals_and_is_json() -> None:
    number = regression_metrics(np.array([1.0]), np.array([3.0]))
    assert (number["mae"], number["mae_ci95"], number["r2"]) == (2.0, None, None)
    image = classification_metrics(np.array([0]), np.array([[0.9, 0.1]]), ["a", "b"])
    assert (image["balanced_accuracy"], image["balanced_accuracy_ci95"]) == (1.0, None)
    assert image["log_loss_ci95"] is None
    json.dumps([number, image], allow_nan=False)
