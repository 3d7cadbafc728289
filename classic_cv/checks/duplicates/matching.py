"""How alike two images are in their details, whatever small crop, gain or offset lies between them.

An image is described by the low frequencies of its thumbnail, each divided by how much it varies among the images of
this data: what all of them share (a dark background, the outline of a shirt) counts for little, what sets one apart
for much. Of two images the second is then explained by the first and by what the first becomes when it is shifted,
stretched, brightened or dimmed a little: the plane of these changes (the tangent distance of Simard, LeCun and
Denker, NIPS 1993). What is left unexplained is small for copies, and near 1 for images that have nothing in common.
"""

from __future__ import annotations

import functools
from typing import Self

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.duplicates.hashes import PLAIN, VIEWS, Array, View, cosines, seen
from classic_cv.checks.survey import THUMBNAIL

FREQUENCIES = 12
"""Frequencies a side. With 16 and more, compression at quality 40 takes away much of what images of 28 pixels have in
common with their copies; with 10, look-alikes come as near as copies."""

TAPER = 3
"""Thumbnail pixels at each side that fade out: a crop replaces them."""

NOISE = 1.0
"""Gray levels by which a frequency varies between copies at least: what rounding does."""

LEAST_DETAIL = 2.0
"""Variance of the description, in units of the noise, below which an image shows nothing to go by: a blank one."""

GAIN = 1.6
"""The most that copies differ in contrast, as a factor: twice as much as 20 % brighter pixels and some clipping. Two
shirts of one cut in black and in gray differ in nothing else."""

RIDGE = 1e-4
"""Added to the correlations of the changes: an image that varies along one direction only has fewer of them."""

CHUNK = 256
"""Images compared with all their candidates at a time."""


@functools.cache
def _operators() -> tuple[Array, Array, Array, Array]:
    """From a line of pixels to frequencies of itself, of its derivative, of that times the place, and of its second
    derivative."""
    distance = np.minimum(np.arange(THUMBNAIL), np.arange(THUMBNAIL)[::-1]) + 0.5
    window = np.sin(np.pi / 2 * np.minimum(1, distance / TAPER)) ** 2
    derivative = np.gradient(np.eye(THUMBNAIL), axis=0)
    second = np.diff(np.pad(np.eye(THUMBNAIL), ((1, 1), (0, 0)), mode="edge"), n=2, axis=0)
    place = (np.arange(THUMBNAIL) + 0.5) / THUMBNAIL * 2 - 1
    faded = cosines(FREQUENCIES) * window
    return (
        faded.astype(np.float32),
        (faded @ derivative).astype(np.float32),
        (faded @ (place[:, None] * derivative)).astype(np.float32),
        (faded @ second).astype(np.float32),
    )


class Details:
    """Descriptions of thumbnails, and how much of one another leaves unexplained.

    Attributes:
        weights_: float32 (FREQUENCIES, FREQUENCIES).
    """

    def fit(self, thumbnails: NDArray[np.uint8]) -> Self:
        """Learn how much each frequency varies among thumbnails (n, THUMBNAIL, THUMBNAIL), n at least 1."""
        level = _operators()[0]
        spread = seen(level, level, thumbnails, PLAIN).std(axis=0)
        self.weights_: Array = (1 / (spread + NOISE)).astype(np.float32)
        return self

    def describe(self, thumbnails: NDArray[np.uint8], view: View = PLAIN) -> Array:
        """float32 (n, FREQUENCIES ** 2): the weighted frequencies of thumbnails, seen so."""
        level = _operators()[0]
        found: Array = (seen(level, level, thumbnails, view) * self.weights_).reshape(
            len(thumbnails), FREQUENCIES**2
        )
        return found

    def changes(self, thumbnails: NDArray[np.uint8]) -> Array:
        """What each image may become: orthonormal rows, float32 (n, 7, FREQUENCIES ** 2).

        They span a constant image, the image itself, its shifts and stretches along both axes, and its Laplacian: an
        image that was made smaller and large again, or compressed, is blurred. Of 200 copies at 70 % of the size, among
        10,000 clothes, 98 % were nearer than the limit with it and 70 % without, for as many clothes below it.
        """
        level, slope, stretch, second = _operators()
        constant = np.broadcast_to(
            np.outer(level.sum(axis=1), level.sum(axis=1)), (len(thumbnails), *self.weights_.shape)
        )
        pairs = ((level, level), (level, slope), (slope, level), (level, stretch), (stretch, level))
        moved = [constant, *(seen(down, across, thumbnails, PLAIN) for down, across in pairs)]
        moved.append(seen(second, level, thumbnails, PLAIN) + seen(level, second, thumbnails, PLAIN))
        rows = (
            (np.stack(moved, axis=1) * self.weights_)
            .reshape(len(thumbnails), len(moved), -1)
            .astype(np.float64)
        )
        rows /= np.maximum(np.linalg.norm(rows, axis=2, keepdims=True), 1e-9)
        gram = rows @ rows.transpose(0, 2, 1) + RIDGE * np.eye(len(moved))
        basis: Array = np.linalg.solve(np.linalg.cholesky(gram), rows).astype(np.float32)
        return basis

    def detail(self, described: Array) -> Array:
        """How much there is to go by in descriptions (..., FREQUENCIES ** 2): energy without the constant part."""
        level = _operators()[0]
        constant = (np.outer(level.sum(axis=1), level.sum(axis=1)) * self.weights_).ravel()
        constant = constant / np.linalg.norm(constant)
        energy: Array = np.square(described).sum(axis=-1) - np.square(described @ constant)
        return energy

    def unexplained(
        self,
        thumbnails: NDArray[np.uint8],
        others: NDArray[np.uint8],
        candidates: NDArray[np.int64],
        views: NDArray[np.int64],
    ) -> Array:
        """The share of each candidate's details that an image does not explain.

        Args:
            thumbnails: uint8 (n, THUMBNAIL, THUMBNAIL).
            others: uint8 (m, THUMBNAIL, THUMBNAIL), which the candidates are taken from.
            candidates: int64 (n, k), rows of ``others``; -1 for none.
            views: int64 (n, k), which of ``VIEWS`` of the candidate to look at.

        Returns:
            float32 (n, k), 0 to 1; 1 also where there is no candidate, nothing to go by in it or
            in the image, or more contrast in one than in the other than copies have.
        """
        shares = np.ones(candidates.shape, np.float32)
        for start in range(0, len(thumbnails), CHUNK):
            part = slice(start, start + CHUNK)
            described = self._seen(others, candidates[part], views[part])
            explained = np.square(described @ self.changes(thumbnails[part]).transpose(0, 2, 1)).sum(axis=2)
            left = np.square(described).sum(axis=2) - explained
            detail = self.detail(described)
            own = self.detail(self.describe(thumbnails[part]))[:, None]
            known = (np.minimum(detail, own) >= self.least_detail) & (candidates[part] >= 0)
            known &= np.maximum(detail, own) <= GAIN**2 * np.minimum(detail, own)
            np.divide(left, detail, out=shares[part], where=known)
        return np.clip(shares, 0, 1)

    @property
    def least_detail(self) -> float:
        """Energy of a description below which there is nothing to go by."""
        return float(LEAST_DETAIL * NOISE**2 * np.square(self.weights_).sum())

    def _seen(
        self, others: NDArray[np.uint8], candidates: NDArray[np.int64], views: NDArray[np.int64]
    ) -> Array:
        described = np.zeros((*candidates.shape, FREQUENCIES**2), np.float32)
        for number, view in enumerate(VIEWS):
            chosen = (views == number) & (candidates >= 0)
            described[chosen] = self.describe(others[candidates[chosen]], view)
        return described
