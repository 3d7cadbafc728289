"""A sheet to draw a chart on, as inline SVG. Text stays text, colours are CSS variables of the page, nothing is global.

matplotlib lays out and draws; afterwards its SVG is made fit for a page: colours become variables, so that dark
mode and print work, ids become unique, and names are put in. Names are never drawn by matplotlib, which would
read ``$`` as mathematics and warn of glyphs that its own font lacks.
"""

from __future__ import annotations

import io
import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from classic_cv.html_report._format import MINUS, Score, fixed

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


def legend(sheet: Sheet, entries: Sequence[tuple[str, str, str]], x: float, y: float) -> float:
    """Draw (text, colour, marker) entries from (x, y) on, in as many lines as needed; the last line's y."""
    start = x
    for text, colour, marker in entries:
        if x > start and x + 14 + text_width(text) > sheet.width:
            x, y = start, y + 18
        sheet.overlay.plot([x + 5], [y - 4], marker, color=colour, markersize=8, markeredgewidth=0)
        sheet.note(x + 15, y, sheet.name(text))
        x += 15 + text_width(text) + 16
    return y


def legend_lines(entries: Sequence[tuple[str, str, str]], width: float) -> int:
    """How many lines ``legend`` needs."""
    lines, x = 1, 0.0
    for text, _, _ in entries:
        if x > 0 and x + 14 + text_width(text) > width:
            lines, x = lines + 1, 0.0
        x += 31 + text_width(text)
    return lines


# --- axes ----------------------------------------------------------------------------------------------------


def bar_axes(sheet: Sheet, left: float, top: float, right: float, names: Sequence[str]) -> Axes:
    """Axes for one horizontal bar per name, the first on top."""
    axes = sheet.axes(left, top, right, sheet.height - top - ROW * len(names))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), [sheet.name(name, left - 12) for name in names])
    axes.tick_params(axis="y", labelcolor=INK, pad=6)
    axes.spines["left"].set_visible(False)
    return axes


def log_axis(axes: Axes, low: float, high: float) -> None:
    """A logarithmic horizontal axis from ``low`` to ``high`` with round numbers on it."""
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    log_labels(axes, log_ticks(low, high), lambda value: f"{value:g}")


def log_labels(axes: Axes, ticks: Sequence[float], text: Callable[[float], str]) -> None:
    """Ticks of a logarithmic horizontal axis, and none besides."""
    axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


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


def score_axis(axes: Axes, score: Score) -> None:
    """Ticks of the vertical axis, which has its limits already."""
    locator = MaxNLocator(6, steps=[1, 2, 2.5, 5, 10])
    axes.yaxis.set_major_locator(locator)
    low, high = axes.get_ylim()
    ticks = locator.tick_values(low, high)
    axes.yaxis.set_major_formatter(FuncFormatter(_ticks_format(float(ticks[1] - ticks[0]), score.is_share)))


def _ticks_format(step: float, is_share: bool) -> Callable[[float, float], str]:
    step = 100 * step if is_share else step
    text = fixed(max(0, -math.floor(math.log10(step) + 1e-9)))
    return lambda value, _: f"{text(100 * value)} %" if is_share else text(value)


def plain(value: float) -> str:
    """``value`` as on an axis: no more digits than it needs."""
    return f"{value:,.6g}".replace("-", MINUS)


def plain_ticks(axis: Axis) -> None:
    """A few round numbers."""
    axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))


def percent_ticks(*chosen: Axis) -> None:
    """Ticks from 0 to 100 %."""
    for axis in chosen:
        axis.set_major_locator(FixedLocator([0, 0.2, 0.4, 0.6, 0.8, 1]))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
