"""Whether a training can be trusted: it can learn at all, and what broke it where its loss is no number any more."""

from __future__ import annotations

import copy
import math
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from classic_cv.errors import TrainingError
from classic_cv.neural.architecture import Network
from classic_cv.neural.objective import Objective
from classic_cv.neural.samples import Samples

SMALL_BATCH = 32
"""Images that a network has to learn by heart before it is trained."""

STEPS = 150
RATE = 5e-3

LEARNED = 0.1
"""The loss has to fall to this share of what it was at first, or of that of scores of zero, whichever is more: a
network that begins with weights fitted to the features has little left to learn."""

EXPLODED = 20.0
"""A loss of so many times that of the first steps has exploded."""


def can_overfit(
    network: Network, samples: Samples, objective: Objective, seconds: float, seed: int = 0
) -> dict[str, Any]:
    """Train a copy on a few images until it knows them by heart: what cannot do that has a mistake in it.

    Returns:
        ``overfits`` True, False, or None where the time was not enough to tell, ``images``, ``steps``,
        ``loss`` at the end and ``loss_at_start``.
    """
    rows = _few(samples, objective, seed)
    twin = copy.deepcopy(network).train()
    # Features that are all average: a linear layer would know so few images by the features alone. NaN stays NaN.
    pixels, features = as_tensors(samples.pixels[rows], 0 * samples.features[rows])
    y = torch.from_numpy(samples.y[rows])
    plain = Objective(objective.task, 0.0, objective.regression_loss)
    optimizer = torch.optim.AdamW(twin.parameters(), lr=RATE, weight_decay=0.0)
    start, first, loss, enough, steps = time.perf_counter(), math.nan, math.nan, math.nan, 0
    for step in range(STEPS):
        scores = twin(pixels, features)
        value = plain.loss(scores, y)
        loss = float(value.detach())
        if step == 0:
            first, enough = loss, LEARNED * max(loss, float(plain.loss(torch.zeros_like(scores), y)))
        if not math.isfinite(loss) or loss <= enough:
            break
        if time.perf_counter() - start > seconds:
            return _told(None, rows, steps, loss, first)
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        steps += 1
    return _told(loss <= enough, rows, steps, loss, first)


def _told(overfits: bool | None, rows: Any, steps: int, loss: float, first: float) -> dict[str, Any]:
    return {
        "overfits": overfits,
        "images": len(rows),
        "steps": steps,
        "loss": loss,
        "loss_at_start": first,
    }


def _few(samples: Samples, objective: Objective, seed: int) -> Any:
    """Rows of a small batch, the classes in turn."""
    order = np.random.default_rng(seed).permutation(len(samples))
    if objective.task == "classification":
        y = samples.y[order]
        turn = np.zeros(len(y), np.intp)
        for k in np.unique(y):
            turn[y == k] = np.arange((y == k).sum())
        order = order[np.argsort(turn, kind="stable")]
    return order[:SMALL_BATCH]


def as_tensors(pixels: Any, features: Any, channels_last: bool = True) -> tuple[Tensor, Tensor | None]:
    """uint8 pixels (n, h, w, planes) and features (n, f) as a network takes them: (n, planes, h, w), None without."""
    tensor = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    if not channels_last:
        tensor = tensor.contiguous()
    return tensor, torch.from_numpy(features) if features.shape[1] else None


class Watch:
    """Looks at the loss of every step and says what broke it.

    Args:
        first: the losses of the first steps, added to in place.
    """

    def __init__(self, first: list[float] | None = None) -> None:
        self.first: list[float] = [] if first is None else first
        self.norms: list[float] = []

    def look(
        self, network: Network, step: int, rate: float, loss: float, pixels: Tensor, features: Tensor | None
    ) -> None:
        """Note the loss of a step, before its gradient is used.

        Raises:
            TrainingError: it is not finite, or far above that of the first steps.
        """
        usual = max(self.first, default=math.inf)
        if math.isfinite(loss) and loss <= EXPLODED * max(usual, 0.1):
            if len(self.first) < 10:
                self.first.append(loss)
            return
        what = "is not a number" if not math.isfinite(loss) else f"has exploded to {loss:.3g}"
        layer, cause = self._diagnosis(network, rate, pixels, features)
        raise TrainingError(
            f"training stopped at step {step}: the loss {what}; {layer}; likely cause: {cause}"
        )

    def check_judged(self, network: Network, step: int, rate: float, loss: float, samples: Samples) -> None:
        """Look at the loss of ``samples`` by the network after a step.

        Raises:
            TrainingError: it is not finite.
        """
        if math.isfinite(loss):
            return
        broken = np.flatnonzero(~np.isfinite(samples.features).all(axis=1))
        rows = (broken if len(broken) else np.arange(len(samples)))[:SMALL_BATCH]
        pixels, features = as_tensors(samples.pixels[rows], samples.features[rows])
        layer, cause = self._diagnosis(network, rate, pixels, features)
        raise TrainingError(
            f"training stopped at step {step}: the loss of judged images is not a number; {layer}; "
            f"likely cause: {cause}"
        )

    def note_norm(self, norm: float) -> None:
        """Note the gradient's norm of a step."""
        self.norms.append(norm)
        del self.norms[:-20]

    def _diagnosis(
        self, network: Network, rate: float, pixels: Tensor, features: Tensor | None
    ) -> tuple[str, str]:
        if features is not None and not bool(torch.isfinite(features).all()):
            return (
                "the features of this batch are not finite",
                "an extractor gives NaN or infinity for an image",
            )
        broken = [name for name, p in network.named_parameters() if not bool(torch.isfinite(p).all())]
        high = (
            f"the learning rate, {rate:.3g} here, is too high: set head.optimization.learning_rate lower "
            f"(norm of the last gradients: {', '.join(f'{norm:.3g}' for norm in self.norms[-3:]) or 'none yet'})"
        )
        if broken:
            return f"weights are not finite first in layer {_layer(broken[0])}", high
        name = _first_broken_output(network, pixels, features)
        if name:
            return f"outputs are not finite first in layer {name}", high
        largest = max(network.named_parameters(), key=lambda item: float(item[1].detach().abs().max()))
        return f"the largest weights are in layer {_layer(largest[0])}", high


def _layer(parameter: str) -> str:
    return parameter.rpartition(".")[0]


def _first_broken_output(network: Network, pixels: Tensor, features: Tensor | None) -> str:
    """Name of the first layer whose output is not finite; empty where all are."""
    found: list[str] = []

    def hook(name: str) -> Any:
        def note(module: nn.Module, inputs: Any, output: Tensor) -> None:
            if not found and not bool(torch.isfinite(output).all()):
                found.append(name)

        return note

    leaves = [(name, m) for name, m in network.named_modules() if name and not list(m.children())]
    handles = [module.register_forward_hook(hook(name)) for name, module in leaves]
    with torch.no_grad():
        network(pixels, features)
    for handle in handles:
        handle.remove()
    return found[0] if found else ""
