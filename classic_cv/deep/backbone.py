"""A pretrained network that is split before its last layer, whose weights can be exchanged in the ONNX file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from classic_cv.deep.export import IMAGE, to_onnx
from classic_cv.deep.networks import build, check_size, head_of, statistics
from classic_cv.deep.predictor import Interface, OnnxPredictor
from classic_cv.deep.settings import DeepSettings
from classic_cv.errors import TrainingError

ROOTS = "roots"
"""Name of the tensor that the last layer sees."""


@dataclass(frozen=True)
class Backbone:
    """A network that is split before its last layer.

    Attributes:
        network: the bytes of the ONNX file from images to probabilities, with a head of no meaning.
        embedding: the bytes of the ONNX file from images to what the head sees.
        size: pixels of both sides.
        width: numbers that the head sees per image.
    """

    network: bytes
    embedding: bytes
    size: int
    width: int

    def embedder(self, settings: DeepSettings, threads: int) -> OnnxPredictor:
        """What prepares images and embeds them."""
        interface = interface_of(settings, self.size, self.width)
        return OnnxPredictor(self.embedding, interface, threads, len(self.embedding))


def interface_of(settings: DeepSettings, size: int, n_outputs: int, output: Any = "logits") -> Interface:
    """What a network takes and gives, as ``to_onnx`` stores it."""
    return Interface(
        size=size,
        resize=settings.resize,
        n_classes=n_outputs,
        input=IMAGE,
        layout="NHWC",
        dtype="uint8",
        output=output,
    )


def make_backbone(settings: DeepSettings, size: int, n_classes: int, seed: int) -> Backbone:
    """A pretrained network at one size.

    Raises:
        TrainingError: it does not take images of this size, or its last layer is none of pooled features.
    """
    network = build(settings, n_classes, seed)
    check_size(network, size, settings)
    bias = getattr(head_of(network), "bias", None)
    if bias is not None:
        # Exporters leave out biases of zero, and here others are to take their place.
        torch.nn.init.ones_(bias)
    data = to_onnx(network, size, *statistics(settings))
    return _split(data, settings.architecture, size)


def _split(data: bytes, architecture: str, size: int) -> Backbone:
    import onnx

    model = onnx.load_from_string(data)
    nodes = model.graph.node
    if [node.op_type for node in nodes[-2:]] != ["Gemm", "Softmax"] or len(nodes[-2].input) < 3:
        raise TrainingError(
            f"the last layer of {architecture} is no linear one of pooled features, so an SVM cannot take its place: "
            "take another architecture, or mode finetune"
        )
    width = int(_head_tensors(model)[0].shape[1])
    _take_roots(model)
    network = model.SerializeToString(deterministic=True)
    del nodes[-2:]
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info(ROOTS, onnx.TensorProto.FLOAT, ["n", width]))
    return Backbone(network, model.SerializeToString(), size, width)


def _take_roots(model: Any) -> None:
    """Put signed square roots before the last layer, in place.

    An SVM on square roots compares as Hellinger's kernel does: few large values must not drown the others (Perronnin et
    al. 2010, for Fisher vectors).
    """
    import onnx

    nodes = model.graph.node
    layer, softmax = nodes[-2], nodes[-1]
    name = layer.input[0]
    make = onnx.helper.make_node
    roots = [
        make("Sign", [name], [f"{ROOTS}_sign"]),
        make("Abs", [name], [f"{ROOTS}_size"]),
        make("Sqrt", [f"{ROOTS}_size"], [f"{ROOTS}_root"]),
        make("Mul", [f"{ROOTS}_sign", f"{ROOTS}_root"], [ROOTS]),
    ]
    layer.input[0] = ROOTS
    kept = [layer, softmax]
    del nodes[-2:]
    nodes.extend([*roots, *kept])


def _head_tensors(model: Any) -> tuple[NDArray[np.float32], Any, Any, bool]:
    """Weights (n_classes, width) of the last layer; its tensors of weights and biases; whether these are transposed."""
    import onnx

    node = model.graph.node[-2]
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    weight, bias = stored[node.input[1]], stored[node.input[2]]
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    transposed = bool(attributes.get("transB", 0))
    values = onnx.numpy_helper.to_array(weight)
    return (values if transposed else values.T), weight, bias, transposed


def with_head(network: bytes, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> bytes:
    """A network with other weights (n_classes, width) and biases (n_classes,) in its last layer."""
    import onnx

    model = onnx.load_from_string(network)
    _, weights, biases, transposed = _head_tensors(model)
    for tensor, values in ((weights, weight if transposed else weight.T), (biases, bias)):
        tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))
    data: bytes = model.SerializeToString(deterministic=True)
    return data
