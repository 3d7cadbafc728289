"""What a check says on the terminal; no computation."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import click

from classic_cv.checks.finding import CHECKS, SEVERITIES, Severity
from classic_cv.report import percent

COLORS: Mapping[Severity, str] = {"error": "red", "warning": "yellow", "info": "cyan"}

WIDTH = 80
"""Columns that a line may take: those of a terminal that nobody has widened. A single name may be longer."""

MOST_ITEMS, MOST_FILES = 3, 3
"""Items of a finding, and files of an item, that are named: enough to open one and see."""

NAMED = ("unreadable",)
"""Checks whose message names the files already."""

Record = Mapping[str, Any]


def check_text(record: Record, *, color: bool = False) -> str:
    """The summary of a check: the data, the count by severity, each finding, and how each check ended.

    Args:
        record: JSON-like data, as ``classic-cv check --json`` writes it; its findings are ordered already.
        color: write severities in color, for a terminal.
    """
    verdict = "\n".join(
        _styled(line, _worst(record), color) for line in _lines("", f"{verdict_text(record)}.")
    )
    found = record["findings"]
    told = [
        finding_text(one, before, color=color) for before, one in zip([None, *found], found, strict=False)
    ]
    parts = [_head(record), verdict, *told, _checks(record)]
    if "cleaned" in record:
        parts.append("\n".join(_lines("", cleaned_text(record["cleaned"]))))
    return "\n\n".join(parts)


def cleaned_text(cleaned: Record) -> str:
    """``wrote clean.csv: 196 images``, and how it has to be read."""
    text = f"wrote {cleaned['file']}: {cleaned['images']:,} images"
    if not cleaned["reads_as_numbers"]:
        return text
    return f"{text}; its classes are numbers, so give --task classification where it is read"


def verdict_text(record: Record) -> str:
    """``2 errors, 1 warning: …``, one line."""
    found = record["findings"]
    counts = {severity: sum(one["severity"] == severity for one in found) for severity in SEVERITIES}
    told = ", ".join(_counted(n, severity) for severity, n in counts.items() if n)
    left_out = len(record["left_out"])
    but = f"; {left_out} check{'' if left_out == 1 else 's'} could not be made" if left_out else ""
    if counts["error"]:
        return f"{told}: a score on this data cannot be trusted as it is{but}"
    if counts["warning"]:
        return f"{told}: a score on this data may mislead{but}"
    return f"{told or 'nothing found'}: nothing speaks against a score on this data{but}"


def _counted(n: int, severity: Severity) -> str:
    """``2 errors``; ``info`` has no plural."""
    if severity == "info":
        return f"{n} for information"
    return f"{n} {severity}{'' if n == 1 else 's'}"


def finding_text(finding: Record, before: Record | None = None, *, color: bool = False) -> str:
    """One finding: severity, check and kind, what was found, why it matters, what to do, the first few files.

    Args:
        finding: what to tell.
        before: the finding that was told before it: what both have in common is not told again, see ``news``.
        color: write the severity in color.
    """
    severity: Severity = finding["severity"]
    # A check with one kind of finding calls both the same.
    what = ", ".join(dict.fromkeys((finding["check"], finding["kind"])))
    head = f"{_styled(severity, severity, color)}: {what}"
    lines = [
        head,
        *_lines("  ", sentence(finding["message"])),
        *(line for label, text in news(finding, before).items() for line in _lines(f"  {label:6}", text)),
        *_files(finding),
    ]
    return "\n".join(lines)


def news(finding: Record, before: Record | None) -> dict[str, str]:
    """``why`` it matters and what to ``do``, as sentences; without what the finding told before it says as well."""
    told = {"why": "why", "do": "action"}
    alike = before is not None and before["check"] == finding["check"]
    return {
        label: sentence(finding[key])
        for label, key in told.items()
        if not (alike and before is not None and before[key] == finding[key])
    }


def sentence(text: str) -> str:
    """``text`` with a capital and a full stop; a first word that is not of letters alone, a name, stays as it is."""
    text = text.strip()
    first = text.split(maxsplit=1)[0] if text else ""
    head = text[:1].upper() if first.removesuffix(",").isalpha() else text[:1]
    ended = not text or text.endswith((".", "!", "?", ":", "…"))
    return f"{head}{text[1:]}{'' if ended else '.'}"


def failure_text(record: Record, names: Sequence[str]) -> str:
    """Why the checks ``names`` fail: ``failed: leakage (1 error), drift (left out: There is no test part.)``."""
    return f"failed: {', '.join(f'{name} ({_failure(record, name)})' for name in names)}"


def _failure(record: Record, name: str) -> str:
    its = [finding["severity"] for finding in record["findings"] if finding["check"] == name]
    severities: tuple[Severity, ...] = ("error", "warning")
    told = ", ".join(_counted(its.count(severity), severity) for severity in severities if severity in its)
    return told or f"left out: {sentence(record['left_out'][name])}"


KEPT = "\ue000"
"""Stands for a space at which no line is broken: of private use, so that no text has it."""


def _lines(head: str, text: str) -> list[str]:
    """A text in lines, indented beneath the end of its head; a name stays whole, and so does ``100.0 %``."""
    lines = textwrap.wrap(
        visible(text).replace(" %", f"{KEPT}%"),
        WIDTH,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(KEPT, " ") for line in lines]


def visible(text: str) -> str:
    r"""``text`` with what a terminal would obey written as ``\x1b`` or ``\n``: a file may be called anything."""
    return "".join(sign if sign.isprintable() or sign == KEPT else repr(sign)[1:-1] for sign in text)


def _files(finding: Record) -> list[str]:
    """A line for each of the first items."""
    items = [] if finding["check"] in NAMED else finding["items"]
    lines = [
        line
        for k, item in enumerate(items[:MOST_ITEMS])
        for line in _lines(f"  {'see' if k == 0 else '':6}", _item(item))
    ]
    more = len(items) - MOST_ITEMS
    return [*lines, f"{'':8}and {more:,} more"] if more > 0 else lines


def _item(item: Record) -> str:
    files, note = [name.replace(" ", KEPT) for name in item["files"]], item.get("note", "")
    named = " = ".join(files[:MOST_FILES])
    more = f" = {len(files) - MOST_FILES:,} more" if len(files) > MOST_FILES else ""
    return f"{named}{more}{f': {note}' if note else ''}"


def _head(record: Record) -> str:
    data = record["data"]
    n = data["classes"]
    classes = f"{n:,} {'class' if n == 1 else 'classes'}, " if data["task"] == "classification" else ""
    sizes = ", ".join(
        f"{data[part]:,} {name}"
        for part, name in (("train", "training"), ("val", "validation"), ("test", "test"))
        if data[part]
    )
    lines = _lines(f"{'data':11}", f"{data['name']}: {data['images']:,} images, {classes}{sizes}")
    reference = record.get("reference")
    if reference:
        lines += _lines(f"{'reference':11}", _reference(reference))
    return "\n".join([*lines, f"took       {record['seconds']:.0f} s"])


def _reference(reference: Record) -> str:
    if reference.get("accuracy") is None:
        return str(reference["recipe"])
    ci95: Sequence[float] | None = reference.get("ci95")
    reach = f" (95 % interval {100 * ci95[0]:.1f} to {percent(ci95[1])})" if ci95 else ""
    return f"{reference['recipe']}, accuracy {percent(reference['accuracy'])}{reach}"


def _checks(record: Record) -> str:
    """How each check ended, and what it looks for or why it was left out."""
    outcomes = record["checks"]
    rows = [("check", "outcome", "what it looks for, or why it was left out")]
    rows += [
        (name, outcomes[name], sentence(record["left_out"].get(name, what)))
        for name, what in CHECKS.items()
        if name in outcomes
    ]
    names, ends = (max(len(row[k]) for row in rows) + 2 for k in (0, 1))
    return "\n".join(line for name, end, text in rows for line in _lines(f"{name:{names}}{end:{ends}}", text))


def _worst(record: Record) -> Severity | None:
    severities = [finding["severity"] for finding in record["findings"]]
    return next((severity for severity in SEVERITIES if severity in severities), None)


def _styled(text: str, severity: Severity | None, color: bool) -> str:
    return click.style(text, fg=COLORS[severity], bold=True) if color and severity else text
