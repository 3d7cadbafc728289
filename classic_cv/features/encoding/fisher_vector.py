"""Fisher vectors: how an image's local descriptors would move the Gaussians of a mixture learned from all images.

The gradient of the log-likelihood with respect to means and standard deviations, in units of its own spread, with
signed square roots and unit length [1, 2]. The gradient with respect to the weights is left out: it adds
little [2].

[1] Perronnin, Sanchez and Mensink, Improving the Fisher kernel for large-scale image classification, ECCV 2010.
[2] Sanchez, Perronnin, Mensink and Verbeek, Image classification with the Fisher vector: theory and practice,
    IJCV 2013, equations 16 to 18.
[3] Sanchez, Perronnin and de Campos, Modeling the spatial layout of images beyond spatial pyramids, Pattern
    Recognition Letters 2012.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, NamedTuple

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from classic_cv.features.encoding.base import (
    DENSE_SIFT,
    Array,
    Components,
    Encoder,
    Pyramid,
    Real,
    Reals,
    SampleSize,
    Seed,
    random_rows,
    runs,
    signed_root,
    to_unit_length,
)
from classic_cv.features.encoding.codebook import NEVER, Mixture, gaussian_mixture
from classic_cv.features.local import AnyDescriptor

Gaussians = Annotated[int, Meta(ge=1, le=4096)]


class Tables(NamedTuple):
    """A mixture in the form that ``posteriors`` and ``gradients`` compute with.

    Attributes:
        log_linear: float32 (2 d, K): what values and squared values add to the log of weight times density.
        log_constant: float32 (K,): and what is added to that.
        weights, means, deviations: float32 (K,), (K, d), (K, d).
    """

    log_linear: Array
    log_constant: Array
    weights: Array
    means: Array
    deviations: Array

    @classmethod
    def of(cls, mixture: Mixture) -> Tables:
        """Computed in float64."""
        weights, means, variances = (part.astype(np.float64) for part in mixture)
        log_linear = np.hstack([means / variances, -0.5 / variances]).T
        there = weights > 0
        log_weights = np.log(weights, out=np.full_like(weights, NEVER), where=there)
        constant = log_weights - 0.5 * (means**2 / variances + np.log(variances)).sum(axis=1)
        parts = log_linear, constant, weights, means, np.sqrt(variances)
        return cls(*(np.ascontiguousarray(part, np.float32) for part in parts))


def with_squares(x: NDArray[Real]) -> NDArray[Real]:
    """(n, 2 d): the values of ``x`` (n, d) and their squares."""
    n, d = x.shape
    both = np.empty((n, 2 * d), x.dtype)
    both[:, :d] = x
    np.square(x, out=both[:, d:])
    return both


def posteriors(both: NDArray[Real], tables: Tables) -> NDArray[Real]:
    """The probability of each Gaussian given each descriptor: (n, K), rows sum to 1; eq. 15 of [2].

    Args:
        both: ``with_squares`` of the descriptors.
    """
    gamma: NDArray[Real] = both @ tables.log_linear
    gamma += tables.log_constant
    gamma -= gamma.max(axis=1, keepdims=True)
    np.exp(gamma, out=gamma)
    gamma /= (gamma @ np.ones(gamma.shape[1], gamma.dtype))[:, None]
    return gamma


def gradients(counts: Reals, moments: Reals, tables: Tables) -> Reals:
    """Sums over descriptors of the normalized gradients, from their posterior-weighted sums.

    Args:
        counts: (K,) sums of posteriors.
        moments: (K, 2 d) posterior-weighted sums of values and squared values.

    Returns:
        (K, 2 d): by means, then by standard deviations; eq. 17 and 18 of [2] times the number of descriptors. Zeros
        where a component has weight 0.
    """
    _, _, weights, means, deviations = tables
    d = means.shape[1]
    n = counts[:, None]
    first, second = moments[:, :d], moments[:, d:]
    scale = np.sqrt(np.divide(1, weights, out=np.zeros_like(weights), where=weights > 0))[:, None]
    by_mean = (first - means * n) / deviations * scale
    variances = deviations**2
    by_deviation = (second - 2 * means * first + (means**2 - variances) * n) / variances
    return np.hstack([by_mean, by_deviation * (scale * np.sqrt(np.float32(0.5)))])


def _gradient_sums(gamma: NDArray[Real], both: NDArray[Real], tables: Tables) -> NDArray[Real]:
    """(K * 2 d,) ``gradients`` of descriptors with these posteriors."""
    # Products with ones are several times faster than NumPy's sums, here and in ``posteriors``.
    counts = np.ones(len(gamma), gamma.dtype) @ gamma
    return gradients(counts, gamma.T @ both, tables).ravel().astype(gamma.dtype, copy=False)


def fisher_vector(x: Array, mixture: Mixture, *, improved: bool = True) -> Array:
    """Fisher vector of the descriptors of one image.

    Args:
        x: float32 (n, d), n at least 1.
        mixture: K Gaussians.
        improved: signed square roots and unit length [1]; otherwise the plain mean over descriptors.

    Returns:
        float32 (K * 2 d,): for each Gaussian d values by its mean, d by its standard deviations.
    """
    tables = Tables.of(mixture)
    both = with_squares(x)
    vector = _gradient_sums(posteriors(both, tables), both, tables)
    return to_unit_length(signed_root(vector)) if improved else vector / np.float32(len(x))


class FisherVector(Encoder):
    """Fisher vector of local descriptors, over a spatial pyramid.

    Each cell of the pyramid has a vector of its own: signed square roots, then unit length. Each Gaussian has 2 d
    values in it, d by its means and d by its standard deviations, where d is the number of whitened values and 2
    more for the position.

    Args:
        descriptor: what is looked at.
        n_components: Gaussians of the mixture.
        pca: principal components of the descriptors that are kept, whitened; 0 for the descriptors as they are.
        positions: whether x and y, in parts of the image and scaled to unit variance, join each descriptor [3]; an
            alternative to a pyramid, at far fewer values.
        pyramid: grids, cells per side or (rows, columns).
        n_samples: descriptors to learn from.
        random_state: seed of what is drawn at random.
    """

    centered: ClassVar[bool] = True

    def __init__(
        self,
        descriptor: AnyDescriptor = DENSE_SIFT,
        n_components: Gaussians = 64,
        pca: Components = 64,
        positions: bool = True,
        pyramid: Pyramid = (1,),
        n_samples: SampleSize = 100_000,
        random_state: Seed = 0,
    ) -> None:
        self.descriptor = descriptor
        self.n_components = n_components
        self.pca = pca
        self.positions = positions
        self.pyramid = pyramid
        self.n_samples = n_samples
        self.random_state = random_state

    def _learn(self, white: Array) -> None:
        # Whitened values have unit variance, others are brought to it here: what is added to variances and the
        # start by k-means depend on it, the gradients do not.
        scale = white.std(axis=0, dtype=np.float64).astype(np.float32)
        scale[scale < 1e-6 * scale.max(initial=0)] = 1
        scale[scale == 0] = 1
        weights, means, variances = gaussian_mixture(white / scale, self.n_components, self.random_state)
        self._keep(Mixture(weights, means * scale, variances * scale**2))

    def _placeholder(self, n_values: int) -> None:
        k = self.n_components
        weights = np.full(k, 1 / k, np.float32)
        means = random_rows(k, n_values, self.random_state + 1)
        self._keep(Mixture(weights, means, np.ones_like(means)))

    def _keep(self, mixture: Mixture) -> None:
        """``codebook_`` float32 (K, 1 + 2 d): weight, means, variances of each component."""
        self.codebook_ = np.hstack([mixture.weights[:, None], mixture.means, mixture.variances])

    def _mixture(self) -> Mixture:
        means, variances = np.hsplit(self.codebook_[:, 1:], 2)
        return Mixture(self.codebook_[:, 0], means, variances)

    def _prepare(self) -> None:
        self._tables = Tables.of(self._mixture())

    def _width(self, n_values: int) -> int:
        return self.n_components * 2 * n_values

    def _sums(self, white: NDArray[Real], starts: NDArray[np.intp]) -> NDArray[Real]:
        both = with_squares(white)
        gamma = posteriors(both, self._tables)
        sums = np.empty((len(starts) - 1, self.n_components * both.shape[1]), white.dtype)
        for row, run in zip(sums, runs(starts), strict=True):
            part = gamma[run]
            row[:] = _gradient_sums(part, both[run], self._tables)
        return sums

    def _normalize(self, sums: Array) -> Array:
        return to_unit_length(signed_root(sums))

    def _shares(self, white: Reals, ratios: NDArray[np.float64]) -> NDArray[np.float64]:
        both = with_squares(white)
        gamma = posteriors(both, self._tables)
        k, width = self.n_components, both.shape[1]
        # Summands are linear in counts and moments: the gradient map, transposed, takes ratios to weights of those.
        shares = np.empty((len(white), ratios.shape[1]))
        for column, ratio in enumerate(ratios.T):
            constant, linear = _transposed_gradients(ratio.reshape(k, width), self._tables)
            shares[:, column] = (gamma * (both @ linear.T + constant)).sum(axis=1)
        return shares

    def _value_names(self, n_values: int) -> list[str]:
        kinds = [f"{kind}{value}" for kind in ("mean", "deviation") for value in range(n_values)]
        return [f"w{word}_{kind}" for word in range(self.n_components) for kind in kinds]


def _transposed_gradients(
    ratios: NDArray[np.float64], tables: Tables
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights of counts (K,) and of moments (K, 2 d) in the sum of ``ratios * gradients(counts, moments)``."""
    weights, means, deviations = (part.astype(np.float64) for part in tables[2:])
    scale = np.sqrt(np.divide(1, weights, out=np.zeros_like(weights), where=weights > 0))[:, None]
    by_mean, by_deviation = np.hsplit(ratios, 2)
    first = by_mean * scale / deviations
    second = by_deviation * scale * np.sqrt(0.5) / deviations**2
    constant = (second * (means**2 - deviations**2) - first * means).sum(axis=1)
    return constant, np.hstack([first - 2 * means * second, second])
