"""How much a score depends on which images are the test part: other splits of the same images."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.answers import losses, refitted, score_of
from classic_cv.checks.reference import Reference
from classic_cv.checks.small_model import folds
from classic_cv.checks.subject import Subject
from classic_cv.subset import nested_order

SPLITS = 5

MOST_IMAGES = 5000
"""Images that are split: the spread of more is smaller still, and six fits have to be made."""

MOST_NUMBERS = 4e7
"""Features of all images that are split: 5,000 images of 8,000 columns take a head about six seconds each."""

USUAL_CLASSES = 20
"""Classes up to which these limits are meant."""

COMPARABLE = 0.9
"""The given split is compared with others where it has at least this share of their training images."""


def spread_over_splits(subject: Subject, reference: Reference) -> dict[str, Any] | None:
    """The score on five other splits, stratified and by groups, and on the given one with as many images.

    Args:
        subject: the data.
        reference: its best classical model, of which the head is fitted anew, without choices.

    Returns:
        ``splits``, the score of each as ``score_of`` gives it, their ``mean`` and ``deviation``; ``expected``, the
        standard deviation that as many test images explain; ``given``, the score on the given test part, and
        ``given_images``, how many it has (both None without one, or where it leaves far fewer training images); the
        numbers of images ``fitted`` and ``tested``; ``grouped``, whether the data name groups, which splits respect.
        None where nothing can be held out.
    """
    pool = _pool(subject, reference)
    codes = subject.y(pool) if subject.is_classification else np.zeros(len(pool), np.int64)
    found = []
    for number in range(SPLITS):
        fold = folds(codes, subject.groups(pool), subject.job.seed + 1 + number)
        if fold is None:
            return None
        tested = fold == 0
        found.append(_losses(subject, reference, pool[~tested], pool[tested]))
    sizes = len(pool) - len(found[0]), len(found[0])
    scores = np.array([score_of(each, subject.is_classification) for each in found])
    everything = np.concatenate(found)
    return {
        "splits": scores.tolist(),
        "mean": float(scores.mean()),
        "deviation": float(scores.std(ddof=1)),
        "expected": float(everything.std() / np.sqrt(sizes[1])),
        **_given(subject, reference, sizes[0]),
        "fitted": sizes[0],
        "tested": sizes[1],
        "grouped": subject.dataset.groups is not None,
    }


def most_rows(reference: Reference, images: int, numbers: float) -> int:
    """How many images may be fitted on: ``images``, or fewer where their features are more than ``numbers``, and fewer
    still with many classes, each of which is a fit."""
    classes = max(1.0, len(reference.model.class_names) / USUAL_CLASSES)
    return int(min(images, numbers / (reference.featurizer.n_features * classes)))


def stratified(subject: Subject, indices: NDArray[np.intp], most: int, seed: int) -> NDArray[np.intp]:
    """At most so many of the images, with the classes in their proportions, in the order of the choice."""
    if not len(indices):
        return indices
    strata = subject.y(indices) if subject.is_classification else np.zeros(len(indices), np.int64)
    return indices[nested_order(strata, subject.groups(indices), seed)[:most]]


def _pool(subject: Subject, reference: Reference) -> NDArray[np.intp]:
    everything = np.sort(np.concatenate([reference.train, reference.test]))
    return np.sort(
        stratified(subject, everything, most_rows(reference, MOST_IMAGES, MOST_NUMBERS), subject.job.seed)
    )


def _losses(
    subject: Subject, reference: Reference, fitted: NDArray[np.intp], tested: NDArray[np.intp]
) -> NDArray[np.float64]:
    return losses(refitted(subject, reference, fitted, tested), subject.y(tested))


def _given(subject: Subject, reference: Reference, most: int) -> dict[str, float | None]:
    """On the whole test part, of a model fitted on no more training images than in the other splits."""
    if not len(reference.test) or len(reference.train) < COMPARABLE * most:
        return {"given": None, "given_images": None}
    fitted = np.sort(stratified(subject, reference.train, most, subject.job.seed))
    found = _losses(subject, reference, fitted, reference.test)
    return {"given": score_of(found, subject.is_classification), "given_images": len(found)}
