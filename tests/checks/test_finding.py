"""What a check says: order, severities that fail, JSON, and several checks put together."""

from __future__ import annotations

import json

from classic_cv.checks.finding import CHECKS, SEVERITIES, Checked, Finding, Item, Severity, fails, ordered

NAMES = ("a.png", "b/ü.png", "c d,e.png")


def finding(check: str = "labels", severity: Severity = "info", count: int = 1, *items: Item) -> Finding:
    return Finding(
        check, "kind", severity, count, "Message.", "Why.", "Action.", items, "margin" if items else ""
    )


def test_a_finding_becomes_json_with_the_names_of_its_files() -> None:
    items = Item((2, 0), 0.75, "labelled rose, looks like tulip"), Item((1,), 0.5)
    table = finding("labels", "warning", 2, *items).to_table(NAMES)
    assert json.loads(json.dumps(table)) == {
        "check": "labels",
        "kind": "kind",
        "severity": "warning",
        "count": 2,
        "message": "Message.",
        "why": "Why.",
        "action": "Action.",
        "scoring": "margin",
        "items": [
            {"files": ["c d,e.png", "a.png"], "score": 0.75, "note": "labelled rose, looks like tulip"},
            {"files": ["b/ü.png"], "score": 0.5},
        ],
    }


def test_the_most_severe_come_first_then_the_order_of_the_checks_then_the_most() -> None:
    given = [
        finding("quality", "info", 9),
        finding("predictions", "error"),
        finding("leakage", "warning"),
        finding("unreadable", "info"),
        finding("quality", "info", 10),
        finding("leakage", "error"),
    ]
    told = [(one.severity, one.check, one.count) for one in ordered(given)]
    assert told == [
        ("error", "leakage", 1),
        ("error", "predictions", 1),
        ("warning", "leakage", 1),
        ("info", "unreadable", 1),
        ("info", "quality", 10),
        ("info", "quality", 9),
    ]
    assert [severity for severity in SEVERITIES if any(one.severity == severity for one in given)] == list(
        SEVERITIES
    )


def test_equal_findings_keep_their_order() -> None:
    first, second = finding(), finding()
    assert [id(one) for one in ordered([first, second])] == [id(first), id(second)]


def test_a_check_fails_by_an_error_or_a_warning_of_its_own() -> None:
    found = [finding("labels", "info"), finding("leakage", "warning"), finding("conflict", "error")]
    assert [check for check in CHECKS if fails(found, check)] == ["conflict", "leakage"]
    assert not fails([], "labels")


def test_what_checks_came_to_is_put_together() -> None:
    whole = Checked(
        [finding("score")], {"score": {"rows": [1], "spread": None}}, {"limits": "Too few images."}
    )
    whole.add(
        Checked([finding("drift")], {"score": {"segments": []}, "drift": {"auc": 0.5}}, {"labels": "No."})
    )
    assert [one.check for one in whole.findings] == ["score", "drift"]
    assert whole.figures == {"score": {"rows": [1], "spread": None, "segments": []}, "drift": {"auc": 0.5}}
    assert whole.left_out == {"limits": "Too few images.", "labels": "No."}


def test_a_new_one_is_empty_and_shares_nothing() -> None:
    Checked().findings.append(finding())
    assert (Checked().findings, Checked().figures, Checked().left_out) == ([], {}, {})
