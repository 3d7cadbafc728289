"""The schemas of what goes in and out: of the structs that are encoded, and of the protocol's tensors."""

from __future__ import annotations

from typing import Any

import msgspec

from classic_cv.oip.messages import LONGEST_ID, MOST_TENSORS
from classic_cv.serve.classify import Classified, Estimated
from classic_cv.serve.inference import Live, ModelMetadata, Ready, ServerMetadata
from classic_cv.serve.problems import ErrorBody

Json = dict[str, Any]

_STRUCTS = (ErrorBody, Live, Ready, ServerMetadata, ModelMetadata, Classified, Estimated)

_SHAPE_ITEM = {"type": "integer", "minimum": 1}

_BINARY_SIZE = {
    "type": "object",
    "description": "With the binary extension: bytes of this tensor after the JSON, in place of `data`.",
    "properties": {"binary_data_size": {"type": "integer", "minimum": 0}},
}


def ref(name: str) -> Json:
    """A reference to a schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def schemas(max_images: int) -> Json:
    """All schemas by name.

    Args:
        max_images: of a request.
    """
    _, found = msgspec.json.schema_components(_STRUCTS, ref_template="#/components/schemas/{name}")
    for schema in found.values():
        if "description" in schema:
            # Their first paragraph; what follows is on attributes, in the form of Python.
            schema["description"] = schema["description"].split("\n\n")[0]
    return {
        **found,
        "EncodedImages": _encoded_images(max_images),
        "PixelImages": _pixel_images(max_images),
        "InferRequest": _infer_request(),
        "InferResponse": _infer_response(),
        "OutputTensor": _output_tensor(),
    }


def _tensor(datatype: str, shape: Json, data: Json, description: str) -> Json:
    return {
        "type": "object",
        "description": description,
        "required": ["name", "datatype", "shape"],
        "properties": {
            "name": {"const": "image"},
            "datatype": {"const": datatype},
            "shape": {"type": "array", **shape},
            "data": data,
            "parameters": _BINARY_SIZE,
        },
    }


def _encoded_images(max_images: int) -> Json:
    texts = {"type": "string", "contentEncoding": "base64", "minLength": 4}
    return _tensor(
        "BYTES",
        {"items": _SHAPE_ITEM, "minItems": 1, "maxItems": 2},
        {"type": "array", "items": texts, "minItems": 1, "maxItems": max_images},
        "Encoded images, [N] or [N, 1], as base64; with the binary extension as they are.",
    )


def _pixel_images(max_images: int) -> Json:
    return _tensor(
        "UINT8",
        {"items": _SHAPE_ITEM, "minItems": 4, "maxItems": 4},
        {"type": "array", "description": "Values from 0 to 255, in nested lists or in one."},
        f"Pixels, [N, height, width, 3] in RGB or [N, height, width, 1] in gray, of up to {max_images} images.",
    )


def _infer_request() -> Json:
    wanted = {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"enum": ["label", "probabilities", "value", "served_by", "abstained"]},
            "parameters": {"type": "object", "properties": {"binary_data": {"type": "boolean"}}},
        },
    }
    return {
        "type": "object",
        "description": "What is asked of a model.",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string", "maxLength": LONGEST_ID, "description": "Comes back in the response."},
            "inputs": {
                "type": "array",
                "items": {"oneOf": [ref("EncodedImages"), ref("PixelImages")]},
                "minItems": 1,
                "maxItems": 1,
            },
            "outputs": {
                "type": "array",
                "items": wanted,
                "maxItems": MOST_TENSORS,
                "description": "Those that are wanted; all by default.",
            },
            "parameters": {
                "type": "object",
                "properties": {"binary_data_output": {"type": "boolean", "default": False}},
            },
        },
    }


def _infer_response() -> Json:
    return {
        "type": "object",
        "description": "What a model answers.",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "parameters": {
                "type": "object",
                "description": "`reason`: why the fallback answered for an image, where it did.",
                "properties": {"reason": {"type": "string"}},
            },
            "outputs": {"type": "array", "items": ref("OutputTensor")},
        },
    }


def _output_tensor() -> Json:
    return {
        "type": "object",
        "description": (
            "`label` BYTES [N] and `probabilities` FP32 [N, classes], or `value` FP32 [N] of a regression; and "
            "`served_by` BYTES [N]: model, primary or fallback. With --abstain `label` is `unknown` where no class is "
            "probable enough, which `abstained` BOOL [N] tells; the probabilities stay as they are."
        ),
        "required": ["name", "datatype", "shape"],
        "properties": {
            "name": {"type": "string"},
            "datatype": {"enum": ["BYTES", "FP32", "BOOL"]},
            "shape": {"type": "array", "items": _SHAPE_ITEM},
            "data": {"type": "array", "items": {"type": ["string", "number", "boolean"]}},
            "parameters": _BINARY_SIZE,
        },
    }
