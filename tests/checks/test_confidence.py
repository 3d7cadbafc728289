"""How far probabilities can be trusted, and when not to answer: with answers that the test plants."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from classic_cv.checks import confidence, foreign
from classic_cv.checks.confidence import check_confidence
from classic_cv.checks.finding import Checked
from classic_cv.checks.reference import Reference
from classic_cv.checks.subject import Subject


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves foreign images out, where a test is about something else."""
    monkeypatch.setattr(confidence, "novelty_figures", lambda *_: ([], {}))


@pytest.fixture(scope="module")
def digits_checked(digits_subject: Subject) -> Checked:
    return check_confidence(digits_subject)


def answering(
    subject: Subject, sure: float, right: float, told: float | None = None, test_right: float | None = None
) -> Subject:
    """The subject with answers that say ``told`` (or how often they are right) and are right so often.

    Args:
        sure: share of images whose answers say 0.99 and are right in 99 of 100 cases; ``right`` is of the others.
        test_right: of the others in the test part.
    """
    reference = subject.reference
    assert isinstance(reference, Reference)

    def outputs(indices: NDArray[np.intp], seed: int, right: float) -> NDArray[np.float32]:
        rng = np.random.default_rng(seed)
        y, K = subject.y(indices), len(subject.class_names)
        certain = rng.random(len(y)) < sure
        is_right = rng.random(len(y)) < np.where(certain, 0.99, right)
        label = np.where(is_right, y, (y + 1) % K)
        confidence = np.where(certain, 0.99, right if told is None else told)
        P = np.repeat(((1 - confidence) / (K - 1))[:, None], K, axis=1)
        P[np.arange(len(y)), label] = confidence
        return P.astype(np.float32)

    return replace(
        subject,
        reference=replace(
            reference,
            outputs_train=outputs(reference.train, 1, right),
            outputs_test=outputs(reference.test, 2, right if test_right is None else test_right),
        ),
    )


def figures(checked: Checked) -> dict[str, Any]:
    found = checked.figures["confidence"]
    json.dumps(found, allow_nan=False)
    return found


def kinds(checked: Checked) -> list[tuple[str, str]]:
    return [
        (finding.kind, finding.severity) for finding in checked.findings if finding.kind != "foreign-images"
    ]


def test_a_threshold_is_suggested_and_told_on_the_test_part(quick: None, digits_subject: Subject) -> None:
    checked = check_confidence(answering(digits_subject, sure=0.7, right=0.6))
    suggested = figures(checked)["suggested"]
    assert suggested["goal"] in (0.98, 0.99)
    assert suggested["threshold"] == 0.61
    assert suggested["coverage"] == pytest.approx(0.7, abs=0.06)
    assert suggested["accuracy"] == pytest.approx(0.99, abs=0.02)
    assert suggested["ci95"][0] < suggested["accuracy"] < suggested["ci95"][1]
    [finding] = checked.findings
    assert (finding.check, finding.kind, finding.severity) == ("confidence", "abstain", "info")
    assert finding.count == suggested["n"]
    assert "--abstain 0.61" in finding.message
    assert "--abstain 0.61" in finding.action


def test_the_curve_rises_where_probabilities_say_something(quick: None, digits_subject: Subject) -> None:
    found = figures(check_confidence(answering(digits_subject, sure=0.5, right=0.6)))
    curve = {row["threshold"]: row for row in found["curve"]}
    assert curve[0.01]["coverage"] == 1
    assert curve[0.01]["accuracy"] == pytest.approx(0.795, abs=0.04)
    assert curve[0.9]["coverage"] == pytest.approx(0.5, abs=0.06)
    assert curve[0.9]["accuracy"] > 0.96
    assert found["area"] > curve[0.01]["accuracy"] + 0.05


def test_no_threshold_is_suggested_where_most_would_not_be_answered(
    quick: None, digits_subject: Subject
) -> None:
    checked = check_confidence(answering(digits_subject, sure=0.2, right=0.4))
    assert figures(checked)["suggested"] is None
    assert [goal["goal"] for goal in figures(checked)["goals"]][-1] == 0.90
    assert kinds(checked) == []


def test_a_threshold_that_fails_on_the_test_part_is_a_warning(quick: None, digits_subject: Subject) -> None:
    subject = answering(digits_subject, sure=0.0, right=0.96)
    reference = subject.reference
    assert isinstance(reference, Reference)
    # On training images a tenth says 0.5 and is wrong; on test images the others are wrong too often.
    P = reference.outputs_train.copy()
    n = len(P) // 10
    P[:n] = 0.5 / (P.shape[1] - 1)
    P[np.arange(n), (subject.y(reference.train)[:n] + 1) % P.shape[1]] = 0.5
    worse = answering(digits_subject, sure=0.0, right=0.96, test_right=0.8).reference
    assert isinstance(worse, Reference)
    test = np.where(worse.outputs_test > 0.5, np.float32(0.96), np.float32(0.04 / 9))
    changed = replace(subject, reference=replace(reference, outputs_train=P, outputs_test=test))
    assert ("abstain-falls-short", "warning") in kinds(check_confidence(changed))


@pytest.mark.parametrize(("told", "kind"), [(0.9, "overconfident"), (0.5, "underconfident")])
def test_probabilities_that_are_off_are_a_warning(
    quick: None, digits_subject: Subject, told: float, kind: str
) -> None:
    checked = check_confidence(answering(digits_subject, sure=0.0, right=0.7, told=told))
    [finding] = [one for one in checked.findings if one.kind == kind]
    assert (finding.check, finding.severity) == ("confidence", "warning")
    found = figures(checked)
    assert found["ece"] == pytest.approx(0.2, abs=0.06)
    assert found["ece_noise"] < 0.03
    assert (found["surplus"] > 0) == (kind == "overconfident")


def test_right_probabilities_raise_no_alarm(digits_checked: Checked, faces_subject: Subject) -> None:
    for checked in (digits_checked, check_confidence(faces_subject)):
        assert all(finding.severity == "info" for finding in checked.findings)
        figures(checked)


def test_foreign_images_are_noticed_and_the_own_ones_left_out(digits_checked: Checked) -> None:
    found = figures(digits_checked)
    rows = {row["set"]: row for row in found["novelty"]}
    assert list(found["novelty_left_out"]) == ["scikit-learn digits"]
    assert set(rows) == {"scikit-image photos", "scikit-image faces", "drawn noise", "blank images"}
    for row in rows.values():
        assert row["auc"] > 0.85
        assert row["ci95"][0] <= row["auc"] <= row["ci95"][1]
        assert row["answered"] == row["answered_n"] / row["n"]


def test_foreign_images_that_are_answered_are_told() -> None:
    row = {"set": "photos", "n": 40, "auc": 0.5, "ci95": [0.4, 0.6], "answered": 0.9, "answered_n": 36}
    quiet = {**row, "set": "noise", "answered": 0.5, "answered_n": 20}
    [finding] = foreign.foreign_findings([row, quiet], 0.9)
    assert (finding.kind, finding.severity, finding.count) == ("foreign-images", "info", 1)
    assert "90.0 % of 40 photos; by its features too it hardly notices photos" in finding.message
    [told] = foreign.foreign_findings([{**row, "auc": 0.95, "ci95": [0.9, 1.0]}], 0.9)
    assert "their features tell them from its own images with an AUC of 0.95 or more" in told.message
    [untold] = foreign.foreign_findings([{**row, "auc": None, "ci95": None}], 0.9)
    assert "features" not in untold.message
    assert foreign.foreign_findings([quiet], 0.9) == []


def test_without_a_test_part_training_images_are_measured(quick: None, digits_subject: Subject) -> None:
    reference = digits_subject.reference
    assert isinstance(reference, Reference)
    none = np.zeros(0, np.intp)
    alone = replace(reference, test=none, outputs_test=reference.outputs_test[:0])
    found = figures(check_confidence(replace(digits_subject, reference=alone)))
    assert sum(row["n"] for row in found["reliability"]) == len(reference.train)
    assert "cross-validated" in found["where"]


def test_what_cannot_be_checked_is_left_out(digits_subject: Subject) -> None:
    without = check_confidence(replace(digits_subject, reference=None, no_reference="a single class"))
    assert without.left_out == {"confidence": "there is no classical model to look at: a single class"}
    reference = digits_subject.reference
    assert isinstance(reference, Reference)
    few = replace(reference, test=reference.test[:5], outputs_test=reference.outputs_test[:5])
    found = check_confidence(replace(digits_subject, reference=few))
    assert "5 test images: at least 20 are needed" in found.left_out["confidence"]


def test_a_number_has_no_confidence(digits_subject: Subject) -> None:
    task = replace(digits_subject.job.task, kind="regression")
    subject = replace(digits_subject, job=replace(digits_subject.job, task=task))
    assert check_confidence(subject).left_out == {
        "confidence": "the target is a number, which has no probability"
    }


def test_foreign_images_without_a_test_part(digits_subject: Subject) -> None:
    """The own images are then some that novelty was not fitted on."""
    reference = digits_subject.reference
    assert isinstance(reference, Reference)
    alone = replace(reference, test=np.zeros(0, np.intp), outputs_test=reference.outputs_test[:0])
    rows, left_out = foreign.novelty_figures(replace(digits_subject, reference=alone), alone, 0.9)
    assert all(row["auc"] > 0.85 for row in rows)
    assert list(left_out) == ["scikit-learn digits"]
