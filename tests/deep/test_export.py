"""Every network of the shelf is trained for some steps and stored, and answers as torch does."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import onnx
import pytest
import torch
from torch import nn

from classic_cv.deep import export
from classic_cv.deep.export import IMAGE, PROBABILITIES, check_export, probabilities, to_onnx
from classic_cv.deep.networks import Statistics, build
from classic_cv.deep.settings import DeepSettings, deep_shelf, load_deep
from classic_cv.deep.training import CpuClock, DeepData, train
from classic_cv.errors import TrainingError
from classic_cv.onnx_file import inspect

pytestmark = pytest.mark.usefixtures("one_thread")

VALUES = Statistics((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
TINY = DeepSettings("test_resnet", mode="scratch")
LITE0 = load_deep("efficientnet-lite0")


def noise(n: int, size: int, seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3)).astype(np.uint8)


def lively(settings: DeepSettings, seed: int = 0) -> nn.Module:
    """A network whose logits differ from image to image, and whose normalisations have something to fold."""
    network = build(settings, 3, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d) and settings.mode == "scratch":
                for tensor in (module.weight, module.running_var):
                    assert tensor is not None
                    tensor.copy_(0.75 + 0.5 * torch.rand(tensor.shape, generator=generator))
                module.bias.copy_(0.3 * torch.randn(module.bias.shape, generator=generator))
        network.get_classifier().weight.normal_(std=0.5, generator=generator)  # type: ignore[operator]
    return network.eval()


@pytest.mark.parametrize("name", list(deep_shelf()))
def test_a_trained_network_is_stored_as_it_is(name: str) -> None:
    settings = msgspec.structs.replace(load_deep(f"{name}:scratch"), batch_size=4, low_resolution=0.0)
    size = settings.min_size
    pixels, y = noise(8, size), np.arange(8) % 3
    data = DeepData(pixels, y, pixels[:0], y[:0], VALUES)
    trained = train(build(settings, 3, seed=0), data, settings, CpuClock(lambda: 0.0), epochs=2)
    assert trained.summary["steps"] >= 2
    content = to_onnx(trained.network, size, *VALUES)
    assert check_export(trained.network, content, pixels, VALUES) < 1e-3
    summary = inspect(content)
    assert summary.inputs == (IMAGE,)
    assert summary.outputs == (PROBABILITIES,)
    assert "BatchNormalization" not in summary.operators
    assert "Identity" not in summary.operators


@pytest.mark.parametrize("settings", [TINY, LITE0], ids=lambda settings: settings.architecture)
@pytest.mark.parametrize("size", [32, 45])
def test_uneven_borders_and_odd_sizes_are_stored(settings: DeepSettings, size: int) -> None:
    network = lively(settings)
    content = to_onnx(network, size, *VALUES)
    found = probabilities(network, noise(5, size), VALUES)
    assert np.ptp(found, axis=0).max() > 1e-3
    assert check_export(network, content, noise(5, size), VALUES) < 1e-4
    assert "Pad" not in inspect(content).operators


def test_any_number_of_images_is_answered_with_probabilities() -> None:
    import onnxruntime

    network = lively(TINY)
    session = onnxruntime.InferenceSession(to_onnx(network, 32, *VALUES), providers=["CPUExecutionProvider"])
    pixels = noise(7, 32)
    whole = session.run(None, {IMAGE: pixels})[0]
    assert whole.dtype == np.float32
    np.testing.assert_allclose(whole.sum(axis=1), 1, rtol=1e-5)
    single = np.concatenate([session.run(None, {IMAGE: pixels[k : k + 1]})[0] for k in range(7)])
    np.testing.assert_allclose(single, whole, atol=1e-5)
    np.testing.assert_allclose(whole, probabilities(network, pixels, VALUES, at_a_time=3), atol=1e-5)


def test_what_is_stored_is_a_copy_and_the_same_bytes_again() -> None:
    network = lively(LITE0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    first = to_onnx(network, 32, *VALUES)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert to_onnx(network, 32, *VALUES) == first
    for word in (b"classic_cv", b"site-packages", b".py"):
        assert word not in first


def test_another_network_than_the_stored_one_is_noticed() -> None:
    content = to_onnx(lively(TINY, seed=1), 32, *VALUES)
    with pytest.raises(
        TrainingError, match=r"differ from the trained one's by up to 0\.\d+, more than 0\.001"
    ):
        check_export(lively(TINY, seed=2), content, noise(4, 32), VALUES)


def test_what_the_first_exporter_cannot_store_goes_to_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.linear(x.mean(dim=(2, 3)))
            return found

    def broken(*_: object) -> None:
        raise RuntimeError("first")

    network = Small().eval()
    monkeypatch.setattr(export, "_traced", broken)
    content = to_onnx(network, 8, *VALUES)
    assert check_export(network, content, noise(3, 8), VALUES) < 1e-5
    assert len(onnx.load_from_string(content).graph.initializer) >= 2
    second: Callable[..., None] = broken
    monkeypatch.setattr(export, "_captured", second)
    with pytest.raises(TrainingError, match=r"cannot be stored as ONNX \(first\): take another architecture"):
        to_onnx(network, 8, *VALUES)
