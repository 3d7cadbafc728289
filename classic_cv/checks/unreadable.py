"""Files that cannot be read, or read and not decoded, each with its reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from classic_cv.checks.finding import Checked, Finding, Item, Severity
from classic_cv.checks.subject import Subject
from classic_cv.checks.wording import small_share
from classic_cv.dataset import Problem
from classic_cv.fitting import MAX_BAD

SHOWN = 3
"""Files that the message names; all of them are in the figures."""


def find_unreadable(subject: Subject) -> Checked:
    """The check ``unreadable``: one finding with all files.

    Its figures: ``n``, ``of`` and ``files`` with ``file`` and ``reason``.
    """
    reasons = _reasons(subject)
    total = len(subject.survey) + len(reasons)
    files = [{"file": name, "reason": reason} for name, reason in reasons.items()]
    checked = Checked(figures={"unreadable": {"n": len(files), "of": total, "files": files}})
    if reasons:
        checked.findings.append(_finding(subject, reasons, total))
    return checked


def _reasons(subject: Subject) -> dict[str, str]:
    """The reason of each file; a file that could not even be hashed keeps that one."""
    reasons: dict[str, str] = {}
    for problem in _problems(subject):
        reasons.setdefault(problem.source, problem.reason)
    return reasons


def _problems(subject: Subject) -> Iterator[Problem]:
    yield from subject.dataset.problems
    yield from subject.job.split.problems
    yield from subject.survey.problems


def _finding(subject: Subject, reasons: Mapping[str, str], total: int) -> Finding:
    positions = {name: index for index, name in enumerate(subject.dataset.names) if name in reasons}
    share = len(reasons) / total
    shown = "; ".join(f"{name}: {reason}" for name, reason in list(reasons.items())[:SHOWN])
    more = f"; and {len(reasons) - SHOWN:,} more" if len(reasons) > SHOWN else ""
    severity: Severity = "error" if share > MAX_BAD else "warning"
    return Finding(
        "unreadable",
        "unreadable",
        severity,
        len(reasons),
        f"{len(reasons):,} of {total:,} files ({small_share(share)}) cannot be used: {shown}{more}.",
        "They are missing from training and from every score, and perhaps from some classes more than from others.",
        "Restore them from their source, or remove them; --write-manifest leaves them out.",
        tuple(Item((positions[name],), 1.0, reason) for name, reason in reasons.items() if name in positions),
        "unreadable",
    )
