"""Whitening: scikit-learn's PCA, and what defines ZCA."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from classic_cv.features.encoding.whitening import Whitening, learn_whitening, whiten


@pytest.fixture
def X() -> NDArray[np.float32]:
    """(600, 8), correlated, far from 0, variances of different size."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(600, 8)) * np.logspace(-0.5, 0.5, 8)
    return (values @ rng.normal(size=(8, 8)) + 5).astype(np.float32)


@pytest.mark.parametrize("n_components", [0, 3, 8, 20])
def test_pca_is_that_of_scikit_learn(X: NDArray[np.float32], n_components: int) -> None:
    mean, projection = learn_whitening(X, "pca", n_components)
    k = min(n_components or 8, 8)
    assert mean.dtype == projection.dtype == np.float32
    assert projection.shape == (8, k)
    expected = PCA(k, whiten=True, svd_solver="full").fit_transform(X.astype(np.float64))
    found = whiten(X, mean, projection)
    # scikit-learn divides by n - 1, and has its own rule for signs.
    expected *= np.sqrt(600 / 599) * np.sign((expected * found).sum(axis=0))
    np.testing.assert_allclose(found, expected, atol=5e-3)
    largest = np.abs(projection).argmax(axis=0)
    assert (projection[largest, np.arange(k)] > 0).all()


@pytest.mark.parametrize("kind", ["pca", "zca"])
def test_what_is_white_has_uncorrelated_columns_of_unit_variance(
    X: NDArray[np.float32], kind: Whitening
) -> None:
    white = whiten(X, *learn_whitening(X, kind))
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(8), atol=1e-3)
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-3)


def test_zca_is_the_symmetric_root_of_the_inverse_covariance(X: NDArray[np.float32]) -> None:
    _, projection = learn_whitening(X, "zca", eps=0.5)
    covariance = np.cov(X.T.astype(np.float64), bias=True)
    np.testing.assert_allclose(projection, projection.T, atol=1e-5)
    np.testing.assert_allclose(projection @ (covariance + 0.5 * np.eye(8)) @ projection, np.eye(8), atol=1e-3)


def test_zca_of_some_components_spans_only_these(X: NDArray[np.float32]) -> None:
    _, projection = learn_whitening(X, "zca", 3)
    assert projection.shape == (8, 8)
    assert np.linalg.matrix_rank(projection, tol=1e-4) == 3


def test_none_changes_nothing(X: NDArray[np.float32]) -> None:
    np.testing.assert_array_equal(whiten(X, *learn_whitening(X, "none", 3)), X)


@pytest.mark.parametrize("kind", ["pca", "zca"])
def test_flat_directions_give_zeros_not_scaled_rounding_noise(
    X: NDArray[np.float32], kind: Whitening
) -> None:
    plane = np.outer(X[:, 0], np.ones(4, np.float32))
    white = whiten(plane, *learn_whitening(plane, kind))
    assert np.linalg.matrix_rank(white, tol=1e-2) == 1
    assert np.abs(white).max() < 10
    equal = np.full((5, 3), 7, np.float32)
    np.testing.assert_array_equal(whiten(equal, *learn_whitening(equal, kind)), 0)
    np.testing.assert_array_equal(whiten(equal[:1], *learn_whitening(equal[:1], kind)), 0)


def test_batches_do_not_matter(X: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = learn_whitening(X, "zca")
    monkeypatch.setattr("classic_cv.features.encoding.whitening.BATCH_ROWS", 7)
    for once, parts in zip(whole, learn_whitening(X, "zca"), strict=True):
        np.testing.assert_allclose(parts, once, rtol=1e-5, atol=1e-7)
