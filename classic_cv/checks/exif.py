"""What a file says beside its pixels: when and with what it was taken, and how JPEG compressed it.

Read from the bytes without decoding. Nothing here raises: what is damaged or missing is unknown.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv._headers import quiet_pillow

_MAKE, _MODEL, _DATE_TIME, _EXIF_DIRECTORY, _DATE_TIME_ORIGINAL = 271, 272, 306, 0x8769, 36867
_DATE = re.compile(r"(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d):(\d\d):(\d\d)")
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset([0xC2, 0xC6, 0xCA, 0xCE])

# Tables K.1 and K.2 of ITU T.81, row by row.
_LUMA = """16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"""
_CHROMA = """17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99 99 99 99 99
99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99"""


@dataclass(frozen=True, slots=True)
class Traces:
    """What is known of how a file came about.

    Attributes:
        date: time of taking, ``2024-05-31T12:00:00``; empty where unknown.
        camera: make and model; empty where unknown.
        jpeg_quality: 1 to 100 on the scale of the Independent JPEG Group; -1 where it is no JPEG or unknown.
        jpeg_subsampling: pixels that share a color sample: 1 for 4:4:4, 2 for 4:2:2, 4 for 4:2:0; 0 for a gray JPEG,
            -1 where it is no JPEG.
        jpeg_progressive: 1 or 0; -1 where it is no JPEG.
    """

    date: str = ""
    camera: str = ""
    jpeg_quality: int = -1
    jpeg_subsampling: int = -1
    jpeg_progressive: int = -1


def read_traces(data: bytes, format: str) -> Traces:
    """The traces in an encoded image of a known format (``classic_cv.images.FORMATS``)."""
    try:
        if format == "JPEG":
            return _of_jpeg(data)
        return Traces(*_taken(_exif_block(data, format)))
    except (struct.error, IndexError, ValueError):
        return Traces()


def _of_jpeg(data: bytes) -> Traces:
    tables: dict[int, NDArray[np.float64]] = {}
    block = b""
    quality = subsampling = progressive = -1
    components: list[tuple[int, int, int]] = []
    for marker, content in _jpeg_segments(data):
        if marker == 0xE1 and not block and content[:6] == b"Exif\0\0":
            block = content
        elif marker == 0xDB:
            tables.update(_quantisation(content))
        elif marker in _JPEG_FRAMES and not components:
            components = _components(content)
            progressive = int(marker in _PROGRESSIVE)
    if components:
        quality = _quality([tables.get(table) for _, _, table in components[:2]])
        subsampling = _subsampling(components)
    return Traces(*_taken(block), quality, subsampling, progressive)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(marker, content) of each segment before the first scan."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker in (0xD9, 0xDA):
            return
        end = position + 2 + (data[position + 2] << 8 | data[position + 3])
        yield marker, data[position + 4 : end]
        position = end


def _quantisation(content: bytes) -> dict[int, NDArray[np.float64]]:
    """The 64 steps of each table in a DQT segment, in zigzag order."""
    tables, position = {}, 0
    while position < len(content):
        wide, number = content[position] >> 4, content[position] & 15
        size = 128 if wide else 64
        values = np.frombuffer(content[position + 1 : position + 1 + size], ">u2" if wide else np.uint8)
        if len(values) == 64:
            tables[number] = values.astype(np.float64)
        position += 1 + size
    return tables


def _components(content: bytes) -> list[tuple[int, int, int]]:
    """(horizontal sampling, vertical sampling, quantisation table) of each component of a frame."""
    places = range(6, 6 + 3 * content[5], 3)
    return [(content[i + 1] >> 4, content[i + 1] & 15, content[i + 2]) for i in places]


def _subsampling(components: list[tuple[int, int, int]]) -> int:
    if len(components) < 3:
        return 0
    (across, down, _), (color_across, color_down, _) = components[:2]
    return (across * down) // max(1, color_across * color_down)


def zigzag() -> NDArray[np.intp]:
    """Positions, row by row, of the 64 coefficients in the order in which JPEG stores them: intp (64,)."""
    places = [(row, column) for row in range(8) for column in range(8)]
    order = sorted(places, key=lambda at: (sum(at), at[0] if sum(at) % 2 else at[1]))
    return np.array([8 * row + column for row, column in order], np.intp)


def _scaled(table: str) -> NDArray[np.float64]:
    """A standard table as libjpeg scales it to each quality from 1 to 100: (100, 64), in zigzag order."""
    standard = np.array(table.split(), np.float64)[zigzag()]
    quality = np.arange(1, 101)[:, None]
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    return np.clip((standard * scale + 50) // 100, 1, 255)


_SCALED = (_scaled(_LUMA), _scaled(_CHROMA))


def luma_steps() -> NDArray[np.float64]:
    """The steps to which libjpeg rounds the 64 coefficients of brightness: (100, 64), for quality 1 to 100, in zigzag
    order."""
    return _SCALED[0]


def _quality(tables: list[NDArray[np.float64] | None]) -> int:
    """The quality whose tables lie nearest, by the sum of absolute differences; the lower one of equals.

    Exact for files of libjpeg and what is built on it; the nearest equivalent for others (Adobe, phones).
    """
    known = [(scaled, table) for scaled, table in zip(_SCALED, tables, strict=False) if table is not None]
    if not known:
        return -1
    distance = sum(np.abs(scaled - table).sum(axis=1) for scaled, table in known)
    return 1 + int(np.argmin(distance))


def _exif_block(data: bytes, format: str) -> bytes:
    """The EXIF block of a format other than JPEG; a TIFF is one itself."""
    if format == "TIFF":
        return data
    if format == "PNG":
        return next((content for kind, content in _chunks(data, 8, ">I4s", 4) if kind == b"eXIf"), b"")
    if format == "WebP":
        return next((content for kind, content in _chunks(data, 12, "<4sI", 0) if kind == b"EXIF"), b"")
    return b""


def _chunks(data: bytes, position: int, layout: str, checksum: int) -> Iterator[tuple[bytes, bytes]]:
    """(kind, content) of each chunk of a PNG, or of a RIFF file, whose chunks are of even length."""
    while position + 8 <= len(data):
        head = struct.unpack_from(layout, data, position)
        kind, size = head if isinstance(head[0], bytes) else head[::-1]
        start = position + 8
        yield kind, data[start : start + size] if kind in (b"eXIf", b"EXIF") else b""
        position = start + size + (checksum or size & 1)


def _taken(block: bytes) -> tuple[str, str]:
    """(date, camera) of an EXIF block."""
    if not block:
        return "", ""
    from PIL.Image import Exif

    try:
        with quiet_pillow():
            exif = Exif()
            exif.load(block)
            original = exif.get_ifd(_EXIF_DIRECTORY).get(_DATE_TIME_ORIGINAL)
            date = _iso(original) or _iso(exif.get(_DATE_TIME))
            return date, _camera(exif.get(_MAKE), exif.get(_MODEL))
    except Exception:  # Pillow raises nearly every kind on damaged data
        return "", ""


def _iso(value: Any) -> str:
    match = _DATE.match(value) if isinstance(value, str) else None
    if match is None or match[1] == "0000":
        return ""
    year, month, day, hour, minute, second = match.groups()
    return f"{year}-{month}-{day}T{hour}:{minute}:{second}"


def _camera(make: Any, model: Any) -> str:
    """``Canon EOS 80D``: many makers put their name before the model as well."""
    words = [" ".join(text.replace("\0", " ").split()) for text in (make, model) if isinstance(text, str)]
    if len(words) == 2 and words[1].casefold().startswith(words[0].casefold()):
        words = words[1:]
    return " ".join(word for word in words if word)
