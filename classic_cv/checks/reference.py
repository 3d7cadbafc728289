"""The best classical model on the data: what a score is compared with, and what it says of every image."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.reference_choice import RecipeChoice, choose_recipe
from classic_cv.errors import DatasetError
from classic_cv.extraction import Extraction, extract
from classic_cv.feature_store import FeatureStore
from classic_cv.features.base import Features
from classic_cv.featurizer import Featurizer
from classic_cv.fitting import Job, fit_recipe, training_set
from classic_cv.heads.calibration import probabilities_of
from classic_cv.heads.fitting import Choice, Effort, TrainingSet, can_cross_validate, choose, fit_head
from classic_cv.heads.scaler import scale_in_place
from classic_cv.model import Model
from classic_cv.recipe import Head, Recipe

MOST_FOLDS, FOLDS, FEWEST_FOLDS = 10, 5, 3
FEW_ROWS, MANY_ROWS = 2000, 20_000
"""Up to so many training images out-of-fold answers come from 10 folds, up to so many from 5, above from 3: with more
images a model fitted on two thirds of them is as good as the one fitted on all, and each fold costs more."""

EMBEDDED = 64
"""Dimensions that features are reduced to for distances."""

EMBEDDING_ROWS = 4000
"""Training images that the reduction is fitted on at most."""

SLICE = 4096
"""Rows that are worked on at a time, so that no second array of all features is made."""

LARGEST = 65504.0
"""The largest number of float16."""


class Refitted:
    """The reference's recipe fitted on other images: answers by the task's class numbers.

    Attributes:
        model: whose classes are those that occurred.
    """

    def __init__(self, model: Model, classes: NDArray[np.int64], n_classes: int) -> None:
        self.model = model
        self._classes, self._n_classes = classes, n_classes

    def outputs(self, X: Features) -> NDArray[np.float32]:
        """Probabilities that are not calibrated, float32 (n, n_classes) by the task's class numbers, 0 for classes that
        did not occur; of a regression its estimates (n,). For features (n, n_features)."""
        return by_task(self.model.outputs(X), self._classes, self._n_classes)

    def labels(self, X: Features) -> NDArray[Any]:
        """The most probable class number of the task, or the estimate, for each row of features: (n,)."""
        found = self.outputs(X)
        return found if found.ndim == 1 else found.argmax(axis=1)


@dataclass(frozen=True, eq=False)
class Reference:
    """A fitted model, with its answers and its features of all images.

    Attributes:
        model: fitted on all training images; its classes may be fewer than the task's.
        recipe: its recipe with every choice filled in.
        chosen_from: what was compared to choose it: ``recipe, images, score`` or ``reason`` of each.
        train: intp (n_train,), positions in the data set of the training images that it has an answer for, ascending.
        test: intp (n_test,), of the test images; empty where there are none.
        outputs_train: float32 (n_train, n_classes), probabilities by the task's class numbers, each image's from a
            model that was fitted without it and its group; of a regression (n_train,), its estimates.
        outputs_test: the same of the test images, by ``model``: (n_test, n_classes) or (n_test,).
        embedding: float32 (n_train + n_test, k), k at most 64: features reduced by a PCA fitted on training images,
            training images first, for distances.
        seconds: what the choice, features and fits took.
    """

    job: Job
    model: Model
    recipe: Recipe
    chosen_from: Sequence[dict[str, Any]]
    train: NDArray[np.intp]
    test: NDArray[np.intp]
    outputs_train: NDArray[np.float32]
    outputs_test: NDArray[np.float32]
    embedding: Features
    seconds: float
    store: _Stored

    @property
    def featurizer(self) -> Featurizer:
        """What turns images into features."""
        return self.model.featurizer

    def features(self, indices: NDArray[np.integer]) -> Features:
        """Features of images by their positions in the data set, in the order given.

        Args:
            indices: (n,), all among ``train`` and ``test``.

        Returns:
            a new array, float32 (n, n_features), as the model's head takes them, to the 11 bits of float16.
        """
        return self.store.rows(indices)

    def refit(self, X: Features, y: NDArray[Any], groups: NDArray[np.int64]) -> Refitted:
        """The head fitted on other images without any choice: C and the like stay; it is not calibrated.

        Args:
            X: float32 (n, n_features), overwritten.
            y: class numbers of the task, or targets; not every class has to occur, but two.
            groups: see ``Subject.groups``.

        Raises:
            DatasetError: a single class.
        """
        return _refit(self.job, self.model, X, y, groups)


def fit_reference(
    job: Job, decoded: NDArray[np.intp], folder: Path, recipe: Recipe | None = None
) -> Reference:
    """Choose a recipe that all images can be described with in about a minute, fit it, and let it answer.

    Args:
        job: data, split and task.
        decoded: positions in the data set of the images that can be decoded; others, and test images of classes that
            have none in training, get no answer.
        folder: for features on disk; the caller removes it.
        recipe: the one to take, without a choice.

    Raises:
        ClassicCVError: nothing can be fitted: a single class, too few images.
    """
    started = time.perf_counter()
    job = _answerable(job, decoded)
    store = FeatureStore(job, str(folder / "features"))
    chosen = choose_recipe(job, store) if recipe is None else RecipeChoice(recipe)
    recipe = chosen.recipe.for_regression() if job.task.kind == "regression" else chosen.recipe
    featurizer = store.featurizer(recipe)
    extraction = store.extraction(recipe, len(job.train), final=True)
    stored = _Stored(len(job.dataset), extraction)
    model, _ = fit_recipe(job, recipe, extraction, featurizer)
    kept = extraction.kept
    del extraction  # its features were overwritten, and would take as much memory as those of the next fits
    test = extract(job.dataset, job.split.test, featurizer, job.jobs, job.progress, "test features")
    stored.add(test)
    known = np.array([job.task.class_names.index(name) for name in model.class_names], np.int64)
    n_classes = len(job.task.class_names)
    train, outputs = _out_of_fold(job, model, stored, kept)
    projection = _Projection.fit(model.recipe.head, stored, kept, featurizer.group_widths, job.seed)
    outputs_test = model.outputs(test.X) if len(test.kept) else np.zeros((0, len(known)), np.float32)
    if job.task.kind == "regression" and not len(test.kept):
        outputs_test = np.zeros(0, np.float32)
    return Reference(
        job=job,
        model=model,
        recipe=model.recipe,
        chosen_from=chosen.compared,
        train=train,
        test=test.kept,
        outputs_train=by_task(outputs, known, n_classes),
        outputs_test=by_task(outputs_test, known, n_classes),
        embedding=projection.all(stored, np.concatenate([train, test.kept])),
        seconds=time.perf_counter() - started,
        store=stored,
    )


def by_task(outputs: NDArray[Any], classes: NDArray[np.int64], n_classes: int) -> NDArray[np.float32]:
    """Probabilities (n, len(classes)) in the columns of the task's classes (n, n_classes); numbers as they are."""
    if outputs.ndim == 1:
        return outputs.astype(np.float32)
    found = np.zeros((len(outputs), n_classes), np.float32)
    found[:, classes] = outputs
    return found


class _Stored:
    """Features of images in 16 bits, by their position in the data set."""

    def __init__(self, n: int, first: Extraction) -> None:
        self._row_of = np.full(n, -1, np.intp)
        self._blocks: list[NDArray[np.float16]] = []
        self._start = 0
        self.add(first)

    def add(self, extraction: Extraction) -> None:
        """Take over the features of more images."""
        n = len(extraction.kept)
        block = np.empty((n, extraction.X.shape[1]), np.float16)
        for part in _slices(n):
            block[part] = np.clip(extraction.X[:n][part], -LARGEST, LARGEST)
        self._row_of[extraction.kept] = self._start + np.arange(n)
        self._blocks.append(block)
        self._start += n

    def rows(self, indices: NDArray[np.integer]) -> Features:
        rows = self._row_of[np.asarray(indices, np.intp)]
        if (rows < 0).any():
            raise ValueError(f"features of {int((rows < 0).sum())} images are not known")
        X = np.empty((len(rows), self._blocks[0].shape[1]), np.float32)
        start = 0
        for block in self._blocks:
            mine = (rows >= start) & (rows < start + len(block))
            X[mine] = block[rows[mine] - start]
            start += len(block)
        return X


@dataclass(frozen=True, eq=False)
class _Projection:
    """Scaled as the head scales, then the first principal components."""

    mean: Features
    scale: Features
    center: Features
    components: Features

    @classmethod
    def fit(
        cls, head: Head, stored: _Stored, train: NDArray[np.intp], widths: Sequence[int], seed: int
    ) -> _Projection:
        from sklearn.decomposition import PCA

        rng = np.random.default_rng(seed)
        rows = np.sort(rng.choice(len(train), min(len(train), EMBEDDING_ROWS), replace=False))
        X = stored.rows(train[rows])
        mean, scale = scale_in_place(getattr(head, "scale", "groups"), X, widths)
        k = min(EMBEDDED, *X.shape)
        found = PCA(k, svd_solver="randomized", random_state=seed).fit(X)
        return cls(mean, scale, found.mean_.astype(np.float32), found.components_.astype(np.float32))

    def apply(self, X: Features) -> Features:
        scaled = (X - self.mean) / self.scale - self.center
        return np.asarray(scaled @ self.components.T, np.float32)

    def all(self, stored: _Stored, indices: NDArray[np.intp]) -> Features:
        found = np.empty((len(indices), len(self.components)), np.float32)
        for part in _slices(len(indices)):
            found[part] = self.apply(stored.rows(indices[part]))
        return found


def _slices(n: int) -> list[slice]:
    return [slice(start, min(start + SLICE, n)) for start in range(0, n, SLICE)]


def folds_for(n: int) -> int:
    """Into how many folds n training images are split for out-of-fold answers."""
    return MOST_FOLDS if n <= FEW_ROWS else FOLDS if n <= MANY_ROWS else FEWEST_FOLDS


def _out_of_fold(
    job: Job, model: Model, stored: _Stored, kept: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The images that can be held out, and the answers of models fitted without them, in the model's columns."""
    training = training_set(job, Extraction(stored.rows(kept), kept, []), model.featurizer.group_widths)
    if not can_cross_validate(training.y, training.groups, training.task):
        raise DatasetError("no image can be held out: every class has a single image or group")
    effort = Effort(n_splits=folds_for(len(kept)), max_samples=None)
    found = choose(model.recipe.head, training, effort, job.progress)
    return kept[found.rows], _answers(model, found)


def _answers(model: Model, found: Choice) -> NDArray[np.float32]:
    if model.task == "regression":
        return np.asarray(found.scores, np.float32)
    if model.calibrator is None:
        return probabilities_of(found.scores)
    return model.calibrator.transform(found.scores)


def _answerable(job: Job, decoded: NDArray[np.intp]) -> Job:
    """The job with training images that can be decoded, and test images of their classes."""
    train, test = np.intersect1d(job.train, decoded), np.intersect1d(job.split.test, decoded)
    if len(train) < 2:
        raise DatasetError(f"{len(train)} training images can be decoded: expected at least 2")
    if job.task.kind == "classification":
        test = test[np.isin(job.task.y[test], job.task.y[train])]
    return replace(job, train=train, split=replace(job.split, test=test), max_bad=1.0)


def _refit(job: Job, model: Model, X: Features, y: NDArray[Any], groups: NDArray[np.int64]) -> Refitted:
    kind = job.task.kind
    classes = np.unique(y) if kind == "classification" else np.zeros(0, np.int64)
    if kind == "classification" and len(classes) < 2:
        raise DatasetError(f"{len(y)} images of a single class: expected two classes to tell apart")
    codes = np.searchsorted(classes, y) if kind == "classification" else y
    units = groups if len(np.unique(groups)) < len(groups) else None
    training = TrainingSet(X, codes, units, model.featurizer.group_widths, kind, job.seed)
    stack = fit_head(model.recipe.head, training, calibrate=False)
    names = tuple(job.task.class_names[k] for k in classes.tolist())
    metadata = msgspec.structs.replace(model.metadata, class_names=names, n_train=len(y))
    recipe = msgspec.structs.replace(model.recipe, head=stack.settings)
    refitted = Model(recipe, model.featurizer, stack.head, None, metadata, stack.maps)
    return Refitted(refitted, classes, len(job.task.class_names))
