"""PCA and ZCA whitening: a linear map after which the learning sample has uncorrelated columns of unit variance."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Whitening = Literal["pca", "zca", "none"]

FLAT = 1e-6
"""Directions whose variance is below this share of the largest are not scaled up: they hold rounding noise."""

BATCH_ROWS = 2**14
"""Rows that are converted to float64 at a time while the covariance is summed."""


def _moments(X: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean (d,) and covariance (d, d) of the rows, summed in float64."""
    mean = X.mean(axis=0, dtype=np.float64)
    covariance = np.zeros((X.shape[1], X.shape[1]))
    for start in range(0, len(X), BATCH_ROWS):
        centered = X[start : start + BATCH_ROWS] - mean
        covariance += centered.T @ centered
    return mean, covariance / len(X)


def learn_whitening(
    X: NDArray[np.floating], kind: Whitening, n_components: int = 0, eps: float = 0.0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and projection such that ``(X - mean) @ projection`` is white.

    The columns of PCA are the principal directions, the largest variance first; their signs are fixed by making
    each one's largest entry positive. ZCA turns the white values back into the original axes, so that they resemble
    the input as closely as any white values do (Bell and Sejnowski 1997). A direction in which ``X`` is flat, below
    ``FLAT`` of the largest variance, gives zeros instead of scaled rounding noise.

    Args:
        X: (n, d), n at least 1.
        kind: ``none`` returns a mean of 0 and the identity.
        n_components: leading directions kept, 0 for all. With fewer than d, PCA has this many columns; ZCA keeps d
            columns, which then span these directions only.
        eps: added to each variance before it is divided by, in the units of ``X`` squared: what is small against
            it counts as noise (Coates, Lee and Ng, AISTATS 2011).

    Returns:
        float32 (d,) mean and float32 (d, k) projection: k = min(n_components, d) for PCA, otherwise d.
    """
    d = X.shape[1]
    if kind == "none":
        return np.zeros(d, np.float32), np.eye(d, dtype=np.float32)
    mean, covariance = _moments(X)
    variances, directions = np.linalg.eigh(covariance)
    kept = slice(None, -1 - (n_components or d) if (n_components or d) < d else None, -1)
    variances, directions = variances[kept], directions[:, kept]
    directions *= np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(directions.shape[1])])
    flat = variances <= FLAT * max(variances[0], 0)
    scales = np.where(flat, 0, 1 / np.sqrt(np.where(flat, 1, variances) + eps))
    projection = directions * scales
    if kind == "zca":
        projection = projection @ directions.T
    return mean.astype(np.float32), np.ascontiguousarray(projection, np.float32)


def whiten(
    X: NDArray[np.float32], mean: NDArray[np.float32], projection: NDArray[np.float32]
) -> NDArray[np.float32]:
    """``(X - mean) @ projection`` as float32 (n, k), without a centered copy of the (n, d) input."""
    white: NDArray[np.float32] = X @ projection
    white -= mean @ projection
    return white
