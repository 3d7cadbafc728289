"""What the figures of a score come to: findings in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from classic_cv.checks.answers import Measured
from classic_cv.checks.finding import Finding, Severity
from classic_cv.checks.wording import p_value
from classic_cv.report import percent

ALPHA = 0.05
"""Of the permutation test, where nothing is claimed from it alone."""

SPLIT_ALPHA = 0.001
"""Two tests of splits are made on every data set, and their images overlap: it takes more to raise an alarm."""

NEGLIGIBLE = 0.02
"""A lead over file properties below two points is none: people report such differences, but not as an achievement."""

REPORTED = 0.02
"""The difference in accuracy that papers and teams commonly report as an improvement."""

USELESS = 0.10
"""A test part that cannot show ten points cannot tell good models from poor ones."""

MATTERS = 0.02
"""Splits that differ by less change no decision, however sure the difference is."""


def score_findings(figures: Mapping[str, Any], part: Measured) -> list[Finding]:
    """Findings of kinds ``no-better-than-dummy``, ``no-better-than-properties``, ``small-test-part``,
    ``unstable-score`` and ``unlike-other-splits``.

    Args:
        figures: of the check ``score``.
        part: what they are measured on.
    """
    return [
        *_floors(figures, part),
        *_small(figures, part),
        *(_splits(figures["spread"]) if figures["scoring"] == "accuracy" else []),
    ]


def _floors(figures: Mapping[str, Any], part: Measured) -> list[Finding]:
    rows = {row["name"]: row for row in figures["rows"][:-1]}
    mine, dummy, properties = figures["rows"][-1], rows["dummy"], rows.get("properties")
    if not _is_ahead(dummy):
        return [_no_better_than_dummy(mine, dummy, figures, part)]
    if properties is None or _is_ahead(properties):
        return []
    return [_no_better_than_properties(mine, properties, part)]


def _is_ahead(row: Mapping[str, Any]) -> bool:
    """Whether the reference is better than this row, beyond chance."""
    interval = row["difference_ci95"]
    return interval is not None and interval[0] > 0


def _no_better_than_dummy(
    mine: Mapping[str, Any], dummy: Mapping[str, Any], figures: Mapping[str, Any], part: Measured
) -> Finding:
    p = (figures["permutation"] or {}).get("p")
    tells = p is not None and p < ALPHA
    chance = "" if p is None else f"; against shuffled labels {p_value(p)}"
    action = (
        "Look at balanced accuracy and at each class by itself, and get more test images before comparing models."
        if tells
        else "Check that labels belong to their images, and get more images before comparing any models."
    )
    return _finding(
        "no-better-than-dummy",
        "warning" if tells else "error",
        len(part.y),
        f"the classical model ({mine['name']}, {_score(mine)}) is not shown to be better than one that never looks at "
        f"the image ({_score(dummy)}) on {part.where}{chance}",
        "Where that is so, the score of any model on these images may be chance.",
        action,
    )


def _no_better_than_properties(
    mine: Mapping[str, Any], properties: Mapping[str, Any], part: Measured
) -> Finding:
    own = properties.get("accuracy")
    # A regression has no scale of its own: a tenth of the error is taken for what does not matter.
    margin = NEGLIGIBLE if own is not None else 0.1 * properties["mae"]
    return _finding(
        "no-better-than-properties",
        "error" if properties["difference"] < margin else "warning",
        len(part.y),
        f"the classical model ({mine['name']}, {_score(mine)}) is not shown to be better than file properties alone, "
        f"size, bytes, brightness, mean color ({_score(properties)}), on {part.where}",
        "What the images show may not be what their labels are told by, and a deep model would find the same shortcut.",
        "See which properties give the label away in the check shortcut, and make the classes alike in them."
        if own is not None
        else "See which of these go with the target, and add images in which they do not.",
    )


def _score(row: Mapping[str, Any]) -> str:
    if "mae" in row:
        return f"mean error {row['mae']:.4g}"
    low, high = row["ci95"]
    return f"{percent(row['accuracy'])} [{100 * low:.1f}, {100 * high:.1f}]"


def _small(figures: Mapping[str, Any], part: Measured) -> list[Finding]:
    if figures["scoring"] != "accuracy" or not part.is_test:
        return []
    smallest = figures["smallest_difference"]
    if smallest is not None and smallest <= REPORTED:
        return []
    shown = "no difference at all"
    if smallest is not None:
        shown = f"differences of {100 * smallest:.1f} points and more"
    share = figures["discordant"]
    disagree = (
        f", which disagree on {percent(share)} of them" if smallest is not None and share > smallest else ""
    )
    return [
        _finding(
            "small-test-part",
            "warning" if smallest is None or smallest > USELESS else "info",
            len(part.y),
            f"{part.where} can show {shown} between two models (80 % power, 95 % confidence){disagree}",
            f"Differences of {100 * REPORTED:.0f} points are commonly reported, and would be chance here.",
            "Compare models by paired intervals, on more test images or over several splits.",
        )
    ]


def _splits(spread: Mapping[str, Any] | None) -> list[Finding]:
    if spread is None:
        return []
    return [*_unstable(spread), *_unlike(spread)]


def _unstable(spread: Mapping[str, Any]) -> list[Finding]:
    from scipy.stats import chi2

    n, deviation, expected = len(spread["splits"]), spread["deviation"], spread["expected"]
    if deviation < MATTERS or expected == 0:
        return []
    p = float(chi2.sf((n - 1) * (deviation / expected) ** 2, n - 1))
    if p >= SPLIT_ALPHA:
        return []
    low, high = min(spread["splits"]), max(spread["splits"])
    tell = "tell the mean and spread over several splits."
    return [
        _finding(
            "unstable-score",
            "warning",
            n,
            f"on {n} other splits of the same images the score is {100 * low:.1f} to {percent(high)}: it varies by "
            f"{100 * deviation:.1f} points from split to split, where {spread['tested']:,} independent test images "
            f"explain {100 * expected:.1f} ({p_value(p)})",
            "The interval of one split is too narrow: images come in groups, so that there are fewer independent ones.",
            f"Count groups, not images, and {tell}"
            if spread["grouped"]
            else f"Give the groups (a manifest's group column), and {tell}",
        )
    ]


def _unlike(spread: Mapping[str, Any]) -> list[Finding]:
    from scipy.stats import norm

    if spread["given"] is None:
        return []
    difference = spread["given"] - spread["mean"]
    # All splits together have asked two thirds of the images: their mean errs like three of five independent ones.
    terms = spread["tested"] / spread["given_images"], 1 / 3
    error = spread["expected"] * sum(terms) ** 0.5
    if abs(difference) < MATTERS or error == 0:
        return []
    p = float(2 * norm.sf(abs(difference) / error))
    if p >= SPLIT_ALPHA:
        return []
    harder = "harder" if difference < 0 else "easier"
    return [
        _finding(
            "unlike-other-splits",
            "warning",
            len(spread["splits"]),
            f"the test part is {harder} than random ones: {percent(spread['given'])} on it, "
            f"{percent(spread['mean'])} on average over {len(spread['splits'])} other splits with as many training "
            f"images ({p_value(p)})",
            "A test part unlike the rest measures something else than how well the training images are learned.",
            "If it is meant to, tell both figures; if not, look at the checks drift and leakage, or split anew.",
        )
    ]


def _finding(kind: str, severity: Severity, count: int, message: str, why: str, action: str) -> Finding:
    return Finding("score", kind, severity, count, message, why, action)
