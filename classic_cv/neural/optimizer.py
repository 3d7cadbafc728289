"""Steps on the weights: SGD or AdamW, sharpness-aware steps, averaged weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from classic_cv.neural.settings import OptimizationSettings

LEARNING_RATES = {"sgd": 0.4, "adamw": 0.01}
"""Peak for batches of ``REFERENCE_BATCH``; others in proportion to the square root of their size."""

REFERENCE_BATCH = 256

WEIGHT_DECAYS = {"sgd": 5e-4, "adamw": 0.02}

MOMENTUM = 0.9
BETAS = (0.9, 0.99)


def learning_rate(settings: OptimizationSettings, batch_size: int) -> float:
    """The peak learning rate: that of the settings, or what suits the optimizer and the batch."""
    if settings.learning_rate != "auto":
        return settings.learning_rate
    return LEARNING_RATES[settings.optimizer] * math.sqrt(batch_size / REFERENCE_BATCH)


def make_optimizer(network: nn.Module, settings: OptimizationSettings) -> torch.optim.Optimizer:
    """An optimizer of all trainable weights; biases and normalisations are not decayed."""
    decay = WEIGHT_DECAYS[settings.optimizer] if settings.weight_decay == "auto" else settings.weight_decay
    trainable = [p for p in network.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=0.1, momentum=MOMENTUM, nesterov=True)
    return torch.optim.AdamW(groups, lr=0.01, betas=BETAS)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Of every group of weights."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def gradient_norm(network: nn.Module) -> float:
    """Euclidean norm of the whole gradient."""
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    return float(torch.nn.utils.get_total_norm(gradients))


def sharpness_aware_gradient(
    network: nn.Module, loss_of: Callable[[], Tensor], radius: float, norm: float
) -> None:
    """Replace the gradient by that at the worst point nearby (SAM, arXiv:2010.01412).

    Args:
        network: has the gradient at its weights.
        loss_of: computes the loss of the same batch again.
        radius: how far the worst point is, along the gradient.
        norm: of the gradient.
    """
    # Kept, not computed back: a sum less its summand is not the number it was.
    kept = [(p, p.detach().clone()) for p in network.parameters() if p.grad is not None]
    with torch.no_grad():
        for weight, _ in kept:
            assert weight.grad is not None
            weight.add_(weight.grad, alpha=radius / (norm + 1e-12))
    network.zero_grad()
    # The running statistics are those of the weights themselves.
    with _frozen_statistics(network):
        loss_of().backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for weight, value in kept:
            weight.copy_(value)


class _frozen_statistics:
    """Within it normalisations use the batch's statistics but do not note them."""

    def __init__(self, network: nn.Module) -> None:
        self.norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]

    def __enter__(self) -> None:
        for norm in self.norms:
            norm.track_running_stats = False

    def __exit__(self, *_: object) -> None:
        for norm in self.norms:
            norm.track_running_stats = True


Averaged = TypeVar("Averaged", bound=nn.Module)


class AveragedWeights:
    """An exponential moving average of weights and statistics; young averages forget faster."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.values = [tensor.detach().clone() for tensor in _averaged(network)]

    def update(self, network: nn.Module) -> None:
        """Take in the weights after a step."""
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + 10))
        torch._foreach_lerp_(self.values, _averaged(network), 1 - decay)

    def copied_to(self, network: Averaged) -> Averaged:
        """``network`` with the averages in place of its weights."""
        with torch.no_grad():
            for tensor, value in zip(_averaged(network), self.values, strict=True):
                tensor.copy_(value)
        return network

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"steps": self.steps, "values": self.values}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.steps, self.values = state["steps"], state["values"]


def _averaged(network: nn.Module) -> list[Tensor]:
    return [t for t in network.state_dict().values() if t.is_floating_point()]
