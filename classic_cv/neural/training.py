"""The training loop: batches, steps, validation after each epoch, the best weights kept.

The number of steps is planned before the first one, from the speed of a few steps on a copy, so that the schedule
knows its end. Then the same seed, threads and number of epochs give the same weights. Where the machine becomes so slow
that the time limit would be missed, the rest is shortened, and the result says so.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from classic_cv.neural.architecture import Network
from classic_cv.neural.augmentation import AugmentationSettings, augment, mixed
from classic_cv.neural.checkpoint import read_checkpoint, write_checkpoint
from classic_cv.neural.log import JsonLines
from classic_cv.neural.objective import Figures, Objective
from classic_cv.neural.optimizer import (
    AveragedWeights,
    gradient_norm,
    learning_rate,
    make_optimizer,
    set_learning_rate,
    sharpness_aware_gradient,
)
from classic_cv.neural.samples import FeaturesOf, Samples
from classic_cv.neural.schedule import SCHEDULES
from classic_cv.neural.settings import OptimizationSettings
from classic_cv.neural.trust import Watch, as_tensors

MOST_EPOCHS = 300
"""More are not planned, however much time there is."""

LEAST_STEPS = 10
"""Steps of an epoch at least: small sets are trained on in smaller batches."""

LEAST_BATCH = 16

PILOT_STEPS = 10
"""Steps on a copy that the plan is made from; the first three are not counted."""

SAFETY = 0.95
"""Share of the time that is planned for: a machine that becomes a little slower still ends in time."""

OVERDUE = 1.03
"""Once the forecast of the whole training is so many times the time there is, the rest is shortened."""

LONGER = 1.1
"""A training that was shortened is lengthened again where there is time for so many times the steps left."""

LOG_EVERY = 20
"""Steps from one line of the log to the next."""

EVALUATED = 500
"""Images that are scored at a time."""

LOW, LEAST_SIDE = 0.75, 16
"""The lower resolution, as a share of the side, and the pixels below which a side does not go."""

VALIDATION_SHARE = 0.04
"""Of the time at most is spent on validation: where it is a large part, it is looked at after some epochs only."""

STEP_COST = 3
"""Training on an image takes so many times as long as scoring it. A constant, not measured: which weights are the
best must not hang on the speed of the machine."""


@dataclass
class Clock:
    """When a training has to end, by ``now()``; infinity where only epochs count."""

    deadline: float = math.inf
    now: Callable[[], float] = time.perf_counter

    @property
    def left(self) -> float:
        """Seconds until then."""
        return self.deadline - self.now()


@dataclass
class Run:
    """Where the course of a training goes, and who may end it.

    Attributes:
        log: a line per ``LOG_EVERY`` steps and per validation.
        checkpoint: a file that the state is written to after each validation, and that a later run goes on from.
        fingerprint: of data and settings; a checkpoint of another one is refused.
        progress: called with (task, done, total) in steps.
        should_stop: called after each validation with its number and error; True ends the training.
    """

    log: JsonLines = field(default_factory=lambda: JsonLines(None))
    checkpoint: Path | None = None
    fingerprint: str = ""
    progress: Callable[[str, int, int], None] | None = None
    should_stop: Callable[[int, float], bool] | None = None


@dataclass
class Trained:
    """What came of a training.

    Attributes:
        network: with the best weights, on evaluation.
        figures: of these weights on the validation samples.
        summary: epochs, steps, speed and how it ended, as plain data; ``planned_epochs`` give the same training again
            unless it was shortened or interrupted, also where it ended before them.
        history: one entry per validation.
    """

    network: Network
    figures: Figures
    summary: dict[str, Any]
    history: list[dict[str, float]]


class Trainer:
    """Trains one network.

    Args:
        network: with initial weights, its pixel mean and scale set.
        samples: to train on.
        validation: to judge by; may be empty, then the last weights count.
        settings: how, with every ``auto`` but that of ``epochs`` allowed.
        augmentation: with every ``auto`` resolved.
        objective: loss and figures.
        clock: when it has to end.
        seed: of the order and the changes of images.
        run: log, checkpoint, progress.
        features_of: computes features of changed images; needed for ``features_of = "augmented"``.
        distil: share of a teacher in the loss, and its temperature.
    """

    def __init__(
        self,
        network: Network,
        samples: Samples,
        validation: Samples,
        settings: OptimizationSettings,
        augmentation: AugmentationSettings,
        objective: Objective,
        clock: Clock,
        seed: int = 0,
        run: Run | None = None,
        features_of: FeaturesOf | None = None,
        distil: tuple[float, float] = (0.7, 2.0),
    ) -> None:
        self.settings, self.objective, self.clock, self.seed = settings, objective, clock, seed
        self.samples, self.validation = samples, validation
        self.augmentation, self.features_of, self.distil = augmentation, features_of, distil
        self.run_ = run or Run()
        self.network = network
        if settings.channels_last:
            self.network = network.to(memory_format=torch.channels_last)
        self.bfloat16 = has_bfloat16() if settings.bfloat16 == "auto" else settings.bfloat16
        self.batch_size = batch_size(len(samples), settings.batch_size)
        self.per_epoch = max(1, len(samples) // self.batch_size)
        cost = len(validation) / (STEP_COST * len(samples))
        self.every = max(1, math.ceil(cost / VALIDATION_SHARE))
        self.color = mean_color(samples.pixels)
        self.interrupted = False

    # The plan.

    def planned_steps(self) -> int:
        """How many steps to take: the epochs of the settings, or what the clock allows."""
        if self.settings.epochs != "auto":
            return self.settings.epochs * self.per_epoch
        most = MOST_EPOCHS * self.per_epoch
        if math.isinf(self.clock.left):
            return most
        seconds = self._step_seconds()
        epochs = int(SAFETY * self.clock.left / seconds) // self.per_epoch
        # Whole epochs, so that the number written down gives the same training again.
        return min(max(1, epochs), MOST_EPOCHS) * self.per_epoch

    def _step_seconds(self) -> float:
        """Of one step on average, with its share of the validation, measured on a copy of the network."""
        twin = copy.deepcopy(self.network).train()
        optimizer = make_optimizer(twin, self.settings)
        share = self.settings.low_resolution
        seconds = (1 - share) * self._measured_step(twin, optimizer, self._batches(-1))
        if share:
            seconds += share * self._measured_step(twin, optimizer, map(self._smaller, self._batches(-1)))
        # Batches are made between the steps: their time is in the loop's, measured beside.
        start = self.clock.now()
        made = sum(1 for _ in zip(self._batches(-2), range(PILOT_STEPS), strict=False))
        making = (self.clock.now() - start) / max(made, 1)
        return (seconds + making) * (1 + VALIDATION_SHARE)

    def _measured_step(
        self, network: Network, optimizer: torch.optim.Optimizer, batches: Iterable[tuple[Any, ...]]
    ) -> float:
        """Median seconds of some steps."""
        times = []
        for batch, _ in zip(batches, range(PILOT_STEPS), strict=False):
            start = self.clock.now()
            self._step(network, optimizer, batch, None)
            times.append(self.clock.now() - start)
        return float(np.median(times[3:] or times))

    # The loop.

    def run(self) -> Trained:
        """Train to the end of the plan, of the patience, or until interrupted; returns the best weights.

        Raises:
            TrainingError: the loss is no number any more, or exploded; or a checkpoint is of another training.
        """
        network, optimizer = self.network.train(), make_optimizer(self.network, self.settings)
        average = AveragedWeights(network, self.settings.ema) if self.settings.ema else None
        state = _State(total=0)
        resumed = read_checkpoint(self.run_.checkpoint, self.run_.fingerprint)
        if resumed:
            state = self._restored(resumed, network, optimizer, average)
        else:
            state.total = state.planned = self.planned_steps()
        watch, started = Watch(state.first_losses), self.clock.now()
        with _interruptible(self):
            while state.step < state.total and not self.interrupted and not state.ended:
                self._epoch(network, optimizer, average, state, watch)
        if state.best is not None:
            network.load_state_dict(state.best)
        elif average:
            average.copied_to(network)
        network.eval()
        seconds = self.clock.now() - started
        figures = state.best_figures or self._sound_figures(network, state, watch)
        return Trained(network, figures, self._summary(state, seconds, bool(resumed)), state.history)

    def _epoch(
        self,
        network: Network,
        optimizer: torch.optim.Optimizer,
        average: AveragedWeights | None,
        state: _State,
        watch: Watch,
    ) -> None:
        start, first = self.clock.now(), state.step
        rate = 0.0
        losses: list[float] = []
        # A run that was interrupted within an epoch goes on behind the batches that it has seen.
        epoch, seen = divmod(state.step, self.per_epoch)
        for batch in itertools.islice(self._batches(epoch), seen, None):
            progress = state.progress()
            rate = learning_rate(self.settings, self.batch_size) * SCHEDULES[self.settings.schedule](progress)
            set_learning_rate(optimizer, rate)
            if progress < self.settings.low_resolution:
                batch = self._smaller(batch)
            loss, norm, accuracy = self._step(network, optimizer, batch, (watch, state.step, rate))
            losses.append(loss)
            if average:
                average.update(network)
            state.step += 1
            if state.step % LOG_EVERY == 0:
                self._log_step(state, loss, accuracy, rate, norm)
            if self.run_.progress:
                self.run_.progress("training", state.step, state.total)
            if state.step >= state.total or self.interrupted:
                break
        seconds = self.clock.now() - start
        state.seconds += seconds
        state.epoch = math.ceil(state.step / self.per_epoch)
        self._replan(state, seconds / (state.step - first))
        whole = state.step % self.per_epoch == 0
        due = state.step >= state.total or (whole and state.epoch % self.every == 0)
        if self.interrupted and not due:
            # Before the weights of this moment are judged: an undisturbed training never judges them.
            self._write_checkpoint(network, optimizer, average, state)
        if self.interrupted or due:
            self._validate(network, average, state, watch, float(np.mean(losses)), rate)
        if due:
            self._write_checkpoint(network, optimizer, average, state)

    def _validate(
        self,
        network: Network,
        average: AveragedWeights | None,
        state: _State,
        watch: Watch,
        loss: float,
        rate: float,
    ) -> None:
        judged = average.copied_to(copy.deepcopy(network)) if average else network
        figures = self._sound_figures(judged, state, watch, rate) if len(self.validation) else None
        network.train()
        entry = {"epoch": state.epoch, "step": state.step, "training_loss": loss, "learning_rate": rate}
        if figures:
            entry |= {"validation_error": figures.error, "validation_loss": figures.loss}
            if state.best_figures is None or figures <= state.best_figures:
                state.best, state.best_figures = copy.deepcopy(judged.state_dict()), figures
                state.best_epoch = state.epoch
            patience = self.settings.patience
            state.ended = bool(patience) and state.epoch - state.best_epoch >= patience
            if self.run_.should_stop and self.run_.should_stop(state.epoch, figures.error):
                state.ended = True
        state.history.append(entry)
        self.run_.log.write(event="validation", seconds=state.seconds, **entry)

    def _write_checkpoint(
        self,
        network: Network,
        optimizer: torch.optim.Optimizer,
        average: AveragedWeights | None,
        state: _State,
    ) -> None:
        if self.run_.checkpoint:
            write_checkpoint(
                self.run_.checkpoint, self.run_.fingerprint, network, optimizer, average, state.plain()
            )

    def _replan(self, state: _State, step_seconds: float) -> None:
        """Shorten the rest where it would miss the deadline; lengthen it again, up to the plan, where it would not."""
        left = state.total - state.step
        if left <= 0 or math.isinf(self.clock.left):
            return
        step_seconds *= self._cost_ahead(state.progress()) * (1 + VALIDATION_SHARE)
        possible = max(1, int(max(self.clock.left, 0) / step_seconds))
        spent = state.seconds
        if spent + left * step_seconds > OVERDUE * (spent + max(self.clock.left, 0)):
            if possible < left:
                state.end_after(possible)
        elif state.total < state.planned and possible > LONGER * left:
            state.end_after(min(possible, state.planned - state.step))

    def _cost_ahead(self, progress: float) -> float:
        """Time of an average step of what is left, in steps as they are now."""
        share = self.settings.low_resolution
        if progress >= share:
            return 1.0
        height, width = self.samples.pixels.shape[1:3]
        small = smaller_side(height) * smaller_side(width) / (height * width)
        return float(((share - progress) * small + 1 - share) / ((1 - progress) * small))

    # One step.

    @staticmethod
    def _smaller(batch: tuple[Any, ...]) -> tuple[Any, ...]:
        """A batch whose pixels are at a lower resolution."""
        rows, pixels, *rest = batch
        return rows, shrunk(pixels), *rest

    def _batches(self, epoch: int) -> Iterator[tuple[Any, ...]]:
        """The batches of an epoch: rows, pixels, features, mirrored, and the numbers for mixing."""
        rng = np.random.default_rng([self.seed, epoch + 2])
        order = rng.permutation(len(self.samples))
        for start in range(0, self.per_epoch * self.batch_size, self.batch_size):
            # Ascending: a batch's images lie near each other in memory.
            rows = np.sort(order[start : start + self.batch_size])
            pixels, mirrored = augment(
                self.samples.pixels, rows, self.augmentation, rng, self.color, self.samples.mirrors
            )
            features = self._features(rows, pixels, mirrored)
            alpha = float(self.augmentation.mixup)
            mix = mixed(rng, len(rows), alpha) if alpha else None
            yield rows, pixels, features, mirrored, mix

    def _features(
        self, rows: NDArray[np.intp], pixels: NDArray[np.uint8], mirrored: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        if self.settings.features_of == "augmented" and self.samples.features.shape[1]:
            if self.features_of is None:
                raise ValueError('features_of = "augmented" needs a function that computes them')
            return self.features_of(pixels)
        if self.settings.features_of == "original":
            return self.samples.features[rows]
        return self.samples.features_for(rows, mirrored)

    def _step(
        self,
        network: Network,
        optimizer: torch.optim.Optimizer,
        batch: tuple[Any, ...],
        watched: tuple[Watch, int, float] | None,
    ) -> tuple[float, float, float]:
        """One step: loss, gradient norm, share of the batch that is right."""
        rows, raw, raw_features, mirrored, mix = batch
        pixels, features = as_tensors(raw, raw_features, self.settings.channels_last)
        y = torch.from_numpy(self.samples.y[rows])
        teacher = self._teacher(rows, mirrored)
        share, other = 1.0, None
        if mix is not None:
            share, other = mix[0], torch.from_numpy(mix[1])
            pixels = share * pixels + (1 - share) * pixels[other]
            features = None if features is None else share * features + (1 - share) * features[other]
        scores_seen: list[Tensor] = []

        def loss_of() -> Tensor:
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
                scores = network(pixels, features)
            scores_seen.append(scores.detach())
            loss = self._loss(scores, y, teacher)
            if other is not None:
                second = self._loss(scores, y[other], None if teacher is None else teacher[other])
                loss = share * loss + (1 - share) * second
            return loss

        optimizer.zero_grad()
        loss = loss_of()
        value = float(loss.detach())
        if watched:
            watch, step, rate = watched
            watch.look(network, step, rate, value, pixels, features)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = gradient_norm(network)
        if watched:
            watched[0].note_norm(norm)
        if self.settings.sam:
            sharpness_aware_gradient(network, loss_of, self.settings.sam, norm)
        optimizer.step()
        return value, norm, self._right(scores_seen[0], y)

    def _loss(self, scores: Tensor, y: Tensor, teacher: Tensor | None) -> Tensor:
        loss = self.objective.loss(scores, y)
        if teacher is None:
            return loss
        share, temperature = self.distil
        return (1 - share) * loss + share * self.objective.distillation(scores, teacher, temperature)

    def _teacher(self, rows: NDArray[np.intp], mirrored: NDArray[np.bool_]) -> Tensor | None:
        if self.samples.teacher is None:
            return None
        return torch.from_numpy(self.samples.teacher[rows, mirrored.astype(np.intp)])

    def _right(self, scores: Tensor, y: Tensor) -> float:
        if self.objective.task == "regression":
            return math.nan
        return float((self.objective.predicted(scores) == y).float().mean())

    # Judging.

    def figures(self, network: Network) -> Figures:
        """Of the network on the validation samples, or on the training samples where there are none."""
        samples = self.validation if len(self.validation) else self.samples
        scores = score(network, samples.pixels, samples.features, self.bfloat16)
        return self.objective.figures(scores, torch.from_numpy(samples.y))

    def _sound_figures(self, network: Network, state: _State, watch: Watch, rate: float = 0.0) -> Figures:
        """The figures; an error where scores are no numbers, which no step would notice after the last one."""
        figures = self.figures(network)
        samples = self.validation if len(self.validation) else self.samples
        watch.check_judged(network, state.step, rate, figures.loss, samples)
        return figures

    # What is told.

    def _log_step(self, state: _State, loss: float, accuracy: float, rate: float, norm: float) -> None:
        self.run_.log.write(
            event="step",
            step=state.step,
            epoch=state.step / self.per_epoch,
            loss=loss,
            accuracy=accuracy,
            learning_rate=rate,
            gradient_norm=norm,
        )

    def _summary(self, state: _State, seconds: float, resumed: bool) -> dict[str, Any]:
        return {
            "epochs": state.step / self.per_epoch,
            "planned_epochs": state.planned // self.per_epoch,
            "steps": state.step,
            "batch_size": self.batch_size,
            "learning_rate": learning_rate(self.settings, self.batch_size),
            "images_per_second": state.step * self.batch_size / state.seconds if state.seconds else math.nan,
            "seconds": seconds,
            "best_epoch": state.best_epoch,
            "bfloat16": self.bfloat16,
            "threads": torch.get_num_threads(),
            "shortened": state.shortened,
            "interrupted": self.interrupted,
            "stopped_early": state.ended,
            "resumed": resumed,
        }

    def _restored(
        self,
        saved: dict[str, Any],
        network: Network,
        optimizer: torch.optim.Optimizer,
        average: AveragedWeights | None,
    ) -> _State:
        network.load_state_dict(saved["network"])
        optimizer.load_state_dict(saved["optimizer"])
        if average:
            average.load(saved["average"])
        return _State.of(saved["state"])


@dataclass
class _State:
    """Where a training is."""

    total: int
    planned: int = 0
    step: int = 0
    epoch: int = 0
    seconds: float = 0.0
    first_losses: list[float] = field(default_factory=list)
    best: dict[str, Tensor] | None = None
    best_figures: Figures | None = None
    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    shortened: bool = False
    ended: bool = False
    begun: tuple[int, float] = (0, 0.0)
    """The step and the progress at which the present plan began."""

    def progress(self) -> float:
        """0 at the first step, 1 after the last."""
        step, progress = self.begun
        return progress + (1 - progress) * (self.step - step) / max(1, self.total - step)

    def end_after(self, steps: int) -> None:
        """End after ``steps`` more, fewer than planned; the schedule runs through what is left of it."""
        self.begun = (self.step, self.progress())
        self.total = self.step + steps
        self.shortened = True

    def plain(self) -> dict[str, Any]:
        """As a checkpoint keeps it."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def of(cls, plain: dict[str, Any]) -> _State:
        state = cls(**plain)
        state.best_figures = None if state.best_figures is None else Figures(*state.best_figures)
        state.begun = (state.begun[0], state.begun[1])
        return state


@contextlib.contextmanager
def _interruptible(trainer: Trainer) -> Iterator[None]:
    """The first Ctrl-C ends the training after its step, the second one everything."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(number: int, frame: Any) -> None:
        trainer.interrupted = True
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def batch_size(n: int, wanted: int) -> int:
    """The batch size for n images: ``wanted``, or less where an epoch would have fewer than ``LEAST_STEPS`` steps."""
    return min(wanted, n, max(LEAST_BATCH, n // LEAST_STEPS))


def smaller_side(side: int) -> int:
    """A side at the lower resolution: three quarters, in multiples of 4, which two halvings leave whole."""
    return min(side, max(LEAST_SIDE, 4 * round(LOW / 4 * side)))


def shrunk(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images (n, h, w, planes) at the lower resolution, by the mean over areas; small ones stay as they are."""
    height, width = pixels.shape[1:3]
    size = (smaller_side(width), smaller_side(height))
    if size == (width, height):
        return pixels
    found = np.empty((len(pixels), size[1], size[0], pixels.shape[3]), np.uint8)
    for image, out in zip(pixels, found, strict=True):
        out[...] = cv2.resize(image, size, interpolation=cv2.INTER_AREA).reshape(out.shape)
    return found


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 numbers, rather than oneDNN emulating them."""
    # Versions of torch before it had this are not asked: they train in 32 bits.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))


def mean_color(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Mean of each plane, 0 to 255: float32 (planes,)."""
    return np.asarray(pixels.mean(axis=(0, 1, 2), dtype=np.float64), np.float32)


def color_scale(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Standard deviation of each plane over all images, at least 1: float32 (planes,)."""
    return np.array([max(_deviation(pixels[..., k]), 1.0) for k in range(pixels.shape[3])], np.float32)


def _deviation(plane: NDArray[np.uint8], at_a_time: int = 500) -> float:
    """Standard deviation of a plane (n, height, width), from counts: in 64 bits it would not fit into memory."""
    counts = np.zeros(256, np.int64)
    for start in range(0, len(plane), at_a_time):
        counts += np.bincount(plane[start : start + at_a_time].ravel(), minlength=256)
    values = np.arange(256)
    mean = np.average(values, weights=counts)
    return float(np.sqrt(np.average((values - mean) ** 2, weights=counts)))


def score(
    network: Network, pixels: NDArray[np.uint8], features: NDArray[np.float32], bfloat16: bool = False
) -> Tensor:
    """Scores of images, float32 (n, n_outputs), by a network on evaluation."""
    network.eval()
    parts: Sequence[Tensor] = []
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        parts = [
            network(*as_tensors(pixels[k : k + EVALUATED], features[k : k + EVALUATED])).float()
            for k in range(0, len(pixels), EVALUATED)
        ]
    return torch.cat(list(parts)).clone()
