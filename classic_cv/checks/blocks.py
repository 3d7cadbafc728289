"""What JPEG leaves in pixels, and what stays when they are saved in another format: a grid of 8x8 blocks."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.exif import luma_steps, zigzag
from classic_cv.features.base import Image

BLOCK_NAMES = ("blockiness", "flat_blocks", "pixel_quality")
"""Columns of ``block_properties``."""

BLOCK = 8
"""Pixels of each side of a block."""

LEAST_STEP = 0.25
"""Gray levels added to mean differences, so that a flat image has no blocks."""

COEFFICIENTS = 15
"""The coarsest coefficients but the first, of which photos have enough that are not zero."""

LEAST_COMB = 0.3
"""Mean agreement from which coefficients count as multiples of a quality's steps: 1 for exact ones, 0.4 to 0.9 after
pixels have been rounded and where some steps are too small to be seen; by chance below 0.3 for a hundred values."""

LEAST_STEPS = 3
"""Smaller steps drown in the rounding of the pixels: a quality above 92 is not seen."""

LEAST_VALUES = 60
"""Coefficients that are not zero below which nothing can be said."""

_HALF = 128


def block_properties(gray: Image, reduction: int) -> list[float]:
    """The columns in ``BLOCK_NAMES`` of an image whose blocks begin in its corner.

    ``blockiness``: log of the mean difference of neighbors across the edges of blocks over that inside them.
    ``flat_blocks``: share of the finer half of the blocks' DCT coefficients below one gray level: what compression has
    rounded away. ``pixel_quality``: of the JPEG that the pixels have come from, 1 to 100, by the steps whose multiples
    the coefficients are [1]; -1 where they are of none.

    Args:
        gray: uint8 (height, width).
        reduction: of the decode: the blocks have shrunk by it.

    [1] Fan & de Queiroz, Identification of bitmap compression history: JPEG detection and quantizer estimation, IEEE
    Transactions on Image Processing 12(2), 2003.
    """
    blocks = _coefficients(gray)
    return [_blockiness(gray, BLOCK // reduction), _flat_blocks(blocks), _pixel_quality(blocks)]


def _blockiness(gray: Image, block: int) -> float:
    if block < 2:
        return 0.0
    edge, inside = np.zeros(2), np.zeros(2)
    for turned in (gray, np.ascontiguousarray(gray.T)):
        if turned.shape[1] > block:
            steps = cv2.absdiff(turned[:, 1:], turned[:, :-1])
            profile = cv2.reduce(steps, 0, cv2.REDUCE_AVG, dtype=cv2.CV_32F).ravel()
            at_edge = profile[block - 1 :: block]
            edge += at_edge.sum(), len(at_edge)
            inside += profile.sum() - at_edge.sum(), len(profile) - len(at_edge)
    if not edge[1]:
        return 0.0
    across, within = edge[0] / edge[1], inside[0] / inside[1]
    return float(np.log((across + LEAST_STEP) / (within + LEAST_STEP)))


def _dct() -> NDArray[np.float32]:
    """The orthonormal DCT-II of 8 values: float32 (8, 8)."""
    return np.asarray(cv2.dct(np.eye(BLOCK, dtype=np.float32), flags=cv2.DCT_ROWS).T, np.float32)


_DCT = _dct()
_FINER = np.flatnonzero(np.add.outer(np.arange(BLOCK), np.arange(BLOCK)).ravel() >= BLOCK)
_COARSER = zigzag()[1 : 1 + COEFFICIENTS]


def _coefficients(gray: Image) -> NDArray[np.float32]:
    """DCT of each whole block, row by row: float32 (n_blocks, 64)."""
    height, width = (side // BLOCK * BLOCK for side in gray.shape)
    if not height or not width:
        return np.zeros((0, BLOCK * BLOCK), np.float32)
    values = gray[:height, :width].astype(np.float32).reshape(height // BLOCK, BLOCK, -1)
    down = (_DCT @ values).reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    blocks = (down @ _DCT.T).transpose(0, 2, 1, 3)
    return np.asarray(blocks.reshape(-1, BLOCK * BLOCK), np.float32)


def _flat_blocks(blocks: NDArray[np.float32]) -> float:
    finer = np.abs(blocks[:, _FINER])
    return int(np.count_nonzero(finer < 1)) / max(1, finer.size)


_STEPS = luma_steps()[:, 1 : 1 + COEFFICIENTS].T
_VALUES = np.arange(-_HALF, _HALF)
# Within one gray level of zero is what rounding makes of a coefficient that is not there; the outermost stand for more.
_COUNTED = np.tile((np.abs(_VALUES) >= LEAST_STEPS - 1) & (np.abs(_VALUES) < _HALF - 1), COEFFICIENTS)


def _combs() -> NDArray[np.float32]:
    """How each value fits the step of each coefficient and quality, 1 to -1: (COEFFICIENTS * values, 100)."""
    values, steps = _VALUES[None, :, None], _STEPS[:, None, :]
    # Rounding to multiples of the step leaves nothing between zero and half a step.
    fit = np.where(np.abs(values) * 2 < steps, -1, np.cos(2 * np.pi * values / steps))
    return np.where(steps >= LEAST_STEPS, fit, 0).reshape(-1, 100).astype(np.float32)


_COMBS = _combs()


def _pixel_quality(blocks: NDArray[np.float32]) -> int:
    values = np.minimum(np.maximum(np.rint(blocks[:, _COARSER]), -_HALF), _HALF - 1).astype(np.intp)
    places = values + (_HALF + len(_VALUES) * np.arange(COEFFICIENTS))
    counts = np.bincount(places.ravel(), minlength=len(_COMBS)) * _COUNTED
    n = counts.sum()
    if n < LEAST_VALUES:
        return -1
    some = np.flatnonzero(counts)
    scores = counts[some].astype(np.float32) @ _COMBS[some] / n
    best = int(np.argmax(scores))
    return best + 1 if scores[best] >= LEAST_COMB else -1
