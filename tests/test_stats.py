"""Intervals: known values, other implementations, and how often they cover the truth."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import DegenerateDataWarning, bootstrap, norm

from classic_cv.stats import accuracy_interval, bootstrap_intervals, mean_interval


def test_accuracy_interval_is_wilsons() -> None:
    # Newcombe (1998), table I: 81 of 263 gives 0.2553 to 0.3662.
    assert accuracy_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert accuracy_interval(0, 20)[0] == 0.0
    assert accuracy_interval(20, 20)[1] == 1.0


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.99])
def test_accuracy_interval_solves_wilsons_equation(confidence: float) -> None:
    z = norm.ppf(0.5 + confidence / 2)
    for end in accuracy_interval(37, 50, confidence):
        assert abs(37 / 50 - end) == pytest.approx(z * np.sqrt(end * (1 - end) / 50))


def figures_of(values: NDArray[np.float64]) -> Any:
    return lambda rows: np.array([values[rows].mean(), np.median(values[rows])])


def test_bootstrap_intervals_are_scipys_percentiles() -> None:
    values = np.random.default_rng(0).exponential(size=40)
    found, intervals = bootstrap_intervals(figures_of(values), 40, confidence=0.8, seed=3)
    np.testing.assert_allclose(found, [values.mean(), np.median(values)])
    statistics: list[Callable[..., Any]] = [np.mean, np.median]
    for statistic, interval in zip(statistics, intervals, strict=True):
        peer = bootstrap(
            (values,),
            statistic,
            n_resamples=500,
            confidence_level=0.8,
            method="percentile",
            rng=np.random.default_rng(3),
        ).confidence_interval
        np.testing.assert_allclose(interval, [peer.low, peer.high])
    again = bootstrap_intervals(figures_of(values), 40, confidence=0.8, seed=3)[1]
    np.testing.assert_array_equal(intervals, again)
    other = bootstrap_intervals(figures_of(values), 40, confidence=0.8, seed=4)[1]
    assert (intervals != other).any()


def test_bootstrap_interval_of_a_mean_is_near_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(5, 2, 400)
    _, intervals = bootstrap_intervals(figures_of(values), 400, n_resamples=2000)
    reach = norm.ppf(0.975) * values.std() / 20
    np.testing.assert_allclose(intervals[0], [values.mean() - reach, values.mean() + reach], atol=0.02)


def test_bootstrap_intervals_cover_the_truth() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(150):
        values = rng.normal(0, 1, 60)
        (low, high), _ = bootstrap_intervals(figures_of(values), 60, n_resamples=200)[1]
        covered += low <= 0 <= high
    # 142.5 +- 2.7 of 150, a percentile bootstrap of 60 being a little too narrow.
    assert 132 <= covered <= 150


def test_samples_without_a_figure_are_left_out() -> None:
    ratio = np.array([0.0, 0.0, 1.0])

    def figures(rows: NDArray[np.intp]) -> NDArray[np.float64]:
        total = ratio[rows].sum()
        return np.array([len(rows) / total if total else np.nan, np.nan, 1.0])

    with warnings.catch_warnings():
        warnings.simplefilter("error", DegenerateDataWarning)
        values, intervals = bootstrap_intervals(figures, 3)
    np.testing.assert_array_equal(values, [3, np.nan, 1])
    np.testing.assert_array_equal(intervals, [[1, 3], [np.nan, np.nan], [1, 1]])


def test_a_single_image_has_no_interval() -> None:
    values, intervals = bootstrap_intervals(figures_of(np.array([7.0])), 1)
    assert values.tolist() == [7, 7]
    assert np.isnan(intervals).all()


def test_mean_interval_of_equal_weights_is_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(3, 2, 100)
    reach = norm.ppf(0.95) * values.std() / 10
    expected = (values.mean() - reach, values.mean() + reach)
    assert mean_interval(values, np.full(100, 0.01), confidence=0.9) == pytest.approx(expected)
    assert mean_interval(np.full(4, 2.0), np.full(4, 0.25)) == (2.0, 2.0)


def test_a_value_of_weight_zero_does_not_count() -> None:
    weights = np.array([0.5, 0.5, 0.0])
    assert mean_interval(np.array([1.0, 3.0, 99.0]), weights) == pytest.approx(
        mean_interval(np.array([1.0, 3.0]), weights[:2])
    )


def test_mean_intervals_of_unequal_classes_cover_their_balanced_accuracy() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [300, 60])
    weights = 1 / (2 * np.bincount(y)[y])
    share = np.array([0.9, 0.6])
    covered = 0
    for _ in range(1000):
        low, high = mean_interval((rng.random(360) < share[y]).astype(float), weights)
        covered += low <= 0.75 <= high
    # Deviations from the common mean make it a little too wide, never too narrow.
    assert 935 <= covered <= 995
