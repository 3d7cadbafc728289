"""A stored network as it answers: ``network.onnx``, and beside it ``network.json`` on what it takes and gives.

NumPy, OpenCV and ONNX Runtime do it; neither torch nor timm is imported.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, Self

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from classic_cv.dataset import Encoded
from classic_cv.deep.preparation import prepare
from classic_cv.errors import ArtifactError
from classic_cv.heads.hybrid import make_session
from classic_cv.images import resize, to_picture
from classic_cv.onnx_file import inspect

NETWORK, INTERFACE = "network.onnx", "network.json"
"""Names of the two files in a folder."""

MAX_NETWORK_BYTES = 2**31
"""Largest file that is loaded: no ONNX file without external data is larger."""

BATCH = 32
"""Images that the network sees at a time where there are many."""

SUM_TOLERANCE = 0.02
"""How far from 1 the sum of an output may be that is said to be probabilities; 8 bits do not hit it exactly."""


class Interface(msgspec.Struct, frozen=True, kw_only=True):
    """What a stored network takes and gives: the content of ``network.json``.

    Attributes:
        size: pixels of both sides, or (height, width).
        resize: how images of other shapes get that size, see ``deep.preparation``; ``squash`` where sides differ.
        n_classes: how many there are.
        input: name of the network's input.
        layout: order of its axes.
        dtype: of its elements: uint8 pixels, or floats that are made of them.
        mean, std: one value per channel, of pixels from 0 to 1: the floats are ``(pixels / 255 - mean) / std``. None
            where the network does that itself.
        scale: without mean and std, what white is in floats: 255 or 1.
        output: what the network gives.
        classes: the class number of each output; None where these are 0, 1, 2, ...
        channels: 3 for RGB, 1 for gray.
    """

    size: int | tuple[int, int]
    resize: Literal["squash", "crop"]
    n_classes: int
    input: str
    layout: Literal["NHWC", "NCHW"]
    dtype: Literal["uint8", "float32"]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    scale: Literal[1, 255] = 255
    output: Literal["probabilities", "logits"] = "probabilities"
    classes: tuple[int, ...] | None = None
    channels: Literal[1, 3] = 3

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    def fed(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """RGB pixels uint8 (n, height, width, 3) as the network takes them."""
        values: NDArray[Any] = pixels
        if self.channels == 1:
            values = np.stack([cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in pixels])[..., None]
        if self.dtype == "float32":
            gain, offset = self._affine()
            values = values * gain
            values += offset
        return np.ascontiguousarray(values.transpose(0, 3, 1, 2) if self.layout == "NCHW" else values)

    def _affine(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What uint8 values are multiplied by, and what is added then, per channel."""
        if self.mean is None or self.std is None:
            return np.full(1, self.scale / 255, np.float32), np.zeros(1, np.float32)
        mean, std = np.array(self.mean), np.array(self.std)
        return (1 / (255 * std)).astype(np.float32), (-mean / std).astype(np.float32)

    def in_class_order(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Outputs (n, n_classes) with a column per class number."""
        if self.classes is None:
            return scores
        ordered: NDArray[np.float32] = np.empty_like(scores)
        ordered[:, list(self.classes)] = scores
        return ordered

    def probabilities(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Of outputs (n, n_classes): float32, rows sum to 1.

        Raises:
            ArtifactError: they are said to be probabilities and are none, or are not finite.
        """
        wide = scores.astype(np.float64)
        if not np.isfinite(wide).all():
            raise ArtifactError("the network gives scores that are no finite numbers; export it again")
        if self.output == "logits":
            wide = np.exp(wide - wide.max(axis=1, keepdims=True))
        elif not are_probabilities(wide, SUM_TOLERANCE):
            raise ArtifactError(
                'the network\'s outputs are no probabilities, which have to sum to 1; say output = "logits"'
            )
        found: NDArray[np.float32] = (wide / wide.sum(axis=1, keepdims=True)).astype(np.float32)
        return found


def are_probabilities(rows: NDArray[Any], tolerance: float) -> bool:
    """Whether all rows (n, k) are within 0 to 1 and sum to 1, all up to ``tolerance``."""
    inside = rows.min(initial=0) >= -tolerance and rows.max(initial=0) <= 1 + tolerance
    return bool(inside and np.allclose(rows.sum(axis=1), 1, rtol=0, atol=tolerance))


def write_network(folder: Path, network: bytes, interface: Interface) -> None:
    """Write the two files that ``OnnxPredictor.load`` reads."""
    (folder / NETWORK).write_bytes(network)
    text = msgspec.json.format(msgspec.json.encode(interface), indent=1)
    (folder / INTERFACE).write_bytes(text + b"\n")


def read_interface(folder: Path) -> Interface:
    """What ``network.json`` says.

    Raises:
        ArtifactError: it is missing or not valid.
    """
    path = folder / INTERFACE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Interface)
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror}); fit the network again") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path}: is no description of a network ({error}); fit it again") from None


def read_network(path: Path) -> bytes:
    """The bytes of an ONNX file that is a plain network within itself.

    Raises:
        ArtifactError: it cannot be read, is damaged, or holds more than a plain network (``onnx_file.inspect``).
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror}); give an ONNX file") from None
    inspect(data, str(path), MAX_NETWORK_BYTES)
    return data


class OnnxPredictor:
    """A network of a folder, run by ONNX Runtime on a fixed number of threads.

    Args:
        network: the bytes of the ONNX file.
        interface: what it takes and gives.
        threads: that it, and OpenCV in this process, compute with.
        n_bytes: of the files that it is stored in.

    Attributes:
        fixed_rows: images per run where the network takes no other number; None for any.

    Raises:
        ArtifactError: ONNX Runtime cannot run it, or its outputs are not one row of scores per image.
    """

    def __init__(self, network: bytes, interface: Interface, threads: int, n_bytes: int) -> None:
        self.interface = interface
        self.model_bytes = n_bytes
        self._session = make_session(network, threads)
        self._threads = threads
        first = self._session.get_inputs()[0].shape[0]
        self.fixed_rows = first if isinstance(first, int) else None
        cv2.setNumThreads(threads)

    @classmethod
    def load(cls, folder: Path | str, threads: int) -> Self:
        """The network of ``folder``.

        Raises:
            ArtifactError: a file is missing, damaged, or holds more than a plain network.
            MissingExtraError: ONNX Runtime is not installed.
        """
        folder = Path(folder)
        interface = read_interface(folder)
        network = read_network(folder / NETWORK)
        n_bytes = len(network) + (folder / INTERFACE).stat().st_size
        return cls(network, interface, threads, n_bytes)

    def label(self, image: Encoded) -> int:
        """The class number of one image.

        Raises:
            ImageError: the image cannot be used.
        """
        return self._label(self.interface.fed(self._prepared(image)[None]))

    def probabilities(self, images: Sequence[Encoded]) -> NDArray[np.float32]:
        """float32 (n, n_classes), rows sum to 1.

        Raises:
            ImageError: an image cannot be used.
        """
        parts = [np.empty((0, self.interface.n_classes), np.float32)]
        for start in range(0, len(images), BATCH):
            parts.append(self.of_pixels(self.prepared(images[start : start + BATCH])))
        return np.concatenate(parts)

    def prepared(self, images: Sequence[Encoded]) -> NDArray[np.uint8]:
        """Images, one at least, decoded and brought to the network's size: uint8 (n, height, width, 3).

        Raises:
            ImageError: an image cannot be used.
        """
        with ThreadPoolExecutor(self._threads) as pool:
            return np.stack(list(pool.map(self._prepared, images)))

    def of_pixels(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities of prepared images uint8 (n, height, width, 3): float32 (n, n_classes)."""
        return self.interface.probabilities(self.scores(pixels))

    def scores(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What the network gives for prepared images uint8 (n, height, width, 3), a column per class number.

        Raises:
            ArtifactError: it cannot be run on them, or gives something else than a score per class.
        """
        return self.interface.in_class_order(self._run(self.interface.fed(pixels)))

    def stages(self, image: Encoded) -> dict[str, float]:
        """Seconds of one answer's decoding, its preparation (``features``) and the network (``head``)."""
        times = [time.perf_counter()]
        decoded = to_picture(image, min_side=min(self.interface.shape)).pixels
        times.append(time.perf_counter())
        fed = self.interface.fed(self._prepared(decoded)[None])
        times.append(time.perf_counter())
        self._label(fed)
        times.append(time.perf_counter())
        return dict(zip(("decode", "features", "head"), np.diff(times).tolist(), strict=True))

    def threads(self) -> dict[str, int]:
        """Threads of ONNX Runtime and of OpenCV, as they say themselves."""
        own = self._session.get_session_options().intra_op_num_threads
        return {"onnxruntime": int(own), "opencv": int(cv2.getNumThreads())}

    def _prepared(self, image: Encoded) -> NDArray[np.uint8]:
        height, width = self.interface.shape
        if height == width:
            return prepare(image, height, self.interface.resize)
        return resize(to_picture(image, min_side=min(height, width)).pixels, (height, width))

    def _label(self, fed: NDArray[Any]) -> int:
        return int(self.interface.in_class_order(self._run(fed))[0].argmax())

    def _run(self, fed: NDArray[Any]) -> NDArray[np.float32]:
        """Outputs (n, n_classes) in the network's own order."""
        rows = self.fixed_rows
        if rows is None or rows == len(fed):
            return self._outputs(fed)
        # A network for batches of one size gets images of zeros at the end of the last one.
        padded = np.concatenate([fed, np.zeros((-len(fed) % rows, *fed.shape[1:]), fed.dtype)])
        parts = [self._outputs(padded[start : start + rows]) for start in range(0, len(padded), rows)]
        return np.concatenate(parts)[: len(fed)]

    def _outputs(self, fed: NDArray[Any]) -> NDArray[np.float32]:
        try:
            [out] = self._session.run(None, {self.interface.input: fed})
        except Exception as error:
            raise ArtifactError(
                f"the network cannot be run on images of shape {fed.shape}: {error}"
            ) from None
        scores: NDArray[np.float32] = np.asarray(out)
        expected = (len(fed), self.interface.n_classes)
        if scores.shape != expected:
            raise ArtifactError(
                f"the network gives an output of shape {scores.shape}, expected is {expected}: one score per class"
            )
        return scores
