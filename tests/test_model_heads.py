"""Model files of every head: saved, loaded and checked, here and in a process that has no scikit-learn."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from classic_cv import artifact
from classic_cv.errors import ArtifactError
from classic_cv.fitting import fit
from classic_cv.model import Model, load
from classic_cv.recipe import (
    DummySettings,
    Head,
    LinearSVMSettings,
    LinearSVRSettings,
    RBFSVMSettings,
    RBFSVRSettings,
    Recipe,
    load_recipe,
)

CLASSIFIERS: dict[str, Head] = {
    "linear": LinearSVMSettings(C=1.0),
    "hellinger": LinearSVMSettings(C=1.0, kernel_map="hellinger"),
    "chi2": LinearSVMSettings(C=1.0, kernel_map="chi2"),
    "rbf": LinearSVMSettings(C=1.0, gamma=0.3, kernel_map="rbf", n_components=30),
    "hellinger-rbf": LinearSVMSettings(C=1.0, gamma=0.3, kernel_map="hellinger-rbf", n_components=30),
    "rbf-svm": RBFSVMSettings(C=1.0, gamma=0.3),
    "hellinger-rbf-svm": RBFSVMSettings(C=1.0, gamma=0.3, kernel_map="hellinger"),
    "dummy": DummySettings(),
}
REGRESSORS: dict[str, Head] = {
    "linear-svr": LinearSVRSettings(C=1.0, epsilon=0.1),
    "hellinger-svr": LinearSVRSettings(C=1.0, epsilon=0.1, kernel_map="hellinger"),
    "rbf-svr": RBFSVRSettings(C=10.0, gamma=0.1, epsilon=0.1),
    "hellinger-rbf-svr": RBFSVRSettings(C=10.0, gamma=0.1, epsilon=0.1, kernel_map="hellinger"),
    "dummy-regression": DummySettings(),
}
HEADS = {**CLASSIFIERS, **REGRESSORS}

PROBE = """
import json, sys
import classic_cv
images = json.loads(sys.argv[1])
answers = {path: [str(answer) for answer in classic_cv.load(path).predict(images)] for path in sys.argv[2:]}
print(json.dumps([[m for m in ("sklearn", "scipy") if m in sys.modules], answers]))
"""


def disc(radius: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A disc on noise: its size is the class, or the number."""
    pixels = rng.integers(20, 90, (24, 24, 3), dtype=np.uint8)
    cv2.circle(pixels, (12, 12), round(radius), (200, 180, 90), -1)
    return pixels


def recipe_of(head: Head) -> Recipe:
    return msgspec.structs.replace(load_recipe("hog-fast"), head=head)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Discs of three sizes: a manifest with the size as class, and as a number that has a fraction."""
    folder = tmp_path_factory.mktemp("discs")
    rng = np.random.default_rng(0)
    rows = []
    for index in range(48):
        radius = 3 + 3 * (index % 3)
        (folder / f"{index}.png").write_bytes(cv2.imencode(".png", disc(radius, rng))[1].tobytes())
        rows.append(f"{index}.png,{'small medium large'.split()[index % 3]},{radius + index / 1000}")
    (folder / "labels.csv").write_text("file,name,radius\n" + "\n".join(rows))
    return folder


@pytest.fixture(scope="module")
def models(data: Path) -> dict[str, Model]:
    """A model with each head."""
    return {
        name: fit(data, recipe_of(head), target="radius" if name in REGRESSORS else "name", jobs=1)
        for name, head in HEADS.items()
    }


@pytest.fixture(scope="module")
def files(models: dict[str, Model], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    for name, model in models.items():
        model.save(folder / f"{name}.safetensors")
    return {name: folder / f"{name}.safetensors" for name in models}


@pytest.fixture(scope="module")
def unseen() -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(1)
    return [disc(3 + 3 * (index % 3), rng) for index in range(12)]


@pytest.mark.parametrize("name", list(HEADS))
def test_a_loaded_model_answers_the_same(
    name: str, models: dict[str, Model], files: dict[str, Path], unseen: list[NDArray[np.uint8]]
) -> None:
    model, loaded = models[name], load(files[name])
    assert type(loaded.head) is type(model.head)
    assert [type(step) for step in loaded.maps] == [type(step) for step in model.maps]
    assert loaded.recipe == model.recipe
    assert loaded.task == model.task == ("regression" if name in REGRESSORS else "classification")
    np.testing.assert_array_equal(loaded.predict(unseen), model.predict(unseen))
    np.testing.assert_array_equal(loaded.decision_function(unseen), model.decision_function(unseen))
    if model.task == "classification":
        np.testing.assert_array_equal(loaded.predict_proba(unseen), model.predict_proba(unseen))
    assert loaded.to_bytes() == files[name].read_bytes()


@pytest.mark.parametrize("name", [name for name in HEADS if not name.startswith("dummy")])
def test_the_answers_are_right(
    name: str, files: dict[str, Path], unseen: list[NDArray[np.uint8]], models: dict[str, Model]
) -> None:
    answers = load(files[name]).predict(unseen)
    if name in REGRESSORS:
        assert np.abs(answers - [3 + 3 * (index % 3) for index in range(12)]).mean() < 0.8
    else:
        assert answers.tolist() == ["small", "medium", "large"] * 4


@pytest.mark.parametrize("name", list(HEADS))
def test_the_golden_check_sees_a_changed_head(name: str, files: dict[str, Path], tmp_path: Path) -> None:
    metadata, tensors = artifact.read_file(files[name])
    changed = {"head.log_prior_", "head.median_"} if name.startswith("dummy") else {"head.intercept_"}
    [key] = changed & set(tensors)
    tensors[key] = tensors[key] + np.arange(1, tensors[key].size + 1, dtype=tensors[key].dtype)
    path = tmp_path / "changed.safetensors"
    path.write_bytes(artifact.to_bytes(metadata, tensors))
    with pytest.raises(ArtifactError, match="gives other scores here than where it was fitted"):
        load(path)


@pytest.mark.parametrize("name", [name for name in HEADS if not name.startswith("dummy")])
def test_a_missing_tensor_is_an_error(name: str, files: dict[str, Path], tmp_path: Path) -> None:
    metadata, tensors = artifact.read_file(files[name])
    learned = [key for key in tensors if key.startswith(("head.", "maps.", "calibrator."))]
    for key in learned:
        path = tmp_path / "part.safetensors"
        path.write_bytes(artifact.to_bytes(metadata, {k: v for k, v in tensors.items() if k != key}))
        with pytest.raises(ArtifactError, match="its contents do not make a model"):
            load(path)


def test_loading_and_predicting_needs_no_scikit_learn(files: dict[str, Path], data: Path) -> None:
    images = [str(data / f"{index}.png") for index in range(6)]
    command = [sys.executable, "-c", PROBE, json.dumps(images), *map(str, files.values())]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    imported, answers = json.loads(run.stdout)
    assert imported == []
    for path in files.values():
        model = load(path)
        expected = model.predict(images)
        if model.task == "classification":
            assert answers[str(path)] == expected.tolist()
        else:
            np.testing.assert_allclose(np.array(answers[str(path)], float), expected, rtol=1e-5)
