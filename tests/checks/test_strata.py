"""The gap within strata and its exact test: against other implementations, by enumeration, and how often it errs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import fisher_exact

from classic_cv.checks.strata import NEGLIGIBLE, stratified_gap, worse_by_chance

Images = tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int64]]


def images(*rows: tuple[bool, bool, int]) -> Images:
    right, members, strata = zip(*rows, strict=True)
    return np.array(right, np.bool_), np.array(members, np.bool_), np.array(strata, np.int64)


SOME = st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 2)), min_size=1, max_size=10).map(
    lambda rows: images(*rows)
)


def wrong_members_by_lot(
    right: NDArray[np.bool_], members: NDArray[np.bool_], strata: NDArray[np.int64]
) -> float:
    """The share of all ways to draw the members within strata that have as many wrong ones or more."""
    seen = int((members & ~right).sum())
    ways = []
    for k in np.unique(strata):
        inside = np.flatnonzero(strata == k).tolist()
        chosen = itertools.combinations(inside, int(members[inside].sum()))
        ways.append([int((~right[list(few)]).sum()) for few in chosen])
    totals = np.array([sum(some) for some in itertools.product(*ways)])
    return float((totals >= seen).mean())


@settings(max_examples=100, deadline=None)
@given(SOME)
def test_the_test_is_exact(some: Images) -> None:
    assert worse_by_chance(*some) == pytest.approx(wrong_members_by_lot(*some), abs=1e-12)


def test_one_stratum_is_fishers_exact_test() -> None:
    right = np.repeat([True, False, True, False], [30, 12, 150, 20])
    members = np.repeat([True, False], [42, 170])
    strata = np.full(212, 4)
    expected = fisher_exact(np.array([[12, 30], [20, 150]]), alternative="greater").pvalue
    assert worse_by_chance(right, members, strata) == pytest.approx(float(expected), rel=1e-9)
    assert stratified_gap(right, members, strata) == pytest.approx(150 / 170 - 30 / 42)


def test_no_p_value_is_zero_however_clear_the_matter() -> None:
    members = np.arange(2000) < 1000
    assert worse_by_chance(~members, members, np.zeros(2000, np.int64)) == NEGLIGIBLE


def test_a_hard_class_is_no_gap_of_a_property_that_it_has() -> None:
    # Class 0 is right half of the time, class 1 always; three of four members are of class 0.
    rng = np.random.default_rng(0)
    strata = np.repeat([0, 1], 2000)
    right = (strata == 1) | (rng.random(4000) < 0.5)
    members = rng.random(4000) < np.where(strata == 0, 0.6, 0.2)
    assert right[~members].mean() - right[members].mean() > 0.15
    assert abs(stratified_gap(right, members, strata)) < 0.05
    assert worse_by_chance(right, members, strata) > 0.01


def test_where_strata_hold_members_alone_nothing_is_told() -> None:
    strata = np.repeat([0, 1], 20)
    assert stratified_gap(strata == 0, strata == 1, strata) == 0
    assert worse_by_chance(strata == 0, strata == 1, strata) == 1


@settings(max_examples=50, deadline=None)
@given(SOME)
def test_the_gap_of_the_others_is_the_same_with_the_other_sign(some: Images) -> None:
    right, members, strata = some
    gap = stratified_gap(right, members, strata)
    assert -1 <= gap <= 1
    assert stratified_gap(right, ~members, strata) == pytest.approx(-gap, abs=1e-12)
    assert stratified_gap(~right, members, strata) == pytest.approx(-gap, abs=1e-12)


def test_chance_is_not_taken_for_more_than_it_is() -> None:
    # Few wrong answers, where a normal approximation calls several times as many segments worse as it says.
    rng = np.random.default_rng(1)
    strata = rng.integers(0, 5, 400)
    members = rng.random(400) < 0.1
    p = [worse_by_chance(rng.random(400) > 0.01, members, strata) for _ in range(400)]
    assert np.mean(np.array(p) < 0.05) <= 0.07
    assert np.mean(np.array(p) < 0.01) <= 0.02
