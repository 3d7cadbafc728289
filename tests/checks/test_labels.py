"""Wrong labels: planted ones come first and are counted, clean labels stay quiet."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score

from classic_cv.checks.finding import Checked
from classic_cv.checks.label_errors import confident, expected_errors
from classic_cv.checks.labels import LEAST_LISTED, OUTLIER, WARN_SHARE, check_labels
from classic_cv.checks.subject import Subject
from classic_cv.task import Task


def flipped(y: NDArray[np.int64], rows: NDArray[np.intp], share: float) -> NDArray[np.int64]:
    """A share of the labels at these rows set to another class by lot."""
    rng = np.random.default_rng(3)
    found = y.copy()
    wrong = rng.choice(rows, round(share * len(rows)), replace=False)
    found[wrong] = (found[wrong] + rng.integers(1, y.max() + 1, len(wrong))) % (y.max() + 1)
    return found


def relabelled(subject: Subject, y: NDArray[np.int64]) -> Subject:
    """The subject with other labels; its answers, of images held out, are the same."""
    return replace(subject, job=replace(subject.job, task=replace(subject.job.task, y=y)))


@pytest.fixture(scope="module")
def out_of_fold() -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Digits: true labels, labels of which 5 % are flipped, and probabilities learned from these."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    X, y = load_digits(return_X_y=True)
    noisy = flipped(y.astype(np.int64), np.arange(len(y)), 0.05)
    model = LogisticRegression(C=0.1, max_iter=300)
    return y, noisy, cross_val_predict(model, X / 16, noisy, cv=3, method="predict_proba")


def test_a_model_that_learned_from_wrong_labels_counts_them(
    out_of_fold: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]],
) -> None:
    truth, noisy, probabilities = out_of_fold
    expected = expected_errors(probabilities, noisy)
    assert expected is not None
    assert expected.low <= (truth != noisy).sum() <= expected.high
    assert expected.low > WARN_SHARE * len(truth)
    own = probabilities[np.arange(len(noisy)), noisy]
    assert average_precision_score(truth != noisy, -own) > 0.85


def test_few_are_counted_where_labels_are_right(
    out_of_fold: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]],
) -> None:
    truth, _, probabilities = out_of_fold
    expected = expected_errors(probabilities, truth)
    assert expected is not None
    assert expected.low < 0.003 * len(truth)
    assert expected.high < 0.02 * len(truth)


def test_a_model_that_knows_nothing_counts_nothing() -> None:
    y = np.arange(200) % 4
    assert expected_errors(np.full((200, 4), 0.25), y) is None
    noise = np.random.default_rng(0).dirichlet(np.ones(4), 200)
    found = expected_errors(noise, y)
    assert found is None or found.low < 200


def test_a_single_class_has_no_wrong_labels_to_count() -> None:
    assert expected_errors(np.ones((5, 1)), np.zeros(5, np.int64)) is None


def test_confident_means_more_than_the_class_gets_on_average() -> None:
    probabilities = np.array([[0.9, 0.1, 0.0], [0.5, 0.5, 0.0], [0.2, 0.8, 0.0]])
    found = confident(probabilities, np.array([0, 0, 1]))
    # Class 0 gets 0.7 on average, class 1 gets 0.8; class 2 has no images.
    assert found.tolist() == [[True, False, False], [False, False, False], [False, True, False]]


def test_planted_labels_come_first_and_are_named(digits_subject: Subject) -> None:
    subject = digits_subject
    reference = subject.reference
    assert reference is not None
    indices = np.concatenate([reference.train, reference.test])
    truth = subject.job.task.y
    noisy = flipped(truth, indices, 0.05)
    checked = check_labels(relabelled(subject, noisy))
    (finding,) = checked.findings
    assert finding.severity == "warning"
    planted = set(np.flatnonzero(noisy != truth).tolist())
    first = [item.indices[0] for item in finding.items[: len(planted)]]
    assert len(planted & set(first)) > 0.85 * len(planted)
    scores = [item.score for item in finding.items]
    assert scores == sorted(scores, reverse=True)
    worst = finding.items[0]
    names = subject.class_names
    index = worst.indices[0]
    assert worst.note == f"labelled {names[noisy[index]]}, looks like {names[truth[index]]}"
    expected = checked.figures["labels"]["expected"]
    assert expected["ci95"][0] <= len(planted) <= expected["ci95"][1]
    assert finding.count == round(expected["n"])
    assert sum(row["errors"] for row in checked.figures["labels"]["by_class"].values()) == pytest.approx(
        expected["n"]
    )
    json.dumps(checked.figures, allow_nan=False)


def test_one_class_taken_for_another_is_told(digits_subject: Subject) -> None:
    """Nine digits of ten are as they were: the images come first and the classes are named."""
    y = digits_subject.job.task.y.copy()
    sevens = np.flatnonzero(y == 7)[::3]
    y[sevens] = 2
    checked = check_labels(relabelled(digits_subject, y))
    (finding,) = checked.findings
    first = [item.indices[0] for item in finding.items[: len(sevens) // 2]]
    assert np.isin(first, sevens).mean() > 0.9
    assert finding.items[0].note == "labelled 2, looks like 7"
    name, row = next(iter(checked.figures["labels"]["by_class"].items()))
    assert (name, row["likely"]) == ("2", "7")


def test_clean_labels_are_no_warning(digits_subject: Subject, faces_subject: Subject) -> None:
    for subject in (digits_subject, faces_subject):
        checked = check_labels(subject)
        assert all(one.severity == "info" for one in checked.findings)
        assert all(len(one.items) <= LEAST_LISTED for one in checked.findings)


def test_the_same_data_give_the_same_findings(faces_subject: Subject) -> None:
    assert check_labels(faces_subject) == check_labels(faces_subject)


def test_no_model_is_said(digits_subject: Subject) -> None:
    checked = check_labels(replace(digits_subject, reference=None, no_reference="one class"))
    assert checked == Checked(left_out={"labels": "There is no model to doubt labels with: one class"})


def regression(subject: Subject, noise: float) -> tuple[Subject, NDArray[np.float64]]:
    """Targets by lot that the reference estimates but for some noise."""
    reference = subject.reference
    assert reference is not None
    rng = np.random.default_rng(0)
    targets = rng.normal(size=len(subject.dataset)).astype(np.float32).astype(np.float64)
    estimates = (targets + noise * rng.normal(size=len(targets))).astype(np.float32)
    found = replace(
        reference, outputs_train=estimates[reference.train], outputs_test=estimates[reference.test]
    )
    job = replace(subject.job, task=Task("regression", targets))
    return replace(subject, job=job, reference=found), targets


def test_targets_far_from_their_estimates_are_listed(digits_subject: Subject) -> None:
    subject, targets = regression(digits_subject, 0.1)
    assert not check_labels(subject).findings
    targets[[5, 50]] += [2.0, -4.0]
    (finding,) = check_labels(subject).findings
    assert finding.severity == "info"
    assert [item.indices for item in finding.items] == [(50,), (5,)]
    assert finding.items[1].score > OUTLIER


def test_estimates_without_any_error_have_no_outliers(digits_subject: Subject) -> None:
    subject, _ = regression(digits_subject, 0.0)
    assert not check_labels(subject).findings
