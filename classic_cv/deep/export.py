"""A network as the bytes of an ONNX file: uint8 pixels in, probabilities out, everything in between inside."""

from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from classic_cv.deep.networks import Statistics, as_input
from classic_cv.errors import TrainingError
from classic_cv.neural.export import OPSET, quiet, stripped

IMAGE, PROBABILITIES = "image", "probabilities"
"""Names of the input, uint8 (n, height, width, 3), and of the output, float32 (n, n_classes)."""

TOLERANCE = 1e-3
"""The stored probabilities may differ from torch's by so much."""

Border = tuple[int, int, int, int]
"""Zeros around an image: above, left, below, right, as in ONNX."""


class Deployed(nn.Module):
    """A network as it is stored: uint8 pixels (n, height, width, 3) to probabilities (n, n_classes)."""

    mean: Tensor
    scale: Tensor

    def __init__(self, network: nn.Module, values: Statistics) -> None:
        super().__init__()
        self.network = network
        for name, three in (("mean", values.mean), ("scale", values.std)):
            self.register_buffer(name, 255 * torch.tensor(three, dtype=torch.float32)[:, None, None])

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        planes = image.permute(0, 3, 1, 2).to(torch.float32)
        logits: Tensor = self.network((planes - self.mean) / self.scale)
        return torch.softmax(logits, dim=1)


def to_onnx(
    network: nn.Module, size: int, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> bytes:
    """The bytes of an ONNX file for batches of any number of images of one size, weights embedded.

    torch's first exporter writes it: it takes about a second, the one that followed it up to 20 for the same file,
    and the time counts. What the first one cannot store goes to the second.

    Args:
        network: what to store: float32 (n, 3, size, size) to logits (n, n_classes); it is copied.
        size: pixels of both sides.
        mean, std: of each color, pixels being 0 to 1.

    Raises:
        TrainingError: neither exporter can store it.
    """
    own = copy.deepcopy(network).eval().to(memory_format=torch.contiguous_format).requires_grad_(False)
    pixels, values = torch.zeros(2, size, size, 3, dtype=torch.uint8), Statistics(mean, std)
    try:
        even = copy.deepcopy(own)
        borders = _same_padding(even, size)
        return _compact(_with_borders(_traced(Deployed(even, values).eval(), pixels), borders))
    except Exception:  # of any kind: the second exporter's error is the one to show
        try:
            return _compact(_captured(Deployed(own, values).eval(), pixels))
        except Exception as error:
            raise TrainingError(
                f"the network cannot be stored as ONNX ({str(error).splitlines()[0]}): take another architecture"
            ) from None


def _traced(deployed: nn.Module, pixels: Tensor) -> Any:
    """By following one batch through the network."""
    import onnx

    buffer = io.BytesIO()
    with quiet(), torch.no_grad():
        torch.onnx.export(
            deployed,
            (pixels,),
            buffer,  # type: ignore[arg-type]
            dynamo=False,
            opset_version=OPSET,
            input_names=[IMAGE],
            output_names=[PROBABILITIES],
            dynamic_axes={IMAGE: {0: "n"}, PROBABILITIES: {0: "n"}},
        )
    return onnx.load_from_string(buffer.getvalue())


def _captured(deployed: nn.Module, pixels: Tensor) -> Any:
    """By analysing the network's code."""
    with quiet(), torch.no_grad():
        program = torch.onnx.export(
            deployed,
            (pixels,),
            dynamo=True,
            external_data=False,
            opset_version=OPSET,
            input_names=[IMAGE],
            output_names=[PROBABILITIES],
            dynamic_shapes=({0: torch.export.Dim("n")},),
            verbose=False,
        )
    assert program is not None
    return program.model_proto


def _compact(model: Any) -> bytes:
    """Without notes, and without nodes that only hand a stored weight on, which quantisers do not look through."""
    stored = {tensor.name for tensor in model.graph.initializer}
    same: dict[str, str] = {}
    kept = []
    for node in model.graph.node:
        if node.op_type == "Identity" and node.input[0] in stored:
            same[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    for node in kept:
        for index, name in enumerate(node.input):
            node.input[index] = same.get(name, name)
    nodes = [copy.deepcopy(node) for node in kept]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return stripped(model)


def _same_padding(network: nn.Module, size: int) -> list[Border | None]:
    """Let convolutions that are padded as in TensorFlow have the border that an image of ``size`` gives, in place.

    Such a layer computes its border, which may be wider at the end, from each image; here the size is known. torch has
    no uneven border: the network gets the even one that gives results of the same size, and the file the right one.

    Returns:
        The right border of each convolution in the order that they are computed in; None where it stays.
    """
    from timm.layers.conv2d_same import Conv2dSame
    from timm.layers.padding import get_same_padding

    borders: list[tuple[str, Border | None]] = []

    def note(name: str, layer: nn.Conv2d, x: Tensor) -> None:
        sides = zip(x.shape[2:], layer.kernel_size, layer.stride, layer.dilation, strict=True)
        down, across = (int(get_same_padding(*side)) for side in sides)
        border = (down // 2, across // 2, down - down // 2, across - across // 2)
        borders.append((name, border if isinstance(layer, Conv2dSame) else None))

    twin = copy.deepcopy(network)
    for name, module in twin.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(lambda layer, given, name=name: note(name, layer, given[0]))
    with torch.no_grad():
        twin(torch.zeros(1, 3, size, size))
    for name, border in borders:
        if border:
            even = nn.Conv2d(1, 1, 1)
            old = network.get_submodule(name).__dict__
            even.__dict__.update({key: value for key, value in old.items() if key in even.__dict__})
            even.padding = border[2:]
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, even)
    return [border for _, border in borders]


def _with_borders(model: Any, borders: list[Border | None]) -> Any:
    """The ONNX model with these borders of its convolutions."""
    nodes = [node for node in model.graph.node if node.op_type == "Conv"]
    for node, border in zip(nodes, borders, strict=True):
        if border:
            (pads,) = (attribute for attribute in node.attribute if attribute.name == "pads")
            pads.ints[:] = border
    return model


def probabilities(
    network: nn.Module, pixels: NDArray[np.uint8], values: Statistics, at_a_time: int = 64
) -> NDArray[np.float32]:
    """What torch makes of images uint8 (n, size, size, 3): float32 (n, n_classes), rows sum to 1."""
    network.eval()
    with torch.inference_mode():
        parts = [
            torch.softmax(network(as_input(pixels[k : k + at_a_time], values)).float(), dim=1)
            for k in range(0, len(pixels), at_a_time)
        ]
    return np.asarray(torch.cat(parts).numpy(), np.float32)


def check_export(network: nn.Module, data: bytes, sample: NDArray[np.uint8], values: Statistics) -> float:
    """Compare the stored network with torch's on some images; returns the largest difference of a probability.

    Args:
        network: what was stored.
        data: the bytes of the ONNX file.
        sample: uint8 (n, size, size, 3), some images.
        values: what the images are standardised with.

    Raises:
        TrainingError: they differ by more than ``TOLERANCE``.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    found = session.run([PROBABILITIES], {IMAGE: sample})[0]
    expected = probabilities(network, sample, values)
    difference = float(np.abs(found - expected).max()) if np.isfinite(found).all() else np.inf
    if not difference <= TOLERANCE:
        raise TrainingError(
            f"the stored network's probabilities differ from the trained one's by up to {difference:.3g}, more than "
            f"{TOLERANCE}: take another architecture, or another size"
        )
    return difference
