"""Whole HTTP requests as bytes, for the load client and the fuzzer; written by hand, not by what they test."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping

LENGTH_HEADER = "Inference-Header-Content-Length"


def request(
    path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, method: str | None = None
) -> bytes:
    """A request of HTTP/1.1; POST where there is a body and no method is named."""
    lines = [f"{method or ('GET' if body is None else 'POST')} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def classify(image: bytes) -> bytes:
    """POST /classify of one encoded image."""
    return request("/classify", image, {"Content-Type": "application/octet-stream"})


def infer_body(image: bytes) -> tuple[bytes, int]:
    """A body of the Open Inference Protocol with one encoded image as binary data, and the length of its JSON part."""
    tensor = {
        "name": "image",
        "datatype": "BYTES",
        "shape": [1],
        "parameters": {"binary_data_size": len(image) + 4},
    }
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return head + struct.pack("<I", len(image)) + image, len(head)


def infer(model: str, image: bytes) -> bytes:
    """POST /v2/models/MODEL/infer of one encoded image as binary data."""
    body, length = infer_body(image)
    headers = {"Content-Type": "application/octet-stream", LENGTH_HEADER: str(length)}
    return request(f"/v2/models/{model}/infer", body, headers)
