"""Perceptual hashes: the signs of an image's low frequencies, of the whole image and of views of it.

The discrete cosine transform of a small gray picture says how bright and dark are spread over it. Copies that were
resized, compressed again, brightened or darkened keep nearly all of its signs (the idea of Zauner 2010, chapter 3,
with more coefficients). Cropped and mirrored copies do not: an image is therefore also hashed as it would look
cropped and mirrored, and a copy is near one of these views.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.survey import THUMBNAIL

Array = NDArray[np.float32]

BITS = 128
"""Signs of a hash: 64 leave too many look-alikes at the same distance among 70,000 small gray images."""

WORDS = BITS // 64

BATCH = 4096
"""Thumbnails transformed at a time: 16 MB of them."""


class View(NamedTuple):
    """What is looked at of an image.

    Attributes:
        margin: the share of its width and height that is cut off at each side.
        mirrored: whether left and right are exchanged.
    """

    margin: float
    mirrored: bool


MARGINS = (0.0, 0.025, 0.05)
"""Crops that are looked for: a twentieth of the width in all, and at each side. What lies between is near one of
them."""

VIEWS = tuple(View(margin, mirrored) for mirrored in (False, True) for margin in MARGINS)
"""The first is the image itself."""

PLAIN = VIEWS[0]


@functools.cache
def cosines(count: int) -> Array:
    """The first basis vectors of the orthonormal discrete cosine transform: float32 (count, THUMBNAIL), read-only."""
    place = (np.arange(THUMBNAIL) + 0.5) / THUMBNAIL
    basis = np.cos(np.pi * np.arange(count)[:, None] * place) * np.sqrt(2 / THUMBNAIL)
    basis[0] /= np.sqrt(2)
    return _read_only(basis)


@functools.cache
def resampling(margin: float, mirrored: bool) -> Array:
    """What makes a line of pixels that line without its margins, as long as before: float32 (THUMBNAIL, THUMBNAIL).

    Linear interpolation; read-only.
    """
    place = (np.arange(THUMBNAIL) + 0.5) / THUMBNAIL
    source = np.clip((margin + (1 - 2 * margin) * place) * THUMBNAIL - 0.5, 0, THUMBNAIL - 1)
    left = np.minimum(source.astype(np.intp), THUMBNAIL - 2)
    rows = np.arange(THUMBNAIL)
    matrix = np.zeros((THUMBNAIL, THUMBNAIL))
    matrix[rows, left] = 1 - (source - left)
    matrix[rows, left + 1] += source - left
    return _read_only(matrix[::-1] if mirrored else matrix)


def seen(down: Array, across: Array, thumbnails: NDArray[np.uint8], view: View) -> Array:
    """Thumbnails (n, THUMBNAIL, THUMBNAIL), seen so, times a matrix from the left and one from the right.

    Args:
        down, across: float32 (a, THUMBNAIL) and (b, THUMBNAIL), for rows and columns.

    Returns:
        float32 (n, a, b).
    """
    left = down @ resampling(view.margin, False)
    right = (across @ resampling(view.margin, view.mirrored)).T
    found: Array = left @ (thumbnails.astype(np.float32) @ right)
    return found


@functools.cache
def _lowest() -> tuple[int, NDArray[np.intp]]:
    """How many frequencies a side, and the places of the lowest ``BITS`` but the mean in the flattened square."""
    count = int(np.ceil(np.sqrt(2 * BITS)))
    squared = np.add.outer(np.arange(count) ** 2, np.arange(count) ** 2).ravel()
    return count, np.argsort(squared, kind="stable")[1 : BITS + 1]


def perceptual_hashes(thumbnails: NDArray[np.uint8], view: View = PLAIN) -> NDArray[np.uint64]:
    """Hashes of images: uint64 (n, WORDS); the number of bits in which two differ is their distance.

    Args:
        thumbnails: uint8 (n, THUMBNAIL, THUMBNAIL), gray.
        view: hash them as they look so.
    """
    count, places = _lowest()
    hashes = np.empty((len(thumbnails), WORDS), np.uint64)
    for start in range(0, len(thumbnails), BATCH):
        part = thumbnails[start : start + BATCH]
        spectrum = seen(cosines(count), cosines(count), part, view).reshape(len(part), -1)
        bits = np.ascontiguousarray(np.packbits(spectrum[:, places] > 0, axis=1))
        hashes[start : start + BATCH] = bits.view(np.uint64)
    return hashes


def _read_only(values: NDArray[np.float64]) -> Array:
    array = np.ascontiguousarray(values, np.float32)
    array.flags.writeable = False
    return array
