"""Area under the ROC curve with its interval, also within strata, so that what tells strata apart counts nothing."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from classic_cv.stats import partial_credit_interval


class AUC(NamedTuple):
    """How often a positive image scores above a negative one, ties half.

    Attributes:
        value: from 0 to 1; 0.5 is chance.
        low, high: 95 % interval.
        n_positive, n_negative: images that were compared.
    """

    value: float
    low: float
    high: float
    n_positive: int
    n_negative: int


def auc_with_interval(
    scores: NDArray[Any], positive: NDArray[np.bool_], strata: NDArray[Any] | None = None
) -> AUC | None:
    """The AUC and its interval, from the variance of DeLong, DeLong and Clarke-Pearson (Biometrics 1988).

    The interval is Wilson's for the number of independent answers that has this variance: it stays within 0 to 1,
    and has a width where the separation is perfect. That number is taken to be at most what it is at chance, which
    is cautious near 0 and 1.

    Args:
        scores: (n,), higher for positive images.
        positive: (n,), which images are.
        strata: (n,), only images of the same stratum are compared; a stratum's AUC weighs n1 * n0 / (n1 + n0), as
            van Elteren (1960) has it. All images are one stratum by default.

    Returns:
        None where no stratum has both kinds of images.
    """
    codes = np.zeros(len(scores), np.intp) if strata is None else np.unique(strata, return_inverse=True)[1]
    order = np.argsort(codes, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(codes))[:-1]) if len(codes) else []
    mixed = [rows for rows in members if 0 < positive[rows].sum() < len(rows)]
    if not mixed:
        return None
    found = np.array([_one_stratum(scores[rows], positive[rows]) for rows in mixed])
    values, variances, n_positive, n_negative = found.T
    sizes = n_positive * n_negative / (n_positive + n_negative)
    weights = sizes / sizes.sum()
    value, variance = float(weights @ values), float(weights**2 @ variances)
    # Of equally distributed scores the variance is (n1 + n0 + 1) / (12 n1 n0), that of one answer 1 / 4.
    most = 3 * float(sizes.sum())
    answers = max(1, round(min(value * (1 - value) / variance, most) if variance else most))
    low, high = partial_credit_interval(value * answers, answers)
    return AUC(value, low, high, int(n_positive.sum()), int(n_negative.sum()))


def _one_stratum(scores: NDArray[Any], positive: NDArray[np.bool_]) -> tuple[float, float, int, int]:
    """AUC, its variance, and the numbers of positive and negative images; there is at least one of each."""
    from scipy.stats import rankdata

    above, below = scores[positive], scores[~positive]
    ranks = rankdata(np.concatenate([above, below]))
    n1, n0 = len(above), len(below)
    # How many of the other kind each image is on the right side of, as a share.
    of_positive = (ranks[:n1] - rankdata(above)) / n0
    of_negative = 1 - (ranks[n1:] - rankdata(below)) / n1
    value = float(of_positive.mean())
    return value, _spread(of_positive, value) / n1 + _spread(of_negative, value) / n0, n1, n0


def _spread(shares: NDArray[np.float64], value: float) -> float:
    """Their variance; of a single one the largest that this mean allows."""
    return float(shares.var(ddof=1)) if len(shares) > 1 else value * (1 - value)
