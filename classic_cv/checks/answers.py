"""What the reference answers, and what its head answers when it is fitted on other images."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.reference import Reference
from classic_cv.checks.subject import Subject


class Measured(NamedTuple):
    """The images that a score is told of, with the reference's answers.

    Attributes:
        indices: intp (n,), positions in the data set.
        outputs: float (n, n_classes) probabilities, or (n,) estimates of a regression.
        y: (n,), class numbers of the task, or targets.
        is_test: whether they are the test part; else training images, answered by models fitted without them.
    """

    indices: NDArray[np.intp]
    outputs: NDArray[Any]
    y: NDArray[Any]
    is_test: bool

    @property
    def where(self) -> str:
        """What they are, for a sentence."""
        n = len(self.indices)
        images = "image" if n == 1 else "images"
        return f"{n:,} test {images}" if self.is_test else f"{n:,} training {images} (cross-validated)"

    @property
    def losses(self) -> NDArray[np.float64]:
        """The reference's loss on each image, see ``losses``."""
        return losses(self.outputs if self.outputs.ndim == 1 else self.outputs.argmax(axis=1), self.y)


def measured(subject: Subject, reference: Reference) -> Measured:
    """The test images, or the training images where there is no test part."""
    is_test = len(reference.test) > 0
    indices = reference.test if is_test else reference.train
    outputs = reference.outputs_test if is_test else reference.outputs_train
    return Measured(indices, outputs, subject.y(indices), is_test)


def losses(answers: NDArray[Any], y: NDArray[Any]) -> NDArray[np.float64]:
    """0 or 1 for each class number that is right or wrong, or the absolute errors of a regression's estimates."""
    if answers.dtype.kind == "f":
        return np.asarray(np.abs(answers - y), np.float64)
    return np.asarray(answers != y, np.float64)


def score_of(each: NDArray[np.float64], is_classification: bool) -> float:
    """The accuracy that losses of 0 and 1 mean, or the mean absolute error that they are."""
    mean = float(each.mean())
    return 1 - mean if is_classification else mean


def refitted(
    subject: Subject, reference: Reference, fitted: NDArray[np.intp], asked: NDArray[np.intp]
) -> NDArray[Any]:
    """Answers for some images by the reference's head fitted on others: class numbers int64 (n,), or estimates.

    Args:
        subject: the data.
        reference: its best classical model.
        fitted: positions in the data set of at least one image to fit on.
        asked: positions of the images to answer.
    """
    y = subject.y(fitted)
    if subject.is_classification and len(np.unique(y)) < 2:
        return np.full(len(asked), y[0], np.int64)
    model = reference.refit(reference.features(fitted), y, subject.groups(fitted))
    return model.labels(reference.features(asked))
