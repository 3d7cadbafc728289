from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from classic_cv.checks import reference_choice
from classic_cv.checks.reference_choice import choose_recipe
from classic_cv.feature_store import FeatureStore
from classic_cv.fitting import read_job


def test_what_is_too_dear_is_left_out_with_the_reason(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference_choice, "MOST_FIT", 150 * 2 * 3000)
    job = read_job(faces, jobs=1)
    chosen = choose_recipe(job, FeatureStore(job, str(tmp_path)))
    # Of the shelf's only HOG has so few columns.
    assert chosen.recipe.name.startswith("hog-small-64")
    reasons = {row["recipe"]: row.get("reason", "") for row in chosen.compared}
    assert "a fit of 2 classes would take too long" in reasons["fisher-patches"]
    assert next(row for row in chosen.compared if row["recipe"] == "hog-small-64")["loss"] < 0.2


def test_the_narrowest_is_taken_where_all_are_too_dear(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference_choice, "MOST_BYTES", 1.0)
    job = read_job(faces, jobs=1)
    chosen = choose_recipe(job, FeatureStore(job, str(tmp_path)))
    assert chosen.recipe.name == "hog-small-64"


def test_without_anything_to_hold_out_the_richest_is_taken(faces: Path, tmp_path: Path) -> None:
    job = read_job(faces, jobs=1)
    one_each = np.sort([job.train[job.task.y[job.train] == k][0] for k in (0, 1)])
    job = replace(job, train=one_each)
    assert choose_recipe(job, FeatureStore(job, str(tmp_path))).recipe.name == "fisher-patches"
