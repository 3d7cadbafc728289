"""The summary of a check on the terminal."""

from __future__ import annotations

from typing import Any

import click
import pytest

from classic_cv.checks.finding import CHECKS, Finding, Item, Severity
from classic_cv.checks.text import (
    WIDTH,
    check_text,
    cleaned_text,
    failure_text,
    finding_text,
    sentence,
    verdict_text,
)

NAMES = [f"rose/{k}.jpg" for k in range(20)]


def finding(severity: Severity = "error", items: tuple[Item, ...] = (), **more: str) -> Finding:
    told = {"message": "A message.", "why": "A why.", "action": "An action."} | more
    return Finding("leakage", told.pop("kind", "near-duplicates"), severity, 1, items=items, **told)


def record(*findings: Finding, **more: Any) -> dict[str, Any]:
    return {
        "data": {
            "name": "flowers",
            "classes": 17,
            "images": 1360,
            "train": 1000,
            "val": 20,
            "test": 340,
            "task": "classification",
        },
        "checks": dict.fromkeys(CHECKS, "passed"),
        "findings": [one.to_table(NAMES) for one in findings],
        "left_out": {},
        "reference": {"recipe": "fisher-fast", "accuracy": 0.912, "ci95": [0.877, 0.938]},
        "seconds": 204.3,
    } | more


def test_the_head_says_what_was_checked() -> None:
    text = " ".join(check_text(record()).split())
    assert "flowers: 1,360 images, 17 classes, 1,000 training, 20 validation, 340 test" in text
    assert "fisher-fast, accuracy 91.2 % (95 % interval 87.7 to 93.8 %)" in text
    assert "204 s" in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("severities", "expected"),
    [
        ([], "nothing found: nothing speaks against a score on this data"),
        (["info"], "1 for information: nothing speaks against"),
        (["warning", "info"], "1 warning, 1 for information: a score on this data may mislead"),
        (
            ["error", "error", "warning"],
            "2 errors, 1 warning: a score on this data cannot be trusted as it is",
        ),
    ],
)
def test_the_verdict(severities: list[Severity], expected: str) -> None:
    told = verdict_text(record(*(finding(severity) for severity in severities)))
    assert told.startswith(expected)
    assert "could not" not in told
    assert verdict_text(record(left_out={"drift": "a", "labels": "b"})).endswith(
        "; 2 checks could not be made"
    )
    assert verdict_text(record(left_out={"drift": "a"})).endswith("; 1 check could not be made")


def test_a_finding_has_its_reason_its_action_and_a_few_files() -> None:
    items = (
        Item((0, 1), 1.0, "mirrored"),
        Item((2, 3, 4, 5), 0.9),
        Item((6,), 0.8),
        Item((7,), 0.7),
        Item((8,), 0.6),
    )
    assert finding_text(finding(items=items).to_table(NAMES)).splitlines() == [
        "error: leakage, near-duplicates",
        "  A message.",
        "  why   A why.",
        "  do    An action.",
        "  see   rose/0.jpg = rose/1.jpg: mirrored",
        "        rose/2.jpg = rose/3.jpg = rose/4.jpg = 1 more",
        "        rose/6.jpg",
        "        and 2 more",
    ]


def test_a_finding_without_items_names_no_files() -> None:
    assert "see" not in finding_text(finding().to_table(NAMES))


def test_a_kind_that_is_the_check_itself_is_said_once() -> None:
    assert finding_text(finding(kind="leakage").to_table(NAMES)).startswith("error: leakage\n")


def test_long_sentences_are_wrapped_and_names_stay_whole() -> None:
    name = "x-y/" * 40
    text = finding_text(finding(message="word " * 60 + name, why="word " * 60).to_table(NAMES))
    assert all(len(line) <= WIDTH for line in text.splitlines() if name not in line)
    assert f"  {name}." in text.splitlines()
    assert "\n        word" in text


def test_nothing_is_wider_than_a_terminal_and_numbers_and_files_stay_whole() -> None:
    items = (Item((0, 1), 1.0, "a note that is long enough to be wrapped into the next line"),)
    told = finding("error", items, message="word and 100.0 % " * 20).to_table([f"{'a b ' * 7}.jpg"] * 2)
    data = record()["data"] | {"name": "a name of the data", "classes": 1}
    text = check_text(
        record(data=data, left_out={"drift": "why " * 40}, checks=dict.fromkeys(CHECKS, "left out"))
        | {"findings": [told]}
    )
    lines = text.splitlines()
    assert max(map(len, lines)) <= WIDTH == 80
    assert not any(line.lstrip().startswith("%") for line in lines)
    assert sum(line.count(f"{'a b ' * 7}.jpg") for line in lines) == 2
    assert "1 class, " in text


def test_names_cannot_give_orders_to_a_terminal() -> None:
    told = finding(
        "error", (Item((0,), 1.0, "labelled \x1b[31m"),), message="class a\nb\u202e has few"
    ).to_table(["new\nline \x1b]0;x\x07.png", "tülip.png"])
    text = finding_text(told)
    assert r"see   new\nline \x1b]0;x\x07.png: labelled \x1b[31m" in text
    assert r"class a\nb\u202e has few" in text.lower()
    assert not {"\x1b", "\x07", "\u202e"} & set(text)


def test_reasons_that_the_finding_before_has_too_are_told_once() -> None:
    exact, near = (finding(kind=kind, why=f"why {kind}").to_table(NAMES) for kind in ("exact", "near"))
    told = finding_text(near, exact)
    assert "why near" in told.lower()
    assert "An action." not in told
    assert "An action." in finding_text(near, exact | {"check": "conflict"})
    assert check_text(record() | {"findings": [exact, near]}).count("An action.") == 1


def test_every_check_has_a_line_with_how_it_ended() -> None:
    checks = {"inventory": "found", "labels": "left out", "drift": "passed"}
    text = check_text(record(checks=checks, left_out={"labels": "The reason."}))
    lines = {
        line.split()[0]: line for line in text.splitlines() if line.split() and line.split()[0] in CHECKS
    }
    assert set(lines) == set(checks)
    assert "found" in lines["inventory"]
    assert sentence(CHECKS["drift"]) in lines["drift"]
    assert "left out  The reason." in lines["labels"]


def test_colors_change_nothing_but_colors() -> None:
    told = record(finding("error"), finding("warning"), finding("info"))
    colored = check_text(told, color=True)
    assert colored != check_text(told)
    assert click.unstyle(colored) == check_text(told)
    assert click.style("warning", fg="yellow", bold=True) + ": leakage" in colored
    assert check_text(record(), color=True) == check_text(record())


def test_a_regression_without_a_model() -> None:
    data = record()["data"] | {"task": "regression", "classes": 0, "val": 0, "test": 0}
    text = check_text(record(data=data, reference=None))
    assert "flowers: 1,360 images, 1,000 training\n" in text
    assert "reference" not in text
    told = check_text(record(reference={"recipe": "hog", "accuracy": None, "ci95": None}))
    assert "reference  hog\n" in told


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("twice the images", "Twice the images."),
        ("A sentence.", "A sentence."),
        ("dark, bright, flat", "Dark, bright, flat."),
        ("jpeg_quality alone (95 %)", "jpeg_quality alone (95 %)."),
        ("3 images", "3 images."),
        ("Is it?", "Is it?"),
        ("", ""),
    ],
)
def test_sentences(text: str, expected: str) -> None:
    assert sentence(text) == expected


def test_what_failed_is_said_in_a_line() -> None:
    told = record(
        finding("error"),
        finding("warning"),
        finding("warning"),
        finding("info"),
        left_out={"drift": "No test part."},
    )
    assert (
        failure_text(told, ["leakage", "drift"])
        == "failed: leakage (1 error, 2 warnings), drift (left out: No test part.)"
    )


def test_cleaned_data_are_told_with_how_they_have_to_be_read() -> None:
    plain = {"file": "clean.csv", "images": 1196, "reads_as_numbers": False}
    assert cleaned_text(plain) == "wrote clean.csv: 1,196 images"
    assert "give --task classification" in cleaned_text({**plain, "reads_as_numbers": True})
