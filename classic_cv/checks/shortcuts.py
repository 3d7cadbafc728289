"""Whether the class can be told without looking at what an image shows: from its file, its colors, its border."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.evidence import Evidence, gather
from classic_cv.checks.finding import Checked
from classic_cv.checks.predictive import TOLD, Separation
from classic_cv.checks.shortcut_findings import shortcut_findings
from classic_cv.checks.sources import Source
from classic_cv.checks.subject import Subject
from classic_cv.stats import accuracy_interval


def check_shortcuts(subject: Subject) -> Checked:
    """Gives the check ``shortcut``: findings of kinds ``property``, ``border``, ``file``, ``color`` and of sources.

    Shortcuts are what a model learns in place of the task (Geirhos et al., Shortcut learning in deep neural networks,
    Nature Machine Intelligence 2020). Training images are looked at: that is where a model would learn them.
    """
    if not subject.is_classification:
        return _left_out("The target is a number: shortcuts are looked for between classes.")
    evidence = gather(subject)
    if evidence is None:
        return _left_out(
            "Too few training images: it takes two classes with two images each that are no copies."
        )
    return Checked(shortcut_findings(evidence), {"shortcut": _figures(evidence)})


def _left_out(reason: str) -> Checked:
    return Checked(left_out={"shortcut": reason})


def _figures(evidence: Evidence) -> dict[str, Any]:
    counts = np.bincount(evidence.codes, minlength=len(evidence.classes))
    dummy = np.tile(counts / counts.sum(), (len(evidence.codes), 1))
    rows = [_row("dummy", dummy, 0, evidence.codes)]
    rows += [
        _row(name, found, evidence.columns[name], evidence.codes) for name, found in evidence.models.items()
    ]
    return {
        "n": len(evidence.codes),
        "rows": rows,
        "properties": [_separation(one, evidence) for one in evidence.properties[:TOLD]],
        "sources": [_source(source, evidence) for source in evidence.sources],
    }


def _row(
    name: str, probabilities: NDArray[np.floating[Any]], n_columns: int, codes: NDArray[np.intp]
) -> dict[str, Any]:
    right = probabilities.argmax(axis=1) == codes
    correct, n = int(right.sum()), len(right)
    return {
        "name": name,
        "accuracy": correct / n,
        "ci95": list(accuracy_interval(correct, n)),
        "balanced_accuracy": float(np.mean([right[codes == code].mean() for code in np.unique(codes)])),
        "columns": n_columns,
    }


def _separation(one: Separation, evidence: Evidence) -> dict[str, Any]:
    return {
        "property": one.name,
        "class": evidence.class_name(one.code),
        "auc": one.auc,
        "ci95": list(one.ci95),
        "p": one.p,
    }


def _source(source: Source, evidence: Evidence) -> dict[str, Any]:
    """``images_in_shared``: share of the images whose source has several classes; ``classes``: whom it tells."""
    row = _row(source.name, source.probabilities, 1, evidence.codes)
    return {
        "name": source.name,
        "accuracy": row["accuracy"],
        "ci95": row["ci95"],
        "n": len(np.unique(source.values)),
        "images_in_shared": source.shared,
        "classes": [_separation(one, evidence) for one in source.separations[:TOLD]],
    }
