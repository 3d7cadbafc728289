"""Samples ready for training: a validation part, standardised features and targets, images of pixel columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from classic_cv.features.base import Features
from classic_cv.heads.fitting import TrainingSet
from classic_cv.heads.hybrid import FEATURES, PIXELS
from classic_cv.neural.export import FeatureScaling
from classic_cv.neural.objective import Objective
from classic_cv.neural.samples import Samples
from classic_cv.neural.settings import HybridSettings
from classic_cv.neural.training import mean_color
from classic_cv.subset import nested_order

MOST_VALIDATION = 2500
"""Images that are held out at most."""

LEAST_VALIDATION = 20
"""Where fewer would be held out, none are: their figure would be chance."""


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

    held_out: NDArray[np.intp]
    """Rows of the validation images."""

    mean: Features
    """float32 (n_features + planes,): mean raw features and mean color of the training images."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Planes, height, width."""
        height, width, planes = self.training.pixels.shape[1:]
        return planes, height, width


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
    samples = Samples(pixels, scaling.apply(features), y, None if copies is None else scaling.apply(copies))
    mean = np.concatenate([scaling.mean, mean_color(pixels[kept])]).astype(np.float32)
    return Prepared(
        samples.part(kept),
        samples.part(held_out),
        scaling,
        _objective(settings, training, y[kept]),
        _n_outputs(training),
        target,
        held_out,
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

    Where the share is fewer than ``LEAST_VALIDATION`` images, a classification holds so many out, at most a fifth,
    for its calibration; none where that is fewer than half of them. A regression has nothing to calibrate, and
    learns more from these images than their figure could tell: it holds none out.
    """
    n = len(training.y)
    wanted = min(MOST_VALIDATION, round(share * n))
    none = np.zeros(0, np.intp)
    if wanted < LEAST_VALIDATION:
        wanted = min(LEAST_VALIDATION, n // 5) if training.task == "classification" else 0
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


def network_inputs(prepared: Prepared, rows: NDArray[np.intp]) -> dict[str, NDArray[np.float32]]:
    """What a stored network takes, of training images; features as if all were average where they were turned."""
    samples, scaling = prepared.training.part(rows), prepared.scaling
    planes = np.ascontiguousarray(samples.pixels.transpose(0, 3, 1, 2), np.float32)
    inputs = {PIXELS: planes}
    if len(scaling.mean):
        plain = scaling.rotation is None
        raw = (
            samples.features * scaling.scale + scaling.mean
            if plain
            else np.tile(scaling.mean, (len(rows), 1))
        )
        inputs[FEATURES] = raw.astype(np.float32)
    return inputs
