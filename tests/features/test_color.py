from __future__ import annotations

import colorsys
import itertools
from typing import Any

import cv2
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import skimage.color
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from classic_cv.errors import ParameterError
from classic_cv.features.color import (
    CHANNELS,
    ColorHistogram,
    Space,
    bin_weights,
    color_histograms,
    color_planes,
)
from classic_cv.features.grid import cell_edges, grid_counts

SPACES: tuple[Space, ...] = ("rgb", "hsv", "lab", "opponent", "gray")

images = hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))


def photo(height: int = 37, width: int = 53) -> NDArray[np.uint8]:
    load: Any = skimage.data.coffee
    picture = cv2.resize(load()[100:300, 150:450], (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(picture, np.uint8)


def cells_of(shape: tuple[int, int], grid: tuple[int, int]) -> list[tuple[slice, slice]]:
    height, width = shape
    return [
        np.s_[
            i * height // grid[0] : (i + 1) * height // grid[0],
            j * width // grid[1] : (j + 1) * width // grid[1],
        ]
        for i in range(grid[0])
        for j in range(grid[1])
    ]


def naive_votes(value: int, n_bins: int, soft: bool, cyclic: bool) -> dict[int, float]:
    """Votes of one value, from the distance of its middle to each bin's center."""
    width = 256 / n_bins
    if not soft:
        return {int(value // width): 1.0}
    votes: dict[int, float] = {}
    for k in range(-1, n_bins + 1):
        share = max(0.0, 1 - abs(value + 0.5 - (k + 0.5) * width) / width)
        bin_index = k % n_bins if cyclic else min(max(k, 0), n_bins - 1)
        votes[bin_index] = votes.get(bin_index, 0.0) + share
    return votes


def naive_histogram(
    planes: list[NDArray[np.uint8]], bins: tuple[int, ...], cyclic: list[bool], joint: bool, soft: bool
) -> NDArray[np.float64]:
    """Normalised histogram of one cell, pixel by pixel."""
    joined = np.zeros(bins)
    single = [np.zeros(b) for b in bins]
    for pixel in zip(*(plane.ravel().tolist() for plane in planes), strict=True):
        votes = [naive_votes(v, b, soft, c) for v, b, c in zip(pixel, bins, cyclic, strict=True)]
        for corner in itertools.product(*votes):
            joined[corner] += np.prod([v[k] for v, k in zip(votes, corner, strict=True)])
        for histogram, vote in zip(single, votes, strict=True):
            for k, share in vote.items():
                histogram[k] += share
    flat = joined.ravel() if joint else np.concatenate(single)
    return np.asarray(flat / flat.sum())


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("grid", [(1, 1), (4, 4), (3, 2)])
def test_hard_marginal_histograms_equal_numpys(space: Space, grid: tuple[int, int]) -> None:
    image = photo()
    planes = [plane[0] for plane in color_planes(image[None], space)]
    bins = (7, 8, 16)[: len(planes)]
    expected = []
    for cell in cells_of((37, 53), grid):
        parts = [np.histogram(p[cell], b, range=(0, 256))[0] for p, b in zip(planes, bins, strict=True)]
        expected.append(np.concatenate(parts) / np.concatenate(parts).sum())
    found = ColorHistogram(space, bins, grid=grid, hellinger=False).fit_transform([image])
    np.testing.assert_allclose(found[0], np.concatenate(expected), atol=1e-7)


@pytest.mark.parametrize("bins", [(8, 4, 4), (8, 8, 8), (5, 3, 7), (20, 13, 2)])
@pytest.mark.parametrize("space", ["rgb", "hsv", "lab", "opponent"])
def test_hard_joint_histograms_equal_numpys_and_opencvs(space: Space, bins: tuple[int, ...]) -> None:
    image = photo()
    found = ColorHistogram(space, bins, joint=True, grid=(2, 3), hellinger=False).fit_transform([image])
    planes = np.stack([plane[0] for plane in color_planes(image[None], space)], axis=2)
    for row, cell in zip(found.reshape(6, -1), cells_of((37, 53), (2, 3)), strict=True):
        pixels = planes[cell].reshape(-1, 3)
        by_numpy, _ = np.histogramdd(pixels, bins, range=[(0, 256)] * 3)
        np.testing.assert_allclose(row, by_numpy.ravel() / len(pixels), atol=1e-7)
        by_opencv = cv2.calcHist(
            [np.ascontiguousarray(planes[cell])], [0, 1, 2], None, list(bins), [0, 256] * 3
        )
        np.testing.assert_allclose(row, by_opencv.ravel() / len(pixels), atol=1e-7)


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("space", SPACES)
def test_soft_histograms_equal_a_naive_loop(space: Space, joint: bool) -> None:
    image = photo(11, 13)
    planes = [plane[0] for plane in color_planes(image[None], space)]
    bins = (5, 3, 4)[: len(planes)]
    cyclic = [space == "hsv" and channel == 0 for channel in range(len(planes))]
    found = ColorHistogram(space, bins, joint, grid=2, soft=True, hellinger=False).fit_transform([image])
    expected = [
        naive_histogram([plane[cell] for plane in planes], bins, cyclic, joint, soft=True)
        for cell in cells_of((11, 13), (2, 2))
    ]
    np.testing.assert_allclose(found[0], np.concatenate(expected), atol=1e-7)


def test_soft_sums_of_large_cells_are_exact() -> None:
    plane = np.tile(np.arange(256, dtype=np.uint8), (257, 1))
    for value, count in ((3, 90), (77, 1000), (200, 7)):
        plane.flat[:: len(plane.flat) // count] = value
    histogram = color_histograms(plane[None], "gray", (6,), soft=True, hellinger=False)[0]
    exact = np.zeros(6)
    for value, count in enumerate(np.bincount(plane.ravel(), minlength=256).tolist()):
        for k, share in naive_votes(value, 6, True, False).items():
            # Every share is a whole number of 512ths.
            exact[k] += round(share * 512) * count
    np.testing.assert_array_equal(histogram, (exact / 512 / plane.size).astype(np.float32))


def test_hue_is_cyclic_and_the_other_channels_are_not() -> None:
    hue = bin_weights(8, True, True)
    assert hue[0, 7] == pytest.approx(0.5, abs=1 / 64)
    assert hue[255, 0] == pytest.approx(0.5, abs=1 / 64)
    value = bin_weights(8, True, False)
    assert value[0, 0] == value[255, 7] == 1
    # Just below and above hue 0.
    crimson, red = np.array([[[255, 0, 3]]], np.uint8), np.array([[[255, 3, 0]]], np.uint8)
    extractor = ColorHistogram("hsv", 8, soft=True, hellinger=False).fit([red])
    np.testing.assert_allclose(extractor.transform([crimson]), extractor.transform([red]), atol=0.03)


def test_256_soft_bins_are_the_hard_ones() -> None:
    np.testing.assert_array_equal(bin_weights(256, True, False), np.eye(256))
    np.testing.assert_array_equal(bin_weights(256, False, False), np.eye(256))


@given(st.integers(1, 256), st.booleans(), st.booleans())
@settings(deadline=None, derandomize=True, max_examples=60)
def test_every_value_has_one_vote(n_bins: int, soft: bool, cyclic: bool) -> None:
    weights = bin_weights(n_bins, soft, cyclic)
    np.testing.assert_array_equal(weights.sum(axis=1), 1)
    assert weights.min() >= 0


def test_hsv_planes_are_colorsys_over_256_levels() -> None:
    image = photo(12, 12)
    h, s, v = (plane[0].ravel().astype(float) for plane in color_planes(image[None], "hsv"))
    expected = np.array([colorsys.rgb_to_hsv(*(pixel / 255)) for pixel in image.reshape(-1, 3)])
    turn = np.abs(h - expected[:, 0] * 256) % 256
    assert np.minimum(turn, 256 - turn).max() <= 1
    assert np.abs(s - expected[:, 1] * 255).max() <= 1
    np.testing.assert_array_equal(v, image.reshape(-1, 3).max(axis=1))


def test_lab_planes_are_cie_lab_scaled_to_8_bits() -> None:
    image = photo()
    expected = skimage.color.rgb2lab(image) * [2.55, 1, 1] + [0, 128, 128]
    planes = np.stack([plane[0] for plane in color_planes(image[None], "lab")], axis=2)
    # OpenCV works in fixed point, coarsest in the dark.
    assert np.abs(planes - expected).max() < 3
    assert np.abs(planes - expected).mean() < 0.5


def test_opponent_planes_fill_8_bits() -> None:
    corners = np.array(list(itertools.product((0, 255), repeat=3)), np.uint8)
    pixels = np.concatenate([corners, photo().reshape(-1, 3)])
    r, g, b = pixels.astype(int).T
    expected = np.floor([(r - g + 256) / 2, (r + g - 2 * b + 512) / 4, (r + g + b) / 3])
    planes = color_planes(pixels[None, None], "opponent")
    np.testing.assert_array_equal(np.stack(planes).reshape(3, -1), expected)
    assert expected.min() == 0
    assert expected.max() == 255


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("joint", [False, True])
def test_a_gray_image_is_taken_as_r_g_b_equal(space: Space, joint: bool) -> None:
    gray = photo()[:, :, 1]
    extractor = ColorHistogram(space, 4, joint, grid=2, soft=True).fit([gray])
    np.testing.assert_array_equal(extractor.transform([gray]), extractor.transform([np.dstack([gray] * 3)]))


def test_mixed_sizes_and_channels_keep_their_rows() -> None:
    batch = [photo(), photo(9, 40), photo()[:, :, 0], photo(9, 40)[::-1], photo()[::-1]]
    extractor = ColorHistogram(grid=3).fit(batch)
    rows = np.concatenate([extractor.transform([image]) for image in batch])
    np.testing.assert_array_equal(extractor.transform(batch), rows)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("joint", [False, True])
@given(images=st.lists(images, min_size=1, max_size=3), grid=st.tuples(st.integers(1, 3), st.integers(1, 3)))
@settings(deadline=None, derandomize=True, max_examples=25)
def test_each_cell_sums_to_one_or_is_empty(
    soft: bool, joint: bool, images: list[NDArray[np.uint8]], grid: tuple[int, int]
) -> None:
    found = ColorHistogram("hsv", 3, joint, grid, soft, hellinger=False).fit_transform(images)
    for row, image in zip(found, images, strict=True):
        sums = row.reshape(grid[0] * grid[1], -1).sum(axis=1)
        sizes = [image[cell].size for cell in cells_of((image.shape[0], image.shape[1]), grid)]
        np.testing.assert_allclose(sums, np.array(sizes) > 0, atol=1e-6)
    rooted = ColorHistogram("hsv", 3, joint, grid, soft).fit_transform(images)
    np.testing.assert_allclose(rooted**2, found, atol=1e-6)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("joint", [False, True])
@given(image=images, seed=st.integers(0, 99))
@settings(deadline=None, derandomize=True, max_examples=25)
def test_without_a_grid_the_order_of_pixels_does_not_matter(
    soft: bool, joint: bool, image: NDArray[np.uint8], seed: int
) -> None:
    pixels = np.random.default_rng(seed).permutation(image.reshape(-1, 3)).reshape(image.shape)
    extractor = ColorHistogram("hsv", 5, joint, soft=soft).fit([image])
    np.testing.assert_array_equal(extractor.transform([image]), extractor.transform([pixels]))
    np.testing.assert_array_equal(extractor.transform([image]), extractor.transform([image[:, ::-1]]))


def test_a_flip_swaps_the_cells_of_a_grid() -> None:
    image = photo(24, 36)
    extractor = ColorHistogram(grid=(2, 3), soft=True).fit([image])
    cells = extractor.transform([image]).reshape(2, 3, -1)
    flipped = extractor.transform([image[:, ::-1]]).reshape(2, 3, -1)
    np.testing.assert_array_equal(flipped, cells[:, ::-1])


@pytest.mark.parametrize(
    ("shape", "grid", "n_codes", "dtype"),
    [
        ((3, 10, 11), (3, 4), 256, np.uint8),
        ((3, 10, 11), (3, 4), 300, np.uint16),
        ((9, 33, 20), (8, 8), 7, np.uint8),  # more than 256 cells together
        ((1, 40, 40), (20, 20), 7, np.uint8),  # more than 256 cells in one image
        ((2, 2, 3), (4, 4), 5, np.uint8),  # empty cells
    ],
)
def test_grid_counts_equal_bincounts_per_cell(
    shape: tuple[int, int, int], grid: tuple[int, int], n_codes: int, dtype: Any
) -> None:
    codes = np.random.default_rng(0).integers(0, n_codes, shape).astype(dtype)
    expected = [
        [np.bincount(image[cell].ravel(), minlength=n_codes) for cell in cells_of(shape[1:], grid)]
        for image in codes
    ]
    np.testing.assert_array_equal(grid_counts([codes], [n_codes], grid), expected)


@pytest.mark.parametrize("grid", [(1, 1), (2, 3), (17, 17)])
@pytest.mark.parametrize("bins", [(5, 7), (256, 3), (1, 255)])
def test_joint_grid_counts_equal_numpys(grid: tuple[int, int], bins: tuple[int, int]) -> None:
    planes = list(np.random.default_rng(1).integers(0, 256, (2, 1, 40, 50)).astype(np.uint8))
    found = grid_counts(planes, bins, grid, (256, 256))[0]
    for row, cell in zip(found, cells_of((40, 50), grid), strict=True):
        values = [plane[0][cell].ravel() for plane in planes]
        expected, _, _ = np.histogram2d(values[0], values[1], bins, [(0, 256)] * 2)
        np.testing.assert_array_equal(row, expected.ravel())


@given(st.integers(1, 500), st.integers(1, 64))
@settings(deadline=None, derandomize=True)
def test_cells_differ_by_one_pixel_at_most(length: int, cells: int) -> None:
    sizes = np.diff(cell_edges(length, cells))
    assert sizes.sum() == length
    assert sizes.max() - sizes.min() <= 1


def test_names_follow_the_columns() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    image[:4, 4:] = (255, 255, 0)  # hue 43 of 256, full saturation and value
    extractor = ColorHistogram(bins=(8, 2, 2), grid=2, hellinger=False).fit([image])
    names = extractor.get_feature_names_out()
    cell = {n: v for n, v in zip(names, extractor.transform([image])[0], strict=True) if "y0_x1" in n and v}
    assert cell == {k: pytest.approx(1 / 3) for k in ("hsv_y0_x1_h1", "hsv_y0_x1_s1", "hsv_y0_x1_v1")}
    joint = ColorHistogram(bins=(8, 2, 2), joint=True, grid=2).fit([image])
    assert joint.get_feature_names_out()[joint.transform([image])[0] > 0].tolist() == [
        "hsv_y0_x0_h0s0v0",
        "hsv_y0_x1_h1s1v1",
        "hsv_y1_x0_h0s0v0",
        "hsv_y1_x1_h0s0v0",
    ]


def test_bins_must_fit_the_space() -> None:
    with pytest.raises(ParameterError, match=r"bins=\(8, 8\).*'hsv' has 3 channel.*\(h, s, v\)"):
        ColorHistogram(bins=(8, 8)).fit([photo()])
    with pytest.raises(ParameterError, match=r"joint histogram of 262144 bins is too large, at most 65536"):
        ColorHistogram(bins=64, joint=True).fit([photo()])


def test_every_space_has_its_channels() -> None:
    for space in SPACES:
        assert len(color_planes(photo()[None], space)) == len(CHANNELS[space])
