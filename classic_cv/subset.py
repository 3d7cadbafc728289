"""Nested stratified subsets: an order of the samples whose every beginning is a fair choice of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FIRST = 4
"""So many samples of each class come before all others, so that small subsets know every class."""


def nested_order(y: NDArray[Any], groups: NDArray[np.int64], seed: int) -> NDArray[np.intp]:
    """Positions 0 to n - 1 in an order whose beginnings have the classes in their proportions.

    Args:
        y: classes or strata, (n,).
        groups: (n,), the samples of a group follow each other within their class.
        seed: another one gives another order.
    """
    n = len(y)
    _, codes = np.unique(y, return_inverse=True)
    _, units = np.unique(groups, return_inverse=True)
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(units.max() + 1)[units]
    tie = rng.permutation(n)
    by_class = np.lexsort((tie, shuffled, codes))
    counts = np.bincount(codes)
    rank = np.empty(n, np.intp)
    rank[by_class] = np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts)
    share = np.where(rank < FIRST, -1.0, (rank + 0.5) / counts[codes])
    return np.lexsort((tie, np.minimum(rank, FIRST), share))
