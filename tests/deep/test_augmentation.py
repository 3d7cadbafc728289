"""Changes of training images: crops for photographs, shifts for small images, mirroring where there is color."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from classic_cv.deep.augmentation import Augmenter, lower_side, random_crops
from classic_cv.deep.settings import DeepSettings

SETTINGS = DeepSettings("test_resnet", mode="scratch")


def gradient(n: int, size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Red grows to the right, green downwards, from 0 to 200."""
    ramp = np.linspace(0, 200, size).astype(np.uint8)
    image = np.zeros((size, size, 3), np.uint8)
    image[..., 0], image[..., 1] = ramp[None, :], ramp[:, None]
    return np.repeat(image[None], n, axis=0)


def test_crops_are_upright_parts_of_at_least_the_area() -> None:
    found = random_crops(gradient(1, 80), np.zeros(200, int), 40, 0.35, np.random.default_rng(0)).astype(int)
    width = (found[:, 20, -1, 0] - found[:, 20, 0, 0]) / 200
    height = (found[:, -1, 20, 1] - found[:, 0, 20, 1]) / 200
    assert (width > 0).all()
    assert (height > 0).all()
    area = width * height
    assert area.min() > 0.3
    assert area.min() < 0.45
    assert area.max() > 0.85
    assert found[:, 20, 0, 0].max() > 40


def test_a_crop_of_everything_is_the_resized_image() -> None:
    pixels = gradient(3, 64)
    found = random_crops(pixels, np.arange(3), 64, 1.0, np.random.default_rng(0))
    # The aspect still changes, and what reaches beyond the image is cut off.
    assert np.abs(found.astype(int) - pixels).max() <= 60


@pytest.mark.parametrize(
    ("size", "color", "mode", "crops", "mirror"),
    [
        (64, True, "scratch", 0.35, True),
        (64, True, "finetune", 0.5, True),
        (48, True, "scratch", 1.0, True),
        (64, False, "scratch", 1.0, False),
        (32, False, "scratch", 1.0, False),
    ],
)
def test_what_is_changed_is_by_size_and_color(
    size: int, color: bool, mode: str, crops: float, mirror: bool
) -> None:
    settings = msgspec.structs.replace(SETTINGS, mode=mode)
    found = Augmenter.of(settings, gradient(4, size), 1_000_000, color)
    assert (found.least_area, found.mirror) == (crops, mirror)
    assert (found.changes.shift == 0) == (crops < 1)
    assert ("mirroring" in found.describe()) == ("no mirroring" not in found.describe()) or not mirror


def test_the_settings_say_whether_images_are_mirrored() -> None:
    pixels = gradient(4, 32)
    assert not Augmenter.of(msgspec.structs.replace(SETTINGS, mirror=False), pixels, 1, True).mirror
    assert Augmenter.of(msgspec.structs.replace(SETTINGS, mirror=True), pixels, 1, False).mirror


@pytest.mark.parametrize(("size", "low"), [(96, 72), (32, 24)])
def test_batches_have_the_asked_size_and_leave_the_images(size: int, low: int) -> None:
    pixels = gradient(6, size)
    before = pixels.copy()
    augmenter = Augmenter.of(SETTINGS, pixels, 1_000_000, True)
    rows = np.array([0, 2, 5])
    for side in (size, low):
        batch = augmenter.batch(rows, side, np.random.default_rng(1))
        assert batch.shape == (3, side, side, 3)
        assert (batch != augmenter.batch(rows, side, np.random.default_rng(2))).any()
        np.testing.assert_array_equal(batch, augmenter.batch(rows, side, np.random.default_rng(1)))
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize(
    ("size", "least", "low"), [(224, 32, 168), (64, 32, 48), (32, 32, 32), (96, 75, 96), (40, 8, 32)]
)
def test_the_lower_side_is_three_quarters_where_the_network_takes_it(size: int, least: int, low: int) -> None:
    assert lower_side(size, least) == low
