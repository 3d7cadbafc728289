"""Copies whose targets differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.duplicates.finding_copies import KINDS
from classic_cv.checks.duplicates.placed import PARTS, PHRASES, SCORING, Placed, items
from classic_cv.checks.finding import Finding
from classic_cv.checks.subject import Subject
from classic_cv.checks.wording import counted

SAME_TARGET = 0.05
"""Numbers of a regression that differ by less than this share of their standard deviation are the same: two people who
measure one thing do not agree to the last digit."""


def conflicts(subject: Subject, found: Placed) -> list[Finding]:
    """Of each kind, within parts and across them."""
    findings = []
    differ = _differ(subject, found.copies.pairs)
    for kind in KINDS:
        chosen = differ & (found.copies.kinds == kind)
        if not chosen.any():
            continue
        pairs = found.copies.pairs[chosen]
        target = "class" if subject.is_classification else subject.dataset.target_name
        notes = [_told_targets(subject, found, pair) for pair in pairs.tolist()]
        findings.append(
            Finding(
                "conflict",
                kind,
                "error",
                len(pairs),
                f"{counted(len(pairs), 'pair')} of {PHRASES[kind]} with a different {target} each: "
                f"{_most_frequent(subject, pairs)}.",
                "At most one of the two can be right; no model can get both.",
                "Look at each pair, correct the wrong one, or leave out both.",
                items(found.copies, chosen, notes),
                SCORING,
            )
        )
    return findings


def _differ(subject: Subject, pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(m,), whether the targets of two images are not the same."""
    if subject.is_classification:
        classes = subject.dataset.y
        different: NDArray[np.bool_] = classes[pairs[:, 0]] != classes[pairs[:, 1]]
        return different
    y = np.asarray(subject.job.task.y, np.float64)
    apart: NDArray[np.bool_] = np.abs(y[pairs[:, 0]] - y[pairs[:, 1]]) > SAME_TARGET * float(y.std())
    return apart


def _told_targets(subject: Subject, found: Placed, pair: Sequence[int]) -> str:
    targets = subject.dataset.targets
    return " and ".join(f"labelled {targets[index]} in {PARTS[found.part[index]]}" for index in pair)


def _most_frequent(subject: Subject, pairs: NDArray[np.int64], most: int = 3) -> str:
    """Which targets are taken for which, the most frequent first."""
    targets = subject.dataset.targets
    told = Counter(tuple(sorted((targets[first], targets[second]))) for first, second in pairs.tolist())
    shown = " ({:,})" if subject.is_classification else ""
    listed = [
        f"{first} and {second}{shown.format(count)}" for (first, second), count in told.most_common(most)
    ]
    return ", ".join(listed) + (f" and {len(told) - most:,} more" if len(told) > most else "")
