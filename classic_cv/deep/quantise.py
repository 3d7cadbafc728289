"""The twin of a stored network that computes in 8 bits, calibrated on training images."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from classic_cv.compare.contestant import FitTask, Fitted
from classic_cv.dataset import Encoded
from classic_cv.deep.predictor import MAX_NETWORK_BYTES, NETWORK, OnnxPredictor, read_network, write_network
from classic_cv.errors import ArtifactError, MissingExtraError
from classic_cv.onnx_file import inspect
from classic_cv.subset import nested_order

CALIBRATION_IMAGES = 128
"""Training images whose ranges the 8 bits cover."""

OPERATORS = ("Conv", "Gemm", "MatMul", "Add", "Relu", "Clip", "LeakyRelu", "MaxPool", "AveragePool", "Concat")
"""Operators that work on 8 bits. Products of maps and gates, hard-swish and all normalisations stay in float32."""

LINEAR = ("Gemm", "MatMul")
POOLING = ("GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax")

ROWS = 8
"""Images of a calibration batch; larger ones only take memory."""


@dataclass(frozen=True)
class Quantised:
    """A network before and after.

    Attributes:
        bytes_before, bytes_after: of the ONNX file.
        accuracy_before, accuracy_after: on the calibration images, which are training images.
        agreement: share of the calibration images with the same label before and after.
        n_images: how many there are.
    """

    bytes_before: int
    bytes_after: int
    accuracy_before: float
    accuracy_after: float
    agreement: float
    n_images: int

    def summary(self) -> dict[str, Any]:
        """The same as plain data."""
        return asdict(self)

    def line(self) -> str:
        """The same in words."""
        return (
            f"int8: {self.bytes_before / 1e6:.2f} to {self.bytes_after / 1e6:.2f} MB; on {self.n_images} training "
            f"images accuracy {self.accuracy_before:.3f} to {self.accuracy_after:.3f}, {self.agreement:.1%} same labels"
        )


def calibration_images(task: FitTask, n: int = CALIBRATION_IMAGES) -> tuple[list[Encoded], NDArray[np.int64]]:
    """Up to ``n`` training images, of all classes in their proportions, and their class numbers."""
    order = nested_order(task.y[task.train], task.groups[task.train], task.seed)
    rows = task.train[order[:n]]
    return [task.dataset.read(int(row)) for row in rows], task.y[rows]


def quantise(
    folder_in: Path, folder_out: Path, images: Sequence[Encoded], labels: NDArray[np.int64], threads: int
) -> Quantised:
    """Store the int8 twin of a network.

    Convolutions, linear layers and what lies between them compute in 8 bits (static quantisation with
    ``QuantizeLinear`` and ``DequantizeLinear``, see ``neural.compression.quantized``). In float32 stay what comes
    before the first convolution; gates of squeeze-and-excitation, which see pooled maps only; the classifier with its
    softmax.

    Args:
        folder_in: as ``OnnxPredictor`` loads it.
        folder_out: exists; the twin is written to it.
        images: training images, one at least, as ``calibration_images`` chooses them.
        labels: int64 (n,), their class numbers.
        threads: for measuring the accuracies.

    Raises:
        ValueError: no images.
        ImageError: an image cannot be used.
        ArtifactError: the network cannot be loaded or quantised.
        MissingExtraError: torch, onnx or ONNX Runtime is not installed.
    """
    before = OnnxPredictor.load(folder_in, threads)
    if not images:
        raise ValueError("no calibration image given, expected at least one")
    pixels = before.prepared(images)
    batches = [{before.interface.input: before.interface.fed(batch)} for batch in _batches(before, pixels)]
    network = read_network(folder_in / NETWORK)
    smaller = quantised_network(network, batches)
    write_network(folder_out, smaller, msgspec.structs.replace(before.interface))
    after = OnnxPredictor.load(folder_out, threads)
    old, new = (model.of_pixels(pixels).argmax(axis=1) for model in (before, after))
    return Quantised(
        len(network),
        len(smaller),
        float((old == labels).mean()),
        float((new == labels).mean()),
        float((old == new).mean()),
        len(images),
    )


def quantise_stored(folder: Path, task: FitTask) -> Fitted:
    """Store the int8 twin of the network in ``folder`` as the contestant of ``task``.

    Calibrated on up to ``CALIBRATION_IMAGES`` of its training images; see ``quantise``.
    """
    images, labels = calibration_images(task)
    found = quantise(folder, task.folder, images, labels, task.threads)
    return Fitted(len(images), log=[found.line()], details={"int8": found.summary()})


def quantised_network(network: bytes, batches: Sequence[dict[str, NDArray[Any]]]) -> bytes:
    """The bytes of the int8 twin.

    Raises:
        ArtifactError: the quantiser cannot handle the network.
    """
    try:
        from classic_cv.neural.compression import quantized
    except ImportError:
        raise MissingExtraError(
            "8 bits need torch, onnx and onnxruntime: pip install 'classic-cv[deep]'"
        ) from None
    if "BatchNormalization" in inspect(network, max_bytes=MAX_NETWORK_BYTES).operators:
        network = _folded(network)
    try:
        return quantized(network, batches, OPERATORS, kept_float)
    except ArtifactError:
        raise
    except Exception as error:
        raise ArtifactError(
            f"the network cannot be brought to 8 bits ({error}); use it as it is, or give another network"
        ) from None


def _batches(predictor: OnnxPredictor, pixels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Pixels in batches; of the only size that the network takes where that is fixed."""
    rows = predictor.fixed_rows or ROWS
    if predictor.fixed_rows:
        pixels = pixels[np.arange(-(-len(pixels) // rows) * rows) % len(pixels)]
    return [pixels[start : start + rows] for start in range(0, len(pixels), rows)]


def _folded(network: bytes) -> bytes:
    """With normalisations folded into convolutions: between the two, 8 bits would cost accuracy and time."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "folded.onnx")
        options.optimized_model_filepath = str(path)
        onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
        model = onnx.load(path)
    # ONNX Runtime lists the operator sets of everybody; none of them is used at this level.
    own = [entry for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    del model.opset_import[:]
    model.opset_import.extend(own)
    data: bytes = model.SerializeToString()
    return data


def kept_float(model: Any) -> list[str]:
    """Names of the nodes of a ModelProto that stay in float32.

    What comes before the first convolution or matrix product; what sees pooled values only, such as the gates of
    squeeze-and-excitation and a classifier behind the pooling; the last linear layer and what follows it.
    """
    nodes = list(model.graph.node)
    stored = {tensor.name for tensor in model.graph.initializer}
    pooled: set[str] = set()
    names: set[str] = set()
    for node in nodes:
        if node.op_type == "Constant":
            stored.update(node.output)
            continue
        inputs = [name for name in node.input if name and name not in stored]
        if node.op_type in POOLING or (inputs and pooled.issuperset(inputs)):
            names.add(node.name)
            pooled.update(node.output)
    computing = [k for k, node in enumerate(nodes) if node.op_type in ("Conv", *LINEAR)]
    linear = [k for k in computing if nodes[k].op_type in LINEAR]
    if computing:
        names.update(node.name for node in nodes[: computing[0]])
    if linear and linear[-1] == computing[-1]:
        names.update(node.name for node in nodes[linear[-1] :])
    return sorted(names)
