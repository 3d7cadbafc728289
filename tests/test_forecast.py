"""Predictions of a search's time: they follow what was noted, and the memory that there is."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

import classic_cv.forecast
from classic_cv.candidates import averaged, with_copies, with_head
from classic_cv.comparison import Candidate, Measured
from classic_cv.feature_store import FeatureStore
from classic_cv.fitting import Job, make_job
from classic_cv.forecast import Forecast, memory_limit
from classic_cv.heads._solver import GRAM_FEATURES, ROW_SPACE_ROWS
from classic_cv.recipe import LinearSVMSettings, Recipe, load_recipe
from classic_cv.shadow import Shadow

N = 100_000


@pytest.fixture
def job(tmp_path: Path) -> Job:
    rng = np.random.default_rng(0)
    for k in "ab":
        (tmp_path / "data" / k).mkdir(parents=True)
        for i in range(30):
            cv2.imwrite(str(tmp_path / "data" / k / f"{i}.png"), rng.integers(0, 255, (16, 16, 3), np.uint8))
    return make_job(tmp_path / "data", test_fraction=0.0)


@pytest.fixture
def forecast(job: Job, tmp_path: Path) -> Forecast:
    return Forecast(FeatureStore(job, str(tmp_path / "store")), job.task, N)


def candidate(columns: int = 1000, recipe: Recipe | None = None, ms: float = 2.0) -> Candidate:
    return Candidate(recipe or load_recipe("hog").resized(32), Shadow(ms, ms, 1000, columns, columns))


def compared(one: Candidate, n: int, cv_seconds: float) -> Candidate:
    nothing = np.zeros(0)
    # One value of C at one of five folds.
    last = Measured(
        n, nothing.astype(np.intp), nothing, nothing, one.recipe.head, cv_seconds, cv_seconds, 0.2
    )
    one.rungs.append(last)
    return one


def test_features_take_as_long_as_they_took(forecast: Forecast) -> None:
    one, other = candidate(ms=2.0), candidate(recipe=load_recipe("color").resized(32), ms=4.0)
    # Before anything is known: as single predictions on one thread.
    assert forecast.extraction(one, 60) == pytest.approx(1.25 * 60 * 0.002, rel=0.02)
    forecast.note_extraction(one, 1000, 10.0)
    assert forecast.speed == pytest.approx(5.0)
    # The same recipe by its own time per image, another by the speed.
    assert forecast.extraction(one, 60) == pytest.approx(1.1 * 60 * 0.01, rel=0.01)
    assert forecast.extraction(other, 60) == pytest.approx(1.25 * 60 * 0.02, rel=0.01)
    # Too few images to learn from.
    forecast.note_extraction(one, 20, 10.0)
    assert forecast.speed == pytest.approx(5.0)
    forecast.store.extraction(one.recipe, 60)
    assert forecast.extraction(one, 60) < 0.01


def test_codebooks_are_learned_once(forecast: Forecast) -> None:
    recipe = load_recipe("patches").resized(32)
    one = candidate(recipe=recipe, ms=1.0)
    before = forecast.extraction(one, 60)
    forecast.note_learning(one, 60, 20.06)
    assert forecast.codebook_seconds == pytest.approx(20.0)
    assert forecast.extraction(one, 60) == pytest.approx(before + 1.25 * 15.0)
    forecast.store.featurizer(recipe)
    assert forecast.extraction(one, 60) < before


def test_solves_grow_with_rows_and_columns(forecast: Forecast) -> None:
    # Fewer rows than columns: squared; more: linear.
    narrow = compared(candidate(columns=2000), 500, 1.0)
    assert forecast._solve(narrow, 1000) == pytest.approx(4.0)
    assert forecast._solve(narrow, 2000) == pytest.approx(16.0)
    assert forecast._solve(narrow, 20_000) == pytest.approx(160.0)


def test_wide_solves_follow_their_values(forecast: Forecast) -> None:
    columns = GRAM_FEATURES + 5000
    few = compared(candidate(columns), 2500, 1.0)
    # In the rows' span up to so many, by passes over all values beyond.
    assert forecast._solve(few, ROW_SPACE_ROWS) == pytest.approx((ROW_SPACE_ROWS / 2500) ** 2)
    assert forecast._solve(few, 40_000) == pytest.approx(2 * forecast._solve(few, 20_000))
    assert 1.3 * forecast._solve(few, 40_000) == pytest.approx(1.6e-7 * 40_000 * columns)
    # Measured there, it follows the measurement.
    many = compared(candidate(columns), 8000, 3.0)
    assert forecast._solve(many, 16_000) == pytest.approx(3.0 * 2**1.3)


def test_mirror_images_take_part(forecast: Forecast) -> None:
    recipe = load_recipe("hog").resized(32)
    plain, mean, copies = (candidate(recipe=one) for one in (recipe, averaged(recipe), with_copies(recipe)))
    assert forecast.most_images(plain) == forecast.most_images(mean) == 2 * forecast.most_images(copies)
    assert forecast.extraction(copies, 60) == pytest.approx(2 * forecast.extraction(plain, 60), rel=0.02)
    columns = GRAM_FEATURES + 1
    wide = compared(candidate(columns, recipe), 2500, 1.0)
    double = compared(candidate(columns, with_copies(recipe)), 2500, 1.0)
    assert forecast._solve(double, 40_000) == pytest.approx(2 * forecast._solve(wide, 40_000))


def test_a_final_fit_takes_longer_with_more_images(forecast: Forecast) -> None:
    one = compared(candidate(), 2500, 1.0)
    times = [forecast.final(one, n) for n in (2500, 5000, 20_000, N)]
    assert times == sorted(times)
    assert forecast.comparison(one, 5000) < forecast.comparison(one, 20_000)
    # One that was not compared yet has an estimate too.
    assert forecast.final(candidate(), 5000) > 0
    regression = dataclasses.replace(forecast.store.job.task, kind="regression", class_names=())
    assert Forecast(forecast.store, regression, N).final(one, 20_000) > forecast.final(one, 20_000)


def test_wide_regressions_are_solved_another_way(forecast: Forecast) -> None:
    columns = GRAM_FEATURES + 5000
    task = dataclasses.replace(forecast.store.job.task, kind="regression", class_names=())
    wide = compared(candidate(columns), 2500, 1.0)
    assert Forecast(forecast.store, task, N)._solve(wide, 10_000) == pytest.approx(16.0)


def test_comparisons_follow_what_was_noted(forecast: Forecast) -> None:
    fresh = candidate(columns=1000, ms=0.0)
    forecast.note_comparison(compared(candidate(), 2500, 1.0), (2500, 1000), 10.0, 0.5)
    assert forecast.cost_per_value == pytest.approx(10.0 / (2500 * 1000 * 2 * 0.5))
    assert forecast.comparison(fresh, 2500) == pytest.approx(1.25 * 100.0, rel=0.01)
    # Another head of measured features: in proportion to theirs; copies are twice as many rows.
    parent = compared(candidate(columns=1000, ms=0.0), 2500, 8.0)
    chi2 = with_head(parent.recipe, LinearSVMSettings(kernel_map="chi2"), "chi2")
    child = Candidate(chi2, parent.shadow, parent=parent)
    assert forecast.comparison(child, 2500) == pytest.approx(1.25 * 2.2 * 8.0, rel=0.01)
    copies = Candidate(with_copies(parent.recipe), parent.shadow, parent=parent)
    assert forecast.comparison(copies, 2500) == pytest.approx(1.25 * 2 * 8.0, rel=0.01)


def test_calibration_of_many_rows_takes_few_folds(forecast: Forecast) -> None:
    one = candidate()
    folds = [forecast._calibration_folds(one, n, min(n, 15_000)) for n in (1000, 4000, 8000, 20_000)]
    assert folds == [10, 5, 2, 1]
    # With many classes a fold holds too little of each.
    names = tuple(map(str, range(1000)))
    many = Forecast(forecast.store, dataclasses.replace(forecast.store.job.task, class_names=names), N)
    assert many._calibration_folds(one, 20_000, 15_000) == 5


def test_memory_holds_the_rows_and_the_sample(forecast: Forecast, monkeypatch: pytest.MonkeyPatch) -> None:
    one = candidate(columns=1000)
    for rows, images in ((50_000, 35_000), (20_000, 15_000), (9000, 9000)):
        monkeypatch.setattr(classic_cv.forecast, "memory_limit", lambda rows=rows: 4000.0 * rows)
        assert forecast.most_images(one) == images
        assert forecast.most_images(candidate(1000, with_copies(one.recipe))) == images // 2


def test_memory_is_shared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(classic_cv.forecast, "CGROUP_LIMIT", tmp_path / "memory.max")
    pages = {"SC_PHYS_PAGES": 1_000_000, "SC_PAGE_SIZE": 4000}
    monkeypatch.setattr(os, "sysconf", pages.__getitem__)
    assert memory_limit() == pytest.approx(1.6e9)
    pages["SC_PHYS_PAGES"] *= 1000
    assert memory_limit() == classic_cv.forecast.MOST_BYTES
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_limit() == classic_cv.forecast.MOST_BYTES
    (tmp_path / "memory.max").write_text("2000000000\n")
    assert memory_limit() == pytest.approx(0.8e9)
    pages["SC_PHYS_PAGES"] = -1
    assert memory_limit() == classic_cv.forecast.MOST_BYTES / 2

    def missing(name: str) -> int:
        raise ValueError(name)

    monkeypatch.setattr(os, "sysconf", missing)
    assert memory_limit() == classic_cv.forecast.MOST_BYTES / 2
