"""Near hashes without comparing all pairs: sort them by random selections of their bits, compare neighbors.

Two hashes that differ in few bits agree in the leading bits of many a random order of them, and are then close
together once all are sorted by it. A few dozen orders, in each of which every hash is compared with a handful of its
neighbors, find nearly all near pairs (Charikar 2002, section 3, after Indyk and Motwani 1998). The work grows as
n log n whatever the data, since also in a crowd of equal hashes only so many neighbors are compared.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.duplicates.hashes import BITS

ORDERS = 24
"""Random orders of the bits. Of pairs that differ in 6 % of their bits one order finds 37 % among a million."""

REACH = 8
"""Neighbors compared on either side."""

KEY_BITS = 64
"""Leading bits that hashes are sorted by: twice what a thousand million of them need."""

BATCH = 16_384
"""Hashes whose neighbors are compared at a time: 10 MB."""

KEPT = 8
"""Images kept of those near an image: copies, and behind them what merely looks alike."""

ENTRY_BITS = 40
"""A candidate is one number, so that sorting puts the nearest first: its distance above, its position below."""

ENTRY = np.int64((1 << ENTRY_BITS) - 1)


class Neighbors(NamedTuple):
    """What was found near each hash that asked, the nearest first, each owner once.

    Attributes:
        entries: int64 (n_asking, k), positions among all hashes; -1 where there are no more.
        distances: int64 (n_asking, k), bits that differ; ``BITS`` + 1 where there are no more.
    """

    entries: NDArray[np.int64]
    distances: NDArray[np.int64]


def nearest(
    hashes: NDArray[np.uint64],
    owners: NDArray[np.int64],
    asking: NDArray[np.intp],
    *,
    k: int = KEPT,
    seed: int = 0,
) -> Neighbors:
    """The nearest hashes of other owners, approximately.

    Args:
        hashes: uint64 (n, words).
        owners: int64 (n,), the image that a hash is a view of, from 0; -1 for one that asks and is never found.
        asking: positions of the hashes whose neighbors are wanted, at most one per owner.
        k: how many owners.
    """
    rng = np.random.default_rng(seed)
    beyond = np.int64(BITS + 1) << ENTRY_BITS
    best = np.full((len(asking), k), beyond)
    row = np.full(len(hashes), -1, np.int64)
    row[asking] = np.arange(len(asking))
    for _ in range(ORDERS):
        order = np.argsort(_keys(hashes, rng.permutation(64 * hashes.shape[1])[:KEY_BITS]), kind="stable")
        _compare_neighbors(hashes[order], owners[order], row[order], order, owners, best, beyond)
    entries = best & ENTRY
    distances = best >> ENTRY_BITS
    none = best >= beyond
    entries[none], distances[none] = -1, BITS + 1
    return Neighbors(entries, distances)


def _keys(hashes: NDArray[np.uint64], bits: NDArray[np.intp]) -> NDArray[np.uint64]:
    """The chosen bits of each hash, the first as the highest: uint64 (n,)."""
    keys = np.empty(len(hashes), np.uint64)
    for start in range(0, len(hashes), BATCH):
        part = np.ascontiguousarray(hashes[start : start + BATCH])
        chosen = np.unpackbits(part.view(np.uint8), axis=1)[:, bits]
        packed = np.ascontiguousarray(np.packbits(chosen, axis=1))
        keys[start : start + BATCH] = packed.view(">u8")[:, 0]
    return keys


def _compare_neighbors(
    hashes: NDArray[np.uint64],
    owners: NDArray[np.int64],
    rows: NDArray[np.int64],
    order: NDArray[np.intp],
    all_owners: NDArray[np.int64],
    best: NDArray[np.int64],
    beyond: np.int64,
) -> None:
    """Compare sorted hashes with their neighbors in this order; better candidates go into ``best``."""
    steps = np.concatenate([np.arange(-REACH, 0), np.arange(1, REACH + 1)])
    places = np.flatnonzero(rows >= 0)
    for start in range(0, len(places), BATCH):
        at = places[start : start + BATCH]
        around = at[:, None] + steps
        outside = (around < 0) | (around >= len(order))
        around[outside] = 0
        distances = np.bitwise_count(hashes[around] ^ hashes[at][:, None]).sum(axis=2, dtype=np.int64)
        outside |= (owners[around] < 0) | (owners[around] == owners[at][:, None])
        found = np.where(outside, beyond, distances << ENTRY_BITS | order[around])
        _merge(best, rows[at], found, all_owners, beyond)


def _merge(
    best: NDArray[np.int64],
    rows: NDArray[np.int64],
    found: NDArray[np.int64],
    owners: NDArray[np.int64],
    beyond: np.int64,
) -> None:
    """Put candidates (n, any) into these rows of ``best``: the nearest, of each owner one."""
    better = found.min(axis=1) < best[rows, -1]
    rows = rows[better]
    both = np.concatenate([best[rows], found[better]], axis=1)
    both.sort(axis=1)
    owner = owners[both & ENTRY]
    by_owner = np.argsort(owner, axis=1, kind="stable")
    owner = np.take_along_axis(owner, by_owner, axis=1)
    again = np.zeros(both.shape, np.bool_)
    again[:, 1:] = owner[:, 1:] == owner[:, :-1]
    repeated = np.empty_like(again)
    np.put_along_axis(repeated, by_owner, again, axis=1)
    both[repeated] = beyond
    both.sort(axis=1)
    best[rows] = np.minimum(both[:, : best.shape[1]], beyond)
