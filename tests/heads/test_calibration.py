"""Calibration: known optima, properties of the probabilities, few samples, absent classes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from classic_cv.errors import NotFittedError, ParameterError
from classic_cv.heads import calibration
from classic_cv.heads.calibration import SMOOTHING, Calibrator, smoothed_targets
from classic_cv.heads.cross_validation import cross_validate
from classic_cv.heads.svm import LinearSVM
from classic_cv.metrics import expected_calibration_error


def drawn(
    n: int, scale: NDArray[np.float64], bias: NDArray[np.float64], seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.float64]]:
    """Scores, labels drawn from softmax(scale * score + bias), and those probabilities."""
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((n, len(scale)))
    logits = scores * scale + bias
    p = np.exp(logits)
    p /= p.sum(axis=1, keepdims=True)
    return scores, (p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1), p


def log_loss(p: NDArray[np.float32], y: NDArray[np.intp]) -> float:
    return float(-np.log(p[np.arange(len(y)), y].astype(np.float64) + 1e-300).mean())


def test_finds_the_probabilities_that_labels_were_drawn_from() -> None:
    scale, bias = np.array([1.0, 2.0, 3.0]), np.array([0.5, 0.0, -1.0])
    scores, y, truth = drawn(60_000, scale, bias)
    fitted = Calibrator().fit(scores, y)
    np.testing.assert_allclose(fitted.scale_, scale, rtol=0.05)
    np.testing.assert_allclose(fitted.bias_ - fitted.bias_[1], bias, atol=0.06)
    assert np.abs(fitted.transform(scores) - truth).max() < 0.02


def test_two_classes_are_platts_sigmoid() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    scores = rng.standard_normal(4000)
    y = (rng.random(4000) < 1 / (1 + np.exp(-(2.5 * scores - 0.7)))).astype(int)
    fitted = Calibrator().fit(scores, y)
    peer = LogisticRegression(C=1e6).fit(scores[:, None], y)
    assert fitted.scale_[0] == pytest.approx(peer.coef_[0, 0], rel=0.01)
    assert fitted.bias_[0] == pytest.approx(peer.intercept_[0], abs=0.01)
    p = fitted.transform(scores)
    assert p.shape == (4000, 2)
    np.testing.assert_allclose(p, peer.predict_proba(scores[:, None]), atol=0.01)
    np.testing.assert_array_equal(p, fitted.transform(scores[:, None]))


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_the_unit_of_the_scores_does_not_matter(size: float) -> None:
    scores, y, _ = drawn(2000, np.array([2.0, 2.0, 1.0]), np.zeros(3))
    plain, scaled = Calibrator().fit(scores, y), Calibrator().fit(scores * size, y)
    np.testing.assert_allclose(scaled.transform(scores * size), plain.transform(scores), atol=1e-4)


def test_a_strong_prior_gives_one_common_scale() -> None:
    scores, y, _ = drawn(3000, np.array([1.0, 2.0, 3.0]), np.zeros(3))
    free, tied = Calibrator(prior=0).fit(scores, y), Calibrator(prior=1e7).fit(scores, y)
    assert np.ptp(tied.scale_) < 0.01 < np.ptp(free.scale_)
    assert 1 < tied.scale_[0] < 3


def test_out_of_fold_calibration_on_digits_beats_the_plain_softmax() -> None:
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    found = cross_validate(X[:900], y[:900], Cs=[0.1])
    scores = LinearSVM(C=0.1).fit(X[:900], y[:900]).decision_function(X[900:])
    p = Calibrator().fit(found.scores, found.y).transform(scores)
    plain = np.exp(scores - scores.max(axis=1, keepdims=True))
    plain /= plain.sum(axis=1, keepdims=True)
    assert log_loss(p, y[900:]) < 0.5 * log_loss(plain, y[900:])
    assert expected_calibration_error(p, y[900:]) < 0.04


@pytest.mark.parametrize("n", [8, 30])
def test_scores_that_separate_few_samples_do_not_give_certainty(n: int) -> None:
    y = np.arange(n) % 2
    p = Calibrator().fit(np.where(y == 1, 1.0, -1.0), y).transform(np.array([1.0, -1.0]))
    expected = (n / 2 + SMOOTHING) / (n / 2 + 2 * SMOOTHING)
    assert expected < 0.999
    np.testing.assert_allclose(p[[0, 1], [1, 0]], expected, atol=0.01)


def test_a_class_that_does_not_occur_gets_finite_small_probability() -> None:
    scores, y, _ = drawn(1000, np.array([3.0, 3.0, 3.0]), np.zeros(3))
    kept = y != 1
    fitted = Calibrator().fit(scores[kept], y[kept])
    p = fitted.transform(scores)
    assert np.isfinite(fitted.scale_).all()
    assert np.isfinite(fitted.bias_).all()
    assert 0 < p[kept, 1].mean() < 0.001
    assert p[:, 1].mean() < 0.03
    assert expected_calibration_error(p[kept], y[kept]) < 0.06


def test_targets_are_platts_and_with_less_smoothing_surer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "SMOOTHING", 1.0)
    targets = smoothed_targets(np.array([0, 0, 0, 1]), 2)
    np.testing.assert_allclose(targets, [[4 / 5, 1 / 5]] * 3 + [[1 / 3, 2 / 3]])
    three = smoothed_targets(np.array([0, 1, 1, 2, 2, 2]), 4)
    np.testing.assert_allclose(three.sum(axis=1), 1)
    np.testing.assert_allclose(three[0], [2 / 3, 1 / 3 * 3 / 8, 1 / 3 * 4 / 8, 1 / 3 * 1 / 8])
    monkeypatch.setattr(calibration, "SMOOTHING", 0.25)
    np.testing.assert_allclose(smoothed_targets(np.array([0, 0, 0, 1]), 2)[0], [3.25 / 3.5, 0.25 / 3.5])


@settings(max_examples=60, deadline=None)
@given(arrays(np.float32, (4, 3), elements=st.floats(width=32, allow_nan=False)))
def test_probabilities_of_any_scores_are_finite_and_sum_to_one(scores: NDArray[np.float32]) -> None:
    fitted = Calibrator().load_state(
        {"scale_": np.array([0.1, 5, 90], np.float32), "bias_": np.array([0, -3, 2], np.float32)}
    )
    p = fitted.transform(scores)
    assert p.dtype == np.float32
    assert ((p >= 0) & (p <= 1)).all()
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(arrays(np.float64, 5, elements=st.floats(allow_nan=False)))
def test_two_class_probability_rises_with_the_score(scores: NDArray[np.float64]) -> None:
    fitted = Calibrator().load_state(
        {"scale_": np.array([3.0], np.float32), "bias_": np.array([1.0], np.float32)}
    )
    p = fitted.transform(np.sort(scores))
    assert (np.diff(p[:, 1]) >= 0).all()
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-6)


def test_constant_scores_give_the_frequencies() -> None:
    y = np.repeat([0, 1, 2], [600, 300, 100])
    p = Calibrator().fit(np.ones((1000, 3)), y).transform(np.ones((1, 3)))
    np.testing.assert_allclose(p[0], [0.6, 0.3, 0.1], atol=0.01)


def bells(counts: list[int], seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Scores of classes whose own score is higher by 1: softmax(score) times the frequencies is the truth."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(len(counts)), counts)
    return rng.standard_normal((len(y), len(counts))) + np.eye(len(counts))[y], y


def test_balanced_calibration_is_that_of_equal_classes() -> None:
    counts = [40_000, 8000, 2000]
    scores, y = bells(counts)
    plain, balanced = Calibrator().fit(scores, y), Calibrator().fit(scores, y, balanced=True)
    for fitted in (plain, balanced):
        np.testing.assert_allclose(fitted.scale_, 1, atol=0.1)
    np.testing.assert_allclose(plain.bias_ - plain.bias_[0], np.log(np.array(counts) / counts[0]), atol=0.1)
    np.testing.assert_allclose(balanced.bias_, 0, atol=0.06)
    # On images of which each class makes up the same share it is calibrated, and only it.
    others, truth = bells([5000] * 3, seed=1)
    assert expected_calibration_error(balanced.transform(others), truth) < 0.03
    assert expected_calibration_error(plain.transform(others), truth) > 0.1


def test_balanced_calibration_of_two_classes() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [18_000, 2000])
    # Normal scores at -1 and 1: twice the score is the log odds of equal classes.
    scores = rng.standard_normal(20_000) + 2 * y - 1
    plain, balanced = Calibrator().fit(scores, y), Calibrator().fit(scores, y, balanced=True)
    assert plain.scale_[0] == pytest.approx(2, abs=0.15)
    assert plain.bias_[0] == pytest.approx(np.log(1 / 9), abs=0.15)
    assert balanced.scale_[0] == pytest.approx(2, abs=0.15)
    assert balanced.bias_[0] == pytest.approx(0, abs=0.1)


def test_balancing_equal_classes_changes_nothing() -> None:
    scores, y = bells([300] * 3)
    plain, balanced = Calibrator().fit(scores, y), Calibrator().fit(scores, y, balanced=True)
    np.testing.assert_allclose(balanced.transform(scores), plain.transform(scores), atol=1e-3)


def test_a_class_that_does_not_occur_does_not_break_balancing() -> None:
    scores, y = bells([500, 100, 50])
    fitted = Calibrator().fit(scores[y != 1], y[y != 1], balanced=True)
    p = fitted.transform(scores)
    assert np.isfinite(p).all()
    assert p[:, 1].mean() < 0.1
    # The two that occur share the rest evenly among samples of which they make up the same share.
    assert p[y == 0, 0].mean() == pytest.approx(p[y == 2, 2].mean(), abs=0.05)


def test_errors_say_what_was_given() -> None:
    with pytest.raises(NotFittedError, match="this Calibrator is not fitted yet"):
        Calibrator().transform(np.zeros((2, 3)))
    with pytest.raises(ParameterError, match=r"Calibrator\(prior=-1"):
        Calibrator(prior=-1.0).fit(np.zeros((2, 3)), np.array([0, 1]))
    with pytest.raises(ValueError, match=r"3 rows of scores, but y has shape \(2,\)"):
        Calibrator().fit(np.zeros((3, 3)), np.array([0, 1]))
    with pytest.raises(ValueError, match="the scores of sample 1 are not finite"):
        Calibrator().fit(np.array([[0.0, 1], [np.nan, 1]]), np.array([0, 1]))
    with pytest.raises(ValueError, match="integers from 0 to 2; got int64 such as"):
        Calibrator().fit(np.zeros((2, 3)), np.array([3, 1]))
    fitted = Calibrator().fit(np.eye(3), np.arange(3))
    with pytest.raises(ValueError, match="scores have 2 columns, expected 3 as in fit"):
        fitted.transform(np.zeros((4, 2)))
