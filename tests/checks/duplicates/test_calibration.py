"""Limits: where look-alikes begin, from their own distribution."""

from __future__ import annotations

import numpy as np
import pytest

from classic_cv.checks.duplicates.calibration import (
    FALSE_ALARMS,
    LARGEST_SHARE,
    MOST,
    TRANSFORMS,
    false_share,
    limits_by_class,
    made_thumbnails,
    threshold,
)
from classic_cv.checks.duplicates.groups import groups_of_copies
from classic_cv.checks.duplicates.second_look import descriptor_limit


@pytest.mark.parametrize("power", [3.0, 5.0])
def test_threshold_is_where_a_power_law_leaves_the_share(power: float) -> None:
    ratios = np.random.default_rng(0).random(50_000) ** (1 / power)
    share = FALSE_ALARMS / len(ratios)
    assert threshold(ratios) == pytest.approx(share ** (1 / power), rel=0.25)


def test_small_sets_have_a_share_and_large_ones_a_number_of_false_alarms() -> None:
    assert false_share(200) == LARGEST_SHARE
    assert 70_000 * false_share(70_000) == pytest.approx(FALSE_ALARMS)


def test_copies_do_not_move_the_threshold() -> None:
    ratios = np.random.default_rng(0).random(20_000) ** (1 / 4)
    with_copies = np.concatenate([ratios, np.full(1000, 0.01)])
    assert threshold(with_copies) == pytest.approx(threshold(ratios), rel=0.1)


def test_threshold_has_an_upper_end() -> None:
    assert threshold(np.random.default_rng(0).random(20_000) ** (1 / 40)) == MOST
    assert threshold(np.ones(3)) == MOST
    assert threshold(np.zeros(5000)) == MOST


def test_descriptors_decide_where_look_alikes_are_far_below() -> None:
    rng = np.random.default_rng(0)
    made, far, near = rng.uniform(0.97, 0.99, 200), rng.normal(0.6, 0.05, 80), rng.normal(0.94, 0.03, 80)
    clear, unclear = descriptor_limit(made, far), descriptor_limit(made, np.clip(near, 0, 1))
    assert clear.decides
    assert 0.65 < clear.least < 0.97
    assert not unclear.decides
    assert unclear.least == pytest.approx(0.97, abs=0.002)
    assert not descriptor_limit(np.zeros(0), far).decides


def test_made_thumbnails_come_transform_by_transform() -> None:
    images = [np.full((40, 50, 3), level, np.uint8) for level in (50, 100)]
    made = made_thumbnails(images).reshape(len(TRANSFORMS), 2, -1)
    brighter = list(TRANSFORMS).index("20 % brighter")
    assert made[brighter].mean(axis=1).tolist() == [60, 120]
    assert made_thumbnails([]).shape[0] == 0


def test_groups_join_through_others() -> None:
    pairs = np.array([[5, 9], [1, 2], [2, 7]])
    assert groups_of_copies(10, pairs) == [[1, 2, 7], [5, 9]]
    assert groups_of_copies(3, np.zeros((0, 2), np.int64)) == []


def test_a_crowded_class_has_a_smaller_limit() -> None:
    rng = np.random.default_rng(0)
    apart, crowded = rng.uniform(0.6, 1, 200), rng.uniform(0.03, 1, 200)
    limits = limits_by_class(np.concatenate([apart, crowded]), np.repeat([0, 1], 200), 0.2)
    assert set(limits[:200].tolist()) == {0.2}
    assert set(limits[200:].tolist()) == {0.025}
    # A few images that happen to be near several others are no crowd.
    assert limits_by_class(np.array([0.25, 0.3, 0.9]), np.zeros(3, np.int64), 0.2).tolist() == [0.2] * 3
