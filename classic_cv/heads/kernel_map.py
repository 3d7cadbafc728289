"""Explicit kernel feature maps: a linear model on the mapped features is a kernel machine on the raw ones.

Fitting and mapping are NumPy alone. ``rbf_kernel`` is the one RBF kernel of the package: what fits and what
predicts see the same values.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import numpy as np
from msgspec import Meta
from numpy.typing import ArrayLike, NDArray

from classic_cv.estimator import Estimator
from classic_cv.float16 import rounded
from classic_cv.heads.svm import check_features

Floats = NDArray[np.float32]

CHUNK_VALUES = 2**22
"""Values of a result that are worked on at a time: temporary arrays stay small and in the cache."""

SAMPLE_INTERVALS = {1: 0.8, 2: 0.5, 3: 0.4, 4: 0.4, 5: 0.35}
"""Sampling interval of the chi2 spectrum by sample_steps. 1 to 3 are scikit-learn's, from figure 2 of the paper;
4 and 5 have the smallest worst error of the kernel for values whose ratio is up to 150."""

MIN_EIGENVALUE = 1e-6
"""Directions of the landmarks' kernel below this, or below 1e-8 of its largest eigenvalue, are left out: the
reciprocal root would raise float32's rounding to the size of a feature."""


def squared_distances(X: ArrayLike, Z: ArrayLike, z_norms: NDArray[np.float64] | None = None) -> Floats:
    """Squared Euclidean distances between the rows of X (n, d) and Z (m, d): float32 (n, m), never negative.

    From norms and one matrix product: the error is about 1e-7 of the rows' squared norms, so features should
    be standardised, or at least not far from 0 compared with their spread.

    Args:
        X, Z: copied only if they are not C-contiguous float32 already.
        z_norms: ``squared_norms(Z)`` where they are known.

    Raises:
        ValueError: X or Z is not two-dimensional, or they differ in the number of columns.
    """
    left = np.ascontiguousarray(X, dtype=np.float32)
    right = np.ascontiguousarray(Z, dtype=np.float32)
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[1]:
        raise ValueError(
            f"X has shape {left.shape} and Z {right.shape}: expected (n, d) and (m, d) with the same d"
        )
    columns = (squared_norms(right) if z_norms is None else z_norms).astype(np.float32)
    rows = squared_norms(left).astype(np.float32)
    out = np.empty((len(left), len(right)), np.float32)
    for part in _chunks(*out.shape):
        block = np.matmul(left[part], right.T, out=out[part])
        block *= -2
        block += columns
        block += rows[part, None]
        np.maximum(block, 0, out=block)
    return out


def squared_norms(X: Floats) -> NDArray[np.float64]:
    """Squared lengths of the rows of X (n, d): float64 (n,)."""
    norms: NDArray[np.float64] = np.einsum("ij,ij->i", X, X, dtype=np.float64)
    return norms


def rbf_kernel(
    X: ArrayLike, Z: ArrayLike, gamma: float, z_norms: NDArray[np.float64] | None = None
) -> Floats:
    """``exp(-gamma * |x - z|^2)`` for the rows of X (n, d) and Z (m, d): float32 (n, m), 0 to 1.

    Args:
        X, Z: copied only if they are not C-contiguous float32 already.
        gamma: more than 0, in units of one over a squared distance.
        z_norms: ``squared_norms(Z)`` where they are known, which makes calls with few rows faster.

    Raises:
        ValueError: X or Z is not two-dimensional, or they differ in the number of columns.
    """
    return rbf_in_place(squared_distances(X, Z, z_norms), gamma)


def rbf_in_place(distances: Floats, gamma: float) -> Floats:
    """The RBF kernel from squared distances (n, m), written over them."""
    for part in _chunks(*distances.shape):
        block = distances[part]
        block *= np.float32(-gamma)
        np.exp(block, out=block)
    return distances


def self_distances(X: Floats) -> Floats:
    """Squared distances among the rows of X (n, d): float32 (n, n) with a diagonal of exact zeros."""
    distances = squared_distances(X, X)
    np.fill_diagonal(distances, 0)
    return distances


class NormCache:
    """The squared norms of one array's rows, computed at first use and again when the array is another."""

    def __init__(self) -> None:
        self._of: Floats | None = None
        self._norms: NDArray[np.float64] = np.zeros(0)

    def __call__(self, X: Floats) -> NDArray[np.float64]:
        if self._of is not X:
            self._of, self._norms = X, squared_norms(X)
        return self._norms


class KernelMap(Estimator):
    """A transformer of features: float32 (n, n_features_in_) to float32 (n, n_features_out_)."""

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Learn the map from features X (n_samples, n_features); ``y`` is not looked at.

        Raises:
            ParameterError: a parameter is out of range.
            ValueError: X is not two-dimensional, empty, or not finite.
        """
        self.check_params()
        self._learn(check_features(X))
        return self

    def transform(self, X: ArrayLike) -> Floats:
        """Map features X (n, n_features_in_): float32 (n, n_features_out_).

        Raises:
            NotFittedError: before ``fit``.
            ValueError: X has another number of features, or is not finite.
        """
        self.check_fitted()
        features = check_features(X)
        if features.shape[1] != self._width():
            raise ValueError(
                f"X has {features.shape[1]} features, but {type(self).__name__} is expecting {self._width()} "
                f"features as input: compute them as for fit"
            )
        return self._map(features)

    def fit_transform(self, X: ArrayLike, y: Any = None) -> Floats:
        """``fit(X).transform(X)``."""
        return self.fit(X, y).transform(X)

    @property
    def n_features_out_(self) -> int:
        """Number of columns that ``transform`` returns."""
        raise NotImplementedError

    def _learn(self, X: Floats) -> None:
        raise NotImplementedError

    def _map(self, X: Floats) -> Floats:
        raise NotImplementedError

    def _width(self) -> int:
        raise NotImplementedError

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type="transformer",
            target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(preserves_dtype=["float32"]),
            input_tags=InputTags(),
        )


class AdditiveMap(KernelMap):
    """A map of each value alone: each input column becomes ``n_copies()`` output columns, side by side.

    Output columns ``j * n_copies()`` to ``(j + 1) * n_copies() - 1`` come from input column ``j``, so that a
    contiguous group of columns stays one, ``n_copies()`` times as wide: ``np.repeat(groups, n_copies())``
    are the groups of the output.

    Learned: ``n_features_in_``, an integer.
    """

    learned = ("n_features_in_",)
    n_features_in_: int

    @property
    def n_features_out_(self) -> int:
        """Number of columns that ``transform`` returns."""
        self.check_fitted()
        return self.n_features_in_ * self.n_copies()

    def n_copies(self) -> int:
        """Output columns per input column."""
        raise NotImplementedError

    def _learn(self, X: Floats) -> None:
        self.n_features_in_ = int(X.shape[1])

    def _width(self) -> int:
        return self.n_features_in_


class Hellinger(AdditiveMap):
    """``sign(x) * sqrt(|x|)``: exact for the Hellinger (Bhattacharyya) kernel ``sum sqrt(x * z)`` of histograms.

    Arandjelovic and Zisserman 2012, "Three things everyone should know to improve object retrieval". Negative
    values get the odd extension. One output column per input column.
    """

    def __init__(self) -> None:
        pass

    def n_copies(self) -> int:
        """1."""
        return 1

    def _map(self, X: Floats) -> Floats:
        return hellinger(X)


class AdditiveChi2(AdditiveMap):
    """Approximate map of the additive chi2 kernel ``sum 2 x z / (x + z)`` of histograms.

    Vedaldi and Zisserman 2012, "Efficient additive kernels via explicit feature maps". For values of 0 or more
    the columns are those of scikit-learn's ``AdditiveChi2Sampler`` in another order; negative values get the
    odd extension ``sign(x) * map(|x|)``.

    Args:
        sample_steps: samples of the kernel's spectrum. With 1 to 5 the kernel of two values whose ratio is up to
            100 is off by at most 0.6, 0.10, 0.05, 0.015 and 0.008 times ``sqrt(x z)``.

    Output: ``2 * sample_steps - 1`` columns per input column, side by side: root, cosine 1, sine 1, cosine 2 ...
    """

    def __init__(self, sample_steps: Annotated[int, Meta(ge=1, le=5)] = 2) -> None:
        self.sample_steps = sample_steps

    def n_copies(self) -> int:
        """``2 * sample_steps - 1``."""
        return 2 * self.sample_steps - 1

    def _map(self, X: Floats) -> Floats:
        return additive_chi2(X, self.sample_steps)


def hellinger(X: Floats) -> Floats:
    """``sign(x) * sqrt(|x|)`` of float32 X, of any shape."""
    out = np.abs(X)
    np.sqrt(out, out=out)
    return np.copysign(out, X, out=out)


def additive_chi2(X: Floats, sample_steps: int) -> Floats:
    """The additive chi2 map of float32 X (n, d): float32 (n, d * (2 * sample_steps - 1)), interleaved.

    The columns of a value x >= 0 with the sampling interval L are ``sqrt(x L)`` and, for j from 1,
    ``sqrt(2 x L / cosh(pi j L))`` times the cosine and sine of ``j L log x``.
    """
    n, d = X.shape
    out = np.empty((n, d, 2 * sample_steps - 1), np.float32)
    for part in _chunks(n, d):
        _chi2_columns(X[part], sample_steps, out[part])
    return out.reshape(n, -1)


def _chi2_columns(X: Floats, sample_steps: int, out: Floats) -> None:
    L = SAMPLE_INTERVALS[sample_steps]
    root = hellinger(X)
    # The root is 0 where X is, so any finite logarithm will do there.
    angle = np.log(np.maximum(np.abs(X), np.finfo(np.float32).tiny))
    angle *= np.float32(L)
    np.multiply(root, np.float32(np.sqrt(L)), out=out[:, :, 0])
    for j in range(1, sample_steps):
        scaled = root * np.float32(np.sqrt(2 * L / np.cosh(np.pi * j * L)))
        turned = angle * np.float32(j)
        np.multiply(scaled, np.cos(turned), out=out[:, :, 2 * j - 1])
        np.multiply(scaled, np.sin(turned), out=out[:, :, 2 * j])


class Nystroem(KernelMap):
    """Approximate map of the RBF kernel ``exp(-gamma * |x - z|^2)`` by its values at some training samples.

    Williams and Seeger 2001, "Using the Nyström method to speed up kernel machines": with the landmarks' kernel
    matrix K, ``K(x, landmarks) K^(-1/2)``. Inner products of mapped samples are the kernel projected onto the
    span of the landmarks, and exact for the landmarks themselves. Features should be standardised or of similar
    size.

    Args:
        n_components: landmarks, and output columns; all training samples if there are no more of them. Fitting
            costs n_components^3, mapping a sample n_components * (n_features + n_components).
        gamma: more than 0, in units of one over a squared distance.
        seed: of the choice of landmarks.
        precision: ``float16`` rounds what is learned to 16 bits (``round_to_float16``), the landmarks before the
            rest is computed from them.

    Learned: ``landmarks_`` float32 (m, n_features), training rows in their order; ``normalization_`` float32
    (m, m), symmetric, ``K^(-1/2)``.
    """

    learned = ("landmarks_", "normalization_")
    large = ("landmarks_", "normalization_")
    landmarks_: Floats
    normalization_: Floats

    def __init__(
        self,
        n_components: Annotated[int, Meta(ge=1)] = 1000,
        gamma: Annotated[float, Meta(gt=0)] = 1.0,
        seed: int = 0,
        precision: Literal["float16", "float32"] = "float32",
    ) -> None:
        self.n_components = n_components
        self.gamma = gamma
        self.seed = seed
        self.precision = precision

    @property
    def n_features_in_(self) -> int:
        """Number of features seen in ``fit``."""
        self.check_fitted()
        return int(self.landmarks_.shape[1])

    @property
    def n_features_out_(self) -> int:
        """Number of landmarks."""
        self.check_fitted()
        return len(self.landmarks_)

    def _learn(self, X: Floats) -> None:
        rows = landmark_rows(len(X), self.n_components, self.seed)
        half = self.precision == "float16"
        self.landmarks_ = rounded(X[rows]) if half else np.ascontiguousarray(X[rows])
        self.normalization_ = inverse_root(self_kernel(self.landmarks_, self.gamma))
        self._in_float16 = False
        if half:
            self.round_to_float16()

    def _map(self, X: Floats) -> Floats:
        norms = self.__dict__.setdefault("_norms", NormCache())(self.landmarks_)
        out = np.empty((len(X), len(self.landmarks_)), np.float32)
        for part in _chunks(*out.shape):
            kernel = rbf_kernel(X[part], self.landmarks_, self.gamma, norms)
            np.matmul(kernel, self.normalization_, out=out[part])
        return out

    def _width(self) -> int:
        return int(self.landmarks_.shape[1])


def landmark_rows(n_samples: int, n_components: int, seed: int) -> NDArray[np.intp]:
    """A seeded sample without repeats of at most ``n_components`` row numbers, ascending."""
    if n_samples <= n_components:
        return np.arange(n_samples)
    return np.sort(np.random.default_rng(seed).choice(n_samples, n_components, replace=False))


def self_kernel(X: Floats, gamma: float) -> NDArray[np.float64]:
    """The RBF kernel among the rows of X (m, d) in float64 (m, m), as its inverse root needs it."""
    rows = X.astype(np.float64)
    norms = squared_norms(X)
    distances = norms[:, None] + norms - 2 * (rows @ rows.T)
    np.fill_diagonal(distances, 0)
    kernel: NDArray[np.float64] = np.exp(-gamma * np.maximum(distances, 0))
    return kernel


def inverse_root(K: NDArray[np.float64]) -> Floats:
    """``K^(-1/2)`` of a symmetric K (m, m), float32, without the directions whose eigenvalues are tiny."""
    values, vectors = np.linalg.eigh((K + K.T) / 2)
    kept = values > max(MIN_EIGENVALUE, 1e-8 * float(values[-1]))
    basis = vectors[:, kept]
    root = (basis / np.sqrt(values[kept])) @ basis.T
    return np.ascontiguousarray(root, dtype=np.float32)


def _chunks(n_rows: int, n_columns: int) -> list[slice]:
    step = max(1, CHUNK_VALUES // max(1, n_columns))
    return [slice(start, start + step) for start in range(0, n_rows, step)]
