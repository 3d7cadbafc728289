"""A comparison's record as what its page shows. Every figure is taken over, none computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from classic_cv.html_report import _comparison_curves as curves
from classic_cv.html_report import _comparison_details as details
from classic_cv.html_report._format import (
    MISSING,
    ci,
    ci_text,
    fixed,
    is_number,
    maybe,
    megabytes,
    share,
)
from classic_cv.html_report._parts import Record, bar, picture, render, skipped, text_of

if TYPE_CHECKING:
    from classic_cv.html_report import Disagreement

SHORT_FINGERPRINT = 12
"""Digits of the split's fingerprint in the head of the page; all of them are at its end."""

MARKS = {"ok": "✓", "over budget": "▲", "undertrained": "▲"}
"""Sign by outcome, for those who read by shape; every other outcome is a failure."""
FAILURE = "✗"


def comparison_page(record: Record, disagreements: Sequence[Disagreement], rules: str) -> str:
    """The whole page."""
    return render("comparison.html.j2", context(record, disagreements, rules))


def context(record: Record, disagreements: Sequence[Disagreement], rules: str) -> dict[str, Any]:
    """Everything the template names; a part without data is None or empty."""
    verdict = record.get("verdict") or {}
    entries = sorted(record.get("contestants") or [], key=_by_accuracy)
    return {
        "title": record.get("title") or "Comparison of image classifiers",
        "command": record.get("command"),
        "facts": facts(record),
        "verdict": verdict_text(verdict),
        "contestants": contestants(entries, verdict, record),
        "latency": curves.latency_chart(entries, verdict),
        "fit": curves.fit_chart(entries, verdict),
        "training": curves.training_chart(entries),
        "learning": curves.learning(record),
        "differences": details.comparisons(verdict, entries),
        "classes": details.per_class(verdict),
        "stages": details.stages(entries),
        "confusion": details.confusion(record, verdict),
        "disagreements": [card(found) for found in disagreements],
        "outcomes": outcomes(entries),
        "notes": list(record.get("notes") or []),
        "skipped": skipped(record.get("skipped") or []),
        "decisions": decisions(entries),
        "conditions": conditions(record, entries),
        "rules": rules,
        "reproduce": reproduce(record),
    }


def _by_accuracy(entry: Record) -> float:
    return -entry["accuracy"] if is_number(entry.get("accuracy")) else 1.0


# --- head ---------------------------------------------------------------------------------------------------


def facts(record: Record) -> list[tuple[str, str]]:
    """(label, text) of the line under the title."""
    budgets = [budget for budget in record.get("budgets_cpu_seconds") or [] if is_number(budget)]
    if not budgets and is_number(record.get("budget_cpu_seconds")):
        budgets = [record["budget_cpu_seconds"]]
    found = [
        ("data", record.get("data")),
        ("classes", len(record.get("class_names") or []) or None),
        ("training images", text_of(record, "n_train", str)),
        ("test images", text_of(record, "n_test", str)),
        ("split", str(record.get("split_sha256") or "")[:SHORT_FINGERPRINT]),
        (
            "budget of a fit",
            " and ".join(f"{budget:g}" for budget in budgets) + " CPU seconds" if budgets else None,
        ),
        ("threads", text_of(record, "threads", str)),
        ("memory limit", text_of(record, "memory_limit_mb", lambda mb: f"{mb:.0f} MB")),
        ("latency limit", text_of(record, "latency_limit_ms", lambda ms: f"{ms:g} ms")),
        ("size limit", text_of(record, "size_limit_mb", lambda mb: f"{mb:g} MB")),
    ]
    return [(label, str(text)) for label, text in found if text not in (None, "")]


def verdict_text(verdict: Record) -> dict[str, Any] | None:
    """What it comes to, and what speaks against relying on it."""
    challenger = verdict.get("challenger") or {}
    terms = [
        ("winner", [verdict.get("winner")]),
        ("best classical", [verdict.get("reference")]),
        ("best deep", [verdict.get("best_deep")]),
        ("beaten by none in accuracy, latency and size at once", list(verdict.get("front") or [])),
    ]
    shown = {
        "warnings": list(verdict.get("warnings") or []),
        "text": verdict.get("text") or "",
        "challenger": challenger_text(challenger) if any(challenger.values()) else None,
        "terms": [(label, names) for label, names in terms if any(names)],
    }
    return shown if any(shown.values()) else None


def challenger_text(challenger: Record) -> dict[str, Any]:
    """Whether the challenger passed."""
    passed = bool(challenger.get("passed"))
    margin = challenger.get("margin")
    return {
        "name": challenger.get("name") or "",
        "mark": MARKS["ok"] if passed else FAILURE,
        "word": "passed" if passed else "not passed",
        "margin": f"{fixed(1)(100 * margin)} points" if is_number(margin) else "",
        "text": challenger.get("text") or "",
    }


# --- contestants --------------------------------------------------------------------------------------------


def contestants(entries: Sequence[Record], verdict: Record, record: Record) -> dict[str, Any] | None:
    """The rows of the two tables: how good each one is, and what it costs."""
    if not entries:
        return None
    budgets = {entry.get("budget_cpu_seconds") for entry in entries}
    budget = budgets.pop() if len(budgets) == 1 else None
    rows = [_row(entry, verdict) for entry in entries]
    measured = [row for row in rows if row["costs"]]
    bounds = any(row["p99_bound"] for row in measured)
    return {
        "rows": rows,
        "measured": measured,
        "bounds": bounds,
        "budget": maybe(budget, lambda seconds: f"{seconds:g}") if is_number(budget) else "",
        "n": text_of(record, "n_test", str),
    }


def _row(entry: Record, verdict: Record) -> dict[str, Any]:
    interval, accuracy = ci(entry, "accuracy_ci95"), entry.get("accuracy")
    latency, all_threads = entry.get("latency_ms") or {}, entry.get("latency_threads_ms") or {}
    costs = {
        "p50": maybe(latency.get("p50"), fixed(2)),
        "p99": maybe(latency.get("p99"), fixed(2)),
        "all_threads": maybe(all_threads.get("p50"), fixed(2)),
        "throughput": maybe(entry.get("throughput"), _rate),
        "cold": maybe(entry.get("cold_start_ms"), fixed(0)),
        "memory": maybe(entry.get("peak_rss_mb"), fixed(0)),
        "model": maybe(entry.get("model_bytes"), megabytes),
    }
    return {
        "name": str(entry.get("name")),
        "kind": entry.get("kind") or "",
        "winner": verdict.get("winner") is not None and entry.get("name") == verdict.get("winner"),
        "description": entry.get("description") or "",
        "accuracy": maybe(accuracy, share),
        "interval": ci_text(interval, share),
        "bar": bar(*interval, accuracy) if interval and is_number(accuracy) else None,
        "balanced": maybe(entry.get("balanced_accuracy"), share),
        "fit": _fit(entry),
        "epochs": maybe(entry.get("epochs"), lambda epochs: f"{epochs:.3g}"),
        "n_fit": maybe(entry.get("n_fit"), str),
        "outcome": entry.get("outcome") or MISSING,
        "mark": MARKS.get(entry.get("outcome") or "", FAILURE) if entry.get("outcome") else "",
        "p99_bound": maybe(latency.get("p99_bound"), fixed(2)) if is_number(latency.get("p99_bound")) else "",
        **costs,
        "costs": any(text != MISSING for text in costs.values()),
    }


def _fit(entry: Record) -> tuple[str, str]:
    """CPU seconds of the fit, and of how many."""
    budget = text_of(entry, "budget_cpu_seconds", lambda seconds: f"of {seconds:g}")
    return maybe(entry.get("fit_cpu_seconds"), fixed(1)), budget or ""


def _rate(per_second: float) -> str:
    return fixed(0 if per_second >= 20 else 1)(per_second)


def outcomes(entries: Sequence[Record]) -> list[dict[str, str]]:
    """What did not end well, and why."""
    return [
        {
            "name": str(entry.get("name")),
            "mark": MARKS.get(entry["outcome"], FAILURE),
            "outcome": entry["outcome"],
            "message": entry.get("message") or "",
        }
        for entry in entries
        if entry.get("outcome") and entry["outcome"] != "ok"
    ]


def decisions(entries: Sequence[Record]) -> list[dict[str, Any]]:
    """What each contestant says that it decided, with its description and its further seeds."""
    shown = [
        {
            "name": str(entry.get("name")),
            "description": entry.get("description") or "",
            "log": list(entry.get("log") or []),
            "repeats": ", ".join(_repeat(repeat) for repeat in entry.get("repeats") or []),
        }
        for entry in entries
    ]
    return [found for found in shown if found["description"] or found["log"] or found["repeats"]]


def _repeat(repeat: Record) -> str:
    return f"{maybe(repeat.get('accuracy'), share)} with seed {repeat.get('seed')}"


def card(found: Disagreement) -> dict[str, Any]:
    """A picture with what it is and what each contestant took it for."""
    return picture(found.pixels) | {
        "name": found.name,
        "truth": found.truth,
        "answers": [
            {
                "contestant": contestant,
                "said": said,
                "probability": share(probability) if is_number(probability) else "",
                "right": right,
            }
            for contestant, said, probability, right in found.answers
        ],
    }


# --- provenance ---------------------------------------------------------------------------------------------


def conditions(record: Record, entries: Sequence[Record]) -> dict[str, Any] | None:
    """The machine, the versions, and the threads as each process found them."""
    hardware: Mapping[str, Any] = record.get("hardware") or {}
    versions: Mapping[str, Any] = record.get("versions") or {}
    cores = ", ".join(str(core) for core in record.get("cores") or [])
    found = [
        ("processor", hardware.get("cpu")),
        ("cores", text_of(hardware, "cores", str)),
        ("cores used", cores),
        ("memory", text_of(hardware, "memory_mb", lambda mb: f"{mb:.0f} MB")),
        ("system", hardware.get("system")),
        ("Python", hardware.get("python")),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items() if version)),
    ]
    shown = {
        "rows": [(label, str(text)) for label, text in found if text],
        "threads": _threads(entries),
    }
    return shown if any(shown.values()) else None


def _threads(entries: Sequence[Record]) -> dict[str, Any] | None:
    verified = [(str(entry.get("name")), entry["threads"]) for entry in entries if entry.get("threads")]
    libraries = list(
        dict.fromkeys(key for _, threads in verified for key, n in threads.items() if is_number(n))
    )
    if not libraries:
        return None
    rows = [(name, [maybe(threads.get(library), str) for library in libraries]) for name, threads in verified]
    return {"libraries": libraries, "rows": rows}


def reproduce(record: Record) -> dict[str, Any] | None:
    """What it takes to get the same figures again."""
    found = [
        ("split fingerprint", record.get("split_sha256")),
        ("seed", text_of(record, "seed", str)),
    ]
    shown = {
        "command": record.get("command"),
        "rows": [(label, str(text)) for label, text in found if text],
    }
    return shown if any(shown.values()) else None
