"""Each image against those near it, and against how near look-alikes are there.

A difference alone does not tell copies from look-alikes: plain trousers of 28 pixels resemble one another more than a
photo its cropped copy. What tells them is the ratio of the difference from the candidate to the differences from the
next nearest images, as in Lowe's test of keypoint matches (IJCV 2004, section 7.1): a copy is much nearer than what
merely looks alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.duplicates.hashes import VIEWS, perceptual_hashes
from classic_cv.checks.duplicates.matching import Details
from classic_cv.checks.duplicates.search import nearest

LOOK_ALIKE = 5
"""The look-alike that differences are compared with, counted from 0: up to five copies of an image may be nearer."""

CROWD = 0.05
"""Share of the images in the densest places. More copies than ``LOOK_ALIKE`` of an image would be compared with one
another only; no image's look-alikes are taken to be nearer than in these places."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """What is near each image, the most alike first.

    Attributes:
        others: int64 (n, k), positions of other images; -1 for none.
        views: int64 (n, k), which of ``VIEWS`` of the other looks most like the image.
        unexplained: float32 (n, k), see ``Details.unexplained``, ascending.
        scale: float32 (n,), how much the look-alikes of the image leave unexplained.
    """

    others: NDArray[np.int64]
    views: NDArray[np.int64]
    unexplained: NDArray[np.float32]
    scale: NDArray[np.float32]

    @property
    def ratios(self) -> NDArray[np.float32]:
        """float32 (n, k): unexplained shares over the look-alikes', of the image or the other, whichever is less."""
        scale = np.minimum(self.scale[:, None], np.where(self.others >= 0, self.scale[self.others], 1))
        return ratio(self.unexplained, scale)


def ratio(unexplained: NDArray[np.float32], scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """The one over the other; 1 where nothing is known of look-alikes because all are equal."""
    found = np.ones(np.broadcast_shapes(unexplained.shape, scale.shape), np.float32)
    return np.divide(unexplained, scale, out=found, where=scale > 0)


def compare(
    thumbnails: NDArray[np.uint8], made: NDArray[np.uint8], originals: NDArray[np.int64], seed: int
) -> tuple[Comparison, NDArray[np.float32]]:
    """Compare images with those near them, and copies made of some of them with all.

    Args:
        thumbnails: uint8 (n, THUMBNAIL, THUMBNAIL).
        made: uint8 (m, THUMBNAIL, THUMBNAIL), which no other image is compared with.
        originals: int64 (m,), the images that they were made of.

    Returns:
        the comparison of images, and of each copy the ratio with its original, float32 (m,): infinite where its
        original was not among the candidates.
    """
    n = len(thumbnails)
    hashes = np.concatenate(
        [*(perceptual_hashes(thumbnails, view) for view in VIEWS), perceptual_hashes(made)]
    )
    owners = np.concatenate([np.tile(np.arange(n), len(VIEWS)), np.full(len(made), -1)])
    asking = np.concatenate([np.arange(n), n * len(VIEWS) + np.arange(len(made))])
    found = nearest(hashes, owners, asking, seed=seed)
    others = np.where(found.entries >= 0, found.entries % max(n, 1), -1)
    views = np.maximum(found.entries, 0) // max(n, 1)
    details = Details().fit(thumbnails)
    whole = _sorted(others[:n], views[:n], details.unexplained(thumbnails, thumbnails, others[:n], views[:n]))
    crowd = float(np.quantile(whole[2][:, LOOK_ALIKE], CROWD))
    scale = np.maximum(whole[2][:, LOOK_ALIKE], np.float32(crowd))
    copies = _sorted(others[n:], views[n:], details.unexplained(made, thumbnails, others[n:], views[n:]))
    return Comparison(*whole, scale), _ratios_of_copies(copies, originals, scale, crowd)


def _sorted(
    others: NDArray[np.int64], views: NDArray[np.int64], unexplained: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    order = np.argsort(unexplained, axis=1, kind="stable")
    first, second = (np.take_along_axis(array, order, axis=1) for array in (others, views))
    return first, second, np.take_along_axis(unexplained, order, axis=1)


def _ratios_of_copies(
    copies: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]],
    originals: NDArray[np.int64],
    scale: NDArray[np.float32],
    crowd: float,
) -> NDArray[np.float32]:
    others, _, unexplained = copies
    own = np.minimum(np.maximum(unexplained[:, LOOK_ALIKE], np.float32(crowd)), scale[originals])
    ratios = ratio(unexplained, own[:, None])
    found: NDArray[np.float32] = np.where(others == originals[:, None], ratios, np.inf).min(axis=1)
    return found.astype(np.float32)
