"""The 8-bit twin of a network: what computes in 8 bits, what stays float, and that it answers alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnx.parser
import pytest
from numpy.typing import NDArray

from classic_cv.compare.contestant import FitTask
from classic_cv.dataset import Dataset
from classic_cv.dataset._sources import ArraySource
from classic_cv.deep.predictor import NETWORK, Interface, OnnxPredictor, read_interface, write_network
from classic_cv.deep.quantise import calibration_images, kept_float, quantise, quantise_stored
from classic_cv.errors import ArtifactError

SIZE, WIDTH = 12, 24

GATED = """
<ir_version: 8, opset_import: ["" : 17]>
gated (uint8[n, 12, 12, 3] image) => (float[n, 3] probabilities) {
  floats = Cast<to = 1>(image)
  planes = Transpose<perm = [0, 3, 1, 2]>(floats)
  small = Div(planes, white)
  first = Conv<pads = [1, 1, 1, 1]>(small, w1)
  maps = Relu(first)
  pooled = GlobalAveragePool(maps)
  squeezed = Conv(pooled, w2)
  open = Sigmoid(squeezed)
  gated = Mul(maps, open)
  second = Conv<pads = [1, 1, 1, 1]>(gated, w3)
  active = Relu(second)
  means = GlobalAveragePool(active)
  flat = Flatten(means)
  logits = Gemm<transB = 1>(flat, w4, b4)
  probabilities = Softmax(logits)
}"""


def gated(text: str = GATED) -> bytes:
    """A network with a squeeze-and-excitation gate, whose classes are told apart by color."""
    rng = np.random.default_rng(0)
    model = onnx.parser.parse_model(text)
    shapes = {
        "w1": (WIDTH, 3, 3, 3),
        "w2": (WIDTH, WIDTH, 1, 1),
        "w3": (WIDTH, WIDTH, 3, 3),
        "w4": (3, WIDTH),
    }
    values: dict[str, NDArray[np.float32]] = {
        name: rng.normal(0, 1.5 / np.sqrt(np.prod(shape[1:])), shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    values |= {"b4": np.zeros(3, np.float32), "white": np.array(255, np.float32)}
    used = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(value, name) for name, value in values.items() if name in used
    )
    data: bytes = model.SerializeToString()
    return data


INTERFACE = Interface(size=SIZE, resize="squash", n_classes=3, input="image", layout="NHWC", dtype="uint8")


def images(n: int = 24) -> list[NDArray[np.uint8]]:
    """Noise of different brightness and colors."""
    rng = np.random.default_rng(1)
    tops = rng.integers(20, 256, (n, 1, 1, 3))
    return [rng.integers(0, top, (SIZE, SIZE, 3)).astype(np.uint8) for top in tops]


def folders(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("float", "int8"):
        (tmp_path / name).mkdir()
    return tmp_path / "float", tmp_path / "int8"


def named(data: bytes) -> Any:
    model = onnx.load_from_string(data)
    for node in model.graph.node:
        node.name = node.output[0]
    return model


def eight_bit_operators(folder: Path) -> list[str]:
    """The operators whose weights, or all of whose inputs, come from 8 bits."""
    model = onnx.load(folder / NETWORK)
    made = {out: node.op_type for node in model.graph.node for out in node.output}
    return [
        node.op_type
        for node in model.graph.node
        if node.input and made.get(node.input[0]) == "DequantizeLinear" and node.op_type != "QuantizeLinear"
    ]


def test_the_twin_answers_alike_and_is_smaller(tmp_path: Path) -> None:
    before, after = folders(tmp_path)
    write_network(before, gated(), INTERFACE)
    seen = images()
    old = OnnxPredictor.load(before, 1)
    expected = old.probabilities(seen)
    found = quantise(before, after, seen, expected.argmax(axis=1).astype(np.int64), 1)
    new = OnnxPredictor.load(after, 1)
    assert read_interface(after) == INTERFACE
    assert np.abs(new.probabilities(seen) - expected).max() < 0.05
    assert found.accuracy_before == 1
    assert found.accuracy_after == found.agreement >= 0.9
    assert found.n_images == len(seen)
    assert found.bytes_before == (before / NETWORK).stat().st_size
    assert found.bytes_after == (after / NETWORK).stat().st_size < found.bytes_before
    assert found.line().startswith("int8: 0.03 to 0.0")
    assert found.summary()["n_images"] == len(seen)


def test_gates_preprocessing_and_classifier_stay_float(tmp_path: Path) -> None:
    kept = kept_float(named(gated()))
    assert kept == sorted(
        [
            "floats",
            "planes",
            "small",
            "pooled",
            "squeezed",
            "open",
            "means",
            "flat",
            "logits",
            "probabilities",
        ]
    )
    before, after = folders(tmp_path)
    write_network(before, gated(), INTERFACE)
    quantise(before, after, images(8), np.zeros(8, np.int64), 1)
    operators = eight_bit_operators(after)
    # Two of the three convolutions: that of the gate is not among them, nor the classifier.
    assert operators.count("Conv") == 2
    assert "Gemm" not in operators


def test_of_linear_layers_only_the_last_stays_float() -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    dense (float[n, 4] image) => (float[n, 3] probabilities) {
      half = Mul(image, image)
      first = MatMul(half, w1)
      active = Relu(first)
      second = Gemm(active, w2)
      logits = Gemm(second, w3)
      probabilities = Softmax(logits)
    }"""
    model = named(onnx.parser.parse_model(text).SerializeToString())
    assert kept_float(model) == ["half", "logits", "probabilities"]


def test_normalisations_are_folded_before(tmp_path: Path) -> None:
    text = GATED.replace(
        "maps = Relu(first)", "normed = BatchNormalization(first, s, s, m, s)\n  maps = Relu(normed)"
    )
    model = onnx.load_from_string(gated(text))
    for name, value in (("s", 2.0), ("m", 0.5)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.full(WIDTH, value, np.float32), name))
    before, after = folders(tmp_path)
    write_network(before, model.SerializeToString(), INTERFACE)
    seen = images(8)
    found = quantise(before, after, seen, np.zeros(8, np.int64), 1)
    assert "BatchNormalization" not in {node.op_type for node in onnx.load(after / NETWORK).graph.node}
    assert found.agreement >= 0.75


def test_inputs_and_outputs_may_be_called_by_numbers(tmp_path: Path) -> None:
    before, after = folders(tmp_path)
    numbered = GATED.replace("probabilities", "x9").replace(" image", " x12").replace("(image)", "(x12)")
    model = onnx.load_from_string(gated(numbered))
    for names in (model.graph.input, model.graph.output, *((n,) for n in model.graph.node)):
        for entry in names:
            for field in (entry.input, entry.output) if hasattr(entry, "op_type") else ():
                field[:] = [name.removeprefix("x") for name in field]
            entry.name = entry.name.removeprefix("x")
    write_network(before, model.SerializeToString(), msgspec.structs.replace(INTERFACE, input="12"))
    assert quantise(before, after, images(4), np.zeros(4, np.int64), 1).n_images == 4
    assert OnnxPredictor.load(after, 1).interface.input == "12"


def test_a_network_for_batches_of_one_size_is_calibrated_in_these(tmp_path: Path) -> None:
    before, after = folders(tmp_path)
    write_network(
        before, gated(GATED.replace("uint8[n,", "uint8[2,").replace("float[n,", "float[2,")), INTERFACE
    )
    found = quantise(before, after, images(5), np.zeros(5, np.int64), 1)
    assert found.n_images == 5
    assert OnnxPredictor.load(after, 1).fixed_rows == 2


def test_without_images_nothing_is_quantised(tmp_path: Path) -> None:
    before, after = folders(tmp_path)
    write_network(before, gated(), INTERFACE)
    with pytest.raises(ValueError, match="no calibration image given, expected at least one"):
        quantise(before, after, [], np.zeros(0, np.int64), 1)
    with pytest.raises(ArtifactError, match=r"network\.json: cannot be read"):
        quantise(after, before, images(2), np.zeros(2, np.int64), 1)


class Unlimited:
    """A budget without end."""

    total = left = float("inf")

    def used(self) -> float:
        return 0.0


def make_task(folder: Path) -> FitTask:
    pixels = np.stack(images(30))
    y = np.repeat(np.arange(3), 10)
    names = ("a", "b", "c")
    dataset = Dataset(
        path=folder,
        layout="npz",
        source=ArraySource([("images", pixels)]),
        targets=tuple(names[k] for k in y),
        class_names=names,
    )
    train = np.arange(0, 30, 2)
    return FitTask(dataset, train, y, names, np.arange(30), folder, 0, 1, Unlimited())


def test_calibration_sees_training_images_of_all_classes(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    chosen, labels = calibration_images(task, 6)
    assert np.bincount(labels).tolist() == [2, 2, 2]
    training = [task.dataset.read(int(row)) for row in task.train]
    assert all(any(np.array_equal(image, other) for other in training) for image in chosen)
    assert len(calibration_images(task)[0]) == len(task.train)


def test_a_contestants_twin_is_stored_in_its_folder(tmp_path: Path) -> None:
    before, after = folders(tmp_path)
    write_network(before, gated(), INTERFACE)
    fitted = quantise_stored(before, make_task(after))
    assert fitted.n_fit == 15
    assert fitted.details["int8"]["n_images"] == 15
    assert fitted.log[0].startswith("int8: ")
    assert OnnxPredictor.load(after, 1).label(images(1)[0]) in (0, 1, 2)
