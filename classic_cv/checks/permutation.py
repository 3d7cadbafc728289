"""Whether features tell anything of the targets: the targets shuffled hundreds of times, the model fitted to each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from classic_cv.features.base import Features
from classic_cv.subset import nested_order

MOST_IMAGES = 2000
"""Images that the test looks at: enough for effects far smaller than those that matter, and one matrix to invert."""

MOST_PERMUTATIONS, LEAST_PERMUTATIONS = 999, 199
"""The smallest p-value is one over their number and one: 0.001, or 0.005 where there are hundreds of classes."""

FLOATING_POINT_OPERATIONS = 2e10
"""What all permutations together may cost: five seconds on a slow core."""

MOST_CLASSES = 32
"""Of more, the most frequent are looked at: enough to tell whether features know classes, with some images of each."""

RIDGE = 0.1
"""Ridge penalty in units of the features' mean squared length about their mean. It must not depend on the targets, or
every permutation would need its own; the test is valid for any, and this one shrinks noise without hiding a signal."""

LEAST_VARIANCE = 1e-6
"""Features that are all the same have none; the ridge then answers the same for every image, and needs a penalty."""

LEAST_IMAGES = 8
"""With fewer, there are too few ways to shuffle two classes for a p-value below 0.05 to be possible at all."""

N_SPLITS = 5


def permutation_test(
    X: Features, y: NDArray[Any], groups: NDArray[np.integer], asked: NDArray[np.bool_], *, seed: int
) -> dict[str, Any] | None:
    """The p-value of the null hypothesis that targets and features have nothing to do with each other.

    It is test 1 of Ojala & Garriga (2010): the score of a classifier among its scores on shuffled targets. The
    classifier is a ridge regression on standardised class indicators. Its answers are linear in the targets, by a
    matrix that only the features determine, so that a shuffle costs one matrix product. Scores are of images that the
    ridge was not fitted on: those that are ``asked``, or five folds where there are none or nothing else.

    Args:
        X: float32 (n, n_features).
        y: class numbers (n,), scored by balanced accuracy; or float targets, scored by the correlation of target and
            answer.
        groups: (n,); of images with the same number only the first is used, since shuffling parts them.
        asked: bool (n,), images to score, such as the test part.
        seed: of the sample, the folds and the shuffles.

    Returns:
        ``p, n_permutations, observed, null_mean, null_max, images, scoring``; None where there are fewer than
        ``LEAST_IMAGES`` or all targets are the same.
    """
    rows = _sample(y, groups, asked, seed)
    if len(rows) < LEAST_IMAGES or len(np.unique(y[rows])) < 2:
        return None
    rng = np.random.default_rng(seed)
    operator, scored = _operator(X[rows], _folds(asked[rows], rng))
    return _compare(operator, scored, y[rows], rng)


def sample_size(n_classes: int) -> int:
    """How many images the test looks at most, so that the fewest permutations stay within what all may cost."""
    most = np.sqrt(FLOATING_POINT_OPERATIONS / (2 * max(n_classes, 1) * LEAST_PERMUTATIONS))
    return int(min(MOST_IMAGES, most))


def _sample(
    y: NDArray[Any], groups: NDArray[np.integer], asked: NDArray[np.bool_], seed: int
) -> NDArray[np.intp]:
    """Rows of distinct groups: a stratified choice of the images to score and of the others, at most half each."""
    first = np.sort(np.unique(groups, return_index=True)[1])
    is_number = y.dtype.kind == "f"
    if not is_number:
        first = first[np.isin(y[first], _most_frequent(y[first]))]
    most = sample_size(1 if is_number else len(np.unique(y[first])))
    parts = []
    for part in (first[asked[first]], first[~asked[first]]):
        share = max(most - min(len(first) - len(part), most // 2), 0)
        strata = np.zeros(len(part), np.int64) if is_number else y[part]
        if len(part):
            parts.append(part[nested_order(strata, np.arange(len(part)), seed)[:share]])
    return np.sort(np.concatenate(parts)) if parts else np.arange(0)


def _most_frequent(y: NDArray[Any]) -> NDArray[Any]:
    """At most ``MOST_CLASSES`` classes."""
    classes, counts = np.unique(y, return_counts=True)
    return np.asarray(classes[np.argsort(-counts, kind="stable")[:MOST_CLASSES]])


def _folds(asked: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.intp]:
    """The fold in which each row is scored, -1 for rows that are only fitted on. No target has a say in it."""
    if asked.any() and not asked.all():
        return np.where(asked, 0, -1)
    return rng.permutation(np.arange(len(asked)) % N_SPLITS)


def _operator(X: Features, fold: NDArray[np.intp]) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """The matrix (n_scored, n) that takes targets to the ridge's answers less their mean, and the rows it scores."""
    n = len(X)
    centered = X - X.mean(axis=0, dtype=np.float64).astype(np.float32)
    deviation = np.sqrt(np.mean(np.square(centered), axis=0, dtype=np.float64)).astype(np.float32)
    centered /= np.where(deviation > 0, deviation, 1)
    kernel = (centered @ centered.T).astype(np.float64)
    scored = np.flatnonzero(fold >= 0)
    operator = np.zeros((len(scored), n), np.float32)
    for number in range(fold.max() + 1):
        mine, fitted = fold == number, np.flatnonzero(fold != number)
        across = kernel[np.ix_(mine, fitted)]
        within = kernel[np.ix_(fitted, fitted)]
        operator[np.ix_(fold[scored] == number, fitted)] = _ridge(within, across)
    return operator, scored


def _ridge(within: NDArray[np.float64], across: NDArray[np.float64]) -> NDArray[np.float64]:
    """Kernel ridge regression with an intercept, as a matrix from targets of the fitted images to answers."""
    means = within.mean(axis=0)
    across = across - across.mean(axis=1, keepdims=True) - means + within.mean()
    within = within - means - means[:, None] + within.mean()
    penalty = RIDGE * max(float(np.trace(within)) / len(within), LEAST_VARIANCE)
    factor = cho_factor(within + penalty * np.eye(len(within)), overwrite_a=True)
    solved: NDArray[np.float64] = np.asarray(cho_solve(factor, across.T), np.float64).T
    return np.asarray(solved - solved.mean(axis=1, keepdims=True))


def _compare(
    operator: NDArray[np.float32], scored: NDArray[np.intp], y: NDArray[Any], rng: np.random.Generator
) -> dict[str, Any]:
    """The observed score among those of shuffled targets; (1 + as good ones) / (1 + all), which is valid exactly."""
    is_number = y.dtype.kind == "f"
    targets = _standardised(y) if is_number else _indicators(y)
    score = _correlation if is_number else _balanced_accuracy
    operations = 2 * operator.shape[0] * operator.shape[1] * targets.shape[1]
    n = int(np.clip(FLOATING_POINT_OPERATIONS / operations, LEAST_PERMUTATIONS, MOST_PERMUTATIONS))
    orders = [np.arange(len(y)), *(rng.permutation(len(y)) for _ in range(n))]
    scores = np.array([score(operator @ targets[order], targets[order][scored]) for order in orders])
    observed, null = scores[0], scores[1:]
    # Sums of floats may differ in their last bits between orders that mean the same.
    as_good = int((null >= observed - 1e-9).sum())
    return {
        "p": (1 + as_good) / (1 + n),
        "n_permutations": n,
        "observed": float(observed),
        "null_mean": float(null.mean()),
        "null_max": float(null.max()),
        "images": len(y),
        "scoring": "correlation" if is_number else "balanced accuracy",
    }


def _standardised(y: NDArray[Any]) -> NDArray[np.float32]:
    column: NDArray[np.float32] = ((y - y.mean()) / y.std()).astype(np.float32)[:, None]
    return column


def _indicators(y: NDArray[Any]) -> NDArray[np.float32]:
    """Class indicators (n, n_classes) of mean 0 and variance 1: no class is favoured for its frequency."""
    _, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
    share = counts / len(y)
    hot = np.eye(len(counts))[codes]
    return ((hot - share) / np.sqrt(share * (1 - share))).astype(np.float32)


def _balanced_accuracy(outputs: NDArray[np.float32], targets: NDArray[np.float32]) -> float:
    """The mean over the classes that occur of the share of their images that are told right."""
    truth = targets.argmax(axis=1)
    totals = np.bincount(truth)
    right = np.bincount(truth, weights=outputs.argmax(axis=1) == truth, minlength=len(totals))
    return float((right[totals > 0] / totals[totals > 0]).mean())


def _correlation(outputs: NDArray[np.float32], targets: NDArray[np.float32]) -> float:
    a, b = outputs[:, 0] - outputs.mean(), targets[:, 0] - targets.mean()
    length = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / length if length > 0 else 0.0
