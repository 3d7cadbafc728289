from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from classic_cv.checks.reference import _Stored, by_task, fit_reference, folds_for
from classic_cv.checks.subject import Subject
from classic_cv.errors import DatasetError
from classic_cv.extraction import Extraction, extract
from classic_cv.fitting import read_job
from classic_cv.recipe import load_recipe


def test_answers_of_training_images_come_from_models_without_them(digits_subject: Subject) -> None:
    reference = digits_subject.reference
    assert reference is not None
    y = digits_subject.y(reference.train)
    out_of_fold = (reference.outputs_train.argmax(axis=1) == y).mean()
    # Fitted on the very images the model makes next to no mistake.
    own = reference.model.outputs(reference.features(reference.train)).argmax(axis=1)
    assert 0.9 < out_of_fold < (own == y).mean()
    np.testing.assert_allclose(reference.outputs_train.sum(axis=1), 1, atol=1e-5)


def test_answers_of_test_images_are_the_models(digits_subject: Subject) -> None:
    reference = digits_subject.reference
    assert reference is not None
    found = extract(digits_subject.dataset, reference.test, reference.featurizer)
    np.testing.assert_array_equal(reference.outputs_test, reference.model.outputs(found.X))
    np.testing.assert_array_equal(reference.test, digits_subject.test)


def test_features_are_those_of_the_images_in_the_order_given(digits_subject: Subject) -> None:
    reference = digits_subject.reference
    assert reference is not None
    wanted = np.array([reference.test[3], reference.train[0], reference.test[0]])
    expected = extract(digits_subject.dataset, np.sort(wanted), reference.featurizer).X
    got = reference.features(wanted)
    np.testing.assert_allclose(got, expected[np.argsort(np.argsort(wanted))], atol=1e-3)
    got[:] = 0  # a copy
    assert reference.features(wanted).any()
    with pytest.raises(ValueError, match="features of 1 images are not known"):
        _Stored(5, Extraction(np.ones((2, 3), np.float32), np.array([1, 4]), [])).rows(np.array([1, 2]))


def test_the_embedding_keeps_classes_together(digits_subject: Subject) -> None:
    reference = digits_subject.reference
    assert reference is not None
    E, y = reference.embedding, digits_subject.y(np.concatenate([reference.train, reference.test]))
    assert E.dtype == np.float32
    assert E.shape == (len(reference.train) + len(reference.test), 64)
    test = E[len(reference.train) :]
    nearest = np.square(test[:, None] - E[None, : len(reference.train)]).sum(axis=2).argmin(axis=1)
    assert (y[nearest] == y[len(reference.train) :]).mean() > 0.9


def test_a_refit_answers_in_the_tasks_columns(digits_subject: Subject) -> None:
    reference = digits_subject.reference
    assert reference is not None
    y = digits_subject.y(reference.train)
    some = reference.train[np.isin(y, [2, 7])]
    refitted = reference.refit(reference.features(some), digits_subject.y(some), digits_subject.groups(some))
    test = reference.test[np.isin(digits_subject.y(reference.test), [2, 7])]
    X = reference.features(test)
    outputs = refitted.outputs(X)
    assert outputs.shape == (len(test), 10)
    assert not outputs[:, [0, 1, 3, 4, 5, 6, 8, 9]].any()
    assert (refitted.labels(X) == digits_subject.y(test)).mean() > 0.95
    assert refitted.model.calibrator is None
    with pytest.raises(DatasetError, match="images of a single class"):
        reference.refit(reference.features(some[:2]), np.array([2, 2]), np.array([0, 1]))


def test_columns_by_task() -> None:
    outputs = np.array([[0.25, 0.75]], np.float32)
    np.testing.assert_array_equal(by_task(outputs, np.array([1, 3]), 4), [[0, 0.25, 0, 0.75]])
    np.testing.assert_array_equal(by_task(np.array([2.5]), np.zeros(0, np.int64), 0), [2.5])


def test_folds_are_more_where_images_are_few() -> None:
    assert [folds_for(n) for n in (100, 2000, 2001, 20_000, 20_001)] == [10, 10, 5, 5, 3]


def test_nothing_can_be_fitted_to_one_image_per_class(
    faces: Path, small_recipe: Path, tmp_path: Path
) -> None:
    job = read_job(faces, jobs=1)
    one_each = np.concatenate([job.train[job.task.y[job.train] == k][:1] for k in (0, 1)])
    with pytest.raises(DatasetError, match="no image can be held out"):
        fit_reference(job, np.sort(one_each), tmp_path, load_recipe(small_recipe))
