"""Whether the best classical model's score means anything: against floors, chance, and other splits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.answers import Measured, losses, measured, refitted
from classic_cv.checks.finding import Checked
from classic_cv.checks.floors import dummy_losses, properties_losses
from classic_cv.checks.mistakes import mistakes
from classic_cv.checks.permutation import permutation_test, sample_size
from classic_cv.checks.reference import Reference
from classic_cv.checks.score_findings import score_findings
from classic_cv.checks.spread import most_rows, spread_over_splits, stratified
from classic_cv.checks.subject import Subject
from classic_cv.stats import accuracy_interval, paired_difference, smallest_difference

RIVAL_IMAGES, RIVAL_NUMBERS = 5000, 4e7
"""A second model is fitted on half of the training images, at most so many, with so many features in all."""


def check_score(subject: Subject) -> Checked:
    """The reference against a dummy, file properties, shuffled labels, and itself on other splits.

    Scores are of the test part, or out-of-fold where there is none. Figures of a regression are mean absolute errors,
    under ``mae`` in place of ``accuracy``; a difference is in favour of the reference above 0 in both.
    """
    reference = subject.reference
    if reference is None:
        return Checked(left_out={"score": subject.no_reference})
    part = measured(subject, reference)
    figures: dict[str, Any] = {
        "scoring": "accuracy" if subject.is_classification else "mean absolute error",
        "where": part.where,
        "rows": _rows(subject, reference, part),
        "permutation": _permutation(subject, reference),
        **_smallest_difference(subject, reference, part),
        "spread": spread_over_splits(subject, reference),
    }
    findings = [*score_findings(figures, part), *mistakes(subject, part)]
    return Checked(findings, {"score": figures})


@dataclass(frozen=True)
class _Contestant:
    """A model's losses on some rows of what is measured."""

    name: str
    rows: NDArray[np.intp]
    losses: NDArray[np.float64]


def _rows(subject: Subject, reference: Reference, part: Measured) -> list[dict[str, Any]]:
    everything = np.arange(len(part.y))
    contestants = [_Contestant("dummy", everything, dummy_losses(subject, part, reference.train))]
    properties = properties_losses(subject, part, reference.train)
    if properties is not None:
        contestants.append(_Contestant("properties", *properties))
    ours = part.losses
    rows = [{**_row(one, subject.is_classification), **_lead(ours, one)} for one in contestants]
    mine = _row(_Contestant(reference.recipe.name, everything, ours), subject.is_classification)
    return [*rows, {**mine, "difference": None, "difference_ci95": None}]


def _row(one: _Contestant, is_classification: bool) -> dict[str, Any]:
    n, mean = len(one.losses), float(one.losses.mean())
    if is_classification:
        interval = accuracy_interval(n - int(one.losses.sum()), n)
        return {"name": one.name, "n": n, "accuracy": 1 - mean, "ci95": list(interval)}
    return {
        "name": one.name,
        "n": n,
        "mae": mean,
        "ci95": _ends(paired_difference(one.losses, np.zeros(n))[1]),
    }


def _lead(ours: NDArray[np.float64], one: _Contestant) -> dict[str, Any]:
    """How much smaller the reference's loss is on the same images."""
    value, interval = paired_difference(one.losses, ours[one.rows])
    return {"difference": value, "difference_ci95": _ends(interval)}


def _ends(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else list(interval)


def _permutation(subject: Subject, reference: Reference) -> dict[str, Any] | None:
    """On test images with a ridge fitted on training images; on training images alone where there is no test part."""
    seed = subject.job.seed
    # As many of each part as the test may look at: no more features have to be had.
    most = sample_size(1)
    test = stratified(subject, reference.test, most, seed)
    train = stratified(subject, reference.train, most, seed)
    indices = np.concatenate([test, train])
    asked = np.arange(len(indices)) < len(test)
    X, y = reference.features(indices), subject.y(indices)
    return permutation_test(X, y, subject.groups(indices), asked, seed=seed)


def _smallest_difference(subject: Subject, reference: Reference, part: Measured) -> dict[str, float | None]:
    """What these images can show between two models that disagree as often as the reference and one of half the data.

    Returns:
        ``smallest_difference``, a share, and ``discordant``, the share of images on which just one of the two is right:
        None for a regression, without a test part, and where it can show nothing at all.
    """
    if not subject.is_classification or not part.is_test:
        return {"smallest_difference": None, "discordant": None}
    most = min(most_rows(reference, RIVAL_IMAGES, RIVAL_NUMBERS), max(len(reference.train) // 2, 1))
    half = np.sort(stratified(subject, reference.train, most, subject.job.seed))
    rival = losses(refitted(subject, reference, half, part.indices), part.y)
    discordant = float((rival != part.losses).mean())
    return {"smallest_difference": smallest_difference(len(part.y), discordant), "discordant": discordant}
