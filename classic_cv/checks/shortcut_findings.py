"""Which of the things that tell classes apart are shortcuts and which are what the classes look like, in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.class_groups import Grouping
from classic_cv.checks.evidence import FULL, Evidence
from classic_cv.checks.finding import Finding, Item
from classic_cv.checks.frame_findings import border_findings
from classic_cv.checks.predictive import Part, Separation
from classic_cv.checks.shortcut_wording import (
    ALPHA,
    PERFECT,
    SCORING,
    SCORING_PART,
    WHY,
    examples,
    examples_of,
    severity,
    share_of,
    some_of,
    told,
)
from classic_cv.checks.source_findings import source_findings
from classic_cv.checks.wording import property_title
from classic_cv.report import percent
from classic_cv.stats import accuracy_interval, paired_difference

WRITTEN = (
    "longer_side",
    "shorter_side",
    "log_width",
    "log_height",
    "log_aspect",
    "jpeg_quality",
    "jpeg_subsampling",
    "jpeg_progressive",
    "format",
    "mode",
    "orientation",
    "pixel_quality",
    "blockiness",
)
"""Properties of how an image was stored, not of what it shows: whatever tells a class by them is a shortcut."""

NEAR_PERFECT = 0.9
"""Area under the ROC curve of a stored property from which a class is said to be given away: classes of photos that
differ in how they were framed had at most 0.77, a class that was stored in another way had 0.998 or more."""

CONSTANT = 0.05
"""Spread of a property within a class over that among other images below which it is the same throughout the class, as
nothing is that an image shows: grayed and framed classes had 0.02 or less, clean ones 0.15 or more."""

FRAMED = ("border_contrast", "border_deviation", "blockiness")
"""Properties that a frame changes: a finding of the frame says it all."""


def shortcut_findings(evidence: Evidence) -> list[Finding]:
    """Findings of kinds ``property``, ``border``, ``color``, ``properties`` and ``source``."""
    border, framed = border_findings(evidence)
    given_away = [
        one
        for one in evidence.properties
        if _is_shortcut(one, evidence) and not (one.code in framed and one.name in FRAMED)
    ]
    known = framed | {one.code for one in given_away}
    groups = _groups(
        [
            one
            for one in evidence.groupings
            if not known.issuperset(one.codes) and not (framed and one.name in FRAMED)
        ],
        evidence,
    )
    # Where classes were treated in groups, what tells one within its group is a remainder of that.
    parts = [] if groups else [one for one in evidence.parts if one.code not in known]
    return [
        *_properties(given_away, evidence),
        *groups,
        *_parts(parts, evidence),
        *border,
        *source_findings(evidence),
        *_as_good(evidence),
    ]


def _is_shortcut(one: Separation, evidence: Evidence) -> bool:
    if one.p >= ALPHA:
        return False
    if one.name in WRITTEN:
        return one.auc >= NEAR_PERFECT
    return one.auc >= PERFECT and _constant(one.name, evidence.codes == one.code, evidence)


def _constant(name: str, inside: NDArray[np.bool_], evidence: Evidence) -> bool:
    """Whether a property is the same in all of these images, as compared with the others."""
    these, others = evidence.divided(name, inside)
    return float(these.std()) <= CONSTANT * float(others.std())


def _mostly_constant(one: Part, evidence: Evidence) -> bool:
    """The same of the middle half of the values: among images that are told are some that only happened to be."""
    these, others = (np.quantile(values, (0.25, 0.75)) for values in evidence.divided(one.name, one.members))
    return float(np.ptp(these)) <= CONSTANT * float(np.ptp(others))


def _properties(given_away: Sequence[Separation], evidence: Evidence) -> Iterable[Finding]:
    """One finding for each property, of the classes that it tells best; what else tells them is named with it."""
    by_class: dict[int, list[Separation]] = {}
    for one in sorted(
        given_away, key=lambda one: (-round(one.auc, 2), one.name not in WRITTEN, _rank(one.name))
    ):
        by_class.setdefault(one.code, []).append(one)
    by_property: dict[str, list[int]] = {}
    for code, found in by_class.items():
        by_property.setdefault(found[0].name, []).append(code)
    for name, codes in by_property.items():
        others = sorted(
            {property_title(one.name) for code in codes for one in by_class[code][1:]}
            - {property_title(name)}
        )
        yield _property([by_class[code][0] for code in codes], others, evidence)


def _rank(name: str) -> int:
    """The file's own words before what is measured."""
    order = ("format", "mode", "jpeg_quality", "longer_side", "pixel_quality", *WRITTEN)
    return order.index(name) if name in order else len(order)


def _property(found: Sequence[Separation], others: Sequence[str], evidence: Evidence) -> Finding:
    name = property_title(found[0].name)
    first = found[0]
    low, high = first.ci95
    named = told([one.code for one in found], evidence)
    typical, elsewhere = evidence.typical(first.name, evidence.codes == first.code)
    also = f"; so do {', '.join(others)}" if others else ""
    message = (
        f"{named} by {name} alone: AUC {first.auc:.3f} (95 % interval {low:.3f} to {high:.3f}), "
        f"{name} {typical} in {evidence.class_name(first.code)}, {elsewhere} elsewhere{also}."
    )
    return Finding(
        "shortcut",
        f"property-{name.replace(' ', '-')}",
        severity(len(found), evidence),
        len(found),
        message,
        WHY,
        _action(name),
        examples([(one.code, one.auc) for one in found], evidence),
        SCORING,
    )


def _action(name: str) -> str:
    return f"Store and treat the images of all classes alike ({name}) from their originals, or collect them in one way."


def _groups(found: Sequence[Grouping], evidence: Evidence) -> list[Finding]:
    """Of each group of classes the property that tells it best; what else tells it is named with it."""
    by_codes: dict[tuple[int, ...], list[Grouping]] = {}
    for one in sorted(found, key=lambda one: (-round(one.auc, 2), _rank(one.name))):
        if _tells_group(one, evidence):
            by_codes.setdefault(one.codes, []).append(one)
    return [_group(ones, evidence) for ones in by_codes.values()]


def _tells_group(one: Grouping, evidence: Evidence) -> bool:
    if one.p >= ALPHA or one.auc < PERFECT:
        return False
    inside = np.isin(evidence.codes, one.codes)
    return one.name in WRITTEN or any(_constant(one.name, group, evidence) for group in (inside, ~inside))


def _group(found: Sequence[Grouping], evidence: Evidence) -> Finding:
    first, (low, high) = found[0], found[0].ci95
    name = property_title(first.name)
    typical, elsewhere = evidence.typical(first.name, np.isin(evidence.codes, first.codes))
    also = f"; so do {', '.join(property_title(one.name) for one in found[1:])}" if len(found) > 1 else ""
    return Finding(
        "shortcut",
        f"property-{name.replace(' ', '-')}",
        severity(len(first.codes), evidence),
        len(first.codes),
        f"{told(first.codes, evidence)} by {name} alone: AUC {first.auc:.3f} (95 % interval {low:.3f} to {high:.3f}), "
        f"{name} {typical} in these classes, {elsewhere} in all others{also}.",
        WHY,
        _action(name),
        examples([(code, first.auc) for code in first.codes], evidence),
        SCORING,
    )


def _parts(found: Sequence[Part], evidence: Evidence) -> list[Finding]:
    """Of each class the property that tells most of its images."""

    def worth(one: Part) -> tuple[float, int]:
        return -round(share_of(one.members, one.code, evidence), 1), _rank(one.name)

    best: dict[int, Part] = {}
    for one in sorted(found, key=worth):
        if one.p < ALPHA and (one.name in WRITTEN or _mostly_constant(one, evidence)):
            best.setdefault(one.code, one)
    return [_part(one, evidence) for one in best.values()]


def _part(one: Part, evidence: Evidence) -> Finding:
    name, others = property_title(one.name), evidence.codes != one.code
    typical, elsewhere = evidence.typical(one.name, one.members)
    return Finding(
        "shortcut",
        f"property-{name.replace(' ', '-')}",
        "warning",
        1,
        f"{some_of(one.members, one.code, evidence)} can be told by {name} alone, {typical} in them and {elsewhere} "
        f"elsewhere; {percent(float(one.members[others].mean()))} of the images of other classes are like them.",
        WHY,
        _action(name),
        _items(one, evidence),
        SCORING_PART,
    )


def _items(one: Part, evidence: Evidence) -> tuple[Item, ...]:
    return examples_of(one.code, share_of(one.members, one.code, evidence), one.members, evidence)


def _as_good(evidence: Evidence) -> Iterable[Finding]:
    """Parts of the images that do no worse than the whole, and better than the most common class."""
    if FULL not in evidence.models:
        return
    n = len(evidence.codes)
    dummy = float(np.bincount(evidence.codes).max() / n)
    for part in evidence.models:
        right = evidence.right(part)
        difference, interval = paired_difference(evidence.right(FULL), right)
        low, high = accuracy_interval(int(right.sum()), n)
        if part != FULL and low > dummy and interval is not None and interval[0] <= 0:
            yield _one_as_good(part, float(right.mean()), (low, high), difference, evidence)


def _one_as_good(
    part: str, accuracy: float, interval: tuple[float, float], difference: float, evidence: Evidence
) -> Finding:
    low, high = interval
    ahead = f"ahead by no more than {100 * difference:.1f} points" if difference > 0 else "not ahead"
    what = "File and image properties tell" if part == "properties" else f"The {part} alone tells"
    return Finding(
        "shortcut",
        f"{part}-as-good",
        "info",
        len(evidence.codes),
        f"{what} the class of {percent(accuracy)} (95 % interval {100 * low:.1f} to {percent(high)}, "
        f"n = {len(evidence.codes):,}) of the training images; the full model is {ahead}"
        f"{', which may be chance' * (difference > 0)}.",
        "Either the classes really differ in that, or they were collected differently and the score means little.",
        "Look at the strongest properties in the report and judge whether they would hold on images from elsewhere.",
    )
