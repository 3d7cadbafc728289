"""Standardisation in place, checked against scikit-learn, and its folding into weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from classic_cv.errors import NotFittedError
from classic_cv.heads import scaler
from classic_cv.heads.scaler import Scaler, fold_scaler, scale_in_place, standardize


def data(n: int = 300, d: int = 7) -> NDArray[np.float32]:
    rng = np.random.default_rng(0)
    return (rng.standard_normal((n, d)) * np.geomspace(1e-3, 1e3, d) + np.arange(d)).astype(np.float32)


def test_equals_scikit_learns_scaler_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.preprocessing import StandardScaler

    monkeypatch.setattr(scaler, "CHUNK_VALUES", 100)
    X = data()
    expected = StandardScaler().fit(X.astype(np.float64))
    transformed = expected.transform(X.astype(np.float64))
    mean, scale = standardize(X)
    np.testing.assert_allclose(mean, expected.mean_, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(scale, expected.scale_, rtol=1e-5)
    np.testing.assert_allclose(X, transformed, atol=1e-4)
    assert mean.dtype == scale.dtype == X.dtype == np.float32


def test_out_leaves_x_alone() -> None:
    X = data()
    before, out = X.copy(), np.empty_like(X)
    mean, scale = standardize(X, out=out)
    np.testing.assert_array_equal(X, before)
    np.testing.assert_allclose(out * scale + mean, X, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3e5, 3e-30])
def test_a_constant_column_has_scale_one(value: float) -> None:
    X = data(1000, 3)
    X[:, 1] = value
    mean, scale = standardize(X)
    assert scale[1] == 1
    assert mean[1] == pytest.approx(value, rel=1e-6)
    np.testing.assert_allclose(X[:, 1], 0, atol=abs(value) * 1e-6)


def test_a_small_spread_on_a_large_offset_is_kept() -> None:
    X = (1000 + np.random.default_rng(0).standard_normal((500, 1))).astype(np.float32)
    standardize(X)
    assert X.std() == pytest.approx(1, rel=1e-3)


def test_groups_share_the_root_of_their_mean_variance() -> None:
    X = data()
    raw = X.astype(np.float64)
    groups = np.array([5, 5, 5, 2, 2, 9, 9])
    _, scale = standardize(X, groups)
    for group in (5, 2, 9):
        expected = np.sqrt(raw[:, groups == group].var(axis=0).mean())
        np.testing.assert_allclose(scale[groups == group], expected, rtol=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(2, 40), st.integers(0, 10_000))
def test_folded_weights_give_the_same_scores_from_raw_features(d: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    raw = (rng.standard_normal((n, d)) * rng.uniform(0.1, 10, d) + rng.uniform(-5, 5, d)).astype(np.float32)
    X = raw.copy()
    mean, scale = standardize(X)
    coef = rng.standard_normal((3, d)).astype(np.float32)
    intercept = rng.standard_normal(3).astype(np.float32)
    folded, shifted = fold_scaler(coef, intercept, mean, scale)
    assert folded.dtype == shifted.dtype == np.float32
    np.testing.assert_allclose(raw @ folded.T + shifted, X @ coef.T + intercept, rtol=1e-3, atol=1e-2)


def test_errors_say_what_was_given() -> None:
    with pytest.raises(TypeError, match="X is float64, expected a float32 array"):
        standardize(np.zeros((3, 2)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"X has shape \(0, 2\)"):
        standardize(np.zeros((0, 2), np.float32))
    with pytest.raises(ValueError, match=r"out \(3, 1\), expected the same"):
        standardize(np.zeros((3, 2), np.float32), out=np.zeros((3, 1), np.float32))
    with pytest.raises(ValueError, match=r"groups has shape \(3,\), expected \(2,\)"):
        standardize(np.zeros((3, 2), np.float32), groups=[1, 2, 3])


WIDTHS = (4, 1, 2)


@pytest.mark.parametrize("how", ["columns", "groups"])
def test_scaled_rows_have_a_mean_squared_length_of_one(how: str) -> None:
    X = data()
    scale_in_place(how, X, WIDTHS)
    assert float(np.square(X).sum(axis=1).mean()) == pytest.approx(1, rel=1e-4)
    columns = np.square(X.astype(np.float64)).mean(axis=0)
    if how == "columns":
        np.testing.assert_allclose(columns, 1 / 7, rtol=1e-3)
    else:
        # Every extractor has the same part in it, however wide; in it the columns keep their proportions.
        groups = np.add.reduceat(columns, np.cumsum([0, *WIDTHS[:-1]]))
        np.testing.assert_allclose(groups, 1 / 3, rtol=1e-3)
        raw = data().astype(np.float64).var(axis=0)
        np.testing.assert_allclose(columns[:4] / columns[3], raw[:4] / raw[3], rtol=1e-3)


def test_no_scaling_changes_nothing() -> None:
    X = data()
    mean, scale = scale_in_place("none", X, WIDTHS)
    np.testing.assert_array_equal(X, data())
    assert (mean.tolist(), scale.tolist()) == ([0.0] * 7, [1.0] * 7)


@pytest.mark.parametrize("how", ["columns", "groups", "none"])
def test_a_scaler_repeats_what_was_done_in_place(how: str) -> None:
    raw, X = data(), data()
    fitted = Scaler().learn(*scale_in_place(how, X, WIDTHS))
    transformed = fitted.transform(raw)
    assert transformed.dtype == np.float32
    np.testing.assert_allclose(transformed, X, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(raw, data())
    again = Scaler().load_state(fitted.state())
    np.testing.assert_array_equal(again.transform(raw[:3]), transformed[:3])


@pytest.mark.parametrize("how", ["columns", "groups"])
def test_scaling_folds_into_weights(how: str) -> None:
    raw, X = data(), data()
    mean, scale = scale_in_place(how, X, WIDTHS)
    coef = np.random.default_rng(1).standard_normal((2, 7)).astype(np.float32)
    folded, shifted = fold_scaler(coef, np.ones(2, np.float32), mean, scale)
    np.testing.assert_allclose(raw @ folded.T + shifted, X @ coef.T + 1, rtol=1e-3, atol=1e-3)


def test_a_scaler_that_has_learned_nothing_says_so() -> None:
    with pytest.raises(NotFittedError, match="this Scaler is not fitted yet"):
        Scaler().transform(data())
