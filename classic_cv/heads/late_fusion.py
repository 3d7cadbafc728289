"""Late fusion: a linear SVM for each extractor, whose scores are added up with one weight per extractor.

Early fusion puts the columns of all extractors side by side for one SVM; late fusion gives each its own SVM with its
own C and combines their scores (Snoek et al. 2005, "Early versus late fusion in semantic video analysis"). The weights
are learned on out-of-fold scores, are not negative, and are the same for all classes, as in the LP-beta of Gehler and
Nowozin 2009, "On feature combination for multiclass object classification": so few numbers are hardly overfitted.
Theirs minimise a hinge loss by linear programming, ours the log loss of a softmax, which is smooth and a single
well-conditioned problem. A weighted sum of linear scores is a linear score: the result is one linear SVM again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from classic_cv.errors import RecipeError
from classic_cv.heads.calibration import smoothed_targets
from classic_cv.heads.cross_validation import PIECES, CrossValidation, Scoring, _fold_scores, _pieces
from classic_cv.heads.svm import LinearSVM
from classic_cv.recipe import Head, LinearSVMSettings, fusion_problem
from classic_cv.timing import thread_limit

Floats = NDArray[np.float32]
Reals = NDArray[np.float64]

DIGITS = 4
"""Significant digits of a weight: more would change no score by more than noise."""

WEIGHT_PRIOR = 1.0
"""A pull of the extractors' shares to their mean, in a log loss summed over rows: it counts where rows are few. On
subsets of flowers17 (51 to 340 images, 2 to 6 extractors) strengths from 0 to 10 gave accuracies within 0.6 %, 100
lost up to 3 %, and equal weights up to 9 %. Leaving out extractors whose part in the log loss is below its standard
error lost up to 2 %: together they help."""

WEIGHT_ROWS = 5000
"""Rows that the weights are chosen on at most: enough for a few numbers."""


def check_fusion(settings: Head, n_extractors: int) -> None:
    """Check that the settings fit so many extractors, and that their map allows late fusion.

    Raises:
        RecipeError: they do not; the message names the key.
    """
    problem = fusion_problem(settings, n_extractors)
    if problem:
        raise RecipeError(problem)


def is_late(settings: Head) -> bool:
    """Whether each extractor has a linear SVM of its own."""
    return isinstance(settings, LinearSVMSettings) and settings.fusion == "late"


def column_slices(widths: Sequence[int]) -> list[slice]:
    """The columns of each extractor."""
    ends = np.cumsum(widths).tolist()
    return [slice(end - width, end) for end, width in zip(ends, widths, strict=True)]


def per_extractor(value: Any, n_extractors: int) -> tuple[Any, ...]:
    """One value for each extractor: those given, or the same one for all."""
    return value if isinstance(value, tuple) else (value,) * n_extractors


def without_extractor(settings: Head, number: int) -> Head:
    """The settings for the same extractors but one; the weights of the others are left to be chosen anew."""
    if not isinstance(settings, LinearSVMSettings) or settings.fusion == "early":
        return settings
    Cs = settings.C
    if isinstance(Cs, tuple):
        Cs = Cs[:number] + Cs[number + 1 :]
    return msgspec.structs.replace(settings, C=Cs, fusion_weights="auto")


@dataclass(frozen=True)
class Fusion:
    """Extractors' out-of-fold scores, added up.

    Attributes:
        found: each extractor's cross-validation, on the same rows.
        weights: of their scores.
        shares: what each contributes: the spread of its weighted scores, in shares of the sum. A weight alone does not
            tell, since an extractor with a small C has small scores.
        scores: float32 (n_rows, n_classes), or (n_rows,) for two classes: the sums. Where the weights were chosen,
            those of each fold's rows were chosen without that fold, so that comparing by these scores is fair.
        accuracy, balanced_accuracy: float64 (n_splits,), per fold.
        standard_error: of the mean of the scoring that the choices went by.
    """

    found: tuple[CrossValidation, ...]
    weights: tuple[float, ...]
    shares: tuple[float, ...]
    scores: Floats
    accuracy: Reals
    balanced_accuracy: Reals
    standard_error: float

    def summary(self) -> dict[str, Any]:
        """The choice as plain data, with that of each extractor alone in ``extractors``."""
        alone = [
            {"weight": weight, "share": share, **found.summary()}
            for weight, share, found in zip(self.weights, self.shares, self.found, strict=True)
        ]
        return {
            "C": [found.C for found in self.found],
            "fusion_weights": list(self.weights),
            "n_splits": len(self.accuracy),
            "n_rows": len(self.scores),
            "cv_accuracy": float(self.accuracy.mean()),
            "cv_balanced_accuracy": float(self.balanced_accuracy.mean()),
            "cv_standard_error": self.standard_error,
            "Cs": sorted({C for entry in alone for C in entry["Cs"]}),
            "extractors": alone,
        }


def fuse(
    found: Sequence[CrossValidation],
    weights: Sequence[float] | None,
    scoring: Scoring = "accuracy",
    balanced: bool = False,
) -> Fusion:
    """Add up the out-of-fold scores of extractors.

    Args:
        found: a cross-validation for each extractor, on the same rows and folds.
        weights: of the extractors; None to choose them.
        scoring: what the standard error is of.
        balanced: every class counts alike in the choice of the weights.
    """
    first = found[0]
    each = np.stack([entry.scores for entry in found])
    fold = first.fold if first.fold.max() > 0 else _pieces(first.y, PIECES)
    if weights is None:
        chosen = choose_weights(each, first.y, balanced)
        scores = _cross_fitted(each, first.y, fold, balanced)
    else:
        chosen = tuple(float(weight) for weight in weights)
        scores = weighted_sum(each, chosen)
    part = spreads(each) * chosen
    shares = part / (float(part.sum()) or 1.0)
    accuracy, balanced_accuracy = _fold_scores(scores, first.y, fold, len(first.classes))
    measured = accuracy if scoring == "accuracy" else balanced_accuracy
    error = float(measured.std(ddof=1) / np.sqrt(len(measured)))
    return Fusion(tuple(found), chosen, tuple(shares.tolist()), scores, accuracy, balanced_accuracy, error)


def _cross_fitted(each: Floats, y: NDArray[np.intp], fold: NDArray[np.intp], balanced: bool) -> Floats:
    """Sums with weights that were chosen without the row's own fold."""
    out: Floats = np.empty(each.shape[1:], np.float32)
    for number in np.unique(fold):
        mine = fold == number
        out[mine] = weighted_sum(each[:, mine], choose_weights(each[:, ~mine], y[~mine], balanced))
    return out


def weighted_sum(each: Floats, weights: Sequence[float]) -> Floats:
    """The sum over the first axis of ``each``, (n_extractors, ...), with these weights: float32 (...)."""
    # In float64 and in a fixed order, so that it does not depend on how a matrix product is cut up.
    total = sum(weight * scores.astype(np.float64) for weight, scores in zip(weights, each, strict=True))
    return np.asarray(total, np.float32)


def choose_weights(each: Floats, y: NDArray[np.intp], balanced: bool = False) -> tuple[float, ...]:
    """Weights, 0 or more and summing to 1, with which the sum of scores has the smallest log loss.

    The loss is that of ``softmax(temperature * sum)`` at the best temperature: a convex problem in their product.

    Args:
        each: scores of each extractor, (n_extractors, n_rows, n_classes), or (n_extractors, n_rows) for two classes,
            of rows that were not trained on.
        y: classes as column indices, (n_rows,).
        balanced: every class counts alike, however many rows it has.

    Returns:
        The weights to four digits; equal ones where no extractor is better than none, or there are no rows.
    """
    if len(each) == 1 or len(y) == 0:
        return equal_weights(len(each))
    if len(y) > WEIGHT_ROWS:
        rows = np.sort(np.argsort(y, kind="stable")[:: -(-len(y) // WEIGHT_ROWS)])
        each, y = each[:, rows], y[rows]
    spread = spreads(each)
    unit = np.where(spread > 0, spread, 1.0)
    v = _smallest_log_loss(_centered(each) / unit[:, None, None], y, balanced) / unit
    total = float(v.sum())
    return tuple(float(f"{w:.{DIGITS}g}") for w in v / total) if total > 0 else equal_weights(len(each))


def _smallest_log_loss(Z: Reals, y: NDArray[np.intp], balanced: bool) -> Reals:
    """Factors, (n_extractors,), 0 or more, of scores Z (n_extractors, n_rows, n_classes) of spread 1."""
    from scipy.optimize import minimize

    G, n, K = Z.shape
    flat = Z.reshape(G, n * K)
    targets = smoothed_targets(y, K)
    counts = np.bincount(y, minlength=K)
    rows = (n / ((counts > 0).sum() * counts[y]))[:, None] if balanced else np.ones((n, 1))

    def loss(v: Reals) -> tuple[float, Reals]:
        logits = (v @ flat).reshape(n, K)
        logits -= logits.max(axis=1, keepdims=True)
        exponents = np.exp(logits)
        total = exponents.sum(axis=1, keepdims=True)
        difference = (exponents / total - targets) * rows
        apart = v - v.mean()
        value = -float((rows * targets * (logits - np.log(total))).sum())
        value += 0.5 * WEIGHT_PRIOR * float((apart**2).sum())
        slope = flat @ difference.ravel() + WEIGHT_PRIOR * apart
        return value / n, slope / n

    # SciPy's BLAS threads wait for each other by spinning: on a busy machine one thread was up to 20 times faster. The
    # result does not depend on the cores then.
    with thread_limit(1):
        found = minimize(
            loss,
            np.full(G, 1.0 / G),
            jac=True,
            method="L-BFGS-B",
            bounds=[(0.0, np.inf)] * G,
            options={"maxiter": 500, "ftol": 1e-12, "gtol": 1e-9},
        )
    return np.asarray(found.x)


def spreads(each: Floats) -> Reals:
    """Root mean square of each extractor's scores about their mean over the classes, (n_extractors,)."""
    return np.asarray(np.sqrt(np.mean(_centered(each) ** 2, axis=(1, 2))))


def _centered(each: Floats) -> Reals:
    """Scores of all classes, (n_extractors, n_rows, n_classes), less what is common to them: a softmax ignores it."""
    Z = each.astype(np.float64)
    if Z.ndim == 2:
        Z = np.stack([-Z / 2, Z / 2], axis=2)
    return np.asarray(Z - Z.mean(axis=2, keepdims=True))


def equal_weights(n_extractors: int) -> tuple[float, ...]:
    """Where nothing can be held out to choose by: the mean of the scores."""
    return (1.0 / n_extractors,) * n_extractors


def joined(heads: Sequence[LinearSVM], weights: Sequence[float]) -> LinearSVM:
    """One linear SVM over the columns of all, whose scores are the weighted sum of theirs.

    Args:
        heads: fitted to the same labels, each on its own columns.
        weights: of their scores.
    """
    whole = LinearSVM(heads[0].C, heads[0].class_weight)
    parts = [weight * head.coef_.astype(np.float64) for weight, head in zip(weights, heads, strict=True)]
    whole.coef_ = np.concatenate(parts, axis=1).astype(np.float32)
    whole.intercept_ = weighted_sum(np.stack([head.intercept_ for head in heads]), weights)
    whole.classes_ = heads[0].classes_
    whole.n_iter_ = max(head.n_iter_ for head in heads)
    return whole
