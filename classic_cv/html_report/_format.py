"""Figures as text, the same in tables and charts."""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from classic_cv.report import percent

MISSING = "–"
MINUS = "−"

Format = Callable[[float], str]


def is_number(value: object) -> TypeGuard[float]:
    """Whether ``value`` is a finite number: None and NaN stand for figures that do not exist."""
    return isinstance(value, numbers.Real) and math.isfinite(value)


def number(value: float) -> str:
    """Four significant digits: ``0.1234``, ``12.34``, ``1234``; an exponent only for extremes."""
    return "0" if value == 0 else like(value)(value)


def like(reference: float) -> Format:
    """A format that gives ``reference`` four significant digits and other values as many decimals."""
    size = abs(reference)
    if size == 0:
        return number
    if not 1e-4 <= size < 1e7:
        return lambda value: _minus(f"{value:.3g}")
    return fixed(max(0, 3 - math.floor(math.log10(size))))


def fixed(digits: int) -> Format:
    """A format with ``digits`` decimals."""
    return lambda value: _minus(f"{value:.{digits}f}")


def share(value: float) -> str:
    """0.7529 as ``75.3 %``."""
    return _minus(percent(value))


def points(value: float) -> str:
    """A difference of shares: 0.012 as ``+1.2 points``."""
    return f"{signed(100 * value, fixed(1))} points"


def signed(value: float, text: Format) -> str:
    """``value`` with its sign; a value that rounds to zero has none."""
    shown = text(value)
    return f"+{shown}" if value > 0 and re.search(r"[1-9]", shown) else shown


def _minus(text: str) -> str:
    # A "-0.0" would read as a loss.
    return text.replace("-", MINUS, 1) if re.search(r"[1-9]", text) else text.lstrip("-")


def maybe(value: object, text: Format) -> str:
    """``value`` as text, a dash where there is none."""
    return text(value) if is_number(value) else MISSING


def ci(figures: Mapping[str, Any], key: str) -> tuple[float, float] | None:
    """The interval ``key`` of ``figures``, None where it is missing or incomplete."""
    found = figures.get(key)
    if not isinstance(found, Sequence) or len(found) != 2 or not all(is_number(end) for end in found):
        return None
    return float(found[0]), float(found[1])


def ci_text(interval: tuple[float, float] | None, text: Format) -> str:
    """``70.5 to 79.6 %``; empty where there is no interval."""
    if interval is None:
        return ""
    low, high = (text(end) for end in interval)
    return f"{low.removesuffix(' %').removesuffix(' points')} to {high}"


def megabytes(value: float) -> str:
    """A size in bytes as ``512 KiB`` or ``12.3 MiB``."""
    return f"{value / 1024:.0f} KiB" if value < 10_000 * 1024 else f"{value / 1024**2:.1f} MiB"


def duration(seconds: float) -> str:
    """``3.2 s`` or ``4 min 10 s``."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def size_text(size: Any) -> str:
    """An input size, a side or [height, width], as ``128 px`` or ``96 × 128 px``."""
    if size is None:
        return MISSING
    sides = size if isinstance(size, list | tuple) else [size]
    return " × ".join(str(side) for side in sides) + " px"


def count(n: int, noun: str) -> str:
    """``1 image``, ``2 images``, ``2 classes``."""
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{n} {noun if n == 1 else plural}"


@dataclass(frozen=True)
class Score:
    """How values of the score ``name`` are written and which end is the better one.

    Args:
        reference: a typical value; others get as many decimals, so that columns line up.
    """

    name: str
    reference: float | None = None

    @property
    def lower_is_better(self) -> bool:
        return "error" in self.name or "loss" in self.name

    @property
    def is_share(self) -> bool:
        return any(word in self.name.lower() for word in ("accuracy", "f1", "precision", "recall"))

    def text(self, value: float) -> str:
        return share(value) if self.is_share else self._plain(value)

    def change(self, value: float) -> str:
        return points(value) if self.is_share else signed(value, self._plain)

    def _plain(self, value: float) -> str:
        return like(self.reference)(value) if self.reference else number(value)
