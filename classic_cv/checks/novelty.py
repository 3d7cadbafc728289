"""How far an image is from those that a model was fitted on, by its features.

Two parts that fail on different images, each in units of its own spread among images that were not seen:

- how much of the features lies outside the training images' principal components: unlike them where it is much, as
  in ViM (Wang et al. 2022, arXiv:2203.10807), and where it is little, as of an empty image;
- the distance to the nearest class relative to the distance to the training images as a whole (relative Mahalanobis
  distance, Ren et al. 2021, arXiv:2106.09022).

AUC of foreign against held-out training images, smallest and mean of seven foreign sets (photos, flowers, clothes,
CIFAR-10, digits, faces, noise, blank; the own one left out), for Fisher vectors of flowers, color and texture
histograms of flowers, patches of clothes, HOG of clothes:

| | Fisher | histograms | patches | HOG |
|---|---|---|---|---|
| both | 0.89, 0.96 | 0.93, 0.98 | 0.96, 0.99 | 0.98, 0.99 |
| outside the components | 0.00, 0.81 | 0.94, 0.98 | 0.58, 0.94 | 0.93, 0.99 |
| relative Mahalanobis | 0.87, 0.96 | 0.70, 0.81 | 0.86, 0.93 | 0.94, 0.97 |
| 5th nearest neighbour in the components | 0.07, 0.29 | 0.92, 0.98 | 0.97, 0.99 | 0.85, 0.96 |
| the same of unit length (Sun et al. 2022) | 0.49, 0.74 | 0.04, 0.32 | 0.36, 0.75 | 0.96, 0.99 |

Sets of photographs of everything are the hard case: with CIFAR-10 as the own set the mean is 0.63 to 0.83.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from classic_cv.errors import NotFittedError
from classic_cv.features.base import Features
from classic_cv.heads.scaler import scale_in_place

Reals = NDArray[np.float64]

COMPONENTS = 64
"""Principal components at most."""

ROWS_PER_COMPONENT = 4
"""Images for each component at least: with fewer, the components describe single images."""

ASIDE = 0.2
"""Share of the images that the parts of the score are measured on, and nothing else is learned from: those that
components were fitted on lie closer to them than any new image."""

FEWEST = 10
"""Images without which nothing is learned: two are then put aside."""

TINY = 1e-12

OF_NORMAL = 1.4826
"""Times the median absolute deviation: the standard deviation of a normal variable."""


class Novelty:
    """A score of how unlike the training images an image is, from features.

    Args:
        n_components: principal components at most.
        random_state: seed of the part that is put aside, and of the components.
    """

    def __init__(self, n_components: int = COMPONENTS, random_state: int = 0) -> None:
        self.n_components = n_components
        self.random_state = random_state

    def fit(
        self,
        X: Features,
        y: NDArray[np.integer] | None = None,
        groups: NDArray[np.integer] | None = None,
        widths: Sequence[int] | None = None,
    ) -> Self:
        """Learn what the training images are like.

        Args:
            X: float32 (n_samples, n_features), finite; at least ``FEWEST`` rows.
            y: (n_samples,) class numbers; without, all are one class, and only what is outside the components counts.
            groups: (n_samples,), images with the same number, such as copies, are put aside together.
            widths: columns of each extractor, all of which then count alike; one extractor without.

        Raises:
            ValueError: too few rows.
        """
        if len(X) < FEWEST:
            raise ValueError(f"novelty cannot be learned from {len(X)} images: expected at least {FEWEST}")
        labels = np.zeros(len(X), np.intp) if y is None else np.unique(y, return_inverse=True)[1]
        units = np.arange(len(X)) if groups is None else groups
        aside = put_aside(units, ASIDE, self.random_state)
        if aside.all() or not aside.any():
            aside = np.arange(len(X)) % 5 == 0
        inside = X[~aside]
        self.mean_, self.unit_ = scale_in_place("groups", inside, [X.shape[1]] if widths is None else widths)
        self.space_ = _Space.fit(inside, labels[~aside], self.n_components, self.random_state)
        parts = self.space_.parts((X[aside] - self.mean_) / self.unit_)
        self.center_ = np.median(parts, axis=0)
        deviation = OF_NORMAL * np.median(np.abs(parts - self.center_), axis=0)
        # A part that does not vary, as the relative distance with one class, says nothing.
        self.scale_ = np.where(deviation > TINY, deviation, np.inf)
        return self

    def score(self, X: Features) -> Reals:
        """How far images are from the training images: float64 (n_samples,), higher is further.

        Most images of the training images' kind are below 3.

        Raises:
            NotFittedError: before ``fit``.
        """
        if not hasattr(self, "space_"):
            raise NotFittedError("Novelty is not fitted: call fit first")
        parts = self.space_.parts((X - self.mean_) / self.unit_)
        outside, relative = ((parts - self.center_) / self.scale_).T
        score: Reals = np.abs(outside) + relative
        return score


def put_aside(groups: NDArray[np.integer], share: float, seed: int) -> NDArray[np.bool_]:
    """Which images are put aside, bool (n,): about ``share`` of them, whole groups, by lot."""
    _, codes, counts = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(counts))
    before = np.cumsum(counts[order]) - counts[order]
    chosen = order[before < share * len(groups)]
    found: NDArray[np.bool_] = np.isin(codes, chosen)
    return found


class _Space(NamedTuple):
    """Principal components, with classes as normal distributions of a common covariance in them."""

    mean: Reals
    components: Reals
    classes: Reals
    within: Reals
    total: Reals

    @classmethod
    def fit(cls, X: Features, labels: NDArray[np.intp], n_components: int, seed: int) -> _Space:
        from sklearn.decomposition import PCA

        k = max(1, min(n_components, X.shape[1], len(X) // ROWS_PER_COMPONENT))
        # Of equal images the explained share of the variance, which nobody asks for, is 0 / 0.
        with np.errstate(invalid="ignore"):
            found = PCA(k, svd_solver="randomized", random_state=seed).fit(X)
        E = np.asarray(found.transform(X), np.float64)
        _, codes = np.unique(labels, return_inverse=True)
        classes = np.stack([E[codes == c].mean(axis=0) for c in range(codes.max() + 1)])
        return cls(
            np.asarray(found.mean_, np.float64),
            np.asarray(found.components_, np.float64),
            classes,
            _precision(E - classes[codes]),
            _precision(E),
        )

    def parts(self, X: Features) -> Reals:
        """The logarithm of the length outside the components, and the relative distance: (n, 2)."""
        centered = X - self.mean
        E = centered @ self.components.T
        outside = np.square(centered).sum(axis=1) - np.square(E).sum(axis=1)
        nearest = np.full(len(E), np.inf)
        for center in self.classes:
            nearest = np.minimum(nearest, _squared(E - center, self.within))
        relative = np.sqrt(nearest) - np.sqrt(_squared(E, self.total))
        return np.stack([0.5 * np.log(np.maximum(outside, TINY)), relative], axis=1)


def _precision(rows: Reals) -> Reals:
    """The inverse of the covariance of centered rows, shrunk so that it exists (Ledoit and Wolf 2004)."""
    from sklearn.covariance import ledoit_wolf

    covariance: Any = ledoit_wolf(rows, assume_centered=True)[0]
    inverse: Reals = np.linalg.pinv(covariance, hermitian=True)
    return inverse


def _squared(rows: Reals, precision: Reals) -> Reals:
    """Squared Mahalanobis lengths of rows (n, k): (n,)."""
    lengths: Reals = np.maximum(np.einsum("ij,ij->i", rows @ precision, rows), 0.0)
    return lengths
