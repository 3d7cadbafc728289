"""What a server says of its model, and how images are brought to it and probabilities taken from it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from classic_cv.images import DEFAULT_MAX_PIXELS, resize, to_picture
from classic_cv.oip.messages import InferResponse
from classic_cv.oip.tensors import OipError, Tensor, shown

PROBABILITIES = "probabilities"
"""The name of the output that is taken where there is one of that name."""

FLOATS = ("FP16", "FP32", "FP64")


class TensorMetadata(msgspec.Struct, frozen=True):
    """An input or output; -1 in its shape stands for any number."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class ModelMetadata(msgspec.Struct, frozen=True):
    """What a server says of a model.

    Attributes:
        versions: that it may answer with; empty where it does not say.
        inputs, outputs: their shapes with the axis of images.
        class_names: in the order of the probabilities; None where it does not say.
    """

    name: str
    versions: tuple[str, ...]
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]
    class_names: tuple[str, ...] | None


class _Sent(msgspec.Struct):
    name: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]
    versions: tuple[str, ...] | None = None
    parameters: dict[str, Any] | None = None


class _SentServer(msgspec.Struct):
    extensions: tuple[str, ...] = ()


def read_metadata(body: bytes) -> ModelMetadata:
    """A model's metadata as a server sends it.

    Raises:
        OipError: it is not valid.
    """
    try:
        sent = msgspec.json.decode(body, type=_Sent)
    except (ValueError, RecursionError) as error:
        raise OipError(f"the model's metadata are not valid: {error}") from None
    names = (sent.parameters or {}).get("class_names")
    return ModelMetadata(sent.name, sent.versions or (), sent.inputs, sent.outputs, _class_names(names))


def _class_names(names: Any) -> tuple[str, ...] | None:
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise OipError("the model's metadata are not valid: class_names is no list of texts")
    if len(set(names)) < len(names):
        raise OipError("the model's metadata are not valid: class_names has a name twice")
    return tuple(names)


def takes_binary(body: bytes) -> bool:
    """Whether a server says in its metadata that it has the binary tensor data extension."""
    try:
        return "binary_tensor_data" in msgspec.json.decode(body, type=_SentServer).extensions
    except (ValueError, RecursionError):
        return False


class Plan(NamedTuple):
    """How a model is asked.

    Attributes:
        metadata: of the model.
        input: that takes the images.
        size: (height, width) that images are brought to; None where it takes encoded ones.
        output: the name of the one that holds probabilities.
        binary: whether tensors are sent as binary data.
    """

    metadata: ModelMetadata
    input: TensorMetadata
    size: tuple[int, int] | None
    output: str
    binary: bool

    def tensor(self, image: Any, max_pixels: int = DEFAULT_MAX_PIXELS) -> Tensor:
        """The input for one image: encoded bytes, or what ``to_picture`` takes.

        Raises:
            ImageError: the image cannot be used, or has more than ``max_pixels`` where it is decoded here.
        """
        if self.size is not None:
            picture = to_picture(image, min_side=max(self.size), max_pixels=max_pixels)
            return Tensor(self.input.name, "UINT8", resize(picture.pixels, self.size)[None])
        data = image if isinstance(image, bytes) else _png(to_picture(image, max_pixels=max_pixels).pixels)
        array = np.empty((1,) * len(self.input.shape), object)
        array.flat[0] = data if self.binary else base64.b64encode(data)
        return Tensor(self.input.name, "BYTES", array)

    def row(self, response: InferResponse) -> NDArray[np.float32]:
        """The probabilities of one image: float32 (n_classes,).

        Raises:
            OipError: the response has none, or is of another version than the metadata.
        """
        version, known = response.model_version, self.metadata.versions
        if version and known and version not in known:
            # Its classes may be others, or in another order.
            raise OipError(
                f"the model was replaced: version {shown(version)} answers, not {', '.join(known)}"
            )
        found = [tensor for tensor in response.outputs if tensor.name == self.output]
        if len(found) != 1 or found[0].datatype not in FLOATS:
            raise OipError(f"the response has no output {shown(self.output)} of numbers")
        array = found[0].array
        names = self.metadata.class_names
        if array.ndim != 2 or len(array) != 1 or (names is not None and array.shape[1] != len(names)):
            expected = "n_classes" if names is None else len(names)
            raise OipError(
                f"the output {shown(self.output)} has the shape {list(array.shape)}; expected is [1, {expected}]"
            )
        with np.errstate(over="ignore"):
            probabilities: NDArray[np.float32] = array[0].astype(np.float32)
        return probabilities


def plan_of(metadata: ModelMetadata, binary: bool) -> Plan:
    """How a model is asked for the probabilities of an image.

    Raises:
        OipError: it takes something else than images, or gives no probabilities.
    """
    if len(metadata.inputs) != 1 or not _is_taken(metadata.inputs[0]):
        raise OipError(
            f"model {shown(metadata.name)} takes {_listed(metadata.inputs)}; a model is needed with one input, BYTES "
            "[-1] or [-1, 1] of encoded images, or UINT8 [-1, height, width, 3] with a fixed size"
        )
    [input_] = metadata.inputs
    size = (input_.shape[1], input_.shape[2]) if input_.datatype == "UINT8" else None
    return Plan(metadata, input_, size, _output_of(metadata), binary)


def _is_taken(tensor: TensorMetadata) -> bool:
    shape = tensor.shape
    if tensor.datatype == "BYTES":
        return 1 <= len(shape) <= 2 and all(side in (-1, 1) for side in shape)
    fits = len(shape) == 4 and shape[0] in (-1, 1) and min(shape[1:3]) > 0 and shape[3] == 3
    return tensor.datatype == "UINT8" and fits


def _output_of(metadata: ModelMetadata) -> str:
    rows = [tensor for tensor in metadata.outputs if tensor.datatype in FLOATS and len(tensor.shape) == 2]
    if PROBABILITIES in [tensor.name for tensor in rows]:
        return PROBABILITIES
    candidates = [tensor.name for tensor in rows if tensor.datatype == "FP32"]
    if len(candidates) != 1:
        raise OipError(
            f"model {shown(metadata.name)} gives {_listed(metadata.outputs)}; needed is an output {PROBABILITIES}, or "
            "just one that is FP32 [-1, n_classes]"
        )
    return candidates[0]


def _listed(tensors: Sequence[TensorMetadata]) -> str:
    told = [f"{shown(tensor.name)} {tensor.datatype} {list(tensor.shape)}" for tensor in tensors[:8]]
    return ", ".join(told) or "nothing"


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """RGB pixels encoded without loss."""
    _, data = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return data.tobytes()
