"""Labels that are probably wrong: ranked by what a model says that was fitted without the image, and how many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.finding import Checked, Finding, Item
from classic_cv.checks.label_errors import Doubts, Expected, doubts_of, expected_errors
from classic_cv.checks.subject import Subject
from classic_cv.checks.wording import counted, small_share

WARN_SHARE = 0.005
"""Share of wrong labels whose lower bound makes a warning. Benchmarks that people trust have 0.2 to 6 % (Northcutt,
Athalye and Mueller, NeurIPS 2021). Measured: at most 0.1 % on flowers, clothes and objects as they are, at least 1 %
with 5 % of the labels flipped."""

WARN_ERRORS = 5
"""Wrong labels whose lower bound makes a warning: fewer are looked through in a minute."""

LISTED = 3
"""Images are listed up to so many times the upper bound of wrong labels: most wrong ones are then among them."""

LEAST_LISTED = 24

OUTLIER = 6.0
"""Robust standard deviations of the residuals that make an outlier: one in 500 million of normal ones."""


def check_labels(subject: Subject) -> Checked:
    """Confident learning (Northcutt, Jiang and Chuang, JAIR 2021) with the reference's answers.

    Each image of the training part has an answer of a model that was fitted without it, each of the test part one of
    the model fitted on the training part. Images are ranked by the probability of their own label, which found random
    flips of 5 % with an average precision of 0.92 on flowers and clothes, before the margin to the best other class
    (0.78, 0.85), that with thresholds by class (0.76, 0.80) and neighbours in feature space (0.49, 0.65).
    """
    reference = subject.reference
    if reference is None:
        return Checked(left_out={"labels": f"There is no model to doubt labels with: {subject.no_reference}"})
    indices = np.concatenate([reference.train, reference.test])
    outputs = np.concatenate([reference.outputs_train, reference.outputs_test])
    if not subject.is_classification:
        return _residuals(indices, outputs.astype(np.float64), subject.y(indices).astype(np.float64))
    return _classes(subject, indices, outputs)


def _classes(subject: Subject, indices: NDArray[np.intp], probabilities: NDArray[np.float32]) -> Checked:
    y = subject.y(indices)
    expected = expected_errors(probabilities, y)
    if expected is None:
        return Checked(
            left_out={"labels": "The model is too unsure of its answers to doubt any label with reason."}
        )
    doubts = doubts_of(probabilities, y)
    counted = doubts.doubted & (doubts.own <= expected.threshold)
    by_class = _by_class(subject.class_names, y[counted], doubts.likely[counted], expected.found)
    figures = {
        "n": len(y),
        "expected": {"n": expected.n, "ci95": [expected.low, expected.high]},
        "threshold": expected.threshold,
        "found": expected.found,
        "confident_joint": int(doubts.doubted.sum()),
        "by_class": by_class,
    }
    finding = _finding(subject.class_names, indices, y, doubts, expected, by_class)
    return Checked([] if finding is None else [finding], {"labels": figures})


def _by_class(
    names: Sequence[str], y: NDArray[np.int64], likely: NDArray[np.intp], found: float
) -> dict[str, dict[str, Any]]:
    """Of each class with counted labels: how many are wrong, and what they look like most often; the most first."""
    counts = np.bincount(y, minlength=len(names))
    classes = [k for k in np.argsort(-counts, kind="stable").tolist() if counts[k]]
    return {
        names[k]: {
            "errors": float(counts[k] / found),
            "likely": names[int(np.bincount(likely[y == k]).argmax())],
        }
        for k in classes
    }


def _finding(
    names: Sequence[str],
    indices: NDArray[np.intp],
    y: NDArray[np.int64],
    doubts: Doubts,
    expected: Expected,
    by_class: dict[str, dict[str, Any]],
) -> Finding | None:
    """What is said of the labels; None where no image looks more like another class than like its own."""
    suspects = np.flatnonzero(doubts.rival > doubts.own)
    most = max(LEAST_LISTED, int(np.ceil(LISTED * expected.high)))
    ranked = suspects[np.argsort(doubts.own[suspects], kind="stable")][:most]
    if not len(ranked):
        return None
    n = len(y)
    warned = expected.low >= max(WARN_ERRORS, WARN_SHARE * n)
    worst = next(iter(by_class.items()), None)
    most_often = f", most often {worst[0]} that looks like {worst[1]['likely']}" if worst and warned else ""
    return Finding(
        check="labels",
        kind="label-errors",
        severity="warning" if warned else "info",
        count=round(expected.n),
        message=f"{_told(expected, n)}{most_often}; {counted(len(ranked), 'image')} "
        f"{'is' if len(ranked) == 1 else 'are'} listed, the least probable label first.",
        why="Wrong labels teach a model mistakes, and in the test part they count right answers as wrong.",
        action="Look through the listed images from the top until the labels are right, those of the test part first.",
        items=tuple(
            Item(
                (int(indices[row]),),
                1 - float(doubts.own[row]),
                f"labelled {names[y[row]]}, looks like {names[doubts.likely[row]]}",
            )
            for row in ranked.tolist()
        ),
        scoring="improbability of the label",
    )


def _told(expected: Expected, n: int) -> str:
    """How many labels are wrong; that none is said to be is no proof that all are right."""
    reach = f"95 % interval {expected.low:,.0f} to {expected.high:,.0f}"
    if round(expected.n) == 0:
        return f"None of {n:,} labels is shown to be wrong ({reach}, if they are wrong at random)"
    return (
        f"About {expected.n:,.0f} of {n:,} labels ({small_share(expected.n / n)}, {reach}) are probably wrong"
    )


def _residuals(
    indices: NDArray[np.intp], estimates: NDArray[np.float64], targets: NDArray[np.float64]
) -> Checked:
    """Targets that are far from what a model estimates that was fitted without the image."""
    residuals = targets - estimates
    centered = np.abs(residuals - np.median(residuals)) if len(residuals) else residuals
    deviation = 1.4826 * float(np.median(centered)) if len(residuals) else 0.0
    figures = {"n": len(targets), "residual_deviation": deviation, "outlier_from": OUTLIER * deviation}
    far = np.flatnonzero(centered > OUTLIER * deviation) if deviation else np.zeros(0, np.intp)
    if not len(far):
        return Checked(figures={"labels": figures})
    ranked = far[np.argsort(-centered[far], kind="stable")]
    return Checked(
        [
            Finding(
                check="labels",
                kind="target-outliers",
                severity="info",
                count=len(ranked),
                message=f"{len(ranked):,} of {len(targets):,} targets are more than {OUTLIER:g} robust standard "
                f"deviations ({OUTLIER * deviation:.4g}) away from what the model estimates.",
                why="A target that was mistyped or belongs to another image pulls a regression and its error far off.",
                action="Look through these images from the top and correct the targets that are wrong.",
                items=tuple(
                    Item(
                        (int(indices[row]),),
                        float(centered[row] / deviation),
                        f"target {targets[row]:.4g}, looks like {estimates[row]:.4g}",
                    )
                    for row in ranked.tolist()
                ),
                scoring="residual in robust standard deviations",
            )
        ],
        {"labels": figures},
    )
