"""The search among hashes: what is near is found, each pair once, whatever the crowd."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.duplicates.hashes import BITS, WORDS
from classic_cv.checks.duplicates.search import KEPT, nearest


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


def nearest_of_each(hashes: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The nearest other image of each, and the bits that differ."""
    found = nearest(hashes, np.arange(len(hashes)), np.arange(len(hashes)))
    return found.entries[:, 0], found.distances[:, 0]


def test_planted_pairs_are_found_and_nothing_else_is_near() -> None:
    hashes, expected = planted(3000, 50, 10)
    others, distances = nearest_of_each(hashes)
    assert [[k, int(others[k])] for k in range(50)] == expected
    assert [[int(others[k]), k] for _, k in expected] == expected
    assert (distances[:50] == 10).all()
    assert distances[50:-50].min() > 16


def test_a_mirrored_view_of_another_image_is_found_as_that_image() -> None:
    hashes, mirrored = random_hashes(300), random_hashes(300, 1)
    mirrored[7], mirrored[200] = hashes[200], hashes[7]
    found = nearest(np.concatenate([hashes, mirrored]), np.tile(np.arange(300), 2), np.arange(300))
    assert found.entries[[7, 200], 0].tolist() == [500, 307]
    assert found.distances[[7, 200], 0].tolist() == [0, 0]


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
    found = nearest(np.repeat(random_hashes(1), 400, axis=0), np.arange(400), np.arange(400))
    assert found.entries.shape == (400, KEPT)
    assert (found.distances == 0).all()
    assert (found.entries != np.arange(400)[:, None]).all()


def test_owners_are_found_once_and_askers_never() -> None:
    hashes = np.repeat(random_hashes(1), 5, axis=0)
    owners = np.array([0, 1, 0, 1, -1])
    found = nearest(hashes, owners, np.array([0, 4]), k=3)
    assert [sorted(owners[row[row >= 0]].tolist()) for row in found.entries] == [[1], [0, 1]]
    assert (found.distances[found.entries < 0] == BITS + 1).all()


def test_one_hash_has_no_neighbor_and_none_is_no_error() -> None:
    found = nearest(random_hashes(1), np.arange(1), np.arange(1))
    assert found.entries.tolist() == [[-1] * KEPT]
    assert len(nearest(random_hashes(0), np.arange(0), np.arange(0)).entries) == 0
