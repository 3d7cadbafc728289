"""Standardisation in place, and its weights folded into a linear model so that it takes raw features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from classic_cv.estimator import Estimator
from classic_cv.float16 import rounded

Floats = NDArray[np.float32]

CHUNK_VALUES = 2**20
"""Values that are worked on at a time: the float64 copies stay small."""


class Scaler(Estimator):
    """``(X - mean) / scale`` with the mean and scale that ``scale_in_place`` used: what goes before an RBF kernel.

    A linear head has them folded into its weights instead (``fold_scaler``).

    Learned: ``mean_`` and ``scale_``, float32 (n_features,).
    """

    learned = ("mean_", "scale_")
    mean_: Floats
    scale_: Floats

    def __init__(self) -> None:
        pass

    def learn(self, mean: Floats, scale: Floats) -> Self:
        """Take over a mean and a scale, float32 (n_features,) each."""
        self.mean_, self.scale_ = mean, scale
        return self

    def transform(self, X: Floats) -> Floats:
        """Scaled features: float32 (n_samples, n_features)."""
        self.check_fitted()
        out = X - self.mean_
        out /= self.scale_
        return out


def scale_in_place(how: str, X: Floats, widths: Sequence[int]) -> tuple[Floats, Floats]:
    """Scale features in place so that a row's mean squared length is 1: C then means the same for any width.

    Args:
        how: ``columns`` gives every column the same variance, ``groups`` every extractor's columns together
            the same variance (a wide extractor does not drown a narrow one), ``none`` changes nothing.
        X: float32 (n_samples, n_features).
        widths: columns of each extractor.

    Returns:
        mean and scale, float32 (n_features,), that the scaled features were made with.
    """
    if how == "none":
        return np.zeros(X.shape[1], np.float32), np.ones(X.shape[1], np.float32)
    columns = np.repeat(widths, widths)
    mean, scale = standardize(X, np.repeat(np.arange(len(widths)), widths) if how == "groups" else None)
    share = np.sqrt(columns * len(widths) if how == "groups" else np.full(len(columns), len(columns)))
    X /= share.astype(np.float32)
    return mean, (scale * share).astype(np.float32)


def standardize(
    X: Floats, groups: ArrayLike | None = None, out: Floats | None = None
) -> tuple[Floats, Floats]:
    """Bring the columns of X to mean 0 and standard deviation 1, in place.

    Args:
        X: float32 (n_samples, n_features), finite.
        groups: a group number per column, (n_features,): the columns of a group are divided by one common
            scale, the root of their mean variance, and keep their relative sizes. None: a scale per column.
        out: where to write the result; X itself by default.

    Returns:
        mean and scale, float32 (n_features,), with ``out = (X - mean) / scale``. A constant column (or a
        group of constant columns) has scale 1.

    Raises:
        TypeError: X or out is not a float32 array.
        ValueError: X is empty or not two-dimensional, or groups or out have another shape.
    """
    out = X if out is None else out
    for name, array in (("X", X), ("out", out)):
        if not isinstance(array, np.ndarray) or array.dtype != np.float32:
            kind = getattr(array, "dtype", type(array).__name__)
            raise TypeError(f"{name} is {kind}, expected a float32 array: it is changed in place")
    if X.ndim != 2 or X.size == 0 or out.shape != X.shape:
        raise ValueError(
            f"X has shape {X.shape} and out {out.shape}, expected the same (n_samples, n_features)"
        )
    mean = sum(part.sum(axis=0, dtype=np.float64) for part in _chunks(X)) / len(X)
    variance = sum(np.square(part - mean).sum(axis=0) for part in _chunks(X)) / len(X)
    # Rounding alone gives a constant column a variance; what float32 cannot tell from that is constant.
    variance = np.where(np.sqrt(variance) <= 4 * np.finfo(np.float32).eps * np.abs(mean), 0.0, variance)
    if groups is not None:
        variance = _group_means(variance, groups)
    means = np.asarray(mean, np.float32)
    scales = np.where(variance > 0, np.sqrt(variance), 1.0).astype(np.float32)
    scales[scales == 0] = 1.0
    for source, target in zip(_chunks(X), _chunks(out), strict=True):
        np.subtract(source, means, out=target)
        target /= scales
    return means, scales


def fold_scaler(
    coef: Floats, intercept: Floats, mean: Floats, scale: Floats, half: bool = False
) -> tuple[Floats, Floats]:
    """Weights for raw features from weights for standardised ones: both give the same scores, but for rounding.

    Args:
        coef: float32 (n_problems, n_features).
        intercept: float32 (n_problems,).
        mean, scale: as ``standardize`` returned them.
        half: round the weights to 16 bits (``classic_cv.float16.rounded``).

    Returns:
        coef and intercept, float32, of the same shapes.
    """
    folded = (coef.astype(np.float64) / scale).astype(np.float32)
    if half:
        folded = rounded(folded)
    # From the weights as rounded: what rounding changes then counts times a feature's deviation from its mean,
    # and not times the mean, which may be many times larger.
    shift = folded.astype(np.float64) @ mean.astype(np.float64)
    return folded, (intercept - shift).astype(np.float32)


def _chunks(X: Floats) -> list[Floats]:
    step = max(1, CHUNK_VALUES // X.shape[1])
    return [X[start : start + step] for start in range(0, len(X), step)]


def _group_means(variance: NDArray[np.float64], groups: ArrayLike) -> NDArray[np.float64]:
    ids = np.asarray(groups)
    if ids.shape != variance.shape:
        raise ValueError(f"groups has shape {ids.shape}, expected ({len(variance)},): one number per column")
    _, member = np.unique(ids, return_inverse=True)
    means: NDArray[np.float64] = (np.bincount(member, weights=variance) / np.bincount(member))[member]
    return means
