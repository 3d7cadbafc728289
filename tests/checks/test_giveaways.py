"""Part of a class, groups of classes and single sides that are given away; chance and what all share are not."""

from __future__ import annotations

import numpy as np
import pytest

from classic_cv.checks.border import N_BORDER, SEGMENTS
from classic_cv.checks.class_groups import groupings
from classic_cv.checks.frames import frames
from classic_cv.checks.predictive import parts, property_probabilities

CODES = np.arange(240) % 6
NTH = np.arange(240) // 6
FOLD = NTH % 5


def _border(seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(seed).random((240, 2, 4, SEGMENTS, 4), np.float32)


@pytest.mark.parametrize("share", [1.0, 0.5])
@pytest.mark.parametrize("side", [0, 3])
def test_one_side_of_one_class(side: int, share: float) -> None:
    border = _border()
    framed = (CODES == 2) & (40 * share > NTH)
    border[framed, :, side] = np.array([0.8, 0.1, 0.1, 0])
    [found] = frames(border.reshape(240, N_BORDER), CODES, 0.25, 0.01)
    assert (found.code, found.sides, found.color) == (
        2,
        (("top", "bottom", "left", "right")[side],),
        (204, 26, 26),
    )
    assert found.members.tolist() == framed.tolist()
    assert found.elsewhere == 0


def test_a_frame_that_classes_share_names_each() -> None:
    border = _border()
    border[CODES < 3] = 0
    found = frames(border.reshape(240, N_BORDER), CODES, 0.25, 0.01)
    assert [frame.code for frame in found] == [0, 1, 2]
    assert found[0].sharing == (0, 1, 2)


def test_frames_of_all_classes_and_none_are_quiet() -> None:
    everywhere = np.zeros((240, N_BORDER), np.float32)
    assert frames(everywhere, CODES, 0.25, 0.01) == []
    assert frames(_border().reshape(240, N_BORDER), CODES, 0.25, 0.01) == []


def test_a_background_that_classes_have_in_different_shares_is_quiet() -> None:
    border = _border()
    border[40 * np.array([1, 1, 0.9, 0.6, 0.4, 0.05])[CODES] > NTH] = 0
    assert frames(border.reshape(240, N_BORDER), CODES, 0.25, 0.01) == []


def test_half_of_a_class_is_told_and_nothing_of_permuted_ones() -> None:
    column = np.where((CODES == 4) & (NTH % 2 == 0), 40, 90).astype(np.float32)
    [part] = parts("quality", property_probabilities(column, CODES, FOLD), CODES, 20)
    assert (part.name, part.code) == ("quality", 4)
    assert part.members.tolist() == (column == 40).tolist()
    assert part.p < 1e-6
    shuffled = np.random.default_rng(0).permutation(CODES)
    assert parts("quality", property_probabilities(column, shuffled, FOLD), shuffled, 20) == []


@pytest.mark.parametrize("group", [(0, 3, 5), (1, 4), (0, 2, 3, 5)])
def test_a_group_of_classes_is_told(group: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    columns = {"format": np.isin(CODES, group).astype(float), "noise": rng.random(240)}
    found = {one.name: one for one in groupings(columns, CODES)}
    assert found["format"].codes == ((1, 4) if len(group) != 3 else group)
    assert (found["format"].auc, found["format"].p < 1e-6) == (1, True)
    assert found["noise"].p > 0.1


def test_few_images_or_classes_prove_no_group() -> None:
    codes = np.arange(8) % 4
    [one] = groupings({"size": (codes > 1).astype(float)}, codes)
    assert one.auc == 1
    assert one.p > 0.01
    assert groupings({"size": np.arange(9.0)}, np.arange(9) % 3) == []
