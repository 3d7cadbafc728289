"""Score against what it costs, on a logarithmic axis, as inline SVG."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes

from classic_cv.html_report._format import Format, Score, count
from classic_cv.html_report._labels import Box, along, around, free_spot
from classic_cv.html_report._sheet import (
    FONT,
    INK,
    LINE,
    MUTED,
    PAPER,
    SERIES,
    WIDE,
    Sheet,
    draw,
    legend,
    legend_lines,
    log_axis,
    score_axis,
    shortened,
    text_width,
)


@dataclass(frozen=True)
class Candidate:
    """A point of the chart of score against cost.

    Args:
        name: label, drawn where it fits.
        cost: above 0.
        score: with its interval, None where it has none.
        kind: candidates of one kind share colour and marker.
    """

    name: str
    cost: float
    score: float
    interval: tuple[float, float] | None
    kind: str
    winner: bool


@dataclass(frozen=True)
class Cost:
    """What the horizontal axis of such a chart shows.

    Args:
        key: goes into the ids of the chart.
        name: as in "accuracy against latency".
        axis: title of the axis.
        text: one value in words.
    """

    key: str
    name: str
    axis: str
    text: Format


LATENCY = Cost(
    "latency",
    "latency",
    "ms per image, log scale (left is faster)",
    lambda ms: f"{ms:.2f} ms per image",
)

LABEL = 240.0
"""Longest label in px."""

Look = tuple[str, str]
"""Colour and marker."""


def score_against_cost(
    candidates: Sequence[Candidate],
    score: Score,
    cost: Cost = LATENCY,
    *,
    noun: str = "candidate",
    looks: Mapping[str, Look] | None = None,
    front: Sequence[Candidate] | None = None,
    paths: Sequence[Sequence[Candidate]] = (),
    label_all: bool = False,
) -> Markup:
    """Score over cost (log) with intervals; the winner and the Pareto front are labelled.

    Args:
        candidates: one or more.
        noun: what the text alternative calls a candidate.
        looks: by kind, which are then shown in this order; None takes them as they come.
        front: the candidates that a line joins; None finds the Pareto front.
        paths: candidates that are one thing at several costs, cheapest first: a line joins them and the last one
            has the label.
        label_all: label every candidate that there is room for, the winner and the front first.
    """
    kinds = list(dict.fromkeys(candidate.kind for candidate in candidates))
    if looks is None:
        looks = dict(zip(kinds, itertools.cycle(SERIES), strict=False))
    entries = [(kind, *look) for kind, look in looks.items() if kind in kinds]
    ends = [end for c in candidates for end in (c.interval or (c.score, c.score))]
    left = max(52.0, 12 + max(text_width(score.text(end)) for end in ends))
    top = 40 + 18 * legend_lines(entries, WIDE - 60)
    winner = next((candidate for candidate in candidates if candidate.winner), None)
    joined = pareto_front(candidates, score.lower_is_better) if front is None else front
    joined = sorted(joined, key=lambda candidate: candidate.cost)
    inner = {id(candidate) for path in paths for candidate in path[:-1]}
    alt = f"{score.name} against {cost.name} of {count(len(candidates) - len(inner), noun)}"
    if winner:
        alt += f"; the winner, {winner.name}, has {score.text(winner.score)} at {cost.text(winner.cost)}"
    labelled = [c for c in candidates if c.winner] + [c for c in joined if not c.winner]
    if label_all:
        best_first = sorted(candidates, key=lambda c: -c.score)
        labelled += [c for c in best_first if c not in labelled and id(c) not in inner]

    ends_at = _cost_ends(candidates)
    right = _label_room(labelled, ends_at, WIDE - left) if label_all else 20.0

    def paint(sheet: Sheet) -> None:
        legend(sheet, entries, left, 14)
        better = "lower is better" if score.lower_is_better else "higher is better"
        sheet.note(left, top - 14, sheet.name(f"{score.name} ({better})"), color=INK)
        sheet.note(WIDE - right, sheet.height - 6, cost.axis, ha="right")
        axes = sheet.axes(left, top, right, 42)
        _limits(axes, candidates, score)
        for candidate in candidates:
            _mark(axes, candidate, *looks[candidate.kind])
        lines = [(path, looks[path[0].kind][0]) for path in paths]
        for path, colour in [*lines, (joined, LINE)]:
            if len(path) > 1:
                axes.plot([c.cost for c in path], [c.score for c in path], color=colour, lw=1.2, zorder=1)
        _label_points(sheet, axes, candidates, labelled, [*paths, joined])

    return draw(cost.key, (WIDE, 360 + top), alt, paint)


def pareto_front(candidates: Sequence[Candidate], lower_is_better: bool) -> list[Candidate]:
    """Candidates that no other one beats in both score and cost, cheapest first."""
    sign = -1 if lower_is_better else 1
    front: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (c.cost, -sign * c.score)):
        if not front or sign * candidate.score > sign * front[-1].score:
            front.append(candidate)
    return front


def _cost_ends(candidates: Sequence[Candidate]) -> tuple[float, float]:
    """Ends of the axis of costs, with room for a label on either side of a lone point."""
    least, most = min(c.cost for c in candidates), max(c.cost for c in candidates)
    spread = max(1.25, (most / least) ** 0.06)
    return least / spread, most * spread


def _label_room(labelled: Sequence[Candidate], ends: tuple[float, float], width: float) -> float:
    """Px right of the axes in ``width`` px, with which every label has room to the right of its point.

    Fits that use up their budget stand above each other at that end.
    """
    room = 20.0
    for candidate in labelled:
        place = math.log(candidate.cost / ends[0]) / math.log(ends[1] / ends[0])
        needed = 28 + min(LABEL, text_width(candidate.name))
        room = max(room, (needed - (1 - place) * width) / place)
    return room


def _limits(axes: Axes, candidates: Sequence[Candidate], score: Score) -> None:
    ends = [end for c in candidates for end in (c.interval or (c.score, c.score))]
    low, high = min(ends), max(ends)
    pad = 0.08 * (high - low) or 0.05 * (abs(high) or 1.0)
    axes.set_ylim(low - pad, high + pad)
    log_axis(axes, *_cost_ends(candidates))
    score_axis(axes, score)
    axes.grid(axis="y")
    axes.spines["left"].set_visible(False)


def _mark(axes: Axes, candidate: Candidate, colour: str, marker: str) -> None:
    if candidate.interval:
        axes.plot([candidate.cost] * 2, candidate.interval, color=colour, lw=1.3, alpha=0.45, zorder=2)
    if candidate.winner:
        axes.plot([candidate.cost], [candidate.score], "o", ms=19, mfc="none", mec=INK, mew=1.4, zorder=3)
    size = 10 if candidate.winner else 8
    axes.plot(
        [candidate.cost], [candidate.score], marker, color=colour, ms=size, mec=PAPER, mew=1.2, zorder=4
    )


def _label_points(
    sheet: Sheet,
    axes: Axes,
    candidates: Sequence[Candidate],
    labelled: Sequence[Candidate],
    joined: Sequence[Sequence[Candidate]],
) -> None:
    """Labels of ``labelled``, the most important first, each where it hides nothing; one without room is left out."""
    places = {id(c): sheet.position(axes, c.cost, c.score) for c in candidates}
    taken: list[Box] = []
    marks = [around(*places[id(c)], 12 if c.winner else 6) for c in candidates]
    lines = [_whisker(sheet, axes, c) for c in candidates if c.interval]
    for path in joined:
        lines += along([places[id(c)] for c in path])
    for candidate in labelled:
        taken += _label(sheet, candidate, places[id(candidate)], taken, marks, lines)


def _label(
    sheet: Sheet,
    candidate: Candidate,
    place: tuple[float, float],
    taken: Sequence[Box],
    marks: Sequence[Box],
    lines: Sequence[Box],
) -> list[Box]:
    size = 13.0 if candidate.winner else FONT
    text = shortened(candidate.name, LABEL, size)
    width = text_width(text, size) * (1.08 if candidate.winner else 1)
    spot = free_spot(place, width, size, (52, 0, sheet.width - 4, sheet.height - 40), taken, marks, lines)
    if spot is None:
        return []
    left, top, right, bottom = spot
    nearest = min(max(place[0], left), right), min(max(place[1], top), bottom)
    if math.dist(nearest, place) > 24:
        sheet.overlay.plot([nearest[0], place[0]], [nearest[1], place[1]], color=MUTED, lw=0.7)
    style: dict[str, Any] = {"color": INK, "weight": "bold"} if candidate.winner else {"color": INK}
    # Anchored on the side of the point: an error of the estimated width then does not push it away.
    at, side = (left, "left") if left >= place[0] else (right, "right")
    if left < place[0] < right:
        at, side = (left + right) / 2, "center"
    sheet.note(at, bottom - 4, sheet.name(candidate.name, LABEL, size), ha=side, fontsize=size, **style)
    return [spot]


def _whisker(sheet: Sheet, axes: Axes, candidate: Candidate) -> Box:
    low, high = candidate.interval or (candidate.score, candidate.score)
    x, bottom = sheet.position(axes, candidate.cost, low)
    return x - 2, sheet.position(axes, candidate.cost, high)[1], x + 2, bottom
