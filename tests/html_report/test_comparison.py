"""The page of a comparison: well-formed, self-contained, safe, and showing what it was given."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from classic_cv.html_report import Disagreement, render_comparison

if TYPE_CHECKING:
    from tests.html_report.conftest import Page

    Read = Callable[[str], Page]

HOSTILE = ["<b>x</b>", "\"quoted\" & 'so' on", "花の名前", "$x_1$", "w" * 300, "a/b:c", "{{ 7 * 7 }}"]
CLASSES = ["iris", "pansy", "tulip"]


def contestant(name: str, kind: str, accuracy: float | None, p50: float = 1.0, **more: Any) -> dict[str, Any]:
    """A contestant with every figure, or with none."""
    entry: dict[str, Any] = {
        "name": name,
        "kind": kind,
        "description": "",
        "outcome": "ok",
        "message": "",
        "accuracy": accuracy,
        "fit_cpu_seconds": 12.34,
        "budget_cpu_seconds": 300.0,
        "epochs": None,
        "n_fit": 321,
        "latency_ms": None,
    }
    if accuracy is not None:
        entry |= {
            "accuracy_ci95": [accuracy - 0.03, accuracy + 0.03],
            "balanced_accuracy": accuracy - 0.011,
            "latency_ms": {
                "p50": p50,
                "p90": 1.1 * p50,
                "p95": 1.2 * p50,
                "p99": 1.5 * p50,
                "p99_bound": 1.8 * p50,
                "n": 600,
                "restarts": [0.9 * p50, p50],
            },
            "latency_threads_ms": {"p50": 0.6 * p50},
            "stages_ms": {"decode": 0.1 * p50, "features": 0.7 * p50, "head": 0.2 * p50},
            "throughput": 432.1,
            "cold_start_ms": 254.4,
            "peak_rss_mb": 187.6,
            "model_bytes": 1_843_201,
            "threads": {"affinity": 1, "opencv": 1},
        }
    return entry | more


def comparison(name: str, difference: float, claim: str, classes: list[str], **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "reference": "auto",
        "difference": difference,
        "ci95": [difference - 0.02, difference + 0.04],
        "mcnemar_p": 0.0123,
        "holm_p": 0.0004,
        "wins": 17,
        "losses": 23,
        "latency_ratio": 0.104,
        "size_ratio": 12.34,
        "fit_ratio": None,
        "claim": claim,
        "reason": "",
        "per_class": [
            {"class": c, "n": 20, "difference": difference + k / 100, "ci95": [-0.2, 0.2]}
            for k, c in enumerate(classes)
        ],
    } | more


def steps(low: float, high: float) -> list[dict[str, Any]]:
    return [
        {"images_per_class": 10, "n_fit": 30, "mean": low, "ci95": [low - 0.1, low + 0.1]},
        {"images_per_class": "all", "n_fit": 120, "mean": high, "ci95": None},
    ]


def full() -> dict[str, Any]:
    """A record with every section."""
    history = [{"cpu_seconds": 9.0 * k, "epoch": k, "validation_accuracy": 0.1 * k} for k in range(1, 6)]
    budgets = [
        {"budget_cpu_seconds": 60.0, "fit_cpu_seconds": 55.0, "accuracy": 0.8111, "outcome": "undertrained"},
        {"budget_cpu_seconds": 300.0, "fit_cpu_seconds": 290.0, "accuracy": 0.9444, "outcome": "ok"},
    ]
    return {
        "format": 1,
        "title": "flowers",
        "command": "classic-cv compare flowers auto net:frozen",
        "data": "flowers17",
        "n_train": 1020,
        "n_test": 340,
        "class_names": CLASSES,
        "split_sha256": "3f9b17c2" * 8,
        "budgets_cpu_seconds": [60.0, 300.0],
        "threads": 2,
        "cores": [0, 1],
        "memory_limit_mb": 8000,
        "latency_limit_ms": None,
        "seed": 7,
        "hardware": {"cpu": "a processor", "cores": 2, "memory_mb": 24000, "python": "3.12.3"},
        "versions": {"numpy": "2.3.1"},
        "contestants": [
            contestant("dummy", "floor", 0.0588, 0.14),
            contestant("auto", "classical", 0.9333, 68.4, log=["fisher-vectors won"]),
            contestant("net:frozen", "deep", 0.9444, 7.02, curve=budgets, history=history),
            contestant("net:scratch", "deep", 0.72, 31.2, outcome="undertrained", message="still rising"),
            contestant("big", "deep", None, outcome="out of memory", message="over 8000 MB"),
        ],
        "learning_curve": {
            "draws": 3,
            "curves": {"auto": steps(0.6222, 0.9), "net:frozen": steps(0.8333, 0.95)},
            "crossover": {"images_per_class": 23.4, "text": "they cross at 23"},
        },
        "verdict": {
            "winner": "net:frozen",
            "text": "the deep one is worth it",
            "warnings": ["few test images"],
            "front": ["dummy", "net:frozen"],
            "reference": "auto",
            "best_deep": "net:frozen",
            "comparisons": [
                comparison("dummy", -0.8745, "worse", []),
                comparison("net:scratch", -0.2133, "none", [], reason="it was undertrained"),
                comparison("net:frozen", 0.0111, "no difference shown", CLASSES),
            ],
            "challenger": {"name": "net:frozen", "margin": 0.01, "passed": False, "text": "not by enough"},
        },
        "confusions": {
            "auto": [[10, 0, 0], [2, 8, 0], [0, 0, 10]],
            "net:frozen": [[5, 5, 0], [0, 10, 0], [0, 0, 10]],
        },
        "notes": ["a note"],
    }


def hostile() -> dict[str, Any]:
    record = full()
    names = {
        old: new
        for old, new in zip(("dummy", "auto", "net:frozen", "net:scratch", "big"), HOSTILE, strict=False)
    }
    record |= {"class_names": HOSTILE[:3], "title": HOSTILE[0], "notes": HOSTILE, "command": HOSTILE[1]}
    for entry in record["contestants"]:
        entry |= {
            "name": names[entry["name"]],
            "message": HOSTILE[1],
            "log": HOSTILE,
            "description": HOSTILE[0],
        }
    verdict = record["verdict"]
    verdict |= {"winner": names["net:frozen"], "reference": names["auto"], "best_deep": names["net:frozen"]}
    verdict |= {"front": HOSTILE, "text": HOSTILE[0], "warnings": HOSTILE}
    verdict["comparisons"] = [comparison(HOSTILE[2], 0.01, "none", HOSTILE, reason=HOSTILE[0])]
    record["learning_curve"]["curves"] = {name: steps(0.5, 0.6) for name in HOSTILE}
    record["confusions"] = {names[old]: counts for old, counts in record["confusions"].items()}
    record["versions"] = {HOSTILE[0]: HOSTILE[1]}
    return record


def many() -> dict[str, Any]:
    """20 contestants, 200 classes."""
    record = full()
    names = [f"timm:network_{k:02d}:finetune" for k in range(20)]
    classes = [f"class {k:03d}" for k in range(200)]
    history = [{"cpu_seconds": 9.0 * k, "epoch": k, "validation_accuracy": 0.1 * k} for k in range(1, 6)]
    record["contestants"] = [
        contestant(name, "deep", 0.9 + k / 500, 5 + k / 9, history=history) for k, name in enumerate(names)
    ]
    record["class_names"] = classes
    record["verdict"] |= {"best_deep": names[1], "winner": names[-1], "front": None, "reference": names[0]}
    record["verdict"]["comparisons"] = [
        comparison(name, k / 100, "better", classes) for k, name in enumerate(names[1:])
    ]
    record["learning_curve"]["curves"] = {name: steps(0.5, 0.6) for name in names}
    record["confusions"] = {name: np.eye(200, dtype=int).tolist() for name in names[:2]}
    return record


def nothing() -> dict[str, Any]:
    """Every key there, and nothing behind it."""

    def emptied(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: emptied(inner) for key, inner in value.items()}
        return [] if isinstance(value, list) else None

    record: dict[str, Any] = emptied(full())
    record["contestants"] = [emptied(entry) for entry in full()["contestants"]]
    record["verdict"]["comparisons"] = [emptied(entry) for entry in full()["verdict"]["comparisons"]]
    record["learning_curve"]["curves"] = {"auto": [emptied(steps(0.5, 0.6)[0])]}
    return record


def disagreements(texts: list[str]) -> list[Disagreement]:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    answers = [(texts[0], texts[1], 0.613, False), (texts[1], texts[2], None, True)]
    return [Disagreement(f"{texts[0]}/1.jpg", pixels, texts[2], answers)]


CASES: dict[str, tuple[dict[str, Any], list[Disagreement], str]] = {
    "full": (full(), disagreements(["auto", "iris", "tulip"]), "1. the same <split>\n2. the same budget"),
    "hostile": (hostile(), disagreements(HOSTILE), "\n".join(HOSTILE)),
    "many": (many(), [], ""),
    "nothing": (nothing(), [], ""),
    "empty": ({}, [], ""),
}


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """Every case, rendered once."""
    return {case: render_comparison(*given) for case, given in CASES.items()}


@pytest.mark.parametrize("case", CASES)
def test_page_is_well_formed_self_contained_and_accessible(
    pages: dict[str, str], case: str, check_page: Read
) -> None:
    page = check_page(pages[case])
    tables = sum(tag == "table" for tag, _ in page.tags)
    assert sum(tag == "caption" for tag, _ in page.tags) == tables
    assert sum("scope" in attrs for tag, attrs in page.tags if tag == "th") >= tables


def test_sections_are_there_in_order(pages: dict[str, str], read_page: Read) -> None:
    every = (
        "verdict contestants latency fit training learning differences classes stages confusion "
        "disagreements outcomes decisions notes conditions rules reproduce"
    ).split()
    page = read_page(pages["full"])
    assert page.sections() == every
    assert [attrs["href"] for tag, attrs in page.tags if tag == "a"] == [f"#{section}" for section in every]
    assert read_page(pages["nothing"]).sections() == ["contestants"]
    assert read_page(pages["empty"]).sections() == []


AUTO = contestant("auto", "classical", 0.9)
BARE = {"name": "auto", "kind": "classical", "accuracy": 0.9}
VERDICT = {"reference": "auto", "best_deep": "net", "comparisons": []}


@pytest.mark.parametrize(
    ("record", "sections"),
    [
        ({"verdict": {"text": "take it"}}, "verdict"),
        ({"contestants": [BARE]}, "contestants"),
        ({"contestants": [BARE | {"latency_ms": {"p50": 2.0}}]}, "contestants latency stages"),
        ({"contestants": [BARE | {"fit_cpu_seconds": 2.0}]}, "contestants fit"),
        ({"contestants": [BARE | {"fit_cpu_seconds": 0.0}]}, "contestants"),
        ({"contestants": [BARE | {"accuracy": math.nan, "fit_cpu_seconds": 2.0}]}, "contestants"),
        ({"contestants": [BARE | {"log": ["C = 1"]}]}, "contestants decisions"),
        ({"contestants": [BARE | {"outcome": "hung"}]}, "contestants outcomes"),
        ({"contestants": [BARE | {"threads": {"opencv": 1}}]}, "contestants conditions"),
        (
            {"contestants": [BARE | {"history": [{"cpu_seconds": 1.0, "validation_accuracy": 0.5}]}]},
            "contestants training",
        ),
        ({"learning_curve": {"curves": {"auto": steps(0.5, 0.6)}}}, "learning"),
        ({"verdict": {"comparisons": [comparison("net", 0.01, "none", [])]}}, "differences"),
        ({"verdict": {"comparisons": [comparison("net", 0.01, "none", ["iris"])]}}, "differences classes"),
        ({"confusions": {"auto": [[1]]}, "class_names": ["iris"], "verdict": VERDICT}, "verdict"),
        (
            {"confusions": {"auto": [[1]], "net": [[1]]}, "class_names": ["iris"], "verdict": VERDICT},
            "verdict confusion",
        ),
        ({"confusions": {"auto": [[1]], "net": [[1]]}, "class_names": [], "verdict": VERDICT}, "verdict"),
        ({"notes": ["a note"]}, "notes"),
        ({"seed": 0}, "reproduce"),
    ],
)
def test_a_section_is_there_when_it_has_data(record: dict[str, Any], sections: str, read_page: Read) -> None:
    assert read_page(render_comparison(record)).sections() == sections.split()


def test_the_numbers_are_those_given(pages: dict[str, str], read_page: Read) -> None:
    text = read_page(pages["full"]).text
    for shown in [
        *["flowers17", "1020", "340", "60 and 300 CPU seconds", "8000 MB", "3f9b17c23f9b", "3f9b17c2" * 8],
        *["94.4 %", "91.4 to 97.4 %", "93.3 %", "12.3", "321", "of 300", "seed 7"],
        *["7.02", "10.53", "≤ 12.64", "4.21", "432", "254", "188", "1800 KiB"],
        *["+1.1 points, no difference shown", "−0.9 to +5.1", "0.012", "< 0.001", "0.10 ×", "12.3 ×"],
        *["it was undertrained", "no claim", "still rising", "over 8000 MB", "they cross at 23"],
        *["81.1 % undertrained", "62.2 %", "52.2 to 72.2 %", "+3.1 points, n = 20"],
        *["few test images", "the deep one is worth it", "not passed", "1.0 points", "not by enough"],
        *["a processor", "numpy 2.3.1", "24000 MB", "fisher-vectors won", "61.3 %", "1. the same <split> 2."],
    ]:
        assert shown in text, shown


def test_contestants_are_sorted_and_marked_in_words(pages: dict[str, str], read_page: Read) -> None:
    rows = re.findall(r"<tr[^>]*>(<th scope=\"row\">.*?)</tr>", pages["full"])
    cells = [read_page(f"<p>{row.replace('<wbr>', '')}</p>").text for row in rows[:5]]
    assert [cell.split()[0] for cell in cells] == ["net:frozen", "auto", "net:scratch", "dummy", "big"]
    assert [cell.split(" ✓ ")[-1] for cell in (cells[0], cells[1])] == ["ok", "ok"]
    assert "winner" in cells[0]
    assert "winner" not in cells[1]
    assert cells[2].endswith("▲ undertrained")
    assert cells[4].endswith("✗ out of memory")
    # What was not measured has no row among the costs.
    assert len([row for row in rows[5:9] if "1800 KiB" in row]) == 4
    assert "big" not in "".join(rows[5:9])


def test_warnings_come_before_the_verdict(pages: dict[str, str], read_page: Read) -> None:
    text = read_page(pages["full"]).text
    assert text.index("Warning: few test images") < text.index("the deep one is worth it")


def test_budgets_that_differ_are_told_for_each(read_page: Read) -> None:
    record = {"contestants": [AUTO, contestant("net", "deep", 0.8, budget_cpu_seconds=60.0)]}
    text = read_page(render_comparison(record)).text
    assert "12.3 of 300" in text
    assert "12.3 of 60" in text


def test_hostile_names_are_text(pages: dict[str, str], read_page: Read) -> None:
    text = pages["hostile"]
    assert "<b>x" not in text
    shown = read_page(text.replace("<wbr>", "")).text
    for name in HOSTILE:
        assert name in shown
    titles = [attrs.get("title") for tag, attrs in read_page(text).tags if tag == "bdi"]
    assert set(HOSTILE[:5]) <= set(titles)


def test_many_contestants_and_classes(pages: dict[str, str], read_page: Read) -> None:
    page = read_page(pages["many"])
    # 40 classes are drawn, all are in the table.
    assert "160 between them are in the table only" in page.text
    charts = re.findall(r"<svg.*?</svg>", pages["many"], flags=re.S)
    [chart] = [svg for svg in charts if 'aria-label="difference of timm:network_01:finetune' in svg]
    assert "in each of 40 classes" in chart
    assert "class 199" in chart
    assert "class 000" in chart
    assert "class 100" not in chart
    assert "class 100" in page.text
    assert "confusion" not in page.sections()


def test_confusion_is_shaded_by_who_does_better(pages: dict[str, str]) -> None:
    cells = re.findall(
        r'<td class="signed (right|wrong)[^"]*" style="--shade:[\d.]+">([^<]*)</td>', pages["full"]
    )
    assert [cell for cell in cells if cell[1]] == [
        ("wrong", "−50"),
        ("wrong", "+50"),
        ("right", "−20"),
        ("right", "+20"),
    ]
    assert len(cells) == 9


def test_disagreements_say_who_is_right_in_words(pages: dict[str, str], read_page: Read) -> None:
    page = read_page(pages["full"])
    assert "✗ auto wrong: iris 61.3 % ✓ iris right: tulip" in page.text
    [image] = [attrs for tag, attrs in page.tags if tag == "img"]
    assert image["alt"] == "auto/1.jpg: true tulip"
    assert str(image["src"]).startswith("data:image/png;base64,")


def test_input_is_left_as_it_is_and_gives_the_same_page() -> None:
    record = {"contestants": [contestant("dummy", "floor", 0.1), AUTO], "verdict": {"front": ["auto"]}}
    before = copy.deepcopy(record)
    assert render_comparison(record) == render_comparison(record)
    assert record == before
