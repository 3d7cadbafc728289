"""Weak segments: classes, and images with a property in common, that a model answers worse than the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.divisions import divisions
from classic_cv.checks.finding import Checked, Finding, Item
from classic_cv.checks.strata import stratified_gap, worse_by_chance
from classic_cv.checks.subject import Subject
from classic_cv.checks.survey import Survey
from classic_cv.report import percent
from classic_cv.stats import accuracy_interval, holm

LEAST = 10
"""Images that a segment needs: of fewer, even the interval of 50 % reaches from 20 to 80 %."""

LEAST_SHARE = 0.02
"""Share of all images that a segment needs, but for a class: less moves no score, and folders may be thousands."""

LEAST_GAP, LEAST_RATIO = 0.05, 2.0
"""A segment matters where its accuracy is so much below the rest's, or mistakes are so many times as frequent: a
good model has no five points to lose, but a class with twice its mistakes is still worth a look."""

ALPHA = 0.05
"""Of the tests, after Holm's correction for all segments that were tried."""

TOLD = 3
"""Segments that a message names; all are in the figures."""


@dataclass(frozen=True, eq=False)
class Segment:
    """Images with something in common that are answered worse than the rest.

    Attributes:
        name: ``class tulip``, ``brightness at most 0.21``.
        members: bool (n,), which of the images.
        n: number of members.
        accuracy, ci95: of the members, with Wilson's interval.
        rest: accuracy of all other images.
        gap: how much lower the accuracy is than that of the others, of others in the same class where the segment is
            no class: a property that only hard classes have is no weakness of its own.
        p: of the exact one-sided test of the gap, after Holm's correction.
    """

    name: str
    members: NDArray[np.bool_]
    n: int
    accuracy: float
    ci95: tuple[float, float]
    rest: float
    gap: float
    p: float

    def to_table(self) -> dict[str, Any]:
        """JSON-like data, without the members."""
        return {
            "name": self.name,
            "n": self.n,
            "accuracy": self.accuracy,
            "ci95": list(self.ci95),
            "rest": self.rest,
            "gap": self.gap,
            "p": self.p,
        }


@dataclass(frozen=True, eq=False)
class _Candidate:
    name: str
    members: NDArray[np.bool_]
    strata: NDArray[np.int64]


def weak_segments(
    correct: NDArray[np.bool_],
    y: NDArray[np.int64],
    class_names: Sequence[str],
    survey: Survey,
    rows: NDArray[np.intp],
) -> list[Segment]:
    """Segments that are answered worse than the rest, by more than chance; those that cost most mistakes first.

    Tried are each class, the fifths or thirds of each property, and each format, color mode, camera, folder and EXIF
    orientation. A segment that is weak only through images of one that is clearer is left out.

    Args:
        correct: (n,), whether the answer is right.
        y: (n,) class numbers into ``class_names``.
        survey: of the images.
        rows: (n,), each image's row of the survey.
    """
    candidates = list(_candidates(y, class_names, survey, rows))
    gaps = [stratified_gap(correct, one.members, one.strata) for one in candidates]
    matter = [_matters(correct, one.members, gap) for one, gap in zip(candidates, gaps, strict=True)]
    # A p-value of 1 for the others keeps Holm's correction for all that were tried, and saves their tests.
    p_values = holm(
        [
            worse_by_chance(correct, one.members, one.strata) if matters else 1.0
            for one, matters in zip(candidates, matter, strict=True)
        ]
    )
    shown = [k for k, matters in enumerate(matter) if matters and p_values[k] < ALPHA]
    # The clearest first: of a segment and a larger one that is weak through it, that is the smaller one.
    shown.sort(key=lambda k: -gaps[k] * np.sqrt(candidates[k].members.sum()))
    found = [
        _segment(candidates[k], correct, gaps[k], p_values[k])
        for k in _independent(shown, candidates, correct)
    ]
    return sorted(found, key=lambda one: -one.gap * one.n)


def check_segments(subject: Subject) -> Checked:
    """Weak segments of the classical model, on test images and, out-of-fold, on training images.

    Figures of ``score``: ``segments``, and ``segments_note`` where they cannot be told.
    """
    reference = subject.reference
    if reference is None:
        return _not_told(f"there is no classical model ({subject.no_reference})")
    if not subject.is_classification:
        return _not_told("a regression has no right and wrong answers")
    indices = np.concatenate([reference.train, reference.test])
    outputs = np.concatenate([reference.outputs_train, reference.outputs_test])
    labels, y, rows = outputs.argmax(axis=1), subject.y(indices), subject.survey.rows(indices)
    found = weak_segments(labels == y, y, subject.class_names, subject.survey, rows)
    checked = Checked(figures={"score": {"segments": [one.to_table() for one in found]}})
    who = f"the classical model, {reference.recipe.name},"
    checked.findings += segment_findings(
        "score", who, found, indices, y, labels, outputs, subject.class_names
    )
    return checked


def segment_findings(
    check: str,
    who: str,
    segments: Sequence[Segment],
    indices: NDArray[np.intp],
    y: NDArray[np.int64],
    labels: NDArray[np.int64],
    outputs: NDArray[np.float32] | None,
    class_names: Sequence[str],
) -> list[Finding]:
    """One finding about all weak segments, with the mistakes in them; none without any.

    Args:
        check: that the finding belongs to.
        who: what answered, as the message is to call it.
        segments: of ``weak_segments``.
        indices: (n,) positions in the data set.
        y, labels: (n,) true and answered class numbers.
        outputs: (n, n_classes) probabilities where they are known: the surest mistake of a segment is told first.
    """
    if not segments:
        return []
    sure = np.ones(len(y)) if outputs is None else outputs.max(axis=1)
    items, seen = [], np.zeros(len(y), np.bool_)
    for one in sorted(segments, key=lambda segment: -segment.gap):
        mistakes = np.flatnonzero(one.members & (labels != y) & ~seen)
        seen[mistakes] = True
        for k in mistakes[np.argsort(-sure[mistakes], kind="stable")].tolist():
            # The label names a class already.
            where = "" if one.name.startswith("class ") else f"{one.name}: "
            note = f"{where}labelled {class_names[y[k]]}, predicted {class_names[labels[k]]}"
            items.append(Item((int(indices[k]),), one.gap, note))
    told = "; ".join(_told(one) for one in segments[:TOLD])
    more = f"; and {len(segments) - TOLD} more" if len(segments) > TOLD else ""
    return [
        Finding(
            check,
            "weak-segments",
            "info",
            len(segments),
            f"{who} is weaker than elsewhere on {told}{more}.",
            "One accuracy for all images hides where a model fails.",
            "Look at these mistakes, collect more images of this kind, and tell their accuracy beside that of all.",
            tuple(items),
            "gap",
        )
    ]


def _not_told(reason: str) -> Checked:
    return Checked(
        figures={"score": {"segments": [], "segments_note": f"Weak segments are not told: {reason}."}}
    )


def _told(segment: Segment) -> str:
    gap = f"{100 * segment.gap:.1f} points less than others"
    kind = "" if segment.name.startswith("class ") else " of the same classes"
    return f"{segment.name} ({percent(segment.accuracy)} of {segment.n:,} images right, {gap}{kind})"


def _matters(correct: NDArray[np.bool_], members: NDArray[np.bool_], gap: float) -> bool:
    mistakes = 1 - float(correct[members].mean())
    return gap > 0 and (gap >= LEAST_GAP or mistakes >= LEAST_RATIO * (mistakes - gap))


def _segment(one: _Candidate, correct: NDArray[np.bool_], gap: float, p: float) -> Segment:
    n, right = int(one.members.sum()), int(correct[one.members].sum())
    rest = float(correct[~one.members].mean())
    return Segment(one.name, one.members, n, right / n, accuracy_interval(right, n), rest, gap, p)


def _independent(
    shown: Sequence[int], candidates: Sequence[_Candidate], correct: NDArray[np.bool_]
) -> Iterator[int]:
    """Those that still matter, by more than chance, without the images of the ones before."""
    left = np.ones(len(correct), np.bool_)
    for k in shown:
        one = candidates[k]
        rest = correct[left], one.members[left], one.strata[left]
        if rest[1].sum() < LEAST or not _matters(rest[0], rest[1], stratified_gap(*rest)):
            continue
        # Bonferroni's correction, which is Holm's for the first of those that were tried.
        if worse_by_chance(*rest) * len(candidates) < ALPHA:
            left &= ~one.members
            yield k


def _candidates(
    y: NDArray[np.int64], class_names: Sequence[str], survey: Survey, rows: NDArray[np.intp]
) -> Iterator[_Candidate]:
    n, alone = len(y), np.zeros(len(y), np.int64)
    for k, count in enumerate(np.bincount(y, minlength=len(class_names)).tolist()):
        if LEAST <= count < n:
            yield _Candidate(f"class {class_names[k]}", y == k, alone)
    for name, members in divisions(survey, rows):
        if max(LEAST, LEAST_SHARE * n) <= members.sum() < n:
            yield _Candidate(name, members, y)
