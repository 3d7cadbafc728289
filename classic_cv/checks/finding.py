"""What a check says: findings with their images, and the figures behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning", "info"]
"""An error makes a score wrong or hides the data; a warning may; the rest is good to know and fails no check."""

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")

CHECKS: Mapping[str, str] = {
    "unreadable": "files that cannot be read, with the reason",
    "inventory": "images per class and part, imbalance, sizes, formats, classes that a part lacks",
    "quality": "dark, bright, flat, blurred, empty, oddly shaped or sized images, gray ones among color",
    "duplicates": "copies within a part of the data",
    "conflict": "copies with different labels",
    "leakage": "copies across the training, validation and test part",
    "labels": "labels that are probably wrong",
    "drift": "training and test part that differ",
    "shortcut": "properties of file, color or border that give the label away",
    "score": "whether the best classical model's score means anything",
    "limits": "whether more images, or larger ones, would help",
    "confidence": "how far probabilities can be trusted, and when not to answer",
    "predictions": "somebody else's predictions: calibration, weak segments, against the classical model",
}
"""The checks, in the order in which they are told, and what each looks for."""


@dataclass(frozen=True)
class Item:
    """One image that a finding is about, or a few that belong together, such as copies of each other.

    Attributes:
        indices: their positions in the data set.
        score: how sure or how severe, the higher the more; what it is is said by the finding's ``scoring``.
        note: what a person would want to know beside the picture, such as ``labelled rose, looks like tulip``.
    """

    indices: tuple[int, ...]
    score: float
    note: str = ""


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        check: one of ``CHECKS``.
        kind: what kind of thing within the check, in a word or two with hyphens: ``near-duplicates``, ``dark``.
        severity: see ``Severity``.
        count: how many images, pairs or classes it is about: the message says of what.
        message: what was found, in one sentence with its figures; names what it is about.
        why: why it matters, in a sentence.
        action: what to do, in a sentence.
        items: all of the images, the worst first; empty where it is about none.
        scoring: what the items' score is, such as ``similarity``; empty without items.
    """

    check: str
    kind: str
    severity: Severity
    count: int
    message: str
    why: str
    action: str
    items: tuple[Item, ...] = ()
    scoring: str = ""

    def to_table(self, names: Sequence[str]) -> dict[str, Any]:
        """JSON-like data; ``names`` are the data set's."""
        return {
            "check": self.check,
            "kind": self.kind,
            "severity": self.severity,
            "count": self.count,
            "message": self.message,
            "why": self.why,
            "action": self.action,
            "scoring": self.scoring,
            "items": [
                {
                    "files": [names[index] for index in item.indices],
                    "score": item.score,
                    **({"note": item.note} if item.note else {}),
                }
                for item in self.items
            ],
        }


@dataclass
class Checked:
    """What one check, or several in one pass, came to.

    Attributes:
        findings: in any order.
        figures: JSON-like data by the check's name: what the report draws, and what the findings rest on.
        left_out: reasons why a check could not be made, by its name.
    """

    findings: list[Finding] = field(default_factory=list)
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def add(self, other: Checked) -> None:
        """Take over what another one holds."""
        self.findings += other.findings
        for name, figures in other.figures.items():
            self.figures.setdefault(name, {}).update(figures)
        self.left_out |= other.left_out


def ordered(findings: Sequence[Finding]) -> list[Finding]:
    """The most severe first, and then in the order of ``CHECKS``."""
    checks = list(CHECKS)
    return sorted(
        findings, key=lambda one: (SEVERITIES.index(one.severity), checks.index(one.check), -one.count)
    )


def fails(findings: Sequence[Finding], check: str) -> bool:
    """Whether a check has an error or a warning."""
    return any(one.check == check and one.severity != "info" for one in findings)
