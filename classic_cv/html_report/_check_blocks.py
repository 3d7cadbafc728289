"""What the sections of a check's page are made of: sentences, tables, charts; the template knows how each looks."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any, Literal

from markupsafe import Markup

from classic_cv.html_report._format import MINUS, Format, ci, ci_text, is_number, maybe, share
from classic_cv.html_report._parts import Record, bar

ColumnKind = Literal["name", "text", "number", "interval", "bar", "histogram"]

Cell = str | dict[str, str] | list[str] | None
"""Text; of a ``bar`` what ``bar`` of ``_parts`` gives; of a ``histogram`` the heights of its bars. None for nothing."""


@dataclass(frozen=True)
class Heading:
    """A title within a section."""

    text: str
    block: Literal["heading"] = "heading"


@dataclass(frozen=True)
class Sentence:
    """A paragraph; a ``note`` explains and stands back, a ``lead`` is what a section comes to.

    Args:
        text: what it says.
        look: how it stands out.
        unless: kinds of findings, of the same check, that say it too.
    """

    text: str
    look: Literal["plain", "note", "lead"] = "plain"
    unless: frozenset[str] = frozenset()
    block: Literal["sentence"] = "sentence"


@dataclass(frozen=True)
class Table:
    """Rows under titles; the first column names the row.

    Args:
        caption: what it shows, for those who do not see it.
        columns: (title, kind).
        more: rows that are not shown.
    """

    caption: str
    columns: Sequence[tuple[str, ColumnKind]]
    rows: Sequence[Sequence[Cell]]
    more: int = 0
    block: Literal["table"] = "table"

    @property
    def barred(self) -> bool:
        """Whether it has bars, which take all the room there is."""
        return any(kind == "bar" for _, kind in self.columns)


@dataclass(frozen=True)
class Chart:
    """A drawing, of the whole column or of half of it."""

    label: str
    svg: Markup
    half: bool = False
    block: Literal["chart"] = "chart"


@dataclass(frozen=True)
class Pair:
    """Two stacks of blocks side by side, below each other where there is no room."""

    left: Sequence[Block]
    right: Sequence[Block]
    block: Literal["pair"] = "pair"


Block = Heading | Sentence | Table | Chart | Pair


def without_told(blocks: Sequence[Block], kinds: Set[str]) -> list[Block]:
    """The blocks without sentences that findings of these kinds say already."""
    kept: list[Block] = []
    for block in blocks:
        if isinstance(block, Pair):
            kept.append(Pair(without_told(block.left, kinds), without_told(block.right, kinds)))
        elif not (isinstance(block, Sentence) and block.unless & kinds):
            kept.append(block)
    return kept


def table(
    caption: str,
    columns: Sequence[tuple[str, ColumnKind]],
    rows: Sequence[Sequence[Cell]],
    most: int | None = None,
) -> list[Block]:
    """A table without the columns that hold nothing; no table where there are no rows."""
    shown = rows[:most]
    kept = [k for k in range(len(columns)) if k == 0 or any(row[k] for row in shown)]
    if not shown:
        return []
    cut = [[row[k] for k in kept] for row in shown]
    return [Table(caption, [columns[k] for k in kept], cut, len(rows) - len(shown))]


def interval_cells(record: Record, key: str, interval_key: str, text: Format = share) -> tuple[Cell, Cell]:
    """(value, its interval) of a record as text."""
    return maybe(record.get(key), text), ci_text(ci(record, interval_key), text)


def bar_cell(record: Record, key: str, interval_key: str, low: float = 0.0, high: float = 1.0) -> Cell:
    """An interval with its value drawn on a scale from ``low`` to ``high``; None where one of them is missing."""
    interval, value = ci(record, interval_key), record.get(key)
    if interval is None or not is_number(value):
        return None
    scaled = [(end - low) / (high - low) for end in (*interval, value)]
    return bar(*scaled)


def whole(value: Any) -> str:
    """A count as ``12,345``; a dash for none."""
    return maybe(value, lambda n: f"{n:,.0f}")


def short(value: float) -> str:
    """Three significant digits without trailing zeros, but all before the point: ``0.11``, ``8.2``, ``1,234``."""
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return text.replace("-", MINUS, 1) if value < 0 else text


def listed(names: Sequence[str], most: int = 8) -> str:
    """``a, b and c``, or ``a, b and 7 more``."""
    shown, more = list(names[:most]), len(names) - most
    if more > 0:
        return f"{', '.join(shown)} and {more:,} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def p_text(p: float) -> str:
    """A p-value in a table: ``0.012``, ``< 0.001``."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def reaching(record: Record, key: str, text: Format) -> str:
    """`` (95 % interval 40 to 66)``, after its value; empty where there is no interval."""
    reach = ci_text(ci(record, key), text)
    return f" (95 % interval {reach})" if reach else ""
