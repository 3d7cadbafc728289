"""Figures of predictions on labelled images, with their intervals: of classes, and of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.stats import accuracy_interval, bootstrap_intervals

N_BINS = 15


def _bins(probabilities: NDArray[np.floating[Any]], n_bins: int) -> NDArray[np.intp]:
    """The bin of equal width that each image's top-1 confidence falls in."""
    bins: NDArray[np.intp] = np.minimum((probabilities.max(axis=1) * n_bins).astype(np.intp), n_bins - 1)
    return bins


def expected_calibration_error(
    probabilities: NDArray[np.floating[Any]], y: NDArray[np.integer[Any]], n_bins: int = N_BINS
) -> float:
    """Expected calibration error of the top-1 confidence, in ``n_bins`` bins of equal width.

    The mean over images of |accuracy - confidence| of the image's bin (Naeini et al. 2015; Guo et al. 2017).

    Args:
        probabilities: (n_samples, n_classes), rows sum to 1.
        y: (n_samples,) true class indices.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    correct = probabilities.argmax(axis=1) == y
    gaps = np.bincount(_bins(probabilities, n_bins), weights=correct - confidence, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(y))


def calibration_noise(
    probabilities: NDArray[np.floating[Any]], n_bins: int = N_BINS, n_draws: int = 1000, seed: int = 0
) -> float:
    """The expected calibration error that perfect calibration would show on so few images, by chance alone.

    The error takes absolute gaps, so it is never 0 on a finite part: here each image is right with just its
    confidence, drawn ``n_draws`` times from ``seed``, and the mean error is returned (the "consistency"
    resampling of Bröcker and Smith 2007).
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    bins = _bins(probabilities, n_bins)
    rng = np.random.default_rng(seed)
    total = 0.0
    for _ in range(n_draws):
        gaps = np.bincount(bins, weights=(rng.random(len(bins)) < confidence) - confidence, minlength=n_bins)
        total += float(np.abs(gaps).sum()) / len(bins)
    return total / n_draws


def reliability(
    probabilities: NDArray[np.floating[Any]], y: NDArray[np.integer[Any]], n_bins: int = N_BINS
) -> list[dict[str, Any]]:
    """The bins of the calibration error: ``low, high, n``, mean ``confidence`` and ``accuracy`` (None if empty)."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    correct = probabilities.argmax(axis=1) == y
    bins = _bins(probabilities, n_bins)
    rows = []
    for k in range(n_bins):
        mine = bins == k
        n = int(mine.sum())
        rows.append(
            {
                "low": k / n_bins,
                "high": (k + 1) / n_bins,
                "n": n,
                "confidence": float(confidence[mine].mean()) if n else None,
                "accuracy": float(correct[mine].mean()) if n else None,
            }
        )
    return rows


def _class_figures(true: NDArray[Any], predicted: NDArray[np.intp], n_classes: int) -> NDArray[np.float64]:
    """Balanced accuracy and macro F1 over the classes that occur among ``true``."""
    support = np.bincount(true, minlength=n_classes)
    called = np.bincount(predicted, minlength=n_classes)
    hits = np.bincount(true[true == predicted], minlength=n_classes)
    present = support > 0
    f1 = 2 * hits[present] / (support[present] + called[present])
    return np.array([(hits[present] / support[present]).mean(), f1.mean()])


def _known(interval: list[float]) -> list[float] | None:
    return interval if np.isfinite(interval).all() else None


def regression_metrics(
    y: NDArray[np.floating[Any]], predictions: NDArray[np.floating[Any]]
) -> dict[str, Any]:
    """All figures of predicted numbers, each with a 95 % bootstrap interval over images.

    Args:
        y: (n_samples,) true numbers.
        predictions: (n_samples,).

    Returns:
        ``n, mae, rmse, r2`` with ``mae_ci95, rmse_ci95, r2_ci95``, and ``points``: pairs of true and predicted.
        ``r2`` is None where all true numbers are equal, an interval where it is not known, as for a single image.
    """
    true, predicted = np.asarray(y, np.float64), np.asarray(predictions, np.float64)

    def figures(rows: NDArray[np.intp]) -> NDArray[np.float64]:
        error = predicted[rows] - true[rows]
        spread = np.square(true[rows] - true[rows].mean()).sum()
        r2 = 1 - np.square(error).sum() / spread if spread > 0 else np.nan
        return np.array([np.abs(error).mean(), np.sqrt(np.square(error).mean()), r2])

    values, intervals = bootstrap_intervals(figures, len(true))
    out: dict[str, Any] = {"n": len(true)}
    for name, value, interval in zip(("mae", "rmse", "r2"), values.tolist(), intervals.tolist(), strict=True):
        out[name] = value if np.isfinite(value) else None
        out[f"{name}_ci95"] = _known(interval)
    out["points"] = np.stack([true, predicted], axis=1).tolist()
    return out


def classification_metrics(
    y: NDArray[np.integer[Any]], probabilities: NDArray[np.floating[Any]], class_names: Sequence[str]
) -> dict[str, Any]:
    """All classification figures of one set of predictions.

    Args:
        y: (n_samples,) true class indices into ``class_names``.
        probabilities: (n_samples, n_classes).

    Returns:
        ``n, accuracy, balanced_accuracy, macro_f1, log_loss, ece`` with 95 % intervals (``accuracy_ci95``, by
        Wilson; the others, but for the calibration error, by bootstrap over images, None for a single one),
        ``ece_noise`` (what perfect calibration would show), ``reliability, per_class, confusion``. Macro averages
        are over the classes that occur among ``y``; ``confusion[true][predicted]`` counts.
    """
    from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support

    labels = np.arange(len(class_names))
    predicted = probabilities.argmax(axis=1)
    precision, recall, f1, support = precision_recall_fscore_support(
        y, predicted, labels=labels, zero_division=0
    )
    present = support > 0
    correct = int((predicted == y).sum())
    # Rows are normalised in float64: scikit-learn warns where float32 rows do not sum to 1 exactly.
    exact = probabilities.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)
    losses = -np.log(np.clip(exact[np.arange(len(y)), y], np.finfo(np.float64).eps, None))

    def figures(rows: NDArray[np.intp]) -> NDArray[np.float64]:
        return np.append(_class_figures(y[rows], predicted[rows], len(labels)), losses[rows].mean())

    _, (balanced_ci, f1_ci, loss_ci) = bootstrap_intervals(figures, len(y))
    return {
        "n": len(y),
        "accuracy": correct / len(y),
        "accuracy_ci95": list(accuracy_interval(correct, len(y))),
        "balanced_accuracy": float(recall[present].mean()),
        "balanced_accuracy_ci95": _known(balanced_ci.tolist()),
        "macro_f1": float(f1[present].mean()),
        "macro_f1_ci95": _known(f1_ci.tolist()),
        "log_loss": float(log_loss(y, exact, labels=labels)),
        "log_loss_ci95": _known(loss_ci.tolist()),
        "ece": expected_calibration_error(probabilities, y),
        "ece_noise": calibration_noise(probabilities),
        "reliability": reliability(probabilities, y),
        "per_class": {
            name: {
                "precision": float(precision[k]),
                "recall": float(recall[k]),
                "f1": float(f1[k]),
                "n": int(support[k]),
            }
            for k, name in enumerate(class_names)
        },
        "confusion": confusion_matrix(y, predicted, labels=labels).tolist(),
    }
