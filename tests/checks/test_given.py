"""Somebody else's predictions: faults that a test writes into them are told, good ones are not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from classic_cv.checks.finding import Checked, Finding
from classic_cv.checks.given import Given, check_predictions, read_given
from classic_cv.checks.given_trust import calibration, leakage
from classic_cv.checks.subject import Subject
from classic_cv.errors import DatasetError
from classic_cv.fitting import read_job
from classic_cv.metrics import classification_metrics

NONE = np.zeros(0, np.intp)

N = 400
"""Test images of the digits that predictions are planted for, the first ones."""


def write_csv(file: Path, subject: Subject) -> Path:
    """All test images, each with the first class but the last one, with the second."""
    names = subject.class_names
    rows = [f"{subject.dataset.names[k]},{names[0]}" for k in subject.test[:-1]]
    rows.append(f"{subject.dataset.names[subject.test[-1]]},{names[1]}")
    file.write_text("\n".join(["path,label", *rows]), encoding="utf-8")
    return file


def truth(subject: Subject) -> NDArray[np.int64]:
    return subject.y(subject.test[:N])


def wrong(subject: Subject, rows: Sequence[int] | NDArray[np.integer]) -> NDArray[np.int64]:
    """True class numbers of the test images, but the next class in these rows."""
    labels = truth(subject).copy()
    labels[rows] = (labels[rows] + 1) % len(subject.class_names)
    return labels


def given_of(
    subject: Subject, labels: NDArray[np.int64], probabilities: NDArray[np.float32] | None = None
) -> Given:
    return Given("theirs.csv", subject.test[:N], labels, probabilities)


def sure(labels: NDArray[np.int64], confidence: float | NDArray[np.floating[Any]], n: int = 10) -> Any:
    """float32 (len(labels), n) that give a label this probability, and the rest to the others."""
    top = np.broadcast_to(np.asarray(confidence, np.float32), len(labels))
    found = np.repeat((1 - top[:, None]) / (n - 1), n, axis=1)
    found[np.arange(len(labels)), labels] = top
    return found.astype(np.float32)


def against(subject: Subject, labels: NDArray[np.int64], confidence: float = 0.9) -> Subject:
    """The same data with a reference that gives these answers for the test images."""
    assert subject.reference is not None
    tested = subject.test[:N]
    reference = replace(subject.reference, test=tested, outputs_test=sure(labels, confidence))
    return replace(subject, reference=reference)


def kinds(checked: Checked) -> list[str]:
    return [finding.kind for finding in checked.findings]


def only(checked: Checked, kind: str) -> Finding:
    (found,) = [finding for finding in checked.findings if finding.kind == kind]
    return found


def test_predictions_are_read_for_the_test_images(digits_subject: Subject, tmp_path: Path) -> None:
    found = read_given(digits_subject.job, write_csv(tmp_path / "theirs.csv", digits_subject))
    assert found is not None
    assert found.name == "theirs.csv"
    assert found.indices.tolist() == digits_subject.test.tolist()
    assert found.labels.tolist() == [0] * (len(found.indices) - 1) + [1]
    assert found.probabilities is None


def test_a_file_that_cannot_be_used_is_refused_at_once(digits_subject: Subject, tmp_path: Path) -> None:
    file = write_csv(tmp_path / "theirs.csv", digits_subject)
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[:-2]))
    with pytest.raises(DatasetError, match="2 of 449 test images have no prediction"):
        read_given(digits_subject.job, file)
    with pytest.raises(DatasetError, match=r"missing\.csv"):
        read_given(digits_subject.job, tmp_path / "missing.csv")


def write_images(folder: Path, classes: Sequence[str], n: int) -> None:
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in classes:
            (folder / part / name).mkdir(parents=True)
            for k in range(n):
                image = rng.integers(0, 256, (8, 8, 3), np.uint8)
                cv2.imwrite(str(folder / part / name / f"{k}.png"), image)


def test_a_damaged_test_image_needs_no_prediction(tmp_path: Path) -> None:
    write_images(tmp_path / "data", ("a", "b"), 3)
    (tmp_path / "data" / "test" / "b" / "2.png").write_bytes(b"no image")
    job = read_job(tmp_path / "data", jobs=1)
    names = [job.dataset.names[k] for k in job.split.test.tolist()]
    file = tmp_path / "theirs.csv"
    file.write_text("\n".join(["path,label", *(f"{name},a" for name in names if "b/2" not in name)]))
    found = read_given(job, file)
    assert found is not None
    assert [job.dataset.names[k] for k in found.indices] == [name for name in names if "b/2" not in name]
    file.write_text("path,label\ntest/a/0.png,a\n")
    with pytest.raises(DatasetError, match="4 of 5 test images have no prediction"):
        read_given(job, file)


def test_where_there_is_nothing_to_predict_it_is_said(tmp_path: Path, digits_subject: Subject) -> None:
    write_images(tmp_path / "data", ("1", "2.5"), 3)
    regression = read_job(tmp_path / "data", task="regression", jobs=1)
    assert read_given(regression, tmp_path / "missing.csv") is None
    checked = check_predictions(replace(digits_subject, job=regression), None, NONE)
    assert checked.left_out == {
        "predictions": "The target is a number: predictions are checked for classes only."
    }
    untested = read_job(tmp_path / "data" / "train", test_fraction=0, jobs=1)
    assert read_given(untested, tmp_path / "missing.csv") is None
    checked = check_predictions(replace(digits_subject, job=untested), None, NONE)
    assert checked.left_out["predictions"].startswith("There is no test image")


def test_a_clearly_better_model_is_told_by_how_much_and_nothing_is_found(digits_subject: Subject) -> None:
    subject = against(digits_subject, wrong(digits_subject, range(0, N, 10)))
    labels = wrong(digits_subject, [7])
    checked = check_predictions(subject, given_of(subject, labels, sure(labels, 0.99)), NONE)
    assert checked.findings == []
    figures = checked.figures["predictions"]
    difference = figures["difference"]
    assert (difference["wins"], difference["losses"], difference["n"]) == (40, 1, N)
    assert difference["value"] == pytest.approx(39 / N)
    assert difference["ci95"][0] > 0.05
    assert difference["claim"] == "better"
    assert figures["metrics"]["accuracy"] == pytest.approx(399 / N)
    assert figures["verdict"].startswith("theirs.csv reaches 99.8 % (95 % interval ")
    assert (
        "On 400 test images it earns 9.8 points over the classical model, small (90.0 %): 95 %"
        in figures["verdict"]
    )
    assert figures["label_errors"]["n"] == 0
    json.dumps(figures, allow_nan=False)


def test_no_better_than_the_classical_model_is_a_warning(digits_subject: Subject) -> None:
    subject = against(digits_subject, wrong(digits_subject, range(0, 50, 5)))
    checked = check_predictions(subject, given_of(subject, wrong(digits_subject, range(100, 108))), NONE)
    finding = only(checked, "no-better-than-classical")
    assert (finding.severity, finding.count) == ("warning", N)
    assert (
        "theirs.csv is 0.5 points ahead of the classical model, small (97.5 %), which may be chance"
        in finding.message
    )
    smallest = checked.figures["predictions"]["difference"]["smallest"]
    assert 0.01 < smallest < 0.05
    assert f"400 show differences from about {100 * smallest:.1f} points" in finding.action


def test_the_same_answers_are_no_chance(digits_subject: Subject) -> None:
    labels = wrong(digits_subject, range(0, 50, 5))
    subject = against(digits_subject, labels)
    finding = only(check_predictions(subject, given_of(subject, labels), NONE), "no-better-than-classical")
    assert "right and wrong on the same images as the classical model, small (97.5 %)" in finding.message
    assert "chance" not in finding.message


def test_worse_than_the_classical_model_is_a_warning(digits_subject: Subject) -> None:
    subject = against(digits_subject, wrong(digits_subject, [3]))
    checked = check_predictions(subject, given_of(subject, wrong(digits_subject, range(0, N, 10))), NONE)
    finding = only(checked, "worse-than-classical")
    assert finding.severity == "warning"
    assert "loses 9.8 points to the classical model, small (99.8 %)" in finding.message


def test_without_a_reference_the_rest_is_told(digits_subject: Subject) -> None:
    subject = replace(digits_subject, reference=None, no_reference="a single class")
    checked = check_predictions(subject, given_of(subject, wrong(subject, range(0, N, 10))), NONE)
    assert checked.findings == []
    figures = checked.figures["predictions"]
    assert figures["metrics"]["accuracy"] == pytest.approx(0.9)
    assert (figures["difference"], figures["label_errors"]) == (None, None)
    assert figures["verdict"].endswith("There is nothing to compare it with: a single class.")


def test_labels_alone_have_no_figures_of_probabilities(digits_subject: Subject) -> None:
    labels = wrong(digits_subject, range(0, N, 10))
    figures = check_predictions(digits_subject, given_of(digits_subject, labels), NONE).figures["predictions"]
    assert [figures["metrics"][name] for name in ("log_loss", "ece", "reliability")] == [None] * 3
    assert figures["calibration"] is None
    assert figures["metrics"]["macro_f1"] > 0.85


def test_a_label_beside_probabilities_is_the_answer(digits_subject: Subject) -> None:
    y = truth(digits_subject)
    labels, probabilities = wrong(digits_subject, range(0, N, 10)), sure(y, 0.9)
    given = given_of(digits_subject, labels, probabilities)
    metrics = check_predictions(digits_subject, given, NONE).figures["predictions"]["metrics"]
    assert metrics["accuracy"] == pytest.approx(0.9)
    assert metrics["ece"] == classification_metrics(y, probabilities, digits_subject.class_names)["ece"]


@pytest.mark.parametrize(
    ("confidence", "kind"), [(0.99, "overconfident"), (0.6, "underconfident"), (0.8, None), (0.83, None)]
)
def test_wrong_confidence_is_told(digits_subject: Subject, confidence: float, kind: str | None) -> None:
    y = truth(digits_subject)
    labels = wrong(digits_subject, range(0, N, 5))
    figures, findings = calibration("theirs.csv", sure(labels, confidence), y)
    assert figures is not None
    assert figures["surplus"] == pytest.approx(confidence - 0.8, abs=1e-6)
    assert figures["ece"] == pytest.approx(abs(confidence - 0.8), abs=1e-6)
    assert [finding.kind for finding in findings] == ([kind] if kind else [])
    if kind:
        assert findings[0].severity == "warning"
        assert f"calibration error is {100 * figures['ece']:.1f} %" in findings[0].message


def test_confidence_that_says_nothing_is_told_though_it_is_right_on_average(digits_subject: Subject) -> None:
    y = truth(digits_subject)
    labels = wrong(digits_subject, range(0, N, 4))
    confidence = np.where(np.arange(N) // 4 % 2, 0.99, 0.51)
    figures, findings = calibration("theirs.csv", sure(labels, confidence), y)
    assert figures is not None
    assert abs(figures["surplus"]) < 0.01
    assert [finding.kind for finding in findings] == ["miscalibrated"]


def test_good_calibration_is_quiet_whatever_the_number_of_images() -> None:
    rng = np.random.default_rng(0)
    told = 0
    for n in (1, 5, 20, 30, 60, 200) * 4:
        y, confidence = rng.integers(0, 10, n), rng.uniform(0.3, 1, n)
        labels = np.where(rng.random(n) < confidence, y, (y + 1) % 10)
        told += len(calibration("theirs.csv", sure(labels, confidence), y)[1])
    assert told == 0


def test_a_score_that_copies_inflate_is_an_error(digits_subject: Subject) -> None:
    subject = against(digits_subject, wrong(digits_subject, range(0, N, 20)))
    leaked = subject.test[300:N]
    labels = wrong(digits_subject, range(0, 300, 4))
    checked = check_predictions(subject, given_of(subject, labels), leaked)
    finding = only(checked, "inflated-by-copies")
    assert (finding.severity, finding.count) == ("error", 100)
    assert (
        "reaches 81.2 % on all 400 test images, but 75.0 % (95 % interval 69.8 to 79.6 %) without"
        in finding.message
    )
    assert {item.indices[0] for item in finding.items} == set(leaked.tolist())
    figures = checked.figures["predictions"]
    assert figures["leakage"]["leaked"]["accuracy"] == 1
    assert figures["leakage"]["without_leaked"]["n"] == 300
    assert figures["difference_all"]["n"] == N
    assert (figures["difference"]["n"], figures["difference"]["without_leaked"]) == (300, True)
    assert (
        "On 300 test images without copies in training theirs.csv loses 20.0 points"
        in only(checked, "worse-than-classical").message
    )


def test_copies_that_bring_nothing_are_figures_only(digits_subject: Subject) -> None:
    y = truth(digits_subject)
    right = np.arange(N) % 10 > 0
    few = np.isin(np.arange(N), [11, 12, 13])
    for is_leaked in (few, np.arange(N) >= 300, np.ones(N, np.bool_), np.zeros(N, np.bool_)):
        figures, findings = leakage("theirs.csv", digits_subject.test[:N], right, is_leaked, y)
        assert findings == []
        assert figures is not None
        assert figures["leaked"]["n"] == is_leaked.sum()
        if not is_leaked.any():
            assert figures["leaked"] == {"n": 0, "accuracy": None, "ci95": None}


def test_labels_that_both_contradict_are_suspects_the_surest_first(digits_subject: Subject) -> None:
    y = truth(digits_subject)
    flipped = [3, 50, 200]
    both = wrong(digits_subject, flipped)
    theirs, ours = both.copy(), both.copy()
    theirs[10], ours[20] = (y[10] + 2) % 10, (y[20] + 2) % 10
    confidence = np.full(N, 0.95)
    confidence[3], confidence[200] = 0.99, 0.97
    unsure = sure(theirs, confidence)
    # Both are wrong here, but not sure of it.
    theirs[399] = ours[399] = (y[399] + 1) % 10
    unsure[399] = sure(theirs[399:], 0.4)[0]
    subject = against(digits_subject, ours)
    checked = check_predictions(subject, given_of(subject, theirs, unsure), NONE)
    finding = only(checked, "label-suspects")
    assert finding.severity == "info"
    assert [item.indices[0] for item in finding.items] == [subject.test[k] for k in (3, 200, 50)]
    names = subject.class_names
    assert finding.items[0].note == f"labelled {names[y[3]]}, both predict {names[(y[3] + 1) % 10]}"
    assert checked.figures["predictions"]["label_errors"]["n"] == finding.count == 3


def test_a_weak_class_of_theirs_is_named(digits_subject: Subject) -> None:
    y = truth(digits_subject)
    rows = np.flatnonzero(y == 4)[::2]
    checked = check_predictions(digits_subject, given_of(digits_subject, wrong(digits_subject, rows)), NONE)
    finding = only(checked, "weak-segments")
    assert (finding.check, finding.severity) == ("predictions", "info")
    assert "theirs.csv" in finding.message
    assert "class 4" in finding.message
    (row,) = checked.figures["predictions"]["segments"]
    assert (row["name"], row["n"]) == ("class 4", (y == 4).sum())


def test_one_image_is_survived(digits_subject: Subject) -> None:
    few = digits_subject.test[:1]
    y = digits_subject.y(few)
    for labels in (y, (y + 1) % 10):
        checked = check_predictions(digits_subject, Given("theirs.csv", few, labels, sure(labels, 0.9)), few)
        figures = checked.figures["predictions"]
        assert figures["metrics"]["n"] == 1
        assert figures["difference"]["ci95"] is None
        assert (figures["difference"]["claim"], figures["difference"]["smallest"]) == ("none", None)
        json.dumps(figures, allow_nan=False)


def test_images_that_cannot_be_decoded_do_not_count(digits_subject: Subject) -> None:
    survey = digits_subject.survey
    gone = digits_subject.test[:2]
    kept = ~np.isin(survey.indices, gone)
    arrays: dict[str, Any] = {
        name: value[kept]
        for name, value in vars(survey).items()
        if isinstance(value, np.ndarray) and name != "indices"
    }
    subject = replace(digits_subject, survey=replace(survey, indices=survey.indices[kept], **arrays))
    labels = truth(digits_subject)
    checked = check_predictions(subject, given_of(digits_subject, labels), gone)
    assert checked.figures["predictions"]["metrics"]["n"] == N - 2
    assert checked.figures["predictions"]["leakage"]["leaked"]["n"] == 0
