"""The RBF SVM: scores and labels of scikit-learn's SVC, cross-validation fold by fold, NumPy alone."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_digits, load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from classic_cv.errors import NotFittedError, ParameterError
from classic_cv.heads import rbf_svm
from classic_cv.heads.calibration import Calibrator
from classic_cv.heads.rbf_svm import RBFSVM, cross_validate_rbf, spread_scores

Floats = NDArray[np.float32]


def digits(n: int = 500) -> tuple[Floats, NDArray[Any]]:
    X, y = load_digits(return_X_y=True)
    return (X[:n] / 16).astype(np.float32), y[:n]


def iris() -> tuple[Floats, NDArray[Any]]:
    X, y = load_iris(return_X_y=True)
    return StandardScaler().fit_transform(X).astype(np.float32), y


def peer(C: float, gamma: float, class_weight: Any = None) -> SVC:
    return SVC(C=C, gamma=gamma, class_weight=class_weight, decision_function_shape="ovr", tol=1e-7)


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both solvers go to the optimum: at the default tolerance they stop at different points around it."""
    monkeypatch.setattr(rbf_svm, "TOL", 1e-7)


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("classes", [(1, 2), (0, 1, 2), tuple(range(10))], ids=len)
def test_scores_and_labels_are_those_of_svc(classes: tuple[int, ...], class_weight: Any) -> None:
    X, y = digits(900) if len(classes) > 3 else iris()
    C, gamma = (3.0, 0.1) if len(classes) > 3 else (0.7, 0.3)
    keep = np.isin(y, classes) & ((y != 1) | (np.arange(len(y)) % 3 == 0))
    training = keep & (np.arange(len(y)) % 2 == 0)
    ours = RBFSVM(C, gamma, class_weight).fit(X[training], y[training])
    theirs = peer(C, gamma, class_weight).fit(X[training].astype(float), y[training])
    scores, expected = ours.decision_function(X[keep]), theirs.decision_function(X[keep].astype(float))
    assert scores.dtype == np.float32
    assert scores.shape == ((keep.sum(),) if len(classes) == 2 else (keep.sum(), len(classes)))
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    winners = expected > 0 if len(classes) == 2 else expected.argmax(axis=1)
    np.testing.assert_array_equal(ours.predict(X[keep]), np.array(classes)[winners.astype(int)])


def test_at_the_default_tolerance_labels_are_those_of_svc() -> None:
    X, y = digits(900)
    ours, theirs = RBFSVM(3.0, 0.1).fit(X[:500], y[:500]), peer(3.0, 0.1).set_params(tol=1e-3)
    theirs.fit(X[:500].astype(float), y[:500])
    # SVC.predict would break ties of votes by the order of classes and not by the scores.
    expected = theirs.decision_function(X.astype(float))
    np.testing.assert_array_equal(ours.predict(X), expected.argmax(axis=1))
    np.testing.assert_allclose(ours.decision_function(X), expected, atol=1e-3)


@pytest.mark.usefixtures("exact")
def test_a_weight_per_label_is_svcs() -> None:
    X, y = iris()
    weight = {0: 1.0, 1: 5.0, 2: 0.2}
    ours, theirs = RBFSVM(0.5, 0.3, weight).fit(X, y), peer(0.5, 0.3, weight).fit(X.astype(float), y)
    np.testing.assert_allclose(
        ours.decision_function(X), theirs.decision_function(X.astype(float)), atol=1e-4
    )


def test_labels_can_be_any_strings_or_integers() -> None:
    X, y = iris()
    by_name = RBFSVM(1.0, 0.3).fit(X, np.array(["-a", "b c", "ü"])[y])
    by_number = RBFSVM(1.0, 0.3).fit(X, y * 7 - 3)
    assert by_name.classes_.tolist() == ["-a", "b c", "ü"]
    assert by_number.classes_.tolist() == [-3, 4, 11]
    np.testing.assert_array_equal(by_name.dual_coef_, by_number.dual_coef_)
    assert by_name.score(X, np.array(["-a", "b c", "ü"])[y]) == by_number.score(X, y * 7 - 3) > 0.95


def test_learned_arrays() -> None:
    X, y = digits(300)
    ours = RBFSVM(1.0, 0.1).fit(X, y)
    n = len(ours.support_vectors_)
    assert ours.support_vectors_.shape == (n, 64)
    assert ours.dual_coef_.shape == (9, n)
    assert ours.intercept_.shape == (45,)
    assert ours.n_support_.sum() == n
    assert ours.n_features_in_ == 64
    assert {str(array.dtype) for name, array in ours.state().items() if name != "n_support_"} <= {
        "float32",
        str(y.dtype),
    }


def test_rows_alone_and_in_chunks_score_as_in_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = digits(300)
    ours = RBFSVM(1.0, 0.1).fit(X, y)
    batch = ours.decision_function(X)
    np.testing.assert_allclose(ours.decision_function(X[7:8])[0], batch[7], atol=1e-5)
    monkeypatch.setattr(rbf_svm, "CHUNK_VALUES", 10_000)
    np.testing.assert_allclose(ours.decision_function(X), batch, atol=1e-5)


def test_a_tie_goes_to_the_first_class_of_the_pair() -> None:
    scores = rbf_svm.one_vs_rest_scores(np.zeros((1, 3, 3), np.float32))
    assert scores.tolist() == [[2.0, 1.0, 0.0]]


def test_state_round_trip_and_the_same_bytes() -> None:
    X, y = iris()
    before = X.copy()
    fitted = RBFSVM(1.0, 0.3).fit(X, y)
    np.testing.assert_array_equal(X, before)
    loaded = RBFSVM(1.0, 0.3).load_state(fitted.state())
    np.testing.assert_array_equal(loaded.decision_function(X), fitted.decision_function(X))
    again = RBFSVM(1.0, 0.3).fit(X.copy(), y)
    assert again.dual_coef_.tobytes() == fitted.dual_coef_.tobytes()
    fitted.fit(X[20:], y[20:])
    other = RBFSVM(1.0, 0.3).fit(X[20:], y[20:])
    np.testing.assert_array_equal(fitted.decision_function(X), other.decision_function(X))


def test_constant_columns_and_repeated_rows() -> None:
    X, y = iris()
    X = np.hstack([X, np.ones((150, 1), np.float32)])
    ours = RBFSVM(1.0, 0.3).fit(np.vstack([X, X]), np.r_[y, y])
    assert ours.score(X, y) > 0.95
    constant = RBFSVM(1.0, 0.3).fit(np.ones((6, 2)), [0, 0, 0, 0, 1, 1])
    assert constant.predict(np.ones((1, 2))).tolist() == [0]


def test_in_a_pipeline_and_a_search() -> None:
    X, y = iris()
    search = GridSearchCV(make_pipeline(StandardScaler(), RBFSVM()), {"rbfsvm__gamma": [0.1, 1.0]}, cv=3)
    assert search.fit(X, y).best_score_ > 0.9
    assert clone(search.best_estimator_)[-1].get_params()["gamma"] == search.best_params_["rbfsvm__gamma"]
    assert is_classifier(RBFSVM())


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"C": 0}, r"RBFSVM\(C=0\): expected `float` > 0"),
        ({"gamma": "scale"}, r"RBFSVM\(gamma='scale'\)"),
        ({"gamma": -1.0}, r"RBFSVM\(gamma=-1.0\): expected `float` > 0"),
        ({"class_weight": {9: 1.0}}, "class_weight has the label 9, which is not in y"),
    ],
)
def test_bad_parameters_are_named(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        RBFSVM(**params).fit(*iris())


def test_bad_data_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = iris()
    with pytest.raises(ValueError, match="X has 150 samples, but y has 149 labels"):
        RBFSVM().fit(X, y[:-1])
    with pytest.raises(ValueError, match="y has only one class"):
        RBFSVM().fit(X[:50], y[:50])
    with pytest.raises(ValueError, match="X has 3 features, but RBFSVM is expecting 4 features"):
        RBFSVM().fit(X, y).predict(X[:, :3])
    with pytest.raises(NotFittedError, match="not fitted yet: call fit first"):
        RBFSVM().predict(X)
    monkeypatch.setattr(rbf_svm, "MAX_ROWS", 100)
    message = "X has 150 samples, but the kernel matrix of an exact RBF machine takes at most 100: train on"
    with pytest.raises(ValueError, match=message):
        RBFSVM().fit(X, y)
    with pytest.raises(ValueError, match=message):
        cross_validate_rbf(X, y, Cs=[1.0], gammas=[1.0])
    cross_validate_rbf(X, y, Cs=[1.0], gammas=[1.0], max_samples=90)


def test_predicting_imports_numpy_only(tmp_path: Path) -> None:
    X, y = iris()
    fitted = RBFSVM(1.0, 0.3).fit(X, y)
    arrays: dict[str, Any] = {"X": X, "scores": fitted.decision_function(X), **fitted.state()}
    np.savez(tmp_path / "state.npz", **arrays)
    code = (
        "import sys, numpy as np; from classic_cv.heads.rbf_svm import RBFSVM; "
        "state = dict(np.load(sys.argv[1])); svm = RBFSVM(1.0, 0.3).load_state(state); "
        "assert (svm.decision_function(state['X']) == state['scores']).all(); svm.predict(state['X']); "
        "bad = {'sklearn', 'scipy', 'skimage', 'torch'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "state.npz")], check=True)


def test_cross_validation_equals_fitting_each_fold_alone() -> None:
    X, y = digits()
    found = cross_validate_rbf(
        X, y, Cs=[3.0, 0.3], gammas=[0.2, 0.02], n_splits=3, seed=4, class_weight="balanced"
    )
    assert found.tried.tolist() == [[0.3, 0.02], [0.3, 0.2], [3.0, 0.02], [3.0, 0.2]]
    for fold in range(3):
        out = found.fold == fold
        theirs = RBFSVM(found.C, found.gamma, "balanced").fit(X[~out], y[~out])
        np.testing.assert_allclose(found.scores[out], theirs.decision_function(X[out]), atol=2e-3)
        assert found.accuracy[fold] == pytest.approx(theirs.score(X[out], y[out]))
    at = found.tried.tolist().index([found.C, found.gamma])
    assert found.mean[at] == pytest.approx(found.accuracy.mean())
    assert found.standard_error == pytest.approx(found.accuracy.std(ddof=1) / np.sqrt(3))
    assert found.mean.max() > 0.95
    assert (found.mean[:at] < found.mean.max()).all()
    np.testing.assert_array_equal(found.classes[found.y], y[found.rows])


def test_two_classes_have_one_score() -> None:
    X, y = digits(300)
    pair = np.isin(y, (3, 8))
    names = np.where(y[pair] == 3, "three", "eight")
    found = cross_validate_rbf(X[pair], names, Cs=[1.0], gammas=[0.1], scoring="balanced_accuracy")
    assert found.scores.shape == (pair.sum(),)
    assert found.classes.tolist() == ["eight", "three"]
    assert ((found.scores > 0) == (found.y == 1)).mean() > 0.9
    assert found.mean[0] == pytest.approx(found.balanced_accuracy.mean())


@pytest.mark.parametrize("kept", [(4, 7), (4, 6, 7), tuple(range(10))], ids=len)
def test_a_class_of_one_group_counts_as_wrong(kept: tuple[int, ...]) -> None:
    X, y = digits(300)
    X, y = X[np.isin(y, kept)], y[np.isin(y, kept)]
    groups = np.where(y == 7, 1000, np.arange(len(y)) // 3)
    found = cross_validate_rbf(X, y, groups=groups, Cs=[1.0], gammas=[0.1], n_splits=3)
    assert np.isfinite(found.scores).all()
    assert found.scores.shape == ((len(y),) if len(kept) == 2 else (len(y), len(kept)))
    winners = found.scores > 0 if len(kept) == 2 else found.scores.argmax(axis=1)
    labels = found.classes[winners.astype(int)]
    assert (labels[y == 7] != 7).all()
    assert (labels[y == 4] == 4).mean() > 0.6
    Calibrator().fit(found.scores, found.y)


def test_present_classes_beat_missing_ones() -> None:
    two = np.array([-2.0, 1.0, 0.0], np.float32)
    np.testing.assert_allclose(
        spread_scores(two, np.array([0, 2]), 3),
        [[2 + 2 / 9, -1 / 3, 1 - 2 / 9], [1 - 1 / 6, -1 / 3, 2 + 1 / 6], [1, -1 / 3, 1]],
        atol=1e-6,
    )
    assert spread_scores(np.zeros((2, 1), np.float32), np.array([1]), 2).tolist() == [1, 1]
    assert spread_scores(np.zeros((1, 1), np.float32), np.array([0]), 2).tolist() == [-1]
    one = spread_scores(np.zeros((1, 1), np.float32), np.array([1]), 3)
    np.testing.assert_allclose(one, [[-1 / 3, 2, -1 / 3]])


def test_of_equally_good_points_the_smallest_is_chosen() -> None:
    y = np.arange(60) % 3
    X = (np.eye(3)[y] * 5).astype(np.float32)
    found = cross_validate_rbf(X, y, Cs=[10.0, 0.1], gammas=[0.1, 0.05])
    assert (found.mean == 1).all()
    assert (found.C, found.gamma) == (0.1, 0.05)


def test_a_walk_ends_once_the_score_has_fallen() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 600)
    X = rng.standard_normal((600, 60)).astype(np.float32)
    X[:, 0] += 2.5 * y
    Cs = [0.3, 1.0, 10.0, 100.0, 1e3, 1e4]
    found = cross_validate_rbf(X, y, Cs=Cs, gammas=[0.002])
    assert 3 <= len(found.tried) < len(Cs)


def test_a_deadline_leaves_one_point_in_the_middle() -> None:
    X, y = iris()
    calls: list[tuple[str, int, int]] = []
    found = cross_validate_rbf(
        X,
        y,
        Cs=[0.1, 1.0],
        gammas=[0.01, 0.1, 1.0],
        deadline=time.perf_counter(),
        progress=lambda *call: calls.append(call),
    )
    assert found.tried.tolist() == [[0.1, 0.1]]
    assert calls == [("choice of C and gamma", 1, 6)]


def test_small_classes_and_more_folds_than_samples() -> None:
    y = np.array([0] * 6 + [1] * 5 + [2])
    X = np.random.default_rng(0).standard_normal((12, 5)).astype(np.float32) + y[:, None]
    found = cross_validate_rbf(X, y, Cs=[1.0], gammas=[0.1], n_splits=20)
    assert len(found.accuracy) == 6
    assert 11 not in found.rows
    assert found.scores.shape == (11, 3)


def test_the_summary_is_plain_data() -> None:
    found = cross_validate_rbf(*iris(), Cs=[0.1, 1.0], gammas=[0.1, 0.3])
    summary = json.loads(json.dumps(found.summary()))
    assert list(summary) == [
        "C",
        "gamma",
        "n_splits",
        "n_rows",
        "cv_accuracy",
        "cv_balanced_accuracy",
        "cv_standard_error",
        "tried",
    ]
    assert summary["n_rows"] == 150
    assert len(summary["tried"]) == 4
    assert set(summary["tried"][0]) == {"C", "gamma", "mean"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"Cs": []}, r"Cs=\[\]: expected at least one value"),
        ({"gammas": []}, r"gammas=\[\]: expected at least one value, finite and more than 0"),
        ({"gammas": [0.0]}, r"gammas=\[0.0\]: expected at least one value, finite and more than 0"),
        ({"gammas": [float("nan")]}, r"gammas=\[nan\]: expected at least one value, finite"),
        ({"n_splits": 1}, "n_splits=1: expected 2 folds or more"),
        ({"scoring": "f1"}, "scoring='f1': expected 'accuracy' or 'balanced_accuracy'"),
        ({"class_weight": {9: 1.0}}, "class_weight has the label 9, which is not in y"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        cross_validate_rbf(*iris(), **{"Cs": [1.0], "gammas": [0.1], **options})
