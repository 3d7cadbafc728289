from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
import skimage.feature
from numpy.typing import NDArray

from classic_cv.features.lbp import Method
from classic_cv.features.local import DenseLBP

Pixels = NDArray[np.uint8]


def noise(*shape: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def starts(length: int, window: int, step: int) -> list[int]:
    """First pixels of the windows along one axis, from the left over pixels at both ends."""
    found = list(range(0, length - window + 1, step))
    return [start + (length - window - found[-1]) // 2 for start in found]


@pytest.mark.parametrize("shape", [(33, 41), (20, 64)])
@pytest.mark.parametrize(("method", "n"), [("uniform", 10), ("nri_uniform", 59)])
@pytest.mark.parametrize(("windows", "step"), [((8, 12), 4), ((9,), 4), ((10, 15), 5), ((6, 40), 7)])
def test_values_equal_those_of_scikit_image_and_numpy(
    shape: tuple[int, int], method: Method, n: int, windows: tuple[int, ...], step: int
) -> None:
    load: Any = skimage.data.camera
    image = np.ascontiguousarray(load()[200 : 200 + shape[0], 200 : 200 + shape[1]], np.uint8)
    reference: Any = skimage.feature.local_binary_pattern
    labels = reference(image, 8, 1.0, method).astype(int)
    expected, places = [], []
    for window in windows:
        if window <= min(shape):
            for y in starts(shape[0], window, step):
                for x in starts(shape[1], window, step):
                    part = labels[y : y + window, x : x + window].ravel()
                    expected.append(np.bincount(part, minlength=n) / window**2)
                    places.append((x + window / 2, y + window / 2, window))
    plain = DenseLBP(windows, step, method, root=False).describe(image)
    np.testing.assert_allclose(plain.descriptors, expected, rtol=0, atol=1e-7)
    np.testing.assert_array_equal(np.column_stack([plain.positions, plain.sides]), places)
    rooted = DenseLBP(windows, step, method).describe(image)
    np.testing.assert_allclose(rooted.descriptors, np.sqrt(expected), rtol=0, atol=1e-7)


def test_histograms_have_norm_one() -> None:
    image = noise(50, 60)
    plain, rooted = (DenseLBP(root=root).describe(image).descriptors for root in (False, True))
    np.testing.assert_allclose(plain.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(rooted, axis=1), 1, rtol=1e-6)


def test_color_counts_as_its_luma() -> None:
    image = noise(40, 40, 3)
    gray = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
    found, expected = DenseLBP().describe(image), DenseLBP().describe(gray)
    np.testing.assert_array_equal(found.descriptors, expected.descriptors)


def test_flat_regions_have_one_label() -> None:
    descriptors, positions, sides = DenseLBP((8,)).describe(np.full((40, 40), 90, np.uint8))
    # Every sample is at least the center; only at the border some are not, because outside is 0.
    reach = sides[:, None] / 2
    inside = np.all((positions - reach >= 1) & (positions + reach <= 39), axis=1)
    assert 0 < inside.sum() < len(descriptors)
    np.testing.assert_array_equal(descriptors[inside], np.eye(10)[[8] * inside.sum()])
    assert (descriptors[~inside, 8] < 1).all()


@pytest.mark.parametrize(("windows", "step"), [((8, 16), 4), ((10,), 6)])
def test_a_mirrored_image_has_mirrored_windows(windows: tuple[int, ...], step: int) -> None:
    # In noise no interpolated sample ties with its center, which rounding would decide.
    image = noise(40, 52)
    lbp = DenseLBP(windows, step)
    descriptors, positions, sides = lbp.describe(image)
    mirrored = lbp.describe(np.ascontiguousarray(image[:, ::-1]))
    for side in windows:
        columns = len(np.unique(positions[sides == side, 0]))
        expected = descriptors[sides == side].reshape(-1, columns, 10)[:, ::-1]
        found = mirrored.descriptors[mirrored.sides == side].reshape(-1, columns, 10)
        np.testing.assert_array_equal(found, expected)
        x = positions[sides == side, 0].reshape(-1, columns)
        np.testing.assert_array_equal(image.shape[1] - x[:, ::-1], x)
