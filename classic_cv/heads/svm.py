"""The linear SVM head: scikit-learn's ``LinearSVC`` objective, our own solver, NumPy alone in predicting."""

from __future__ import annotations

import warnings
from typing import Annotated, Any, Literal, Self

import numpy as np
from msgspec import Meta
from numpy.typing import ArrayLike, NDArray

from classic_cv.errors import ParameterError
from classic_cv.estimator import Estimator

ClassWeight = Literal["balanced"] | dict[Any, float] | None
"""None for equal weights, a weight per label, or "balanced": n_samples / (n_classes * n_samples of the class)."""

LARGEST = 1e14
"""The squares of larger features would overflow float32 in sums."""


class ConvergenceWarning(UserWarning):
    """The SVM stopped before its tolerance was reached; the message says by which classes and what to do."""


class LinearSVM(Estimator):
    """One-vs-rest linear SVM with L2 penalty and squared hinge loss, trained to the optimum.

    For each class, with y = +1 for its samples and -1 for the others, it minimises
    ``0.5 * (|w|^2 + b^2) + C * sum_i s_i * max(0, 1 - y_i (w . x_i + b))^2``: the objective of
    scikit-learn's ``LinearSVC(loss="squared_hinge", intercept_scaling=1)``. Two classes are one problem whose
    positive class is ``classes_[1]``. Nothing is random. Features should be standardised
    (``classic_cv.heads.scaler.standardize``) or of similar size.

    Args:
        C: weight of the losses, more than 0. Larger fits the training data more closely.
        class_weight: multiplies ``sample_weight``. As in ``LinearSVC``, with more than two classes the weight
            of a class counts in its own problem only, where its samples are the positive ones.
        tol: a problem ends with the step that promises to lower its objective by at most this share.
        max_iter: iterations after which a ``ConvergenceWarning`` is given.

    Learned: ``coef_`` float32 (n_classes, n_features), or (1, n_features) for two classes; ``intercept_``
    float32 (n_classes,) or (1,); ``classes_``. After ``fit`` also ``n_iter_``, the most iterations of a class.
    """

    learned = ("coef_", "intercept_", "classes_")
    large = ("coef_",)
    coef_: NDArray[np.float32]
    intercept_: NDArray[np.float32]
    classes_: NDArray[Any]
    n_iter_: int

    def __init__(
        self,
        C: Annotated[float, Meta(gt=0)] = 1.0,
        class_weight: Literal["balanced"] | dict[Any, float] | None = None,
        tol: Annotated[float, Meta(gt=0)] = 1e-5,
        max_iter: Annotated[int, Meta(ge=1)] = 200,
    ) -> None:
        self.C = C
        self.class_weight = class_weight
        self.tol = tol
        self.max_iter = max_iter

    @property
    def n_features_in_(self) -> int:
        """Number of features seen in ``fit``."""
        self.check_fitted()
        return int(self.coef_.shape[1])

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train on features X (n_samples, n_features), labels y (n_samples,), optional weights (n_samples,).

        X is not copied if it is float32 and C-contiguous.

        Raises:
            ParameterError: a parameter is out of range, or ``class_weight`` does not fit the labels.
            ValueError: X, y or sample_weight cannot be used; the message says why.
        """
        from classic_cv.heads._solver import SquaredHingeSolver

        self.check_params()
        features = check_features(X)
        classes, codes = check_labels(y, len(features))
        weights = check_sample_weight(sample_weight, len(features))
        if _largest(features) > LARGEST:
            raise ValueError(
                f"X holds values as large as {_largest(features):.1e}, whose squares overflow float32 when summed: "
                f"standardise the features"
            )
        problems = one_vs_rest(
            codes, len(classes), weights, class_weights(self.class_weight, classes, codes, weights)
        )
        solution = SquaredHingeSolver(features, *problems).solve(self.C, self.tol, self.max_iter)
        self.classes_ = classes
        self.coef_ = np.ascontiguousarray(solution.weights[:, :-1])
        self.intercept_ = np.ascontiguousarray(solution.weights[:, -1])
        self.n_iter_ = int(solution.n_iter.max())
        if not solution.converged.all():
            names = classes[~solution.converged].tolist() if len(classes) > 2 else classes.tolist()
            warnings.warn(
                f"LinearSVM(C={self.C}) did not reach tol={self.tol} in {self.n_iter_} iterations for the "
                f"classes {names}: standardise the features, lower C, or raise max_iter ({self.max_iter})",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def decision_function(self, X: ArrayLike) -> NDArray[np.float32]:
        """Scores of features X (n_samples, n_features): float32 (n_samples, n_classes), (n_samples,) for two.

        Raises:
            NotFittedError: before ``fit``.
            ValueError: X has another number of features, or is not finite.
        """
        self.check_fitted()
        ready = isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype == np.float32 and X.size > 0
        features: NDArray[np.float32] = X if ready else check_features(X)  # type: ignore[assignment]
        if features.shape[1] != self.coef_.shape[1]:
            raise ValueError(
                f"X has {features.shape[1]} features, but LinearSVM is expecting {self.coef_.shape[1]} features "
                f"as input: compute them as for fit"
            )
        with np.errstate(invalid="ignore", over="ignore"):
            scores: NDArray[np.float32] = features @ self.coef_.T
        # What is not finite in X is not finite in a score: looking there is far cheaper.
        if ready and not np.isfinite(scores).all():
            check_features(X)
        scores += self.intercept_
        return scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Labels of features X: (n_samples,)."""
        scores = self.decision_function(X)
        winners = (scores > 0).astype(np.intp) if scores.ndim == 1 else scores.argmax(axis=1)
        labels: NDArray[Any] = self.classes_[winners]
        return labels

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Accuracy on features X and labels y."""
        hits = self.predict(X) == np.asarray(y)
        return float(np.average(hits, weights=None if sample_weight is None else np.asarray(sample_weight)))

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(),
        )


def check_features(X: ArrayLike) -> NDArray[np.float32]:
    """X as finite, C-contiguous float32 (n_samples, n_features), copied only if it is not that already.

    Raises:
        TypeError: a sparse matrix.
        ValueError: not numbers, not two-dimensional, empty, or not finite.
    """
    if hasattr(X, "toarray"):
        raise TypeError("X is a sparse matrix, but LinearSVM takes dense data only: use X.toarray()")
    given: NDArray[Any] = np.asarray(X)
    if np.iscomplexobj(given):
        raise ValueError("Complex data not supported: X must hold real numbers")
    if given.ndim != 2:
        raise ValueError(
            f"Expected 2D array of (n_samples, n_features), got an array of shape {given.shape}. Reshape your "
            f"data with X.reshape(1, -1) if it is one sample, X.reshape(-1, 1) if it is one feature"
        )
    if given.shape[0] == 0:
        raise ValueError(
            f"Found array with 0 sample(s) (shape={given.shape}) while a minimum of 1 is required."
        )
    if given.shape[1] == 0:
        raise ValueError(
            f"Found array with 0 feature(s) (shape={given.shape}) while a minimum of 1 is required."
        )
    with np.errstate(over="ignore"):
        features = np.ascontiguousarray(given, dtype=np.float32)
    # NaN and infinity show in the extremes; only then is it worth a look at all values.
    if not np.isfinite(_largest(features)):
        finite = np.isfinite(features)
        row, column = np.argwhere(~finite)[0].tolist()
        raise ValueError(
            f"Input X contains NaN or infinity (or a value too large for float32): {int((~finite).sum())} values, "
            f"the first in row {row}, column {column}. Remove these samples or features, or impute the values"
        )
    return features


def _largest(features: NDArray[np.float32]) -> float:
    return max(float(features.max()), -float(features.min()))


def check_labels(y: ArrayLike, n_samples: int) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """The sorted classes of labels y, and each sample's class as an index into them.

    Raises:
        ValueError: not one label per sample, labels that are not classes, or fewer than two classes.
    """
    if y is None:
        raise ValueError("requires y to be passed, but the target y is None: give one label per sample")
    labels: NDArray[Any] = np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        warnings.warn(_column_vector_warning(), stacklevel=3)
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise ValueError(f"bad input shape {labels.shape} for y: expected (n_samples,), one label per sample")
    if len(labels) != n_samples:
        raise ValueError(f"X has {n_samples} samples, but y has {len(labels)} labels: they must be as many")
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all():
            raise ValueError("Input y contains NaN or infinity: remove these samples")
        if (labels != np.floor(labels)).any():
            raise ValueError("Unknown label type: continuous. y must hold classes: integers or strings")
    classes, codes = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"y has only one class ({classes[0]!r}): a classifier needs samples of at least two")
    return classes, codes


def _column_vector_warning() -> Warning:
    from sklearn.exceptions import DataConversionWarning

    text = "A column-vector y was passed when a 1d array was expected: change y to shape (n_samples,)"
    warning: Warning = DataConversionWarning(text)
    return warning


def check_sample_weight(sample_weight: ArrayLike | None, n_samples: int) -> NDArray[np.float64] | None:
    """Sample weights as float64 (n_samples,), None for none.

    Raises:
        ValueError: not one finite weight of 0 or more per sample, or all 0.
    """
    if sample_weight is None:
        return None
    weights = np.asarray(sample_weight, dtype=np.float64)
    if weights.ndim == 0:
        weights = np.full(n_samples, float(weights))
    if weights.shape != (n_samples,):
        raise ValueError(f"sample_weight has shape {weights.shape}, expected ({n_samples},): one per sample")
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError(
            "sample_weight holds negative or non-finite values: expected 0 or more for each sample"
        )
    if not weights.any():
        raise ValueError("sample_weight is zero for every sample: at least one must count")
    return weights


def class_weights(
    class_weight: ClassWeight,
    classes: NDArray[Any],
    codes: NDArray[np.intp],
    sample_weight: NDArray[np.float64] | None = None,
) -> NDArray[np.float64] | None:
    """The weight of each class, (n_classes,); None for all ones. A class without samples gets 1.

    Raises:
        ParameterError: a label that is not in y, or a weight that is not finite and more than 0.
    """
    if class_weight is None:
        return None
    if class_weight == "balanced":
        counts = np.bincount(codes, weights=sample_weight, minlength=len(classes))
        present = counts > 0
        return np.where(present, counts.sum() / (present.sum() * np.where(present, counts, 1)), 1.0)
    known = classes.tolist()
    for label, weight in class_weight.items():
        if label not in known:
            raise ParameterError(f"class_weight has the label {label!r}, which is not in y: {known[:20]}")
        if not (np.isfinite(weight) and weight > 0):
            raise ParameterError(f"class_weight[{label!r}] is {weight}: expected a finite weight more than 0")
    return np.array([float(class_weight.get(label, 1.0)) for label in known])


def one_vs_rest(
    codes: NDArray[np.intp],
    n_classes: int,
    sample_weight: NDArray[np.float64] | None = None,
    weight_of_class: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Signs and weights of the binary problems, float32 (n_problems, n_samples); one problem for two classes."""
    positive = np.array([1]) if n_classes == 2 else np.arange(n_classes)
    mine = codes == positive[:, None]
    signs = np.where(mine, np.float32(1), np.float32(-1))
    if sample_weight is None and weight_of_class is None:
        return signs, None
    weights = np.ones(signs.shape) if sample_weight is None else np.tile(sample_weight, (len(signs), 1))
    if weight_of_class is not None and n_classes == 2:
        weights *= weight_of_class[codes]
    elif weight_of_class is not None:
        weights *= np.where(mine, weight_of_class[:, None], 1.0)
    return signs, weights.astype(np.float32)
