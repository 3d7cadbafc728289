"""Damaged images and damaged requests, the same ones for the same seed and number."""

from __future__ import annotations

import base64
import io
import json
import random
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks._requests import LENGTH_HEADER, infer_body, request

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
HEADER_BYTES = 64
"""Where formats have their sizes and offsets, so where an edit is likely to hit one."""
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
LENGTHS = ("-1", "0", "1", "abc", "1e3", "+5", "0x10", "9" * 30, "4294967296", "18446744073709551616", " ")

Change = Callable[[bytearray, random.Random], bytes]


def encoded(pixels: NDArray[np.uint8], formats: Sequence[str] = FORMATS) -> dict[str, bytes]:
    """The picture, uint8 (height, width, 3), in each format."""
    files = {}
    for name in formats:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, name)
        files[name] = buffer.getvalue()
    return files


def mutated_image(images: Sequence[bytes], seed: int, number: int) -> bytes:
    """One of the images with one to three kinds of damage."""
    rng = random.Random(f"image {seed} {number}")
    data = rng.choice(images)
    for _ in range(rng.randint(1, 3)):
        data = rng.choice((_flipped, _cut, _edited, _grown, _shrunk, _spliced(images)))(bytearray(data), rng)
    return data


def _flipped(data: bytearray, rng: random.Random) -> bytes:
    for _ in range(rng.randint(1, 32) if data else 0):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def _cut(data: bytearray, rng: random.Random) -> bytes:
    return bytes(data[: rng.randint(0, len(data))])


def _edited(data: bytearray, rng: random.Random) -> bytes:
    form = rng.choice(("B", "<H", ">H", "<I", ">I"))
    size = struct.calcsize(form)
    if len(data) >= size:
        position = rng.randint(0, min(HEADER_BYTES, len(data) - size))
        struct.pack_into(form, data, position, rng.choice(NUMBERS) & (256**size - 1))
    return bytes(data)


def _grown(data: bytearray, rng: random.Random) -> bytes:
    position = rng.randint(0, len(data))
    data[position:position] = rng.randbytes(rng.randint(1, 200))
    return bytes(data)


def _shrunk(data: bytearray, rng: random.Random) -> bytes:
    position = rng.randint(0, len(data))
    del data[position : position + rng.randint(1, 200)]
    return bytes(data)


def _spliced(images: Sequence[bytes]) -> Change:
    def spliced(data: bytearray, rng: random.Random) -> bytes:
        other = rng.choice(images)
        return bytes(data[: rng.randint(0, len(data))]) + other[rng.randint(0, len(other)) :]

    return spliced


def mutated_request(image: bytes, model: str, seed: int, number: int) -> bytes:
    """A request that is wrong somewhere: its JSON, its headers, its lengths, or all of it."""
    rng = random.Random(f"request {seed} {number}")
    return rng.choice((_wrong_json, _broken_json, _wrong_lengths, _wrong_head, _noise))(image, model, rng)


def _infer_json(image: bytes) -> dict[str, Any]:
    data = [base64.b64encode(image).decode()]
    return {
        "id": "1",
        "inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": data}],
        "outputs": [{"name": "label"}, {"name": "probabilities"}],
    }


def _odd(rng: random.Random) -> Any:
    """A value that is not what one expects somewhere."""
    return rng.choice(
        (
            None,
            True,
            0,
            -1,
            1.5,
            2**31,
            2**63,
            -(2**70),
            1e308,
            "",
            "image",
            "\x00",
            "é" * 300,
            [],
            [[[]]],
            {},
            [0] * 999,
        )
    )


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where all parts of a JSON value are."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [found for key, part in items for found in _paths(part, (*path, key))]


def changed(value: Any, rng: random.Random) -> Any:
    """A JSON value of which one part is replaced, doubled or gone; ``value`` itself is changed."""
    *path, key = rng.choice(_paths(value))
    parent = value
    for step in path:
        parent = parent[step]
    match rng.randrange(3):
        case 0:
            del parent[key]
        case 1:
            parent[key] = _odd(rng)
        case _:
            parent[key] = [parent[key], parent[key]]
    return value


def _wrong_json(image: bytes, model: str, rng: random.Random) -> bytes:
    value = _infer_json(image)
    for _ in range(rng.randint(1, 3)):
        value = changed(value, rng) or {"inputs": []}
    return _posted(model, json.dumps(value).encode())


def _broken_json(image: bytes, model: str, rng: random.Random) -> bytes:
    body = bytearray(json.dumps(_infer_json(image[:300])).encode())
    return _posted(model, rng.choice((_flipped, _cut, _grown, _shrunk))(body, rng))


def _posted(model: str, body: bytes) -> bytes:
    return request(f"/v2/models/{model}/infer", body, {"Content-Type": "application/json"})


def _wrong_lengths(image: bytes, model: str, rng: random.Random) -> bytes:
    """Binary data whose lengths, in the header or before the bytes, do not fit."""
    body, length = infer_body(image)
    stated = rng.choice((str(length), str(length + rng.randint(-9, 9)), rng.choice(LENGTHS)))
    if rng.random() < 0.5:
        size = struct.pack("<I", rng.choice((*NUMBERS, len(image) + rng.randint(-4, 4))) & 0xFFFFFFFF)
        body = body[:length] + size + body[length + 4 :]
    if rng.random() < 0.5:
        size = str(rng.choice((-1, 0, 3, 4, len(image), 2**31, 2**64, len(image) + 5))).encode()
        body = body.replace(str(len(image) + 4).encode(), size, 1)
    return request(f"/v2/models/{model}/infer", body, {LENGTH_HEADER: stated})


def _wrong_head(image: bytes, model: str, rng: random.Random) -> bytes:
    """A request line or a header that is odd; the body is a good image."""
    path = rng.choice(
        (
            "/classify",
            "/explain",
            f"/v2/models/{model}/infer",
            "/v2/models/../infer",
            "/%00",
            "/classify?top=-1",
            "/classify?top=" + "9" * 40,
            "/classify?model=%ff%fe",
            "/explain?class=%0d%0a",
            "//",
            "/" + "a" * 9000,
        )
    )
    name = rng.choice(
        ("Content-Type", "Content-Encoding", "Host", "X-Request-Id", "Authorization", "Expect", LENGTH_HEADER)
    )
    value = rng.choice(
        (
            "",
            "x" * 5000,
            "multipart/form-data",
            "multipart/form-data; boundary=x",
            "gzip",
            "application/json; charset=\x01",
            "Bearer x",
            "100-continue",
            "évil.example",
            "-1",
        )
    )
    method = rng.choice(("POST", "PUT", "GET", "HEAD", "OPTIONS", "TRACE", "BREW"))
    return request(path, image, {name: value}, method)


def _noise(image: bytes, model: str, rng: random.Random) -> bytes:
    """A request of which bytes are damaged, head included, or no request at all."""
    if rng.random() < 0.3:
        return rng.randbytes(rng.randint(1, 3000))
    data = bytearray(_posted(model, json.dumps(_infer_json(image[:300])).encode())[:1500])
    return rng.choice((_flipped, _cut, _edited, _grown, _shrunk))(data, rng)
