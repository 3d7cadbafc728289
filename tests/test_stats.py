"""Intervals, tests and bounds: known values, other implementations, and how often they hold."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from math import comb
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import DegenerateDataWarning, binom, bootstrap, norm, ttest_1samp

from classic_cv.stats import (
    accuracy_interval,
    bootstrap_intervals,
    holm,
    mcnemar_exact,
    mean_interval,
    paired_difference,
    partial_credit_interval,
    quantile_bound,
    smallest_difference,
    t_interval,
)


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


@pytest.mark.parametrize(("right", "n"), [(0, 7), (3, 7), (7, 7), (99, 100), (1, 1)])
def test_partial_credit_of_all_or_nothing_is_an_accuracy(right: int, n: int) -> None:
    for confidence in (0.5, 0.95):
        expected = accuracy_interval(right, n, confidence)
        assert partial_credit_interval(right, n, confidence) == pytest.approx(expected, abs=1e-12)
    low, high = partial_credit_interval(right, n)
    assert (low == 0, high == 1) == (right == 0, right == n)


@pytest.mark.parametrize("shares", [(0.97, 0.02, 0.01), (0.4, 0.3, 0.3)])
def test_intervals_of_partial_credit_cover_its_mean(shares: tuple[float, ...]) -> None:
    values = np.array([1.0, 0.5, 0.0])
    rng = np.random.default_rng(0)
    truth, n = float(values @ shares), 200
    rights = rng.multinomial(n, shares, size=500) @ values
    covered = [low <= truth <= high for low, high in (partial_credit_interval(r, n) for r in rights)]
    # Conservative, since such values vary less than those that are right or wrong.
    assert np.mean(covered) > 0.95


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


def pairs(both: int, wins: int, losses: int, neither: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which images a and b are right on, from the four counts."""
    counts = [both, wins, losses, neither]
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


def test_t_interval_is_students() -> None:
    values = [0.61, 0.64, 0.6, 0.66]
    peer = ttest_1samp(values, 0).confidence_interval(0.9)
    assert t_interval(values, 0.9) == pytest.approx((peer.low, peer.high))
    assert t_interval([0.6]) is None


def test_mcnemar_sums_the_binomial_tails() -> None:
    wins, losses, p = mcnemar_exact(*pairs(101, 121, 59, 33))
    assert (wins, losses) == (121, 59)
    assert p == pytest.approx(2 * sum(comb(180, k) for k in range(60)) / 2**180)
    # By hand: 2 (1 + 10 + 45) / 2^10.
    assert mcnemar_exact(*pairs(40, 2, 8, 3)) == (2, 8, 112 / 1024)
    assert mcnemar_exact(*pairs(0, 6, 0, 0))[2] == pytest.approx(2 / 64)


def test_mcnemar_without_discordant_images_shows_nothing() -> None:
    assert mcnemar_exact(*pairs(7, 0, 0, 3)) == (0, 0, 1.0)
    assert mcnemar_exact(*pairs(0, 5, 5, 0)) == (5, 5, 1.0)


def test_holm_by_a_worked_example() -> None:
    # Sorted 0.005, 0.01, 0.03, 0.04, times 4, 3, 2, 1: 0.02, 0.03, 0.06, and 0.04 raised to the one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


def test_holm_keeps_the_error_of_the_family() -> None:
    p = np.random.default_rng(0).random((2000, 5))
    any_claim = np.mean([min(holm(row.tolist())) < 0.05 for row in p])
    # 0.05, standard error 0.005.
    assert 0.035 <= any_claim <= 0.065


def test_paired_difference_is_scipys_paired_bootstrap() -> None:
    a, b = pairs(150, 30, 15, 5)
    difference, interval = paired_difference(a, b)
    assert difference == pytest.approx(15 / 200)

    peer = bootstrap(
        (a * 1.0, b * 1.0),
        lambda x, y, axis: (x - y).mean(axis=axis),
        paired=True,
        method="percentile",
        n_resamples=10_000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    # Steps of one image are 0.005.
    assert interval == pytest.approx((peer.low, peer.high), abs=0.0051)


def test_paired_difference_of_losses_is_near_the_normal_interval() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.exponential(1, 400), rng.exponential(1.2, 400)
    difference, interval = paired_difference(a, b, confidence=0.9, n_resamples=4000)
    reach = norm.ppf(0.95) * (a - b).std() / 20
    assert difference == pytest.approx((a - b).mean())
    assert interval == pytest.approx((difference - reach, difference + reach), abs=0.01)


def test_paired_difference_is_drawn_in_parts_of_bounded_memory() -> None:
    a = np.arange(6000.0)
    difference, interval = paired_difference(a, np.zeros(6000), n_resamples=750)
    reach = norm.ppf(0.975) * a.std() / 6000**0.5
    assert interval == pytest.approx((difference - reach, difference + reach), abs=reach / 5)


def test_paired_difference_depends_on_its_seed_only() -> None:
    a, b = pairs(700, 131, 97, 72)
    assert paired_difference(a, b, n_resamples=200) == paired_difference(a, b, n_resamples=200)
    assert paired_difference(a, b, n_resamples=200) != paired_difference(a, b, n_resamples=200, seed=1)


def test_paired_difference_covers_the_truth() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(300):
        a, b = pairs(*rng.multinomial(150, [0.6, 0.2, 0.1, 0.1]))
        interval = paired_difference(a, b, n_resamples=500, seed=seed)[1]
        covered += interval is not None and interval[0] <= 0.1 <= interval[1]
    # 285 +- 3.8 of 300.
    assert 273 <= covered <= 297


def test_paired_difference_of_a_single_image_has_no_interval() -> None:
    assert paired_difference(np.array([True]), np.array([False])) == (1.0, None)


def test_quantile_bound_by_wilks_numbers() -> None:
    # 459, 662 and 838 observations are what a 99 % bound of the 99th percentile takes, none, one, two being above.
    for n, rank in ((459, 459), (661, 661), (662, 661), (837, 836), (838, 836)):
        assert quantile_bound(range(1, n + 1)[::-1], 0.99) == rank
    assert quantile_bound(range(458), 0.99) is None
    assert quantile_bound([], 0.5) is None


@pytest.mark.parametrize(("n", "q", "confidence"), [(30, 0.5, 0.9), (50, 0.9, 0.95), (200, 0.95, 0.99)])
def test_quantile_bound_is_the_smallest_that_holds(n: int, q: float, confidence: float) -> None:
    def holds(rank: int) -> bool:
        """Whether the rank-th smallest is above the quantile often enough: fewer than so many are below it."""
        return sum(comb(n, k) * q**k * (1 - q) ** (n - k) for k in range(rank)) >= confidence

    rank = next(rank for rank in range(1, n + 1) if holds(rank))
    assert quantile_bound(range(1, n + 1), q, confidence) == rank
    samples = np.random.default_rng(0).random((2000, n))
    bounds = [quantile_bound(sample.tolist(), q, confidence) or 1.0 for sample in samples]
    assert np.mean(np.array(bounds) >= q) >= confidence - 0.02


def test_smallest_difference_is_found_with_the_power_asked_for() -> None:
    n, share = 300, 0.15
    smallest = smallest_difference(n, share)
    assert smallest is not None
    # Miettinen's approximation gives z sums 1.96 and 0.84: about 0.0617.
    assert smallest == pytest.approx(0.0617, abs=0.006)
    rng = np.random.default_rng(0)
    wins, losses, _ = rng.multinomial(
        n, [(share + smallest) / 2, (share - smallest) / 2, 1 - share], size=20_000
    ).T
    p = 2 * binom.cdf(np.minimum(wins, losses), wins + losses, 0.5)
    assert np.mean((p < 0.05) & (wins > losses)) == pytest.approx(0.8, abs=0.01)


def test_smallest_difference_needs_six_images() -> None:
    # Five wins of five have p = 0.0625, six of six 0.03125: the share of wins to the sixth is 0.8.
    assert smallest_difference(5, 0.3) is None
    assert smallest_difference(6, 0.3) == pytest.approx(0.8 ** (1 / 6), abs=1e-5)
    assert smallest_difference(6, 0.0) == pytest.approx(0.8 ** (1 / 6), abs=1e-5)
    found = [smallest_difference(n, 0.1) or 1.0 for n in (20, 100, 1000, 10_000)]
    assert found == sorted(found, reverse=True)
    assert found[-1] < 0.01
