"""LinearSVM as an estimator: scikit-learn's contract, its own errors, prediction without scikit-learn."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_digits, load_iris
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from classic_cv.errors import NotFittedError, ParameterError
from classic_cv.heads.svm import ConvergenceWarning, LinearSVM, class_weights

EXCLUDED = {
    "check_estimators_unfitted": "expects scikit-learn's NotFittedError, which predicting must not import",
    "check_sample_weight_equivalence_on_dense_data": "asks for 1e-7; float32 weights are exact to about 1e-5",
}


def excluded(estimator: Any) -> dict[str, str]:
    return EXCLUDED


with warnings.catch_warnings():
    # That LinearSVM is not a BaseEstimator: predicting must not import scikit-learn.
    warnings.simplefilter("ignore")
    scikit_learns_checks = parametrize_with_checks([LinearSVM()], expected_failed_checks=excluded)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.filterwarnings("ignore::classic_cv.heads.svm.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:Estimator LinearSVM does not inherit:UserWarning")
@scikit_learns_checks  # type: ignore[untyped-decorator]
def test_scikit_learns_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def iris() -> tuple[NDArray[np.float32], NDArray[Any]]:
    X, y = load_iris(return_X_y=True)
    return StandardScaler().fit_transform(X).astype(np.float32), y


def test_weights_scores_and_labels_are_those_of_linear_svc() -> None:
    X, y = iris()
    ours, peer = LinearSVM(C=0.3).fit(X, y), LinearSVC(C=0.3, tol=1e-9, dual=False).fit(X, y)
    np.testing.assert_allclose(ours.coef_, peer.coef_, atol=1e-3)
    np.testing.assert_allclose(ours.intercept_, peer.intercept_, atol=1e-3)
    np.testing.assert_allclose(ours.decision_function(X), peer.decision_function(X), atol=3e-3)
    np.testing.assert_array_equal(ours.predict(X), peer.predict(X))
    assert ours.score(X, y) == peer.score(X, y)
    assert ours.coef_.dtype == ours.intercept_.dtype == ours.decision_function(X).dtype == np.float32


def test_two_classes_are_one_problem_whose_positive_class_is_the_last() -> None:
    X, y = iris()
    names = np.array(["plain", "striped", "spotted"])[y[50:]]
    ours, peer = LinearSVM().fit(X[50:], names), LinearSVC(tol=1e-9, dual=False).fit(X[50:], names)
    assert ours.classes_.tolist() == ["spotted", "striped"]
    assert ours.coef_.shape == (1, 4)
    scores = ours.decision_function(X[50:])
    np.testing.assert_allclose(scores, peer.decision_function(X[50:]), atol=3e-3)
    np.testing.assert_array_equal(ours.predict(X[50:]), np.where(scores > 0, "striped", "spotted"))


def test_labels_can_be_any_strings_or_integers() -> None:
    X, y = iris()
    by_number = LinearSVM().fit(X, y * 7 - 3)
    by_name = LinearSVM().fit(X, np.array(["-a", "b c", "ü"])[y])
    assert by_number.classes_.tolist() == [-3, 4, 11]
    assert by_name.classes_.tolist() == ["-a", "b c", "ü"]
    np.testing.assert_array_equal(by_number.coef_, by_name.coef_)


def test_balanced_weights_help_the_rare_class() -> None:
    X, y = iris()
    kept = np.r_[0:100, 100:110]
    recall = {}
    for weight in (None, "balanced"):
        ours = LinearSVM(C=0.1, class_weight=weight).fit(X[kept], y[kept])
        peer = LinearSVC(C=0.1, class_weight=weight, tol=1e-9, dual=False).fit(X[kept], y[kept])
        np.testing.assert_array_equal(ours.predict(X), peer.predict(X))
        recall[weight] = (ours.predict(X[100:]) == 2).mean()
    assert recall["balanced"] > recall[None] + 0.2


def test_in_pipeline_search_and_cross_validation() -> None:
    X, y = load_digits(return_X_y=True)
    X, y = X[:400], y[:400]
    pipeline = make_pipeline(StandardScaler(), LinearSVM(tol=1e-4))
    search = GridSearchCV(pipeline, {"linearsvm__C": [1e-3, 1e-1]}, cv=3).fit(X, y)
    peer = make_pipeline(
        StandardScaler(), LinearSVC(dual=False, **{"C": search.best_params_["linearsvm__C"]})
    )
    assert search.best_score_ == pytest.approx(cross_val_score(peer, X, y, cv=3).mean(), abs=0.006)
    assert clone(search.best_estimator_)[-1].get_params()["C"] == search.best_params_["linearsvm__C"]
    assert is_classifier(LinearSVM())


def test_the_same_data_give_the_same_bytes() -> None:
    X, y = iris()
    first, second = LinearSVM().fit(X, y), LinearSVM().fit(X.copy(), y.copy())
    assert first.coef_.tobytes() == second.coef_.tobytes()


def test_fit_leaves_float32_input_as_it_was() -> None:
    X, y = iris()
    before = X.copy()
    LinearSVM().fit(X, y)
    np.testing.assert_array_equal(X, before)


def test_state_round_trip() -> None:
    X, y = iris()
    fitted = LinearSVM().fit(X, y)
    loaded = LinearSVM().load_state(fitted.state())
    np.testing.assert_array_equal(loaded.decision_function(X), fitted.decision_function(X))
    assert loaded.n_features_in_ == 4
    assert set(fitted.state()) == {"coef_", "intercept_", "classes_"}


def test_a_fit_that_ends_early_warns() -> None:
    X, y = iris()
    with pytest.warns(
        ConvergenceWarning, match=r"LinearSVM\(C=1.0\) did not reach tol=1e-05 in 1 iterations"
    ):
        LinearSVM(max_iter=1).fit(X, y)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"C": 0}, r"LinearSVM\(C=0\): expected `float` > 0"),
        ({"C": "auto"}, r"LinearSVM\(C='auto'\)"),
        ({"max_iter": 0}, r"LinearSVM\(max_iter=0\): expected `int` >= 1"),
        ({"class_weight": "even"}, r"LinearSVM\(class_weight='even'\)"),
        ({"class_weight": {9: 1.0}}, "class_weight has the label 9, which is not in y"),
        ({"class_weight": {1: -2.0}}, r"class_weight\[1\] is -2.0: expected a finite weight more than 0"),
    ],
)
def test_bad_parameters_are_named(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        LinearSVM(**params).fit(*iris())


def test_bad_data_is_named() -> None:
    X, y = iris()
    broken = X.copy()
    broken[7, 2] = np.nan
    broken[9, 0] = np.inf
    with pytest.raises(ValueError, match=r"NaN or infinity.*: 2 values, the first in row 7, column 2"):
        LinearSVM().fit(broken, y)
    with pytest.raises(ValueError, match="too large for float32"):
        LinearSVM().fit(X.astype(np.float64) * 1e60, y)
    with pytest.raises(ValueError, match="X has 150 samples, but y has 149 labels"):
        LinearSVM().fit(X, y[:-1])
    with pytest.raises(
        ValueError, match=r"y has only one class \(np.int64\(0\)\): a classifier needs samples of"
    ):
        LinearSVM().fit(X[:50], y[:50])
    with pytest.raises(ValueError, match=r"continuous\. y must hold classes"):
        LinearSVM().fit(X, y + 0.5)
    with pytest.raises(ValueError, match=r"sample_weight has shape \(3,\), expected \(150,\)"):
        LinearSVM().fit(X, y, [1, 2, 3])
    with pytest.raises(ValueError, match="holds negative or non-finite values"):
        LinearSVM().fit(X, y, -np.ones(150))
    fitted = LinearSVM().fit(X, y)
    with pytest.raises(ValueError, match="X has 3 features, but LinearSVM is expecting 4 features"):
        fitted.predict(X[:, :3])
    with pytest.raises(NotFittedError, match="not fitted yet: call fit first"):
        LinearSVM().predict(X)


def test_features_whose_squares_overflow_are_an_error() -> None:
    X, y = iris()
    with pytest.raises(ValueError, match=r"X holds values as large as .*e\+30.*: standardise the features"):
        LinearSVM().fit(X * np.float32(1e30), y)
    LinearSVM().fit(X * np.float32(1e13), y, sample_weight=np.full(150, 1e-20))


def test_balanced_is_scikit_learns_formula() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    codes = np.array([0, 0, 0, 1, 2, 2])
    weight = np.array([1.0, 2.0, 0.5, 4.0, 1.0, 1.0])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=codes, sample_weight=weight)
    ours = class_weights("balanced", np.arange(3), codes, weight)
    assert ours is not None
    np.testing.assert_allclose(ours, expected)


def test_predicting_imports_numpy_only() -> None:
    code = (
        "import sys, numpy as np; from classic_cv.heads.svm import LinearSVM; "
        "from classic_cv.heads.calibration import Calibrator; "
        "svm = LinearSVM().load_state({'coef_': np.eye(3, dtype=np.float32), "
        "'intercept_': np.zeros(3, np.float32), 'classes_': np.arange(3)}); "
        "c = Calibrator().load_state({'scale_': np.ones(3, np.float32), 'bias_': np.zeros(3, np.float32)}); "
        "assert svm.predict(np.eye(3)).tolist() == [0, 1, 2]; c.transform(svm.decision_function(np.eye(3))); "
        "bad = {'sklearn', 'scipy', 'skimage', 'torch'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
