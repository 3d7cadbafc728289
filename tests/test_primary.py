"""What may be behind: callables, models, ONNX files, addresses; and what counts as an answer of theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import cv2
import msgspec
import numpy as np
import onnx.parser
import pytest
from numpy.typing import NDArray

from classic_cv._address import EXCHANGES, SECONDS, Asked
from classic_cv.deep.predictor import OnnxPredictor
from classic_cv.errors import ArtifactError, ImageError, ParameterError, RecipeError
from classic_cv.images import read_file
from classic_cv.model import Model
from classic_cv.primary import NonsenseError, Primary, checked, columns_of, image_of, primary_of, told


class Unreadable:
    def __array__(self, *arguments: Any, **keywords: Any) -> NDArray[Any]:
        raise RuntimeError("on another device")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "gave a NoneType of object"),
        ("0.2 0.3 0.5", "gave a str of <U11"),
        ([True, False, False], "gave a list of bool"),
        ([0.2, 0.3, 0.5j], "complex"),
        ([[0.2], [0.3, 0.5]], "gave a list that is no array"),
        (Unreadable(), "gave a Unreadable that is no array (on another device)"),
        ([10**400, 0, 0], "object"),
        (0.5, "shape (), expected is (3,)"),
        ([0.5, 0.5], "shape (2,), expected is (3,)"),
        ([[0.2], [0.3], [0.5]], "shape (3, 1)"),
        (np.full((2, 3), 1 / 3), "shape (2, 3)"),
        (np.empty((0, 3)), "shape (0, 3)"),
        ([0.5, float("nan"), 0.5], "not finite"),
        ([float("inf"), 0.0, 0.0], "not finite"),
        ([float("inf"), float("-inf"), 1.0], "not finite"),
        ([1.7e308, 1.7e308, -1.7e308], "not finite"),
        ([0.5, 0.502, -0.002], "values from -0.002 that sum to 1"),
        ([0.3, 0.3, 0.379], "sum to 0.979"),
        ([0.3, 0.3, 0.421], "sum to 1.021"),
        ([2, -1, 0], "values from -1"),
    ],
)
def test_what_is_no_probabilities(value: Any, message: str) -> None:
    with pytest.raises(NonsenseError) as raised:
        checked(value, 3)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    "value",
    [
        [0.2, 0.3, 0.5],
        ((0.2, 0.3, 0.5),),
        np.array([[0.2, 0.3, 0.5]], np.float16),
        np.array([0.2, 0.3, 0.5]),
        np.array([0.202, 0.303, 0.505], np.float32),
    ],
)
def test_what_is(value: Any) -> None:
    found = checked(value, 3)
    assert found.dtype == np.float32
    assert found.shape == (3,)
    np.testing.assert_allclose(found, [0.2, 0.3, 0.5], atol=2e-4)


def test_small_errors_of_rounding_are_corrected() -> None:
    found = checked([1.0005, -0.0005, 0.0], 3)
    assert found.tolist() == [1.0, 0.0, 0.0]
    assert checked([1, 0], 2).tolist() == [1.0, 0.0]


def test_the_answer_is_not_the_primarys_own_memory() -> None:
    reused = np.array([0.25, 0.75], np.float32)
    found = checked(reused, 2)
    reused[:] = 0
    assert found.tolist() == [0.25, 0.75]


@pytest.mark.parametrize("value", [1.5, np.float32(1.5), [1.5], [[1.5]], np.array(1.5)])
def test_the_number_of_a_regression(value: Any) -> None:
    found = checked(value, None)
    assert found.dtype == np.float32
    assert found.shape == ()
    assert float(found) == 1.5


@pytest.mark.parametrize("value", [None, "1.5", [1.0, 2.0], [], float("nan"), 1e300])
def test_what_is_no_number(value: Any) -> None:
    with pytest.raises(NonsenseError):
        checked(value, None)


def test_columns_go_by_name() -> None:
    columns = columns_of(["rose", "tulip", "aster"], ["aster", "rose", "tulip"], "net")
    assert np.array([0.1, 0.2, 0.7])[columns].tolist() == [0.7, 0.1, 0.2]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["a", "x"], r"net: its classes are not the fallback's \(missing: 'b'; unknown: 'x'\)"),
        (["a"], "missing: 'b'"),
        (["a", "b", "b"], "one occurs twice"),
    ],
)
def test_other_classes_are_an_error(given: list[str], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        columns_of(given, ["a", "b"], "net")


def test_images_are_bytes_or_rgb() -> None:
    assert image_of(memoryview(b"abc")) == b"abc"
    gray = np.array([[0, 255]], np.uint8)
    found = image_of(gray)
    assert isinstance(found, np.ndarray)
    assert found.tolist() == [[[0, 0, 0], [255, 255, 255]]]
    with pytest.raises(ImageError, match="<image>: expected a path, encoded bytes"):
        image_of(17)


def test_a_file_that_cannot_be_read_is_an_image_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is a folder"):
        read_file(tmp_path)
    (tmp_path / "a").write_bytes(b"content")
    assert read_file(str(tmp_path / "a")) == b"content"


def renamed(model: Model, names: tuple[str, ...]) -> Model:
    """The same model under other names of its classes."""
    metadata = msgspec.structs.replace(model.metadata, class_names=names)
    return Model(model.recipe, model.featurizer, model.head, model.calibrator, metadata, model.maps)


@pytest.fixture(scope="module")
def image(faces: Path) -> bytes:
    return next((faces / "test").rglob("*.png")).read_bytes()


def test_a_callable_is_given_the_image(model: Model) -> None:
    primary = primary_of(lambda image: (image, "said"), model)
    assert primary.ask(b"png", 1.0) == (b"png", "said")
    assert primary.notes == ()
    primary.close()


def test_a_callable_cannot_change_the_pixels(model: Model) -> None:
    def in_place(image: Any) -> Any:
        image[:] = 0

    pixels = np.ones((4, 4, 3), np.uint8)
    primary = primary_of(in_place, model)
    with pytest.raises(ValueError, match="read-only"):
        primary.ask(pixels, 1.0)
    # They are still the caller's to change.
    pixels += 1
    assert pixels.min() == 2


def test_a_primary_is_taken_as_it_is(model: Model) -> None:
    primary = Primary(lambda image, timeout: timeout)
    assert primary_of(primary, model) is primary


def test_a_models_columns_are_in_the_fallbacks_order(model: Model, model_file: Path, image: bytes) -> None:
    own = model.predict_proba([image])[0]
    backwards = renamed(model, model.class_names[::-1])
    np.testing.assert_array_equal(primary_of(backwards, model).ask(image, 1.0), own[::-1])
    np.testing.assert_array_equal(primary_of(str(model_file), model).ask(image, 1.0), own)
    with pytest.raises(ParameterError, match="the primary: its classes are not the fallback's"):
        primary_of(renamed(model, ("a", "b")), model)
    with pytest.raises(ImageError, match="more than max_pixels=10"):
        primary_of(model_file, model, max_pixels=10).ask(image, 1.0)


def regression(model: Model) -> Model:
    metadata = msgspec.structs.replace(model.metadata, task="regression", class_names=())
    return Model(model.recipe, model.featurizer, model.head, None, metadata, model.maps)


def test_a_regression_takes_a_regression(model: Model, tmp_path: Path) -> None:
    numbers = regression(model)
    with pytest.raises(ParameterError, match="is for a classification, and the fallback for a regression"):
        primary_of(model, numbers)
    with pytest.raises(ParameterError, match="the fallback estimates a number"):
        primary_of(tmp_path / "net.onnx", numbers)
    with pytest.raises(ParameterError, match="the fallback estimates a number"):
        primary_of("http://localhost:1/v2/models/net", numbers)


@pytest.mark.parametrize("source", [None, 17, b"bytes"])
def test_what_is_no_primary(model: Model, source: Any) -> None:
    with pytest.raises(ParameterError, match="allowed are a callable, a Model"):
        primary_of(source, model)


def test_files_that_are_no_models(model: Model, tmp_path: Path) -> None:
    for name in ("no.onnx", "no.safetensors"):
        with pytest.raises(ArtifactError, match=name):
            primary_of(tmp_path / name, model)


NETWORK = """
<ir_version: 8, opset_import: ["" : 17]>
colors (float[n, 3, 8, 8] image) => (float[n, 2] scores) {
  means = ReduceMean<axes = [2, 3], keepdims = 0>(image)
  ends = Constant<value_ints = [0, 2]>()
  both = Gather<axis = 1>(means, ends)
  scores = Softmax(both)
}"""


def write_onnx(path: Path, classes: tuple[str, ...]) -> Path:
    """A network that finds red or blue, and the TOML beside it."""
    path.write_bytes(onnx.parser.parse_model(NETWORK).SerializeToString())
    text = msgspec.json.encode(classes).decode()
    path.with_suffix(".toml").write_text(f"scale = 1\nclasses = {text}\noutput = 'probabilities'\n")
    return path


def test_an_onnx_file_with_its_toml(model: Model, tmp_path: Path) -> None:
    first, second = model.class_names
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 255
    encoded = cv2.imencode(".png", red[..., ::-1])[1].tobytes()
    high = float(np.e / (1 + np.e))
    for classes, expected in (((first, second), [high, 1 - high]), ((second, first), [1 - high, high])):
        primary = primary_of(write_onnx(tmp_path / "net.onnx", classes), model)
        for image in (red, encoded):
            np.testing.assert_allclose(primary.ask(image, 1.0), expected, atol=1e-5)
    with pytest.raises(RecipeError, match="unknown: 'other'"):
        primary_of(write_onnx(tmp_path / "net.onnx", (first, "other")), model)
    with pytest.raises(ImageError, match="more than max_pixels=10"):
        primary_of(write_onnx(tmp_path / "net.onnx", (first, second)), model, max_pixels=10).ask(encoded, 1)


def test_a_network_is_warm_leaves_opencvs_threads_alone_and_says_what_is_assumed(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[int] = []
    probabilities = OnnxPredictor.probabilities

    def counted(self: OnnxPredictor, images: Any) -> NDArray[np.float32]:
        runs.append(len(images))
        return probabilities(self, images)

    monkeypatch.setattr(OnnxPredictor, "probabilities", counted)
    path = write_onnx(tmp_path / "net.onnx", model.class_names)
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        primary = primary_of(path, model)
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)
    assert runs == [1]
    assert [note.startswith(f"{path}: resize is not said") for note in primary.notes] == [True]


class Described(NamedTuple):
    class_names: tuple[str, ...] | None


class Client:
    """An address that does what it is told next: names to tell, or a row and the names that it goes by."""

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.timeouts: list[float] = []
        self.is_described = False

    def metadata(self) -> Described:
        names = self.next()
        self.is_described = True
        return Described(names)

    def call_named(self, image: Any, timeout: float) -> tuple[NDArray[np.float32], Any]:
        self.timeouts.append(timeout)
        row, names = self.next()
        self.is_described = True
        return np.array(row, np.float32), names

    def forget(self) -> None:
        self.is_described = False

    def next(self) -> Any:
        step = self.script.pop(0)
        if isinstance(step, BaseException):
            if not isinstance(step, TimeoutError):
                self.forget()
            raise step
        return step


AB, BA = ("a", "b"), ("b", "a")


def asked(client: Client) -> Asked:
    return Asked(client, AB, "http://there")  # type: ignore[arg-type]


def test_an_address_is_asked_for_its_names_once() -> None:
    client = Client(BA, ([0.9, 0.1], BA), ([0.7, 0.3], BA))
    primary = asked(client)
    np.testing.assert_allclose(primary.ask(b"", 0.25), [0.1, 0.9])
    np.testing.assert_allclose(primary.ask(b"", 0.5), [0.3, 0.7])
    assert client.timeouts == [0.25, 0.5]
    assert primary.notes == ()


def test_the_order_is_that_of_the_answer_whatever_was_told_before() -> None:
    primary = asked(Client(AB, ([0.9, 0.1], BA), ([0.9, 0.1], AB), ([0.9, 0.1], BA)))
    np.testing.assert_allclose(
        [primary.ask(b"", 1.0) for _ in range(3)], [[0.1, 0.9], [0.9, 0.1], [0.1, 0.9]]
    )


def test_an_address_that_tells_no_names_has_the_fallbacks_order_and_that_is_noted() -> None:
    for first in (None, ConnectionRefusedError()):
        primary = asked(Client(first, ([0.9, 0.1], None)))
        np.testing.assert_allclose(primary.ask(b"", 1.0), [0.9, 0.1])
        [note] = primary.notes
        assert "http://there: its class_names are not said" in note
        assert "'a', 'b', the fallback's order" in note


def test_an_address_of_other_classes_is_an_error_at_once() -> None:
    with pytest.raises(ParameterError, match="http://there: its classes are not the fallback's"):
        asked(Client(("a", "c")))


@pytest.mark.parametrize("trouble", [ConnectionRefusedError(), ArtifactError("garbage"), TimeoutError()])
def test_an_address_that_is_down_may_come_up(trouble: Exception) -> None:
    client = Client(trouble, trouble, ([0.9, 0.1], BA), ([0.8, 0.2], BA))
    primary = asked(client)
    with pytest.raises(type(trouble)):
        primary.ask(b"", 0.05)
    np.testing.assert_allclose(primary.ask(b"", 0.05), [0.1, 0.9])
    np.testing.assert_allclose(primary.ask(b"", 0.05), [0.2, 0.8])
    # The first ones have longer: what they learn is for those after them.
    assert client.timeouts == [EXCHANGES * SECONDS] * 2 + [0.05]


@pytest.mark.parametrize("trouble", [ConnectionResetError(), ArtifactError("another version")])
def test_after_trouble_no_call_has_less_time_than_before(trouble: Exception) -> None:
    """An address that takes more than a second heals as well."""
    client = Client(AB, trouble, ([0.9, 0.1], BA), ([0.9, 0.1], BA))
    primary = asked(client)
    with pytest.raises(type(trouble)):
        primary.ask(b"", 2.5)
    for _ in range(2):
        np.testing.assert_allclose(primary.ask(b"", 2.5), [0.1, 0.9])
    assert client.timeouts == [2.5, EXCHANGES * 2.5, 2.5]


def test_a_late_answer_makes_the_next_one_no_later() -> None:
    client = Client(AB, TimeoutError(), ([0.9, 0.1], AB))
    primary = asked(client)
    with pytest.raises(TimeoutError):
        primary.ask(b"", 0.05)
    np.testing.assert_allclose(primary.ask(b"", 0.05), [0.9, 0.1])
    assert client.timeouts == [0.05, 0.05]


def test_the_classes_may_become_others_and_right_again() -> None:
    client = Client(AB, ([0.9, 0.1], ("a", "c")), ([0.9, 0.1], AB))
    primary = asked(client)
    with pytest.raises(ParameterError, match="unknown: 'c'"):
        primary.ask(b"", 1.0)
    # What the client knows is of the wrong model.
    assert not client.is_described
    np.testing.assert_allclose(primary.ask(b"", 1.0), [0.9, 0.1])


def test_another_number_of_columns_is_left_for_the_check() -> None:
    found = asked(Client(None, ([0.5, 0.25, 0.25], None))).ask(b"", 1.0)
    with pytest.raises(NonsenseError, match="shape"):
        checked(found, 2)


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def noted() -> Exception:
    error = ValueError("out of memory")
    error.add_note("see the manual")
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (noted(), "ValueError: out of memory"),
        (OSError(), "OSError"),
        (Mute(), "Mute: its text cannot be shown"),
        (ValueError("x" * 600), "ValueError: " + "x" * 488),
    ],
    ids=["note", "empty", "mute", "long"],
)
def test_what_is_told_of_an_error(error: Exception, expected: str) -> None:
    assert told(error) == expected
