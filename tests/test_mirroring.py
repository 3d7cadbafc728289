"""Mirror images: averaged into the features, or as copies that join the training images where they help."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from classic_cv import extraction
from classic_cv.errors import RecipeError
from classic_cv.extraction import closed_up, extract
from classic_cv.features import HOG
from classic_cv.featurizer import Featurizer
from classic_cv.fitting import fit, fit_featurizer, fit_recipe, make_job, training_set
from classic_cv.heads.fitting import TrainingSet, choose
from classic_cv.images import Picture
from classic_cv.insight import Refits
from classic_cv.mirroring import choose_mirroring, compare_copies
from classic_cv.model import Model, load
from classic_cv.recipe import (
    DummySettings,
    Head,
    ImageSettings,
    LinearSVMSettings,
    LinearSVRSettings,
    RBFSVMSettings,
    Recipe,
    TrainSettings,
    load_recipe,
    parse_recipe,
)
from classic_cv.report import choice_text, mirroring_text, show_text
from classic_cv.shadow import shadow_model

Pixels = NDArray[np.uint8]


def flipped(pixels: Pixels) -> Pixels:
    return np.ascontiguousarray(pixels[:, ::-1])


def recipe_with(
    mirror: Any = False,
    averaged: bool = False,
    head: Head | None = None,
    name: str = "hog-small",
    images: Any = "all",
) -> Recipe:
    recipe = load_recipe(name)
    return msgspec.structs.replace(
        recipe,
        image=msgspec.structs.replace(recipe.image, mirror=averaged),
        head=LinearSVMSettings(C=1.0) if head is None else head,
        train=TrainSettings(images, mirror),
    )


@functools.cache
def fitted(folder: Path, mirror: Any = False, averaged: bool = False) -> Model:
    """A model with its figures, fitted once."""
    return fit(folder, recipe_with(mirror, averaged), jobs=1)


def polygon(k: int, rng: np.random.Generator) -> Pixels:
    """Class k: an asymmetric shape with jittered corners on noise, one way round or the other."""
    corners = np.random.default_rng(100 + k).uniform(4, 28, (5, 2))
    pixels = np.full((32, 32), 60, np.uint8)
    cv2.fillPoly(pixels, [(corners + rng.normal(0, 1, corners.shape)).astype(np.int32)], [170])
    noisy = np.clip(pixels + rng.normal(0, 45, pixels.shape), 0, 255).astype(np.uint8)
    return flipped(noisy) if rng.random() < 0.5 else noisy


def arrow(k: int, rng: np.random.Generator) -> Pixels:
    """Class 0 points to the right, class 1 to the left: each is the other's mirror image."""
    x, y = rng.integers(4, 9, 2)
    pixels = np.full((32, 32), 60, np.uint8)
    cv2.fillPoly(pixels, [np.array([[x, y], [x, y + 16], [x + 16, y + 8]], np.int32)], [170])
    noisy = np.clip(pixels + rng.normal(0, 10, pixels.shape), 0, 255).astype(np.uint8)
    return flipped(noisy) if k == 1 else noisy


def write_folder(
    folder: Path, draw: Callable[[int, np.random.Generator], Pixels], classes: int, train: int, test: int
) -> Path:
    """A data set of so many training and test images per class."""
    rng = np.random.default_rng(4)
    for part, n in (("train", train), ("test", test)):
        for i in range(n):
            for k in range(classes):
                path = folder / part / f"class{k}" / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(cv2.imencode(".png", draw(k, rng))[1].tobytes())
    return folder


@pytest.fixture(scope="module")
def polygons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Few images of shapes that come both ways round."""
    return write_folder(tmp_path_factory.mktemp("polygons"), polygon, 8, 6, 20)


@pytest.fixture(scope="module")
def arrows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes that are mirror images of each other."""
    return write_folder(tmp_path_factory.mktemp("arrows"), arrow, 2, 15, 15)


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """How steep an edge is, whichever way it leans."""
    folder = tmp_path_factory.mktemp("numbers")
    rng = np.random.default_rng(0)
    rows = []
    for i in range(60):
        angle = rng.uniform(10, 80)
        x, y = 14 * np.cos(np.radians(angle)), 14 * np.sin(np.radians(angle))
        pixels = np.clip(60 + rng.normal(0, 15, (32, 32)), 0, 255).astype(np.uint8)
        ends = np.round(16 + np.array([[-x, y], [x, -y]])).astype(int).tolist()
        cv2.line(pixels, ends[0], ends[1], [200], 2)
        pixels = flipped(pixels) if rng.random() < 0.5 else pixels
        (folder / f"{i}.png").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
        rows.append(f"{i}.png,{angle},{'train' if i < 40 else 'test'}")
    (folder / "angles.csv").write_text("file,angle,split\n" + "\n".join(rows))
    return folder


def pictures(n: int, shape: tuple[int, int], seed: int = 0) -> list[Picture]:
    """Noise over a slope, as a prepared image and as one that was stored at another size."""
    rng = np.random.default_rng(seed)
    slope = np.linspace(0, 150, shape[1]).astype(np.uint8)[None, :, None]
    return [
        Picture(rng.integers(0, 100, (*shape, 3), dtype=np.uint8) + slope, 50 + i, 40, 999) for i in range(n)
    ]


def turned(items: list[Picture]) -> list[Picture]:
    return [dataclasses.replace(item, pixels=flipped(item.pixels)) for item in items]


# Featurizer.


@pytest.mark.parametrize("color", ["rgb", "gray"])
@pytest.mark.parametrize("name", ["hog-color-lbp-dog", "hog-fast", "properties"])
def test_mirrored_features_are_those_of_the_mirror_image(name: str, color: Any) -> None:
    recipe = load_recipe(name).resized(32)
    settings = ImageSettings((24, 40), color)
    items = pictures(3, (24, 40))
    plain = Featurizer(settings, [spec.build() for spec in recipe.features]).fit(items)
    there, back = plain.transform(items), plain.transform(turned(items))
    assert not np.array_equal(there, back) or name == "properties"
    np.testing.assert_array_equal(plain.transform(items, mirrored=True), back)
    np.testing.assert_array_equal(plain.transform(items[:1], mirrored=True), back[:1])
    both = Featurizer(msgspec.structs.replace(settings, mirror=True), plain.extractors, plain.gray)
    mean = both.transform(items)
    assert mean.dtype == np.float32
    np.testing.assert_array_equal(mean, (there + back) * np.float32(0.5))
    # An image and its mirror image are the same, to the bit, alone and in a batch.
    np.testing.assert_array_equal(both.transform(turned(items)), mean)
    np.testing.assert_array_equal(both.transform(items, mirrored=True), mean)
    np.testing.assert_array_equal(both.transform(turned(items)[2:]), mean[2:])
    np.testing.assert_array_equal(plain.transform(items), there)


def test_mirroring_does_not_change_the_pictures() -> None:
    items = pictures(2, (8, 12))
    before = [item.pixels.copy() for item in items]
    for mirror in (False, True):
        featurizer = Featurizer(ImageSettings((8, 12), "rgb", mirror), [HOG(pixels_per_cell=4)]).fit(items)
        featurizer.transform(items, mirrored=True)
        featurizer.transform(items[:1])
    for item, pixels in zip(items, before, strict=True):
        np.testing.assert_array_equal(item.pixels, pixels)


# Extraction.


class Source:
    """Pictures as a source of images; some cannot be read."""

    def __init__(self, items: list[Picture], broken: tuple[int, ...] = ()) -> None:
        self.items, self.broken = items, broken
        self.names = [str(i) for i in range(len(items))]

    def read(self, index: int) -> Any:
        return b"no image" if index in self.broken else self.items[index].pixels


@pytest.mark.parametrize("broken", [(), (0,), (1, 5, 6, 19), tuple(range(20))])
@pytest.mark.parametrize("moved", [1, 3, 100])
def test_extraction_with_copies(broken: tuple[int, ...], moved: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "MOVED_ROWS", moved)
    items = pictures(20, (16, 16))
    featurizer = Featurizer(ImageSettings(16), [HOG(pixels_per_cell=4)]).fit(items)
    found = extract(Source(items, broken), range(20), featurizer, with_copies=True)
    kept = [i for i in range(20) if i not in broken]
    assert found.kept.tolist() == kept
    assert len(found.problems) == len(broken)
    assert found.X.shape == (2 * len(kept), featurizer.n_features)
    if kept:
        chosen = [items[i] for i in kept]
        np.testing.assert_array_equal(found.X[: len(kept)], featurizer.transform(chosen))
        np.testing.assert_array_equal(found.X[len(kept) :], featurizer.transform(turned(chosen)))
        assert found.has_copies
        assert not extract(Source(items, broken), range(20), featurizer).has_copies


@pytest.mark.parametrize("moved", [1, 3, 100])
def test_gaps_are_closed_up_in_place(moved: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "MOVED_ROWS", moved)
    for rows in ([], [0], [9], [0, 1, 2], [0, 2, 3, 9], [4, 5, 6, 7, 8, 9], list(range(10))):
        X = np.arange(20, dtype=np.float32).reshape(10, 2)
        found = closed_up(X, np.array(rows, np.intp))
        np.testing.assert_array_equal(found, np.arange(20).reshape(10, 2)[rows])
        assert found.base is X.base


# The fit.


def test_copies_are_as_good_as_mirror_images_in_the_folder(polygons: Path, tmp_path: Path) -> None:
    for path in polygons.rglob("*.png"):
        target = tmp_path / path.relative_to(polygons)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
        if "train" in path.parts:
            pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            assert pixels is not None
            mirror = target.with_name(f"mirror-{path.name}")
            mirror.write_bytes(cv2.imencode(".png", pixels[:, ::-1])[1].tobytes())
    model = fitted(polygons, True)
    wanted = fit(tmp_path, recipe_with(), jobs=1)
    assert (model.metadata.n_train, wanted.metadata.n_train) == (48, 96)
    assert model.report is not None
    assert model.report["n_train"] == 48
    images = sorted((polygons / "test").rglob("*.png"))
    np.testing.assert_allclose(model.decision_function(images), wanted.decision_function(images), atol=1e-3)
    # Out of fold, and so for calibration, the copies of the model's own images were never scored.
    assert model.metadata.fit["n_rows"] == 48


def accuracy(model: Model) -> float:
    assert model.report is not None
    return float(model.report["test"]["accuracy"])


def test_auto_takes_copies_where_they_help(polygons: Path, tmp_path: Path) -> None:
    model = fitted(polygons, "auto")
    without, with_copies = (fitted(polygons, mirror) for mirror in (False, True))
    assert accuracy(with_copies) > accuracy(without) + 0.03
    found = model.metadata.fit["mirror"]
    assert found["chosen"] is model.recipe.train.mirror is True
    assert found["with"] - found["without"] == pytest.approx(found["gain"])
    assert found["gain"] > found["standard_error"] > 0
    assert (found["scoring"], found["n_images"], found["n_rows"]) == ("accuracy", 48, 48)
    # The recipe of the model holds the decision, and gives the same model.
    path = tmp_path / "model.safetensors"
    model.save(path)
    loaded = load(path)
    assert loaded.recipe.train == TrainSettings("all", True)
    images = sorted((polygons / "test").rglob("*.png"))
    np.testing.assert_array_equal(loaded.predict_proba(images), model.predict_proba(images))
    again = fit(polygons, path, jobs=1)
    for name, array in model.head.state().items():
        np.testing.assert_array_equal(again.head.state()[name], array)
    assert "mirror" not in again.metadata.fit


def test_auto_takes_none_where_classes_are_mirror_images(arrows: Path) -> None:
    model = fit(arrows, recipe_with(mirror="auto"), jobs=1)
    found = model.metadata.fit["mirror"]
    assert found["chosen"] is model.recipe.train.mirror is False
    assert found["without"] > 0.95 > 0.7 > found["with"]
    assert accuracy(model) > 0.95
    plain = fit(arrows, recipe_with(), jobs=1)
    for name, array in plain.head.state().items():
        np.testing.assert_array_equal(model.head.state()[name], array)


def test_averaging_makes_mirror_images_the_same(arrows: Path, tmp_path: Path) -> None:
    model = fit(arrows, recipe_with(averaged=True), jobs=1)
    assert accuracy(model) < 0.8
    rng = np.random.default_rng(0)
    images = [arrow(k, rng)[:28, :28] for k in (0, 1, 0)]
    images = [np.ascontiguousarray(image) for image in images]
    probabilities = model.predict_proba(images)
    np.testing.assert_array_equal(model.predict_proba([flipped(image) for image in images]), probabilities)
    model.save(tmp_path / "model.safetensors")
    loaded = load(tmp_path / "model.safetensors")
    assert loaded.recipe.image.mirror is True
    np.testing.assert_array_equal(loaded.predict_proba(images), probabilities)


def test_averaging_helps_where_images_come_both_ways_round(polygons: Path) -> None:
    assert accuracy(fitted(polygons, averaged=True)) > (accuracy(fitted(polygons)) - 0.05)


def test_auto_of_a_regression(numbers: Path) -> None:
    head = LinearSVRSettings(C=1.0, epsilon=0.1)
    model = fit(numbers, recipe_with(mirror="auto", head=head), jobs=1)
    found = model.metadata.fit["mirror"]
    assert found["scoring"] == "mean absolute error"
    assert found["without"] - found["with"] == pytest.approx(found["gain"])
    assert found["chosen"] is model.recipe.train.mirror is (found["gain"] > found["standard_error"])
    assert found["chosen"]
    errors = {}
    for mirror in (False, True):
        fitted = fit(numbers, recipe_with(mirror=mirror, head=head), jobs=1)
        assert fitted.report is not None
        errors[mirror] = fitted.report["test"]["mae"]
    assert errors[True] < errors[False]


def test_digits_are_learned_without_copies() -> None:
    images, y = load_digits(return_X_y=True)
    pixels = (images[:200].reshape(-1, 8, 8) * 15.9375).astype(np.uint8)
    hog = HOG(pixels_per_cell=2).fit(pixels)
    copies = hog.transform(np.ascontiguousarray(pixels[:, :, ::-1]))
    X = np.vstack([hog.transform(pixels), copies])
    before = X.copy()
    found = compare_copies(
        LinearSVMSettings(C=1.0), TrainingSet(X, y[:200], None, [X.shape[1]], "classification")
    )
    assert not found["chosen"]
    assert found["gain"] < 0
    np.testing.assert_array_equal(X, before)


def test_copies_that_change_nothing_are_not_taken() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    X = (rng.standard_normal((40, 3)) + 5 * y[:, None]).astype(np.float32)
    found = compare_copies(
        LinearSVMSettings(C=1.0), TrainingSet(np.vstack([X, X]), y, None, [3], "classification")
    )
    assert (found["chosen"], found["gain"], found["standard_error"]) == (False, 0.0, 0.0)


def test_where_nothing_can_be_held_out() -> None:
    X = np.eye(3, dtype=np.float32)
    data = TrainingSet(np.vstack([X, X]), np.arange(3), None, [3], "classification")
    assert compare_copies(LinearSVMSettings(), data) == {
        "chosen": False,
        "reason": "nothing can be held out to compare by",
    }


@pytest.mark.parametrize(
    ("recipe", "reason"),
    [
        (recipe_with("auto", head=DummySettings()), "the head does not look at the features"),
        (recipe_with("auto", averaged=True), "an image and its mirror image have the same features"),
        (recipe_with("auto", head=RBFSVMSettings()), "96 rows are more than the 90 that the exact RBF"),
    ],
)
def test_auto_says_why_it_did_not_compare(
    recipe: Recipe, reason: str, polygons: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("classic_cv.mirroring.MAX_ROWS", 90)
    job = make_job(polygons, jobs=1)
    found = choose_mirroring(job, recipe, fit_featurizer(recipe, job.dataset, job.train))
    assert found.recipe.train.mirror is False
    assert found.summary["chosen"] is False
    assert reason in found.summary["reason"]
    assert found.extraction is None
    model, _ = fit_recipe(job, recipe)
    assert model.recipe.train.mirror is False
    assert ("mirror" in model.metadata.fit) == (not isinstance(recipe.head, DummySettings))


def test_many_images_are_compared_on_a_part(polygons: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("classic_cv.mirroring.COMPARED", 32)
    job, recipe = make_job(polygons, jobs=1), recipe_with("auto")
    featurizer = fit_featurizer(recipe, job.dataset, job.train)
    found = choose_mirroring(job, recipe, featurizer)
    assert found.summary["n_images"] == 32
    assert found.extraction is None
    model, extracted = fit_recipe(job, recipe)
    assert extracted.has_copies == model.recipe.train.mirror == found.summary["chosen"]
    assert model.metadata.n_train == len(extracted.kept) == 48
    # A choice of the training images is all that is looked at.
    few = choose_mirroring(job, recipe_with("auto", images=24), featurizer)
    assert few.summary["n_images"] == 24
    assert few.extraction is not None
    assert few.extraction.kept.tolist() == job.training_indices(recipe_with(images=24)).tolist()


def test_what_mirroring_cannot_go_with(polygons: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("classic_cv.fitting.MAX_ROWS", 90)
    with pytest.raises(RecipeError, match=r"hog-small: image.mirror and train.mirror are both true"):
        fit(polygons, recipe_with(True, averaged=True))
    with pytest.raises(RecipeError, match=r"48 images and their mirror images are too many .* at most 45"):
        fit(polygons, recipe_with(True, head=RBFSVMSettings()))
    job = make_job(polygons, jobs=1)
    fit_recipe(job, recipe_with(True, head=RBFSVMSettings(C=1.0, gamma=0.3), images=40))
    _, plain = fit_recipe(job, recipe_with())
    with pytest.raises(ValueError, match=r"48 rows for 48 images do not fit train.mirror = True"):
        fit_recipe(job, recipe_with(True), plain)


def test_broken_images_have_no_copies(polygons: Path, tmp_path: Path) -> None:
    for path in polygons.rglob("*.png"):
        target = tmp_path / path.relative_to(polygons)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(
            b"no image" if path.name == "3.png" and "class5" in path.parts else path.read_bytes()
        )
    job = make_job(tmp_path, jobs=1)
    _, found = fit_recipe(job, recipe_with(True))
    assert len(found.kept) == 47
    assert len(found.X) == 94
    data = training_set(job, found, [found.X.shape[1]])
    assert (len(data.y), data.has_copies) == (47, True)


# What is told.


def test_reports_say_what_was_mirrored(polygons: Path) -> None:
    model = fitted(polygons, "auto")
    found = model.metadata.fit["mirror"]
    text = choice_text(model.metadata.fit)
    shown = f"taken: accuracy {100 * found['with']:.1f} % with them, {100 * found['without']:.1f} % without (gain "
    assert f"\nmirrored copies    {shown}{100 * found['gain']:.1f} +- " in text
    assert "fitted    on 48 images and their mirror images, " in show_text(model.summary())
    assert "mirror" not in show_text(model.summary()).split("\nhead")[0]
    averaged = fitted(polygons, averaged=True)
    assert "\nimage     32 px, gray, mean of the image and its mirror image\n" in show_text(
        averaged.summary()
    )
    assert "and their mirror images" not in show_text(averaged.summary())
    assert "mirrored copies" not in choice_text(averaged.metadata.fit)
    assert mirroring_text({"chosen": False, "reason": "why"}) == "mirrored copies    not taken: why"
    regression = {"chosen": True, "scoring": "mean absolute error", "with": 3.5, "without": 4.0, "gain": 0.5}
    assert mirroring_text({**regression, "standard_error": 0.25}) == (
        "mirrored copies    taken: mean absolute error 3.5 with them, 4 without (gain 0.5 +- 0.25)"
    )


# What else follows the recipe.


@pytest.mark.parametrize("mirror", [False, True])
def test_refits_for_a_report_follow_the_recipe(polygons: Path, mirror: bool) -> None:
    job = make_job(polygons, jobs=1)
    recipe = recipe_with(mirror, name="hog-color").resized(32)
    refits = Refits(job, recipe)
    found = refits.run()
    featurizer = fit_featurizer(recipe, job.dataset, job.train)
    features = extract(job.dataset, job.train, featurizer, with_copies=mirror)
    assert features.has_copies == mirror
    choice = choose(recipe.head, training_set(job, features, featurizer.group_widths))
    assert found["groups"]["full"] == pytest.approx(np.mean(choice.scores.argmax(axis=1) == choice.y))
    assert len(found["groups"]["rows"]) == len(recipe.features)
    assert found["easier"]["rows"]


@pytest.mark.parametrize(
    "head", [RBFSVMSettings(C=1e-3, gamma=0.3), LinearSVMSettings(1.0, kernel_map="rbf", gamma=0.3)]
)
def test_a_shadow_has_room_for_copies(polygons: Path, head: Head) -> None:
    job, recipe = make_job(polygons, jobs=1), recipe_with(True, head=head)
    model, _ = fit_recipe(job, recipe)
    shadow = shadow_model(job, fit_featurizer(recipe, job.dataset, job.train), recipe)
    for part, same in zip([*shadow.maps, shadow.head], [*model.maps, model.head], strict=True):
        for name, array in same.state().items():
            assert part.state()[name].shape == array.shape
    assert 96 in {
        len(array) for part in [*model.maps, model.head] for array in part.state().values() if array.ndim
    }


# Recipes.


@pytest.mark.parametrize("mirror", [True, "auto"])
@pytest.mark.parametrize("averaged", [False, True])
def test_recipes_keep_both_settings(tmp_path: Path, mirror: Any, averaged: bool) -> None:
    recipe = recipe_with(mirror, averaged)
    path = tmp_path / "hog-small.toml"
    path.write_text(recipe.to_toml(), encoding="utf-8")
    assert load_recipe(path) == recipe
    assert parse_recipe(recipe.to_table(), name="hog-small", source="again") == recipe
    shown = '"auto"' if mirror == "auto" else "true"
    assert f'[train]\nimages = "all"\nmirror = {shown}\n' in recipe.to_toml()
    assert f"mirror = {str(averaged).lower()}\n" in recipe.to_toml().split("[[features]]")[0]
    assert recipe.for_regression().train == recipe.train
    assert recipe.resized(64).image.mirror is averaged


def test_nothing_is_mirrored_unless_asked_for() -> None:
    recipe = load_recipe("hog")
    assert recipe.image.mirror is False
    assert recipe.train == TrainSettings("all", False)
    assert "[train]" not in recipe.to_toml()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"train": {"mirror": "yes"}}, "mine: train.mirror: invalid enum value 'yes'"),
        ({"train": {"mirror": 1}}, "mine: train.mirror: expected `bool | str`, got `int`"),
        ({"image": {"mirror": "auto"}}, "mine: image.mirror: expected `bool`, got `str`"),
    ],
)
def test_bad_values_are_named(table: dict[str, Any], message: str) -> None:
    whole = {"head": {"type": "linear-svm"}, "features": [{"type": "hog"}], **table}
    with pytest.raises(RecipeError) as error:
        parse_recipe(whole, name="mine", source="mine")
    assert str(error.value) == message
