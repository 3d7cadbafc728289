"""Single numbers against classes: areas as scikit-learn has them, any ranges of a property, chance kept out."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from classic_cv.checks.predictive import TOLD, areas, property_probabilities, separations
from classic_cv.checks.small_model import folds

CODES = np.arange(120) % 3
FOLD = np.arange(120) // 3 % 5


def test_areas_are_those_of_scikit_learn() -> None:
    scores = np.random.default_rng(0).integers(5, size=(120, 3)) / 4
    expected = [roc_auc_score(code == CODES, scores[:, code]) for code in range(3)]
    np.testing.assert_allclose(areas(scores, CODES), expected)


def test_an_area_needs_images_of_the_class_and_others() -> None:
    found = areas(np.ones((4, 3)), np.array([0, 0, 1, 1]))
    assert found[:2].tolist() == [0.5, 0.5]
    assert np.isnan(found[2])
    assert np.isnan(areas(np.ones((4, 1)), np.zeros(4, np.intp))).all()


@pytest.mark.parametrize("values", [(1, 2, 3), (90, 40, 75), (-1, 100, 0)], ids=str)
def test_a_class_may_lie_in_the_middle(values: tuple[float, ...]) -> None:
    column = np.array(values, np.float32)[CODES]
    assert areas(property_probabilities(column, CODES, FOLD), CODES).tolist() == [1, 1, 1]


def test_a_class_may_lie_in_several_ranges() -> None:
    column = np.where(CODES == 1, 10 * (np.arange(120) % 2), 5).astype(np.float32)
    assert areas(property_probabilities(column, CODES, FOLD), CODES)[1] == 1


def test_a_constant_tells_nothing() -> None:
    probabilities = property_probabilities(np.full(120, 7, np.float32), CODES, FOLD)
    assert areas(probabilities, CODES).tolist() == [0.5, 0.5, 0.5]


def test_rows_that_are_never_held_out_have_no_answer() -> None:
    fold = np.where(np.arange(120) < 3, -1, FOLD)
    probabilities = property_probabilities(CODES.astype(np.float32), CODES, fold)
    assert probabilities[:3].sum() == 0
    np.testing.assert_allclose(probabilities[3:].sum(axis=1), 1)


def test_the_best_comes_first_and_chance_is_corrected_for() -> None:
    rng = np.random.default_rng(1)
    noise = [rng.random((120, 3)) for _ in range(20)]
    exact = np.eye(3)[CODES]
    exact[:, 1:] = 0.5
    found = separations([*(f"noise {number}" for number in range(20)), "telling"], [*noise, exact], CODES)
    assert (found[0].name, found[0].code, found[0].auc) == ("telling", 0, 1)
    assert found[0].p < 1e-9
    assert found[0].ci95[0] > 0.9
    assert len(found) == TOLD
    assert min(one.p for one in found[1:]) > 0.05


def test_a_few_images_prove_nothing() -> None:
    """Two images of a class at the top of a hundred others: it happens, among so many properties."""
    codes = np.array([1, 1] + [0] * 60)
    scores = np.stack([codes == 0, codes == 1], axis=1).astype(float)
    found = separations([f"property {number}" for number in range(25)], [scores] * 25, codes)
    assert found[0].auc == 1
    assert found[0].p > 0.01


def test_no_images_of_other_classes_no_separations() -> None:
    assert separations(["one"], [np.ones((5, 1))], np.zeros(5, np.intp)) == []
    assert folds(np.zeros(1, np.intp), np.zeros(1, np.intp), 0) is None
