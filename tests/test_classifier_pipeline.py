"""Extractors and the head together in scikit-learn's own tools, on real images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler

from classic_cv import HOG, LBP, ColorHistogram, LinearSVM, Resize


@pytest.fixture(scope="module")
def digits_arrays() -> tuple[list[NDArray[np.uint8]], NDArray[np.intp]]:
    bunch: Any = load_digits()
    images = (bunch.images[:400] * 15.9375).astype(np.uint8)
    return list(images), bunch.target[:400]


def test_pipeline_and_union_cross_validate(digits_arrays: tuple[list[Any], Any]) -> None:
    images, y = digits_arrays
    union = make_union(HOG(pixels_per_cell=8), ColorHistogram("gray", grid=4), LBP(grid=2))
    classifier = make_pipeline(Resize(32), union, StandardScaler(), LinearSVM(C=0.01))
    assert cross_val_score(classifier, images, y, cv=3).mean() > 0.9


def test_grid_search_reaches_into_extractor_and_head(digits_arrays: tuple[list[Any], Any]) -> None:
    images, y = digits_arrays
    classifier = make_pipeline(Resize(32), HOG(), LinearSVM())
    grid = {"hog__pixels_per_cell": [8, 16], "linearsvm__C": [1e-4, 1.0]}
    search = GridSearchCV(classifier, grid, cv=3).fit(images, y)
    assert search.best_params_ == {"hog__pixels_per_cell": 8, "linearsvm__C": 1.0}
    assert search.best_score_ > 0.9


def test_resize_mixes_gray_and_color() -> None:
    gray = np.full((5, 9), 100, np.uint8)
    color = np.full((40, 30, 3), (10, 20, 30), np.uint8)
    resized = Resize((8, 6)).fit_transform([gray, color])
    assert resized.shape == (2, 8, 6, 3)
    assert (resized[0] == 100).all()
    assert (resized[1] == (10, 20, 30)).all()
    assert Resize(8).fit_transform([gray, gray]).shape == (2, 8, 8)


def test_resize_rejects_bad_sizes() -> None:
    with pytest.raises(ValueError, match=r"Resize\(size=0\): expected `int` >= 1"):
        Resize(0).fit([np.zeros((3, 3), np.uint8)])
    with pytest.raises(ValueError, match=r"Resize\(size=\(1, 2, 3\)\): expected `array` of length <= 2"):
        Resize((1, 2, 3)).fit([np.zeros((3, 3), np.uint8)])
