"""Hybrid recipes as a user meets them: fit, evaluate, predict, explain, the same model again, what goes wrong."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest

import classic_cv.cli
import classic_cv.contest
import classic_cv.errors
import classic_cv.fitting
import classic_cv.search
from classic_cv.candidates import feature_recipes
from classic_cv.cli import main
from classic_cv.contest import is_worth_trying, network_recipe, rival_seconds, without
from classic_cv.errors import ArtifactError, MissingExtraError, ParameterError, TrainingError
from classic_cv.extraction import Extraction
from classic_cv.fitting import fit, make_job, suitably_sized
from classic_cv.heads.hybrid import HybridNetwork
from classic_cv.model import Model, load
from classic_cv.neural.settings import HybridSettings
from classic_cv.recipe import Recipe, load_recipe, parse_recipe

RECIPE: dict[str, Any] = {
    "description": "a tiny network",
    "image": {"size": 16},
    "features": [{"type": "hog", "pixels_per_cell": 8, "cells_per_block": 1}],
    "head": {
        "type": "hybrid",
        "network": {"channels": [8, 16], "blocks": [0, 1]},
        "optimization": {"epochs": 3, "batch_size": 64},
        "validation": 0.1,
    },
}


def tiny(**head: Any) -> Recipe:
    """The tiny recipe with other values in its head's tables."""
    own = dict(RECIPE["head"])
    for key, value in head.items():
        own[key] = {**own.get(key, {}), **value} if isinstance(value, dict) else value
    return parse_recipe({**RECIPE, "head": own}, name="tiny", source="test")


@pytest.fixture(scope="module")
def fitted(digits: Path) -> Model:
    return fit(digits, tiny(), jobs=1)


@pytest.fixture(scope="module")
def hybrid_file(fitted: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hybrid") / "digits.safetensors"
    fitted.save(path)
    return path


def network_of(model: Model) -> dict[str, Any]:
    found: dict[str, Any] = (model.course or model.metadata.fit)["network"]
    return found


# As any recipe.


def test_a_network_learns_digits_in_seconds(fitted: Model) -> None:
    assert fitted.report is not None
    assert fitted.report["test"]["accuracy"] > 0.85
    found = network_of(fitted)
    assert found["training"]["epochs"] == 3
    assert found["overfit_check"]["images"] == 32
    # 16 and 8 pixels: HOG has 4 cells of 9 directions; the stored network has nothing else.
    first, block = 8 * (9 + 1), 8 * 9 + 16 * (8 + 1)
    assert found["n_parameters"] == 1 + first + block + 10 * (16 + 36 + 1)


def test_the_loaded_model_answers_as_the_fitted_one(fitted: Model, hybrid_file: Path, digits: Path) -> None:
    images = sorted((digits / "test").rglob("*.png"))[::20]
    again = load(hybrid_file)
    assert isinstance(again.head, HybridNetwork)
    np.testing.assert_array_equal(again.predict_proba(images), fitted.predict_proba(images))
    np.testing.assert_allclose(again.predict_proba(images).sum(axis=1), 1, atol=1e-5)
    one_by_one = np.concatenate([again.predict_proba([image]) for image in images])
    np.testing.assert_allclose(one_by_one, again.predict_proba(images), atol=1e-5)


def test_it_abstains_by_its_own_calibration(fitted: Model, digits: Path) -> None:
    images = sorted((digits / "test").rglob("*.png"))[::20]
    top = fitted.predict_proba(images).max(axis=1)
    threshold = float(np.median(top))
    told = fitted.predict(images, abstain=threshold)
    assert (told == "unknown").tolist() == (top < np.float32(threshold)).tolist()
    assert 0 < (told == "unknown").sum() < len(images)


def test_the_model_files_recipe_gives_the_same_bytes(fitted: Model, hybrid_file: Path, digits: Path) -> None:
    assert fit(digits, hybrid_file, jobs=1).to_bytes() == hybrid_file.read_bytes()


def test_predicting_needs_onnxruntime_and_not_torch(hybrid_file: Path, digits: Path) -> None:
    image = next((digits / "test").rglob("*.png"))
    code = (
        "import sys, classic_cv\n"
        "print(classic_cv.load(sys.argv[1]).predict([sys.argv[2]]))\n"
        "heavy = [m for m in ('torch', 'onnx', 'sklearn', 'scipy', 'optuna') if m in sys.modules]\n"
        "assert not heavy, heavy\n"
        "assert 'onnxruntime' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(hybrid_file), str(image)], check=True)


def test_two_classes_have_one_score(faces: Path) -> None:
    model = fit(faces, tiny(optimization={"epochs": 8, "batch_size": 32}), jobs=1)
    images = sorted((faces / "test").rglob("*.png"))
    scores, probabilities = model.decision_function(images), model.predict_proba(images)
    assert scores.shape == (len(images),)
    np.testing.assert_allclose(probabilities[:, 1], 1 / (1 + np.exp(-scores)), atol=1e-6)
    assert model.report is not None
    assert model.report["test"]["accuracy"] > 0.7


def test_one_class_against_the_rest(digits: Path) -> None:
    model = fit(digits, tiny(), jobs=1, positive="3")
    assert model.class_names == ("not 3", "3")
    assert model.report is not None
    # One class in ten: judged, and weighted, as if both were equal.
    assert network_of(model)["scoring"] == "balanced accuracy"
    assert model.report["test"]["balanced_accuracy"] > 0.85


def blots(folder: Path, n: int = 90) -> Path:
    """Gray images with 1 to 30 white squares, and a manifest with how many."""
    rng = np.random.default_rng(0)
    lines = ["file,split,count"]
    for index in range(n):
        image = np.full((32, 32), 20, np.uint8)
        places = rng.permutation(64)[: 1 + index % 30]
        for place in places:
            y, x = divmod(int(place), 8)
            image[4 * y + 1 : 4 * y + 3, 4 * x + 1 : 4 * x + 3] = 220
        cv2.imwrite(str(folder / f"{index}.png"), image)
        lines.append(f"{index}.png,{'test' if index % 3 == 0 else 'train'},{len(places)}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_a_number_is_estimated(tmp_path: Path) -> None:
    recipe = tiny(optimization={"epochs": 60, "batch_size": 16, "optimizer": "adamw"})
    recipe = msgspec.structs.replace(recipe, features=())
    model = fit(blots(tmp_path), recipe, jobs=1, target="count")
    assert model.report is not None
    assert model.report["test"]["mae"] < 2.0
    assert model.head.predict(model.features([tmp_path / "3.png"])).shape == (1,)  # type: ignore[union-attr]
    assert model.predict([tmp_path / "3.png"])[0] == pytest.approx(4, abs=5)


def test_mirroring_is_decided_by_the_features(digits: Path) -> None:
    recipe = msgspec.structs.replace(tiny(), train=msgspec.structs.replace(tiny().train, mirror="auto"))
    model = fit(digits, recipe, jobs=1)
    assert model.recipe.train.mirror is False  # a mirrored 3 is no 3
    assert model.metadata.fit["mirror"]["chosen"] is False


# On the command line.


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["classic-cv", *map(str, arguments)])
    monkeypatch.setattr(classic_cv.cli, "STARTED", time.perf_counter())
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(tiny().to_toml(), encoding="utf-8")
    return path


def test_fit_tells_what_the_network_is(
    digits: Path, recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    out, report, log = tmp_path / "m.safetensors", tmp_path / "r.html", tmp_path / "course.jsonl"
    options = ["--jobs", 1, "--out", out, "--report", report, "--log", log, "--max-parameters", 900]
    assert run(monkeypatch, "fit", digits, "--recipe", recipe_file, *options) == 0
    told = capsys.readouterr().out
    assert "parameters, features included" in told
    assert "3 epochs in " in told
    assert "learned by heart" in told
    page = report.read_text(encoding="utf-8")
    assert ">pixels<" in page
    entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert {entry["event"] for entry in entries} >= {"overfit", "step", "validation"}
    assert run(monkeypatch, "show", out) == 0
    assert "hybrid" in capsys.readouterr().out
    assert network_of(load(out))["n_parameters"] <= 900


def test_predict_explains_by_covering(
    hybrid_file: Path, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    image = next((digits / "test" / "3").glob("*.png"))
    drawing = tmp_path / "why.png"
    code = run(monkeypatch, "predict", hybrid_file, image, "--explain", drawing, "--json", "-")
    [found] = json.loads(capsys.readouterr().out)
    assert code == 0
    assert cv2.imread(str(drawing)) is not None
    assert [group["extractor"] for group in found["explanation"]["groups"]] == ["hog", "pixels"]


def test_a_checkpoint_is_gone_on_from(digits: Path, tmp_path: Path) -> None:
    state = tmp_path / "state.pt"
    whole = fit(digits, tiny(), jobs=1, checkpoint=tmp_path / "whole.pt")
    first = fit(digits, tiny(), jobs=1, checkpoint=state)
    again = fit(digits, tiny(), jobs=1, checkpoint=state)
    assert not network_of(first)["training"]["resumed"]
    # There was nothing left to do: the same weights.
    assert network_of(again)["training"]["resumed"]
    np.testing.assert_array_equal(again.head.network_, whole.head.network_)  # type: ignore[union-attr]
    with pytest.raises(
        TrainingError, match="is the checkpoint of a training with other data, settings or seed"
    ):
        fit(digits, tiny(), jobs=1, checkpoint=state, seed=1)


def test_an_interrupt_keeps_the_best_weights_so_far(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny(optimization={"epochs": 2000, "batch_size": 64})
    timer = threading.Timer(12.0, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        model = fit(digits, recipe, jobs=1, time_limit=600)
    finally:
        timer.cancel()
    training = network_of(model)["training"]
    assert training["interrupted"]
    assert 0 < training["epochs"] < 2000
    assert model.report is not None
    assert model.report["test"]["accuracy"] > 0.8


# What goes wrong.


def test_a_limit_on_parameters_is_for_networks(digits: Path) -> None:
    with pytest.raises(
        ParameterError, match=r"max_parameters=5000 \(--max-parameters\) is for hybrid recipes, and hog"
    ):
        fit(digits, "hog", max_parameters=5000)
    with pytest.raises(ParameterError, match="auto is none: leave it out"):
        fit(digits, max_parameters=5000)


def test_an_impossible_limit_is_told(digits: Path) -> None:
    with pytest.raises(
        classic_cv.errors.RecipeError, match=r"max_parameters = 200: no network of this shape has at most"
    ):
        fit(digits, tiny(), jobs=1, max_parameters=200)


def test_without_torch_the_extra_is_named(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(
        classic_cv.fitting, "find_spec", lambda name: None if name == "torch" else there(name)
    )
    with pytest.raises(
        MissingExtraError, match=r"recipe tiny trains a network, which needs torch: pip install"
    ):
        fit(digits, tiny(), jobs=1)


def test_a_damaged_network_is_refused(fitted: Model, tmp_path: Path) -> None:
    head = fitted.head
    assert isinstance(head, HybridNetwork)
    state = head.state()
    state["network_"] = state["network_"][:-100]
    with pytest.raises(ArtifactError):
        HybridNetwork().load_state(state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": {"channels": [8], "blocks": [1, 1]}}, "head.network.blocks: 2 stages"),
        ({"network": {"block": "round"}}, "head.network.block: invalid enum value"),
        ({"optimization": {"epochs": 0}}, "head.optimization.epochs"),
        ({"compression": {"prune": 1.0}}, "head.compression.prune"),
        ({"augmentation": {"shift": 0.9}}, "head.augmentation.shift"),
        (
            {"network": {"channels": [8] * 5, "blocks": [1] * 5}},
            "image.size: 16 pixels are too few for 5 stages",
        ),
    ],
)
def test_mistakes_in_a_recipe_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(classic_cv.errors.RecipeError, match=re.escape(f"test: {message}")):
        tiny(**change)


def test_averaged_pixels_are_refused() -> None:
    table = {**RECIPE, "image": {"size": 16, "mirror": True}}
    with pytest.raises(
        classic_cv.errors.RecipeError, match=r"image\.mirror: the mean of an image and its mirror image"
    ):
        parse_recipe(table, name="tiny", source="test")


# The size that suits.


def test_an_open_size_follows_images_and_time(faces: Path, digits: Path) -> None:
    recipe = load_recipe("hybrid")
    small = suitably_sized(recipe, make_job(digits), 300.0)
    assert (small.image.size, small.name) == (32, "hybrid")
    job = make_job(faces)
    assert suitably_sized(recipe, job, 300.0).image.size == 32  # the faces have 25 pixels
    params = suitably_sized(recipe, job, 300.0).features[0].params
    assert params["pixels_per_cell"] in (16, (16,), [16])


# As a challenger in a search.


def test_a_network_is_tried_where_there_is_time_and_something_to_gain(digits: Path, monkeypatch: Any) -> None:
    job = make_job(digits)
    assert not is_worth_trying(job, 0.2, 1000, 300)  # too few images
    monkeypatch.setattr(classic_cv.contest, "LEAST_IMAGES", 100)
    assert is_worth_trying(job, 0.2, 100, 300)
    assert not is_worth_trying(job, 0.2, 50, 60)
    assert not is_worth_trying(job, 0.2, 80, 300)
    assert not is_worth_trying(job, 0.001, 1000, 300)
    assert network_recipe(job, 100, None).name == "hybrid-100k"
    assert network_recipe(job, 100, 0.5).name == "hybrid-20k"
    assert network_recipe(job, 5, None).name == "hybrid-20k"  # 12 passes take 8 s
    monkeypatch.setattr(classic_cv.fitting, "find_spec", lambda name: None)
    assert not is_worth_trying(job, 0.2, 1000, 300)


@pytest.mark.parametrize("network_wins", [True, False])
def test_a_search_takes_the_better_of_both(digits: Path, monkeypatch: Any, network_wins: bool) -> None:
    weak = [recipe for recipe in feature_recipes("classification", [32]) if recipe.name == "blobs-32"]
    assert weak
    monkeypatch.setattr(classic_cv.search, "feature_recipes", lambda task, sizes: weak)
    monkeypatch.setattr(classic_cv.search, "EXPANDED", 0)
    monkeypatch.setattr(classic_cv.contest, "LEAST_IMAGES", 100)
    monkeypatch.setattr(classic_cv.contest, "LEAST_SECONDS", 1.0)
    monkeypatch.setattr(classic_cv.contest, "LEAST_SHARE", 0.0)
    epochs = 15 if network_wins else 1
    rate = "auto" if network_wins else 1e-9
    challenger = tiny(
        optimization={"epochs": epochs, "batch_size": 64, "learning_rate": rate},
        network={"head_start": False},
    )
    monkeypatch.setattr(classic_cv.search, "network_recipe", lambda job, seconds, limit: challenger)
    model = fit(digits, time_limit=60, jobs=1)
    assert model.report is not None
    board = {entry["recipe"]: entry for entry in model.report["search"]["leaderboard"]}
    assert isinstance(model.recipe.head, HybridSettings) == network_wins
    assert board["tiny"]["status"] == ("winner" if network_wins else "behind the winner")
    assert board["tiny"]["head"] == "hybrid network"
    # A winner without a network is fitted on all training images.
    assert model.metadata.n_train == len(make_job(digits).train)


def test_images_that_decide_are_left_out_with_their_copies() -> None:
    X = np.arange(8, dtype=np.float32)[:, None]
    left = without(Extraction(X, np.array([3, 5, 7, 9]), []), np.array([5, 9]))
    assert left.kept.tolist() == [3, 7]
    assert left.X[:, 0].tolist() == [0, 2, 4, 6]
    assert left.has_copies


def test_only_files_with_a_network_have_the_newest_format(hybrid_file: Path, model_file: Path) -> None:
    def version(path: Path) -> int:
        data = path.read_bytes()
        length = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + length])["__metadata__"]
        found: int = json.loads(metadata["classic_cv"])["format_version"]
        return found

    assert (version(hybrid_file), version(model_file)) == (4, 3)


def test_on_small_images_the_rival_makes_room(digits: Path, monkeypatch: Any) -> None:
    job = make_job(digits)
    assert rival_seconds(job, 100.0) == pytest.approx(15)
    monkeypatch.setattr(classic_cv.contest, "SMALL_SIDE", 4)
    assert rival_seconds(job, 100.0) == np.inf


def test_without_onnxruntime_loading_names_the_extra(
    hybrid_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        MissingExtraError, match=r"digits\.safetensors: this model holds a network, which onnxruntime"
    ):
        load(hybrid_file)
