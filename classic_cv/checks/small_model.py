"""A small model for a few hundred numbers per image: what can be told from them, by images held out."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from classic_cv.features.base import Features
from classic_cv.heads.cross_validation import assign_folds
from classic_cv.subset import nested_order

N_SPLITS = 5

N_TREES = 60
"""More of them change the accuracy by less than its interval."""

FEW_TREES, MANY_CLASSES = 20, 100
"""Trees from so many classes on: each node then weighs hundreds of shares, and seconds become half a minute."""

TREES_AT_ONCE = 10
"""Trees hold a share of each class in each node: of 300 classes and 10,000 images, ten trees take about 200 MB."""

MIN_LEAF = 3
"""A leaf of a single image says nothing of how sure it is, and takes time."""

MOST = 10_000
"""Images beyond these make a figure no more precise than it has to be, and take time."""


class OutOfFold(NamedTuple):
    """What a model says of images that it has not seen.

    Attributes:
        rows: intp (k,), rows of X, ascending: a sample of those that can be held out.
        probabilities: float32 (k, len(classes)), each row's from trees that saw neither it nor its group.
        classes: (n_classes,), the distinct values of y in the sample, sorted.
    """

    rows: NDArray[np.intp]
    probabilities: NDArray[np.float32]
    classes: NDArray[Any]


def out_of_fold(
    X: Features,
    y: NDArray[Any],
    groups: NDArray[np.integer],
    *,
    seed: int,
    jobs: int = 1,
    most: int = MOST,
) -> OutOfFold | None:
    """Extremely randomised trees (Geurts et al. 2006), cross-validated: scales and monotone changes of columns do not
    matter to them, columns without information hardly do, and there is nothing to choose.

    Args:
        X: float32 (n, n_features), finite; at least one column.
        y: (n,), classes or other discrete values.
        groups: (n,), rows of a group are held out together.
        seed: of the sample, the folds and the trees; the result depends on it, not on ``jobs``.
        jobs: threads, -1 for all cores.
        most: a stratified sample of so many rows is taken.

    Returns:
        None where nothing can be held out: fewer than two classes, all rows of one group, or one row of each class.
    """
    sample = np.sort(nested_order(y, np.asarray(groups, np.int64), seed)[:most]) if len(y) else np.arange(0)
    classes, codes = np.unique(y[sample], return_inverse=True)
    fold = folds(codes, groups[sample], seed) if len(classes) > 1 else None
    if fold is None:
        return None
    probabilities = np.zeros((len(sample), len(classes)), np.float32)
    rng = np.random.default_rng(seed)
    for number in range(fold.max() + 1):
        _hold_out(X[sample], codes, fold == number, probabilities, rng, jobs)
    kept = fold >= 0
    return OutOfFold(sample[kept], probabilities[kept], classes)


def folds(codes: NDArray[np.intp], groups: NDArray[np.integer], seed: int) -> NDArray[np.intp] | None:
    """The fold that each row is held out in, -1 for a row that cannot be; None where none can be.

    Where most groups are of a single row, groups are dealt out by their first row's class: balancing thousands of them
    by all of their classes takes seconds, and changes nothing.

    Args:
        codes: intp (n,), classes from 0.
        groups: (n,), rows of a group share a fold.
        seed: of the folds.
    """
    _, first, units = np.unique(groups, return_index=True, return_inverse=True)
    try:
        if 2 * len(first) > len(units):
            return assign_folds(codes[first], None, N_SPLITS, seed)[units]
        return assign_folds(codes, units, N_SPLITS, seed)
    except ValueError:
        return None


def _hold_out(
    X: Features,
    codes: NDArray[np.intp],
    held_out: NDArray[np.bool_],
    probabilities: NDArray[np.float32],
    rng: np.random.Generator,
    jobs: int,
) -> None:
    """Fill the held-out rows' probabilities, by trees fitted on all other rows."""
    from sklearn.ensemble import ExtraTreesClassifier

    n_trees = N_TREES if probabilities.shape[1] < MANY_CLASSES else min(N_TREES, FEW_TREES)
    for seed in rng.integers(2**31, size=n_trees // TREES_AT_ONCE).tolist():
        trees = ExtraTreesClassifier(TREES_AT_ONCE, min_samples_leaf=MIN_LEAF, random_state=seed, n_jobs=jobs)
        # scikit-learn's threads reset the filters of warnings, each in its own time, and leave them empty now and then.
        with warnings.catch_warnings():
            trees.fit(X[~held_out], codes[~held_out])
        with warnings.catch_warnings():
            part = trees.predict_proba(X[held_out]) * (TREES_AT_ONCE / n_trees)
        probabilities[np.ix_(held_out, trees.classes_)] += part.astype(np.float32)
