"""Bags of visual words: how often each word of a codebook occurs among an image's local descriptors [1].

Soft assignment shares a descriptor among its nearest words only [3]: a kernel codebook [2] without the many far
words, whose small shares add up to noise.

[1] Csurka, Dance, Fan, Willamowski and Bray, Visual categorization with bags of keypoints, ECCV workshop 2004.
[2] van Gemert, Geusebroek, Veenman and Smeulders, Kernel codebooks for scene categorization, ECCV 2008.
[3] Liu, Wang and Liu, In defense of soft-assignment coding, ICCV 2011.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
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
    Words,
    random_rows,
)
from classic_cv.features.encoding.codebook import k_means, score_table
from classic_cv.features.local import AnyDescriptor

NEIGHBORS = 5
"""Words that share a descriptor, as in [3]."""

LAST_SHARE = 2.0
"""On average the last of them gets a share of e^-2 of the first's: neither hard nor even, in whatever units."""

BLOCK_SCORES = 2**20
"""Scores computed at a time: 4 MB, whatever the number of words; smaller blocks are not faster."""

SCALE_SAMPLES = 10_000
"""Descriptors that this average is taken over."""


def nearest_words(x: NDArray[Real], table: Array, neighbors: int) -> tuple[NDArray[np.intp], NDArray[Real]]:
    """The words with the largest scores, the largest first.

    Args:
        x: (n, d) descriptors.
        table: float32 (d + 1, n_words), see ``score_table``.
        neighbors: at most n_words.

    Returns:
        Words and scores, both (n, neighbors).
    """
    words = np.empty((len(x), neighbors), np.intp)
    found = np.empty((len(x), neighbors), x.dtype)
    rows = max(1, BLOCK_SCORES // table.shape[1])
    for start in range(0, len(x), rows):
        part = slice(start, start + rows)
        scores = x[part] @ table[:-1]
        scores += table[-1]
        each = np.arange(len(scores))
        # A few times the maximum: faster than to partition rows of a thousand.
        for rank in range(neighbors):
            word = words[part, rank] = scores.argmax(axis=1)
            found[part, rank] = scores[each, word]
            scores[each, word] = -np.inf
    return words, found


def soft_shares(scores: NDArray[Real]) -> NDArray[Real]:
    """Shares of words in a descriptor from scores (n, neighbors), the largest first: exp of scores, sum 1."""
    shares: NDArray[Real] = np.exp(scores - scores[:, :1])
    shares /= shares.sum(axis=1, keepdims=True)
    return shares


def smoothing(x: Array, table: Array, neighbors: int) -> float:
    """The factor of scores that makes the gap between first and last neighbor ``LAST_SHARE`` on average."""
    _, scores = nearest_words(x[:: -(-len(x) // SCALE_SAMPLES)], table, neighbors)
    gap = float(np.mean(scores[:, 0] - scores[:, -1], dtype=np.float64))
    return LAST_SHARE / gap if gap > 0 else 1.0


class BagOfVisualWords(Encoder):
    """Histogram of visual words of local descriptors, over a spatial pyramid.

    Args:
        descriptor: what is looked at.
        n_words: words of the codebook, learned by k-means.
        assignment: ``hard``, each descriptor counts for its nearest word, or ``soft``, it is shared by the nearest
            five.
        pca: principal components of the descriptors that are kept, whitened; 0 for the descriptors as they are.
        pyramid: grids, cells per side or (rows, columns).
        hellinger: square root of each cell's shares, which sum to 1.
        n_samples: descriptors to learn from.
        random_state: seed of what is drawn at random.
    """

    def __init__(
        self,
        descriptor: AnyDescriptor = DENSE_SIFT,
        n_words: Words = 1000,
        assignment: Literal["hard", "soft"] = "hard",
        pca: Components = 64,
        pyramid: Pyramid = (1,),
        hellinger: bool = True,
        n_samples: SampleSize = 100_000,
        random_state: Seed = 0,
    ) -> None:
        self.descriptor = descriptor
        self.n_words = n_words
        self.assignment = assignment
        self.pca = pca
        self.pyramid = pyramid
        self.hellinger = hellinger
        self.n_samples = n_samples
        self.random_state = random_state

    def _learn(self, white: Array) -> None:
        centers = k_means(white, self.n_words, self.random_state)
        table = score_table(centers, self.n_words)
        neighbors = min(NEIGHBORS, len(centers))
        if self.assignment == "soft" and neighbors > 1:
            table[:, : len(centers)] *= np.float32(smoothing(white, table, neighbors))
        self.codebook_ = table

    def _placeholder(self, n_values: int) -> None:
        self.codebook_ = score_table(random_rows(self.n_words, n_values, self.random_state + 1), self.n_words)

    def _prepare(self) -> None:
        """Nothing: the codebook is a table of scores."""

    def _width(self, n_values: int) -> int:
        return self.n_words

    def _assign(self, white: NDArray[Real]) -> tuple[NDArray[np.intp], NDArray[Real]]:
        """Words and what the descriptor counts for each, both (n, neighbors)."""
        if self.assignment == "hard":
            words, _ = nearest_words(white, self.codebook_, 1)
            return words, np.ones(words.shape, white.dtype)
        words, scores = nearest_words(white, self.codebook_, min(NEIGHBORS, self.n_words))
        return words, soft_shares(scores)

    def _sums(self, white: NDArray[Real], starts: NDArray[np.intp]) -> NDArray[Real]:
        words, shares = self._assign(white)
        n_pieces = len(starts) - 1
        piece = np.repeat(np.arange(n_pieces), np.diff(starts))[:, None]
        size = n_pieces * self.n_words
        counts = np.bincount((piece * self.n_words + words).ravel(), shares.ravel(), size)
        return counts.reshape(n_pieces, self.n_words).astype(white.dtype)

    def _normalize(self, sums: Array) -> Array:
        totals = sums.sum(axis=1, keepdims=True)
        np.divide(sums, totals, out=sums, where=totals > 0)
        return np.sqrt(sums, out=sums) if self.hellinger else sums

    def _shares(self, white: Reals, ratios: NDArray[np.float64]) -> NDArray[np.float64]:
        words, shares = self._assign(white)
        return np.asarray((shares[:, :, None] * ratios[words]).sum(axis=1), np.float64)

    def _value_names(self, n_values: int) -> list[str]:
        return [f"w{word}" for word in range(self.n_words)]
