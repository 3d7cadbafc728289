"""Borders that give classes away: one color along sides, or edges that are all alike, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from classic_cv.checks.evidence import Evidence, columns_of
from classic_cv.checks.finding import Finding
from classic_cv.checks.frames import SIDES, THROUGHOUT, Frame, frames
from classic_cv.checks.predictive import LEAST_PART, Separation, separations
from classic_cv.checks.shortcut_wording import (
    ALPHA,
    MOST_CLASSES,
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
from classic_cv.report import percent

SAME_BORDER = 0.15
"""Spread of the border's colors within a class over that among other images up to which borders are all alike: drawn
frames had 0.03 or less, clean sets 0.28 or more."""

NAMED = 3
"""Classes whose frames are described."""

BLACK, WHITE = 16, 239
"""Values up to which, and from which, a color is called so: JPEG moves them by a few."""


def border_findings(evidence: Evidence) -> tuple[list[Finding], set[int]]:
    """Findings of kind ``border``, and the classes that they are about."""
    border = columns_of(evidence.subject, evidence.indices, "border")
    drawn = frames(border, evidence.codes, LEAST_PART, ALPHA)
    framed = {frame.code for frame in drawn}
    alike = [one for one in _alike(evidence) if one.code not in framed]
    found = [_colored(drawn, evidence)] if drawn else []
    return found + ([_same(alike, evidence)] if alike else []), framed | {one.code for one in alike}


def _alike(evidence: Evidence) -> list[Separation]:
    """Classes that the border gives away, and whose borders are all alike."""
    if "border" not in evidence.models:
        return []
    found = separations(["border"], [evidence.models["border"]], evidence.codes)
    return [
        one
        for one in found
        if one.auc >= PERFECT and one.p < ALPHA and evidence.border_spread(one.code) <= SAME_BORDER
    ]


def _colored(found: Sequence[Frame], evidence: Evidence) -> Finding:
    described = "; ".join(_described(frame, evidence) for frame in found[:NAMED])
    more = f"; and so on in {len(found) - NAMED:,} more" if len(found) > NAMED else ""
    return Finding(
        "shortcut",
        "border",
        # What a part of a class has leaves the score some of its worth.
        severity(sum(share_of(one.members, one.code, evidence) >= THROUGHOUT for one in found), evidence),
        len(found),
        f"{told([frame.code for frame in found], evidence)} by the border alone: {described}{more}.",
        WHY,
        "Cut the border off all images, of every class by as much.",
        tuple(
            item
            for frame in found[:MOST_CLASSES]
            for item in examples_of(
                frame.code, share_of(frame.members, frame.code, evidence), frame.members, evidence
            )
        ),
        SCORING_PART,
    )


def _described(frame: Frame, evidence: Evidence) -> str:
    sides = "all sides" if len(frame.sides) == len(SIDES) else f"the {' and '.join(frame.sides)}"
    shared = len(frame.sharing) - 1
    others = (
        "of the other classes'" if not shared else f"but for {shared} classes with the same, of the others'"
    )
    return (
        f"{some_of(frame.members, frame.code, evidence)} have {_color(frame.color)} along {sides}, "
        f"{others} {percent(frame.elsewhere)}"
    )


def _color(color: tuple[int, int, int]) -> str:
    """A word where there is one, or red, green and blue."""
    if max(color) <= BLACK:
        return "black"
    if min(color) >= WHITE:
        return "white"
    return f"the color ({color[0]}, {color[1]}, {color[2]})"


def _same(found: Sequence[Separation], evidence: Evidence) -> Finding:
    low, high = found[0].ci95
    spread = percent(evidence.border_spread(found[0].code))
    return Finding(
        "shortcut",
        "border",
        severity(len(found), evidence),
        len(found),
        f"{told([one.code for one in found], evidence)} by the outermost pixels alone: AUC {found[0].auc:.3f} (95 % "
        f"interval {low:.3f} to {high:.3f}); the borders of {evidence.class_name(found[0].code)} are nearly all the "
        f"same, with {spread} of the spread among other images: a frame.",
        WHY,
        "Cut the border off all images, of every class by as much.",
        examples([(one.code, one.auc) for one in found], evidence),
        SCORING,
    )
