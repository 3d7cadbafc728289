"""What the data are made of: images per class and part, sizes, formats, dates; and the files that cannot be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.finding import Checked, Finding
from classic_cv.checks.subject import Subject
from classic_cv.checks.survey import Survey
from classic_cv.checks.unreadable import find_unreadable
from classic_cv.checks.wanting import PARTS, Counts, find_wanting, mixed

HISTOGRAM_BINS = 12
"""Bars of a small histogram."""

MOST_NAMED = 50
"""Cameras and the like that are counted by name; the rest are counted together."""


def check_inventory(subject: Subject) -> Checked:
    """Figures of the data as they are, and findings on what is missing, rare or unreadable.

    The checks ``inventory`` and ``unreadable``.
    """
    counts = count_images(subject)
    checked = find_unreadable(subject)
    checked.figures["inventory"] = _figures(subject, counts)
    checked.findings += find_wanting(subject, counts)
    checked.findings += _mixed(subject.survey)
    checked.findings += _ignored(subject)
    return checked


def count_images(subject: Subject) -> Counts:
    """Readable images of each class in the training, the validation and the test part: {class: (train, val, test)}.

    Those of a regression have no classes: {}.
    """
    if not subject.is_classification:
        return {}
    n = len(subject.class_names)
    columns = [np.bincount(subject.y(rows), minlength=n) for rows in _parts(subject)]
    return {
        name: (int(train), int(val), int(test))
        for name, train, val, test in zip(subject.class_names, *columns, strict=True)
    }


def _parts(subject: Subject) -> list[NDArray[np.intp]]:
    """Positions of the readable images of each part."""
    split, survey = subject.job.split, subject.survey
    return [survey.indices[survey.rows(part)] for part in (split.train, split.val, split.test)]


def _figures(subject: Subject, counts: Counts) -> dict[str, Any]:
    survey, dataset = subject.survey, subject.dataset
    sizes = {name: {"n": len(rows)} for name, rows in zip(PARTS, _parts(subject), strict=True)}
    return {
        "images": len(survey),
        "parts": {name: size["n"] for name, size in sizes.items()},
        "given_split": subject.job.split.given,
        "classes": {name: dict(zip(PARTS, numbers, strict=True)) for name, numbers in counts.items()},
        "imbalance": imbalance(counts),
        **({} if subject.is_classification else {"target": distribution(subject.y(survey.indices))}),
        "width": distribution(survey.width),
        "height": distribution(survey.height),
        "aspect": distribution(survey.width / survey.height),
        "bytes": distribution(survey.n_bytes),
        "formats": named_counts(survey.format),
        "modes": named_counts(survey.mode),
        "orientations": named_counts(map(str, survey.orientation.tolist())),
        "cameras": named_counts(survey.camera[survey.camera != ""]),
        "dates": _dates(survey.date),
        "gray": int(survey.gray.sum()),
        "ignored": named_counts(problem.reason for problem in dataset.ignored),
        "ignored_suffixes": dict(dataset.ignored_suffixes),
        "notes": [*dataset.notes, *subject.job.split.notes],
    }


def imbalance(counts: Counts) -> float | None:
    """Images of the largest class over those of the smallest that has any, all parts together; None without two."""
    totals = [sum(numbers) for numbers in counts.values() if sum(numbers)]
    return max(totals) / min(totals) if len(totals) > 1 else None


def distribution(values: NDArray[Any]) -> dict[str, Any]:
    """``min, q25, median, q75, max`` and a ``histogram`` of ``edges`` and ``counts``; None and empty without values.

    The histogram's outermost bars also hold what lies beyond the middle 98 %, which one outlier would else stretch.
    """
    names = ("min", "q25", "median", "q75", "max")
    if not len(values):
        return {**dict.fromkeys(names), "histogram": {"edges": [], "counts": []}}
    quantiles = np.quantile(values, (0, 0.25, 0.5, 0.75, 1)).tolist()
    low, high = np.quantile(values, (0.01, 0.99)).tolist()
    counts, edges = np.histogram(np.clip(values, low, high), HISTOGRAM_BINS)
    histogram = {"edges": edges.tolist(), "counts": counts.tolist()}
    return {**dict(zip(names, quantiles, strict=True)), "histogram": histogram}


def named_counts(values: Iterable[Any]) -> dict[str, int]:
    """How often each occurs, the most frequent first; beyond ``MOST_NAMED`` of them the rest as ``others``."""
    counted = sorted(Counter(map(str, values)).items(), key=lambda entry: (-entry[1], entry[0]))
    named, rest = counted[:MOST_NAMED], counted[MOST_NAMED:]
    return {**dict(named), **({"others": sum(n for _, n in rest)} if rest else {})}


def _dates(dates: NDArray[np.str_]) -> dict[str, Any]:
    known: Sequence[str] = sorted(dates[dates != ""].tolist())
    share = len(known) / len(dates) if len(dates) else 0.0
    return {
        "known": share,
        "first": known[0] if known else None,
        "last": known[-1] if known else None,
    }


def _mixed(survey: Survey) -> list[Finding]:
    return [
        *mixed(survey, survey.format, "mixed-formats", "file formats", "File formats compress differently"),
        *mixed(
            survey,
            survey.mode,
            "mixed-modes",
            "color modes",
            "Color modes differ in what a decoder makes of them",
        ),
    ]


def _ignored(subject: Subject) -> list[Finding]:
    """Files that were meant to be left out; a folder that was forgotten may be among them."""
    ignored = subject.dataset.ignored
    if not ignored:
        return []
    first = ignored[0]
    return [
        Finding(
            "inventory",
            "ignored-files",
            "info",
            len(ignored),
            f"{len(ignored):,} files or rows were left out, such as {first.source}: {first.reason}.",
            "What is left out by rule may be data that was meant to count.",
            "Look at the list once, and move what should count to where it is read.",
        )
    ]
