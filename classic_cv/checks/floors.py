"""What no features, and mere properties of the files, score on the images that the reference is measured on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.candidates import floor_recipes
from classic_cv.checks.answers import Measured, losses
from classic_cv.checks.subject import Subject
from classic_cv.features.base import Features
from classic_cv.features.properties import NAMES
from classic_cv.fitting import fold_groups
from classic_cv.heads.fitting import Choice, TrainingSet, can_cross_validate, choose, fit_head
from classic_cv.recipe import Head
from classic_cv.subset import nested_order

MOST_ROWS = 10_000
"""Training images for ten columns: more of them change nothing."""


def dummy_losses(subject: Subject, part: Measured, train: NDArray[np.intp]) -> NDArray[np.float64]:
    """Losses of the most frequent class, or the median, of the training images."""
    y = subject.y(train)
    answer = np.bincount(y).argmax() if subject.is_classification else np.median(y)
    return losses(np.full(len(part.y), answer), part.y)


def properties_losses(
    subject: Subject, part: Measured, train: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.float64]] | None:
    """Losses of the recipe ``properties``, from the survey's columns, and the rows of ``part`` that they are of.

    Args:
        subject: the data.
        part: the images to measure on. Where they are training images, each is answered by a model fitted without it.
        train: positions in the data set of the training images.

    Returns:
        None where there is nothing to fit: one class, or nothing that can be held out.
    """
    fitted = _sample(subject, train)
    if subject.is_classification and len(np.unique(subject.y(fitted))) < 2:
        return None
    head = floor_recipes(subject.job.task.kind)[-1].head
    if part.is_test:
        return np.arange(len(part.y)), losses(_answers(subject, head, fitted, part.indices), part.y)
    training = _training_set(subject, fitted)
    if not can_cross_validate(training.y, training.groups, training.task):
        return None
    choice = choose(head, training)
    rows = np.searchsorted(part.indices, fitted[choice.rows])
    known = np.unique(subject.y(fitted))
    return rows, losses(_held_out(subject, choice, known), part.y[rows])


def _sample(subject: Subject, train: NDArray[np.intp]) -> NDArray[np.intp]:
    strata = subject.y(train) if subject.is_classification else np.zeros(len(train), np.int64)
    return np.sort(train[nested_order(strata, subject.groups(train), subject.job.seed)[:MOST_ROWS]])


def _columns(subject: Subject, indices: NDArray[np.intp]) -> Features:
    """The ten columns of the recipe, (n, 10)."""
    places = [subject.survey.property_names.index(name) for name in NAMES]
    return np.ascontiguousarray(subject.survey.properties[subject.survey.rows(indices)][:, places])


def _training_set(subject: Subject, fitted: NDArray[np.intp]) -> TrainingSet:
    y: NDArray[Any] = subject.y(fitted)
    codes = np.unique(y, return_inverse=True)[1] if subject.is_classification else y
    groups = fold_groups(subject.job.split, fitted)
    kind, seed = subject.job.task.kind, subject.job.seed
    return TrainingSet(_columns(subject, fitted), codes, groups, [len(NAMES)], kind, seed)


def _answers(subject: Subject, head: Head, fitted: NDArray[np.intp], asked: NDArray[np.intp]) -> NDArray[Any]:
    stack = fit_head(head, _training_set(subject, fitted))
    mapped: Any = _columns(subject, asked)
    for step in stack.maps:
        mapped = step.transform(mapped)  # type: ignore[attr-defined]
    found: Any = stack.head
    if not subject.is_classification:
        return np.asarray(found.predict(mapped), np.float64)
    return _numbers(found.decision_function(mapped), np.unique(subject.y(fitted)))


def _held_out(subject: Subject, choice: Choice, known: NDArray[np.int64]) -> NDArray[Any]:
    if not subject.is_classification:
        return np.asarray(choice.scores, np.float64)
    return _numbers(choice.scores, known)


def _numbers(scores: NDArray[Any], known: NDArray[np.int64]) -> NDArray[np.int64]:
    """Class numbers of scores (n, n_known), or (n,) of two classes."""
    winners = (scores > 0).astype(np.intp) if scores.ndim == 1 else scores.argmax(axis=1)
    return np.asarray(known[winners])
