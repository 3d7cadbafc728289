"""The exact RBF SVM: fitted by scikit-learn's ``SVC`` on our kernel, NumPy alone in predicting."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import numpy as np
from msgspec import Meta
from numpy.typing import ArrayLike, NDArray

from classic_cv.errors import ParameterError
from classic_cv.estimator import Estimator
from classic_cv.extraction import Progress
from classic_cv.heads.cross_validation import (
    Scoring,
    _check_groups,
    _check_path,
    _choose,
    _fold_scores,
    _has_fallen,
    _most_originals,
    _sample_rows,
    assign_folds,
    n_originals,
    rows_with_copies,
)
from classic_cv.heads.kernel_map import Floats, NormCache, rbf_in_place, rbf_kernel, self_distances
from classic_cv.heads.svm import ClassWeight, check_features, check_labels, class_weights

MAX_ROWS = 20_000
"""Training rows: their kernel matrix takes 8 bytes per pair, 3.2 GB for so many, and the time grows as fast."""

CHUNK_VALUES = 2**23
"""Values of the kernel and of the duels that are worked on at a time in predicting."""

TOL = 1e-3
"""libsvm's tolerance, scikit-learn's default: margins are off by about as much."""

CACHE_MB = (20, 500)
"""Least and most memory that libsvm may cache columns in."""


class RBFSVM(Estimator):
    """Support vector machine with the kernel ``exp(-gamma * |x - z|^2)``, one against one (Cortes, Vapnik 1995).

    The problem, the solver (libsvm) and the scores are those of scikit-learn's ``SVC`` with
    ``decision_function_shape="ovr"``: a class's score is the number of its duels won, plus a part between
    -1/3 and 1/3 that grows with the sum of their margins. Features should be standardised or of similar size.

    Args:
        C: weight of the losses, more than 0. Larger fits the training data more closely.
        gamma: more than 0, in units of one over a squared distance.
        class_weight: multiplies C for the samples of a class: None, a weight per label, or "balanced" for
            n_samples / (n_classes * n_samples of the class).

    Learned: ``support_vectors_`` float32 (n_SV, n_features), class after class; ``dual_coef_`` float32
    (n_classes - 1, n_SV) and ``intercept_`` float32 (n_classes * (n_classes - 1) / 2,), as in ``SVC``;
    ``n_support_`` int64 (n_classes,), support vectors per class; ``classes_``.
    """

    learned = ("support_vectors_", "dual_coef_", "intercept_", "n_support_", "classes_")
    large = ("support_vectors_",)
    support_vectors_: Floats
    dual_coef_: Floats
    intercept_: Floats
    n_support_: NDArray[np.int64]
    classes_: NDArray[Any]

    def __init__(
        self,
        C: Annotated[float, Meta(gt=0)] = 1.0,
        gamma: Annotated[float, Meta(gt=0)] = 1.0,
        class_weight: Literal["balanced"] | dict[Any, float] | None = None,
    ) -> None:
        self.C = C
        self.gamma = gamma
        self.class_weight = class_weight

    @property
    def n_features_in_(self) -> int:
        """Number of features seen in ``fit``."""
        self.check_fitted()
        return int(self.support_vectors_.shape[1])

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train on features X (n_samples, n_features), at most ``MAX_ROWS`` of them, and labels y (n_samples,).

        Raises:
            ParameterError: a parameter is out of range, or ``class_weight`` does not fit the labels.
            ValueError: X or y cannot be used, or X has too many rows; the message says why.
        """
        self.check_params()
        features = check_features(X)
        check_rows(len(features))
        classes, codes = check_labels(y, len(features))
        weights = class_weights(self.class_weight, classes, codes)
        kernel = rbf_in_place(self_distances(features), self.gamma).astype(np.float64)
        rows, duels = _fit_duels(kernel, codes, self.C, weights)
        self.support_vectors_ = np.ascontiguousarray(features[rows])
        self.dual_coef_, self.intercept_, self.n_support_ = duels.dual_coef, duels.intercept, duels.n_support
        self.classes_ = classes
        return self

    def decision_function(self, X: ArrayLike) -> Floats:
        """Scores of features X (n_samples, n_features): float32 (n_samples, n_classes), (n_samples,) for two.

        Raises:
            NotFittedError: before ``fit``.
            ValueError: X has another number of features, or is not finite.
        """
        self.check_fitted()
        features = check_features(X)
        if features.shape[1] != self.support_vectors_.shape[1]:
            raise ValueError(
                f"X has {features.shape[1]} features, but RBFSVM is expecting {self.n_features_in_} features "
                f"as input: compute them as for fit"
            )
        norms = self.__dict__.setdefault("_norms", NormCache())(self.support_vectors_)
        duels = Duels(self.dual_coef_, self.intercept_, self.n_support_)
        step = max(1, CHUNK_VALUES // max(len(self.support_vectors_), len(self.classes_) ** 2))
        parts = (features[start : start + step] for start in range(0, len(features), step))
        return np.concatenate(
            [duels.scores(rbf_kernel(part, self.support_vectors_, self.gamma, norms)) for part in parts]
        )

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Labels of features X, those of the largest score: (n_samples,)."""
        scores = self.decision_function(X)
        winners = (scores > 0).astype(np.intp) if scores.ndim == 1 else scores.argmax(axis=1)
        labels: NDArray[Any] = self.classes_[winners]
        return labels

    def score(self, X: ArrayLike, y: ArrayLike) -> float:
        """Accuracy on features X and labels y."""
        return float(np.mean(self.predict(X) == np.asarray(y)))

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(),
        )


def check_rows(n_rows: int) -> None:
    """Raise ``ValueError`` when the kernel matrix of so many training rows would take too much memory."""
    if n_rows > MAX_ROWS:
        raise ValueError(
            f"X has {n_rows} samples, but the kernel matrix of an exact RBF machine takes at most {MAX_ROWS}: "
            f"train on a sample, or use the nystroem map with a linear machine"
        )


def cache_size(n_rows: int) -> float:
    """libsvm's cache in MB: all columns of the kernel matrix in float32 where that is not too much."""
    return float(np.clip(4e-6 * n_rows**2, *CACHE_MB))


@dataclass(frozen=True)
class Duels:
    """The machines of all pairs of classes over common support vectors, in the layout of ``SVC``.

    Attributes:
        dual_coef: float32 (K - 1, n_SV), coefficients of each support vector in the duels of its class.
        intercept: float32 (K * (K - 1) / 2,), for the pairs (0, 1), (0, 2), ... (1, 2), ...
        n_support: int64 (K,), support vectors of each class; they come class after class.
    """

    dual_coef: Floats
    intercept: Floats
    n_support: NDArray[np.int64]

    def scores(self, kernel: Floats) -> Floats:
        """Scores from the kernel (n, n_SV) with the support vectors: float32 (n, K), (n,) for two classes."""
        if len(self.n_support) > 2:
            return one_vs_rest_scores(self.margins(kernel))
        scores: Floats = kernel @ self.dual_coef[0] + self.intercept[0]
        return scores

    def margins(self, kernel: Floats) -> Floats:
        """Margins float32 (n, K, K), for at least three classes: [:, i, j] is positive if i beats j."""
        K = len(self.n_support)
        sums = np.zeros((len(kernel), K, K), np.float32)
        stops = np.cumsum(self.n_support)
        for i, (start, stop) in enumerate(zip(stops - self.n_support, stops, strict=True)):
            others = np.arange(K) != i
            sums[:, i, others] = kernel[:, start:stop] @ self.dual_coef[:, start:stop].T
        sums += sums.transpose(0, 2, 1).copy()
        first, second = np.triu_indices(K, 1)
        sums[:, first, second] += self.intercept
        sums[:, second, first] = -sums[:, first, second]
        return sums


def one_vs_rest_scores(margins: Floats) -> Floats:
    """Duels won plus a squashed sum of margins: float32 (n, K) from antisymmetric margins (n, K, K).

    A margin of exactly 0 is won by the first class of the pair, as in ``SVC``.
    """
    K = margins.shape[1]
    won = margins > 0
    won |= (margins == 0) & np.triu(np.ones((K, K), bool), 1)
    total = margins.sum(axis=2)
    scores: Floats = won.sum(axis=2, dtype=np.float32) + total / (3 * (np.abs(total) + 1))
    return scores


def _fit_duels(
    kernel: NDArray[np.float64], codes: NDArray[np.intp], C: float, weights: NDArray[np.float64] | None
) -> tuple[NDArray[np.intp], Duels]:
    """The support vectors' row numbers, and the duels of the classes that occur in ``codes``."""
    from sklearn.svm import SVC

    by_class = None if weights is None else {int(k): float(weights[k]) for k in np.unique(codes)}
    svc = SVC(C=C, kernel="precomputed", tol=TOL, class_weight=by_class, cache_size=cache_size(len(codes)))
    svc.fit(kernel, codes)
    duels = Duels(
        np.ascontiguousarray(svc.dual_coef_, dtype=np.float32),
        svc.intercept_.astype(np.float32),
        svc.n_support_.astype(np.int64),
    )
    return svc.support_.astype(np.intp), duels


@dataclass(frozen=True)
class RBFCrossValidation:
    """What cross-validation over C and gamma found.

    Attributes:
        C, gamma: the chosen ones: the smallest C, then the smallest gamma, whose mean is within noise of the
            best, which is half a standard error of the folds' differences to the best.
        tried: float64 (n_tried, 2), C and gamma of the points tried, ascending.
        mean: of the scoring asked for, float64 (n_tried,).
        accuracy, balanced_accuracy: float64 (n_splits,), per fold, at the chosen point.
        standard_error: of the mean of the scoring at the chosen point.
        classes: the sorted labels.
        rows: int (n_rows,), the rows of X that were held out once, ascending.
        y: their classes as indices into ``classes``.
        scores: out-of-fold decision values of these rows at the chosen point, float32 (n_rows, n_classes), or
            (n_rows,) for two classes. A class that a fold's training part lacks has lost all its duels there.
        fold: the fold in which each of these rows was held out.
    """

    C: float
    gamma: float
    tried: NDArray[np.float64]
    mean: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    balanced_accuracy: NDArray[np.float64]
    standard_error: float
    classes: NDArray[Any]
    rows: NDArray[np.intp]
    y: NDArray[np.intp]
    scores: Floats
    fold: NDArray[np.intp]

    def summary(self) -> dict[str, Any]:
        """The choice as plain data."""
        points = zip(self.tried.tolist(), self.mean.tolist(), strict=True)
        return {
            "C": self.C,
            "gamma": self.gamma,
            "n_splits": len(self.accuracy),
            "n_rows": len(self.rows),
            "cv_accuracy": float(self.accuracy.mean()),
            "cv_balanced_accuracy": float(self.balanced_accuracy.mean()),
            "cv_standard_error": self.standard_error,
            "tried": [{"C": C, "gamma": gamma, "mean": mean} for (C, gamma), mean in points],
        }


def cross_validate_rbf(
    X: ArrayLike,
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    Cs: Sequence[float],
    gammas: Sequence[float],
    n_splits: int = 5,
    seed: int = 0,
    class_weight: ClassWeight = None,
    scoring: Scoring = "accuracy",
    max_samples: int | None = None,
    with_copies: bool = False,
    progress: Progress | None = None,
    deadline: float | None = None,
) -> RBFCrossValidation:
    """Cross-validate the RBF SVM on a grid of C and gamma.

    Folds are those of ``cross_validation.cross_validate``. Distances are computed once; gammas are walked from
    the middle one outwards, C upwards for each until the score has clearly fallen.

    Args:
        X: features (n_samples, n_features).
        y: labels (n_samples,).
        groups: (n_samples,), samples of a group are never on both sides of a fold.
        Cs, gammas: values to try, in any order.
        n_splits: folds, at least 2.
        class_weight: as for ``RBFSVM``; "balanced" goes by each fold's training part.
        scoring: what the choice goes by.
        max_samples: look at a stratified sample of so many rows, copies included (whole groups), when there
            are more.
        with_copies: X has twice the rows: row n_samples + i is a mirrored copy of row i. It is in training
            where its original is, and is never held out; the folds are those without copies.
        progress: called with (task, points done, points in all); a walk may end early.
        deadline: a value of ``time.perf_counter()`` after which no further point is begun; one always is.

    Raises:
        ParameterError: Cs, gammas, n_splits, scoring, max_samples or class_weight are out of range.
        ValueError: X, y or groups cannot be used, or there is nothing to hold out.
    """
    features = check_features(X)
    n = n_originals(features, with_copies)
    classes, codes = check_labels(y, n)
    class_weights(class_weight, classes, codes)
    path = _check_path(Cs, n_splits, scoring, max_samples)
    gamma_path = check_values("gammas", gammas)
    group_ids = _check_groups(groups, n)
    sample = _sample_rows(codes, group_ids, _most_originals(max_samples, with_copies), seed)
    used = rows_with_copies(sample, n, with_copies)
    check_rows(len(used))
    codes = codes[sample]
    fold = assign_folds(codes, None if group_ids is None else group_ids[sample], n_splits, seed)
    grid = _Grid(features[used], codes, classes, fold, class_weight)
    rows = np.flatnonzero(fold >= 0)
    measured: dict[tuple[float, float], NDArray[np.float64]] = {}
    held: dict[tuple[float, float], Floats] = {}
    for C, gamma in walk(path, gamma_path, measured, deadline):
        scores = grid.held_out(C, gamma)[rows]
        accuracies = _fold_scores(scores, codes[rows], fold[rows], len(classes))
        measured[C, gamma] = accuracies[0 if scoring == "accuracy" else 1]
        held[C, gamma] = scores
        if progress:
            progress("choice of C and gamma", len(measured), len(path) * len(gamma_path))
    points = sorted(measured)
    table = np.array([measured[point] for point in points])
    chosen = _choose(table)
    scores = held[points[chosen]]
    accuracy, balanced = _fold_scores(scores, codes[rows], fold[rows], len(classes))
    return RBFCrossValidation(
        C=points[chosen][0],
        gamma=points[chosen][1],
        tried=np.array(points),
        mean=table.mean(axis=1),
        accuracy=accuracy,
        balanced_accuracy=balanced,
        standard_error=float(table[chosen].std(ddof=1) / np.sqrt(table.shape[1])),
        classes=classes,
        rows=sample[rows],
        y=codes[rows],
        scores=scores,
        fold=fold[rows],
    )


def check_values(name: str, values: Sequence[float] | None, least: float | None = None) -> list[float]:
    """Values to try, sorted and without repeats: finite and more than 0, or at least ``least``.

    Raises:
        ParameterError: there are none, or one is out of range.
    """
    given = sorted({float(value) for value in values or ()})
    allowed = [v > 0 if least is None else v >= least for v in given]
    if not given or not all(allowed) or not np.isfinite(given).all():
        what = "more than 0" if least is None else f"at least {least:g}"
        raise ParameterError(f"{name}={values!r}: expected at least one value, finite and {what}")
    return given


def walk(
    Cs: Sequence[float],
    gammas: Sequence[float],
    measured: dict[tuple[float, float], NDArray[np.float64]],
    deadline: float | None,
) -> Iterator[tuple[float, float]]:
    """Points (C, gamma) to try: the caller enters each point's scores per fold, larger is better.

    The middle gamma comes first and its neighbours next, so that a deadline leaves out the extremes.
    """
    middle = (len(gammas) - 1) / 2
    for gamma in sorted(gammas, key=lambda gamma: abs(gammas.index(gamma) - middle)):
        for number, C in enumerate(Cs):
            if measured and deadline is not None and time.perf_counter() >= deadline:
                return
            yield C, gamma
            if _has_fallen(np.array([measured[C, gamma] for C in Cs[: number + 1]])):
                break


class _Grid:
    """Held-out scores of all rows at a point (C, gamma) of the grid; X may have copies of the rows behind them."""

    def __init__(
        self,
        X: Floats,
        codes: NDArray[np.intp],
        classes: NDArray[Any],
        fold: NDArray[np.intp],
        class_weight: ClassWeight,
    ) -> None:
        self.distances = self_distances(X)
        self.codes = codes
        self.classes = classes
        self.fold = fold
        self.class_weight = class_weight

    def held_out(self, C: float, gamma: float) -> Floats:
        """float32 (n, K), or (n,) for two classes; 0 for the rows that are never held out."""
        n, K, with_copies = len(self.codes), len(self.classes), len(self.distances) > len(self.codes)
        scores = np.zeros((n, K) if K > 2 else n, np.float32)
        for number in range(int(self.fold.max()) + 1):
            out = np.flatnonzero(self.fold == number)
            training = rows_with_copies(np.flatnonzero(self.fold != number), n, with_copies)
            scores[out] = self._fold(training, out, C, gamma)
        return scores

    def _fold(self, training: NDArray[np.intp], out: NDArray[np.intp], C: float, gamma: float) -> Floats:
        codes = self.codes[training % len(self.codes)]
        present = np.unique(codes)
        if len(present) == 1:
            return spread_scores(np.zeros((len(out), 1), np.float32), present, len(self.classes))
        kernel = rbf_in_place(self.distances[np.ix_(training, training)], gamma).astype(np.float64)
        weights = class_weights(self.class_weight, self.classes, codes)
        support, duels = _fit_duels(kernel, codes, C, weights)
        across = rbf_in_place(self.distances[np.ix_(out, training[support])], gamma)
        return spread_scores(duels.scores(across), present, len(self.classes))


def spread_scores(scores: Floats, present: NDArray[np.intp], n_classes: int) -> Floats:
    """Scores for all classes from those of the classes that were present, which beat the others.

    Args:
        scores: (n, n_present), or (n,) for two present classes.
        present: class numbers (n_present,), ascending.
        n_classes: K.

    Returns:
        float32 (n, K), or (n,) for K = 2: -1 or 1 throughout where one of the two was missing.
    """
    if len(present) == n_classes:
        return scores
    if n_classes == 2:
        return np.full(len(scores), 2.0 * present[0] - 1, np.float32)
    if len(present) == 2:
        margin = scores[:, None] * np.array([-1, 1], np.float32)
        scores = (margin > 0) + margin / (3 * (np.abs(margin) + 1))
    missing = n_classes - len(present)
    # The least that a class can get: no duel won, and margins without bound against it.
    spread = np.full((len(scores), n_classes), -1 / 3, np.float32)
    spread[:, present] = scores + missing
    return spread
