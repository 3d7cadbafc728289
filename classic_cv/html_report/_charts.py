"""Charts of a report as inline SVG: bars, calibration, confusion, regression."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from classic_cv.html_report._format import Score, count, number, share
from classic_cv.html_report._sheet import (
    BLUE,
    GRAY,
    INK,
    MUTED,
    NARROW,
    ORANGE,
    PAPER,
    ROW,
    WIDE,
    Sheet,
    bar_axes,
    draw,
    legend,
    percent_ticks,
    plain,
    plain_ticks,
    text_width,
)

MOST_MARKS = 1500
"""Points of a scatter plot: more of them are only weight."""

# --- bars ---------------------------------------------------------------------------------------------------


def class_balance(counts: Mapping[str, Mapping[str, int]]) -> Markup:
    """Images per class, training and test part, a labelled bar each; the largest class first."""
    names = sorted(counts, key=lambda name: -sum(_train_test(counts[name])))
    left = min(260.0, max(text_width(name) for name in names) + 14)
    train, test = zip(*(_train_test(counts[name]) for name in names), strict=True)
    totals = [sum(both) for both in zip(train, test, strict=True)]
    alt = f"images of {count(len(names), 'class')}: {names[0]} has the most, {totals[0]}; {names[-1]} the "
    alt += f"fewest, {totals[-1]}"

    def paint(sheet: Sheet) -> None:
        legend(sheet, [("training", BLUE, "s"), ("test", ORANGE, "s")], left, 14)
        axes = bar_axes(sheet, left, 30, 64, names)
        rows = np.arange(len(names))
        axes.barh(rows, train, 0.64, color=BLUE)
        axes.barh(rows, test, 0.64, left=train, color=ORANGE)
        axes.set_xlim(0, max(totals) or 1)
        axes.xaxis.set_visible(False)
        axes.spines["bottom"].set_visible(False)
        for row, total in enumerate(totals):
            x, y = sheet.position(axes, total, row)
            sheet.note(x + 7, y, str(total), va="center_baseline", color=INK)

    return draw("balance", (WIDE, 38 + ROW * len(names)), alt, paint)


def _train_test(counts: Mapping[str, int]) -> tuple[int, int]:
    return counts.get("train", 0), counts.get("test", 0)


def class_balance_compact(counts: Mapping[str, Mapping[str, int]]) -> Markup:
    """Images per class, training and test part, as narrow bars without names; the largest class first."""
    both = sorted(map(_train_test, counts.values()), key=lambda both: -sum(both))
    alt = f"images of {count(len(both), 'class')}, sorted: from {sum(both[0])} down to {sum(both[-1])}"

    def paint(sheet: Sheet) -> None:
        legend(sheet, [("training", BLUE, "s"), ("test", ORANGE, "s")], 52, 14)
        axes = sheet.axes(52, 32, 10, 30)
        train, test = np.array(both).T
        # Touching steps: a gap between a thousand bars would be all that one sees.
        places = np.arange(len(both))
        edge = 0.9 if len(both) <= 200 else 1.0
        axes.bar(places, train, edge, color=BLUE)
        axes.bar(places, test, edge, bottom=train, color=ORANGE)
        axes.set_xlim(-0.5, len(both) - 0.5)
        axes.set_xticks([])
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.grid(axis="y")
        axes.spines["left"].set_visible(False)
        sheet.note(52, sheet.height - 8, "largest class")
        sheet.note(sheet.width - 10, sheet.height - 8, "smallest class", ha="right")

    return draw("balance", (WIDE, 240), alt, paint)


@dataclass(frozen=True)
class Loss:
    """What leaving out a group of features costs, with its interval."""

    name: str
    loss: float
    interval: tuple[float, float] | None


def group_losses(losses: Sequence[Loss], score: Score) -> Markup:
    """What leaving out each group of features costs, as bars with intervals."""
    names = [loss.name for loss in losses]
    left = min(260.0, max(text_width(name) for name in names) + 14)
    most = max(losses, key=lambda loss: loss.loss)
    alt = f"{score.name} lost without each of {count(len(losses), 'feature group')}; the largest loss: "
    alt += f"{most.name}, {score.change(most.loss)}"

    def paint(sheet: Sheet) -> None:
        axes = bar_axes(sheet, left, 6, 112, names)
        ends = [end for loss in losses for end in (loss.interval or (loss.loss, loss.loss))]
        low, high = min(0.0, *ends), max(0.0, *ends)
        axes.set_xlim(low - 0.02 * (high - low), (high + 0.02 * (high - low)) or 1)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
        unit = 100 if score.is_share else 1
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(unit * value)))
        axes.grid(axis="x")
        axes.axvline(0, color=MUTED, lw=1)
        for row, loss in enumerate(losses):
            axes.barh(row, loss.loss, 0.6, color=BLUE if loss.loss >= 0 else ORANGE, alpha=0.6)
            if loss.interval:
                axes.plot(loss.interval, [row, row], color=INK, lw=1.4, solid_capstyle="butt")
            _, y = sheet.position(axes, 0, row)
            sheet.note(
                sheet.width - 6, y, score.change(loss.loss), va="center_baseline", ha="right", color=INK
            )
        what = "points lost" if score.is_share else f"{score.name} added"
        sheet.note(left, sheet.height - 4, sheet.name(f"{what} without the group"))

    return draw("groups", (WIDE, 46 + ROW * len(names)), alt, paint)


# --- calibration and confusion ------------------------------------------------------------------------------


def reliability(bins: Sequence[Mapping[str, Any]], ece: float | None) -> Markup:
    """Accuracy over confidence per bin, the gap to the diagonal, and the number of images beneath."""
    filled = [b for b in bins if b["n"] and b["confidence"] is not None and b["accuracy"] is not None]
    alt = f"reliability diagram: accuracy against confidence in {count(len(filled), 'bin')} with images"
    if ece is not None:
        alt += f"; expected calibration error {ece:.3f}"

    def paint(sheet: Sheet) -> None:
        legend(sheet, [("accuracy of the bin", BLUE, "o"), ("gap to its confidence", ORANGE, "s")], 48, 14)
        axes = sheet.axes(48, 32, 26, 166)
        axes.plot([0, 1], [0, 1], color=MUTED, lw=1, ls=(0, (4, 3)))
        for b in filled:
            axes.plot([b["confidence"]] * 2, [b["confidence"], b["accuracy"]], color=ORANGE, lw=4, alpha=0.6)
        x, y = [b["confidence"] for b in filled], [b["accuracy"] for b in filled]
        axes.plot(x, y, "o-", color=BLUE, lw=1.3, ms=7, mec=PAPER, mew=1)
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
        axes.grid(axis="y")
        percent_ticks(axes.xaxis, axes.yaxis)
        axes.tick_params(axis="x", labelbottom=False, size=0)
        axes.spines["left"].set_visible(False)
        _bin_counts(sheet, bins)

    return draw("reliability", (NARROW, 490), alt, paint)


def _bin_counts(sheet: Sheet, bins: Sequence[Mapping[str, Any]]) -> None:
    axes = sheet.axes(48, sheet.height - 124, 26, 42)
    most = max(b["n"] for b in bins) or 1
    for b in bins:
        width = b["high"] - b["low"]
        axes.bar((b["low"] + b["high"]) / 2, b["n"], 0.84 * width, color=GRAY)
    axes.set(xlim=(0, 1), ylim=(0, 1.28 * most))
    for b in bins:
        if b["n"]:
            x, y = sheet.position(axes, (b["low"] + b["high"]) / 2, b["n"])
            sheet.note(x, y - 4, str(b["n"]), ha="center", fontsize=10)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    percent_ticks(axes.xaxis)
    sheet.note(48, sheet.height - 130, "images per bin", color=INK)
    sheet.note(sheet.width - 26, sheet.height - 4, "confidence of the prediction", ha="right")


def confusion_heatmap(confusion: Sequence[Sequence[int]]) -> Markup:
    """The confusion matrix as an image: the opacity of a cell is the square root of its share of the row."""
    counts = np.asarray(confusion, np.float64)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # Translucent colours of middle lightness: they read on white and on black.
    pixels = np.empty((*counts.shape, 4))
    pixels[..., :3] = (0.88, 0.42, 0.10)
    pixels[np.eye(len(counts), dtype=bool), :3] = (0.13, 0.45, 0.82)
    pixels[..., 3] = np.sqrt(shares)
    right = float(np.trace(counts) / max(counts.sum(), 1))
    alt = f"confusion matrix of {count(len(counts), 'class')} as a heatmap; on the diagonal: {share(right)} of images"

    def paint(sheet: Sheet) -> None:
        legend(sheet, [("correct", BLUE, "s"), ("confused", ORANGE, "s")], 26, 14)
        axes = sheet.axes(26, 30, 10, 26)
        axes.imshow(pixels, interpolation="none", aspect="auto")
        axes.set(xticks=[], yticks=[])
        axes.spines[["top", "right"]].set_visible(True)
        sheet.note(18, 36 + (sheet.height - 56) / 2, "true class", rotation=90, ha="center", va="center")
        sheet.note(26 + (sheet.width - 36) / 2, sheet.height - 6, "predicted class", ha="center")

    return draw("confusion", (560, 580), alt, paint)


# --- regression ---------------------------------------------------------------------------------------------


def thinned(pairs: NDArray[np.float64], most: int = MOST_MARKS) -> NDArray[np.float64]:
    """At most ``most`` rows, evenly spread."""
    return pairs[np.linspace(0, len(pairs) - 1, most).astype(np.intp)] if len(pairs) > most else pairs


def predicted_against_true(pairs: NDArray[np.float64], target: str) -> Markup:
    """Scatter of (true, predicted) pairs with the line of perfect predictions."""
    alt = f"predicted against true {target} of {count(len(pairs), 'image')}"
    low, high = float(pairs.min()), float(pairs.max())
    left = 26 + max(text_width(plain(number)) for number in (round(low), round(high), (high - low) / 10))

    def paint(sheet: Sheet) -> None:
        axes = sheet.axes(left, 30, 14, 42)
        pad = 0.04 * (high - low) or 1.0
        ends = (low - pad, high + pad)
        axes.plot(ends, ends, color=MUTED, lw=1, ls=(0, (4, 3)))
        shown = thinned(pairs)
        alpha = 0.75 if len(shown) <= 150 else 0.4
        axes.plot(shown[:, 0], shown[:, 1], "o", color=BLUE, ms=5, mew=0, alpha=alpha)
        axes.set(xlim=ends, ylim=ends)
        plain_ticks(axes.xaxis)
        plain_ticks(axes.yaxis)
        axes.grid()
        sheet.note(left, 14, sheet.name(f"predicted {target}", sheet.width - left), color=INK)
        sheet.note(
            sheet.width - 14, sheet.height - 6, sheet.name(f"true {target}", 380), ha="right", color=INK
        )

    return draw("scatter", (NARROW, NARROW), alt, paint)


def residual_histogram(pairs: NDArray[np.float64], target: str) -> Markup:
    """Histogram of predicted minus true."""
    errors = pairs[:, 1] - pairs[:, 0]
    alt = f"histogram of predicted minus true {target} of {count(len(pairs), 'image')}: from "
    alt += f"{number(float(errors.min()))} to {number(float(errors.max()))}"

    def paint(sheet: Sheet) -> None:
        axes = sheet.axes(58, 30, 14, 42)
        reach = float(np.abs(errors).max()) or 1.0
        # An odd number of bins, so that one is centred on no error.
        bins = min(41, 2 * (max(9, math.isqrt(len(errors))) // 2) + 1)
        axes.hist(errors, bins=np.linspace(-reach, reach, bins + 1).tolist(), color=BLUE, rwidth=0.9)
        axes.axvline(0, color=INK, lw=1, ls=(0, (4, 3)))
        axes.set_xlim(-1.04 * reach, 1.04 * reach)
        plain_ticks(axes.xaxis)
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.grid(axis="y")
        axes.spines["left"].set_visible(False)
        sheet.note(58, 14, "images", color=INK)
        right = sheet.name(f"predicted − true {target}", 380)
        sheet.note(sheet.width - 14, sheet.height - 6, right, ha="right", color=INK)

    return draw("residuals", (NARROW, NARROW), alt, paint)
