"""Copies across the parts of the data, and what they do to a score."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.duplicates.placed import PARTS, PHRASES, SCORING, Placed, items, told_parts
from classic_cv.checks.finding import Finding
from classic_cv.checks.subject import Subject
from classic_cv.checks.wording import counted
from classic_cv.stats import accuracy_interval, bootstrap_intervals

SLIGHT_LEAK = 0.005
"""Share of the test images up to which copies are a warning: what they can add to a score is less than its spread."""


def across_parts(subject: Subject, found: Placed, accuracy: dict[str, Any]) -> list[Finding]:
    """Of each kind; accuracy as of ``accuracy_of_reference``."""
    findings = []
    kinds = Counter(found.copies.kinds[found.across].tolist())
    # The accuracy is that without copies of any kind, and told once.
    for place, (kind, _) in enumerate(kinds.most_common()):
        chosen = found.across & (found.copies.kinds == kind)
        findings.append(_across_finding(subject, found, kind, chosen, {} if place else accuracy))
    return findings


def _across_finding(
    subject: Subject, found: Placed, kind: str, chosen: NDArray[np.bool_], accuracy: dict[str, Any]
) -> Finding:
    pairs = found.copies.pairs[chosen]
    parts = found.part[pairs]
    # What a later part shares with an earlier one.
    later = np.where(parts[:, 0] > parts[:, 1], pairs[:, 0], pairs[:, 1])
    leaked = np.unique(later)
    where = Counter(told_parts(pair) for pair in parts.tolist())
    told = ", ".join(f"{counted(count, 'pair')} between {name}" for name, count in sorted(where.items()))
    counts = Counter(PARTS[part] for part in found.part[leaked].tolist())
    images = " and ".join(
        f"{count:,} of {int((found.part == PARTS.index(name)).sum()):,} {name} images"
        for name, count in counts.items()
    )
    slight = all(n <= SLIGHT_LEAK * (found.part == PARTS.index(name)).sum() for name, n in counts.items())
    return Finding(
        "leakage",
        kind,
        "warning" if slight else "error",
        len(leaked),
        f"{images} {'has' if len(leaked) == 1 else 'have'} {PHRASES[kind]} in another part ({told})."
        f"{_told_accuracy(accuracy)}",
        "A model that has seen an image in training need not have learned anything to get it right in the test.",
        _action(subject),
        items(found.copies, chosen, [_told_pair(found, pair) for pair in pairs.tolist()]),
        SCORING,
    )


def _action(subject: Subject) -> str:
    if subject.job.split.given:
        return "Take the copies out of training (--write-manifest does), and tell the score without leaked images."
    return (
        "This split was drawn by classic-cv, which keeps exact copies on one side only: give copies the same group in "
        "a manifest's group column, or take them out of training (--write-manifest does)."
    )


def _told_pair(found: Placed, pair: Sequence[int]) -> str:
    return " and ".join(PARTS[found.part[index]] for index in pair)


def _told_accuracy(accuracy: dict[str, Any]) -> str:
    """What the leaked images do to the score, where that is known."""
    if not accuracy or not accuracy["without_leaked"]["n"] or not accuracy["leaked"]["n"]:
        return ""
    whole, clean, leaked = (100 * accuracy[key]["accuracy"] for key in ("all", "without_leaked", "leaked"))
    low, high = (100 * end for end in accuracy["without_leaked"]["ci95"])
    return (
        f" The classical model reaches {whole:.1f} % on all test images, {clean:.1f} % [{low:.1f}, {high:.1f}] on "
        f"those without copies and {leaked:.1f} % on the leaked ones."
    )


def accuracy_of_reference(subject: Subject, leaked_test: Sequence[int]) -> dict[str, Any]:
    """Accuracy of the reference on all test images, without leaked ones and on these, and the first less the second."""
    reference = subject.reference
    if reference is None or not subject.is_classification or not len(reference.test):
        return {}
    right = np.asarray(reference.outputs_test).argmax(axis=1) == subject.y(reference.test)
    leaked = np.isin(reference.test, leaked_test)
    figures: dict[str, Any] = {
        "all": _share(right),
        "without_leaked": _share(right[~leaked]),
        "leaked": _share(right[leaked]),
        "difference": None,
    }
    if leaked.any() and not leaked.all():

        def difference(rows: NDArray[np.intp]) -> NDArray[np.float64]:
            clean = right[rows][~leaked[rows]]
            return np.array([right[rows].mean() - clean.mean() if len(clean) else np.nan])

        value, interval = bootstrap_intervals(difference, len(right))
        ends = [float(end) for end in interval[0]] if np.isfinite(interval).all() else None
        figures["difference"] = {"value": float(value[0]), "ci95": ends}
    return figures


def _share(right: NDArray[np.bool_]) -> dict[str, Any]:
    n, correct = len(right), int(right.sum())
    if not n:
        return {"n": 0, "accuracy": None, "ci95": None}
    return {"n": n, "accuracy": correct / n, "ci95": list(accuracy_interval(correct, n))}
