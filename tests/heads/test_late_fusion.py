"""Late fusion: weights of extractors, the one linear SVM they make, its out-of-fold scores, recipes and errors."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from classic_cv.candidates import head_label
from classic_cv.errors import DatasetError, RecipeError
from classic_cv.features import HOG, ColorHistogram
from classic_cv.fitting import fit
from classic_cv.heads import late_fusion
from classic_cv.heads.cross_validation import cross_validate
from classic_cv.heads.fitting import CS, Effort, FittedStack, TrainingSet, choose, fit_head
from classic_cv.heads.kernel_map import AdditiveChi2, Hellinger
from classic_cv.heads.late_fusion import choose_weights, fuse, without_extractor
from classic_cv.heads.scaler import scale_in_place
from classic_cv.heads.svm import LinearSVM
from classic_cv.model import load
from classic_cv.recipe import (
    FeatureSettings,
    LinearSVMSettings,
    LinearSVRSettings,
    Recipe,
    load_recipe,
    parse_recipe,
)
from classic_cv.report import choice_text, percent, show_text

Floats = NDArray[np.float32]

LATE = LinearSVMSettings(fusion="late", precision="float32")
FIXED = LinearSVMSettings(
    C=(0.3, 3.0), fusion="late", fusion_weights=(0.7, 0.3), precision="float32", class_weight="none"
)


def labels(scores: NDArray[Any]) -> NDArray[np.intp]:
    return (scores > 0).astype(np.intp) if scores.ndim == 1 else scores.argmax(axis=1)


def arrays(stack: FittedStack) -> list[NDArray[Any]]:
    assert stack.calibrator is not None
    return [array for part in (*stack.maps, stack.head, stack.calibrator) for array in part.state().values()]


def assert_same(one: FittedStack, other: FittedStack) -> None:
    for left, right in zip(arrays(one), arrays(other), strict=True):
        np.testing.assert_array_equal(left, right)


def outputs(stack: FittedStack, X: Floats) -> Floats:
    for step in stack.maps:
        X = step.transform(X)  # type: ignore[attr-defined]
    assert isinstance(stack.head, LinearSVM)
    return stack.head.decision_function(X)


def two_views(n: int = 60, classes: int = 3, seed: int = 0) -> tuple[Floats, NDArray[np.intp]]:
    """Two extractors, 6 and 5 columns of 0 or more, which both know something of the class."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    first = rng.normal(3, 1, (n, 6)) + 1.2 * np.eye(6)[y]
    second = rng.normal(3, 1, (n, 5)) + 0.9 * np.eye(5)[y]
    return np.abs(np.hstack([first, second])).astype(np.float32), y


def training(n: int = 60, classes: int = 3, seed: int = 0) -> TrainingSet:
    X, y = two_views(n, classes, seed)
    return TrainingSet(X, y, None, [6, 5], "classification")


# The weights.


def noisy_scores(
    y: NDArray[np.intp], strengths: list[float], classes: int = 3, seed: int = 0
) -> NDArray[np.float32]:
    """Scores that know the class as well as their strength says."""
    rng = np.random.default_rng(seed)
    parts = [strength * np.eye(classes)[y] + rng.normal(0, 1, (len(y), classes)) for strength in strengths]
    return np.stack(parts).astype(np.float32)


def smallest_log_loss(total: NDArray[Any], y: NDArray[np.intp]) -> float:
    """Over all temperatures, by SciPy's softmax."""

    def loss(log_temperature: float) -> float:
        return -float(log_softmax(np.exp(log_temperature) * total, axis=1)[np.arange(len(y)), y].mean())

    return float(minimize_scalar(loss, bounds=(-8, 5), method="bounded").fun)


def test_no_other_weights_have_a_smaller_log_loss() -> None:
    y = np.arange(600) % 3
    each = noisy_scores(y, [1.5, 0.8, 0.0])
    weights = choose_weights(each, y)
    best = smallest_log_loss(np.tensordot(weights, each, 1), y)
    steps = np.linspace(0, 1, 11)
    grid = [w for w in itertools.product(steps, repeat=3) if abs(sum(w) - 1) < 1e-9]
    assert best < min(smallest_log_loss(np.tensordot(w, each, 1), y) for w in grid) + 2e-4
    # Of independent normal errors of variance 1 the best weights are as the strengths.
    np.testing.assert_allclose(weights, np.array([1.5, 0.8, 0.0]) / 2.3, atol=0.07)


def test_two_classes_are_one_score() -> None:
    y = np.arange(400) % 2
    each = noisy_scores(y, [2.0, 0.5, 0.0], classes=2)
    single = each[:, :, 1] - each[:, :, 0]
    assert choose_weights(single, y) == choose_weights(each, y)


@examples(max_examples=12, deadline=None)
@given(
    strengths=st.lists(st.floats(0, 3), min_size=2, max_size=4),
    factor=st.floats(0.01, 100),
    seed=st.integers(0, 99),
)
def test_weights_are_shares_that_go_with_their_extractors(
    strengths: list[float], factor: float, seed: int
) -> None:
    y = np.arange(60) % 3
    each = noisy_scores(y, strengths, seed=seed)
    weights = np.array(choose_weights(each, y))
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1, abs=0.003)
    np.testing.assert_allclose(choose_weights(each[::-1], y), weights[::-1], atol=0.0021)
    # Neither the unit of the scores nor what is common to all classes matters.
    shifted = (factor * (each + np.float32(0.7))).astype(np.float32)
    np.testing.assert_allclose(choose_weights(shifted, y), weights, atol=0.0021)


def test_limits_of_the_weights() -> None:
    y = np.arange(30) % 3
    each = noisy_scores(y, [1.0, 1.0])
    assert choose_weights(each[:1], y) == (1.0,)
    assert choose_weights(each[:, :0], y[:0]) == (0.5, 0.5)
    assert choose_weights(np.zeros_like(each), y) == (0.5, 0.5)
    # Both know the opposite of the truth: neither is better than none.
    assert choose_weights(-20 * np.stack([np.eye(3)[y]] * 2).astype(np.float32), y) == (0.5, 0.5)
    # Both know all: no weight runs away.
    assert choose_weights(np.stack([np.eye(3)[y]] * 2).astype(np.float32), y) == (0.5, 0.5)


def test_with_few_rows_weights_are_nearer_to_equal() -> None:
    def least(n: int, seed: int) -> float:
        y = np.arange(n) % 3
        return min(choose_weights(noisy_scores(y, [1.5, 0.5], seed=seed), y))

    assert least(3000, 0) == pytest.approx(0.25, abs=0.03)
    # Without the pull six rows would often give one extractor everything.
    assert np.median([least(6, seed) for seed in range(9)]) > 0.05


def test_many_rows_are_sampled_class_by_class(monkeypatch: pytest.MonkeyPatch) -> None:
    y = np.repeat([0, 1, 2], 400)
    each = noisy_scores(y, [1.5, 0.8])
    monkeypatch.setattr(late_fusion, "WEIGHT_ROWS", 400)
    every_third = choose_weights(each, y)
    monkeypatch.undo()
    assert every_third == choose_weights(each[:, ::3], y[::3])
    np.testing.assert_allclose(every_third, choose_weights(each, y), atol=0.06)


def test_balanced_weights_listen_to_the_rare_class() -> None:
    y = np.repeat([0, 1, 2], [300, 300, 20])
    each = noisy_scores(y, [0.0, 0.0])
    each[0] += 2 * np.eye(3, dtype=np.float32)[y] * (y < 2)[:, None]
    each[1] += 2 * np.eye(3, dtype=np.float32)[y] * (y == 2)[:, None]
    assert choose_weights(each, y, balanced=True)[1] > choose_weights(each, y)[1] + 0.1


# What they make of extractors.


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("kernel_map", ["none", "hellinger", "chi2"])
@pytest.mark.parametrize("scale", ["columns", "groups", "none"])
def test_scores_are_the_weighted_sum_of_separate_svms(classes: int, kernel_map: Any, scale: Any) -> None:
    settings = msgspec.structs.replace(FIXED, kernel_map=kernel_map, scale=scale)
    X, y = two_views(classes=classes)
    unseen, _ = two_views(40, classes, seed=1)
    expected = np.zeros((40, 3) if classes == 3 else 40)
    for columns, C, weight in ((slice(0, 6), 0.3, 0.7), (slice(6, 11), 3.0, 0.3)):
        part, held_out = X[:, columns], unseen[:, columns]
        if kernel_map != "none":
            kind = (Hellinger if kernel_map == "hellinger" else AdditiveChi2)().fit(part)
            part, held_out = kind.transform(part), kind.transform(held_out)
        part = part.copy()
        mean, divisor = scale_in_place(scale, part, [part.shape[1]])
        svm = LinearSVM(C).fit(part, y)
        expected = expected + weight * svm.decision_function(((held_out - mean) / divisor).astype(np.float32))
    stack = fit_head(settings, training(classes=classes))
    np.testing.assert_allclose(outputs(stack, unseen), expected, atol=2e-4)
    assert stack.settings == settings


def test_with_one_extractor_late_is_early() -> None:
    X, y = two_views()
    data = TrainingSet(X, y, None, [11], "classification")
    early = LinearSVMSettings()
    one, other = (
        fit_head(settings, replace(data, X=X.copy()))
        for settings in (early, msgspec.structs.replace(early, fusion="late"))
    )
    assert_same(one, other)
    np.testing.assert_array_equal(one.mean, other.mean)
    assert isinstance(other.settings, LinearSVMSettings)
    assert (other.settings.C, other.settings.fusion_weights) == ((one.choices["C"],), (1.0,))
    for effort in (Effort(n_splits=3, Cs=[0.1, 1.0]), Effort(n_held_out=1, Cs=[0.1, 1.0])):
        left, right = (
            choose(settings, replace(data, X=X.copy()), effort)
            for settings in (early, msgspec.structs.replace(early, fusion="late"))
        )
        np.testing.assert_array_equal(left.scores, right.scores)
        np.testing.assert_array_equal(left.rows, right.rows)
        shared = set(left.summary) - {"C", "cv_means"}
        assert {key: right.summary[key] for key in shared} == {key: left.summary[key] for key in shared}


def informed_and_noise(n: int, seed: int) -> tuple[Floats, NDArray[np.intp]]:
    """Four columns that know the class, and 300 that know nothing."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 4
    return np.hstack([rng.normal(0, 1, (n, 4)) + 1.8 * np.eye(4)[y], rng.normal(0, 1, (n, 300))]).astype(
        np.float32
    ), y


def test_noise_gets_no_weight_and_late_beats_early() -> None:
    X, y = informed_and_noise(240, 0)
    unseen, truth = informed_and_noise(1000, 1)
    accuracy = {}
    for fusion in ("early", "late"):
        settings = LinearSVMSettings(fusion=fusion)
        stack = fit_head(settings, TrainingSet(X.copy(), y, None, [4, 300], "classification"))
        accuracy[fusion] = float(np.mean(labels(outputs(stack, unseen)) == truth))
    assert accuracy["late"] > accuracy["early"] + 0.05
    # What is expected by cross-validation is what comes out.
    assert stack.choices["cv_accuracy"] == pytest.approx(accuracy["late"], abs=0.06)
    first, second = stack.choices["extractors"]
    assert first["cv_accuracy"] > 0.6 > 0.4 > second["cv_accuracy"]
    assert first["share"] > 0.9
    assert second["share"] < 0.1


def test_extractors_get_the_C_that_each_needs() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(300) % 3
    # Many columns with a little knowledge each: a large C fits their noise. And two that are almost equal, whose small
    # difference tells the classes exactly: a small C does not see it.
    wide = rng.normal(0, 1, (300, 200)) + 0.12 * np.tile(np.eye(3)[y], 67)[:, :200]
    common = rng.normal(0, 1, (300, 1))
    fine = np.hstack([common, common + 0.05 * (y[:, None] - 1) + rng.normal(0, 0.005, (300, 1))])
    X = np.hstack([wide, fine]).astype(np.float32)
    choice = choose(LATE, TrainingSet(X.copy(), y, None, [200, 2], "classification"))
    assert isinstance(choice.settings, LinearSVMSettings)
    assert isinstance(choice.settings.C, tuple)
    assert choice.settings.C[0] * 10 <= choice.settings.C[1]
    for columns, C, entry in zip(
        (slice(0, 200), slice(200, 202)), choice.settings.C, choice.summary["extractors"], strict=True
    ):
        part = np.ascontiguousarray(X[:, columns])
        scale_in_place("columns", part, [part.shape[1]])
        alone = cross_validate(part, y, Cs=CS).summary()
        assert alone["C"] == C
        assert entry == {"weight": entry["weight"], "share": entry["share"], **alone}
    assert choice.summary["C"] == list(choice.settings.C)
    assert choice.summary["fusion_weights"] == list(choice.settings.fusion_weights)


# Cross-validation and the fit.


def test_out_of_fold_sums_have_weights_that_did_not_see_the_fold() -> None:
    X, y = two_views()
    found = [cross_validate(X[:, columns], y, Cs=[0.1]) for columns in (slice(0, 6), slice(6, 11))]
    each = np.stack([entry.scores for entry in found])
    fusion = fuse(found, None)
    for number in range(5):
        mine = found[0].fold == number
        weights = choose_weights(each[:, ~mine], y[~mine])
        np.testing.assert_allclose(fusion.scores[mine], np.tensordot(weights, each[:, mine], 1), atol=1e-5)
    assert fusion.weights == choose_weights(each, y)
    given = fuse(found, [2.0, 0.5])
    np.testing.assert_allclose(given.scores, 2 * each[0] + each[1] / 2, atol=1e-5)
    assert given.weights == (2.0, 0.5)


def test_what_is_expected_of_noise_is_chance() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 200)).astype(np.float32)
    y = np.arange(120) % 2
    choice = choose(LATE, TrainingSet(X, y, None, [50] * 4, "classification"))
    assert 0.3 < np.mean(labels(choice.scores) == y) < 0.7


@pytest.mark.parametrize("held_out", [1, 2, None])
def test_only_some_folds_are_held_out(held_out: int | None) -> None:
    choice = choose(LATE, training(), Effort(n_held_out=held_out, Cs=[0.1, 1.0]))
    early = choose(LinearSVMSettings(), training(), Effort(n_held_out=held_out, Cs=[0.1, 1.0]))
    np.testing.assert_array_equal(choice.rows, early.rows)
    np.testing.assert_array_equal(choice.y, early.y)
    assert choice.scores.shape == early.scores.shape
    assert choice.summary["cv_accuracy"] == pytest.approx(
        np.mean(labels(choice.scores) == choice.y), abs=0.02
    )
    assert choice.summary["n_splits"] == early.summary["n_splits"]


def test_the_effort_can_differ_between_extractors() -> None:
    choice = choose(LATE, training(), Effort(Cs=[1.0], extractor_Cs=[[0.1], [3.0]]))
    assert choice.summary["C"] == [0.1, 3.0]
    assert choice.summary["Cs"] == [0.1, 3.0]
    same = choose(msgspec.structs.replace(LATE, C=0.5), training(), Effort(extractor_Cs=[[0.1], [3.0]]))
    assert same.summary["C"] == [0.5, 0.5]


def test_groups_stay_together() -> None:
    rng = np.random.default_rng(0)
    X = np.repeat(rng.standard_normal((40, 100)), 3, axis=0).astype(np.float32)
    y = np.repeat(np.arange(40) % 2, 3)

    def accuracy(groups: NDArray[np.int64] | None) -> float:
        found = choose(
            msgspec.structs.replace(LATE, C=1.0),
            TrainingSet(X.copy(), y, groups, [50, 50], "classification"),
        )
        return float(np.mean(labels(found.scores) == found.y))

    assert accuracy(None) > 0.95
    assert accuracy(np.repeat(np.arange(40), 3)) < 0.75


@pytest.mark.parametrize("classes", [2, 3])
def test_copies_train_and_are_not_scored(classes: int) -> None:
    X, y = two_views(60, classes)
    copies = np.abs(X + np.random.default_rng(1).normal(0, 0.5, X.shape).astype(np.float32))
    data = TrainingSet(np.vstack([X, copies]), y, None, [6, 5], "classification")
    choice = choose(LATE, replace(data, X=data.X.copy()))
    np.testing.assert_array_equal(choice.rows, np.arange(60))
    assert len(choice.scores) == 60
    both = replace(data, X=data.X.copy(), y=np.tile(y, 2), groups=np.tile(np.arange(60), 2))
    wanted, stack = fit_head(FIXED, both), fit_head(FIXED, data)
    for name, array in stack.head.state().items():
        np.testing.assert_array_equal(array, wanted.head.state()[name])


@pytest.mark.parametrize("classes", [2, 3])
def test_unequal_classes_are_balanced(classes: int) -> None:
    X, y = two_views(300, classes)
    kept = np.sort(np.concatenate([np.flatnonzero(y == 0), np.flatnonzero(y != 0)[:24]]))
    data = TrainingSet(X[kept], y[kept], None, [6, 5], "classification")
    unseen, truth = two_views(600, classes, seed=2)
    found = {}
    for weight in ("auto", "balanced", "none"):
        settings = msgspec.structs.replace(LATE, class_weight=weight)
        found[weight] = fit_head(settings, replace(data, X=X[kept].copy()))
    assert_same(found["auto"], found["balanced"])
    score = {name: np.mean(labels(outputs(stack, unseen)) == truth) for name, stack in found.items()}
    assert score["auto"] > score["none"] + 0.03


@pytest.mark.parametrize("settings", [LATE, msgspec.structs.replace(LATE, kernel_map="chi2", scale="none")])
def test_fitted_again_it_is_the_same(settings: LinearSVMSettings) -> None:
    first = fit_head(settings, training())
    for given_settings in (settings, first.settings):
        again = fit_head(given_settings, training())
        assert again.settings == first.settings
        assert_same(first, again)
    resolved = first.settings
    assert isinstance(resolved, LinearSVMSettings)
    assert resolved.fusion == "late"
    assert len(resolved.C) == len(resolved.fusion_weights) == 2  # type: ignore[arg-type]


def test_where_nothing_can_be_held_out_all_count_alike() -> None:
    X = np.eye(3, 11, dtype=np.float32)
    X[:, 6:9] = np.eye(3)
    data = TrainingSet(X, np.arange(3), None, [6, 5], "classification")
    with pytest.raises(DatasetError, match="nothing can be held out"):
        choose(LATE, replace(data, X=X.copy()))
    stack = fit_head(LATE, replace(data, X=X.copy()))
    assert stack.choices == {}
    assert stack.settings == msgspec.structs.replace(LATE, C=(1.0, 1.0), gamma=0.3, fusion_weights=(0.5, 0.5))
    np.testing.assert_array_equal(labels(outputs(stack, X)), np.arange(3))


def test_a_weight_of_0_takes_an_extractor_out() -> None:
    settings = msgspec.structs.replace(FIXED, fusion_weights=(0.0, 1.0), precision="float16")
    stack = fit_head(settings, training())
    assert isinstance(stack.head, LinearSVM)
    assert not stack.head.coef_[:, :6].any()
    assert stack.head.coef_[:, 6:].all()


# Recipes.


def recipe_with(head: str, n: int = 2) -> Recipe:
    import tomllib

    text = '[[features]]\ntype = "hog"\n' * n + f'[head]\ntype = "linear-svm"\n{head}'
    return parse_recipe(tomllib.loads(text), name="mine", source="mine.toml")


def test_a_recipe_comes_back_from_its_text(tmp_path: Path) -> None:
    recipe = recipe_with('fusion = "late"\nC = [0.3, 10]\nfusion_weights = [0.625, 0]\nkernel_map = "chi2"')
    assert recipe.head == LinearSVMSettings(
        (0.3, 10.0), kernel_map="chi2", fusion="late", fusion_weights=(0.625, 0.0)
    )
    path = tmp_path / "mine.toml"
    path.write_text(recipe.to_toml())
    assert load_recipe(path) == msgspec.structs.replace(recipe)
    assert "fusion_weights = [0.625, 0.0]" in path.read_text()
    assert hash(recipe.head) == hash(load_recipe(path).head)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ('fusion = "middle"', "head.fusion: invalid enum value 'middle'"),
        (
            'fusion = "late"\nkernel_map = "rbf"',
            "head.fusion: late fusion needs a linear score per extractor",
        ),
        ('fusion = "late"\nkernel_map = "hellinger-rbf"', 'kernel_map = "hellinger-rbf" mixes the columns'),
        ("C = [1, 2]", 'head.C: a list, one value per extractor, is for fusion = "late"'),
        ("fusion_weights = [1, 2]", "head.fusion_weights: a list, one value per extractor, is for"),
        ('fusion = "late"\nC = [1, 2, 3]', "head.C: 3 values for 2 extractors: give one for each"),
        ('fusion = "late"\nC = []', "head.C: 0 values for 2 extractors"),
        ('fusion = "late"\nfusion_weights = [1]', "head.fusion_weights: 1 values for 2 extractors"),
        ('fusion = "late"\nC = [1, 0]', "head.C[1]: expected `float` > 0.0"),
        ('fusion = "late"\nfusion_weights = [1, -1]', "head.fusion_weights[1]: expected `float` >= 0.0"),
        ('fusion = "late"\nfusion_weights = [0, 0]', "head.fusion_weights: [0.0, 0.0], expected finite"),
        ('fusion = "late"\nfusion_weights = [1, inf]', "head.fusion_weights: [1.0, inf], expected finite"),
    ],
)
def test_mistakes_in_recipes(head: str, message: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(message)) as error:
        recipe_with(head)
    assert str(error.value).startswith("mine.toml: head.")


def test_settings_that_do_not_fit_the_features() -> None:
    for method in (choose, fit_head):
        with pytest.raises(RecipeError, match="3 values for 2 extractors"):
            method(msgspec.structs.replace(LATE, C=(1.0, 1.0, 1.0)), training())
        with pytest.raises(RecipeError, match="late fusion needs a linear score"):
            method(msgspec.structs.replace(LATE, kernel_map="rbf"), training())


def test_a_regression_is_fused_early() -> None:
    assert recipe_with('fusion = "late"\nC = [1, 2]').for_regression().head == LinearSVRSettings()


def test_without_one_of_the_extractors() -> None:
    settings = msgspec.structs.replace(LATE, C=(1.0, 2.0, 3.0), fusion_weights=(0.5, 0.2, 0.3))
    assert without_extractor(settings, 1) == msgspec.structs.replace(LATE, C=(1.0, 3.0))
    assert without_extractor(LATE, 0) == LATE
    assert without_extractor(LinearSVMSettings(C=2.0), 0) == LinearSVMSettings(C=2.0)


def test_in_words() -> None:
    assert head_label(LATE) == "late fusion + linear SVM"
    assert head_label(msgspec.structs.replace(LATE, kernel_map="chi2")) == "late fusion + chi2 + linear SVM"


# The model.


def test_a_model_of_late_fusion(faces: Path, tmp_path: Path) -> None:
    """Saved, loaded, explained, fitted again, with a report of its extractors."""
    features = (
        FeatureSettings("hog", HOG(pixels_per_cell=8).get_params()),
        FeatureSettings("color-histogram", ColorHistogram(space="gray").get_params()),
    )
    recipe = msgspec.structs.replace(
        load_recipe("hog-small"), features=features, head=LinearSVMSettings(fusion="late")
    )
    model = fit(faces, recipe, jobs=1, insight=True)
    path = tmp_path / "late.safetensors"
    model.save(path)
    loaded = load(path)
    assert loaded.recipe == model.recipe
    images = sorted((faces / "test").rglob("*.png"))
    np.testing.assert_array_equal(loaded.predict_proba(images), model.predict_proba(images))

    explanation = loaded.explain(images[0])
    assert explanation.bias + sum(group.contribution for group in explanation.groups) == pytest.approx(
        explanation.score, abs=1e-4
    )
    assert model.report is not None
    assert len(model.report["groups"]["rows"]) == 2

    again = fit(faces, path, jobs=1)
    np.testing.assert_array_equal(again.predict_proba(images), model.predict_proba(images))
    again.save(tmp_path / "again.safetensors")
    assert fit(faces, tmp_path / "again.safetensors", jobs=1).to_bytes() == again.to_bytes()

    text = choice_text(model.metadata.fit)
    C, weights = (", ".join(f"{v:g}" for v in model.metadata.fit[name]) for name in ("C", "fusion_weights"))
    assert f"C = [{C}], fusion_weights = [{weights}]" in text
    first, second = model.metadata.fit["extractors"]
    assert f"alone {percent(first['cv_accuracy'])}, {percent(second['cv_accuracy'])}; share of" in text
    assert f"the score {percent(first['share'])}, {percent(second['share'])}" in text
    assert f"C = [{C}]" in show_text(loaded.summary())
