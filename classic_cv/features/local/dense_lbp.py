"""Histograms of local binary patterns in windows on a dense grid: texture as local descriptors.

Labels are those of ``classic_cv.features.lbp`` with 8 samples at radius 1 (Ojala, Pietikäinen and Mäenpää
2002). Counts are whole numbers, so results do not depend on the order of summation.
"""

from __future__ import annotations

import math
from typing import Annotated

import cv2
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from classic_cv.features.base import Image
from classic_cv.features.lbp import Method, local_binary_patterns, n_labels, to_gray
from classic_cv.features.local._dense import grid_line, grid_places, grid_size
from classic_cv.features.local.base import LocalDescriptor, LocalFeatures

WindowSide = Annotated[int, Meta(ge=2, le=1024)]
WindowSides = Annotated[tuple[WindowSide, ...], Meta(min_length=1)]
Step = Annotated[int, Meta(ge=1, le=256)]

POINTS = 8
RADIUS = 1.0


def block_counts(labels: NDArray[np.uint8], n: int, block: int) -> NDArray[np.float32]:
    """How often each label occurs in each block: float32 (height // block, width // block, n)."""
    down, across = labels.shape[0] // block, labels.shape[1] // block
    starts = np.arange(0, down * across * n, n).reshape(down, across)
    index = starts.repeat(block, axis=1).repeat(block, axis=0)
    index += labels
    counts = np.bincount(index.ravel(), minlength=down * across * n)
    return counts.astype(np.float32).reshape(down, across, n)


def label_shares(labels: NDArray[np.uint8], window: int, step: int, out: NDArray[np.float32]) -> None:
    """Shares of each label in square windows on a dense grid.

    Args:
        labels: uint8 (height, width), values below ``n``; at least ``window`` pixels a side.
        window: pixels of a side.
        step: pixels between windows.
        out: float32 (windows, n), row by row; each row sums to 1.
    """
    (top, rows), (left, columns) = (grid_line(length, window, step) for length in labels.shape)
    # Windows consist of whole blocks: labels are counted per block, then blocks summed.
    block = math.gcd(window, step)
    bottom, right = (first + (n - 1) * step + window for first, n in ((top, rows), (left, columns)))
    counts = block_counts(labels[top:bottom, left:right], out.shape[1], block)
    # The box is anchored at its first block; sums of whole numbers are exact in float32 up to 2^24.
    side, stride = window // block, step // block
    sums = cv2.boxFilter(counts, cv2.CV_32F, (side, side), anchor=(0, 0), normalize=False)
    chosen = sums[: rows * stride : stride, : columns * stride : stride]
    np.divide(chosen, np.float32(window * window), out=out.reshape(rows, columns, -1))


def dense_lbp(
    gray: NDArray[np.uint8], windows: tuple[int, ...], step: int, method: Method, root: bool
) -> NDArray[np.float32]:
    """``label_shares`` of the labels of uint8 (height, width), one size of windows after the other.

    Returns:
        float32 (n, number of labels), values 0 to 1: shares, or their square roots when ``root``. Windows
        larger than the image have none.
    """
    sizes = [grid_size(gray.shape, window, step) for window in windows]
    out = np.empty((sum(sizes), n_labels(POINTS, method)), np.float32)
    if len(out):
        labels = np.asarray(local_binary_patterns(gray[None], POINTS, RADIUS, method)[0], np.uint8)
        for window, part in zip(windows, np.split(out, np.cumsum(sizes)[:-1]), strict=True):
            if len(part):
                label_shares(labels, window, step, part)
        if root:
            np.sqrt(out, out=out)
    return out


class DenseLBP(LocalDescriptor, frozen=True, tag="dense-lbp"):
    """Histograms of uniform local binary patterns in square windows on a dense grid; color as gray.

    Args:
        window: pixels of a side of a window, one scale each.
        step: pixels between windows.
        method: ``uniform`` is rotation-invariant with 10 labels, ``nri_uniform`` has 59.
        root: square root of the histogram, which then has Euclidean norm 1.
    """

    window: WindowSides = (16, 24, 32)
    step: Step = 4
    method: Method = "uniform"
    root: bool = True

    def n_values(self, color: bool) -> int:
        """10 for ``uniform``, 59 for ``nri_uniform``."""
        return n_labels(POINTS, self.method)

    def describe(self, image: Image) -> LocalFeatures:
        """Histograms of windows of one image, scale by scale, row by row; values 0 to 1."""
        gray = to_gray(np.ascontiguousarray(image)[None])[0]
        windows = tuple(self.window)
        descriptors = dense_lbp(gray, windows, self.step, self.method, self.root)
        return LocalFeatures(descriptors, *grid_places(*gray.shape, windows, self.step))
