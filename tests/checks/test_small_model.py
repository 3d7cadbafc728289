"""The small model: what it can and cannot tell, groups held out together, and data that allow nothing."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from numpy.typing import NDArray

from classic_cv.checks import small_model
from classic_cv.checks.small_model import folds, out_of_fold


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice ten trees show all that is to be shown."""
    monkeypatch.setattr(small_model, "N_TREES", 2 * small_model.TREES_AT_ONCE)


def _noise(n: int, width: int = 5, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)


def _accuracy(X: NDArray[np.float32], y: NDArray[np.int64], groups: NDArray[np.int64]) -> float:
    found = out_of_fold(X, y, groups, seed=0)
    assert found is not None
    return float((found.classes[found.probabilities.argmax(axis=1)] == y[found.rows]).mean())


def test_tells_classes_by_one_column_among_noise() -> None:
    y = np.tile([3, 7, 20], 40)
    X = _noise(120)
    X[:, 2] = y
    found = out_of_fold(X, y, np.arange(120), seed=0)
    assert found is not None
    assert found.classes.tolist() == [3, 7, 20]
    assert found.rows.tolist() == list(range(120))
    assert found.probabilities.dtype == np.float32
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, atol=1e-5)
    assert (found.classes[found.probabilities.argmax(axis=1)] == y).mean() > 0.95


def test_noise_is_told_no_better_than_chance() -> None:
    y = np.tile([0, 1], 200)
    assert 0.4 < _accuracy(_noise(400), y, np.arange(400)) < 0.6


def test_copies_in_one_group_are_not_remembered() -> None:
    """Ten copies of each of 20 noise rows: known by heart when apart, and not at all when held out together."""
    source = np.repeat(np.arange(20), 10)
    X, y = _noise(20)[source], source % 2
    assert _accuracy(X, y, np.arange(200)) == 1
    assert _accuracy(X, y, source) < 0.75


def test_does_not_depend_on_jobs() -> None:
    X, y = _noise(60), np.tile([0, 1], 30)
    X[:, 0] += y
    one, two = (out_of_fold(X, y, np.arange(60), seed=4, jobs=jobs) for jobs in (1, 2))
    assert one is not None
    assert two is not None
    assert np.array_equal(one.probabilities, two.probabilities)


def test_filters_of_warnings_stay_as_they_are() -> None:
    X, y = _noise(200), np.arange(200) % 2
    before = list(warnings.filters)
    for seed in range(5):
        out_of_fold(X, y, np.arange(200), seed=seed, jobs=4)
    assert warnings.filters == before


def test_takes_a_stratified_sample() -> None:
    y = np.repeat([0, 1], [300, 100])
    found = out_of_fold(_noise(400), y, np.arange(400), seed=0, most=80)
    assert found is not None
    assert np.bincount(y[found.rows]).tolist() == [60, 20]
    assert (np.diff(found.rows) > 0).all()


@pytest.mark.parametrize(
    ("y", "groups"),
    [
        ([], []),
        ([0], [0]),
        ([5, 5, 5, 5], [0, 1, 2, 3]),
        ([0, 1], [0, 1]),
        ([0, 1, 2, 3], [0, 1, 2, 3]),
        ([0, 0, 1, 1], [9, 9, 9, 9]),
    ],
    ids=["nothing", "one image", "one class", "two images", "one image per class", "one group"],
)
def test_none_where_nothing_can_be_held_out(y: list[int], groups: list[int]) -> None:
    labels, units = np.array(y, np.int64), np.array(groups, np.int64)
    assert out_of_fold(_noise(len(y)), labels, units, seed=0) is None


def test_a_class_of_one_image_is_learned_but_not_judged() -> None:
    y = np.array([0] * 10 + [1] * 10 + [2])
    found = out_of_fold(_noise(21), y, np.arange(21), seed=0)
    assert found is not None
    assert found.classes.tolist() == [0, 1, 2]
    assert 20 not in found.rows


@pytest.mark.parametrize("size", [1, 2, 10])
def test_folds_keep_groups_together(size: int) -> None:
    groups = np.arange(100) // size
    fold = folds(np.arange(100) % 2, groups, 0)
    assert fold is not None
    assert all(len(np.unique(fold[groups == group])) == 1 for group in groups)
    assert set(fold) == set(range(5))
