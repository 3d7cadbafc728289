"""The training loop of a network of timm, from scratch or fine-tuned, within CPU seconds.

The schedule follows the clock: after every step the number of steps that are left is planned anew from what steps
have taken so far, and the learning rate goes through what is left of its cycle in them. So a training ends in time on
a machine that becomes slower, with its learning rate at zero, as a one-cycle schedule should.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from classic_cv.deep.augmentation import Augmenter, lower_side
from classic_cv.deep.images import has_color
from classic_cv.deep.networks import Statistics, as_input, freeze, head_names, to_training
from classic_cv.deep.settings import DeepSettings
from classic_cv.errors import TrainingError
from classic_cv.extraction import Progress
from classic_cv.neural.augmentation import mixed
from classic_cv.neural.optimizer import BETAS, MOMENTUM, AveragedWeights
from classic_cv.neural.schedule import one_cycle
from classic_cv.neural.training import batch_size, has_bfloat16

LEARNING_RATES = {"adamw": 2e-3, "sgd": 0.05}
"""Peak for batches of ``REFERENCE_BATCH``; others in proportion to the square root of their size. With Adam, one-cycle
trainings take 1e-3 to 3e-3 (the defaults of fastai); SGD's is the 0.1 per 256 images of He et al. 2016, so scaled."""

WEIGHT_DECAYS = {"adamw": 0.05, "sgd": 5e-4}
"""Of AdamW as in ConvNeXt (Liu et al. 2022) and in "ResNet strikes back" (Wightman et al. 2021: 0.02 to 0.05)."""

REFERENCE_BATCH = 64

MOST_EPOCHS = {"scratch": 300, "finetune": 60}
"""More are not planned, however much time there is: the weights of the last ones would be no better."""

LONG_EPOCHS, LONG_MIXUP = 100, 0.2
"""From so many planned epochs on, "auto" mixes images: shorter trainings underfit with it (Zhang et al. 2018)."""

CLIPPED = 5.0
"""Largest norm of a gradient; longer ones are shortened to it."""

VALIDATION_SHARE = 0.05
"""Of the time at most is spent on validation: where it is a large part, it is looked at after some epochs only."""

STEP_COST = 3
"""Training on an image takes so many times as long as scoring it, until both are measured."""

SHORTER, LONGER = 1.02, 1.1
"""The rest is shortened where it would take so many times the time left, and lengthened where time is for so many times
the steps."""

RECENT = 0.2
"""Weight of the latest step in the running mean of what steps take."""

EVALUATED = 64
"""Images that are scored at a time."""


@dataclass(frozen=True)
class CpuClock:
    """When a training has to end.

    Attributes:
        used: the CPU seconds that are spent so far, such as ``task.budget.used``.
        end: what ``used`` may say at the end; infinity where only epochs count.
    """

    used: Callable[[], float]
    end: float = math.inf

    @property
    def left(self) -> float:
        """CPU seconds until then; negative once they are overspent."""
        return self.end - self.used()


@dataclass(eq=False)
class DeepData:
    """Images to train on and to judge by, all of one size.

    Attributes:
        pixels, validation_pixels: uint8 (n, size, size, 3); those of validation may be none.
        y, validation_y: int64 (n,), class numbers.
        values: what pixels are standardised with.
        color: whether any training image has color.
    """

    pixels: NDArray[np.uint8]
    y: NDArray[np.int64]
    validation_pixels: NDArray[np.uint8]
    validation_y: NDArray[np.int64]
    values: Statistics
    color: bool | None = None

    def __post_init__(self) -> None:
        if self.color is None:
            self.color = has_color(self.pixels)

    @property
    def size(self) -> int:
        """Pixels of both sides."""
        return int(self.pixels.shape[1])


@dataclass(eq=False)
class TrainedDeep:
    """What came of a training.

    Attributes:
        network: on evaluation, with the weights that were best on the validation images, or the last ones without any.
        validation_accuracy: of these weights; NaN without validation images.
        epochs: passes over the training images that were made; no whole number where time ended one.
        history: an entry per validation: ``cpu_seconds`` by the clock, ``epoch``, ``training_loss``,
            ``validation_accuracy``, ``learning_rate``.
        summary: how it was trained, as plain data.
    """

    network: nn.Module
    validation_accuracy: float
    epochs: float
    history: list[dict[str, float]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)


def train(
    network: nn.Module,
    data: DeepData,
    settings: DeepSettings,
    clock: CpuClock,
    seed: int = 0,
    epochs: float | None = None,
    progress: Progress | None = None,
) -> TrainedDeep:
    """Train a network, in place, through one whole cycle of the learning rate.

    A search that tries several networks trains each for some epochs or seconds, and goes on with the better ones by
    calling it again on their networks: each call is a cycle of its own, with new moments of the optimizer.

    Args:
        network: as ``build`` makes it, or as an earlier call has left it.
        data: at the size that it is to work with; not changed.
        settings: how. Its mode says what is frozen (in ``finetune``) and how rates and crops are chosen.
        clock: when it has to end. At least one step is made, whatever it says.
        seed: of the order and the changes of images; another one for each call that goes on.
        epochs: passes over the training images, if time allows; in place of those of the settings. Both "auto" and
            None: as many as time allows, up to ``MOST_EPOCHS``.
        progress: called with (task, done, total) in steps.

    Raises:
        TrainingError: the loss is no number any more, or there are fewer than 2 images to train on.
    """
    return _Training(network, data, settings, clock, seed, epochs, progress).run()


def optimizer_of(network: nn.Module, settings: DeepSettings) -> torch.optim.Optimizer:
    """Of all weights that take a gradient, in groups that have a ``share`` of the learning rate.

    Biases and normalisations are not decayed. In fine-tuning, the backbone's rate is a share of the head's.
    """
    head = set(head_names(network))
    decay = WEIGHT_DECAYS[settings.optimizer] if settings.weight_decay == "auto" else settings.weight_decay
    share = settings.backbone_rate if settings.mode == "finetune" else 1.0
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            key = (1.0 if name in head else share, decay if parameter.ndim > 1 else 0.0)
            groups.setdefault(key, []).append(parameter)
    tables = [{"params": own, "share": s, "weight_decay": d} for (s, d), own in groups.items()]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(tables, lr=0.0, momentum=MOMENTUM, nesterov=True, fused=True)
    # Fused: one pass over the weights in place of a dozen, of which small batches notice much.
    return torch.optim.AdamW(tables, lr=0.0, betas=BETAS, fused=True)


def peak_rate(settings: DeepSettings, batch: int) -> float:
    """The peak learning rate: that of the settings, or what suits the optimizer and the batch."""
    if settings.learning_rate != "auto":
        return settings.learning_rate
    return LEARNING_RATES[settings.optimizer] * math.sqrt(batch / REFERENCE_BATCH)


def logits_of(network: nn.Module, pixels: NDArray[np.uint8], values: Statistics, bfloat16: bool) -> Tensor:
    """Logits of images uint8 (n, size, size, 3) by a network on evaluation: float32 (n, n_classes)."""
    network.eval()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        parts = [
            network(as_input(pixels[k : k + EVALUATED], values)).float()
            for k in range(0, len(pixels), EVALUATED)
        ]
    return torch.cat(parts)


def uses_bfloat16(settings: DeepSettings) -> bool:
    """Whether training multiplies bfloat16 numbers."""
    return has_bfloat16() if settings.bfloat16 == "auto" else settings.bfloat16


class _Training:
    """The state of one call of ``train``."""

    def __init__(
        self,
        network: nn.Module,
        data: DeepData,
        settings: DeepSettings,
        clock: CpuClock,
        seed: int,
        epochs: float | None,
        progress: Progress | None,
    ) -> None:
        n = len(data.pixels)
        if n < 2:
            raise TrainingError(f"{n} images to train on: give at least 2")
        self.network, self.data, self.settings, self.clock = network, data, settings, clock
        self.seed, self.report = seed, progress
        frozen = freeze(network, settings.freeze if settings.mode == "finetune" else 0.0)
        n_parameters = sum(parameter.numel() for parameter in network.parameters())
        self.augmenter = Augmenter.of(settings, data.pixels, n_parameters, bool(data.color))
        self.optimizer = optimizer_of(network, settings)
        self.average = AveragedWeights(network, settings.ema) if settings.ema else None
        self.bfloat16 = uses_bfloat16(settings)
        self.batch_size = batch_size(n, settings.batch_size)
        self.per_epoch = max(1, n // self.batch_size)
        self.peak = peak_rate(settings, self.batch_size)
        self.size, self.low = data.size, lower_side(data.size, settings.min_size)
        asked = settings.epochs if epochs is None else epochs
        self.fixed = asked != "auto"
        most = MOST_EPOCHS.get(settings.mode, MOST_EPOCHS["scratch"]) if asked == "auto" else asked
        self.most_steps = max(1, round(most * self.per_epoch))
        self.steps_left = self.most_steps
        self.mixup = 0.0 if settings.mixup == "auto" else float(settings.mixup)
        cost = len(data.validation_y) / (STEP_COST * n)
        self.every = max(1, math.ceil(cost / VALIDATION_SHARE))
        self.judging = 0.0
        self.step, self.progress = 0, 0.0
        self.seconds: dict[int, float] = {}
        self.timed: dict[int, int] = {}
        self.losses: list[float] = []
        self.best: tuple[float, dict[str, Tensor]] | None = None
        self.history: list[dict[str, float]] = []
        self.summary: dict[str, Any] = {
            "n_parameters": n_parameters,
            "n_frozen": sum(network.get_parameter(name).numel() for name in frozen),
            "batch_size": self.batch_size,
            "learning_rate": self.peak,
            "bfloat16": self.bfloat16,
            "augmentation": self.augmenter.describe(),
        }

    def run(self) -> TrainedDeep:
        """All steps; see ``train``."""
        to_training(self.network)
        if self.settings.mode == "finetune":
            # The head it begins with may be better than all that a short training makes of it.
            self._validate()
        while self.steps_left > 0:
            epoch, within = divmod(self.step, self.per_epoch)
            if within == 0:
                rng = np.random.default_rng([self.seed, epoch])
                order = rng.permutation(len(self.data.pixels))
            # Ascending: a batch's images lie near each other in memory.
            rows = np.sort(order[within * self.batch_size : (within + 1) * self.batch_size])
            self._timed_step(rows, rng)
            if self.report:
                self.report("training", self.step, self.step + self.steps_left)
            whole = self.step % self.per_epoch == 0
            if self.steps_left == 0 or (whole and self.step // self.per_epoch % self.every == 0):
                self._validate()
        if self.best is not None:
            self.network.load_state_dict(self.best[1])
        elif self.average:
            self.average.copied_to(self.network)
        self.network.eval()
        epochs = self.step / self.per_epoch
        self.summary |= {"epochs": epochs, "steps": self.step, "mixup": self.mixup}
        self.summary["seconds_per_step"] = {str(size): seconds for size, seconds in self.seconds.items()}
        accuracy = math.nan if self.best is None else self.best[0]
        return TrainedDeep(self.network, accuracy, epochs, self.history, self.summary)

    # The plan.

    def _timed_step(self, rows: NDArray[np.intp], rng: np.random.Generator) -> None:
        start = self.clock.used()
        size = self.low if self.progress < self.settings.low_resolution else self.size
        self.losses.append(self._step(rows, size, rng))
        self.step += 1
        seconds = max(self.clock.used() - start, 1e-9)
        self.timed[size] = self.timed.get(size, 0) + 1
        # The first step of a size allocates what the others use again: it says little of them.
        recent = RECENT if self.timed[size] > 2 else 1.0
        self.seconds[size] = (1 - recent) * self.seconds.get(size, 0.0) + recent * seconds
        self.progress += (1 - self.progress) / self.steps_left
        self.steps_left -= 1
        self._plan()

    def _plan(self) -> None:
        """Shorten the rest where the time does not reach for it; lengthen it again, up to what was asked for."""
        if math.isinf(self.clock.end):
            self._decide_mixup()
            return
        left = self.clock.left - self._judging_seconds()
        ahead = self._cost_ahead() * (1 + self._validation_share())
        possible = max(0, int(left / ahead)) if left > 0 else 0
        if self.steps_left * ahead > SHORTER * left or self.step == 1:
            self.steps_left = min(self.steps_left, possible)
        elif possible > LONGER * self.steps_left > 0:
            self.steps_left = min(possible, self.most_steps - self.step)
        self._decide_mixup()

    def _decide_mixup(self) -> None:
        """Once the second step has been timed: how long the training will be."""
        if self.step == 2 and self.settings.mixup == "auto":
            epochs = (self.step + self.steps_left) / self.per_epoch
            self.mixup = LONG_MIXUP if epochs >= LONG_EPOCHS and self.settings.mode == "scratch" else 0.0

    def _cost_ahead(self) -> float:
        """CPU seconds of an average step of what is left."""
        share, progress = self.settings.low_resolution, self.progress
        if progress >= share:
            return self._full_step()
        low, full = self.seconds[self.low], self._full_step()
        return ((share - progress) * low + (1 - share) * full) / (1 - progress)

    def _full_step(self) -> float:
        """CPU seconds of a step at the full size; while there was none, those of a smaller one by its pixels."""
        if self.size in self.seconds:
            return self.seconds[self.size]
        return self.seconds[self.low] * (self.size / self.low) ** 2

    def _judging_seconds(self) -> float:
        """Of the validation that ends the training."""
        if self.judging or not len(self.data.validation_y):
            return self.judging
        return self._full_step() * len(self.data.validation_y) / (STEP_COST * self.batch_size)

    def _validation_share(self) -> float:
        return len(self.data.validation_y) / (STEP_COST * len(self.data.pixels) * self.every)

    # One step.

    def _step(self, rows: NDArray[np.intp], size: int, rng: np.random.Generator) -> float:
        rate = self.peak * one_cycle(self.progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        pixels = as_input(self.augmenter.batch(rows, size, rng), self.data.values)
        y = torch.from_numpy(self.data.y[rows])
        share, other = 1.0, None
        if self.mixup:
            share, order = mixed(rng, len(rows), self.mixup)
            other = torch.from_numpy(order)
            pixels = share * pixels + (1 - share) * pixels[other]
        self.optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            logits = self.network(pixels).float()
        loss = self._loss(logits, y)
        if other is not None:
            loss = share * loss + (1 - share) * self._loss(logits, y[other])
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(
                f"step {self.step + 1}: the loss is {value}, at a learning rate of {rate:.2g}: give a lower "
                "learning_rate, or bfloat16 = false"
            )
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIPPED)
        self.optimizer.step()
        if self.average:
            self.average.update(self.network)
        return value

    def _loss(self, logits: Tensor, y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits, y, label_smoothing=self.settings.label_smoothing)

    # Judging.

    def _validate(self) -> None:
        start = self.clock.used()
        entry = {"epoch": self.step / self.per_epoch, "learning_rate": self.peak * one_cycle(self.progress)}
        if self.losses:
            entry["training_loss"] = float(np.mean(self.losses))
        self.losses.clear()
        if len(self.data.validation_y):
            judged = self.network
            if self.average:
                judged = self.average.copied_to(copy.deepcopy(self.network))
            entry["validation_accuracy"] = accuracy = self.accuracy(judged)
            # Of equals the later one: it has seen more.
            if self.best is None or accuracy >= self.best[0]:
                self.best = accuracy, copy.deepcopy(judged.state_dict())
            to_training(self.network)
        now = self.clock.used()
        self.judging = now - start
        self.history.append({"cpu_seconds": now, **entry})
        # Before the first step nothing is known that a plan could be made from.
        if self.steps_left and self.step:
            self._plan()

    def accuracy(self, network: nn.Module) -> float:
        """Of a network on the validation images.

        Raises:
            TrainingError: its logits are no numbers.
        """
        logits = logits_of(network, self.data.validation_pixels, self.data.values, self.bfloat16)
        if not bool(torch.isfinite(logits).all()):
            raise TrainingError(
                f"after step {self.step} the network's logits are no finite numbers: give a lower learning_rate"
            )
        return float((logits.argmax(dim=1).numpy() == self.data.validation_y).mean())
