"""Which properties of files and pixels differ between training and test part."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.finding import Checked, Finding
from classic_cv.checks.subject import Subject
from classic_cv.checks.wording import property_amount, property_title
from classic_cv.dataset._dataset import listing
from classic_cv.stats import holm

ALPHA = 0.001
"""Of all properties together: one in a thousand sets of independent images would be said to differ. It is strict
because images in series are not independent."""

DISTANCE = 0.15
"""The largest difference of cumulative shares that is worth telling, however many images there are."""

LARGE_DISTANCE = 0.3
"""The same for a warning: nearly a third of the images would have to change."""

NAMED = 4


def check_properties(subject: Subject, strata: NDArray[np.int64]) -> Checked:
    """Two-sample Kolmogorov-Smirnov tests of the survey's properties, corrected for their number (Holm 1979).

    Training images are weighted to the test part's shares of the strata, so that a class which is rarer in one part is
    not taken for a change of its properties. Strata that one part lacks are left out.

    Args:
        subject: whose parts both have images.
        strata: by position in the data set.
    """
    train, test = subject.train, subject.test
    weights, kept = _weights(strata[train], strata[test])
    survey = subject.survey
    first, second = (
        survey.properties[survey.rows(train[weights > 0])],
        survey.properties[survey.rows(test[kept])],
    )
    weights = weights[weights > 0]
    if not len(first):
        return Checked(figures={"drift": {"properties": []}})
    found = [
        _compare(name, before, after, weights)
        for name, before, after in zip(survey.property_names, first.T, second.T, strict=True)
    ]
    for one, p in zip(found, holm([one["p"] for one in found]), strict=True):
        one["p"] = p
    found.sort(key=lambda one: -float(one["ks"]))
    return Checked(_findings(found, len(second)), {"drift": {"properties": found}})


def weighted_ks(
    first: NDArray[np.floating[Any]], second: NDArray[np.floating[Any]], weights: NDArray[np.float64]
) -> tuple[float, float]:
    """The Kolmogorov-Smirnov distance of two samples, the first weighted, and its p-value.

    Weights count as as many images as their effective number (Kish 1965). With ties p is too large rather than too
    small.

    Args:
        first: (n,).
        second: (m,).
        weights: of the first, (n,), above 0, with sum 1.
    """
    from scipy.stats import kstwo

    order = np.argsort(first, kind="stable")
    values = np.unique(np.concatenate([first, second]))
    share = np.concatenate([[0.0], np.cumsum(weights[order])])[
        np.searchsorted(first[order], values, side="right")
    ]
    other = np.searchsorted(np.sort(second), values, side="right") / len(second)
    distance = min(1.0, float(np.abs(share - other).max()))
    effective = 1 / float(np.square(weights).sum())
    n = max(1, round(effective * len(second) / (effective + len(second))))
    return distance, float(kstwo.sf(distance, n))


def _weights(
    first: NDArray[np.int64], second: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Weights of the first part's images, with sum 1, that give its strata the second's shares, and which images of
    the second are of a stratum that the first has."""
    strata, codes = np.unique(np.concatenate([first, second]), return_inverse=True)
    mine, others = codes[: len(first)], codes[len(first) :]
    n_mine, n_others = (np.bincount(part, minlength=len(strata)) for part in (mine, others))
    shared = (n_mine > 0) & (n_others > 0)
    total = max(1, int(n_others[shared].sum()))
    each = np.where(shared, n_others / (np.maximum(n_mine, 1) * total), 0.0)
    return each[mine], shared[others]


def _compare(
    name: str, first: NDArray[np.float32], second: NDArray[np.float32], weights: NDArray[np.float64]
) -> dict[str, Any]:
    distance, p = weighted_ks(first, second, weights)
    middle = np.quantile(first, 0.5, weights=weights, method="inverted_cdf")
    return {"name": name, "train": float(middle), "test": float(np.median(second)), "ks": distance, "p": p}


def _findings(found: list[dict[str, Any]], n_test: int) -> list[Finding]:
    differ = [one for one in found if one["p"] < ALPHA and one["ks"] >= DISTANCE]
    if not differ:
        return []
    told = listing([_told(one) for one in differ], NAMED)
    return [
        Finding(
            check="drift",
            kind="properties-differ",
            severity="warning" if differ[0]["ks"] >= LARGE_DISTANCE else "info",
            count=len(differ),
            message=f"{len(differ):,} of {len(found):,} properties differ between training and test images of the same "
            f"classes (medians; largest difference of cumulative shares): {told}.",
            why="Images that were taken, scaled or compressed in another way are answered worse than the score of a "
            "part that is like the training part would tell.",
            action="Find out why the parts differ in this; prepare both in the same way, or split all images anew.",
        )
    ]


def _told(one: dict[str, Any]) -> str:
    before, after = (property_amount(one["name"], one[part]) for part in ("train", "test"))
    medians = f" {before} against {after}" if before != after else ""
    return f"{property_title(one['name'])}{medians} ({100 * one['ks']:.0f} %)"
