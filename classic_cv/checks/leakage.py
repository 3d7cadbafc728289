"""Copies: within a part of the data, across its parts, and with different targets."""

from __future__ import annotations

from collections import Counter

import numpy as np

from classic_cv.checks.duplicates.across import accuracy_of_reference, across_parts
from classic_cv.checks.duplicates.conflicts import conflicts
from classic_cv.checks.duplicates.finding_copies import KINDS, find_copies
from classic_cv.checks.duplicates.groups import groups_of_copies
from classic_cv.checks.duplicates.placed import Placed, placed, told_parts
from classic_cv.checks.duplicates.within import within_parts
from classic_cv.checks.finding import Checked
from classic_cv.checks.subject import Subject


def check_copies(subject: Subject) -> Checked:
    """The checks ``duplicates``, ``conflict`` and ``leakage`` in one."""
    checked = Checked()
    if len(subject.survey) < 2:
        reason = "there are fewer than two images that can be read"
        return Checked(left_out=dict.fromkeys(("duplicates", "conflict", "leakage"), reason))
    copies = find_copies(subject.dataset, subject.survey, subject.job.seed)
    found = placed(subject, copies)
    leaked_test = found.with_copies_in(2, [0, 1])
    # Of copies in training and validation the one in training goes; of copies in test those in both.
    leaked_train = sorted({*found.with_copies_in(0, [1, 2]), *found.with_copies_in(1, [2])})
    accuracy = accuracy_of_reference(subject, leaked_test)
    checked.findings += within_parts(subject, found)
    checked.findings += conflicts(subject, found)
    if len(np.unique(found.part[found.part >= 0])) > 1:
        checked.findings += across_parts(subject, found, accuracy)
    else:
        checked.left_out["leakage"] = "all images are in one part"
    checked.figures["duplicates"] = {"pairs": _count_pairs(found), "calibration": copies.figures}
    checked.figures["leakage"] = {
        "pairs": _count_pairs(found),
        "calibration": copies.figures,
        "accuracy": accuracy,
        "leaked_train": leaked_train,
        "leaked_test": leaked_test,
        "copies": groups_of_copies(len(subject.dataset), copies.pairs),
    }
    return checked


def _count_pairs(found: Placed) -> dict[str, dict[str, int]]:
    """Pairs by kind and parts, such as ``train and test``."""
    counts: dict[str, dict[str, int]] = {}
    for kind in KINDS:
        chosen = found.part[found.copies.pairs[found.copies.kinds == kind]]
        told = Counter(told_parts(pair) for pair in np.sort(chosen, axis=1).tolist())
        if told:
            counts[kind] = dict(sorted(told.items()))
    return counts
