"""Mirrored copies in cross-validation and fitting: they train where their images train, and are never scored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from classic_cv.errors import DatasetError
from classic_cv.heads import fitting
from classic_cv.heads.calibration import Calibrator
from classic_cv.heads.cross_validation import CrossValidation, cross_validate
from classic_cv.heads.fitting import Effort, TrainingSet, choose, fit_head
from classic_cv.heads.rbf_svm import RBFCrossValidation, cross_validate_rbf
from classic_cv.heads.svr import RegressionCrossValidation, cross_validate_regression
from classic_cv.recipe import (
    DummySettings,
    Head,
    LinearSVMSettings,
    LinearSVRSettings,
    RBFSVMSettings,
    RBFSVRSettings,
)

Floats = NDArray[np.float32]
Found = CrossValidation | RBFCrossValidation | RegressionCrossValidation

CLASSIFIERS: dict[str, Head] = {
    "linear": LinearSVMSettings(C=1.0),
    "hellinger": LinearSVMSettings(C=1.0, kernel_map="hellinger"),
    "rbf": LinearSVMSettings(C=1.0, gamma=0.3, kernel_map="rbf", n_components=20),
    "svc": RBFSVMSettings(C=1.0, gamma=0.3),
}
REGRESSORS: dict[str, Head] = {
    "svr": LinearSVRSettings(C=1.0, epsilon=0.1),
    "rbf-svr": RBFSVRSettings(C=1.0, gamma=0.1, epsilon=0.1),
}
HEADS = [
    *(pytest.param(head, "classification", id=name) for name, head in CLASSIFIERS.items()),
    *(pytest.param(head, "regression", id=name) for name, head in REGRESSORS.items()),
]


def overlapping(n: int = 60, seed: int = 0, classes: int = 3) -> tuple[Floats, NDArray[np.intp]]:
    """Classes that overlap: out of fold some are wrong, with themselves in training few would be."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    return (rng.standard_normal((n, 6)) + 1.3 * np.eye(6)[y]).astype(np.float32), y


def linear(X: Any, y: Any, C: float, **given: Any) -> Found:
    return cross_validate(X, y, Cs=[C], n_splits=4, **given)


def rbf(X: Any, y: Any, C: float, **given: Any) -> Found:
    return cross_validate_rbf(X, y, Cs=[C], gammas=[0.1], n_splits=4, **given)


def linear_svr(X: Any, y: Any, C: float, **given: Any) -> Found:
    return cross_validate_regression("linear", X, y, Cs=[C], epsilons=[0.1], n_splits=4, **given)


def rbf_svr(X: Any, y: Any, C: float, **given: Any) -> Found:
    return cross_validate_regression("rbf", X, y, Cs=[C], epsilons=[0.1], gammas=[0.1], n_splits=4, **given)


METHODS = [linear, rbf, linear_svr, rbf_svr]


def out_of_fold(found: Found) -> NDArray[Any]:
    return found.predictions if isinstance(found, RegressionCrossValidation) else found.scores


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("classes", [2, 3])
def test_a_copy_counts_as_its_original_once_more(method: Callable[..., Found], classes: int) -> None:
    # Copies that equal their originals double all losses, so they double C. A copy that stood in training while
    # its original is held out would give other scores.
    X, y = overlapping(classes=classes)
    twice = method(np.vstack([X, X]), y, 0.05, with_copies=True)
    once = method(X, y, 0.1)
    np.testing.assert_array_equal(twice.rows, once.rows)
    np.testing.assert_array_equal(twice.fold, once.fold)
    np.testing.assert_array_equal(twice.y, once.y)
    np.testing.assert_allclose(out_of_fold(twice), out_of_fold(once), atol=0.02)
    # So it would be if every image were seen in training.
    seen = method(np.vstack([X, X]), np.tile(y, 2), 0.05, seed=1)
    assert np.abs(out_of_fold(seen)[: len(X)] - out_of_fold(once)).max() > 0.05


@pytest.mark.parametrize("method", METHODS)
def test_groups_keep_together_with_their_copies(method: Callable[..., Found]) -> None:
    X, y = overlapping(90)
    groups = np.arange(90) // 3
    twice = method(np.vstack([X, X]), y, 0.05, groups=groups, with_copies=True)
    once = method(X, y, 0.1, groups=groups)
    np.testing.assert_array_equal(twice.fold, once.fold)
    np.testing.assert_allclose(out_of_fold(twice), out_of_fold(once), atol=0.02)


@pytest.mark.parametrize("method", METHODS)
def test_a_sample_keeps_originals_with_their_copies(method: Callable[..., Found]) -> None:
    X, y = overlapping()
    # Half as many originals as rows, and the same ones as without copies.
    twice = method(np.vstack([X, X]), y, 0.05, max_samples=60, with_copies=True)
    once = method(X, y, 0.1, max_samples=30)
    assert len(once.rows) == 30
    np.testing.assert_array_equal(twice.rows, once.rows)
    np.testing.assert_allclose(out_of_fold(twice), out_of_fold(once), atol=0.02)


@pytest.mark.parametrize("method", METHODS)
def test_copies_are_not_scored(method: Callable[..., Found]) -> None:
    # The first column tells the classes apart, but only of the copies: the originals' hits are chance.
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    X = rng.standard_normal((40, 2)).astype(np.float32)
    copies = X.copy()
    X[:, 0] = 0
    copies[:, 0] = 2 * y - 1
    found = method(np.vstack([X, copies]), y, 1.0, with_copies=True)
    hits = (out_of_fold(found) > (0.5 if isinstance(found, RegressionCrossValidation) else 0)) == y
    assert len(hits) == 40
    assert hits.mean() < 0.8


def test_only_some_folds_held_out() -> None:
    X, y = overlapping()
    twice = cross_validate(np.vstack([X, X]), y, Cs=[0.05], n_held_out=1, with_copies=True)
    once = cross_validate(X, y, Cs=[0.1], n_held_out=1)
    np.testing.assert_array_equal(twice.rows, once.rows)
    np.testing.assert_allclose(twice.scores, once.scores, atol=0.02)
    weighted = {"sample_weight": np.linspace(0.5, 2, len(y)), "class_weight": "balanced"}
    twice = cross_validate(np.vstack([X, X]), y, Cs=[0.05], with_copies=True, **weighted)  # type: ignore[arg-type]
    once = cross_validate(X, y, Cs=[0.1], **weighted)  # type: ignore[arg-type]
    np.testing.assert_allclose(twice.scores, once.scores, atol=0.02)


@pytest.mark.parametrize("method", METHODS)
def test_copies_have_to_be_as_many_as_originals(method: Callable[..., Found]) -> None:
    X, y = overlapping()
    with pytest.raises(ValueError, match="X has 59 rows, expected an even number"):
        method(X[:59], y[:29], 1.0, with_copies=True)
    with pytest.raises(ValueError, match="y"):
        method(X, y, 1.0, with_copies=True)


def training(task: Any, n: int = 60, groups: NDArray[np.int64] | None = None) -> TrainingSet:
    """Overlapping classes, or their numbers, with copies that are somewhat different."""
    X, y = overlapping(n)
    copies = X + np.random.default_rng(1).normal(0, 0.5, X.shape).astype(np.float32)
    targets = y if task == "classification" else y + 0.25
    return TrainingSet(np.vstack([X, copies]), targets, groups, [4, 2], task)


def physical(data: TrainingSet) -> TrainingSet:
    """The same rows as a training set of twice as many images."""
    n = len(data.y)
    return replace(data, X=data.X.copy(), y=np.tile(data.y, 2), groups=np.tile(np.arange(n), 2))


@pytest.mark.parametrize(("settings", "task"), HEADS)
def test_the_fit_is_that_of_images_and_copies_together(settings: Head, task: str) -> None:
    data = training(task)
    assert data.has_copies
    assert not physical(data).has_copies
    wanted = fit_head(settings, physical(data))
    stack = fit_head(settings, data)
    assert stack.head.state().keys() == wanted.head.state().keys()
    for name, array in stack.head.state().items():
        np.testing.assert_array_equal(array, wanted.head.state()[name])


def test_the_dummy_ignores_copies() -> None:
    data = training("classification")
    assert choose(DummySettings(), data).scores.shape == (60, 3)
    once = fit_head(DummySettings(), replace(data, X=data.X[:60])).head.state()
    for name, array in fit_head(DummySettings(), data).head.state().items():
        np.testing.assert_array_equal(array, once[name])
    numbers = training("regression")
    assert choose(DummySettings(), numbers).scores.shape == (60,)
    assert float(fit_head(DummySettings(), numbers).head.state()["median_"][0]) == np.median(numbers.y)


@pytest.mark.parametrize(("settings", "task"), HEADS)
def test_choices_and_calibration_go_by_the_images(
    settings: Head, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    fit = Calibrator.fit

    def watched(self: Any, scores: Any, y: Any, balanced: bool = False) -> Any:
        seen.append(len(y))
        return fit(self, scores, y, balanced)

    monkeypatch.setattr(Calibrator, "fit", watched)
    is_open = msgspec.structs.replace(settings, C="auto")
    stack = fit_head(is_open, training(task))
    assert stack.choices["n_rows"] == 60
    assert seen == ([60] if task == "classification" else [])
    choice = choose(is_open, training(task), Effort(n_splits=3))
    np.testing.assert_array_equal(choice.rows, np.arange(60))


def test_calibration_of_classes_with_one_image() -> None:
    X = np.eye(3, dtype=np.float32)
    data = TrainingSet(np.vstack([X, X + 0.1]), np.arange(3), None, [3], "classification")
    with pytest.raises(DatasetError, match="nothing can be held out"):
        choose(LinearSVMSettings(), data)
    stack = fit_head(LinearSVMSettings(), data)
    assert stack.choices == {}
    assert stack.calibrator is not None


def test_the_exact_kernel_looks_at_half_as_many_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "MAX_ROWS", 60)
    choice = choose(RBFSVMSettings(C=1.0, gamma=0.1), training("classification"))
    assert len(choice.rows) == 30
    choice = choose(RBFSVRSettings(C=1.0, gamma=0.1, epsilon=0.1), training("regression"))
    assert len(choice.rows) == 30
