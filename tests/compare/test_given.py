"""What a user brings along: an ONNX classifier and what is said about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
import pytest

from classic_cv.compare.given import GivenSettings, given_settings, store_given
from classic_cv.deep.predictor import OnnxPredictor, read_interface
from classic_cv.errors import ArtifactError, RecipeError

CLASSES = ("blue", "green", "red")
RED = np.full((9, 7, 3), (220, 30, 10), np.uint8)
BLUE = np.full((9, 7, 3), (20, 30, 210), np.uint8)


def write_onnx(
    path: Path,
    kind: str = "float[n, 3, 8, 8]",
    axes: str = "2, 3",
    last: str = "Softmax(means)",
    k: str = "k",
) -> Path:
    """A network whose outputs are the means of red, green and blue, then ``last``."""
    text = f"""
    <ir_version: 8, opset_import: ["" : 17]>
    colors ({kind} image) => (float[n, {k}] scores) {{
      floats = Cast<to = 1>(image)
      means = ReduceMean<axes = [{axes}], keepdims = 0>(floats)
      scores = {last}
    }}"""
    path.write_bytes(onnx.parser.parse_model(text).SerializeToString())
    return path


def stored(tmp_path: Path, file: Path, **flags: Any) -> tuple[OnnxPredictor, list[str]]:
    folder = tmp_path / "stored"
    folder.mkdir(exist_ok=True)
    notes = store_given(GivenSettings(**flags), file, CLASSES, folder)
    return OnnxPredictor.load(folder, 1), notes


RGB = ("red", "green", "blue")
"""The order of the network's outputs, which is not the data's."""


def test_a_classifier_with_its_toml_answers_in_the_datas_classes(tmp_path: Path) -> None:
    file = write_onnx(tmp_path / "net.onnx")
    (tmp_path / "net.toml").write_text(
        'mean = [0.5, 0.5, 0.5]\nstd = [0.25, 0.25, 0.25]\nclasses = ["red", "green", "blue"]\n'
        'resize = "squash"\noutput = "probabilities"\nsize = 8\n',
        encoding="utf-8",
    )
    predictor, notes = stored(tmp_path, file)
    assert notes == []
    assert [predictor.label(image) for image in (RED, BLUE)] == [2, 0]
    logits = (np.array([10, 30, 220]) / 255 - 0.5) / 0.25  # blue, green, red: the order of CLASSES
    expected = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(predictor.probabilities([RED])[0], expected, rtol=1e-4)


def test_what_is_not_said_is_read_from_the_graph_or_told(tmp_path: Path) -> None:
    file = write_onnx(tmp_path / "net.onnx", "uint8[1, 6, 10, 3]", "1, 2", "Identity(means)")
    predictor, notes = stored(tmp_path, file)
    interface = predictor.interface
    assert (interface.layout, interface.dtype, interface.shape) == ("NHWC", "uint8", (6, 10))
    assert (interface.output, interface.resize, interface.classes) == ("logits", "squash", None)
    assert len(notes) == 3
    assert "the outputs are taken for 'blue', 'green', 'red', the data's order" in notes[0]
    assert "resize is not said" in notes[1]
    assert "output is not said: logits" in notes[2]
    # In the data's order the network's output for red is class 0, whatever its name.
    assert predictor.label(RED) == 0


def test_probabilities_are_recognised(tmp_path: Path) -> None:
    predictor, notes = stored(tmp_path, write_onnx(tmp_path / "net.onnx"), scale=1)
    assert predictor.interface.output == "probabilities"
    assert "output is not said: probabilities, by what the network gives for images of noise" in notes
    plain = write_onnx(tmp_path / "plain.onnx", last="Identity(means)")
    with pytest.raises(
        RecipeError, match="gives no probabilities for images of noise, as output says, but logits"
    ):
        stored(tmp_path, plain, scale=1, output="probabilities")


def test_without_mean_and_std_floats_are_an_error_that_names_the_keys(tmp_path: Path) -> None:
    file = write_onnx(tmp_path / "net.onnx")
    text = "nothing says how they are made: give mean and std.*or only scale = 1 or scale = 255.*net.toml beside it"
    with pytest.raises(RecipeError, match=text):
        stored(tmp_path, file)
    with pytest.raises(RecipeError, match="mean alone says how they are made"):
        stored(tmp_path, file, mean=(0.5, 0.5, 0.5))
    with pytest.raises(RecipeError, match=r"mean is \[0.5\], expected are 3 finite numbers"):
        stored(tmp_path, file, mean=(0.5,), std=(0.5, 0.5, 0.5))
    with pytest.raises(RecipeError, match="expected are numbers above 0"):
        stored(tmp_path, file, mean=(0.5, 0.5, 0.5), std=(0.5, 0.0, 0.5))
    uint8 = write_onnx(tmp_path / "uint8.onnx", "uint8[n, 8, 8, 3]", "1, 2")
    with pytest.raises(RecipeError, match="takes uint8 pixels as they are, so mean and std cannot hold"):
        stored(tmp_path, uint8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    assert not any((tmp_path / "stored").iterdir())


def test_flags_override_the_toml(tmp_path: Path) -> None:
    file = tmp_path / "net.onnx"
    (tmp_path / "net.toml").write_text("mean = [0, 0, 0]\nstd = [1, 1, 1]\nsize = 64\n", encoding="utf-8-sig")
    assert given_settings(file).size == 64
    found = given_settings(file, GivenSettings(size=(32, 48), scale=255))
    assert (found.size, found.mean, found.scale) == ((32, 48), None, 255)
    found = given_settings(file, GivenSettings(mean=(0.1, 0.2, 0.3)))
    assert (found.mean, found.std) == ((0.1, 0.2, 0.3), (1, 1, 1))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("sizes = 3", "unknown field `sizes`; its keys are size, resize, layout"),
        ('resize = "stretch"', r"Invalid enum value 'stretch' - at `\$.resize`"),
        ("size = 0", r"`int` >= 1"),
        ("mean = [1", "cannot be read as TOML"),
    ],
)
def test_a_toml_that_is_not_valid_is_refused(tmp_path: Path, text: str, error: str) -> None:
    (tmp_path / "net.toml").write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=f"net.toml: .*{error}"):
        given_settings(tmp_path / "net.onnx")


def test_size_and_layout_have_to_be_known(tmp_path: Path) -> None:
    free = write_onnx(tmp_path / "free.onnx", "float[n, 3, h, w]")
    with pytest.raises(RecipeError, match="takes images of any size: size is needed"):
        stored(tmp_path, free, scale=1)
    predictor, _ = stored(tmp_path, free, scale=1, size=(5, 6))
    assert predictor.interface.shape == (5, 6)
    with pytest.raises(RecipeError, match="5x6 pixels, but crop makes squares"):
        stored(tmp_path, free, scale=1, size=(5, 6), resize="crop")
    fixed = write_onnx(tmp_path / "fixed.onnx")
    with pytest.raises(RecipeError, match="takes images of 8x8 pixels, but size says 9x9"):
        stored(tmp_path, fixed, scale=1, size=9)
    both = write_onnx(tmp_path / "both.onnx", "float[n, 3, 8, 3]")
    with pytest.raises(RecipeError, match='layout is needed, "NCHW" or "NHWC"'):
        stored(tmp_path, both, scale=1)
    with pytest.raises(RecipeError, match="with layout NHWC there are not 1 or 3 channels"):
        stored(tmp_path, fixed, scale=1, layout="NHWC")


def test_a_gray_network_is_taken(tmp_path: Path) -> None:
    file = write_onnx(
        tmp_path / "gray.onnx", "float[n, 1, 8, 8]", "2, 3", "Concat<axis = 1>(means, means, means)", "3"
    )
    predictor, _ = stored(tmp_path, file, scale=255)
    gray = 0.299 * 220 + 0.587 * 30 + 0.114 * 10
    np.testing.assert_allclose(predictor.scores(predictor.prepared([RED]))[0], [round(gray)] * 3, atol=1e-3)


def test_the_classes_have_to_be_those_of_the_data(tmp_path: Path) -> None:
    file = write_onnx(tmp_path / "net.onnx")
    with pytest.raises(RecipeError, match="unknown: 'pink'; missing: 'red'"):
        stored(tmp_path, file, scale=1, classes=("pink", "green", "blue"))
    with pytest.raises(RecipeError, match="a class occurs twice"):
        stored(tmp_path, file, scale=1, classes=("red", "green", "blue", "red"))
    six = write_onnx(tmp_path / "six.onnx", last="Concat<axis = 1>(means, means)")
    with pytest.raises(ArtifactError, match="gives 6 scores per image, but the data has 3 classes"):
        stored(tmp_path, six, scale=1)
    maps = write_onnx(tmp_path / "maps.onnx", last="Flatten<axis = 0>(means)")
    with pytest.raises(ArtifactError, match=r"maps.onnx: .*output of shape \(1, 6\), expected is \(2, 3\)"):
        stored(tmp_path, maps, scale=1)


def test_what_is_no_plain_network_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "net.onnx"
    with pytest.raises(ArtifactError, match=r"net.onnx: cannot be read \(No such file"):
        stored(tmp_path, file)
    file.write_bytes(b"GIF89a" + bytes(50))
    with pytest.raises(ArtifactError, match=r"net\.onnx: is not a whole ONNX network"):
        stored(tmp_path, file)
    write_onnx(file, "double[n, 3, 8, 8]")
    with pytest.raises(ArtifactError, match=r"takes tensor\(double\) of shape .*allowed are tensor\(float\)"):
        stored(tmp_path, file)
    model = onnx.load_from_string(write_onnx(file).read_bytes())
    model.graph.output.append(onnx.helper.make_tensor_value_info("means", 1, ["n", 3]))
    file.write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactError, match=r"outputs \['scores', 'means'\], allowed is one of each"):
        stored(tmp_path, file)


def test_the_stored_folder_says_the_same_again(tmp_path: Path) -> None:
    file = write_onnx(tmp_path / "net.onnx")
    predictor, _ = stored(tmp_path, file, scale=255, classes=RGB)
    assert read_interface(tmp_path / "stored") == predictor.interface
    assert predictor.interface.classes == (2, 1, 0)
