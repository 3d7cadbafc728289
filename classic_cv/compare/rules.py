"""The rules of fairness as text, which a report carries with it."""

from __future__ import annotations

from pathlib import Path


def rules_text() -> str:
    """``benchmarks/RULES.md``; in a wheel it is inside the package."""
    package = Path(__file__).parent.parent
    packed = package / "_rules.md"
    path = packed if packed.is_file() else package.parent / "benchmarks" / "RULES.md"
    return path.read_text(encoding="utf-8")
