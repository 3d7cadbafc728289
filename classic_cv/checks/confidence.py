"""How far the reference's probabilities can be trusted, and when it should not answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from classic_cv.checks.answers import Measured, measured
from classic_cv.checks.coverage import (
    GOALS,
    LEAST_COVERAGE,
    SHOWN,
    answered,
    area,
    threshold_for,
)
from classic_cv.checks.finding import Checked, Finding
from classic_cv.checks.foreign import foreign_findings, novelty_figures
from classic_cv.checks.given_trust import calibration
from classic_cv.checks.reference import Reference
from classic_cv.checks.subject import Subject
from classic_cv.metrics import reliability
from classic_cv.report import percent

CHECK = "confidence"

FEWEST_IMAGES = 20
"""Images without which a curve of accuracy over coverage is a handful of steps."""

USUAL = 0.9
"""The threshold that foreign images are measured at where none can be suggested."""

SHORT = 0.02
"""A goal that is missed by less is not held against the threshold: nobody asks for 95 % and means 93.5 %."""


def check_confidence(subject: Subject) -> Checked:
    """Calibration, accuracy over coverage, a threshold for ``--abstain``, and whether foreign images are noticed.

    The threshold is chosen on training images, each answered by a model fitted without it, and told as it is on the
    test part.
    """
    if not subject.is_classification:
        return Checked(left_out={CHECK: "the target is a number, which has no probability"})
    if subject.reference is None:
        return Checked(left_out={CHECK: f"there is no classical model to look at: {subject.no_reference}"})
    part = measured(subject, subject.reference)
    if len(part.y) < FEWEST_IMAGES:
        reason = f"{part.where}: at least {FEWEST_IMAGES} are needed for a curve of accuracy over coverage"
        return Checked(left_out={CHECK: reason})
    return _checked(subject, subject.reference, part)


def _checked(subject: Subject, reference: Reference, part: Measured) -> Checked:
    trust, findings = calibration("the classical model", part.outputs, part.y)
    goals = _goals(subject, reference, part)
    chosen = _chosen(goals)
    threshold = USUAL if chosen is None else chosen["threshold"]
    novelty, left_out = novelty_figures(subject, reference, threshold)
    figures = {
        "ece": None if trust is None else trust["ece"],
        "ece_noise": None if trust is None else trust["noise"],
        "surplus": None if trust is None else trust["surplus"],
        "surplus_ci95": None if trust is None else trust["surplus_ci95"],
        "reliability": reliability(part.outputs, part.y),
        "curve": [answered(part.outputs, part.y, threshold).to_table() for threshold in (0.01, *SHOWN)],
        "area": area(part.outputs, part.y),
        "goals": goals,
        "suggested": chosen,
        "novelty": novelty,
        "novelty_left_out": left_out,
        "where": part.where,
    }
    told = [
        *(_of_reference(finding) for finding in findings),
        *([] if chosen is None else [_abstain(chosen, part)]),
        *foreign_findings(novelty, threshold),
    ]
    return Checked(findings=told, figures={CHECK: figures})


def _goals(subject: Subject, reference: Reference, part: Measured) -> list[dict[str, Any]]:
    """For each goal that is above the accuracy of all answers: the threshold, as chosen and as measured."""
    P, y = reference.outputs_train, subject.y(reference.train)
    found = []
    for goal in GOALS:
        if (P.argmax(axis=1) == y).mean() >= goal:
            continue
        threshold = threshold_for(goal, P, y)
        if threshold is not None:
            found.append({"goal": goal, **answered(part.outputs, part.y, threshold).to_table()})
    return found


def _chosen(goals: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The most demanding goal that leaves enough images answered."""
    return next((goal for goal in goals if goal["n"] and goal["coverage"] >= LEAST_COVERAGE), None)


def _of_reference(finding: Finding) -> Finding:
    """A finding on calibration, as of this check's model, whose probabilities were calibrated on training images."""
    return replace(
        finding,
        check=CHECK,
        action="Find out how test images differ from training images, on which the probabilities were calibrated: see "
        "drift and leakage.",
    )


def _abstain(chosen: dict[str, Any], part: Measured) -> Finding:
    """What ``--abstain`` would bring, or that the threshold does not keep on the test part what it was chosen for."""
    low, high = chosen["ci95"]
    threshold = f"--abstain {chosen['threshold']:.2f}"
    accuracy = float((part.outputs.argmax(axis=1) == part.y).mean())
    message = (
        f"with {threshold}, chosen on training images for {percent(chosen['goal'])} right answers, the classical model "
        f"answers {percent(chosen['coverage'])} of {part.where}: {percent(chosen['accuracy'])} [{100 * low:.1f}, "
        f"{100 * high:.1f}] of these answers are right, against {percent(accuracy)} of all."
    )
    if high < chosen["goal"] and chosen["accuracy"] < chosen["goal"] - SHORT:
        return Finding(
            CHECK,
            "abstain-falls-short",
            "warning",
            chosen["n"],
            message,
            "A threshold that keeps its promise on training images, and not on test images, may keep it nowhere else.",
            "Find out how test images differ from training images, and choose thresholds on images like those to come.",
        )
    return Finding(
        CHECK,
        "abstain",
        "info",
        chosen["n"],
        message,
        "An image that is left to a person, or to a larger model, costs less than a wrong answer that nobody notices.",
        f"Where that is so, use classic-cv predict or serve with {threshold}.",
    )
