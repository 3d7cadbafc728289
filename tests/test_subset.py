"""Nested subsets: every beginning of the order is a fair choice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from classic_cv.subset import FIRST, nested_order

ORDERS = settings(max_examples=150, deadline=None)


def samples(sizes: list[int], seed: int) -> NDArray[np.int64]:
    """Classes of these sizes in some order, numbered with gaps."""
    y = np.repeat(3 * np.arange(len(sizes)) - 2, sizes)
    return np.random.default_rng(seed).permutation(y)


CLASSES = st.lists(st.integers(1, 60), min_size=1, max_size=6)


@ORDERS
@given(CLASSES, st.integers(0, 1000))
def test_every_beginning_has_the_classes_in_their_proportions(sizes: list[int], seed: int) -> None:
    y = samples(sizes, seed)
    order = nested_order(y, np.arange(len(y)), seed)
    assert sorted(order.tolist()) == list(range(len(y)))
    counts = np.cumsum(y[order][:, None] == np.unique(y), axis=0)
    expected = np.arange(1, len(y) + 1)[:, None] * counts[-1] / len(y)
    # Beyond the first few of each class, which come before all others.
    ready = (expected >= FIRST + 1).all(axis=1)
    assert np.abs(counts - expected)[ready].max(initial=0) <= 1.5


@ORDERS
@given(CLASSES, st.integers(0, 1000))
def test_every_class_comes_early(sizes: list[int], seed: int) -> None:
    y = samples(sizes, seed)
    order = nested_order(y, np.arange(len(y)), seed)
    assert len(set(y[order[: len(sizes)]])) == len(sizes)
    early = [min(size, FIRST) for size in sizes]
    found = np.unique(y[order[: sum(early)]], return_counts=True)[1]
    assert found.tolist() == early


@ORDERS
@given(CLASSES, st.integers(1, 9), st.integers(0, 1000))
def test_within_a_class_every_group_comes_once_before_any_comes_twice(
    sizes: list[int], size: int, seed: int
) -> None:
    y = samples(sizes, seed)
    groups = np.random.default_rng(seed).permutation(np.arange(len(y)) // size) * 10 - 1
    order = nested_order(y, groups, seed)
    for k in np.unique(y):
        mine = groups[order[y[order] == k]]
        distinct = len(np.unique(mine))
        assert len(np.unique(mine[:distinct])) == distinct


def test_the_seed_gives_the_order() -> None:
    y = samples([20, 30], 0)
    order = nested_order(y, np.arange(50), 1)
    np.testing.assert_array_equal(order, nested_order(y, np.arange(50), 1))
    assert (order != nested_order(y, np.arange(50), 2)).any()


@pytest.mark.parametrize("dtype", [np.int64, np.float64, np.str_])
def test_classes_may_be_of_any_kind(dtype: type) -> None:
    y = samples([10, 20], 0)
    # Of one sign and one digit: the same order as text.
    positive = (y + 3) // 3
    np.testing.assert_array_equal(
        nested_order(positive.astype(dtype), np.arange(30), 0), nested_order(y, np.arange(30), 0)
    )
