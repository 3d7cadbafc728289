"""The fit of a deep contestant within its CPU seconds: size, images, training, the stored network.

Everything is charged: reading weights, trials of speed, decoding, training, validation, export.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from classic_cv.allocator import keep_freed_memory
from classic_cv.compare.contestant import Budget, FitTask, Fitted
from classic_cv.deep.export import IMAGE, check_export, to_onnx
from classic_cv.deep.images import Decoded, decode, most_side, moved_up, typical_side
from classic_cv.deep.linear_head import start_head
from classic_cv.deep.networks import build, check_size, keep_resolution, statistics
from classic_cv.deep.pilot import Candidate, Pilot, candidates, choose
from classic_cv.deep.predictor import Interface, write_network
from classic_cv.deep.settings import DeepSettings
from classic_cv.deep.training import CpuClock, DeepData, TrainedDeep, train
from classic_cv.errors import DatasetError, ImageError
from classic_cv.heads.fitting import TrainingSet
from classic_cv.neural.preparation import validation_rows
from classic_cv.subset import nested_order

PLANNED = 0.96
"""Share of the CPU seconds that is planned for: what comes after the last look at the clock still fits."""

EXPORT_SECONDS, EXPORT_SECONDS_PER_WEIGHT = 2.0, 5e-8
"""CPU seconds that are kept for storing and checking a network, in all and per weight."""

DECODING_SHARE = 0.3
"""Of the time at most is spent on decoding: where that is too little for all images, it takes fewer."""

DECODED_FIRST = 16
"""Images that the cost of decoding is measured on."""

LEAST_VALIDATION, VALIDATION, MOST_VALIDATION = 100, 0.1, 0.2
"""Images held out: a tenth, but at least 100, unless these are more than a fifth."""

CHECKED = 8
"""Images that the stored network is compared on."""


@dataclass
class Prepared:
    """What a training needs, and what was decided on the way.

    Attributes:
        settings: with the size.
        network: with its first weights.
        data: the images.
        small_stem: whether the stem keeps the resolution.
        problems: an error per image that cannot be used.
        log: lines on what was decided.
    """

    settings: DeepSettings
    network: nn.Module
    data: DeepData
    small_stem: bool
    problems: list[ImageError] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Pixels of both sides."""
        return self.data.size


def fit_deep(settings: DeepSettings, task: FitTask) -> Fitted:
    """Train a network from scratch or fine-tune it, and store it as ``network.onnx`` and ``network.json``.

    Args:
        settings: of the network, in mode ``scratch`` or ``finetune``.
        task: what it learns from; its CPU seconds are kept, but for a budget that not even one step fits into.

    Raises:
        RecipeError: no such architecture, or its weights cannot be had.
        MissingExtraError: the package that holds the weights is not installed.
        DatasetError: no image can be used, or they do not fit into memory at the size of the settings.
        TrainingError: the training broke, or the network cannot be stored.
    """
    begin(task)
    prepared = prepare_training(settings, task)
    clock = CpuClock(task.budget.used, training_end(task.budget, prepared.network))
    trained = train(
        prepared.network, prepared.data, prepared.settings, clock, task.seed, progress=task.progress
    )
    return store(prepared, trained, task)


def begin(task: FitTask) -> None:
    """Let torch compute with as many threads as the task allows, and keep memory that is freed."""
    torch.set_num_threads(task.threads)
    keep_freed_memory()


def training_end(budget: Budget, network: nn.Module) -> float:
    """What ``budget.used()`` may say when a training ends: so that the network can still be stored."""
    n_parameters = sum(parameter.numel() for parameter in network.parameters())
    return PLANNED * budget.total - EXPORT_SECONDS - EXPORT_SECONDS_PER_WEIGHT * n_parameters


def prepare_training(settings: DeepSettings, task: FitTask) -> Prepared:
    """Build the network, choose size and images by what they cost, decode, hold a validation part out.

    Args:
        settings: in mode ``scratch`` or ``finetune``; a size that they give is kept.
        task: ``budget`` says what the choice is made for: the training is to end at ``training_end``.

    Raises:
        As ``fit_deep``.
    """
    log: list[str] = []
    network = build(settings, len(task.class_names), task.seed)
    positions = _affordable_images(settings, task, log)
    chosen = _choose_size(settings, network, task, len(positions), log)
    check_size(network, chosen.size, settings)
    if chosen.small_stem:
        keep_resolution(network)
    settings = msgspec.structs.replace(settings, size=chosen.size)
    decoded = decode(task.dataset, positions, chosen.size, settings.resize, task.threads, task.progress)
    problems = decoded.problems
    if problems:
        log.append(f"{len(problems)} images cannot be used and are left out; the first: {problems[0]}")
    data = split_data(settings, decoded, task)
    log.append(f"{len(data.y)} images to train on, {len(data.validation_y)} to judge by")
    if settings.mode == "finetune":
        start_head(network, data, len(task.class_names), task.seed)
    return Prepared(settings, network, data, chosen.small_stem, problems, log)


def split_data(settings: DeepSettings, decoded: Decoded, task: FitTask) -> DeepData:
    """Decoded images in a part to train on and a part to judge by, which has no group in common with it.

    The pixels of ``decoded`` are moved within their array, so that no second one is needed: it is of no use after it.

    Raises:
        DatasetError: fewer than 2 images are left to train on.
    """
    y, groups, n = task.y[decoded.kept], task.groups[decoded.kept], len(decoded.kept)
    share = min(MOST_VALIDATION, max(VALIDATION, LEAST_VALIDATION / n))
    training = TrainingSet(np.zeros((n, 0), np.float32), y, groups, [0], "classification", task.seed)
    held_out = validation_rows(training, share)
    kept = np.setdiff1d(np.arange(n), held_out)
    kept = kept[~np.isin(groups[kept], groups[held_out])]
    if len(kept) < 2:
        raise DatasetError(
            f"{task.dataset.path}: {n} images that can be used are too few to train a network on"
        )
    validation = decoded.pixels[held_out]
    pixels = moved_up(decoded.pixels, kept)
    return DeepData(pixels, y[kept], validation, y[held_out], statistics(settings, pixels))


def _affordable_images(settings: DeepSettings, task: FitTask, log: list[str]) -> NDArray[np.int64]:
    """Those images that there is time to decode: all of them, or a fair choice."""
    size = settings.max_size if settings.size == "auto" else settings.size
    start = task.budget.used()
    try:
        decode(task.dataset, task.train[:DECODED_FIRST], size, settings.resize, 1)
    except DatasetError:  # the others may be better
        return task.train
    seconds = (task.budget.used() - start) / min(DECODED_FIRST, len(task.train))
    reach = DECODING_SHARE * max(task.budget.left, 0.0) / max(seconds, 1e-9)
    if reach >= len(task.train):
        return task.train
    fewest = 4 * len(task.class_names)
    n = min(len(task.train), max(int(reach), fewest))
    log.append(f"{n} of {len(task.train)} images: decoding takes {1000 * seconds:.1f} CPU ms each")
    order = nested_order(task.y[task.train], task.groups[task.train], task.seed)
    return np.sort(task.train[order[:n]])


def _choose_size(
    settings: DeepSettings, network: nn.Module, task: FitTask, n: int, log: list[str]
) -> Candidate:
    """The size that the network is trained at, and whether its stem keeps the resolution."""
    side = typical_side(task.dataset, task.train)
    found = candidates(settings, side, most_side(n))
    if len(found) == 1:
        log.append(
            f"{found[0].size} pixels, as given" if settings.size != "auto" else f"{found[0].size} pixels"
        )
        return found[0]
    pilot = Pilot(network, settings, len(task.class_names), CpuClock(task.budget.used, math.inf), n)
    seconds = training_end(task.budget, network) - task.budget.used()
    chosen, epochs = choose(found, pilot, seconds)
    text = "the time does not end" if math.isinf(epochs) else f"time for about {epochs:.0f} epochs"
    stem = ", the stem keeps the resolution" if chosen.small_stem else ""
    log.append(f"{chosen.size} pixels of typically {side}{stem}: {text}")
    return chosen


def store(prepared: Prepared, trained: TrainedDeep, task: FitTask) -> Fitted:
    """Write the network and what it takes into the task's folder, check it, and tell of the fit.

    Raises:
        TrainingError: it cannot be stored, or answers otherwise than the trained one.
    """
    settings, data = prepared.settings, prepared.data
    content = to_onnx(trained.network, data.size, *data.values)
    difference = check_export(trained.network, content, data.pixels[:CHECKED], data.values)
    interface = Interface(
        size=data.size,
        resize=settings.resize,
        n_classes=len(task.class_names),
        input=IMAGE,
        layout="NHWC",
        dtype="uint8",
    )
    write_network(task.folder, content, interface)
    log = [*prepared.log, *describe(trained, task.budget)]
    details = {
        "architecture": settings.architecture,
        "mode": settings.mode,
        "size": data.size,
        "resize": settings.resize,
        "small_stem": prepared.small_stem,
        "validation_accuracy": None
        if math.isnan(trained.validation_accuracy)
        else trained.validation_accuracy,
        "n_validation": len(data.validation_y),
        "export_difference": difference,
        **trained.summary,
    }
    skipped = [{"image": problem.source, "reason": problem.reason} for problem in prepared.problems]
    return Fitted(len(data.y), trained.epochs, trained.history, log, skipped, details)


def describe(trained: TrainedDeep, budget: Budget) -> list[str]:
    """How a training went, in lines for a log."""
    summary = trained.summary
    lines = [
        f"{trained.epochs:.1f} epochs of {summary['steps'] / max(trained.epochs, 1e-9):.0f} steps with "
        f"{summary['batch_size']} images, learning rate up to {summary['learning_rate']:.2g}; {summary['augmentation']}"
    ]
    if summary["n_frozen"]:
        lines.append(f"{summary['n_frozen']} of {summary['n_parameters']} weights stayed as they were")
    if not math.isnan(trained.validation_accuracy):
        lines.append(f"best accuracy on the validation images: {trained.validation_accuracy:.3f}")
    if not math.isinf(budget.total):
        lines.append(f"{budget.used():.1f} of {budget.total:.1f} CPU seconds used")
    return lines
