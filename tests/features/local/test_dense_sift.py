from __future__ import annotations

import threading
from itertools import product
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
import scipy.ndimage
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from classic_cv.features.local.dense_sift import Channels, DenseSIFT, channel_planes, grid_centers

Image = NDArray[np.uint8]

PHOTOS = ("astronaut", "camera", "coffee", "chelsea", "coins")
CHANNELS: tuple[Channels, ...] = ("gray", "rgb", "opponent")


def photo(name: str, height: int, width: int, color: bool = False) -> Image:
    pixels: Any = getattr(skimage.data, name)()
    pixels = pixels[40 : 40 + height, 60 : 60 + width]
    if pixels.ndim == 3 and not color:
        pixels = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)
    return np.ascontiguousarray(pixels, np.uint8)


def cosines(rows: NDArray[Any], others: NDArray[Any]) -> NDArray[Any]:
    rows, others = rows.astype(np.float64), others.astype(np.float64)
    norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(others, axis=1)
    return np.asarray((rows * others).sum(axis=1) / norms)


def opencv_cosines(name: str, size: float, **parameters: Any) -> NDArray[Any]:
    """Of plain descriptors in the image's interior with OpenCV's at the same keypoints, upright."""
    # An odd side puts all centers on pixels' centers, where OpenCV rounds keypoints to.
    image = photo(name, 161, 161)
    found = DenseSIFT(bins=(size,), root=False).describe(image)
    center = image.shape[0] / 2
    # The Gaussian window and its bins reach no further than 2.5 bins.
    interior = np.abs(found.positions - center).max(axis=1) < center - 2.5 * size - 1
    interior &= found.descriptors.any(axis=1)
    # OpenCV's bins are 1.5 sizes wide; octave and layer 0 are the image blurred to SIFT's sigma.
    keypoints = [
        cv2.KeyPoint(float(x) - 0.5, float(y) - 0.5, size / 1.5, 0) for x, y in found.positions[interior]
    ]
    for keypoint in keypoints:
        keypoint.octave = 0
    kept, expected = cv2.SIFT.create(**parameters).compute(image, keypoints)
    assert len(kept) == len(keypoints) > 60
    return cosines(found.descriptors[interior], np.asarray(expected))


@pytest.mark.parametrize("size", [6, 8, 10, 12])
def test_descriptors_are_close_to_opencvs(size: int) -> None:
    assert np.mean([opencv_cosines(name, size).mean() for name in PHOTOS]) > 0.97
    # With the same blur, what is left is the flat window and OpenCV's rounding to 8 bits.
    for name in PHOTOS:
        found = opencv_cosines(name, size, sigma=size / 6)
        assert found.mean() > 0.996
        assert found.min() > 0.94


@pytest.mark.parametrize("size", [8, 10, 12, 16])
def test_descriptors_of_the_halved_image_are_close(size: int) -> None:
    for name in PHOTOS:
        image = photo(name, 160, 192, color=True)
        for channels in CHANNELS:
            full = DenseSIFT(bins=(size,), step=4, root=False, channels=channels)
            found = msgspec.structs.replace(full, halve=True).describe(image)
            expected = full.describe(image)
            np.testing.assert_array_equal(found.positions, expected.positions)
            np.testing.assert_array_equal(found.sides, expected.sides)
            # Channel by channel: the contrast of a few is on the other side of what counts as any.
            rows, others = found.descriptors.reshape(-1, 128), expected.descriptors.reshape(-1, 128)
            both = rows.any(axis=1) & others.any(axis=1)
            assert both.mean() > 0.95 * others.any(axis=1).mean()
            assert cosines(rows[both], others[both]).mean() > 0.98
            assert not np.array_equal(rows, others)


@pytest.mark.parametrize(
    ("height", "width", "size", "step"),
    [(64, 64, 6, 4), (64, 64, 9, 4), (64, 64, 8, 3), (63, 64, 8, 4), (64, 63, 8, 4)],
)
def test_what_is_not_even_or_small_is_not_halved(height: int, width: int, size: int, step: int) -> None:
    image = photo("coffee", height, width)
    found, expected = (DenseSIFT((size,), step, halve=halve).describe(image) for halve in (True, False))
    np.testing.assert_array_equal(found.descriptors, expected.descriptors)


def test_contrast_means_the_same_in_the_halved_image() -> None:
    ramp = np.tile(np.arange(0, 192, 2, dtype=np.uint8), (96, 1))  # 2 gray levels per pixel
    for contrast, there in ((1.8, True), (2.2, False)):
        for halve in (False, True):
            found = DenseSIFT((8,), 8, contrast=contrast, halve=halve).describe(ramp)
            inside = np.abs(found.positions - 48).max(axis=1) < 20
            assert found.descriptors[inside].any(axis=1).tolist() == [there] * inside.sum()


def loop_descriptors(image: Image, size: float, step: int, root: bool) -> NDArray[np.float64]:
    """Pixel by pixel from the definition."""
    sigma = max((size / 6) ** 2 - 0.25, 0) ** 0.5
    blurred = image.astype(np.float64)
    if sigma > 0:
        blurred = scipy.ndimage.gaussian_filter(blurred, sigma, radius=int(np.ceil(3 * sigma)), mode="mirror")
    height, width = image.shape
    dx, dy = np.zeros((2, height, width))
    dx[:, 1:-1] = blurred[:, 2:] - blurred[:, :-2]
    dy[1:-1] = blurred[:-2] - blurred[2:]
    magnitude, turn = np.hypot(dx, dy), np.arctan2(dy, dx) / (np.pi / 4) % 8
    rows = []
    for y, x in product(grid_centers(height, size, step), grid_centers(width, size, step)):
        histogram = np.zeros((4, 4, 8))
        for i, j in np.ndindex(4, 4):
            center_y, center_x = y + (i - 1.5) * size, x + (j - 1.5) * size
            window = np.exp(-((i - 1.5) ** 2 + (j - 1.5) ** 2) / 8)
            for p, q in np.ndindex(height, width):
                along_y, along_x = abs(p + 0.5 - center_y) / size, abs(q + 0.5 - center_x) / size
                weight = window * max(0, 1 - along_y) * max(0, 1 - along_x) * magnitude[p, q]
                if weight > 0:
                    low = int(turn[p, q])
                    histogram[i, j, low % 8] += weight * (low + 1 - turn[p, q])
                    histogram[i, j, (low + 1) % 8] += weight * (turn[p, q] - low)
        if root:
            rows.append(np.sqrt(histogram / histogram.sum()).ravel())
        else:
            clipped = np.minimum(histogram / np.linalg.norm(histogram), 0.2).ravel()
            rows.append(clipped / np.linalg.norm(clipped))
    return np.array(rows)


@pytest.mark.parametrize("root", [True, False])
@pytest.mark.parametrize(
    ("height", "width", "size", "step"),
    [(18, 21, 4, 4), (25, 22, 6, 4), (17, 20, 3.5, 3), (20, 17, 4, 8), (18, 19, 5, 2)],
)
def test_values_are_those_of_the_definition(
    height: int, width: int, size: float, step: int, root: bool
) -> None:
    image = photo("coffee", height, width)
    found = DenseSIFT(bins=(size,), step=step, root=root, contrast=0).describe(image).descriptors
    expected = loop_descriptors(image, size, step, root)
    assert found.shape == expected.shape
    # Directions and magnitudes are rounded to steps of 1.5 degrees and of a few percent.
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.03)
    assert cosines(found, expected).min() > 0.999


def test_positions_and_sides_follow_the_grid() -> None:
    found = DenseSIFT(bins=(4, 8), step=5).describe(photo("coffee", 40, 60))
    # Bins' centers are between the first and the last pixel's center: 6 pixels from them at bins of 4.
    x, y = np.array([7.5 + 5 * i for i in range(10)]), np.array([7.5 + 5 * i for i in range(6)])
    np.testing.assert_array_equal(found.positions[:60, 0], np.tile(x, 6))
    np.testing.assert_array_equal(found.positions[:60, 1], np.repeat(y, 10))
    x, y = np.array([12.5 + 5 * i for i in range(8)]), np.array([12.5 + 5 * i for i in range(4)])
    np.testing.assert_array_equal(found.positions[60:, 0], np.tile(x, 4))
    np.testing.assert_array_equal(found.positions[60:, 1], np.repeat(y, 8))
    assert found.sides.tolist() == [16] * 60 + [32] * 32
    assert found.descriptors.shape == (92, 128)
    for array in found:
        assert array.dtype == np.float32
        assert array.flags.c_contiguous


@given(length=st.integers(1, 200), size=st.floats(1, 20), step=st.integers(1, 20))
@settings(deadline=None, derandomize=True, max_examples=100)
def test_the_grid_is_centered_and_full(length: int, size: float, step: int) -> None:
    centers = grid_centers(length, size, step)
    room = length - 1 - 3 * size
    assert len(centers) == (0 if room < 0 else int(room // step) + 1)
    if len(centers):
        np.testing.assert_allclose(centers, length - centers[::-1], rtol=0, atol=1e-9)
        assert centers[0] - 1.5 * size >= 0.5 - 1e-9
        assert centers[0] - 1.5 * size < 0.5 + step / 2 + 1e-9


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("root", [True, False])
def test_a_mirrored_image_has_mirrored_descriptors(channels: Channels, root: bool) -> None:
    image = photo("astronaut", 63, 82, color=True)
    descriptor = DenseSIFT(bins=(4, 6, 7.5), channels=channels, root=root)
    orientation = np.arange(8)
    for axis, turned in ((1, (4 - orientation) % 8), (0, -orientation % 8)):
        found, mirrored = descriptor.describe(image), descriptor.describe(np.flip(image, axis))
        places = mirrored.positions.copy()
        places[:, 1 - axis] = image.shape[axis] - places[:, 1 - axis]
        order = np.lexsort((places[:, 0], places[:, 1], mirrored.sides))
        np.testing.assert_array_equal(places[order], found.positions)
        cells = mirrored.descriptors[order].reshape(len(order), -1, 4, 4, 8)[..., turned]
        expected = np.flip(cells, 3 - (1 - axis)).reshape(found.descriptors.shape)
        # A gradient halfway between two steps of direction may be rounded either way.
        np.testing.assert_allclose(found.descriptors, expected, rtol=0, atol=5e-3)
        assert np.abs(found.descriptors - expected).mean() < 1e-5


def test_norms_are_one() -> None:
    image = photo("chelsea", 60, 70, color=True)
    for channels, root in product(CHANNELS, (True, False)):
        found = DenseSIFT(channels=channels, root=root, contrast=0).describe(image).descriptors
        assert found.min() >= 0
        parts = found.reshape(len(found), -1, 128)
        np.testing.assert_allclose(np.linalg.norm(parts, axis=2), 1, rtol=1e-5)


@pytest.mark.parametrize("root", [True, False])
def test_brightness_does_not_matter_and_contrast_hardly(root: bool) -> None:
    dark = photo("coffee", 70, 60) // 4
    descriptor = DenseSIFT(root=root, contrast=0)
    found = descriptor.describe(dark).descriptors
    brighter = descriptor.describe(dark + np.uint8(90)).descriptors
    np.testing.assert_allclose(brighter, found, rtol=0, atol=0.01)
    assert np.abs(brighter - found).mean() < 1e-4
    stronger = descriptor.describe(dark * np.uint8(4)).descriptors
    assert cosines(found, stronger).min() > 0.999


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("root", [True, False])
@pytest.mark.parametrize("contrast", [0, 0.5])
def test_blank_images_give_zeros(channels: Channels, root: bool, contrast: float) -> None:
    for value in (0, 77, 255):
        image = np.full((40, 50, 3), value, np.uint8)
        found = DenseSIFT(channels=channels, root=root, contrast=contrast).describe(image)
        assert found.descriptors.shape[1] == DenseSIFT(channels=channels).n_values(color=True)
        assert len(found.descriptors) > 0
        assert not found.descriptors.any()


@pytest.mark.parametrize("root", [True, False])
def test_contrast_is_the_mean_gradient_in_gray_levels_per_pixel(root: bool) -> None:
    ramp = np.tile(np.arange(0, 120, 2, dtype=np.uint8), (60, 1))
    inside = [(0.99, True), (1.9, True), (2.1, False)]
    for contrast, expected in inside:
        found = DenseSIFT(bins=(4,), root=root, contrast=contrast).describe(ramp)
        # Near the border pixels are missing.
        interior = (np.abs(found.positions - 30) < 20).all(axis=1)
        assert (found.descriptors[interior].any(axis=1) == expected).all()


def test_channels_are_judged_by_themselves() -> None:
    gray = np.dstack([photo("coffee", 60, 60)] * 3)
    found = DenseSIFT(channels="opponent").describe(gray).descriptors
    assert found[:, :128].any()
    assert not found[:, 128:].any()
    expected = DenseSIFT(channels="gray").describe(gray).descriptors
    np.testing.assert_allclose(found[:, :128], expected, rtol=0, atol=0.01)


def test_planes_are_the_channels() -> None:
    image = photo("astronaut", 20, 30, color=True)
    red, green, blue = (image[:, :, i].astype(np.float64) for i in range(3))
    for plane, expected in zip(channel_planes(image, "rgb"), (red, green, blue), strict=True):
        np.testing.assert_array_equal(plane, expected)
    opponent = (red + green + blue) / 3, (red - green) / 2**0.5, (red + green - 2 * blue) / 6**0.5
    for plane, expected in zip(channel_planes(image, "opponent"), opponent, strict=True):
        np.testing.assert_allclose(plane, expected, rtol=0, atol=1e-3)
    assert len(channel_planes(image, "gray")) == 1


def test_color_channels_follow_each_other() -> None:
    image = photo("astronaut", 50, 44, color=True)
    found = DenseSIFT(channels="rgb").describe(image).descriptors
    for channel in range(3):
        expected = DenseSIFT().describe(image[:, :, channel]).descriptors
        np.testing.assert_array_equal(found[:, 128 * channel : 128 * (channel + 1)], expected)


@pytest.mark.parametrize("channels", CHANNELS)
def test_gray_images_have_one_channel(channels: Channels) -> None:
    descriptor = DenseSIFT(channels=channels)
    image = photo("camera", 30, 40)
    found = descriptor.describe(image)
    assert descriptor.n_values(color=False) == found.descriptors.shape[1] == 128
    np.testing.assert_array_equal(found.descriptors, DenseSIFT().describe(image).descriptors)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (12, 60), (12, 12, 3)])
def test_an_image_too_small_has_no_rows(shape: tuple[int, ...]) -> None:
    descriptor = DenseSIFT(channels="opponent")
    found = descriptor.describe(np.zeros(shape, np.uint8))
    assert found.descriptors.shape == (0, descriptor.n_values(len(shape) == 3))
    assert found.positions.shape == (0, 2)
    assert found.sides.shape == (0,)


def test_a_scale_too_large_for_the_image_has_no_rows() -> None:
    # Bins of 4 pixels need 13 pixels, bins of 6 need 19.
    image = photo("coffee", 14, 40)
    found = DenseSIFT(bins=(6, 4, 10)).describe(image)
    expected = DenseSIFT(bins=(4,)).describe(image)
    assert len(expected.descriptors) == 7
    np.testing.assert_array_equal(found.descriptors, expected.descriptors)
    assert DenseSIFT(bins=(4,)).describe(image[:13, :13]).descriptors.shape == (1, 128)


@pytest.mark.parametrize("bins", [(1.0,), (1.5, 2.0), (4.5,), (3.3,)])
@pytest.mark.parametrize("step", [1, 3, 20])
def test_any_bins_and_steps_can_be_used(bins: tuple[float, ...], step: int) -> None:
    image = photo("coffee", 31, 47)
    found = DenseSIFT(bins=bins, step=step, contrast=0).describe(image)
    counts = [len(grid_centers(31, size, step)) * len(grid_centers(47, size, step)) for size in bins]
    assert len(found.descriptors) == sum(counts) > 0
    np.testing.assert_allclose(np.linalg.norm(found.descriptors, axis=1), 1, rtol=1e-5)


def test_a_wide_image_is_the_same_as_its_parts() -> None:
    # Strips of wide images are low; the same descriptors lie in other strips of a narrow one.
    image = photo("coffee", 200, 500)
    wide = np.ascontiguousarray(np.tile(image, (1, 5)))
    descriptor = DenseSIFT(bins=(6, 5.5), step=4)
    found, part = descriptor.describe(wide), descriptor.describe(image)
    places = {
        (*place, side): i
        for i, (place, side) in enumerate(zip(found.positions.tolist(), found.sides.tolist(), strict=True))
    }
    interior = np.abs(part.positions[:, 0] - 250) < 220
    same = [
        places[x, y, side]
        for (x, y), side in zip(part.positions[interior].tolist(), part.sides[interior].tolist(), strict=True)
    ]
    np.testing.assert_allclose(found.descriptors[same], part.descriptors[interior], rtol=0, atol=1e-5)


def test_a_result_does_not_depend_on_what_came_before() -> None:
    images = [photo("coffee", *shape) for shape in ((30, 40), (90, 31), (64, 64), (200, 150))]
    descriptor = DenseSIFT(bins=(4, 6))
    first = [descriptor.describe(image).descriptors for image in images]
    for image, expected in reversed(list(zip(images, first, strict=True))):
        np.testing.assert_array_equal(descriptor.describe(image).descriptors, expected)


def test_threads_do_not_disturb_each_other() -> None:
    images = [photo(name, 60 + 5 * i, 70) for i, name in enumerate(PHOTOS)]
    descriptor = DenseSIFT()
    expected = [descriptor.describe(image).descriptors for image in images]
    differences: list[int] = []

    def work(index: int) -> None:
        for _ in range(10):
            found = descriptor.describe(images[index]).descriptors
            differences.append(int((found != expected[index]).sum()))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(images))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert differences == [0] * 10 * len(images)


def test_recipes_are_checked() -> None:
    table: dict[str, Any] = {"type": "dense-sift", "bins": [4, 6], "channels": "opponent"}
    assert msgspec.convert(table, DenseSIFT) == DenseSIFT(bins=(4.0, 6.0), channels="opponent")
    wrong: list[dict[str, Any]] = [
        {"bins": []},
        {"bins": [0]},
        {"step": 0},
        {"channels": "hsv"},
        {"contrast": -1},
        {"sizes": [4]},
    ]
    for change in wrong:
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(table | change, DenseSIFT)
