from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import scipy.ndimage
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from classic_cv.errors import ParameterError
from classic_cv.features.color import color_planes
from classic_cv.features.dog import (
    Channel,
    DoGHistogram,
    channel_planes,
    code_votes,
    dog_histograms,
    dog_responses,
    gaussian_weights,
    response_codes,
)

SIGMAS = (1.0, 2.0, 4.0)
SHAPES = [(1, 1), (1, 7), (7, 1), (2, 3), (5, 40), (61, 48)]

grays = hnp.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def photo() -> NDArray[np.uint8]:
    load: Any = skimage.data.coffee
    return np.ascontiguousarray(load()[100:196, 200:311], np.uint8)


def noise(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def spots(count: int, level: int = 100, height: int = 60, radius: float = 2.5) -> NDArray[np.uint8]:
    """``count`` of up to 8 equal Gaussian spots on gray 100, too far apart to meet: (192, 384)."""
    image = np.full((192, 384), level, np.int64)
    y, x = np.mgrid[-40:41, -40:41]
    # Beyond 12 pixels a spot ends; the widest Gaussian here reaches 26.
    spot = np.rint(height * np.exp(-(y**2 + x**2) / (2 * radius**2))) * (y**2 + x**2 <= 144)
    for index in range(count):
        top, left = 8 + 96 * (index // 4), 8 + 96 * (index % 4)
        image[top : top + 81, left : left + 81] += spot.astype(np.int64)
    return image.astype(np.uint8)


def histogram_of(response: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    """Shares of one histogram, from the distance of each vote to the centers of the bins."""
    code = 128 + np.sign(response) * np.minimum(127, np.round(12 * np.sqrt(np.abs(response))))
    centers = (np.arange(bins) + 0.5) * 256 / bins
    found = np.zeros(bins)
    for index in range(bins):
        # np.interp holds the end values beyond the outer centers.
        tent = np.eye(bins)[index]
        votes = (np.interp(code - 0.5, centers, tent) + np.interp(code + 0.5, centers, tent)) / 2
        found[index] = votes.mean()
    return found


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("sigmas", "ratio"), [(SIGMAS, 1.6), ((0.5, 9.0), 2.0)])
def test_responses_equal_scipys_with_the_same_weights_exactly(
    shape: tuple[int, int], sigmas: tuple[float, ...], ratio: float
) -> None:
    image = noise(shape)
    for sigma, found in zip(sigmas, dog_responses(image, sigmas, ratio), strict=True):
        blurred = []
        for width in (sigma, ratio * sigma):
            weights = gaussian_weights(width)
            rows = scipy.ndimage.correlate1d(image.astype(np.float64), weights, axis=0, mode="mirror")
            blurred.append(scipy.ndimage.correlate1d(rows, weights, axis=1, mode="mirror"))
        np.testing.assert_array_equal(found, blurred[0] - blurred[1])


@pytest.mark.parametrize("shape", SHAPES)
def test_responses_are_differences_of_scipys_gaussian_filters(shape: tuple[int, int]) -> None:
    image = noise(shape)
    real = image.astype(np.float64)
    for sigma, found in zip(SIGMAS, dog_responses(image, SIGMAS, 1.6), strict=True):
        narrow, wide = (
            scipy.ndimage.gaussian_filter(real, width, mode="mirror", truncate=4.0)
            for width in (sigma, 1.6 * sigma)
        )
        # Rounding 53 weights by at most 2^-23 each, in two passes, over up to 255 levels: 0.003 at worst.
        np.testing.assert_allclose(found, narrow - wide, rtol=0, atol=0.003)


@pytest.mark.parametrize("bins", [2, 7, 16, 256])
@pytest.mark.parametrize("grid", [(1, 1), (2, 3)])
def test_histograms_equal_those_of_scipy_and_numpy(bins: int, grid: tuple[int, int]) -> None:
    image = photo()
    real = image.max(axis=2).astype(np.float64)
    found = dog_histograms(image[None], SIGMAS, 1.6, bins, grid=grid)
    found = found.reshape(len(SIGMAS), grid[0], grid[1], bins)
    height, width = real.shape
    for scale, sigma in enumerate(SIGMAS):
        response = scipy.ndimage.gaussian_filter(real, sigma, mode="mirror")
        response -= scipy.ndimage.gaussian_filter(real, 1.6 * sigma, mode="mirror")
        for i, j in np.ndindex(grid):
            rows = slice(i * height // grid[0], (i + 1) * height // grid[0])
            columns = slice(j * width // grid[1], (j + 1) * width // grid[1])
            expected = histogram_of(response[rows, columns], bins)
            # scipy's weights are not rounded: a response within 0.003 of a tie may get the next code, which
            # moves bins / 256 of its vote to the next bin. Hardly 1 in 1,000 pixels is that close.
            np.testing.assert_allclose(found[scale, i, j], expected, rtol=0, atol=1e-3 * bins / 256 + 1e-7)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 6.4, 64.0])
def test_weights_are_a_gaussian_and_sum_to_exactly_one(sigma: float) -> None:
    weights = gaussian_weights(sigma)
    assert weights.sum() == 1
    np.testing.assert_array_equal(weights, weights[::-1])
    np.testing.assert_array_equal(weights * 2**22, np.rint(weights * 2**22))
    impulse = np.zeros(weights.size)
    impulse[weights.size // 2] = 1
    # The center takes up the rounding of all others.
    expected = scipy.ndimage.gaussian_filter(impulse, sigma, mode="constant", truncate=4.0)
    np.testing.assert_allclose(weights, expected, rtol=0, atol=weights.size * 2**-23)


def test_codes_are_known_values() -> None:
    d = np.array([[0, 1, -1, 4, -4, 100, -100, 112, -112, 255, -255, 0.001, -0.001]])
    expected = [128, 140, 116, 152, 104, 248, 8, 255, 1, 255, 1, 128, 128]
    assert response_codes(d).ravel().tolist() == expected


@given(st.integers(2, 256))
@settings(deadline=None, derandomize=True, max_examples=40)
def test_codes_have_one_vote_and_mirrored_ones_mirrored_votes(bins: int) -> None:
    votes = code_votes(bins)
    np.testing.assert_array_equal(votes.sum(axis=1), 1)
    assert votes.min() >= 0
    np.testing.assert_array_equal(votes[1:], votes[:0:-1, ::-1])


@pytest.mark.parametrize("hellinger", [False, True])
@pytest.mark.parametrize("bins", [7, 16])
@given(image=grays)
@settings(deadline=None, derandomize=True, max_examples=25)
def test_bright_and_dark_land_in_mirrored_bins(hellinger: bool, bins: int, image: NDArray[np.uint8]) -> None:
    extractor = DoGHistogram(bins=bins, grid=2, hellinger=hellinger)
    bright, dark = extractor.fit_transform([image, 255 - image]).reshape(2, -1, bins)
    np.testing.assert_array_equal(bright, dark[:, ::-1])


def test_bright_spots_are_in_the_upper_bins_and_dark_ones_in_the_lower() -> None:
    bright, dark = DoGHistogram().fit_transform([spots(6), spots(6, height=-60)]).reshape(2, 3, 16)
    assert (bright[:, 10:].sum(axis=1) > 2 * bright[:, :6].sum(axis=1)).all()
    assert (dark[:, :6].sum(axis=1) > 2 * dark[:, 10:].sum(axis=1)).all()


@given(image=grays, shift=st.integers(-100, 100))
@settings(deadline=None, derandomize=True, max_examples=50)
def test_brightness_does_not_matter(image: NDArray[np.uint8], shift: int) -> None:
    image = image // 5 + np.uint8(101)
    shifted = (image.astype(int) + shift).astype(np.uint8)
    one, other = DoGHistogram().fit_transform([image, shifted])
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("height", [60, -60])
def test_twice_the_spots_have_twice_the_share(height: int) -> None:
    none, one, *more = DoGHistogram().fit_transform([spots(n, height=height) for n in (0, 1, 2, 4, 8)])
    # No response is shared by the two bins in the middle.
    middle = np.tile((np.arange(16) == 7) | (np.arange(16) == 8), 3)
    assert none[middle].tolist() == [0.5] * 6
    assert not none[~middle].any()
    assert one[~middle].reshape(3, 14).any(axis=1).all()
    for count, row in zip((2, 4, 8), more, strict=True):
        # Powers of two: float32 multiplies exactly.
        np.testing.assert_array_equal(row[~middle], count * one[~middle])
        np.testing.assert_allclose((row - none)[middle], count * (one - none)[middle], rtol=0, atol=1e-6)


@pytest.mark.parametrize("scale", [0, 1, 2])
def test_a_scale_answers_most_to_spots_of_its_size(scale: int) -> None:
    y, x = np.mgrid[-60:61, -60:61]
    spot = 200 * np.exp(-(y**2 + x**2) / (2 * SIGMAS[scale] ** 2 * 1.6))
    peaks = [response[60, 60] for response in dog_responses(spot.astype(np.uint8), SIGMAS, 1.6)]
    assert np.argmax(peaks) == scale
    # A spot of t = s sqrt(k): t^2 / (t^2 + s^2) - t^2 / (t^2 + k^2 s^2) of its height.
    assert peaks[scale] == pytest.approx(200 * (1.6 / 2.6 - 1 / 2.6), rel=0.05)


@pytest.mark.parametrize("channel", ["value", "gray"])
@pytest.mark.parametrize("size", [(1, 1), (3, 70), (33, 20)])
def test_blank_images_have_no_response(channel: Channel, size: tuple[int, int]) -> None:
    for value in (0, 77, 255):
        blank = np.full((*size, 3), value, np.uint8)
        row = DoGHistogram(channel=channel).fit_transform([blank]).reshape(3, 16)
        np.testing.assert_array_equal(row, np.tile(np.eye(16)[7] / 2 + np.eye(16)[8] / 2, (3, 1)))


def test_channels_are_the_largest_and_luma() -> None:
    images = noise((3, 9, 11, 3))
    np.testing.assert_array_equal(channel_planes(images, "value"), images.max(axis=3))
    np.testing.assert_array_equal(channel_planes(images, "gray"), color_planes(images, "gray")[0])
    channels: tuple[Channel, ...] = ("value", "gray")
    for channel in channels:
        np.testing.assert_array_equal(channel_planes(images[..., 0], channel), images[..., 0])
        extractor = DoGHistogram(channel=channel)
        gray, same = extractor.fit_transform([images[0, :, :, 0], np.dstack([images[0, :, :, 0]] * 3)])
        np.testing.assert_array_equal(gray, same)


@given(images=st.lists(grays, min_size=1, max_size=3), grid=st.tuples(st.integers(1, 3), st.integers(1, 3)))
@settings(deadline=None, derandomize=True, max_examples=25)
def test_each_cell_sums_to_one_or_is_empty(images: list[NDArray[np.uint8]], grid: tuple[int, int]) -> None:
    found = DoGHistogram(bins=5, grid=grid).fit_transform(images)
    assert found.min() >= 0
    assert found.max() <= 1
    for row, image in zip(found, images, strict=True):
        cells = [np.diff(np.arange(g + 1) * n // g) for n, g in zip(image.shape, grid, strict=True)]
        filled = np.outer(*cells).ravel() > 0
        np.testing.assert_allclose(row.reshape(3, -1, 5).sum(axis=2), np.tile(filled, (3, 1)), atol=1e-6)
    rooted = DoGHistogram(bins=5, grid=grid, hellinger=True).fit_transform(images)
    np.testing.assert_allclose(rooted**2, found, atol=1e-6)


def test_a_flip_swaps_the_cells_and_nothing_else() -> None:
    image = photo()[:, :108]
    extractor = DoGHistogram(grid=(2, 3)).fit([image])
    cells, flipped, turned = extractor.transform([image, image[:, ::-1], image[::-1]]).reshape(3, 3, 2, 3, -1)
    np.testing.assert_array_equal(flipped, cells[:, :, ::-1])
    np.testing.assert_array_equal(turned, cells[:, ::-1])


@pytest.fixture
def opencv_threads() -> Iterator[None]:
    before = cv2.getNumThreads()
    yield
    cv2.setNumThreads(before)


@pytest.mark.usefixtures("opencv_threads")
def test_opencvs_threads_do_not_matter() -> None:
    image = noise((300, 400, 3))
    extractor = DoGHistogram().fit([image])
    rows = []
    for threads in (1, 2, 5):
        cv2.setNumThreads(threads)
        rows.append(extractor.transform([image]))
    np.testing.assert_array_equal(rows[0], rows[1])
    np.testing.assert_array_equal(rows[0], rows[2])


def test_scales_do_not_depend_on_each_other() -> None:
    # With sigmas a ratio apart, a blur serves two scales.
    image = photo()
    together = DoGHistogram((1.0, 2.0, 4.0), ratio=2.0).fit_transform([image])
    alone = [DoGHistogram((sigma,), ratio=2.0).fit_transform([image]) for sigma in SIGMAS]
    np.testing.assert_array_equal(together, np.concatenate(alone, axis=1))


def test_names_follow_the_columns() -> None:
    image = np.full((100, 200), 50, np.uint8)
    image[40:60, 140:160] = 250
    extractor = DoGHistogram((1.6, 4.0), grid=(1, 2)).fit([image])
    names = extractor.get_feature_names_out()
    assert names[[0, 16, 32, 63]].tolist() == [
        "dog1.6_y0_x0_b0",
        "dog1.6_y0_x1_b0",
        "dog4_y0_x0_b0",
        "dog4_y0_x1_b15",
    ]
    strong = names[extractor.transform([image])[0] > 0]
    assert {name for name in strong if not name.endswith(("b7", "b8"))} >= {
        "dog1.6_y0_x1_b12",
        "dog4_y0_x1_b4",
    }
    assert {name for name in strong if "x0" in name} == {
        f"dog{sigma}_y0_x0_b{index}" for sigma in ("1.6", "4") for index in (7, 8)
    }


@pytest.mark.parametrize("sigmas", [(1.0, 2.0, 1.0), (1.0, 1.0000001)])
def test_the_same_scale_twice_is_refused(sigmas: tuple[float, ...]) -> None:
    with pytest.raises(ParameterError, match=r"the same sigma is given twice .* give each scale once"):
        DoGHistogram(sigmas).fit([photo()])
