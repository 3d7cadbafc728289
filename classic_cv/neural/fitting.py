"""From features, pixels and targets to a fitted hybrid head."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from classic_cv.errors import RecipeError
from classic_cv.extraction import Progress
from classic_cv.features.base import Features
from classic_cv.heads.calibration import Calibrator
from classic_cv.heads.fitting import FittedStack, TrainingSet
from classic_cv.heads.hybrid import HybridNetwork, HybridRegressionNetwork
from classic_cv.neural.architecture import Network, initialise, n_parameters, whiten, within
from classic_cv.neural.augmentation import resolved
from classic_cv.neural.export import Deployed, FeatureScaling, to_onnx
from classic_cv.neural.log import JsonLines
from classic_cv.neural.objective import Objective
from classic_cv.neural.samples import FeaturesOf, Samples
from classic_cv.neural.settings import HybridSettings, NetworkSettings
from classic_cv.neural.training import Clock, Run, Trained, Trainer, color_scale, mean_color, score
from classic_cv.neural.trust import as_tensors, can_overfit
from classic_cv.subset import nested_order
from classic_cv.timing import available_cores

MOST_VALIDATION = 2500
"""Images that are held out at most."""

LEAST_VALIDATION = 20
"""Where fewer would be held out, none are: their figure would be chance."""

OVERFIT_SECONDS, OVERFIT_SHARE = 10.0, 0.03
"""The check on a small batch may take so long, and at most this share of the time limit."""

WHITENED = 2000
"""Images whose patches a whitened first convolution begins with."""

MOST_DIFFERENCE = 1e-3
"""The stored network's scores may differ from the trained one's by so much, relative to their largest."""


@dataclass
class Surroundings:
    """What a fit knows besides its samples and settings.

    Attributes:
        deadline: ``time.perf_counter()`` when training has to end.
        n_learned: parameters that the extractors have learned (codebooks), which count.
        features_of: raw features of changed pixels (n, height, width, planes), where that is possible.
        log: JSON lines of the course of training.
        checkpoint: a file for the state of the training, to go on from.
        jobs: threads.
        progress: called with (task, done, total).
    """

    deadline: float = math.inf
    n_learned: int = 0
    features_of: FeaturesOf | None = None
    log: Path | None = None
    checkpoint: Path | None = None
    jobs: int = -1
    progress: Progress | None = None


@dataclass(eq=False)
class Prepared:
    """Samples ready for training, with what turns their targets and features back."""

    training: Samples
    validation: Samples
    scaling: FeatureScaling
    objective: Objective
    n_outputs: int
    target: tuple[float, float]
    """Mean and standard deviation of a regression's target; 0 and 1 of classes."""

    mean: Features
    """float32 (n_features + planes,): mean raw features and mean color of the training images."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Planes, height, width."""
        height, width, planes = self.training.pixels.shape[1:]
        return planes, height, width


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
        RecipeError: no network fits ``max_parameters``.
        TrainingError: training broke, or a checkpoint is of another one.
    """
    torch.set_num_threads(available_cores() if around.jobs < 0 else around.jobs)
    prepared = prepare(settings, training, shape)
    network_settings = sized(settings.network, prepared, around.n_learned)
    settings = msgspec.structs.replace(settings, network=network_settings)
    started = time.perf_counter()
    with JsonLines(around.log, append=around.checkpoint is not None and around.checkpoint.exists()) as log:
        trained, notes = _trained(settings, prepared, training.seed, around, log)
    gain, offset = _calibration(trained.network, prepared, training)
    network = to_onnx(
        Deployed(trained.network, prepared.scaling, gain, offset), prepared.shape, len(prepared.scaling.mean)
    )
    classes = np.arange(prepared.training.y.max() + 1) if training.task == "classification" else np.zeros(0)
    kind = HybridNetwork if training.task == "classification" else HybridRegressionNetwork
    head = kind.of(network, prepared.shape, len(prepared.scaling.mean), classes)
    _check_stored(head, trained.network, prepared, gain, offset)
    error = trained.figures.error
    choices = {
        "n_parameters": head.n_parameters + around.n_learned,
        "block": network_settings.block,
        "channels": list(network_settings.channels),
        "blocks": list(network_settings.blocks),
        "validation_images": len(prepared.validation),
        **(
            {
                "validation_score": 1 - error,
                "scoring": "accuracy" if prepared.objective.class_weights is None else "balanced accuracy",
            }
            if training.task == "classification"
            else {"validation_mae": error * prepared.target[1]}
        ),
        **notes,
        "training": trained.summary,
        "cpu_seconds": time.process_time(),
        "seconds": time.perf_counter() - started,
    }
    epochs = max(1, round(trained.summary["epochs"]))
    optimization = msgspec.structs.replace(settings.optimization, epochs=epochs)
    settings = msgspec.structs.replace(settings, optimization=optimization)
    return FittedStack(head, None, {"network": choices}, settings, [], prepared.mean)


def sized(settings: NetworkSettings, prepared: Prepared, n_learned: int) -> NetworkSettings:
    """The network under its limit, less what the extractors have learned.

    Raises:
        RecipeError: none fits.
    """
    if settings.max_parameters == "none":
        return settings
    limit = settings.max_parameters - n_learned
    narrowed = msgspec.structs.replace(settings, max_parameters=limit)
    planes = prepared.shape[0]
    try:
        found = within(narrowed, planes, len(prepared.scaling.mean), prepared.n_outputs)
    except ValueError as error:
        raise RecipeError(f"head.network.max_parameters = {settings.max_parameters}: {error}") from None
    return msgspec.structs.replace(found, max_parameters=settings.max_parameters)


def _trained(
    settings: HybridSettings, prepared: Prepared, seed: int, around: Surroundings, log: JsonLines
) -> tuple[Trained, dict[str, Any]]:
    """The trained network, and what was found on the way, as plain data."""
    clock = Clock(around.deadline)
    network = new_network(settings.network, prepared, seed)
    seconds = min(OVERFIT_SECONDS, OVERFIT_SHARE * clock.left)
    check = can_overfit(network, prepared.training, prepared.objective, seconds, seed)
    log.write(event="overfit", **check)
    size = n_parameters(settings.network, prepared.shape[0], len(prepared.scaling.mean), prepared.n_outputs)
    augmentation = resolved(settings.augmentation, size, len(prepared.training))
    run = Run(log, around.checkpoint, _fingerprint(settings, prepared, seed), around.progress)
    features_of = _scaled_features(around.features_of, prepared.scaling)
    trainer = Trainer(
        network,
        prepared.training,
        prepared.validation,
        settings.optimization,
        augmentation,
        prepared.objective,
        clock,
        seed,
        run,
        features_of,
    )
    return trainer.run(), {"overfit_check": check, "augmentation": msgspec.to_builtins(augmentation)}


def _scaled_features(features_of: FeaturesOf | None, scaling: FeatureScaling) -> FeaturesOf | None:
    if features_of is None:
        return None
    raw = features_of
    return lambda pixels: scaling.apply(raw(pixels))


def new_network(settings: NetworkSettings, prepared: Prepared, seed: int) -> Network:
    """A network with initial weights drawn from ``seed``, made for the training pixels."""
    pixels = prepared.training.pixels
    network = Network(settings, prepared.shape[0], prepared.scaling.n_out, prepared.n_outputs)
    network.mean.copy_(torch.from_numpy(mean_color(pixels)))
    network.scale.copy_(torch.from_numpy(color_scale(pixels)))
    generator = torch.Generator().manual_seed(seed)
    initialise(network, generator)
    if settings.first == "whitened":
        rows = np.linspace(0, len(pixels) - 1, min(WHITENED, len(pixels))).astype(np.intp)
        sample, _ = as_tensors(pixels[rows], np.zeros((len(rows), 0), np.float32))
        whiten(network, sample, generator)
    return network


def prepare(settings: HybridSettings, training: TrainingSet, shape: Sequence[int]) -> Prepared:
    """Split off a validation part, standardise features and targets, make images of pixel columns."""
    planes, height, width = (int(side) for side in shape)
    n, n_pixels = len(training.y), planes * height * width
    n_features = training.X.shape[1] - n_pixels
    raw = training.X[:n, n_features:].astype(np.uint8).reshape(n, planes, height, width)
    pixels = np.ascontiguousarray(raw.transpose(0, 2, 3, 1))
    features = training.X[:n, :n_features]
    copies = training.X[n:, :n_features] if training.has_copies else None
    held_out = validation_rows(training, settings.validation)
    kept = np.setdiff1d(np.arange(n), held_out)
    if training.groups is not None:
        kept = kept[~np.isin(training.groups[kept], training.groups[held_out])]
    scaling = feature_scaling(features[kept], None if copies is None else copies[kept], settings.pca)
    y, target = _targets(training, kept)
    samples = Samples(
        pixels, scaling.apply(features), y, None if copies is None else scaling.apply(copies)
    )
    mean = np.concatenate([scaling.mean, mean_color(pixels[kept])]).astype(np.float32)
    return Prepared(
        samples.part(kept),
        samples.part(held_out),
        scaling,
        _objective(settings, training, y[kept]),
        _n_outputs(training),
        target,
        mean,
    )


def _n_outputs(training: TrainingSet) -> int:
    if training.task == "regression":
        return 1
    n_classes = int(training.y.max()) + 1
    return 1 if n_classes == 2 else n_classes


def _targets(training: TrainingSet, kept: NDArray[np.intp]) -> tuple[NDArray[Any], tuple[float, float]]:
    """y as the network learns it, and the mean and standard deviation that turn it back."""
    if training.task == "classification":
        return training.y.astype(np.int64), (0.0, 1.0)
    mean, deviation = float(training.y[kept].mean()), float(training.y[kept].std()) or 1.0
    return ((training.y - mean) / deviation).astype(np.float32), (mean, deviation)


def _objective(settings: HybridSettings, training: TrainingSet, y: NDArray[Any]) -> Objective:
    optimization = settings.optimization
    weights = None
    balanced = settings.class_weight == "balanced" or (settings.class_weight == "auto" and training.unequal)
    if training.task == "classification" and balanced:
        counts = np.bincount(y, minlength=int(training.y.max()) + 1)
        share = len(y) / np.maximum(counts, 1) / (counts > 0).sum()
        weights = torch.from_numpy(share.astype(np.float32))
    return Objective(training.task, optimization.label_smoothing, optimization.loss, weights)


def validation_rows(training: TrainingSet, share: float) -> NDArray[np.intp]:
    """Images held out, ascending: a stratified choice that leaves every class an image and splits no group.

    Empty where fewer than ``LEAST_VALIDATION`` would be held out.
    """
    n = len(training.y)
    wanted = min(MOST_VALIDATION, round(share * n))
    none = np.zeros(0, np.intp)
    if wanted < LEAST_VALIDATION:
        wanted = min(LEAST_VALIDATION, n // 5)
    if wanted < LEAST_VALIDATION // 2:
        return none
    y = training.y if training.task == "classification" else _quantile_bins(training.y)
    groups = np.arange(n) if training.groups is None else training.groups
    chosen = nested_order(y, groups, training.seed)[:wanted]
    # All of a group go together.
    rows: NDArray[np.intp] = np.flatnonzero(np.isin(groups, groups[chosen]))
    if training.task == "classification":
        left = np.bincount(np.delete(training.y, rows), minlength=int(training.y.max()) + 1)
        rows = rows[left[training.y[rows]] > 0]
    return rows if 0 < len(rows) <= n // 2 else none


def _quantile_bins(y: NDArray[Any], most: int = 10) -> NDArray[np.intp]:
    ranks = np.argsort(np.argsort(y, kind="stable"), kind="stable")
    return np.asarray(ranks * most // len(y), np.intp)


def feature_scaling(features: Features, copies: Features | None, n_components: int) -> FeatureScaling:
    """Mean and standard deviation of each column, and principal components of the standardised ones."""
    rows = features if copies is None else np.concatenate([features, copies])
    mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    scale = rows.std(axis=0, dtype=np.float64).astype(np.float32)
    # A column that never changes says nothing; dividing by almost nothing would make noise of it.
    scale[scale < 1e-6 * np.maximum(np.abs(mean), 1)] = 1.0
    if not 0 < n_components < rows.shape[1]:
        return FeatureScaling(mean, scale)
    scaled = ((rows - mean) / scale).astype(np.float64)
    values, vectors = np.linalg.eigh(scaled.T @ scaled / len(scaled))
    largest = values[::-1][:n_components]
    rotation = vectors.T[::-1][:n_components] / np.sqrt(np.maximum(largest, 1e-6))[:, None]
    return FeatureScaling(mean, scale, rotation.astype(np.float32))


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


def _check_stored(
    head: HybridNetwork,
    network: Network,
    prepared: Prepared,
    gain: NDArray[np.float32],
    offset: NDArray[np.float32],
) -> None:
    """The stored network has to give what the trained one does: the exporter is not trusted blindly."""
    samples = prepared.training.part(np.arange(min(64, len(prepared.training))))
    expected = score(network, samples.pixels, samples.features).numpy() * gain + offset
    raw = samples.features
    scaling = prepared.scaling
    if scaling.rotation is None:
        raw = raw * scaling.scale + scaling.mean
        planes = samples.pixels.transpose(0, 3, 1, 2).reshape(len(samples), -1)
        found = head.decision_function(np.hstack([raw, planes.astype(np.float32)])).reshape(expected.shape)
        difference = float(np.abs(found - expected).max()) / max(1.0, float(np.abs(expected).max()))
        if not difference <= MOST_DIFFERENCE:
            raise RuntimeError(f"the stored network differs from the trained one by {difference:.3g}")


def _fingerprint(settings: HybridSettings, prepared: Prepared, seed: int) -> str:
    """Of what a checkpoint belongs to."""
    digest = hashlib.sha256(msgspec.json.encode([settings, seed, len(prepared.training)]))
    digest.update(np.ascontiguousarray(prepared.training.y).tobytes())
    digest.update(prepared.training.pixels[:: max(1, len(prepared.training) // 100)].tobytes())
    return digest.hexdigest()
