from __future__ import annotations

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from classic_cv.features.local import Patches, patches

Pixels = NDArray[np.uint8]

grays = hnp.arrays(np.uint8, st.tuples(st.integers(4, 12), st.integers(4, 12)))


def noise(*shape: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize("shape", [(20, 23, 3), (20, 23), (6, 30), (7, 6, 3)])
@pytest.mark.parametrize(("size", "step"), [(6, 1), (5, 3), (2, 4)])
@pytest.mark.parametrize("band", [1, 2**16])
def test_values_equal_numpys_patch_by_patch(
    shape: tuple[int, ...], size: int, step: int, band: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patches, "BAND_VALUES", band)
    image = noise(*shape)
    descriptors, positions, sides = Patches(size, step).describe(image)
    expected, places = [], []
    top, left = (((length - size) % step) // 2 for length in shape[:2])
    for y in range(top, shape[0] - size + 1, step):
        for x in range(left, shape[1] - size + 1, step):
            patch = image[y : y + size, x : x + size].ravel().astype(np.float64)
            expected.append((patch - patch.mean()) / np.sqrt(patch.var() + 10))
            places.append((x + size / 2, y + size / 2))
    np.testing.assert_allclose(descriptors, expected, rtol=0, atol=2e-6)
    np.testing.assert_array_equal(positions, places)
    np.testing.assert_array_equal(sides, size)


@pytest.mark.parametrize("value", [0, 3, 255])
def test_flat_patches_are_all_zeros(value: int) -> None:
    descriptors = Patches(7).describe(np.full((20, 20, 3), value, np.uint8)).descriptors
    assert descriptors.shape == (14 * 14, 147)
    np.testing.assert_array_equal(descriptors, 0)


@given(image=grays)
@settings(deadline=None, derandomize=True, max_examples=25)
def test_brightness_does_not_matter_and_inverting_changes_the_sign(image: Pixels) -> None:
    half = image // 2
    expected = Patches(4).describe(half).descriptors
    np.testing.assert_allclose(Patches(4).describe(half + 100).descriptors, expected, rtol=0, atol=2e-5)
    np.testing.assert_allclose(Patches(4).describe(255 - half).descriptors, -expected, rtol=0, atol=2e-5)


@given(image=grays)
@settings(deadline=None, derandomize=True, max_examples=25)
def test_a_mirrored_image_has_mirrored_patches(image: Pixels) -> None:
    columns = image.shape[1] - 3
    found = Patches(4).describe(image[:, ::-1]).descriptors.reshape(-1, columns, 4, 4)
    expected = Patches(4).describe(image).descriptors.reshape(-1, columns, 4, 4)
    np.testing.assert_array_equal(found, expected[:, ::-1, :, ::-1])
