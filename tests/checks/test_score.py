"""Scores that mean something are quiet; chance, shortcuts and odd splits that a test plants are told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from classic_cv.checks.answers import Measured, losses
from classic_cv.checks.finding import Checked, Finding
from classic_cv.checks.mistakes import mistakes
from classic_cv.checks.score import check_score
from classic_cv.checks.score_findings import score_findings
from classic_cv.checks.subject import Subject

Make = Callable[[Path], Subject]


def kinds(findings: list[Finding]) -> dict[str, str]:
    return {one.kind: one.severity for one in findings}


def noise_data(path: Path, y: NDArray[np.int64], brightness: NDArray[np.floating[Any]], test: int) -> Path:
    """Noise images of 16 pixels with labels and mean brightness given; the last ``test`` are the test part."""
    rng = np.random.default_rng(0)
    images = rng.normal(brightness[:, None, None], 30, (len(y), 16, 16)).clip(0, 255).astype(np.uint8)
    parts: dict[str, Any] = {"train_images": images[:-test], "train_labels": y[:-test]}
    np.savez(path, **parts, test_images=images[-test:], test_labels=y[-test:])
    return path


@pytest.fixture(scope="module")
def digits_score(digits_subject: Subject) -> Checked:
    return check_score(digits_subject)


def test_a_good_model_on_clean_data_is_quiet(digits_score: Checked) -> None:
    assert set(kinds(digits_score.findings)) <= {"mistakes", "small-test-part"}
    assert all(one.severity == "info" for one in digits_score.findings)
    figures = digits_score.figures["score"]
    dummy, properties, mine = figures["rows"]
    assert [dummy["name"], properties["name"], mine["name"]] == ["dummy", "properties", "small"]
    assert dummy["accuracy"] < 0.13 < properties["accuracy"] < 0.6 < 0.9 < mine["accuracy"]
    assert dummy["difference"] == pytest.approx(mine["accuracy"] - dummy["accuracy"])
    assert dummy["difference_ci95"][0] < dummy["difference"] < dummy["difference_ci95"][1]
    assert mine["ci95"][0] < mine["accuracy"] < mine["ci95"][1]
    assert mine["difference"] is None
    assert figures["permutation"]["p"] < 0.01
    assert 0 < figures["discordant"] < 0.1
    assert figures["discordant"] <= 4 * figures["smallest_difference"] < 0.2


def test_other_splits_score_like_the_given_one(digits_score: Checked) -> None:
    spread = digits_score.figures["score"]["spread"]
    assert len(set(spread["splits"])) > 1
    assert spread["mean"] == pytest.approx(np.mean(spread["splits"]))
    assert abs(spread["given"] - spread["mean"]) < 0.03
    assert spread["deviation"] < 3 * spread["expected"]
    assert spread["tested"] / (spread["tested"] + spread["fitted"]) == pytest.approx(0.2, abs=0.01)


def test_the_same_data_give_the_same(faces_subject: Subject) -> None:
    first, again = check_score(faces_subject), check_score(faces_subject)
    assert first.figures == again.figures
    assert first.findings == again.findings


def test_labels_without_images_are_an_error(tmp_path: Path, subject_of: Make) -> None:
    y = np.random.default_rng(1).integers(0, 2, 160)
    checked = check_score(subject_of(noise_data(tmp_path / "chance.npz", y, np.full(160, 120.0), 60)))
    assert checked.figures["score"]["permutation"]["p"] > 0.05
    found = {one.kind: one for one in checked.findings}
    assert found["no-better-than-dummy"].severity == "error"
    assert "60 test images; against shuffled labels p = 0." in found["no-better-than-dummy"].message
    assert "no-better-than-properties" not in found


def test_labels_that_brightness_tells_are_an_error(tmp_path: Path, subject_of: Make) -> None:
    y = np.arange(160) % 2
    subject = subject_of(noise_data(tmp_path / "bright.npz", y, 100.0 + 40 * y, 60))
    checked = check_score(subject)
    assert kinds(checked.findings)["no-better-than-properties"] == "error"
    assert "no-better-than-dummy" not in kinds(checked.findings)
    assert checked.figures["score"]["permutation"]["p"] < 0.01


def test_without_a_test_part_training_images_are_cross_validated(tmp_path: Path, subject_of: Make) -> None:
    y = np.arange(100) % 2
    subject = subject_of(noise_data(tmp_path / "bright.npz", y, 100.0 + 40 * y, 20))
    assert subject.reference is not None
    none = np.zeros(0, np.intp)
    reference = replace(subject.reference, test=none, outputs_test=subject.reference.outputs_test[:0])
    checked = check_score(replace(subject, reference=reference))
    figures = checked.figures["score"]
    assert figures["where"] == "80 training images (cross-validated)"
    assert [row["n"] for row in figures["rows"]] == [80, 80, 80]
    assert figures["rows"][1]["accuracy"] > 0.9
    assert figures["smallest_difference"] is None
    assert figures["spread"]["given"] is None
    assert "small-test-part" not in kinds(checked.findings)


def test_without_a_reference_it_is_left_out(faces_subject: Subject) -> None:
    checked = check_score(replace(faces_subject, reference=None, no_reference="there is one class"))
    assert checked == Checked(left_out={"score": "there is one class"})


def test_mistakes_are_listed_by_confidence(digits_subject: Subject) -> None:
    reference = digits_subject.reference
    assert reference is not None
    outputs = reference.outputs_test.copy()
    y = digits_subject.y(reference.test)
    planted = {4: 0.99, 9: 0.6, 30: 0.8}
    outputs[:] = np.eye(10)[y]
    for row, confidence in planted.items():
        outputs[row] = (1 - confidence) / 9
        outputs[row, (y[row] + 1) % 10] = confidence
    (finding,) = mistakes(digits_subject, Measured(reference.test, outputs, y, True))
    assert [item.indices for item in finding.items] == [(int(reference.test[row]),) for row in (4, 30, 9)]
    assert [item.score for item in finding.items] == pytest.approx([0.99, 0.8, 0.6])
    names = digits_subject.class_names
    assert finding.items[0].note == f"labelled {names[y[4]]}, predicted {names[(y[4] + 1) % 10]}"
    assert (finding.count, finding.scoring, finding.severity) == (3, "confidence", "info")
    assert mistakes(digits_subject, Measured(reference.test, np.eye(10)[y], y, True)) == []


def part(n: int = 400) -> Measured:
    y = np.zeros(n, np.int64)
    return Measured(np.arange(n), np.tile([0.9, 0.1], (n, 1)), y, True)


def figures(**changed: Any) -> dict[str, Any]:
    """Of a good model on 400 test images."""
    lead = {"difference": 0.4, "difference_ci95": [0.35, 0.45]}
    row = {"n": 400, "accuracy": 0.5, "ci95": [0.45, 0.55]}
    spread = {
        "splits": [0.89, 0.9, 0.9, 0.91, 0.9],
        "mean": 0.9,
        "deviation": 0.007,
        "expected": 0.015,
        "given": 0.9,
        "given_images": 400,
        "fitted": 1600,
        "grouped": False,
        "tested": 400,
    }
    return {
        "scoring": "accuracy",
        "rows": [
            {"name": "dummy", **row, **lead},
            {"name": "properties", **row, **lead},
            {
                "name": "hog",
                **row,
                "accuracy": 0.9,
                "ci95": [0.87, 0.93],
                "difference": None,
                "difference_ci95": None,
            },
        ],
        "permutation": {"p": 0.001},
        "smallest_difference": 0.015,
        "discordant": 0.05,
        "spread": spread | changed.pop("spread", {}),
        **changed,
    }


def test_good_figures_have_no_finding() -> None:
    assert score_findings(figures(), part()) == []


def test_a_rare_class_is_a_warning_where_shuffled_labels_say_that_features_tell() -> None:
    told = figures()
    told["rows"][0] |= {"difference": 0.0, "difference_ci95": [-0.01, 0.01]}
    assert kinds(score_findings(told, part())) == {"no-better-than-dummy": "warning"}
    told["permutation"] = {"p": 0.4}
    assert kinds(score_findings(told, part())) == {"no-better-than-dummy": "error"}
    told["permutation"] = None
    assert kinds(score_findings(told, part())) == {"no-better-than-dummy": "error"}


def test_a_lead_over_properties_that_chance_explains_is_a_warning() -> None:
    told = figures()
    told["rows"][1] |= {"difference": 0.06, "difference_ci95": [-0.01, 0.12]}
    assert kinds(score_findings(told, part())) == {"no-better-than-properties": "warning"}


@pytest.mark.parametrize(("smallest", "severity"), [(0.06, "info"), (0.15, "warning"), (None, "warning")])
def test_a_small_test_part_is_told(smallest: float | None, severity: str) -> None:
    assert kinds(score_findings(figures(smallest_difference=smallest), part())) == {
        "small-test-part": severity
    }


def test_splits_that_differ_by_more_than_chance_are_told() -> None:
    wild = figures(spread={"splits": [0.95, 0.8, 0.92, 0.85, 0.98], "deviation": 0.07})
    (found,) = score_findings(wild, part())
    assert (found.kind, found.severity) == ("unstable-score", "warning")
    assert found.action.startswith("Give the groups")
    wild["spread"]["grouped"] = True
    assert score_findings(wild, part())[0].action.startswith("Count groups")
    chance = figures(spread={"splits": [0.95, 0.8, 0.92, 0.85, 0.98], "deviation": 0.07, "expected": 0.06})
    assert score_findings(chance, part()) == []


@pytest.mark.parametrize(("given", "word"), [(0.7, "harder"), (0.99, "easier")])
def test_a_test_part_unlike_random_ones_is_told(given: float, word: str) -> None:
    (found,) = score_findings(figures(spread={"given": given}), part())
    assert (found.kind, found.severity) == ("unlike-other-splits", "warning")
    assert f"the test part is {word} than random ones" in found.message
    assert score_findings(figures(spread={"given": 0.92}), part()) == []


def test_a_regression_is_told_by_its_errors() -> None:
    np.testing.assert_allclose(losses(np.array([1.5, 2.0]), np.array([1.0, 4.0])), [0.5, 2.0])
    np.testing.assert_array_equal(losses(np.array([1, 2]), np.array([1, 4])), [0, 1])


def test_a_regression_is_checked(tmp_path: Path, subject_of: Make) -> None:
    import cv2

    rng = np.random.default_rng(0)
    lines = ["path,size,split"]
    for i in range(60):
        image = rng.normal(60, 5, (24, 24)).clip(0, 255).astype(np.uint8)
        side = 2 + (i * 7) % 19
        image[2 : 2 + side, 2 : 2 + side] = 200
        cv2.imwrite(str(tmp_path / f"{i}.png"), image)
        lines.append(f"{i}.png,{side + i / 1000},{'test' if i % 3 == 0 else 'train'}")
    (tmp_path / "sizes.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    subject = subject_of(tmp_path / "sizes.csv")
    assert not subject.is_classification
    checked = check_score(subject)
    told = checked.figures["score"]
    assert told["scoring"] == "mean absolute error"
    dummy, mine = told["rows"][0], told["rows"][-1]
    assert mine["mae"] < 0.6 * dummy["mae"]
    assert dummy["difference"] == pytest.approx(dummy["mae"] - mine["mae"])
    assert told["permutation"]["scoring"] == "correlation"
    assert told["permutation"]["p"] < 0.01
    assert "no-better-than-dummy" not in kinds(checked.findings)
    (sheet,) = [one for one in checked.findings if one.kind == "mistakes"]
    assert [item.score for item in sheet.items] == sorted((item.score for item in sheet.items), reverse=True)
