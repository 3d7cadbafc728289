"""Contact sheets: planted outliers are the unusual ones, and never the typical ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from classic_cv.checks.subject import Subject
from classic_cv.checks.typical import NEIGHBOURS, SHOWN, contact_sheets
from classic_cv.task import Task


@pytest.fixture(scope="module")
def without_model(digits_subject: Subject) -> Subject:
    """Digits, by their small gray pictures."""
    return replace(digits_subject, reference=None, no_reference="not asked for")


@pytest.mark.parametrize("with_model", [True, False])
def test_a_digit_among_others_is_unusual(
    digits_subject: Subject, without_model: Subject, with_model: bool
) -> None:
    subject = digits_subject if with_model else without_model
    y = subject.job.task.y.copy()
    strangers = subject.train[y[subject.train] == 0][:3]
    y[strangers] = 1
    job = replace(subject.job, task=replace(subject.job.task, y=y))
    sheet = contact_sheets(replace(subject, job=job))["1"]
    assert set(strangers.tolist()) <= set(sheet["unusual"])
    assert not set(strangers.tolist()) & set(sheet["typical"])


def test_every_class_has_its_own_images(digits_subject: Subject) -> None:
    sheets = contact_sheets(digits_subject)
    assert list(sheets) == list(digits_subject.class_names)
    for number, sheet in enumerate(sheets.values()):
        for indices in sheet.values():
            assert len(set(indices)) == SHOWN
            assert (digits_subject.job.task.y[indices] == number).all()
        assert not set(sheet["typical"]) & set(sheet["unusual"])


def test_sheets_are_the_same_each_time(without_model: Subject) -> None:
    assert contact_sheets(without_model) == contact_sheets(without_model)


def test_classes_of_one_image_and_of_none(without_model: Subject) -> None:
    y = np.zeros(len(without_model.dataset), np.int64)
    y[10], y[20:22] = 1, 3
    task = Task("classification", y, ("many", "one", "none", "two"))
    sheets = contact_sheets(replace(without_model, job=replace(without_model.job, task=task)))
    assert list(sheets) == ["many", "one", "two"]
    assert sheets["one"] == {"random": [10], "typical": [10], "unusual": []}
    assert sorted(sheets["two"]["typical"]) == [20, 21]


def test_a_pair_of_copies_far_from_all_others_stays_unusual(without_model: Subject) -> None:
    survey = without_model.survey
    thumbnails = survey.thumbnails.copy()
    thumbnails[:] = np.random.default_rng(0).integers(100, 120, thumbnails.shape, np.uint8)
    thumbnails[7 : 7 + NEIGHBOURS - 1] = 255
    y = np.zeros(len(without_model.dataset), np.int64)
    job = replace(without_model.job, task=Task("classification", y, ("all",)))
    subject = replace(without_model, job=job, survey=replace(survey, thumbnails=thumbnails))
    unusual = contact_sheets(subject)["all"]["unusual"]
    assert set(range(7, 7 + NEIGHBOURS - 1)) <= set(unusual)


def test_a_regression_has_ranges(without_model: Subject) -> None:
    y = np.linspace(0, 9, len(without_model.dataset))
    task = Task("regression", y)
    sheets = contact_sheets(replace(without_model, job=replace(without_model.job, task=task)))
    assert len(sheets) == 3
    first = next(iter(sheets))
    assert first.startswith("0 to ")
    assert max(y[index] for index in sheets[first]["typical"]) < 3.1


def test_identical_images(without_model: Subject) -> None:
    survey = replace(without_model.survey, thumbnails=np.zeros_like(without_model.survey.thumbnails))
    sheets = contact_sheets(replace(without_model, survey=survey))
    assert all(len(sheet["unusual"]) == SHOWN for sheet in sheets.values())
