"""A fitted hybrid head: pixels and features to scores, by ONNX Runtime. Predicting needs neither torch nor onnx."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from classic_cv.errors import ArtifactError, MissingExtraError
from classic_cv.estimator import Estimator
from classic_cv.onnx_file import OnnxSummary, count_parameters, inspect

PIXELS, FEATURES, SCORES = "pixels", "features", "scores"
"""Names of the network's inputs and its output."""

ROWS = 128
"""Images that one thread scores at a time."""


class HybridNetwork(Estimator):
    """A network that takes pixels, and features beside them, and gives scores.

    Rows of X are the features of the recipe's extractors followed by the pixels as ``Pixels`` gives them. It is
    learned elsewhere (``classic_cv.neural``); ``of`` makes one of a network's bytes.

    Learned: ``network_`` uint8 (n_bytes,), an ONNX file with embedded weights and standard operators; ``shape_`` int64
    (3,), planes, height and width of the pixels; ``n_features_`` the columns before them; ``classes_``.
    """

    learned = ("network_", "shape_", "n_features_", "classes_")
    network_: NDArray[np.uint8]
    shape_: NDArray[np.int64]
    n_features_: int
    classes_: NDArray[Any]

    def __init__(self) -> None:
        pass

    @classmethod
    def of(cls, network: bytes, shape: tuple[int, int, int], n_features: int, classes: ArrayLike) -> Self:
        """A fitted head.

        Raises:
            ArtifactError: the network has external data, other than standard operators, or other inputs and outputs.
            MissingExtraError: ONNX Runtime is not installed.
        """
        head = cls()
        return head.load_state(
            {
                "network_": np.frombuffer(network, np.uint8),
                "shape_": np.array(shape, np.int64),
                "n_features_": np.array(n_features),
                "classes_": np.asarray(classes),
            }
        )

    def load_state(self, state: dict[str, NDArray[Any]]) -> Self:
        """Set the learned attributes, check the network and make it ready."""
        super().load_state(state)
        expected = [PIXELS, FEATURES] if self.n_features_ else [PIXELS]
        summary = self.summary()
        if list(summary.inputs) != expected or list(summary.outputs) != [SCORES]:
            raise ArtifactError(
                f"the network has inputs {list(summary.inputs)} and outputs {list(summary.outputs)}, expected "
                f"{expected} and {[SCORES]}: it was not made by classic-cv; fit the model again"
            )
        session = make_session(self.network_.tobytes())
        shapes = [value.shape[1:] for value in session.get_inputs()]
        wanted = [self.shape_.tolist(), [self.n_features_]][: len(expected)]
        if shapes != wanted:
            raise ArtifactError(
                f"the network's inputs have the shapes {shapes} per image, expected {wanted}: the model file was "
                "changed; fit the model again"
            )
        self._session = session
        return self

    def summary(self) -> OnnxSummary:
        """What the network consists of.

        Raises:
            NotFittedError: before it has a network.
            ArtifactError: it is not a whole ONNX file, or not a safe one.
        """
        self.check_fitted()
        return inspect(self.network_.tobytes())

    @property
    def n_parameters(self) -> int:
        """Numbers that the stored network has learned."""
        return count_parameters(self.summary())

    @property
    def is_quantised(self) -> bool:
        """Whether the network computes in 8 bits."""
        return "DequantizeLinear" in self.summary().operators

    def decision_function(self, X: ArrayLike) -> NDArray[np.float32]:
        """Scores: float32 (n, n_classes), or (n,) where there is one.

        Args:
            X: float32 (n, n_features_ + planes * height * width).

        Raises:
            NotFittedError: before it has a network.
            ValueError: X has another number of columns.
        """
        self.check_fitted()
        rows = np.asarray(X, np.float32)
        width = self.n_features_ + int(self.shape_.prod())
        if rows.ndim != 2 or rows.shape[1] != width:
            raise ValueError(f"X has shape {rows.shape}, expected (n, {width})")
        if len(rows) <= ROWS:
            scores = self._scores(rows)
        else:
            # As many threads as OpenCV is allowed: limits on threads hold here as well.
            with ThreadPoolExecutor(max(1, cv2.getNumThreads())) as pool:
                scores = np.concatenate(list(pool.map(self._scores, _parts(rows))))
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def _scores(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        n = self.n_features_
        inputs = {PIXELS: np.ascontiguousarray(rows[:, n:]).reshape(len(rows), *self.shape_.tolist())}
        if n:
            inputs[FEATURES] = np.ascontiguousarray(rows[:, :n])
        [scores] = self._session.run(None, inputs)
        return np.asarray(scores, np.float32)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_session"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        if "network_" in state:
            self._session = make_session(self.network_.tobytes())


class HybridRegressionNetwork(HybridNetwork):
    """The same with one score, which is the estimated number."""

    def predict(self, X: ArrayLike) -> NDArray[np.float32]:
        """Estimated numbers, float32 (n,), of X as ``decision_function`` takes it."""
        return self.decision_function(X)


def _parts(rows: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(rows), ROWS):
        yield rows[start : start + ROWS]


def make_session(network: bytes, threads: int = 1) -> Any:
    """An ONNX Runtime session on the CPU.

    Args:
        network: an ONNX file.
        threads: that compute one answer. They do not spin while they wait: that would take the time of others.

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
        ArtifactError: it cannot run the network.
    """
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtraError(
            "this model holds a network, which onnxruntime runs, and that is not installed: "
            "pip install 'classic-cv[onnx]'"
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ArtifactError(f"onnxruntime cannot run the network: {error}") from None
