"""The images in a request of the Open Inference Protocol."""

from __future__ import annotations

import binascii
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.oip.messages import InferRequest
from classic_cv.oip.tensors import OipError, Tensor, shown

INPUT = "image"
"""The name of the one input of our models."""

_TAKEN = (
    f'one input "{INPUT}": BYTES [N] or [N, 1], encoded images (base64 in JSON), '
    "or UINT8 [N, height, width, 3 or 1]"
)


def images_of(request: InferRequest, max_images: int) -> list[bytes | NDArray[np.uint8]]:
    """The images of a request, in order: encoded bytes, or read-only uint8 (height, width, 3) RGB or (…, 1) gray.

    Encoded images are not decoded here.

    Args:
        request: with one input, ``image``: BYTES [N] or [N, 1], base64 where they come as JSON; or UINT8
            [N, height, width, 3] or [N, height, width, 1].
        max_images: N at most.

    Raises:
        OipError: other inputs, too many images, or base64 that is not valid.
    """
    if len(request.inputs) != 1 or request.inputs[0].name != INPUT:
        names = ", ".join(shown(tensor.name) for tensor in request.inputs[:8])
        raise OipError(f"the inputs are {names}; the model takes {_TAKEN}")
    [tensor] = request.inputs
    if not _is_taken(tensor):
        shape = list(tensor.array.shape)
        raise OipError(f"the input is {tensor.datatype} {shape}; the model takes {_TAKEN}")
    n = len(tensor.array)
    if n > max_images:
        raise OipError(f"{n} images; at most {max_images} are taken in one request: send several")
    if tensor.datatype == "UINT8":
        return list(tensor.array)
    return [_encoded(data, number, tensor.from_json) for number, data in enumerate(tensor.array.reshape(-1))]


def _is_taken(tensor: Tensor) -> bool:
    shape = tensor.array.shape
    if tensor.datatype == "BYTES":
        return len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)
    return tensor.datatype == "UINT8" and len(shape) == 4 and shape[3] in (1, 3)


def _encoded(data: Any, number: int, is_text: bool) -> bytes:
    """The bytes of one encoded image."""
    found: bytes = data
    if is_text:
        try:
            found = binascii.a2b_base64(data, strict_mode=True)
        except binascii.Error as error:
            raise OipError(
                f"image {number} is not base64 ({error}); in JSON an image must be, with its padding and without "
                "line breaks"
            ) from None
    if not found:
        raise OipError(f"image {number} has no bytes")
    return found
