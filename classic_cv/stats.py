"""Intervals for measured figures, from SciPy."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

N_RESAMPLES = 500


def accuracy_interval(correct: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a proportion of ``correct`` out of ``n`` (Wilson 1927)."""
    from scipy.stats import binomtest

    interval = binomtest(correct, n).proportion_ci(confidence_level=confidence, method="wilson")
    return float(interval.low), float(interval.high)


def bootstrap_intervals(
    statistic: Callable[[NDArray[np.intp]], NDArray[np.float64]],
    n: int,
    *,
    confidence: float = 0.95,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Several figures of n images and their percentile bootstrap intervals (Efron 1979), by SciPy.

    Args:
        statistic: from row numbers (any number of them, with repeats) to the figures (k,).
        n: the number of images.

    Returns:
        the figures of all images (k,), and their intervals (k, 2). Samples in which a figure is not defined (NaN)
        are left out of its interval, which is NaN where there is no other, and where n is 1.
    """
    from scipy.stats import DegenerateDataWarning, bootstrap

    rows = np.arange(n)
    values = statistic(rows)
    if n < 2:
        return values, np.full((len(values), 2), np.nan)

    def figures(sample: Any) -> Any:
        return statistic(np.asarray(sample, np.intp))

    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)
        found = bootstrap(
            (rows,),
            figures,
            n_resamples=n_resamples,
            confidence_level=confidence,
            method="percentile",
            vectorized=False,
            rng=np.random.default_rng(seed),
        )
    intervals = np.full((len(values), 2), np.nan)
    for interval, drawn in zip(intervals, np.asarray(found.bootstrap_distribution), strict=True):
        known = drawn[~np.isnan(drawn)]
        if len(known):
            interval[:] = np.quantile(known, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return values, intervals


def mean_interval(
    values: NDArray[np.floating[Any]], weights: NDArray[np.floating[Any]], confidence: float = 0.95
) -> tuple[float, float]:
    """Normal interval of a weighted mean of independent values; weights (n,) sum to 1."""
    from scipy.stats import norm

    mean = float(values @ weights)
    error = float(np.sqrt(np.square(weights * (values - mean)).sum()))
    reach = float(norm.ppf(0.5 + confidence / 2)) * error
    return mean - reach, mean + reach
