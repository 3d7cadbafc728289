from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from classic_cv.dataset._assign import choose_test, connected, quotas

QUIET = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def choose(strata: list[int], blocks: list[int], fraction: float = 0.2, seed: int = 0) -> NDArray[np.bool_]:
    names = [f"{block:x}" for block in range(max(blocks) + 1)]
    return choose_test(np.array(strata), np.array(blocks), names, fraction=fraction, seed=seed)


@QUIET
@given(st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=3), max_size=30))
def test_connected_equals_repeated_merging(keys: list[list[int]]) -> None:
    found = connected(keys)
    sets = [({i}, set(sample)) for i, sample in enumerate(keys)]
    merged = True
    while merged:
        merged = False
        for a in range(len(sets)):
            for b in range(a + 1, len(sets)):
                if sets[a][1] & sets[b][1]:
                    sets[a] = (sets[a][0] | sets[b][0], sets[a][1] | sets[b][1])
                    del sets[b]
                    merged = True
                    break
            if merged:
                break
    expected = {frozenset(members) for members, _ in sets}
    assert {frozenset(np.flatnonzero(found == number).tolist()) for number in set(found.tolist())} == expected
    firsts = [found.tolist().index(number) for number in range(len(expected))]
    assert firsts == sorted(firsts)


@QUIET
@given(st.lists(st.integers(0, 500), min_size=1, max_size=20), st.floats(0, 0.9), st.integers(0, 5))
def test_quotas_add_up_and_are_within_one(counts: list[int], fraction: float, seed: int) -> None:
    found = quotas(np.array(counts), fraction, seed)
    exact = [fraction * count for count in counts]
    if fraction > 0 and sum(counts) > 0:
        assert abs(sum(found) - max(1, sum(exact))) <= 0.5 + 1e-6
        assert all(abs(a - b) < 1 + 1e-6 for a, b in zip(found, exact, strict=True))


@pytest.mark.parametrize("seed", range(5))
def test_equal_classes_get_the_fraction_exactly(seed: int) -> None:
    for classes, size in ((17, 60), (2, 10), (10, 500)):
        strata = [c for c in range(classes) for _ in range(size)]
        test = choose(strata, list(range(len(strata))), seed=seed)
        assert Counter(np.array(strata)[test].tolist()) == dict.fromkeys(range(classes), size // 5)


@pytest.mark.parametrize("seed", range(5))
def test_many_small_classes_keep_the_overall_fraction(seed: int) -> None:
    strata = [c for c in range(101) for _ in range(3)]
    test = choose(strata, list(range(303)), seed=seed)
    assert test.sum() == 61
    assert np.bincount(np.array(strata)[test]).max() == 1


@pytest.mark.parametrize("seed", range(20))
def test_unequal_groups_come_near_the_fraction(seed: int) -> None:
    sizes = [400, 200, 100, 50, 25, 12, 6, 3, 2, 1]
    blocks = [group for group, size in enumerate(sizes) for _ in range(size)]
    test = choose([0] * len(blocks), blocks, seed=seed)
    assert abs(test.mean() - 0.2) < 0.02


def test_two_groups_are_divided_whatever_their_size() -> None:
    test = choose([0] * 20 + [1] * 20, [0] * 10 + [1] * 10 + [2] * 10 + [3] * 10)
    assert np.bincount(np.array([0] * 20 + [1] * 20)[test]).tolist() == [10, 10]


def test_seeds_choose_differently_and_one_more_sample_moves_few() -> None:
    strata = [0, 1] * 100
    a, b = (choose(strata, list(range(200)), seed=seed) for seed in (0, 1))
    assert (a != b).sum() > 20
    more = choose([*strata, 0], list(range(201)))
    assert (a != more[:200]).sum() <= 2


BLOCKS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 25)), min_size=2, max_size=120)


@QUIET
@given(BLOCKS, st.floats(0.05, 0.6), st.integers(0, 3))
def test_blocks_are_whole_and_every_stratum_stays_in_train(
    samples: list[tuple[int, int]], fraction: float, seed: int
) -> None:
    strata = [stratum for stratum, _ in samples]
    blocks = np.unique([block for _, block in samples], return_inverse=True)[1].tolist()
    test = choose(strata, blocks, fraction, seed)
    assert not set(np.array(blocks)[test]) & set(np.array(blocks)[~test])
    assert set(np.array(strata)[~test]) == set(strata)


@QUIET
@given(
    st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=15), min_size=1, max_size=5),
    st.floats(0.05, 0.6),
    st.integers(0, 3),
)
def test_pure_groups_come_within_one_group_of_the_fraction(
    classes: list[list[int]], fraction: float, seed: int
) -> None:
    sizes = [(c, size) for c, groups in enumerate(classes) for size in groups]
    strata = [c for c, size in sizes for _ in range(size)]
    blocks = [block for block, (_, size) in enumerate(sizes) for _ in range(size)]
    test = choose(strata, blocks, fraction, seed)
    for c, groups in enumerate(classes):
        in_test = int((test & (np.array(strata) == c)).sum())
        if len(groups) == 1:
            assert in_test == 0
        else:
            assert abs(in_test - fraction * sum(groups)) <= max(groups) + 1
