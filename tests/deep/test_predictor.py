"""A stored network as it answers: what it is fed, how images get there, what comes back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import onnx.parser
import pytest
from numpy.typing import NDArray

from classic_cv.deep.predictor import INTERFACE, NETWORK, Interface, OnnxPredictor, write_network
from classic_cv.errors import ArtifactError, ImageError

COLORS = Interface(
    size=8, resize="squash", n_classes=3, input="image", layout="NHWC", dtype="uint8", output="probabilities"
)
"""Of a network whose classes are red, green and blue: the softmax of a twentieth of the mean of each."""


def network(kind: str = "uint8[n, 8, 8, 3]", axes: str = "1, 2", last: str = "Softmax(tenth)") -> bytes:
    """Mean of each channel, times a twentieth, then ``last``."""
    text = f"""
    <ir_version: 8, opset_import: ["" : 17]>
    colors ({kind} image) => (float[n, k] scores) {{
      floats = Cast<to = 1>(image)
      means = ReduceMean<axes = [{axes}], keepdims = 0>(floats)
      part = Constant<value_float = 0.05>()
      tenth = Mul(means, part)
      scores = {last}
    }}"""
    data: bytes = onnx.parser.parse_model(text).SerializeToString()
    return data


def loaded(folder: Path, data: bytes, interface: Interface = COLORS, threads: int = 1) -> OnnxPredictor:
    write_network(folder, data, interface)
    return OnnxPredictor.load(folder, threads)


def changed(**values: Any) -> Interface:
    return msgspec.structs.replace(COLORS, **values)


def colored(*rgb: int, shape: tuple[int, int] = (20, 30)) -> NDArray[np.uint8]:
    return np.full((*shape, 3), rgb, np.uint8)


RED, GREEN, BLUE = colored(200, 10, 20), colored(0, 250, 90), colored(10, 20, 30)


def test_labels_and_probabilities_are_those_of_the_network(tmp_path: Path) -> None:
    predictor = loaded(tmp_path, network())
    assert [predictor.label(image) for image in (RED, GREEN, BLUE)] == [0, 1, 2]
    exponents = np.exp(0.05 * np.array([[200, 10, 20], [0, 250, 90], [10, 20, 30]]))
    expected = exponents / exponents.sum(axis=1, keepdims=True)
    found = predictor.probabilities([RED, GREEN, BLUE])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert predictor.probabilities([]).shape == (0, 3)


def test_bytes_and_pixels_are_the_same_image(tmp_path: Path) -> None:
    predictor = loaded(tmp_path, network(last="Identity(tenth)"), changed(output="logits"))
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 24, 3), np.uint8)
    encoded = cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()
    np.testing.assert_array_equal(predictor.probabilities([encoded]), predictor.probabilities([pixels]))
    assert predictor.label(encoded) == predictor.label(pixels)


def test_many_images_are_answered_in_batches_as_one_by_one(tmp_path: Path) -> None:
    predictor = loaded(tmp_path, network(), threads=2)
    images = list(np.random.default_rng(1).integers(0, 256, (70, 9, 11, 3), np.uint8))
    together = predictor.probabilities(images)
    apart = np.concatenate([predictor.probabilities([image]) for image in images])
    np.testing.assert_allclose(together, apart, atol=1e-6)
    assert together.argmax(axis=1).tolist() == [predictor.label(image) for image in images]


def test_a_network_for_batches_of_one_size_answers_any_number(tmp_path: Path) -> None:
    images = [RED, GREEN, BLUE, RED, BLUE]
    fixed = loaded(tmp_path, network("uint8[2, 8, 8, 3]"))
    assert fixed.fixed_rows == 2
    assert fixed.probabilities(images).argmax(axis=1).tolist() == [0, 1, 2, 0, 2]
    assert fixed.label(GREEN) == 1


@pytest.mark.parametrize(
    ("values", "white"),
    [
        ({"scale": 255}, [255, 255, 255]),
        ({"scale": 1}, [1, 1, 1]),
        ({"mean": (0.5, 0.25, 0.0), "std": (0.5, 0.25, 2.0)}, [1, 3, 0.5]),
    ],
)
def test_floats_are_scaled_as_the_interface_says(values: dict[str, Any], white: list[float]) -> None:
    interface = changed(dtype="float32", **values)
    fed = interface.fed(np.full((1, 2, 2, 3), 255, np.uint8))
    assert fed.dtype == np.float32
    np.testing.assert_allclose(fed[0, 0, 0], white, rtol=1e-6)
    black = interface.fed(np.zeros((1, 2, 2, 3), np.uint8))[0, 0, 0]
    mean, std = np.array(values.get("mean", [0] * 3)), np.array(values.get("std", [1] * 3))
    np.testing.assert_allclose(black, -mean / std, rtol=1e-6)


def test_planes_first_has_the_same_answers(tmp_path: Path) -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
    fed = changed(layout="NCHW").fed(pixels)
    assert fed.flags.c_contiguous
    np.testing.assert_array_equal(fed[0, 1], pixels[0, :, :, 1])
    interface = changed(layout="NCHW", dtype="float32", scale=255)
    predictor = loaded(tmp_path, network("float[n, 3, 8, 8]", "2, 3"), interface)
    assert [predictor.label(image) for image in (RED, GREEN, BLUE)] == [0, 1, 2]


def test_gray_networks_see_gray_images() -> None:
    fed = changed(channels=1).fed(np.full((1, 2, 2, 3), (100, 200, 50), np.uint8))
    assert fed.shape == (1, 2, 2, 1)
    assert fed[0, 0, 0, 0] == round(0.299 * 100 + 0.587 * 200 + 0.114 * 50)


def test_sides_may_differ_and_the_crop_is_of_the_middle(tmp_path: Path) -> None:
    wide = np.concatenate([RED, GREEN, BLUE], axis=1)  # 20 x 90, so that the middle square is green
    squashed = loaded(tmp_path, network("uint8[n, 6, 12, 3]"), changed(size=(6, 12)))
    np.testing.assert_allclose(squashed.prepared([wide])[0].mean(axis=(0, 1)), [70, 93, 47], atol=1)
    cropped = loaded(tmp_path, network(), changed(resize="crop"))
    np.testing.assert_array_equal(cropped.prepared([wide])[0].mean(axis=(0, 1)), [0, 250, 90])


def test_outputs_in_another_order_get_the_class_numbers(tmp_path: Path) -> None:
    predictor = loaded(tmp_path, network(), changed(classes=(2, 0, 1)))
    assert [predictor.label(image) for image in (RED, GREEN, BLUE)] == [2, 0, 1]
    assert predictor.probabilities([RED, GREEN, BLUE]).argmax(axis=1).tolist() == [2, 0, 1]


def test_logits_become_probabilities(tmp_path: Path) -> None:
    logits = loaded(tmp_path, network(last="Identity(tenth)"), changed(output="logits"))
    found = logits.probabilities([RED, GREEN])
    np.testing.assert_allclose(found, loaded(tmp_path, network()).probabilities([RED, GREEN]), atol=1e-6)


def test_what_is_no_probability_is_an_error(tmp_path: Path) -> None:
    predictor = loaded(tmp_path, network(last="Identity(tenth)"))
    with pytest.raises(
        ArtifactError, match='no probabilities, which have to sum to 1; say output = "logits"'
    ):
        predictor.probabilities([RED])
    infinite = loaded(tmp_path, network(last="Log(means)"), changed(output="logits"))
    with pytest.raises(ArtifactError, match="scores that are no finite numbers"):
        infinite.probabilities([colored(0, 0, 0)])


def test_an_image_that_cannot_be_used_is_an_image_error(tmp_path: Path) -> None:
    predictor = loaded(tmp_path, network())
    for ask in (predictor.label, predictor.stages, lambda image: predictor.probabilities([RED, image])):
        with pytest.raises(ImageError, match="not"):
            ask(b"no image")


def test_stages_threads_and_bytes(tmp_path: Path) -> None:
    before = cv2.getNumThreads()
    try:
        predictor = loaded(tmp_path, network(), threads=2)
        assert predictor.threads() == {"onnxruntime": 2, "opencv": 2}
    finally:
        cv2.setNumThreads(before)
    encoded = cv2.imencode(".png", RED)[1].tobytes()
    stages = predictor.stages(encoded)
    assert list(stages) == ["decode", "features", "head"]
    assert min(stages.values()) > 0
    assert predictor.model_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_a_folder_that_is_no_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"network\.json: cannot be read \(No such file"):
        OnnxPredictor.load(tmp_path, 1)
    write_network(tmp_path, network(), COLORS)
    (tmp_path / NETWORK).write_bytes(network()[:-20])
    with pytest.raises(ArtifactError, match=r"network\.onnx: is not a whole ONNX network"):
        OnnxPredictor.load(tmp_path, 1)
    (tmp_path / INTERFACE).write_text('{"size": 8}')
    with pytest.raises(ArtifactError, match=r"is no description of a network .*missing required field"):
        OnnxPredictor.load(tmp_path, 1)


def test_a_custom_operator_is_refused_before_the_runtime_sees_it(tmp_path: Path) -> None:
    model = onnx.load_from_string(network())
    model.graph.node[-1].domain = "com.example"
    write_network(tmp_path, model.SerializeToString(), COLORS)
    with pytest.raises(ArtifactError, match=r"custom operator of 'com\.example'"):
        OnnxPredictor.load(tmp_path, 1)


def test_another_number_of_scores_is_refused(tmp_path: Path) -> None:
    predictor = loaded(tmp_path, network(), changed(n_classes=4))
    with pytest.raises(ArtifactError, match=r"output of shape \(1, 3\), expected is \(1, 4\)"):
        predictor.label(RED)
    wrong = loaded(tmp_path, network(), changed(size=9))
    with pytest.raises(ArtifactError, match=r"cannot be run on images of shape \(1, 9, 9, 3\)"):
        wrong.label(RED)


def test_predicting_imports_no_training_library(tmp_path: Path) -> None:
    write_network(tmp_path, network(), COLORS)
    code = (
        "import sys, numpy as np\n"
        "from classic_cv.deep.predictor import OnnxPredictor\n"
        "predictor = OnnxPredictor.load(sys.argv[1], 1)\n"
        "print(predictor.label(np.full((9, 9, 3), (0, 200, 0), np.uint8)))\n"
        "print({'torch', 'timm', 'sklearn', 'scipy', 'onnx'} & set(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert run.stdout.split("\n")[:2] == ["1", "set()"]
