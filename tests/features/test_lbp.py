from __future__ import annotations

import itertools
from typing import Any

import cv2
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage import feature

from classic_cv.errors import ParameterError
from classic_cv.features.lbp import LBP, Method, labels_of_bits, local_binary_patterns, n_labels

CIRCLES = [(8, 1.0), (16, 2.0), (8, 3.0), (24, 3.0)]
METHODS: tuple[Method, ...] = ("uniform", "nri_uniform")

local_binary_pattern: Any = feature.local_binary_pattern

small = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=10))


def load(name: str) -> NDArray[np.uint8]:
    function: Any = getattr(skimage.data, name)
    return np.asarray(function(), np.uint8)


def photos() -> dict[str, NDArray[np.uint8]]:
    return {
        "astronaut": load("astronaut")[:150, 100:300, 1],
        "clock": load("clock")[100:250, 60:260],
        "coins": load("coins")[:140, :200],
        "moon": load("moon")[200:340, 100:300],
        "retina border": load("retina")[:160, :600, 1],
        "saturated": np.minimum(load("camera")[:150, 200:400].astype(int) * 2, 255).astype(np.uint8),
    }


@pytest.mark.parametrize("name", photos())
@pytest.mark.parametrize("circle", CIRCLES)
@pytest.mark.parametrize("method", METHODS)
def test_labels_equal_scikit_images_on_photos(name: str, circle: tuple[int, float], method: Method) -> None:
    image = np.ascontiguousarray(photos()[name])
    expected = local_binary_pattern(image, *circle, method)
    np.testing.assert_array_equal(local_binary_patterns(image[None], *circle, method)[0], expected)


@pytest.mark.parametrize("circle", [(2, 1.0), (3, 1.1), (5, 2.3), (7, 0.4), (12, 1.5), (17, 2.7), (10, 6.25)])
@pytest.mark.parametrize("method", METHODS)
def test_labels_equal_scikit_images_on_unusual_circles(circle: tuple[int, float], method: Method) -> None:
    image = np.ascontiguousarray(photos()["coins"][:90, :70])
    expected = local_binary_pattern(image, *circle, method)
    np.testing.assert_array_equal(local_binary_patterns(image[None], *circle, method)[0], expected)


@pytest.mark.parametrize("value", [0, 1, 7, 100, 128, 199, 254, 255])
@pytest.mark.parametrize("circle", CIRCLES)
def test_flat_regions_tie_as_in_scikit_image(value: int, circle: tuple[int, float]) -> None:
    image = np.full((70, 140), value, np.uint8)
    expected = local_binary_pattern(image, *circle, "uniform")
    np.testing.assert_array_equal(local_binary_patterns(image[None], *circle)[0], expected)


@given(image=small, circle=st.sampled_from(CIRCLES), method=st.sampled_from(METHODS))
@settings(deadline=None, derandomize=True, max_examples=150)
def test_labels_equal_scikit_images_on_small_images(
    image: NDArray[np.uint8], circle: tuple[int, float], method: Method
) -> None:
    expected = local_binary_pattern(image, *circle, method)
    np.testing.assert_array_equal(local_binary_patterns(image[None], *circle, method)[0], expected)


def test_a_batch_and_a_tall_image_cut_into_bands_are_equal_to_single_ones() -> None:
    tall = np.ascontiguousarray(load("camera")[:, :300])
    np.testing.assert_array_equal(
        local_binary_patterns(tall[None], 16, 2.0)[0], local_binary_pattern(tall, 16, 2, "uniform")
    )
    batch = np.stack([tall[i : i + 50, i : i + 60] for i in range(0, 200, 10)])
    for image, labels in zip(batch, local_binary_patterns(batch, 24, 3.0, "nri_uniform"), strict=True):
        np.testing.assert_array_equal(labels, local_binary_pattern(image, 24, 3, "nri_uniform"))


@pytest.mark.parametrize("points", [2, 3, 8, 10])
def test_patterns_are_numbered_by_their_definition(points: int) -> None:
    patterns = list(itertools.product((False, True), repeat=points))
    bits = list(np.array(patterns).T)
    plain, rotated = labels_of_bits(bits, "uniform"), labels_of_bits(bits, "nri_uniform")
    seen: dict[int, set[tuple[bool, ...]]] = {}
    for pattern, label, other in zip(patterns, plain.tolist(), rotated.tolist(), strict=True):
        changes = sum(a != b for a, b in itertools.pairwise((*pattern, pattern[0])))
        assert label == (sum(pattern) if changes <= 2 else points + 1)
        seen.setdefault(other, set()).add(pattern)
        assert (other == n_labels(points, "nri_uniform") - 1) == (changes > 2)
    # Each uniform pattern has a label of its own, and no label below the last is unused.
    last = n_labels(points, "nri_uniform") - 1
    assert all(len(found) == 1 for label, found in seen.items() if label != last)
    assert set(range(last)) <= set(seen)


@pytest.mark.parametrize("method", METHODS)
def test_histograms_are_shares_of_labels_in_each_cell(method: Method) -> None:
    image = np.ascontiguousarray(photos()["coins"][:41, :67])
    circles = ((8, 1.0), (24, 3.0))
    found = LBP(method, circles, grid=(2, 3), hellinger=False).fit_transform([image])[0]
    expected = []
    for points, radius in circles:
        labels = local_binary_pattern(image, points, radius, method)
        size = n_labels(points, method)
        for i, j in itertools.product(range(2), range(3)):
            cell = labels[i * 41 // 2 : (i + 1) * 41 // 2, j * 67 // 3 : (j + 1) * 67 // 3]
            expected.append(np.histogram(cell, size, (0, size))[0] / cell.size)
    np.testing.assert_allclose(found, np.concatenate(expected), atol=1e-7)
    rooted = LBP(method, circles, grid=(2, 3)).fit_transform([image])[0]
    np.testing.assert_allclose(rooted, np.sqrt(found), atol=1e-7)


def test_color_is_taken_as_gray() -> None:
    image = load("astronaut")[:60, 200:280]
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    extractor = LBP(grid=2).fit([image])
    np.testing.assert_array_equal(extractor.transform([image]), extractor.transform([np.asarray(gray)]))


@given(image=small, shift=st.integers(1, 100))
@settings(deadline=None, derandomize=True, max_examples=50)
def test_brightness_does_not_matter(image: NDArray[np.uint8], shift: int) -> None:
    # Four samples on whole pixels: no interpolation, so ties survive a shift. The 0 outside stays below.
    dark = image // 2 + np.uint8(1)
    bright = dark + np.uint8(shift)
    extractor = LBP(points_radii=((4, 1.0), (4, 2.0)), grid=2).fit([image])
    np.testing.assert_array_equal(extractor.transform([dark]), extractor.transform([bright]))


@given(image=small, turns=st.integers(0, 3), flip=st.booleans())
@settings(deadline=None, derandomize=True, max_examples=50)
def test_quarter_turns_and_flips_do_not_matter_to_rotation_invariant_labels(
    image: NDArray[np.uint8], turns: int, flip: bool
) -> None:
    turned = np.rot90(image[:, ::-1] if flip else image, turns)
    extractor = LBP("uniform", ((4, 1.0), (4, 3.0))).fit([image])
    np.testing.assert_array_equal(extractor.transform([image]), extractor.transform([turned]))


def test_a_quarter_turn_turns_the_labels() -> None:
    image = np.ascontiguousarray(photos()["moon"][:50, :50])
    labels = local_binary_patterns(image[None], 4, 1.0, "nri_uniform")[0]
    turned = local_binary_patterns(np.rot90(image)[None], 4, 1.0, "nri_uniform")[0]
    upright = np.rot90(labels)
    constant = (upright == 0) | (upright >= 13)
    np.testing.assert_array_equal(turned[constant], upright[constant])
    ones, rotation = (upright - 1) // 4, (upright - 1) % 4
    expected = 1 + ones * 4 + (rotation - 1) % 4
    np.testing.assert_array_equal(turned[~constant], expected[~constant])


def test_names_follow_the_columns() -> None:
    image = np.ascontiguousarray(photos()["clock"])
    extractor = LBP("uniform", ((8, 1.0), (16, 2.5)), grid=(1, 2)).fit([image])
    names = extractor.get_feature_names_out().tolist()
    assert len(names) == 2 * 10 + 2 * 18 == extractor.n_features_out_
    assert names[0] == "lbp8r1_y0_x0_0"
    assert names[10] == "lbp8r1_y0_x1_0"
    assert names[-1] == "lbp16r2.5_y0_x1_17"


def test_the_same_circle_twice_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"LBP\(points_radii=.*the same \(P, R\) is given twice"):
        LBP(points_radii=((8, 1.0), (8, 1))).fit([photos()["coins"]])
