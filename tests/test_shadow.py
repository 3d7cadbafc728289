"""Shadow models: what a recipe's model will weigh and take, known before it is fitted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
import safetensors.numpy

from classic_cv.fitting import Job, fit_featurizer, fit_recipe, make_job
from classic_cv.heads.kernel_map import Nystroem
from classic_cv.model import Model
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
from classic_cv.shadow import shadow_model, shadow_of

HEADERS = 4000
"""Bytes of a model file beside its arrays that a fit may add: the choices, the versions."""

# With little C and no tolerance every image is a support vector, as a shadow has it.
CLASSIFIERS: dict[str, Head] = {
    "linear": LinearSVMSettings(C=1.0),
    "hellinger": LinearSVMSettings(C=1.0, kernel_map="hellinger"),
    "chi2": LinearSVMSettings(C=1.0, kernel_map="chi2"),
    "rbf": LinearSVMSettings(C=1.0, gamma=0.3, kernel_map="rbf", n_components=20),
    "rbf-of-few": LinearSVMSettings(C=1.0, gamma=0.3, kernel_map="rbf"),
    "hellinger-rbf": LinearSVMSettings(C=1.0, gamma=0.3, kernel_map="hellinger-rbf", n_components=20),
    "svc": RBFSVMSettings(C=1e-3, gamma=0.3),
    "hellinger-svc": RBFSVMSettings(C=1e-3, gamma=0.3, kernel_map="hellinger"),
    "linear-float32": LinearSVMSettings(C=1.0, precision="float32"),
    "rbf-float32": LinearSVMSettings(
        C=1.0, gamma=0.3, kernel_map="rbf", n_components=20, precision="float32"
    ),
    "dummy": DummySettings(),
}
REGRESSORS: dict[str, Head] = {
    "linear-svr": LinearSVRSettings(C=1.0, epsilon=0.1),
    "hellinger-svr": LinearSVRSettings(C=1.0, epsilon=0.1, kernel_map="hellinger"),
    "rbf-svr": RBFSVRSettings(C=1e-3, gamma=0.3, epsilon=0.0),
    "hellinger-rbf-svr": RBFSVRSettings(C=1e-3, gamma=0.3, epsilon=0.0, kernel_map="hellinger"),
    "dummy": DummySettings(),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of noise with a target of two classes, one of three, and a number."""
    folder = tmp_path_factory.mktemp("noise")
    rng = np.random.default_rng(0)
    rows = []
    for index in range(36):
        pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        (folder / f"{index}.png").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
        rows.append(f"{index}.png,{'ab'[index % 2]},{'abc'[index % 3]},{rng.normal()}")
    (folder / "labels.csv").write_text("file,two,three,number\n" + "\n".join(rows))
    return folder


def recipe_with(head: Head) -> Recipe:
    return msgspec.structs.replace(load_recipe("hog-fast"), head=head)


def pair(folder: Path, target: str, head: Head) -> tuple[Job, Model, Model]:
    """The job, the shadow and the fitted model."""
    job, recipe = make_job(folder, target=target, jobs=1), recipe_with(head)
    shadow = shadow_model(job, fit_featurizer(recipe, job.dataset, job.train), recipe)
    return job, shadow, fit_recipe(job, recipe)[0]


def layout(model: Model) -> dict[str, Any]:
    """Name, shape and type of each array."""
    tensors = safetensors.numpy.load(model.to_bytes())
    return {name: (array.shape, array.dtype) for name, array in tensors.items()}


def rows_of(shape: tuple[int, ...], n: int) -> tuple[int, ...]:
    """The shape with n support vectors where it has one or two less: images that are just on the margin."""
    return tuple(n if n - 2 <= size <= n else size for size in shape)


CASES = [
    *(pytest.param("two", head, id=f"two-{name}") for name, head in CLASSIFIERS.items()),
    *(pytest.param("three", head, id=f"three-{name}") for name, head in CLASSIFIERS.items()),
    *(pytest.param("number", head, id=f"number-{name}") for name, head in REGRESSORS.items()),
]


@pytest.mark.parametrize(("target", "head"), CASES)
def test_a_shadow_has_the_arrays_of_the_fitted_model(folder: Path, target: str, head: Head) -> None:
    job, shadow, fitted = pair(folder, target, head)
    n = len(job.train)
    actual = {name: (rows_of(shape, n), kind) for name, (shape, kind) in layout(fitted).items()}
    assert actual == layout(shadow)
    n_features = fitted.featurizer.n_features
    rows = 2 * 2 * n_features if isinstance(head, RBFSVMSettings | RBFSVRSettings) else 0
    assert -HEADERS < len(shadow.to_bytes()) - len(fitted.to_bytes()) < HEADERS + rows

    measured = shadow_of(job, fitted.featurizer, recipe_with(head))
    assert measured.model_bytes == len(shadow.to_bytes())
    mapped: Any = np.zeros((1, n_features), np.float32)
    held = mapped.shape[1]
    for step in fitted.maps:
        before, mapped = mapped.shape[1], step.transform(mapped)  # type: ignore[attr-defined]
        held += mapped.shape[1] if mapped.shape[1] != before or isinstance(step, Nystroem) else 0
    assert measured.n_features == mapped.shape[1]
    assert measured.columns >= held
    assert 0 < measured.ms <= measured.p95_ms


def test_columns_are_those_of_the_features_and_of_their_maps(folder: Path) -> None:
    job = make_job(folder, target="three", jobs=1)

    def columns(kernel_map: Any) -> tuple[int, int]:
        recipe = recipe_with(LinearSVMSettings(kernel_map=kernel_map, n_components=20))
        shadow = shadow_of(job, fit_featurizer(recipe, job.dataset, job.train), recipe)
        return shadow.n_features, shadow.columns

    n, held = columns("none")
    assert held == n
    assert columns("chi2") == (3 * n, 4 * n) or columns("chi2") == (5 * n, 6 * n)
    assert columns("hellinger")[0] == n
    assert columns("rbf") == (20, n + 20)


def test_unreadable_images_are_left_out_of_the_measurement(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    job = make_job(tmp_path, target="three", jobs=1)
    for index in job.train[:20:2].tolist():
        (tmp_path / job.dataset.names[index]).write_bytes(b"no image")
    recipe = recipe_with(LinearSVMSettings())
    shadow = shadow_of(job, fit_featurizer(recipe, job.dataset, job.train), recipe)
    assert 0 < shadow.ms <= shadow.p95_ms
