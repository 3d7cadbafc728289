"""Charts as inline SVG. Text stays text, colours are CSS variables of the page, nothing is global.

matplotlib lays out and draws; afterwards its SVG is made fit for a page: colours become variables, so that dark
mode and print work, ids become unique, and names are put in. Names are never drawn by matplotlib, which would
read ``$`` as mathematics and warn of glyphs that its own font lacks.
"""

from __future__ import annotations

import io
import itertools
import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

from classic_cv.html_report._format import MINUS, Score, count, fixed, number, share

INK, MUTED, LINE, PAPER = "#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04"
BLUE, ORANGE, GREEN, PURPLE, GOLD, GRAY = (f"#0a0c0{k}" for k in range(1, 7))
VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    LINE: "--line",
    PAPER: "--paper",
    BLUE: "--blue",
    ORANGE: "--orange",
    GREEN: "--green",
    PURPLE: "--purple",
    GOLD: "--gold",
    GRAY: "--gray",
}
"""Colours that are drawn only to be found again in the SVG, and the CSS variable that replaces each."""

SERIES = tuple(zip((BLUE, ORANGE, GREEN, PURPLE, GOLD, GRAY), "osD^vX", strict=True))

FONT = 12.0

STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "image.composite_image": False,
    "font.family": ["DejaVu Sans"],
    "font.size": FONT,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": LINE,
    "axes.facecolor": "none",
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "figure.facecolor": "none",
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.major.size": 4,
    "ytick.major.size": 0,
    "patch.linewidth": 0,
    "errorbar.capsize": 0,
}

WIDE, NARROW = 1030.0, 480.0
"""Widths of charts in px: the full column, and half of it."""

ROW = 23.0
"""Height of a horizontal bar with its gap, in px."""

MOST_MARKS = 1500
"""Points of a scatter plot: more of them are only weight."""

Box = tuple[float, float, float, float]


def text_width(text: str, size: float = FONT) -> float:
    """Width of ``text`` in px, estimated on the generous side: the reader's font is not known here."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    marks = sum(unicodedata.combining(c) > 0 for c in text)
    capitals = sum(c.isupper() or c in "mw@%" for c in text)
    return size * (0.56 * (len(text) - wide - marks) + 0.14 * capitals + 1.02 * wide)


def shortened(text: str, width: float, size: float = FONT) -> str:
    """``text`` cut to ``width`` px, with an ellipsis where it was cut."""
    text = " ".join(text.split())
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + "…", size) > width:
        text = text[:-1]
    return text.rstrip() + "…"


class Sheet:
    """A figure measured in px from the top left corner."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        # The SVG backend has 72 units per inch, so that a unit of the SVG is a px here.
        self.figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        self.names: list[tuple[str, str]] = []
        self.overlay = self.figure.add_axes((0, 0, 1, 1), zorder=5)
        self.overlay.set(xlim=(0, width), ylim=(height, 0))
        self.overlay.axis("off")

    def axes(self, left: float, top: float, right: float, bottom: float) -> Axes:
        """Axes inside these margins."""
        return self.figure.add_axes(
            (
                left / self.width,
                bottom / self.height,
                (self.width - left - right) / self.width,
                (self.height - top - bottom) / self.height,
            )
        )

    def name(self, text: str, width: float = math.inf, size: float = FONT) -> str:
        """A stand-in to draw for ``text``, which takes its place in the finished SVG."""
        self.names.append((shortened(text, width, size), text))
        return f"Nq{len(self.names) - 1:05d}"

    def note(self, x: float, y: float, text: str, **style: Any) -> None:
        """Text with its baseline at (x, y)."""
        self.overlay.text(x, y, text, **{"va": "baseline", "color": MUTED, **style})

    def position(self, axes: Axes, x: float, y: float) -> tuple[float, float]:
        """Where data coordinates of ``axes`` are on the sheet."""
        right, up = axes.transData.transform((x, y))
        return float(right), self.height - float(up)


def draw(key: str, size: tuple[float, float], alt: str, paint: Callable[[Sheet], None]) -> Markup:
    """The chart that ``paint`` draws, as an ``<svg>`` element.

    Args:
        key: goes into every id, so that ids differ between the charts of a page.
        size: (width, height) in px.
        alt: text alternative.
    """
    with matplotlib.rc_context():
        # A user's matplotlibrc would otherwise change the page.
        matplotlib.rcdefaults()
        settings: Any = {**STYLE, "svg.hashsalt": key}
        matplotlib.rcParams.update(settings)
        sheet = Sheet(*size)
        paint(sheet)
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        sheet.figure.savefig(buffer, format="svg", metadata=nothing)
    return _inline(buffer.getvalue(), key, sheet, alt)


def _inline(svg: str, key: str, sheet: Sheet, alt: str) -> Markup:
    """matplotlib's SVG file as an element of a page."""
    body = svg[svg.index("<svg") : svg.rindex("</svg>")]
    body = body[body.index(">") + 1 :]
    body = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", body, flags=re.S)
    # Its style sheet would apply to the whole page.
    body = re.sub(r"<style.*?</style>", "", body, flags=re.S)
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    body = re.sub(r"font: ((?:\S+ )?)(\d\S*px) [^;\"]*", r"font-weight: \1; font-size: \2", body)
    body = body.replace("xlink:href", "href").replace("font-weight: ;", "")
    body = re.sub(r' transform="rotate\(-0 [^"]*"', "", body)
    # Within tags only: what is written on the chart keeps its digits.
    body = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d+\.\d{3})\d+", r"\1", tag[0]), body)
    body = _unique_ids(body, key)
    for colour, variable in VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    body = re.sub(r"\s*\n\s*", "\n", body)
    # Names come last: nothing may be replaced within them.
    body = re.sub(r">Nq(\d{5})<", lambda found: f">{_name(*sheet.names[int(found[1])])}<", body)
    width, height = f"{sheet.width:g}", f"{sheet.height:g}"
    return Markup(
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" role="img" aria-label="{escape(alt)}" '
        f'viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'style="--width: {width}px">{body}</svg>'
    )


def _unique_ids(body: str, key: str) -> str:
    """Ids that are referred to get the chart's key, all others go."""
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', body))
    body = re.sub(r' id="([^"]*)"', lambda m: f' id="{key}-{m[1]}"' if m[1] in used else "", body)
    return re.sub(r'(url\(|href=")#', rf"\1#{key}-", body)


def _name(shown: str, full: str) -> str:
    text = str(escape(shown))
    # What was cut can be read by pointing at it.
    return text if shown == " ".join(full.split()) else f"<title>{escape(full)}</title>{text}"


def _legend(sheet: Sheet, entries: Sequence[tuple[str, str, str]], x: float, y: float) -> float:
    """Draw (text, colour, marker) entries from (x, y) on, in as many lines as needed; the last line's y."""
    start = x
    for text, colour, marker in entries:
        if x > start and x + 14 + text_width(text) > sheet.width:
            x, y = start, y + 18
        sheet.overlay.plot([x + 5], [y - 4], marker, color=colour, markersize=8, markeredgewidth=0)
        sheet.note(x + 15, y, sheet.name(text))
        x += 15 + text_width(text) + 16
    return y


def _legend_lines(entries: Sequence[tuple[str, str, str]], width: float) -> int:
    lines, x = 1, 0.0
    for text, _, _ in entries:
        if x > 0 and x + 14 + text_width(text) > width:
            lines, x = lines + 1, 0.0
        x += 31 + text_width(text)
    return lines


# --- the leaderboard ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Candidate:
    """A point of the chart of score against latency.

    Args:
        name: label, drawn where it fits.
        ms: latency, above 0.
        score: with its interval, None where it has none.
        kind: candidates of one kind share colour and marker.
    """

    name: str
    ms: float
    score: float
    interval: tuple[float, float] | None
    kind: str
    winner: bool


def score_against_latency(candidates: Sequence[Candidate], score: Score) -> Markup:
    """Score over latency (log) with intervals; the winner and the Pareto front are labelled."""
    kinds = list(dict.fromkeys(candidate.kind for candidate in candidates))
    looks = dict(zip(kinds, itertools.cycle(SERIES), strict=False))
    legend = [(kind, *looks[kind]) for kind in kinds]
    ends = [end for c in candidates for end in (c.interval or (c.score, c.score))]
    left = max(52.0, 12 + max(text_width(score.text(end)) for end in ends))
    top = 40 + 18 * _legend_lines(legend, WIDE - 60)
    winner = next((candidate for candidate in candidates if candidate.winner), None)
    front = pareto_front(candidates, score.lower_is_better)
    alt = f"{score.name} against latency of {count(len(candidates), 'candidate')}"
    if winner:
        alt += f"; the winner, {winner.name}, has {score.text(winner.score)} at {winner.ms:.2f} ms per image"

    def paint(sheet: Sheet) -> None:
        _legend(sheet, legend, left, 14)
        better = "lower is better" if score.lower_is_better else "higher is better"
        sheet.note(left, top - 14, sheet.name(f"{score.name} ({better})"), color=INK)
        sheet.note(WIDE - 20, sheet.height - 6, "ms per image, log scale (left is faster)", ha="right")
        axes = sheet.axes(left, top, 20, 42)
        _limits(axes, candidates, score)
        for candidate in candidates:
            _mark(axes, candidate, *looks[candidate.kind])
        if len(front) > 1:
            ordered = sorted(front, key=lambda candidate: candidate.ms)
            axes.plot([c.ms for c in ordered], [c.score for c in ordered], color=LINE, lw=1.2, zorder=1)
        _label_points(sheet, axes, candidates, front)

    return draw("latency", (WIDE, 360 + top), alt, paint)


def pareto_front(candidates: Sequence[Candidate], lower_is_better: bool) -> list[Candidate]:
    """Candidates that no other one beats in both score and latency, fastest first."""
    sign = -1 if lower_is_better else 1
    front: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (c.ms, -sign * c.score)):
        if not front or sign * candidate.score > sign * front[-1].score:
            front.append(candidate)
    return front


def _limits(axes: Axes, candidates: Sequence[Candidate], score: Score) -> None:
    ends = [end for c in candidates for end in (c.interval or (c.score, c.score))]
    low, high = min(ends), max(ends)
    pad = 0.08 * (high - low) or 0.05 * (abs(high) or 1.0)
    axes.set_ylim(low - pad, high + pad)
    fastest, slowest = min(c.ms for c in candidates), max(c.ms for c in candidates)
    axes.set_xscale("log")
    # Room for a label on either side of a lone point.
    spread = max(1.25, (slowest / fastest) ** 0.06)
    axes.set_xlim(fastest / spread, slowest * spread)
    axes.xaxis.set_major_locator(FixedLocator(log_ticks(fastest / spread, slowest * spread)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    _score_axis(axes, score)
    axes.grid(axis="y")
    axes.spines["left"].set_visible(False)


def log_ticks(low: float, high: float) -> list[float]:
    """At least three round numbers between ``low`` and ``high`` where there are such; 1, 2, 5 if possible."""
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    if high / low > 3000:
        return [10.0**k for k in decades if low <= 10.0**k <= high]
    ticks: list[float] = []
    for steps in ((1, 2, 5), range(1, 10), [step / 10 for step in range(10, 100)]):
        ticks = [t for k in decades for s in steps if low <= (t := float(f"{s * 10.0**k:.3g}")) <= high]
        if len(ticks) >= 3:
            break
    return ticks[:: 1 + len(ticks) // 12]


def _score_axis(axes: Axes, score: Score) -> None:
    locator = MaxNLocator(6, steps=[1, 2, 2.5, 5, 10])
    axes.yaxis.set_major_locator(locator)
    low, high = axes.get_ylim()
    ticks = locator.tick_values(low, high)
    axes.yaxis.set_major_formatter(FuncFormatter(_ticks_format(float(ticks[1] - ticks[0]), score.is_share)))


def _ticks_format(step: float, is_share: bool) -> Callable[[float, float], str]:
    step = 100 * step if is_share else step
    text = fixed(max(0, -math.floor(math.log10(step) + 1e-9)))
    return lambda value, _: f"{text(100 * value)} %" if is_share else text(value)


def _mark(axes: Axes, candidate: Candidate, colour: str, marker: str) -> None:
    if candidate.interval:
        axes.plot([candidate.ms] * 2, candidate.interval, color=colour, lw=1.3, alpha=0.45, zorder=2)
    if candidate.winner:
        axes.plot([candidate.ms], [candidate.score], "o", ms=19, mfc="none", mec=INK, mew=1.4, zorder=3)
    size = 10 if candidate.winner else 8
    axes.plot([candidate.ms], [candidate.score], marker, color=colour, ms=size, mec=PAPER, mew=1.2, zorder=4)


def _label_points(
    sheet: Sheet, axes: Axes, candidates: Sequence[Candidate], front: Sequence[Candidate]
) -> None:
    """Labels of the winner and the front, each where it hides nothing; one that fits nowhere is left out."""
    places = {id(c): sheet.position(axes, c.ms, c.score) for c in candidates}
    taken: list[Box] = []
    marks = [_around(*places[id(c)], 12 if c.winner else 6) for c in candidates]
    lines = [_whisker(sheet, axes, c) for c in candidates if c.interval]
    lines += _along([places[id(c)] for c in sorted(front, key=lambda c: c.ms)])
    for candidate in [c for c in candidates if c.winner] + [c for c in front if not c.winner]:
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
    text = shortened(candidate.name, 240, size)
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
    sheet.note(at, bottom - 4, sheet.name(candidate.name, 240, size), ha=side, fontsize=size, **style)
    return [spot]


def free_spot(
    place: tuple[float, float],
    width: float,
    size: float,
    bounds: Box,
    taken: Sequence[Box],
    marks: Sequence[Box],
    lines: Sequence[Box],
) -> Box | None:
    """The box near ``place`` for a label that covers no label and as little else as possible."""
    x, y = place
    height = size + 6
    best, best_cost = None, math.inf
    # A larger label is the winner's, whose mark has a ring.
    nearest = 12 if size <= FONT else 17
    for distance, (dx, dy) in itertools.product((nearest, 22, 32, 48, 68), _DIRECTIONS):
        left = x + dx * distance + (0 if dx > 0 else -width if dx < 0 else -width / 2)
        top = y + dy * distance - height / 2
        box = (left, top, left + width, top + height)
        if box[0] < bounds[0] or box[1] < bounds[1] or box[2] > bounds[2] or box[3] > bounds[3]:
            continue
        if any(_overlap(box, other) for other in taken):
            continue
        cost = distance + 4 * sum(_overlap(box, m) for m in marks)
        cost += 0.5 * sum(_overlap(box, line) for line in lines)
        if cost < best_cost:
            best, best_cost = box, cost
    return best if best_cost < 400 else None


_DIRECTIONS = ((1, 0), (-1, 0), (1, -0.7), (-1, -0.7), (1, 0.7), (-1, 0.7), (0, -1), (0, 1))


def _around(x: float, y: float, radius: float) -> Box:
    return x - radius, y - radius, x + radius, y + radius


def _whisker(sheet: Sheet, axes: Axes, candidate: Candidate) -> Box:
    low, high = candidate.interval or (candidate.score, candidate.score)
    x, bottom = sheet.position(axes, candidate.ms, low)
    return x - 2, sheet.position(axes, candidate.ms, high)[1], x + 2, bottom


def _along(places: Sequence[tuple[float, float]]) -> list[Box]:
    """Small boxes along the line through ``places``."""
    boxes = []
    for (x0, y0), (x1, y1) in itertools.pairwise(places):
        steps = max(1, round(math.dist((x0, y0), (x1, y1)) / 4))
        parts = [k / steps for k in range(steps + 1)]
        boxes += [_around(x0 + part * (x1 - x0), y0 + part * (y1 - y0), 2) for part in parts]
    return boxes


def _overlap(a: Box, b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0.0


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
        _legend(sheet, [("training", BLUE, "s"), ("test", ORANGE, "s")], left, 14)
        axes = _bar_axes(sheet, left, 30, 64, names)
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


def _bar_axes(sheet: Sheet, left: float, top: float, right: float, names: Sequence[str]) -> Axes:
    """Axes for one horizontal bar per name, the first on top."""
    axes = sheet.axes(left, top, right, sheet.height - top - ROW * len(names))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), [sheet.name(name, left - 12) for name in names])
    axes.tick_params(axis="y", labelcolor=INK, pad=6)
    axes.spines["left"].set_visible(False)
    return axes


def class_balance_compact(counts: Mapping[str, Mapping[str, int]]) -> Markup:
    """Images per class, training and test part, as narrow bars without names; the largest class first."""
    both = sorted(map(_train_test, counts.values()), key=lambda both: -sum(both))
    alt = f"images of {count(len(both), 'class')}, sorted: from {sum(both[0])} down to {sum(both[-1])}"

    def paint(sheet: Sheet) -> None:
        _legend(sheet, [("training", BLUE, "s"), ("test", ORANGE, "s")], 52, 14)
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
        axes = _bar_axes(sheet, left, 6, 112, names)
        ends = [end for loss in losses for end in (loss.interval or (loss.loss, loss.loss))]
        low, high = min(0.0, *ends), max(0.0, *ends)
        axes.set_xlim(low - 0.02 * (high - low), (high + 0.02 * (high - low)) or 1)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
        unit = 100 if score.is_share else 1
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _plain(unit * value)))
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
        legend = [("accuracy of the bin", BLUE, "o"), ("gap to its confidence", ORANGE, "s")]
        _legend(sheet, legend, 48, 14)
        axes = sheet.axes(48, 32, 26, 166)
        axes.plot([0, 1], [0, 1], color=MUTED, lw=1, ls=(0, (4, 3)))
        for b in filled:
            axes.plot([b["confidence"]] * 2, [b["confidence"], b["accuracy"]], color=ORANGE, lw=4, alpha=0.6)
        x, y = [b["confidence"] for b in filled], [b["accuracy"] for b in filled]
        axes.plot(x, y, "o-", color=BLUE, lw=1.3, ms=7, mec=PAPER, mew=1)
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
        axes.grid(axis="y")
        _percent_ticks(axes.xaxis, axes.yaxis)
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
    _percent_ticks(axes.xaxis)
    sheet.note(48, sheet.height - 130, "images per bin", color=INK)
    sheet.note(sheet.width - 26, sheet.height - 4, "confidence of the prediction", ha="right")


def _percent_ticks(*chosen: Axis) -> None:
    for axis in chosen:
        axis.set_major_locator(FixedLocator([0, 0.2, 0.4, 0.6, 0.8, 1]))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))


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
        _legend(sheet, [("correct", BLUE, "s"), ("confused", ORANGE, "s")], 26, 14)
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
    left = 26 + max(text_width(_plain(number)) for number in (round(low), round(high), (high - low) / 10))

    def paint(sheet: Sheet) -> None:
        axes = sheet.axes(left, 30, 14, 42)
        pad = 0.04 * (high - low) or 1.0
        ends = (low - pad, high + pad)
        axes.plot(ends, ends, color=MUTED, lw=1, ls=(0, (4, 3)))
        shown = thinned(pairs)
        alpha = 0.75 if len(shown) <= 150 else 0.4
        axes.plot(shown[:, 0], shown[:, 1], "o", color=BLUE, ms=5, mew=0, alpha=alpha)
        axes.set(xlim=ends, ylim=ends)
        _plain_ticks(axes.xaxis)
        _plain_ticks(axes.yaxis)
        axes.grid()
        sheet.note(left, 14, sheet.name(f"predicted {target}", sheet.width - left), color=INK)
        sheet.note(
            sheet.width - 14, sheet.height - 6, sheet.name(f"true {target}", 380), ha="right", color=INK
        )

    return draw("scatter", (NARROW, NARROW), alt, paint)


def _plain(value: float) -> str:
    return f"{value:,.6g}".replace("-", MINUS)


def _plain_ticks(axis: Axis) -> None:
    axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _plain(value)))


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
        _plain_ticks(axes.xaxis)
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.grid(axis="y")
        axes.spines["left"].set_visible(False)
        sheet.note(58, 14, "images", color=INK)
        right = sheet.name(f"predicted − true {target}", 380)
        sheet.note(sheet.width - 14, sheet.height - 6, right, ha="right", color=INK)

    return draw("residuals", (NARROW, NARROW), alt, paint)
