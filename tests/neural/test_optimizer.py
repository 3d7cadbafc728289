"""Optimizers, sharpness-aware gradients and averaged weights against hand computations."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from classic_cv.neural.architecture import Network, initialise
from classic_cv.neural.optimizer import (
    AveragedWeights,
    gradient_norm,
    learning_rate,
    make_optimizer,
    set_learning_rate,
    sharpness_aware_gradient,
)
from classic_cv.neural.settings import NetworkSettings, OptimizationSettings


class Point(nn.Module):
    """Weights whose loss is a quadratic."""

    def __init__(self, at: list[float]) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.tensor(at, dtype=torch.float64))


def small_network(seed: int = 0) -> Network:
    network = Network(NetworkSettings(block="residual", channels=(4, 8), blocks=(1, 1)), 3, 0, 2)
    initialise(network, torch.Generator().manual_seed(seed))
    nn.init.normal_(network.linear.weight, generator=torch.Generator().manual_seed(seed))
    return network.train()


def images(seed: int = 0, n: int = 6) -> Tensor:
    return 255 * torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_the_sharpness_aware_gradient_of_a_quadratic_is_that_at_the_worst_point_nearby() -> None:
    # Loss x'Ax / 2 with gradient Ax; the worst point within the radius is x + radius Ax / |Ax|, to first order.
    A = np.array([[3.0, 1.0], [1.0, 2.0]])
    x = np.array([0.7, -1.3])
    radius, point = 0.25, Point(x.tolist())

    def loss_of() -> Tensor:
        return point.at @ torch.from_numpy(A) @ point.at / 2

    loss_of().backward()  # type: ignore[no-untyped-call]
    norm = gradient_norm(point)
    assert norm == pytest.approx(np.linalg.norm(A @ x))
    sharpness_aware_gradient(point, loss_of, radius, norm)
    expected = A @ (x + radius * A @ x / np.linalg.norm(A @ x))
    assert point.at.grad is not None
    np.testing.assert_allclose(point.at.grad, expected, rtol=1e-9)
    np.testing.assert_array_equal(point.at.detach(), x)


def test_the_sharpness_aware_pass_leaves_weights_and_statistics_as_they_were() -> None:
    network, x, y = small_network(), images(), torch.arange(6) % 2

    def loss_of() -> Tensor:
        return nn.functional.cross_entropy(network(x), y)

    loss_of().backward()  # type: ignore[no-untyped-call]
    before = copy.deepcopy(network.state_dict())
    plain = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    sharpness_aware_gradient(network, loss_of, 0.5, gradient_norm(network))
    after = network.state_dict()
    assert any(name.endswith("num_batches_tracked") for name in after)
    for name, value in before.items():
        assert torch.equal(value, after[name]), name
    changed = [p.grad for p in network.parameters() if p.grad is not None]
    assert any(not torch.allclose(a, b) for a, b in zip(plain, changed, strict=True))
    # Afterwards the statistics are noted again.
    loss_of()
    assert not torch.equal(before["first.norm.running_mean"], network.state_dict()["first.norm.running_mean"])


def test_in_the_sharpness_aware_pass_normalisations_use_the_batch() -> None:
    network, x = small_network(), images()
    seen: list[Tensor] = []

    def loss_of() -> Tensor:
        out: Tensor = network.first.norm(network.first.conv(x))
        seen.append(out.detach())
        loss: Tensor = out.square().sum() + network(x).square().sum()
        return loss

    loss_of().backward()  # type: ignore[no-untyped-call]
    sharpness_aware_gradient(network, loss_of, 1e-9, gradient_norm(network))
    torch.testing.assert_close(seen[1], seen[0])
    torch.testing.assert_close(seen[1].mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)


def test_the_gradient_norm_is_that_of_all_gradients_together() -> None:
    network = small_network()
    network(images()).square().sum().backward()
    gradients = [p.grad.numpy().ravel() for p in network.parameters() if p.grad is not None]
    assert gradient_norm(network) == pytest.approx(float(np.linalg.norm(np.concatenate(gradients))), rel=1e-5)


@pytest.mark.parametrize("decay", [0.5, 0.97])
def test_averaged_weights_equal_a_loop(decay: float) -> None:
    network = small_network()
    average = AveragedWeights(network, decay)
    expected = {name: value.double().numpy().copy() for name, value in network.state_dict().items()}
    for step in range(1, 40):
        with torch.no_grad():
            for k, parameter in enumerate(network.parameters()):
                parameter.add_(0.1 * np.sin(step + k))
        network(images(step))
        average.update(network)
        kept = min(decay, step / (step + 10))
        for name, value in network.state_dict().items():
            expected[name] = kept * expected[name] + (1 - kept) * value.double().numpy()
    judged = average.copied_to(copy.deepcopy(network)).state_dict()
    for name, value in judged.items():
        if value.is_floating_point():
            np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-4)


def test_averages_of_weights_that_stay_are_these_weights() -> None:
    network = small_network()
    average = AveragedWeights(network, 0.9)
    for _ in range(5):
        average.update(network)
    for name, value in average.copied_to(small_network(1)).state_dict().items():
        assert torch.equal(value, network.state_dict()[name])


def test_averages_go_on_from_their_state() -> None:
    network = small_network()
    one, other = AveragedWeights(network, 0.9), AveragedWeights(small_network(1), 0.9)
    one.update(network)
    other.load(copy.deepcopy(one.state()))
    with torch.no_grad():
        network.linear.weight.add_(1)
    one.update(network)
    other.update(network)
    for mine, its in zip(one.values, other.values, strict=True):
        assert torch.equal(mine, its)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_only_weights_of_convolutions_and_the_linear_layer_decay(name: str) -> None:
    network = small_network()
    optimizer = make_optimizer(network, OptimizationSettings(optimizer=name, weight_decay=0.25))  # type: ignore[arg-type]
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert len(decay) == len(list(network.parameters()))
    for parameter_name, parameter in network.named_parameters():
        weight = parameter_name.endswith("conv.weight") or parameter_name == "linear.weight"
        assert decay[id(parameter)] == (0.25 if weight else 0.0), parameter_name


@pytest.mark.parametrize(("name", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_a_step_without_gradient_shrinks_what_decays_by_the_rate(name: str, kind: type) -> None:
    network = small_network()
    with torch.no_grad():
        network.linear.bias.fill_(1.0)
    optimizer = make_optimizer(network, OptimizationSettings(optimizer=name, weight_decay=0.5))  # type: ignore[arg-type]
    assert type(optimizer) is kind
    set_learning_rate(optimizer, 0.01)
    before = network.linear.weight.detach().clone()
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    # Nesterov's momentum takes the first step 1 + 0.9 times.
    shrunk = 1 - 0.01 * 0.5 * (1.9 if name == "sgd" else 1)
    torch.testing.assert_close(network.linear.weight.detach(), before * shrunk)
    assert torch.equal(network.linear.bias.detach(), torch.ones(2))


def test_frozen_weights_are_left_out() -> None:
    network = small_network()
    network.first.conv.weight.requires_grad_(False)
    optimizer = make_optimizer(network, OptimizationSettings())
    ids = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert id(network.first.conv.weight) not in ids
    assert len(ids) == len(list(network.parameters())) - 1


def test_the_learning_rate_is_that_of_the_settings_or_grows_with_the_batch() -> None:
    assert learning_rate(OptimizationSettings(learning_rate=0.3), 17) == 0.3
    sgd, adamw = OptimizationSettings(), OptimizationSettings(optimizer="adamw")
    assert learning_rate(sgd, 256) == pytest.approx(0.4)
    assert learning_rate(sgd, 64) == pytest.approx(0.2)
    assert learning_rate(adamw, 256) == pytest.approx(0.01)
    assert learning_rate(adamw, 64) == pytest.approx(0.005)
