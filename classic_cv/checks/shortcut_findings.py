"""Which of the things that tell classes apart are shortcuts and which are what the classes look like, in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from classic_cv.checks.evidence import FULL, Evidence, most_common
from classic_cv.checks.finding import Finding, Item, Severity
from classic_cv.checks.predictive import Separation, separations
from classic_cv.checks.sources import Source
from classic_cv.report import percent
from classic_cv.stats import accuracy_interval, paired_difference
from classic_cv.task import listed

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

ALPHA = 0.01
"""Of all properties and classes together (Holm): chance raises an alarm in one of a hundred data sets at most."""

NEAR_PERFECT = 0.9
"""Area under the ROC curve of a stored property from which a class is said to be given away: classes of photos that
differ in how they were framed had at most 0.77, a class that was stored in another way had 0.998 or more."""

PERFECT = 0.98
"""The same of what pixels show: classes that really look different reach 0.97 by sharpness or brightness alone."""

CONSTANT = 0.05
"""Spread of a property within a class over that among other images below which it is the same throughout the class, as
nothing is that an image shows: grayed and framed classes had 0.02 or less, clean ones 0.15 or more."""

SAME_BORDER = 0.15
"""The same for the colors along the border: drawn frames had 0.03 or less, clean sets 0.28 or more."""

FRAMED = ("border_contrast", "border_deviation", "blockiness")
"""Properties that a frame changes: a finding of the frame says it all."""

TELLING_SOURCE = 0.95
"""Area under the ROC curve from which a source is said to give a class away."""

SHARED = 0.1
"""Share of the images in folders of several classes from which folders are places or sessions, not kinds of a class."""

HALF = 0.5
"""Share of the classes from which a shortcut makes the score as a whole worthless: an error."""

EXAMPLES = 6
"""Images of each class that are shown."""

MOST_CLASSES = 20
"""Classes of which images are shown."""

_SCORING = "AUC of its class"
_WHY = "A model can learn this in place of what images show: it scores well here and fails on images from elsewhere."


def shortcut_findings(evidence: Evidence) -> list[Finding]:
    """Findings of kinds ``property``, ``border``, ``color``, ``properties`` and ``source``."""
    border = _framed(evidence)
    framed = {one.code for one in border}
    given_away = [
        one
        for one in evidence.properties
        if _is_shortcut(one, evidence) and not (one.code in framed and one.name in FRAMED)
    ]
    return [
        *_properties(given_away, evidence),
        *([_border(border, evidence)] if border else []),
        *_sources(evidence),
        *_as_good(evidence),
    ]


def _is_shortcut(one: Separation, evidence: Evidence) -> bool:
    if one.p >= ALPHA:
        return False
    if one.name in WRITTEN:
        return one.auc >= NEAR_PERFECT
    inside, outside = evidence.divided(one)
    return one.auc >= PERFECT and float(inside.std()) <= CONSTANT * float(outside.std())


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
        others = sorted({spoken(one.name) for code in codes for one in by_class[code][1:]} - {spoken(name)})
        yield _property([by_class[code][0] for code in codes], others, evidence)


def _rank(name: str) -> int:
    """The file's own words before what is measured."""
    order = ("format", "mode", "jpeg_quality", "longer_side", "pixel_quality", *WRITTEN)
    return order.index(name) if name in order else len(order)


def _property(found: Sequence[Separation], others: Sequence[str], evidence: Evidence) -> Finding:
    name = spoken(found[0].name)
    first = found[0]
    low, high = first.ci95
    typical, elsewhere = evidence.typical(first)
    also = f"; so do {', '.join(others)}" if others else ""
    message = (
        f"{_told(found, evidence)} by {name} alone: AUC {first.auc:.3f} (95 % interval {low:.3f} to {high:.3f}), "
        f"{name} {typical} in {evidence.class_name(first.code)}, {elsewhere} elsewhere{also}."
    )
    return Finding(
        "shortcut",
        f"property-{name.replace(' ', '-')}",
        _severity(len(found), evidence),
        len(found),
        message,
        _WHY,
        f"Store and treat the images of all classes alike ({name}) from their originals, or collect them in one way.",
        _examples(found, evidence),
        _SCORING,
    )


def spoken(name: str) -> str:
    """A property as it is told: ``log_bytes_per_pixel`` as ``bytes per pixel``."""
    words = name.removeprefix("log_").replace("_", " ")
    return words.replace("jpeg", "JPEG").replace("pixel quality", "JPEG quality seen in the pixels")


def _told(found: Sequence[Separation], evidence: Evidence) -> str:
    names = [evidence.class_name(one.code) for one in found]
    if len(names) == 1:
        return f"Class {names[0]} can be told from the others"
    return f"{len(names)} of {len(evidence.classes)} classes ({listed(names)}) can be told from the others"


def _severity(n: int, evidence: Evidence) -> Severity:
    return "error" if n >= HALF * len(evidence.classes) else "warning"


def _examples(found: Sequence[Separation], evidence: Evidence) -> tuple[Item, ...]:
    """Some images of each class."""
    return tuple(
        Item((int(index),), one.auc, f"class {evidence.class_name(one.code)}")
        for one in found[:MOST_CLASSES]
        for index in evidence.indices[evidence.codes == one.code][:EXAMPLES]
    )


def _framed(evidence: Evidence) -> list[Separation]:
    """Classes that the border gives away, and whose borders are all alike."""
    if "border" not in evidence.models:
        return []
    told = separations(["border"], [evidence.models["border"]], evidence.codes)
    return [
        one
        for one in told
        if one.auc >= PERFECT and one.p < ALPHA and evidence.border_spread(one.code) <= SAME_BORDER
    ]


def _border(found: Sequence[Separation], evidence: Evidence) -> Finding:
    low, high = found[0].ci95
    spread = percent(evidence.border_spread(found[0].code))
    return Finding(
        "shortcut",
        "border",
        _severity(len(found), evidence),
        len(found),
        f"{_told(found, evidence)} by the outermost pixels alone: AUC {found[0].auc:.3f} (95 % interval {low:.3f} to "
        f"{high:.3f}); its borders are nearly all the same, with {spread} of the spread among other images: a frame.",
        _WHY,
        "Cut the border off all images, of every class by as much.",
        _examples(found, evidence),
        _SCORING,
    )


def _sources(evidence: Evidence) -> Iterable[Finding]:
    found = {source.name: (source, _telling(source)) for source in evidence.sources}
    if found.get("day", (None, []))[1]:
        # A day lies in a month: that tells nothing more.
        found.pop("month", None)
    return [_source(source, telling, evidence) for source, telling in found.values() if telling]


def _telling(source: Source) -> list[Separation]:
    if source.name == "folder" and source.shared < SHARED:
        return []
    return [one for one in source.separations if one.auc >= TELLING_SOURCE and one.p < ALPHA]


def _source(source: Source, found: Sequence[Separation], evidence: Evidence) -> Finding:
    """A source that tells classes; the data's own groups stay together in a split, so they cost no honesty."""
    first = found[0]
    values = source.values[evidence.codes == first.code]
    usual = most_common(values)
    share = percent(float((values == usual).mean()))
    low, high = first.ci95
    return Finding(
        "shortcut",
        f"source-{source.name}",
        "info" if source.name == "group" else "warning",
        len(found),
        f"{_told(found, evidence)} by the {source.name} alone: AUC {first.auc:.3f} (95 % interval {low:.3f} to "
        f"{high:.3f}); {share} of {evidence.class_name(first.code)} have the {source.name} {usual!r}.",
        "What images of one source have in common, such as light and background, is then told as if it were the class.",
        f"Collect every class from several sources, and keep a {source.name} on one side of the split.",
        _examples(found, evidence),
        _SCORING,
    )


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
    what = "file and image properties" if part == "properties" else f"{part} alone"
    return Finding(
        "shortcut",
        f"{part}-as-good",
        "info",
        len(evidence.codes),
        f"{what.capitalize()} tell the class of {percent(accuracy)} (95 % interval {100 * low:.1f} to {percent(high)}, "
        f"n = {len(evidence.codes):,}) of the training images; the full model is ahead by no more than "
        f"{100 * difference:.1f} points, which may be chance.",
        "Either the classes really differ in that, or they were collected differently and the score means little.",
        "Look at the strongest properties in the report and judge whether they would hold on images from elsewhere.",
    )
