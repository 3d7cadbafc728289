"""Charts of a check as inline SVG: accuracy with more images, and accuracy against coverage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.axes import Axes

from classic_cv.html_report._format import Score, share
from classic_cv.html_report._sheet import (
    BLUE,
    INK,
    MUTED,
    NARROW,
    ORANGE,
    PAPER,
    Sheet,
    draw,
    legend,
    log_labels,
    percent_ticks,
    score_axis,
    text_width,
)

ACCURACY = Score("accuracy")

HEIGHT = 360.0

FEW = 12
"""Points of a curve that are drawn as such: more of them hide it."""


@dataclass(frozen=True)
class Point:
    """An accuracy with its interval, None where it has none, at ``x``."""

    x: float
    y: float
    interval: tuple[float, float] | None = None

    @property
    def ends(self) -> tuple[float, float]:
        """The interval, or the value itself."""
        return self.interval or (self.y, self.y)


def learning_curve(
    measured: Sequence[Point], fitted: Sequence[tuple[float, float]], expected: Point | None
) -> Markup:
    """Accuracy over the number of training images (log): as measured, as fitted, and as expected of more images.

    Args:
        measured: one or more, ascending in x, x above 0.
        fitted: (images, accuracy) of the law; empty where none was fitted.
        expected: what more images would bring.
    """
    alt = f"accuracy against training images: {share(measured[-1].y)} with {measured[-1].x:,.0f}"
    if expected:
        alt += f", about {share(expected.y)} expected with {expected.x:,.0f}"
    entries = [("measured", BLUE, "o"), *([("expected", ORANGE, "D")] if expected else [])]

    def paint(sheet: Sheet) -> None:
        legend(sheet, entries, 52, 14)
        axes = sheet.axes(52, 30, 26, 42)
        points = [*measured, *([expected] if expected else [])]
        _accuracies(axes, [end for one in points for end in one.ends] + [y for _, y in fitted])
        _images(axes, [one.x for one in points] + [x for x, _ in fitted], [one.x for one in points])
        if fitted:
            axes.plot(*zip(*fitted, strict=True), color=MUTED, lw=1.4, ls=(0, (5, 3)))
        for one in points:
            colour, marker = (ORANGE, "D") if one is expected else (BLUE, "o")
            axes.plot([one.x] * 2, one.ends, color=colour, lw=2, alpha=0.6, solid_capstyle="butt")
            axes.plot([one.x], [one.y], marker, color=colour, ms=8, mec=PAPER, mew=1, zorder=4)
        sheet.note(NARROW - 26, HEIGHT - 6, "training images, log scale", ha="right")

    return draw("limits", (NARROW, HEIGHT), alt, paint)


def _images(axes: Axes, places: Sequence[float], named: Sequence[float]) -> None:
    """A logarithmic axis with the numbers of images on it that do not touch, the largest among them."""
    low, high = min(places), max(places)
    axes.set_xscale("log")
    axes.set_xlim(low / 1.12, high * 1.12)
    left = axes.transData.transform((named[0], 0.5))[0]
    kept: list[float] = []
    for value in sorted(set(named), reverse=True):
        at = axes.transData.transform((value, 0.5))[0] - left
        before = axes.transData.transform((kept[-1], 0.5))[0] - left if kept else None
        if before is None or before - at > 10 + (_width(value) + _width(kept[-1])) / 2:
            kept.append(value)
    log_labels(axes, kept[::-1], lambda value: f"{value:,.0f}")


def _width(value: float) -> float:
    return text_width(f"{value:,.0f}")


def _accuracies(axes: Axes, values: Sequence[float]) -> None:
    """The vertical axis, just large enough for ``values``."""
    low, high = min(values), max(values)
    pad = 0.06 * (high - low) or 0.05
    axes.set_ylim(low - pad, min(high + pad, 1 + pad / 2))
    score_axis(axes, ACCURACY)
    axes.grid(axis="y")
    axes.spines["left"].set_visible(False)


def coverage_curve(points: Sequence[Point], suggested: Point | None) -> Markup:
    """Accuracy of the answers that are given over the share of images that get one, with its band.

    Args:
        points: coverage and accuracy, one or more, ascending in coverage.
        suggested: where to stand on the curve.
    """
    alt = f"accuracy against coverage: {share(points[-1].y)} at a coverage of {share(points[-1].x)}"
    if suggested:
        alt += f"; suggested: {share(suggested.y)} at {share(suggested.x)}"
    entries = [
        ("accuracy of the answers given", BLUE, "s"),
        *([("suggested", ORANGE, "D")] if suggested else []),
    ]

    def paint(sheet: Sheet) -> None:
        legend(sheet, entries, 52, 14)
        axes = sheet.axes(52, 30, 26, 42)
        _accuracies(axes, [end for one in points for end in one.ends])
        axes.set_xlim(0, 1.02)
        percent_ticks(axes.xaxis)
        places = [one.x for one in points]
        lows, highs = zip(*(one.ends for one in points), strict=True)
        axes.fill_between(places, lows, highs, color=BLUE, alpha=0.16)
        axes.plot(places, [one.y for one in points], color=BLUE, lw=1.8)
        if len(points) <= FEW:
            axes.plot(places, [one.y for one in points], "o", color=BLUE, ms=5, mec=PAPER, mew=0.8)
        if suggested:
            axes.plot([suggested.x], [suggested.y], "D", color=ORANGE, ms=9, mec=PAPER, mew=1.2, zorder=4)
            x, y = sheet.position(axes, suggested.x, suggested.y)
            right = x > NARROW / 2
            text = share(suggested.y)
            sheet.note(x - 10 if right else x + 10, y + 20, text, ha="right" if right else "left", color=INK)
        sheet.note(NARROW - 26, HEIGHT - 6, "coverage: share of images answered", ha="right")

    return draw("coverage", (NARROW, HEIGHT), alt, paint)
