"""The stored network: the scores of the trained one, nothing that is not about it, the same bytes again."""

from __future__ import annotations

import copy
import functools
import importlib.util
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from classic_cv.heads.hybrid import HybridNetwork
from classic_cv.neural.architecture import BLOCKS, Network, initialise, n_parameters
from classic_cv.neural.export import OPSET, Deployed, FeatureScaling, stripped, to_onnx
from classic_cv.neural.settings import NetworkSettings
from classic_cv.neural.training import score
from classic_cv.onnx_file import count_parameters, inspect

Floats = NDArray[np.float32]


def trained(shape: NetworkSettings, planes: int, n_features: int, n_outputs: int) -> Network:
    """A network with the weights and statistics that training might have left."""
    network = Network(shape, planes, n_features, n_outputs)
    generator = torch.Generator().manual_seed(1)
    initialise(network, generator)
    network.mean.copy_(torch.linspace(90, 130, planes))
    network.scale.copy_(torch.linspace(50, 70, planes))
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                for tensor in (module.running_mean, module.bias):
                    tensor.copy_(0.3 * torch.randn(tensor.shape, generator=generator))
                for tensor in (module.running_var, module.weight):
                    tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
        network.linear.weight.normal_(generator=generator)
        network.linear.bias.normal_(generator=generator)
    return network.eval().to(memory_format=torch.channels_last)


def scaling_of(n_features: int, n_components: int = 0) -> FeatureScaling:
    rng = np.random.default_rng(2)
    mean = rng.normal(3, 2, n_features).astype(np.float32)
    scale = rng.uniform(0.1, 5, n_features).astype(np.float32)
    rotation = rng.standard_normal((n_components, n_features)).astype(np.float32) if n_components else None
    return FeatureScaling(mean, scale, rotation)


def samples(n: int, planes: int, n_features: int, size: int = 16) -> tuple[NDArray[np.uint8], Floats]:
    """Pixels (n, size, size, planes) and raw features (n, n_features)."""
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (n, size, size, planes)).astype(np.uint8)
    return pixels, rng.normal(3, 4, (n, n_features)).astype(np.float32)


def rows_of(pixels: NDArray[np.uint8], features: Floats) -> Floats:
    planes = pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)
    return np.hstack([features, planes.astype(np.float32)])


class Case(msgspec.Struct, frozen=True):
    """A network to store: raw features, of which so many components are seen, and final scores of another scale."""

    block: str
    pooling: str = "mean"
    planes: int = 3
    n_features: int = 0
    n_components: int = 0
    n_outputs: int = 3
    calibrated: bool = False

    @property
    def shape(self) -> NetworkSettings:
        parts = {"block": self.block, "channels": (4, 6), "blocks": (1, 2), "pooling": self.pooling}
        return msgspec.convert(parts, NetworkSettings)

    @property
    def network(self) -> Network:
        return trained(self.shape, self.planes, self.n_components or self.n_features, self.n_outputs)

    @property
    def scaling(self) -> FeatureScaling:
        return scaling_of(self.n_features, self.n_components)

    @property
    def calibration(self) -> tuple[Floats, Floats]:
        if not self.calibrated:
            return np.ones(self.n_outputs, np.float32), np.zeros(self.n_outputs, np.float32)
        rng = np.random.default_rng(4)
        gain = rng.uniform(0.5, 20, self.n_outputs).astype(np.float32)
        return gain, rng.normal(0, 30, self.n_outputs).astype(np.float32)

    @property
    def deployed(self) -> Deployed:
        return Deployed(self.network, self.scaling, *(self.calibration if self.calibrated else ()))

    @property
    def sides(self) -> tuple[int, int, int]:
        return self.planes, 16, 16


CASES = [
    Case("plain"),
    Case("plain", "mean-max", n_features=5, calibrated=True),
    Case("residual", n_features=6, n_components=3),
    Case("residual", "mean-max", planes=1, n_outputs=1, calibrated=True),
    Case("dense", n_features=4, n_outputs=1),
    Case("dense", "mean-max"),
    Case("separable", calibrated=True),
    Case("separable", "mean-max", n_features=7, n_components=5, n_outputs=1, calibrated=True),
]


@functools.cache
def stored(case: Case) -> bytes:
    return to_onnx(case.deployed, case.sides, case.n_features)


def head_of(case: Case) -> HybridNetwork:
    return HybridNetwork.of(stored(case), case.sides, case.n_features, np.arange(max(2, case.n_outputs)))


def test_every_block_with_every_pooling_is_among_the_cases() -> None:
    assert {(case.block, case.pooling) for case in CASES} == {
        (block, pooling) for block in BLOCKS for pooling in ("mean", "mean-max")
    }


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_stored_scores_are_the_trained_ones_with_all_that_is_linear_folded(case: Case) -> None:
    pixels, features = samples(9, case.planes, case.n_features)
    gain, offset = case.calibration
    expected = score(case.network, pixels, case.scaling.apply(features)).numpy() * gain + offset
    found = head_of(case).decision_function(rows_of(pixels, features)).reshape(expected.shape)
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_the_file_is_a_plain_network_with_as_many_parameters_as_the_arithmetic_says(case: Case) -> None:
    summary = inspect(stored(case))
    assert summary.inputs == (("pixels", "features") if case.n_features else ("pixels",))
    assert summary.outputs == ("scores",)
    assert summary.opset == OPSET
    assert "BatchNormalization" not in summary.operators
    expected = n_parameters(case.shape, case.planes, case.n_features, case.n_outputs)
    assert count_parameters(summary) == expected == head_of(case).n_parameters


@pytest.mark.parametrize("case", CASES[:4], ids=repr)
def test_nothing_in_the_file_says_where_it_was_made(case: Case) -> None:
    data = stored(case)
    model = onnx.load_from_string(data)
    values = [*model.graph.input, *model.graph.output, *model.graph.node, *model.graph.initializer]
    for part in [model, model.graph, *values]:
        assert not part.doc_string
        assert not part.metadata_props
    assert not model.graph.value_info
    assert not model.functions
    torch_spec = importlib.util.find_spec("torch")
    assert torch_spec is not None
    assert torch_spec.origin is not None
    for folder in (Path.cwd(), Path(__file__).parent, Path.home(), Path(torch_spec.origin).parent):
        assert str(folder).encode() not in data
    for word in (b"classic_cv", b".py", b"site-packages", b"Traceback"):
        assert word not in data


def test_the_same_network_gives_the_same_bytes() -> None:
    case = CASES[2]
    assert to_onnx(case.deployed, case.sides, case.n_features) == stored(case)


@pytest.mark.parametrize("n", [1, 2, 3, 50])
def test_batches_may_have_any_size(n: int) -> None:
    case = CASES[1]
    rows = rows_of(*samples(50, case.planes, case.n_features))
    head = head_of(case)
    np.testing.assert_allclose(head._scores(rows[:n]), head._scores(rows)[:n], rtol=1e-5, atol=1e-4)


def test_a_batch_without_images_has_no_scores() -> None:
    case = CASES[1]
    none = np.zeros((0, case.n_features + 3 * 16 * 16), np.float32)
    assert head_of(case).decision_function(none).shape == (0, 3)


def test_images_of_any_sides_are_stored() -> None:
    case = Case("separable", planes=1)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (4, 11, 19, 1)).astype(np.uint8)
    none = np.zeros((4, 0), np.float32)
    data = to_onnx(case.deployed, (1, 11, 19), 0)
    head = HybridNetwork.of(data, (1, 11, 19), 0, np.arange(3))
    expected = score(case.network, pixels, none).numpy()
    np.testing.assert_allclose(head.decision_function(rows_of(pixels, none)), expected, rtol=1e-4, atol=1e-4)


def test_what_is_stored_is_a_copy() -> None:
    network = CASES[1].network
    before = copy.deepcopy(network.state_dict())
    Deployed(network, CASES[1].scaling, *CASES[1].calibration)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


# Scaling.


@pytest.mark.parametrize("n_components", [0, 3])
def test_features_are_standardised_then_turned(n_components: int) -> None:
    scaling, (_, X) = scaling_of(6, n_components), samples(10, 1, 6)
    expected = (X.astype(np.float64) - scaling.mean) / scaling.scale
    if scaling.rotation is not None:
        expected = np.array([[row @ axis for axis in scaling.rotation] for row in expected])
    found = scaling.apply(X)
    assert found.dtype == np.float32
    assert scaling.n_out == found.shape[1] == (n_components or 6)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("n_components", [0, 3])
def test_folded_weights_of_raw_features_give_the_scores_of_scaled_ones(n_components: int) -> None:
    scaling, (_, X) = scaling_of(6, n_components), samples(10, 1, 6)
    generator = torch.Generator().manual_seed(0)
    weight, bias = (
        torch.randn(4, scaling.n_out, generator=generator),
        torch.randn(4, generator=generator),
    )
    raw_weight, raw_bias = scaling.folded(weight, bias)
    assert raw_weight.shape == (4, 6)
    expected = scaling.apply(X) @ weight.numpy().T + bias.numpy()
    found = X @ raw_weight.numpy().T + raw_bias.numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def test_stripping_leaves_the_network_and_takes_the_notes() -> None:
    model: Any = onnx.load_from_string(stored(CASES[0]))
    plain = model.SerializeToString(deterministic=True)
    model.doc_string = "made in /home"
    model.graph.doc_string = "here"
    for part in (model, model.graph, model.graph.node[0], model.graph.input[0], model.graph.initializer[0]):
        part.metadata_props.add(key="path", value="/home/file.py")
    model.graph.node[0].doc_string = "line 3"
    model.graph.node[1].attribute[0].doc_string = "line 4"
    model.graph.output[0].doc_string = "scores of /home"
    model.graph.value_info.add(name="between")
    assert stripped(model) == plain
    assert model.doc_string
