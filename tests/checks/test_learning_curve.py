"""The learning curve of real images, and what is said of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from classic_cv.checks.finding import Checked
from classic_cv.checks.learning_curve import LEAST_PER_CLASS, _Curve, _told, check_limits
from classic_cv.checks.subject import Subject


@pytest.fixture(scope="module")
def limits(digits_subject: Subject) -> Checked:
    return check_limits(digits_subject)


def test_the_curve_rises_to_the_references_own_accuracy(limits: Checked, digits_subject: Subject) -> None:
    reference = digits_subject.reference
    assert reference is not None
    figures = limits.figures["limits"]
    n = len(reference.train)
    assert [point["images"] for point in figures["points"]] == [n // 8, n // 4, n // 2, n]
    assert [len(point["accuracies"]) for point in figures["points"]] == [4, 3, 2, 1]
    means = [point["mean"] for point in figures["points"]]
    assert means[0] < means[-1]
    right = reference.outputs_test.argmax(axis=1) == digits_subject.y(reference.test)
    assert means[-1] == pytest.approx(right.mean())
    assert figures["points"][0]["ci95"][0] < means[0] < figures["points"][0]["ci95"][1]
    assert figures["points"][-1]["ci95"] is None


def test_twice_the_images_are_told_with_an_interval(limits: Checked) -> None:
    figures = limits.figures["limits"]
    twice = figures["twice"]
    assert twice["images"] == 2 * figures["points"][-1]["images"]
    assert 0 <= twice["ci95"][0] <= twice["gain"] <= twice["ci95"][1] < 0.05
    curve = np.array(figures["curve"])
    assert curve[-1, 0] == pytest.approx(twice["images"])
    assert (np.diff(curve[:, 1]) >= 0).all()
    assert figures["train_accuracy"] >= figures["points"][-1]["mean"]
    (finding,) = limits.findings
    assert finding.severity == "info"
    assert finding.message.startswith("twice the images would bring about +")
    assert "8 pixels" in figures["input_size"]["note"]


def curve(errors: list[float], n_test: int = 2000, dummy: float = 0.9) -> _Curve:
    """Image i is answered wrong at every size, or by the most frequent class, whose error is above i / n_test."""
    difficulty = (np.arange(n_test) + 0.5) / n_test
    wrong = [np.tile((difficulty < error).astype(np.float64), (2, 1)) for error in errors]
    return _Curve([100, 200, 400, 800], wrong, 1.0, (difficulty < dummy).astype(np.float64))


@pytest.mark.parametrize(
    ("errors", "limited_by", "kind"),
    [
        ([0.4, 0.32, 0.256, 0.205], "data", "limited-by-data"),
        ([0.31, 0.302, 0.3, 0.3], "features", "limited-by-features"),
        ([0.02, 0.01, 0.004, 0.001], "nothing", "nothing-to-gain"),
    ],
)
def test_what_limits_the_score(errors: list[float], limited_by: str, kind: str) -> None:
    told = _told(curve(errors), seed=0)
    assert told.figures["limits"]["limited_by"] == limited_by
    assert told.findings[0].kind == kind


@pytest.mark.parametrize("errors", [[0.9, 0.9, 0.9, 0.9], [0.004, 0.004, 0.004, 0.004]])
def test_what_the_most_frequent_class_does_as_well_is_no_curve(errors: list[float]) -> None:
    told = _told(curve(errors, dummy=errors[-1]), seed=0)
    assert told.figures["limits"]["limited_by"] == "unlearned"
    assert told.findings[0].kind == "limit-undecided"
    assert "not shown to be better than the most frequent class" in told.findings[0].why


def test_few_test_images_leave_it_open() -> None:
    told = _told(curve([0.45, 0.4, 0.37, 0.34], n_test=25), seed=0)
    assert told.findings[0].kind == "limit-undecided"


def test_a_power_law_is_extrapolated() -> None:
    told = _told(curve([0.4, 0.32, 0.256, 0.2048]), seed=0).figures["limits"]["twice"]
    assert told["gain"] == pytest.approx(0.2048 * 0.2, abs=0.01)
    assert told["ci95"][0] < 0.041 < told["ci95"][1]


def test_it_is_left_out_with_a_reason(faces_subject: Subject) -> None:
    gone = check_limits(replace(faces_subject, reference=None, no_reference="there is one class"))
    assert gone == Checked(left_out={"limits": "there is one class"})
    reference = faces_subject.reference
    assert reference is not None
    few = replace(
        faces_subject, reference=replace(reference, train=reference.train[: 2 * LEAST_PER_CLASS - 1])
    )
    checked = check_limits(few)
    assert checked.findings == []
    assert f"takes {LEAST_PER_CLASS} training images per class" in checked.figures["limits"]["note"]
    assert checked.left_out == {"limits": checked.figures["limits"]["note"]}


def test_no_curve_is_drawn_from_fewer_images_per_class_than_can_be_fitted_on_again(
    faces_subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("classic_cv.checks.learning_curve.MOST_IMAGES", 2 * LEAST_PER_CLASS - 1)
    reason = check_limits(faces_subject).left_out["limits"]
    assert (
        f"there are {2 * LEAST_PER_CLASS - 1}, which can be fitted on again in time, of 2 classes" in reason
    )


def test_without_a_test_part_some_training_images_are_held_out(faces_subject: Subject) -> None:
    reference = faces_subject.reference
    assert reference is not None
    alone = replace(reference, test=reference.test[:0], outputs_test=reference.outputs_test[:0])
    figures = check_limits(replace(faces_subject, reference=alone)).figures["limits"]
    n = len(reference.train)
    assert figures["points"][-1]["images"] + figures["test_images"] == n
    assert figures["test_images"] == pytest.approx(n / 5, abs=2)
    assert figures["points"][-1]["mean"] > 0.8
