"""Copies within a part of the data."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.duplicates.finding_copies import KINDS
from classic_cv.checks.duplicates.placed import PARTS, PHRASES, SCORING, Placed, items
from classic_cv.checks.finding import Finding, Severity
from classic_cv.checks.subject import Subject
from classic_cv.checks.wording import counted

FEW_WITHIN = 0.01
"""Share of the images up to which copies within a part are for information."""


def within_parts(subject: Subject, found: Placed) -> list[Finding]:
    """Of each kind: copies, and those that the data itself puts into one group."""
    findings = []
    for kind in KINDS:
        inside = (found.copies.kinds == kind) & ~found.across
        known = _same_group(subject, found.copies.pairs)
        for grouped in (False, True):
            chosen = inside & (known == grouped)
            if chosen.any():
                findings.append(_within_finding(found, kind, chosen, grouped))
    return findings


def _same_group(subject: Subject, pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(m,), whether the data itself says that two images belong together."""
    groups = subject.dataset.groups
    if groups is None:
        return np.zeros(len(pairs), np.bool_)
    found: NDArray[np.bool_] = groups[pairs[:, 0]] == groups[pairs[:, 1]]
    return found


def _within_finding(found: Placed, kind: str, chosen: NDArray[np.bool_], grouped: bool) -> Finding:
    pairs = found.copies.pairs[chosen]
    n_images = len(np.unique(pairs))
    counts = Counter(found.part[np.unique(pairs)].tolist())
    parts = ", ".join(f"{count:,} in {PARTS[part]}" for part, count in sorted(counts.items()))
    few = n_images <= FEW_WITHIN * int((found.part >= 0).sum())
    severity: Severity = "info" if grouped or few else "warning"
    where = " of the same group of the data" if grouped else ""
    return Finding(
        "duplicates",
        f"{kind}-in-groups" if grouped else kind,
        severity,
        n_images,
        f"{counted(n_images, 'image')}{where} are {PHRASES[kind]} of others in the same part ({parts}).",
        "Copies count several times: they weigh more in training, and narrow an interval that takes them for "
        "independent.",
        "Nothing has to be done: cross-validation keeps groups together."
        if grouped
        else "Keep one of each, or give copies the same group in a manifest's group column.",
        items(found.copies, chosen),
        SCORING,
    )
