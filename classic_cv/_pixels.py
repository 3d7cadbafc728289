"""Pixel arrays: to uint8 RGB, over white, upright, resized."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from classic_cv.errors import ImageError

Pixels = NDArray[np.uint8]
"""uint8 (height, width, 3) RGB, or (height, width) gray."""


def to_rgb(array: NDArray[Any], *, source: str = "<array>") -> Pixels:
    """uint8 RGB (height, width, 3) of a pixel array; alpha is composited over white.

    Args:
        array: (height, width) or (height, width, 1) gray, (height, width, 3) RGB or (height, width, 4) RGBA;
            bool, uint8, uint16, or float within 0..1. RGB uint8 is returned as it is.
        source: its name for error messages.

    Raises:
        ImageError: another shape or dtype, no pixels, or floats outside 0..1.
    """
    _check_shape(array, source)
    if array.dtype == np.bool_:
        values: NDArray[Any] = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype == np.uint8:
        values = array
    elif array.dtype == np.uint16 or _check_unit_floats(array, source):
        values = scale_to_8_bits(array)
    if values.ndim == 3 and values.shape[2] == 4:
        return over_white(np.ascontiguousarray(values[..., :3]), values[..., 3])
    return rgb8(values)


def _check_shape(array: NDArray[Any], source: str) -> None:
    shape = "x".join(map(str, array.shape))
    if array.ndim != 2 and not (array.ndim == 3 and array.shape[2] in (1, 3, 4)):
        first = array.ndim == 3 and array.shape[0] in (1, 3, 4)
        hint = "; if channels come first use np.moveaxis(array, 0, -1)" if first else ""
        raise ImageError(source, f"expected (height, width) or (height, width, 1, 3 or 4), got {shape}{hint}")
    if array.size == 0:
        raise ImageError(source, f"the array has no pixels: {shape}")


def _check_unit_floats(array: NDArray[Any], source: str) -> bool:
    if array.dtype.kind != "f":
        fix = "if its values are 0..255 use array.astype(np.uint8)"
        raise ImageError(
            source, f"expected bool, uint8, uint16, or float within 0..1, got {array.dtype}; {fix}"
        )
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 1):
        fix = "rescale them, or use array.astype(np.uint8) if they are 0..255"
        raise ImageError(source, f"expected floats within 0..1, got {low:g}..{high:g}; {fix}")
    return True


def scale_to_8_bits(values: NDArray[Any]) -> Pixels:
    """uint8 of samples of any depth.

    uint16 times 255 / 65535; floats within 0..1 times 255; all others from (min, max) to (0, 255), where
    values that are not finite count as the minimum, and a constant becomes 0. Rounded to nearest.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:
        # 65535 = 255 * 257, so no value lies halfway between two results.
        scaled: Any = cv2.convertScaleAbs(np.ascontiguousarray(values, np.uint16), alpha=1 / 257)
        return scaled.reshape(values.shape)  # type: ignore[no-any-return]
    samples = values.astype(np.float64)
    finite = np.isfinite(samples)
    if not finite.any():
        return np.zeros(values.shape, np.uint8)
    low, high = float(samples[finite].min()), float(samples[finite].max())
    if not finite.all():
        samples = np.where(finite, samples, low)
    if values.dtype.kind == "f" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    scale = 255 / (high - low) if high > low else 0.0
    return np.rint((samples - low) * scale).astype(np.uint8)


def rgb8(values: Pixels) -> Pixels:
    """uint8 (height, width), (height, width, 1) or RGB as RGB."""
    if values.ndim == 3 and values.shape[2] == 3:
        return values
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(values), cv2.COLOR_GRAY2RGB), np.uint8)


def over_white(rgb: Pixels, alpha: Pixels, premultiplied: bool = False) -> Pixels:
    """``rgb`` (height, width, 3) with opacity ``alpha`` (height, width), 0..255, in front of white."""
    if alpha.min() == 255:
        return rgb
    if premultiplied:
        return np.asarray(cv2.add(rgb, rgb8(~alpha)), np.uint8)
    opacity = alpha.astype(np.uint16)[..., None]
    total = rgb * opacity + 255 * (255 - opacity) + 127  # at most 65,152
    return (total // 255).astype(np.uint8)


def rotate(pixels: Pixels, orientation: int) -> Pixels:
    """Turn ``pixels`` upright: undo an EXIF ``orientation`` of 1 to 8 (JEITA CP-3451, tag 274).

    Raises:
        ValueError: another orientation.
    """
    match orientation:
        case 1:
            upright: Any = pixels
        case 2:
            upright = cv2.flip(pixels, 1)
        case 3:
            upright = cv2.rotate(pixels, cv2.ROTATE_180)
        case 4:
            upright = cv2.flip(pixels, 0)
        case 5:
            upright = cv2.transpose(pixels)
        case 6:
            upright = cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE)
        case 7:
            upright = cv2.rotate(cv2.transpose(pixels), cv2.ROTATE_180)
        case 8:
            upright = cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE)
        case _:
            raise ValueError(f"orientation must be 1 to 8, got {orientation}")
    return upright  # type: ignore[no-any-return]


def resize(image: Pixels, size: tuple[int, int]) -> Pixels:
    """``image`` at ``size``; the aspect is not kept, see ``fit_size``.

    An axis that shrinks is averaged over area, one that grows is interpolated linearly.

    Args:
        image: uint8 (height, width) or (height, width, 3), at least 1x1.
        size: (height, width), each at least 1.

    Returns:
        uint8 of ``size``; ``image`` itself when it has that size already.

    Raises:
        ValueError: ``size`` is smaller than 1x1.
    """
    height, width = size
    if height < 1 or width < 1:
        raise ValueError(f"size must be at least (1, 1), got {size}")
    # INTER_AREA falls back to bilinear sampling when one axis grows, so the axes that shrink go first.
    smaller = min(height, image.shape[0]), min(width, image.shape[1])
    resized: Any = image
    if smaller != image.shape[:2]:
        resized = cv2.resize(resized, smaller[::-1], interpolation=cv2.INTER_AREA)
    if smaller != (height, width):
        resized = cv2.resize(resized, (width, height), interpolation=cv2.INTER_LINEAR)
    return resized  # type: ignore[no-any-return]


def fit_size(height: int, width: int, longest: int) -> tuple[int, int]:
    """(height, width) with the same aspect whose longer side is ``longest``; the other is at least 1.

    Raises:
        ValueError: a side or ``longest`` is smaller than 1.
    """
    if min(height, width, longest) < 1:
        raise ValueError(f"sides must be at least 1, got {height}x{width} to fit {longest}")
    side = max(height, width)
    return max(1, round(height * longest / side)), max(1, round(width * longest / side))


def shrink(pixels: Pixels, longest: int) -> Pixels:
    """The image with its longer side at ``longest`` pixels at most."""
    height, width = pixels.shape[:2]
    return pixels if max(height, width) <= longest else resize(pixels, fit_size(height, width, longest))


def is_gray(pixels: Pixels) -> bool:
    """Whether all channels are equal everywhere: (height, width), or (height, width, 3) without color."""
    if pixels.ndim == 2:
        return True
    red, green, blue = (pixels[..., channel] for channel in range(3))
    return bool(np.array_equal(red, green) and np.array_equal(green, blue))
