"""Limited by data or by features: accuracy over the number of training images, and what twice of them would bring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.answers import losses, refitted
from classic_cv.checks.finding import Checked, Finding
from classic_cv.checks.input_size import check_input_size
from classic_cv.checks.power_law import PowerLaw, fit_power_laws, resampled
from classic_cv.checks.reference import Reference
from classic_cv.checks.small_model import folds
from classic_cv.checks.spread import most_rows, stratified
from classic_cv.checks.subject import Subject
from classic_cv.compare.curves import mean_and_interval
from classic_cv.report import percent
from classic_cv.stats import paired_difference

MOST_IMAGES, MOST_NUMBERS = 10_000, 4e7
"""Training images, and features of all of them, that are fitted on again: up to seven times. The reference, which is
fitted already, is the last point, of however many."""

MOST_TEST = 5000
"""Test images: an interval of their accuracy is below one point."""

SHARES, DRAWS = (8, 4, 2, 1), (4, 3, 2, 1)
"""The training images are divided by these, with so many draws of each size: small fits are cheap, and vary more."""

LEAST_PER_CLASS = 16
"""Training images per class below which there is no curve: an eighth of them would be one or two."""

MATTERS = 0.005
"""Twice the images are worth having where they bring half a point for certain."""

LITTLE = 0.01
"""Where twice the images bring less than one point for certain, it is the features that limit."""

KINDS = {
    "data": "limited-by-data",
    "features": "limited-by-features",
    "nothing": "nothing-to-gain",
    "unlearned": "limit-undecided",
    "undecided": "limit-undecided",
}
"""Kinds of findings by what limits the score."""

N_CURVE = 24


@dataclass(frozen=True)
class _Curve:
    """Whether each answer is wrong at each size, (draws, n_test), and the accuracy on training images at the end.

    Attributes:
        dummy: (n_test,), whether the most frequent class is wrong.
    """

    sizes: list[int]
    wrong: list[NDArray[np.float64]]
    fitted: float
    dummy: NDArray[np.float64]


def check_limits(subject: Subject) -> Checked:
    """The learning curve with its extrapolation, and whether a larger input helps."""
    reference = subject.reference
    if reference is None:
        return Checked(left_out={"limits": subject.no_reference})
    if not subject.is_classification:
        return Checked(left_out={"limits": "learning curves are made of classes, and the target is a number"})
    checked = check_input_size(subject, reference)
    parts = _parts(subject, reference)
    if isinstance(parts, str):
        checked.figures["limits"]["note"] = parts
        if not checked.figures["limits"]["input_size"]["rows"]:
            checked.left_out["limits"] = parts
        return checked
    curve = _measure(subject, reference, *parts)
    checked.add(_told(curve, subject.job.seed))
    return checked


def _parts(subject: Subject, reference: Reference) -> tuple[NDArray[np.intp], NDArray[np.intp]] | str:
    """Images to fit on and images to test, or why there are none."""
    train, test = reference.train, reference.test
    if not len(test):
        fold = folds(subject.y(train), subject.groups(train), subject.job.seed)
        if fold is None:
            return "no training image can be held out to measure a learning curve"
        train, test = train[fold != 0], train[fold == 0]
    n_classes = len(np.unique(subject.y(train)))
    used = min(len(train), most_rows(reference, MOST_IMAGES, MOST_NUMBERS))
    if n_classes < 2 or used < LEAST_PER_CLASS * n_classes:
        few = "" if used == len(train) else ", which can be fitted on again in time,"
        return (
            f"a learning curve takes {LEAST_PER_CLASS} training images per class, and there are {used:,}{few} of "
            f"{n_classes:,} classes"
        )
    return train, np.sort(stratified(subject, test, MOST_TEST, subject.job.seed))


def _measure(
    subject: Subject, reference: Reference, train: NDArray[np.intp], test: NDArray[np.intp]
) -> _Curve:
    """Draws of parts of the training images, and all of them: the reference itself, where there is a test part."""
    order = stratified(subject, train, len(train), subject.job.seed)
    most = most_rows(reference, MOST_IMAGES, MOST_NUMBERS)
    largest = min(most, len(train))
    y = subject.y(test)
    sizes, wrong = [], []
    for share, draws in zip(SHARES, DRAWS, strict=True):
        size = largest // share
        if size < len(train):
            sizes.append(size)
            wrong.append(
                np.stack([_draw(subject, reference, train, size, draw, test) for draw in range(draws)])
            )
    some = np.sort(order[: len(test)])
    answers = _all(subject, reference, train, np.concatenate([test, some]))
    own = losses(answers[len(test) :], subject.y(some))
    all_wrong = losses(answers[: len(test)], y)[None]
    dummy = losses(np.full(len(test), np.bincount(subject.y(train)).argmax()), y)
    return _Curve([*sizes, len(train)], [*wrong, all_wrong], 1 - float(own.mean()), dummy)


def _draw(
    subject: Subject,
    reference: Reference,
    train: NDArray[np.intp],
    size: int,
    draw: int,
    test: NDArray[np.intp],
) -> NDArray[np.float64]:
    chosen = np.sort(stratified(subject, train, size, subject.job.seed + draw))
    return losses(refitted(subject, reference, chosen, test), subject.y(test))


def _all(
    subject: Subject, reference: Reference, train: NDArray[np.intp], asked: NDArray[np.intp]
) -> NDArray[Any]:
    """Answers of a model fitted on all training images: the reference's own model, unless some were held out of it."""
    if not len(reference.test):
        return refitted(subject, reference, train, asked)
    model = reference.model
    known = np.array([subject.class_names.index(name) for name in model.class_names], np.int64)
    return np.asarray(known[model.outputs(reference.features(asked)).argmax(axis=1)])


def _told(curve: _Curve, seed: int) -> Checked:
    laws, spread = resampled(curve.sizes, curve.wrong, seed)
    errors = np.array([each.mean() for each in curve.wrong])
    law = fit_power_laws(curve.sizes, errors[None], spread)[0]
    low, high = (float(end) for end in np.quantile([one.gain for one in laws], [0.025, 0.975]))
    gain = float(np.clip(law.gain, low, high))
    verdict = _verdict(float(errors[-1]), low, high) if _has_learned(curve) else "unlearned"
    figures = {
        "points": [_point(size, each) for size, each in zip(curve.sizes, curve.wrong, strict=True)],
        "fit": {"images": law.images, "a": law.a, "b": law.b, "c": law.c},
        "curve": _drawn(law, curve.sizes),
        "twice": {"images": 2 * curve.sizes[-1], "gain": gain, "ci95": [low, high]},
        "train_accuracy": curve.fitted,
        "limited_by": verdict,
        "test_images": curve.wrong[0].shape[1],
    }
    return Checked([_finding(figures)], {"limits": figures})


def _has_learned(curve: _Curve) -> bool:
    """Whether all images bring more than the most frequent class does, beyond chance: else there is no curve."""
    interval = paired_difference(curve.dummy, curve.wrong[-1][0])[1]
    return interval is not None and interval[0] > 0


def _verdict(error: float, low: float, high: float) -> str:
    """What limits the score, by the error that is left and the interval of what twice the images take from it."""
    if error < LITTLE:
        return "nothing"
    return "data" if low > MATTERS else "features" if high < LITTLE else "undecided"


def _point(size: int, wrong: NDArray[np.float64]) -> dict[str, Any]:
    accuracies = [1 - float(mean) for mean in wrong.mean(axis=1)]
    mean, interval = mean_and_interval(accuracies)
    return {
        "images": size,
        "mean": mean,
        "ci95": None if interval is None else list(interval),
        "accuracies": accuracies,
    }


def _drawn(law: PowerLaw, sizes: Sequence[int]) -> list[list[float]]:
    return [[float(n), 1 - law.error(n)] for n in np.geomspace(sizes[0], 2 * sizes[-1], N_CURVE)]


def _finding(figures: dict[str, Any]) -> Finding:
    n, verdict = figures["points"][-1]["images"], figures["limited_by"]
    gain, (low, high) = 100 * figures["twice"]["gain"], (100 * end for end in figures["twice"]["ci95"])
    accuracy, own = figures["points"][-1]["mean"], figures["train_accuracy"]
    message = (
        f"twice the images would bring about {gain:+.1f} points [{low:+.1f}, {high:+.1f}]: {percent(accuracy)} "
        f"with {n:,} training images, on which it has {percent(own)}"
    )
    words = {
        "data": (
            "The classical model is limited by data: it learns more from every image that is added.",
            "Get more images, of the weakest classes first; a deep model would need them too.",
        ),
        "features": (
            "The classical model is limited by its features: more images would hardly change its score.",
            "Do not label more images for it; try other features, or a deep model.",
        ),
        "nothing": (
            "The classical model makes hardly a mistake on these images: they can show no gain, of any model.",
            "See whether a shortcut makes them easy; if none does, harder test images tell more than a better model.",
        ),
        "unlearned": (
            "The classical model is not shown to be better than the most frequent class: such a curve says nothing of "
            "what more images would bring.",
            "See what the check score says, and look at labels and classes before getting more images.",
        ),
        "undecided": (
            "Whether data or features limit the score cannot be told from so few images.",
            "Measure again with more test images before paying for more training images.",
        ),
    }
    kind = KINDS[verdict]
    return Finding("limits", kind, "info", n, message, *words[verdict])
