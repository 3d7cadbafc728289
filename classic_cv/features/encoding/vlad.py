"""VLAD: for each visual word the sum of what its descriptors differ from it by [1].

[1] Jegou, Douze, Schmid and Perez, Aggregating local descriptors into a compact image representation, CVPR 2010.
[2] Jegou, Perronnin, Douze, Sanchez, Perez and Schmid, Aggregating local image descriptors into compact codes,
    PAMI 2012: signed square roots.
[3] Arandjelovic and Zisserman, All about VLAD, CVPR 2013: each word to unit length.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from classic_cv.features.encoding.bag_of_visual_words import nearest_words
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
    signed_root,
    to_unit_length,
)
from classic_cv.features.encoding.codebook import k_means, score_table
from classic_cv.features.local import AnyDescriptor

VLADWords = Annotated[int, Meta(ge=1, le=4096)]


def residual_sums(
    x: NDArray[Real], words: NDArray[np.intp], centers: Array, starts: NDArray[np.intp]
) -> NDArray[Real]:
    """Sums of ``x - centers[words]`` over the rows of each word in each run of rows.

    Args:
        x: (n, d).
        words: (n,) number of the word of each row.
        centers: float32 (n_words, d).
        starts: (n_runs + 1,) where runs start and end.

    Returns:
        (n_runs, n_words, d).
    """
    n_runs, (n_words, d) = len(starts) - 1, centers.shape
    sums = np.zeros((n_runs * n_words, d), x.dtype)
    joined = np.repeat(np.arange(n_runs), np.diff(starts)) * n_words + words
    order = np.argsort(joined, kind="stable")
    joined = joined[order]
    first = np.flatnonzero(np.diff(joined, prepend=-1))
    sums[joined[first]] = np.add.reduceat(x[order] - centers[words[order]], first, axis=0)
    return sums.reshape(n_runs, n_words, d)


class VLAD(Encoder):
    """Vector of locally aggregated descriptors, over a spatial pyramid.

    Each cell of the pyramid has a vector of its own, of unit length, with d values for each word, where d is the number
    of whitened values.

    Args:
        descriptor: what is looked at.
        n_words: words of the codebook, learned by k-means.
        pca: principal components of the descriptors that are kept, whitened; 0 for the descriptors as they are.
        root: signed square root of each value [2].
        intra: each word's values to unit length, so that no word that occurs in bursts outweighs the others [3].
        pyramid: grids, cells per side or (rows, columns).
        n_samples: descriptors to learn from.
        random_state: seed of what is drawn at random.
    """

    centered: ClassVar[bool] = True

    def __init__(
        self,
        descriptor: AnyDescriptor = DENSE_SIFT,
        n_words: VLADWords = 64,
        pca: Components = 64,
        root: bool = True,
        intra: bool = False,
        pyramid: Pyramid = (1,),
        n_samples: SampleSize = 100_000,
        random_state: Seed = 0,
    ) -> None:
        self.descriptor = descriptor
        self.n_words = n_words
        self.pca = pca
        self.root = root
        self.intra = intra
        self.pyramid = pyramid
        self.n_samples = n_samples
        self.random_state = random_state

    def _learn(self, white: Array) -> None:
        self.codebook_ = score_table(k_means(white, self.n_words, self.random_state), self.n_words)

    def _placeholder(self, n_values: int) -> None:
        self.codebook_ = score_table(random_rows(self.n_words, n_values, self.random_state + 1), self.n_words)

    def _prepare(self) -> None:
        self._centers = np.ascontiguousarray(self.codebook_[:-1].T)

    def _width(self, n_values: int) -> int:
        return self.n_words * n_values

    def _assign(self, white: Reals) -> NDArray[np.intp]:
        return nearest_words(white, self.codebook_, 1)[0][:, 0]

    def _sums(self, white: NDArray[Real], starts: NDArray[np.intp]) -> NDArray[Real]:
        sums = residual_sums(white, self._assign(white), self._centers, starts)
        return sums.reshape(len(sums), -1)

    def _normalize(self, sums: Array) -> Array:
        if self.root:
            signed_root(sums)
        if self.intra:
            to_unit_length(sums.reshape(len(sums), self.n_words, -1))
        return to_unit_length(sums)

    def _shares(self, white: Reals, ratios: NDArray[np.float64]) -> NDArray[np.float64]:
        words = self._assign(white)
        by_word = ratios.reshape(self.n_words, -1, ratios.shape[1])
        shares = np.zeros((len(white), ratios.shape[1]))
        for word in np.unique(words):
            there = words == word
            shares[there] = (white[there] - self._centers[word]) @ by_word[word]
        return shares

    def _value_names(self, n_values: int) -> list[str]:
        return [f"w{word}_{value}" for word in range(self.n_words) for value in range(n_values)]
