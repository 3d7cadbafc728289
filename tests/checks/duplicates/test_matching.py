"""Hashes, details and descriptors of real photos: near for copies, far for different photos."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

from classic_cv.checks.appearance import gray_of, thumbnail
from classic_cv.checks.duplicates.alignment import compared, likeness
from classic_cv.checks.duplicates.calibration import TRANSFORMS
from classic_cv.checks.duplicates.hashes import BITS, PLAIN, VIEWS, WORDS, View, perceptual_hashes
from classic_cv.checks.duplicates.matching import Details

Photos = list[NDArray[np.uint8]]


@pytest.fixture(scope="module")
def photos() -> Photos:
    """Crops of scikit-image's photos that show different things."""
    names = ("astronaut", "coffee", "chelsea", "rocket")
    sources = [np.asarray(getattr(data, name)(), np.uint8) for name in names]
    return [
        np.ascontiguousarray(photo[top : top + 160, left : left + 200])
        for photo in sources
        for top, left in ((0, 0), (120, 180))
    ]


def small(photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return thumbnail(gray_of(photo))


def unexplained(
    details: Details, image: NDArray[np.uint8], other: NDArray[np.uint8], view: View = PLAIN
) -> float:
    one = np.zeros((1, 1), np.int64)
    return float(details.unexplained(image[None], other[None], one, one + VIEWS.index(view))[0, 0])


def test_hashes_keep_most_bits_through_every_transform(photos: Photos) -> None:
    for photo in photos:
        for name, one in TRANSFORMS.items():
            copy = perceptual_hashes(small(one.make(photo))[None])
            seen = perceptual_hashes(small(photo)[None], one.view)
            limit = BITS // 3 if "two sides" in name else BITS // 8
            assert np.bitwise_count(copy ^ seen).sum() <= limit, name


def test_hashes_of_different_photos_differ_in_about_half_of_the_bits(photos: Photos) -> None:
    hashes = perceptual_hashes(np.stack([small(photo) for photo in photos]))
    apart = np.bitwise_count(hashes[:, None] ^ hashes[None]).sum(axis=2)[np.triu_indices(len(photos), 1)]
    assert apart.min() > BITS * 0.3
    assert BITS * 0.4 < apart.mean() < BITS * 0.6


def test_a_mirrored_view_is_the_mirrored_image(photos: Photos) -> None:
    thumbnails = np.stack([small(photo) for photo in photos])
    mirrored = perceptual_hashes(np.ascontiguousarray(thumbnails[:, :, ::-1]))
    assert (np.bitwise_count(perceptual_hashes(thumbnails, View(0.0, True)) ^ mirrored) <= 1).all()
    assert mirrored.shape == (len(photos), WORDS)


def test_copies_are_explained_and_others_are_not(photos: Photos) -> None:
    thumbnails = np.stack([small(photo) for photo in photos])
    details = Details().fit(thumbnails)
    for place, photo in enumerate(photos):
        for name, one in TRANSFORMS.items():
            if "two sides" not in name:
                assert unexplained(details, small(one.make(photo)), thumbnails[place], one.view) < 0.1, name
        assert unexplained(details, thumbnails[place], thumbnails[place - 1]) > 0.5


def test_more_contrast_than_copies_have_is_no_copy(photos: Photos) -> None:
    thumbnails = np.stack([small(photo) for photo in photos])
    details = Details().fit(thumbnails)
    dimmer = (thumbnails[0] * 0.8).astype(np.uint8)
    flat = (thumbnails[0] * 0.4).astype(np.uint8)
    assert unexplained(details, thumbnails[0], dimmer) < 0.02
    assert unexplained(details, thumbnails[0], flat) == 1


def test_blank_images_show_nothing_to_go_by(photos: Photos) -> None:
    details = Details().fit(np.stack([small(photo) for photo in photos]))
    blank = np.full((32, 32), 128, np.uint8)
    assert unexplained(details, blank, blank) == 1
    assert unexplained(Details().fit(np.stack([blank, blank])), blank, blank) == 1


def test_no_candidate_is_unexplained(photos: Photos) -> None:
    thumbnails = np.stack([small(photo) for photo in photos])
    none = np.full((len(photos), 3), -1)
    assert (Details().fit(thumbnails).unexplained(thumbnails, thumbnails, none, none * 0) == 1).all()


def test_likeness_tells_copies_from_other_photos(photos: Photos) -> None:
    for place, photo in enumerate(photos):
        for name, one in TRANSFORMS.items():
            assert likeness(compared(one.make(photo)), compared(photo), one.view) > 0.9, name
        assert likeness(compared(photo), compared(photos[place - 1]), PLAIN) < 0.8


def test_likeness_of_blank_images_is_zero() -> None:
    blank = np.full((80, 80, 3), 90, np.uint8)
    assert likeness(compared(blank), compared(blank), PLAIN) == 0


def test_a_small_turn_is_aligned(photos: Photos) -> None:
    height, width = photos[0].shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 2, 1.04)
    turned = np.asarray(
        cv2.warpAffine(photos[0], turn, (width, height), borderMode=cv2.BORDER_REFLECT), np.uint8
    )
    assert likeness(compared(turned), compared(photos[0]), PLAIN) > 0.9
