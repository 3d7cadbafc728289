"""The Open Inference Protocol, version 2, over HTTP: its messages, the images in them, and a client.

No web framework is needed, and none is imported.
"""

from __future__ import annotations

from classic_cv.oip.images import images_of
from classic_cv.oip.messages import (
    HEADER_LENGTH,
    InferRequest,
    InferResponse,
    Requested,
    read_request,
    read_response,
    write_request,
    write_response,
)
from classic_cv.oip.tensors import OipError, Tensor

__all__ = [
    "HEADER_LENGTH",
    "InferRequest",
    "InferResponse",
    "OipError",
    "Requested",
    "Tensor",
    "images_of",
    "read_request",
    "read_response",
    "write_request",
    "write_response",
]
