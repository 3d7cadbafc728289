"""What a fallback stands behind: a callable, a model, an ONNX file, or a model at an address, asked in one way."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from classic_cv.answer import answer_of
from classic_cv.errors import ClassicCVError, ParameterError
from classic_cv.images import DEFAULT_MAX_PIXELS, to_picture
from classic_cv.model import Model, golden_images, load

Image = bytes | NDArray[np.uint8]
"""An encoded image, or RGB pixels (height, width, 3)."""

SUM_TOLERANCE = 0.02
"""How far from 1 the sum of probabilities may be: a network in 8 bits does not hit it exactly."""

NEGATIVE_TOLERANCE = 1e-3
"""How far below 0 a probability may be."""

MOST_TOLD = 500
"""Characters of what a primary says of its errors that are kept."""


class NonsenseError(ClassicCVError):
    """A primary gave something else than probabilities of the classes, or than a number; the message says what."""


@dataclass(frozen=True, eq=False)
class Primary:
    """What is asked first.

    Attributes:
        ask: from an image, and the seconds after which nobody waits any more, to what ``checked`` takes. It may be
            called by several threads at a time.
        close: frees what it holds.
        assumed: gives ``notes``, which an address may add to when it is asked first.
    """

    ask: Callable[[Image, float], Any]
    close: Callable[[], None] = lambda: None
    assumed: Callable[[], tuple[str, ...]] = lambda: ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what it does not say and is assumed."""
        return self.assumed()


def primary_of(
    source: Any, model: Model, *, max_pixels: int = DEFAULT_MAX_PIXELS, token: str | None = None
) -> Primary:
    """A primary whose answers are in the class order of ``model``.

    Args:
        source: a callable from an image (bytes, or uint8 RGB (height, width, 3)) to probabilities (n_classes,) or
            (1, n_classes) in the model's class order, or to the number of a regression; a ``Model``; the path of a
            model file, or of an ONNX file with a TOML beside it as ``classic-cv compare`` takes them; the address of
            a model behind the Open Inference Protocol; or a ``Primary``.
        model: the fallback.
        max_pixels: larger images are not decoded.
        token: the bearer token for an address.

    Raises:
        ParameterError: it is none of these, or does another task or has other classes than ``model``.
        ArtifactError: the file cannot be used.
        RecipeError: the TOML beside an ONNX file does not say what has to be said.
        MissingExtraError: ONNX Runtime is not installed.
    """
    if isinstance(source, Primary):
        return source
    if isinstance(source, Model):
        return _of_model(source, model, max_pixels, "the primary")
    if isinstance(source, str) and "://" in source:
        return _of_address(source, model, max_pixels, token)
    if isinstance(source, str | Path):
        path = Path(source)
        if path.suffix.lower() == ".onnx":
            return _of_onnx(path, model, max_pixels)
        return _of_model(load(path), model, max_pixels, str(path))
    if callable(source):
        return Primary(lambda image, timeout: source(_read_only(image)))
    raise ParameterError(
        f"primary={source!r}: allowed are a callable, a Model, the path of an ONNX or model file, or an address such "
        "as http://host:8000/v2/models/NAME"
    )


def image_of(item: Any) -> Image:
    """An image in memory as a primary is given it: bytes stay bytes, anything else becomes RGB pixels.

    Raises:
        ImageError: an array that is no image, or an object that is none.
    """
    if isinstance(item, bytes | bytearray | memoryview):
        return bytes(item)
    return to_picture(item, source="<image>").pixels


def _read_only(image: Image) -> Image:
    """An image that its owner, and the fallback, find as it was."""
    if isinstance(image, bytes):
        return image
    view = image.view()
    view.flags.writeable = False
    return view


def told(error: BaseException | None) -> str:
    """An error's type and text, cut; of another one's text nothing is certain, not even that it can be had."""
    name = type(error).__name__
    try:
        text = str(error)
    except Exception:
        text = "its text cannot be shown"
    return f"{name}: {text}"[:MOST_TOLD] if text else name


def checked(value: Any, n_classes: int | None) -> NDArray[np.float32]:
    """What a primary gave, if it makes sense.

    Args:
        value: anything.
        n_classes: None for a regression.

    Returns:
        probabilities, float32 (n_classes,) that sum to 1; of a regression the number, float32 ().

    Raises:
        NonsenseError: it has another shape, is not finite, is below 0, or does not sum to 1.
    """
    try:
        found = np.asarray(value)
    except Exception as error:
        raise NonsenseError(f"gave a {type(value).__name__} that is no array ({error})") from None
    if found.dtype.kind not in "fiu":
        raise NonsenseError(f"gave a {type(value).__name__} of {found.dtype}, expected are numbers")
    with np.errstate(all="ignore"):
        numbers = found.astype(np.float64)
        return _number(numbers) if n_classes is None else _probabilities(numbers, n_classes)


def _number(found: NDArray[np.float64]) -> NDArray[np.float32]:
    if found.size != 1:
        raise NonsenseError(f"gave an array of shape {found.shape}, expected is a number")
    number = found.reshape(()).astype(np.float32)
    if not np.isfinite(number):
        raise NonsenseError(f"gave {found.item()}, expected is a finite number")
    return number


def _probabilities(found: NDArray[np.float64], n_classes: int) -> NDArray[np.float32]:
    if found.shape not in ((n_classes,), (1, n_classes)):
        raise NonsenseError(f"gave an array of shape {found.shape}, expected is ({n_classes},)")
    total = float(found.sum())
    if not np.isfinite(total):
        raise NonsenseError("gave values that are not finite, expected are probabilities")
    if found.min() < -NEGATIVE_TOLERANCE or abs(total - 1) > SUM_TOLERANCE:
        raise NonsenseError(
            f"gave values from {found.min():.4g} that sum to {total:.4g}, expected are probabilities"
        )
    inside = found.reshape(-1).clip(min=0)
    normalised: NDArray[np.float32] = (inside / inside.sum()).astype(np.float32)
    return normalised


def columns_of(given: Sequence[str], wanted: Sequence[str], source: str) -> NDArray[np.intp]:
    """For each class wanted its column in what ``source`` gives.

    Raises:
        ParameterError: the classes are not the same.
    """
    missing, unknown = sorted({*wanted} - {*given}), sorted({*given} - {*wanted})
    if missing or unknown or len(given) != len(wanted):
        from classic_cv.task import listed

        parts = [f"missing: {listed(missing)}"] if missing else []
        parts += [f"unknown: {listed(unknown)}"] if unknown else []
        raise ParameterError(
            f"{source}: its classes are not the fallback's ({'; '.join(parts) or 'one occurs twice'}): give a primary "
            "of the same classes"
        )
    return np.array([list(given).index(name) for name in wanted], np.intp)


def _of_model(primary: Model, model: Model, max_pixels: int, source: str) -> Primary:
    if primary.task != model.task:
        raise ParameterError(
            f"{source}: is for a {primary.task}, and the fallback for a {model.task}: give two of one task"
        )
    if model.task == "regression":
        return Primary(lambda image, timeout: answer_of(primary, image, max_pixels).output)
    columns = columns_of(primary.class_names, model.class_names, source)
    return Primary(lambda image, timeout: answer_of(primary, image, max_pixels).output[columns])


def _of_onnx(path: Path, model: Model, max_pixels: int) -> Primary:
    from classic_cv.compare.given import GivenSettings, store_given
    from classic_cv.deep.predictor import OnnxPredictor

    _check_classifies(model, str(path))
    with _opencv_threads(), TemporaryDirectory() as folder:
        notes = store_given(GivenSettings(), path, model.class_names, Path(folder))
        predictor = OnnxPredictor.load(folder, threads=1)
    side = min(predictor.interface.shape)

    def ask(image: Image, timeout: float) -> NDArray[np.float32]:
        # Decoded here: the predictor has no limit of pixels.
        picture = to_picture(image, min_side=side, max_pixels=max_pixels)
        row: NDArray[np.float32] = predictor.probabilities([picture.pixels])[0]
        return row

    # The first run, which is slow, is nobody's answer.
    ask(golden_images()[0], 0.0)
    said = tuple(f"{path}: {note}" for note in notes)
    return Primary(ask, assumed=lambda: said)


@contextlib.contextmanager
def _opencv_threads() -> Iterator[None]:
    """Restore the number of OpenCV's threads, which are the whole process's, after the block."""
    before = cv2.getNumThreads()
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _of_address(url: str, model: Model, max_pixels: int, token: str | None) -> Primary:
    from classic_cv._address import SECONDS, Asked
    from classic_cv.oip.client import OipClient

    _check_classifies(model, url)
    client = OipClient(url, timeout=SECONDS, token=token, max_pixels=max_pixels)
    try:
        asked = Asked(client, model.class_names, url)
    except ParameterError:
        client.close()
        raise
    return Primary(asked.ask, client.close, lambda: asked.notes)


def _check_classifies(model: Model, source: str) -> None:
    if model.task == "regression":
        raise ParameterError(
            f"{source}: gives probabilities of classes, and the fallback estimates a number: give a Model or a callable"
        )
