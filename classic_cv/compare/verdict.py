"""Which contestant to use, whether the deep one is worth its cost, and what not to trust.

Rules, in words. The reference is the most accurate classical contestant that keeps the limits. The winner is the most
accurate contestant that keeps them, unless one that is not shown to be worse answers in at most half the time. About a
contestant whose fit did not end well (undertrained, over budget, failed) no claim is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.compare.caveats import caveats
from classic_cv.compare.entries import Limits
from classic_cv.compare.paired import ALPHA, comparisons, differences
from classic_cv.compare.result import Result, breach
from classic_cv.compare.wording import challenge_text, verdict_text
from classic_cv.errors import ParameterError
from classic_cv.stats import mcnemar_exact, paired_difference

FASTER = 2.0
"""So many times as fast must one be that is taken instead of a more accurate one."""


def judge(
    contestants: Sequence[Mapping[str, Any]],
    right: Mapping[str, NDArray[np.bool_]],
    y: NDArray[np.integer[Any]],
    class_names: Sequence[str],
    *,
    latency_limit_ms: float | None = None,
    size_limit_mb: float | None = None,
    challenger: str | None = None,
    margin: float = 0.0,
    confidence: float = 0.95,
) -> dict[str, Any]:
    """The verdict of a comparison, as plain data for JSON.

    Args:
        contestants: as in the record; their names differ.
        right: by name, bool (n_test,): which test images it is right on. Those not measured are left out.
        y: (n_test,) true class numbers.
        class_names: by class number.
        latency_limit_ms: for the 95th percentile of a single image on one thread.
        size_limit_mb: for the stored model, in 10^6 bytes.
        challenger: the contestant that must beat the best other classical one.
        margin: by more than this share, 0 or more.
        confidence: of the interval whose low end must be above the margin.

    Returns:
        ``winner, text, warnings, front, reference, best_deep, comparisons, challenger``.

    Raises:
        ParameterError: the challenger is no contestant, ``right`` does not fit ``y``, or there is no test image.
    """
    results = _results(contestants, right, len(y))
    limits = Limits(latency_limit_ms, size_limit_mb)
    reference = best(results, limits, ("classical",))
    deep = best_deep(results, limits)
    winner, instead_of = choose(results, limits)
    found = comparisons(results, reference, y, class_names)
    return {
        "winner": winner.name if winner else None,
        "text": verdict_text(results, limits, winner, instead_of, reference, deep, found),
        "warnings": caveats(results, reference, deep, found, y, class_names),
        "front": front(results),
        "reference": reference.name if reference else None,
        "best_deep": deep.name if deep else None,
        "comparisons": found,
        "challenger": None
        if challenger is None
        else challenge(results, limits, challenger, margin, confidence),
    }


def _results(
    contestants: Sequence[Mapping[str, Any]], right: Mapping[str, NDArray[np.bool_]], n: int
) -> list[Result]:
    if n == 0:
        raise ParameterError("there is no test image: a comparison needs at least one")
    for name, answers in right.items():
        if answers.shape != (n,):
            raise ParameterError(
                f"{name}: answers to {answers.shape} test images, there are {n}: give one for each"
            )
    return [Result(record, right.get(record["name"])) for record in contestants]


def best(
    results: Sequence[Result], limits: Limits, kinds: Sequence[str], but: Result | None = None
) -> Result | None:
    """The most accurate contestant of these kinds that may win and keeps the limits."""
    ranked = sorted(
        (e for e in results if e.may_win and e.kind in kinds and e is not but and not breach(e, limits)),
        key=Result.rank,
    )
    return ranked[0] if ranked else None


def best_deep(results: Sequence[Result], limits: Limits) -> Result | None:
    """The most accurate deep one, else hybrid, else given one: of those that keep the limits, if there are any."""
    for kinds in (("deep",), ("hybrid",), ("given",)):
        found = best(results, limits, kinds) or best(results, Limits(), kinds)
        if found:
            return found
    return None


def choose(results: Sequence[Result], limits: Limits) -> tuple[Result | None, dict[str, Any] | None]:
    """The winner, and its difference to the most accurate one where it was taken instead of that."""
    ranked = sorted((e for e in results if e.may_win and not breach(e, limits)), key=Result.rank)
    if not ranked:
        return None, None
    first, *others = ranked
    slow = first.latency("p50")
    for other, found in zip(others, differences(others, first), strict=True):
        fast = other.latency("p50")
        if found["claim"] != "worse" and fast is not None and slow is not None and FASTER * fast <= slow:
            return other, found | {"speedup": slow / fast if fast else None}
    return first, None


def front(results: Sequence[Result]) -> list[str]:
    """Names on the Pareto front of accuracy, latency (p50, one thread) and model size, the fastest first.

    No other is at least as good in all three and better in one. Floors, and those whose cost is not known, are left
    out.
    """
    costs = {}
    for result in results:
        p50, size = result.latency("p50"), result.figure("model_bytes")
        if result.may_win and p50 is not None and size is not None:
            costs[result.name] = (p50, size, -result.accuracy)
    kept = [
        name
        for name, mine in costs.items()
        if not any(
            other != mine and all(o <= m for o, m in zip(other, mine, strict=True))
            for other in costs.values()
        )
    ]
    return sorted(kept, key=lambda name: costs[name])


def challenge(
    results: Sequence[Result], limits: Limits, name: str, margin: float, confidence: float
) -> dict[str, Any]:
    """Whether the named contestant beats the best other classical one by more than the margin.

    The low end of the paired interval must be above it, and the exact McNemar test must agree that there is a
    difference at all: on a handful of images an interval alone would let it pass.

    Raises:
        ParameterError: there is no such contestant.
    """
    named = {result.name: result for result in results}
    if name not in named:
        raise ParameterError(
            f"challenger {name!r} is not among the contestants: name one of {', '.join(named)}"
        )
    result = named[name]
    reference = best(results, limits, ("classical",), but=result)
    obstacle = result.no_claim or breach(result, limits)
    if not obstacle and reference is None:
        obstacle = "there is no other classical contestant to beat"
    difference, interval, passed = None, None, False
    if not obstacle and result.right is not None and reference is not None and reference.right is not None:
        difference, interval = paired_difference(result.right, reference.right, confidence=confidence)
        _, _, p = mcnemar_exact(result.right, reference.right)
        passed = interval is not None and interval[0] > margin and p < ALPHA
        if interval is None or (interval[0] > margin and not passed):
            obstacle = f"a test part of {len(result.right)} is too small to show a difference"
    text = challenge_text(name, reference, difference, interval, margin, confidence, obstacle)
    return {"name": name, "margin": margin, "passed": passed, "text": text}
