"""Fixed recipes within CPU seconds: the largest subset that is paid for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from classic_cv.compare.classical import ModelPredictor, _trainable, fit_recipe_in_budget, next_size
from classic_cv.compare.contestant import FitTask, Fitted
from classic_cv.dataset import load_dataset, make_split
from classic_cv.recipe import load_recipe
from tests.deep.conftest import FakeBudget


def test_all_images_are_taken_where_they_are_paid_for() -> None:
    assert next_size([(200, 1.0)], 1000, 100.0) == 1000
    assert next_size([(1000, 5.0)], 1000, 100.0) is None


def test_steps_are_bounded_and_the_last_one_fits() -> None:
    # Linear cost: 0.01 s per image. The first step assumes worse.
    assert next_size([(200, 2.0)], 100_000, 1000.0) == 1000
    assert next_size([(200, 2.0), (1000, 10.0)], 100_000, 1000.0) == 5000
    # 0.85 * 200 s are 3.4 times the last fit, and cost grows at least with a power of 1.2.
    assert next_size([(1000, 10.0), (5000, 50.0)], 100_000, 200.0) == int(5000 * 3.4 ** (1 / 1.2))
    # Another fit that learns from hardly more is not worth it.
    assert next_size([(1000, 10.0), (5000, 50.0)], 100_000, 60.0) is None


def test_a_model_is_kept_before_a_larger_fit_begins(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("classic_cv.compare.classical.PILOT_IMAGES", 20)
    dataset = load_dataset(discs)
    split = make_split(dataset)
    kept: list[tuple[int, bool]] = []

    def keep(fitted: Fitted) -> None:
        kept.append((fitted.n_fit, (tmp_path / "model.safetensors").is_file()))

    names = dataset.class_names
    task = FitTask(
        dataset, split.train, dataset.y, names, split.groups, tmp_path, 0, 1, FakeBudget(np.inf), None, keep
    )
    assert fit_recipe_in_budget(load_recipe("color"), task).n_fit == 40
    assert kept == [(20, True)]


def test_a_cost_that_grows_with_the_square_is_seen() -> None:
    # 1e-5 s per pair: 4000 images would cost 160 s.
    assert next_size([(400, 1.6), (2000, 40.0)], 4000, 100.0) == pytest.approx(2915, abs=2)


def test_nothing_is_begun_once_the_budget_is_spent() -> None:
    assert next_size([(200, 1.0)], 1000, 0.0) is None
    assert next_size([(200, 1.0)], 1000, -3.0) is None


@pytest.mark.parametrize(("total", "expected"), [(np.inf, 40), (0.0, 40)])
def test_a_recipe_is_fitted_stored_and_answers(
    discs: Path, tmp_path: Path, total: float, expected: int
) -> None:
    dataset = load_dataset(discs)
    split = make_split(dataset)
    task = FitTask(
        dataset, split.train, dataset.y, dataset.class_names, split.groups, tmp_path, 0, 1, FakeBudget(total)
    )
    fitted = fit_recipe_in_budget(load_recipe("color"), task)
    assert fitted.n_fit == expected
    assert fitted.details["recipe"] == "color"
    # Another order of classes: columns are those of the comparison, not those of the model.
    predictor = ModelPredictor(tmp_path, ("red", "blue", "green"), 1)
    images = [dataset.read(int(i)) for i in split.test]
    probabilities = predictor.probabilities(images)
    assert probabilities.sum(axis=1) == pytest.approx(1.0)
    assert (probabilities[:, 1] == 0).all()
    names = np.array(["red", "blue", "green"])[probabilities.argmax(axis=1)]
    truth = np.array([dataset.targets[i] for i in split.test])
    assert (names == truth).mean() > 0.9
    assert [predictor.label(image) for image in images] == probabilities.argmax(axis=1).tolist()
    assert set(predictor.stages(images[0])) == {"decode", "features", "head"}
    assert predictor.model_bytes == (tmp_path / "model.safetensors").stat().st_size


@pytest.mark.parametrize(("total", "images"), [(30.0, 2500), (300.0, "all")])
def test_a_network_takes_so_many_images_as_it_can_see_often(
    discs: Path, tmp_path: Path, total: float, images: int | str
) -> None:
    dataset = load_dataset(discs)
    train = np.zeros(20_000, np.int64)
    task = FitTask(dataset, train, dataset.y, dataset.class_names, train, tmp_path, 0, 1, FakeBudget(total))
    recipe, note = _trainable(load_recipe("hybrid-20k"), task)
    assert recipe.train.images == images
    assert note == (
        "" if images == "all" else "2,500 of 20,000 images: more could not be seen 15 times within the budget"
    )
