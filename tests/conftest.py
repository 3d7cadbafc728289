"""Shared fixtures: small real data sets and a model fitted once."""

from __future__ import annotations

from pathlib import Path

import pytest

from classic_cv.demo import write_demo
from classic_cv.fitting import fit
from classic_cv.model import Model

SMALL_RECIPE = """
description = "HOG and gray levels at 32 pixels: small and quick, for tests."

[image]
size = 32

[[features]]
type = "hog"
pixels_per_cell = 8

[[features]]
type = "color-histogram"
space = "gray"
bins = 8

[head]
type = "linear-svm"
C = 1.0
scale = "groups"
"""


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scikit-learn's digits as train/ and test/ folders."""
    folder = tmp_path_factory.mktemp("data") / "digits"
    write_demo(folder, "digits")
    return folder


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scikit-image's lfw_subset as train/ and test/ folders: two classes, 200 images."""
    folder = tmp_path_factory.mktemp("data") / "faces"
    write_demo(folder, "faces")
    return folder


@pytest.fixture(scope="session")
def small_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe file that fits in a second."""
    path = tmp_path_factory.mktemp("recipes") / "small.toml"
    path.write_text(SMALL_RECIPE, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def model(faces: Path, small_recipe: Path) -> Model:
    """A model of the faces."""
    return fit(faces, small_recipe, jobs=1)


@pytest.fixture(scope="session")
def model_file(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model as a file."""
    path = tmp_path_factory.mktemp("models") / "faces.safetensors"
    model.save(path)
    return path
