"""Which inputs are images, and what is said of the others."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton

from classic_cv.oip.images import images_of
from classic_cv.oip.messages import InferRequest, read_request, write_request
from classic_cv.oip.tensors import OipError, Tensor

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), np.uint8)
ENCODED = [b"\xff\xd8one", b"\x89PNG two", b"three"]


def request_of(array: np.ndarray, datatype: str, name: str = "image", binary: bool = True) -> InferRequest:
    return read_request(*write_request([Tensor(name, datatype, array)], binary=binary))


def in_json(*texts: str) -> InferRequest:
    tensor = {"name": "image", "datatype": "BYTES", "shape": [len(texts)], "data": texts}
    return read_request(json.dumps({"inputs": [tensor]}).encode(), None)


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_encoded_images_as_binary_data(shape: tuple[int, ...]) -> None:
    assert images_of(request_of(np.array(ENCODED, object).reshape(shape), "BYTES"), 3) == ENCODED


def test_base64_in_json() -> None:
    texts = [base64.b64encode(data).decode() for data in ENCODED]
    assert images_of(in_json(*texts), 3) == ENCODED


def test_base64_as_the_official_client_sends_it() -> None:
    array = np.array([base64.b64encode(data) for data in ENCODED], object).reshape(3, 1)
    value = triton.InferInput("image", [3, 1], "BYTES").set_data_from_numpy(array, binary_data=False)
    assert images_of(read_request(*triton.InferenceServerClient.generate_request_body([value])), 3) == ENCODED


@pytest.mark.parametrize("binary", [True, False])
def test_pixels(binary: bool) -> None:
    found = images_of(request_of(IMAGES, "UINT8", binary=binary), 3)
    np.testing.assert_array_equal(np.stack(found), IMAGES)
    gray = images_of(request_of(IMAGES[..., :1], "UINT8", binary=binary), 3)
    assert [image.shape for image in gray if not isinstance(image, bytes)] == [(4, 5, 1)] * 3


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("YQ", "image 1 is not base64 .*padding"),
        ("YQ=", "image 1 is not base64"),
        ("YQ==YQ==", "image 1 is not base64 .*Excess data"),
        ("YQ\n==", "image 1 is not base64"),
        ("Y-_=", "image 1 is not base64 .*Only base64 data"),
        (" YWJj", "image 1 is not base64"),
        ("ä", "image 1 is not base64"),
        ("", "image 1 has no bytes"),
    ],
)
def test_base64_is_taken_strictly(text: str, match: str) -> None:
    with pytest.raises(OipError, match=match):
        images_of(in_json("YQ==", text), 3)


@pytest.mark.parametrize(
    ("array", "datatype", "name", "match"),
    [
        (IMAGES, "UINT8", "pixels", r"the inputs are 'pixels'; the model takes one input \"image\": BYTES"),
        (IMAGES[0], "UINT8", "image", r"the input is UINT8 \[4, 5, 3\]; the model takes"),
        (IMAGES[..., :2], "UINT8", "image", r"the input is UINT8 \[3, 4, 5, 2\]"),
        (IMAGES.astype(np.float32), "FP32", "image", r"the input is FP32 \[3, 4, 5, 3\]"),
        (np.full((1, 2), b"a", object), "BYTES", "image", r"the input is BYTES \[1, 2\]"),
        (np.full((1, 1, 1), b"a", object), "BYTES", "image", r"the input is BYTES \[1, 1, 1\]"),
        (
            np.full(4, b"a", object),
            "BYTES",
            "image",
            "4 images; at most 3 are taken in one request: send several",
        ),
        (np.tile(IMAGES, (2, 1, 1, 1)), "UINT8", "image", "6 images; at most 3"),
        (np.array([b"a", b""], object), "BYTES", "image", "image 1 has no bytes"),
    ],
)
def test_what_is_no_image_is_told_with_what_is(array: Any, datatype: str, name: str, match: str) -> None:
    with pytest.raises(OipError, match=match):
        images_of(request_of(array, datatype, name), 3)


def test_more_than_one_input() -> None:
    inputs = [Tensor(name, "UINT8", IMAGES) for name in ("image", "mask")]
    with pytest.raises(OipError, match="the inputs are 'image', 'mask'"):
        images_of(read_request(*write_request(inputs)), 3)
