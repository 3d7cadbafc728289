"""What a search for a network measures and trains with, and the part of a budget that a trial gets."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from classic_cv.compare.contestant import Budget, FitTask, Fitted
from classic_cv.deep.settings import DeepSettings
from classic_cv.errors import ImageError

TIMED, WARM_UP = 30, 5
"""Answers that a latency is measured by, and those before them."""


class Measured(NamedTuple):
    """Median milliseconds of one image on one thread, and bytes of the stored network."""

    ms: float
    n_bytes: int


class Outcome(NamedTuple):
    """Of a short training: accuracy on images that it did not see, and passes over the others; None for none."""

    accuracy: float
    epochs: float | None


class Slice:
    """A part of a budget, as a budget of its own.

    Args:
        parent: the whole.
        seconds: of the part.
    """

    def __init__(self, parent: Budget, seconds: float) -> None:
        self.parent, self.total, self.start = parent, max(seconds, 0.0), parent.used()

    def used(self) -> float:
        """Seconds of the part that are spent."""
        return self.parent.used() - self.start

    @property
    def left(self) -> float:
        """Seconds of the part that are left; negative once they are overspent."""
        return self.total - self.used()


def measure(settings: DeepSettings, size: int, task: FitTask) -> Measured:
    """Latency and bytes of an untrained network at a size, from encoded images to labels.

    One thread does it all, so its CPU time is what an idle core would take, whatever else the machine does meanwhile.
    """
    from classic_cv.deep.export import IMAGE, to_onnx
    from classic_cv.deep.networks import build, statistics
    from classic_cv.deep.predictor import Interface, OnnxPredictor

    scratch = msgspec.structs.replace(settings, mode="scratch")
    n_classes = len(task.class_names)
    network = to_onnx(build(scratch, n_classes, task.seed), size, *statistics(scratch))
    interface = Interface(
        size=size, resize=settings.resize, n_classes=n_classes, input=IMAGE, layout="NHWC", dtype="uint8"
    )
    predictor = OnnxPredictor(network, interface, 1, len(network))
    times: list[float] = []
    for k in range(WARM_UP + TIMED):
        start = time.thread_time()
        try:
            predictor.label(task.dataset.read(int(task.train[k % len(task.train)])))
        except ImageError:
            continue
        times.append(time.thread_time() - start)
    return Measured(1000 * float(np.median(times[WARM_UP:] or times or [math.inf])), len(network))


def attempt(settings: DeepSettings, task: FitTask) -> Outcome:
    """A short training: of as many epochs as the settings say, if the task's budget reaches for them."""
    if settings.mode == "frozen":
        from classic_cv.deep.frozen import fit_frozen

        with tempfile.TemporaryDirectory(dir=task.folder) as aside:
            details = fit_frozen(settings, replace(task, folder=Path(aside))).details
        return Outcome(float(details.get("cv_accuracy", 0.0)), None)
    from classic_cv.deep.fitting import begin, prepare_training
    from classic_cv.deep.training import CpuClock, train

    begin(task)
    prepared = prepare_training(settings, task)
    clock = CpuClock(task.budget.used, task.budget.total)
    trained = train(prepared.network, prepared.data, prepared.settings, clock, task.seed)
    accuracy = trained.validation_accuracy
    return Outcome(0.0 if math.isnan(accuracy) else accuracy, trained.epochs)


def fit(settings: DeepSettings, task: FitTask) -> Fitted:
    """The long run: fit and store a network."""
    if settings.mode == "frozen":
        from classic_cv.deep.frozen import fit_frozen

        return fit_frozen(settings, task)
    from classic_cv.deep.fitting import fit_deep

    return fit_deep(settings, task)


def usual_rate(settings: DeepSettings) -> float:
    """The learning rate that a training takes by itself."""
    from classic_cv.deep.training import peak_rate

    return peak_rate(settings, settings.batch_size)


@dataclass(frozen=True)
class Tools:
    """What the search measures and trains with."""

    measure: Callable[[DeepSettings, int, FitTask], Measured] = measure
    attempt: Callable[[DeepSettings, FitTask], Outcome] = attempt
    fit: Callable[[DeepSettings, FitTask], Fitted] = fit
    rate: Callable[[DeepSettings], float] = usual_rate
