"""Decoding against Pillow, exact arithmetic, and files that are damaged on purpose."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps
from skimage import data

from classic_cv import images
from classic_cv.errors import ImageError
from classic_cv.images import decode, read_header, read_image, to_picture, to_rgb

Array = NDArray[Any]

PHOTO: Array = data.chelsea()[60:124, 120:168]  # type: ignore[no-untyped-call]
GRAY: Array = cv2.cvtColor(PHOTO, cv2.COLOR_RGB2GRAY)
ALPHA: Array = (np.arange(64 * 48) % 256).reshape(64, 48).astype(np.uint8)
RGB = Image.fromarray(PHOTO)
RGBA = Image.fromarray(np.dstack([PHOTO, ALPHA]))
MODES = {
    "1": RGB.convert("1"),
    "L": RGB.convert("L"),
    "LA": RGBA.convert("LA"),
    "P": RGB.quantize(40),
    "RGB": RGB,
    "RGBA": RGBA,
    "CMYK": RGB.convert("CMYK"),
    "YCbCr": RGB.convert("YCbCr"),
}


def encode(image: Any, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def exif(orientation: int) -> Any:
    block = Image.Exif()
    block[0x112] = orientation
    return block


def over_white(rgb: Array, alpha: Array) -> Array:
    """In real numbers, rounded; 255 is odd, so nothing lies halfway."""
    opacity = alpha[..., None] / 255
    return np.rint(rgb * opacity + 255 * (1 - opacity)).astype(np.uint8)


def by_pillow(encoded: bytes) -> Array:
    """What Pillow makes of it: upright, over white."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded)))
    if image.mode in ("LA", "RGBA") or "transparency" in image.info:
        rgba = np.asarray(image.convert("RGBA"))
        return over_white(rgba[..., :3], rgba[..., 3])
    return np.asarray(image.convert("RGB"))


def reason(call: Callable[[], object]) -> str:
    with pytest.raises(ImageError) as caught:
        call()
    return caught.value.reason


LOSSLESS = [
    *[("PNG", mode, {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")],
    ("PNG", "P", {"transparency": 3}),
    ("PNG", "P", {"transparency": bytes(range(0, 240, 6))}),
    ("PNG", "P", {"bits": 8, "optimize": True}),
    ("PNG", "RGB", {"transparency": tuple(map(int, PHOTO[3, 3]))}),
    ("PNG", "L", {"transparency": int(GRAY[3, 3])}),
    ("PNG", "1", {"transparency": 0}),
    *[("TIFF", mode, {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK")],
    *[("TIFF", "RGB", {"compression": name}) for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits")],
    *[("TIFF", "RGB", {"compression": name}) for name in ("zstd", "lzma")],
    ("TIFF", "1", {"compression": "group4"}),
    ("TIFF", "L", {"big_tiff": True}),
    *[("BMP", mode, {}) for mode in ("1", "L", "P", "RGB", "RGBA")],
    *[("GIF", mode, {}) for mode in ("1", "L", "P", "RGB")],
    ("GIF", "P", {"transparency": 3}),
    ("GIF", "P", {"interlace": 1}),
    *[("WEBP", mode, {"lossless": True, "exact": True}) for mode in ("L", "RGB", "RGBA")],
]


@pytest.mark.parametrize(("file_format", "mode", "options"), LOSSLESS)
def test_lossless_formats_equal_pillow(file_format: str, mode: str, options: dict[str, Any]) -> None:
    encoded = encode(MODES[mode], file_format, **options)
    picture = decode(encoded)
    np.testing.assert_array_equal(picture.pixels, by_pillow(encoded))
    assert picture.pixels.dtype == np.uint8
    assert (picture.width, picture.height, picture.n_bytes) == (48, 64, len(encoded))


def test_the_reference_is_not_blind() -> None:
    """Alpha, palette and gray of the test images matter: without them the expected pixels would differ."""
    plain, see_through = encode(RGB, "PNG"), encode(RGBA, "PNG")
    assert not np.array_equal(by_pillow(plain), by_pillow(see_through))
    np.testing.assert_array_equal(by_pillow(plain), PHOTO)
    np.testing.assert_array_equal(decode(see_through).pixels, over_white(PHOTO, ALPHA))


@pytest.mark.parametrize(
    ("file_format", "mode", "options"),
    [
        ("JPEG", "L", {}),
        ("JPEG", "RGB", {}),
        ("JPEG", "RGB", {"progressive": True}),
        ("JPEG", "RGB", {"subsampling": 0, "quality": 95}),
        ("JPEG", "RGB", {"restart_marker_blocks": 2}),
        ("JPEG", "CMYK", {"quality": 95}),
        ("WEBP", "RGB", {}),
        ("WEBP", "RGBA", {}),
        ("AVIF", "L", {}),
        ("AVIF", "RGB", {}),
        ("AVIF", "RGBA", {}),
        ("TIFF", "YCbCr", {}),
        ("TIFF", "RGB", {"compression": "jpeg"}),
    ],
)
def test_lossy_formats_are_within_two_levels_of_pillow(
    file_format: str, mode: str, options: dict[str, Any]
) -> None:
    encoded = encode(MODES[mode], file_format, **options)
    difference = np.abs(decode(encoded).pixels.astype(float) - by_pillow(encoded))
    assert difference.mean() <= 2


def test_cmyk_jpeg_is_neither_inverted_nor_dark() -> None:
    pixels = decode(encode(MODES["CMYK"], "JPEG", quality=95)).pixels
    assert np.abs(pixels.astype(float) - PHOTO).mean() < 6


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image", [RGB, RGBA], ids=["RGB", "RGBA"])
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_orientation_in_every_format(file_format: str, image: Any, orientation: int) -> None:
    if file_format == "JPEG":
        image = image.convert("RGB")
    options = {"lossless": True, "exact": True} if file_format == "WEBP" else {}
    encoded = encode(image, file_format, exif=exif(orientation), **options)
    expected, picture, header = by_pillow(encoded), decode(encoded), read_header(encoded)
    tolerance = 2 if file_format in ("JPEG", "AVIF") else 0
    assert np.abs(picture.pixels.astype(float) - expected).mean() <= tolerance
    assert header.orientation == orientation
    assert (picture.height, picture.width) == (header.height, header.width) == expected.shape[:2]
    assert expected.shape[:2] == ((64, 48) if orientation < 5 else (48, 64))


def test_rotate_undoes_each_orientation() -> None:
    """A corner and its two neighbors tell all eight apart."""
    upright = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }
    for orientation, pixels in stored.items():
        turned = images.rotate(np.ascontiguousarray(pixels), orientation)
        np.testing.assert_array_equal(turned, upright, err_msg=str(orientation))
    with pytest.raises(ValueError, match="orientation must be 1 to 8, got 9"):
        images.rotate(upright, 9)


def test_exif_big_endian_prefixed_and_out_of_range() -> None:
    def jpeg(block: bytes) -> bytes:
        plain = encode(RGB, "JPEG")
        content = b"Exif\0\0" + block
        return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + plain[2:]

    def big(value: int) -> bytes:
        return b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x112, 3, 1, value, 0, 0)

    assert read_header(jpeg(big(6))).orientation == 6
    for damaged in (big(0), big(9), big(6)[:15], b"", b"II*\0\xff\xff\xff\xff", b"nonsense"):
        assert read_header(jpeg(damaged)).orientation == 1
        assert decode(jpeg(damaged)).pixels.shape == (64, 48, 3)


def test_png_exif_behind_the_pixels_is_found_without_decoding() -> None:
    encoded = encode(RGB, "PNG", exif=exif(6))
    at = encoded.index(b"eXIf") - 4
    chunk = encoded[at : at + 12 + int.from_bytes(encoded[at : at + 4], "big")]
    moved = encoded.replace(chunk, b"")[:-12] + chunk + encoded[-12:]
    np.testing.assert_array_equal(decode(moved).pixels, by_pillow(encoded))
    undecodable = png(48, 64, 8, 2, b"no pixels", png_chunk(b"eXIf", chunk[8:-4]))
    assert (read_header(undecodable).width, read_header(undecodable).height) == (64, 48)


@pytest.mark.parametrize(
    ("file_format", "mode", "expected"),
    [
        ("JPEG", "CMYK", "CMYK"),
        ("JPEG", "L", "L"),
        ("PNG", "1", "1"),
        ("PNG", "P", "P"),
        ("PNG", "LA", "LA"),
        ("WEBP", "RGBA", "RGBA"),
        ("WEBP", "RGB", "RGB"),
        ("TIFF", "CMYK", "CMYK"),
        ("TIFF", "RGBA", "RGBA"),
        ("TIFF", "1", "1"),
        ("BMP", "RGB", "RGB"),
        ("GIF", "P", "P"),
        ("AVIF", "RGBA", "RGBA"),
    ],
)
def test_header_of_bytes_and_file(tmp_path: Path, file_format: str, mode: str, expected: str) -> None:
    encoded = encode(MODES[mode], file_format)
    header = read_header(encoded)
    name = "WebP" if file_format == "WEBP" else file_format
    assert header == images.Header(name, 48, 64, 1, expected, len(encoded))
    assert Image.open(io.BytesIO(encoded)).mode == expected
    path = tmp_path / "wrong extension.txt"
    path.write_bytes(encoded)
    assert read_header(path) == header


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, depth: int, color: int, pixels: bytes, extra: bytes = b"") -> bytes:
    start = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    body = png_chunk(b"IHDR", start) + extra + png_chunk(b"IDAT", zlib.compress(pixels))
    return b"\x89PNG\r\n\x1a\n" + body + png_chunk(b"IEND", b"")


def png16(array: Array, extra: bytes = b"") -> bytes:
    channels = 1 if array.ndim == 2 else array.shape[2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    color = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    return png(array.shape[1], array.shape[0], 16, color, rows, extra)


def to8(array: Array) -> Array:
    return np.rint(array * (255 / 65535)).astype(np.uint8)


RAMP: Array = np.arange(65536, dtype=np.uint16).reshape(256, 256)


def test_16_bit_png_is_exact_for_every_value() -> None:
    pixels = decode(png16(RAMP)).pixels
    np.testing.assert_array_equal(pixels, np.dstack([to8(RAMP)] * 3))
    assert read_header(png16(RAMP)).mode == "I;16"
    color = np.dstack([RAMP, RAMP.T, RAMP[::-1]])
    np.testing.assert_array_equal(decode(png16(color)).pixels, to8(color))
    see_through = np.dstack([color, RAMP[:, ::-1]])
    expected = over_white(to8(color), to8(RAMP[:, ::-1]))
    np.testing.assert_array_equal(decode(png16(see_through)).pixels, expected)
    gray_alpha = np.dstack([RAMP, RAMP.T])
    expected = over_white(np.dstack([to8(RAMP)] * 3), to8(RAMP.T))
    np.testing.assert_array_equal(decode(png16(gray_alpha)).pixels, expected)


def test_16_bit_png_transparent_gray_is_white() -> None:
    key = png_chunk(b"tRNS", struct.pack(">H", 1000))
    expected = np.where(RAMP == 1000, 255, to8(RAMP))
    np.testing.assert_array_equal(decode(png16(RAMP, key)).pixels[..., 0], expected)


def tiff(
    array: Array,
    photometric: int,
    sample_format: int = 1,
    extra: int | None = None,
    orientation: int = 1,
    order: Literal["<", ">"] = "<",
    planar: int = 1,
) -> bytes:
    """An uncompressed one-strip TIFF; the directory lies behind the pixels."""
    samples = 1 if array.ndim == 2 else array.shape[2]
    raw = array.astype(array.dtype.newbyteorder(order)).tobytes()
    entries: list[tuple[int, str, list[int]]] = [
        (256, "I", [array.shape[1]]),
        (257, "I", [array.shape[0]]),
        (258, "H", [array.dtype.itemsize * 8] * samples),
        (259, "H", [1]),
        (262, "H", [photometric]),
        (273, "I", [8]),
        (274, "H", [orientation]),
        (277, "H", [samples]),
        (278, "I", [array.shape[0]]),
        (279, "I", [len(raw)]),
        (284, "H", [planar]),
        *([(338, "H", [extra])] if extra is not None else []),
        (339, "H", [sample_format] * samples),
    ]
    raw += b"\0" * (len(raw) % 2)
    directory, tail = struct.pack(order + "H", len(entries)), b""
    behind = 8 + len(raw) + 2 + 12 * len(entries) + 4
    for tag, code, values in entries:
        packed = struct.pack(f"{order}{len(values)}{code}", *values)
        directory += struct.pack(order + "HHI", tag, {"H": 3, "I": 4}[code], len(values))
        if len(packed) > 4:
            directory += struct.pack(order + "I", behind + len(tail))
            tail += packed
        else:
            directory += packed.ljust(4, b"\0")
    mark = b"II" if order == "<" else b"MM"
    start = mark + struct.pack(order + "HI", 42, 8 + len(raw))
    return start + raw + directory + b"\0" * 4 + tail


def gray3(array: Array) -> Array:
    return np.dstack([array] * 3)


@pytest.mark.parametrize("order", ["<", ">"])
def test_deep_tiffs_are_exact(order: Literal["<", ">"]) -> None:
    color = np.dstack([RAMP, RAMP.T, RAMP[::-1]])

    def pixels(array: Array, photometric: int, kind: int = 1, extra: int | None = None) -> Array:
        return decode(tiff(array, photometric, kind, extra, order=order)).pixels

    np.testing.assert_array_equal(pixels(RAMP, 1), gray3(to8(RAMP)))
    np.testing.assert_array_equal(pixels(RAMP, 0), gray3(255 - to8(RAMP)))
    np.testing.assert_array_equal(pixels(GRAY, 0), gray3(255 - GRAY))
    np.testing.assert_array_equal(pixels(color, 2), to8(color))
    unit = (GRAY / 255).astype(np.float32)
    np.testing.assert_array_equal(pixels(unit, 1, 3), gray3(GRAY))
    np.testing.assert_array_equal(pixels(unit.astype(np.float64), 1, 3), gray3(GRAY))
    np.testing.assert_array_equal(pixels((PHOTO / 255).astype(np.float32), 2, 3), PHOTO)


def test_tiff_values_beyond_unit_range_are_scaled_by_min_and_max() -> None:
    heights = np.array([[-100, 0, 155], [50, 28.4, np.nan]], np.float32)
    expected = [[0, 100, 255], [150, 128, 0]]
    np.testing.assert_array_equal(decode(tiff(heights, 1, 3)).pixels[..., 0], expected)
    whole = np.array([[1000, 2000, 1500]], np.int32)
    np.testing.assert_array_equal(decode(tiff(whole, 1, 2)).pixels[..., 0], [[0, 255, 128]])
    flat = np.full((2, 2), 7.5, np.float32)
    assert decode(tiff(flat, 1, 3)).pixels.max() == 0


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_tiff_alpha_straight_premultiplied_and_unspecified(dtype: type[Any]) -> None:
    full = 1 if dtype is np.float32 else np.iinfo(dtype).max
    kind = 3 if dtype is np.float32 else 1
    straight = np.array([[[255, 51, 0, 51], [255, 255, 0, 255], [9, 9, 9, 0]]]) / 255 * full
    multiplied = np.array([[[51, 10, 0, 51], [255, 255, 0, 255], [0, 0, 0, 0]]]) / 255 * full
    expected = np.array([[[255, 214, 204], [255, 255, 0], [255, 255, 255]]])

    def pixels(array: Array, extra: int) -> Array:
        return decode(
            tiff(np.rint(array).astype(dtype) if kind == 1 else array.astype(dtype), 2, kind, extra)
        ).pixels

    np.testing.assert_array_equal(pixels(straight, 2), expected)
    np.testing.assert_array_equal(pixels(straight, 0), np.rint(straight[..., :3] / full * 255))
    assert np.abs(pixels(multiplied, 1).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_of_a_deep_tiff(order: Literal["<", ">"]) -> None:
    stored = tiff(RAMP[:10, :20], 1, orientation=6, order=order)
    np.testing.assert_array_equal(decode(stored).pixels[..., 0], np.rot90(to8(RAMP[:10, :20]), -1))
    assert (read_header(stored).width, read_header(stored).height) == (10, 20)


def test_unsupported_tiff_layout_is_named() -> None:
    planes = tiff(np.dstack([RAMP] * 3), 2, planar=2)
    words = "unsupported TIFF: 16-bit samples in separate planes; save them interleaved"
    assert reason(lambda: decode(planes)) == words
    assert "unsupported TIFF" in reason(lambda: decode(tiff(np.zeros((4, 4), np.float16), 1, 3)))


def bmp(bits: int, compression: int, masks: tuple[int, ...], pixels: Array) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, 48, 64, 1, bits, compression, 0, 0, 0, 0, 0)
    info += struct.pack(f"<{len(masks)}I", *masks)
    raw = pixels[::-1].tobytes()
    return b"BM" + struct.pack("<IHHI", 14 + len(info) + len(raw), 0, 0, 14 + len(info)) + info + raw


def test_bmp_of_16_and_32_bits() -> None:
    red, green, blue = (PHOTO[..., channel].astype(np.uint16) for channel in range(3))
    packed = (red >> 3) << 11 | (green >> 2) << 5 | blue >> 3
    encoded = bmp(16, 3, (0xF800, 0x7E0, 0x1F), packed.astype("<u2"))
    np.testing.assert_array_equal(decode(encoded).pixels, by_pillow(encoded))
    assert np.abs(decode(encoded).pixels.astype(int) - PHOTO).max() <= 8
    unused = np.dstack([PHOTO[..., ::-1], ALPHA])
    encoded = bmp(32, 3, (0xFF0000, 0xFF00, 0xFF), unused)
    np.testing.assert_array_equal(decode(encoded).pixels, PHOTO)


def test_gif_screen_and_frame_of_different_sizes() -> None:
    encoded = bytearray(encode(MODES["P"], "GIF"))
    frame = decode(bytes(encoded)).pixels
    encoded[6:10] = struct.pack("<HH", 100, 90)
    np.testing.assert_array_equal(decode(bytes(encoded)).pixels, by_pillow(bytes(encoded)))
    encoded[6:10] = struct.pack("<HH", 10, 10)
    np.testing.assert_array_equal(decode(bytes(encoded)).pixels, frame)
    assert "48x64" in reason(lambda: decode(bytes(encoded), max_pixels=1000))


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG"])
def test_animations_give_their_first_frame(file_format: str) -> None:
    options = {"lossless": True} if file_format == "WEBP" else {}
    frames = [MODES["P"].convert("RGB"), RGB.rotate(180)]
    encoded = encode(frames[0], file_format, save_all=True, append_images=frames[1:], **options)
    np.testing.assert_array_equal(decode(encoded).pixels, np.asarray(frames[0]))


def test_avif_of_ten_bits() -> None:
    for channels, mode in ((PHOTO[..., ::-1], "RGB"), (np.dstack([PHOTO[..., ::-1], ALPHA]), "RGBA")):
        _, buffer = cv2.imencode(".avif", channels.astype(np.uint16) << 2, [cv2.IMWRITE_AVIF_DEPTH, 10])
        encoded = buffer.tobytes()
        assert read_header(encoded).mode == mode
        assert np.abs(decode(encoded).pixels.astype(float) - by_pillow(encoded)).mean() <= 1


def samples() -> dict[str, bytes]:
    return {
        "jpeg": encode(RGB, "JPEG", quality=90, exif=exif(6)),
        "progressive": encode(RGB, "JPEG", quality=90, progressive=True),
        "restarts": encode(RGB, "JPEG", restart_marker_blocks=3),
        "cmyk": encode(MODES["CMYK"], "JPEG"),
        "png": encode(RGBA, "PNG", exif=exif(3)),
        "webp": encode(RGB, "WEBP", exif=exif(3)),
        "webp lossless": encode(RGBA, "WEBP", lossless=True),
        "tiff": encode(RGB, "TIFF"),
        "tiff palette": encode(MODES["P"], "TIFF", compression="packbits"),
        "tiff deflate": encode(RGBA, "TIFF", compression="tiff_adobe_deflate"),
        "tiff lzw": encode(RGB, "TIFF", compression="tiff_lzw"),
        "tiff jpeg": encode(RGB, "TIFF", compression="jpeg"),
        "tiff 16": tiff(RAMP[:40, :30], 1),
        "bmp": encode(RGB, "BMP"),
        "bmp palette": encode(MODES["P"], "BMP"),
        "gif": encode(MODES["P"], "GIF"),
        "avif": encode(RGB, "AVIF"),
        "avif alpha": encode(RGBA, "AVIF"),
    }


SAMPLES = samples()


@pytest.mark.parametrize("name", SAMPLES)
def test_every_truncation_is_an_error(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Or nothing was lost, as without the byte that ends a GIF."""
    whole = SAMPLES[name]
    expected = decode(whole).pixels
    steps = sorted({*range(1, 21), *(round(len(whole) * (1 - part / 100)) for part in range(1, 100))})
    lossless_cuts, reasons = [], []
    for step in steps:
        try:
            pixels = decode(whole[:-step]).pixels
        except ImageError as error:
            reasons.append(error.reason)
        else:
            np.testing.assert_array_equal(pixels, expected)
            lossless_cuts.append(step)
    # What ends a GIF, and the pointer to the next page of a TIFF.
    assert lossless_cuts == {"gif": [1, 2], "tiff 16": [1, 2, 3, 4]}.get(name, [])
    assert [text for text in reasons if "truncated" not in text and "not a supported image" not in text] == []
    assert capfd.readouterr() == ("", "")


def test_truncated_in_each_formats_words() -> None:
    assert reason(lambda: decode(SAMPLES["jpeg"][:-2])) == "truncated JPEG: it has no end-of-image marker"
    assert reason(lambda: decode(SAMPLES["png"][:-1])) == "truncated PNG: it has no IEND chunk"
    webp = SAMPLES["webp"]
    assert reason(lambda: decode(webp[:90])) == f"truncated WebP: 90 of {len(webp)} bytes"
    whole = SAMPLES["tiff"]
    assert (
        reason(lambda: decode(whole[:-5]))
        == f"truncated TIFF: {len(whole) - 5} of at least {len(whole)} bytes"
    )
    front = b"II*\0" + struct.pack("<I", 8)
    assert "directory lies beyond the end" in reason(lambda: decode(front))


def test_a_gif_needs_its_first_frame_only() -> None:
    frames = [MODES["P"], MODES["P"].rotate(180)]
    both = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    first = decode(both).pixels
    np.testing.assert_array_equal(decode(both[: len(both) * 3 // 4]).pixels, first)
    assert "truncated" in reason(lambda: decode(both[: len(both) // 3]))


@pytest.mark.parametrize("name", SAMPLES)
def test_flipped_bytes_give_an_image_or_an_image_error(name: str) -> None:
    whole = SAMPLES[name]
    rng = np.random.default_rng(len(whole))
    for _ in range(150):
        flipped = bytearray(whole)
        for _ in range(rng.integers(1, 6)):
            flipped[rng.integers(min(len(whole), rng.choice([60, 400, 100_000])))] = rng.integers(256)
        try:
            pixels = decode(bytes(flipped), max_pixels=1_000_000).pixels
        except ImageError:
            continue
        assert pixels.dtype == np.uint8
        assert pixels.ndim == 3


@pytest.mark.parametrize("name", ["png", "webp", "webp lossless", "bmp", "gif", "avif"])
def test_damage_is_not_reported_on_stderr(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    whole = SAMPLES[name]
    for position in range(0, len(whole), max(len(whole) // 150, 1)):
        flipped = bytearray(whole)
        flipped[position] ^= 0x55
        with contextlib.suppress(ImageError):
            decode(bytes(flipped), max_pixels=1_000_000)
    assert capfd.readouterr() == ("", "")


def test_png_chunks_that_libpng_warns_about_are_left_out(capfd: pytest.CaptureFixture[str]) -> None:
    rows = b"".join(b"\0" + row.tobytes() for row in PHOTO)
    bad_profile = png_chunk(b"iCCP", b"x\0\0" + zlib.compress(b"\0" * 200))
    np.testing.assert_array_equal(decode(png(48, 64, 8, 2, rows, bad_profile)).pixels, PHOTO)
    assert capfd.readouterr() == ("", "")


def test_damage_is_named() -> None:
    encoded = bytearray(SAMPLES["png"])
    encoded[encoded.index(b"IDAT") + 30] ^= 1
    assert reason(lambda: decode(bytes(encoded))) == "damaged PNG: wrong checksum in its IDAT chunk"
    encoded = bytearray(SAMPLES["jpeg"])
    middle = encoded.index(b"\xff\xda") + 60
    encoded[middle : middle + 2] = b"\xff\x07"
    assert reason(lambda: decode(bytes(encoded))) == "damaged JPEG: marker 0x07 among its pixels"


def test_a_jpeg_whose_second_half_is_missing_is_refused_even_with_bytes_behind_it() -> None:
    whole = SAMPLES["jpeg"]
    half = len(whole) // 2
    for ending in (b"\0" * half, b"some text" * 50):
        assert "no end-of-image marker" in reason(lambda e=ending: decode(whole[:half] + e))  # type: ignore[misc]


@pytest.mark.parametrize("name", ["jpeg", "progressive", "png", "webp", "bmp", "gif"])
def test_bytes_behind_the_image_do_not_matter(name: str) -> None:
    whole = SAMPLES[name]
    np.testing.assert_array_equal(decode(whole + b"\0\xffpadding" * 9).pixels, decode(whole).pixels)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (b"", "it is empty (0 bytes)"),
        (bytes(5000), "it holds 5000 bytes that start with zeros only"),
        (b"<!DOCTYPE html><html>", "it is HTML that starts with '<!DOCTYPE html><html'"),
        (b'<?xml version="1.0"?><svg>', "it is SVG that starts with '<?xml version="),
        (b"path,label\na.jpg,cat\n", "it is text that starts with 'path,label'"),
        ("Prüfbild für alle".encode(), "it is text that starts with 'Prüfbild"),
        (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer"),
        (b"%PDF-1.7 ...", "it is a PDF document"),
        (b"PK\x03\x04....", "it is a ZIP archive"),
        (b"8BPS....", "it is a Photoshop document"),
        (b"\x00\x00\x00\x18ftypheic\0\0\0\0", "it is a HEIC image"),
        (b"\x00\x00\x00\x18ftypisom\0\0\0\0", "an MP4-like file of brand 'isom'"),
        (b"P6\n2 2\n255\n", "it is a netpbm image"),
        (b"RIFF\x00\x00\x00\x00WAVE", "RIFF file that is not WebP"),
        (b"\x8f\x01\x02\x03\x04\x05\x06\x07\x08", r"it starts with b'\x8f\x01"),
    ],
)
def test_what_is_no_image_is_named(found: bytes, words: str) -> None:
    text = reason(lambda: decode(found))
    assert text.startswith("not a supported image: ")
    assert words in text
    assert text.endswith("supported are JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF")


def test_limits_are_checked_before_pixels_are_decoded() -> None:
    bomb = png(20_000, 20_000, 8, 2, b"no pixels at all")
    words = "20000x20000 are 400000000 pixels, more than max_pixels=100000000"
    assert reason(lambda: decode(bomb)) == words
    assert reason(lambda: read_header(bomb)) == words
    assert read_header(bomb, max_pixels=10**9).width == 20_000
    encoded = SAMPLES["bmp"]
    assert reason(lambda: decode(encoded, max_bytes=100)) == f"{len(encoded)} bytes, more than max_bytes=100"
    exact = decode(encoded, max_bytes=len(encoded), max_pixels=48 * 64)
    np.testing.assert_array_equal(exact.pixels, PHOTO)
    assert "3072 pixels, more than max_pixels=3071" in reason(lambda: decode(encoded, max_pixels=3071))


@pytest.mark.parametrize("name", ["jpeg", "webp", "tiff", "bmp", "gif", "avif"])
def test_the_pixel_limit_holds_in_every_format(name: str) -> None:
    assert "more than max_pixels=3000" in reason(lambda: decode(SAMPLES[name], max_pixels=3000))


def large_jpeg(height: int = 480, width: int = 640) -> tuple[bytes, Array]:
    coffee = data.coffee()  # type: ignore[no-untyped-call]
    photo = cv2.resize(coffee, (width, height), interpolation=cv2.INTER_AREA)
    return encode(Image.fromarray(photo), "JPEG", quality=90, exif=exif(6)), photo


@pytest.mark.parametrize(
    ("min_side", "shape"),
    [
        (None, (640, 480)),
        (480, (640, 480)),
        (121, (640, 480)),
        (120, (320, 240)),
        (61, (320, 240)),
        (60, (160, 120)),
        (30, (80, 60)),
        (1, (80, 60)),
    ],
)
def test_reduced_decode_keeps_twice_the_side_that_is_needed(min_side: int | None, shape: Any) -> None:
    encoded, _ = large_jpeg()
    picture = decode(encoded, min_side=min_side)
    assert picture.pixels.shape == (*shape, 3)
    assert (picture.width, picture.height, picture.n_bytes) == (480, 640, len(encoded))


@pytest.mark.parametrize("side", [30, 32, 60, 100, 120])
def test_reduced_decode_looks_like_the_full_one_after_resizing(side: int) -> None:
    encoded, _ = large_jpeg()
    full = images.resize(decode(encoded).pixels, (side, side))
    reduced = images.resize(decode(encoded, min_side=side).pixels, (side, side))
    assert np.abs(full.astype(float) - reduced).mean() < 1


def test_reduced_decode_rounds_odd_sizes_up_and_leaves_other_formats_alone() -> None:
    encoded, photo = large_jpeg(101, 67)
    assert decode(encoded, min_side=4).pixels.shape == (9, 13, 3)
    assert decode(encode(Image.fromarray(photo), "PNG"), min_side=4).pixels.shape == (101, 67, 3)


def test_to_rgb_of_every_supported_dtype() -> None:
    np.testing.assert_array_equal(to_rgb(GRAY), gray3(GRAY))
    np.testing.assert_array_equal(to_rgb(GRAY[..., None]), gray3(GRAY))
    assert to_rgb(PHOTO) is PHOTO
    np.testing.assert_array_equal(to_rgb(np.dstack([PHOTO, ALPHA])), over_white(PHOTO, ALPHA))
    np.testing.assert_array_equal(to_rgb(GRAY > 100), gray3(np.where(GRAY > 100, 255, 0)))
    np.testing.assert_array_equal(to_rgb(RAMP), gray3(to8(RAMP)))
    for dtype in (np.float32, np.float64):
        np.testing.assert_array_equal(to_rgb((PHOTO / 255).astype(dtype)), PHOTO)
    np.testing.assert_array_equal(to_rgb(np.full((2, 2), 0.25)), np.full((2, 2, 3), 64))
    np.testing.assert_array_equal(to_rgb(PHOTO[::2, ::-1]), PHOTO[::2, ::-1])
    np.testing.assert_array_equal(to_rgb(GRAY.T), gray3(GRAY.T))


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 5, 2), np.uint8), "expected (height, width) or (height, width, 1, 3 or 4), got 4x5x2"),
        (np.zeros((3, 8, 9), np.uint8), "got 3x8x9; if channels come first use np.moveaxis(array, 0, -1)"),
        (np.zeros(7, np.uint8), "got 7"),
        (np.zeros((0, 4), np.uint8), "the array has no pixels: 0x4"),
        (np.full((2, 2), 16.0), "expected floats within 0..1, got 16..16; rescale them"),
        (np.full((2, 2), -0.1), "expected floats within 0..1, got -0.1..-0.1"),
        (np.full((2, 2), np.nan), "expected floats within 0..1, got nan..nan"),
        (np.zeros((2, 2), np.int64), "got int64; if its values are 0..255 use array.astype(np.uint8)"),
        (np.zeros((2, 2), np.complex64), "expected bool, uint8, uint16, or float within 0..1, got complex64"),
    ],
)
def test_to_rgb_says_what_is_wrong(array: Array, words: str) -> None:
    assert words in reason(lambda: to_rgb(array))


def test_to_picture_takes_all_that_a_user_holds(tmp_path: Path) -> None:
    encoded = encode(RGB, "PNG")
    path = tmp_path / "ein Bild mit Ümläuten 猫.png"
    path.write_bytes(encoded)
    for item in (path, str(path), encoded, bytearray(encoded), memoryview(encoded)):
        picture = to_picture(item)
        np.testing.assert_array_equal(picture.pixels, PHOTO)
        assert (picture.width, picture.height, picture.n_bytes) == (48, 64, len(encoded))
        assert to_picture(picture) is picture
    held = to_picture(GRAY)
    np.testing.assert_array_equal(held.pixels, gray3(GRAY))
    assert (held.width, held.height, held.n_bytes) == (48, 64, 48 * 64)


@pytest.mark.parametrize("mode", MODES)
def test_to_picture_of_pil_images(mode: str) -> None:
    expected = by_pillow(encode(MODES[mode], "TIFF"))
    picture = to_picture(MODES[mode])
    assert np.abs(picture.pixels.astype(int) - expected).max() <= (2 if mode == "YCbCr" else 0)


def test_to_picture_of_pil_images_that_are_deep_rotated_or_too_large() -> None:
    np.testing.assert_array_equal(to_picture(Image.fromarray(RAMP)).pixels, gray3(to8(RAMP)))
    for file_format in ("PNG", "TIFF", "AVIF"):
        encoded = encode(RGB, file_format, exif=exif(6))
        opened = to_picture(Image.open(io.BytesIO(encoded)))
        np.testing.assert_array_equal(opened.pixels, by_pillow(encoded))
        assert (opened.width, opened.height) == (64, 48)
    assert "more than max_pixels=100" in reason(lambda: to_picture(RGB, max_pixels=100))
    broken = Image.open(io.BytesIO(SAMPLES["bmp"][:4000]))
    assert "Pillow cannot decode it: image file is truncated" in reason(lambda: to_picture(broken))


def test_to_picture_of_something_else() -> None:
    words = "expected a path, encoded bytes, an array or a PIL image, got list"
    assert reason(lambda: to_picture([1, 2])) == words


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = tmp_path / "missing.png"
    with pytest.raises(ImageError) as caught:
        read_image(missing)
    assert (caught.value.source, caught.value.reason) == (str(missing), "no such file")
    assert reason(lambda: read_image(tmp_path)) == "is a folder, not an image file"
    loop = tmp_path / "loop.png"
    loop.symlink_to(loop)
    assert reason(lambda: read_image(loop)).startswith("cannot be read: Too many")
    assert reason(lambda: read_image("a\0b.png")).startswith("cannot be read: embedded null")
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    assert reason(lambda: read_image(pipe)) == "is not a regular file"
    assert reason(lambda: read_image("/dev/zero")) == "is not a regular file"
    huge = tmp_path / "huge.png"
    with huge.open("wb") as file:
        file.truncate(images.DEFAULT_MAX_BYTES + 1)
    assert reason(lambda: read_image(huge)) == "67108865 bytes, more than max_bytes=67108864"

    def refuse(*_: Any) -> None:
        raise PermissionError

    monkeypatch.setattr("builtins.open", refuse)
    assert reason(lambda: read_image(__file__)) == "permission denied"
    with pytest.raises(ImageError, match=r"^notes: permission denied$"):
        read_image(__file__, source="notes")


def test_errors_survive_pickling_for_parallel_readers() -> None:
    with pytest.raises(ImageError) as caught:
        decode(b"", source="a.png")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.source, again.reason) == ("a.png", caught.value.reason)


@pytest.mark.parametrize(
    ("shape", "size"),
    [((1, 1), (128, 128)), ((20_000, 20), (128, 128)), ((20, 20_000), (128, 128)), ((300, 2), (1, 1))],
)
def test_resize_of_extremes_keeps_a_constant(shape: tuple[int, int], size: tuple[int, int]) -> None:
    for channels in ((), (3,)):
        resized = images.resize(np.full((*shape, *channels), 77, np.uint8), size)
        np.testing.assert_array_equal(resized, np.full((*size, *channels), 77))


def test_resize_averages_the_axis_that_shrinks_and_interpolates_the_one_that_grows() -> None:
    blocks = PHOTO.reshape(16, 4, 12, 4, 3).mean((1, 3))
    assert np.abs(images.resize(PHOTO, (16, 12)) - blocks).max() <= 0.51
    rows = PHOTO.reshape(16, 4, 48, 3).mean(1)
    mixed = images.resize(PHOTO, (16, 96))
    # Pixel centers: output 2k+1 of a doubled axis lies a quarter of the way from input k to k + 1.
    expected = 0.75 * rows[:, :-1] + 0.25 * rows[:, 1:]
    assert np.abs(mixed[:, 1:-1:2] - expected).max() <= 1.01
    np.testing.assert_array_equal(images.resize(PHOTO[:, ::2], (64, 24)), PHOTO[:, ::2])
    assert images.resize(PHOTO, (64, 48)) is PHOTO
    with pytest.raises(ValueError, match=r"size must be at least \(1, 1\), got \(0, 5\)"):
        images.resize(PHOTO, (0, 5))


def test_fit_size() -> None:
    assert images.fit_size(480, 640, 256) == (192, 256)
    assert images.fit_size(640, 480, 1280) == (1280, 960)
    assert images.fit_size(20_000, 20, 128) == (128, 1)
    with pytest.raises(ValueError, match="sides must be at least 1, got 0x5 to fit 10"):
        images.fit_size(0, 5, 10)


def test_is_gray() -> None:
    assert images.is_gray(GRAY)
    assert images.is_gray(gray3(GRAY))
    almost = gray3(GRAY)
    almost[63, 47, 2] ^= 1
    assert not images.is_gray(almost)


def test_jpeg_png_and_webp_need_no_pillow() -> None:
    """It would add a tenth to the start of the process."""
    program = (
        "import sys; from classic_cv.images import decode\n"
        "for name in sys.argv[1:]: decode(bytes.fromhex(name))\n"
        "assert 'cv2' in sys.modules\n"
        "print([m for m in ('PIL', 'sklearn', 'skimage', 'scipy') if m in sys.modules])"
    )
    encoded = [SAMPLES[name].hex() for name in ("jpeg", "png", "webp", "tiff")]
    done = subprocess.run(
        [sys.executable, "-c", program, *encoded], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
