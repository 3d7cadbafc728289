"""Numbers of one image's pixels that say nothing of what it is about: for the quality and the shortcut check."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.blocks import BLOCK, BLOCK_NAMES, block_properties
from classic_cv.checks.border import strip_width
from classic_cv.checks.survey import THUMBNAIL
from classic_cv.features.base import Image
from classic_cv.images import is_gray, resize, rotate

PIXEL_NAMES = (
    *BLOCK_NAMES,
    "saturation",
    "entropy",
    "border_contrast",
    "border_deviation",
)
"""Columns of ``pixel_properties``."""

QUALITY_NAMES = ("darkest", "dark", "light", "lightest", "deviation", "entropy", "sharpness")
"""Columns of ``quality_measures``."""

COLOR_BINS, GRAY_BINS = 4, 16
N_COLOR = COLOR_BINS**3 + GRAY_BINS

MOST_BLOCKS = 32
"""Blocks along each side that are looked at, in the middle: more say the same."""

SHARPNESS_SIDE = 256
"""Pixels of the longer side at which sharpness is measured, so that it does not depend on the resolution."""

SHARPNESS_TILES = 4
"""Tiles along each side, of which the sharpest counts: a sharp object before a soft background is no blurred image."""

_QUANTILES = (0.01, 0.05, 0.95, 0.99)


def gray_of(pixels: Image) -> Image:
    """uint8 (height, width) of uint8 RGB (height, width, 3)."""
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)


def all_gray(pixels: Image) -> bool:
    """Whether no pixel has color; a few rows tell it of most images that have."""
    return is_gray(pixels[:: max(1, len(pixels) // 8)]) and is_gray(pixels)


def thumbnail(gray: Image) -> Image:
    """The whole image squeezed into a square: uint8 (THUMBNAIL, THUMBNAIL)."""
    return resize(gray, (THUMBNAIL, THUMBNAIL))


def histogram(gray: Image) -> NDArray[np.float64]:
    """Shares of the 256 gray levels."""
    counts = cv2.calcHist([gray], [0], None, [256], [0, 256]).ravel().astype(np.float64)
    return np.asarray(counts / gray.size, np.float64)


def color_histogram(pixels: Image, shares: NDArray[np.float64]) -> NDArray[np.float32]:
    """Square roots of a joint histogram of red, green and blue in 4 bins each and of gray in 16: float32 (80,).

    Args:
        pixels: uint8 RGB (height, width, 3).
        shares: of the gray levels, see ``histogram``.
    """
    bins, ranges = [COLOR_BINS] * 3, [0, 256] * 3
    joint = cv2.calcHist([pixels], [0, 1, 2], None, bins, ranges).ravel() / (pixels.size // 3)
    gray = shares.reshape(GRAY_BINS, -1).sum(axis=1)
    return np.asarray(np.sqrt(np.concatenate([joint, gray])), np.float32)


def entropy(shares: NDArray[np.float64]) -> float:
    """In bits, of the gray levels: 0 for one level, at most 8."""
    some = shares[shares > 0]
    return float(max(0.0, -(some * np.log2(some)).sum()))


def pixel_properties(
    pixels: Image, gray: Image, bits: float, orientation: int, reduction: int
) -> list[float]:
    """The columns in ``PIXEL_NAMES``.

    Those of ``block_properties``. ``saturation``: mean of HSV's. ``entropy`` of the gray levels in bits.
    ``border_contrast``: the outermost pixels' mean gray against the rest's, ``border_deviation``: their standard
    deviation, both in 0..1.

    Args:
        pixels, gray: the image, upright.
        bits: its entropy.
        orientation: that was undone: the blocks begin at a corner of the image as it is stored.
        reduction: of the decode: blocks have shrunk by it.
    """
    middle = _middle(rotate(gray, {6: 8, 8: 6}.get(orientation, orientation)))
    saturation = cv2.mean(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV))[1] / 255
    return [*block_properties(middle, reduction), saturation, bits, *_border(gray)]


def _middle(gray: Image) -> Image:
    """At most ``MOST_BLOCKS`` whole blocks along each side, from the middle."""
    first = [max(0, side // BLOCK - MOST_BLOCKS) // 2 * BLOCK for side in gray.shape]
    most = MOST_BLOCKS * BLOCK
    return gray[first[0] : first[0] + most, first[1] : first[1] + most]


def _border(gray: Image) -> tuple[float, float]:
    """(contrast to the rest, standard deviation) of the outermost pixels, in 0..1."""
    wide = strip_width(*gray.shape)
    n, total, squares = _sums(gray)
    if min(gray.shape) <= 2 * wide:
        return 0.0, float(np.sqrt(max(0.0, squares / n - (total / n) ** 2))) / 255
    n_inner, inner, inner_squares = _sums(gray[wide:-wide, wide:-wide])
    n_outer = n - n_inner
    mean = (total - inner) / n_outer
    variance = max(0.0, (squares - inner_squares) / n_outer - mean**2)
    return abs(mean - inner / n_inner) / 255, float(np.sqrt(variance)) / 255


def _sums(gray: Image) -> tuple[int, float, float]:
    """(how many, their sum, the sum of their squares)."""
    mean, deviation = (float(value[0, 0]) for value in cv2.meanStdDev(gray))
    return gray.size, gray.size * mean, gray.size * (deviation**2 + mean**2)


def quality_measures(gray: Image, shares: NDArray[np.float64], bits: float) -> list[float]:
    """The columns in ``QUALITY_NAMES``.

    ``darkest, dark, light, lightest``: the 1st, 5th, 95th and 99th percentile of gray, ``deviation`` its standard
    deviation, in 0..1. ``entropy`` of the gray levels in bits. ``sharpness``: log of the variance of the Laplacian
    over the variance of gray, at a longer side of at most 256 px, in the sharpest of 4x4 tiles.

    Args:
        gray: uint8 (height, width).
        shares: of its levels.
        bits: their entropy.
    """
    places: NDArray[np.intp] = np.searchsorted(np.cumsum(shares), np.array(_QUANTILES))
    levels = np.minimum(places, 255) / 255
    mean = shares @ _LEVELS
    deviation = math.sqrt(max(0.0, float(shares @ (_LEVELS - mean) ** 2))) / 255
    return [*levels.tolist(), deviation, bits, _sharpness(gray)]


_LEVELS = np.arange(256, dtype=np.float64)

_LEAST_STEP = 0.25
"""The variance of rounding to whole gray levels and of a little noise: a flat image is not sharp."""


def _sharpness(gray: Image) -> float:
    height, width = gray.shape
    factor = SHARPNESS_SIDE / max(height, width)
    if factor < 1:
        gray = resize(gray, (max(1, round(height * factor)), max(1, round(width * factor))))
    values = gray.astype(np.float32)
    edges = cv2.Laplacian(values, cv2.CV_32F)
    tiles = min(SHARPNESS_TILES, *gray.shape)
    squares = cv2.multiply(edges, edges)
    strongest = cv2.minMaxLoc(cv2.resize(squares, (tiles, tiles), interpolation=cv2.INTER_AREA))[1]
    variance = float(cv2.meanStdDev(values)[1][0, 0]) ** 2
    return float(np.log((strongest + _LEAST_STEP) / (variance + _LEAST_STEP)))
