"""Exact copies of one content in several parts: told in each part and across all."""

from __future__ import annotations

import numpy as np
import pytest

from classic_cv.checks.duplicates.finding_copies import EXACT, NEAR, Copies
from classic_cv.checks.duplicates.groups import group_numbers
from classic_cv.checks.duplicates.placed import Placed, by_part

TRAIN, VAL, TEST = 0, 1, 2


def placed(part: list[int], pairs: list[list[int]], kinds: list[str]) -> Placed:
    copies = Copies(np.array(pairs), np.array(kinds), np.ones(len(pairs)))
    parts = np.array(part)
    return Placed(by_part(copies, parts), parts, group_numbers(len(part), copies.pairs))


@pytest.mark.parametrize(
    ("part", "across", "within"),
    [
        ([TRAIN, TEST, TEST], [[0, 1], [0, 2]], [[1, 2]]),
        ([TRAIN, VAL, TEST], [[0, 1], [0, 2], [1, 2]], []),
        ([TEST, TRAIN, TRAIN], [[0, 1], [0, 2]], [[1, 2]]),
        ([TRAIN, TRAIN, TEST], [[0, 2]], [[0, 1]]),
    ],
)
def test_exact_copies_are_pairs_in_each_part_and_across(
    part: list[int], across: list[list[int]], within: list[list[int]]
) -> None:
    found = placed(part, [[0, 1], [0, 2]], [EXACT, EXACT])
    assert found.copies.pairs[found.across].tolist() == across
    assert found.copies.pairs[~found.across].tolist() == within


def test_what_is_near_an_image_is_near_its_exact_copy_in_another_part() -> None:
    found = placed([TEST, TRAIN, TEST], [[0, 1], [0, 2]], [EXACT, NEAR])
    near = found.copies.kinds == NEAR
    assert found.copies.pairs[near & found.across].tolist() == [[1, 2]]
    assert found.copies.pairs[near & ~found.across].tolist() == [[0, 2]]
    assert found.with_copies_in(TEST, [TRAIN]) == [0, 2]


def test_copies_leak_through_a_chain() -> None:
    found = placed([TRAIN, VAL, TEST, TEST], [[0, 1], [1, 2]], [NEAR, NEAR])
    assert found.with_copies_in(TEST, [TRAIN]) == [2]
    assert found.with_copies_in(TRAIN, [TEST]) == [0]
    assert found.with_copies_in(VAL, [TEST]) == [1]
