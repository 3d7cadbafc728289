"""Recipes: valid ones become frozen structs, invalid ones are named by file and key."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from classic_cv.errors import ArtifactError, RecipeError
from classic_cv.features import HOG, FisherVector
from classic_cv.features.local import DenseSIFT
from classic_cv.fitting import fit
from classic_cv.images import resize
from classic_cv.model import Model
from classic_cv.recipe import (
    DummySettings,
    FeatureSettings,
    Head,
    ImageSettings,
    LinearSVMSettings,
    LinearSVRSettings,
    RBFSVMSettings,
    RBFSVRSettings,
    Recipe,
    TrainSettings,
    load_recipe,
    parse_recipe,
    shelf,
)

SHELF = """
blobs color dummy hybrid hybrid-5k hybrid-20k hybrid-100k hybrid-regression
fisher fisher-color fisher-fast fisher-patches fisher-photo hog hog-color hog-color-lbp
hog-color-lbp-dog hog-fast hog-small lbp patches properties sift-bow vlad
""".split()


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


def test_a_table_within_a_table_is_a_local_descriptor(tmp_path: Path) -> None:
    path = written(tmp_path, FISHER_TABLE + "bins = [3, 5]\n" + HEAD)
    recipe = load_recipe(path)
    extractor = recipe.features[0].build()
    assert isinstance(extractor, FisherVector)
    assert extractor.descriptor == DenseSIFT(bins=(3.0, 5.0))
    extractor.check_params()
    # Written as an inline table, every default filled in, and read back to the same.
    line = next(line for line in recipe.to_toml().splitlines() if line.startswith("descriptor"))
    assert line.startswith('descriptor = { type = "dense-sift", bins = [3.0, 5.0], ')
    again = parse_recipe(tomllib.loads(recipe.to_toml()), name=recipe.name, source="again")
    assert again == recipe
    assert again.features[0].build().get_params() == extractor.get_params()
    # What is left out of a descriptor is its default, and so is a descriptor that is left out.
    path = written(tmp_path, '[[features]]\ntype = "fisher-vector"\n' + HEAD)
    assert load_recipe(path).features[0].build().get_params() == FisherVector().get_params()


def test_a_recipe_is_frozen() -> None:
    recipe = load_recipe("hog")
    with pytest.raises(AttributeError, match="immutable"):
        recipe.name = "other"  # type: ignore[misc]


HEAD = '[head]\ntype = "linear-svm"\n'
HOG_TABLE = '[[features]]\ntype = "hog"\n'
FISHER_TABLE = '[[features]]\ntype = "fisher-vector"\n[features.descriptor]\ntype = "dense-sift"\n'


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
            "features[0].type is 'sift3d', allowed are: bag-of-visual-words, color-histogram",
        ),
        (FISHER_TABLE + "bins = [0]\n" + HEAD, "features[0].descriptor.bins[0]: expected `float` >= 1.0"),
        (FISHER_TABLE + "size = 3\n" + HEAD, "features[0].descriptor: unknown key `size`"),
        (
            FISHER_TABLE.replace("dense-sift", "sift") + HEAD,
            "features[0].descriptor.type: invalid value 'sift'",
        ),
        (
            '[[features]]\ntype = "vlad"\ndescriptor = "lbp"\n' + HEAD,
            "features[0].descriptor: expected `object`",
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


HEADS: list[Head] = [
    LinearSVMSettings(),
    LinearSVMSettings(0.03, "groups", "balanced", "hellinger-rbf", 500, 1e-5),
    LinearSVMSettings(C=1e22, kernel_map="chi2"),
    RBFSVMSettings(),
    RBFSVMSettings(10.0, 0.3, "none", "none", "hellinger"),
    LinearSVRSettings(),
    LinearSVRSettings(1 / 3, 0.0, "groups", "hellinger"),
    RBFSVRSettings(),
    RBFSVRSettings(0.1 + 0.2, 1e-9, 0.2, "none", "hellinger"),
    DummySettings(),
]


def read_back(recipe: Recipe) -> Recipe:
    return parse_recipe(tomllib.loads(recipe.to_toml()), name=recipe.name, source="to_toml")


@pytest.mark.parametrize("head", HEADS, ids=lambda head: type(head).__name__)
@pytest.mark.parametrize("name", SHELF)
def test_toml_is_read_back_to_an_equal_recipe(name: str, head: Head, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    assert read_back(recipe) == recipe
    features = recipe.features or load_recipe("hog").features
    recipe = msgspec.structs.replace(recipe, features=features, head=head, train=TrainSettings(1234))
    (tmp_path / f"{name}.toml").write_text(recipe.to_toml(), encoding="utf-8")
    assert load_recipe(tmp_path / f"{name}.toml") == recipe
    assert read_back(recipe.resized(40)) == recipe.resized(40)
    assert read_back(recipe.for_regression()) == recipe.for_regression()


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_description_may_hold_anything(description: str) -> None:
    recipe = msgspec.structs.replace(load_recipe("hog"), description=description)
    assert read_back(recipe) == recipe


@pytest.mark.parametrize(
    "description", ["\x7f", '"""', "\\", "a\r\nb\tc\0", "# [head]\nC = 1", "花 \U0001f33c", "\u2028"]
)
def test_odd_characters_of_a_description(description: str, tmp_path: Path) -> None:
    recipe = msgspec.structs.replace(load_recipe("color"), description=description)
    (tmp_path / "color.toml").write_text(recipe.to_toml(), encoding="utf-8")
    assert load_recipe(tmp_path / "color.toml") == recipe


def test_all_training_images_are_not_worth_a_table() -> None:
    recipe = load_recipe("hog")
    assert "[train]" not in recipe.to_toml()
    assert "[train]\nimages = 500\n" in msgspec.structs.replace(recipe, train=TrainSettings(500)).to_toml()


@pytest.mark.parametrize("size", [32, 64, 256])
def test_resizing_scales_the_cells_with_the_image(size: int) -> None:
    recipe = load_recipe("hog-color-lbp")
    resized = recipe.resized(size)
    assert resized.name == f"hog-color-lbp-{size}"
    assert resized.image == ImageSettings(size=size)
    assert resized.features[0].params["pixels_per_cell"] == (size // 8, size // 4)
    assert resized.features[1:] == recipe.features[1:]
    assert (resized.head, resized.train) == (recipe.head, recipe.train)
    # The layout stays: the same names of features, of which many have about the same value.
    image = np.zeros((256, 256, 3), np.uint8)
    image[40:200, 70:150] = (200, 120, 40)
    names, values = [], []
    for version in (recipe, resized):
        hog = version.features[0].build()
        pixels = [np.ascontiguousarray(resize(image, version.image.shape))]
        values.append(hog.fit(pixels).transform(pixels)[0])
        names.append(hog.get_feature_names_out().tolist())
    assert len(names[0]) == len(names[1])
    assert np.corrcoef(*values)[0, 1] > 0.9


def test_resizing_to_the_same_size_changes_nothing() -> None:
    recipe = load_recipe("hog-small")
    assert recipe.resized(32) is recipe
    oblong = msgspec.structs.replace(recipe, image=ImageSettings(size=(16, 32)))
    assert oblong.resized(32).image.shape == (32, 32)
    assert oblong.resized(32).features == recipe.features


def test_cells_that_fall_together_are_kept_once() -> None:
    assert load_recipe("hog-small").resized(4).features[0].params["pixels_per_cell"] == (1,)
    one = FeatureSettings("hog", {**HOG().get_params(), "pixels_per_cell": 8})
    recipe = msgspec.structs.replace(load_recipe("hog-small"), features=(one,))
    assert recipe.resized(64).features[0].params["pixels_per_cell"] == (16,)


def test_local_descriptors_and_own_sizes_grow_with_the_image() -> None:
    recipe = load_recipe("fisher-photo")
    sift, _, color = recipe.resized(128).features
    assert sift.params["descriptor"]["bins"] == (4, 6, 8)
    assert sift.params["descriptor"]["step"] == 4
    assert (color.image_size, color.params["descriptor"]["bins"]) == (64, (2, 3))
    assert color.params["descriptor"]["step"] == 2
    assert {**sift.params, "descriptor": None} == {**recipe.features[0].params, "descriptor": None}
    # None below 2 pixels, and none twice.
    sift, _, color = recipe.resized(32).features
    assert (sift.params["descriptor"]["bins"], sift.params["descriptor"]["step"]) == ((2,), 2)
    assert (color.image_size, color.params["descriptor"]["bins"]) == (16, (2,))
    # Even numbers stay even, for images that are halved.
    sift = load_recipe("fisher-fast").resized(128).features[0].params["descriptor"]
    assert (sift["bins"], sift["step"]) == ((6, 10), 6)
    # What is as small already stays, and grows.
    assert load_recipe("fisher-patches").resized(16).features[0].params["descriptor"]["bins"] == (2, 3)
    assert load_recipe("fisher-patches").resized(64).features[0].params["descriptor"]["bins"] == (4, 6, 8, 10)
    for size in (16, 32, 48, 64, 100, 300):
        for name in shelf():
            version = load_recipe(name).resized(size)
            assert read_back(version).to_toml() == version.to_toml()
            assert msgspec.json.encode(read_back(version)) == msgspec.json.encode(version)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (LinearSVMSettings(C=3.0, scale="groups"), LinearSVRSettings(scale="groups")),
        (LinearSVMSettings(kernel_map="hellinger"), LinearSVRSettings(kernel_map="hellinger")),
        (LinearSVMSettings(kernel_map="chi2", scale="none"), LinearSVRSettings(scale="none")),
        (LinearSVMSettings(kernel_map="hellinger-rbf", gamma=0.3), LinearSVRSettings()),
        (
            RBFSVMSettings(3.0, 0.3, "groups", "none", "hellinger"),
            RBFSVRSettings("auto", 0.3, "auto", "groups", "hellinger"),
        ),
        (LinearSVRSettings(C=3.0, epsilon=0.2), LinearSVRSettings(C=3.0, epsilon=0.2)),
        (RBFSVRSettings(C=3.0), RBFSVRSettings(C=3.0)),
        (DummySettings(), DummySettings()),
    ],
)
def test_a_regression_gets_the_head_of_the_same_kind(head: Head, expected: Head) -> None:
    recipe = msgspec.structs.replace(load_recipe("hog"), head=head)
    assert recipe.for_regression() == msgspec.structs.replace(recipe, head=expected)


def test_a_model_file_gives_its_recipe_and_the_same_model(
    model: Model, model_file: Path, faces: Path
) -> None:
    recipe = load_recipe(model_file)
    assert recipe == model.recipe
    assert recipe.name == "small"
    assert load_recipe(str(model_file)) == recipe
    assert fit(faces, model_file, jobs=1).to_bytes() == model_file.read_bytes()


def test_what_was_chosen_is_not_chosen_again(faces: Path, tmp_path: Path) -> None:
    model = fit(faces, "hog-small", jobs=1)
    model.save(tmp_path / "chosen.safetensors")
    again = fit(faces, tmp_path / "chosen.safetensors", jobs=1)
    assert again.recipe == model.recipe
    assert len(again.metadata.fit["Cs"]) == 1 < len(model.metadata.fit["Cs"])
    images = sorted((faces / "test").rglob("*.png"))
    np.testing.assert_array_equal(again.predict_proba(images), model.predict_proba(images))


def test_a_damaged_model_file_gives_no_recipe(model_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="cannot be read"):
        load_recipe(tmp_path / "none.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(model_file.read_bytes()[:-10])
    with pytest.raises(ArtifactError, match="is not a whole safetensors file"):
        load_recipe(tmp_path / "cut.safetensors")
