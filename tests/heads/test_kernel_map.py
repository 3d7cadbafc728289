"""Kernel maps: known values from scikit-learn, exact kernels, odd extensions, limits, and NumPy alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import kernel_approximation
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.metrics.pairwise import rbf_kernel as peer_rbf_kernel
from sklearn.pipeline import make_pipeline

from classic_cv.errors import NotFittedError, ParameterError
from classic_cv.heads import kernel_map
from classic_cv.heads.kernel_map import (
    AdditiveChi2,
    Hellinger,
    KernelMap,
    Nystroem,
    rbf_kernel,
    squared_distances,
)
from classic_cv.heads.svm import LinearSVM

Floats = NDArray[np.float32]

MAPS = [Hellinger(), AdditiveChi2(), AdditiveChi2(5), Nystroem(20, 0.1)]


def data(n: int = 60, d: int = 7, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def digits(n: int = 300) -> tuple[Floats, NDArray[Any]]:
    X, y = load_digits(return_X_y=True)
    return (X[:n] / 16).astype(np.float32), y[:n]


@pytest.mark.parametrize("gamma", [0.01, 1.0, 30.0])
def test_rbf_kernel_is_scikit_learns(gamma: float) -> None:
    X, Z = data(50), data(30, seed=1)
    ours = rbf_kernel(X, Z, gamma)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, peer_rbf_kernel(X.astype(float), Z.astype(float), gamma), atol=2e-5)
    np.testing.assert_array_equal(ours, rbf_kernel(X, Z, gamma, kernel_map.squared_norms(Z)))


def test_rbf_kernel_in_chunks_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    X, Z = data(50), data(30, seed=1)
    whole = rbf_kernel(X, Z, 0.3)
    monkeypatch.setattr(kernel_map, "CHUNK_VALUES", 100)
    np.testing.assert_allclose(rbf_kernel(X, Z, 0.3), whole, atol=1e-6)


def test_distances_are_never_negative_and_shapes_must_match() -> None:
    X = data() * 100 + 1000
    assert (squared_distances(X, X) >= 0).all()
    assert squared_distances(X, X[:0]).shape == (60, 0)
    with pytest.raises(
        ValueError, match=r"X has shape \(60, 7\) and Z \(60, 6\): expected \(n, d\) and \(m, d\)"
    ):
        squared_distances(X, X[:, :6])
    with pytest.raises(ValueError, match=r"X has shape \(7,\)"):
        rbf_kernel(X[0], X, 1.0)


def test_hellinger_is_the_bhattacharyya_kernel_of_histograms() -> None:
    X = np.abs(data())
    mapped = Hellinger().fit_transform(X)
    np.testing.assert_allclose(mapped @ mapped.T, np.sqrt(X[:, None] * X[None]).sum(axis=2), rtol=1e-5)
    np.testing.assert_array_equal(Hellinger().fit_transform(np.array([[-4, 0, 9]])), [[-2, 0, 3]])


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_additive_chi2_is_scikit_learns_with_its_columns_side_by_side(steps: int) -> None:
    X = np.abs(data())
    X[:, 2] = 0
    X[::3, 1] = 0
    interval = None if steps < 4 else kernel_map.SAMPLE_INTERVALS[steps]
    peer = kernel_approximation.AdditiveChi2Sampler(sample_steps=steps, sample_interval=interval)
    blocks = peer.fit_transform(X.astype(float)).reshape(60, 2 * steps - 1, 7)
    ours = AdditiveChi2(steps).fit_transform(X)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, blocks.transpose(0, 2, 1).reshape(60, -1), atol=1e-5)


@pytest.mark.parametrize(("steps", "error"), [(1, 0.61), (2, 0.105), (3, 0.051), (4, 0.016), (5, 0.009)])
def test_more_samples_are_closer_to_the_kernel(steps: int, error: float) -> None:
    x = np.geomspace(1, 100, 60, dtype=np.float32)[:, None] / 100
    mapped = AdditiveChi2(steps).fit_transform(x)
    exact = 2 * x * x.T / (x + x.T)
    # In units of the geometric mean, where the kernel depends on the ratio alone.
    off = np.abs(mapped @ mapped.T - exact) / np.sqrt(x @ x.T)
    assert off.max() < error


@pytest.mark.parametrize("kernel", [Hellinger(), AdditiveChi2(3)])
def test_negative_values_get_the_odd_extension(kernel: KernelMap) -> None:
    X = data()
    np.testing.assert_array_equal(kernel.fit_transform(-X), -kernel.fit_transform(X))


@pytest.mark.parametrize("kernel", [Hellinger(), AdditiveChi2(1), AdditiveChi2(3)])
def test_output_columns_belong_to_their_input_column(kernel: Hellinger | AdditiveChi2) -> None:
    X = data()
    kernel.fit(X)
    copies = kernel.n_copies()
    before = kernel.transform(X)
    X[:, 4] += 1
    changed = (kernel.transform(X) != before).any(axis=0)
    np.testing.assert_array_equal(np.unique(np.flatnonzero(changed) // copies), [4])
    assert before.shape == (60, 7 * copies)


def test_extreme_values_stay_finite() -> None:
    X = np.array([[0.0, -0.0, 1e-38, 1e-45, 1e38, -1e38]], np.float32)
    for kernel in (Hellinger(), AdditiveChi2(5)):
        mapped = kernel.fit_transform(X)
        assert np.isfinite(mapped).all()
        assert (mapped[0, : 2 * (mapped.shape[1] // 6)] == 0).all()


def test_additive_maps_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    X = data()
    whole = AdditiveChi2().fit_transform(X)
    monkeypatch.setattr(kernel_map, "CHUNK_VALUES", 50)
    np.testing.assert_array_equal(AdditiveChi2().fit_transform(X), whole)


def test_nystroem_with_the_same_landmarks_is_scikit_learns() -> None:
    X, _ = digits()
    ours = Nystroem(50, gamma=0.2, seed=3).fit(X)
    peer = kernel_approximation.Nystroem(kernel="rbf", gamma=0.2, n_components=50)
    peer.fit(ours.landmarks_.astype(float))
    mapped, expected = ours.transform(X), peer.transform(X.astype(float))
    assert mapped.dtype == np.float32
    np.testing.assert_allclose(mapped @ mapped.T, expected @ expected.T, atol=1e-4)


@pytest.mark.parametrize("gamma", [0.05, 0.5, 5.0])
def test_nystroem_with_all_rows_is_exact(gamma: float) -> None:
    X, _ = digits()
    mapped = Nystroem(1000, gamma).fit_transform(X)
    assert mapped.shape == (300, 300)
    np.testing.assert_allclose(mapped @ mapped.T, peer_rbf_kernel(X.astype(float), gamma=gamma), atol=1e-4)


def test_landmarks_are_a_seeded_sample_in_the_order_of_the_rows() -> None:
    X = np.arange(100, dtype=np.float32)[:, None]
    first = Nystroem(10, 0.1).fit(X)
    assert first.landmarks_.shape == (10, 1)
    assert (np.diff(first.landmarks_[:, 0]) > 0).all()
    np.testing.assert_array_equal(first.normalization_, Nystroem(10, 0.1).fit(X).normalization_)
    assert (Nystroem(10, 0.1, seed=1).fit(X).landmarks_ != first.landmarks_).any()
    np.testing.assert_array_equal(Nystroem(100, 0.1).fit(X).landmarks_, X)


def test_nystroem_of_one_landmark_of_repeats_and_of_constant_columns() -> None:
    X = data()
    one = Nystroem(1, 0.1).fit(X)
    np.testing.assert_allclose(one.transform(X), rbf_kernel(X, one.landmarks_, 0.1), atol=1e-6)
    repeated = Nystroem(200, 0.1).fit(np.vstack([X, X]))
    mapped = repeated.transform(X)
    assert np.isfinite(mapped).all()
    np.testing.assert_allclose(mapped @ mapped.T, rbf_kernel(X, X, 0.1), atol=1e-4)
    constant = Nystroem(5, 0.1).fit_transform(np.ones((8, 3)))
    np.testing.assert_allclose(constant @ constant.T, np.ones((8, 8)), atol=1e-5)


def test_a_single_row_is_mapped_as_in_a_batch_and_new_landmarks_are_noticed() -> None:
    X, _ = digits()
    kernel = Nystroem(40, 0.2).fit(X)
    batch = kernel.transform(X[:5])
    np.testing.assert_allclose(kernel.transform(X[3:4])[0], batch[3], atol=1e-5)
    refitted = kernel.fit(X[100:]).transform(X[:5])
    np.testing.assert_array_equal(refitted, Nystroem(40, 0.2).fit(X[100:]).transform(X[:5]))


@pytest.mark.parametrize("kernel", MAPS, ids=repr)
def test_contract(kernel: KernelMap) -> None:
    X = data()
    before = X.copy()
    fitted = clone(kernel).fit(X)
    mapped = fitted.transform(X)
    np.testing.assert_array_equal(X, before)
    assert mapped.dtype == np.float32
    assert mapped.shape == (60, fitted.n_features_out_)
    loaded = clone(kernel).load_state(fitted.state())
    np.testing.assert_array_equal(loaded.transform(X), mapped)
    np.testing.assert_array_equal(clone(kernel).fit_transform(X), mapped)
    assert loaded.n_features_out_ == fitted.n_features_out_
    with pytest.raises(ValueError, match=r"X has 6 features, but .* is expecting 7 features as input"):
        fitted.transform(X[:, :6])
    with pytest.raises(NotFittedError, match="is not fitted yet: call fit first"):
        clone(kernel).transform(X)
    with pytest.raises(NotFittedError, match="is not fitted yet"):
        _ = clone(kernel).n_features_out_


def test_in_a_pipeline() -> None:
    X, y = digits()
    linear = LinearSVM(C=1.0).fit(X[:200], y[:200]).score(X[200:], y[200:])
    for kernel in (Nystroem(150, 0.1), AdditiveChi2(), Hellinger()):
        assert (
            make_pipeline(kernel, LinearSVM()).fit(X[:200], y[:200]).score(X[200:], y[200:]) > linear - 0.04
        )


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (AdditiveChi2(0), r"AdditiveChi2\(sample_steps=0\): expected `int` >= 1"),
        (AdditiveChi2(6), r"AdditiveChi2\(sample_steps=6\): expected `int` <= 5"),
        (Nystroem(0), r"Nystroem\(n_components=0\): expected `int` >= 1"),
        (Nystroem(gamma=0), r"Nystroem\(gamma=0\): expected `float` > 0"),
        (Nystroem(seed="a"), r"Nystroem\(seed='a'\)"),  # type: ignore[arg-type]
    ],
)
def test_bad_parameters_are_named(kernel: KernelMap, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        kernel.fit(data())


def test_bad_data_are_named() -> None:
    X = data()
    X[3, 1] = np.nan
    for kernel in MAPS:
        with pytest.raises(ValueError, match=r"NaN or infinity.*the first in row 3, column 1"):
            clone(kernel).fit(X)


def test_mapping_imports_numpy_only(tmp_path: Path) -> None:
    X = data()
    fitted = Nystroem(20, 0.1).fit(X)
    arrays: dict[str, Any] = {"X": X, "mapped": fitted.transform(X), **fitted.state()}
    np.savez(tmp_path / "state.npz", **arrays)
    code = (
        "import sys, numpy as np; from classic_cv.heads.kernel_map import AdditiveChi2, Hellinger, Nystroem; "
        "state = dict(np.load(sys.argv[1])); X = state['X']; "
        "assert (Nystroem(20, 0.1).load_state(state).transform(X) == state['mapped']).all(); "
        "AdditiveChi2().fit_transform(X); Hellinger().fit_transform(X); Nystroem(5).fit_transform(X); "
        "bad = {'sklearn', 'scipy', 'skimage', 'torch'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "state.npz")], check=True)
