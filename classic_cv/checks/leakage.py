"""Copies: within a part of the data, across its parts, and with different targets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.duplicates.finding_copies import EXACT, KINDS, MIRRORED, NEAR, Copies, find_copies
from classic_cv.checks.duplicates.groups import group_numbers, groups_of_copies
from classic_cv.checks.finding import Checked, Finding, Item, Severity
from classic_cv.checks.subject import Subject
from classic_cv.stats import accuracy_interval, bootstrap_intervals

PARTS = ("train", "val", "test")

SAME_TARGET = 0.05
"""Numbers of a regression that differ by less than this share of their standard deviation are the same: two people who
measure one thing do not agree to the last digit."""

SLIGHT_LEAK = 0.005
"""Share of the test images up to which copies are a warning: what they can add to a score is less than its spread."""

FEW_WITHIN = 0.01
"""Share of the images up to which copies within a part are for information."""

PHRASES = {EXACT: "exact copies", NEAR: "nearly the same picture", MIRRORED: "mirror images"}

SCORING = "similarity"


@dataclass(frozen=True, eq=False)
class _Found:
    """Copies, and where they lie.

    Attributes:
        part: int64 (len(dataset),), the position in ``PARTS``; -1 for an image in none.
        group: int64 (len(dataset),), the group of copies that an image belongs to.
    """

    copies: Copies
    part: NDArray[np.int64]
    group: NDArray[np.int64]

    @property
    def across(self) -> NDArray[np.bool_]:
        """(m,), pairs whose images are in different parts."""
        found: NDArray[np.bool_] = self.part[self.copies.pairs[:, 0]] != self.part[self.copies.pairs[:, 1]]
        return found

    def with_copies_in(self, part: int, others: Sequence[int]) -> list[int]:
        """Images of a part that have copies, directly or through others, in other parts; ascending."""
        reached = np.unique(self.group[np.isin(self.part, others) & self._copied])
        return np.flatnonzero((self.part == part) & self._copied & np.isin(self.group, reached)).tolist()

    @property
    def _copied(self) -> NDArray[np.bool_]:
        copied = np.zeros(len(self.part), np.bool_)
        copied[self.copies.pairs.ravel()] = True
        return copied


def check_copies(subject: Subject) -> Checked:
    """The checks ``duplicates``, ``conflict`` and ``leakage`` in one."""
    checked = Checked()
    if len(subject.survey) < 2:
        reason = "there are fewer than two images that can be read"
        return Checked(left_out=dict.fromkeys(("duplicates", "conflict", "leakage"), reason))
    copies = find_copies(subject.dataset, subject.survey, subject.job.seed)
    n = len(subject.dataset)
    found = _Found(copies, _parts(subject), group_numbers(n, copies.pairs))
    leaked_test = found.with_copies_in(2, [0, 1])
    # Of copies in training and validation the one in training goes; of copies in test those in both.
    leaked_train = sorted({*found.with_copies_in(0, [1, 2]), *found.with_copies_in(1, [2])})
    accuracy = _accuracy(subject, leaked_test)
    checked.findings += _within(subject, found)
    checked.findings += _conflicts(subject, found)
    if len(np.unique(found.part[found.part >= 0])) > 1:
        checked.findings += _across(subject, found, accuracy)
    else:
        checked.left_out["leakage"] = "all images are in one part"
    checked.figures["duplicates"] = {"pairs": _count_pairs(found), "calibration": copies.figures}
    checked.figures["leakage"] = {
        "pairs": _count_pairs(found),
        "calibration": copies.figures,
        "accuracy": accuracy,
        "leaked_train": leaked_train,
        "leaked_test": leaked_test,
        "copies": groups_of_copies(n, copies.pairs),
    }
    return checked


def _parts(subject: Subject) -> NDArray[np.int64]:
    part = np.full(len(subject.dataset), -1, np.int64)
    for number, name in enumerate(PARTS):
        part[getattr(subject.job.split, name)] = number
    return part


def _count_pairs(found: _Found) -> dict[str, dict[str, int]]:
    """Pairs by kind and parts, such as ``train and test``."""
    counts: dict[str, dict[str, int]] = {}
    for kind in KINDS:
        chosen = found.part[found.copies.pairs[found.copies.kinds == kind]]
        told = Counter(_told_parts(pair) for pair in np.sort(chosen, axis=1).tolist())
        if told:
            counts[kind] = dict(sorted(told.items()))
    return counts


def _told_parts(parts: Sequence[int]) -> str:
    return " and ".join(PARTS[number] for number in sorted(set(parts)) if number >= 0)


# --- within a part --------------------------------------------------------------------------------------------


def _within(subject: Subject, found: _Found) -> list[Finding]:
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


def _within_finding(found: _Found, kind: str, chosen: NDArray[np.bool_], grouped: bool) -> Finding:
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
        f"{n_images:,} images{where} are {PHRASES[kind]} of others in the same part ({parts}).",
        "Copies count several times: they weigh more in training, and narrow an interval that takes them for "
        "independent.",
        "Nothing has to be done: cross-validation keeps groups together."
        if grouped
        else "Keep one of each, or give copies the same group in a manifest's group column.",
        _items(found.copies, chosen),
        SCORING,
    )


def _items(copies: Copies, chosen: NDArray[np.bool_], notes: Sequence[str] = ()) -> tuple[Item, ...]:
    """Pairs, or of exact copies all with the same content, the most alike first."""
    places = np.flatnonzero(chosen)
    places = places[np.argsort(-copies.similarity[places], kind="stable")]
    told = dict(zip(np.flatnonzero(chosen).tolist(), notes, strict=True)) if notes else {}
    return tuple(
        Item(
            (int(copies.pairs[place, 0]), int(copies.pairs[place, 1])),
            round(float(copies.similarity[place]), 4),
            told.get(place, ""),
        )
        for place in places.tolist()
    )


# --- different targets ----------------------------------------------------------------------------------------


def _conflicts(subject: Subject, found: _Found) -> list[Finding]:
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
                f"{len(pairs):,} pairs of images that are {PHRASES[kind]} differ in their {target}: "
                f"{_most_frequent(subject, pairs)}.",
                "At most one of the two can be right; no model can get both.",
                "Look at each pair, correct the wrong one, or leave out both.",
                _items(found.copies, chosen, notes),
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


def _told_targets(subject: Subject, found: _Found, pair: Sequence[int]) -> str:
    targets = subject.dataset.targets
    return " and ".join(f"labelled {targets[index]} in {PARTS[found.part[index]]}" for index in pair)


def _most_frequent(subject: Subject, pairs: NDArray[np.int64], most: int = 3) -> str:
    """Which targets are taken for which, the most frequent first."""
    targets = subject.dataset.targets
    told = Counter(tuple(sorted((targets[first], targets[second]))) for first, second in pairs.tolist())
    listed = [f"{first} and {second} ({count:,})" for (first, second), count in told.most_common(most)]
    return ", ".join(listed) + (f" and {len(told) - most:,} more" if len(told) > most else "")


# --- across parts ---------------------------------------------------------------------------------------------


def _across(subject: Subject, found: _Found, accuracy: dict[str, Any]) -> list[Finding]:
    findings = []
    for kind in KINDS:
        chosen = found.across & (found.copies.kinds == kind)
        if chosen.any():
            findings.append(_across_finding(subject, found, kind, chosen, accuracy))
    return findings


def _across_finding(
    subject: Subject, found: _Found, kind: str, chosen: NDArray[np.bool_], accuracy: dict[str, Any]
) -> Finding:
    pairs = found.copies.pairs[chosen]
    parts = found.part[pairs]
    # What a later part shares with an earlier one.
    later = np.where(parts[:, 0] > parts[:, 1], pairs[:, 0], pairs[:, 1])
    leaked = np.unique(later)
    where = Counter(_told_parts(pair) for pair in parts.tolist())
    told = ", ".join(f"{count:,} between {name}" for name, count in sorted(where.items()))
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
        f"{images} are {PHRASES[kind]} of images in another part ({told}).{_told_accuracy(accuracy)}",
        "A model that has seen an image in training need not have learned anything to get it right in the test.",
        _action(subject),
        _items(found.copies, chosen, [_told_pair(found, pair) for pair in pairs.tolist()]),
        SCORING,
    )


def _action(subject: Subject) -> str:
    if subject.job.split.given:
        return "Take the copies out of training (--write-manifest does), and tell the score without leaked images."
    return (
        "This split was drawn by classic-cv, which keeps exact copies on one side only: give copies the same group in "
        "a manifest's group column, or take them out of training (--write-manifest does)."
    )


def _told_pair(found: _Found, pair: Sequence[int]) -> str:
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


def _accuracy(subject: Subject, leaked_test: Sequence[int]) -> dict[str, Any]:
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
