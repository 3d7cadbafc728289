"""What every local descriptor promises: one suite over all of them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from multiprocessing.pool import ThreadPool
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray

from classic_cv.features.local import (
    AnyDescriptor,
    DenseLBP,
    DenseSIFT,
    KeypointSIFT,
    LocalColor,
    LocalDescriptor,
    LocalFeatures,
    Patches,
)

Pixels = NDArray[np.uint8]

DESCRIPTORS: list[LocalDescriptor] = [
    DenseSIFT(),
    DenseSIFT((3.0, 5.5), 3, "opponent", root=False),
    DenseSIFT((4.0,), 2, "rgb"),
    KeypointSIFT(),
    KeypointSIFT(20, 0.01, 20.0, upright=True, root=False),
    LocalColor(),
    LocalColor((2.0, 5.5), 3, "lab"),
    LocalColor((4.0, 3.0), 6, "opponent"),
    DenseLBP(),
    DenseLBP((9, 10), 3, "nri_uniform", root=False),
    Patches(),
    Patches(5, 4),
]
DENSE = [descriptor for descriptor in DESCRIPTORS if not isinstance(descriptor, KeypointSIFT)]


@functools.cache
def whole_photo(kind: str) -> Pixels:
    load: Any = skimage.data.astronaut
    photo: Any = load()[::2, ::2]
    return np.asarray(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY) if kind == "gray" else photo, np.uint8)


def photo(kind: str, height: int = 56, width: int = 75, top: int = 40, left: int = 80) -> Pixels:
    """A part of a photo, RGB or gray: (height, width[, 3])."""
    return whole_photo(kind)[top : top + height, left : left + width].copy()


def assert_equal(found: LocalFeatures, expected: LocalFeatures) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def assert_well_formed(descriptor: LocalDescriptor, image: Pixels) -> LocalFeatures:
    """Check dtypes, shapes and places of the features of an image, and return them."""
    features = descriptor.describe(image)
    descriptors, positions, sides = features
    for array in features:
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
        assert np.isfinite(array).all()
    n = len(descriptors)
    assert descriptors.shape == (n, descriptor.n_values(image.ndim == 3))
    assert positions.shape == (n, 2)
    assert sides.shape == (n,)
    assert (sides > 0).all()
    assert (positions >= 0).all()
    assert (positions <= (image.shape[1], image.shape[0])).all()
    return features


@pytest.fixture(params=["rgb", "gray"])
def image(request: pytest.FixtureRequest) -> Pixels:
    return photo(request.param)


@pytest.fixture(params=DESCRIPTORS, ids=repr)
def descriptor(request: pytest.FixtureRequest) -> LocalDescriptor:
    found: LocalDescriptor = request.param
    return found


@pytest.fixture(params=DENSE, ids=repr)
def dense(request: pytest.FixtureRequest) -> LocalDescriptor:
    found: LocalDescriptor = request.param
    return found


def test_features_are_finite_float32_and_inside_the_image(descriptor: LocalDescriptor, image: Pixels) -> None:
    descriptors, positions, sides = assert_well_formed(descriptor, image)
    assert len(descriptors) >= 5
    # Different places have different descriptors and no place comes twice.
    assert len(np.unique(descriptors, axis=0)) > len(descriptors) / 2
    if not isinstance(descriptor, KeypointSIFT):
        assert len(np.unique(np.column_stack([positions, sides]), axis=0)) == len(sides)


def test_dense_grids_are_centered(dense: LocalDescriptor, image: Pixels) -> None:
    _, positions, sides = dense.describe(image)
    for side in np.unique(sides):
        middle = positions[sides == side].min(axis=0) + positions[sides == side].max(axis=0)
        assert np.abs(middle / 2 - (image.shape[1] / 2, image.shape[0] / 2)).max() <= 0.5


def test_every_call_and_every_equal_descriptor_agree(descriptor: LocalDescriptor, image: Pixels) -> None:
    first = descriptor.describe(image)
    before = [array.copy() for array in first]
    # Another image in between, and of another size: nothing of it remains, and nothing given is overwritten.
    descriptor.describe(image[::-1, ::-1])
    descriptor.describe(photo("rgb", 61, 40))
    assert_equal(first, LocalFeatures(*before))
    assert_equal(descriptor.describe(image), first)
    assert_equal(msgspec.structs.replace(descriptor).describe(image), first)


def test_threads_agree(descriptor: LocalDescriptor) -> None:
    images = [photo(kind, 40 + 8 * (i % 2), 64, 20 * i) for i in range(4) for kind in ("rgb", "gray")]
    expected = [descriptor.describe(image) for image in images]
    with ThreadPool(4) as pool:
        for index, found in enumerate(pool.map(descriptor.describe, images * 2, chunksize=1)):
            assert_equal(found, expected[index % len(images)])


def test_input_is_not_modified(descriptor: LocalDescriptor, image: Pixels) -> None:
    before = image.copy()
    image.flags.writeable = False
    descriptor.describe(image)
    np.testing.assert_array_equal(image, before)


VIEWS: dict[str, Callable[[Pixels], Pixels]] = {
    "flipped rows": lambda image: image[::-1],
    "flipped columns": lambda image: image[:, ::-1],
    "every other row": lambda image: image[::2],
    "crop": lambda image: image[3:50, 5:60],
    "transposed": lambda image: image.swapaxes(0, 1),
    "reversed channels": lambda image: image[..., ::-1],
    "Fortran order": lambda image: np.asfortranarray(image),
}


@pytest.mark.parametrize("view", VIEWS)
def test_views_equal_their_copies(descriptor: LocalDescriptor, image: Pixels, view: str) -> None:
    seen = VIEWS[view](image)
    assert_equal(descriptor.describe(seen), descriptor.describe(np.ascontiguousarray(seen)))


@pytest.mark.parametrize(
    "shape", [(1, 1), (3, 3), (1, 5), (5, 1), (1, 1, 3), (3, 3, 3), (1, 5, 3), (2, 90), (90, 2, 3)]
)
def test_tiny_images_have_few_descriptors_or_none(
    descriptor: LocalDescriptor, shape: tuple[int, ...]
) -> None:
    assert_well_formed(descriptor, np.arange(np.prod(shape), dtype=np.uint8).reshape(shape))


def test_images_just_too_small_have_no_descriptors(dense: LocalDescriptor) -> None:
    # What a single column more or less decides.
    counts = [len(assert_well_formed(dense, photo("gray", 48, width)).sides) for width in range(1, 20)]
    assert counts[0] == 0
    assert counts[-1] > 0
    assert counts == sorted(counts)


@pytest.mark.parametrize("value", [0, 77, 255])
def test_blank_images_are_all_the_same(descriptor: LocalDescriptor, image: Pixels, value: int) -> None:
    descriptors, _, _ = assert_well_formed(descriptor, np.full_like(image, value))
    if isinstance(descriptor, KeypointSIFT):
        assert len(descriptors) == 0
    elif not isinstance(descriptor, DenseLBP):
        # Binary patterns see the image's border: outside is 0.
        np.testing.assert_array_equal(descriptors, np.repeat(descriptors[:1], len(descriptors), axis=0))


def test_plain_data_round_trip(descriptor: LocalDescriptor) -> None:
    plain = msgspec.to_builtins(descriptor)
    assert isinstance(plain["type"], str)
    assert msgspec.convert(plain, AnyDescriptor) == descriptor
    assert msgspec.json.decode(msgspec.json.encode(descriptor), type=AnyDescriptor) == descriptor


def test_descriptors_are_frozen_and_hashable(descriptor: LocalDescriptor) -> None:
    assert hash(descriptor) == hash(msgspec.structs.replace(descriptor))
    with pytest.raises(AttributeError, match="immutable type"):
        descriptor.step = 3  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("plain", "reason"),
    [
        ({"type": "sift"}, "Invalid value 'sift' - at `$.type`"),
        ({"bins": [4]}, "Object missing required field `type`"),
        ({"type": "dense-sift", "bins": []}, "Expected `array` of length >= 1 - at `$.bins`"),
        ({"type": "dense-sift", "step": 0}, "Expected `int` >= 1 - at `$.step`"),
        ({"type": "dense-sift", "channels": "hsv"}, "Invalid enum value 'hsv' - at `$.channels`"),
        ({"type": "keypoint-sift", "n_keypoints": -1}, "Expected `int` >= 0 - at `$.n_keypoints`"),
        (
            {"type": "keypoint-sift", "contrast_threshold": 2},
            "Expected `float` <= 1.0 - at `$.contrast_threshold`",
        ),
        ({"type": "keypoint-sift", "edge_threshold": 0}, "Expected `float` >= 1.0 - at `$.edge_threshold`"),
        ({"type": "keypoint-sift", "upright": "no"}, "Expected `bool`, got `str` - at `$.upright`"),
        ({"type": "local-color", "bins": []}, "Expected `array` of length >= 1 - at `$.bins`"),
        ({"type": "local-color", "bins": [4, 0.5]}, "Expected `float` >= 1.0 - at `$.bins[1]`"),
        ({"type": "local-color", "step": 0}, "Expected `int` >= 1 - at `$.step`"),
        ({"type": "local-color", "space": "hsv"}, "Invalid enum value 'hsv' - at `$.space`"),
        ({"type": "local-color", "root": True}, "Object contains unknown field `root`"),
        ({"type": "dense-lbp", "window": 16}, "Expected `array`, got `int` - at `$.window`"),
        ({"type": "dense-lbp", "window": [1]}, "Expected `int` >= 2 - at `$.window[0]`"),
        ({"type": "dense-lbp", "method": "ror"}, "Invalid enum value 'ror' - at `$.method`"),
        ({"type": "patches", "size": 1}, "Expected `int` >= 2 - at `$.size`"),
        ({"type": "patches", "step": 2.5}, "Expected `int`, got `float` - at `$.step`"),
    ],
)
def test_bad_values_are_refused_by_name(plain: dict[str, Any], reason: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(plain, AnyDescriptor)
    assert str(caught.value) == reason
