"""Whether some images are answered worse than others of the same classes: the gap, and an exact test of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

NEGLIGIBLE = 1e-18
"""Probabilities below this are left out of a distribution: far below any p-value that is claimed, so that only the
likely numbers of mistakes are gone through, of thousands. No p-value is given below it."""


def stratified_gap(right: NDArray[np.bool_], members: NDArray[np.bool_], strata: NDArray[np.int64]) -> float:
    """How much lower the accuracy of members is than that of the others in the same stratum.

    It is the risk difference of Mantel and Haenszel (1959) as Greenland and Robins (1985) have it: the differences
    within strata, weighed by how much each can tell. With a single stratum it is the plain difference.

    Args:
        right: (n,), whether an answer is right.
        members: (n,), of the segment.
        strata: (n,), classes, or all equal; numbers from 0.

    Returns:
        from -1 to 1, above 0 where members are answered worse; 0 where no stratum has both members and others.
    """
    n, inside, _, wrong_inside, expected = _tables(right, members, strata)
    weight = float((inside * (n - inside) / n).sum())
    return float(np.clip((wrong_inside - expected).sum() / weight, -1, 1)) if weight else 0.0


def worse_by_chance(right: NDArray[np.bool_], members: NDArray[np.bool_], strata: NDArray[np.int64]) -> float:
    """The probability of at least as many wrong answers among members, if these were drawn from their strata by lot.

    Each stratum's number is hypergeometric, and that of all is their sum: the exact conditional test of several 2 x 2
    tables (Gart 1970), one-sided; Fisher's exact test where there is one stratum. Normal approximations are wrong by
    orders of magnitude where wrong answers are few, as those of a good model are.

    Args:
        right, members, strata: as for ``stratified_gap``.
    """
    from scipy.stats import hypergeom

    n, inside, wrong, wrong_inside, _ = _tables(right, members, strata)
    least = np.maximum(0, inside + wrong - n)
    reach = np.minimum(inside, wrong) - least
    varied = reach > 0
    seen = int((wrong_inside - least).sum())
    if seen <= 0 or not varied.any():
        return 1.0
    steps = np.arange(reach.max() + 1)
    tables = (counts[varied, None] for counts in (n, wrong, inside))
    chances: NDArray[np.float64] = np.asarray(hypergeom.pmf(least[varied, None] + steps, *tables))
    total, start = np.ones(1), 0
    for stratum in chances:
        likely, first = _likely(stratum)
        total, skipped = _likely(np.convolve(total, likely))
        start += first + skipped
    return float(np.clip(total[max(seen - start, 0) :].sum(), NEGLIGIBLE, 1))


def _tables(
    right: NDArray[np.bool_], members: NDArray[np.bool_], strata: NDArray[np.int64]
) -> tuple[NDArray[Any], ...]:
    """Per stratum that occurs: images, members, wrong ones, wrong members, and how many of these chance would give."""
    size = int(strata.max()) + 1 if len(strata) else 0
    n = np.bincount(strata, minlength=size)
    inside = np.bincount(strata[members], minlength=size)
    wrong = np.bincount(strata[~right], minlength=size)
    wrong_inside = np.bincount(strata[members & ~right], minlength=size)
    there = n > 0
    n, inside, wrong, wrong_inside = n[there], inside[there], wrong[there], wrong_inside[there]
    return n, inside, wrong, wrong_inside, inside * wrong / n


def _likely(chances: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """The part of a distribution between its first and last probability that counts, and where that part starts."""
    counted = np.flatnonzero(chances > NEGLIGIBLE)
    return chances[counted[0] : counted[-1] + 1], int(counted[0])
