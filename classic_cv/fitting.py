"""Fit a recipe to a dataset: features once, C by cross-validation, calibrated, measured on the test part."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.artifact import Metadata
from classic_cv.dataset import Dataset, Split, check_fittable, load_dataset, make_split
from classic_cv.errors import ArtifactError, DatasetError
from classic_cv.evaluation import evaluate_indices, skipped_images
from classic_cv.extraction import Extraction, Progress, extract, read_pictures
from classic_cv.features.base import Features
from classic_cv.featurizer import Featurizer
from classic_cv.heads.calibration import Calibrator
from classic_cv.heads.cross_validation import cross_validate
from classic_cv.heads.dummy import Dummy
from classic_cv.heads.scaler import fold_scaler, standardize
from classic_cv.heads.svm import LinearSVM
from classic_cv.model import FittedHead, Model
from classic_cv.recipe import DEFAULT_RECIPE, LinearSVMSettings, Recipe, load_recipe

FIT_SAMPLE = 64
"""Training images that the extractors are fitted on, evenly spread over the training part."""

CS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
"""Values of C that cross-validation tries on scaled features; it stops when accuracy has clearly fallen."""

MAX_NUMERIC_CLASSES = 20
"""A manifest's target with more different numbers than this is a measurement, not a class."""

MAX_BAD = 0.1
"""The share of unreadable images above which fitting fails."""


@dataclass
class FittedClassifier:
    """A head with its calibration and the choices behind it."""

    head: FittedHead
    calibrator: Calibrator | None
    choices: dict[str, Any]


def fit(
    data: str | Path,
    recipe: str | Path | Recipe = DEFAULT_RECIPE,
    *,
    target: str | None = None,
    seed: int = 0,
    jobs: int = -1,
    test_fraction: float = 0.2,
    max_bad: float = MAX_BAD,
    progress: Progress | None = None,
) -> Model:
    """Fit a recipe to a dataset and measure it on the test part, which is read once, at the end.

    Args:
        data: a folder, manifest or npz file, as ``load_dataset`` takes them. A validation part joins the
            training part: C is chosen by cross-validation, so nothing has to be held out for it.
        recipe: name of a shelf recipe, path of a TOML file, or a ``Recipe``.
        target: the manifest column that holds the class.
        seed: of the split, the folds and the samples.
        jobs: threads for feature extraction; -1 for all cores. The model does not depend on it.
        test_fraction: share of the images held out when the data has no test part.
        max_bad: share of unreadable images above which fitting fails; fewer are skipped by name.
        progress: called with (task, done, total).

    Returns:
        the fitted model; ``model.report`` holds the figures, the skipped images and the notes on the data.

    Raises:
        ClassicCVError: the data or the recipe cannot be used, or too many images are unreadable.
    """
    start = time.perf_counter()
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe)
    dataset = load_dataset(data, target=target)
    _check_classification(dataset)
    split = make_split(dataset, test_fraction=test_fraction, seed=seed)
    check_fittable(dataset, split)
    train = np.sort(np.concatenate([split.train, split.val]))
    featurizer = fit_featurizer(recipe, dataset, train)
    extraction = extract(dataset, train, featurizer, jobs, progress, "training features")
    check_bad(skipped_images(dataset, split, extraction.problems), len(dataset), max_bad)
    classes = learnable_classes(dataset, split, extraction.kept)
    y = np.searchsorted(classes, dataset.y[extraction.kept])
    groups = fold_groups(split, extraction.kept)
    classifier = fit_classifier(recipe, featurizer, extraction.X, y, groups, seed, progress)
    metadata = Metadata(
        recipe_name=recipe.name,
        recipe=recipe.to_table(),
        gray=featurizer.gray,
        class_names=tuple(dataset.class_names[k] for k in classes),
        seed=seed,
        test_fraction=test_fraction,
        split_sha256=split.fingerprint,
        n_train=len(extraction.kept),
        fit=classifier.choices,
        versions=versions(),
    )
    model = Model(recipe, featurizer, classifier.head, classifier.calibrator, metadata)
    fit_seconds = time.perf_counter() - start
    model.report = _report(model, dataset, split, extraction, fit_seconds, jobs, progress)
    return model


def fit_featurizer(recipe: Recipe, dataset: Dataset, train: NDArray[np.intp]) -> Featurizer:
    """Fit the extractors of ``recipe`` on a sample spread evenly over the training images."""
    sample = train[np.linspace(0, len(train) - 1, min(FIT_SAMPLE, len(train))).astype(np.intp)]
    featurizer = Featurizer.of(recipe)
    batch, pictures = read_pictures(dataset, sample.tolist(), featurizer)
    if not pictures:
        raise DatasetError(
            f"{dataset.name}: none of {len(sample)} sampled training images can be read; "
            f"the first: {batch.problems[0]}"
        )
    return featurizer.fit(pictures)


def fit_classifier(
    recipe: Recipe,
    featurizer: Featurizer,
    X: Features,
    y: NDArray[np.intp],
    groups: NDArray[np.int64] | None,
    seed: int,
    progress: Progress | None = None,
) -> FittedClassifier:
    """Fit the recipe's head on training features, which are scaled in place."""
    settings = recipe.head
    if not isinstance(settings, LinearSVMSettings):
        return FittedClassifier(Dummy().fit(X, y), None, {})
    return fit_linear_svm(settings, X, y, groups, featurizer.group_widths, seed, progress)


def fold_groups(split: Split, indices: NDArray[np.intp]) -> NDArray[np.int64] | None:
    """Groups that folds keep together (given ones and exact copies), None where every image is its own.

    A fold that has one copy of an image on each side measures memory, not skill.
    """
    groups = split.groups[indices]
    return groups if len(np.unique(groups)) < len(groups) else None


def fit_linear_svm(
    settings: LinearSVMSettings,
    X: Features,
    y: NDArray[np.intp],
    groups: NDArray[np.int64] | None,
    widths: Sequence[int],
    seed: int,
    progress: Progress | None = None,
) -> FittedClassifier:
    """Choose C by cross-validation, calibrate on its out-of-fold scores, fit on all rows.

    Where nothing can be held out (one image per class), C is 1 and calibration sees training scores.
    ``X`` is scaled in place; the scale is folded into the returned weights, which take raw features.
    """
    mean, scale = scale_in_place(settings.scale, X, widths)
    weight: Any = "balanced" if settings.class_weight == "balanced" else None
    Cs = (None if settings.scale == "none" else CS) if settings.C == "auto" else [settings.C]
    if can_cross_validate(y, groups):
        chosen = cross_validate(X, y, groups=groups, Cs=Cs, seed=seed, class_weight=weight, progress=progress)
        C, choices = chosen.C, chosen.summary()
        head = LinearSVM(C=C, class_weight=weight).fit(X, y)
        calibrator = Calibrator().fit(chosen.scores, chosen.y)
    else:
        C, choices = settings.C if settings.C != "auto" else 1.0, {}
        head = LinearSVM(C=C, class_weight=weight).fit(X, y)
        calibrator = Calibrator().fit(head.decision_function(X), y)
    head.coef_, head.intercept_ = fold_scaler(head.coef_, head.intercept_, mean, scale)
    return FittedClassifier(head, calibrator, choices)


def can_cross_validate(y: NDArray[np.intp], groups: NDArray[np.int64] | None) -> bool:
    """Whether a class has two samples, of two groups where there are groups."""
    units = np.arange(len(y)) if groups is None else groups
    return any(len(np.unique(units[y == k])) > 1 for k in np.unique(y))


def scale_in_place(how: str, X: Features, widths: Sequence[int]) -> tuple[Features, Features]:
    """Scale features in place so that a row's mean squared length is 1: C then means the same for any width.

    Args:
        how: ``columns`` gives every column the same variance, ``groups`` every extractor's columns together
            the same variance (a wide extractor does not drown a narrow one), ``none`` changes nothing.
        X: float32 (n_samples, n_features).
        widths: columns of each extractor.

    Returns:
        mean and scale, float32 (n_features,), that the scaled features were made with.
    """
    if how == "none":
        return np.zeros(X.shape[1], np.float32), np.ones(X.shape[1], np.float32)
    columns = np.repeat(widths, widths)
    mean, scale = standardize(X, np.repeat(np.arange(len(widths)), widths) if how == "groups" else None)
    share = np.sqrt(columns * len(widths) if how == "groups" else np.full(len(columns), len(columns)))
    X /= share.astype(np.float32)
    return mean, (scale * share).astype(np.float32)


def check_bad(skipped: Sequence[dict[str, str]], n: int, max_bad: float) -> None:
    """Raise DatasetError when more than ``max_bad`` of ``n`` images were skipped."""
    if len(skipped) > max_bad * n:
        shown = "\n".join(f"  {entry['image']}: {entry['reason']}" for entry in skipped[:10])
        more = f"\n  and {len(skipped) - 10} more" if len(skipped) > 10 else ""
        raise DatasetError(
            f"{len(skipped)} of {n} images cannot be used, more than the {max_bad:.0%} allowed "
            f"(--max-bad):\n{shown}{more}"
        )


def _check_classification(dataset: Dataset) -> None:
    """Raise DatasetError when the target is a measurement rather than a class."""
    if dataset.numeric is not None and len(dataset.class_names) > MAX_NUMERIC_CLASSES:
        raise DatasetError(
            f"{dataset.path}: the target {dataset.target_name!r} has {len(dataset.class_names)} different numbers, "
            f"more than the {MAX_NUMERIC_CLASSES} that are taken as classes; bin them into classes, or name "
            "another column with --target"
        )


def learnable_classes(dataset: Dataset, split: Split, kept: NDArray[np.intp]) -> NDArray[np.int64]:
    """The classes that have readable training images, ascending.

    Raises:
        DatasetError: there are fewer than two, or a class has test images but no readable training image.
    """
    classes = np.unique(dataset.y[kept])
    lost = np.setdiff1d(dataset.y[split.test], classes)
    if len(lost):
        names = ", ".join(repr(dataset.class_names[k]) for k in lost)
        raise DatasetError(
            f"{dataset.name}: no training image can be read of classes that have test images: {names}; "
            "replace the unreadable images or remove these classes"
        )
    if len(classes) < 2:
        names = ", ".join(repr(dataset.class_names[k]) for k in classes)
        raise DatasetError(f"{dataset.name}: only one class has readable training images: {names}")
    return classes


def save_or_rescue(model: Model, path: Path) -> tuple[Path, ArtifactError | None]:
    """Save the model; where that fails (a full disk), save it in the temporary folder rather than lose it.

    Returns:
        where it is now, and the error if that is not ``path``.

    Raises:
        ArtifactError: it cannot be written there either.
    """
    try:
        model.save(path)
    except ArtifactError as error:
        rescued = Path(tempfile.gettempdir()) / f"classic-cv-{os.getpid()}-{path.name}"
        model.save(rescued)
        return rescued, ArtifactError(f"{error}; the fitted model is in {rescued} instead")
    return path, None


def versions() -> dict[str, str]:
    """Versions of classic-cv and of the packages that its figures depend on."""
    packages = ("classic-cv", "numpy", "opencv-python-headless", "scikit-learn", "pillow")
    return {package: version(package) for package in packages}


def _class_notes(model: Model, dataset: Dataset) -> list[str]:
    unread = [name for name in dataset.class_names if name not in model.class_names]
    return [f"left out, no training image can be read: class {name!r}" for name in unread]


def _report(
    model: Model,
    dataset: Dataset,
    split: Split,
    extraction: Extraction,
    fit_seconds: float,
    jobs: int,
    progress: Progress | None,
) -> dict[str, Any]:
    """Everything that ``fit`` tells: the data, the choices, the figures on the test part."""
    evaluation, undecodable = None, extraction.problems
    if len(split.test):
        evaluation, problems = evaluate_indices(model, dataset, split.test, jobs, progress)
        undecodable = [*undecodable, *problems]
    return {
        "data": dataset.name,
        "classes": len(model.class_names),
        "n_train": len(extraction.kept),
        "split_sha256": split.fingerprint,
        "seed": model.metadata.seed,
        "recipe": model.recipe.name,
        "fit": model.metadata.fit,
        "fit_seconds": fit_seconds,
        "test": evaluation,
        "skipped": skipped_images(dataset, split, undecodable),
        "ignored": [{"image": entry.source, "reason": entry.reason} for entry in dataset.ignored],
        "ignored_suffixes": dict(dataset.ignored_suffixes),
        "notes": [*dataset.notes, *split.notes, *_class_notes(model, dataset)],
    }
