"""Arrays in 16 bits with a power of two per row: how close, what is exact, what stays."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import msgspec
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from classic_cv import artifact
from classic_cv.errors import NotFittedError
from classic_cv.estimator import Estimator
from classic_cv.float16 import CHUNK_VALUES, from_float16, rounded, to_float16
from classic_cv.heads.fitting import TrainingSet, fit_head
from classic_cv.heads.kernel_map import Nystroem, inverse_root, self_kernel
from classic_cv.heads.rbf_svm import RBFSVM
from classic_cv.heads.scaler import fold_scaler, standardize
from classic_cv.heads.svm import LinearSVM
from classic_cv.heads.svr import RBFSVR, LinearSVR
from classic_cv.model import Model, load
from classic_cv.recipe import LinearSVMSettings, LinearSVRSettings, RBFSVMSettings, RBFSVRSettings

Floats = NDArray[np.float32]

ANY = arrays.arrays(
    np.float32,
    arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=6),
    elements=st.floats(width=32, allow_nan=True, allow_infinity=True, allow_subnormal=True),
)


def bits(array: Floats) -> NDArray[np.uint32]:
    return array.view(np.uint32)


@settings(max_examples=300, deadline=None)
@given(ANY)
def test_every_value_is_within_its_bound_and_rounding_again_changes_nothing(array: Floats) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values, exponents = to_float16(array)
        back = from_float16(values, exponents)
    assert [str(one.dtype) for one in (values, exponents, back)] == ["float16", "int16", "float32"]
    assert (values.shape, exponents.shape, back.shape) == (array.shape, array.shape[:-1], array.shape)
    finite = np.isfinite(array)
    np.testing.assert_array_equal(back[~finite], array[~finite])
    exact, found = array.astype(np.float64), back.astype(np.float64)
    largest = np.max(np.abs(exact), axis=-1, initial=0, where=finite, keepdims=True)
    with np.errstate(invalid="ignore"):
        error = np.abs(found - exact)
    bound = np.where(np.abs(exact) >= largest * 2.0**-29, np.abs(exact) * 2.0**-11, largest * 2.0**-40)
    assert (error <= bound)[finite].all()
    np.testing.assert_array_equal(np.signbit(back[finite]), np.signbit(array[finite]))
    again = to_float16(back)
    np.testing.assert_array_equal(again[0].view(np.uint16)[finite], values.view(np.uint16)[finite])
    np.testing.assert_array_equal(again[1], exponents)
    np.testing.assert_array_equal(bits(rounded(back))[finite], bits(back)[finite])


def test_known_values() -> None:
    rows = np.array([[1, -0.5, 1 + 2**-10, 1 + 2**-12], [0, -0.0, 0, 0], [3e38, 1e30, 1, -3e38]], np.float32)
    values, exponents = to_float16(rows)
    # 1 is 2^15 times 2^-15, and so on; zeros need no exponent.
    assert exponents.tolist() == [-15, -16, 128 - 16]
    assert values[0].tolist() == [32768, -16384, 32768 * (1 + 2**-10), 32768]
    back = from_float16(values, exponents)
    assert back[0].tolist() == [1, -0.5, 1 + 2**-10, 1]
    assert np.signbit(back[1]).tolist() == [False, True, False, False]
    np.testing.assert_allclose(back[2, [0, 1, 3]], rows[2, [0, 1, 3]], rtol=2**-11)
    assert back[2, 2] == 0


@pytest.mark.parametrize("power", [-149, -126, 0, 127])
def test_the_ends_of_float32(power: int) -> None:
    """The smallest number, the smallest normal one, and the largest, which must not become infinite."""
    number = np.float32(2.0**power)
    below = np.nextafter(np.float32(2.0) ** np.float32(power), np.float32(0))
    top = np.finfo(np.float32).max
    for value in (number, -number, below, top):
        back = rounded(np.array([value], np.float32))
        assert np.isfinite(back).all()
        assert abs(float(back[0]) - float(value)) <= abs(float(value)) * 2**-11
    assert rounded(np.array([number], np.float32))[0] == number


def test_values_not_finite_do_not_disturb_their_row() -> None:
    row = np.array([np.nan, np.inf, -np.inf, 0.1, 1e-7], np.float32)
    back = rounded(row)
    np.testing.assert_array_equal(back[:3], row[:3])
    np.testing.assert_array_equal(back[3:], rounded(row[3:]))


def test_rows_far_apart_keep_their_precision_where_plain_float16_does_not() -> None:
    rng = np.random.default_rng(0)
    rows = (rng.standard_normal((5, 100)) * 10.0 ** np.array([[-20], [-6], [0], [6], [20]])).astype(
        np.float32
    )
    np.testing.assert_allclose(rounded(rows), rows, rtol=2**-11)
    with np.errstate(over="ignore"):
        assert not np.allclose(rows.astype(np.float16)[[0, 1, 3, 4]], rows[[0, 1, 3, 4]], rtol=2**-11, atol=0)


@pytest.mark.parametrize("width", [1, CHUNK_VALUES // 3, CHUNK_VALUES + 1])
def test_chunks_do_not_show(width: int) -> None:
    rows = np.random.default_rng(width).standard_normal((5, width)).astype(np.float32)
    back = rounded(rows)
    np.testing.assert_array_equal(back, np.stack([rounded(row) for row in rows]))


def test_exponents_that_do_not_fit_are_refused() -> None:
    values, exponents = to_float16(np.ones((2, 3), np.float32))
    with pytest.raises(
        ValueError, match=r"int16 of shape \(1,\), expected integers of shape \(2,\): one per row"
    ):
        from_float16(values, exponents[:1])
    with pytest.raises(ValueError, match="exponents are float32"):
        from_float16(values, exponents.astype(np.float32))


# Estimators.


def sample(n: int = 60, d: int = 12, seed: int = 0) -> tuple[Floats, NDArray[np.intp]]:
    """Three classes in columns whose sizes span ten decades."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    X = rng.standard_normal((n, d)) + 2 * np.eye(3, d)[y]
    return ((X + 1) * 10.0 ** np.linspace(-5, 5, d)).astype(np.float32), y


def fitted_heads() -> list[Estimator]:
    X, y = sample()
    standardize(X)
    return [
        LinearSVM().fit(X, y),
        LinearSVM().fit(X[y < 2], y[y < 2]),
        LinearSVR().fit(X, y),
        RBFSVM(1.0, 0.1).fit(X, y),
        RBFSVR(1.0, 0.1).fit(X, y),
        RBFSVR(1.0, 0.1, 100.0).fit(X, y),  # has no support vectors
        Nystroem(10, 0.1, precision="float16").fit(X),
    ]


@pytest.mark.parametrize("head", fitted_heads(), ids=lambda head: type(head).__name__)
def test_a_rounded_head_is_kept_in_16_bits_bit_for_bit(head: Estimator) -> None:
    head = copy.deepcopy(head)
    before = {name: np.array(getattr(head, name)) for name in head.learned}
    assert head.round_to_float16() is head
    state = head.state()
    for name in head.large:
        assert state[name].dtype == np.float16
        assert state[f"{name}exponent_"].dtype == np.int16
        now = getattr(head, name)
        assert now.dtype == np.float32
        np.testing.assert_array_equal(now, rounded(before[name]))
    assert set(state) == {*head.learned, *(f"{name}exponent_" for name in head.large)}
    loaded = type(head)().load_state(state)
    for name in head.learned:
        ours, theirs = np.asarray(getattr(head, name)), np.asarray(getattr(loaded, name))
        assert (ours.dtype, ours.shape, ours.tobytes()) == (theirs.dtype, theirs.shape, theirs.tobytes())
    # What was loaded, copied or pickled is kept in the same way.
    for other in (loaded, copy.deepcopy(head), pickle.loads(pickle.dumps(head))):
        again = other.state()
        assert {name: array.tobytes() for name, array in again.items()} == {
            name: array.tobytes() for name, array in state.items()
        }


def test_what_would_lose_something_is_kept_in_32_bits() -> None:
    X, y = sample()
    standardize(X)
    head = LinearSVM().fit(X, y).round_to_float16()
    head.coef_[0, 0] = 0
    assert head.state()["coef_"].dtype == np.float16
    head.coef_[0, 0] = np.float32(0.1)
    assert head.state()["coef_"].dtype == np.float32
    assert "coef_exponent_" not in head.state()
    head.fit(X, y, np.linspace(1, 2, len(y)))
    np.testing.assert_array_equal(head.state()["coef_"], head.coef_)


def test_nothing_is_rounded_unless_asked_for() -> None:
    X, y = sample()
    standardize(X)
    state = LinearSVM().fit(X, y).state()
    assert state["coef_"].dtype == np.float32
    with pytest.raises(NotFittedError, match="this LinearSVM is not fitted yet"):
        LinearSVM().round_to_float16()


def test_nystroem_is_computed_from_the_rounded_landmarks() -> None:
    X, _ = sample()
    standardize(X)
    full, half = Nystroem(10, 0.1).fit(X), Nystroem(10, 0.1, precision="float16").fit(X)
    np.testing.assert_array_equal(half.landmarks_, rounded(full.landmarks_))
    np.testing.assert_array_equal(
        half.normalization_, rounded(inverse_root(self_kernel(half.landmarks_, 0.1)))
    )
    np.testing.assert_allclose(half.transform(X), full.transform(X), atol=0.01)


def test_folding_rounds_deviations_from_the_mean_and_not_the_mean() -> None:
    """Columns whose mean is a thousand times their spread: rounding weights must not move the scores by the mean."""
    rng = np.random.default_rng(0)
    raw = (1000 + rng.standard_normal((200, 50))).astype(np.float32)
    X = raw.copy()
    mean, scale = standardize(X)
    coef = rng.standard_normal((3, 50)).astype(np.float32)
    folded, shifted = fold_scaler(coef, np.ones(3, np.float32), mean, scale, half=True)
    np.testing.assert_array_equal(folded, rounded(folded))
    scores = raw.astype(np.float64) @ folded.T.astype(np.float64) + shifted
    expected = X.astype(np.float64) @ coef.T.astype(np.float64) + 1
    # 50 weights, each off by up to 2^-11 of itself; float32 holds the intercept of 1e5 to 1e-2.
    assert np.abs(scores - expected).max() < 0.03 < 1000 * np.abs(coef).max() * 2**-11


# The fit and the model file.

CLASSIFIERS = [
    LinearSVMSettings(C=1.0),
    LinearSVMSettings(C=1.0, kernel_map="chi2"),
    LinearSVMSettings(C=1.0, gamma=0.3, kernel_map="rbf", n_components=20),
    RBFSVMSettings(C=1.0, gamma=0.3),
    LinearSVRSettings(C=1.0, epsilon=0.1),
    RBFSVRSettings(C=1.0, gamma=0.3, epsilon=0.1),
]


@pytest.mark.parametrize("head", CLASSIFIERS, ids=lambda head: type(head).__name__)
def test_both_precisions_give_nearly_the_same_numbers(head: Any) -> None:
    X, y = sample(150)
    numbers = isinstance(head, LinearSVRSettings | RBFSVRSettings)
    found, sizes = [], []
    for precision in ("float16", "float32"):
        task: Any = "regression" if numbers else "classification"
        training = TrainingSet(X.copy(), y.astype(np.float64) if numbers else y, None, (4, 8), task)
        stack = fit_head(msgspec.structs.replace(head, precision=precision), training)
        mapped: Any = X
        for step in stack.maps:
            mapped = step.transform(mapped)  # type: ignore[attr-defined]
        kept: list[Any] = [*stack.maps, stack.head]
        found.append(kept[-1].predict(mapped) if numbers else kept[-1].decision_function(mapped))
        sizes.append([array.dtype for part in kept for name in part.large for array in [part.state()[name]]])
    assert set(sizes[0]) == {np.dtype(np.float16)}
    assert set(sizes[1]) == {np.dtype(np.float32)}
    if isinstance(head, RBFSVMSettings):
        # Duels that are nearly even may turn: few of them.
        assert np.mean(np.abs(found[0] - found[1]) > 0.01) < 0.01
    else:
        assert np.abs(found[0] - found[1]).max() < 0.01 * np.std(found[1])


def test_a_file_in_32_bits_is_read_and_written_as_it_is(model: Model, tmp_path: Any) -> None:
    """What files before format 3 have, and what ``precision`` float32 gives."""
    tensors = safetensors.numpy.load(model.to_bytes())
    assert tensors["head.coef_"].dtype == np.float16
    exponents = tensors.pop("head.coef_exponent_")
    tensors["head.coef_"] = from_float16(tensors["head.coef_"], exponents)
    path = tmp_path / "model.safetensors"
    path.write_bytes(artifact.to_bytes(model.metadata, tensors))
    loaded = load(path)
    assert isinstance(loaded.head, LinearSVM)
    assert isinstance(model.head, LinearSVM)
    np.testing.assert_array_equal(loaded.head.coef_, model.head.coef_)
    assert loaded.to_bytes() == path.read_bytes()
    # The halves are half as large, but for a few bytes.
    saved = len(path.read_bytes()) - len(model.to_bytes())
    assert model.head.coef_.size * 2 - 200 < saved < model.head.coef_.size * 2
