"""Recipes: valid ones become frozen structs, invalid ones are named by file and key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from classic_cv.errors import RecipeError
from classic_cv.features import HOG
from classic_cv.recipe import LinearSVMSettings, load_recipe, parse_recipe, shelf

SHELF = """blobs color dummy hog hog-color hog-color-lbp hog-fast hog-small lbp properties""".split()


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_shelf_holds_the_documented_recipes_and_every_one_is_valid() -> None:
    assert set(SHELF) == set(shelf())
    for name in shelf():
        recipe = load_recipe(name)
        assert recipe.name == name
        assert recipe.description.endswith(".")
        for feature in recipe.features:
            feature.build().check_params()


def test_defaults_are_filled_in_and_written_out(tmp_path: Path) -> None:
    path = written(tmp_path, '[[features]]\ntype = "hog"\nsigned = true\n[head]\ntype = "linear-svm"\n')
    recipe = load_recipe(path)
    assert recipe.image.shape == (128, 128)
    assert recipe.features[0].params == {**HOG().get_params(), "signed": True}
    assert recipe.head == LinearSVMSettings(C="auto")
    assert parse_recipe(recipe.to_table(), name=recipe.name, source="again") == recipe


def test_a_recipe_is_frozen() -> None:
    recipe = load_recipe("hog")
    with pytest.raises(AttributeError, match="immutable"):
        recipe.name = "other"  # type: ignore[misc]


HEAD = '[head]\ntype = "linear-svm"\n'
HOG_TABLE = '[[features]]\ntype = "hog"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HOG_TABLE, "missing key `head`"),
        (HEAD, "no [[features]] given"),
        (HOG_TABLE + HEAD + "c = 1\n", "head: unknown key `c`"),
        (HOG_TABLE + HEAD + "C = 0\n", "head.C: expected `float` > 0.0"),
        (HOG_TABLE + '[head]\ntype = "svm"\n', "head.type: invalid value 'svm'"),
        ("colour = 1\n" + HOG_TABLE + HEAD, "unknown key `colour`"),
        ("[image]\nsize = 0\n" + HOG_TABLE + HEAD, "image.size: expected `int` >= 1"),
        ("[image]\nsize = [32]\n" + HOG_TABLE + HEAD, "image.size: expected `array` of length >= 2"),
        ("[image]\nsides = 3\n" + HOG_TABLE + HEAD, "image: unknown key `sides`"),
        (HOG_TABLE + "bins = 4\n" + HEAD, "features[0]: unknown key `bins`"),
        (HOG_TABLE + 'orientations = "many"\n' + HEAD, "features[0].orientations: expected `int`, got `str`"),
        (
            '[[features]]\ntype = "sift3d"\n' + HEAD,
            "features[0].type is 'sift3d', allowed are: color-histogram",
        ),
        ("[[features]]\n" + HEAD, "features[0].type is None"),
        ("size = ", "is not valid TOML"),
    ],
)
def test_mistakes_are_named_by_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(RecipeError, match=re.escape(message)) as error:
        load_recipe(path)
    assert str(path) in str(error.value)


def test_an_unknown_name_lists_the_shelf() -> None:
    with pytest.raises(
        RecipeError, match=r"no recipe 'hogg': give auto, one of .*hog-color-lbp.*, or the path of"
    ):
        load_recipe("hogg")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.toml: cannot be read \(No such file"):
        load_recipe(tmp_path / "none.toml")
