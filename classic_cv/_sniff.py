"""What bytes are that are no supported image: a name that helps whoever finds such a file."""

from __future__ import annotations

_STARTS = (
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive or office document"),
    (b"\x1f\x8b", "gzip data"),
    (b"version https://git-lfs", "a Git LFS pointer, the file itself was not downloaded"),
    (b"8BPS", "a Photoshop document"),
    (b"\x00\x00\x01\x00", "a Windows icon"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL image"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 image"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (b"v/1\x01", "an OpenEXR image"),
    (b"#?RADIANCE", "a Radiance HDR image"),
    (b"\x93NUMPY", "a NumPy array file"),
    (b"RIFF", "a RIFF file that is not WebP, such as WAV or AVI"),
    (b"\x00\x05\x16\x07", "a macOS resource file (its name starts with ._)"),
    (b"\xff\xd8", "the start of a JPEG without any segment"),
)


def describe(data: bytes) -> str:
    """A short description of ``data``, by its first bytes."""
    if not data:
        return "it is empty (0 bytes)"
    if not any(data[:4096]):
        return f"it holds {len(data)} bytes that start with zeros only"
    for start, name in _STARTS:
        if data.startswith(start):
            return f"it is {name}"
    if data[4:8] == b"ftyp":
        brand = data[8:12].decode("latin-1").strip()
        image = brand in ("heic", "heix", "hevc", "mif1", "msf1", "heim", "heis")
        return f"it is {'a HEIC image' if image else f'an MP4-like file of brand {brand!r}'}"
    if data[:1] == b"P" and data[1:2] in b"1234567fF" and data[2:3].isspace():
        return "it is a netpbm image"
    return _describe_text(data)


def _describe_text(data: bytes) -> str:
    try:
        text = data[:256].decode("utf-8").lstrip("\ufeff \t\r\n")
    except UnicodeDecodeError as error:
        if error.start < min(len(data), 256) - 3:  # not merely a character cut at the end
            return f"it starts with {data[:8]!r}"
        text = data[: error.start].decode("utf-8").lstrip("\ufeff \t\r\n")
    if not text or not all(c.isprintable() or c in "\t\r\n" for c in text):
        return f"it starts with {data[:8]!r}"
    lower = text[:256].lower()
    kind = "SVG" if "<svg" in lower else "HTML" if lower.startswith(("<!doctype", "<html")) else "text"
    return f"it is {kind} that starts with {text.splitlines()[0][:20]!r}"
