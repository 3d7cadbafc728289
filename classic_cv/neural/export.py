"""A trained network as the bytes of an ONNX file: everything linear folded, weights embedded."""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from classic_cv.heads.hybrid import FEATURES, PIXELS, SCORES
from classic_cv.neural.architecture import Network, fold_norms

OPSET = 18


@dataclass(frozen=True)
class FeatureScaling:
    """What standardises features, and perhaps turns them: ``((x - mean) / scale) @ rotation.T``.

    Attributes:
        mean, scale: float32 (n_features,).
        rotation: float32 (n_components, n_features); None for none.
    """

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    rotation: NDArray[np.float32] | None = None

    @property
    def n_out(self) -> int:
        """Columns that the network sees."""
        return len(self.mean) if self.rotation is None else len(self.rotation)

    def apply(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features (n, n_features) as the network sees them: float32 (n, n_out)."""
        scaled = (X - self.mean) / self.scale
        return np.asarray(scaled if self.rotation is None else scaled @ self.rotation.T, np.float32)

    def folded(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (k, n_out) and bias (k,) of scaled features as those of the features themselves."""
        of_scaled = weight.double()
        if self.rotation is not None:
            of_scaled = of_scaled @ torch.from_numpy(self.rotation).double()
        of_raw = of_scaled / torch.from_numpy(self.scale).double()
        return of_raw.to(weight), (bias.double() - of_raw @ torch.from_numpy(self.mean).double()).to(bias)


class Deployed(nn.Module):
    """A network as it is stored: raw pixels and raw features in, final scores out.

    Args:
        network: on evaluation; it is copied.
        scaling: of the features, folded into the linear layer.
        gain, offset: float32 (n_outputs,): the scores become ``scores * gain + offset``, folded as well.
    """

    mean: Tensor

    def __init__(
        self,
        network: Network,
        scaling: FeatureScaling,
        gain: NDArray[np.float32] | None = None,
        offset: NDArray[np.float32] | None = None,
    ) -> None:
        super().__init__()
        own = copy.deepcopy(network).eval().to(memory_format=torch.contiguous_format)
        fold_norms(own)
        with torch.no_grad():
            _fold_features(own.linear, own.n_features, scaling)
            if gain is not None and offset is not None:
                own.linear.weight.mul_(torch.from_numpy(gain)[:, None])
                own.linear.bias.mul_(torch.from_numpy(gain)).add_(torch.from_numpy(offset))
            # The division by the scale goes into the weights; the mean stays, for the sake of the padded border.
            own.first.conv.weight.div_(own.scale[None, :, None, None])
            own.scale.fill_(1.0)
        self.network = own

    def forward(self, pixels: Tensor, features: Tensor | None = None) -> Tensor:
        """Pixels (n, planes, h, w), 0 to 255, and features (n, n_features) to scores (n, n_outputs)."""
        own = self.network
        x = torch.relu(own.first(pixels - own.mean[:, None, None]))
        for block in own.blocks:
            x = block(x)
        mean = x.mean(dim=(2, 3))
        pooled = torch.cat([mean, x.amax(dim=(2, 3))], 1) if own.settings.pooling == "mean-max" else mean
        joined = pooled if features is None else torch.cat([pooled, features], dim=1)
        scores: Tensor = own.linear(joined)
        return scores


def _fold_features(linear: nn.Linear, n_features: int, scaling: FeatureScaling) -> None:
    """Make the linear layer take raw features, in place."""
    if not n_features:
        return
    n_pooled = linear.in_features - n_features
    weight, bias = scaling.folded(linear.weight[:, n_pooled:], linear.bias)
    joined = torch.cat([linear.weight[:, :n_pooled], weight], dim=1)
    linear.weight, linear.bias = nn.Parameter(joined), nn.Parameter(bias)
    linear.in_features = joined.shape[1]


def to_onnx(deployed: Deployed, shape: tuple[int, int, int], n_features: int) -> bytes:
    """The bytes of an ONNX file for batches of any size.

    Args:
        deployed: what to store.
        shape: planes, height, width of the pixels.
        n_features: columns of the raw features; 0 for none.
    """
    pixels, features = torch.zeros(2, *shape), torch.zeros(2, n_features)
    inputs = (pixels, features) if n_features else (pixels,)
    batch = {0: torch.export.Dim("n")}
    with quiet(), torch.no_grad():
        program = torch.onnx.export(
            deployed.eval(),
            inputs,
            dynamo=True,
            external_data=False,
            opset_version=OPSET,
            input_names=[PIXELS, FEATURES][: len(inputs)],
            output_names=[SCORES],
            dynamic_shapes=tuple(batch for _ in inputs),
            verbose=False,
        )
    assert program is not None
    return stripped(program.model_proto)


def stripped(model: object) -> bytes:
    """An ONNX model without notes on where its nodes come from: they hold paths, and half of a small file."""
    from onnx import ModelProto

    assert isinstance(model, ModelProto)
    clean = ModelProto()
    clean.CopyFrom(model)
    del clean.metadata_props[:]
    clean.doc_string = ""
    del clean.graph.metadata_props[:]
    clean.graph.doc_string = ""
    # Shapes of what lies between are found again at loading.
    del clean.graph.value_info[:]
    for node in clean.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
        for attribute in node.attribute:
            attribute.doc_string = ""
    for value in [*clean.graph.input, *clean.graph.output]:
        del value.metadata_props[:]
        value.doc_string = ""
    for tensor in clean.graph.initializer:
        del tensor.metadata_props[:]
        tensor.doc_string = ""
    data: bytes = clean.SerializeToString(deterministic=True)
    return data


@contextmanager
def quiet() -> Iterator[None]:
    """Without the exporter's chatter: nothing in it is about the network."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
