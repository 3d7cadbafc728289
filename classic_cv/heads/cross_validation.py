"""Choice of C by cross-validation, and the out-of-fold scores that calibration needs.

All folds and classes are problems over the same X: a held-out row has weight 0 in its fold, so nothing is
copied, and the path of C is walked upwards with every problem starting where it ended before.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from classic_cv.errors import ParameterError
from classic_cv.extraction import Progress
from classic_cv.heads.svm import (
    ClassWeight,
    check_features,
    check_labels,
    check_sample_weight,
    class_weights,
    one_vs_rest,
)

Scoring = Literal["accuracy", "balanced_accuracy"]

DEFAULT_CS = tuple(float(f"{10 ** (exponent / 2):.2g}") for exponent in range(-10, 5))
"""1e-5 to 100 by factors of about 3."""

DEFAULT_MAX_SAMPLES = 15_000
"""Rows that the choice of C looks at by default; on more, C changes little and the time much."""

PIECES = 5
"""Pieces that a single held-out fold is cut into, to tell the spread of its figures."""

CV_TOL = 1e-3
"""Tolerance of the solver on the path: labels stop changing long before the objective does."""


@dataclass(frozen=True)
class CrossValidation:
    """What cross-validation found; C ascending, ``n_tried`` of them.

    Attributes:
        C: the chosen one: the smallest whose mean is within noise of the best, which is half a standard
            error of its folds' differences to the best.
        Cs: float64 (n_tried,), those tried before an early stop.
        accuracy, balanced_accuracy: float64 (n_tried, n_splits), per fold.
        mean, standard_error: of the scoring asked for, float64 (n_tried,).
        classes: the sorted labels.
        rows: int (n_rows,), the rows of X that were held out once, ascending.
        y: their classes as indices into ``classes``.
        scores: out-of-fold decision values of these rows at the chosen C, float32 (n_rows, n_classes), or
            (n_rows,) for two classes.
        fold: the fold in which each of these rows was held out.
    """

    C: float
    Cs: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    balanced_accuracy: NDArray[np.float64]
    mean: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    classes: NDArray[Any]
    rows: NDArray[np.intp]
    y: NDArray[np.intp]
    scores: NDArray[np.float32]
    fold: NDArray[np.intp]

    def summary(self) -> dict[str, Any]:
        """The choice as plain data."""
        chosen = int(np.flatnonzero(self.Cs == self.C)[0])
        return {
            "C": self.C,
            "n_splits": int(self.accuracy.shape[1]),
            "n_rows": len(self.rows),
            "cv_accuracy": float(self.accuracy[chosen].mean()),
            "cv_balanced_accuracy": float(self.balanced_accuracy[chosen].mean()),
            "cv_standard_error": float(self.standard_error[chosen]),
            "Cs": self.Cs.tolist(),
            "cv_means": self.mean.tolist(),
        }


def cross_validate(
    X: ArrayLike,
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    Cs: Sequence[float] | None = None,
    n_splits: int = 5,
    seed: int = 0,
    sample_weight: ArrayLike | None = None,
    class_weight: ClassWeight = None,
    scoring: Scoring = "accuracy",
    max_samples: int | None = DEFAULT_MAX_SAMPLES,
    n_held_out: int | None = None,
    with_copies: bool = False,
    progress: Progress | None = None,
) -> CrossValidation:
    """Cross-validate the linear SVM along a path of C.

    Folds are stratified, shuffled by ``seed``, and keep groups together where they are given. A class with
    fewer samples than folds is held out in as many folds as it has samples (or groups). A class with one
    sample is always in training and never held out. There are fewer folds, down to 2, when even the largest
    class has fewer samples, or when there are fewer groups. With groups, a class can be missing from a fold's
    training part; its held-out samples then count as wrong.

    Args:
        X: float32 (n_samples, n_features), not copied unless rows are sampled.
        y: labels (n_samples,).
        groups: (n_samples,), samples of a group are never on both sides of a fold.
        Cs: values to try, in any order; ``DEFAULT_CS`` by default. The path ends early once the score has
            clearly fallen.
        n_splits: folds, at least 2.
        sample_weight: (n_samples,), used in training and not in scoring.
        class_weight: as for ``LinearSVM``.
        scoring: what the choice goes by.
        max_samples: look at a stratified sample of so many rows, copies included (whole groups), when there
            are more; None for all.
        n_held_out: hold out only the first so many folds, which costs as much less; the rows of the others
            are in training only. With one, its rows are cut into five pieces to tell the spread.
        with_copies: X has twice the rows: row n_samples + i is a mirrored copy of row i. It is in training
            where its original is, and is never held out; the folds are those without copies.
        progress: called with (task, values of C done, values in all); the path may end early.

    Raises:
        ParameterError: Cs, n_splits, scoring, max_samples or n_held_out are out of range.
        ValueError: X, y, groups or sample_weight cannot be used, or there is nothing to hold out.
    """
    from classic_cv.heads._solver import SquaredHingeSolver

    features = check_features(X)
    n = n_originals(features, with_copies)
    classes, codes = check_labels(y, n)
    weights = check_sample_weight(sample_weight, n)
    path = _check_path(Cs, n_splits, scoring, max_samples)
    if n_held_out is not None and n_held_out < 1:
        raise ParameterError(f"n_held_out={n_held_out}: expected 1 fold or more, or None for all")
    group_ids = _check_groups(groups, n)
    sample = _sample_rows(codes, group_ids, _most_originals(max_samples, with_copies), seed)
    if len(sample) < n:
        features, codes = features[rows_with_copies(sample, n, with_copies)], codes[sample]
        weights = None if weights is None else weights[sample]
        group_ids = None if group_ids is None else group_ids[sample]
    fold = assign_folds(codes, group_ids, n_splits, seed)
    if n_held_out is not None:
        fold[fold >= n_held_out] = -1
    signs, problem_weights = _problems(codes, classes, fold, weights, class_weight)
    if with_copies:
        signs, problem_weights = np.tile(signs, 2), np.tile(problem_weights, 2)
    solver = SquaredHingeSolver(features, signs, problem_weights)
    rows = np.flatnonzero(fold >= 0)
    piece = fold[rows] if fold.max() > 0 else _pieces(codes[rows], PIECES)
    tried: list[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float32]]] = []
    for C in path:
        scores = _held_out(solver.solve(C, CV_TOL).scores[:, : len(fold)], fold, rows)
        tried.append((*_fold_scores(scores, codes[rows], piece, len(classes)), scores))
        if progress:
            progress("choice of C", len(tried), len(path))
        measured = np.array([entry[0 if scoring == "accuracy" else 1] for entry in tried])
        if _has_fallen(measured):
            break
    chosen = _choose(measured)
    return CrossValidation(
        C=path[chosen],
        Cs=np.array(path[: len(tried)]),
        accuracy=np.array([entry[0] for entry in tried]),
        balanced_accuracy=np.array([entry[1] for entry in tried]),
        mean=measured.mean(axis=1),
        standard_error=measured.std(axis=1, ddof=1) / np.sqrt(measured.shape[1]),
        classes=classes,
        rows=sample[rows],
        y=codes[rows],
        scores=tried[chosen][2],
        fold=fold[rows],
    )


def n_originals(features: NDArray[np.float32], with_copies: bool) -> int:
    """How many rows of ``features`` are originals: all, or the first half where the others are their copies.

    Raises:
        ValueError: there should be copies, but the number of rows is odd.
    """
    if with_copies and len(features) % 2:
        raise ValueError(f"X has {len(features)} rows, expected an even number: as many copies as originals")
    return len(features) // 2 if with_copies else len(features)


def rows_with_copies(originals: NDArray[np.intp], n: int, with_copies: bool) -> NDArray[np.intp]:
    """These of the n originals' rows, and where there are copies then those of their copies."""
    return np.concatenate([originals, n + originals]) if with_copies else originals


def _most_originals(max_samples: int | None, with_copies: bool) -> int | None:
    return max_samples // 2 if with_copies and max_samples is not None else max_samples


def _pieces(codes: NDArray[np.intp], n_pieces: int) -> NDArray[np.intp]:
    """A piece number per row: the rows of each class dealt out in turn."""
    by_class = np.argsort(codes, kind="stable")
    piece = np.empty(len(codes), np.intp)
    piece[by_class] = np.arange(len(codes)) % min(n_pieces, len(codes))
    return piece


def _check_path(
    Cs: Sequence[float] | None, n_splits: int, scoring: str, max_samples: int | None
) -> list[float]:
    if scoring not in ("accuracy", "balanced_accuracy"):
        raise ParameterError(f"scoring={scoring!r}: expected 'accuracy' or 'balanced_accuracy'")
    if n_splits < 2:
        raise ParameterError(f"n_splits={n_splits}: expected 2 folds or more")
    if max_samples is not None and max_samples < 2:
        raise ParameterError(f"max_samples={max_samples}: expected 2 or more, or None for all samples")
    path = sorted({float(C) for C in (DEFAULT_CS if Cs is None else Cs)})
    if not path or not all(0 < C < float("inf") for C in path):
        raise ParameterError(f"Cs={Cs!r}: expected at least one value, finite and more than 0")
    return path


def _check_groups(groups: ArrayLike | None, n_samples: int) -> NDArray[np.intp] | None:
    if groups is None:
        return None
    given = np.asarray(groups)
    if given.shape != (n_samples,):
        raise ValueError(f"groups has shape {given.shape}, expected ({n_samples},): one group per sample")
    ids: NDArray[np.intp] = np.unique(given, return_inverse=True)[1]
    return ids


def _sample_rows(
    codes: NDArray[np.intp], groups: NDArray[np.intp] | None, max_samples: int | None, seed: int
) -> NDArray[np.intp]:
    """A stratified sample of about ``max_samples`` rows, ascending: the first so many of each class in a
    random order of the groups."""
    n = len(codes)
    if max_samples is None or n <= max_samples:
        return np.arange(n)
    units = np.arange(n) if groups is None else groups
    order = np.random.default_rng(seed).permutation(units.max() + 1)[units]
    by_class = np.lexsort((order, codes))
    counts = np.bincount(codes)
    wanted = np.maximum(np.round(counts * max_samples / n), np.minimum(counts, 2)).astype(np.intp)
    rank = np.empty(n, np.intp)
    rank[by_class] = np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.flatnonzero(rank < wanted[codes])


def assign_folds(
    codes: NDArray[np.intp], groups: NDArray[np.intp] | None, n_splits: int, seed: int
) -> NDArray[np.intp]:
    """The fold that each sample is held out in, -1 for a sample that is always in training.

    Raises:
        ValueError: every class has one sample, or all samples are of one group.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    counts = np.bincount(codes)
    rows = np.flatnonzero(counts[codes] > 1)
    splits = min(n_splits, int(counts.max()))
    if groups is not None:
        splits = min(splits, len(np.unique(groups[rows])))
    if splits < 2:
        what = "every class has a single sample" if counts.max() < 2 else "all samples are of one group"
        raise ValueError(
            f"cannot cross-validate: {what}, so nothing can be held out; give more data or set C"
        )
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    splitter = kind(n_splits=splits, shuffle=True, random_state=seed)
    fold = np.full(len(codes), -1, np.intp)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        parts = splitter.split(rows, codes[rows], None if groups is None else groups[rows])
        for number, (_, held_out) in enumerate(parts):
            fold[rows[held_out]] = number
    used = np.unique(fold[fold >= 0])
    if len(used) < 2:
        raise ValueError("cannot cross-validate: the groups leave one fold only; give more data or set C")
    fold[fold >= 0] = np.searchsorted(used, fold[fold >= 0])
    return fold


def _problems(
    codes: NDArray[np.intp],
    classes: NDArray[Any],
    fold: NDArray[np.intp],
    sample_weight: NDArray[np.float64] | None,
    class_weight: ClassWeight,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Signs and weights of the problems of all folds, fold by fold."""
    signs, weights = [], []
    for number in range(fold.max() + 1):
        training = (fold != number) * (1.0 if sample_weight is None else sample_weight)
        if not training.any():
            raise ValueError(f"sample_weight is 0 for all training samples of fold {number}: use fewer folds")
        balance = class_weights(class_weight, classes, codes, training)
        sign, weight = one_vs_rest(codes, len(classes), training, balance)
        assert weight is not None
        signs.append(sign)
        weights.append(weight)
    return np.concatenate(signs), np.concatenate(weights)


def _held_out(
    scores: NDArray[np.float32], fold: NDArray[np.intp], rows: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Each row's scores from the fold that held it out: (n_rows, n_classes), (n_rows,) for two classes."""
    by_fold = scores.reshape(fold.max() + 1, -1, len(fold))
    held_out: NDArray[np.float32] = np.ascontiguousarray(by_fold[fold[rows], :, rows])
    return held_out[:, 0] if held_out.shape[1] == 1 else held_out


def _fold_scores(
    scores: NDArray[np.float32], y: NDArray[np.intp], fold: NDArray[np.intp], n_classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Accuracy and balanced accuracy per fold; the latter over the classes that the fold holds out."""
    hit = ((scores > 0).astype(np.intp) if scores.ndim == 1 else scores.argmax(axis=1)) == y
    accuracy, balanced = [], []
    for number in np.unique(fold):
        mine = fold == number
        totals = np.bincount(y[mine], minlength=n_classes)
        hits = np.bincount(y[mine], weights=hit[mine], minlength=n_classes)
        accuracy.append(hits.sum() / totals.sum())
        balanced.append((hits[totals > 0] / totals[totals > 0]).mean())
    return np.array(accuracy), np.array(balanced)


def _loss_to_best(measured: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean over folds of the best C's lead over each C, and the standard error of that mean."""
    lead = measured[measured.mean(axis=1).argmax()] - measured
    return lead.mean(axis=1), lead.std(axis=1, ddof=1) / np.sqrt(measured.shape[1])


def _has_fallen(measured: NDArray[np.float64]) -> bool:
    """Whether the last two C are both behind the best by more than two standard errors and 0.2 %."""
    lead, error = _loss_to_best(measured)
    return len(lead) > 2 and bool((lead[-2:] > np.maximum(2 * error[-2:], 0.002)).all())


def _choose(measured: NDArray[np.float64]) -> int:
    """The first C that is within half a standard error of the best."""
    lead, error = _loss_to_best(measured)
    return int(np.flatnonzero(lead <= 0.5 * error + 1e-12)[0])
