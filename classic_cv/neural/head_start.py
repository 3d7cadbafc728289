"""What a linear model of the features alone knows, as the beginning of the linear layer.

The network then learns only what the features miss, from the first step on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.features.base import Features
from classic_cv.neural.objective import Objective

MOST_ROWS = 10_000
"""Images that it is fitted on at most: a few hundred columns need no more."""

ALPHAS = np.logspace(-3, 4, 15)
"""Of ridge regression, in squared standard deviations; the best in leave-one-out cross-validation is taken."""

LOGISTIC_C = 0.1
"""Of logistic regression: a strong pull to zero, since the weights are learned on."""


def head_start(
    features: Features, y: NDArray[Any], objective: Objective, n_outputs: int
) -> tuple[Features, Features]:
    """Weights (n_outputs, n_features) and biases (n_outputs,) of a linear model of standardised features.

    Ridge regression for a number, logistic regression for classes, both scikit-learn's.
    """
    rows = np.linspace(0, len(y) - 1, min(MOST_ROWS, len(y))).astype(np.intp)
    X, targets = features[rows].astype(np.float64), y[rows]
    if objective.task == "regression":
        return _ridge(X, targets)
    return _logistic(X, targets, objective, n_outputs)


def _ridge(X: NDArray[np.float64], y: NDArray[Any]) -> tuple[Features, Features]:
    from sklearn.linear_model import RidgeCV

    model = RidgeCV(alphas=ALPHAS).fit(X, y.astype(np.float64))
    return model.coef_[None].astype(np.float32), np.array([model.intercept_], np.float32)


def _logistic(
    X: NDArray[np.float64], y: NDArray[Any], objective: Objective, n_outputs: int
) -> tuple[Features, Features]:
    from sklearn.linear_model import LogisticRegression

    weight = None if objective.class_weights is None else "balanced"
    model = LogisticRegression(C=LOGISTIC_C, class_weight=weight, max_iter=200, tol=1e-3).fit(X, y)
    coef = np.zeros((n_outputs, X.shape[1]), np.float32)
    bias = np.zeros(n_outputs, np.float32)
    # A class without an image among these rows keeps zeros.
    seen = np.zeros(1, np.intp) if n_outputs == 1 else model.classes_
    coef[seen], bias[seen] = model.coef_, model.intercept_
    return coef, bias
