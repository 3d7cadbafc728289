"""From features and targets to a fitted head: the choice of its parameters, calibration, the fit itself.

``choose`` cross-validates what the settings leave open and returns out-of-fold figures row by row, which a
search compares; ``fit_head`` fits the settings, choosing first what is still ``"auto"``.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from classic_cv.errors import DatasetError
from classic_cv.estimator import Estimator
from classic_cv.extraction import Progress
from classic_cv.features.base import Features
from classic_cv.float16 import rounded
from classic_cv.heads._solver import is_wide
from classic_cv.heads.calibration import Calibrator
from classic_cv.heads.cross_validation import CrossValidation, Scoring, cross_validate
from classic_cv.heads.dummy import Dummy
from classic_cv.heads.kernel_map import KernelMap, Nystroem
from classic_cv.heads.late_fusion import (
    check_fusion,
    column_slices,
    equal_weights,
    fuse,
    is_late,
    joined,
    per_extractor,
)
from classic_cv.heads.rbf_svm import MAX_ROWS, RBFSVM, RBFCrossValidation, cross_validate_rbf
from classic_cv.heads.scaler import Scaler, fold_scaler, scale_in_place
from classic_cv.heads.stack import FittedHead, TaskKind, additive_maps
from classic_cv.heads.svm import LinearSVM
from classic_cv.heads.svr import (
    RBFSVR,
    DummyRegressor,
    LinearSVR,
    RegressionCrossValidation,
    cross_validate_regression,
)
from classic_cv.recipe import (
    DummySettings,
    Head,
    LinearSVMSettings,
    LinearSVRSettings,
    RBFSVMSettings,
    RBFSVRSettings,
)
from classic_cv.timing import available_cores, thread_limit

CS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
"""Values of C that cross-validation tries on scaled features; it stops when the score has clearly fallen."""

GAMMAS = (0.3, 1.0)
"""Values of gamma for features whose mean squared length is 1, where typical squared distances are near 2."""

REGRESSION_GAMMAS = (0.01, 0.03, 0.1, 0.3)
EPSILONS = (0.01, 0.1, 0.2)
REGRESSION_CS = (0.1, 1.0, 10.0, 100.0, 1000.0)

UNEQUAL = 1.5
"""Classes are unequal when the largest has more than so many times the images of the smallest."""

MANY_ROWS = 5000, 10_000
"""With more rows two folds, and one, are held out for calibration alone: enough scores, at a fraction of the cost."""

LEAST_HELD_OUT = 50
"""Rows of each class that these folds should hold on average; else all folds are held out."""

LARGEST_GROUP = 0.01
"""Share of the rows in one group above which all folds are held out: a fold alone would have few groups."""

WIDE_TOL = 2e-4
"""Tolerance on rows that are many and wide, where each pass over them is dear."""

MOST_ROWS = 15_000
"""A choice is made, and calibrated, on at most so many rows."""

MAP_ROWS = 2048
"""Rows that one core maps at a time."""

CALIBRATION_SPLITS = 10
"""Folds for calibration where there are few rows: models fitted on nearly all of them are as sure as the final one."""

FEW_ROWS = 2000


def are_unequal(y: NDArray[Any]) -> bool:
    """Whether some class of ``y`` (n,) has clearly more samples than another."""
    counts = np.unique(y, return_counts=True)[1]
    return bool(counts.max() > UNEQUAL * counts.min())


@dataclass
class TrainingSet:
    """What a head is fitted on.

    X may have twice as many rows as there are images: then row n + i is of a mirrored copy of image i. Copies are
    fitted on, in cross-validation where their images are; what is chosen and calibrated goes by the images alone.

    Attributes:
        X: float32 (n, n_features) or (2 * n, n_features), as the extractors made them; overwritten while fitting.
        y: class numbers from 0 on, or float64 targets, of the images, (n,).
        groups: of the images, (n,), kept together by folds; None where every image is its own.
        widths: columns of each extractor.
        task: which of the two y is.
        seed: of folds, landmarks and samples.
    """

    X: Features
    y: NDArray[Any]
    groups: NDArray[np.int64] | None
    widths: Sequence[int]
    task: TaskKind
    seed: int = 0

    @property
    def has_copies(self) -> bool:
        """Whether X has a row for a copy of each image."""
        return len(self.X) == 2 * len(self.y)

    @property
    def row_targets(self) -> NDArray[Any]:
        """y of each row of X."""
        return np.tile(self.y, 2) if self.has_copies else self.y

    @property
    def unequal(self) -> bool:
        """Whether some class has clearly more images than another."""
        return self.task == "classification" and are_unequal(self.y)

    @property
    def scoring(self) -> Scoring:
        """What a choice goes by: accuracy, balanced accuracy where classes are unequal."""
        return "balanced_accuracy" if self.unequal else "accuracy"


@dataclass(frozen=True)
class Effort:
    """How much a choice may cost: the values to try, the folds, the rows.

    ``extractor_Cs`` are the values of C for each extractor in late fusion, in place of ``Cs``.
    """

    Cs: Sequence[float] | None = None
    gammas: Sequence[float] | None = None
    epsilons: Sequence[float] | None = None
    n_splits: int = 5
    n_held_out: int | None = None
    max_samples: int | None = MOST_ROWS
    extractor_Cs: Sequence[Sequence[float]] | None = None


@dataclass(frozen=True)
class Choice:
    """What cross-validation chose, with its out-of-fold results row by row.

    Attributes:
        settings: the head with the values that were chosen: C, and gamma and epsilon where it has them.
        summary: the choice as plain data; empty where nothing could be held out.
        rows: images of the training set that were held out, ascending.
        scores: their decision values (classification) or predictions (regression).
        y: their classes or targets.
    """

    settings: Head
    summary: dict[str, Any]
    rows: NDArray[np.intp]
    scores: NDArray[Any]
    y: NDArray[Any]


def held_out_losses(
    choice: Choice, task: TaskKind, balanced: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Loss of each held-out row, 0 or 1 or the absolute error, and its weight in the mean; weights sum to 1.

    Args:
        choice: scores and targets of the rows.
        task: which of the two they are of.
        balanced: every class counts alike, so that the mean is 1 - balanced accuracy.
    """
    y, scores = choice.y, choice.scores
    weight = np.full(len(y), 1 / len(y))
    if task == "regression":
        return np.abs(scores - y).astype(np.float64), weight
    predicted = (scores > 0).astype(np.intp) if scores.ndim == 1 else scores.argmax(axis=1)
    if balanced:
        counts = np.bincount(y)
        weight = 1 / (counts[y] * (counts > 0).sum())
    return (predicted != y).astype(np.float64), weight


@dataclass
class FittedStack:
    """What turns features into scores, or into numbers.

    Attributes:
        maps: applied to features in this order before the head.
        head: the fitted head.
        calibrator: of a classifier; None for the dummy and for regression.
        settings: the head's settings with every choice filled in.
        choices: how they were made, as plain data.
        mean: float32 (n_mapped,), of what a linear head sees, over the training rows, as 16 bits hold it; None for
            other heads. Explanations are relative to it.
        course: the choices of a network with what it cost to make them, which differs from fit to fit; None for other
            heads.
    """

    head: FittedHead
    calibrator: Calibrator | None
    choices: dict[str, Any]
    settings: Head
    maps: list[Estimator] = field(default_factory=list)
    mean: Features | None = None
    course: dict[str, Any] | None = None


def can_cross_validate(y: NDArray[Any], groups: NDArray[np.int64] | None, task: TaskKind) -> bool:
    """Whether something can be held out: a class with two samples (of two groups), or four numbers."""
    units = np.arange(len(y)) if groups is None else groups
    if task == "regression":
        return len(np.unique(units)) >= 4
    return any(len(np.unique(units[y == k])) > 1 for k in np.unique(y))


@dataclass
class _Prepared:
    """Features after the additive maps and the scaling, with what undoes or repeats them."""

    X: Features
    widths: list[int]
    maps: list[KernelMap]
    mean: Features
    scale: Features


def _prepare(settings: Any, training: TrainingSet) -> _Prepared:
    check_fusion(settings, len(training.widths))
    maps: list[KernelMap] = list(additive_maps(settings.kernel_map))
    X, widths = training.X, list(training.widths)
    for additive in additive_maps(settings.kernel_map):
        X = additive.fit_transform(X)
        widths = [width * additive.n_copies() for width in widths]
    for kernel_map in maps:
        kernel_map.fit(training.X)
    if is_late(settings):
        # Each extractor by itself, so that its C means the same whatever stands beside it.
        parts = zip(column_slices(widths), widths, strict=True)
        scalings = [scale_in_place(settings.scale, X[:, columns], [width]) for columns, width in parts]
        mean, scale = (np.concatenate(values) for values in zip(*scalings, strict=True))
    else:
        mean, scale = scale_in_place(settings.scale, X, widths)
    return _Prepared(X, widths, maps, mean, scale)


def class_weight_of(settings: Any, training: TrainingSet) -> Literal["balanced"] | None:
    """The weighting that the settings mean for these classes."""
    if settings.class_weight == "auto":
        return "balanced" if training.unequal else None
    return "balanced" if settings.class_weight == "balanced" else None


def choose(
    settings: Head, training: TrainingSet, effort: Effort | None = None, progress: Progress | None = None
) -> Choice:
    """Cross-validate the values that ``settings`` leaves open, and the out-of-fold scores of the chosen ones.

    ``training.X`` is overwritten.

    Raises:
        DatasetError: nothing can be held out.
    """
    if not can_cross_validate(training.y, training.groups, training.task):
        raise DatasetError("nothing can be held out to choose by: every class has a single image or group")
    if isinstance(settings, DummySettings):
        return _choose_dummy(settings, training)
    return _choose(settings, _prepare(settings, training), training, effort or Effort(), progress)


def _choose_dummy(settings: Head, training: TrainingSet) -> Choice:
    rows = np.arange(len(training.y))
    if training.task == "regression":
        scores: NDArray[Any] = np.full(len(rows), np.median(training.y))
        summary = {"cv_mae": float(np.abs(training.y - scores).mean())}
    else:
        counts = np.bincount(training.y)
        row = np.log(np.maximum(counts, 1e-9) / counts.sum())
        scores = np.tile(row[1:] - row[:1], len(rows)) if len(row) == 2 else np.tile(row, (len(rows), 1))
        summary = {
            "cv_accuracy": float(counts.max() / counts.sum()),
            "cv_balanced_accuracy": 1 / int((counts > 0).sum()),
        }
    return Choice(settings, summary, rows, scores, training.y)


def _choose(
    settings: Any, prepared: _Prepared, training: TrainingSet, effort: Effort, progress: Progress | None
) -> Choice:
    if isinstance(settings, LinearSVRSettings | RBFSVRSettings):
        return _choose_regression(settings, prepared, training, effort, progress)
    if isinstance(settings, RBFSVMSettings):
        return _choose_exact_rbf(settings, prepared, training, effort, progress)
    if "rbf" in settings.kernel_map:
        return _choose_nystroem(settings, prepared, training, effort, progress)
    if is_late(settings):
        return _choose_late(settings, prepared, training, effort, progress)
    return _choose_linear(settings, prepared.X, training, effort, progress)


def _values(given: Any, asked: Sequence[float] | None, default: Sequence[float]) -> Sequence[float]:
    """The values to try: the one that the settings give, else those of the effort, else the default."""
    if given != "auto":
        return [float(given)]
    return default if asked is None else asked


def _cross_validate(
    settings: LinearSVMSettings,
    X: Features,
    training: TrainingSet,
    effort: Effort,
    progress: Progress | None,
) -> CrossValidation:
    scaled = settings.scale != "none" or "rbf" in settings.kernel_map
    return cross_validate(
        X,
        training.y,
        groups=training.groups,
        Cs=_values(settings.C, effort.Cs, CS) if scaled or settings.C != "auto" else None,
        n_splits=effort.n_splits,
        n_held_out=effort.n_held_out,
        seed=training.seed,
        class_weight=class_weight_of(settings, training),
        scoring=training.scoring,
        max_samples=effort.max_samples,
        with_copies=training.has_copies,
        progress=progress,
    )


def _choose_linear(
    settings: LinearSVMSettings,
    X: Features,
    training: TrainingSet,
    effort: Effort,
    progress: Progress | None,
) -> Choice:
    found = _cross_validate(settings, X, training, effort, progress)
    return _choice(settings, found, {"C": found.C})


def _choose_late(
    settings: LinearSVMSettings,
    prepared: _Prepared,
    training: TrainingSet,
    effort: Effort,
    progress: Progress | None,
) -> Choice:
    n = len(prepared.widths)
    columns, Cs = column_slices(prepared.widths), per_extractor(settings.C, n)
    efforts = [effort] * n
    if effort.extractor_Cs is not None:
        efforts = [replace(effort, Cs=values) for values in effort.extractor_Cs]
    found = [
        _cross_validate(msgspec.structs.replace(settings, C=C), prepared.X[:, mine], training, own, progress)
        for mine, C, own in zip(columns, Cs, efforts, strict=True)
    ]
    weights = None if settings.fusion_weights == "auto" else settings.fusion_weights
    balanced = class_weight_of(settings, training) == "balanced"
    fusion = fuse(found, weights, training.scoring, balanced)
    values = {"C": tuple(entry.C for entry in found), "fusion_weights": fusion.weights}
    resolved = msgspec.structs.replace(settings, **values)
    return Choice(resolved, fusion.summary(), found[0].rows, fusion.scores, found[0].y)


def _choice(settings: Any, found: CrossValidation | RBFCrossValidation, values: dict[str, Any]) -> Choice:
    resolved = msgspec.structs.replace(settings, **values)
    return Choice(resolved, {**found.summary(), **values}, found.rows, found.scores, found.y)


def _nystroem(settings: LinearSVMSettings, gamma: float, seed: int, X: Features) -> tuple[Nystroem, Features]:
    """A fitted map and X mapped: BLAS on one thread and slices on all cores, as the solver does, for its reasons."""
    with thread_limit(1), ThreadPoolExecutor(available_cores()) as pool:
        nystroem = Nystroem(settings.n_components, gamma, seed, settings.precision).fit(X)
        out = np.empty((len(X), nystroem.n_features_out_), np.float32)
        nystroem.transform(X[:1])  # the landmarks' norms, before threads ask for them

        def part(start: int) -> None:
            rows = slice(start, start + MAP_ROWS)
            out[rows] = nystroem.transform(X[rows])

        list(pool.map(part, range(0, len(X), MAP_ROWS)))
    return nystroem, out


def _choose_nystroem(
    settings: LinearSVMSettings,
    prepared: _Prepared,
    training: TrainingSet,
    effort: Effort,
    progress: Progress | None,
) -> Choice:
    best: tuple[float, CrossValidation, float] | None = None
    for gamma in _values(settings.gamma, effort.gammas, GAMMAS):
        _, mapped = _nystroem(settings, gamma, training.seed, prepared.X)
        found = _cross_validate(settings, mapped, training, effort, progress)
        score = float(found.mean[np.flatnonzero(found.Cs == found.C)[0]])
        if best is None or score > best[0]:
            best = (score, found, gamma)
    assert best is not None
    choice = _choice(settings, best[1], {"C": best[1].C, "gamma": best[2]})
    tried = list(_values(settings.gamma, effort.gammas, GAMMAS))
    return replace(choice, summary={**choice.summary, "gammas": tried})


def _choose_exact_rbf(
    settings: RBFSVMSettings,
    prepared: _Prepared,
    training: TrainingSet,
    effort: Effort,
    progress: Progress | None,
) -> Choice:
    found = cross_validate_rbf(
        prepared.X,
        training.y,
        groups=training.groups,
        Cs=_values(settings.C, effort.Cs, CS[2:]),
        gammas=_values(settings.gamma, effort.gammas, GAMMAS),
        n_splits=effort.n_splits,
        seed=training.seed,
        class_weight=class_weight_of(settings, training),
        scoring=training.scoring,
        max_samples=min(effort.max_samples or MAX_ROWS, MAX_ROWS),
        with_copies=training.has_copies,
        progress=progress,
    )
    return _choice(settings, found, {"C": found.C, "gamma": found.gamma})


def _choose_regression(
    settings: LinearSVRSettings | RBFSVRSettings,
    prepared: _Prepared,
    training: TrainingSet,
    effort: Effort,
    progress: Progress | None,
) -> Choice:
    exact = isinstance(settings, RBFSVRSettings)
    gammas = None
    if isinstance(settings, RBFSVRSettings):
        gammas = _values(settings.gamma, effort.gammas, REGRESSION_GAMMAS)
    limit = effort.max_samples or len(training.X)
    found: RegressionCrossValidation = cross_validate_regression(
        "rbf" if exact else "linear",
        prepared.X,
        training.y,
        groups=training.groups,
        Cs=_values(settings.C, effort.Cs, REGRESSION_CS),
        epsilons=_values(settings.epsilon, effort.epsilons, EPSILONS),
        gammas=gammas,
        n_splits=effort.n_splits,
        seed=training.seed,
        max_samples=min(limit, MAX_ROWS) if exact else limit,
        with_copies=training.has_copies,
        progress=progress,
    )
    values: dict[str, Any] = {"C": found.C, "epsilon": found.epsilon}
    if exact:
        values["gamma"] = found.gamma
    resolved = msgspec.structs.replace(settings, **values)
    return Choice(resolved, found.summary(), found.rows, found.predictions, found.y)


def fit_head(
    settings: Head, training: TrainingSet, progress: Progress | None = None, calibrate: bool = True
) -> FittedStack:
    """Fit the head that ``settings`` describes; ``training.X`` is overwritten.

    What is ``"auto"`` is chosen by cross-validation. A classifier is calibrated on out-of-fold scores. Where
    nothing can be held out (one image per class), C is 1 and calibration sees training scores. Without ``calibrate``
    settings that leave nothing open are fitted once, and there is no calibrator.
    """
    if isinstance(settings, DummySettings):
        dummy = Dummy() if training.task == "classification" else DummyRegressor()
        return FittedStack(dummy.fit(training.X, training.row_targets), None, {}, settings)
    prepared = _prepare(settings, training)
    training.X = prepared.X
    chosen = held_out = None
    if not calibrate and not _is_open(settings):
        resolved: Any = settings
    elif can_cross_validate(training.y, training.groups, training.task):
        chosen = held_out = _choose(settings, prepared, training, _final_effort(settings, training), progress)
        resolved = chosen.settings
        if training.task == "classification" and _is_open(settings):
            # What calibration sees depends on the values chosen, not on how: the recipe with these values filled
            # in gives the same model.
            effort = _final_effort(resolved, training)
            held_out = _choose(resolved, prepared, training, effort, progress)
    else:
        resolved = _without_choice(settings, len(training.widths))
    maps: list[Estimator] = list(prepared.maps)
    head, X = _fit(resolved, prepared, maps, training)
    calibrator = None
    if training.task == "classification" and calibrate:
        if held_out is None:
            scores, y = head.decision_function(X[: len(training.y)]), training.y
        else:
            scores, y = held_out.scores, held_out.y
        weight = class_weight_of(resolved, training)
        calibrator = Calibrator().fit(scores, y, balanced=weight == "balanced")
    half = resolved.precision == "float16"
    scaling = (prepared.mean, prepared.scale)
    if isinstance(head, LinearSVM) and not any(isinstance(step, Nystroem) for step in maps):
        head.coef_, head.intercept_ = fold_scaler(head.coef_, head.intercept_, *scaling, half)
    if isinstance(head, LinearSVR):
        coef, intercept = fold_scaler(head.coef_[None], np.zeros(1, np.float32), *scaling, half)
        head.coef_, head.intercept_ = coef[0], head.intercept_ + intercept.astype(np.float64)
    if half:
        head.round_to_float16()
    mean = None
    if isinstance(head, LinearSVM | LinearSVR) and not any(isinstance(step, Nystroem) for step in maps):
        unscaled = resolved.scale == "none"
        mean = prepared.X.mean(axis=0, dtype=np.float64).astype(np.float32) if unscaled else prepared.mean
        mean = rounded(mean[None])[0]
    return FittedStack(head, calibrator, chosen.summary if chosen else {}, resolved, maps, mean)


def _is_open(settings: Head) -> bool:
    """Whether a value that the head uses is still to be chosen: gamma is one where there is an RBF kernel."""
    uses_gamma = isinstance(settings, RBFSVMSettings | RBFSVRSettings) or "rbf" in getattr(
        settings, "kernel_map", ""
    )
    names = ["C", "epsilon", *(["gamma"] if uses_gamma else [])]
    names += ["fusion_weights"] if is_late(settings) else []
    return any(getattr(settings, name, None) == "auto" for name in names)


def _final_effort(settings: Head, training: TrainingSet) -> Effort:
    """Five folds where a value is open; for calibration alone more of them, or some, as the rows are few or many."""
    if _is_open(settings):
        return Effort()
    splits = calibration_splits(len(training.y))
    if splits != Effort.n_splits:
        return Effort(n_splits=splits)
    if training.task == "regression":
        return Effort()
    counts = np.bincount(training.y)
    smallest = float(counts[counts > 0].min() * min(1, MOST_ROWS / len(training.X)))
    largest = 1 if training.groups is None else int(np.unique(training.groups, return_counts=True)[1].max())
    return Effort(n_held_out=calibration_folds(len(training.y), smallest, largest))


def calibration_splits(n: int) -> int:
    """Into how many folds n rows are split where they are cross-validated for calibration alone."""
    return CALIBRATION_SPLITS if n <= FEW_ROWS else 5


def calibration_folds(n: int, smallest_class: float, largest_group: int = 1) -> int | None:
    """How many of five folds are held out where n rows are cross-validated for calibration alone; None for all.

    Args:
        n: rows.
        smallest_class: rows of the smallest class among those that are cross-validated.
        largest_group: rows of the largest group.
    """
    two, one = MANY_ROWS
    folds = 1 if n > one else 2 if n > two else None
    if folds is None or largest_group > LARGEST_GROUP * n or smallest_class * folds / 5 < LEAST_HELD_OUT:
        return None
    return folds


def _without_choice(settings: Any, n_extractors: int) -> Any:
    """Plain values where nothing can be held out to choose by."""
    plain: dict[str, Any] = {"C": 1.0, "gamma": 0.3, "epsilon": 0.1}
    if is_late(settings):
        plain |= {"C": (1.0,) * n_extractors, "fusion_weights": equal_weights(n_extractors)}
    return msgspec.structs.replace(
        settings, **{name: value for name, value in plain.items() if getattr(settings, name, None) == "auto"}
    )


def _fit(
    settings: Any, prepared: _Prepared, maps: list[Estimator], training: TrainingSet
) -> tuple[Any, Features]:
    """The head fitted on all rows, with the maps that it needs appended to ``maps``, and what it was fitted on."""
    X, y = prepared.X, training.row_targets
    chosen: Any = settings  # nothing in it is "auto" any more
    if isinstance(settings, LinearSVRSettings):
        return LinearSVR(chosen.C, chosen.epsilon).fit(X, y), X
    if isinstance(settings, LinearSVMSettings):
        if "rbf" in settings.kernel_map:
            nystroem, X = _nystroem(settings, chosen.gamma, training.seed, X)
            maps += [Scaler().learn(prepared.mean, prepared.scale), nystroem]
        weight = class_weight_of(settings, training)
        if is_late(settings):
            columns, Cs = column_slices(prepared.widths), per_extractor(chosen.C, len(prepared.widths))
            heads = [
                _linear(C, weight, X[:, mine]).fit(X[:, mine], y) for mine, C in zip(columns, Cs, strict=True)
            ]
            return joined(heads, chosen.fusion_weights), X
        return _linear(chosen.C, weight, X).fit(X, y), X
    maps.append(Scaler().learn(prepared.mean, prepared.scale))
    if isinstance(settings, RBFSVMSettings):
        weight = class_weight_of(settings, training)
        return RBFSVM(chosen.C, chosen.gamma, weight).fit(X, y), X
    return RBFSVR(chosen.C, chosen.gamma, chosen.epsilon).fit(X, y), X


def _linear(C: float, weight: Literal["balanced"] | None, X: Features) -> LinearSVM:
    """An SVM that ends early on data whose every iteration is dear."""
    return LinearSVM(C, weight, tol=WIDE_TOL) if is_wide(*X.shape) else LinearSVM(C, weight)
