"""Charts of a comparison as inline SVG: curves, differences with intervals, stages of an answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from classic_cv.html_report._format import Score, count, points, share
from classic_cv.html_report._scatter import Cost, Look
from classic_cv.html_report._sheet import (
    BLUE,
    GRAY,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    PAPER,
    ROW,
    SERIES,
    WIDE,
    Sheet,
    bar_axes,
    draw,
    legend,
    log_labels,
    percent_ticks,
    plain,
    plain_ticks,
    score_axis,
    text_width,
)

ACCURACY = Score("accuracy")

KINDS: dict[str, Look] = dict(
    zip(("classical", "deep", "hybrid", "given", "unknown", "floor"), SERIES, strict=True)
)
"""Colour and marker by kind of contestant, in the order of the legend."""

FIT = Cost(
    "fit",
    "CPU seconds of the fit",
    "CPU seconds of the fit, log scale (left is cheaper)",
    lambda seconds: f"{seconds:.1f} CPU seconds",
)

CLAIMS: dict[str, Look] = {
    "better": (BLUE, "o"),
    "worse": (ORANGE, "D"),
    "no difference shown": (GRAY, "s"),
    "no claim": (GRAY, "X"),
}
"""Colour and marker by what a comparison claims."""

STAGES: dict[str, str] = {"decode": BLUE, "features": GREEN, "head": ORANGE}
"""Colour by stage of an answer, in the order in which they happen."""

_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (7, 2, 1.5, 2)))


# --- curves -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Curve:
    """Accuracy of one contestant over something.

    Args:
        points: (x, accuracy), ascending in x; one or more.
        band: the interval of each point, None where it has none; empty for a curve without intervals.
    """

    name: str
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float] | None] = ()


def training_curves(curves: Sequence[Curve]) -> Markup:
    """Validation accuracy while fitting, over the CPU seconds used."""
    alt = f"validation accuracy against CPU seconds while fitting, of {count(len(curves), 'contestant')}"

    def scale(axes: Axes) -> None:
        axes.set_xlim(0, 1.01 * max(x for curve in curves for x, _ in curve.points) or 1)
        plain_ticks(axes.xaxis)

    return _curves("training", curves, alt, "validation accuracy", "CPU seconds of the fit", scale)


def learning_curves(
    curves: Sequence[Curve], sizes: Sequence[tuple[float, str]], crossover: float | None
) -> Markup:
    """Accuracy over the number of training images per class (log), with bands.

    Args:
        sizes: (x, text) of the ticks, ascending, x above 0.
        crossover: where the deep contestant overtakes the classical one, None where it does not.
    """
    alt = f"accuracy against training images per class of {count(len(curves), 'contestant')}"
    if crossover is not None:
        alt += f"; the curves cross at about {plain(float(f'{crossover:.3g}'))} images per class"

    def scale(axes: Axes) -> None:
        low, high = sizes[0][0], sizes[-1][0]
        axes.set_xscale("log")
        spread = max(1.05, (high / low) ** 0.02)
        axes.set_xlim(low / spread, high * spread)
        width = axes.get_window_extent().width / math.log(high / low) if high > low else math.inf
        shown = _apart(sizes, lambda size: width * math.log(size[0] / low) if high > low else 0.0)
        names = dict(shown)
        log_labels(axes, list(names), lambda value: names.get(value, f"{value:g}"))
        if crossover is not None:
            axes.axvline(crossover, color=MUTED, lw=1, ls=(0, (4, 3)))

    return _curves("learning", curves, alt, "accuracy", "training images per class, log scale", scale)


def _apart(
    sizes: Sequence[tuple[float, str]], place: Callable[[tuple[float, str]], float]
) -> list[tuple[float, str]]:
    """Sizes whose texts do not touch, the largest one always among them."""
    kept: list[tuple[float, str]] = []
    for size in reversed(sizes):
        room = place(kept[-1]) - place(size) if kept else math.inf
        if not kept or room > 8 + (text_width(size[1]) + text_width(kept[-1][1])) / 2:
            kept.append(size)
    return kept[::-1]


def _curves(
    key: str, curves: Sequence[Curve], alt: str, what: str, axis: str, scale: Callable[[Axes], None]
) -> Markup:
    """Curves with their names at the right, ordered as the curves end."""
    ordered = sorted(curves, key=lambda curve: -curve.points[-1][1])
    best = ordered[0]
    alt += f"; highest at its end: {best.name}, {share(best.points[-1][1])}"
    height = max(390.0, 92 + 19 * len(curves))
    names = 104 + min(230.0, max(text_width(curve.name) for curve in curves))

    def paint(sheet: Sheet) -> None:
        sheet.note(52, 14, f"{what} (higher is better)", color=INK)
        sheet.note(WIDE - names, height - 6, axis, ha="right")
        axes = sheet.axes(52, 28, names, 42)
        ends = [end for c in curves for pair in c.band for end in pair or ()] + [
            y for c in curves for _, y in c.points
        ]
        pad = 0.05 * (max(ends) - min(ends)) or 0.05
        axes.set_ylim(min(ends) - pad, max(ends) + pad)
        scale(axes)
        score_axis(axes, ACCURACY)
        axes.grid(axis="y")
        axes.spines["left"].set_visible(False)
        # In the order of the legend, so that neighbours there differ in colour.
        for k, curve in enumerate(ordered):
            _curve(sheet, axes, curve, k, WIDE - names + 16)

    return draw(key, (WIDE, height), alt, paint)


def _curve(sheet: Sheet, axes: Axes, curve: Curve, k: int, left: float) -> None:
    """The curve, and its line of the list that begins at ``left``."""
    colour, marker = SERIES[k % len(SERIES)]
    style: dict[str, Any] = {"color": colour, "lw": 1.7, "ls": _DASHES[k // len(SERIES) % len(_DASHES)]}
    point: dict[str, Any] = {"color": colour, "marker": marker, "ms": 7, "mec": PAPER, "mew": 1, "ls": ""}
    x, y = zip(*curve.points, strict=True)
    if any(curve.band):
        ends = [pair or (value, value) for pair, value in zip(curve.band, y, strict=True)]
        axes.fill_between(x, [low for low, _ in ends], [high for _, high in ends], color=colour, alpha=0.13)
    axes.plot(x, y, **style, zorder=3)
    # A marker per epoch would hide the curve.
    few = len(x) <= 12
    axes.plot(x if few else x[-1:], y if few else y[-1:], **point, zorder=4)
    top = 40 + 19 * k
    sheet.overlay.plot([left, left + 28], [top - 4] * 2, **style)
    sheet.overlay.plot([left + 14], [top - 4], **point)
    sheet.note(left + 36, top, sheet.name(curve.name, 230), color=INK)
    sheet.note(sheet.width - 4, top, share(y[-1]), ha="right")


# --- differences --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """A difference of shares with its interval.

    Args:
        claim: a key of ``CLAIMS``; empty for a difference of which nothing is claimed.
        text: written at the end of the row.
    """

    name: str
    value: float
    interval: tuple[float, float] | None
    claim: str
    text: str


def differences(key: str, rows: Sequence[Difference], alt: str, less: str, more: str) -> Markup:
    """A dot with a line per difference, around the line of no difference.

    Args:
        rows: one or more, in this order from the top.
        alt: beginning of the text alternative.
        less, more: what the sides left and right of that line mean.
    """
    left = min(260.0, max(text_width(row.name) for row in rows) + 14)
    right = min(270.0, max(text_width(row.text) for row in rows) + 20)
    entries = [(claim, *look) for claim, look in CLAIMS.items() if any(row.claim == claim for row in rows)]
    top = 34.0 if entries else 8.0
    largest = max(rows, key=lambda row: row.value)
    alt += f"; the highest: {largest.name}, {points(largest.value)}"

    def paint(sheet: Sheet) -> None:
        legend(sheet, entries, left, 14)
        axes = bar_axes(sheet, left, top, right, [row.name for row in rows])
        ends = [end for row in rows for end in (*(row.interval or ()), row.value)]
        low, high = min(0.0, *ends), max(0.0, *ends)
        pad = 0.04 * (high - low) or 0.01
        axes.set_xlim(low - pad, high + pad)
        axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 2.5, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(round(100 * value, 6))))
        axes.grid(axis="x")
        axes.axvline(0, color=INK, lw=1)
        for place, row in enumerate(rows):
            colour, marker = CLAIMS.get(row.claim, (BLUE, "o"))
            if row.interval:
                axes.plot(row.interval, [place] * 2, color=colour, lw=2, alpha=0.75, solid_capstyle="butt")
            axes.plot([row.value], [place], marker, color=colour, ms=8, mec=PAPER, mew=1.2, zorder=3)
            y = sheet.position(axes, 0, place)[1]
            sheet.note(
                sheet.width - right + 12, y, sheet.name(row.text, right - 16), va="center_baseline", color=INK
            )
        zero = sheet.position(axes, 0, 0)[0]
        _sides(sheet, left, zero, sheet.width - right, f"← {less}", f"{more} →")

    return draw(key, (WIDE, top + 48 + ROW * len(rows)), alt, paint)


def _sides(sheet: Sheet, left: float, zero: float, right: float, less: str, more: str) -> None:
    """What the sides of the line of no difference mean, next to it where there is room."""
    y = sheet.height - 4
    if zero - left > text_width(less) + 8:
        sheet.note(zero - 8, y, sheet.name(less), ha="right")
    if right - zero > text_width(more) + 8:
        sheet.note(zero + 8, y, sheet.name(more))


# --- stages -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stages:
    """Where the time of one answer goes.

    Args:
        ms: milliseconds by stage, keys of ``STAGES``.
        text: written at the end of the bar.
    """

    name: str
    ms: Mapping[str, float]
    text: str


def stages(rows: Sequence[Stages]) -> Markup:
    """A bar per contestant, made of the shares of its stages: the times themselves differ too much for one scale."""
    left = min(260.0, max(text_width(row.name) for row in rows) + 14)
    right = 24 + max(text_width(row.text) for row in rows)
    alt = (
        f"shares of decoding, features and head in the time of an answer of {count(len(rows), 'contestant')}"
    )

    def paint(sheet: Sheet) -> None:
        legend(sheet, [(stage, colour, "s") for stage, colour in STAGES.items()], left, 14)
        axes = bar_axes(sheet, left, 30, right, [row.name for row in rows])
        axes.set_xlim(0, 1)
        percent_ticks(axes.xaxis)
        for place, row in enumerate(rows):
            whole, start = sum(row.ms.values()) or 1.0, 0.0
            for stage, colour in STAGES.items():
                part = row.ms.get(stage, 0.0) / whole
                # A rim keeps stages apart for those who cannot tell the colours.
                axes.barh(place, part, 0.68, left=start, color=colour, edgecolor=PAPER, linewidth=0.8)
                start += part
            y = sheet.position(axes, 0, place)[1]
            sheet.note(sheet.width - 6, y, row.text, va="center_baseline", ha="right", color=INK)
        sheet.note(sheet.width - right, sheet.height - 4, "share of the stages", ha="right")

    return draw("stages", (WIDE, 76 + ROW * len(rows)), alt, paint)
