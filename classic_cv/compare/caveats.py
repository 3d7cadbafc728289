"""What a verdict must not be trusted for: leaks, shortcuts, too few images, chance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.compare.result import Result
from classic_cv.compare.wording import listed, points, seeds
from classic_cv.report import percent
from classic_cv.stats import accuracy_interval, smallest_difference

FEW = 5
"""Test images of a class below which nothing can be said about it."""

COARSE = 0.02
"""A test part that cannot show a difference of so much is named."""

SHORTCUT = 0.15
"""So far above chance should image properties alone not get."""


def caveats(
    results: Sequence[Result],
    reference: Result | None,
    deep: Result | None,
    comparisons: Sequence[Mapping[str, Any]],
    y: NDArray[np.integer[Any]],
    class_names: Sequence[str],
) -> list[str]:
    """The warnings of a comparison, the gravest first. Arguments as in the verdict."""
    named = {r.name: r for r in results if r.right is not None}
    counts = np.bincount(y, minlength=len(class_names))
    chance = float(counts.max() / len(y)) if len(y) else 1.0
    return [
        *_one_class(counts, class_names),
        *_leak(named.get("shuffled"), chance),
        *_shortcut(named.get("properties"), named.get("dummy"), reference, chance),
        *_no_better_than_chance(reference, named.get("dummy"), comparisons, chance),
        *_too_small(results, deep, comparisons, len(y)),
        *_seed_matters(reference, deep, comparisons),
        *_few_images(counts, class_names),
    ]


def _low(result: Result) -> float:
    """The low end of the interval of its accuracy."""
    right = result.right
    return accuracy_interval(int(right.sum()), len(right))[0] if right is not None and len(right) else 0.0


def _one_class(counts: NDArray[np.intp], class_names: Sequence[str]) -> Iterator[str]:
    if np.count_nonzero(counts) == 1:
        name = class_names[int(counts.argmax())]
        yield f"all test images are of one class ({name}): accuracy says nothing about telling classes apart"


def _leak(shuffled: Result | None, chance: float) -> Iterator[str]:
    if shuffled and _low(shuffled) > chance:
        yield (
            f"shuffled, which learns from shuffled labels, is right on {percent(shuffled.accuracy)} of the test "
            f"images, above the {percent(chance)} of the largest class: the evaluation leaks, trust no figure of it"
        )


def _shortcut(
    properties: Result | None, dummy: Result | None, reference: Result | None, chance: float
) -> Iterator[str]:
    if properties is None:
        return
    floor = max(chance, dummy.accuracy if dummy else 0.0)
    far = properties.accuracy > floor + SHORTCUT
    if reference and _low(properties) > floor:
        far |= properties.accuracy > floor + (reference.accuracy - floor) / 2
    if far:
        yield (
            f"properties, which sees sizes, formats and the like but no picture, is right on "
            f"{percent(properties.accuracy)} of the test images, {points(properties.accuracy - floor)} above always "
            "the same answer: contestants may use a shortcut that is not in the pictures of other sources"
        )


def _no_better_than_chance(
    reference: Result | None, dummy: Result | None, comparisons: Sequence[Mapping[str, Any]], chance: float
) -> Iterator[str]:
    if reference is None:
        return
    if dummy is None:
        above = _low(reference) > chance
    else:
        above = any(found["name"] == dummy.name and found["claim"] == "worse" for found in comparisons)
    if not above:
        yield f"{reference.name}, the best classical contestant, is not shown to be better than always the same answer"


def _too_small(
    results: Sequence[Result], deep: Result | None, comparisons: Sequence[Mapping[str, Any]], n: int
) -> Iterator[str]:
    """For the comparison that matters: of the deep one, else of the most accurate, with the reference."""
    by_name = {found["name"]: found for found in comparisons}
    rivals = [deep] if deep else sorted((r for r in results if r.may_win), key=Result.rank)
    pairs = [by_name[r.name] for r in rivals if r.name in by_name]
    if not pairs:
        return
    pair = pairs[0]
    smallest = smallest_difference(n, (pair["wins"] + pair["losses"]) / n)
    if smallest is None:
        yield f"a test part of {n} is too small to show any difference between contestants"
        return
    open_ = pair["claim"] not in ("better", "worse") and smallest > abs(pair["difference"])
    if smallest > COARSE or open_:
        observed = f", the observed one is {points(pair['difference'])}" if open_ else ""
        yield (
            f"{n} test images show differences between {pair['name']} and {pair['reference']} from about "
            f"{points(smallest)} on (with 80 % power){observed}: smaller ones remain open"
        )


def _seed_matters(
    reference: Result | None, deep: Result | None, comparisons: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """A difference that was shown for one seed, and may be another one's the other way round."""
    for found in comparisons:
        if deep is None or reference is None or found["name"] != deep.name:
            continue
        spread = max(np.ptp(seeds(deep)), np.ptp(seeds(reference)))
        if found["claim"] in ("better", "worse") and spread > abs(found["difference"]):
            yield (
                f"another seed moves the accuracy by up to {points(float(spread))}, more than the "
                f"{points(found['difference'])} between {deep.name} and {reference.name}"
            )


def _few_images(counts: NDArray[np.intp], class_names: Sequence[str]) -> Iterator[str]:
    few = [
        f"{name}: {count}" for name, count in zip(class_names, counts.tolist(), strict=True) if count < FEW
    ]
    if few:
        yield (
            f"{len(few)} of {len(class_names)} classes have fewer than {FEW} test images ({listed(few)}): "
            "nothing can be said about them one by one"
        )
