"""Nested stratified subsets: an order of the samples whose every beginning is a fair choice of them."""

from __future__ import annotations

import heapq
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
    first = np.flatnonzero(rank < FIRST)
    classes = _in_proportion(counts)
    place = np.minimum(counts, FIRST)[classes] + _ranks(np.argsort(classes, kind="stable"), classes)
    rest = np.lexsort((rank, codes))[(np.cumsum(counts) - counts)[classes] + place]
    return np.concatenate([first[np.lexsort((tie[first], rank[first]))], rest])


def _in_proportion(counts: NDArray[np.intp]) -> NDArray[np.intp]:
    """The class of each sample after the ``FIRST`` of each: every beginning is within about one of its share.

    Earliest due date first (Steiner and Yeomans, Level schedules for mixed-model, just-in-time processes, Management
    Science 1993): sample j of a class may come once its share has passed j, and is due before it passes j + 1.
    """
    shares = (counts / counts.sum()).tolist()
    taken = np.minimum(counts, FIRST).tolist()
    waiting = [(taken[k] / shares[k], k) for k in range(len(counts)) if taken[k] < counts[k]]
    heapq.heapify(waiting)
    due: list[tuple[float, int]] = []
    order = []
    for position in range(sum(taken) + 1, int(counts.sum()) + 1):
        while waiting and waiting[0][0] < position:
            k = heapq.heappop(waiting)[1]
            heapq.heappush(due, ((taken[k] + 1) / shares[k], k))
        k = heapq.heappop(due or waiting)[1]
        order.append(k)
        taken[k] += 1
        if taken[k] < counts[k]:
            heapq.heappush(waiting, (taken[k] / shares[k], k))
    return np.array(order, np.intp)


def _ranks(order: NDArray[np.intp], codes: NDArray[np.intp]) -> NDArray[np.intp]:
    """How many of the same code come before each sample in ``order``, which has the codes ascending."""
    counts = np.bincount(codes)
    rank = np.empty(len(order), np.intp)
    rank[order] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rank
