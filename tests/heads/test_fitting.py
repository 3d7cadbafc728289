"""Fitting heads: every head on digits, the choices and their bookkeeping, weighting, scaling, repeatability."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.metrics import balanced_accuracy_score, log_loss

from classic_cv.errors import DatasetError
from classic_cv.estimator import Estimator
from classic_cv.features import HOG
from classic_cv.heads import _solver
from classic_cv.heads import fitting as heads_fitting
from classic_cv.heads.calibration import Calibrator
from classic_cv.heads.cross_validation import assign_folds
from classic_cv.heads.fitting import (
    CS,
    Choice,
    Effort,
    FittedStack,
    TrainingSet,
    calibration_folds,
    can_cross_validate,
    choose,
    class_weight_of,
    fit_head,
)
from classic_cv.heads.scaler import scale_in_place
from classic_cv.heads.stack import Regressor
from classic_cv.heads.svm import LinearSVM
from classic_cv.heads.svr import LinearSVR
from classic_cv.recipe import (
    DummySettings,
    Head,
    LinearSVMSettings,
    LinearSVRSettings,
    RBFSVMSettings,
    RBFSVRSettings,
)

Floats = NDArray[np.float32]

N_TRAIN = 120

CLASSIFIERS: dict[str, Head] = {
    "linear": LinearSVMSettings(),
    "linear-groups": LinearSVMSettings(scale="groups"),
    "linear-unscaled": LinearSVMSettings(scale="none"),
    "hellinger": LinearSVMSettings(kernel_map="hellinger"),
    "chi2": LinearSVMSettings(kernel_map="chi2"),
    "rbf": LinearSVMSettings(kernel_map="rbf", n_components=100),
    "hellinger-rbf": LinearSVMSettings(kernel_map="hellinger-rbf", n_components=100),
    "svc": RBFSVMSettings(),
    "hellinger-svc": RBFSVMSettings(kernel_map="hellinger"),
}
REGRESSORS: dict[str, Head] = {
    "svr": LinearSVRSettings(),
    "hellinger-svr": LinearSVRSettings(kernel_map="hellinger"),
    "rbf-svr": RBFSVRSettings(),
    "hellinger-rbf-svr": RBFSVRSettings(kernel_map="hellinger"),
}
HEADS = [
    *(pytest.param(head, "classification", id=name) for name, head in CLASSIFIERS.items()),
    *(pytest.param(head, "regression", id=name) for name, head in REGRESSORS.items()),
]


@functools.cache
def digits() -> tuple[Floats, NDArray[np.int64], list[int]]:
    """HOG and pixels of 240 digits from 0 to 3, the digits, and the columns of the two."""
    images, numbers = load_digits(return_X_y=True)
    small = np.random.default_rng(0).permutation(np.flatnonzero(numbers < 4))[: 2 * N_TRAIN]
    pixels = images[small].reshape(-1, 8, 8)
    hog = HOG(pixels_per_cell=4).fit_transform((255 / 16 * pixels).astype(np.uint8))
    flat = (pixels.reshape(len(pixels), -1) / 16).astype(np.float32)
    return np.hstack([hog, flat]), numbers[small], [hog.shape[1], flat.shape[1]]


def training(task: Any = "classification", n: int = N_TRAIN) -> TrainingSet:
    """The first n digits; a regression estimates what is written there, as a number."""
    X, y, widths = digits()
    targets = y[:n] if task == "classification" else y[:n].astype(np.float64)
    return TrainingSet(X[:n].copy(), targets, None, widths, task)


def outputs(stack: FittedStack, X: Floats) -> NDArray[Any]:
    """Scores, or numbers, of features that the fit has not changed."""
    mapped: Any = X.copy()
    for step in stack.maps:
        mapped = step.transform(mapped)  # type: ignore[attr-defined]
    if isinstance(stack.head, Regressor):
        return np.asarray(stack.head.predict(mapped))
    return np.asarray(stack.head.decision_function(mapped))


def labels(scores: NDArray[Any]) -> NDArray[np.intp]:
    return (scores > 0).astype(np.intp) if scores.ndim == 1 else scores.argmax(axis=1)


def arrays(stack: FittedStack) -> list[NDArray[Any]]:
    """Everything that the stack has learned."""
    parts: list[Estimator] = [*stack.maps, stack.head]
    parts += [stack.calibrator] if stack.calibrator is not None else []
    return [array for part in parts for array in part.state().values()]


def chosen_values(settings: Any) -> list[Any]:
    """The values that these settings leave to cross-validation, as far as the head uses them."""
    names = ["C"]
    if isinstance(settings, RBFSVMSettings | RBFSVRSettings) or "rbf" in settings.kernel_map:
        names.append("gamma")
    if isinstance(settings, LinearSVRSettings | RBFSVRSettings):
        names.append("epsilon")
    return [getattr(settings, name) for name in names]


def overlapping(sizes: Sequence[int], seed: int = 0) -> tuple[Floats, NDArray[np.intp]]:
    """Classes that overlap, one after the other, in four columns."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(len(sizes)), sizes)
    X = rng.standard_normal((len(y), 4)) + 1.2 * np.eye(4)[y]
    return X.astype(np.float32), y


@pytest.mark.parametrize(("settings", "task"), HEADS)
def test_every_head_learns_and_its_choices_are_filled_in(settings: Head, task: str) -> None:
    X, y, _ = digits()
    stack = fit_head(settings, training(task))
    predicted = outputs(stack, X[N_TRAIN:])
    if task == "classification":
        assert np.mean(labels(predicted) == y[N_TRAIN:]) > 0.85
    else:
        # Always the median would be wrong by 1.
        assert np.abs(predicted - y[N_TRAIN:]).mean() < 0.6
    assert (stack.calibrator is None) == (task == "regression")
    assert "auto" in chosen_values(settings)
    assert all(isinstance(value, float) for value in chosen_values(stack.settings))
    assert stack.choices["C"] == stack.settings.C  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("settings", "task"), [case for case in HEADS if case.id in "linear chi2 rbf svc svr rbf-svr".split()]
)
def test_fitted_again_a_head_is_the_same(settings: Head, task: str) -> None:
    """From the settings with their choices filled in too, which is what a model file keeps."""
    first = fit_head(settings, training(task, 60))
    for given in (settings, first.settings):
        again = fit_head(given, training(task, 60))
        assert again.settings == first.settings
        for one, other in zip(arrays(first), arrays(again), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_dummy_answers_the_same_for_every_image(task: str) -> None:
    data = training(task)
    data.y = np.concatenate([data.y[data.y == 3], data.y[data.y != 3][:20]])
    data.X = data.X[: len(data.y)]
    stack = fit_head(DummySettings(), data)
    answer = outputs(stack, digits()[0][:7])
    assert stack.maps == []
    assert stack.calibrator is None
    assert stack.choices == {}
    if task == "classification":
        assert (answer.argmax(axis=1) == 3).all()
    else:
        assert answer.tolist() == [3.0] * 7


def test_calibrated_probabilities_are_worth_something() -> None:
    X, y, _ = digits()
    stack = fit_head(LinearSVMSettings(), training())
    assert stack.calibrator is not None
    probabilities = stack.calibrator.transform(outputs(stack, X[N_TRAIN:]))
    # Below half of what equal probabilities would lose.
    assert log_loss(y[N_TRAIN:], probabilities) < 0.5 * np.log(4)


def test_out_of_fold_scores_are_those_of_models_that_have_not_seen_the_row() -> None:
    data = training()
    y = data.y
    choice = choose(LinearSVMSettings(C=1.0, scale="groups", class_weight="none"), data, Effort(n_splits=3))
    np.testing.assert_array_equal(choice.rows, np.arange(N_TRAIN))
    np.testing.assert_array_equal(choice.y, y[choice.rows])

    X, _, widths = digits()
    X = X[:N_TRAIN].copy()
    scale_in_place("groups", X, widths)
    fold = assign_folds(y, None, 3, 0)
    expected = np.empty_like(choice.scores)
    for number in range(3):
        held = fold == number
        expected[held] = LinearSVM(1.0).fit(X[~held], y[~held]).decision_function(X[held])
    np.testing.assert_allclose(choice.scores, expected, atol=0.05)
    assert choice.summary["cv_accuracy"] == pytest.approx(np.mean(labels(choice.scores) == y), abs=0.01)


@pytest.mark.parametrize("settings", [CLASSIFIERS["linear"], CLASSIFIERS["rbf"], CLASSIFIERS["svc"]])
def test_held_out_scores_of_random_labels_are_chance(settings: Head) -> None:
    """A head that has seen its rows would tell them all apart: there are more columns than rows."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 200)).astype(np.float32)
    y = np.arange(120) % 2
    choice = choose(settings, TrainingSet(X, y, None, [200], "classification"))
    assert 0.3 < np.mean(labels(choice.scores) == choice.y) < 0.7


def test_groups_stay_together() -> None:
    """Three copies of each image of noise: a fold that splits them would know the answer."""
    rng = np.random.default_rng(0)
    X = np.repeat(rng.standard_normal((40, 100)), 3, axis=0).astype(np.float32)
    y = np.repeat(np.arange(40) % 2, 3)
    groups = np.repeat(np.arange(40), 3)

    def accuracy(given: NDArray[np.int64] | None) -> float:
        found = choose(LinearSVMSettings(C=1.0), TrainingSet(X.copy(), y, given, [100], "classification"))
        return float(np.mean(labels(found.scores) == found.y))

    assert accuracy(None) > 0.95
    assert accuracy(groups) < 0.75


@pytest.mark.parametrize("held_out", [1, 2])
def test_rows_of_few_folds_are_rows_of_the_training_set(held_out: int) -> None:
    data = training()
    y = data.y
    choice = choose(LinearSVMSettings(), data, Effort(n_held_out=held_out, Cs=[0.3, 3.0]))
    assert len(choice.rows) == held_out * N_TRAIN // 5
    assert (np.diff(choice.rows) > 0).all()
    np.testing.assert_array_equal(choice.y, y[choice.rows])
    assert np.mean(labels(choice.scores) == y[choice.rows]) > 0.85
    assert set(choice.summary["Cs"]) <= {0.3, 3.0}


@pytest.mark.parametrize("name", ["linear", "rbf", "svc"])
def test_a_sample_of_rows_keeps_their_numbers(name: str) -> None:
    data = training()
    y = data.y
    choice = choose(CLASSIFIERS[name], data, Effort(max_samples=80))
    assert len(choice.rows) == pytest.approx(80, abs=10)
    np.testing.assert_array_equal(choice.y, y[choice.rows])
    assert np.mean(labels(choice.scores) == y[choice.rows]) > 0.8


@pytest.mark.parametrize("name", list(REGRESSORS))
def test_out_of_fold_predictions_belong_to_their_targets(name: str) -> None:
    data = training("regression")
    y = data.y
    choice = choose(REGRESSORS[name], data)
    np.testing.assert_array_equal(choice.y, y[choice.rows])
    error = np.abs(choice.scores - y[choice.rows]).mean()
    assert error < 0.6
    assert choice.summary["cv_mae"] == pytest.approx(error, rel=0.02)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_dummy_is_compared_like_the_others(task: Any) -> None:
    data = training(task)
    choice = choose(DummySettings(), data)
    np.testing.assert_array_equal(choice.rows, np.arange(N_TRAIN))
    if task == "classification":
        most = np.bincount(data.y).argmax()
        assert (labels(choice.scores) == most).all()
        assert choice.summary["cv_accuracy"] == np.mean(data.y == most)
        two = choose(DummySettings(), TrainingSet(data.X, np.minimum(data.y, 1), None, [], task))
        assert (labels(two.scores) == 1).all()
    else:
        assert (choice.scores == np.median(data.y)).all()
        assert choice.summary["cv_mae"] == pytest.approx(np.abs(data.y - np.median(data.y)).mean())


def test_given_values_are_not_chosen() -> None:
    given = LinearSVMSettings(C=0.7, kernel_map="rbf", gamma=0.5, n_components=50)
    stack = fit_head(given, training(n=100))
    assert (stack.settings.C, stack.settings.gamma) == (0.7, 0.5)  # type: ignore[union-attr]
    assert stack.choices["Cs"] == [0.7]
    regression = fit_head(RBFSVRSettings(C=3.0, gamma=0.2, epsilon=0.05), training("regression", 100))
    assert chosen_values(regression.settings) == [3.0, 0.2, 0.05]


@pytest.mark.parametrize("settings", CLASSIFIERS.values(), ids=list(CLASSIFIERS))
@pytest.mark.parametrize("groups", [None, np.array([0, 0, 1, 1, 2, 2])])
def test_one_image_or_group_per_class_still_fits(settings: Head, groups: NDArray[np.int64] | None) -> None:
    X, _, widths = digits()
    X = X[: 3 if groups is None else 6]
    y = np.arange(3) if groups is None else groups.astype(np.intp)
    stack = fit_head(settings, TrainingSet(X.copy(), y, groups, widths, "classification"))
    np.testing.assert_array_equal(labels(outputs(stack, X)), y)
    assert chosen_values(stack.settings) == [1.0, 0.3][: len(chosen_values(settings))]
    assert stack.choices == {}
    assert stack.calibrator is not None
    with pytest.raises(DatasetError, match="nothing can be held out"):
        choose(settings, TrainingSet(X.copy(), y, groups, widths, "classification"))


@pytest.mark.parametrize("settings", REGRESSORS.values(), ids=list(REGRESSORS))
def test_three_numbers_still_fit(settings: Head) -> None:
    X, _, widths = digits()
    stack = fit_head(
        settings, TrainingSet(X[:3].copy(), np.array([0.0, 1.0, 5.0]), None, widths, "regression")
    )
    predicted = outputs(stack, X[:3])
    assert predicted[2] > predicted[1] > predicted[0]
    assert stack.choices == {}


def test_what_can_be_held_out() -> None:
    pairs = np.array([0, 0, 1, 1])
    assert can_cross_validate(pairs, None, "classification")
    assert not can_cross_validate(pairs, np.array([0, 0, 1, 1]), "classification")
    assert can_cross_validate(pairs, np.array([0, 2, 1, 1]), "classification")
    assert not can_cross_validate(np.arange(9), None, "classification")
    assert can_cross_validate(np.arange(4.0), None, "regression")
    assert not can_cross_validate(np.arange(9.0), np.arange(9) // 3, "regression")


@pytest.mark.parametrize(
    "settings",
    [
        LinearSVMSettings(C=1.0),
        LinearSVMSettings(C=1.0, kernel_map="rbf", gamma=0.3),
        RBFSVMSettings(1.0, 0.3),
    ],
    ids=["linear", "rbf", "svc"],
)
def test_unequal_classes_are_balanced(settings: Any) -> None:
    X, y = overlapping([150, 10, 15])
    wanted = overlapping([200, 200, 200], seed=1)

    def fitted(weight: str, X: Floats = X, y: NDArray[np.intp] = y) -> FittedStack:
        chosen = msgspec.structs.replace(settings, class_weight=weight)
        return fit_head(chosen, TrainingSet(X.copy(), y, None, [4], "classification"))

    def score(stack: FittedStack) -> float:
        return float(balanced_accuracy_score(wanted[1], labels(outputs(stack, wanted[0]))))

    auto, balanced, plain = (fitted(weight) for weight in ("auto", "balanced", "none"))
    assert score(auto) > score(plain) + 0.05
    for one, other in zip(arrays(auto), arrays(balanced), strict=True):
        np.testing.assert_array_equal(one, other)

    even = overlapping([40, 35, 30])
    for one, other in zip(arrays(fitted("auto", *even)), arrays(fitted("none", *even)), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("sizes", "unequal"), [([20, 20], False), ([30, 20], False), ([31, 20], True), ([50, 40, 9], True)]
)
def test_what_counts_as_unequal(sizes: list[int], unequal: bool) -> None:
    X, y = overlapping(sizes)
    data = TrainingSet(X, y, None, [4], "classification")
    assert data.unequal is unequal
    assert data.scoring == ("balanced_accuracy" if unequal else "accuracy")
    assert class_weight_of(LinearSVMSettings(), data) == ("balanced" if unequal else None)
    assert class_weight_of(LinearSVMSettings(class_weight="none"), data) is None
    assert class_weight_of(LinearSVMSettings(class_weight="balanced"), data) == "balanced"
    assert not TrainingSet(X, y.astype(float), None, [4], "regression").unequal


@pytest.mark.parametrize("scale", ["columns", "groups", "none"])
def test_a_folded_scaler_gives_the_same_scores(scale: Any) -> None:
    X, _, widths = digits()
    scaled = X[:N_TRAIN].copy()
    mean, divisor = scale_in_place(scale, scaled, widths)
    held_out = (X[N_TRAIN:] - mean) / divisor

    data = training()
    linear = LinearSVM(1.0).fit(scaled, data.y)
    settings = LinearSVMSettings(C=1.0, scale=scale, class_weight="none", precision="float32")
    stack = fit_head(settings, data)
    assert stack.maps == []
    np.testing.assert_allclose(outputs(stack, X[N_TRAIN:]), linear.decision_function(held_out), atol=1e-4)

    numbers = training("regression")
    svr = LinearSVR(1.0, 0.1).fit(scaled, numbers.y)
    stack = fit_head(LinearSVRSettings(1.0, 0.1, scale, precision="float32"), numbers)
    np.testing.assert_allclose(outputs(stack, X[N_TRAIN:]), svr.predict(held_out), atol=1e-3)


def test_the_choice_tries_what_the_effort_says() -> None:
    data = training(n=100)
    X = data.X.copy()

    def tried(settings: Head, effort: Effort | None) -> Choice:
        return choose(settings, TrainingSet(X.copy(), data.y, None, data.widths, "classification"), effort)

    assert set(tried(LinearSVMSettings(), None).summary["Cs"]) <= set(CS)
    few = tried(CLASSIFIERS["rbf"], Effort(Cs=[1.0], gammas=[0.7], n_splits=2))
    assert chosen_values(few.settings) == [1.0, 0.7]
    assert few.summary["gammas"] == [0.7]
    assert few.summary["n_splits"] == 2


@pytest.mark.parametrize(
    ("n", "smallest", "largest", "folds"),
    [
        (5000, 500, 1, None),
        (5001, 500, 1, 2),
        (10_000, 1000, 1, 2),
        (10_001, 1000, 1, 1),
        # A fold would hold too little of a class, or too few groups.
        (10_001, 249, 1, None),
        (8000, 124, 1, None),
        (20_000, 1000, 200, 1),
        (20_000, 1000, 201, None),
    ],
)
def test_calibration_of_many_rows_holds_out_few_folds(
    n: int, smallest: float, largest: int, folds: int | None
) -> None:
    assert calibration_folds(n, smallest, largest) == folds


def test_calibration_sees_every_class_where_groups_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads_fitting, "FEW_ROWS", 0)
    monkeypatch.setattr(heads_fitting, "MANY_ROWS", (20, 40))
    monkeypatch.setattr(heads_fitting, "LEAST_HELD_OUT", 1)
    seen: list[NDArray[Any]] = []
    original = Calibrator.fit

    def noting(self: Calibrator, scores: Any, y: Any, balanced: bool = False) -> Calibrator:
        seen.append(y)
        return original(self, scores, y, balanced)

    monkeypatch.setattr(Calibrator, "fit", noting)
    y = np.repeat([0, 1, 2], 40)
    rng = np.random.default_rng(0)
    X = (y[:, None] + rng.normal(0, 0.3, (120, 3))).astype(np.float32)
    for groups, rows in ((np.arange(120), 24), (np.arange(120) // 20, 120)):
        fit_head(LinearSVMSettings(C=1.0), TrainingSet(X.copy(), y, groups, [3], "classification"))
        assert len(seen[-1]) == rows
        assert set(seen[-1].tolist()) == {0, 1, 2}


def test_a_fit_of_wide_rows_is_near_the_optimum(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = overlapping([150, 150, 150])
    objectives = []
    for wide in (True, False):
        monkeypatch.setattr(heads_fitting, "is_wide", lambda n, d, wide=wide: wide)
        # As there: no span of the rows, no Gram matrix, no Hessians.
        monkeypatch.setattr(_solver, "GRAM_FEATURES", 1)
        monkeypatch.setattr(_solver, "MAX_STEP_FLOPS", 0)
        head = heads_fitting._linear(1.0, None, X)
        assert head.tol == (2e-4 if wide else 1e-5)
        head.fit(X, y)
        signs = np.where(y == np.arange(3)[:, None], 1, -1)
        slack = np.maximum(0, 1 - signs * (X @ head.coef_.T + head.intercept_).T)
        objectives.append(0.5 * ((head.coef_**2).sum() + (head.intercept_**2).sum()) + (slack**2).sum())
    assert objectives[1] <= objectives[0] * (1 + 1e-6)
    assert objectives[0] == pytest.approx(objectives[1], rel=1e-4)
    assert objectives[0] != objectives[1]
