"""A comparison as text: a record with everything in it, and what must be escaped."""

from __future__ import annotations

from typing import Any

import pytest

from classic_cv.compare.text import comparison_markdown, comparison_text


def contestant(name: str, **changes: Any) -> dict[str, Any]:
    unmeasured = dict.fromkeys(
        "accuracy accuracy_ci95 latency_ms throughput model_bytes fit_cpu_seconds epochs n_fit".split()
    )
    return unmeasured | {"name": name, "kind": "classical", "outcome": "ok", "message": ""} | changes


def record(*contestants: dict[str, Any], **verdict: Any) -> dict[str, Any]:
    told: dict[str, Any] = {
        "text": "Use hog.",
        "warnings": [],
        "front": [],
        "challenger": None,
        "reference": None,
    }
    return {
        "data": "flowers",
        "n_train": 1020,
        "n_test": 340,
        "class_names": ["rose", "tulip"],
        "budget_cpu_seconds": 300.0,
        "threads": 2,
        "seed": 0,
        "hardware": {"cpu": "Some CPU"},
        "split_sha256": "0123456789abcdef0123",
        "contestants": list(contestants),
        "learning_curve": None,
        "verdict": told | verdict,
        "notes": [],
    }


HOG = contestant(
    "hog",
    accuracy=0.752,
    accuracy_ci95=[0.705, 0.796],
    latency_ms={"p50": 0.8123, "p99": 1.5},
    throughput=2345.6,
    model_bytes=350_000,
    fit_cpu_seconds=12.34,
    n_fit=1020,
)
NET = contestant(
    "resnet18:scratch",
    accuracy=0.91,
    accuracy_ci95=None,
    latency_ms={"p50": 7.0, "p99": 123.4},
    model_bytes=45_000_000,
    fit_cpu_seconds=298.7,
    epochs=34.0,
    n_fit=918,
)
BROKEN = contestant("net|2", outcome="crashed", message="killed\x1b[31m by <signal> 9")


def test_the_table_is_sorted_by_accuracy_and_fits_the_width() -> None:
    text = comparison_text(record(BROKEN, HOG, NET))
    lines = text.splitlines()
    assert lines[0] == "flowers: 2 classes, 1,020 training and 340 test images"
    rows = [line.split() for line in lines if line.startswith((" hog ", " resnet18", " net|2 "))]
    assert rows == [
        ["resnet18:scratch", "91.0", "7", "123", "-", "45", "299", "34", "918", "ok"],
        ["hog", *"75.2 (70.5–79.6) 0.812 1.5 2,346 0.35 12.3 - 1,020 ok".split()],
        ["net|2", *"- - - - - - - - crashed".split()],
    ]
    assert all(len(line) <= 120 for line in lines)


def test_long_names_stay_on_one_line() -> None:
    long = HOG | {"name": "efficientnet-lite0:finetune", "outcome": "over budget"}
    assert " efficientnet-lite0:finetune " in comparison_text(record(long, NET))


def test_verdict_warnings_and_answers_follow() -> None:
    challenger = {"name": "net", "margin": 0.01, "passed": False, "text": "No: net is slow."}
    whole = record(HOG, NET, warnings=["too | few"], challenger=challenger, front=["hog", "resnet18:scratch"])
    whole["learning_curve"] = {"crossover": {"classical": "hog", "deep": "net", "text": "between 20 and 50"}}
    whole["notes"] = ["2 images are doubled"]
    lines = comparison_text(whole).splitlines()
    assert lines[lines.index("verdict: Use hog.") - 1 :] == [
        "",
        "verdict: Use hog.",
        "challenger: No: net is slow.",
        "learning curve: where net overtakes hog: between 20 and 50",
        "Pareto front: hog and resnet18:scratch (accuracy, latency, size; the fastest first)",
        "WARNING: too | few",
        "note: 2 images are doubled",
        "split: 0123456789abcdef… (seed 0)",
    ]


def test_nothing_in_a_record_steers_the_terminal() -> None:
    text = comparison_text(record(BROKEN, contestant("a\x1b[2Jb")))
    assert "\x1b" not in text
    assert "net|2: crashed: killed?[31m by <signal> 9" in text


def test_long_texts_are_wrapped_and_no_word_is_lost() -> None:
    words = [f"word-{i}" for i in range(60)]
    text = comparison_text(record(HOG, text=" ".join(words)))
    verdict = text[text.index("verdict: ") :].split("\nsplit")[0]
    assert verdict.split()[1:] == words
    assert all(len(line) <= 110 for line in verdict.splitlines())


def test_markdown_is_a_github_table_with_escaped_cells() -> None:
    whole = record(BROKEN, HOG, text="Use *hog*.", warnings=["class <b>\nis small"])
    text = comparison_markdown(whole)
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert table[0].startswith("| contestant | accuracy % | p50 ms |")
    assert table[1] == "| :--- |" + " ---: |" * 8 + " :--- |"
    assert table[2] == "| hog | 75.2 (70.5–79.6) | 0.812 | 1.5 | 2,346 | 0.35 | 12.3 | - | 1,020 | ok |"
    assert table[3] == "| net\\|2 |" + " - |" * 8 + " crashed |"
    assert "**Verdict:** Use \\*hog\\*." in text
    assert "- **Warning:** class \\<b\\> is small\n" in text
    assert "- **Outcome:** net\\|2: crashed: killed?\\[31m by \\<signal\\> 9\n" in text


@pytest.mark.parametrize("style", [comparison_text, comparison_markdown])
def test_a_comparison_without_contestants_is_told(style: Any) -> None:
    assert "Use hog." in style(record())
