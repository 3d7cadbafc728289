"""Choice of C: equal to cross-validating one fold and one C at a time, and sound at the edges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.svm import LinearSVC

from classic_cv.errors import ParameterError
from classic_cv.heads import cross_validation
from classic_cv.heads.cross_validation import assign_folds, cross_validate

Floats = NDArray[np.float32]


def digits(n: int = 500) -> tuple[Floats, NDArray[Any]]:
    X, y = load_digits(return_X_y=True)
    return (X[:n] / 16).astype(np.float32), y[:n]


def test_equals_fitting_each_fold_alone() -> None:
    X, y = digits()
    found = cross_validate(X, y, Cs=[0.01, 1.0], n_splits=3, seed=4)
    assert found.rows.tolist() == list(range(500))
    for number, C in enumerate(found.Cs):
        for fold in range(3):
            out = found.fold == fold
            peer = LinearSVC(C=C, tol=1e-6, dual=False).fit(X[~out], y[~out])
            assert found.accuracy[number, fold] == pytest.approx(peer.score(X[out], y[out]), abs=0.013)
            if found.C == C:
                np.testing.assert_allclose(found.scores[out], peer.decision_function(X[out]), atol=0.08)
    np.testing.assert_allclose(found.mean, found.accuracy.mean(axis=1))
    hits = found.scores.argmax(axis=1) == found.y
    chosen = found.Cs.tolist().index(found.C)
    by_fold = [hits[found.fold == fold].mean() for fold in range(3)]
    np.testing.assert_allclose(found.accuracy[chosen], by_fold)


def test_two_classes_have_one_score() -> None:
    X, y = digits()
    pair = np.isin(y, (3, 8))
    names = np.where(y[pair] == 3, "three", "eight")
    found = cross_validate(X[pair], names, Cs=[0.1])
    assert found.scores.shape == (pair.sum(),)
    assert found.classes.tolist() == ["eight", "three"]
    np.testing.assert_array_equal(found.classes[found.y], names)
    assert ((found.scores > 0) == (found.y == 1)).mean() == pytest.approx(found.mean[0], abs=0.01)


def test_balanced_weights_are_those_of_each_folds_training_part() -> None:
    X, y = digits()
    keep = (y != 3) | (np.arange(500) % 4 == 0)
    X, y = X[keep], y[keep]
    found = cross_validate(X, y, Cs=[0.1], n_splits=2, class_weight="balanced")
    for fold in range(2):
        out = found.fold == fold
        peer = LinearSVC(C=0.1, tol=1e-6, dual=False, class_weight="balanced").fit(X[~out], y[~out])
        np.testing.assert_allclose(found.scores[out], peer.decision_function(X[out]), atol=0.08)
        classes = np.unique(y[out])
        recalls = [(found.scores[out].argmax(axis=1) == k)[y[out] == k].mean() for k in classes]
        assert found.balanced_accuracy[0, fold] == pytest.approx(np.mean(recalls))


def test_sample_weights_count_in_training() -> None:
    X, y = digits(300)
    weight = np.random.default_rng(0).uniform(0, 2, 300)
    found = cross_validate(X, y, Cs=[0.1], n_splits=2, sample_weight=weight)
    out = found.fold == 0
    peer = LinearSVC(C=0.1, tol=1e-6, dual=False).fit(X[~out], y[~out], sample_weight=weight[~out])
    np.testing.assert_allclose(found.scores[out], peer.decision_function(X[out]), atol=0.08)


def test_folds_are_stratified_seeded_and_keep_groups_together() -> None:
    _, y = digits()
    fold = assign_folds(y, None, 5, 0)
    counts = np.array([np.bincount(y[fold == k], minlength=10) for k in range(5)])
    assert (np.ptp(counts, axis=0) <= 1).all()
    np.testing.assert_array_equal(fold, assign_folds(y, None, 5, 0))
    assert (fold != assign_folds(y, None, 5, 1)).any()
    groups = np.arange(500) // 7
    grouped = assign_folds(y, groups, 5, 0)
    assert all(len(set(grouped[groups == g])) == 1 for g in np.unique(groups))


def test_small_classes_are_held_out_as_often_as_they_can_be() -> None:
    y = np.array([0] * 30 + [1] * 30 + [2] * 3 + [3])
    fold = assign_folds(y, None, 5, 0)
    assert fold.max() == 4
    assert fold[-1] == -1
    assert len(set(fold[y == 2])) == 3
    X = np.random.default_rng(0).standard_normal((64, 5)).astype(np.float32) + y[:, None]
    found = cross_validate(X, y, Cs=[1.0])
    assert 63 not in found.rows
    assert found.scores.shape == (63, 4)
    assert np.isfinite(found.scores).all()


def test_fewer_folds_when_all_classes_are_small() -> None:
    y = np.repeat(np.arange(4), [2, 3, 3, 1])
    assert assign_folds(y, None, 5, 0).max() == 2


def test_a_class_of_one_group_never_breaks() -> None:
    X, y = digits(200)
    groups = np.where(y == 7, 1000, np.arange(200) // 3)
    found = cross_validate(X, y, groups=groups, Cs=[0.1])
    assert np.isfinite(found.scores).all()
    assert (found.scores[found.y == 7].argmax(axis=1) != 7).all()


def test_nothing_to_hold_out_is_an_error() -> None:
    X = np.eye(4, dtype=np.float32)
    with pytest.raises(ValueError, match="cannot cross-validate: every class has a single sample"):
        cross_validate(X, [0, 1, 2, 3])
    with pytest.raises(ValueError, match="cannot cross-validate: all samples are of one group"):
        cross_validate(X, [0, 0, 1, 1], groups=[5, 5, 5, 5])


def test_the_path_ends_once_accuracy_has_clearly_fallen() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 500)
    X = rng.standard_normal((500, 150)).astype(np.float32)
    X[:, 0] += 2.0 * y
    found = cross_validate(X, y)
    assert 3 <= len(found.Cs) < len(cross_validation.DEFAULT_CS)
    best = found.mean.argmax()
    assert (found.mean[-2:] < found.mean[best]).all()
    assert found.Cs[best] >= found.C


def test_of_equally_good_values_the_smallest_is_chosen() -> None:
    y = np.arange(60) % 3
    X = (np.eye(3)[y] * 5).astype(np.float32)
    found = cross_validate(X, y, Cs=[10.0, 0.1, 1.0])
    assert found.Cs.tolist() == [0.1, 1.0, 10.0]
    assert found.mean.tolist() == [1.0, 1.0, 1.0]
    assert found.C == 0.1


def test_a_sample_of_rows_is_stratified_and_scored_under_its_own_numbers() -> None:
    X, y = digits(1500)
    found = cross_validate(X, y, Cs=[0.1], max_samples=400)
    assert abs(len(found.rows) - 400) <= 10
    np.testing.assert_array_equal(found.classes[found.y], y[found.rows])
    share = np.bincount(found.y) / len(found.y) - np.bincount(y) / len(y)
    assert np.abs(share).max() < 0.01
    assert (np.diff(found.rows) > 0).all()
    assert (found.scores.argmax(axis=1) == found.y).mean() > 0.9
    other = cross_validate(X, y, Cs=[0.1], max_samples=400, seed=1)
    assert set(other.rows) != set(found.rows)


def test_a_sample_keeps_groups_whole() -> None:
    y = np.repeat([0, 1], 300)
    groups = np.arange(600) // 4
    rows = cross_validation._sample_rows(y, groups, 200, 0)
    sizes = np.bincount(groups[rows])
    assert set(sizes[sizes > 0].tolist()) == {4}


def test_the_summary_is_plain_data() -> None:
    import json

    X, y = digits(200)
    found = cross_validate(X, y, Cs=[0.01, 0.1])
    summary = json.loads(json.dumps(found.summary()))
    chosen = found.Cs.tolist().index(found.C)
    assert summary["C"] == found.C
    assert summary["cv_accuracy"] == pytest.approx(found.accuracy[chosen].mean())
    assert summary["n_splits"] == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"Cs": []}, r"Cs=\[\]: expected at least one value"),
        ({"Cs": [1.0, -1.0]}, "finite and more than 0"),
        ({"n_splits": 1}, "n_splits=1: expected 2 folds or more"),
        ({"scoring": "f1"}, "scoring='f1': expected 'accuracy' or 'balanced_accuracy'"),
        ({"max_samples": 1}, "max_samples=1: expected 2 or more"),
        ({"n_held_out": 0}, "n_held_out=0: expected 1 fold or more"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        cross_validate(*digits(50), **options)


def test_groups_must_match() -> None:
    with pytest.raises(ValueError, match=r"groups has shape \(3,\), expected \(50,\)"):
        cross_validate(*digits(50), groups=[1, 2, 3])


def test_progress_counts_the_values_of_c() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 30)
    X = (rng.standard_normal((60, 4)) + 2 * y[:, None]).astype(np.float32)
    calls: list[tuple[str, int, int]] = []
    cross_validate(X, y, Cs=[0.1, 1.0], progress=lambda *call: calls.append(call))
    assert calls == [("choice of C", 1, 2), ("choice of C", 2, 2)]


def test_some_folds_held_out_are_the_first_of_all() -> None:
    X, y = digits()
    every = cross_validate(X, y, Cs=[0.03])
    some = cross_validate(X, y, Cs=[0.03], n_held_out=2)
    assert some.accuracy.shape == some.balanced_accuracy.shape == (1, 2)
    assert some.summary()["n_splits"] == 2
    np.testing.assert_array_equal(some.rows, every.rows[every.fold < 2])
    np.testing.assert_array_equal(some.fold, every.fold[every.fold < 2])
    np.testing.assert_array_equal(some.y, y[some.rows])
    # The rows of the other folds are in training: the same scores as with all folds.
    np.testing.assert_allclose(some.scores, every.scores[every.fold < 2], atol=0.03)
    np.testing.assert_allclose(some.accuracy, every.accuracy[:, :2], atol=0.011)


def test_as_many_folds_as_there_are_is_all_of_them() -> None:
    X, y = digits(200)
    every, same = cross_validate(X, y, Cs=[0.1]), cross_validate(X, y, Cs=[0.1], n_held_out=5)
    np.testing.assert_array_equal(every.scores, same.scores)
    np.testing.assert_array_equal(every.rows, same.rows)


def test_a_single_fold_is_cut_into_pieces_to_tell_the_spread() -> None:
    X, y = digits()
    found = cross_validate(X, y, Cs=[0.1], n_held_out=1)
    out = assign_folds(y, None, 5, 0) == 0
    np.testing.assert_array_equal(found.rows, np.flatnonzero(out))
    assert (found.fold == 0).all()
    assert found.accuracy.shape == (1, 5)
    peer = LinearSVC(C=0.1, tol=1e-6, dual=False).fit(X[~out], y[~out])
    np.testing.assert_allclose(found.scores, peer.decision_function(X[out]), atol=0.08)
    # Twenty rows in each piece, so their mean is that of all; the spread is that of twenty.
    hits = found.scores.argmax(axis=1) == found.y
    assert found.mean[0] == pytest.approx(hits.mean())
    assert found.standard_error[0] == pytest.approx(found.accuracy[0].std(ddof=1) / np.sqrt(5))
    assert 0 < found.standard_error[0] < 0.08


def test_pieces_have_the_classes_in_their_proportions() -> None:
    y = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [50, 23, 7]))
    piece = cross_validation._pieces(y, 5)
    counts = np.array([np.bincount(y[piece == k], minlength=3) for k in range(5)])
    assert (np.ptp(counts, axis=0) <= 1).all()
    assert np.bincount(piece).tolist() == [16] * 5
    assert cross_validation._pieces(np.zeros(3, np.intp), 5).tolist() == [0, 1, 2]
