"""Occlusion: networks whose answers are known, and every number against covering the image from outside."""

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
from onnx import TensorProto, helper, numpy_helper

from classic_cv import occlusion
from classic_cv.artifact import Metadata
from classic_cv.errors import ExplanationError, ImageError
from classic_cv.explanation import Explanation, check_explainable
from classic_cv.features import HOG, ColorHistogram, ImageProperties
from classic_cv.features.base import Extractor
from classic_cv.features.pixels import Pixels
from classic_cv.featurizer import Featurizer
from classic_cv.heads.calibration import Calibrator
from classic_cv.heads.hybrid import HybridNetwork, HybridRegressionNetwork
from classic_cv.images import to_picture
from classic_cv.model import Model
from classic_cv.occlusion import Grid, log_odds
from classic_cv.recipe import DummySettings, FeatureSettings, ImageSettings, Recipe

Array = NDArray[np.uint8]
Floats = NDArray[np.float32]

MEAN = 100
"""Of the training images, in every plane."""


def network_of(nodes: list[Any], tensors: dict[str, NDArray[Any]], shape: tuple[int, ...], f: int) -> bytes:
    """An ONNX network from ``pixels``, and ``features`` where there are any, to ``scores``."""
    inputs = [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", *shape])]
    if f:
        inputs.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", f]))
    outputs = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", "k"])]
    stored = [numpy_helper.from_array(values, name) for name, values in tensors.items()]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    return bytes(model.SerializeToString())


def linear(weights: Floats, bias: Floats, features: Floats | None = None) -> bytes:
    """``scores = (pixels * weights).sum() + features @ features + bias``; weights: (k, planes, height, width)."""
    tensors = {"w": weights.reshape(len(weights), -1).T.copy(), "b": bias}
    nodes = [
        helper.make_node("Flatten", ["pixels"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["scores" if features is None else "seen"]),
    ]
    if features is not None:
        tensors["v"] = features
        nodes += [
            helper.make_node("MatMul", ["features", "v"], ["told"]),
            helper.make_node("Add", ["seen", "told"], ["scores"]),
        ]
    return network_of(nodes, tensors, weights.shape[1:], 0 if features is None else len(features))


def red_difference(height: int = 16, width: int = 16, planes: int = 3) -> Floats:
    """Weights of the mean red of the left half minus that of the right half: (1, planes, height, width)."""
    weights = np.zeros((1, planes, height, width), np.float32)
    weights[0, 0, :, : width // 2] = 2 / (height * width)
    weights[0, 0, :, width // 2 :] = -2 / (height * width)
    return weights


def model_of(
    network: bytes,
    shape: tuple[int, int, int],
    names: tuple[str, ...] = ("no", "yes"),
    extractors: dict[str, Extractor] | None = None,
    mean: Any = MEAN,
    feature_mean: Any = (),
) -> Model:
    """A model with such a network as its head; without class names a regression."""
    planes, height, width = shape
    rng = np.random.default_rng(9)
    examples = [to_picture(rng.integers(0, 256, (height, width, 3), np.uint8)) for _ in range(3)]
    all_extractors: dict[str, Extractor] = {**(extractors or {}), "pixels": Pixels()}
    image = ImageSettings(size=(height, width), color="gray" if planes == 1 else "rgb")
    featurizer = Featurizer(image, list(all_extractors.values())).fit(examples)
    features = tuple(FeatureSettings(name, {}) for name in all_extractors)
    recipe = Recipe("test", "", image, features, DummySettings())
    task: Any = "classification" if names else "regression"
    n_features = featurizer.n_features - featurizer.group_widths[-1]
    kind = HybridNetwork if names else HybridRegressionNetwork
    head: Any = kind.of(network, shape, n_features, np.arange(len(names)))
    calibrator = Calibrator()
    ones = max(1, len(names) if len(names) > 2 else 1)
    calibrator.scale_, calibrator.bias_ = np.ones(ones, np.float32), np.zeros(ones, np.float32)
    metadata = Metadata("test", {}, planes == 1, names, 0, 0.2, "", 3, {}, {}, task)
    usual = np.concatenate([feature_mean, np.full(planes, mean)]).astype(np.float32)
    return Model(recipe, featurizer, head, calibrator if names else None, metadata, mean=usual)


def plain(height: int = 16, width: int = 16) -> Array:
    """An image of the mean color."""
    return np.full((height, width, 3), MEAN, np.uint8)


@pytest.fixture(scope="module")
def two() -> Model:
    """Red at the left is "yes", red at the right is "no"; 16 x 16 pixels, cells of 2 x 2."""
    return model_of(linear(red_difference(), np.array([0.25], np.float32)), (3, 16, 16))


@pytest.fixture(scope="module")
def rich() -> Model:
    """Three classes by random weights of HOG, gray levels, properties and pixels; sides of 12 and 10 pixels."""
    extractors: dict[str, Extractor] = {
        "hog": HOG(pixels_per_cell=4),
        "color-histogram": ColorHistogram(space="gray", bins=4),
        "image-properties": ImageProperties(),
    }
    rng = np.random.default_rng(4)
    examples = [to_picture(rng.integers(0, 256, (12, 10, 3), np.uint8)) for _ in range(2)]
    n = Featurizer(ImageSettings(size=(12, 10)), list(extractors.values())).fit(examples).n_features
    weights = rng.normal(scale=1 / 400, size=(3, 3, 12, 10)).astype(np.float32)
    features = rng.normal(size=(n, 3)).astype(np.float32)
    network = linear(weights, rng.normal(size=3).astype(np.float32), features)
    names = ("a", "b", "c")
    return model_of(network, (3, 12, 10), names, extractors, feature_mean=rng.uniform(0, 0.5, n))


def measured(model: Model, image: Array, figure: Any) -> NDArray[np.float64]:
    """Per pixel: the mean over the windows around it of what covering one takes, per pixel of the window.

    Args:
        image: of the size that the model sees.
        figure: of one row of scores, what is explained.
    """
    height, width = image.shape[:2]
    y_edges, x_edges = (np.rint(np.linspace(0, side, 9)).astype(int) for side in (height, width))
    total = np.zeros((height, width))
    whole = figure(model.decision_function([image])[0])
    for y in range(-1, 8):
        for x in range(-1, 8):
            rows = slice(y_edges[max(y, 0)], y_edges[min(y + 2, 8)])
            columns = slice(x_edges[max(x, 0)], x_edges[min(x + 2, 8)])
            covered = image.copy()
            covered[rows, columns] = MEAN
            drop = whole - figure(model.decision_function([covered])[0])
            total[rows, columns] += drop / covered[rows, columns, 0].size / 4
    return total


def check_sum(explanation: Explanation, score: float) -> None:
    """Bias and places give the score, at any size, and nothing is without a place."""
    score_is = pytest.approx(score, rel=1e-5, abs=1e-5)
    assert explanation.score == score_is
    assert explanation.bias + explanation.values.sum() == score_is
    assert explanation.whole_image == 0
    for shape in [(16, 16), (7, 11), (90, 300)]:
        assert explanation.bias + explanation.heatmap(shape).sum(dtype=float) == score_is


def test_the_only_part_that_matters_has_all_of_the_drop(two: Model) -> None:
    image = plain()
    image[4:6, 4:6, 0] = 228  # one cell; 128 above the mean, of the sum of 128 pixels: a score of 4
    found = two.explain(image, "yes")
    check_sum(found, 4.25)
    cells = found.values.reshape(8, 8)
    # Four windows see this cell, two its neighbors, one those at its corners.
    around = [[0.25, 0.5, 0.25], [0.5, 1.0, 0.5], [0.25, 0.5, 0.25]]
    np.testing.assert_allclose(cells[1:4, 1:4], around, rtol=1e-5)
    cells[1:4, 1:4] = 0
    assert not cells.any()
    assert found.bias == pytest.approx(0.25)
    [group] = found.groups
    assert group.extractor == "pixels"
    assert group.contribution == pytest.approx(4.0)


def test_at_a_corner_nothing_is_lost(two: Model) -> None:
    image = plain()
    image[:2, 14:, 0] = 228
    found = two.explain(image, "yes")
    assert found.values.sum() == pytest.approx(-4.0)
    # Windows of one, two, two and four cells.
    assert found.values[7] == pytest.approx(-(1 + 1 / 2 + 1 / 2 + 1 / 4))
    assert np.count_nonzero(found.values) == 4


def test_two_classes_have_one_score_and_its_negative(two: Model) -> None:
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    score = float(two.decision_function([image])[0])
    yes, no = two.explain(image, "yes"), two.explain(image, "no")
    check_sum(yes, score)
    check_sum(no, -score)
    np.testing.assert_array_equal(no.values, -yes.values)
    assert [-part.contribution for part in no.groups] == [part.contribution for part in yes.groups]
    assert two.explain(image).class_name == ("yes" if score > 0 else "no")


def test_places_that_are_added_up_are_their_sums(two: Model) -> None:
    image = np.random.default_rng(1).integers(0, 256, (16, 16, 3), np.uint8)
    found = two.explain(image, "yes")
    assert found.bias == pytest.approx(0.25, abs=1e-4)
    left, right = image[:, :8, 0].mean() - MEAN, image[:, 8:, 0].mean() - MEAN
    heat = found.heatmap((16, 16))
    # Windows across the middle share their drop with both sides.
    assert heat.sum() == pytest.approx(left - right, abs=1e-3)
    np.testing.assert_allclose(heat, measured(two, image, float), atol=1e-5)


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_features_are_extracted_again_from_what_is_left(name: str, rich: Model) -> None:
    image = np.random.default_rng(2).integers(0, 256, (12, 10, 3), np.uint8)
    number = rich.class_names.index(name)

    def odds(scores: Floats) -> float:
        p = np.exp(scores.astype(float)) / np.exp(scores.astype(float)).sum()
        return float(np.log(p[number] / (1 - p[number])))

    found = rich.explain(image, name)
    assert found.class_name == name
    check_sum(found, odds(rich.decision_function([image])[0]))
    heat = measured(rich, image, odds)
    np.testing.assert_allclose(found.heatmap((12, 10)), heat, atol=1e-5)
    assert np.abs(heat).max() > 1e-3


def test_groups_are_the_drops_without_them(rich: Model) -> None:
    image = np.random.default_rng(3).integers(0, 256, (12, 10, 3), np.uint8)
    row = rich.features([image])[0]
    assert rich.mean is not None
    color_everywhere = np.full(3 * 12 * 10, MEAN)
    usual = np.concatenate([rich.mean[:-3], color_everywhere])
    ends = np.cumsum([0, *rich.featurizer.group_widths])
    found = rich.explain(image, "b")
    names = ["hog", "color-histogram", "image-properties", "pixels"]
    assert [group.extractor for group in found.groups] == names
    for group, start, end in zip(found.groups, ends[:-1], ends[1:], strict=True):
        changed = row.copy()
        changed[start:end] = usual[start:end]
        scores = rich.scores(changed[None])
        expected = found.score - float(log_odds(scores, 1)[0])
        assert group.contribution == pytest.approx(expected, abs=1e-5)
        assert abs(expected) > 1e-3


def test_a_regression_explains_its_number() -> None:
    network = linear(red_difference(), np.array([7.0], np.float32))
    model = model_of(network, (3, 16, 16), ())
    image = plain()
    image[:, 8:, 0] = 0
    found = model.explain(image)
    assert found.class_name is None
    check_sum(found, 107.0)
    assert found.bias == pytest.approx(7.0, abs=1e-4)
    assert found.values.reshape(8, 8)[:, 5:].min() == pytest.approx(100 / 32, rel=1e-4)
    with pytest.raises(ExplanationError, match="estimates a number and has no class 'yes'"):
        model.explain(image, "yes")


def test_gray_models_cover_with_gray() -> None:
    model = model_of(linear(red_difference(planes=1), np.zeros(1, np.float32)), (1, 16, 16))
    image = np.full((16, 16), MEAN, np.uint8)
    image[10:12, 10:12] = 228
    found = model.explain(image, "no")
    check_sum(found, 4.0)
    assert found.values.argmax() == 5 * 8 + 5
    assert np.count_nonzero(found.values) == 9
    assert found.groups[0].contribution == pytest.approx(4.0)


def test_each_plane_has_its_mean_color() -> None:
    weights = np.full((1, 3, 16, 16), 1 / 256, np.float32) * np.array([1, 10, 100], np.float32)[:, None, None]
    model = model_of(linear(weights, np.zeros(1, np.float32)), (3, 16, 16), mean=[20.4, 99.6, 250.0])
    found = model.explain(np.full((16, 16, 3), [20, 100, 251], np.uint8), "yes")
    # What covers places is rounded; what replaces the columns is not.
    np.testing.assert_allclose(found.values, 100 / 64, rtol=1e-3)
    assert found.groups[0].contribution == pytest.approx(-0.4 + 10 * 0.4 + 100, rel=1e-4)


def test_what_two_places_show_alike_is_in_the_bias() -> None:
    nodes = [
        helper.make_node("GlobalMaxPool", ["pixels"], ["top"]),
        helper.make_node("Flatten", ["top"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w"], ["scores"]),
    ]
    network = network_of(nodes, {"w": np.array([[0.01], [0], [0]], np.float32)}, (3, 16, 16), 0)
    model = model_of(network, (3, 16, 16))
    image = plain()
    image[:2, :2, 0] = 200
    assert model.explain(image).values.sum() == pytest.approx(1.0)
    image[14:, 14:, 0] = 200
    found = model.explain(image)
    assert not found.values.any()
    assert found.bias == found.score == pytest.approx(2.0)
    # The pixels as a whole do matter.
    assert found.groups[0].contribution == pytest.approx(1.0)


def test_an_image_of_the_mean_color_has_only_the_bias(two: Model) -> None:
    found = two.explain(plain(), "yes")
    assert not found.values.any()
    assert found.bias == found.score == pytest.approx(0.25, abs=1e-5)
    assert not found.heatmap((16, 16)).any()
    picture = found.draw(plain())[:384]
    assert (picture == picture[0, 0, 0]).all()


def test_what_rounding_changes_is_not_drawn(two: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    # Otherwise an image in which nothing matters would be drawn in the brightest colors.
    scores = two.scores
    monkeypatch.setattr(two, "scores", lambda X: scores(X) * (1 + 2e-7 * (np.arange(len(X)) % 3)))
    assert not two.explain(plain(), "yes").values.any()


def test_boxes_are_cells_of_the_stored_image(two: Model) -> None:
    image = plain(40, 80)
    image[10:15, 20:30, 0] = 255
    found = two.explain(image, "yes")
    assert (found.width, found.height) == (80, 40)
    assert found.boxes.dtype == np.float32
    assert found.values.dtype == np.float64
    expected = [[10 * x, 5 * y, 10 * x + 10, 5 * y + 5] for y in range(8) for x in range(8)]
    np.testing.assert_allclose(found.boxes, expected)
    assert found.values.argmax() == 2 * 8 + 2


def test_the_same_image_has_the_same_explanation(rich: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(5).integers(0, 256, (30, 20, 3), np.uint8)
    first, second = rich.explain(image), rich.explain(image.copy())
    np.testing.assert_array_equal(first.values, second.values)
    assert first.groups == second.groups
    # Nor does it matter how many windows are in memory at a time.
    monkeypatch.setattr(occlusion, "BATCH_VALUES", 7 * rich.featurizer.n_features)
    np.testing.assert_allclose(rich.explain(image).values, first.values, atol=1e-5)


def test_all_windows_are_scored_at_once(two: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    scores = two.scores

    def counted(X: Floats) -> Floats:
        sizes.append(len(X))
        return scores(X)

    monkeypatch.setattr(two, "scores", counted)
    two.explain(plain(), "yes")
    assert sizes == [2, 81]


def test_drawings_are_red_where_a_class_is_seen(two: Model, tmp_path: Path) -> None:
    image = plain(192, 192)
    cv2.circle(image, (36, 60), 12, (250, 100, 100), -1)
    cv2.circle(image, (156, 132), 12, (250, 100, 100), -1)
    drawn = two.explain(image, "yes").draw(image).astype(int)
    redness = cv2.resize((drawn[:384, :, 0] - drawn[:384, :, 2]).astype(np.float32), (192, 192))
    assert redness[60, 36] > 80
    assert redness[132, 156] < -60
    far = np.ones((192, 192), bool)
    # A disc ends in the next cell at most, and a window one further.
    far[:108, :84] = far[84:, 108:] = False
    assert not redness[far].any()
    path = tmp_path / "why.png"
    two.explain(image, "no").save_drawing(path, image)
    other = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    assert other is not None
    blueness = other[..., 0].astype(int) - other[..., 2]
    assert blueness[120, 72] > 60
    assert blueness[264, 312] < -80


def test_errors_say_what_there_is(two: Model) -> None:
    check_explainable(two)
    with pytest.raises(ExplanationError, match="no class 'maybe'; it has: 'no', 'yes'"):
        two.explain(plain(), "maybe")
    with pytest.raises(ImageError, match=r"none\.png: no such file"):
        two.explain("none.png")
    without = model_of(linear(red_difference(), np.zeros(1, np.float32)), (3, 16, 16))
    without.mean = None
    with pytest.raises(ExplanationError, match=r"does not know the mean color of its training .*: fit it"):
        without.explain(plain())


def test_log_odds_are_those_of_probabilities() -> None:
    p = np.array([[0.2, 0.7, 0.1], [0.5, 0.25, 0.25]])
    for number in range(3):
        expected = np.log(p[:, number] / (1 - p[:, number]))
        np.testing.assert_allclose(log_odds(np.log(p) + 5, number), expected)
    # Far apart: no overflow.
    assert log_odds(np.array([[1e4, -1e4, 0.0]]), 0)[0] == 1e4
    np.testing.assert_array_equal(log_odds(np.array([1.5, -2.0]), 1), [1.5, -2.0])
    np.testing.assert_array_equal(log_odds(np.array([1.5, -2.0]), 0), [-1.5, 2.0])
    np.testing.assert_array_equal(log_odds(np.array([1.5, -2.0]), None), [1.5, -2.0])
    with pytest.raises(ValueError, match=re.escape("scores of shape (2, 3) are those of classes")):
        log_odds(p, None)


sides = st.integers(1, 40)


@given(height=sides, width=sides, seed=st.integers(0, 99))
@settings(deadline=None, derandomize=True, max_examples=60)
def test_each_pixel_is_in_one_cell_and_four_windows(height: int, width: int, seed: int) -> None:
    grid = Grid.over((height, width))
    for boxes, times in ((grid.cells, 1), (grid.windows, 4)):
        count = np.zeros((height, width), int)
        for x0, y0, x1, y1 in boxes:
            assert x0 < x1
            assert y0 < y1
            count[y0:y1, x0:x1] += 1
        assert (count == times).all()
    drops = np.random.default_rng(seed).normal(size=len(grid.windows))
    shares = grid.share(drops)
    assert shares.shape == (len(grid.cells),)
    assert shares.sum() == pytest.approx(drops.sum() / 4, abs=1e-9)
