"""Heads for numeric targets: linear and RBF support vector regression, and the median as the floor.

Targets are standardised inside, so ``C`` and ``epsilon`` mean the same for kilograms and for grams, and the
learned arrays give predictions in the target's own unit, from NumPy alone.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import numpy as np
from msgspec import Meta
from numpy.typing import ArrayLike, NDArray

from classic_cv.errors import ParameterError
from classic_cv.estimator import Estimator
from classic_cv.extraction import Progress
from classic_cv.heads.cross_validation import (
    DEFAULT_MAX_SAMPLES,
    _check_groups,
    _check_path,
    _choose,
    _most_originals,
    _sample_rows,
    assign_folds,
    n_originals,
    rows_with_copies,
)
from classic_cv.heads.kernel_map import Floats, NormCache, rbf_in_place, rbf_kernel, self_distances
from classic_cv.heads.rbf_svm import cache_size, check_rows, check_values, walk
from classic_cv.heads.svm import ConvergenceWarning, check_features
from classic_cv.timing import thread_limit

Reals = NDArray[np.float64]
Mask = NDArray[np.bool_]
Kind = Literal["linear", "rbf"]
HeldOut = Callable[[float, float, float], Reals]
"""Out-of-fold predictions of all rows at (C, gamma, epsilon)."""

CHUNK_VALUES = 2**23
"""Values that are worked on at a time: the float64 copies of rows, and kernels in predicting."""

TOL = 1e-8
"""The linear machine is done when a Newton step promises to lower its objective by at most this share."""

RBF_TOL = 1e-3
"""libsvm's tolerance, scikit-learn's default, in standard deviations of the target."""

MAX_ITER = 100
"""Newton steps after which a ``ConvergenceWarning`` is given; 5 to 15 are usual."""


class Regressor(Estimator):
    """What the regression heads share: checks, R^2 and scikit-learn's tags."""

    @property
    def n_features_in_(self) -> int:
        """Number of features seen in ``fit``."""
        self.check_fitted()
        return self._width()

    def predict(self, X: ArrayLike) -> Reals:
        """Targets of features X (n_samples, n_features): float64 (n_samples,), in the unit of ``fit``'s y.

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
        return self._predict(features)

    def score(self, X: ArrayLike, y: ArrayLike) -> float:
        """R^2 on features X and targets y (n_samples,): 1 is perfect, 0 no better than their mean."""
        predictions = self.predict(X)
        return r2(check_targets(y, len(predictions)), predictions)

    def _width(self) -> int:
        raise NotImplementedError

    def _predict(self, X: Floats) -> Reals:
        raise NotImplementedError

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, RegressorTags, Tags, TargetTags

        return Tags(
            estimator_type="regressor",
            target_tags=TargetTags(required=True),
            regressor_tags=RegressorTags(),
            input_tags=InputTags(),
        )


class LinearSVR(Regressor):
    """Linear support vector regression with squared epsilon-insensitive loss, trained to the optimum.

    With the targets z brought to mean 0 and standard deviation 1 it minimises
    ``0.5 * (|w|^2 + b^2) + C * sum_i max(0, |w . x_i + b - z_i| - epsilon)^2``: the objective of scikit-learn's
    ``LinearSVR(loss="squared_epsilon_insensitive")`` (Ho and Lin 2012, "Large-scale linear support vector
    regression"). Nothing is random. Features should be standardised or of similar size.

    Args:
        C: weight of the losses, more than 0. Larger fits the training data more closely.
        epsilon: errors up to this are free, in standard deviations of the training targets.

    Learned: ``coef_`` float32 (n_features,) and ``intercept_`` float64 (1,), both in the unit of the targets.
    After ``fit`` also ``n_iter_``, the Newton steps taken.
    """

    learned = ("coef_", "intercept_")
    large = ("coef_",)
    coef_: Floats
    intercept_: Reals
    n_iter_: int

    def __init__(
        self,
        C: Annotated[float, Meta(gt=0)] = 1.0,
        epsilon: Annotated[float, Meta(ge=0)] = 0.1,
    ) -> None:
        self.C = C
        self.epsilon = epsilon

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train on features X (n_samples, n_features) and targets y (n_samples,).

        Raises:
            ParameterError: a parameter is out of range.
            ValueError: X or y cannot be used; the message says why.
        """
        self.check_params()
        features = check_features(X)
        targets = check_targets(y, len(features))
        mean, scale = target_scale(targets)
        solver = SquaredInsensitiveSolver(features)
        solution = solver.solve((targets - mean) / scale, self.C, self.epsilon)
        weights = solver.feature_weights(solution.w)
        self.coef_ = (scale * weights[:-1]).astype(np.float32)
        self.intercept_ = np.array([mean + scale * weights[-1]])
        self.n_iter_ = solution.n_iter
        if not solution.converged:
            warnings.warn(_not_converged(self.C), ConvergenceWarning, stacklevel=2)
        return self

    def _width(self) -> int:
        return len(self.coef_)

    def _predict(self, X: Floats) -> Reals:
        # The intercept alone is float64: a large common part of the targets takes nothing from the rest.
        return (X @ self.coef_).astype(np.float64) + self.intercept_


class RBFSVR(Regressor):
    """Support vector regression with the kernel ``exp(-gamma * |x - z|^2)`` and epsilon-insensitive loss.

    The problem and the solver (libsvm) are those of scikit-learn's ``SVR`` (Drucker et al. 1997, "Support vector
    regression machines"), on targets brought to mean 0 and standard deviation 1. Features should be
    standardised or of similar size.

    Args:
        C: weight of the losses, more than 0. Larger fits the training data more closely.
        gamma: more than 0, in units of one over a squared distance.
        epsilon: errors up to this are free, in standard deviations of the training targets.

    Learned: ``support_vectors_`` float32 (n_SV, n_features), ``dual_coef_`` float32 (n_SV,) and ``intercept_``
    float64 (1,), the last two in the unit of the targets. n_SV is 0 where the mean is within epsilon of all.
    """

    learned = ("support_vectors_", "dual_coef_", "intercept_")
    large = ("support_vectors_",)
    support_vectors_: Floats
    dual_coef_: Floats
    intercept_: Reals

    def __init__(
        self,
        C: Annotated[float, Meta(gt=0)] = 1.0,
        gamma: Annotated[float, Meta(gt=0)] = 1.0,
        epsilon: Annotated[float, Meta(ge=0)] = 0.1,
    ) -> None:
        self.C = C
        self.gamma = gamma
        self.epsilon = epsilon

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train on features X (n_samples, n_features), at most ``rbf_svm.MAX_ROWS`` of them, and targets y.

        Raises:
            ParameterError: a parameter is out of range.
            ValueError: X or y cannot be used, or X has too many rows; the message says why.
        """
        self.check_params()
        features = check_features(X)
        check_rows(len(features))
        targets = check_targets(y, len(features))
        kernel = rbf_in_place(self_distances(features), self.gamma)
        rows, dual_coef, intercept = fit_kernel_svr(kernel, targets, self.C, self.epsilon)
        self.support_vectors_ = np.ascontiguousarray(features[rows])
        self.dual_coef_ = dual_coef.astype(np.float32)
        self.intercept_ = np.array([intercept])
        return self

    def _width(self) -> int:
        return int(self.support_vectors_.shape[1])

    def _predict(self, X: Floats) -> Reals:
        norms = self.__dict__.setdefault("_norms", NormCache())(self.support_vectors_)
        out = np.empty(len(X))
        step = max(1, CHUNK_VALUES // max(1, len(self.support_vectors_)))
        for start in range(0, len(X), step):
            kernel = rbf_kernel(X[start : start + step], self.support_vectors_, self.gamma, norms)
            out[start : start + step] = kernel @ self.dual_coef_
        return out + self.intercept_


class DummyRegressor(Estimator):
    """The floor under every other figure: the median of the training targets, whatever the image.

    Learned: ``median_`` float64 (1,).
    """

    learned = ("median_",)
    median_: Reals

    def __init__(self) -> None:
        pass

    __sklearn_tags__ = Regressor.__sklearn_tags__

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Take the median of the targets ``y`` (n_samples,); ``X`` is not looked at but for its length."""
        self.median_ = np.array([np.median(check_targets(y, len(np.asarray(X))))])
        return self

    def predict(self, X: ArrayLike) -> Reals:
        """The median for every sample: float64 (n_samples,)."""
        self.check_fitted()
        return np.repeat(self.median_, len(np.asarray(X)))


def check_targets(y: ArrayLike, n_samples: int) -> Reals:
    """Numeric targets y as float64 (n_samples,).

    Raises:
        ValueError: not one finite number per sample.
    """
    if y is None:
        raise ValueError("requires y to be passed, but the target y is None: give one number per sample")
    given: NDArray[Any] = np.asarray(y)
    if given.ndim != 1:
        raise ValueError(f"bad input shape {given.shape} for y: expected (n_samples,), one number per sample")
    if len(given) != n_samples:
        raise ValueError(f"X has {n_samples} samples, but y has {len(given)} targets: they must be as many")
    try:
        targets = given.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            f"y holds {given.tolist()[0]!r}, expected numbers: train a classifier for labels"
        ) from None
    usable = np.isfinite(targets)
    if not usable.all():
        raise ValueError(
            f"Input y contains NaN or infinity: {int((~usable).sum())} values, the first for sample "
            f"{int(np.argmin(usable))}; remove these samples"
        )
    return targets


def target_scale(y: Reals) -> tuple[float, float]:
    """Mean and standard deviation of y (n,); a constant y has itself as the mean, exactly, and deviation 1."""
    low, high = float(y.min()), float(y.max())
    if high - low <= 4 * np.finfo(np.float64).eps * max(abs(low), abs(high)):
        return low, 1.0
    # Divided by the largest deviation first: its square may be beyond float64.
    mean = float(y.mean())
    largest = float(np.abs(y - mean).max())
    return mean, largest * float(np.sqrt(np.mean(((y - mean) / largest) ** 2)))


def r2(y: Reals, predictions: Reals) -> float:
    """Coefficient of determination; for a constant y 1 if the predictions are exact, else 0."""
    residual = float(np.square(y - predictions).sum())
    total = float(np.square(y - target_scale(y)[0]).sum())
    if total == 0:
        return float(residual == 0)
    return 1 - residual / total


def fit_kernel_svr(
    kernel: Floats, y: Reals, C: float, epsilon: float
) -> tuple[NDArray[np.intp], Reals, float]:
    """Support vectors' row numbers, coefficients (n_SV,) and intercept for targets y (n,), in their unit.

    Args:
        kernel: float32 (n, n), the kernel among the rows.
        C, epsilon: for targets of standard deviation 1.
    """
    from sklearn.svm import SVR

    mean, scale = target_scale(y)
    z = (y - mean) / scale
    if float(z.max() - z.min()) <= 2 * epsilon:
        # The flat function in the middle has no loss at all; libsvm would end there with an arbitrary one.
        return np.zeros(0, np.intp), np.zeros(0), mean + scale * float(z.max() + z.min()) / 2
    svr = SVR(kernel="precomputed", C=C, epsilon=epsilon, tol=RBF_TOL, cache_size=cache_size(len(y)))
    svr.fit(kernel.astype(np.float64), z)
    return svr.support_.astype(np.intp), scale * svr.dual_coef_[0], mean + scale * float(svr.intercept_[0])


def _not_converged(C: float) -> str:
    return (
        f"LinearSVR(C={C}) did not converge in {MAX_ITER} Newton steps: standardise the features, or lower C"
    )


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """BLAS on one thread: with more, NumPy's and SciPy's spin against each other, 4 to 9 times slower.

    SciPy's is loaded first, because a limit reaches only libraries that are.
    """
    import scipy.linalg  # noqa: F401

    with thread_limit(1):
        yield


@dataclass(frozen=True)
class Solution:
    """Weights (d + 1,) with the bias last, the scores of all rows, and how the solver ended."""

    w: Reals
    scores: Reals
    n_iter: int
    converged: bool


class SquaredInsensitiveSolver:
    """A finite Newton solver for linear regression with squared epsilon-insensitive loss.

    It minimises ``0.5 * |(w, b)|^2 + C * sum_i max(0, |w . x_i + b - z_i| - epsilon)^2``, which is convex and
    piecewise quadratic: a Newton step on the rows outside the tube with an exact line search reaches the
    optimum in a finite number of steps (Keerthi and DeCoste 2005 for the squared hinge). The Gram matrix of
    the rows outside is brought up to date by those that entered or left, from whichever known one is nearest.
    Wide data are posed in the span of their rows. Products are float64.

    Args:
        X: float32 (n, d), finite, C-contiguous.
        shared: keep the Gram matrix of all rows, which pays when several subsets of them are trained on.
    """

    @_one_thread()
    def __init__(self, X: Floats, shared: bool = False) -> None:
        from classic_cv.heads._reduction import RowSpace

        self.span = RowSpace(X) if len(X) < X.shape[1] else None
        self.X = X if self.span is None else self.span.coordinates
        self.n, self.d = self.X.shape
        self.step = max(1, CHUNK_VALUES // (self.d + 1))
        self._all = self._rows(np.arange(self.n)) if self.n <= self.step else None
        empty = np.zeros(self.n, bool)
        self._known: list[tuple[Mask, Reals]] = [(empty, np.zeros((self.d + 1, self.d + 1), order="F"))]
        if shared:
            everything = np.ones(self.n, bool)
            self._known.append((everything, self._gram(everything)))
        # These are kept; the Gram matrix of the last step follows them.
        self._fixed = len(self._known)

    @_one_thread()
    def solve(
        self,
        z: Reals,
        C: float,
        epsilon: float,
        training: Mask | None = None,
        start: Reals | None = None,
    ) -> Solution:
        """The optimum for targets z (n,) on the rows ``training`` (all by default), from weights ``start``."""
        inside = np.ones(self.n, bool) if training is None else training
        w = np.zeros(self.d + 1) if start is None else start.copy()
        scores = self._scores(w)
        ridge = 1 / (2 * C)
        for n_iter in range(MAX_ITER):
            error = np.where(inside, scores - z, 0)
            excess = np.sign(error) * np.maximum(np.abs(error) - epsilon, 0)
            gradient = ridge * w + self._transposed(excess)
            step = self._newton_step(excess != 0, gradient, ridge)
            value = ridge * float(w @ w) + float(excess @ excess)
            if -float(gradient @ step) <= TOL * value:
                return Solution(w, scores, n_iter, True)
            change = self._scores(step)
            length = line_search(error, np.where(inside, change, 0), epsilon, ridge, w, step)
            w += length * step
            scores += length * change
        return Solution(w, scores, MAX_ITER, False)

    def feature_weights(self, w: Reals) -> Reals:
        """Weights for X as it was given, (n_features + 1,) with the bias last."""
        if self.span is None:
            return w
        weights: Reals = self.span.weights(w[None].astype(np.float32))[0].astype(np.float64)
        return weights

    def _newton_step(self, active: Mask, gradient: Reals, ridge: float) -> Reals:
        from scipy.linalg import lapack

        gram = self._gram(active)
        self._known[self._fixed :] = [(active, gram)]
        largest = float(np.diagonal(gram).max())
        # A ridge below float64's rounding of the Gram matrix would not keep it positive definite.
        for jitter in (1e-13, 1e-11, 1e-9, 1e-7):
            H = gram.copy(order="F")
            H[np.diag_indices_from(H)] += max(ridge, jitter * largest)
            factor, info = lapack.dpotrf(H, lower=1, overwrite_a=1)
            if info == 0:
                step: Reals = lapack.dpotrs(factor, -gradient, lower=1)[0]
                return step
        raise FloatingPointError("the features' inner products are not finite: standardise the features")

    def _gram(self, active: Mask) -> Reals:
        """The lower triangle of ``A.T A`` over the active rows with a column of ones, (d + 1, d + 1)."""
        mask, known = min(self._known, key=lambda entry: int((entry[0] != active).sum()))
        gram = known.copy(order="F")
        self._add(gram, np.flatnonzero(active & ~mask), 1.0)
        self._add(gram, np.flatnonzero(mask & ~active), -1.0)
        return gram

    def _add(self, gram: Reals, rows: NDArray[np.intp], sign: float) -> None:
        from scipy.linalg import blas

        for start in range(0, len(rows), self.step):
            A = self._rows(rows[start : start + self.step])
            blas.dsyrk(sign, A.T, beta=1.0, c=gram, lower=1, overwrite_c=1)

    def _rows(self, rows: NDArray[np.intp]) -> Reals:
        """These rows with a column of ones, float64 (len(rows), d + 1)."""
        out = np.ones((len(rows), self.d + 1))
        out[:, :-1] = self.X[rows]
        return out

    def _parts(self) -> Iterator[tuple[slice, Reals]]:
        if self._all is not None:
            yield slice(None), self._all
            return
        for start in range(0, self.n, self.step):
            rows = np.arange(start, min(start + self.step, self.n))
            yield slice(start, start + self.step), self._rows(rows)

    def _scores(self, w: Reals) -> Reals:
        if not w.any():
            return np.zeros(self.n)
        return np.concatenate([A @ w for _, A in self._parts()])

    def _transposed(self, values: Reals) -> Reals:
        total = np.zeros(self.d + 1)
        for part, A in self._parts():
            total += values[part] @ A
        return total


def line_search(error: Reals, change: Reals, epsilon: float, ridge: float, w: Reals, step: Reals) -> float:
    """The length t > 0 that minimises ``ridge |w + t step|^2 + sum max(0, |error + t change| - epsilon)^2``.

    Its half derivative is increasing and piecewise linear: Newton steps inside a shrinking bracket end on the
    root's own piece.
    """
    slope, curvature = ridge * float(w @ step), ridge * float(step @ step)
    low, high, t = 0.0, np.inf, 1.0
    for _ in range(60):
        moved = error + t * change
        outside = np.abs(moved) > epsilon
        pulled = np.where(outside, moved - np.sign(moved) * epsilon, 0)
        first = slope + t * curvature + float(pulled @ change)
        second = curvature + float(np.square(change[outside]).sum())
        if first < 0:
            low = t
        else:
            high = t
        following = t - first / second
        if not low < following < high:
            following = (low + high) / 2 if np.isfinite(high) else 2 * t
        if abs(following - t) <= 1e-12 * t:
            return following
        t = following
    return t


@dataclass(frozen=True)
class RegressionCrossValidation:
    """What cross-validation over C, epsilon and gamma found.

    Attributes:
        C, epsilon, gamma: the chosen ones; gamma is None for the linear machine. C (then gamma) is the smallest
            at the middle epsilon whose mean error is within noise of the best, which is half a standard error
            of the folds' differences to the best; epsilon has the smallest mean error with them.
        tried: float64 (n_tried, 3), C, epsilon and gamma (0 for the linear machine) of the points tried.
        mean: mean absolute error of each, the mean over folds, float64 (n_tried,).
        mae: float64 (n_splits,), mean absolute error per fold at the chosen point.
        standard_error: of the mean of ``mae``.
        rows: int (n_rows,), the rows of X that were held out once, ascending.
        y: their targets, float64 (n_rows,).
        predictions: out-of-fold predictions of these rows at the chosen point, float64 (n_rows,).
        fold: the fold in which each of these rows was held out.
    """

    C: float
    epsilon: float
    gamma: float | None
    tried: Reals
    mean: Reals
    mae: Reals
    standard_error: float
    rows: NDArray[np.intp]
    y: Reals
    predictions: Reals
    fold: NDArray[np.intp]

    def summary(self) -> dict[str, Any]:
        """The choice as plain data; ``cv_mae`` is the mean over folds, ``cv_rmse`` and ``cv_r2`` are over rows."""
        names = ["C", "epsilon"] if self.gamma is None else ["C", "epsilon", "gamma"]
        points = zip(self.tried.tolist(), self.mean.tolist(), strict=True)
        return {
            **{name: getattr(self, name) for name in names},
            "n_splits": len(self.mae),
            "n_rows": len(self.rows),
            "cv_mae": float(self.mae.mean()),
            "cv_rmse": float(np.sqrt(np.mean(np.square(self.y - self.predictions)))),
            "cv_r2": r2(self.y, self.predictions),
            "cv_standard_error": self.standard_error,
            "tried": [{**dict(zip(names, point, strict=False)), "mean": mean} for point, mean in points],
        }


def cross_validate_regression(
    kind: Kind,
    X: ArrayLike,
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    strata: ArrayLike | None = None,
    Cs: Sequence[float],
    epsilons: Sequence[float],
    gammas: Sequence[float] | None = None,
    n_splits: int = 5,
    seed: int = 0,
    max_samples: int | None = DEFAULT_MAX_SAMPLES,
    with_copies: bool = False,
    progress: Progress | None = None,
    deadline: float | None = None,
) -> RegressionCrossValidation:
    """Cross-validate ``LinearSVR`` or ``RBFSVR`` by mean absolute error.

    Folds are stratified by bins of the target, shuffled by ``seed``, and keep groups together. C (and gamma) is
    searched at the middle epsilon, upwards until the error has clearly risen; then epsilon at that point.

    Args:
        kind: "linear" or "rbf".
        X: features (n_samples, n_features).
        y: targets (n_samples,), at least 4.
        groups: (n_samples,), samples of a group are never on both sides of a fold.
        strata: integers (n_samples,) to stratify by instead of the target's quantile bins.
        Cs, epsilons: values to try, in any order.
        gammas: values to try with "rbf"; None with "linear".
        n_splits: folds, at least 2; there are fewer where a stratum or the groups allow no more.
        max_samples: look at a stratified sample of so many rows, copies included (whole groups), when there
            are more; None for all. The RBF machine takes at most ``rbf_svm.MAX_ROWS``.
        with_copies: X has twice the rows: row n_samples + i is a mirrored copy of row i. It is in training
            where its original is, and is never held out; the folds are those without copies.
        progress: called with (task, points done, points in all); a walk may end early.
        deadline: a value of ``time.perf_counter()`` after which no further point is begun; one always is.

    Raises:
        ParameterError: kind, Cs, epsilons, gammas, n_splits or max_samples are out of range.
        ValueError: X, y, groups or strata cannot be used, or there is nothing to hold out.
    """
    features = check_features(X)
    n = n_originals(features, with_copies)
    targets = check_targets(y, n)
    path = _check_path(Cs, n_splits, "accuracy", max_samples)
    gamma_path = _check_gammas(kind, gammas)
    epsilon_path = check_values("epsilons", epsilons, least=0)
    if len(targets) < 4:
        raise ValueError(
            f"cannot cross-validate {len(targets)} samples: expected at least 4; give more or set C"
        )
    group_ids = _check_groups(groups, n)
    codes = target_strata(targets, strata)
    sample = _sample_rows(codes, group_ids, _most_originals(max_samples, with_copies), seed)
    fold = assign_folds(codes[sample], None if group_ids is None else group_ids[sample], n_splits, seed)
    rows = features[rows_with_copies(sample, n, with_copies)] if len(sample) < n else features
    folds = (_LinearFolds if kind == "linear" else _RBFFolds)(rows, targets[sample], fold)
    search = _Search(folds.held_out, targets[sample], fold, progress, deadline)
    search.run(path, gamma_path, epsilon_path)
    return search.result(sample)


def target_strata(y: Reals, strata: ArrayLike | None) -> NDArray[np.intp]:
    """Strata as integers (n,) from 0, each of at least two samples: a single one joins its neighbour.

    Args:
        y: targets (n,), whose quantile bins are the strata by default.
        strata: integers (n,) to go by instead.
    """
    from classic_cv.dataset import quantile_bins

    given = quantile_bins(y) if strata is None else np.asarray(strata)
    if given.shape != y.shape:
        raise ValueError(f"strata has shape {given.shape}, expected {y.shape}: one stratum per sample")
    codes: NDArray[np.intp] = np.unique(given, return_inverse=True)[1]
    merged, size, current = [], 0, -1
    for count in np.bincount(codes).tolist():
        if current < 0 or size >= 2:
            current, size = current + 1, 0
        size += count
        merged.append(current)
    table = np.array(merged)
    if size < 2 and current > 0:
        table[table == current] = current - 1
    return np.asarray(table[codes], np.intp)


def _check_gammas(kind: str, gammas: Sequence[float] | None) -> list[float]:
    if kind not in ("linear", "rbf"):
        raise ParameterError(f"kind={kind!r}: expected 'linear' or 'rbf'")
    if kind == "rbf":
        return check_values("gammas", gammas)
    if gammas is not None:
        raise ParameterError(f"gammas={gammas!r}: the linear machine has none; expected None")
    return [0.0]


class _LinearFolds:
    """Held-out predictions of the linear machine: all folds share the rows, their span and their Gram matrix.

    X (n or 2 * n, d) may have copies of the rows behind them, which train where their originals train.
    """

    def __init__(self, X: Floats, y: Reals, fold: NDArray[np.intp]) -> None:
        self.solver = SquaredInsensitiveSolver(X, shared=True)
        self.copies = len(X) // len(y)
        self.y = y
        self.fold = fold
        self.starts: dict[int, Reals] = {}

    def held_out(self, C: float, gamma: float, epsilon: float) -> Reals:
        """float64 (n,); NaN for the rows that are never held out."""
        predictions = np.full(len(self.y), np.nan)
        for number in range(int(self.fold.max()) + 1):
            training = self.fold != number
            mean, scale = target_scale(self.y[training])
            z = np.tile((self.y - mean) / scale, self.copies)
            inside = np.tile(training, self.copies)
            solution = self.solver.solve(z, C, epsilon, inside, self.starts.get(number))
            self.starts[number] = solution.w
            predictions[~training] = mean + scale * solution.scores[: len(self.y)][~training]
        return predictions


class _RBFFolds:
    """Held-out predictions of the RBF machine: distances are computed once. X is as for ``_LinearFolds``."""

    def __init__(self, X: Floats, y: Reals, fold: NDArray[np.intp]) -> None:
        check_rows(len(X))
        self.distances = self_distances(X)
        self.y = y
        self.fold = fold

    def held_out(self, C: float, gamma: float, epsilon: float) -> Reals:
        """float64 (n,); NaN for the rows that are never held out."""
        predictions = np.full(len(self.y), np.nan)
        for number in range(int(self.fold.max()) + 1):
            training, out = np.flatnonzero(self.fold != number), np.flatnonzero(self.fold == number)
            training = rows_with_copies(training, len(self.y), len(self.distances) > len(self.y))
            kernel = rbf_in_place(self.distances[np.ix_(training, training)], gamma)
            support, dual_coef, intercept = fit_kernel_svr(kernel, self.y[training % len(self.y)], C, epsilon)
            across = rbf_in_place(self.distances[np.ix_(out, training[support])], gamma)
            predictions[out] = across @ dual_coef + intercept
        return predictions


class _Search:
    """The coordinate search: C and gamma at the middle epsilon, then epsilon."""

    def __init__(
        self,
        held_out: HeldOut,
        y: Reals,
        fold: NDArray[np.intp],
        progress: Progress | None,
        deadline: float | None,
    ) -> None:
        self.held_out = held_out
        self.rows = np.flatnonzero(fold >= 0)
        self.y = y[self.rows]
        self.fold = fold[self.rows]
        self.scale = target_scale(y)[1]
        self.progress = progress
        self.deadline = deadline
        self.total = 0
        self.mae: dict[tuple[float, float, float], Reals] = {}
        self.predictions: dict[tuple[float, float, float], Reals] = {}
        self.chosen = (0.0, 0.0, 0.0)

    def run(self, Cs: list[float], gammas: list[float], epsilons: list[float]) -> None:
        """Try the points and choose one."""
        self.total = len(Cs) * len(gammas) + len(epsilons) - 1
        middle = epsilons[len(epsilons) // 2]
        # The walk's stopping rule is made for shares of hits: errors are given in deviations of the target.
        measured: dict[tuple[float, float], Reals] = {}
        for C, gamma in walk(Cs, gammas, measured, self.deadline):
            measured[C, gamma] = -self._try(C, middle, gamma) / self.scale
        points = sorted(measured)
        C, gamma = points[_choose(np.array([measured[point] for point in points]))]
        for epsilon in epsilons:
            if epsilon != middle and not self._is_late():
                self._try(C, epsilon, gamma)
        candidates = [point for point in self.mae if point[0] == C and point[2] == gamma]
        self.chosen = min(candidates, key=lambda point: float(self.mae[point].mean()))

    def result(self, sample: NDArray[np.intp]) -> RegressionCrossValidation:
        """The findings; ``sample`` are the numbers in X of the rows that were looked at."""
        C, epsilon, gamma = self.chosen
        mae = self.mae[self.chosen]
        return RegressionCrossValidation(
            C=C,
            epsilon=epsilon,
            gamma=gamma or None,
            tried=np.array(list(self.mae)),
            mean=np.array([values.mean() for values in self.mae.values()]),
            mae=mae,
            standard_error=float(mae.std(ddof=1) / np.sqrt(len(mae))),
            rows=sample[self.rows],
            y=self.y,
            predictions=self.predictions[self.chosen],
            fold=self.fold,
        )

    def _is_late(self) -> bool:
        return self.deadline is not None and time.perf_counter() >= self.deadline

    def _try(self, C: float, epsilon: float, gamma: float) -> Reals:
        predictions = self.held_out(C, gamma, epsilon)[self.rows]
        errors = np.abs(predictions - self.y)
        mae = np.bincount(self.fold, weights=errors) / np.bincount(self.fold)
        self.mae[C, epsilon, gamma], self.predictions[C, epsilon, gamma] = mae, predictions
        if self.progress:
            self.progress("choice of C and epsilon", len(self.mae), self.total)
        return mae
