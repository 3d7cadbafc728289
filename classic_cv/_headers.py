"""What an encoded image says about itself, read without decoding: format, size, orientation, completeness.

JPEG, PNG, WebP and TIFF are walked here because the walk has to be done anyway: it is what tells a whole
file from a truncated one (decoders fill the missing part with gray, or print to stderr), and size and EXIF
orientation lie on the way. Pillow's header readers would besides decode a PNG to look for EXIF behind
the pixels, allocate the canvas of a WebP, and issue Python warnings on damaged EXIF. Pillow reads the
headers of GIF, BMP and AVIF, where it does none of that.
"""

from __future__ import annotations

import io
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from classic_cv._tiff import TiffError, exif_orientation, read_tiff

FORMATS = ("JPEG", "PNG", "WebP", "TIFF", "BMP", "GIF", "AVIF")
"""The formats that are decoded."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_SCAN_END = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
# What may follow a scan: DHT, EOI, SOS, DQT, DNL, DRI, DAC, APPn, COM. Anything else is a flipped byte.
_JPEG_AFTER_SCAN = frozenset([0xC4, 0xCC, *range(0xD9, 0xDE), *range(0xE0, 0xF0), 0xFE])
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PNG_NEEDED = frozenset([b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"])
_PNG_MODES = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}
_PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PILLOW_LOCK = threading.Lock()


class BadImageError(ValueError):
    """The bytes are no supported image, or a damaged or truncated one; the message says why."""


@dataclass(slots=True)
class Facts:
    """What the walk found out; sizes are those of the pixel grid, before orientation.

    Attributes:
        stream: what to give to the decoder: the data, without parts that decoders complain about.
        by_pillow: OpenCV decodes this kind wrongly or not at all, Pillow does.
        gray_key: PNG's transparent gray value as an 8- or 16-bit pixel, which OpenCV ignores.
        premultiplied: colors are stored multiplied with alpha.
        drop_alpha: a fourth channel, if decoded, is not opacity.
        invert: 0 is white, and the decoder does not undo it.
    """

    format: str
    width: int
    height: int
    mode: str
    stream: bytes
    orientation: int = 1
    by_pillow: bool = False
    gray_key: int | None = None
    premultiplied: bool = False
    drop_alpha: bool = False
    invert: bool = False


def read_facts(data: bytes) -> Facts:
    """Walk ``data``.

    Raises:
        BadImageError: not an image of ``FORMATS``, truncated, or damaged.
    """
    name, walk = identify(data)
    try:
        facts = walk(data)
    except (struct.error, IndexError):
        raise BadImageError(f"truncated {name}: the file ends inside its header") from None
    if facts.width < 1 or facts.height < 1:
        raise BadImageError(f"damaged {name}: its size is {facts.width}x{facts.height}")
    return facts


def identify(data: bytes) -> tuple[str, Callable[[bytes], Facts]]:
    """The format's name and its walk, by the first bytes, whatever the file's name says."""
    if data[:3] == b"\xff\xd8\xff":
        return "JPEG", _walk_jpeg
    if data[:8] == _PNG_SIGNATURE:
        return "PNG", _walk_png
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP", _walk_webp
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF", _walk_tiff
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF", _walk_gif
    if data[:2] == b"BM":
        return "BMP", _walk_bmp
    if data[4:8] == b"ftyp" and b"avi" in data[8:40]:
        return "AVIF", _walk_avif
    from classic_cv._sniff import describe

    raise BadImageError(f"not a supported image: {describe(data)}; supported are {', '.join(FORMATS)}")


def _truncated(name: str, what: str) -> BadImageError:
    return BadImageError(f"truncated {name}: {what}")


def _walk_jpeg(data: bytes) -> Facts:
    """Every segment and scan up to the end-of-image marker; what follows it does not matter."""
    facts: Facts | None = None
    orientation, position, scanned = 1, 2, False
    while True:
        position = data.find(b"\xff", position)
        if position < 0 or position + 1 >= len(data):
            raise _truncated("JPEG", "it has no end-of-image marker")
        marker = data[position + 1]
        if marker == 0xD9:
            break
        if marker < 0xC0 or 0xD0 <= marker <= 0xD8 or marker == 0xFF:
            position += 1 if marker == 0xFF else 2
            continue
        start, end = position + 4, position + 2 + (data[position + 2] << 8 | data[position + 3])
        if end > len(data):
            raise _truncated("JPEG", "it ends inside a segment")
        position = max(end, start)
        if marker in _JPEG_FRAMES and facts is None:
            _, height, width, channels = struct.unpack_from(">BHHB", data, start)
            facts = Facts("JPEG", width, height, {1: "L", 4: "CMYK"}.get(channels, "RGB"), data)
        elif marker == 0xE1 and data[start : start + 6] == b"Exif\0\0":
            orientation = exif_orientation(data[start + 6 : end])
        elif marker == 0xDA:
            scanned = True
            match = _JPEG_SCAN_END.search(data, position)
            if match is None:
                raise _truncated("JPEG", "it has no end-of-image marker")
            position = match.start()
            if data[position + 1] not in _JPEG_AFTER_SCAN:
                raise BadImageError(f"damaged JPEG: marker 0x{data[position + 1]:02X} among its pixels")
    if facts is None or not scanned:
        raise BadImageError("damaged JPEG: it has no image before its end-of-image marker")
    facts.orientation = orientation
    return facts


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(type, start, end) of each chunk's content, checked, up to IEND."""
    position, kind = 8, b""
    while kind != b"IEND":
        start = position + 8
        end = start + int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : start]
        if end + 4 > len(data):
            raise _truncated("PNG", "it has no IEND chunk")
        if kind in _PNG_NEEDED:
            stored = int.from_bytes(data[end : end + 4], "big")
            if zlib.crc32(memoryview(data)[position + 4 : end]) != stored:
                raise BadImageError(f"damaged PNG: wrong checksum in its {kind.decode()} chunk")
        yield kind, start, end
        position = end + 4


def _walk_png(data: bytes) -> Facts:
    """Every chunk up to IEND with the checksums of those that make the pixels.

    Other chunks are left out of the stream: libpng prints warnings about many of them.
    """
    chunks = list(_png_chunks(data))
    kind, start, end = chunks[0]
    if kind != b"IHDR" or end - start != 13:
        raise BadImageError("damaged PNG: it does not start with an IHDR chunk")
    width, height, depth, color, compression, filters, interlace = struct.unpack_from(">IIBBBBB", data, start)
    kinds = [kind for kind, _, _ in chunks]
    if depth not in _PNG_DEPTHS.get(color, ()) or compression or filters or interlace > 1:
        raise BadImageError("damaged PNG: its IHDR chunk has values that PNG does not know")
    if b"IDAT" not in kinds or (color == 3 and b"PLTE" not in kinds):
        raise BadImageError(f"damaged PNG: it has no {'IDAT' if b'IDAT' not in kinds else 'PLTE'} chunk")
    facts = Facts("PNG", width, height, _PNG_MODES[color], data)
    if color == 0 and depth in (1, 16):
        facts.mode = "1" if depth == 1 else "I;16"
    keep = _PNG_NEEDED
    for kind, start, end in chunks:
        if kind == b"eXIf":
            facts.orientation = exif_orientation(data[start:end])
        elif kind == b"tRNS" and color == 0:
            keep = _PNG_NEEDED - {b"tRNS"}
            value = int.from_bytes(data[start : start + 2], "big") & (2**depth - 1)
            facts.gray_key = value if depth == 16 else value * 255 // (2**depth - 1)
    if not keep.issuperset(kinds):
        parts = [data[start - 8 : end + 4] for kind, start, end in chunks if kind in keep]
        facts.stream = _PNG_SIGNATURE + b"".join(parts)
    return facts


def _walk_webp(data: bytes) -> Facts:
    """Every chunk of the RIFF; size and alpha from the first, orientation from the EXIF chunk."""
    total = 8 + int.from_bytes(data[4:8], "little")
    if total > len(data):
        raise _truncated("WebP", f"{len(data)} of {total} bytes")
    facts: Facts | None = None
    orientation, position = 1, 12
    while position + 8 <= total:
        kind, size = struct.unpack_from("<4sI", data, position)
        start, end = position + 8, position + 8 + size
        if end > total:
            raise _truncated("WebP", f"its {kind.decode('latin-1').strip()} chunk is cut")
        if facts is None and kind in (b"VP8X", b"VP8L", b"VP8 "):
            facts = _webp_size(data, kind, start)
        elif kind == b"EXIF":
            orientation = exif_orientation(data[start:end])
        position = end + (size & 1)
    if facts is None:
        raise BadImageError("damaged WebP: it has no image chunk")
    facts.orientation = orientation
    return facts


def _webp_size(data: bytes, kind: bytes, start: int) -> Facts:
    if kind == b"VP8X":
        width = 1 + int.from_bytes(data[start + 4 : start + 7], "little")
        height = 1 + int.from_bytes(data[start + 7 : start + 10], "little")
        return Facts("WebP", width, height, "RGBA" if data[start] & 0x10 else "RGB", data)
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, start + 1)[0]
        mode = "RGBA" if bits >> 28 & 1 else "RGB"
        return Facts("WebP", 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), mode, data)
    width, height = struct.unpack_from("<HH", data, start + 6)
    return Facts("WebP", width & 0x3FFF, height & 0x3FFF, "RGB", data)


def _walk_tiff(data: bytes) -> Facts:
    """The first page's directory: layout, and whether its strips or tiles lie inside the file."""
    try:
        page = read_tiff(data)
    except TiffError as error:
        raise BadImageError(str(error)) from None
    facts = Facts("TIFF", page.width, page.height, page.mode, page.upright_stream(), page.orientation)
    facts.by_pillow = not page.read_well_by_opencv
    facts.premultiplied, facts.drop_alpha = page.alpha == "premultiplied", page.alpha == "none"
    facts.invert = page.white_is_zero and page.bits > 8
    return facts


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Pillow without Python warnings; one thread at a time, since warning filters are global."""
    with _PILLOW_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def open_with_pillow(name: str, data: bytes) -> Any:
    """Pillow's image object of one known format, not decoded; the plugin alone is imported.

    ``Image.open`` would import five plugins and refuse by its own limit instead of ours.

    Raises:
        BadImageError: Pillow cannot read the header.
    """
    import importlib

    plugin, opener = {
        "AVIF": ("AvifImagePlugin", "AvifImageFile"),
        "BMP": ("BmpImagePlugin", "BmpImageFile"),
        "GIF": ("GifImagePlugin", "GifImageFile"),
        "TIFF": ("TiffImagePlugin", "TiffImageFile"),
    }[name]
    try:
        return getattr(importlib.import_module(f"PIL.{plugin}"), opener)(io.BytesIO(data))
    except Exception as error:  # Pillow raises nearly every kind on damaged data
        raise BadImageError(f"truncated, damaged or unsupported {name}: {error}") from None


def _walk_with_pillow(name: str, data: bytes) -> tuple[Facts, Any]:
    with quiet_pillow():
        image = open_with_pillow(name, data)
    return Facts(name, image.width, image.height, image.mode, data), image


def _walk_gif(data: bytes) -> Facts:
    """Pillow widens the size to the first frame where that is larger than the screen."""
    return _walk_with_pillow("GIF", data)[0]


def _walk_bmp(data: bytes) -> Facts:
    """OpenCV leaves 16-bit colors dark, and takes the unused byte of 32-bit ones for alpha."""
    facts, image = _walk_with_pillow("BMP", data)
    raw = image.tile[0].args[0] if image.tile else ""
    facts.by_pillow = isinstance(raw, str) and raw in ("BGR;15", "BGR;16")
    facts.drop_alpha = image.mode != "RGBA"
    return facts


def _walk_avif(data: bytes) -> Facts:
    """Pillow turns the rotation and mirror boxes into an EXIF orientation."""
    facts, image = _walk_with_pillow("AVIF", data)
    facts.orientation = exif_orientation(image.info.get("exif", b""))
    return facts
