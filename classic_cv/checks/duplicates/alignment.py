"""The second look: two images that seem to be copies are read again, aligned, and their local descriptors matched."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.appearance import gray_of
from classic_cv.checks.duplicates.hashes import View
from classic_cv.features.base import Image
from classic_cv.features.local import DenseSIFT
from classic_cv.images import resize

SIDE, LEAST_SIDE = 128, 64
"""Pixels of the longer side that images are compared at, and the fewest of the shorter: descriptors need room."""

DESCRIPTOR = DenseSIFT(bins=(4.0,), step=8, contrast=1.0)
"""RootSIFT (Arandjelovic and Zisserman, CVPR 2012) on a grid; places without gradients have none."""

LEAST_PLACES = 30
"""Places with gradients that two images must share: the smallest have 49. A wedge or a line in an empty image
has fewer, and is matched by any other."""

ITERATIONS, PRECISION = 30, 1e-3

BLUR = 5
"""Pixels of the blur with which images are aligned: compression leaves edges every 8 pixels."""


def compared(pixels: Image) -> Image:
    """The gray image that is aligned: uint8 (height, width), of uint8 RGB (height, width, 3)."""
    height, width = pixels.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    size = (max(LEAST_SIDE, round(scale * height)), max(LEAST_SIDE, round(scale * width)))
    return resize(gray_of(np.ascontiguousarray(pixels)), size)


def likeness(image: Image, other: Image, view: View) -> float:
    """How well local descriptors of two images match, place by place, once they are aligned.

    The alignment is affine and maximizes the correlation of gray levels (Evangelidis and Psarakis, PAMI 2008), from
    where the view says that the image lies in the other.

    Args:
        image: uint8 gray, see ``compared``.
        other: the same of the other; of any size.
        view: how the other has to be seen to look like the image.

    Returns:
        the mean cosine of descriptors, 0 to 1, over places where both have gradients; 0 where there are fewer than
        ``LEAST_PLACES``.
    """
    height, width = image.shape
    upright = resize(np.ascontiguousarray(other[:, ::-1]) if view.mirrored else other, (height, width))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(
        upright, _aligned(image, upright, view), (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    first, second = (DESCRIPTOR.describe(np.asarray(one, np.uint8)).descriptors for one in (image, moved))
    there = first.any(axis=1) & second.any(axis=1)
    if int(there.sum()) < LEAST_PLACES:
        return 0.0
    return float(np.vecdot(first[there], second[there]).mean())


def _aligned(image: Image, other: Image, view: View) -> NDArray[np.float32]:
    """Where each pixel of the image lies in the other: float32 (2, 3)."""
    height, width = image.shape
    zoom = 1 - 2 * view.margin
    start = np.array([[zoom, 0, view.margin * width], [0, zoom, view.margin * height]], np.float32)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, ITERATIONS, PRECISION)
    try:
        _, found = cv2.findTransformECC(
            image, other, start.copy(), cv2.MOTION_AFFINE, criteria, np.full(image.shape, 255, np.uint8), BLUR
        )
    except cv2.error:  # it does not converge: they are not alike, or there is nothing to go by
        return start
    return np.asarray(found, np.float32)
