"""A comparison's record as text: for a terminal, and as a table for a README; no computation."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Mapping
from typing import Any

from classic_cv.compare.wording import listed
from classic_cv.report import notes_text, skipped_text, table

COLUMNS = (
    "contestant",
    "accuracy %",
    "p50 ms",
    "p99 ms",
    "img/s",
    "MB",
    "CPU s",
    "epochs",
    "n_fit",
    "outcome",
)

WIDTH = 110


def comparison_text(record: Mapping[str, Any]) -> str:
    """The table, the verdict, the warnings and the notes of a comparison, for a terminal.

    Args:
        record: as stored as JSON.
    """
    verdict, ranked = record["verdict"], _ranked(record)
    figures = [
        _subject(record),
        table(COLUMNS, [_cells(entry) for entry in ranked]),
        textwrap.fill(_legend(record), WIDTH),
        *(_wrapped(f"{entry['name']}: ", _outcome(entry)) for entry in ranked if entry["outcome"] != "ok"),
    ]
    judgement = [
        _wrapped("verdict: ", verdict["text"]),
        *(_wrapped(f"{name}: ", text) for name, text in _answers(record)),
        *(_wrapped("WARNING: ", warning) for warning in verdict["warnings"]),
        *([notes_text(record["notes"])] if record["notes"] else []),
        *([skipped_text(record["skipped"])] if record.get("skipped") else []),
        f"split: {record['split_sha256'][:16]}… (seed {record['seed']})",
    ]
    return _plain("\n".join([*figures, "", *judgement]))


def comparison_markdown(record: Mapping[str, Any]) -> str:
    """The same as a GitHub table and lists, for a README: what the record holds is escaped."""
    verdict = record["verdict"]
    rows = [[_escaped(cell) for cell in _cells(entry)] for entry in _ranked(record)]
    rules = [":---", *["---:"] * (len(COLUMNS) - 2), ":---"]
    lines = [f"| {' | '.join(row)} |" for row in (COLUMNS, rules, *rows)]
    unmeasured = [
        f"{entry['name']}: {_outcome(entry)}" for entry in record["contestants"] if entry["outcome"] != "ok"
    ]
    told = [("Warning", warning) for warning in verdict["warnings"]]
    told += [("Outcome", text) for text in unmeasured] + [("Note", note) for note in record["notes"]]
    items = [f"- **{name}:** {_escaped(text)}" for name, text in told]
    parts = [
        _escaped(_subject(record)),
        "\n".join(lines),
        _escaped(_legend(record)),
        f"**Verdict:** {_escaped(verdict['text'])}",
        *(f"**{name.capitalize()}:** {_escaped(text)}" for name, text in _answers(record)),
        "\n".join(items),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _ranked(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The most accurate first; without an accuracy last."""
    return sorted(record["contestants"], key=lambda e: math.inf if e["accuracy"] is None else -e["accuracy"])


def _cells(entry: Mapping[str, Any]) -> list[str]:
    latency = entry["latency_ms"] or {}
    size = entry["model_bytes"]
    accuracy = "-"
    if entry["accuracy"] is not None:
        interval = entry["accuracy_ci95"]
        reach = f" ({100 * interval[0]:.1f}–{100 * interval[1]:.1f})" if interval else ""
        accuracy = f"{100 * entry['accuracy']:.1f}{reach}"
    return [
        entry["name"],
        accuracy,
        _figure(latency.get("p50")),
        _figure(latency.get("p99")),
        _figure(entry["throughput"]),
        _figure(None if size is None else size / 1e6),
        _figure(entry["fit_cpu_seconds"]),
        _figure(entry["epochs"]),
        "-" if entry["n_fit"] is None else f"{entry['n_fit']:,}",
        entry["outcome"],
    ]


def _figure(value: float | None) -> str:
    """Three digits, or all of a larger number."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _outcome(entry: Mapping[str, Any]) -> str:
    return f"{entry['outcome']}: {entry['message']}" if entry["message"] else str(entry["outcome"])


def _subject(record: Mapping[str, Any]) -> str:
    return (
        f"{record['data']}: {len(record['class_names'])} classes, {record['n_train']:,} training and "
        f"{record['n_test']:,} test images"
    )


def _legend(record: Mapping[str, Any]) -> str:
    """What the columns are, and what they were measured on."""
    return (
        "accuracy with its 95 % interval; p50 and p99 from encoded bytes to label, one image, one thread; img/s on "
        f"{record['threads']} threads; CPU s of the fit, at most {record['budget_cpu_seconds']:g} each; "
        f"{record['hardware']['cpu']}"
    )


def _answers(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What else was asked: the challenger, the learning curve, the Pareto front."""
    verdict, curve = record["verdict"], record["learning_curve"]
    found = []
    if verdict["challenger"]:
        found.append(("challenger", verdict["challenger"]["text"]))
    crossing = curve["crossover"] if curve else None
    if crossing:
        pair = f"where {crossing['deep']} overtakes {crossing['classical']}"
        found.append(("learning curve", f"{pair}: {crossing['text']}"))
    if len(verdict["front"]) > 1:
        found.append(
            ("Pareto front", f"{listed(verdict['front'], 12)} (accuracy, latency, size; the fastest first)")
        )
    return found


def _wrapped(head: str, text: str) -> str:
    return textwrap.fill(
        head + text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def _plain(text: str) -> str:
    """Nothing in a name or message may steer the terminal."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)


def _escaped(text: str) -> str:
    """Text without a meaning of its own in GitHub's Markdown, on one line."""
    return re.sub(r"([\\`*_\[\]<>&|~])", r"\\\1", " ".join(_plain(text).split()))
