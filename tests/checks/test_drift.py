"""Drift: planted differences between the parts are found and named, random parts are quiet."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from classic_cv.checks import small_model
from classic_cv.checks.drift import check_drift
from classic_cv.checks.finding import Checked
from classic_cv.checks.label_shift import label_shift
from classic_cv.checks.property_drift import weighted_ks
from classic_cv.checks.subject import Subject
from classic_cv.task import Task


def kinds(checked: Checked) -> dict[str, str]:
    """Kind and severity of each finding."""
    return {one.kind: one.severity for one in checked.findings}


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fifth of the trees: enough for differences that are planted."""
    monkeypatch.setattr(small_model, "N_TREES", 20)


@pytest.fixture(scope="module")
def plain(digits_subject: Subject) -> Subject:
    """Some of the digits, without a model."""
    job = digits_subject.job
    job = replace(job, train=job.train[::4], split=replace(job.split, test=job.split.test[::2]))
    return replace(digits_subject, job=job, reference=None, no_reference="not asked for")


def with_test(subject: Subject, test: NDArray[np.integer]) -> Subject:
    """The subject with another test part, of images that were in it."""
    split = replace(subject.job.split, test=np.sort(test).astype(np.int64))
    return replace(subject, job=replace(subject.job, split=split))


def changed(subject: Subject, name: str, rows: NDArray[np.intp], by: float) -> Subject:
    """A property of the images at these positions raised."""
    survey = subject.survey
    properties = survey.properties.copy()
    properties[survey.rows(rows), survey.property_names.index(name)] += np.float32(by)
    return replace(subject, survey=replace(survey, properties=properties))


def test_random_parts_are_quiet(digits_subject: Subject, faces_subject: Subject) -> None:
    for subject in (digits_subject, faces_subject):
        checked = check_drift(subject)
        assert not checked.findings
        figures = checked.figures["drift"]
        low, high = figures["auc"]["ci95"]
        assert low < 0.53
        assert high > 0.43
        assert len(figures["properties"]) == len(subject.survey.property_names)
        assert (figures["missing"], figures["new"]) == ([], [])
        json.dumps(checked.figures, allow_nan=False)


def test_brighter_test_images_are_found_and_named(plain: Subject) -> None:
    checked = check_drift(changed(plain, "brightness", plain.test, 0.3))
    assert kinds(checked) == {"parts-differ": "warning", "properties-differ": "warning"}
    by_kind = {one.kind: one for one in checked.findings}
    assert "brightness" in by_kind["properties-differ"].message
    assert by_kind["properties-differ"].count == 1
    first = checked.figures["drift"]["properties"][0]
    assert first["name"] == "brightness"
    assert first["test"] - first["train"] == pytest.approx(0.3, abs=0.03)
    assert checked.figures["drift"]["auc"]["ci95"][0] > 0.7
    by = checked.figures["drift"]["by"]
    assert by["properties"]["value"] > by["colors"]["value"]
    shown = [item.indices[0] for item in by_kind["parts-differ"].items]
    assert set(shown) <= set(plain.test.tolist())


def test_other_features_alone_are_found(digits_subject: Subject) -> None:
    """Test images that are unlike in what they show, not in any property or color."""
    reference = digits_subject.reference
    assert reference is not None
    y = digits_subject.job.task.y
    # Of each class the half that lies farther along the features' first axis.
    everything = np.concatenate([reference.train, reference.test])
    axis = reference.embedding[:, 0].copy()
    for number in range(10):
        members = y[everything] == number
        axis[members] -= np.median(axis[members])
    train, test = np.sort(everything[axis <= 0])[::4], np.sort(everything[axis > 0])[::4]
    job = replace(digits_subject.job, train=train, split=replace(digits_subject.job.split, test=test))
    found = replace(reference, train=train, test=test)
    survey = digits_subject.survey
    survey = replace(survey, properties=np.zeros_like(survey.properties), color=np.zeros_like(survey.color))
    checked = check_drift(replace(digits_subject, job=job, reference=found, survey=survey))
    assert kinds(checked).get("parts-differ") == "warning"
    by = checked.figures["drift"]["by"]
    assert max(by, key=lambda name: float(by[name]["value"])) == "features"


def test_other_shares_of_classes_are_no_drift_of_images(plain: Subject) -> None:
    test = plain.test
    y = plain.job.task.y[test]
    rng = np.random.default_rng(0)
    kept = test[(y < 2) | (rng.random(len(y)) < 0.25)]
    checked = check_drift(with_test(plain, kept))
    assert kinds(checked) == {"label-shift": "warning"}
    (finding,) = checked.findings
    assert "0 9." in finding.message or "0 10." in finding.message
    assert checked.figures["drift"]["label_shift"]["p"] == 1 / 2000


def test_classes_that_one_part_lacks_are_named(plain: Subject) -> None:
    y = plain.job.task.y
    lacking = with_test(plain, plain.test[y[plain.test] != 3])
    found = check_drift(lacking)
    assert kinds(found)["missing-classes"] == "warning"
    assert found.figures["drift"]["missing"] == ["3"]
    job = replace(plain.job, train=plain.job.train[~np.isin(y[plain.job.train], [4, 5])])
    new = check_drift(replace(plain, job=job))
    assert kinds(new)["new-classes"] == "error"
    assert new.figures["drift"]["new"] == ["4", "5"]


def test_a_property_that_goes_with_a_class_is_no_drift(plain: Subject) -> None:
    """Ones are much brighter, and the test part has few others."""
    y = plain.job.task.y
    ones = np.flatnonzero(y == 1).astype(np.intp)
    subject = changed(plain, "brightness", ones, 0.5)
    test = subject.test[(y[subject.test] == 1) | (np.arange(len(subject.test)) % 4 == 0)]
    skewed = with_test(subject, test)
    found = check_drift(skewed)
    assert set(kinds(found)) <= {"label-shift"}
    column = subject.survey.properties[:, subject.survey.property_names.index("brightness")]
    before, after = (
        float(np.mean(column[subject.survey.rows(part)])) for part in (skewed.train, skewed.test)
    )
    assert after - before > 0.05


def test_no_test_part_is_said(plain: Subject) -> None:
    checked = check_drift(with_test(plain, plain.test[:0]))
    assert checked == Checked(left_out={"drift": "There is no test part with images that can be read."})


def test_two_images_in_all(plain: Subject) -> None:
    job = replace(
        plain.job, train=plain.job.train[:1], split=replace(plain.job.split, test=plain.job.split.test[:1])
    )
    checked = check_drift(replace(plain, job=job))
    assert checked.figures["drift"]["auc"] is None
    json.dumps(checked.figures, allow_nan=False)


def test_images_that_are_all_the_same(plain: Subject) -> None:
    survey = plain.survey
    same = replace(survey, properties=np.zeros_like(survey.properties), color=np.zeros_like(survey.color))
    checked = check_drift(replace(plain, survey=same))
    assert not checked.findings
    assert checked.figures["drift"]["auc"]["value"] == pytest.approx(0.5, abs=0.05)


def test_targets_that_differ(plain: Subject) -> None:
    y = np.random.default_rng(0).normal(size=len(plain.dataset))
    subject = replace(plain, job=replace(plain.job, task=Task("regression", y)))
    assert not check_drift(subject).findings
    y[subject.test] += 1.5
    assert "target-shift" in kinds(check_drift(subject))


def test_weighted_ks_agrees_with_scipy_without_weights() -> None:
    from scipy.stats import ks_2samp

    rng = np.random.default_rng(0)
    first, second = rng.normal(size=300), rng.normal(0.2, size=200)
    distance, p = weighted_ks(first, second, np.full(300, 1 / 300))
    expected = ks_2samp(first, second, method="asymp")
    assert distance == pytest.approx(expected.statistic)
    assert p == pytest.approx(expected.pvalue)


def test_weights_count_as_copies() -> None:
    first, second = np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 3.0, 4.0])
    distance, _ = weighted_ks(first, second, np.array([0.25, 0.25, 0.5]))
    copied, _ = weighted_ks(np.array([1.0, 2.0, 3.0, 3.0]), second, np.full(4, 0.25))
    assert distance == pytest.approx(copied)
    assert distance == pytest.approx(0.25)


def test_label_shift_by_hand() -> None:
    found = label_shift(np.array([[50, 50, 0], [20, 80, 0]]), seed=0)
    assert found["total_variation"] == pytest.approx(0.3)
    assert found["p"] < 0.01
    assert 0 < found["by_chance"] < 0.12


def test_p_values_of_random_parts_are_uniform() -> None:
    rng = np.random.default_rng(0)
    totals = np.array([5, 40, 100, 3])
    p = []
    for seed in range(100):
        second = rng.multivariate_hypergeometric(totals, 50)
        p.append(label_shift(np.stack([totals - second, second]), seed)["p"])
    assert 0 <= np.mean(np.array(p) < 0.1) <= 0.2
    assert np.mean(np.array(p) < 0.5) == pytest.approx(0.5, abs=0.17)
