"""Codebooks: clusters that are known, limits, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from classic_cv.features.encoding.codebook import gaussian_mixture, k_means, score_table

CENTERS = np.array([[0, 0, 0], [10, 0, 0], [0, 10, 0], [0, 0, 10]], np.float32)


@pytest.fixture
def X() -> NDArray[np.float32]:
    """(3000, 3): four groups around ``CENTERS``; the first has half of the rows and is narrow along x."""
    rng = np.random.default_rng(0)
    group = rng.choice(4, 3000, p=[0.5, 0.2, 0.2, 0.1])
    spread = np.array([[0.5, 1, 1], [1, 1, 1], [1, 1, 1], [1, 1, 2]])
    return np.asarray(CENTERS[group] + rng.normal(size=(3000, 3)) * spread[group], np.float32)


def test_k_means_finds_the_groups(X: NDArray[np.float32]) -> None:
    found = k_means(X, 4, 0)
    assert found.dtype == np.float32
    distances = np.linalg.norm(found[:, None] - CENTERS, axis=2)
    assert sorted(distances.argmin(axis=1)) == [0, 1, 2, 3]
    assert distances.min(axis=1).max() < 0.3


def test_a_mixture_has_the_groups_weights_means_and_variances(X: NDArray[np.float32]) -> None:
    weights, means, variances = gaussian_mixture(X, 4, 0)
    assert weights.dtype == means.dtype == variances.dtype == np.float32
    order = np.linalg.norm(means[:, None] - CENTERS, axis=2).argmin(axis=0)
    np.testing.assert_allclose(means[order], CENTERS, atol=0.3)
    np.testing.assert_allclose(weights[order], [0.5, 0.2, 0.2, 0.1], atol=0.02)
    expected = np.array([[0.25, 1, 1], [1, 1, 1], [1, 1, 1], [1, 1, 4]])
    np.testing.assert_allclose(variances[order], expected, rtol=0.3)


def likelihood(X: NDArray[np.float32], mixture: tuple[NDArray[np.float32], ...]) -> float:
    """Mean log-likelihood, by SciPy's densities."""
    weights, means, variances = mixture
    densities = norm.pdf(X[:, None], means, np.sqrt(variances)).prod(axis=2) @ weights
    return float(np.log(densities).mean())


def test_a_mixture_is_more_likely_than_where_it_starts(X: NDArray[np.float32]) -> None:
    means = k_means(X, 4, 0)
    start = np.full(4, 0.25, np.float32), means, np.ones_like(means)
    assert likelihood(X, gaussian_mixture(X, 4, 0)) > likelihood(X, start) + 0.2


def test_the_seed_decides_bit_for_bit(X: NDArray[np.float32]) -> None:
    np.testing.assert_array_equal(k_means(X, 7, 3), k_means(X.copy(), 7, 3))
    assert not np.array_equal(k_means(X, 7, 3), k_means(X, 7, 4))
    for first, second in zip(gaussian_mixture(X, 7, 3), gaussian_mixture(X, 7, 3), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("X", [np.ones((1, 3)), np.ones((50, 3)), np.zeros((3, 3)), np.eye(3)])
def test_with_fewer_different_rows_than_words_each_is_a_word(X: NDArray[np.float64]) -> None:
    rows = X.astype(np.float32)
    expected = np.unique(rows, axis=0)
    np.testing.assert_allclose(k_means(rows, 5, 0), expected, atol=1e-6)
    weights, means, variances = gaussian_mixture(rows, 5, 0)
    k = len(expected)
    np.testing.assert_allclose(weights, [1 / k] * k + [0] * (5 - k), atol=1e-5)
    np.testing.assert_allclose(means[:k], expected, atol=1e-4)
    assert (variances > 0).all()
    assert means.shape == variances.shape == (5, 3)


def test_scores_order_words_by_distance_and_never_choose_those_that_fill_up() -> None:
    rng = np.random.default_rng(0)
    x, centers = (rng.normal(size=(n, 4)).astype(np.float32) for n in (50, 6))
    table = score_table(centers, 9)
    scores = np.hstack([x, np.ones((50, 1), np.float32)]) @ table
    squared = ((x[:, None] - centers) ** 2).sum(axis=2)
    half_length = (x**2).sum(axis=1, keepdims=True) / 2
    np.testing.assert_allclose(scores[:, :6], half_length - squared / 2, atol=1e-5)
    assert (scores.argmax(axis=1) == squared.argmin(axis=1)).all()
    assert (scores[:, 6:] < -1e29).all()
