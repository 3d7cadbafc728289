"""Encoded pixels to uint8 RGB as stored: OpenCV, and Pillow for the kinds that OpenCV gets wrong."""

from __future__ import annotations

import os
from typing import Any

import cv2
import numpy as np

from classic_cv._headers import BadImageError, Facts, open_with_pillow, quiet_pillow
from classic_cv._pixels import Pixels, over_white, rgb8, scale_to_8_bits

REDUCTION_MARGIN = 2
"""A reduced JPEG keeps at least this many times ``min_side``. Resized from there it differs from the
fully decoded and resized image by 0.1 to 0.7 gray levels on average; without the margin by up to 2."""

_REDUCED = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}

if "OPENCV_LOG_LEVEL" not in os.environ:
    # What OpenCV logs about an image is raised as an ImageError; its own report would only add noise.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def reduction_for(facts: Facts, min_side: int | None) -> int:
    """The factor, 1, 2, 4 or 8, by which a JPEG may be decoded smaller; see ``images.decode``."""
    if min_side is None or facts.format != "JPEG":
        return 1
    spare = min(facts.width, facts.height) // max(REDUCTION_MARGIN * min_side, 1)
    return max((factor for factor in _REDUCED if factor <= spare), default=1)


def decode_pixels(facts: Facts, reduction: int) -> Pixels:
    """uint8 RGB (height, width, 3) as stored: neither rotated nor resized, but for JPEG's ``reduction``.

    Raises:
        BadImageError: truncated, damaged, or of a kind that neither library decodes.
    """
    pixels = decode_with_pillow(facts) if facts.by_pillow else decode_with_opencv(facts, reduction)
    if pixels.shape != (-(-facts.height // reduction), -(-facts.width // reduction), 3):
        raise BadImageError(f"damaged {facts.format}: header and pixels differ in size")
    return pixels


def decode_with_opencv(facts: Facts, reduction: int) -> Pixels:
    """Pixels as stored: rotation is ours, since OpenCV forgets it for AVIF and for images with alpha."""
    plain = facts.format == "JPEG" or (facts.format in ("WebP", "AVIF") and facts.mode != "RGBA")
    flags = cv2.IMREAD_UNCHANGED
    if plain:
        flags = _REDUCED.get(reduction, cv2.IMREAD_COLOR_RGB) | cv2.IMREAD_IGNORE_ORIENTATION
    values: Any
    try:
        values = cv2.imdecode(np.frombuffer(facts.stream, np.uint8), flags)
    except cv2.error:
        values = None
    if values is None and facts.format != "GIF":
        raise BadImageError(f"truncated or damaged {facts.format}: its pixels cannot be decoded")
    if values is None or (facts.format == "AVIF" and values.dtype != np.uint8):
        # OpenCV wants a GIF's later frames whole and its frame inside the screen; it does not say how deep
        # an AVIF with alpha is.
        return decode_with_pillow(facts)
    if plain and reduction > 1:  # OpenCV has no reduced decode to RGB
        values = cv2.cvtColor(values, cv2.COLOR_BGR2RGB)
    return values if plain else _finish(values, facts)


def _finish(values: Any, facts: Facts) -> Pixels:
    """RGB of what OpenCV decoded: gray, BGR or BGRA of any depth."""
    alpha = None
    if values.ndim == 3 and values.shape[2] == 4:
        alpha = None if facts.drop_alpha else values[..., 3]
        values = np.ascontiguousarray(values[..., :3])
    elif facts.gray_key is not None:
        alpha = np.where(values == facts.gray_key, 0, 255).astype(np.uint8)
    if alpha is not None and alpha.dtype.kind == "f":
        alpha = np.clip(np.nan_to_num(alpha), 0, 1)
    pixels = scale_to_8_bits(values)
    if facts.invert:
        pixels = ~pixels
    code = cv2.COLOR_GRAY2RGB if pixels.ndim == 2 else cv2.COLOR_BGR2RGB
    rgb: Any = cv2.cvtColor(pixels, code)
    return rgb if alpha is None else over_white(rgb, scale_to_8_bits(alpha), facts.premultiplied)


def decode_with_pillow(facts: Facts) -> Pixels:
    """Pixels as stored; Pillow refuses truncated files by itself."""
    try:
        with quiet_pillow():
            return pillow_pixels(open_with_pillow(facts.format, facts.stream))
    except BadImageError:
        raise
    except Exception as error:  # Pillow raises nearly every kind on damaged data
        raise BadImageError(f"truncated, damaged or unsupported {facts.format}: {error}") from None


def pillow_pixels(image: Any) -> Pixels:
    """RGB of a PIL image of any mode, not rotated."""
    image.load()
    if image.mode[0] in "IF":
        return rgb8(scale_to_8_bits(np.asarray(image)))
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        rgba = np.asarray(image.convert("RGBA"))
        return over_white(np.ascontiguousarray(rgba[..., :3]), rgba[..., 3])
    return np.array(image.convert("RGB"))
