"""The law through a curve: exact where the curve is one, and intervals that cover what more images really bring."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from classic_cv.checks.power_law import PowerLaw, fit_power_laws, resampled

SIZES = [125, 250, 500, 1000]


@pytest.mark.parametrize(("a", "b", "c"), [(0.1, 0.4, 0.05), (0.02, 1.0, 0.0), (0.05, 0.2, 0.3)])
def test_a_curve_that_is_a_law_is_found_again(a: float, b: float, c: float) -> None:
    x = np.array(SIZES) / SIZES[-1]
    errors = a * x**-b + c
    (law,) = fit_power_laws(SIZES, errors[None], np.full(4, 0.01))
    truth = PowerLaw(1000, a, b, c)
    assert law.error(1000) == pytest.approx(truth.error(1000), abs=2e-3)
    assert law.gain == pytest.approx(truth.gain, rel=0.1)
    assert law.error(4000) == pytest.approx(truth.error(4000), abs=5e-3)


def test_no_part_of_the_law_is_negative() -> None:
    rising = np.array([[0.1, 0.2, 0.3, 0.4]])
    convex = np.array([[0.9, 0.5, 0.2, 0.0]])
    for errors in (rising, convex, np.zeros((1, 4)), np.ones((1, 4))):
        (law,) = fit_power_laws(SIZES, errors, np.zeros(4))
        assert law.a >= 0
        assert law.c >= 0
        assert 0 <= law.error(2000) <= law.error(1000) <= 1
    assert fit_power_laws(SIZES, rising, np.full(4, 0.01))[0].gain == 0


def test_a_point_that_is_less_sure_counts_less() -> None:
    x = np.array(SIZES) / SIZES[-1]
    errors = 0.1 * x**-0.5
    errors[0] += 0.1
    sure, unsure = (
        fit_power_laws(SIZES, errors[None], np.array([first, 0.01, 0.01, 0.01]))[0].gain
        for first in (0.01, 1.0)
    )
    truth = PowerLaw(1000, 0.1, 0.5, 0.0).gain
    assert abs(unsure - truth) < abs(sure - truth)


def wrong(errors: list[float], n_test: int, draws: tuple[int, ...], seed: int) -> list[NDArray[np.float64]]:
    """Answers that are wrong where an image's difficulty, the same for all sizes, is below the error."""
    difficulty = np.random.default_rng(seed).random(n_test)
    return [
        np.tile((difficulty < error).astype(np.float64), (m, 1))
        for error, m in zip(errors, draws, strict=True)
    ]


def test_what_all_sizes_share_does_not_widen_the_interval() -> None:
    laws, _ = resampled(SIZES, wrong([0.4, 0.3, 0.23, 0.18], 400, (2, 2, 2, 1), 0), seed=0)
    gains = np.array([law.gain for law in laws])
    levels = np.array([law.error(1000) for law in laws])
    assert levels.std() == pytest.approx(np.sqrt(0.18 * 0.82 / 400), rel=0.4)
    assert gains.std() < levels.std()


def test_a_straight_line_over_the_logarithm_of_images_is_covered() -> None:
    laws, _ = resampled(SIZES, wrong([0.4, 0.34, 0.28, 0.22], 1000, (2, 2, 2, 1), 0), seed=0)
    low, high = np.quantile([law.gain for law in laws], [0.025, 0.975])
    assert low < 0.055 < high
    assert all(0 <= law.error(2000) <= law.error(1000) for law in laws)


def test_draws_that_differ_widen_it() -> None:
    same = wrong([0.4, 0.3, 0.23, 0.18], 400, (3, 3, 3, 1), 0)
    differing = [each.copy() for each in same]
    for each in differing[:3]:
        each[0, :40] = 1 - each[0, :40]
        each[1, :80] = 0
    spreads = [np.std([law.gain for law in resampled(SIZES, each, seed=0)[0]]) for each in (same, differing)]
    assert spreads[1] > 1.5 * spreads[0]


def test_intervals_cover_what_twice_the_images_bring_on_digits() -> None:
    from sklearn.neighbors import KNeighborsClassifier

    X, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)

    def answers_wrong(train: NDArray[np.intp], test: NDArray[np.intp]) -> NDArray[np.float64]:
        found = KNeighborsClassifier(1).fit(X[train], y[train]).predict(X[test]) != y[test]
        return np.asarray(found, np.float64)

    order = rng.permutation(len(y))
    everything, pool = order[:800], order[800:]
    truth = [
        np.mean([answers_wrong(rng.choice(pool, n, replace=False), everything) for _ in range(20)])
        for n in (160, 320)
    ]
    sizes, hits = [20, 40, 80, 160], []
    for seed in range(20):
        data, test = rng.choice(pool, 160, replace=False), rng.choice(everything, 300, replace=False)
        measured = [
            np.stack([answers_wrong(rng.permutation(data)[:n], test) for _ in range(draws)])
            for n, draws in zip(sizes, (4, 3, 2, 1), strict=True)
        ]
        gains = [law.gain for law in resampled(sizes, measured, seed)[0]]
        low, high = np.quantile(gains, [0.025, 0.975])
        hits.append(low - 1e-9 <= truth[0] - truth[1] <= high)
    assert np.mean(hits) >= 0.9
