"""A report's data as what the template shows: text, bars and charts. Every figure is taken over, none computed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from classic_cv.html_report import _charts, _scatter
from classic_cv.html_report._format import (
    MISSING,
    Format,
    Score,
    ci,
    ci_text,
    count,
    duration,
    fixed,
    is_number,
    like,
    maybe,
    megabytes,
    number,
    points,
    share,
    size_text,
)
from classic_cv.html_report._parts import Record, bar, picture, render, skipped, text_of

if TYPE_CHECKING:
    from classic_cv.html_report import Mistake

MOST_CONFUSIONS = 20
MOST_MATRIX = 20
"""Classes up to which the confusion matrix is a table of counts."""
MOST_OPEN = 40
"""Rows of the per-class table that are shown without unfolding it."""
MOST_BARS = 60
"""Classes up to which the class balance has a labelled bar each."""


def page(report: Record, mistakes: Sequence[Mistake]) -> str:
    """The whole page."""
    return render("template.html.j2", context(report, mistakes))


def context(report: Record, mistakes: Sequence[Mistake]) -> dict[str, Any]:
    """Everything the template names; a part without data is None or empty."""
    test = report.get("test") or {}
    search = report.get("search") or {}
    return {
        "title": report.get("title") or report.get("recipe") or "classic-cv report",
        "command": report.get("command"),
        "facts": facts(report),
        "not_measured": "test" in report and not test,
        "part": test.get("part") or "test",
        "n": test.get("n"),
        "tiles": quality_tiles(test, report),
        "costs": cost_tiles(test),
        "leaderboard": leaderboard(search),
        "latency": latency_chart(search),
        "confusion": confusion(test),
        "per_class": per_class(test),
        "mistakes": [mistake_card(mistake) for mistake in mistakes],
        "regression": is_regression(report),
        "calibration": calibration(test),
        "balance": balance(report.get("class_counts") or {}),
        "groups": groups(report.get("groups") or {}),
        "degraded": degraded(test.get("degraded") or {}),
        "easier": easier(report.get("easier") or {}),
        "errors": errors(test, report),
        "notes": list(report.get("notes") or []),
        "skipped": skipped(report.get("skipped") or []),
        "reproduce": reproduce(report, test),
        "recipe_toml": report.get("recipe_toml"),
        "run": report.get("reproduce"),
    }


def is_regression(report: Record) -> bool:
    """Whether the report is of numbers, not of classes."""
    test = report.get("test") or {}
    return bool((report.get("task") or test.get("task")) == "regression")


# --- head ---------------------------------------------------------------------------------------------------


def facts(report: Record) -> list[tuple[str, str]]:
    """(label, text) of the line under the title."""
    test = report.get("test") or {}
    found = [
        ("data", report.get("data")),
        ("recipe", report.get("recipe")),
        ("target", report.get("target") if is_regression(report) else None),
        ("classes", None if is_regression(report) else text_of(report, "classes", str)),
        ("training images", text_of(report, "n_train", str)),
        (f"{test.get('part') or 'test'} images", text_of(test, "n", str)),
        ("fitted in", text_of(report, "fit_seconds", duration)),
    ]
    return [(label, str(text)) for label, text in found if text not in (None, "")]


# --- tiles --------------------------------------------------------------------------------------------------


def quality_tiles(test: Record, report: Record) -> list[dict[str, Any]]:
    """How good the model is."""
    if is_regression(report):
        wanted: list[tuple[str, str, Format, str]] = [
            ("mae", "mean absolute error", number, "how far off a prediction is on average"),
            ("rmse", "root mean square error", number, "the same with large errors counted more"),
            ("r2", "R²", fixed(3), "1 is perfect; 0 is always saying the mean"),
        ]
    else:
        wanted = [
            ("accuracy", "accuracy", share, "share of images labelled correctly"),
            ("balanced_accuracy", "balanced accuracy", share, "the same with every class counted equally"),
            ("macro_f1", "macro F1", share, "mean F1 of the classes"),
            ("log_loss", "log loss", fixed(3), "of the probabilities; 0 is perfect"),
            ("ece", "calibration error", fixed(3), "mean gap of confidence to accuracy; 0 is perfect"),
        ]
    return [_tile(test, *entry) for entry in wanted if is_number(test.get(entry[0]))]


def _tile(test: Record, key: str, label: str, text: Format, meaning: str) -> dict[str, Any]:
    interval = ci(test, f"{key}_ci95")
    text = like(test[key]) if text is number else text
    # A range on a scale says something only where the scale has two ends.
    scale = text is share and interval is not None
    return {
        "label": label,
        "value": text(test[key]),
        "unit": "",
        "interval": ci_text(interval, text),
        "bar": bar(interval[0], interval[1], test[key]) if scale and interval else None,
        "meaning": meaning,
    }


def cost_tiles(test: Record) -> list[dict[str, Any]]:
    """What the model costs."""
    latency = test.get("latency_ms") or {}
    threads = count(test["threads"], "thread") if is_number(test.get("threads")) else "all threads"
    tail = f"99 % within {latency['p99']:.2f} ms; " if is_number(latency.get("p99")) else ""
    wanted: list[tuple[Any, str, Format, str]] = [
        (latency.get("p50"), "latency, median", _ms, "one image, encoded bytes to label, one thread"),
        (latency.get("p95"), "latency, p95", _ms, f"{tail}bytes to label, one thread"),
        (test.get("throughput"), "throughput", _per_second, f"whole batches, reading included, on {threads}"),
        (test.get("model_bytes"), "model size", megabytes, "the file, with everything needed to predict"),
        (test.get("peak_rss_mb"), "peak memory", _mb, "of the measuring process"),
    ]
    return [_cost(label, text(value), meaning) for value, label, text, meaning in wanted if is_number(value)]


def _cost(label: str, text: str, meaning: str) -> dict[str, Any]:
    value, unit = text.split(" ", 1)
    return {"label": label, "value": value, "unit": unit, "interval": "", "bar": None, "meaning": meaning}


def _ms(value: float) -> str:
    return f"{value:.2f} ms"


def _mb(value: float) -> str:
    return f"{value:.0f} MB"


def _per_second(value: float) -> str:
    return f"{value:.0f} images/s"


# --- search -------------------------------------------------------------------------------------------------


def leaderboard(search: Record) -> dict[str, Any] | None:
    """The table of what was tried."""
    rows = search.get("leaderboard") or []
    if not rows:
        return None
    score = _scoring(search)
    ends = [end for row in rows for end in ci(row, "score_ci95") or ()]
    scale = (min(ends), max(ends)) if ends and max(ends) > min(ends) else None
    return {
        "scoring": score.name,
        "better": "lower" if score.lower_is_better else "higher",
        "whiskers": scale is not None,
        "rows": [_board_row(row, score, scale) for row in rows],
        "terms": _search_terms(search),
    }


def _scoring(search: Record) -> Score:
    values = [row["score"] for row in search["leaderboard"] if is_number(row.get("score"))]
    return Score(search.get("scoring") or "accuracy", values[0] if values else None)


def _board_row(row: Record, score: Score, scale: tuple[float, float] | None) -> dict[str, Any]:
    interval = ci(row, "score_ci95")
    whisker = None
    if scale and interval and is_number(row.get("score")):
        whisker = bar(*((end - scale[0]) / (scale[1] - scale[0]) for end in (*interval, row["score"])))
    return {
        "winner": row.get("status") == "winner",
        "recipe": row.get("recipe"),
        "size": size_text(row.get("size")),
        "head": row.get("head") or MISSING,
        "score": maybe(row.get("score"), score.text),
        "interval": ci_text(interval, score.text),
        "bar": whisker,
        "n_rows": maybe(row.get("n_rows"), str),
        "fit": maybe(row.get("fit_seconds"), duration),
        "ms": maybe(row.get("ms_per_image"), fixed(2)),
        "p95": maybe(row.get("p95_ms"), fixed(2)),
        "model": maybe(row.get("model_bytes"), megabytes),
        "status": row.get("status") or "",
    }


def _search_terms(search: Record) -> list[tuple[str, str]]:
    found = [
        ("ended", search.get("stopped")),
        ("took", text_of(search, "seconds", duration)),
        ("time limit", text_of(search, "time_limit", duration)),
        ("latency limit", text_of(search, "latency_limit_ms", lambda ms: f"{ms:g} ms")),
    ]
    return [(label, str(text)) for label, text in found if text]


def latency_chart(search: Record) -> Markup | None:
    """Score against latency of the candidates that have both."""
    rows = [
        row
        for row in search.get("leaderboard") or []
        if is_number(row.get("score")) and is_number(row.get("ms_per_image")) and row["ms_per_image"] > 0
    ]
    if not rows:
        return None
    # Small inputs first, so that colours follow the size.
    rows.sort(key=lambda row: _pixels(row.get("size")))
    names = [str(row.get("recipe")) for row in rows]
    candidates = [
        _scatter.Candidate(
            # The same recipe at several sizes needs the size to tell its points apart.
            f"{name}, {size_text(row.get('size'))}" if names.count(name) > 1 else name,
            row["ms_per_image"],
            row["score"],
            ci(row, "score_ci95"),
            size_text(row.get("size")) if row.get("size") is not None else "size unknown",
            row.get("status") == "winner",
        )
        for name, row in zip(names, rows, strict=True)
    ]
    return _scatter.score_against_cost(candidates, _scoring(search))


def _pixels(size: Any) -> float:
    sides = size if isinstance(size, list | tuple) else [size, size]
    return float(np.prod([side for side in sides if is_number(side)]))


# --- what is right and wrong --------------------------------------------------------------------------------


def class_names(test: Record) -> list[str]:
    """Names along the sides of the confusion matrix."""
    names, size = list(test.get("per_class") or {}), len(test.get("confusion") or [])
    return names if len(names) == size else [str(k) for k in range(size)]


def confusion(test: Record) -> dict[str, Any] | None:
    """Matrix or heatmap, and the most frequent confusions."""
    counts = test.get("confusion") or []
    if not counts:
        return None
    names = class_names(test)
    small = len(counts) <= MOST_MATRIX
    return {
        "names": names,
        "rows": _matrix(counts, names) if small else None,
        "heatmap": None if small else _charts.confusion_heatmap(counts),
        "most": _frequent(counts, names),
        "limit": MOST_CONFUSIONS,
    }


def _matrix(counts: Sequence[Sequence[int]], names: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "name": names[k],
            "n": sum(row),
            "cells": [_cell(value, sum(row), k == column) for column, value in enumerate(row)],
        }
        for k, row in enumerate(counts)
    ]


def _cell(value: int, total: int, correct: bool) -> dict[str, Any]:
    part = value / total if total else 0.0
    return {"count": value, "shade": f"{part:.3f}", "strong": part > 0.8, "correct": correct}


def _frequent(counts: Sequence[Sequence[int]], names: Sequence[str]) -> list[dict[str, Any]]:
    wrong = [
        (value, k, column)
        for k, row in enumerate(counts)
        for column, value in enumerate(row)
        if value and k != column
    ]
    wrong.sort(key=lambda entry: (-entry[0], entry[0] and -entry[0] / sum(counts[entry[1]]), entry[1:]))
    return [
        {"truth": names[k], "predicted": names[c], "count": value, "share": share(value / sum(counts[k]))}
        for value, k, c in wrong[:MOST_CONFUSIONS]
    ]


def per_class(test: Record) -> dict[str, Any] | None:
    """Precision, recall and F1, the weakest class first; classes without images last."""
    found = test.get("per_class") or {}
    if not found:
        return None
    order = sorted(found, key=lambda name: (not found[name].get("n"), found[name].get("f1") or 0))
    rows = [_class_row(name, found[name]) for name in order]
    return {"rows": rows[:MOST_OPEN], "more": rows[MOST_OPEN:], "limit": MOST_OPEN}


def _class_row(name: str, figures: Record) -> dict[str, Any]:
    shown = figures if figures.get("n") else {}
    f1 = shown.get("f1")
    return {
        "name": name,
        "precision": maybe(shown.get("precision"), share),
        "recall": maybe(shown.get("recall"), share),
        "f1": maybe(f1, share),
        "width": f"{100 * f1:.2f}%" if is_number(f1) else "0%",
        "n": figures.get("n", 0),
    }


def mistake_card(mistake: Mistake) -> dict[str, Any]:
    """A picture with what it is and what it was taken for."""
    return picture(mistake.pixels) | {
        "name": mistake.name,
        "truth": mistake.truth,
        "predicted": mistake.predicted,
        "probability": share(mistake.probability) if is_number(mistake.probability) else "",
    }


def calibration(test: Record) -> dict[str, Any] | None:
    """The reliability diagram."""
    bins = test.get("reliability") or []
    if not any(entry["n"] for entry in bins):
        return None
    ece = test.get("ece") if is_number(test.get("ece")) else None
    interval = ci_text(ci(test, "ece_ci95"), fixed(3))
    return {
        "chart": _charts.reliability(bins, ece),
        "ece": maybe(ece, fixed(3)),
        "interval": interval,
        "bins": len(bins),
    }


def balance(counts: Mapping[str, Mapping[str, int]]) -> dict[str, Any] | None:
    """Images per class."""
    if not counts:
        return None
    compact = len(counts) > MOST_BARS
    totals = {name: both.get("train", 0) + both.get("test", 0) for name, both in counts.items()}
    most, fewest = max(totals, key=lambda name: totals[name]), min(totals, key=lambda name: totals[name])
    return {
        "chart": (_charts.class_balance_compact if compact else _charts.class_balance)(counts),
        "compact": compact,
        "ends": [(most, count(totals[most], "image")), (fewest, count(totals[fewest], "image"))],
    }


# --- what would change it -----------------------------------------------------------------------------------


def groups(found: Record) -> dict[str, Any] | None:
    """What each feature group contributes, the most important one first."""
    if not found.get("rows"):
        return None
    score = Score(found.get("scoring") or "accuracy", found.get("full"))
    rows = sorted(found["rows"], key=lambda row: -row["loss"])
    losses = [_charts.Loss(str(row["group"]), row["loss"], ci(row, "loss_ci95")) for row in rows]
    return {
        "method": found.get("method") or "",
        "scoring": score.name,
        "lost": "added" if score.lower_is_better else "lost",
        "full": maybe(found.get("full"), score.text),
        "chart": _charts.group_losses(losses, score),
        "rows": [
            {
                "group": row["group"],
                "columns": maybe(row.get("columns"), str),
                "without": maybe(row.get("without"), score.text),
                "loss": score.change(row["loss"]),
                "interval": ci_text(ci(row, "loss_ci95"), score.change),
            }
            for row in rows
        ],
    }


def degraded(found: Record) -> dict[str, Any] | None:
    """What it costs when this model answers in the place of another one."""
    if not found.get("shares"):
        return None
    return {
        "primary": found["primary"],
        "agreement": share(found["agreement"]),
        "agreement_interval": ci_text(ci(found, "agreement_ci95"), share),
        "failed": count(found["n_failed"], "image") if found["n_failed"] else "",
        "rows": [
            {
                "share": share(row["share"]),
                "accuracy": share(row["accuracy"]),
                "interval": ci_text(ci(row, "accuracy_ci95"), share),
                "change": points(-row["loss"]) if row["loss"] else MISSING,
                "change_interval": ci_text(_turned(ci(row, "loss_ci95")), points),
            }
            for row in found["shares"]
        ],
    }


def _turned(interval: tuple[float, float] | None) -> tuple[float, float] | None:
    """The interval of the negative value."""
    return None if interval is None else (-interval[1], -interval[0])


def easier(found: Record) -> dict[str, Any] | None:
    """What an easier task would gain."""
    if not found.get("rows"):
        return None
    rows = [_easier_row(row) for row in found["rows"]]
    return {
        "note": found.get("note") or "",
        "rows": rows,
        "changes": any(row["change"] != MISSING for row in rows),
        "details": any(row["detail"] for row in rows),
    }


def _easier_row(row: Record) -> dict[str, Any]:
    score = Score(row.get("score_name") or "accuracy", row.get("score"))
    return {
        "task": row["task"],
        "score_name": score.name,
        "score": maybe(row.get("score"), score.text),
        "interval": ci_text(ci(row, "ci95"), score.text),
        "change": maybe(row.get("change"), score.change),
        "detail": row.get("detail") or "",
    }


def errors(test: Record, report: Record) -> dict[str, Any] | None:
    """The charts of a regression."""
    if not test.get("points"):
        return None
    pairs = np.array(test["points"], np.float64)
    target = str(test.get("target") or "value")
    return {
        "target": target,
        "scatter": _charts.predicted_against_true(pairs, target),
        "residuals": _charts.residual_histogram(pairs, target),
        "shown": min(len(pairs), _charts.MOST_MARKS),
        "all": len(pairs),
    }


# --- data and provenance ------------------------------------------------------------------------------------


def reproduce(report: Record, test: Record) -> list[tuple[str, str]]:
    """(label, text) of what it takes to get the same figures again."""
    versions: Iterable[tuple[str, Any]] = (test.get("versions") or {}).items()
    found = [
        ("split fingerprint", report.get("split_sha256")),
        ("seed", text_of(report, "seed", str)),
        ("model file", report.get("model")),
        ("hardware", test.get("cpu")),
        ("threads", text_of(test, "threads", str)),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions)),
    ]
    return [(label, str(text)) for label, text in found if text]
