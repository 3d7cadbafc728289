"""The sheet of mistakes: what the reference was surest of, and wrong about."""

from __future__ import annotations

import numpy as np

from classic_cv.checks.answers import Measured
from classic_cv.checks.finding import Finding, Item
from classic_cv.checks.subject import Subject
from classic_cv.report import percent

MOST_ERRORS = 24
"""Images of a regression that are shown: every estimate is off by something."""


def mistakes(subject: Subject, part: Measured) -> list[Finding]:
    """All wrong answers, the most confident first, or the largest errors of a regression."""
    return _wrong(subject, part) if subject.is_classification else _largest(part)


def _wrong(subject: Subject, part: Measured) -> list[Finding]:
    wrong = np.flatnonzero(part.losses > 0)
    if not len(wrong):
        return []
    sure = part.outputs.max(axis=1)
    answer = part.outputs.argmax(axis=1)
    names = subject.class_names
    items = [
        Item(
            (int(part.indices[row]),),
            float(sure[row]),
            f"labelled {names[part.y[row]]}, predicted {names[answer[row]]}",
        )
        for row in wrong[np.argsort(-sure[wrong], kind="stable")].tolist()
    ]
    share = percent(len(wrong) / len(part.y))
    return [
        Finding(
            check="score",
            kind="mistakes",
            severity="info",
            count=len(items),
            message=f"the classical model is wrong on {len(items):,} ({share}) of {part.where}, "
            f"the surest mistake at {percent(items[0].score)} confidence",
            why="What a confident mistake shows is often a wrong label, a rare pose, or two classes that look alike.",
            action="Look at the surest mistakes first, and correct the labels or add images like them.",
            items=tuple(items),
            scoring="confidence",
        )
    ]


def _largest(part: Measured) -> list[Finding]:
    errors = part.losses
    rows = np.argsort(-errors, kind="stable")[:MOST_ERRORS].tolist()
    items = [
        Item(
            (int(part.indices[row]),),
            float(errors[row]),
            f"is {part.y[row]:g}, predicted {part.outputs[row]:.4g}",
        )
        for row in rows
        if errors[row] > 0
    ]
    if not items:
        return []
    return [
        Finding(
            check="score",
            kind="mistakes",
            severity="info",
            count=len(items),
            message=f"the largest error on {part.where} is {items[0].score:.4g}, the mean error {errors.mean():.4g}",
            why="The largest errors are often wrong targets, or images unlike all others.",
            action="Look at them, and correct the targets or add images like them.",
            items=tuple(items),
            scoring="absolute error",
        )
    ]
