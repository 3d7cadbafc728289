"""Whether images of other kinds are noticed: by their features, and by the probabilities of their answers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from classic_cv.abstention import abstains
from classic_cv.checks.auc import auc_with_interval
from classic_cv.checks.finding import Finding
from classic_cv.checks.novelty import FEWEST, Novelty, put_aside
from classic_cv.checks.other_images import other_sets
from classic_cv.checks.reference import Reference
from classic_cv.checks.subject import Subject
from classic_cv.features.base import Features
from classic_cv.report import percent
from classic_cv.stats import accuracy_interval

MOST_FITTED, MOST_OWN = 3000, 1000
"""Training images that novelty is learned from, and own images that others are compared with, at most: more change the
third digit, and the features of so many take 0.2 GB."""

SAME = 0.01
"""Of the features' length: an image whose features differ by less from a training image's is taken for a copy of it.
Features are kept with 11 bits, which alone makes a difference of 0.0003."""

OWN = 0.1
"""A set is not foreign where so large a share of its images has a copy among the training images."""

UNNOTICED = 0.7
"""An AUC whose interval ends below says that the score is hardly better than guessing."""

ANSWERED = 0.5
"""A foreign set of which surely more than half is answered is worth a word."""


class Known(NamedTuple):
    """What is compared: the score of the data's own images, none of which it was fitted on, and its model."""

    novelty: Novelty
    own: NDArray[np.float64]
    fitted: Features


def novelty_figures(
    subject: Subject, reference: Reference, threshold: float
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """AUC of the novelty score against sets of other images, with the share of them that is answered.

    Args:
        subject: the data.
        reference: its model of a classification.
        threshold: of the top-1 probability, above which an image is answered.

    Returns:
        rows ``set, n, auc, ci95, answered`` (``answered`` with ``answered_n`` images); reasons why sets were left out.
    """
    known = _learned(subject, reference)
    if known is None:
        return [], {"all": f"fewer than {FEWEST} training images, or no image to compare others with"}
    rows, left_out = [], {}
    for name, pictures in other_sets(subject.job.seed).items():
        X = reference.model.features(pictures, jobs=subject.job.jobs)
        if _copies(X, known.fitted) >= OWN:
            left_out[name] = "its images look to the model like training images: the features are the same"
        else:
            rows.append(_row(name, X, known, reference, threshold))
    return rows, left_out


def _learned(subject: Subject, reference: Reference) -> Known | None:
    """Novelty of a sample of the training images, and the own images it was not fitted on."""
    train, own = reference.train, reference.test
    if not len(own):
        held = put_aside(subject.groups(train), 0.2, subject.job.seed)
        train, own = train[~held], train[held]
    rng = np.random.default_rng(subject.job.seed)
    train, own = _sample(train, MOST_FITTED, rng), _sample(own, MOST_OWN, rng)
    if len(train) < FEWEST or not len(own):
        return None
    X = reference.features(train)
    novelty = Novelty(random_state=subject.job.seed)
    novelty.fit(X, subject.y(train), subject.groups(train), reference.featurizer.group_widths)
    return Known(novelty, novelty.score(reference.features(own)), X)


def _sample(indices: NDArray[np.intp], most: int, rng: np.random.Generator) -> NDArray[np.intp]:
    return indices if len(indices) <= most else np.sort(rng.choice(indices, most, replace=False))


def _copies(X: Features, fitted: Features) -> float:
    """Share of images whose features are those of a training image."""
    squares = np.square(fitted).sum(axis=1)
    own = np.square(X).sum(axis=1)
    nearest = (own[:, None] + squares - 2 * (X @ fitted.T)).min(axis=1)
    return float((nearest <= SAME**2 * own).mean())


def _row(name: str, X: Features, known: Known, reference: Reference, threshold: float) -> dict[str, Any]:
    scores = np.concatenate([known.novelty.score(X), known.own])
    auc = auc_with_interval(scores, np.arange(len(scores)) < len(X))
    n_answered = int((~abstains(reference.model.probabilities(X), threshold)).sum())
    return {
        "set": name,
        "n": len(X),
        "auc": None if auc is None else auc.value,
        "ci95": None if auc is None else [auc.low, auc.high],
        "answered": n_answered / len(X),
        "answered_n": n_answered,
    }


def foreign_findings(rows: list[dict[str, Any]], threshold: float) -> list[Finding]:
    """One finding on sets that are answered in spite of the threshold."""
    answered = [row for row in rows if accuracy_interval(row["answered_n"], row["n"])[0] > ANSWERED]
    if not answered:
        return []
    told = ", ".join(f"{percent(row['answered'])} of {row['n']} {row['set']}" for row in answered)
    blind = [row["set"] for row in answered if row["ci95"] is not None and row["ci95"][1] < UNNOTICED]
    aucs = [row["auc"] for row in answered if row["auc"] is not None]
    noticed = (
        f"; their features tell them from its own images with an AUC of {min(aucs):.2f} or more"
        if aucs
        else ""
    )
    if blind:
        noticed = f"; by its features too it hardly notices {', '.join(blind)}"
    return [
        Finding(
            check="confidence",
            kind="foreign-images",
            severity="info",
            count=len(answered),
            message=f"at a probability of {threshold:.2f} the classical model still answers {told}{noticed}.",
            why="A classifier names one of its classes whatever it is shown, and probabilities are calibrated only for "
            "images of the kind it was fitted on.",
            action="Where other images may come, add a class of them to the data, or refuse those that are far from "
            "the training images by classic_cv.checks.novelty.Novelty.",
        )
    ]
