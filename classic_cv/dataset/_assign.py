"""Which blocks of samples make the test part: stratified, seeded, whole blocks only."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

PASSES = 4


def seeded(seed: int, key: str) -> bytes:
    """A sort key that puts ``key`` at a place drawn from ``seed``.

    Unlike a generator's permutation it is the same on every version of every library, and one more sample
    moves no other.
    """
    return hashlib.sha256(f"{seed}:{key}".encode()).digest()


def connected(keys: Sequence[Iterable[Hashable]]) -> NDArray[np.int64]:
    """Number the sets of samples that share a key, directly or through others: int64 (n_samples,).

    Sets are numbered in the order of their first samples.
    """
    parent = list(range(len(keys)))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    first: dict[Hashable, int] = {}
    for index, sample_keys in enumerate(keys):
        for key in sample_keys:
            a, b = root(first.setdefault(key, index)), root(index)
            parent[max(a, b)] = min(a, b)
    numbers: dict[int, int] = {}
    found = [numbers.setdefault(root(index), len(numbers)) for index in range(len(keys))]
    return np.array(found, dtype=np.int64)


def quotas(counts: NDArray[np.int64], fraction: float, seed: int) -> list[int]:
    """How many test samples each stratum gets: largest remainders, so that the total is the fraction's."""
    exact = [fraction * count for count in counts.tolist()]
    quota = [math.floor(value + 1e-9) for value in exact]
    left = round(sum(exact)) - sum(quota)
    if sum(quota) + left == 0 and fraction > 0:
        left = 1
    by_remainder = sorted(
        range(len(exact)), key=lambda c: (-round(exact[c] - quota[c], 9), seeded(seed, f"stratum {c}"))
    )
    for c in [c for c in by_remainder if counts[c] > 0][:left]:
        quota[c] += 1
    return quota


class _Assignment:
    """Blocks moved to test and back, with what each stratum still lacks there."""

    def __init__(self, members: list[dict[int, int]], quota: list[int], counts: NDArray[np.int64]) -> None:
        self.members = members
        self.lacking = list(quota)
        self.weight: list[float] = [1 / max(1, count) for count in counts.tolist()]
        self.in_test = [False] * len(members)
        self.train_blocks = [0] * len(quota)
        for member in members:
            for c in member:
                self.train_blocks[c] += 1
        self.test_blocks = [0] * len(quota)

    def cost(self, block: int) -> float:
        """Change of the weighted squared lack when ``block`` changes sides."""
        sign = -1 if self.in_test[block] else 1
        return sum(
            self.weight[c] * count * (count - 2 * sign * self.lacking[c])
            for c, count in self.members[block].items()
        )

    def fits(self, block: int) -> bool:
        """Whether test has room for all of it."""
        return all(count <= self.lacking[c] for c, count in self.members[block].items())

    def may_leave_train(self, block: int) -> bool:
        """Whether every stratum of ``block`` keeps another block in train."""
        return all(self.train_blocks[c] > 1 for c in self.members[block])

    def flip(self, block: int) -> None:
        sign = -1 if self.in_test[block] else 1
        self.in_test[block] = not self.in_test[block]
        for c, count in self.members[block].items():
            self.lacking[c] -= sign * count
            self.train_blocks[c] -= sign
            self.test_blocks[c] += sign


def choose_test(
    strata: NDArray[np.int64],
    blocks: NDArray[np.int64],
    names: Sequence[str],
    *,
    fraction: float,
    seed: int,
    locked: frozenset[int] = frozenset(),
) -> NDArray[np.bool_]:
    """Choose whole blocks for a test part that holds about ``fraction`` of each stratum.

    Blocks are tried in a seeded order: first those that fit, then whatever brings the strata closer to their
    quotas. Every stratum keeps a block in train, so one with a single block has none in test; one with more
    and a quota has at least one.

    Args:
        strata: int64 (n_samples,), from 0.
        blocks: int64 (n_samples,), from 0; samples that must stay together.
        names: a name per block, the same whatever the order of the samples; the seeded order is theirs.
        fraction: from 0 to 1.
        seed: another one chooses other blocks.
        locked: blocks that stay in train.

    Returns:
        bool (n_samples,), true for test.
    """
    n_strata, n_blocks = int(strata.max()) + 1, int(blocks.max()) + 1
    pairs, pair_counts = np.unique(blocks * n_strata + strata, return_counts=True)
    members: list[dict[int, int]] = [{} for _ in range(n_blocks)]
    for pair, count in zip(pairs.tolist(), pair_counts.tolist(), strict=True):
        members[pair // n_strata][pair % n_strata] = count
    splittable = np.bincount(pairs % n_strata, minlength=n_strata) > 1
    counts = np.bincount(strata, minlength=n_strata).astype(np.int64) * splittable
    state = _Assignment(members, quotas(counts, fraction, seed), counts)
    order = sorted(range(n_blocks), key=lambda block: (seeded(seed, names[block]), names[block]))
    movable = [b for b in order if b not in locked and members[b] and state.may_leave_train(b)]
    _fill(state, movable)
    _improve(state, movable)
    _represent(state, movable)
    return np.array(state.in_test, dtype=np.bool_)[blocks]


def _fill(state: _Assignment, movable: list[int]) -> None:
    for block in movable:
        if state.fits(block) and state.may_leave_train(block):
            state.flip(block)


def _improve(state: _Assignment, movable: list[int]) -> None:
    """Move single blocks either way while that helps."""
    for _ in range(PASSES):
        changed = False
        for block in movable:
            if state.cost(block) < -1e-12 and (state.in_test[block] or state.may_leave_train(block)):
                state.flip(block)
                changed = True
        if not changed:
            return


def _represent(state: _Assignment, movable: list[int]) -> None:
    """A block in test for each stratum that lacks samples there and has none: the one that costs least."""
    wanting = [c for c, lack in enumerate(state.lacking) if lack > 0 and state.test_blocks[c] == 0]
    if not wanting:
        return
    candidates: dict[int, list[int]] = {c: [] for c in wanting}
    for block in movable:
        for c in state.members[block]:
            if c in candidates:
                candidates[c].append(block)
    for c in wanting:
        allowed = [b for b in candidates[c] if not state.in_test[b] and state.may_leave_train(b)]
        if allowed and state.test_blocks[c] == 0:
            state.flip(min(allowed, key=state.cost))
