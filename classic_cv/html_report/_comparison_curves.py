"""A comparison's curves: accuracy against what an answer or a fit costs, while training, and with more images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from classic_cv.html_report import _comparison_charts as charts
from classic_cv.html_report._format import (
    ci,
    ci_text,
    is_number,
    maybe,
    share,
)
from classic_cv.html_report._parts import Record
from classic_cv.html_report._scatter import LATENCY, Candidate, score_against_cost

# --- accuracy against cost ----------------------------------------------------------------------------------


def latency_chart(entries: Sequence[Record], verdict: Record) -> Markup | None:
    """Accuracy against latency on one thread of the contestants that have both."""
    found = [(entry, (entry.get("latency_ms") or {}).get("p50")) for entry in entries]
    shown = {
        str(entry.get("name")): _candidate(entry, entry, p50, verdict)
        for entry, p50 in found
        if is_number(entry.get("accuracy")) and is_number(p50) and p50 > 0
    }
    if not shown:
        return None
    front = None if verdict.get("front") is None else [shown[n] for n in verdict["front"] if n in shown]
    return score_against_cost(
        list(shown.values()),
        charts.ACCURACY,
        LATENCY,
        noun="contestant",
        looks=charts.KINDS,
        front=front,
        label_all=True,
    )


def fit_chart(entries: Sequence[Record], verdict: Record) -> dict[str, Any] | None:
    """Accuracy against the CPU seconds of the fit; a contestant with several budgets is a line."""
    paths = []
    for entry in entries:
        fits = sorted(filter(_is_fit, entry.get("curve") or []), key=lambda fit: fit["fit_cpu_seconds"])
        if not fits and _is_fit(entry):
            fits = [entry]
        if fits:
            # Of the winner, the ring goes round the last point only.
            before = [_candidate(entry, fit, fit["fit_cpu_seconds"], {}) for fit in fits[:-1]]
            paths.append([*before, _candidate(entry, fits[-1], fits[-1]["fit_cpu_seconds"], verdict)])
    if not paths:
        return None
    flat = [candidate for path in paths for candidate in path]
    chart = score_against_cost(
        flat,
        charts.ACCURACY,
        charts.FIT,
        noun="contestant",
        looks=charts.KINDS,
        front=(),
        paths=[path for path in paths if len(path) > 1],
        label_all=True,
    )
    return {"chart": chart, "budgets": _budgets(entries)}


def _is_fit(fit: Record) -> bool:
    seconds = fit.get("fit_cpu_seconds")
    return is_number(fit.get("accuracy")) and is_number(seconds) and seconds > 0


def _candidate(entry: Record, figures: Record, cost: float, verdict: Record) -> Candidate:
    name, outcome = str(entry.get("name")), figures.get("outcome") or "ok"
    kind = entry.get("kind")
    return Candidate(
        name if outcome == "ok" else f"{name} ({outcome})",
        cost,
        figures["accuracy"],
        ci(figures, "accuracy_ci95"),
        kind if kind in charts.KINDS else "unknown",
        verdict.get("winner") is not None and entry.get("name") == verdict.get("winner"),
    )


def _budgets(entries: Sequence[Record]) -> dict[str, Any] | None:
    """Accuracy by contestant and budget, where there are several budgets."""
    budgets = sorted(
        {
            fit["budget_cpu_seconds"]
            for entry in entries
            for fit in entry.get("curve") or []
            if is_number(fit.get("budget_cpu_seconds"))
        }
    )
    if len(budgets) < 2:
        return None
    rows = []
    for entry in entries:
        fits = {fit.get("budget_cpu_seconds"): fit for fit in entry.get("curve") or []}
        if fits:
            rows.append(
                (str(entry.get("name")), [_budget_cell(fits.get(budget) or {}) for budget in budgets])
            )
    return {"budgets": [f"{budget:g}" for budget in budgets], "rows": rows}


def _budget_cell(fit: Record) -> tuple[str, str]:
    """Accuracy, and a note on how it came about."""
    outcome = fit.get("outcome") or "ok"
    return maybe(fit.get("accuracy"), share), "" if outcome == "ok" else outcome


# --- curves -------------------------------------------------------------------------------------------------


def training_chart(entries: Sequence[Record]) -> Markup | None:
    """Validation accuracy while fitting, of the contestants that kept a history."""
    curves = []
    for entry in entries:
        places = [
            (step["cpu_seconds"], step["validation_accuracy"])
            for step in entry.get("history") or []
            if is_number(step.get("cpu_seconds")) and is_number(step.get("validation_accuracy"))
        ]
        if places:
            curves.append(charts.Curve(str(entry.get("name")), sorted(places)))
    return charts.training_curves(curves) if curves else None


def learning(record: Record) -> dict[str, Any] | None:
    """Accuracy against the number of training images, and where the curves cross."""
    found = record.get("learning_curve") or {}
    curves: dict[str, Any] = found.get("curves") or {}
    n_classes = len(record.get("class_names") or [])
    sizes: dict[float, str] = {}
    lines = []
    for name, steps in curves.items():
        line = sorted(
            (place, step["mean"], ci(step, "ci95"))
            for step in steps
            if (place := _place(step, n_classes)) is not None and is_number(step.get("mean"))
        )
        if line:
            lines.append(charts.Curve(name, [(x, y) for x, y, _ in line], [pair for *_, pair in line]))
        for step in steps:
            if (place := _place(step, n_classes)) is not None:
                sizes[place] = _size_text(step, place)
    if not lines:
        return None
    crossover = found.get("crossover") or {}
    at = crossover.get("images_per_class")
    return {
        "chart": charts.learning_curves(
            lines, sorted(sizes.items()), at if is_number(at) and at > 0 else None
        ),
        "text": crossover.get("text") or "",
        "draws": found.get("draws"),
        "sizes": [text for _, text in sorted(sizes.items())],
        "rows": [(name, _learning_row(steps, sorted(sizes), n_classes)) for name, steps in curves.items()],
    }


def _place(step: Record, n_classes: int) -> float | None:
    """Where a step of a learning curve is on the axis; "all" is the mean number of images of a class."""
    size = step.get("images_per_class")
    if is_number(size) and size > 0:
        return float(size)
    n_fit = step.get("n_fit")
    return n_fit / n_classes if size == "all" and is_number(n_fit) and n_fit > 0 and n_classes else None


def _size_text(step: Record, place: float) -> str:
    return "all" if step.get("images_per_class") == "all" else f"{place:g}"


def _learning_row(steps: Sequence[Record], sizes: Sequence[float], n_classes: int) -> list[tuple[str, str]]:
    by_place = {_place(step, n_classes): step for step in steps}
    found = [by_place.get(size) or {} for size in sizes]
    return [(maybe(step.get("mean"), share), ci_text(ci(step, "ci95"), share)) for step in found]
