"""What the outermost pixels look like: a frame, a strip of scanner lid, a caption bar."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from classic_cv.features.base import Image

WIDE = 4
"""Pixels of the wide strip: what frames and scan edges take at least."""

SMALLEST = 32
"""Pixels of the shorter side from which the wide strip is taken: of a smaller image four pixels are content."""

SEGMENTS = 8
"""Parts of each side, so that a bar along half a side is seen."""

N_BORDER = 2 * 4 * SEGMENTS * 4
"""Two strips, four sides; three means and one deviation each segment."""


def strip_width(height: int, width: int) -> int:
    """Pixels of the wide strip of an image."""
    return WIDE if min(height, width) >= SMALLEST else 1


def border_features(pixels: Image) -> NDArray[np.float32]:
    """What the outermost pixels alone show.

    Args:
        pixels: uint8 RGB (height, width, 3).

    Returns:
        float32 (N_BORDER,), within 0..1: of the strip of one pixel and then of the strip of ``strip_width``, of 8
        segments each along the top, the bottom, the left and the right side, the means of red, green and blue and the
        standard deviation within the segment.
    """
    wide = strip_width(*pixels.shape[:2])
    sides = [side for width in sorted({1, wide}) for side in _sides(pixels, width)]
    # One moment after the other for all sides: a call for each would cost more than its pixels.
    moments = [_segment_moments(side) for side in sides]
    means = np.array([mean for mean, _ in moments])
    variance = (np.array([square for _, square in moments]) - means * means).sum(axis=-1, keepdims=True)
    deviation = np.sqrt(np.maximum(variance, 0) / 3)
    features = np.concatenate([means, deviation], axis=-1).ravel() / np.float32(255)
    return np.asarray(features if wide > 1 else np.concatenate([features, features]), np.float32)


def _sides(pixels: Image, width: int) -> list[Image]:
    """The strips along the top, the bottom, the left and the right, each (width, length, 3)."""
    turned = pixels.transpose(1, 0, 2)
    return [pixels[:width], pixels[-width:], turned[:width], turned[-width:]]


def _segment_moments(side: Image) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Means of the values and of their squares: two arrays (SEGMENTS, 3)."""
    # A side of fewer pixels than segments is sampled: area averages only shrink.
    how = cv2.INTER_AREA if side.shape[1] >= SEGMENTS else cv2.INTER_NEAREST
    values = side.astype(np.float32)
    first, second = (cv2.resize(v, (SEGMENTS, 1), interpolation=how)[0] for v in (values, values * values))
    return np.asarray(first, np.float32), np.asarray(second, np.float32)
