"""A check's record as what its page shows. Every figure is taken over, none computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from classic_cv.checks.finding import CHECKS, SEVERITIES, Finding
from classic_cv.checks.text import news, sentence, verdict_text
from classic_cv.html_report import _check_confidence as confidence
from classic_cv.html_report import _check_data as data
from classic_cv.html_report import _check_inventory as inventory
from classic_cv.html_report import _check_scores as scores
from classic_cv.html_report._check_blocks import Block, without_told
from classic_cv.html_report._check_pictures import Album, Pictures, items, items_shown
from classic_cv.html_report._format import ci, ci_text, duration, is_number, share
from classic_cv.html_report._parts import Record, render, text_of

TITLES: Mapping[str, str] = {
    "unreadable": "Unreadable files",
    "inventory": "What the data holds",
    "quality": "Image quality",
    "duplicates": "Duplicates",
    "conflict": "Conflicting labels",
    "leakage": "Leakage",
    "labels": "Label errors",
    "drift": "Drift",
    "shortcut": "Shortcuts",
    "score": "What the score means",
    "limits": "What would help",
    "confidence": "When to trust an answer",
    "predictions": "The given predictions",
}
"""Titles of the sections, by check."""

DRAWN: Mapping[str, Callable[[Record], list[Block]]] = {
    "unreadable": inventory.unreadable,
    "inventory": inventory.inventory,
    "quality": inventory.quality,
    "duplicates": data.duplicates,
    "leakage": data.leakage,
    "labels": data.labels,
    "drift": data.drift,
    "shortcut": data.shortcut,
    "score": scores.score,
    "limits": scores.limits,
    "confidence": confidence.confidence,
    "predictions": scores.predictions,
}
"""What draws the figures of a check."""

LISTED = ("unreadable",)
"""Checks whose figures list every file: their findings need not."""

MARKS = {"error": "✗", "warning": "▲", "info": "i", "passed": "✓", "left out": "–"}
"""Signs for those who read by shape."""


def check_page(record: Record, findings: Sequence[Finding], names: Sequence[str], pictures: Pictures) -> str:
    """The whole page."""
    return render("check.html.j2", context(record, findings, Album(names, pictures)))


def context(record: Record, findings: Sequence[Finding], album: Album) -> dict[str, Any]:
    """Everything the template names; a part without data is None or empty."""
    found = shown_findings(findings, album)
    sections = check_sections(record, found)
    sheets = album.sheets(((record.get("figures") or {}).get("inventory") or {}).get("sheets") or {})
    made = provenance(record)
    heads = {"verdict": "The verdict", **{one["id"]: one["title"] for one in sections}}
    heads |= {"sheets": "Contact sheets", "notes": "Notes on the data", "made": "How this was made"}
    notes = [sentence(str(note)) for note in record.get("notes") or []]
    there = dict.fromkeys(heads, True) | {"sheets": bool(sheets), "notes": bool(notes), "made": bool(made)}
    return {
        "title": f"Check of {(record.get('data') or {}).get('name') or 'the data'}",
        "command": record.get("command"),
        "facts": facts(record),
        "heads": heads,
        "present": there,
        "verdict": verdict_text(record),
        "worst": next((s for s in SEVERITIES if any(one["severity"] == s for one in found)), "passed"),
        "tiles": tiles(record, found),
        "findings": found,
        "outcomes": outcomes(record, found),
        "sections": sections,
        "sheets": sheets,
        "notes": notes,
        "made": made,
        "recipe": (record.get("reference") or {}).get("recipe_toml"),
    }


# --- head ---------------------------------------------------------------------------------------------------


def facts(record: Record) -> list[tuple[str, str]]:
    """(label, text) of the line under the title."""
    of = record.get("data") or {}
    reference = record.get("reference") or {}
    accuracy = text_of(reference, "accuracy", share)
    interval = ci_text(ci(reference, "ci95"), share)
    found = [
        ("data", of.get("path") or of.get("name")),
        ("images", text_of(of, "images", _whole)),
        ("classes", text_of(of, "classes", _whole) if of.get("task") != "regression" else None),
        ("training", text_of(of, "train", _whole)),
        ("validation", text_of(of, "val", _whole) if of.get("val") else None),
        ("test", text_of(of, "test", _whole)),
        ("best classical recipe", reference.get("recipe")),
        ("its accuracy", f"{accuracy} ({interval})" if accuracy and interval else accuracy),
        ("took", text_of(record, "seconds", duration)),
    ]
    return [(label, str(text)) for label, text in found if text not in (None, "")]


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def tiles(record: Record, found: Sequence[Record]) -> list[dict[str, str]]:
    """Counts by severity, of passed checks and of those that were left out."""
    counts = {severity: sum(one["severity"] == severity for one in found) for severity in SEVERITIES}
    outcomes = list((record.get("checks") or {}).values())
    shown = [
        ("error", "errors", counts["error"], "make a score wrong"),
        ("warning", "warnings", counts["warning"], "may make a score wrong"),
        ("info", "for information", counts["info"], "good to know"),
        ("passed", "checks passed", outcomes.count("passed"), "nothing speaks against the data"),
        ("left", "checks left out", outcomes.count("left out"), "could not be made"),
    ]
    return [
        {"look": look if n else "none", "label": label, "value": str(n), "meaning": meaning}
        for look, label, n, meaning in shown
        if n or look != "left"
    ]


def outcomes(record: Record, found: Sequence[Record]) -> list[dict[str, str]]:
    """How each check ended, with what it looks for or why it was left out."""
    left_out = record.get("left_out") or {}
    worst: dict[str, str] = {}
    # Findings for information leave a check passed.
    for severity in ("warning", "error"):
        worst |= {one["check"]: severity for one in found if one["severity"] == severity}
    return [
        {
            "check": name,
            "look": worst.get(name, outcome),
            "mark": MARKS.get(worst.get(name, outcome), ""),
            "outcome": worst.get(name, outcome),
            "text": sentence(left_out.get(name) or CHECKS.get(name, "")),
        }
        for name, outcome in (record.get("checks") or {}).items()
    ]


# --- findings and figures -----------------------------------------------------------------------------------


def shown_findings(findings: Sequence[Finding], album: Album) -> list[dict[str, Any]]:
    """The findings with their pictures, in the order given."""
    return [
        {
            "id": f"finding-{number}",
            "check": one.check,
            "kind": one.kind,
            "severity": one.severity,
            "mark": MARKS[one.severity],
            # No line begins with a percent sign.
            "message": sentence(one.message).replace(" %", "\N{NO-BREAK SPACE}%"),
            "why": sentence(one.why),
            "action": sentence(one.action),
            **items(one, most, album),
        }
        for number, (one, most) in enumerate(zip(findings, items_shown(findings), strict=True), start=1)
    ]


def _reasons(found: Sequence[Record]) -> list[dict[str, Any]]:
    """Findings of a section with ``reasons``: why it matters and what to do, without what the one before says too."""
    titles = {"why": "why it matters", "do": "what to do"}
    return [
        {**one, "reasons": [(titles[key], text) for key, text in news(one, before).items()]}
        for before, one in zip([None, *found], found, strict=False)
    ]


def check_sections(record: Record, found: Sequence[Record]) -> list[dict[str, Any]]:
    """A section for each check that found something or has figures, the most severe first."""
    figures = record.get("figures") or {}
    sections = []
    for check, title in TITLES.items():
        blocks = DRAWN[check](figures.get(check) or {}) if check in DRAWN else []
        its = _reasons([one for one in found if one["check"] == check])
        blocks = without_told(blocks, {one["kind"] for one in its})
        if blocks and check in LISTED:
            its = [{**one, "cards": [], "rows": [], "more": 0} for one in its]
        if its or blocks:
            severity = min((SEVERITIES.index(one["severity"]) for one in its), default=len(SEVERITIES))
            shown = {"id": check, "title": title, "what": CHECKS[check], "findings": its, "blocks": blocks}
            sections.append((min(severity, SEVERITIES.index("info")), shown))
    return [shown for _, shown in sorted(sections, key=lambda entry: entry[0])]


def provenance(record: Record) -> list[tuple[str, str]]:
    """What it was made with."""
    versions = record.get("versions") or {}
    reference = record.get("reference") or {}
    seconds, by_check = reference.get("seconds"), record.get("seconds_by_check") or {}
    found = [
        ("command", record.get("command")),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items() if version)),
        ("classical model", f"{reference.get('recipe')}, {duration(seconds)}" if is_number(seconds) else ""),
        ("seconds by check", ", ".join(f"{name} {took:.1f}" for name, took in by_check.items())),
        ("in all", text_of(record, "seconds", duration)),
        ("seed", text_of(record, "seed", str)),
        ("split fingerprint", record.get("split_sha256")),
    ]
    return [(label, str(text)) for label, text in found if text]
