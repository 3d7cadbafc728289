"""What a search may choose from: sizes, feature sets and heads, without repeats and without the floors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest

from classic_cv.candidates import (
    EXACT_ROWS,
    SIZES,
    feature_recipes,
    floor_recipes,
    head_label,
    head_variants,
    is_worth_its_size,
    learns,
    sizes_for,
    typical_side,
)
from classic_cv.dataset import load_dataset
from classic_cv.neural.settings import HybridSettings
from classic_cv.recipe import (
    FLOORS,
    DummySettings,
    LinearSVMSettings,
    LinearSVRSettings,
    RBFSVMSettings,
    RBFSVRSettings,
    load_recipe,
    shelf,
)

TASKS: list[Any] = ["classification", "regression"]


@pytest.mark.parametrize(
    ("side", "sizes"),
    [
        (0, [32, 64]),
        (1, [32, 64]),
        (24, [32, 64]),
        (28, [32, 64]),
        (48, [32, 64]),
        (60, [32, 64, 128]),
        (102.4, [32, 64, 128, 256]),
        (5000, [32, 64, 128, 256]),
    ],
)
def test_images_are_not_enlarged_much_but_two_sizes_are_tried(side: float, sizes: list[int]) -> None:
    assert sizes_for(side) == sizes


def test_the_typical_side_is_the_median_of_the_shorter_ones(tmp_path: Path) -> None:
    for index, shape in enumerate([(20, 90), (90, 30), (40, 41), (1, 1)]):
        path = tmp_path / "ab"[index % 2] / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(cv2.imencode(".png", np.full((*shape, 3), index, np.uint8))[1].tobytes())
    (tmp_path / "a" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    dataset = load_dataset(tmp_path)
    by_name = {Path(name).stem: index for index, name in enumerate(dataset.names)}
    assert typical_side(dataset, [by_name[name] for name in ("0", "1", "2", "broken")]) == 30
    assert typical_side(dataset, [by_name["broken"]]) == 0


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("sizes", [[32, 64], [128], list(SIZES)])
def test_feature_sets_do_not_repeat(task: Any, sizes: list[int]) -> None:
    recipes = feature_recipes(task, sizes)
    contents = [msgspec.json.encode([recipe.image, recipe.features]) for recipe in recipes]
    assert len(set(contents)) == len(contents)
    names = [recipe.name for recipe in recipes]
    assert len(set(names)) == len(names)
    assert not {name.rsplit("-", 1)[0] for name in names} & set(FLOORS)
    assert not set(names) & set(FLOORS)
    # Those without a codebook before those that have to learn one.
    assert [learns(recipe) for recipe in recipes] == sorted(learns(recipe) for recipe in recipes)
    # The richest first, at each size: the others find their features known.
    plain = [load_recipe(name) for name in shelf() if not learns(load_recipe(name))]
    for size in sizes:
        mine = [len(r.features) for r in recipes if r.image.size == size and not learns(r)]
        assert mine == sorted(mine, reverse=True)
        assert mine[0] == max(len(recipe.features) for recipe in plain)


def test_every_recipe_of_the_shelf_is_tried_at_its_own_size() -> None:
    recipes = feature_recipes("classification", SIZES)
    found = {msgspec.json.encode([recipe.image, recipe.features]) for recipe in recipes}
    for name in set(shelf()) - set(FLOORS):
        own = load_recipe(name)
        if isinstance(own.head, HybridSettings):  # they are trained, not tried
            assert name not in {recipe.name for recipe in recipes}
            continue
        assert msgspec.json.encode([own.image, own.features]) in found


@pytest.mark.parametrize("sizes", [[32, 64], [64, 128], list(SIZES)])
def test_hog_fast_is_tried_at_its_own_size_only(sizes: list[int]) -> None:
    recipes = feature_recipes("classification", sizes)
    assert [recipe.image.size for recipe in recipes if recipe.name.startswith("hog-fast")] == [28]
    others = [r for r in recipes if not r.name.startswith("hog-fast") and not learns(r)]
    assert {recipe.image.size for recipe in others} == set(sizes)


@pytest.mark.parametrize(
    ("sizes", "name", "tried"),
    [
        ([32, 64], "fisher-color", [64, 32]),
        (SIZES, "fisher-color", [256, 128]),
        (SIZES, "patches", [32]),
        (SIZES, "fisher-fast", [160]),
        ([32, 64], "fisher-fast", [64, 32]),
    ],
)
def test_codebooks_are_tried_at_the_larger_sizes_up_to_their_own(
    sizes: list[int], name: str, tried: list[int]
) -> None:
    recipe = load_recipe(name)
    expected = [recipe.resized(size) for size in tried]
    names = {one.name for one in expected}
    assert [one for one in feature_recipes("classification", sizes) if one.name in names] == expected
    started = {one.name for one in feature_recipes("classification", sizes)}
    assert {f"{name}-{size}" for size in SIZES} & started <= names


def test_resized_recipes_are_read_back_as_they_are(tmp_path: Path) -> None:
    for recipe in feature_recipes("classification", SIZES):
        path = tmp_path / f"{recipe.name}.toml"
        path.write_text(recipe.to_toml(), encoding="utf-8")
        assert load_recipe(path) == recipe
        assert msgspec.json.encode(load_recipe(path)) == msgspec.json.encode(recipe)


@pytest.mark.parametrize("task", TASKS)
def test_heads_fit_the_task(task: Any) -> None:
    linear = LinearSVMSettings if task == "classification" else LinearSVRSettings
    assert all(isinstance(recipe.head, linear) for recipe in feature_recipes(task, [32, 64]))
    assert [recipe.name for recipe in floor_recipes(task)] == list(FLOORS)
    dummy, properties = floor_recipes(task)
    assert isinstance(dummy.head, DummySettings)
    assert isinstance(properties.head, linear)


@pytest.mark.parametrize(
    ("task", "n", "labels"),
    [
        ("classification", 100, "hellinger chi2 rbf svc"),
        ("classification", EXACT_ROWS, "hellinger chi2 rbf svc"),
        ("classification", EXACT_ROWS + 1, "hellinger chi2 rbf"),
        ("regression", 100, "svr hellinger hellinger-svr"),
        ("regression", EXACT_ROWS + 1, "hellinger"),
    ],
)
def test_a_feature_set_is_tried_with_the_other_heads(task: Any, n: int, labels: str) -> None:
    [recipe] = [r for r in feature_recipes(task, [32]) if r.name == "hog-color-32"]
    variants = head_variants(recipe, n)
    assert [variant.name for variant in variants] == [f"hog-color-32-{label}" for label in labels.split()]
    assert len({head_label(variant.head) for variant in variants} | {head_label(recipe.head)}) == 1 + len(
        variants
    )
    for variant in variants:
        assert variant.features == recipe.features
        assert variant.image == recipe.image
        assert variant.head != recipe.head
        assert variant.head.scale == recipe.head.scale == "groups"  # type: ignore[union-attr]


def test_the_dummy_has_no_other_heads() -> None:
    assert head_variants(load_recipe("dummy"), 100) == []


@pytest.mark.parametrize(
    ("head", "label"),
    [
        (LinearSVMSettings(), "linear SVM"),
        (LinearSVMSettings(kernel_map="chi2"), "chi2 + linear SVM"),
        (RBFSVMSettings(), "RBF SVM"),
        (LinearSVRSettings(kernel_map="hellinger"), "hellinger + linear SVR"),
        (RBFSVRSettings(), "RBF SVR"),
        (DummySettings(), "dummy"),
    ],
)
def test_heads_in_words(head: Any, label: str) -> None:
    assert head_label(head) == label


@pytest.mark.parametrize(
    ("side", "sizes"), [(28, {32}), (32, {32}), (64, {64}), (100, {64, 128}), (500, {128, 256})]
)
def test_recipes_with_codebooks_do_not_enlarge_much(side: float, sizes: set[int]) -> None:
    recipes = feature_recipes("classification", sizes_for(side))
    kept = [recipe for recipe in recipes if is_worth_its_size(recipe, side)]
    assert [r for r in recipes if not learns(r)] == [r for r in kept if not learns(r)]
    assert {r.image.size for r in kept if r.name.startswith("fisher-color")} == sizes
