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
        groups: (n,), small subsets take few samples of each rather than many of a few: within a class every group
            comes once before any comes twice.
        seed: another one gives another order.
    """
    n = len(y)
    _, codes = np.unique(y, return_inverse=True)
    _, units = np.unique(groups, return_inverse=True)
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(units.max() + 1)[units]
    tie = rng.permutation(n)
    _, pairs = np.unique(codes * (units.max() + 1) + units, return_inverse=True)
    occurrence = _ranks(np.lexsort((tie, pairs)), pairs)
    counts = np.bincount(codes)
    rank = _ranks(np.lexsort((tie, shuffled, occurrence, codes)), codes)
    share = np.where(rank < FIRST, -1.0, (rank + 0.5) / counts[codes])
    return np.lexsort((tie, np.minimum(rank, FIRST), share))


def _ranks(order: NDArray[np.intp], codes: NDArray[np.intp]) -> NDArray[np.intp]:
    """How many of the same code come before each sample in ``order``, which has the codes ascending."""
    counts = np.bincount(codes)
    rank = np.empty(len(order), np.intp)
    rank[order] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rank
