"""Explanations: their parts add up to the score, lie where they belong, and the drawing shows it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image as PillowImage

from classic_cv import artifact
from classic_cv.errors import ArtifactError, ExplanationError, ImageError
from classic_cv.explanation import AGAINST, FOR, Explanation, density, overlay, usual_values
from classic_cv.fitting import fit
from classic_cv.model import Model, load
from classic_cv.recipe import parse_recipe

Pixels = NDArray[np.uint8]

FEATURES: list[dict[str, Any]] = [
    {"type": "hog", "pixels_per_cell": [8, 16]},
    {"type": "color-histogram", "space": "rgb", "bins": 4, "grid": [2, 3]},
    {"type": "lbp", "points_radii": [[8, 1.0], [4, 2.0]], "grid": 2},
    {"type": "dog-histogram", "sigmas": [1.0, 2.0], "bins": 5, "grid": [3, 2]},
    {"type": "image-properties"},
]
LINEAR = {
    "linear": {"type": "linear-svm", "C": 1.0},
    "hellinger": {"type": "linear-svm", "C": 1.0, "kernel_map": "hellinger"},
    "chi2": {"type": "linear-svm", "C": 1.0, "kernel_map": "chi2"},
}
LINEAR_NUMBERS = {
    "svr": {"type": "linear-svr", "C": 1.0, "epsilon": 0.1},
    "hellinger-svr": {"type": "linear-svr", "C": 1.0, "epsilon": 0.1, "kernel_map": "hellinger"},
}
OTHERS = {
    "rbf-svm": {"type": "rbf-svm", "C": 1.0, "gamma": 0.3},
    'linear-svm with kernel_map = "rbf"': {
        "type": "linear-svm",
        "C": 1.0,
        "gamma": 0.3,
        "kernel_map": "rbf",
        "n_components": 20,
    },
    "dummy": {"type": "dummy"},
}
PLACES = ("left", "middle", "right")


def disc(place: int, rng: np.random.Generator, height: int = 40, width: int = 60) -> Pixels:
    """A red disc on noise at the left, in the middle, or at the right."""
    pixels = cv2.GaussianBlur(rng.integers(40, 160, (height, width, 3), dtype=np.uint8), (0, 0), 1.5)
    center = width * (1 + 2 * place) // 6, height // 2 + int(rng.integers(-5, 6))
    cv2.circle(pixels, center, height // 6, (220, 30, 30), -1)
    return np.asarray(pixels, np.uint8)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Discs; a manifest with the place as class, whether it is the left one, and the place as a number."""
    folder = tmp_path_factory.mktemp("discs")
    rng = np.random.default_rng(0)
    rows = []
    for index in range(36):
        pixels = disc(index % 3, rng)
        PillowImage.fromarray(pixels).save(folder / f"{index}.png")
        rows.append(
            f"{index}.png,{PLACES[index % 3]},{'no' if index % 3 else 'yes'},{index % 3 + index / 1000}"
        )
    (folder / "labels.csv").write_text("file,place,left,number\n" + "\n".join(rows))
    return folder


@pytest.fixture(scope="module")
def fitted(data: Path) -> Any:
    """``fitted(head, target, features, mirror)``: a model, each fitted once."""
    known: dict[str, Model] = {}

    def model(
        head: dict[str, Any], target: str = "place", features: Any = FEATURES, mirror: bool = False
    ) -> Model:
        image = {"size": [32, 48], "mirror": mirror}
        table = {"image": image, "features": features, "head": head}
        key = repr((table, target))
        if key not in known:
            recipe = parse_recipe(table, name="test", source="test")
            known[key] = fit(data, recipe, target=target, jobs=1)
        return known[key]

    return model


@pytest.fixture(scope="module")
def unseen() -> list[Pixels]:
    rng = np.random.default_rng(1)
    return [disc(place, rng) for place in range(3)]


def check_sums(explanation: Explanation, score: float) -> None:
    """All ways of adding up an explanation give the score."""
    assert explanation.score == pytest.approx(score, rel=1e-4, abs=1e-5)
    bias, score_is = explanation.bias, pytest.approx(score, rel=1e-4, abs=1e-5)
    assert bias + explanation.values.sum() == score_is
    assert bias + sum(group.contribution for group in explanation.groups) == score_is
    for height, width in [(40, 60), (7, 11), (90, 300)]:
        heat = explanation.heatmap((height, width))
        assert heat.shape == (height, width)
        assert heat.dtype == np.float32
        assert bias + explanation.whole_image + heat.sum(dtype=float) == score_is


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("head", LINEAR)
def test_contributions_and_bias_are_the_score(
    head: str, mirror: bool, fitted: Any, unseen: list[Pixels]
) -> None:
    model = fitted(LINEAR[head], mirror=mirror)
    for image, scores in zip(unseen, model.decision_function(unseen), strict=True):
        for name, score in zip(model.class_names, scores, strict=True):
            explanation = model.explain(image, name)
            assert explanation.class_name == name
            check_sums(explanation, float(score))
    names = [group.extractor for group in explanation.groups]
    assert names == ["hog", "color-histogram", "lbp", "dog-histogram", "image-properties"]
    # Image properties are all that has no place here.
    assert explanation.whole_image == pytest.approx(explanation.groups[-1].contribution)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("head", LINEAR_NUMBERS)
def test_contributions_and_bias_are_the_number(
    head: str, mirror: bool, fitted: Any, unseen: list[Pixels]
) -> None:
    model = fitted(LINEAR_NUMBERS[head], "number", mirror=mirror)
    for image, number in zip(unseen, model.predict(unseen), strict=True):
        explanation = model.explain(image)
        assert explanation.class_name is None
        check_sums(explanation, float(number))


def test_two_classes_have_one_score_and_its_negative(fitted: Any, unseen: list[Pixels]) -> None:
    model = fitted(LINEAR["linear"], "left")
    assert model.class_names == ("no", "yes")
    for image, score in zip(unseen, model.decision_function(unseen), strict=True):
        no, yes = model.explain(image, "no"), model.explain(image, "yes")
        check_sums(yes, float(score))
        check_sums(no, -float(score))
        np.testing.assert_array_equal(no.values, -yes.values)


def test_the_predicted_class_is_the_default(fitted: Any, unseen: list[Pixels]) -> None:
    for target in ("place", "left"):
        model = fitted(LINEAR["linear"], target)
        assert [model.explain(image).class_name for image in unseen] == model.predict(unseen).tolist()


def cell_of(name: str) -> tuple[float, float, float, float]:
    """The box of a column in an image of 32 x 48 pixels, read off its name."""
    if hog := re.fullmatch(r"hog(\d+)_y(\d+)_x(\d+)_cell(\d)_o\d", name):
        size, y, x, cell = map(int, hog.groups())
        row, column = y + cell // 2, x + cell % 2
        return column * size, row * size, (column + 1) * size, (row + 1) * size
    found = re.search(r"_y(\d+)_x(\d+)_", name)
    if not found:
        return 0, 0, 48, 32
    rows, columns = {"rgb": (2, 3), "lbp": (2, 2), "dog": (3, 2)}[name[:3]]
    y, x = map(int, found.groups())
    return 48 * x // columns, 32 * y // rows, 48 * (x + 1) // columns, 32 * (y + 1) // rows


def test_regions_are_those_that_the_columns_names_tell(fitted: Any, unseen: list[Pixels]) -> None:
    model = fitted(LINEAR["linear"])
    products = (model.features([unseen[0]])[0].astype(float) - model.mean) * model.head.coef_[1]
    expected: dict[tuple[int, tuple[float, ...]], float] = {}
    start = 0
    for index, extractor in enumerate(model.featurizer.extractors):
        for name in extractor.get_feature_names_out():
            key = index, cell_of(str(name))
            expected[key] = expected.get(key, 0.0) + products[start]
            start += 1
    explanation = model.explain(unseen[0], model.class_names[1])
    # In the explanation boxes are those of an image of 40 x 60 pixels; no two have the same value.
    values = np.array(list(expected.values()))
    boxes = np.array([box for _, box in expected]) * np.array([60 / 48, 40 / 32] * 2)
    np.testing.assert_allclose(np.sort(explanation.values), np.sort(values), atol=1e-9)
    found = explanation.boxes[np.argsort(explanation.values)]
    np.testing.assert_allclose(found, boxes[np.argsort(values)], atol=1e-4)


def test_what_speaks_for_a_disc_is_where_it_is(fitted: Any) -> None:
    model = fitted(LINEAR["linear"], features=FEATURES[:2])
    rng = np.random.default_rng(2)
    for place, name in enumerate(PLACES):
        # Of another size than the training images: boxes are in pixels of this one.
        image = disc(place, rng, 200, 300)
        explanation = model.explain(image)
        assert (explanation.class_name, explanation.width, explanation.height) == (name, 300, 200)
        thirds = explanation.heatmap((200, 300)).reshape(200, 3, 100).sum(axis=(0, 2))
        assert thirds.argmax() == place


def test_the_mean_image_has_the_bias(fitted: Any, data: Path) -> None:
    model = fitted(LINEAR["chi2"])
    images = [data / f"{index}.png" for index in range(36)]
    # Fitted on a part of them: the bias is about the mean score of all, and far from the mean of one class.
    scores = model.decision_function(images)
    for k, name in enumerate(model.class_names):
        assert model.explain(images[0], name).bias == pytest.approx(scores[:, k].mean(), abs=0.1)
        assert scores[k::3, k].mean() > 0.5


def test_a_model_file_keeps_the_mean_and_one_without_it_is_explained_from_zero(
    fitted: Any, unseen: list[Pixels], tmp_path: Path
) -> None:
    model = fitted(LINEAR["hellinger"])
    path = tmp_path / "model.safetensors"
    model.save(path)
    expected = model.explain(unseen[0])
    np.testing.assert_array_equal(load(path).explain(unseen[0]).values, expected.values)
    metadata, tensors = artifact.read_file(path)
    kept = {name: array for name, array in tensors.items() if not name.startswith("explanation.")}
    path.write_bytes(artifact.to_bytes(metadata, kept))
    old = load(path).explain(unseen[0])
    check_sums(old, expected.score)
    assert old.bias == pytest.approx(float(model.head.intercept_[0]))
    damaged = tensors | {"explanation.mean": tensors["explanation.mean"][:, :-1]}
    path.write_bytes(artifact.to_bytes(metadata, damaged))
    with pytest.raises(ArtifactError, match="mean features of another number than the weights"):
        load(path)


@pytest.mark.parametrize("kind", ["fisher-vector", "vlad", "bag-of-visual-words"])
def test_encodings_are_explained_by_their_descriptors(kind: str, fitted: Any, unseen: list[Pixels]) -> None:
    words = "n_components" if kind == "fisher-vector" else "n_words"
    # Two extractors: Fisher vectors and VLAD are relative to 0, the histogram to its mean.
    features = [{"type": kind, words: 4}, FEATURES[1]]
    model = fitted(LINEAR["linear"], features=features)
    for image, scores in zip(unseen, model.decision_function(unseen), strict=True):
        for name, score in zip(model.class_names, scores, strict=True):
            explanation = model.explain(image, name)
            check_sums(explanation, float(score))
    assert len(explanation.boxes) > 6 + 20
    usual = usual_values(model, model.featurizer.n_features)
    width, _ = model.featurizer.group_widths
    assert usual[:width].any() == (kind == "bag-of-visual-words")
    np.testing.assert_array_equal(usual[width:], model.mean[width:].astype(float))


@pytest.mark.parametrize("mirror", [False, True])
def test_extractors_that_see_other_sizes_describe_the_same_places(
    mirror: bool, fitted: Any, unseen: list[Pixels]
) -> None:
    # Two by four cells of 8 pixels share the image, whatever the size in [image].
    features = [{"type": "hog", "image_size": [16, 32], "cells_per_block": 1}, FEATURES[1]]
    model = fitted(LINEAR["linear"], features=features, mirror=mirror)
    explanation = model.explain(unseen[0], "left")
    check_sums(explanation, float(model.decision_function([unseen[0]])[0, 0]))
    expected = [[15 * x, 20 * y, 15 * x + 15, 20 * y + 20] for y in range(2) for x in range(4)]
    np.testing.assert_allclose(explanation.boxes[:8], expected, atol=1e-4)
    if mirror:
        # The second view's cells, from right to left.
        np.testing.assert_allclose(
            explanation.boxes[14:22], np.array(expected)[[3, 2, 1, 0, 7, 6, 5, 4]], atol=1e-4
        )


def test_an_image_turned_by_exif_is_explained_upright(
    fitted: Any, unseen: list[Pixels], tmp_path: Path
) -> None:
    model = fitted(LINEAR["linear"])
    image = np.ascontiguousarray(unseen[2])
    exif = PillowImage.Exif()
    exif[274] = 6  # to be turned by 90 degrees clockwise
    path = tmp_path / "ein gedrehtes Bild ů.png"
    PillowImage.fromarray(np.rot90(image)).save(path, exif=exif)
    turned, upright = model.explain(path), model.explain(image)
    assert (turned.width, turned.height) == (60, 40)
    np.testing.assert_array_equal(turned.boxes, upright.boxes)
    # The bytes per pixel are an image property.
    np.testing.assert_array_equal(turned.values[:-1], upright.values[:-1])
    assert turned.draw(path).shape == upright.draw(image).shape


def test_mirrored_features_explain_a_mirrored_image_as_well(fitted: Any, unseen: list[Pixels]) -> None:
    model = fitted(LINEAR["hellinger"], mirror=True)
    image = np.ascontiguousarray(unseen[0])
    here = model.explain(image, "left").heatmap((32, 48))
    there = model.explain(np.ascontiguousarray(image[:, ::-1]), "left").heatmap((32, 48))
    np.testing.assert_allclose(there, here[:, ::-1], atol=1e-6)
    # But it does matter where things are: the two halves differ.
    assert np.abs(here - here[:, ::-1]).max() > 1e-5


@pytest.mark.parametrize("name", OTHERS)
def test_heads_without_sums_say_which_have(name: str, fitted: Any, unseen: list[Pixels]) -> None:
    match = (
        rf"the head of this model is {re.escape(name)}, whose score is not a sum .* linear-svm with .*"
        r"linear-svr.*--recipe hog-color"
    )
    with pytest.raises(ExplanationError, match=match):
        fitted(OTHERS[name]).explain(unseen[0])


def test_a_class_that_is_none_and_an_image_that_is_none(fitted: Any, unseen: list[Pixels]) -> None:
    model = fitted(LINEAR["linear"])
    with pytest.raises(ExplanationError, match="no class 'top'; it has: 'left', 'middle', 'right'"):
        model.explain(unseen[0], "top")
    with pytest.raises(ImageError, match=r"none\.png: no such file"):
        model.explain("none.png")
    with pytest.raises(ExplanationError, match="estimates a number and has no class 'left'"):
        fitted(LINEAR_NUMBERS["svr"], "number").explain(unseen[0], "left")


def coverage(box: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
    """The covered area of each pixel, from the overlap of two intervals."""
    y, x = (np.arange(side) for side in shape)
    across = np.clip(np.minimum(x + 1, box[2]) - np.maximum(x, box[0]), 0, None)
    down = np.clip(np.minimum(y + 1, box[3]) - np.maximum(y, box[1]), 0, None)
    return np.outer(down, across)


sides = st.integers(1, 9)
edges = st.lists(st.floats(-3, 12, width=32), min_size=4, max_size=4)


@given(height=sides, width=sides, corners=st.lists(edges, min_size=1, max_size=5), seed=st.integers(0, 99))
@settings(deadline=None, derandomize=True, max_examples=150)
def test_density_is_the_covered_area_and_loses_nothing(
    height: int, width: int, corners: list[list[float]], seed: int
) -> None:
    x0, y0, x1, y1 = np.array(corners, np.float64).T
    boxes = np.stack([np.minimum(x0, x1), np.minimum(y0, y1), np.maximum(x0, x1), np.maximum(y0, y1)], axis=1)
    values = np.random.default_rng(seed).normal(size=len(boxes))
    found = density(boxes, values, (height, width))
    assert found.sum() == pytest.approx(values.sum(), abs=1e-5)
    inside = np.clip(boxes, 0, [width, height, width, height])
    areas = (inside[:, 2] - inside[:, 0]) * (inside[:, 3] - inside[:, 1])
    if (inside[:, 2:] - inside[:, :2]).min() > 0.01:
        each = [v / a * coverage(b, (height, width)) for v, a, b in zip(values, areas, inside, strict=True)]
        np.testing.assert_allclose(found, np.sum(each, axis=0), atol=1e-8)


def test_overlay_blends_red_and_blue_by_amount() -> None:
    gray = np.full((1, 5), 200, np.uint8)
    colors = overlay(gray, np.array([[1.0, 0.5, 0.0, -0.5, -1.0]]))[0].astype(int)
    np.testing.assert_array_equal(colors[2], [200, 200, 200])
    np.testing.assert_array_equal(colors[0], np.rint(0.2 * 200 + 0.8 * np.array(FOR)))
    np.testing.assert_array_equal(colors[4], np.rint(0.2 * 200 + 0.8 * np.array(AGAINST)))
    redness = colors[:, 0] - colors[:, 2]
    assert (np.diff(redness) < 0).all()


def explanation_of(
    values: list[float], boxes: list[list[float]], width: int, height: int, name: str | None = "rose"
) -> Explanation:
    return Explanation(
        name, 1.0, 0.5, (), np.array(boxes, np.float32).reshape(-1, 4), np.array(values), width, height
    )


def test_drawing_is_red_for_and_blue_against() -> None:
    explanation = explanation_of([2.0, -1.0, 9.0], [[0, 0, 5, 10], [15, 0, 20, 10], [0, 0, 20, 10]], 20, 10)
    drawn = explanation.draw(np.full((10, 20, 3), 128, np.uint8)).astype(int)
    # Enlarged to 384 x 192, with the legend below.
    assert drawn.shape[1] == 384
    assert drawn.shape[0] > 192 + 40
    redness = drawn[:192, :, 0] - drawn[:192, :, 2]
    assert (redness[:, :96] > 100).all()
    assert (redness[:, 96:288] == 0).all()
    assert (redness[:, 288:] < -40).all()
    # Text is dark on white.
    assert drawn[192:].min() < 60
    assert (drawn[-1] == 255).all()


@pytest.mark.parametrize(
    ("height", "width", "shown"),
    [
        (1, 1, (384, 384)),
        (8, 8, (384, 384)),
        (3000, 2000, (1600, 1067)),
        (5, 20000, (1, 1600)),
        (900, 5, (900, 5)),
    ],
)
@pytest.mark.parametrize("channels", [0, 3])
def test_drawings_have_a_legible_size(height: int, width: int, shown: tuple[int, int], channels: int) -> None:
    explanation = explanation_of([1.0], [[0, 0, width / 2, height]], width, height)
    shape = (height, width, channels) if channels else (height, width)
    drawn = explanation.draw(np.full(shape, 90, np.uint8))
    assert drawn.dtype == np.uint8
    assert drawn.shape[1] == max(shown[1], 384)
    assert 60 < drawn.shape[0] - shown[0] < 150


@pytest.mark.parametrize(
    "name", ["a long name " * 20, "žluťoučký kůň 花", "$x_1$ %s {}", "two\nlines", "", None]
)
def test_any_class_name_can_be_drawn(name: str | None, tmp_path: Path) -> None:
    image = np.zeros((20, 30, 3), np.uint8)
    explanation = explanation_of([1.0], [[0, 0, 15, 10]], 30, 20, name)
    path = tmp_path / "why ů.png"
    explanation.save_drawing(path, image)
    drawn = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    assert drawn is not None
    np.testing.assert_array_equal(drawn[..., ::-1], explanation.draw(image))


def test_features_without_a_place_are_said_to_have_none() -> None:
    image = np.full((20, 30, 3), 100, np.uint8)
    explanation = explanation_of([1.0], [[0, 0, 30, 20]], 30, 20)
    assert explanation.whole_image == 1.0
    assert not explanation.heatmap((20, 30)).any()
    picture = explanation.draw(image)[:256]
    assert (picture == picture[0, 0, 0]).all()
