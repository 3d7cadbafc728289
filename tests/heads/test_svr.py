"""Regression heads: scikit-learn's optima, targets of any unit, folds one by one, NumPy alone."""

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
from sklearn import svm
from sklearn.base import clone, is_regressor
from sklearn.datasets import load_diabetes
from sklearn.metrics import r2_score
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from classic_cv.errors import NotFittedError, ParameterError
from classic_cv.heads import svr
from classic_cv.heads.svm import ConvergenceWarning
from classic_cv.heads.svr import (
    RBFSVR,
    DummyRegressor,
    LinearSVR,
    SquaredInsensitiveSolver,
    cross_validate_regression,
    r2,
    target_strata,
)

Floats = NDArray[np.float32]
Reals = NDArray[np.float64]

HEADS = [LinearSVR(0.1), RBFSVR(10.0, 0.05), DummyRegressor()]


def diabetes(n: int = 442) -> tuple[Floats, Reals]:
    X, y = load_diabetes(return_X_y=True)
    return StandardScaler().fit_transform(X).astype(np.float32)[:n], y[:n]


def wide(n: int = 40, d: int = 300) -> tuple[Floats, Reals]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d)).astype(np.float32)
    return X, X[:, :5].sum(axis=1) + 0.1 * rng.standard_normal(n)


def linear_peer(C: float, epsilon: float, X: Floats, z: Reals) -> svm.LinearSVR:
    peer = svm.LinearSVR(
        C=C, epsilon=epsilon, loss="squared_epsilon_insensitive", dual=False, tol=1e-10, max_iter=100_000
    )
    return peer.fit(X.astype(float), z)


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("C", [1e-3, 1.0, 100.0])
@pytest.mark.parametrize("data", [diabetes, wide])
def test_linear_weights_are_those_of_scikit_learn(data: Any, C: float, epsilon: float) -> None:
    X, y = data()
    z = (y - y.mean()) / y.std()
    ours, peer = LinearSVR(C, epsilon).fit(X, z), linear_peer(C, epsilon, X, z)
    np.testing.assert_allclose(ours.coef_, peer.coef_, atol=1e-4)
    np.testing.assert_allclose(ours.intercept_, peer.intercept_, atol=1e-4)
    np.testing.assert_allclose(ours.predict(X), peer.predict(X), atol=1e-3)
    assert ours.coef_.dtype == np.float32
    assert ours.coef_.shape == X.shape[1:]
    assert ours.predict(X).dtype == ours.intercept_.dtype == np.float64


def test_without_a_tube_it_is_ridge_regression() -> None:
    X, y = diabetes()
    z = (y - y.mean()) / y.std()
    A = np.hstack([X, np.ones((442, 1))]).astype(float)
    exact = np.linalg.solve(A.T @ A + np.eye(11) / (2 * 0.01), A.T @ z)
    ours = LinearSVR(0.01, 0.0).fit(X, z)
    np.testing.assert_allclose(np.r_[ours.coef_, ours.intercept_], exact, atol=1e-6)


def test_rbf_predictions_are_those_of_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(svr, "RBF_TOL", 1e-7)
    X, y = diabetes()
    z = (y - y.mean()) / y.std()
    peer = svm.SVR(C=3.0, gamma=0.05, epsilon=0.2, tol=1e-7).fit(X[:300].astype(float), z[:300])
    ours = RBFSVR(3.0, 0.05, 0.2 / z[:300].std())
    # C and epsilon are for targets of deviation 1, so C goes with them.
    ours.set_params(C=3.0 / z[:300].std()).fit(X[:300], z[:300])
    np.testing.assert_allclose(ours.predict(X), peer.predict(X.astype(float)), atol=1e-4)
    n = len(ours.dual_coef_)
    assert ours.support_vectors_.shape == (n, 10)
    assert ours.dual_coef_.dtype == ours.support_vectors_.dtype == np.float32


@pytest.mark.parametrize("head", HEADS, ids=repr)
@pytest.mark.parametrize(("scale", "shift"), [(1000.0, 0.0), (1e-3, 5.0), (0.01, 1e6), (1e200, 0.0)])
def test_targets_of_any_unit_give_the_same_model(
    head: Any, scale: float, shift: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(svr, "RBF_TOL", 1e-7)
    X, y = diabetes()
    z = (y - y.mean()) / y.std()
    if scale == 1e200 and not isinstance(head, DummyRegressor):
        scale = 1e30  # coefficients are float32
    plain = clone(head).fit(X, z).predict(X)
    moved = clone(head).fit(X, z * scale + shift).predict(X)
    np.testing.assert_allclose((moved - shift) / scale, plain, atol=1e-4)


@pytest.mark.parametrize("head", HEADS, ids=repr)
@pytest.mark.parametrize("value", [0.0, 0.1, -1e6])
def test_a_constant_target_is_predicted_exactly(head: Any, value: float) -> None:
    X, _ = diabetes(30)
    fitted = clone(head).fit(X, np.full(30, value))
    assert (fitted.predict(X[:3]) == value).all()
    loaded = clone(head).load_state(fitted.state())
    assert (loaded.predict(X[:3]) == value).all()


@pytest.mark.parametrize("head", HEADS[:2], ids=repr)
def test_a_tube_around_all_targets_gives_a_flat_prediction(head: Any) -> None:
    X, y = diabetes(50)
    fitted = clone(head).set_params(epsilon=10.0).fit(X, y)
    assert np.ptp(fitted.predict(X)) == 0
    assert y.min() < fitted.predict(X)[0] < y.max()


@pytest.mark.parametrize("head", HEADS[:2], ids=repr)
def test_constant_columns_repeated_rows_and_single_samples(head: Any) -> None:
    X, y = diabetes(60)
    X = np.hstack([X, np.ones((60, 1), np.float32)])
    doubled = clone(head).fit(np.vstack([X, X]), np.r_[y, y])
    assert doubled.score(X, y) > 0.3
    assert clone(head).fit(X[:1], [7.0]).predict(X[:2]).tolist() == [7.0, 7.0]
    assert np.isfinite(clone(head).fit(X[:2], y[:2]).predict(X)).all()


def test_wide_data_with_repeated_rows_are_fitted_to_the_same_optimum() -> None:
    X, y = wide()
    doubled = LinearSVR(0.5).fit(np.vstack([X, X]), np.r_[y, y])
    np.testing.assert_allclose(doubled.coef_, LinearSVR(1.0).fit(X, y).coef_, atol=1e-5)


@pytest.mark.parametrize("head", HEADS, ids=repr)
def test_contract(head: Any) -> None:
    X, y = diabetes(120)
    before = X.copy()
    fitted = clone(head).fit(X, y)
    np.testing.assert_array_equal(X, before)
    predictions = fitted.predict(X)
    assert predictions.shape == (120,)
    loaded = clone(head).load_state(fitted.state())
    np.testing.assert_array_equal(loaded.predict(X), predictions)
    np.testing.assert_array_equal(clone(head).fit(X.copy(), y).predict(X), predictions)
    refitted = fitted.fit(X[50:], y[50:]).predict(X)
    np.testing.assert_array_equal(refitted, clone(head).fit(X[50:], y[50:]).predict(X))
    with pytest.raises(NotFittedError, match="is not fitted yet: call fit first"):
        clone(head).predict(X)


def test_scores_and_scikit_learns_tools() -> None:
    X, y = diabetes()
    for head in HEADS[:2]:
        fitted = clone(head).fit(X, y)
        assert fitted.score(X, y) == pytest.approx(r2_score(y, fitted.predict(X)))
        assert fitted.n_features_in_ == 10
        assert is_regressor(head)
        assert cross_val_score(make_pipeline(StandardScaler(), clone(head)), X, y, cv=3).mean() > 0.3
    assert DummyRegressor().fit(X, [1.0] * 441 + [9.0]).predict(X[:2]).tolist() == [1.0, 1.0]
    assert is_regressor(DummyRegressor())
    assert r2(np.ones(3), np.ones(3)) == 1
    assert r2(np.ones(3), np.zeros(3)) == 0


def test_rbf_rows_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = diabetes(200)
    fitted = RBFSVR(10.0, 0.05).fit(X, y)
    whole = fitted.predict(X)
    monkeypatch.setattr(svr, "CHUNK_VALUES", 500)
    np.testing.assert_allclose(fitted.predict(X), whole, atol=1e-4 * y.std())
    np.testing.assert_allclose(fitted.predict(X[5:6]), whole[5:6], atol=1e-4 * y.std())


def test_the_solver_in_chunks_with_subsets_and_a_warm_start(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = diabetes()
    z = (y - y.mean()) / y.std()
    training = np.arange(442) % 3 != 0
    alone = SquaredInsensitiveSolver(np.ascontiguousarray(X[training])).solve(z[training], 1.0, 0.1)
    monkeypatch.setattr(svr, "CHUNK_VALUES", 500)
    solver = SquaredInsensitiveSolver(X, shared=True)
    first = solver.solve(z, 0.01, 0.3, training)
    second = solver.solve(z, 1.0, 0.1, training, first.w)
    np.testing.assert_allclose(second.w, alone.w, atol=1e-4)
    np.testing.assert_allclose(second.scores, X @ second.w[:-1] + second.w[-1], atol=1e-6)
    assert second.converged
    assert solver.solve(z, 1.0, 0.1, training, second.w).n_iter <= 1


def test_a_fit_that_ends_early_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(svr, "MAX_ITER", 1)
    with pytest.warns(
        ConvergenceWarning, match=r"LinearSVR\(C=100.0\) did not converge in 1 Newton steps: stand"
    ):
        LinearSVR(100.0, 0.5).fit(*wide())


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (LinearSVR(C=0), r"LinearSVR\(C=0\): expected `float` > 0"),
        (LinearSVR(epsilon=-1), r"LinearSVR\(epsilon=-1\): expected `float` >= 0"),
        (RBFSVR(C=-1.0), r"RBFSVR\(C=-1.0\): expected `float` > 0"),
        (RBFSVR(gamma=0), r"RBFSVR\(gamma=0\): expected `float` > 0"),
    ],
)
def test_bad_parameters_are_named(head: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        head.fit(*diabetes(20))


@pytest.mark.parametrize("head", HEADS, ids=repr)
def test_bad_targets_are_named(head: Any) -> None:
    X, y = diabetes(20)
    fresh = clone(head)
    with pytest.raises(ValueError, match="X has 20 samples, but y has 19 targets: they must be as many"):
        fresh.fit(X, y[:-1])
    with pytest.raises(ValueError, match=r"bad input shape \(20, 1\) for y: expected \(n_samples,\)"):
        fresh.fit(X, y[:, None])
    with pytest.raises(ValueError, match="y holds 'cat', expected numbers: train a classifier for labels"):
        fresh.fit(X, ["cat"] * 20)
    with pytest.raises(ValueError, match="target y is None: give one number per sample"):
        fresh.fit(X, None)
    broken = y.copy()
    broken[[4, 9]] = np.nan, np.inf
    with pytest.raises(
        ValueError, match="Input y contains NaN or infinity: 2 values, the first for sample 4"
    ):
        fresh.fit(X, broken)


def test_other_features_than_in_fit_are_named() -> None:
    X, y = diabetes(20)
    for head in HEADS[:2]:
        name = type(head).__name__
        with pytest.raises(
            ValueError, match=f"X has 9 features, but {name} is expecting 10 features as input"
        ):
            clone(head).fit(X, y).predict(X[:, :9])


def test_predicting_imports_numpy_only(tmp_path: Path) -> None:
    X, y = diabetes(50)
    linear, rbf = LinearSVR().fit(X, y), RBFSVR(10.0, 0.05).fit(X, y)
    arrays: dict[str, Any] = {"X": X, "linear": linear.predict(X), "rbf": rbf.predict(X)}
    arrays |= {f"l.{name}": value for name, value in linear.state().items()}
    arrays |= {f"r.{name}": value for name, value in rbf.state().items()}
    np.savez(tmp_path / "state.npz", **arrays)
    code = (
        "import sys, numpy as np; from classic_cv.heads.svr import DummyRegressor, LinearSVR, RBFSVR; "
        "state = dict(np.load(sys.argv[1])); X = state['X']; "
        "part = lambda p: {k[2:]: v for k, v in state.items() if k.startswith(p)}; "
        "assert (LinearSVR().load_state(part('l.')).predict(X) == state['linear']).all(); "
        "assert (RBFSVR(10.0, 0.05).load_state(part('r.')).predict(X) == state['rbf']).all(); "
        "DummyRegressor().fit(X, X[:, 0]).predict(X); "
        "bad = {'sklearn', 'scipy', 'skimage', 'torch'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "state.npz")], check=True)


@pytest.mark.parametrize("kind", ["linear", "rbf"])
@pytest.mark.parametrize("data", [diabetes, wide])
def test_cross_validation_equals_fitting_each_fold_alone(kind: Any, data: Any) -> None:
    X, y = data()
    gammas = [0.02, 0.1] if kind == "rbf" else None
    found = cross_validate_regression(
        kind, X, y, Cs=[1.0, 0.01], epsilons=[0.02, 0.1, 0.5], gammas=gammas, n_splits=3, seed=4
    )
    assert found.rows.tolist() == list(range(len(X)))
    np.testing.assert_array_equal(found.y, y)
    for fold in range(3):
        out = found.fold == fold
        head: LinearSVR | RBFSVR = LinearSVR(found.C, found.epsilon)
        if found.gamma is not None:
            head = RBFSVR(found.C, found.gamma, found.epsilon)
        expected = head.fit(X[~out], y[~out]).predict(X[out])
        np.testing.assert_allclose(found.predictions[out], expected, atol=2e-3 * y.std())
        assert found.mae[fold] == pytest.approx(np.abs(expected - y[out]).mean(), rel=1e-3)
    assert found.standard_error == pytest.approx(found.mae.std(ddof=1) / np.sqrt(3))
    at = found.tried.tolist().index([found.C, found.epsilon, found.gamma or 0])
    assert found.mean[at] == pytest.approx(found.mae.mean())
    assert len(found.tried) == (6 if kind == "rbf" else 4)
    same_C = found.tried[:, 0] == found.C
    assert found.mean[at] <= found.mean[same_C & (found.tried[:, 2] == (found.gamma or 0))].min()


def test_folds_are_stratified_by_the_target_and_keep_groups_together() -> None:
    X, y = diabetes()
    found = cross_validate_regression("linear", X, y, Cs=[0.01], epsilons=[0.1])
    means = [y[found.fold == k].mean() for k in range(5)]
    assert np.ptp(means) < 0.15 * y.std()
    groups = np.arange(442) // 4
    grouped = cross_validate_regression("linear", X, y, groups=groups, Cs=[0.01], epsilons=[0.1])
    assert all(len(set(grouped.fold[groups == g])) == 1 for g in np.unique(groups))
    again = cross_validate_regression("linear", X, y, groups=groups, Cs=[0.01], epsilons=[0.1])
    np.testing.assert_array_equal(grouped.predictions, again.predictions)
    strata = np.arange(442) % 2
    given = cross_validate_regression("linear", X, y, strata=strata, Cs=[0.01], epsilons=[0.1])
    assert np.ptp([strata[given.fold == k].mean() for k in range(5)]) < 0.03


def test_a_single_sample_of_a_stratum_joins_its_neighbour() -> None:
    y = np.arange(9.0)
    assert target_strata(y, [0, 1, 1, 2, 3, 4, 4, 4, 9]).tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 2]
    assert target_strata(y, [5] * 9).tolist() == [0] * 9
    assert target_strata(y[:3], [0, 1, 2]).tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match=r"strata has shape \(2,\), expected \(9,\): one stratum per sample"):
        target_strata(y, [0, 1])


@pytest.mark.parametrize("kind", ["linear", "rbf"])
def test_tiny_data(kind: Any) -> None:
    X, y = diabetes(4)
    options: dict[str, Any] = {"Cs": [1.0], "epsilons": [0.1], "gammas": [0.1] if kind == "rbf" else None}
    found = cross_validate_regression(kind, X, y, **options)
    assert found.fold.tolist() != [0] * 4
    assert len(found.mae) == 4
    assert np.isfinite(found.predictions).all()
    constant = cross_validate_regression(kind, X, np.ones(4), **options)
    assert constant.mae.tolist() == [0] * 4
    assert constant.summary()["cv_r2"] == 1
    with pytest.raises(
        ValueError, match="cannot cross-validate 3 samples: expected at least 4; give more or"
    ):
        cross_validate_regression(kind, X[:3], y[:3], **options)
    with pytest.raises(ValueError, match="cannot cross-validate: all samples are of one group"):
        cross_validate_regression(kind, X, y, groups=[1, 1, 1, 1], **options)


def test_a_walk_ends_once_the_error_has_risen() -> None:
    X, y = wide(200, 300)
    y = y + 3 * np.random.default_rng(1).standard_normal(200)
    Cs = np.geomspace(1e-5, 100, 15).tolist()
    found = cross_validate_regression("linear", X, y, Cs=Cs, epsilons=[0.1])
    assert 3 <= len(found.tried) < 15
    best = found.tried[found.mean.argmin(), 0]
    assert 1e-5 < found.C <= best


def test_a_deadline_leaves_one_point_and_progress_counts_them() -> None:
    X, y = diabetes(60)
    calls: list[tuple[str, int, int]] = []
    options: dict[str, Any] = {"Cs": [0.01, 1.0], "epsilons": [0.1, 0.3], "gammas": [0.01, 0.1, 1.0]}
    late = cross_validate_regression(
        "rbf", X, y, **options, deadline=time.perf_counter(), progress=lambda *call: calls.append(call)
    )
    assert late.tried.tolist() == [[0.01, 0.3, 0.1]]
    assert calls == [("choice of C and epsilon", 1, 7)]
    calls.clear()
    cross_validate_regression("rbf", X, y, **options, progress=lambda *call: calls.append(call))
    assert [call[1] for call in calls] == list(range(1, 8))


def test_a_sample_of_rows_is_predicted_under_its_own_numbers() -> None:
    X, y = diabetes()
    found = cross_validate_regression("linear", X, y, Cs=[0.01], epsilons=[0.1], max_samples=200)
    assert abs(len(found.rows) - 200) <= 10
    np.testing.assert_array_equal(found.y, y[found.rows])
    assert found.summary()["cv_r2"] > 0.3


@pytest.mark.parametrize("kind", ["linear", "rbf"])
def test_the_summary_is_plain_data(kind: Any) -> None:
    X, y = diabetes(100)
    gammas = [0.05] if kind == "rbf" else None
    found = cross_validate_regression(kind, X, y, Cs=[0.01, 0.1], epsilons=[0.1, 0.3], gammas=gammas)
    summary = json.loads(json.dumps(found.summary()))
    names = ["C", "epsilon", "gamma"] if kind == "rbf" else ["C", "epsilon"]
    figures = ["n_splits", "n_rows", "cv_mae", "cv_rmse", "cv_r2", "cv_standard_error", "tried"]
    assert list(summary) == names + figures
    assert set(summary["tried"][0]) == {*names, "mean"}
    assert summary["cv_r2"] == pytest.approx(r2_score(found.y, found.predictions))
    assert summary["cv_mae"] == pytest.approx(found.mae.mean())
    assert summary["cv_rmse"] >= summary["cv_mae"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "poly"}, "kind='poly': expected 'linear' or 'rbf'"),
        ({"gammas": [1.0]}, r"gammas=\[1.0\]: the linear machine has none; expected None"),
        ({"kind": "rbf"}, "gammas=None: expected at least one value, finite and more than 0"),
        ({"Cs": []}, r"Cs=\[\]: expected at least one value"),
        ({"epsilons": [-0.1]}, r"epsilons=\[-0.1\]: expected at least one value, finite and at least 0"),
        ({"n_splits": 1}, "n_splits=1: expected 2 folds or more"),
        ({"max_samples": 1}, "max_samples=1: expected 2 or more"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], message: str) -> None:
    X, y = diabetes(20)
    with pytest.raises(ParameterError, match=message):
        cross_validate_regression(
            **{"kind": "linear", "X": X, "y": y, "Cs": [1.0], "epsilons": [0.1], **options}
        )
