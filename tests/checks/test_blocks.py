"""The traces of JPEG in pixels, on photos that are compressed and saved anew."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

from classic_cv.checks.appearance import gray_of, pixel_properties
from classic_cv.checks.blocks import BLOCK_NAMES, block_properties
from classic_cv.images import rotate

DATA: Any = data
COFFEE: NDArray[np.uint8] = DATA.coffee()
# Shrunk by half: no grid is left if it was a JPEG once.
CLEAN = np.asarray(cv2.resize(COFFEE, (300, 200), interpolation=cv2.INTER_AREA), np.uint8)


def through_jpeg(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    stream = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.ascontiguousarray(np.asarray(cv2.imdecode(stream, cv2.IMREAD_COLOR), np.uint8)[..., ::-1])


def properties(pixels: NDArray[np.uint8], reduction: int = 1) -> dict[str, float]:
    return dict(zip(BLOCK_NAMES, block_properties(gray_of(pixels), reduction), strict=True))


@pytest.mark.parametrize("quality", [20, 30, 40, 50, 60, 70, 75, 80, 85, 90])
def test_the_quality_is_seen_in_pixels(quality: int) -> None:
    # Neighboring qualities have nearly the same steps.
    assert properties(through_jpeg(CLEAN, quality))["pixel_quality"] == pytest.approx(quality, abs=1)


def test_the_last_of_two_qualities_counts() -> None:
    assert properties(through_jpeg(through_jpeg(CLEAN, 90), 60))["pixel_quality"] == 60


def test_pixels_that_never_were_a_jpeg_have_no_quality() -> None:
    found = [properties(turned)["pixel_quality"] for turned in (CLEAN, np.ascontiguousarray(CLEAN[3:, 5:]))]
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3)).astype(np.uint8)
    blank = np.full((64, 64, 3), 99, np.uint8)
    assert [*found, properties(noise)["pixel_quality"], properties(blank)["pixel_quality"]] == [-1] * 4


def test_blocks_are_seen_where_they_are_and_not_shifted() -> None:
    coarse = through_jpeg(CLEAN, 20)
    shifted = np.ascontiguousarray(coarse[4:, 4:])
    assert abs(properties(CLEAN)["blockiness"]) < 0.1
    assert properties(coarse)["blockiness"] > 0.4
    assert properties(shifted)["blockiness"] < 0.1


def test_compression_rounds_fine_detail_away() -> None:
    assert properties(through_jpeg(CLEAN, 20))["flat_blocks"] > properties(CLEAN)["flat_blocks"] + 0.1


def test_blocks_shrink_with_a_reduced_decode() -> None:
    coarse = through_jpeg(COFFEE, 10)
    half = np.asarray(cv2.resize(coarse, (300, 200), interpolation=cv2.INTER_AREA), np.uint8)
    assert properties(half, reduction=2)["blockiness"] > 0.2
    assert properties(half, reduction=8)["blockiness"] == 0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_grid_begins_at_the_corner_of_the_stored_image(orientation: int) -> None:
    stored = through_jpeg(CLEAN[:197, :251], 40)
    upright = np.ascontiguousarray(rotate(stored, orientation))
    found = pixel_properties(upright, gray_of(upright), 0.0, orientation, 1)
    assert found[:3] == pytest.approx(block_properties(gray_of(stored), 1))


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (7, 7), (8, 8), (9, 300)])
def test_tiny_images(shape: tuple[int, int]) -> None:
    found = block_properties(np.zeros(shape, np.uint8), 1)
    assert np.isfinite(found).all()
    assert found[0] == 0
