"""Intervals for measured figures, paired tests, and bounds of percentiles, from SciPy."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

N_RESAMPLES = 500

N_PAIRED_RESAMPLES = 10_000
"""More than for other figures: a decision hangs on one end of the interval."""


def accuracy_interval(correct: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a proportion of ``correct`` out of ``n`` (Wilson 1927)."""
    from scipy.stats import binomtest

    interval = binomtest(correct, n).proportion_ci(confidence_level=confidence, method="wilson")
    return float(interval.low), float(interval.high)


def partial_credit_interval(right: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval (Wilson 1927) for the mean of n independent values from 0 to 1.

    Where each is 0 or 1 this is ``accuracy_interval``. Others of the same mean vary less, so it is conservative.

    Args:
        right: the sum of the values, which need not be whole.
        n: at least 1.
    """
    from scipy.stats import norm

    z2 = float(norm.ppf(0.5 + confidence / 2)) ** 2
    p = min(max(right / n, 0.0), 1.0)
    center = (p + z2 / (2 * n)) / (1 + z2 / n)
    reach = float(np.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n)))) / (1 + z2 / n)
    return (0.0 if p == 0 else center - reach), (1.0 if p == 1 else center + reach)


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


def t_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """Student's interval of the mean of a few independent values; None for fewer than two of them."""
    from scipy.stats import sem, t

    if len(values) < 2:
        return None
    reach = float(t.ppf(0.5 + confidence / 2, len(values) - 1) * sem(values))
    mean = float(np.mean(values))
    return mean - reach, mean + reach


def paired_difference(
    a: NDArray[Any],
    b: NDArray[Any],
    *,
    confidence: float = 0.95,
    n_resamples: int = N_PAIRED_RESAMPLES,
    seed: int = 0,
) -> tuple[float, tuple[float, float] | None]:
    """The mean of a - b over the same images, and its percentile bootstrap interval (Efron 1979).

    Images are drawn with replacement, a and b of one image together. A sample is drawn as how often each distinct
    difference occurs in it (a multinomial count): the same distribution as of drawn images, and as fast for 10,000
    images as for ten where a and b are right or wrong, since there are three differences only.

    Args:
        a: (n,) bool, or numbers such as losses, of one contestant; n at least 1.
        b: (n,), of the other.

    Returns:
        the difference and the ends of its interval: None for a single image.
    """
    n = len(a)
    differences = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    value = float(differences.mean())
    if n < 2:
        return value, None
    kinds, counts = np.unique(differences, return_counts=True)
    rng = np.random.default_rng(seed)
    # Parts of at most 32 MB, for losses that are all distinct.
    rows = max(1, 2**22 // len(kinds))
    parts = [min(rows, n_resamples - start) for start in range(0, n_resamples, rows)]
    means = np.concatenate([rng.multinomial(n, counts / n, size=size) @ kinds / n for size in parts])
    low, high = np.quantile(means, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return value, (float(low), float(high))


def mcnemar_exact(a_right: NDArray[np.bool_], b_right: NDArray[np.bool_]) -> tuple[int, int, float]:
    """Wins and losses of a against b on the same images, and the exact two-sided p-value (McNemar 1947).

    Of the images on which just one of them is right, either is as likely to be it if they are equally accurate: a
    binomial test. Without any such image the p-value is 1.
    """
    from scipy.stats import binomtest

    wins, losses = int((a_right & ~b_right).sum()), int((b_right & ~a_right).sum())
    p = float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0
    return wins, losses, p


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number (Holm 1979), in the order given: below alpha, they may be claimed together."""
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p)
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1)
    return [float(value) for value in adjusted]


def quantile_bound(times: Sequence[float], q: float, confidence: float = 0.99) -> float | None:
    """The smallest measured time that is an upper bound of the true q-quantile with this confidence.

    That is the k-th smallest of n independent times for the smallest k with P(Binomial(n, q) < k) >= ``confidence``,
    whatever their distribution. It is the condition of MLPerf Inference's early stopping (MLCommons, Inference Rules):
    for the 99th percentile at 99 % confidence it takes 459 queries with none above, 662 with one.

    Returns:
        the bound, in the unit of ``times``; None where there are too few of them.
    """
    from scipy.stats import binom

    n = len(times)
    below = int(binom.ppf(confidence, n, q)) if n else 0
    return float(np.sort(times)[below]) if below < n else None


def smallest_difference(
    n: int, discordant_share: float, power: float = 0.8, alpha: float = 0.05
) -> float | None:
    """The smallest difference in accuracy that the exact McNemar test on n images shows with this power.

    Args:
        n: images.
        discordant_share: share of them on which just one of the two is right. It is at least the difference: where
            the share given is too small for any difference to be shown, it is taken to be the difference itself.
        power: how often the test is to find such a difference, in the right direction.
        alpha: of the two-sided test.

    Returns:
        the difference as a share; None where there are too few images to show any.
    """
    from scipy.optimize import brentq
    from scipy.stats import binom

    def excess(difference: float) -> float:
        """The exact power (Duffy 1984: averaged over the number of discordant images), less what is wanted."""
        share = max(discordant_share, difference)
        # All numbers of discordant images but the most unlikely.
        discordant = np.arange(float(binom.ppf(1e-9, n, share)), float(binom.ppf(1 - 1e-9, n, share)) + 1)
        # The most losses with which the test still rejects; -1 where it never does.
        most: Any = binom.ppf(alpha / 2, discordant, 0.5)
        most = most - (binom.cdf(most, discordant, 0.5) > alpha / 2)
        shown = binom.cdf(most, discordant, (1 - difference / share) / 2)
        return float(binom.pmf(discordant, n, share) @ shown) - power

    if excess(1.0) < 0:
        return None
    return float(brentq(excess, 1e-9, 1.0, xtol=1e-6))
