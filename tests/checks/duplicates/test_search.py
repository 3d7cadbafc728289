"""The search among hashes: what is near is found, each pair once, whatever the crowd."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.duplicates.hashes import BITS, WORDS
from classic_cv.checks.duplicates.search import KEPT, near_pairs, nearest


def random_hashes(n: int, seed: int = 0) -> NDArray[np.uint64]:
    return np.random.default_rng(seed).integers(0, 2**64, (n, WORDS), dtype=np.uint64)


def flipped(one: NDArray[np.uint64], n_bits: int, rng: np.random.Generator) -> NDArray[np.uint64]:
    bits = np.unpackbits(np.ascontiguousarray(one).view(np.uint8))
    bits[rng.choice(BITS, n_bits, replace=False)] ^= 1
    return np.packbits(bits).view(np.uint64)


def planted(n: int, pairs: int, n_bits: int) -> tuple[NDArray[np.uint64], list[list[int]]]:
    rng = np.random.default_rng(1)
    hashes = random_hashes(n)
    for first in range(pairs):
        hashes[n - 1 - first] = flipped(hashes[first], n_bits, rng)
    return hashes, [[first, n - 1 - first] for first in range(pairs)]


def test_finds_planted_pairs_and_no_others() -> None:
    hashes, expected = planted(3000, 50, 10)
    pairs, distances = near_pairs(hashes)
    assert pairs.tolist() == expected
    assert distances.tolist() == [10] * 50


def test_a_smaller_radius_leaves_them_out() -> None:
    hashes, _ = planted(500, 20, 10)
    assert len(near_pairs(hashes, radius=9)[0]) == 0


def test_finds_mirrored_pairs_once() -> None:
    hashes, mirrored = random_hashes(300), random_hashes(300, 1)
    mirrored[7], mirrored[200] = hashes[200], hashes[7]
    pairs, distances = near_pairs(hashes, mirrored)
    assert pairs.tolist() == [[7, 200]]
    assert distances.tolist() == [0]


def test_distances_are_those_of_all_pairs_compared() -> None:
    rng = np.random.default_rng(2)
    hashes = np.stack([flipped(np.zeros(WORDS, np.uint64), int(k), rng) for k in rng.integers(0, 20, 60)])
    found = nearest(hashes, np.arange(60), np.arange(60), k=1)
    apart = np.bitwise_count(hashes[:, None] ^ hashes[None]).sum(axis=2).astype(int)
    np.fill_diagonal(apart, 1000)
    rows = np.arange(60)
    assert (found.distances[:, 0] == apart[rows, found.entries[:, 0]]).all()
    assert (found.distances[:, 0] - apart.min(axis=1)).mean() < 0.5


def test_a_crowd_of_equal_hashes_has_a_few_neighbors_each() -> None:
    hashes = np.repeat(random_hashes(1), 400, axis=0)
    pairs, distances = near_pairs(hashes)
    assert 400 <= len(pairs) <= 400 * KEPT
    assert (distances == 0).all()
    assert (pairs[:, 0] < pairs[:, 1]).all()


def test_owners_are_found_once_and_askers_never() -> None:
    hashes = np.repeat(random_hashes(1), 5, axis=0)
    owners = np.array([0, 1, 0, 1, -1])
    found = nearest(hashes, owners, np.array([0, 4]), k=3)
    assert [sorted(owners[row[row >= 0]].tolist()) for row in found.entries] == [[1], [0, 1]]
    assert (found.distances[found.entries < 0] == BITS + 1).all()


def test_one_hash_and_none() -> None:
    assert near_pairs(random_hashes(1))[0].shape == (0, 2)
    assert near_pairs(random_hashes(0))[0].shape == (0, 2)
