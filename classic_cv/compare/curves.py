"""Accuracy over the number of training images: means of draws, and where the deep contestant overtakes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from classic_cv.stats import t_interval

Point = Mapping[str, Any]

ALL = "all"
"""The point with all training images."""


def mean_and_interval(accuracies: Sequence[float]) -> tuple[float | None, tuple[float, float] | None]:
    """The mean over draws, and Student's 95 % interval of it within 0 to 1.

    Args:
        accuracies: one per draw of training images.

    Returns:
        None instead of the mean without a draw; None instead of the interval for fewer than two draws.
    """
    if not accuracies:
        return None, None
    mean = math.fsum(accuracies) / len(accuracies)
    interval = t_interval(accuracies)
    return mean, None if interval is None else (max(interval[0], 0.0), min(interval[1], 1.0))


def crossover(classical: Sequence[Point], deep: Sequence[Point], n_per_class: float) -> dict[str, Any]:
    """From how many training images per class on the deep contestant is ahead of the classical one.

    Between two points both means are taken to be straight lines over the logarithm of the number of images. Only
    points that were measured for both count. Where the deep one gets ahead and falls behind again, the last time
    counts, since after it the lead stays; equal means are no lead.

    Args:
        classical, deep: the points of the learning curves as in the record: ``images_per_class`` (a number or
            ``"all"``), ``mean`` (None where it was not measured), ``accuracies`` of the draws.
        n_per_class: mean number of training images per class in the data: the place of ``"all"``. Points of more
            images than that are taken to be there too, and ``"all"`` replaces them.

    Returns:
        ``images_per_class`` (None where the deep one is not ahead in the end; the first point where it is ahead from
        there on) and ``text``.
    """
    mine, other = _placed(classical, n_per_class), _placed(deep, n_per_class)
    places = sorted(mine.keys() & other.keys())
    leads = [other[x]["mean"] - mine[x]["mean"] for x in places]
    if not places:
        return {"images_per_class": None, "text": "not known: no point was measured for both"}
    found, where = _overtaking(places, leads)
    end = f"at {_images(places[-1])} {_state(leads[-1])}{_doubt(mine[places[-1]], other[places[-1]])}"
    return {"images_per_class": found, "text": f"{where}: {end}"}


def _overtaking(places: Sequence[float], leads: Sequence[float]) -> tuple[float | None, str]:
    """From where on the lead stays above 0: the place or None, and words."""
    ahead = [lead > 0 for lead in leads]
    if not ahead[-1]:
        lost = f", though it is ahead at {_listed(places, ahead)}" if any(ahead) else ""
        return None, f"not within your data{lost}"
    if all(ahead):
        where = "from the first point on" if len(places) > 1 else "at the only point"
        return places[0], f"{where}, {_images(places[0])}"
    last = max(i for i, is_ahead in enumerate(ahead) if not is_ahead)
    found = _crossing(places[last], places[last + 1], leads[last], leads[last + 1])
    lost = (
        f"; ahead at {_listed(places[:last], ahead[:last])} too, but behind again"
        if any(ahead[:last])
        else ""
    )
    return found, f"between {places[last]:.4g} and {_images(places[last + 1])}, about {found:.3g}{lost}"


def _state(lead: float) -> str:
    if lead == 0:
        return "both are level"
    return f"the {'deep' if lead > 0 else 'classical'} one is ahead by {100 * abs(lead):.1f} points"


def _placed(curve: Sequence[Point], n_per_class: float) -> dict[float, Point]:
    """Measured points by images per class."""
    found: dict[float, Point] = {}
    for point in sorted(
        curve, key=lambda p: math.inf if p["images_per_class"] == ALL else p["images_per_class"]
    ):
        if point.get("mean") is not None and math.isfinite(point["mean"]):
            place = n_per_class if point["images_per_class"] == ALL else point["images_per_class"]
            found[min(float(place), float(n_per_class))] = point
    return found


def _crossing(x0: float, x1: float, lead0: float, lead1: float) -> float:
    """Where a lead that is not above 0 at x0 and is at x1 crosses 0, over log x."""
    share = -lead0 / (lead1 - lead0)
    return math.exp(math.log(x0) + share * (math.log(x1) - math.log(x0)))


def _doubt(classical: Point, deep: Point) -> str:
    """Says that the draws do not show the difference at a point: both must be of the same draws for that."""
    mine, other = classical.get("accuracies") or [], deep.get("accuracies") or []
    if not mine or len(mine) != len(other):
        return ""
    if len(mine) < 2:
        return " (a single draw: its spread is not known)"
    interval = t_interval([b - a for a, b in zip(mine, other, strict=True)])
    inside = interval is not None and interval[0] <= 0 <= interval[1]
    return f" (within the spread of {len(mine)} draws)" if inside else ""


def _images(place: float) -> str:
    return f"{place:.4g} images per class"


def _listed(places: Sequence[float], ahead: Sequence[bool]) -> str:
    return ", ".join(f"{place:.4g}" for place, is_ahead in zip(places, ahead, strict=True) if is_ahead)
