from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray

from classic_cv.features.local import KeypointSIFT
from classic_cv.features.local.keypoint_sift import root_sift

Pixels = NDArray[np.uint8]
Real = NDArray[np.float64]

opencv: Any = cv2


def photo() -> Pixels:
    load: Any = skimage.data.astronaut
    return np.ascontiguousarray(load()[300:400, 300:420], np.uint8)


def gray_photo() -> Pixels:
    return np.asarray(cv2.cvtColor(photo(), cv2.COLOR_RGB2GRAY), np.uint8)


def sorted_rows(*columns: NDArray[Any]) -> Real:
    """Columns side by side as float64, rows sorted by all values."""
    rows = np.column_stack([np.asarray(column, np.float64) for column in columns])
    return rows[np.lexsort(rows.T[::-1])]


def places_of(keypoints: Any) -> Real:
    """x, y and side of the square for OpenCV's keypoints."""
    return np.array([(np.float32(k.pt[0]) + 0.5, np.float32(k.pt[1]) + 0.5, 6 * k.size) for k in keypoints])


def blob(scale: int) -> Pixels:
    """A Gaussian spot of a standard deviation of 3 * scale pixels."""
    y, x = np.mgrid[: 64 * scale, : 64 * scale] - 32 * scale
    spot: Pixels = np.rint(40 + 200 * np.exp(-(x**2 + y**2) / (2 * (3 * scale) ** 2))).astype(np.uint8)
    return spot


@pytest.mark.parametrize(("contrast", "edge"), [(0.04, 10.0), (0.01, 4.0)])
def test_features_are_those_of_opencv(contrast: float, edge: float) -> None:
    sift = opencv.SIFT_create(contrastThreshold=contrast, edgeThreshold=edge)
    keypoints, expected = sift.detectAndCompute(gray_photo(), None)
    assert len(keypoints) > 20
    plain = KeypointSIFT(0, contrast, edge, root=False).describe(photo())
    np.testing.assert_array_equal(
        sorted_rows(plain.positions, plain.sides, plain.descriptors * 512),
        sorted_rows(places_of(keypoints).astype(np.float32), expected),
    )
    rooted = KeypointSIFT(0, contrast, edge).describe(photo())
    np.testing.assert_array_equal(rooted.positions, plain.positions)
    shares = plain.descriptors.astype(np.float64)
    shares /= shares.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(rooted.descriptors, np.sqrt(shares), rtol=0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(rooted.descriptors, axis=1), 1, rtol=1e-6)


def test_upright_ones_are_opencvs_at_angle_0_once_per_place() -> None:
    image = gray_photo()
    sift = opencv.SIFT_create()
    turned = sift.detect(image)
    unique = {(k.pt, k.size): k for k in turned}
    assert len(unique) < len(turned)
    for keypoint in unique.values():
        keypoint.angle = 0
    keypoints, expected = sift.compute(image, list(unique.values()))
    found = KeypointSIFT(upright=True, root=False).describe(image)
    np.testing.assert_array_equal(
        sorted_rows(found.positions, found.sides, found.descriptors * 512),
        sorted_rows(places_of(keypoints).astype(np.float32), expected),
    )


@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize("limit", [1, 7, 30, 100_000])
def test_a_limit_keeps_the_strongest(limit: int, upright: bool) -> None:
    image = gray_photo()
    every = KeypointSIFT(upright=upright).describe(image)
    kept = KeypointSIFT(limit, upright=upright).describe(image)
    assert len(kept.sides) == min(limit, len(every.sides))
    for some, all_ in zip(kept, every, strict=True):
        np.testing.assert_array_equal(some, all_[:limit])
    response = {k.pt: k.response for k in opencv.SIFT_create().detect(image)}
    strengths = [response[(float(x) - 0.5, float(y) - 0.5)] for x, y in nearest(every.positions, response)]
    assert strengths == sorted(strengths, reverse=True)


def nearest(positions: NDArray[np.float32], response: dict[tuple[float, float], float]) -> list[Any]:
    """For each position OpenCV's exact place plus half a pixel; adding that in float32 rounds."""
    places = np.array(list(response)) + 0.5
    return [places[np.abs(places - position).sum(axis=1).argmin()] for position in positions]


def test_a_spot_has_its_center_and_a_side_in_proportion() -> None:
    sides = []
    for scale in (1, 2):
        _, positions, side = KeypointSIFT(1).describe(blob(scale))
        # OpenCV enlarges the image first, which moves it by a quarter pixel.
        np.testing.assert_allclose(positions[0], 32 * scale + 0.5, rtol=0, atol=0.3)
        sides.append(side[0])
    # Detected at about its own scale: 4 bins of 3 times the standard deviation.
    np.testing.assert_allclose(sides, [4 * 3 * 3, 4 * 3 * 6], rtol=0.25)
    np.testing.assert_allclose(sides[1], 2 * sides[0], rtol=0.03)


@pytest.mark.parametrize("upright", [False, True])
def test_an_image_without_keypoints_has_no_rows(upright: bool) -> None:
    for image in (np.full((80, 90, 3), 128, np.uint8), np.zeros((2, 2), np.uint8)):
        descriptors, positions, sides = KeypointSIFT(upright=upright).describe(image)
        assert (descriptors.shape, positions.shape, sides.shape) == ((0, 128), (0, 2), (0,))


def test_rows_of_zeros_stay_zeros() -> None:
    rows = np.array([[0, 0, 0], [1, 4, 4], [9, 0, 16]], np.float32)
    expected = np.array([[0, 0, 0], [1 / 3, 2 / 3, 2 / 3], [0.6, 0, 0.8]], np.float32)
    np.testing.assert_allclose(root_sift(rows), expected, rtol=1e-6)
