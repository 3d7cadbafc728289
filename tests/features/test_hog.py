"""HOG against a naive loop, against scikit-image, and its properties."""

from __future__ import annotations

import math
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
import skimage.feature
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from classic_cv.errors import NotFittedError, ParameterError
from classic_cv.features import _hog_workspace
from classic_cv.features._gradients import orientation_tables
from classic_cv.features._hog_workspace import Interpolation, Layout
from classic_cv.features.hog import HOG
from classic_cv.features.hog import hog as hog_function

Pixels = NDArray[np.uint8]
Features = NDArray[np.float32]


def noise(*shape: int, seed: int = 0) -> Pixels:
    """Random pixels: nearly every gradient is another one."""
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def photo(height: int, width: int) -> Pixels:
    """The astronaut at a size, RGB."""
    astronaut: Any = skimage.data.astronaut
    return np.asarray(cv2.resize(astronaut(), (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def gray(image: Pixels) -> Pixels:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)


def hog(image: Pixels, **parameters: Any) -> Features:
    """The features of one image."""
    row: Features = HOG(**parameters).fit([image]).transform([image])[0]
    return row


def naive_gradient(image: Pixels, y: int, x: int) -> tuple[int, int]:
    """(dx, dy) of one pixel; of color images from the channel with the largest, the first of equals."""
    height, width = image.shape[:2]
    planes = image[:, :, None] if image.ndim == 2 else image
    found = []
    for channel in range(planes.shape[2]):
        plane = planes[:, :, channel].astype(int)
        dx = plane[y, x + 1] - plane[y, x - 1] if 0 < x < width - 1 else 0
        dy = plane[y + 1, x] - plane[y - 1, x] if 0 < y < height - 1 else 0
        found.append((int(dx), int(dy)))
    return max(found, key=lambda d: d[0] ** 2 + d[1] ** 2)


def naive_hog(image: Pixels, orientations: int, cell: int, block: int, signed: bool) -> NDArray[np.float64]:
    """Bilinear HOG, pixel by pixel, in double precision."""
    height, width = image.shape[:2]
    rows, columns, period = height // cell, width // cell, 360.0 if signed else 180.0
    cells = np.zeros((rows, columns, orientations))
    for y in range(height):
        for x in range(width):
            dx, dy = naive_gradient(image, y, x)
            bin_width = period / orientations
            place = (math.degrees(math.atan2(dy, dx)) % period) / bin_width - 0.5
            row, column = (y + 0.5) / cell - 0.5, (x + 0.5) / cell - 0.5
            for i in (math.floor(row), math.floor(row) + 1):
                for j in (math.floor(column), math.floor(column) + 1):
                    for o in (math.floor(place), math.floor(place) + 1):
                        if 0 <= i < rows and 0 <= j < columns:
                            share = (1 - abs(row - i)) * (1 - abs(column - j)) * (1 - abs(place - o))
                            cells[i, j, o % orientations] += math.hypot(dx, dy) * share / cell**2
    blocks = []
    for i in range(rows - block + 1):
        for j in range(columns - block + 1):
            values = cells[i : i + block, j : j + block].ravel()
            values = np.minimum(values / math.sqrt((values**2).sum() + 1e-10), 0.2)
            blocks.append(values / math.sqrt((values**2).sum() + 1e-10))
    return np.concatenate(blocks)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(
    ("height", "width", "orientations", "cell", "block"),
    [(32, 32, 9, 8, 2), (29, 35, 7, 5, 3), (24, 17, 12, 8, 1), (40, 71, 18, 4, 2), (7, 9, 1, 1, 2)],
)
def test_bilinear_equals_a_naive_loop(
    height: int, width: int, orientations: int, cell: int, block: int, signed: bool
) -> None:
    for image in (gray(photo(height, width)), noise(height, width)):
        ours = hog(
            image, orientations=orientations, pixels_per_cell=cell, cells_per_block=block, signed=signed
        )
        naive = naive_hog(image, orientations, cell, block, signed)
        np.testing.assert_allclose(ours, naive, rtol=1e-4, atol=1e-6)


def test_strongest_channel_equals_a_naive_loop() -> None:
    few_levels = noise(26, 31, 3, seed=1) // 64
    for image in (photo(26, 31), few_levels):
        naive = naive_hog(image, 9, 6, 2, False)
        np.testing.assert_allclose(
            hog(image, pixels_per_cell=6, color="strongest"), naive, rtol=1e-4, atol=1e-6
        )


@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize(
    ("height", "width", "orientations", "cell", "block"),
    [(128, 128, 9, 8, 2), (61, 90, 7, 5, 3), (50, 33, 12, 16, 1), (64, 64, 11, 4, 4), (9, 12, 9, 1, 2)],
)
def test_none_equals_scikit_image(
    height: int, width: int, orientations: int, cell: int, block: int, color: bool
) -> None:
    rgb = photo(height, width)
    image, axis = (rgb, -1) if color else (gray(rgb), None)
    expected = skimage.feature.hog(
        image, orientations, (cell, cell), (block, block), "L2-Hys", feature_vector=True, channel_axis=axis
    )
    ours = hog(
        image,
        orientations=orientations,
        pixels_per_cell=cell,
        cells_per_block=block,
        color="strongest",
        interpolation="none",
    )
    np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize("orientations", [7, 9, 36])
def test_bin_edges_equal_those_of_scikit_image_for_nearly_all_gradients(orientations: int) -> None:
    image = noise(600, 600, seed=2)
    expected = skimage.feature.hog(image, orientations, (4, 4), (1, 1), "L2-Hys")
    ours = hog(image, orientations=orientations, pixels_per_cell=4, cells_per_block=1, interpolation="none")
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_signed_bins_fold_to_unsigned_ones_for_every_gradient() -> None:
    signed = np.concatenate(orientation_tables(18, True, "bilinear"), axis=1)
    unsigned = np.concatenate(orientation_tables(9, False, "bilinear"), axis=1)
    np.testing.assert_allclose(signed[:, :9] + signed[:, 9:], unsigned, atol=1e-4)
    assert np.count_nonzero(signed, axis=1).max() == 2


@pytest.mark.parametrize("parameters", [{}, {"color": "strongest"}, {"pixels_per_cell": (4, 8)}])
@pytest.mark.parametrize("interpolation", ["bilinear", "none"])
def test_a_row_is_the_same_bit_for_bit_in_any_batch(
    parameters: dict[str, Any], interpolation: Interpolation
) -> None:
    extractor = HOG(interpolation=interpolation, **parameters)
    for shape in ((32, 32), (32, 32, 3), (23, 37), (70, 70, 3)):
        images = noise(75, *shape)
        whole = extractor.fit(images).transform(images)
        alone = np.concatenate([extractor.transform(images[i : i + 1]) for i in range(len(images))])
        assert np.array_equal(whole, alone)
        assert np.array_equal(whole, extractor.transform(list(images)))
        assert np.array_equal(whole[5:], extractor.transform(images[5:]))
        assert np.array_equal(whole[::-2], extractor.transform(images[::-2]))


def test_gray_and_color_images_in_one_list() -> None:
    rgb = noise(40, 24, 24, 3)
    mixed = [gray(image) if i % 3 == 0 else image for i, image in enumerate(rgb)]
    for color in ("gray", "strongest"):
        extractor = HOG(color=color, pixels_per_cell=6).fit(mixed)
        rows = extractor.transform(mixed)
        assert np.array_equal(rows, np.concatenate([extractor.transform([image]) for image in mixed]))


def test_color_is_reduced_to_the_gray_of_opencv() -> None:
    images = noise(40, 32, 40, 3)
    grays = np.stack([gray(image) for image in images])
    assert np.array_equal(HOG().fit_transform(images), HOG().fit_transform(grays))


def test_gray_images_are_the_same_in_both_color_modes() -> None:
    images = noise(3, 32, 32)
    assert np.array_equal(HOG().fit_transform(images), HOG(color="strongest").fit_transform(images))
    tripled = np.repeat(images[..., None], 3, axis=3)
    assert np.array_equal(HOG().fit_transform(images), HOG(color="strongest").fit_transform(tripled))


def test_several_cell_sizes_are_concatenated() -> None:
    image = noise(50, 60)
    joined = hog(image, pixels_per_cell=(5, 12, 8))
    assert np.array_equal(joined, np.concatenate([hog(image, pixels_per_cell=size) for size in (5, 12, 8)]))


@pytest.mark.parametrize("tile_pixels", [1, 600, 1000])
@pytest.mark.parametrize("interpolation", ["bilinear", "none"])
def test_strips_of_large_images_add_up(
    tile_pixels: int, interpolation: Interpolation, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = photo(61, 83)
    layout = Layout(61, 83, pixels_per_cell=(7, 16), color="strongest", interpolation=interpolation)
    whole = hog_function([image], layout)
    monkeypatch.setattr(_hog_workspace, "TILE_PIXELS", tile_pixels)
    in_strips = np.empty_like(whole)
    _hog_workspace.Workspace(layout, 1, 3).run(image[None], in_strips)
    np.testing.assert_allclose(in_strips, whole, rtol=1e-5, atol=1e-7)


def test_threads_do_not_share_buffers() -> None:
    extractor = HOG(pixels_per_cell=(8, 4)).fit(noise(1, 32, 32))
    batches = [noise(50, 32, 32, seed=seed) for seed in range(40)]
    expected = [extractor.transform(batch) for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        for rows, given_rows in zip(pool.map(extractor.transform, batches), expected, strict=True):
            assert np.array_equal(rows, given_rows)


def test_rows_stay_as_they_are_when_more_images_are_transformed() -> None:
    extractor = HOG().fit(noise(1, 32, 32))
    first = extractor.transform(noise(2, 32, 32, seed=1))
    kept = first.copy()
    extractor.transform(noise(2, 32, 32, seed=2))
    assert np.array_equal(first, kept)


def test_input_is_not_changed() -> None:
    images = noise(3, 32, 32, 3)
    before = images.copy()
    for color in ("gray", "strongest"):
        HOG(color=color).fit_transform(images)
    assert np.array_equal(images, before)


images_24 = arrays(np.uint8, (24, 32))


@settings(deadline=None, max_examples=40)
@given(image=images_24, interpolation=st.sampled_from(["bilinear", "none"]))
def test_blocks_are_unit_vectors_or_zero(image: Pixels, interpolation: str) -> None:
    blocks = hog(image, interpolation=interpolation).reshape(-1, 36)
    assert blocks.dtype == np.float32
    assert blocks.min() >= 0
    norms = np.linalg.norm(blocks, axis=1)
    assert np.all((norms == 0) | (np.abs(norms - 1) < 1e-4))


@settings(deadline=None, max_examples=40)
@given(image=arrays(np.uint8, (24, 32), elements=st.integers(0, 200)), offset=st.integers(0, 55))
def test_brightness_does_not_matter(image: Pixels, offset: int) -> None:
    assert np.array_equal(hog(image), hog(image + np.uint8(offset)))


@settings(deadline=None, max_examples=40)
@given(image=images_24)
def test_inverting_an_image_turns_signed_bins_by_half_a_circle(image: Pixels) -> None:
    inverted = np.uint8(255) - image
    np.testing.assert_allclose(hog(image), hog(inverted), atol=1e-5)
    bins = hog(image, orientations=8, signed=True).reshape(-1, 8)
    turned = hog(inverted, orientations=8, signed=True).reshape(-1, 8)
    np.testing.assert_allclose(np.roll(bins, 4, axis=1), turned, atol=1e-5)


@settings(deadline=None, max_examples=40)
@given(image=images_24, orientations=st.sampled_from([4, 9]))
def test_mirroring_an_image_mirrors_cells_and_bins(image: Pixels, orientations: int) -> None:
    layout = (2, 3, 2, 2, orientations)
    mirrored = hog(image[:, ::-1], orientations=orientations).reshape(layout)
    expected = hog(image, orientations=orientations).reshape(layout)[:, ::-1, :, ::-1, ::-1]
    np.testing.assert_allclose(mirrored, expected, atol=1e-5)


@settings(deadline=None, max_examples=40)
@given(image=images_24)
def test_transposing_an_image_transposes_cells_and_reflects_bins(image: Pixels) -> None:
    """The angle a becomes 90 - a degrees: of 8 unsigned bins, bin o becomes 3 - o."""
    turned = hog(np.ascontiguousarray(image.T), orientations=8).reshape(3, 2, 2, 2, 8)
    expected = hog(image, orientations=8).reshape(2, 3, 2, 2, 8).transpose(1, 0, 3, 2, 4)
    np.testing.assert_allclose(turned, expected[..., (3 - np.arange(8)) % 8], atol=1e-5)


def test_blank_images_are_zero() -> None:
    images = np.stack([np.full((32, 32), value, np.uint8) for value in (0, 127, 255)])
    assert not HOG(pixels_per_cell=(8, 16)).fit_transform(images).any()


def test_names_are_unique_and_say_where_a_feature_comes_from() -> None:
    image = np.zeros((32, 48), np.uint8)
    image[17:23, 36:] = 200
    extractor = HOG(pixels_per_cell=(8, 16), interpolation="none").fit([image])
    names = extractor.get_feature_names_out()
    assert len(set(names)) == len(names) == extractor.n_features_out_ == extractor.transform([image]).shape[1]
    assert names[0] == "hog8_y0_x0_cell0_o0"
    assert names[-1] == "hog16_y0_x1_cell3_o8"
    by_name = dict(zip(names, extractor.transform([image])[0], strict=True))
    # The rectangle's left side: horizontal gradients in cell (2, 4); its top and bottom: bin 4, 90 degrees.
    assert by_name["hog8_y1_x3_cell3_o0"] > 0
    assert by_name["hog8_y1_x4_cell2_o0"] > 0
    assert by_name["hog8_y1_x4_cell3_o0"] == 0
    assert by_name["hog8_y1_x4_cell3_o4"] > 0
    assert by_name["hog8_y0_x0_cell0_o0"] == 0
    assert by_name["hog16_y0_x1_cell3_o0"] > 0


def test_state_round_trip_and_clone() -> None:
    images = noise(4, 40, 32)
    fitted = HOG(pixels_per_cell=(8, 10), orientations=6).fit(images)
    again = HOG(**fitted.get_params()).load_state(fitted.state())
    assert again.image_shape_ == (40, 32)
    assert again.n_features_out_ == fitted.n_features_out_
    assert np.array_equal(again.transform(images), fitted.transform(images))
    assert np.array_equal(pickle.loads(pickle.dumps(fitted)).transform(images), fitted.transform(images))
    assert clone(fitted).get_params() == fitted.get_params()
    assert not hasattr(clone(fitted), "image_shape_")


def test_works_in_a_pipeline_and_a_grid_search() -> None:
    """One cell for the whole digit tells far less than a grid of them."""
    digits, labels = load_digits(return_X_y=True)
    images = (digits[:600].reshape(-1, 8, 8) * 15.9).astype(np.uint8)
    pipeline = make_pipeline(HOG(cells_per_block=1), LinearSVC())
    search = GridSearchCV(pipeline, {"hog__pixels_per_cell": [8, (2, 4)]}, cv=3)
    search.fit(images, labels[:600])
    assert search.best_params_ == {"hog__pixels_per_cell": (2, 4)}
    whole, grid = search.cv_results_["mean_test_score"]
    assert grid > 0.85 > whole


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"orientations": 0}, r"HOG\(orientations=0\): expected `int` >= 1"),
        ({"pixels_per_cell": 0}, r"HOG\(pixels_per_cell=0\): expected `int` >= 1"),
        ({"pixels_per_cell": ()}, r"HOG\(pixels_per_cell=\(\)\): expected `array` of length >= 1"),
        ({"pixels_per_cell": (8, 8)}, r"HOG\(pixels_per_cell=\(8, 8\)\): a cell size is given twice"),
        ({"cells_per_block": 2.5}, r"HOG\(cells_per_block=2.5\): expected `int`"),
        ({"color": "red"}, r"HOG\(color='red'\): invalid enum value 'red'"),
        ({"interpolation": "cubic"}, r"HOG\(interpolation='cubic'\): invalid enum value 'cubic'"),
    ],
)
def test_bad_parameters(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        HOG(**parameters).fit(noise(1, 32, 32))


def test_images_of_another_size() -> None:
    extractor = HOG().fit(noise(2, 32, 48))
    for images in (noise(2, 48, 32), noise(2, 48, 32, 3)):
        with pytest.raises(
            ValueError, match=r"one size, 32x48 pixels .* but image 0 is 48x32: put a resize step"
        ):
            extractor.transform(images)
    mixed = [noise(32, 48), noise(32, 32)]
    for call in (extractor.transform, HOG().fit):
        with pytest.raises(ValueError, match=r"one size, 32x48 .* but image 1 is 32x32: put a resize step"):
            call(mixed)


def test_images_smaller_than_a_block() -> None:
    HOG().fit(noise(1, 16, 16))
    with pytest.raises(
        ValueError, match=r"images of 15x40 pixels .* smaller than a HOG block of 16x16: use larger images"
    ):
        HOG().fit(noise(1, 15, 40))
    with pytest.raises(ValueError, match=r"images of 40x31 pixels .* smaller than a HOG block of 32x32"):
        HOG(pixels_per_cell=(8, 16)).fit(noise(1, 40, 31))


def test_the_smallest_images() -> None:
    one = HOG(pixels_per_cell=1, cells_per_block=1)
    assert one.fit_transform(noise(3, 1, 1)).tolist() == [[0.0] * 9] * 3
    assert one.fit_transform(noise(3, 1, 1, 3)).tolist() == [[0.0] * 9] * 3
    row = np.array([[0, 9, 9]], np.uint8)
    # The middle pixel's gradient is (9, 0): shared by the first bin, around 10 degrees, and the last.
    expected = np.zeros((3, 9))
    expected[1, [0, 8]] = math.sqrt(0.5)
    np.testing.assert_allclose(one.fit_transform([row])[0].reshape(3, 9), expected, atol=1e-6)


def test_not_fitted() -> None:
    with pytest.raises(NotFittedError, match="this HOG is not fitted yet: call fit first"):
        HOG().transform(noise(1, 32, 32))
    with pytest.raises(NotFittedError, match="call fit first"):
        HOG().get_feature_names_out()
