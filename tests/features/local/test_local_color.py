from __future__ import annotations

from typing import Any, Literal

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from classic_cv.features.color import color_planes
from classic_cv.features.local import LocalColor, _dense, local_color

Pixels = NDArray[np.uint8]


def noise(*shape: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def statistics_of(patch: NDArray[Any], cell: int) -> list[float]:
    """NumPy's mean and standard deviation, cell by cell, channel by channel, as shares of 255."""
    values = []
    for y in range(0, 4 * cell, cell):
        for x in range(0, 4 * cell, cell):
            part = patch[y : y + cell, x : x + cell].reshape(cell * cell, -1).astype(np.float64)
            for channel in part.T:
                values += [channel.mean() / 255, channel.std() / 255]
    return values


def expected_grid(length: int, window: int, step: int) -> list[int]:
    """First pixels of the windows along one axis, from the left over pixels at both ends."""
    starts = list(range(0, length - window + 1, step))
    left_over = length - window - starts[-1]
    return [start + left_over // 2 for start in starts]


@pytest.mark.parametrize("shape", [(37, 50, 3), (16, 21, 3), (37, 50), (70, 12)])
@pytest.mark.parametrize(("bins", "step"), [((3.0, 4.0), 3), ((4.0, 2.0), 4), ((3.0,), 5), ((1.0, 2.4), 7)])
@pytest.mark.parametrize("band", [100, 2**14])
def test_values_equal_numpys_patch_by_patch(
    shape: tuple[int, ...], bins: tuple[float, ...], step: int, band: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_color, "BAND_VALUES", band)
    image = noise(*shape)
    descriptors, positions, sides = LocalColor(bins, step).describe(image)
    expected, places = [], []
    for cell in (round(size) for size in bins):
        side = 4 * cell
        if side <= min(shape[:2]):
            for y in expected_grid(shape[0], side, step):
                for x in expected_grid(shape[1], side, step):
                    expected.append(statistics_of(image[y : y + side, x : x + side], cell))
                    places.append((x + side / 2, y + side / 2, side))
    np.testing.assert_allclose(descriptors, expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(np.column_stack([positions, sides]), places)


@pytest.mark.parametrize("space", ["lab", "opponent"])
def test_other_spaces_are_statistics_of_their_channels(space: Literal["lab", "opponent"]) -> None:
    image = noise(30, 33, 3)
    found = LocalColor((3.0,), 4, space).describe(image).descriptors.reshape(-1, 16, 3, 2)
    for channel, plane in enumerate(color_planes(image[None], space)):
        expected = LocalColor((3.0,), 4).describe(plane[0]).descriptors.reshape(-1, 16, 2)
        np.testing.assert_array_equal(found[:, :, channel], expected)


def test_a_gray_image_has_the_values_of_each_equal_channel() -> None:
    gray = noise(40, 40)
    expected = LocalColor().describe(gray).descriptors.reshape(-1, 16, 1, 2)
    found = LocalColor().describe(np.repeat(gray[..., None], 3, axis=2)).descriptors.reshape(-1, 16, 3, 2)
    np.testing.assert_array_equal(found, np.repeat(expected, 3, axis=2))


@pytest.mark.parametrize("value", [0, 1, 77, 254, 255])
def test_blank_images_have_their_color_and_no_deviation(value: int) -> None:
    descriptors = LocalColor((1.0, 3.0, 7.0)).describe(np.full((40, 41), value, np.uint8)).descriptors
    assert len(descriptors) > 0
    np.testing.assert_array_equal(descriptors[:, ::2], np.float32(value) * np.float32(1 / 255))
    np.testing.assert_array_equal(descriptors[:, 1::2], 0)


def test_black_and_white_halves_deviate_most() -> None:
    image = np.zeros((8, 8), np.uint8)
    image[:, 1::2] = 255
    np.testing.assert_allclose(LocalColor((2.0,)).describe(image).descriptors, 0.5, rtol=1e-7)


@given(image=hnp.arrays(np.uint8, st.tuples(*[st.integers(4, 10).map(lambda n: 2 * n)] * 2, st.just(3))))
@settings(deadline=None, derandomize=True, max_examples=25)
def test_a_mirrored_image_has_mirrored_patches(image: Pixels) -> None:
    # Sides and steps are even, so the grid is exactly in the middle.
    color = LocalColor((2.0, 1.0, 3.0), 2)
    descriptors, positions, sides = color.describe(image)
    mirrored = color.describe(image[:, ::-1])
    np.testing.assert_array_equal(mirrored.sides, sides)
    for side in np.unique(sides):
        columns = len(np.unique(positions[sides == side, 0]))
        # (row, column, cell's row, cell's column, value)
        shape = (-1, columns, 4, 4, 6)
        found = mirrored.descriptors[sides == side].reshape(shape)
        np.testing.assert_array_equal(found, descriptors[sides == side].reshape(shape)[:, ::-1, :, ::-1])
        x = positions[sides == side, 0].reshape(-1, columns)
        np.testing.assert_array_equal(image.shape[1] - x[:, ::-1], x)


def test_sums_beyond_32_bits_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    image = noise(60, 60, 3)
    expected = LocalColor().describe(image).descriptors
    monkeypatch.setattr(_dense, "INT_PIXELS", 3599)
    assert _dense.sum_tables(image)[0].dtype == np.float64
    np.testing.assert_array_equal(LocalColor().describe(image).descriptors, expected)
    monkeypatch.undo()
    assert _dense.sum_tables(image)[0].dtype == np.int32


def test_large_images_do_not_overflow() -> None:
    # Sums of squares reach 1.7e10 here, sums over all pixels 6.7e7.
    image = np.full((512, 514), 255, np.uint8)
    image[:, 257:] = 254
    descriptors = LocalColor((128.0,)).describe(image).descriptors.reshape(-1, 4, 4, 2)
    assert descriptors.shape[0] == 1
    np.testing.assert_allclose(descriptors[0, :, :2, 0], 1, rtol=1e-7)
    np.testing.assert_allclose(descriptors[0, :, 3], [[254 / 255, 0]] * 4, rtol=1e-7)
