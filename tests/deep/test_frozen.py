"""A linear SVM on a frozen backbone, stored as one network; with EfficientNet-Lite0 and its real weights."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

from classic_cv.compare.contestant import FitTask, Fitted
from classic_cv.dataset import Dataset
from classic_cv.dataset._sources import ArraySource
from classic_cv.deep import frozen
from classic_cv.deep.frozen import fit_frozen, plan
from classic_cv.deep.linear_head import expected_probabilities, folded_head
from classic_cv.deep.predictor import NETWORK, OnnxPredictor
from classic_cv.deep.settings import LITE0_PACKAGE, DeepSettings
from classic_cv.errors import TrainingError
from classic_cv.heads.fitting import FittedStack, TrainingSet, fit_head
from classic_cv.onnx_file import inspect
from classic_cv.recipe import LinearSVMSettings

LITE0 = DeepSettings("tf_efficientnet_lite0", mode="frozen", weights=LITE0_PACKAGE, size=64)
NAMES = ("astronaut", "chelsea", "coffee")


class Budget:
    """CPU seconds of this process."""

    def __init__(self, total: float = float("inf")) -> None:
        self.total, self.start = total, time.process_time()

    def used(self) -> float:
        return time.process_time() - self.start

    @property
    def left(self) -> float:
        return self.total - self.used()


class Spent(Budget):
    """Nothing is left of it, and every look at it costs a second."""

    def used(self) -> float:
        self.start += 1
        return self.start

    @property
    def left(self) -> float:
        return 0.0


def crops(n: int = 12) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """n crops of each of three photographs, in turns."""
    rng = np.random.default_rng(0)
    photos: list[NDArray[np.uint8]] = [getattr(data, name)() for name in NAMES]
    images = []
    for _ in range(n):
        for photo in photos:
            top, left = (int(rng.integers(0, side - 160)) for side in photo.shape[:2])
            images.append(photo[top : top + 160 : 2, left : left + 160 : 2])
    return np.stack(images), np.tile(np.arange(3), n)


def make_task(folder: Path, n: int = 12, budget: Budget | None = None, classes: int = 3) -> FitTask:
    """Two thirds of the crops of the first classes are for training."""
    pixels, y = crops(n)
    pixels, y = pixels[y < classes], y[y < classes]
    names = NAMES[:classes]
    dataset = Dataset(
        path=folder,
        layout="npz",
        source=ArraySource([("images", pixels)]),
        targets=tuple(names[k] for k in y),
        class_names=names,
    )
    train = np.arange(2 * len(y) // 3)
    return FitTask(dataset, train, y, names, np.arange(len(y)), folder, 0, 1, budget or Budget())


def others(task: FitTask) -> tuple[list[Any], NDArray[np.int64]]:
    """The images that are not for training, and their classes."""
    rest = np.arange(len(task.train), len(task.dataset))
    return [task.dataset.read(int(row)) for row in rest], task.y[rest]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[FitTask, Fitted]:
    task = make_task(tmp_path_factory.mktemp("frozen"))
    return task, fit_frozen(LITE0, task)


def test_the_network_tells_photographs_apart(fitted: tuple[FitTask, Fitted]) -> None:
    task, told = fitted
    predictor = OnnxPredictor.load(task.folder, 1)
    images, y = others(task)
    probabilities = predictor.probabilities(images)
    assert (probabilities.argmax(axis=1) == y).mean() >= 0.9
    assert [predictor.label(image) for image in images] == probabilities.argmax(axis=1).tolist()
    assert told.n_fit == len(task.train)
    assert told.epochs is None
    assert told.details["size"] == 64
    assert told.details["width"] == 1280
    assert told.details["C"] > 0
    assert told.log[-1].startswith("linear SVM on 1280 columns of 24 images: C = ")


def test_it_is_one_plain_network(fitted: tuple[FitTask, Fitted]) -> None:
    summary = inspect((fitted[0].folder / NETWORK).read_bytes())
    assert (summary.inputs, summary.outputs) == (("image",), ("probabilities",))
    assert summary.operators[-2:] == ("Gemm", "Softmax")


def test_the_same_task_gives_the_same_bytes(fitted: tuple[FitTask, Fitted], tmp_path: Path) -> None:
    fit_frozen(LITE0, replace(fitted[0], folder=tmp_path))
    assert (tmp_path / NETWORK).read_bytes() == (fitted[0].folder / NETWORK).read_bytes()


def test_two_classes_and_no_time_take_few_images_and_no_choice(tmp_path: Path) -> None:
    told = fit_frozen(LITE0, make_task(tmp_path, 30, Spent(), classes=2))
    assert told.n_fit == 4
    assert any("4 of 40 images: the time does not reach for more" in line for line in told.log)
    assert any("C = 1 is not chosen" in line for line in told.log)
    found = OnnxPredictor.load(tmp_path, 1).probabilities(others(make_task(tmp_path, 30, classes=2))[0])
    assert found.shape == (20, 2)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


def test_a_stored_network_that_answers_otherwise_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(*arguments: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        weight, bias = folded_head(*arguments)
        return -weight, bias

    monkeypatch.setattr(frozen, "folded_head", other)
    with pytest.raises(TrainingError, match="probabilities differ from the SVM's by up to"):
        fit_frozen(LITE0, make_task(tmp_path, 4))


def test_images_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    task = make_task(tmp_path, 6)
    whole = task.dataset.source

    class Damaged:
        names = whole.names

        def read(self, index: int, max_bytes: int | None = None) -> Any:
            return b"no image" if index == 3 else whole.read(index)

        def digest(self, index: int) -> str:
            return whole.digest(index)

    told = fit_frozen(LITE0, replace(task, dataset=replace(task.dataset, source=Damaged())))
    assert told.n_fit == len(task.train) - 1
    [skipped] = told.skipped
    assert skipped["image"] == "images[3]"
    assert any(
        line.startswith("1 images cannot be used and are left out; the first: images[3]: ")
        for line in told.log
    )
    assert not any("the time does not reach" in line for line in told.log)


def stack_of(n_classes: int) -> tuple[FittedStack, NDArray[np.float32]]:
    rng = np.random.default_rng(n_classes)
    y = np.arange(60) % n_classes
    X = (rng.normal(5, 2, (60, 7)) + 2 * np.eye(7)[y]).astype(np.float32)
    training = TrainingSet(X.copy(), y, None, [7], "classification")
    return fit_head(LinearSVMSettings(precision="float32"), training), X


@pytest.mark.parametrize("n_classes", [2, 4])
def test_scaling_calibration_and_svm_are_one_linear_layer(n_classes: int) -> None:
    stack, X = stack_of(n_classes)
    classes = np.arange(n_classes)
    weight, bias = folded_head(stack, classes, n_classes)
    logits = X @ weight.T + bias
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    found = exponents / exponents.sum(axis=1, keepdims=True)
    expected = expected_probabilities(stack, X, classes, n_classes)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(expected.sum(axis=1), 1, atol=1e-5)


def test_a_class_without_images_has_no_probability() -> None:
    stack, X = stack_of(3)
    classes = np.array([0, 2, 3])
    weight, bias = folded_head(stack, classes, 5)
    logits = X @ weight.T + bias
    assert set(logits.argmax(axis=1)) <= {0, 2, 3}
    np.testing.assert_array_equal(weight[[1, 4]], 0)
    np.testing.assert_array_equal(bias[[1, 4]], -30)
    np.testing.assert_array_equal(expected_probabilities(stack, X, classes, 5)[:, [1, 4]], 0)


AUTO = msgspec.structs.replace(LITE0, size="auto")


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (51, (224, 1000)),
        (31, (160, 1000)),
        (21, (128, int(21 / (0.01 + 0.04 * (128 / 224) ** 2)))),
        (0.2, (32, int(0.2 / (0.01 + 0.04 * (32 / 224) ** 2)))),  # not even ten images per class
        (0, (32, 8)),  # two images per class at least
    ],
)
def test_pixels_go_before_images(seconds: float, expected: tuple[int, int]) -> None:
    assert plan(AUTO, 224, 1000, 4, seconds, 0.01, 0.04) == expected


def test_a_size_that_is_said_is_kept() -> None:
    assert plan(LITE0, 64, 1000, 4, 1.0, 0.01, 0.01) == (64, 50)
    assert plan(LITE0, 64, 1000, 4, float("inf"), 0.01, 0.01) == (64, 1000)
