"""What a report adds: the worst mistakes, what each group of features brings, what an easier task would gain."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from classic_cv.dataset import Dataset
from classic_cv.evaluation import evaluate
from classic_cv.extraction import extract
from classic_cv.fitting import Job, fit, fit_recipe, make_job
from classic_cv.heads.svm import LinearSVM
from classic_cv.insight import THUMBNAIL, Refits, ablation, worst_mistakes
from classic_cv.model import Model
from classic_cv.recipe import Recipe, feature_groups, parse_recipe
from classic_cv.task import Task


class Pictures:
    """A source of pixels in memory; None cannot be read as an image."""

    def __init__(self, pictures: Sequence[NDArray[np.uint8] | None]) -> None:
        self.pictures = pictures
        self.names = [f"{i}.png" for i in range(len(pictures))]

    def read(self, index: int, max_bytes: int | None = None) -> Any:
        picture = self.pictures[index]
        return b"no image" if picture is None else picture

    def digest(self, index: int) -> str:
        return hashlib.sha256(b"%d" % index).hexdigest()


def dataset_of(pictures: Sequence[NDArray[np.uint8] | None], targets: Sequence[str]) -> Dataset:
    return Dataset(
        path=Path("memory"),
        layout="folder",
        source=Pictures(pictures),
        targets=tuple(targets),
        class_names=tuple(sorted(set(targets))),
    )


def squares(n: int) -> list[NDArray[np.uint8] | None]:
    """Images whose level tells their number."""
    return [np.full((10, 20, 3), 10 * i, np.uint8) for i in range(n)]


def renamed(model: Model, class_names: tuple[str, ...]) -> Model:
    """The model with other class names: what is asked here is their order."""
    other = copy.copy(model)
    other.metadata = msgspec.structs.replace(model.metadata, class_names=class_names)
    return other


def test_the_surest_mistakes_come_first(model: Model) -> None:
    dataset = dataset_of(squares(6), ["cat", "dog", "cat", "dog", "cow", "cow"])
    task = Task("classification", dataset.y, dataset.class_names)
    # The model's order of the classes is another than the data's, and sample 1 was not measured.
    model = renamed(model, ("dog", "cow", "cat"))
    kept = np.array([0, 2, 3, 4, 5])
    outputs = np.array(
        [[0.6, 0.1, 0.3], [0.1, 0.0, 0.9], [0.2, 0.7, 0.1], [0.05, 0.0, 0.95], [0.5, 0.2, 0.3]]
    )
    found = worst_mistakes(model, dataset, task, kept, outputs)
    assert [(m.name, m.truth, m.predicted, m.probability) for m in found] == [
        ("4.png", "cow", "cat", 0.95),
        ("3.png", "dog", "cow", 0.7),
        ("0.png", "cat", "dog", 0.6),
        ("5.png", "cow", "dog", 0.5),
    ]
    assert [int(m.pixels[0, 0, 0]) for m in found] == [40, 30, 0, 50]
    assert [m.name for m in worst_mistakes(model, dataset, task, kept, outputs, most=2)] == ["4.png", "3.png"]
    right = np.eye(3)[[2, 2, 0, 1, 1]]
    assert worst_mistakes(model, dataset, task, kept, right) == []


def test_the_largest_errors_of_a_regression_come_first(model: Model) -> None:
    dataset = dataset_of(squares(4), ["1", "2", "3", "4"])
    task = Task("regression", np.array([1.0, 2.0, 3.0, 4.0]))
    found = worst_mistakes(model, dataset, task, np.array([0, 2, 3]), np.array([1.5, 0.0, 4.0]), most=2)
    assert [(m.name, m.truth, m.predicted, m.probability) for m in found] == [
        ("2.png", "3", "0", None),
        ("0.png", "1", "1.5", None),
    ]


def test_thumbnails_are_small_and_in_color_and_an_unreadable_one_is_left_out(model: Model) -> None:
    large = np.zeros((300, 1600), np.uint8)
    large[:, :800] = 200
    dataset = dataset_of([large, None], ["cat", "cat"])
    task = Task("classification", dataset.y, dataset.class_names)
    outputs = np.array([[0.1, 0.9], [0.0, 1.0]])
    [found] = worst_mistakes(renamed(model, ("cat", "dog")), dataset, task, np.arange(2), outputs)
    assert found.name == "0.png"
    assert found.pixels.shape == (30, THUMBNAIL, 3)
    assert (found.pixels[:, :79] == 200).all()
    assert (found.pixels[:, 81:] == 0).all()


def test_groups_of_one_type_are_numbered() -> None:
    table = {
        "features": [{"type": "hog"}, {"type": "color-histogram"}, {"type": "hog", "signed": True}],
        "head": {"type": "linear-svm"},
    }
    recipe = parse_recipe(table, name="three", source="here")
    assert feature_groups(recipe) == ["hog 1", "color-histogram", "hog 2"]


def measured(model: Model, data: Path) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Features and class numbers of the test part."""
    job = make_job(data)
    found = extract(job.dataset, job.split.test, model.featurizer, 1)
    order = np.array([model.class_names.index(name) for name in job.task.class_names])
    return found.X, order[job.task.y[found.kept]]


def test_ablation_of_a_group_that_the_model_does_not_use_loses_nothing(model: Model, faces: Path) -> None:
    blind = copy.deepcopy(model)
    assert isinstance(blind.head, LinearSVM)
    width = blind.featurizer.group_widths[0]
    X, y = measured(blind, faces)
    # Its gray levels always count as their mean.
    blind.head.intercept_ += blind.head.coef_[:, width:] @ X[:, width:].mean(axis=0)
    blind.head.coef_[:, width:] = 0
    before = X.copy()
    found = ablation(blind, X, y)
    np.testing.assert_array_equal(X, before)
    assert found["scoring"] == "accuracy"
    assert found["full"] == pytest.approx((blind.outputs(X).argmax(axis=1) == y).mean())
    assert found["full"] > 0.8
    hog, gray = found["rows"]
    assert (gray["group"], gray["columns"]) == ("color-histogram", 8)
    assert (gray["without"], gray["loss"], gray["loss_ci95"]) == (found["full"], 0.0, [0.0, 0.0])
    # Without HOG all images look alike: half are right.
    assert (hog["group"], hog["columns"]) == ("hog", width)
    assert hog["without"] == pytest.approx(0.5)
    assert hog["loss"] == pytest.approx(found["full"] - 0.5)
    low, high = hog["loss_ci95"]
    assert 0 < low < hog["loss"] < high
    json.dumps(found, allow_nan=False)


def test_ablation_is_part_of_an_evaluation_that_is_asked_for_insight(model: Model, faces: Path) -> None:
    found = evaluate(model, faces, insight=True)
    assert found["groups"] == ablation(model, *measured(model, faces))
    wrong = round((1 - found["accuracy"]) * found["n"])
    assert len(found["mistakes"]) == wrong
    assert "groups" not in evaluate(model, faces)


COLORS = {"blue": (20, 20, 205), "green": (20, 70, 20), "red": (120, 20, 20)}
"""Of about the same gray level."""


def colored(folder: Path, names: Sequence[str] = tuple(COLORS), n: int = 40) -> Path:
    """Discs and squares of which only the color tells the class: their gray levels and shapes are alike."""
    rng = np.random.default_rng(0)
    for name in names:
        for index in range(n):
            picture = np.full((32, 32, 3), 128, np.float64)
            center = rng.integers(10, 22, 2).tolist()
            if index % 2:
                cv2.circle(picture, center, 8, COLORS[name], -1)
            else:
                cv2.rectangle(
                    picture, (center[0] - 7, center[1] - 7), (center[0] + 7, center[1] + 7), COLORS[name], -1
                )
            noisy = picture + rng.normal(0, 15) + rng.normal(0, 10, (32, 32, 1))
            path = folder / name / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.clip(noisy, 0, 255).astype(np.uint8)[..., ::-1])
    return folder


def recipe_of(*features: dict[str, Any], head: dict[str, Any] | None = None, color: str = "auto") -> Recipe:
    table = {
        "image": {"size": 32, "color": color},
        "features": list(features),
        "head": head or {"type": "linear-svm", "C": 1.0, "scale": "groups"},
    }
    return parse_recipe(table, name="drawn", source="here")


SHAPE = {"type": "hog", "pixels_per_cell": 8}
COLOR = {"type": "color-histogram", "space": "hsv", "bins": 6}


@pytest.fixture(scope="module")
def color_job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    return make_job(colored(tmp_path_factory.mktemp("colors")), jobs=1)


def test_where_color_alone_decides_the_color_group_and_gray_input_lose(color_job: Job) -> None:
    refits = Refits(color_job, recipe_of(SHAPE, COLOR))
    assert refits.possible()
    found = refits.run()
    json.dumps(found, allow_nan=False)
    groups = found["groups"]
    assert groups["scoring"] == "accuracy"
    assert groups["full"] > 0.97
    assert "96 training images" in groups["method"]
    shape, color = groups["rows"]
    assert (shape["group"], color["group"]) == ("hog", "color-histogram")
    # Guessing gets a third; nothing tells the classes apart without the color.
    assert color["without"] < 0.55
    assert color["loss"] == pytest.approx(groups["full"] - color["without"])
    assert color["loss_ci95"][0] > 0.3
    assert abs(shape["loss"]) < 0.04

    gray, *one_against_rest = found["easier"]["rows"]
    assert gray["task"] == "gray input"
    assert gray["score"] < 0.6
    assert gray["change"] == pytest.approx(gray["score"] - groups["full"])
    low, high = gray["ci95"]
    assert low < gray["score"] < high
    assert sorted(row["task"] for row in one_against_rest) == [f"{name} or not {name}" for name in COLORS]
    for row in one_against_rest:
        assert row["score"] > 0.95
        assert row["score_name"] == "balanced accuracy"


def test_refits_do_not_touch_the_test_part(color_job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    read: set[int] = set()
    original = type(color_job.dataset).read

    def noted(self: Dataset, index: int, **more: Any) -> Any:
        read.add(index)
        return original(self, index, **more)

    monkeypatch.setattr(Dataset, "read", noted)
    Refits(color_job, recipe_of(SHAPE, COLOR)).run()
    assert read == set(color_job.train.tolist())


def test_two_classes_have_no_rest_and_gray_images_cannot_become_gray(tmp_path: Path) -> None:
    job = make_job(colored(tmp_path, ("red", "green"), n=20), jobs=1)
    found = Refits(job, recipe_of(SHAPE, COLOR)).run()
    assert [row["task"] for row in found["easier"]["rows"]] == ["gray input"]
    gray = Refits(job, recipe_of(SHAPE, {**COLOR, "space": "gray"}, color="gray")).run()
    assert gray["easier"] == {}
    assert Refits(job, recipe_of(COLOR)).run()["groups"] == {}


def test_there_is_nothing_to_refit_where_nothing_can_be_held_out(tmp_path: Path, color_job: Job) -> None:
    single = make_job(colored(tmp_path, n=1), jobs=1)
    assert not Refits(single, recipe_of(SHAPE, COLOR)).possible()
    assert not Refits(color_job, recipe_of(head={"type": "dummy"})).possible()


def test_refits_of_a_regression_measure_in_its_unit(tmp_path: Path) -> None:
    # The redness is the number, at one gray level; HOG sees the same square everywhere.
    rng = np.random.default_rng(0)
    rows = []
    for index in range(60):
        red = int(rng.integers(20, 200))
        picture = np.full((32, 32, 3), 128, np.uint8)
        picture[8:24, 8:24] = (red, round((100 - 0.299 * red - 0.114 * 60) / 0.587), 60)
        cv2.imwrite(str(tmp_path / f"{index}.png"), picture[..., ::-1])
        rows.append(f"{index}.png,{red}")
    (tmp_path / "labels.csv").write_text("file,red\n" + "\n".join(rows))
    job = make_job(tmp_path, jobs=1)
    assert job.task.kind == "regression"
    head = {"type": "linear-svr", "C": 10.0, "epsilon": 0.1}
    color = {"type": "color-histogram", "space": "rgb", "bins": 32, "soft": True}
    recipe = recipe_of(SHAPE, color, head=head)
    found = Refits(job, recipe).run()
    groups = found["groups"]
    assert groups["scoring"] == "mean absolute error"
    assert groups["full"] < 20
    _, without_color = groups["rows"]
    # Targets of 20 to 200 without any hint: 45 from their middle on average.
    assert 30 < without_color["without"] < 60
    assert without_color["loss"] == pytest.approx(without_color["without"] - groups["full"])
    [gray] = found["easier"]["rows"]
    assert gray["change"] == pytest.approx(gray["score"] - groups["full"])
    assert gray["change"] > 10

    model, _ = fit_recipe(job, recipe)
    part = extract(job.dataset, job.split.test, model.featurizer, 1)
    y = job.task.y[part.kept]
    blind = ablation(model, part.X, y)
    assert blind["full"] == pytest.approx(np.abs(model.outputs(part.X) - y).mean())
    assert blind["rows"][1]["loss"] > 10


def test_fit_with_insight_brings_refits_and_mistakes(tmp_path: Path) -> None:
    data = colored(tmp_path, n=15)
    gray = recipe_of(SHAPE, {**COLOR, "space": "gray"}, color="gray")
    model = fit(data, gray, jobs=1, insight=True)
    assert model.report is not None
    test = model.report["test"]
    assert [row["group"] for row in model.report["groups"]["rows"]] == ["hog", "color-histogram"]
    assert len(model.mistakes) == round((1 - test["accuracy"]) * test["n"]) > 0
    assert [m.probability for m in model.mistakes] == sorted(
        (m.probability for m in model.mistakes), reverse=True
    )
    plain = fit(data, gray, jobs=1)
    assert plain.report is not None
    assert "groups" not in plain.report
    assert plain.mistakes == []
    assert plain.to_bytes() == model.to_bytes()
