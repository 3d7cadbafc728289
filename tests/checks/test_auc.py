"""The AUC with its interval: known values, coverage, and strata that count for nothing."""

from __future__ import annotations

import numpy as np
import pytest

from classic_cv.checks.auc import auc_with_interval


def test_ties_count_half() -> None:
    found = auc_with_interval(np.array([1, 2, 2, 3]), np.array([False, True, False, True]))
    assert found is not None
    assert found.value == pytest.approx((1 + 0.5 + 1 + 1) / 4)
    assert (found.n_positive, found.n_negative) == (2, 2)


def test_agrees_with_scikit_learn() -> None:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    positive = rng.random(300) < 0.3
    scores = rng.integers(0, 20, 300) + 3 * positive
    found = auc_with_interval(scores, positive)
    assert found is not None
    assert found.value == pytest.approx(roc_auc_score(positive, scores))


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    from scipy.stats import norm

    rng = np.random.default_rng(1)
    for shift in (0.0, 1.0, 2.5):
        truth = norm.cdf(shift / np.sqrt(2))
        inside = 0
        for _ in range(60):
            scores = np.concatenate([rng.normal(shift, size=60), rng.normal(size=120)])
            found = auc_with_interval(scores, np.arange(180) < 60)
            assert found is not None
            inside += found.low <= truth <= found.high
        assert inside >= 53, shift


def test_perfect_separation_still_has_an_interval() -> None:
    found = auc_with_interval(np.arange(20), np.arange(20) >= 10)
    assert found is not None
    assert (found.value, found.high) == (1.0, 1.0)
    assert 0.7 < found.low < 0.95


def test_what_tells_strata_apart_counts_nothing() -> None:
    """Positive images are mostly of stratum 1, which scores higher; within strata scores are chance."""
    rng = np.random.default_rng(2)
    strata = rng.integers(0, 2, 2000)
    positive = rng.random(2000) < np.where(strata == 1, 0.8, 0.2)
    scores = strata + rng.normal(size=2000) * 0.5
    plain, within = auc_with_interval(scores, positive), auc_with_interval(scores, positive, strata)
    assert plain is not None
    assert within is not None
    assert plain.low > 0.7
    assert within.low < 0.5 < within.high


def test_nothing_to_compare() -> None:
    assert auc_with_interval(np.zeros(0), np.zeros(0, bool)) is None
    assert auc_with_interval(np.arange(3), np.ones(3, bool)) is None
    assert auc_with_interval(np.arange(2), np.array([True, False]), np.array([0, 1])) is None
