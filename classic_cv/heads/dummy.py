"""The floor under every other figure: class frequencies, whatever the image."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from classic_cv.estimator import Estimator


class Dummy(Estimator):
    """Scores are the log frequencies of the training classes, so a softmax gives the frequencies back.

    Learned: ``classes_`` (K,) and ``log_prior_`` float32 (K,).
    """

    learned = ("classes_", "log_prior_")

    def __init__(self) -> None:
        pass

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Count the labels ``y`` (n_samples,); ``X`` is not looked at."""
        self.classes_, counts = np.unique(np.asarray(y), return_counts=True)
        self.log_prior_ = np.log(counts / counts.sum()).astype(np.float32)
        return self

    def decision_function(self, X: ArrayLike) -> NDArray[np.float32]:
        """float32 (n_samples, K): the same row for every sample."""
        self.check_fitted()
        return np.tile(self.log_prior_, (len(np.asarray(X)), 1))

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The most frequent training class for every sample: (n_samples,)."""
        labels: NDArray[Any] = self.classes_[self.decision_function(X).argmax(axis=1)]
        return labels
