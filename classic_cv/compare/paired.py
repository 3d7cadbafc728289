"""Contestants against another on the same test images: differences, intervals, tests, and what may be claimed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.compare.result import Result
from classic_cv.stats import holm, mcnemar_exact, paired_difference

ALPHA = 0.05
"""Of the tests; also of the intervals."""

MOST_CLASSES = 5


def differences(rivals: Sequence[Result], reference: Result) -> list[dict[str, Any]]:
    """Each rival's accuracy less the reference's, paired, with a claim where both interval and test allow it.

    The interval alone would claim too much of few images (five wins and no loss exclude 0), the test alone tells no
    size: a claim needs an interval without 0 and a p-value below 0.05 after Holm's correction for all the rivals.

    Args:
        rivals: all measured on the images that the reference was measured on.

    Returns:
        an entry per rival: ``name, reference, difference, ci95, mcnemar_p, holm_p, wins, losses, claim, reason``;
        ``ci95`` is None for a single image.
    """
    a = [_right(rival) for rival in rivals]
    b = _right(reference)
    tests = [mcnemar_exact(right, b) for right in a]
    adjusted = holm([p for _, _, p in tests])
    out = []
    for rival, right, (wins, losses, p), holm_p in zip(rivals, a, tests, adjusted, strict=True):
        difference, interval = paired_difference(right, b)
        reason = rival.no_claim or reference.no_claim
        if interval is None and not reason:
            reason = "there is a single test image"
        out.append(
            {
                "name": rival.name,
                "reference": reference.name,
                "difference": difference,
                "ci95": None if interval is None else list(interval),
                "mcnemar_p": p,
                "holm_p": holm_p,
                "wins": wins,
                "losses": losses,
                "claim": "none" if reason else _claim(interval, holm_p),
                "reason": reason,
            }
        )
    return out


def comparisons(
    results: Sequence[Result],
    reference: Result | None,
    y: NDArray[np.integer[Any]],
    class_names: Sequence[str],
) -> list[dict[str, Any]]:
    """Every measured contestant against the reference: ``differences`` with the ratios of costs and single classes.

    Args:
        y: (n_test,) true class numbers.

    Returns:
        what ``differences`` returns, and ``latency_ratio`` (p50, one thread), ``size_ratio``, ``fit_ratio`` (CPU
        seconds), each None where one of the two is not known, and ``per_class``.
    """
    if reference is None:
        return []
    rivals = [result for result in results if result.right is not None and result is not reference]
    return [
        found
        | {
            "latency_ratio": _ratio(rival.latency("p50"), reference.latency("p50")),
            "size_ratio": _ratio(rival.figure("model_bytes"), reference.figure("model_bytes")),
            "fit_ratio": _ratio(rival.figure("fit_cpu_seconds"), reference.figure("fit_cpu_seconds")),
            "per_class": class_differences(_right(rival), _right(reference), y, class_names),
        }
        for rival, found in zip(rivals, differences(rivals, reference), strict=True)
    ]


def class_differences(
    a: NDArray[np.bool_], b: NDArray[np.bool_], y: NDArray[np.integer[Any]], class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """The classes whose recall differs, the largest difference first, at most five.

    A class is told when the interval of the paired difference excludes 0 and the exact test agrees. Neither is
    adjusted for the number of classes: where to look, not what is proven.

    Returns:
        an entry per class: ``class, n, difference, ci95``.
    """
    out: list[dict[str, Any]] = []
    for k, name in enumerate(class_names):
        mine = y == k
        if mcnemar_exact(a[mine], b[mine])[2] >= ALPHA:
            continue
        difference, interval = paired_difference(a[mine], b[mine])
        if interval is not None and (interval[0] > 0 or interval[1] < 0):
            n = int(mine.sum())
            out.append({"class": name, "n": n, "difference": difference, "ci95": list(interval)})
    return sorted(out, key=lambda found: -abs(found["difference"]))[:MOST_CLASSES]


def _right(result: Result) -> NDArray[np.bool_]:
    if result.right is None:
        raise ValueError(f"{result.name} was not measured")
    return result.right


def _claim(interval: tuple[float, float] | None, p: float) -> str:
    if interval is not None and p < ALPHA:
        if interval[0] > 0:
            return "better"
        if interval[1] < 0:
            return "worse"
    return "no difference shown"


def _ratio(mine: float | None, other: float | None) -> float | None:
    return mine / other if mine is not None and other else None
