"""Pruning, quantising, measuring, teachers: on small networks that were really trained on digits."""

from __future__ import annotations

import functools
import logging
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from torch import Tensor, nn

from classic_cv.errors import RecipeError
from classic_cv.heads.hybrid import HybridNetwork, make_session
from classic_cv.model import Model
from classic_cv.neural.architecture import (
    STEP,
    ConvNorm,
    Network,
    block_shapes,
    fold_norms,
    initialise,
    n_parameters,
)
from classic_cv.neural.augmentation import AugmentationSettings
from classic_cv.neural.compression import (
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    Measured,
    compared,
    compression_entry,
    milliseconds,
    pays,
    pruned,
    quantized,
    teacher_scores,
    widened,
)
from classic_cv.neural.export import Deployed, FeatureScaling, to_onnx
from classic_cv.neural.objective import Objective
from classic_cv.neural.samples import Samples
from classic_cv.neural.settings import NetworkSettings, OptimizationSettings
from classic_cv.neural.training import Clock, Trainer, color_scale, mean_color, score
from classic_cv.onnx_file import count_parameters, inspect

KINDS = ["plain", "residual", "dense", "separable"]
OFF = AugmentationSettings(shift=0, rotation=0, zoom=0, color=0, cutout=0, mixup=0)
SIDE = 16
TRAINED = 1200


def digits() -> tuple[Samples, FeatureScaling]:
    """Digits at 16 pixels; their gray levels as features, some columns made a thousand times as large."""
    raw, y = load_digits(return_X_y=True)
    images = [cv2.resize((row.reshape(8, 8) * 15).astype(np.uint8), (SIDE, SIDE)) for row in raw]
    features = raw.astype(np.float32)
    features[:, ::3] *= 1000
    deviation = features.std(axis=0)
    scaling = FeatureScaling(features.mean(axis=0), np.where(deviation > 0, deviation, 1).astype(np.float32))
    return Samples(np.stack(images)[..., None], scaling.apply(features), y.astype(np.int64)), scaling


def trained(
    kind: Any, with_features: bool = False, epochs: int = 8, network: Network | None = None
) -> Network:
    """A network that has learned digits a little."""
    samples = part(slice(0, TRAINED), with_features)
    torch.set_num_threads(1)
    if network is None:
        settings = NetworkSettings(kind, (8, 16, 32), (1, 1, 1), pooling="mean-max")
        network = Network(settings, 1, samples.features.shape[1], 10)
        network.mean.copy_(torch.from_numpy(mean_color(samples.pixels)))
        network.scale.copy_(torch.from_numpy(color_scale(samples.pixels)))
        initialise(network, torch.Generator().manual_seed(0))
    how = OptimizationSettings(epochs=epochs, batch_size=64, optimizer="adamw", bfloat16=False)
    trainer = Trainer(network, samples, part(slice(0, 0)), how, OFF, Objective("classification"), Clock())
    return trainer.run().network


def part(rows: slice, with_features: bool = False) -> Samples:
    samples, _ = DIGITS
    chosen = samples.part(np.arange(len(samples))[rows])
    if with_features:
        return chosen
    return Samples(chosen.pixels, np.zeros((len(chosen), 0), np.float32), chosen.y)


DIGITS = digits()


@pytest.fixture(scope="module")
def plain_features() -> Network:
    return trained("plain", with_features=True)


@pytest.fixture(scope="module", params=KINDS)
def network(request: pytest.FixtureRequest) -> Network:
    return trained(request.param)


def accuracy(scores: Any, y: NDArray[Any]) -> float:
    return float((np.asarray(scores).argmax(axis=1) == y).mean())


@functools.cache
def stored(network: Network) -> bytes:
    """The file of a network: made once, since an export takes a second."""
    if network.n_features:
        return to_onnx(Deployed(network, DIGITS[1]), (1, SIDE, SIDE), network.n_features)
    none = np.zeros(0, np.float32)
    return to_onnx(Deployed(network, FeatureScaling(none, none)), (1, SIDE, SIDE), 0)


def inputs(samples: Samples) -> dict[str, NDArray[Any]]:
    fed: dict[str, NDArray[Any]] = {
        "pixels": np.ascontiguousarray(samples.pixels.transpose(0, 3, 1, 2)).astype(np.float32)
    }
    if samples.features.shape[1]:
        scaling = DIGITS[1]
        fed["features"] = samples.features * scaling.scale + scaling.mean
    return fed


def calibration(with_features: bool = False) -> list[dict[str, NDArray[Any]]]:
    return [inputs(part(slice(k, k + 64), with_features)) for k in range(0, 256, 64)]


def run(network: bytes, fed: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
    [scores] = make_session(network).run(None, fed)
    return np.asarray(scores, np.float32)


# Pruning.


def random_network(settings: NetworkSettings, seed: int, n_features: int = 3) -> Network:
    """All weights and statistics drawn: nothing in it is zero or one by default."""
    network = Network(settings, 3, n_features, 4)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.1)
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.copy_(torch.randn(module.weight.shape, generator=generator) * 0.3)
    return network.eval()


def scores_of(network: Network, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.rand(5, 3, 16, 16, generator=generator) * 255
    features = torch.randn(5, network.n_features, generator=generator)
    with torch.no_grad():
        out: Tensor = network(pixels, features if network.n_features else None)
    return out


def n_real(network: Network) -> int:
    """Parameters as they are stored: counted on the folded network itself."""
    folded = random_network(network.settings, 0, network.n_features)
    fold_norms(folded)
    return sum(p.numel() for p in folded.parameters()) + len(folded.mean)


shapes = st.builds(
    NetworkSettings,
    block=st.sampled_from(KINDS),
    channels=st.tuples(*[st.integers(1, 13)] * 3),
    blocks=st.tuples(*[st.integers(0, 3)] * 3),
    pooling=st.sampled_from(["mean", "mean-max"]),
)


@settings(max_examples=30, deadline=None)
@given(shapes, st.floats(0, 0.99), st.sampled_from([0, 3]), st.integers(0, 99))
def test_a_pruned_network_is_narrower_and_runs(
    shape: NetworkSettings, share: float, n_features: int, seed: int
) -> None:
    network = random_network(shape, seed, n_features)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    small = pruned(network, share)
    assert all(0 < new <= old for new, old in zip(small.settings.channels, shape.channels, strict=True))
    assert msgspec.structs.replace(small.settings, channels=shape.channels) == shape
    assert scores_of(small).shape == (5, 4)
    assert n_parameters(small.settings, 3, n_features, 4) == n_real(small)
    assert torch.equal(small.mean, network.mean)
    assert torch.equal(small.scale, network.scale)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not small.training


@settings(max_examples=15, deadline=None)
@given(shapes, st.integers(0, 99))
def test_nothing_pruned_gives_the_same_scores(shape: NetworkSettings, seed: int) -> None:
    network = random_network(shape, seed)
    assert torch.equal(scores_of(pruned(network, 0)), scores_of(network))


def silence_stages(network: Network, dead: list[Tensor]) -> None:
    """Make channels of each stage dead: what gives them has no weights, and what takes them neither."""
    stages = [k for k, depth in enumerate(network.settings.blocks) for _ in range(depth)]
    network.first.conv.weight[dead[0]] = 0
    before = dead[0]
    for stage, block in zip(stages, network.blocks, strict=True):
        after = dead[stage]
        for name, module in block.named_modules():
            if not isinstance(module, nn.Conv2d):
                continue
            if name == "depthwise":
                module.weight[before] = 0
                continue
            module.weight[after] = 0
            module.weight[:, after if name == "second.conv" else before] = 0
        before = after
    silence_columns(network, before)


def silence_columns(network: Network, dead: Tensor) -> None:
    n = network.linear.in_features - network.n_features
    if network.settings.pooling == "mean-max":
        network.linear.weight[:, n // 2 + dead] = 0
    network.linear.weight[:, dead] = 0


def drawn(n: int, most: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(most, generator=generator)[:n]


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(["plain", "residual", "separable"]),
    st.sampled_from(["mean", "mean-max"]),
    st.tuples(*[st.integers(0, 2)] * 3),
    st.floats(0, 0.9),
    st.integers(0, 99),
)
def test_dead_channels_go_without_a_change(
    kind: Any, pooling: Any, depths: tuple[int, ...], share: float, seed: int
) -> None:
    shape = NetworkSettings(kind, (6, 8, 11), depths, pooling=pooling)
    network = random_network(shape, seed)
    left = pruned(network, share).settings.channels
    generator = torch.Generator().manual_seed(seed)
    dead = [drawn(old - new, old, generator) for old, new in zip(shape.channels, left, strict=True)]
    with torch.no_grad():
        silence_stages(network, dead)
    torch.testing.assert_close(scores_of(pruned(network, share)), scores_of(network), rtol=1e-4, atol=1e-3)


@settings(max_examples=20, deadline=None)
@given(
    st.tuples(*[st.integers(2, 14)] * 3),
    st.sampled_from(["mean", "mean-max"]),
    st.tuples(*[st.integers(0, 3)] * 3),
    st.floats(0, 0.9),
    st.integers(0, 99),
)
def test_dead_channels_of_dense_blocks_go_without_a_change(
    channels: tuple[int, ...], pooling: Any, depths: tuple[int, ...], share: float, seed: int
) -> None:
    shape = NetworkSettings("dense", channels, depths, pooling=pooling)
    network = random_network(shape, seed)
    small = pruned(network, share)
    layers = [network.first, *(block.body for block in network.blocks)]
    narrow = [small.first, *(block.body for block in small.blocks)]
    generator = torch.Generator().manual_seed(seed)
    dead, n_before = torch.zeros(0, dtype=torch.int64), 0
    with torch.no_grad():
        for layer, left in zip(layers, narrow, strict=True):
            assert isinstance(layer, ConvNorm)
            assert isinstance(left, ConvNorm)
            layer.conv.weight[:, dead] = 0
            n = layer.conv.out_channels
            own = drawn(n - left.conv.out_channels, n, generator)
            layer.conv.weight[own] = 0
            dead, n_before = torch.cat([dead, n_before + own]), n_before + n
        silence_columns(network, dead)
    torch.testing.assert_close(scores_of(pruned(network, share)), scores_of(network), rtol=1e-4, atol=1e-3)


def test_the_smallest_filters_go_as_the_normalisation_scales_them() -> None:
    network = random_network(NetworkSettings("plain", (3,), (0,)), 0)
    norm = network.first.norm
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_var is not None
    with torch.no_grad():
        # Weights alone would drop the first, factors of the normalisation without its variance the second.
        network.first.conv.weight.copy_(torch.tensor([1.0, 3.0, -4.0])[:, None, None, None])
        norm.weight.copy_(torch.tensor([-5.0, 1.0, 20.0]))
        norm.running_var.copy_(torch.tensor([1.0, 0.25, 10_000.0]))
    small = pruned(network, 0.3)
    # 5, 6 and 0.8 in proportion.
    assert torch.equal(small.first.conv.weight, network.first.conv.weight[:2])
    assert torch.equal(small.linear.weight, network.linear.weight[:, [0, 1, 3, 4, 5]])


@pytest.mark.parametrize(
    ("channels", "share", "left"),
    [
        ((16, 32, 64), 0.5, (8, 16, 32)),
        ((16, 40, 84), 0.3, (12, 28, 60)),
        ((4, 4, 4), 0.9, (4, 4, 4)),
        ((10, 7, 1), 0.5, (5, 4, 1)),
    ],
)
def test_multiples_of_the_step_stay_multiples(
    channels: tuple[int, ...], share: float, left: tuple[int, ...]
) -> None:
    network = Network(NetworkSettings("residual", channels, (1, 1, 1)), 3, 0, 2)
    small = pruned(network, share)
    assert small.settings.channels == left
    assert small.training


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_out_of_its_range_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="expected at least 0 and below 1"):
        pruned(Network(NetworkSettings(), 3, 0, 2), share)


def test_a_folded_network_is_not_pruned() -> None:
    network = Network(NetworkSettings(), 3, 0, 2).eval()
    fold_norms(network)
    with pytest.raises(ValueError, match="prune the network before that"):
        pruned(network, 0.5)


def test_a_pruned_network_learns_again(network: Network) -> None:
    test = part(slice(TRAINED, None))
    small = pruned(network, 0.25)
    assert sum(small.settings.channels) < sum(network.settings.channels)
    scores = score(network, test.pixels, test.features)
    tuned = trained("", epochs=4, network=small)
    before, after = accuracy(scores, test.y), accuracy(score(tuned, test.pixels, test.features), test.y)
    assert before > 0.85
    assert after > before - 0.08


# Numbers of 8 bits.


def test_quantising_changes_little(network: Network) -> None:
    test = part(slice(TRAINED, None))
    before = stored(network)
    after = quantized(before, calibration())
    summary = inspect(after)
    assert {"QuantizeLinear", "DequantizeLinear"} <= set(summary.operators)
    assert count_parameters(summary) == count_parameters(inspect(before))
    assert len(after) < len(before)
    expected, found = run(before, inputs(test)), run(after, inputs(test))
    assert abs(accuracy(found, test.y) - accuracy(expected, test.y)) < 0.02
    assert np.abs(found - expected).mean() < 0.05 * np.abs(expected).max()
    HybridNetwork.of(after, (1, SIDE, SIDE), 0, np.arange(10))


def test_raw_features_stay_as_they_are(plain_features: Network) -> None:
    test = part(slice(TRAINED, None), with_features=True)
    before = stored(plain_features)
    after = quantized(before, calibration(with_features=True))
    fed = inputs(test)
    expected, found = run(before, fed), run(after, fed)
    assert abs(accuracy(found, test.y) - accuracy(expected, test.y)) < 0.01
    # Of another row's features the scores change by what the float network says, to the last digits.
    other = {**fed, "features": fed["features"][::-1].copy()}
    np.testing.assert_allclose(run(after, other) - found, run(before, other) - expected, atol=1e-3)


def test_weights_are_symmetric_and_have_seven_bits(plain_features: Network) -> None:
    model: Any = onnx.load_from_string(quantized(stored(plain_features), calibration(with_features=True)))
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    weights = [array for array in tensors.values() if array.dtype == np.int8 and array.ndim == 4]
    assert len(weights) == 4
    # Two products of 255 and 64 fit into 16 bits with their sign: that is what the lost bit is for.
    assert all(np.abs(array.astype(int)).max() <= 64 for array in weights)
    scales = [tensors[node.input[1]] for node in model.graph.node if node.input[0] in tensors]
    assert {len(scale) for scale in scales} == {8, 16, 32}


def test_quantising_gives_the_same_bytes_in_every_process(plain_features: Network, tmp_path: Path) -> None:
    network, fed = stored(plain_features), calibration(with_features=True)
    (tmp_path / "network.onnx").write_bytes(network)
    np.savez(tmp_path / "batch.npz", pixels=fed[0]["pixels"], features=fed[0]["features"])
    code = (
        "import sys, numpy, pathlib; from classic_cv.neural.compression import quantized\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "batch = dict(numpy.load(folder / 'batch.npz'))\n"
        "done = quantized((folder / 'network.onnx').read_bytes(), [batch])\n"
        "(folder / 'quantized.onnx').write_bytes(done)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == done.stderr == ""
    assert (tmp_path / "quantized.onnx").read_bytes() == quantized(network, fed[:1])


def test_quantising_leaves_no_files_and_says_nothing(
    plain_features: Network,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    network = stored(plain_features)
    capfd.readouterr()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    root = logging.getLogger()
    state = list(root.handlers), list(root.filters), root.level
    caplog.clear()
    quantized(network, calibration(with_features=True))
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []
    assert (list(root.handlers), list(root.filters)) == state[:2]


def test_quantising_needs_images(plain_features: Network) -> None:
    with pytest.raises(ValueError, match="expected at least one"):
        quantized(stored(plain_features), [])


# What it gives.


def test_times_are_of_one_image(plain_features: Network) -> None:
    network, fed = stored(plain_features), inputs(part(slice(0, 64), with_features=True))
    assert 0 < milliseconds(network, fed, repeats=5) < 1000
    first, second = compared(network, network, fed, repeats=5)
    assert first > 0
    assert second > 0


@pytest.mark.parametrize(
    ("after", "kept"),
    [
        (Measured(0.1, 50, 2.0), True),
        (Measured(0.1, 200, 0.5), True),
        (Measured(0.1, 100, 1.0), False),
        (Measured(0.104, 50, 0.5), True),
        (Measured(0.106, 50, 0.5), False),
        (Measured(0.05, 200, 2.0), False),
    ],
)
def test_a_change_pays_where_it_is_smaller_or_faster_and_as_good(after: Measured, kept: bool) -> None:
    before = Measured(0.1, 100, 1.0)
    assert pays(before, after) is kept
    entry = compression_entry("int8", before, after)
    assert entry == {
        "name": "int8",
        "score_before": 0.9,
        "score_after": 1 - after.error,
        "bytes_before": 100,
        "bytes_after": after.n_bytes,
        "ms_before": 1.0,
        "ms_after": after.milliseconds,
        "kept": kept,
    }
    assert compression_entry("prune", before, after, kept=True)["kept"] is True


# Teachers.


@given(st.tuples(*[st.integers(1, 4096)] * 2), st.floats(0.01, 16))
def test_a_wider_network_has_multiples_of_the_step(channels: tuple[int, int], factor: float) -> None:
    settings = NetworkSettings("dense", channels, (1, 2), pooling="mean-max", max_parameters=1000)
    wide = widened(settings, factor)
    assert wide == msgspec.structs.replace(settings, channels=wide.channels, max_parameters="none")
    for old, new in zip(channels, wide.channels, strict=True):
        assert new % STEP == 0
        assert STEP <= new <= 4096
        assert abs(new - min(4096, max(STEP, factor * old))) <= STEP / 2
    assert msgspec.convert(msgspec.to_builtins(wide), NetworkSettings) == wide


def test_a_factor_is_above_zero() -> None:
    with pytest.raises(ValueError, match="expected above 0"):
        widened(NetworkSettings(), 0.0)


def some_samples(planes: int = 3, side: int = SIDE, n: int = 70) -> Samples:
    rng = np.random.default_rng(0)
    # Some dark, some bright, in all colors.
    most = rng.integers(1, 256, (n, 1, 1, planes))
    pixels = rng.integers(0, most, (n, side, side, planes)).astype(np.uint8)
    return Samples(pixels, np.zeros((n, 0), np.float32), np.zeros(n, np.int64))


def linear_teacher(
    path: Path,
    shape: list[Any],
    n_outputs: int = 4,
    last: str = "",
    inputs: tuple[str, ...] = ("image",),
    axes: tuple[int, ...] = (2, 3),
) -> tuple[Path, NDArray[np.float32]]:
    """A file with the mean of each plane, a linear layer and perhaps an activation; and the layer's weights."""
    weights = np.random.default_rng(1).normal(size=(3, n_outputs)).astype(np.float32)
    nodes = [
        helper.make_node("ReduceMean", [inputs[0], "axes"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["logits" if last else "out"]),
    ]
    if last:
        nodes.append(helper.make_node(last, ["logits"], ["out"]))
    graph = helper.make_graph(
        nodes,
        "teacher",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in inputs],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [shape[0], n_outputs])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array(axes, np.int64), "axes"),
        ],
    )
    model: Any = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path, weights


def expected_logits(pixels: NDArray[np.uint8], weights: NDArray[np.float32]) -> NDArray[np.float64]:
    means = pixels.mean(axis=(1, 2)) / 255
    out: NDArray[np.float64] = ((means - IMAGENET_MEAN) / np.array(IMAGENET_DEVIATION)) @ weights
    return out


@pytest.mark.parametrize("rows", ["n", 1, 32])
@pytest.mark.parametrize("sides", [("h", "w"), (SIDE, SIDE)])
@pytest.mark.parametrize("planes_first", [True, False])
def test_a_foreign_network_gets_standardised_images(
    tmp_path: Path, rows: Any, sides: tuple[Any, Any], planes_first: bool
) -> None:
    shape = [rows, 3, *sides] if planes_first else [rows, *sides, 3]
    axes = (2, 3) if planes_first else (1, 2)
    path, weights = linear_teacher(tmp_path / "teacher.onnx", shape, axes=axes)
    samples = some_samples()
    found = teacher_scores(str(path), samples, 4)
    assert found.shape == (70, 2, 4)
    assert found.dtype == np.float32
    expected = expected_logits(samples.pixels, weights)
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found[:, 1], expected, rtol=1e-4, atol=1e-4)


def test_a_foreign_network_gets_images_of_its_size(tmp_path: Path) -> None:
    path, weights = linear_teacher(tmp_path / "teacher.onnx", ["n", 3, 8, 24])
    gray = Samples(
        np.full((3, SIDE, SIDE, 1), 51, np.uint8), np.zeros((3, 0), np.float32), np.zeros(3, np.int64)
    )
    expected = expected_logits(np.full((3, 1, 1, 3), 51, np.uint8), weights)
    np.testing.assert_allclose(teacher_scores(str(path), gray, 4)[:, 0], expected, rtol=1e-4, atol=1e-5)


def test_logarithms_are_taken_of_probabilities(tmp_path: Path) -> None:
    path, weights = linear_teacher(tmp_path / "teacher.onnx", ["n", 3, "h", "w"], last="Softmax")
    samples = some_samples()
    found = teacher_scores(str(path), samples, 4)[:, 0]
    logits = expected_logits(samples.pixels, weights)
    expected = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("n_given", "last"), [(1, ""), (1, "Sigmoid"), (2, ""), (2, "Softmax")])
def test_two_classes_have_one_score(tmp_path: Path, n_given: int, last: str) -> None:
    path, weights = linear_teacher(tmp_path / "teacher.onnx", ["n", 3, "h", "w"], n_given, last)
    samples = some_samples()
    logits = expected_logits(samples.pixels, weights)
    expected = logits[:, 1:] - logits[:, :1] if n_given == 2 else logits
    found = teacher_scores(str(path), samples, 1)
    assert found.shape == (70, 2, 1)
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-3, atol=1e-3)


def test_a_network_of_this_package_gets_its_own_pixels(network: Network, tmp_path: Path) -> None:
    path = tmp_path / "own.onnx"
    path.write_bytes(stored(network))
    samples = part(slice(0, 130))
    found = teacher_scores(str(path), samples, 10)
    expected = score(network, samples.pixels, samples.features).numpy()
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-3, atol=1e-3)
    mirrored = score(network, np.ascontiguousarray(samples.pixels[:, :, ::-1]), samples.features).numpy()
    np.testing.assert_allclose(found[:, 1], mirrored, rtol=1e-3, atol=1e-3)
    assert np.abs(found[:, 0] - found[:, 1]).max() > 0.1
    # In color and of another size the same images, near enough.
    larger = np.stack([cv2.resize(image, (2 * SIDE, 2 * SIDE)) for image in samples.pixels])
    colored = Samples(np.repeat(larger[..., None], 3, axis=3), samples.features, samples.y)
    close = teacher_scores(str(path), colored, 10)
    assert (close[:, 0].argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.8


def test_a_model_file_gives_logarithms_of_its_probabilities(model: Model, model_file: Path) -> None:
    samples = some_samples(side=32, n=5)
    found = teacher_scores(str(model_file), samples, 1)
    for side, pixels in enumerate([samples.pixels, samples.pixels[:, :, ::-1]]):
        p = model.predict_proba([np.ascontiguousarray(image) for image in pixels])
        expected = np.log(p[:, 1] / p[:, 0])
        np.testing.assert_allclose(found[:, side, 0], expected, rtol=1e-3, atol=1e-3)
    gray = Samples(samples.pixels[..., :1], samples.features, samples.y)
    assert teacher_scores(str(model_file), gray, 1).shape == (5, 2, 1)
    with pytest.raises(RecipeError, match="gives 2 scores per image, allowed are 10"):
        teacher_scores(str(model_file), samples, 10)


@pytest.mark.parametrize(
    ("teacher", "n_outputs", "message"),
    [
        ({"shape": ["n", 3, "h", "w"]}, 7, "gives 4 scores per image, allowed are 7; give a classifier"),
        ({"shape": ["n", 3, "h", "w"]}, 1, "gives 4 scores per image, allowed are 1 or 2"),
        ({"shape": ["n", 3, "h", "w"], "inputs": ("a", "b")}, 4, r"inputs \['a', 'b'\].*one of each"),
        (
            {"shape": ["n", 3, "h", "w"], "inputs": ("a", "features")},
            4,
            r"give the model file \(.safetensors\)",
        ),
        (
            {"shape": ["n", 1, 3, 8], "axes": (1, 3)},
            4,
            r"of shape \('n', 1, 3, 8\), allowed is tensor\(float\) of \(n, 3, h, w\)",
        ),
        ({"shape": ["n", 3, 8], "axes": (2,)}, 4, r"of shape \('n', 3, 8\), allowed is"),
        ({"shape": ["n", 3, 8, 8], "last": "Log"}, 4, "no finite numbers"),
    ],
)
def test_other_networks_are_refused(
    tmp_path: Path, teacher: dict[str, Any], n_outputs: int, message: str
) -> None:
    path, _ = linear_teacher(tmp_path / "teacher.onnx", **teacher)
    with pytest.raises(RecipeError, match=message) as raised:
        teacher_scores(str(path), some_samples(n=3), n_outputs)
    assert str(raised.value).startswith(f"head.compression.teacher = {str(path)!r}: ")


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"cannot be read .No such file.*give the path"):
        teacher_scores(str(tmp_path / "none.onnx"), some_samples(n=3), 4)
    with pytest.raises(RecipeError, match="is no model that can be loaded"):
        teacher_scores(str(tmp_path / "none.safetensors"), some_samples(n=3), 4)
    (tmp_path / "noise.onnx").write_bytes(b"noise")
    with pytest.raises(RecipeError, match="is no network that can be run"):
        teacher_scores(str(tmp_path / "noise.onnx"), some_samples(n=3), 4)


def test_a_network_that_fails_on_the_images_is_refused(tmp_path: Path) -> None:
    path, _ = linear_teacher(tmp_path / "teacher.onnx", ["n", 3, "h", "w"], axes=(3,))
    with pytest.raises(RecipeError, match="cannot be run on images of shape"):
        teacher_scores(str(path), some_samples(n=3), 4)


def test_used_blocks_are_what_settings_say() -> None:
    for kind in KINDS:
        shape = NetworkSettings(kind, (8, 16), (2, 1))  # type: ignore[arg-type]
        assert len(list(block_shapes(pruned(Network(shape, 3, 0, 2), 0.5).settings))) == 3
