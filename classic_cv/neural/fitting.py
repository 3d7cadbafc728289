"""From features, pixels and targets to a fitted hybrid head: trained, calibrated, stored, checked, quantised."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from classic_cv.allocator import keep_freed_memory
from classic_cv.errors import TrainingError
from classic_cv.features.base import Features
from classic_cv.heads.calibration import Calibrator
from classic_cv.heads.fitting import FittedStack, TrainingSet
from classic_cv.heads.hybrid import FEATURES, PIXELS, HybridNetwork, HybridRegressionNetwork
from classic_cv.neural.architecture import Network
from classic_cv.neural.compression import MOST_LOST, Measured, compared, compression_entry, pays, quantized
from classic_cv.neural.course import Course, Surroundings, validation_figure
from classic_cv.neural.export import Deployed, to_onnx
from classic_cv.neural.log import JsonLines
from classic_cv.neural.preparation import Prepared, network_inputs, prepare
from classic_cv.neural.settings import HybridSettings
from classic_cv.neural.training import Trained, score
from classic_cv.timing import available_cores

CHECKED = 64
"""Images on which the stored network is compared with the trained one."""

CALIBRATED = 512
"""Training images that the ranges of an int8 network are measured on."""

MOST_DIFFERENCE = 1e-3
"""The stored network's scores may differ from the trained one's by so much, relative to their largest."""


def fit_hybrid(
    settings: HybridSettings, training: TrainingSet, shape: Sequence[int], around: Surroundings
) -> FittedStack:
    """Train a network on features and pixels, calibrate it, and store it.

    Args:
        settings: of the head; what is ``auto`` in it is decided.
        training: its X holds features, then pixels, the last of its ``widths``; with mirrored copies, images are
            mirrored at random.
        shape: planes, height and width of the pixels.
        around: time, log, threads.

    Raises:
        RecipeError: no network fits ``max_parameters``, or the teacher cannot be used.
        TrainingError: training broke, or a checkpoint is of another one.
    """
    keep_freed_memory()
    with _threads(available_cores() if around.jobs < 0 else around.jobs):
        return _fit_hybrid(settings, training, shape, around)


@contextmanager
def _threads(wanted: int) -> Iterator[None]:
    """So many threads of torch inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _fit_hybrid(
    settings: HybridSettings, training: TrainingSet, shape: Sequence[int], around: Surroundings
) -> FittedStack:
    started, cpu_started = time.perf_counter(), time.process_time()
    prepared = prepare(settings, training, shape)
    resuming = around.checkpoint is not None and around.checkpoint.exists()
    with JsonLines(around.log, append=resuming) as log:
        course = Course(settings, prepared, training.seed, around, log)
        trained = course.run()
    stored = _stored(course.settings, trained, prepared, training)
    found = {
        "block": trained.network.settings.block,
        "channels": list(trained.network.settings.channels),
        "blocks": list(trained.network.settings.blocks),
        "n_parameters": stored.head.n_parameters + around.n_learned,
        "n_features": len(prepared.scaling.mean),
        "validation_images": len(prepared.validation),
        **validation_figure(trained.figures.error, prepared),
        **course.notes,
        "compression": [*course.compression, *stored.compression],
        "training": trained.summary,
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - cpu_started,
    }
    settings = course.reproducible(trained)
    stack = FittedStack(stored.head, None, {"network": repeatable(found)}, settings, [], prepared.mean)
    stack.course = {"network": found}
    return stack


REPEATABLE = """
block channels blocks n_parameters n_features validation_images validation_score validation_mae scoring overfit_check
augmentation
""".split()
OF_TRAINING = "epochs planned_epochs steps batch_size learning_rate best_epoch bfloat16 threads".split()


def repeatable(found: dict[str, Any]) -> dict[str, Any]:
    """What another fit of the same recipe finds again: without times, and without how values were searched for."""
    kept = {key: found[key] for key in REPEATABLE if key in found}
    return kept | {"training": {key: found["training"][key] for key in OF_TRAINING}}


@dataclass
class _Stored:
    """A fitted head, and what quantising it did."""

    head: HybridNetwork
    compression: list[dict[str, Any]]


def _stored(settings: HybridSettings, trained: Trained, prepared: Prepared, training: TrainingSet) -> _Stored:
    """The head of a trained network: calibrated, exported, checked, and quantised where that pays."""
    gain, offset = _calibration(trained.network, prepared, training)
    deployed = Deployed(trained.network, prepared.scaling, gain, offset)
    n_features = len(prepared.scaling.mean)
    network = to_onnx(deployed, prepared.shape, n_features)
    classes = np.arange(training.y.max() + 1) if training.task == "classification" else np.zeros(0)
    kind = HybridNetwork if training.task == "classification" else HybridRegressionNetwork
    head = kind.of(network, prepared.shape, n_features, classes)
    _check_stored(head, deployed, training, prepared)
    if settings.compression.quantize == "none":
        return _Stored(head, [])
    small = kind.of(
        quantized(network, calibration_batches(head, training)), prepared.shape, n_features, classes
    )
    entry = _quantised_entry(head, small, training, prepared)
    return _Stored(small if entry["kept"] else head, [entry])


def _calibration(
    network: Network, prepared: Prepared, training: TrainingSet
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Gain and offset of the scores, (n_outputs,): calibrated log-odds, or the target's own units."""
    if training.task == "regression":
        mean, deviation = prepared.target
        return np.array([deviation], np.float32), np.array([mean], np.float32)
    samples = prepared.validation if len(prepared.validation) else prepared.training
    scores = score(network, samples.pixels, samples.features).numpy()
    balanced = prepared.objective.class_weights is not None
    calibrator = Calibrator().fit(scores, samples.y, balanced)
    return calibrator.scale_, calibrator.bias_


def _check_stored(head: HybridNetwork, deployed: Deployed, training: TrainingSet, prepared: Prepared) -> None:
    """The stored network has to give what the trained one does: the exporter is not trusted blindly."""
    rows = training.X[: min(CHECKED, len(training.y))]
    n = head.n_features_
    pixels = torch.from_numpy(np.ascontiguousarray(rows[:, n:])).reshape(len(rows), *prepared.shape)
    features = torch.from_numpy(np.ascontiguousarray(rows[:, :n])) if n else None
    with torch.inference_mode():
        expected = deployed.eval()(pixels, features).numpy()
    found = head.decision_function(rows).reshape(expected.shape)
    difference = float(np.abs(found - expected).max()) / max(1.0, float(np.abs(expected).max()))
    if not difference <= MOST_DIFFERENCE:
        raise TrainingError(
            f"the stored network differs from the trained one by {difference:.3g}, allowed {MOST_DIFFERENCE}: the "
            "installed versions of torch, onnx and onnxruntime do not agree; update them"
        )


def calibration_batches(head: HybridNetwork, training: TrainingSet) -> list[dict[str, NDArray[np.float32]]]:
    """Inputs that the ranges of a quantised network are measured on: training images, spread evenly."""
    n = head.n_features_
    chosen = np.linspace(0, len(training.y) - 1, min(CALIBRATED, len(training.y))).astype(np.intp)
    batches = []
    for start in range(0, len(chosen), 64):
        rows = training.X[chosen[start : start + 64]]
        inputs = {PIXELS: np.ascontiguousarray(rows[:, n:]).reshape(len(rows), *head.shape_.tolist())}
        if n:
            inputs[FEATURES] = np.ascontiguousarray(rows[:, :n])
        batches.append(inputs)
    return batches


def _quantised_entry(
    head: HybridNetwork, small: HybridNetwork, training: TrainingSet, prepared: Prepared
) -> dict[str, Any]:
    """What int8 changes on the validation images, and whether it is kept: smaller or faster, and hardly worse."""
    rows = prepared.held_out if len(prepared.held_out) else np.arange(min(CALIBRATED, len(training.y)))
    X, y = training.X[rows], training.y[rows]
    networks = head.network_.tobytes(), small.network_.tobytes()
    times = compared(networks[0], networks[1], network_inputs(prepared, np.arange(1)))
    before, after = (
        Measured(_error(one, X, y, prepared), len(network), ms)
        for one, network, ms in zip((head, small), networks, times, strict=True)
    )
    # Of a number's error this share.
    most_lost = MOST_LOST if training.task == "classification" else MOST_LOST * before.error
    return compression_entry("int8", before, after, kept=pays(before, after, most_lost))


def _error(head: HybridNetwork, X: Features, y: NDArray[Any], prepared: Prepared) -> float:
    """Of a stored network: share of wrong classes (balanced where training is), or mean absolute error."""
    scores = torch.from_numpy(head.decision_function(X).reshape(len(X), -1))
    if prepared.objective.task == "regression":
        return float(np.abs(scores.numpy()[:, 0] - y).mean())
    return prepared.objective.figures(scores, torch.from_numpy(y.astype(np.int64))).error
