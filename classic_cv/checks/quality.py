"""Single images that are dark, bright, flat, blurred, empty, oddly shaped or sized, or gray among color."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.finding import Checked, Finding, Item
from classic_cv.checks.quality_rules import BLANK, RULES, Rule, column
from classic_cv.checks.subject import Subject
from classic_cv.checks.survey import Survey
from classic_cv.checks.wording import small_share

DEVIATIONS = 3.5
"""Robust standard deviations from the median that make an outlier (Iglewicz & Hoaglin, How to Detect and Handle
Outliers, 1993)."""

MAD_TO_DEVIATION = 1.4826
"""Standard deviation over median absolute deviation of a normal distribution."""

LEAST_APART = 1.0
"""What an outlier is away from the median at least, however alike the images are: half or twice as much, one bit, or
one unit of the logarithm of sharpness. Where more than half of the images have the same value the deviation is zero."""

LEAST_IMAGES = 20
"""Images below which a median and its deviation say nothing, so that the defaults alone decide."""

GRAY_SHARE = 0.1
"""Share of gray images up to which they are exceptions among color ones."""


def check_quality(subject: Subject) -> Checked:
    """The check ``quality``: for each kind the images beyond both thresholds, the worst first.

    Its figures: for each kind ``threshold``, the stricter of ``default`` and ``from_data``, ``median``, ``unit`` and
    ``n`` flagged. ``from_data`` is 3.5 robust standard deviations from the median, at least ``LEAST_APART``, and None
    for fewer than 20 images: a set that is dark as a whole has no dark images.
    """
    survey = subject.survey
    if not len(survey):
        return Checked(left_out={"quality": "no image can be decoded."})
    blank = column("deviation")(survey) < BLANK
    checked = Checked(figures={"quality": {"images": len(survey)}})
    figures = checked.figures["quality"]
    figures["blank"] = {"threshold": BLANK, "default": BLANK, "from_data": None, "n": int(blank.sum())}
    checked.findings += _blank(survey, blank)
    for rule in RULES:
        figures[rule.kind], found = _apply(rule, survey, blank)
        checked.findings += found
    figures["gray-among-color"], found = _gray(survey, blank)
    checked.findings += found
    return checked


def _apply(rule: Rule, survey: Survey, blank: NDArray[np.bool_]) -> tuple[dict[str, Any], list[Finding]]:
    values = rule.measure(survey)
    sign = rule.direction
    median = float(np.median(values))
    from_data = _outlying(values, sign) if len(values) >= LEAST_IMAGES else None
    threshold = rule.default if from_data is None else sign * max(sign * rule.default, sign * from_data)
    beyond = sign * (values - threshold)
    bad = np.flatnonzero((beyond > 0) & ~blank)
    figures = {
        "threshold": rule.told(threshold),
        "default": rule.told(rule.default),
        "from_data": None if from_data is None else rule.told(from_data),
        "median": rule.told(median),
        "unit": rule.unit,
        "n": len(bad),
    }
    return figures, [_finding(rule, survey, values, beyond, bad)] if len(bad) else []


def _finding(
    rule: Rule,
    survey: Survey,
    values: NDArray[np.float64],
    beyond: NDArray[np.float64],
    bad: NDArray[np.intp],
) -> Finding:
    """The images in the rows ``bad``, the worst first; ``beyond`` is each image's distance past the threshold."""
    measured = rule.unit.split(" (")[0]
    items = tuple(
        Item((int(survey.indices[row]),), float(beyond[row]), f"{measured} {rule.told(values[row]):.3g}")
        for row in bad[np.argsort(-beyond[bad], kind="stable")].tolist()
    )
    threshold = rule.told(values[bad[0]] - rule.direction * beyond[bad[0]])
    message = (
        f"{_images(len(bad), len(survey))} {'is' if len(bad) == 1 else 'are'} {rule.words}: {rule.unit} "
        f"{'below' if rule.direction < 0 else 'above'} {threshold:.3g}, where "
        f"{rule.told(float(np.median(values))):.3g} is usual."
    )
    scoring = "distance to the threshold"
    return Finding("quality", rule.kind, "info", len(bad), message, rule.why, rule.action, items, scoring)


def _outlying(values: NDArray[np.float64], sign: int) -> float:
    """Where outliers begin on one side of the median."""
    median = float(np.median(values))
    deviation = MAD_TO_DEVIATION * float(np.median(np.abs(values - median)))
    return median + sign * max(LEAST_APART, DEVIATIONS * deviation)


def _images(count: int, total: int) -> str:
    return f"{count:,} of {total:,} images ({small_share(count / total)})"


def _blank(survey: Survey, blank: NDArray[np.bool_]) -> list[Finding]:
    rows = np.flatnonzero(blank)
    if not len(rows):
        return []
    one = len(rows) == 1
    message = f"{_images(len(rows), len(survey))} {'is' if one else 'are'} blank: all pixels are alike."
    why = "A blank image shows nothing: whatever its label says, it teaches and tests nothing."
    items = tuple(Item((int(survey.indices[row]),), 1.0, "all pixels are alike") for row in rows)
    action = "Restore them from their source, or remove them."
    return [
        Finding("quality", "low-information", "warning", len(rows), message, why, action, items, "blank"),
    ]


def _gray(survey: Survey, blank: NDArray[np.bool_]) -> tuple[dict[str, Any], list[Finding]]:
    """Blank images have no color to lack."""
    gray, shown = survey.gray & ~blank, int((~blank).sum())
    share = float(gray.sum() / shown) if shown else 0.0
    rows = np.flatnonzero(gray) if share <= GRAY_SHARE else np.zeros(0, np.intp)
    figures = {"threshold": GRAY_SHARE, "default": GRAY_SHARE, "from_data": share, "n": len(rows)}
    if not len(rows):
        return figures, []
    message = f"{_images(len(rows), len(survey))} {'has' if len(rows) == 1 else 'have'} no color among color images."
    items = tuple(Item((int(survey.indices[row]),), 1.0, "no color") for row in rows)
    why = "A model that goes by color sees them as something else."
    action = "Look for color originals, or judge all images in gray."
    return figures, [
        Finding("quality", "gray-among-color", "info", len(rows), message, why, action, items, "gray")
    ]
