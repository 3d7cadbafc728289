"""What a comparison's page shows beside the accuracy: differences, stages of an answer, confusion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.html_report import _comparison_charts as charts
from classic_cv.html_report._format import (
    MISSING,
    ci,
    ci_text,
    fixed,
    is_number,
    maybe,
    points,
    signed,
)
from classic_cv.html_report._parts import Record

MOST_CLASSES = 40
"""Classes that the chart of differences per class shows: of more, those that differ most either way."""
MOST_MATRIX = 30
"""Classes up to which the difference of the confusion matrices is shown."""


# --- comparisons --------------------------------------------------------------------------------------------


def comparisons(verdict: Record, entries: Sequence[Record]) -> dict[str, Any] | None:
    """Each contestant against the reference, the best one first; floors are in the table only."""
    found = sorted(
        (entry for entry in verdict.get("comparisons") or [] if is_number(entry.get("difference"))),
        key=lambda entry: -entry["difference"],
    )
    if not found:
        return None
    floors = {entry.get("name") for entry in entries if entry.get("kind") == "floor"}
    # So far below the others, they would leave them no room on the axis.
    drawn = [entry for entry in found if entry.get("name") not in floors] or found
    reference = str(found[0].get("reference") or verdict.get("reference") or "the reference")
    rows = [
        charts.Difference(
            str(entry.get("name")),
            entry["difference"],
            ci(entry, "ci95"),
            _claim(entry),
            f"{points(entry['difference'])}, {_claim(entry)}",
        )
        for entry in drawn
    ]
    alt = f"differences in accuracy from {reference} with 95 % intervals"
    return {
        "reference": reference,
        "floors": len(drawn) < len(found),
        "chart": charts.differences("differences", rows, alt, "less accurate", "more accurate"),
        "rows": [_comparison_row(entry) for entry in found],
    }


def _claim(entry: Record) -> str:
    claim = str(entry.get("claim") or "none")
    return "no claim" if claim == "none" else claim


def _comparison_row(entry: Record) -> dict[str, Any]:
    return {
        "name": str(entry.get("name")),
        "difference": _plain_points(entry["difference"]),
        "interval": ci_text(ci(entry, "ci95"), _plain_points),
        "wins": maybe(entry.get("wins"), str),
        "losses": maybe(entry.get("losses"), str),
        "p": maybe(entry.get("mcnemar_p"), _p),
        "holm": maybe(entry.get("holm_p"), _p),
        "ratios": [maybe(entry.get(f"{what}_ratio"), _times) for what in ("latency", "size", "fit")],
        "claim": _claim(entry),
        "reason": entry.get("reason") or "",
    }


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else fixed(3)(value)


def _times(ratio: float) -> str:
    return f"{ratio:.{0 if ratio >= 100 else 1 if ratio >= 10 else 2}f} ×"


def per_class(verdict: Record) -> dict[str, Any] | None:
    """Differences class by class: of the best deep contestant as a chart, of all as a table."""
    found = {
        str(entry.get("name")): rows
        for entry in verdict.get("comparisons") or []
        if (rows := [row for row in entry.get("per_class") or [] if is_number(row.get("difference"))])
    }
    if not found:
        return None
    # Contestants with the most accurate one first.
    shown = str(verdict.get("best_deep")) if str(verdict.get("best_deep")) in found else next(iter(found))
    rows = sorted(found[shown], key=lambda row: -row["difference"])
    left_out = len(rows) - MOST_CLASSES
    if left_out > 0:
        rows = rows[: MOST_CLASSES // 2] + rows[-MOST_CLASSES // 2 :]
    drawn = [
        charts.Difference(
            str(row.get("class")),
            row["difference"],
            ci(row, "ci95"),
            "",
            points(row["difference"]) + (f", n = {row['n']}" if is_number(row.get("n")) else ""),
        )
        for row in rows
    ]
    alt = f"difference of {shown} from the reference in each of {len(drawn)} classes"
    classes = list(dict.fromkeys(str(row.get("class")) for rows in found.values() for row in rows))
    by_name = {
        name: {str(row.get("class")): row["difference"] for row in rows} for name, rows in found.items()
    }
    return {
        "name": shown,
        "chart": charts.differences("classes", drawn, alt, "fewer found", "more found"),
        "left_out": max(0, left_out),
        "names": list(found),
        "rows": [
            (name, [maybe(by_name[other].get(name), _plain_points) for other in found]) for name in classes
        ],
    }


def _plain_points(difference: float) -> str:
    return signed(100 * difference, fixed(1))


# --- stages and confusion -----------------------------------------------------------------------------------


def stages(entries: Sequence[Record]) -> dict[str, Any] | None:
    """Where the time of an answer goes, the fastest contestant first; and every percentile."""
    found = [
        charts.Stages(
            str(entry.get("name")),
            {stage: ms for stage in charts.STAGES if is_number(ms := parts.get(stage)) and ms >= 0},
            f"{maybe((entry.get('latency_ms') or {}).get('p50'), fixed(2))} ms",
        )
        for entry in entries
        if (parts := entry.get("stages_ms") or {})
    ]
    rows = [row for row in map(_percentiles, entries) if {*row["stages"], *row["percentiles"]} != {MISSING}]
    if not rows:
        return None
    bars = sorted((row for row in found if row.ms), key=lambda row: sum(row.ms.values()))
    return {"chart": charts.stages(bars) if bars else None, "stages": list(charts.STAGES), "rows": rows}


def _percentiles(entry: Record) -> dict[str, Any]:
    latency, parts = entry.get("latency_ms") or {}, entry.get("stages_ms") or {}
    restarts = [ms for ms in latency.get("restarts") or [] if is_number(ms)]
    return {
        "name": str(entry.get("name")),
        "stages": [maybe(parts.get(stage), fixed(2)) for stage in charts.STAGES],
        "percentiles": [
            maybe(latency.get(key), fixed(2)) for key in ("p50", "p90", "p95", "p99", "p99_bound")
        ],
        "n": maybe(latency.get("n"), str),
        "restarts": ", ".join(fixed(2)(ms) for ms in restarts) or MISSING,
    }


def confusion(record: Record, verdict: Record) -> dict[str, Any] | None:
    """How the shares of the confusion matrix of the best deep contestant differ from the best classical one's."""
    matrices = record.get("confusions") or {}
    classical, deep = verdict.get("reference"), verdict.get("best_deep")
    names = [str(name) for name in record.get("class_names") or []]
    if not matrices.get(classical) or not matrices.get(deep) or not names or len(names) > MOST_MATRIX:
        return None
    before, after = _row_shares(matrices[classical]), _row_shares(matrices[deep])
    if not before.shape == after.shape == (len(names), len(names)):
        return None
    rows = [
        {"name": names[k], "cells": [_cell(float(value), k == column) for column, value in enumerate(row)]}
        for k, row in enumerate(after - before)
    ]
    return {"classical": str(classical), "deep": str(deep), "names": names, "rows": rows}


def _row_shares(counts: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    matrix = np.asarray(counts, np.float64)
    shares: NDArray[np.float64] = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    return shares


def _cell(difference: float, diagonal: bool) -> dict[str, Any]:
    text = signed(100 * difference, fixed(0))
    empty = not text.strip("+0")
    return {
        "text": "" if empty else text,
        # The root, because most differences are small.
        "shade": f"{abs(difference) ** 0.5:.3f}",
        "strong": abs(difference) > 0.6,
        # More on the diagonal and less beside it are both to the credit of the deep contestant.
        "right": (difference > 0) == diagonal,
        "empty": empty,
    }
