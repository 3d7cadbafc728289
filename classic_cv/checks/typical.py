"""A few images of each class to look at: any, the most typical, and the most unusual."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.subject import Subject
from classic_cv.dataset import quantile_bins
from classic_cv.features.base import Features

SHOWN = 6

NEIGHBOURS = 5
"""The distance to this one makes an image unusual: a pair of copies, or a few shots of one scene, stay unusual."""

MOST_COMPARED = 2000
"""Images of a class that distances are taken to, so that large classes take no longer than they have to."""

SIDE = 16
"""Pixels that gray pictures are compared at where there are no features."""

RANGES = 3
"""Into so many ranges of about the same number of images a regression's targets are divided."""

Sheets = dict[str, dict[str, list[int]]]


def contact_sheets(subject: Subject) -> Sheets:
    """Per class ``random``, ``typical`` and ``unusual``: positions in the data set of at most ``SHOWN`` images each.

    Typical are those nearest to the class's center, the median of each coordinate, which outliers and wrong labels
    hardly move; unusual those with the farthest neighbours of the same class (Ramaswamy, Rastogi and Shim, SIGMOD
    2000). Coordinates are the reference's embedding, or small gray pictures where there is none. No image is both
    typical and unusual. A regression has ranges of its targets for classes.
    """
    indices, X = _coordinates(subject)
    return {
        name: _sheet(indices[rows], X[rows], np.random.default_rng((subject.job.seed, number)))
        for number, (name, rows) in enumerate(_classes(subject, indices))
    }


def _coordinates(subject: Subject) -> tuple[NDArray[np.intp], Features]:
    """Images by their positions in the data set, and what they are compared by: float32 (n, k)."""
    reference = subject.reference
    if reference is not None:
        return np.concatenate([reference.train, reference.test]), reference.embedding
    survey = subject.survey
    small = [cv2.resize(gray, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for gray in survey.thumbnails]
    return survey.indices, np.asarray(small, np.float32).reshape(len(survey), SIDE * SIDE)


def _classes(subject: Subject, indices: NDArray[np.intp]) -> Iterator[tuple[str, NDArray[np.intp]]]:
    """Names of classes or ranges that have images, and their rows in ``indices``."""
    y = subject.y(indices)
    if subject.is_classification:
        for number, name in enumerate(subject.class_names):
            if (y == number).any():
                yield name, np.flatnonzero(y == number)
        return
    bins = quantile_bins(y, RANGES)
    for number in np.unique(bins).tolist():
        rows = np.flatnonzero(bins == number)
        yield f"{y[rows].min():.4g} to {y[rows].max():.4g}", rows


def _sheet(indices: NDArray[np.intp], X: Features, rng: np.random.Generator) -> dict[str, list[int]]:
    n = len(indices)
    center = np.median(X, axis=0)
    typical = np.argsort(np.linalg.norm(X - center, axis=1), kind="stable")[:SHOWN]
    unusual = [row for row in np.argsort(-_isolation(X, rng), kind="stable").tolist() if row not in typical]
    chosen = {
        "random": np.sort(rng.choice(n, min(n, SHOWN), replace=False)),
        "typical": typical,
        "unusual": np.array(unusual[:SHOWN], np.intp),
    }
    return {name: indices[rows].tolist() for name, rows in chosen.items()}


def _isolation(X: Features, rng: np.random.Generator) -> NDArray[np.floating]:
    """The distance of each row to its ``NEIGHBOURS``-th neighbour, itself not counted: (n,); 0 for a single row."""
    from sklearn.neighbors import NearestNeighbors

    n = len(X)
    compared = np.sort(rng.choice(n, min(n, MOST_COMPARED), replace=False))
    search = NearestNeighbors(n_neighbors=min(NEIGHBOURS + 1, len(compared)), algorithm="brute").fit(
        X[compared]
    )
    distances, _ = search.kneighbors(X)
    # Rows that are compared find themselves first, the others do not.
    itself = np.isin(np.arange(n), compared).astype(np.intp)
    last = np.minimum(NEIGHBOURS - 1 + itself, distances.shape[1] - 1)
    found: NDArray[np.floating] = distances[np.arange(n), last]
    return found
