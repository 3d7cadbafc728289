"""The page: well-formed, self-contained, safe, and showing what it was given."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from classic_cv.html_report import Mistake, render_report

if TYPE_CHECKING:
    from tests.html_report.conftest import Page

    Read = Callable[[str], Page]

HOSTILE = [
    "<b>x</b>",
    "\"quoted\" & 'so' on",
    "花の名前",
    "$x_1$",
    "w" * 300,
    "</style><script>alert(1)</script>",
    "a\x00b\udcff\u202ec",
    "{{ 7 * 7 }}",
]


def figures(names: list[str]) -> dict[str, Any]:
    """Made-up figures of a classifier of ``names``."""
    n = len(names)
    confusion = (5 * np.eye(n, dtype=int) + np.roll(np.eye(n, dtype=int), 1, axis=1)).tolist()
    bins = [
        {"low": k / 15, "high": (k + 1) / 15, "n": k, "confidence": None, "accuracy": None} for k in range(15)
    ]
    for k in range(1, 15):
        bins[k] |= {"confidence": (k + 0.5) / 15, "accuracy": k / 15}
    return {
        "n": 6 * n,
        "part": "test",
        "accuracy": 0.7529,
        "accuracy_ci95": [0.7051, 0.7962],
        "balanced_accuracy": 0.7411,
        "macro_f1": 0.7317,
        "macro_f1_ci95": [0.6912, 0.7788],
        "log_loss": 0.8765,
        "ece": 0.0432,
        "ece_ci95": [0.0211, 0.0677],
        "per_class": {
            name: {"precision": 0.6123, "recall": 0.8345, "f1": (k + 1) / (n + 1), "n": 6}
            for k, name in enumerate(names)
        },
        "confusion": confusion,
        "reliability": bins,
        "latency_ms": {"p50": 4.31, "p90": 4.9, "p95": 5.22, "p99": 7.85},
        "throughput": 412.3,
        "threads": 2,
        "model_bytes": 1_843_201,
        "peak_rss_mb": 313.4,
        "cpu": "a processor",
        "versions": {"numpy": "2.0.1"},
    }


def candidate(recipe: str, score: float | None, ms: float, **more: Any) -> dict[str, Any]:
    return {
        "recipe": recipe,
        "size": 128,
        "head": "linear-svm",
        "score": score,
        "score_ci95": None if score is None else [score - 0.03, score + 0.03],
        "n_rows": 1020,
        "fit_seconds": 12.3,
        "ms_per_image": ms,
        "p95_ms": 1.2 * ms,
        "model_bytes": 204800,
        "status": "beaten",
    } | more


def classification(names: list[str]) -> dict[str, Any]:
    """A report with every section."""
    return {
        "title": "a title",
        "command": "classic-cv fit data",
        "task": "classification",
        "data": "flowers",
        "recipe": "hog-color",
        "classes": len(names),
        "n_train": 1234,
        "fit_seconds": 33.3,
        "seed": 7,
        "split_sha256": "3f9b" * 16,
        "model": "flowers.ccv",
        "notes": ["a note"],
        "skipped": [{"image": f"bad_{k}.jpg", "reason": "truncated"} for k in range(53)],
        "test": figures(names),
        "class_counts": {name: {"train": 20 + k, "test": 6} for k, name in enumerate(names)},
        "search": {
            "scoring": "accuracy",
            "stopped": "everything was tried",
            "seconds": 61.5,
            "time_limit": 300,
            "latency_limit_ms": None,
            "leaderboard": [
                candidate("hog-color", 0.7777, 4.3, status="winner", size=[96, 128]),
                candidate("gist", 0.6543, 1.7),
                candidate("slow", None, 9.9, status="not finished"),
            ],
        },
        "groups": {
            "method": "refitted",
            "full": 0.7529,
            "scoring": "accuracy",
            "rows": [
                {"group": "hog", "columns": 1764, "without": 0.7, "loss": 0.0529, "loss_ci95": [0.02, 0.08]},
                {"group": "lbp", "columns": 59, "without": 0.7579, "loss": -0.005},
            ],
        },
        "easier": {
            "note": "what if",
            "rows": [
                {
                    "task": "two classes",
                    "score": 0.9444,
                    "score_name": "accuracy",
                    "change": 0.19,
                    "detail": "",
                }
            ],
        },
        "recipe_toml": '[image]\nsize = 128\nname = "<&>"\n',
        "reproduce": "classic-cv fit data --seed 7",
    }


def regression(n: int = 50) -> dict[str, Any]:
    truth = np.linspace(18, 80, n)
    return {
        "title": "age",
        "task": "regression",
        "test": {
            "n": n,
            "mae": 3.2143,
            "mae_ci95": [3.0211, 3.4109],
            "rmse": 4.1,
            "r2": 0.9214,
            "target": "age",
            "points": np.column_stack([truth, truth + np.sin(truth)]).tolist(),
        },
        "search": {
            "scoring": "mean absolute error",
            "stopped": "time",
            "seconds": 1.0,
            "time_limit": 1.0,
            "leaderboard": [candidate("hog", 3.2, 4.3, status="winner"), candidate("gray", 5.1, 0.3)],
        },
    }


def mistakes(names: list[str], size: tuple[int, int] = (40, 60)) -> list[Mistake]:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    return [Mistake(f"{name}/1.jpg", pixels, name, names[0], 0.987) for name in names[:8]]


CLASSES = {n: [f"class {k:03d}" for k in range(n)] for n in (1, 2, 17, 101)}
CASES = {f"{n} classes": classification(names) for n, names in CLASSES.items()} | {
    "hostile": classification(HOSTILE) | {"title": HOSTILE[5], "command": HOSTILE[1], "notes": HOSTILE},
    "regression": regression(),
    "nothing measured": {"title": "none", "test": None},
    "empty": {},
}


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """Every case, rendered once."""
    rendered = {}
    for case, report in CASES.items():
        names = list((report.get("test") or {}).get("per_class") or {})
        rendered[case] = render_report(report, mistakes(names))
    return rendered


@pytest.mark.parametrize("case", CASES)
def test_page_is_well_formed_self_contained_and_accessible(
    pages: dict[str, str], case: str, check_page: Read
) -> None:
    check_page(pages[case])


@pytest.mark.parametrize("case", ["17 classes", "regression"])
def test_same_input_gives_the_same_page(pages: dict[str, str], case: str) -> None:
    names = list(CASES[case]["test"].get("per_class") or {})
    assert render_report(CASES[case], mistakes(names)) == pages[case]


def test_settings_of_matplotlib_neither_matter_nor_change(pages: dict[str, str]) -> None:
    import matplotlib

    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9, "svg.fonttype": "path"}):
        assert render_report(CASES["regression"]) == pages["regression"]
        assert matplotlib.rcParams["font.size"] == 30


def test_hostile_names_are_text(pages: dict[str, str], read_page: Read) -> None:
    text = pages["hostile"]
    page = read_page(text)
    assert "<b>x</b>" not in text
    assert "<script" not in text
    assert "\u202e" not in text
    for name in HOSTILE[:6]:
        assert name in page.text
    assert "a�b��c" in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert next(attrs["alt"] for tag, attrs in page.tags if tag == "img") == (
        "<b>x</b>/1.jpg: true <b>x</b>, predicted <b>x</b>"
    )


def test_sections_are_there_in_order(pages: dict[str, str], read_page: Read) -> None:
    assert (
        read_page(pages["17 classes"]).sections()
        == (
            "figures leaderboard latency confusion classes mistakes calibration balance groups easier data reproduce"
        ).split()
    )
    assert read_page(pages["regression"]).sections() == ["figures", "leaderboard", "latency", "errors"]
    assert read_page(pages["nothing measured"]).sections() == ["figures"]
    assert "nothing was measured" in pages["nothing measured"]
    assert read_page(pages["empty"]).sections() == []


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("leaderboard", "search"),
        ("latency", "search"),
        ("balance", "class_counts"),
        ("groups", "groups"),
        ("easier", "easier"),
        ("confusion", "test.confusion"),
        ("classes", "test.per_class"),
        ("calibration", "test.reliability"),
    ],
)
@pytest.mark.parametrize("empty", [None, "missing"])
def test_a_section_without_data_is_left_out(section: str, key: str, empty: Any, read_page: Read) -> None:
    report = classification(CLASSES[2])
    holder, name = (report["test"], key.removeprefix("test.")) if "." in key else (report, key)
    if empty == "missing":
        del holder[name]
    else:
        holder[name] = empty
    page = read_page(render_report(report))
    assert section not in page.sections()
    assert ("a", {"href": f"#{section}"}) not in page.tags
    assert "mistakes" not in page.sections()


def test_the_numbers_are_those_given(pages: dict[str, str], read_page: Read) -> None:
    text = read_page(pages["17 classes"]).text
    for shown in [
        *[
            "75.3 %",
            "70.5 to 79.6 %",
            "74.1 %",
            "73.2 %",
            "69.1 to 77.9 %",
            "0.876",
            "0.043",
            "0.021 to 0.068",
        ],
        *[
            "4.31 ms",
            "5.22 ms",
            "7.85 ms",
            "412 images/s",
            "1800 KiB",
            "313 MB",
            "102 images of the test part",
        ],
        *["77.8 %", "74.8 to 80.8 %", "96 × 128 px", "4.30", "200 KiB", "everything was tried", "61.5 s"],
        *["+5.3 points", "+2.0 to +8.0 points", "−0.5 points", "94.4 %", "+19.0 points", "98.7 %"],
        *["61.2 %", "83.5 %", "1234", "3f9b" * 16, "a processor", "numpy 2.0.1", "flowers.ccv"],
    ]:
        assert shown in text, shown


def test_regression_numbers(pages: dict[str, str], read_page: Read) -> None:
    text = read_page(pages["regression"]).text
    for shown in ["3.214", "3.021 to 3.411", "4.100", "0.921", "Mean absolute error against latency"]:
        assert shown in text
    assert "lower is better" in text
    assert "calibration" not in text


def test_what_being_a_fallback_costs(read_page: Read) -> None:
    report = classification(["a", "b"])
    report["test"]["degraded"] = {
        "primary": "net<b>.onnx",
        "n": 100,
        "n_failed": 1,
        "agreement": 0.9,
        "agreement_ci95": [0.82, 0.95],
        "shares": [
            {
                "share": 0.0,
                "accuracy": 0.95,
                "accuracy_ci95": [0.88, 0.98],
                "loss": 0.0,
                "loss_ci95": [0.0, 0.0],
            },
            {
                "share": 0.1,
                "accuracy": 0.945,
                "accuracy_ci95": [0.88, 0.98],
                "loss": 0.005,
                "loss_ci95": None,
            },
            {
                "share": 1.0,
                "accuracy": 0.9,
                "accuracy_ci95": [0.82, 0.95],
                "loss": 0.05,
                "loss_ci95": [-0.01, 0.11],
            },
        ],
    }
    page = read_page(render_report(report))
    assert "degraded" in page.sections()
    text = page.text
    assert "those of net<b>.onnx , and" in text
    assert "for 90.0 % (82.0 to 95.0 %) of the images" in text
    assert "it did not answer 1 image," in text
    assert "10.0 % 94.5 % 88.0 to 98.0 % −0.5 points –" in text
    assert "100.0 % 90.0 % 82.0 to 95.0 % −5.0 points −11.0 to +1.0 points" in text


def test_matrix_up_to_twenty_classes_then_a_heatmap(pages: dict[str, str]) -> None:
    assert 'class="matrix' in pages["17 classes"]
    assert 'aria-label="confusion matrix' not in pages["17 classes"]
    assert 'class="matrix' not in pages["101 classes"]
    assert 'aria-label="confusion matrix of 101 classes' in pages["101 classes"]
    assert pages["101 classes"].count('<td class="number">16.7 %</td></tr>') == 20  # one in six of each class


def test_weakest_classes_first_and_long_tables_fold(pages: dict[str, str]) -> None:
    rows = re.findall(r'<th scope="row"><bdi class="name" title="(class \d+)"', pages["101 classes"])
    assert rows[-101:] == CLASSES[101]
    assert "<details>" in pages["101 classes"]
    assert "61 more classes" in pages["101 classes"]
    assert "<details>" not in pages["17 classes"]


def test_a_class_without_images_is_last_and_has_no_figures(read_page: Read) -> None:
    report = {
        "test": {
            "per_class": {"none": {"precision": 0, "recall": 0, "f1": 0, "n": 0}, "some": {"f1": 1, "n": 3}}
        }
    }
    text = read_page(render_report(report)).text
    assert text.index("some 100.0 %") < text.index("none –")


def test_skipped_images_are_cut_at_fifty(pages: dict[str, str], read_page: Read) -> None:
    text = read_page(pages["2 classes"]).text
    assert "bad_49.jpg" in text
    assert "bad_50.jpg" not in text
    assert "and 3 more" in text


@pytest.mark.parametrize(("side", "kind"), [(32, "image/png"), (160, "image/jpeg")])
def test_pictures_are_embedded(side: int, kind: str, read_page: Read) -> None:
    page = read_page(render_report({}, mistakes(["rose"], (side, side))))
    [image] = [attrs for tag, attrs in page.tags if tag == "img"]
    assert str(image["src"]).startswith(f"data:{kind};base64,")
    assert image["width"] == str(side)


def test_importing_the_package_loads_no_drawing_library() -> None:
    code = "import sys, classic_cv.html_report; print({'matplotlib', 'jinja2'} & sys.modules.keys())"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"
