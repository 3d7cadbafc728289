"""From encoded bytes, files and arrays to uint8 RGB: the one place that knows EXIF, alpha, BGR and limits.

JPEG, PNG, WebP, TIFF, BMP, GIF (first frame) and AVIF. The container is checked first, without decoding:
format, size against the limits, completeness, EXIF orientation. Then OpenCV decodes the pixels as they are
stored, Pillow the few kinds that OpenCV gets wrong; ``rotate`` applies the orientation.

- Alpha, palette transparency included, is composited over white.
- 16-bit samples are scaled by 255 / 65535, so 12-bit data in 16-bit files comes out dark.
- Float and 32-bit samples (TIFF): values within 0..1 are scaled by 255 when float, all others from
  (min, max) of the image to (0, 255); values that are not finite count as the minimum.
- CMYK is converted without a color profile; CMYK JPEGs are inverted, as Adobe writes them and all decoders
  assume. Color profiles are ignored.
- A truncated file is an error; of a GIF only the first frame has to be there. A JPEG with flipped bits
  inside may decode to a damaged picture, with a line from libjpeg on stderr: JPEG has no checksum.
- OpenCV's log is silenced on import, unless the environment variable ``OPENCV_LOG_LEVEL`` is set.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import Any

import numpy as np

from classic_cv._decoders import decode_pixels, pillow_pixels, reduction_for
from classic_cv._headers import FORMATS, BadImageError, Facts, quiet_pillow, read_facts
from classic_cv._pixels import (
    Pixels,
    fit_size,
    is_gray,
    resize,
    rotate,
    shrink,
    to_rgb,
)
from classic_cv.errors import ImageError

__all__ = [
    "DEFAULT_MAX_BYTES",
    "DEFAULT_MAX_PIXELS",
    "FORMATS",
    "Header",
    "Picture",
    "decode",
    "fit_size",
    "is_gray",
    "read_file",
    "read_header",
    "read_image",
    "resize",
    "rotate",
    "shrink",
    "to_picture",
    "to_rgb",
]

DEFAULT_MAX_PIXELS = 100_000_000
"""Larger images are refused before their pixels are allocated."""

DEFAULT_MAX_BYTES = 64 * 2**20
"""Larger encoded images are refused before they are read."""


@dataclass(frozen=True, slots=True)
class Header:
    """What is known of an encoded image without decoding it.

    Attributes:
        format: one of ``FORMATS``.
        width, height: pixels after the orientation is applied.
        orientation: of EXIF, 1 to 8.
        mode: Pillow's name of the stored color mode.
        n_bytes: encoded size.
    """

    format: str
    width: int
    height: int
    orientation: int
    mode: str
    n_bytes: int


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded image.

    Attributes:
        pixels: uint8 RGB (height, width, 3), upright.
        width, height: of the stored image, upright, before a reduced decode or a resize.
        n_bytes: encoded size; for arrays their size in memory.
    """

    pixels: Pixels
    width: int
    height: int
    n_bytes: int


def read_header(
    data: bytes | str | os.PathLike[str],
    *,
    source: str | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> Header:
    """The header of encoded bytes or of a file; the pixels are not decoded.

    Raises:
        ImageError: unreadable, not a supported image, truncated, or over a limit.
    """
    name = source or (str(data) if isinstance(data, str | os.PathLike) else "<bytes>")
    if isinstance(data, str | os.PathLike):
        data = read_file(data, name, max_bytes)
    facts = _checked_facts(data, name, max_pixels, max_bytes)
    width, height = _upright_size(facts)
    return Header(facts.format, width, height, facts.orientation, facts.mode, len(data))


def decode(
    data: bytes | bytearray | memoryview,
    *,
    source: str = "<bytes>",
    min_side: int | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> Picture:
    """Decode an encoded image.

    Args:
        data: the encoded image.
        source: its name for error messages.
        min_side: pixels of the shorter side that are enough. A JPEG is then decoded at 1/2, 1/4 or 1/8 of
            its size, the smallest whose shorter side is at least twice ``min_side``; other
            formats are decoded in full. Resized from there the image differs from the fully decoded and
            resized one by 0.1 to 0.7 gray levels on average.
        max_pixels: larger images are refused.
        max_bytes: longer ``data`` is refused.

    Raises:
        ImageError: not a supported image, truncated, damaged, or over a limit.
    """
    data = data if isinstance(data, bytes) else bytes(data)
    facts = _checked_facts(data, source, max_pixels, max_bytes)
    try:
        pixels = decode_pixels(facts, reduction_for(facts, min_side))
    except BadImageError as error:
        raise ImageError(source, str(error)) from None
    width, height = _upright_size(facts)
    return Picture(rotate(pixels, facts.orientation), width, height, len(data))


def read_image(
    path: str | os.PathLike[str],
    *,
    source: str | None = None,
    min_side: int | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> Picture:
    """Read and decode an image file; see ``decode``. ``source`` replaces the path in error messages.

    Raises:
        ImageError: the file cannot be read, or ``decode`` refuses it.
    """
    name = source or str(path)
    data = read_file(path, name, max_bytes)
    return decode(data, source=name, min_side=min_side, max_pixels=max_pixels, max_bytes=max_bytes)


def to_picture(
    item: Any,
    *,
    source: str | None = None,
    min_side: int | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> Picture:
    """A picture of whatever a user holds: a path, encoded bytes, a pixel array, or a PIL image.

    Raises:
        ImageError: it is none of these, or it cannot be used.
    """
    limits: dict[str, Any] = {"min_side": min_side, "max_pixels": max_pixels, "max_bytes": max_bytes}
    if isinstance(item, str | os.PathLike):
        return read_image(item, source=source, **limits)
    if isinstance(item, bytes | bytearray | memoryview):
        return decode(item, source=source or "<bytes>", **limits)
    if isinstance(item, Picture):
        return item
    name = source or "<array>"
    if isinstance(item, np.ndarray):
        pixels = to_rgb(item, source=name)
        return Picture(pixels, pixels.shape[1], pixels.shape[0], item.nbytes)
    if hasattr(item, "getbands") and hasattr(item, "tobytes"):
        return _from_pillow(item, source or "<PIL image>", max_pixels)
    kind = type(item).__name__
    raise ImageError(name, f"expected a path, encoded bytes, an array or a PIL image, got {kind}")


def read_file(
    path: str | os.PathLike[str], source: str | None = None, max_bytes: int = DEFAULT_MAX_BYTES
) -> bytes:
    """The bytes of an image file; ``source`` replaces the path in error messages.

    Raises:
        ImageError: it cannot be read, or is larger than ``max_bytes``.
    """
    source = source or str(path)
    try:
        info = os.stat(path)
        if stat.S_ISDIR(info.st_mode):
            raise ImageError(source, "is a folder, not an image file")
        if not stat.S_ISREG(info.st_mode):
            raise ImageError(source, "is not a regular file")
        _check_bytes(info.st_size, source, max_bytes)
        with open(path, "rb") as file:
            return file.read(max_bytes + 1)  # it may have grown since
    except FileNotFoundError:
        raise ImageError(source, "no such file") from None
    except PermissionError:
        raise ImageError(source, "permission denied") from None
    except (OSError, ValueError) as error:
        raise ImageError(source, f"cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _check_bytes(n_bytes: int, source: str, max_bytes: int) -> None:
    if n_bytes > max_bytes:
        raise ImageError(source, f"{n_bytes} bytes, more than max_bytes={max_bytes}")


def _check_pixels(width: int, height: int, source: str, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageError(
            source, f"{width}x{height} are {width * height} pixels, more than max_pixels={max_pixels}"
        )


def _checked_facts(data: bytes, source: str, max_pixels: int, max_bytes: int) -> Facts:
    _check_bytes(len(data), source, max_bytes)
    try:
        facts = read_facts(data)
    except BadImageError as error:
        raise ImageError(source, str(error)) from None
    _check_pixels(facts.width, facts.height, source, max_pixels)
    return facts


def _upright_size(facts: Facts) -> tuple[int, int]:
    """(width, height) after rotation."""
    size = facts.width, facts.height
    return size if facts.orientation < 5 else size[::-1]


def _from_pillow(image: Any, source: str, max_pixels: int) -> Picture:
    """A picture of a PIL image, upright."""
    _check_pixels(image.width, image.height, source, max_pixels)
    try:
        with quiet_pillow():
            pixels = pillow_pixels(image)
            orientation = int(image.getexif().get(274, 1))
    except Exception as error:  # as above: it may be opened but not yet decoded
        raise ImageError(source, f"Pillow cannot decode it: {error}") from None
    upright = rotate(pixels, orientation if 1 <= orientation <= 8 else 1)
    return Picture(upright, upright.shape[1], upright.shape[0], upright.nbytes)
