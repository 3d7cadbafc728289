"""TIFF directories: what EXIF blocks and TIFF files are made of, read without decoding.

TIFF 6.0 (Adobe, 1992) and BigTIFF. Only the first page, only the tags that decide how to decode it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

_SIZES = {1: 1, 3: 2, 4: 4, 7: 1, 16: 8}
_CODES = {1: "B", 3: "H", 4: "I", 7: "B", 16: "Q"}
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION = 256, 257, 258, 259, 262, 274
_SAMPLES, _PLANAR, _EXTRA, _FORMAT = 277, 284, 338, 339
_OFFSETS_AND_COUNTS = ((273, 279), (324, 325))
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE = range(4)
_WANTED = frozenset([_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION, _SAMPLES, _PLANAR])
_WANTED |= {_EXTRA, _FORMAT, 273, 279, 324, 325}
_WANTED |= {320, 347}  # color map and JPEG tables: read only to see that they are inside the file
# None, CCITT, LZW, JPEG, Deflate, PackBits; not Zstandard and LZMA, nor 6, the JPEG given up in 1995.
_OPENCV_COMPRESSIONS = frozenset([1, 2, 3, 4, 5, 7, 8, 32771, 32773, 32946])


class TiffError(ValueError):
    """A directory is damaged or lies outside the data."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """The values of one tag, the position of the first, and its ``struct`` format."""

    values: tuple[int, ...]
    position: int
    code: str


def _read_directory(data: bytes, wanted: frozenset[int]) -> dict[int, _Entry]:
    """The ``wanted`` entries with unsigned whole numbers of the first directory."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    try:
        (start,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
        (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, start)
        layout, start = (order + "HHQ", start + 8) if big else (order + "HHI", start + 2)
        width, inline = (20, 8) if big else (12, 4)
        if start + count * width > len(data):
            raise TiffError("truncated TIFF: its directory lies beyond the end of the file")
        entries = {}
        for position in range(start, start + count * width, width):
            tag, kind, length = struct.unpack_from(layout, data, position)
            if tag in wanted and kind in _SIZES:
                where = position + width - inline
                if length * _SIZES[kind] > inline:
                    (where,) = struct.unpack_from(order + ("Q" if big else "I"), data, where)
                    if where + length * _SIZES[kind] > len(data):
                        raise TiffError("truncated TIFF: a tag's values lie beyond the end of the file")
                values = struct.unpack_from(f"{order}{length}{_CODES[kind]}", data, where)
                entries[tag] = _Entry(values, where, order + _CODES[kind])
    except struct.error:
        raise TiffError("truncated TIFF: its directory lies beyond the end of the file") from None
    return entries


def exif_orientation(block: bytes) -> int:
    """The orientation, 1 to 8, in an EXIF block with or without its ``Exif`` prefix; 1 if there is none."""
    block = block.removeprefix(b"Exif\0\0")
    if block[:4] not in (b"II*\0", b"MM\0*"):
        return 1
    try:
        entries = _read_directory(block, frozenset([_ORIENTATION]))
    except TiffError:
        return 1  # damaged EXIF does not make the pixels unusable
    entry = entries.get(_ORIENTATION)
    return entry.values[0] if entry and entry.values and 1 <= entry.values[0] <= 8 else 1


@dataclass(frozen=True, slots=True)
class TiffPage:
    """The first page of a TIFF file.

    Attributes:
        width, height: of the pixel grid, before orientation.
        mode: the nearest Pillow mode.
        bits: per sample.
        alpha: what a fourth sample means.
    """

    width: int
    height: int
    orientation: int
    mode: str
    bits: int
    white_is_zero: bool
    alpha: Literal["none", "straight", "premultiplied"]
    read_well_by_opencv: bool
    data: bytes
    orientation_entry: _Entry | None

    def upright_stream(self) -> bytes:
        """The data with orientation 1: decoders rotate TIFF on their own, unlike the other formats."""
        entry = self.orientation_entry
        if self.orientation == 1 or entry is None:
            return self.data
        stream = bytearray(self.data)
        struct.pack_into(entry.code, stream, entry.position, 1)
        return bytes(stream)


def read_tiff(data: bytes) -> TiffPage:
    """The first page's layout.

    Raises:
        TiffError: damaged, or the directory, a strip or a tile lies beyond the end of the data.
    """
    entries = _read_directory(data, _WANTED)

    def first(tag: int, default: int) -> int:
        entry = entries.get(tag)
        return entry.values[0] if entry and entry.values else default

    _check_pixels_inside(data, entries)
    bits, samples = first(_BITS, 1), first(_SAMPLES, 1)
    photometric, kind = first(_PHOTOMETRIC, _BLACK_IS_ZERO), first(_FORMAT, 1)
    orientation = first(_ORIENTATION, 1)
    if bits > 8 and samples > 1 and first(_PLANAR, 1) == 2:  # OpenCV and Pillow both mix up the pixels
        raise TiffError(f"unsupported TIFF: {bits}-bit samples in separate planes; save them interleaved")
    well = _opencv_reads_well(
        entries[_BITS].values if _BITS in entries else (bits,),
        samples,
        photometric,
        kind,
    )
    extra = first(_EXTRA, 2)
    return TiffPage(
        width=first(_WIDTH, 0),
        height=first(_HEIGHT, 0),
        orientation=orientation if 1 <= orientation <= 8 else 1,
        mode=_mode(photometric, samples, bits, kind),
        bits=bits,
        white_is_zero=photometric == _WHITE_IS_ZERO,
        alpha="premultiplied" if extra == 1 else "straight" if extra == 2 else "none",
        read_well_by_opencv=well and first(_COMPRESSION, 1) in _OPENCV_COMPRESSIONS,
        data=data,
        orientation_entry=entries.get(_ORIENTATION),
    )


def _check_pixels_inside(data: bytes, entries: dict[int, _Entry]) -> None:
    for offsets, counts in _OFFSETS_AND_COUNTS:
        if offsets in entries and counts in entries:
            parts = zip(entries[offsets].values, entries[counts].values, strict=False)
            end = max((offset + count for offset, count in parts), default=0)
            if end > len(data):
                raise TiffError(f"truncated TIFF: {len(data)} of at least {end} bytes")


def _opencv_reads_well(bits: tuple[int, ...], samples: int, photometric: int, kind: int) -> bool:
    """OpenCV 5.0 multiplies 8-bit colors with alpha, and drops the alpha of gray."""
    if len(set(bits)) > 1 or photometric > _PALETTE:
        return False
    if bits[0] in (1, 8):
        return kind == 1 and samples == (3 if photometric == _RGB else 1)
    known = bits[0] in (32, 64) if kind == 3 else bits[0] in (16, 32, 64) and kind in (1, 2)
    return known and samples in ((3, 4) if photometric == _RGB else (1,)) and photometric != _PALETTE


def _mode(photometric: int, samples: int, bits: int, kind: int) -> str:
    if kind == 3:
        return "F"
    if photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO):
        gray = {1: "1", 16: "I;16", 32: "I", 64: "I"}.get(bits, "L")
        return gray if samples == 1 else "LA"
    if photometric == _RGB:
        return "RGB" if samples == 3 else "RGBA"
    return {_PALETTE: "P", 5: "CMYK", 6: "YCbCr", 8: "LAB", 9: "LAB"}.get(photometric, "RGB")
