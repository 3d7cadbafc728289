"""What an inventory finds wanting: classes that are rare, imbalance, mixtures. Drift tells of missing ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.finding import Finding, Item, Severity
from classic_cv.checks.subject import Subject
from classic_cv.checks.survey import Survey

Counts = Mapping[str, tuple[int, int, int]]
"""Images of each class in the training, the validation and the test part."""

PARTS = ("train", "val", "test")

FEW_IMAGES = 10
"""Training images below which a class can hardly be learned, and its own accuracy not be told from chance."""

FEW_TESTED = 10
"""Test images below which a class's accuracy has an interval of more than 50 points."""

IMBALANCE, STRONG_IMBALANCE = 3, 10
"""Largest class over smallest: to be known, and from where accuracy no longer says how the small ones fare."""

LARGE_CLASS = 30
"""Images of the largest class from which a ratio is no matter of a few images."""

RARE = 0.1
"""Share of the images up to which those of a rare format are named one by one: more are no exception."""

NAMED = 5
"""Classes that a message names."""


def find_wanting(subject: Subject, counts: Counts) -> list[Finding]:
    """Findings of the check ``inventory`` on classes and parts; nothing on the classes of a regression.

    Args:
        subject: the data.
        counts: its readable images.
    """
    found = list(_without_test(subject))
    if counts:
        found += [*_single(counts), *_few(counts), *_imbalance(counts)]
    return found


def _inventory(kind: str, severity: Severity, count: int, message: str, why: str, action: str) -> Finding:
    return Finding("inventory", kind, severity, count, message, why, action)


def _named(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _of(some: Sequence[str], counts: Counts) -> str:
    """``2 of 17 classes have``."""
    if len(counts) == 1:
        return "The only class has"
    return f"{len(some):,} of {len(counts):,} classes {'has' if len(some) == 1 else 'have'}"


def _without_test(subject: Subject) -> Iterator[Finding]:
    if not len(subject.test):
        yield _inventory(
            "no-test-part",
            "warning",
            1,
            "There is no test part with readable images, and none could be split off.",
            "Without held-out images no score can be measured, only cross-validated.",
            "Add images, or keep some apart in a folder named test.",
        )


def _single(counts: Counts) -> Iterator[Finding]:
    there = [name for name, numbers in counts.items() if sum(numbers)]
    if len(there) < 2:
        yield _inventory(
            "one-class",
            "error",
            1,
            f"All readable images belong to one class: {_named(there)}.",
            "With one class there is nothing to tell apart.",
            "Give the folder above, if the class folders are inside it, or add images of other classes.",
        )


def _below(numbers: Mapping[str, int], least: int) -> list[str]:
    """Classes with fewer images, the fewest first."""
    return sorted((name for name, n in numbers.items() if n < least), key=lambda name: (numbers[name], name))


def _few(counts: Counts) -> Iterator[Finding]:
    taught = {name: train + val for name, (train, val, _) in counts.items() if train + val}
    few = _below(taught, FEW_IMAGES)
    if few:
        shown = _named([f"{name} ({taught[name]})" for name in few])
        yield _inventory(
            "few-images",
            "warning",
            len(few),
            f"{_of(few, counts)} fewer than {FEW_IMAGES} training images: {shown}.",
            "So few examples hardly show how the class varies.",
            "Collect more images of them, or merge them with others.",
        )
    tested = {name: test for name, (_, _, test) in counts.items() if test}
    barely = _below(tested, FEW_TESTED)
    if barely:
        shown = _named([f"{name} ({tested[name]})" for name in barely])
        yield _inventory(
            "few-test-images",
            "info",
            len(barely),
            f"{_of(barely, counts)} fewer than {FEW_TESTED} test images: {shown}.",
            "The accuracy of such a class is uncertain by more than 25 points either way.",
            "Judge the classes together, or add test images.",
        )


def _imbalance(counts: Counts) -> Iterator[Finding]:
    totals = {name: sum(numbers) for name, numbers in counts.items() if sum(numbers)}
    if len(totals) < 2:
        return
    largest, smallest = max(totals, key=lambda name: totals[name]), min(totals, key=lambda name: totals[name])
    ratio = totals[largest] / totals[smallest]
    if ratio < IMBALANCE or totals[largest] < LARGE_CLASS:
        return
    share = totals[largest] / sum(totals.values())
    yield _inventory(
        "imbalance",
        "warning" if ratio >= STRONG_IMBALANCE else "info",
        len(totals),
        f"The largest class, {largest}, has {totals[largest]:,} images and the smallest, {smallest}, has "
        f"{totals[smallest]:,}: {ratio:.1f} times as many.",
        f"Always answering {largest} would be right for {100 * share:.1f} % of the images, so accuracy hides the small "
        "classes.",
        "Compare by balanced accuracy or macro-F1, and look at each class's own accuracy.",
    )


def mixed(survey: Survey, values: NDArray[np.str_], kind: str, what: str, why: str) -> Iterator[Finding]:
    """A finding where the images are not all alike in a property of the file, with the exceptions if they are few.

    Args:
        survey: of the images.
        values: str (n,), the property of each.
        kind, what: the finding's kind, and what is mixed, in plural.
        why: why it can matter, as the start of a sentence.
    """
    names, counts = np.unique(values, return_counts=True)
    if len(names) < 2:
        return
    order = np.argsort(-counts, kind="stable")
    shown = _named([f"{names[k]} ({counts[k]:,})" for k in order.tolist()])
    exceptions = np.flatnonzero(values != names[order[0]])
    few = exceptions if len(exceptions) <= RARE * len(values) else exceptions[:0]
    items = tuple(Item((int(survey.indices[row]),), 1.0, str(values[row])) for row in few)
    yield Finding(
        "inventory",
        kind,
        "info",
        len(exceptions),
        f"The images have {len(names)} {what}: {shown}.",
        f"{why}, and a model may learn that in place of the content where classes differ in it.",
        "See that classes and parts have the same mixture, or convert all images in the same way.",
        items,
        "exception" if items else "",
    )
