"""A fitted hybrid head: checked before it is run, the same scores in any batch, kept in files."""

from __future__ import annotations

import pickle
import re
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import joblib
import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.base import clone

from classic_cv.errors import ArtifactError, MissingExtraError, NotFittedError
from classic_cv.heads import hybrid
from classic_cv.heads.hybrid import ROWS, HybridNetwork, HybridRegressionNetwork, make_session

SHAPE = (3, 6, 5)
N_FEATURES = 4
Floats = NDArray[np.float32]


def weights(n_outputs: int = 2, n_features: int = N_FEATURES) -> tuple[Floats, Floats, Floats]:
    rng = np.random.default_rng(0)
    kernel = rng.normal(0, 0.1, (8, 3, 3, 3)).astype(np.float32)
    linear = rng.standard_normal((n_outputs, 8 + n_features)).astype(np.float32)
    return kernel, linear, rng.standard_normal(n_outputs).astype(np.float32)


def model_of(
    n_outputs: int = 2,
    n_features: int = N_FEATURES,
    names: tuple[str, str, str] = ("pixels", "features", "scores"),
    change: Callable[[Any], None] | None = None,
) -> bytes:
    """A convolution, the mean over places beside the features, a linear layer: made without torch."""
    pixels, features, scores = names
    kernel, linear, bias = weights(n_outputs, n_features)
    nodes = [
        helper.make_node("Conv", [pixels, "kernel"], ["maps"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["maps"], ["positive"]),
        helper.make_node("ReduceMean", ["positive", "axes"], ["pooled"], keepdims=0),
        helper.make_node("Concat", ["pooled", *([features] if n_features else [])], ["joined"], axis=1),
        helper.make_node("Gemm", ["joined", "linear", "bias"], [scores], transB=1),
    ]
    inputs = [helper.make_tensor_value_info(pixels, TensorProto.FLOAT, ["n", *SHAPE])]
    if n_features:
        inputs.append(helper.make_tensor_value_info(features, TensorProto.FLOAT, ["n", n_features]))
    tensors = {"kernel": kernel, "linear": linear, "bias": bias, "axes": np.array([2, 3])}
    graph = helper.make_graph(
        nodes,
        "hybrid",
        inputs,
        [helper.make_tensor_value_info(scores, TensorProto.FLOAT, ["n", n_outputs])],
        [numpy_helper.from_array(tensor, name) for name, tensor in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    if change:
        change(model)
    return bytes(model.SerializeToString())


def head_of(n_outputs: int = 2, n_features: int = N_FEATURES, **others: Any) -> HybridNetwork:
    return HybridNetwork.of(model_of(n_outputs, n_features, **others), SHAPE, n_features, ["a", "b"])


def rows(n: int, n_features: int = N_FEATURES) -> Floats:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (n, int(np.prod(SHAPE))))
    return np.hstack([rng.standard_normal((n, n_features)), pixels]).astype(np.float32)


def by_hand(X: Floats, n_outputs: int = 2, n_features: int = N_FEATURES) -> NDArray[np.float64]:
    kernel, linear, bias = weights(n_outputs, n_features)
    pixels = X[:, n_features:].reshape(-1, *SHAPE).astype(np.float64)
    padded = np.pad(pixels, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    maps = np.einsum("ncyxij,kcij->nkyx", windows, kernel)
    joined = np.hstack([np.maximum(maps, 0).mean(axis=(2, 3)), X[:, :n_features]])
    return np.asarray(joined @ linear.T + bias, np.float64)


@pytest.mark.parametrize("n_features", [0, N_FEATURES])
@pytest.mark.parametrize("n_outputs", [1, 2, 5])
def test_columns_are_features_then_planes_and_scores_are_the_networks(
    n_features: int, n_outputs: int
) -> None:
    X = rows(7, n_features)
    found = head_of(n_outputs, n_features).decision_function(X)
    expected = by_hand(X, n_outputs, n_features)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected[:, 0] if n_outputs == 1 else expected, rtol=1e-4, atol=1e-4)


def test_a_regression_predicts_its_one_score() -> None:
    head = HybridRegressionNetwork.of(model_of(1), SHAPE, N_FEATURES, [])
    X = rows(5)
    np.testing.assert_array_equal(head.predict(X), head.decision_function(X))
    np.testing.assert_allclose(head.predict(X), by_hand(X, 1)[:, 0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("n", [1, ROWS - 1, ROWS, ROWS + 1, 3 * ROWS + 17])
def test_many_images_have_the_scores_of_each_alone(n: int) -> None:
    head, X = head_of(), rows(n)
    found = head.decision_function(X)
    assert found.shape == (n, 2)
    for k in {0, n // 2, max(0, n - 2), n - 1}:
        np.testing.assert_allclose(found[k], head.decision_function(X[k : k + 1])[0], rtol=1e-5)


def test_no_image_has_no_scores() -> None:
    assert head_of().decision_function(rows(0)).shape == (0, 2)


def test_rows_may_be_views_of_another_type() -> None:
    head, X = head_of(), rows(6)
    np.testing.assert_array_equal(head.decision_function(np.asfortranarray(X)), head.decision_function(X))
    np.testing.assert_array_equal(
        head.decision_function(X[::-2].astype(np.float64)), head.decision_function(X[::-2].copy())
    )


@pytest.mark.parametrize("bad", [rows(3)[:, 1:], rows(3)[0], rows(3)[None]])
def test_rows_of_another_width_are_refused(bad: Floats) -> None:
    expected = f"X has shape {bad.shape}, expected (n, 94)"
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        head_of().decision_function(bad)


def test_before_it_has_a_network_there_are_no_scores() -> None:
    with pytest.raises(NotFittedError, match="this HybridNetwork is not fitted yet"):
        HybridNetwork().decision_function(rows(1))
    with pytest.raises(NotFittedError, match="this HybridNetwork is not fitted yet"):
        HybridNetwork().n_parameters  # noqa: B018


def test_parameters_are_counted_without_the_axes_of_operators() -> None:
    assert head_of().n_parameters == 8 * 27 + 2 * 12 + 2


# Threads.


@pytest.fixture
def two_threads() -> Any:
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    yield
    cv2.setNumThreads(before)


@pytest.mark.parametrize("allowed", [1, 2, 3])
def test_as_many_threads_work_as_opencv_may_have(
    two_threads: Any, monkeypatch: pytest.MonkeyPatch, allowed: int
) -> None:
    cv2.setNumThreads(allowed)
    head, X = head_of(), rows(8 * ROWS)
    expected = head.decision_function(X)
    asked, scores = [], head._scores
    used: set[int] = set()

    def pool_of(n: int) -> Any:
        asked.append(n)
        return ThreadPoolExecutor(n)

    def noted(part: Floats) -> Floats:
        used.add(threading.get_ident())
        return scores(part)

    monkeypatch.setattr(hybrid, "ThreadPoolExecutor", pool_of)
    monkeypatch.setattr(head, "_scores", noted)
    np.testing.assert_array_equal(head.decision_function(X), expected)
    assert asked == [allowed]
    assert len(used) <= allowed


def test_a_session_itself_has_one_thread() -> None:
    options = make_session(model_of()).get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)


# What is refused.


def external(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def custom(model: Any) -> None:
    model.graph.node[1].domain = "com.example"
    model.opset_import.add(domain="com.example", version=1)


def unknown(model: Any) -> None:
    model.graph.node[1].op_type = "Loop"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (external, r"^network: .*'kernel', is in an external file"),
        (custom, r"^network: .*com\.example"),
        (unknown, r"^network: .*Loop"),
    ],
)
def test_networks_that_are_not_plain_are_refused(change: Callable[[Any], None], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        head_of(change=change)


@pytest.mark.parametrize("data", [b"", b"no network", model_of()[:-40]])
def test_what_is_no_whole_network_is_refused(data: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"^network: "):
        HybridNetwork.of(data, SHAPE, N_FEATURES, [0, 1])


@pytest.mark.parametrize(
    ("names", "n_features"),
    [
        (("image", "features", "scores"), N_FEATURES),
        (("pixels", "extras", "scores"), N_FEATURES),
        (("pixels", "features", "logits"), N_FEATURES),
        (("image", "features", "scores"), 0),
    ],
)
def test_other_inputs_and_outputs_are_refused(names: tuple[str, str, str], n_features: int) -> None:
    inputs = [names[0], names[1]] if n_features else [names[0]]
    wanted = ["pixels", "features"] if n_features else ["pixels"]
    expected = (
        f"the network has inputs {inputs} and outputs {[names[2]]}, expected {wanted} and ['scores']: it was not "
        "made by classic-cv; fit the model again"
    )
    with pytest.raises(ArtifactError, match=f"^{re.escape(expected)}$"):
        head_of(n_features=n_features, names=names)


def test_features_that_the_network_does_not_take_are_refused() -> None:
    with pytest.raises(ArtifactError, match=r"inputs \['pixels', 'features'\] .* expected \['pixels'\] and"):
        HybridNetwork.of(model_of(), SHAPE, 0, [0, 1])


@pytest.mark.parametrize(("shape", "n_features"), [((3, 5, 6), 4), ((1, 6, 5), 4), (SHAPE, 5)])
def test_inputs_of_another_size_are_refused(shape: tuple[int, int, int], n_features: int) -> None:
    expected = (
        f"the network's inputs have the shapes [[3, 6, 5], [4]] per image, expected {[list(shape), [n_features]]}: "
        "the model file was changed; fit the model again"
    )
    with pytest.raises(ArtifactError, match=f"^{re.escape(expected)}$"):
        HybridNetwork.of(model_of(), shape, n_features, [0, 1])


def test_a_network_that_cannot_run_is_refused() -> None:
    def mismatched(model: Any) -> None:
        model.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.zeros((2, 5), np.float32), "linear"))

    with pytest.raises(ArtifactError, match=r"^onnxruntime cannot run the network: "):
        head_of(change=mismatched)


def test_without_onnxruntime_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    head = head_of()
    kept = pickle.dumps(head)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    expected = (
        "this model holds a network, which onnxruntime runs, and that is not installed: "
        "pip install 'classic-cv[onnx]'"
    )
    for load in (head_of, lambda: pickle.loads(kept), lambda: HybridNetwork().load_state(head.state())):
        with pytest.raises(MissingExtraError, match=f"^{re.escape(expected)}$"):
            load()


# What is kept.


def test_its_state_makes_a_twin() -> None:
    head, X = head_of(), rows(5)
    twin = HybridNetwork().load_state({name: array.copy() for name, array in head.state().items()})
    np.testing.assert_array_equal(twin.decision_function(X), head.decision_function(X))
    assert twin.classes_.tolist() == ["a", "b"]
    assert twin.n_features_ == N_FEATURES


def test_it_goes_through_pickle_and_joblib(tmp_path: Path) -> None:
    head, X = head_of(), rows(5)
    joblib.dump(head, tmp_path / "head.joblib")
    for twin in (pickle.loads(pickle.dumps(head)), joblib.load(tmp_path / "head.joblib")):
        assert type(twin) is HybridNetwork
        np.testing.assert_array_equal(twin.decision_function(X), head.decision_function(X))
        assert twin.state().keys() == head.state().keys()


def test_other_processes_and_threads_can_use_it() -> None:
    head, X = head_of(), rows(3 * ROWS)
    expected = head.decision_function(X)
    found = joblib.Parallel(n_jobs=4, prefer="threads")(
        joblib.delayed(head.decision_function)(X) for _ in range(8)
    )
    for scores in found:
        np.testing.assert_array_equal(scores, expected)


def test_a_clone_is_one_that_is_not_fitted() -> None:
    copy = clone(head_of())
    assert type(copy) is HybridNetwork
    assert copy.get_params() == {}
    assert not copy.__sklearn_is_fitted__()
    assert pickle.loads(pickle.dumps(copy)).get_params() == {}
