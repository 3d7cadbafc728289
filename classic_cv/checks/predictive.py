"""How well single numbers tell each class from the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.auc import auc_with_interval
from classic_cv.stats import holm

LEAF_SHARE, FEWEST_IN_LEAF = 0.1, 3
"""A leaf of the tree over one property holds a tenth of a typical class, so that a class may lie in several ranges of
it, and images enough that their shares are more than noise."""

TOLD, TELLING = 30, 0.9
"""So many separations are told of at least, and all from that area on: of hundreds of classes most say nothing."""

SURE = 0.7
"""Probability from which an image is told surely."""

LEAST_PART, FEWEST_OF_PART = 0.25, 6
"""A part of a class is a quarter of it, and so many images, at least: a few shots of one afternoon are no more."""

MOST_ELSEWHERE = 0.05
"""Share of the images of other classes that may have what gives a class away."""

MOST_WRONG = 0.25
"""Share of the images told surely that may be of another class: leaves of three images are wrong now and then."""


@dataclass(frozen=True, slots=True)
class Separation:
    """How well something tells a class from all others.

    Attributes:
        name: of what tells it, such as a property.
        code: the class.
        auc: area under the ROC curve of images held out: the probability that an image of the class gets a higher score
            than one of another class; 0.5 is chance, 1 tells all.
        ci95: its interval.
        p: one-sided Mann-Whitney test of 0.5, corrected for the number of things and classes tried (Holm 1979).
    """

    name: str
    code: int
    auc: float
    ci95: tuple[float, float]
    p: float


def property_probabilities(
    column: NDArray[np.float32], codes: NDArray[np.intp], fold: NDArray[np.intp]
) -> NDArray[np.float32]:
    """What one number says of the class: a tree over it, so that a class may lie in the middle or in several ranges.

    Args:
        column: float32 (n,), finite.
        codes: intp (n,), classes 0, 1, …; each occurs.
        fold: (n,), see ``small_model.folds``.

    Returns:
        float32 (n, n_classes), of the rows that are held out in some fold; 0 for the others.
    """
    from sklearn.tree import DecisionTreeClassifier

    n_classes = int(codes.max()) + 1
    smallest = max(FEWEST_IN_LEAF, int(LEAF_SHARE * np.median(np.bincount(codes))))
    probabilities = np.zeros((len(codes), n_classes), np.float32)
    for number in range(fold.max() + 1):
        held_out = fold == number
        tree = DecisionTreeClassifier(min_samples_leaf=smallest, random_state=0)
        tree.fit(column[~held_out, None], codes[~held_out])
        probabilities[np.ix_(held_out, tree.classes_)] = tree.predict_proba(column[held_out, None])
    return probabilities


def areas(probabilities: NDArray[np.floating[Any]], codes: NDArray[np.intp]) -> NDArray[np.float64]:
    """The area under the ROC curve of each class against the rest, by ranks (Mann and Whitney 1947).

    Args:
        probabilities: (n, n_classes).
        codes: (n,) in 0..n_classes - 1.

    Returns:
        (n_classes,); NaN for classes that have no image, or all.
    """
    n_classes = probabilities.shape[1]
    inside = np.bincount(codes, minlength=n_classes)
    outside = len(codes) - inside
    ranks = np.array([_ranks(scores, codes == code) for code, scores in enumerate(probabilities.T)])
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((ranks - inside * (inside + 1) / 2) / (inside * outside), np.float64)


def _ranks(scores: NDArray[np.floating[Any]], inside: NDArray[np.bool_]) -> float:
    """The sum of the ranks of the images inside, ties averaged: only theirs are computed, of hundreds of classes."""
    ordered, wanted = np.sort(scores), scores[inside]
    first, last = (np.searchsorted(ordered, wanted, side=side) for side in ("left", "right"))
    return float((first + last + 1).sum() / 2)


def separations(
    names: Sequence[str], probabilities: Sequence[NDArray[np.floating[Any]]], codes: NDArray[np.intp]
) -> list[Separation]:
    """How well each of several things tells each class, the best first: ``TOLD`` of them and all from ``TELLING`` on.

    Args:
        names: what told.
        probabilities: (n, n_classes) of each.
        codes: (n,), the classes; those that have no image, or all, are left out.
    """
    table = [areas(one, codes) for one in probabilities]
    inside = np.bincount(codes, minlength=len(table[0]) if table else 0)
    tried = [
        (area, row, code)
        for row, found in enumerate(table)
        for code, area in enumerate(found.tolist())
        if 0 < inside[code] < len(codes)
    ]
    p = holm([_chance(area, int(inside[code]), len(codes)) for area, _, code in tried])
    order = sorted(range(len(tried)), key=lambda place: -tried[place][0])
    return [
        Separation(names[row], code, area, _interval(probabilities[row][:, code], codes == code), p[place])
        for rank, place in enumerate(order)
        for area, row, code in [tried[place]]
        if rank < TOLD or area >= TELLING
    ]


def _interval(scores: NDArray[np.floating[Any]], inside: NDArray[np.bool_]) -> tuple[float, float]:
    found = auc_with_interval(scores, inside)
    return (0.0, 1.0) if found is None else (found.low, found.high)


def _chance(area: float, inside: int, n: int) -> float:
    return float(np.exp(log_chance(area, inside, n)))


def log_chance(area: float, inside: int, n: int) -> float:
    """Log of the one-sided p-value of Mann and Whitney's test, normal approximation; ties make it conservative."""
    from scipy.stats import norm

    deviation = np.sqrt((n + 1) / (12 * inside * (n - inside)))
    return float(norm.logsf((area - 0.5) / deviation))


@dataclass(frozen=True, eq=False)
class Part:
    """Images of a class that something gives away, where it says nothing of the class's other images.

    Attributes:
        name: of what tells them.
        code: the class.
        members: bool (n,), those told, with the few of other classes that are taken for them.
        p: of so many of them being of the class by chance, corrected for all that was tried (Bonferroni).
    """

    name: str
    code: int
    members: NDArray[np.bool_]
    p: float


def parts(
    name: str, probabilities: NDArray[np.floating[Any]], codes: NDArray[np.intp], tried: int
) -> list[Part]:
    """Of each class the images that are told surely: those it holds nearly alone, and that are a good part of it.

    Args:
        name: of what gave the probabilities.
        probabilities: (n, n_classes), of images held out.
        codes: (n,), the classes.
        tried: how many things are tried in all.
    """
    n_classes = probabilities.shape[1]
    sure = probabilities >= SURE
    right = np.bincount(codes, sure[np.arange(len(codes)), codes], minlength=n_classes)
    found, counts = sure.sum(axis=0), np.bincount(codes, minlength=n_classes)
    wrong = found - right
    told = (
        (right >= np.maximum(FEWEST_OF_PART, LEAST_PART * counts))
        & (wrong <= MOST_ELSEWHERE * (len(codes) - counts))
        & (wrong <= MOST_WRONG * found)
    )
    return [
        Part(name, code, sure[:, code], min(1.0, tried * n_classes * enriched(sure[:, code], codes == code)))
        for code in np.flatnonzero(told).tolist()
    ]


def enriched(has: NDArray[np.bool_], inside: NDArray[np.bool_]) -> float:
    """The one-sided p-value of Fisher's exact test that images inside have something more often than others."""
    from scipy.stats import hypergeom

    return float(hypergeom.sf(int((has & inside).sum()) - 1, len(has), int(inside.sum()), int(has.sum())))
