"""One image as a network sees it: the same pixels in training and in prediction. NumPy and OpenCV only."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from classic_cv.images import resize as resize_pixels
from classic_cv.images import to_picture

Resize = Literal["squash", "crop"]


def prepare(encoded: Any, size: int, resize: Resize, *, source: str | None = None) -> NDArray[np.uint8]:
    """Decode and resize an image: uint8 (size, size, 3), RGB, C-contiguous; gray images get three equal planes.

    Args:
        encoded: encoded bytes, pixels, or whatever else ``classic_cv.images.to_picture`` takes.
        size: pixels of both sides.
        resize: ``squash`` changes the aspect; ``crop`` takes the largest square in the middle.
        source: its name for error messages.

    Raises:
        ImageError: the image cannot be used.
    """
    pixels = to_picture(encoded, source=source, min_side=size).pixels
    if resize == "crop":
        pixels = middle_square(pixels)
    return np.ascontiguousarray(resize_pixels(pixels, (size, size)))


def middle_square(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The largest square in the middle of an image (height, width, 3), as a view of it."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side]
