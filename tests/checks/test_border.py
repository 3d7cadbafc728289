"""What the outermost pixels show, on images with borders that are drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

from classic_cv.checks.border import N_BORDER, SEGMENTS, border_features

DATA: Any = data
PHOTO: NDArray[np.uint8] = DATA.astronaut()


def by_strip(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(strip, side, segment, red green blue deviation)."""
    return border_features(pixels).reshape(2, 4, SEGMENTS, 4)


def test_one_color() -> None:
    found = by_strip(np.full((50, 80, 3), (255, 51, 0), np.uint8))
    assert found[..., :3].reshape(-1, 3) == pytest.approx(np.tile([1, 0.2, 0], (64, 1)))
    assert found[..., 3] == pytest.approx(0, abs=1e-3)


def test_sides_are_told_apart() -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[-4:] = 255
    found = by_strip(pixels)[..., 0]
    assert found[0, 0].max() == 0
    assert found[:, 1].min() == 1
    assert found[1, 2] == pytest.approx([0, 0, 0, 0, 0, 0, 0, 0.5])


def test_a_bar_along_half_a_side() -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:2, :32, 1] = 200
    wide = by_strip(pixels)[1, 0]
    assert wide[:, 1] == pytest.approx([100 / 255] * 4 + [0] * 4)
    assert wide[:, 3] == pytest.approx([100 / 255 / 3**0.5] * 4 + [0] * 4, abs=1e-5)


def test_what_is_inside_does_not_matter() -> None:
    photo = PHOTO[:100, :120].copy()
    other = photo.copy()
    other[4:-4, 4:-4] = 7
    assert border_features(photo).tolist() == border_features(other).tolist()


def test_a_small_image_shows_one_pixel_twice() -> None:
    small = PHOTO[:28, :28].copy()
    found = by_strip(small)
    small[1:-1, 1:-1] = 0
    assert found[0].tolist() == found[1].tolist() == by_strip(small)[1].tolist()


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (5, 300), (31, 31), (32, 32)])
def test_any_size(shape: tuple[int, int]) -> None:
    found = border_features(np.full((*shape, 3), 100, np.uint8))
    assert found.shape == (N_BORDER,)
    assert np.isfinite(found).all()
