"""The page of a check: well-formed, self-contained, safe, bounded, and showing what it was given."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from classic_cv.checks.finding import CHECKS, Finding, Item, Severity
from classic_cv.html_report import needed_pictures, render_check
from classic_cv.html_report._check_pictures import FINDING_PICTURES, SHEET_PICTURES

if TYPE_CHECKING:
    from tests.html_report.conftest import Page

    Read = Callable[[str], Page]

HOSTILE = [
    "<b>x</b>",
    "\"quoted\" & 'so' on",
    "花の名前",
    "$x_1$",
    "w" * 300,
    "a/b c,d.jpg",
    "{{ 7 * 7 }}",
    "\udcff",
]
NAMES = [f"train/tulip/image_{k:03d}.jpg" for k in range(400)]
KINDS = ("random", "typical", "unusual")


def finding(
    check: str, severity: Severity, kind: str = "kind", items: tuple[Item, ...] = (), **more: Any
) -> Finding:
    told = {
        "message": f"Message of {check} {kind}.",
        "why": f"Why of {check} {kind}.",
        "action": f"Action of {check} {kind}.",
        "scoring": "similarity" if items else "",
    } | more
    return Finding(check, kind, severity, max(1, len(items)), items=items, **told)


def pairs(n: int, start: int = 0) -> tuple[Item, ...]:
    return tuple(
        Item((start + 2 * k, start + 2 * k + 1), 1 - k / 1000, "test and training") for k in range(n)
    )


def picture(shade: int, side: int = 96) -> NDArray[np.uint8]:
    pixels = np.full((side, side, 3), shade % 256, np.uint8)
    pixels[::2, ::3] = (shade * 7) % 256
    return pixels


def share(value: float, **more: Any) -> dict[str, Any]:
    return {"accuracy": value, "ci95": [value - 0.03, value + 0.03]} | more


def figures() -> dict[str, Any]:
    """Figures of every check that has some."""
    sizes = {"min": 100, "q25": 400, "median": 500, "q75": 600, "max": 1280}
    return {
        "inventory": {
            "classes": {
                "rose": {"train": 60, "val": 5, "test": 20},
                "tulip": {"train": 10, "val": 0, "test": 4},
            },
            "width": sizes | {"histogram": {"edges": [100, 600, 1280], "counts": [4, 1]}},
            "ignored": {"an image outside the class folders": 2},
            "ignored_suffixes": {".txt": 1},
            "imbalance": 6.07,
            "formats": {"JPEG": 90, "PNG": 9},
            "cameras": {"": 60, **{f"camera {k}": 3 for k in range(13)}},
            "dates": {"known": 0.21, "first": "2003-04-01T10:00:00", "last": "2006-05-02T12:00:00"},
        },
        "quality": {"dark": {"threshold": 0.11, "default": 0.12, "from_data": None}},
        "leakage": {
            "accuracy": {
                "all": share(0.951, n=340),
                "without_leaked": share(0.902, n=140),
                "leaked": {"n": 0},
            },
            "pairs": {"near-duplicates": {"train and test": 115, "train": 2}, "exact-duplicates": {"val": 3}},
        },
        "duplicates": {
            "pairs": {"near-duplicates": {"train": 2}},
            "calibration": {"made": 100, "recall": {"mirrored": 0.91, "20 % brighter": None}},
        },
        "labels": {
            "n": 1020,
            "expected": {"n": 53.2, "ci95": [41.4, 66.0]},
            "by_class": {
                "rose": {"errors": 8.2, "likely": "tulip"},
                "iris": {"errors": 0.0, "likely": "rose"},
            },
        },
        "drift": {
            "auc": {"value": 0.512, "ci95": [0.47, 0.55]},
            "properties": [
                {"name": "contrast", "train": 0.1, "test": 0.11, "ks": 0.04, "p": 0.3},
                {"name": "jpeg_quality", "train": 90.0, "test": 75.0, "ks": 0.8, "p": 1e-9},
            ],
            "label_shift": {"p": 0.012, "total_variation": 0.081},
            "missing": ["iris", "lily"],
            "new": [],
        },
        "shortcut": {
            "rows": [{"name": "border", "balanced_accuracy": 0.3, "columns": 1200, **share(0.314)}],
            "properties": [{"property": "blockiness", "class": "tulip", "auc": 0.999, "ci95": [0.99, 1.0]}],
            "sources": [{"name": "camera", "n": 17, "images_in_shared": 0.25, "classes": [], **share(0.421)}],
        },
        "score": {
            "where": "340 test images",
            "rows": [
                {"name": "dummy", "difference": 0.853, "difference_ci95": [0.81, 0.89], **share(0.059)},
                {"name": "fisher", "difference": None, "difference_ci95": None, **share(0.912)},
            ],
            "permutation": {
                "p": 0.002,
                "n_permutations": 500,
                "observed": 0.62,
                "null_mean": 0.059,
                "null_max": 0.081,
                "scoring": "balanced accuracy",
            },
            "smallest_difference": 0.031,
            "spread": {"splits": [0.9, 0.93], "mean": 0.915, "deviation": 0.014},
            "segments": [{"name": "class crocus", "n": 20, "rest": 0.93, "p": 0.0003, **share(0.65)}],
        },
        "limits": {
            "points": [
                {"images": 510, "mean": 0.86, "ci95": [0.84, 0.88]},
                {"images": 1020, "mean": 0.91, "ci95": None},
            ],
            "curve": [[510, 0.86], [1020, 0.905], [2040, 0.926]],
            "twice": {"images": 2040, "gain": 0.021, "ci95": [0.012, 0.03]},
            "input_size": {
                "rows": [{"size": 128, "difference": -0.06, "difference_ci95": [-0.08, -0.04], **share(0.8)}],
                "note": "cross-validated",
            },
        },
        "confidence": {
            "ece": 0.021,
            "ece_noise": 0.018,
            "reliability": [{"low": 0.0, "high": 1.0, "n": 9, "confidence": 0.8, "accuracy": 0.7}],
            "curve": [
                {"threshold": 0.5, "coverage": 1.0, **share(0.912)},
                {"threshold": 0.9, "coverage": 0.6, **share(0.97)},
            ],
            "suggested": {"threshold": 0.72, "coverage": 0.784, "accuracy": 0.961},
            "goals": [{"goal": 0.98, "threshold": 0.9, "coverage": 0.526, **share(0.972)}],
            "novelty": [{"set": "photos", "auc": 0.913, "ci95": [0.88, 0.94], "n": 120, "answered": 0.225}],
        },
        "predictions": {
            "verdict": "net.csv reaches 94.1 %.",
            "metrics": {"accuracy": 0.941, "accuracy_ci95": [0.91, 0.96], "ece": 0.034},
            "difference": {"value": 0.028, "ci95": [-0.001, 0.057], "p": 0.06, "wins": 17, "losses": 8},
            "leakage": {"all": share(0.941, n=340), "without_leaked": share(0.887, n=140), "p": 0.5},
            "segments": [],
        },
    }


def full() -> dict[str, Any]:
    """A record with every section."""
    return {
        "data": {
            "path": "flowers",
            "name": "flowers",
            "classes": 17,
            "images": 1360,
            "train": 1020,
            "val": 0,
            "test": 340,
            "task": "classification",
        },
        "checks": {name: "left out" if name == "drift" else "passed" for name in CHECKS},
        "findings": [],
        "figures": figures(),
        "left_out": {"drift": "There is no test part to compare."},
        "reference": {"recipe": "fisher-fast", "accuracy": 0.912, "ci95": [0.877, 0.938], "seconds": 61.2},
        "seconds": 204.3,
        "versions": {"numpy": "2.3.1"},
        "notes": ["a note on the data"],
        "command": "classic-cv check flowers",
    }


def bare() -> dict[str, Any]:
    """A record without figures, of which charts are what takes time."""
    return full() | {"figures": {}}


def rendered(
    record: dict[str, Any],
    *findings: Finding,
    names: list[str] = NAMES,
    pictures: dict[int, NDArray[np.uint8]] | None = None,
) -> str:
    told = record | {"findings": [one.to_table(names) for one in findings]}
    return render_check(told, findings, names, pictures or {})


def sheets(n_classes: int, each: int = 6) -> dict[str, dict[str, list[int]]]:
    return {
        f"class {k}": {
            kind: [(k * 18 + j * 6 + i) % 400 for i in range(each)] for j, kind in enumerate(KINDS)
        }
        for k in range(n_classes)
    }


def test_every_section_is_there_and_says_what_it_was_given(check_page: Read) -> None:
    page = check_page(rendered(full()))
    kept = [name for name in CHECKS if name in figures()]
    assert page.sections() == ["verdict", *kept, "notes", "made"]
    for text in (
        "flowers",
        "1,360",
        "91.2 % (87.7 to 93.8 %)",
        "nothing found: nothing speaks against a score on this data; 1 check could not be made".capitalize(),
        "There is no test part to compare.",
        "4 others",
        "From rose with 85 images to tulip with 14 images, 6.07 times as many. The training part includes",
        "an image outside the class folders 2",
        "not an image: .txt 1",
        "from 2003-04-01 to 2006-05-02",
        "those without a copy in training 140 90.2 %",
        "near-duplicates 2",
        "Copies were made of 100 of the images",
        "mirrored 91.0 %",
        "About 53 of 1,020 labels are expected to be wrong (95 % interval 41 to 66).",
        "AUC of 0.512 (95 % interval 0.470 to 0.550)",
        "The shares of the classes differ by 8.1 % of the images in all (p = 0.012)",
        "Not in the test part: iris and lily.",
        "border alone 31.4 % 28.4 to 34.4 %",
        "blockiness tulip 0.999",
        "camera 17 42.1 %",
        "+85.3 points +81.0 to +89.0 points",
        "balanced accuracy of 5.9 % on average and of 8.1 % at best; with the true labels 62.0 % (p = 0.002)",
        "about 3.1 points",
        "90.0 % to 93.0 %, mean 91.5 %, standard deviation 1.4 points",
        "class crocus 20 65.0 %",
        "< 0.001",
        "Twice the images would bring about +2.1 points (95 % interval +1.2 to +3.0 points).",
        "2,040 (expected) 92.6 % 91.7 to 93.5 %",
        "128 px 80.0 %",
        "With --abstain 0.72, 78.4 % of the images get an answer, of which 96.1 % are right.",
        "perfect calibration would show 0.018",
        "photos 120 0.913 0.880 to 0.940 22.5 %",
        "98.0 % 0.90 52.6 % 97.2 %",
        "+2.8 points (95 % interval −0.1 to +5.7 points); they alone are right on 17 images, it alone on 8",
        "A note on the data.",
    ):
        assert text in page.text, text
    assert "iris 0" not in page.text
    heights = [attrs["style"] for tag, attrs in page.tags if str(attrs.get("style")).startswith("height")]
    assert heights == ["height:100%", "height:25%"]


def test_copies_across_and_within_parts_are_told_once_each_with_what_they_do(check_page: Read) -> None:
    record = bare()
    pairs = {"near-duplicates": {"train": 21, "train and test": 115}, "exact-duplicates": {"test": 3}}
    calibration = {
        "made": 120,
        "recall": {"mirrored": 1.0},
        "expected_false_alarms": 0.3,
        "descriptor_limit": 0.956,
        "look_alikes": 0.674,
    }
    leaked = {"difference": {"value": 0.012, "ci95": [0.004, 0.02]}}
    record["figures"] = {
        "duplicates": {"pairs": pairs, "calibration": calibration},
        "leakage": {"pairs": pairs, "calibration": calibration, "accuracy": leaked},
    }
    text = check_page(rendered(record)).text
    within, across = text.split("Leakage Copies across")[0].split("within a part of the data.")[-1], text
    assert text.count("115") == text.count(" 21 ") == 1
    assert "near-duplicates 21 0 exact-duplicates 0 3" in within
    assert "near-duplicates 115" in across
    assert "The leaked images change the accuracy by +1.2 points (95 % interval +0.4 to +2.0 points)." in text
    assert "look-alikes are expected to make 0.3 pass for copies: the details of a copy have to" in text
    assert "agree to 0.96 of 1, those of look-alikes agree to 0.67." in text


def test_what_could_not_be_compared_is_said(check_page: Read) -> None:
    record = bare()
    record["figures"] = {
        "drift": {"label_shift": {"p": 1e-9, "ks": 0.433}, "missing": [], "new": []},
        "confidence": {"novelty": [], "novelty_left_out": {"digits": "its images look alike"}},
    }
    text = check_page(rendered(record)).text
    assert "The cumulative shares of the targets differ by up to 43.3 % (p < 0.001)." in text
    assert "Without digits: its images look alike." in text


def test_nothing_is_said_twice_in_a_section(check_page: Read) -> None:
    record = bare()
    every = figures()
    record["figures"] = {
        "labels": every["labels"] | {"by_class": {}},
        "drift": {"auc": every["drift"]["auc"], "label_shift": {"p": 1.0, "total_variation": 0.0}},
    }
    assert "differ by 0 % of the images in all (p = 1)" in check_page(rendered(record)).text
    reasons: dict[str, Any] = {"why": "The reason.", "action": "The action."}
    told = [
        finding("labels", "info", "label-errors"),
        finding("drift", "warning", "parts-differ", **reasons),
        finding("drift", "warning", "label-shift", **reasons),
    ]
    text = check_page(rendered(record, *told)).text
    for once in ("The reason.", "The action."):
        assert text.count(once) == 1
    for said in ("are expected to be wrong", "has to tell training from test", "shares of the classes"):
        assert said not in text


def test_properties_that_differ_most_come_first(check_page: Read) -> None:
    text = check_page(rendered(full())).text
    assert text.index("JPEG quality 90 75") < text.index("contrast 0.1 0.11")


def test_a_section_without_figures_is_left_out(check_page: Read) -> None:
    record = bare()
    record["figures"] = {"drift": figures()["drift"], "quality": {}}
    assert check_page(rendered(record)).sections() == ["verdict", "drift", "notes", "made"]


def test_a_record_of_almost_nothing(check_page: Read) -> None:
    record = {"data": {"name": "x"}, "checks": {}, "figures": {}, "left_out": {}}
    page = check_page(rendered(record))
    assert page.sections() == ["verdict"]
    assert "Nothing found" in page.text


def gone(value: Any) -> Any:
    """The same with None in place of every number."""
    if isinstance(value, dict):
        return {key: gone(one) for key, one in value.items()}
    if isinstance(value, list):
        return [gone(one) for one in value]
    return value if isinstance(value, str) else None


@pytest.mark.parametrize(
    "check", sorted(set(figures()) - {"inventory", "duplicates", "leakage", "confidence"})
)
def test_unknown_figures_are_no_error(check: str, check_page: Read) -> None:
    record = full()
    record["figures"] = {check: gone(record["figures"][check])}
    assert "None" not in check_page(rendered(record)).text


def test_a_regression_is_told_by_its_errors(check_page: Read) -> None:
    record = full()
    record["data"] |= {"task": "regression", "classes": 0}
    record["reference"] |= {"accuracy": None, "ci95": None}
    record["figures"] = {
        "score": {
            "scoring": "mean absolute error",
            "rows": [
                {
                    "name": "dummy",
                    "mae": 31.25,
                    "ci95": [29.0, 33.0],
                    "difference": 21.5,
                    "difference_ci95": [20.0, 23.0],
                }
            ],
            "spread": {"splits": [9.5, 10.25], "mean": 9.9, "deviation": 0.375},
        },
        "labels": {"n": 20, "residual_deviation": 0.2},
    }
    page = check_page(rendered(record))
    assert "no look at the image 31.25 29.00 to 33.00 +21.50 +20.00 to +23.00" in page.text
    assert "9.50 to 10.25, mean 9.90, standard deviation 0.38" in page.text
    assert "classes" not in page.text.split("The verdict")[0]
    assert page.sections() == ["verdict", "score", "notes", "made"]


def test_the_most_severe_comes_first_and_is_linked(check_page: Read) -> None:
    found = [finding("leakage", "error"), finding("labels", "warning"), finding("inventory", "info")]
    page = check_page(rendered(bare(), *found))
    assert page.sections()[:3] == ["verdict", "leakage", "labels"]
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    assert [link for link in links if "finding" in str(link)] == ["#finding-1", "#finding-2", "#finding-3"]
    assert (
        "1 error, 1 warning, 1 for information: a score on this data cannot be trusted as it is" in page.text
    )
    for one in found:
        assert page.text.count(one.message) == 2
        assert page.text.count(one.why) == page.text.count(one.action) == 1
    outcomes = page.text[page.text.index("Every check") : page.text.index("Leakage Copies")]
    assert "leakage ✗ error" in outcomes
    assert "labels ▲ warning" in outcomes
    assert "inventory ✓ passed" in outcomes
    assert "drift – left out There is no test part to compare." in outcomes


def test_copies_are_shown_side_by_side(check_page: Read) -> None:
    one = finding("leakage", "error", items=(Item((0, 3), 0.98, "mirrored"), Item((4, 5, 6, 7, 8, 9), 0.9)))
    pictures = {index: picture(index) for index in needed_pictures([one], {})}
    assert sorted(pictures) == [0, 3, 4, 5, 6, 7]
    page = check_page(rendered(bare(), one, pictures=pictures))
    shown = [attrs["alt"] for tag, attrs in page.tags if tag == "img"]
    assert shown == [f"{NAMES[0]}: mirrored", f"{NAMES[3]}: mirrored", *NAMES[4:8]]
    assert "and 2 more of the same" in page.text
    assert "similarity 0.98" in page.text


def test_a_missing_picture_leaves_its_name(check_page: Read) -> None:
    one = finding("quality", "info", items=(Item((0,), 0.9), Item((1,), 0.8)))
    page = check_page(rendered(bare(), one, pictures={0: picture(0)}))
    assert page.text.count("no picture") == 1
    assert NAMES[1].rsplit("/", 1)[1] in page.text


def test_items_without_pictures_are_listed(check_page: Read) -> None:
    items = tuple(Item((k,), 1.0, f"reason {k}") for k in range(60))
    page = check_page(rendered(bare(), finding("unreadable", "warning", items=items)))
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert "reason 49" in page.text
    assert "reason 50" not in page.text
    assert "10 more are not shown" in page.text
    # All have the same score, which therefore says nothing.
    assert "similarity" not in page.text


def test_kinds_are_titles_in_words(check_page: Read) -> None:
    assert (
        "▲ warning Small test part"
        in check_page(rendered(bare(), finding("score", "warning", "small-test-part"))).text
    )


def test_unreadable_files_are_listed_once(check_page: Read) -> None:
    record = bare()
    record["figures"] = {
        "unreadable": {
            "files": [{"file": NAMES[3], "reason": "empty"}, {"file": "gone.jpg", "reason": "no file"}]
        }
    }
    text = check_page(
        rendered(record, finding("unreadable", "warning", items=(Item((3,), 1.0, "empty"),)))
    ).text
    assert f"{NAMES[3]} empty gone.jpg no file" in text
    assert text.count(NAMES[3]) == 1


def test_a_confidence_is_written_as_a_share(check_page: Read) -> None:
    items = (Item((0,), 0.9912), Item((1,), 0.5))
    one = finding("score", "info", items=items, scoring="confidence")
    assert "confidence 99.1 %" in check_page(rendered(bare(), one, pictures={0: picture(0)})).text


def test_pictures_are_bounded_and_errors_have_more_of_them() -> None:
    one = [finding("leakage", "error", items=pairs(100)), finding("quality", "info", items=pairs(100, 200))]
    needed = needed_pictures(one, {})
    assert needed == [*range(48), *range(200, 224)]
    many = [finding("leakage", "error", f"kind-{k}", items=pairs(100)) for k in range(30)]
    shown = rendered(bare(), *many, pictures={k: picture(k, 8) for k in range(400)}).count("<img")
    assert FINDING_PICTURES * 0.8 < shown <= FINDING_PICTURES


def test_more_findings_than_pictures_have_one_each() -> None:
    many = [
        finding("quality", "info", f"kind-{k}", items=(Item((k,), 1.0), Item((399 - k,), 0.5)))
        for k in range(190)
    ]
    assert needed_pictures(many, {}) == [*range(190)]


@pytest.mark.parametrize(("n_classes", "shown", "each"), [(2, 2, 6), (18, 18, 6), (19, 19, 3), (200, 36, 3)])
def test_contact_sheets(n_classes: int, shown: int, each: int, check_page: Read) -> None:
    record = bare()
    found = sheets(n_classes)
    record["figures"]["inventory"] = {"sheets": found}
    needed = needed_pictures([], found)
    page = check_page(rendered(record, pictures={index: picture(index, 8) for index in needed}))
    titles = re.findall(r"class \d+ random typical unusual", page.text)
    assert len(titles) == shown
    images = [attrs for tag, attrs in page.tags if tag == "img"]
    assert len(images) == shown * 3 * each <= SHEET_PICTURES
    assert (f"and {n_classes - shown} more classes" in page.text) == (shown < n_classes)


def test_a_class_with_one_image_has_a_sheet(check_page: Read) -> None:
    record = bare()
    record["figures"]["inventory"] = {"sheets": {"lone": {"random": [3], "typical": [3], "unusual": []}}}
    page = check_page(rendered(record, pictures={3: picture(3)}))
    assert "lone random typical" in page.text
    assert len([tag for tag, _ in page.tags if tag == "img"]) == 2


def test_a_page_full_of_pictures_is_light() -> None:
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 256, (12, 16, 3), np.uint8)
    photo = np.kron(rows, np.ones((10, 10, 1), np.uint8))
    photo = photo // 2 + rng.integers(0, 24, photo.shape, np.uint8)
    record = bare()
    record["figures"]["inventory"] = {"sheets": sheets(18)}
    many = [finding("leakage", "error", f"kind-{k}", items=pairs(100)) for k in range(9)]
    page = rendered(record, *many, pictures=dict.fromkeys(range(400), photo))
    assert page.count("<img") > 500
    assert len(page) < 8e6


def test_hostile_text_is_only_text(check_page: Read) -> None:
    record = full()
    for key in ("name", "path"):
        record["data"][key] = HOSTILE[0]
    record["command"] = HOSTILE[1]
    record["notes"] = HOSTILE
    record["left_out"] = {"drift": HOSTILE[0]}
    record["figures"]["inventory"]["classes"] = {text: {"train": 3, "test": 1} for text in HOSTILE}
    record["figures"]["inventory"]["cameras"] = dict.fromkeys(HOSTILE, 3)
    record["figures"]["inventory"]["sheets"] = {
        text: {kind: [k] for kind in KINDS} for k, text in enumerate(HOSTILE)
    }
    record["figures"]["drift"]["missing"] = HOSTILE
    record["figures"]["score"]["segments"] = [{"name": text, "n": 3, **share(0.5)} for text in HOSTILE]
    items = tuple(Item((k,), 1 - k / 9, text) for k, text in enumerate(HOSTILE))
    text = HOSTILE[0]
    found = [
        finding("labels", "error", text, items=items, message=text, why=text, action=text, scoring=text),
        finding(
            "unreadable",
            "error",
            items=tuple(Item((8 + k,), 0.1 * k, text) for k, text in enumerate(HOSTILE)),
        ),
    ]
    pictures = {k: picture(k) for k in range(len(HOSTILE))}
    page = check_page(rendered(record, *found, names=HOSTILE * 2, pictures=pictures))
    for text in HOSTILE[:-1]:
        assert text in page.text
    assert "49" not in page.text
    whiskers = [tag for tag, attrs in page.tags if attrs.get("class") == "whisker"]
    assert [tag for tag, _ in page.tags].count("b") == len(whiskers)


def test_the_same_input_gives_the_same_text_and_stays_as_it_is() -> None:
    record = full()
    before = copy.deepcopy(record)
    one = finding("leakage", "error", items=pairs(3))
    pictures = {k: picture(k) for k in range(6)}
    assert rendered(record, one, pictures=pictures) == rendered(record, one, pictures=pictures)
    assert record == before
