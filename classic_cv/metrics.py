"""Figures of a classifier on labelled images: accuracy with its interval, per class, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.stats import accuracy_interval


def expected_calibration_error(
    probabilities: NDArray[np.floating[Any]], y: NDArray[np.integer[Any]], n_bins: int = 15
) -> float:
    """Expected calibration error of the top-1 confidence, in ``n_bins`` bins of equal width.

    The mean over images of |accuracy - confidence| of the image's bin (Naeini et al. 2015; Guo et al. 2017).

    Args:
        probabilities: (n_samples, n_classes), rows sum to 1.
        y: (n_samples,) true class indices.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == y
    bins = np.minimum((confidence * n_bins).astype(np.intp), n_bins - 1)
    gaps = np.bincount(bins, weights=correct - confidence.astype(np.float64), minlength=n_bins)
    return float(np.abs(gaps).sum() / len(y))


def classification_metrics(
    y: NDArray[np.integer[Any]], probabilities: NDArray[np.floating[Any]], class_names: Sequence[str]
) -> dict[str, Any]:
    """All classification figures of one set of predictions.

    Args:
        y: (n_samples,) true class indices into ``class_names``.
        probabilities: (n_samples, n_classes).

    Returns:
        ``n, accuracy, accuracy_ci95, balanced_accuracy, macro_f1, log_loss, ece, per_class, confusion``.
        Macro averages are over the classes that occur among ``y``; ``confusion[true][predicted]`` counts.
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
    return {
        "n": len(y),
        "accuracy": correct / len(y),
        "accuracy_ci95": list(accuracy_interval(correct, len(y))),
        "balanced_accuracy": float(recall[present].mean()),
        "macro_f1": float(f1[present].mean()),
        "log_loss": float(log_loss(y, exact, labels=labels)),
        "ece": expected_calibration_error(probabilities, y),
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
