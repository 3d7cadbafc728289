from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import hypothesis.extra.numpy as hnp
import msgspec
import numpy as np
import pytest
import skimage.data
import skimage.transform
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from classic_cv.errors import ParameterError
from classic_cv.neural.augmentation import (
    STRENGTH_NAMES,
    AugmentationSettings,
    augment,
    mirrored,
    mixed,
    recolored,
    resolved,
    shifted,
    turned,
    warped,
    with_squares,
)

transform: Any = skimage.transform

OFF = AugmentationSettings(shift=0, rotation=0, zoom=0, color=0, cutout=0, mixup=0)
EVERYTHING = AugmentationSettings(0.125, 15, 0.2, 0.4, 0.25, 0.2, quarter_turns=True)

batches = hnp.arrays(
    np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]))
)
seeds = st.integers(0, 2**32 - 1)
strengths = st.builds(
    AugmentationSettings,
    shift=st.floats(0, 0.5),
    rotation=st.floats(0, 180),
    zoom=st.floats(0, 0.5),
    color=st.floats(0, 1),
    cutout=st.floats(0, 1),
    mixup=st.just(0.0),
)


def photos(n: int = 6, height: int = 32, width: int = 32, channels: int = 3) -> NDArray[np.uint8]:
    """Pieces of a real picture."""
    load: Any = skimage.data.coffee
    picture = load()
    pieces = [picture[20 * i : 20 * i + 300, 30 * i : 30 * i + 300] for i in range(n)]
    small = np.stack([cv2.resize(piece, (width, height), interpolation=cv2.INTER_AREA) for piece in pieces])
    return np.ascontiguousarray(small[..., :channels], np.uint8)


def changed(
    pixels: NDArray[np.uint8],
    how: AugmentationSettings,
    seed: int = 0,
    flip: bool = False,
    n: int | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """All images, or the first again and again ``n`` times."""
    indices = np.arange(len(pixels)) if n is None else np.zeros(n, np.intp)
    mean = np.full(pixels.shape[3], 100, np.float32)
    return augment(pixels, indices, how, np.random.default_rng(seed), mean, flip)


@contextmanager
def opencv_threads(n: int) -> Iterator[None]:
    before = cv2.getNumThreads()
    cv2.setNumThreads(n)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


# Each change against an independent implementation.


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(32, 32), (20, 13)])
def test_shifts_are_slices_of_a_reflected_image(shape: tuple[int, int], channels: int) -> None:
    pixels = photos(6, *shape, channels)
    down, right = np.array([0, 3, -4, 2, -1, 0]), np.array([0, -2, -1, 5, 5, -5])
    found = shifted(pixels, down, right)
    for image, dy, dx, result in zip(pixels, down, right, found, strict=True):
        padded = np.pad(image, ((9, 9), (9, 9), (0, 0)), "reflect")
        expected = padded[9 - dy : 9 - dy + shape[0], 9 - dx : 9 - dx + shape[1]]
        np.testing.assert_array_equal(result, expected)
        # Away from the border that is a roll.
        rolled = np.roll(image, (dy, dx), (0, 1))
        np.testing.assert_array_equal(result[5:-5, 5:-5], rolled[5:-5, 5:-5])


def test_mirroring_and_symmetries_equal_numpys() -> None:
    pixels = photos(8)
    chosen = np.arange(8) % 3 == 0
    expected = np.where(chosen[:, None, None, None], pixels[:, :, ::-1], pixels)
    np.testing.assert_array_equal(mirrored(pixels, chosen), expected)

    image = pixels[0]
    found = {result.tobytes() for result in turned(np.stack([image] * 8), np.arange(8))}
    turns = [np.rot90(image, k) for k in range(4)]
    assert found == {x.tobytes() for x in turns} | {np.fliplr(x).tobytes() for x in turns}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(32, 32), (40, 28)])
def test_rotation_equals_scikit_images(shape: tuple[int, int], channels: int) -> None:
    pixels = photos(5, *shape, channels)
    degrees = np.array([0, 10, -10, 90, 137], float)
    zero = np.zeros(5, np.intp)
    found = warped(pixels, zero, zero, degrees, np.ones(5))
    for image, angle, result in zip(pixels, degrees, found, strict=True):
        expected = transform.rotate(image, angle, order=1, mode="reflect", preserve_range=True)
        # Apart from rounding to whole gray levels.
        np.testing.assert_allclose(result, expected, atol=0.51)


def test_zoom_and_shift_equal_scikit_images() -> None:
    pixels = photos(4, 30, 40)
    down, right = np.array([0, 0, 3, -2]), np.array([0, 0, -4, 5])
    degrees, scale = np.array([0.0, 0.0, 0.0, 25.0]), np.array([1.25, 0.8, 1.1, 0.9])
    found = warped(pixels, down, right, degrees, scale)
    for image, dy, dx, angle, factor, result in zip(pixels, down, right, degrees, scale, found, strict=True):
        to_origin = transform.AffineTransform(translation=(-19.5, -14.5))
        # Counter-clockwise on the screen is clockwise where y points up.
        turn = transform.SimilarityTransform(scale=factor, rotation=-np.deg2rad(angle))
        back = transform.AffineTransform(translation=(19.5 + dx, 14.5 + dy))
        forward = to_origin + turn + back
        expected = transform.warp(image, forward.inverse, order=1, mode="reflect", preserve_range=True)
        np.testing.assert_allclose(result, expected, atol=0.51)


def test_warping_without_rotation_and_zoom_is_the_shift() -> None:
    pixels = photos(6, 20, 26)
    down, right = np.array([0, 3, -4, 2, -1, 0]), np.array([0, -2, -1, 5, 5, -5])
    found = warped(pixels, down, right, np.zeros(6), np.ones(6))
    np.testing.assert_array_equal(found, shifted(pixels, down, right))


@pytest.mark.parametrize("channels", [1, 3])
def test_color_equals_pillows(channels: int) -> None:
    # Away from black and white, so that clipping between the steps plays no part.
    pixels = 90 + photos(8, channels=channels) // 4
    factors = np.array(list(itertools.product([0.7, 1.2], [0.6, 1.4], [0.5, 1.3])))
    found = recolored(pixels, *factors.T)
    for image, (brightness, contrast, saturation), result in zip(pixels, factors, found, strict=True):
        expected = Image.fromarray(image[..., 0] if channels == 1 else image)
        expected = ImageEnhance.Brightness(expected).enhance(brightness)
        expected = ImageEnhance.Contrast(expected).enhance(contrast)
        if channels == 3:
            expected = ImageEnhance.Color(expected).enhance(saturation)
        # Pillow rounds down at every step.
        np.testing.assert_allclose(result, np.asarray(expected, float).reshape(image.shape), atol=3)


def test_color_is_clipped_at_black_and_white() -> None:
    pixels = np.array([0, 128, 255], np.uint8).reshape(1, 1, 3, 1)
    one = np.ones(1)
    assert recolored(pixels, 2 * one, one, one).ravel().tolist() == [0, 255, 255]
    # About the mean, which is 127 2/3.
    assert recolored(pixels, one, 2 * one, one).ravel().tolist() == [0, 128, 255]
    assert recolored(pixels, 0 * one, one, one).ravel().tolist() == [0, 0, 0]


@pytest.mark.parametrize("side", [1, 4, 5, 12])
def test_squares_equal_a_comparison_of_coordinates(side: int) -> None:
    height, width = 12, 15
    middles = np.array(list(itertools.product(range(height), range(width))))
    pixels = np.full((len(middles), height, width, 3), 7, np.uint8)
    color = np.array([100.4, 0, 254.6], np.float32)
    found = with_squares(pixels, middles[:, 0], middles[:, 1], side, color)
    rows, columns = np.mgrid[:height, :width]
    for (y, x), result in zip(middles, found, strict=True):
        # Pixels' distance from the square's middle, in halves of a pixel.
        inside = (np.abs(2 * (rows - y) + (side % 2 == 0)) < side) & (
            np.abs(2 * (columns - x) + (side % 2 == 0)) < side
        )
        np.testing.assert_array_equal(result, np.where(inside[..., None], [100, 0, 255], 7))


# All of them together.


@given(batches, seeds)
def test_nothing_on_is_the_identity(pixels: NDArray[np.uint8], seed: int) -> None:
    found, flipped = changed(pixels, OFF, seed)
    np.testing.assert_array_equal(found, pixels)
    assert not np.shares_memory(found, pixels)
    assert not flipped.any()


@settings(deadline=None)
@given(batches, seeds, strengths, st.booleans())
def test_any_settings_give_a_batch_of_the_same_kind(
    pixels: NDArray[np.uint8], seed: int, how: AugmentationSettings, flip: bool
) -> None:
    before = pixels.copy()
    found, flipped = changed(pixels, how, seed, flip)
    np.testing.assert_array_equal(pixels, before)
    assert found.shape == pixels.shape
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    assert flipped.shape == (len(pixels),)
    assert flipped.dtype == np.bool_
    again, flipped_again = changed(pixels, how, seed, flip)
    np.testing.assert_array_equal(found, again)
    np.testing.assert_array_equal(flipped, flipped_again)


@given(batches, seeds)
def test_unflipping_gives_the_original(pixels: NDArray[np.uint8], seed: int) -> None:
    found, flipped = changed(pixels, OFF, seed, flip=True)
    np.testing.assert_array_equal(mirrored(found, flipped), pixels)


@settings(deadline=None)
@given(seeds, st.integers(1, 200))
def test_a_constant_image_stays_constant_under_all_but_color_and_cutout(seed: int, value: int) -> None:
    pixels = np.full((3, 11, 11, 3), value, np.uint8)
    how = msgspec.structs.replace(EVERYTHING, color=0, cutout=0)
    np.testing.assert_array_equal(changed(pixels, how, seed)[0], pixels)


@given(seeds, st.sampled_from([0.25, 0.5, 1.0]))
def test_cutout_fills_a_quarter_of_its_square_at_least(seed: int, share: float) -> None:
    pixels = np.zeros((4, 16, 20, 3), np.uint8)
    found, _ = changed(pixels, msgspec.structs.replace(OFF, cutout=share), seed)
    filled = (found == 100).all(axis=3)
    assert set(np.unique(found)) <= {0, 100}
    side = round(16 * share)
    areas = filled.sum(axis=(1, 2))
    assert (areas <= side**2).all()
    assert (areas >= side**2 / 4).all()


def test_results_do_not_depend_on_opencvs_threads() -> None:
    pixels = photos(8, 96, 96)
    with opencv_threads(1):
        one, _ = changed(pixels, EVERYTHING, flip=True)
    with opencv_threads(4):
        four, _ = changed(pixels, EVERYTHING, flip=True)
    np.testing.assert_array_equal(one, four)


def test_turning_one_change_on_leaves_the_others_draws() -> None:
    pixels = photos()
    how = msgspec.structs.replace(OFF, shift=0.125)
    plain, flipped = changed(pixels, how, flip=True)
    cut, flipped_too = changed(pixels, msgspec.structs.replace(how, cutout=0.25), flip=True)
    np.testing.assert_array_equal(flipped, flipped_too)
    outside = (cut != 100).any(axis=3)
    assert outside.mean() > 0.9
    np.testing.assert_array_equal(cut[outside], plain[outside])


def test_images_are_chosen_by_index_also_twice_or_not_at_all() -> None:
    pixels = photos(4)
    rng, mean = np.random.default_rng(0), np.zeros(3, np.float32)
    found, _ = augment(pixels, np.array([3, 0, 3]), OFF, rng, mean)
    np.testing.assert_array_equal(found, pixels[[3, 0, 3]])
    for how in (OFF, msgspec.structs.replace(OFF, shift=0.1), EVERYTHING):
        none, flipped = augment(pixels, np.zeros(0, np.intp), how, rng, mean, flip=True)
        assert (none.shape, flipped.shape) == ((0, 32, 32, 3), (0,))


def test_memory_order_of_the_images_does_not_matter() -> None:
    pixels = photos()
    found, _ = changed(np.asfortranarray(pixels), EVERYTHING, flip=True)
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, changed(pixels, EVERYTHING, flip=True)[0])


# How the draws are distributed.


def test_half_of_the_images_are_flipped() -> None:
    _, flipped = changed(photos(1), OFF, flip=True, n=4000)
    assert flipped.mean() == pytest.approx(0.5, abs=0.03)


def test_every_shift_up_to_the_share_is_equally_likely() -> None:
    # Each pixel says where it comes from; 0.125 of 16 and 24 pixels are 2 and 3.
    rows, columns = np.mgrid[:16, :24]
    pixels = np.stack([rows, columns, 0 * rows], axis=2)[None].astype(np.uint8)
    found, _ = changed(pixels, msgspec.structs.replace(OFF, shift=0.125), n=7000)
    moved = np.array([8, 12]) - found[:, 8, 12, :2].astype(int)
    moves, counts = np.unique(moved, axis=0, return_counts=True)
    expected = list(itertools.product(range(-2, 3), range(-3, 4)))
    np.testing.assert_array_equal(moves, expected)
    np.testing.assert_allclose(counts / 7000, 1 / 35, atol=0.012)


def test_every_symmetry_is_equally_likely() -> None:
    found, flipped = changed(photos(1), msgspec.structs.replace(OFF, quarter_turns=True), n=4000)
    counts = Counter(image.tobytes() for image in found)
    np.testing.assert_allclose(list(counts.values()), [4000 / 8] * 8, atol=100)
    assert not flipped.any()


def test_color_changes_cancel_on_average_and_keep_gray_gray() -> None:
    pixels = np.full((1, 8, 8, 3), 100, np.uint8)
    found, _ = changed(pixels, msgspec.structs.replace(OFF, color=0.4), n=4000)
    assert found.mean() == pytest.approx(100, abs=1.5)
    assert found.min() == pytest.approx(60, abs=1)
    assert found.max() == pytest.approx(140, abs=1)
    assert (np.ptp(found.astype(int), axis=3) <= 1).all()


def test_rotation_is_within_its_range_and_uses_it() -> None:
    # A bright dot on the right: its angle about the middle is the rotation.
    pixels = np.zeros((1, 65, 65, 1), np.uint8)
    pixels[0, 30:35, 54:59] = 255
    found, _ = changed(pixels, msgspec.structs.replace(OFF, rotation=20), n=1000)
    rows, columns = np.mgrid[:65, :65] - 32
    weights = found[..., 0] / found.sum(axis=(1, 2, 3))[:, None, None]
    angles = np.rad2deg(np.arctan2(-(weights * rows).sum(axis=(1, 2)), (weights * columns).sum(axis=(1, 2))))
    assert np.abs(angles).max() == pytest.approx(20, abs=0.3)
    assert angles.mean() == pytest.approx(0, abs=1.5)


@given(seeds, st.integers(1, 50), st.sampled_from([0.0, 1e-310, 0.01, 0.2, 1.0, 100.0]))
def test_mixup_keeps_at_least_half_of_each_image(seed: int, n: int, alpha: float) -> None:
    weight, partner = mixed(np.random.default_rng(seed), n, alpha)
    assert 0.5 <= weight <= 1
    assert alpha or weight == 1
    assert partner.dtype == np.intp
    assert sorted(partner.tolist()) == list(range(n))


def test_mixups_weight_has_the_mean_of_the_folded_distribution() -> None:
    rng = np.random.default_rng(0)
    # Beta(1, 1) is uniform: folded to [0.5, 1], its mean is 0.75.
    assert np.mean([mixed(rng, 1, 1.0)[0] for _ in range(4000)]) == pytest.approx(0.75, abs=0.01)


# Settings.


@given(st.lists(st.integers(100, 10**8), min_size=2, max_size=2).map(sorted), st.integers(10, 10**6))
def test_auto_grows_with_the_network_and_with_fewer_images(sizes: list[int], n_images: int) -> None:
    small, large = (resolved(AugmentationSettings(), size, n_images) for size in sizes)
    scarce = resolved(AugmentationSettings(), sizes[0], n_images // 10)
    for name in STRENGTH_NAMES:
        assert 0 <= getattr(small, name) <= getattr(large, name)
        assert getattr(small, name) <= getattr(scarce, name)
    # Within the ranges that a recipe allows.
    for found in (small, large, scarce):
        assert msgspec.convert(msgspec.to_builtins(found), AugmentationSettings) == found


def test_auto_of_the_smallest_network_is_a_shift_alone() -> None:
    expected = msgspec.structs.replace(OFF, shift=0.0625)
    assert resolved(AugmentationSettings(), 9999, 50_000) == expected


@pytest.mark.parametrize("name", STRENGTH_NAMES)
@pytest.mark.parametrize("n_parameters", [1000, 10**7])
def test_given_values_stay(name: str, n_parameters: int) -> None:
    given_one = AugmentationSettings(**{name: 0.03}, quarter_turns=True)
    found = resolved(given_one, n_parameters, 500)
    assert getattr(found, name) == 0.03
    assert found.quarter_turns
    assert "auto" not in msgspec.structs.astuple(found)
    assert resolved(found, 10**9, 10) == found


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("shift", 0.9, r"Expected `float` <= 0.5 - at `\$.shift`"),
        ("shift", -0.1, r"Expected `float` >= 0.0 - at `\$.shift`"),
        ("rotation", 181, r"Expected `float` <= 180.0 - at `\$.rotation`"),
        ("zoom", 0.6, r"Expected `float` <= 0.5 - at `\$.zoom`"),
        ("color", 1.5, r"Expected `float` <= 1.0 - at `\$.color`"),
        ("cutout", float("nan"), r"at `\$.cutout`"),
        ("mixup", float("inf"), r"Expected `float` <= 100.0 - at `\$.mixup`"),
        ("mixup", "none", r"Invalid enum value 'none' - at `\$.mixup`"),
        ("quarter_turns", 1, r"Expected `bool`, got `int` - at `\$.quarter_turns`"),
        ("blur", 1, "unknown field `blur`"),
    ],
)
def test_values_out_of_range_are_errors(key: str, value: object, message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert({key: value}, AugmentationSettings)


def test_whole_numbers_are_accepted() -> None:
    assert msgspec.convert({"rotation": 10}, AugmentationSettings).rotation == 10


def test_what_cannot_be_done_is_an_error() -> None:
    with pytest.raises(ParameterError, match=r'shift is "auto" where a number is needed: call resolved\(\)'):
        changed(photos(), AugmentationSettings())
    with pytest.raises(ParameterError, match="quarter_turns needs square images, these are 20 x 30 pixels"):
        changed(photos(6, 20, 30), EVERYTHING)
    with pytest.raises(ParameterError, match=r"images have 2 channels: give them 1 \(gray\) or 3 \(RGB\)"):
        changed(photos(6, channels=2), OFF)
    with pytest.raises(ParameterError, match=r"mean has the shape \(1,\), but images have 3 channels"):
        augment(photos(), np.arange(2), OFF, np.random.default_rng(0), np.zeros(1, np.float32))


def test_numbers_are_hardly_changed_by_themselves() -> None:
    found = resolved(AugmentationSettings(color=0.1), 500_000, 100, of_numbers=True)
    expected = AugmentationSettings(shift=0.03125, rotation=0, zoom=0, color=0.1, cutout=0, mixup=0)
    assert found == expected
