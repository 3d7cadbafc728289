"""Gradients of 8-bit images as rows of a table: the first stage of HOG.

Gradients of 8-bit pixels are integers in [-255, 255], so there are only 511 x 511 of them, and what a pixel
adds to its orientation histogram can be looked up. No angle is computed per pixel.
"""

from __future__ import annotations

import functools

import cv2
import numpy as np
from numpy.typing import NDArray

SPAN = 511
"""Values that one gradient component can take."""

N_GRADIENTS = SPAN * SPAN
"""Rows of an orientation table."""

BUILD_ROWS = 16 * SPAN
"""Rows of a table that are computed at a time."""

ZERO_GRADIENT = N_GRADIENTS // 2
"""The row of the gradient (0, 0)."""


class GradientIndex:
    """Finds the table row of each pixel's gradient in stacks of images of one shape; owns the buffers for it.

    The gradient is the central difference ``I[x + 1] - I[x - 1]``; across the border of an image it is 0. In
    color images a pixel has the gradient of the channel where it is largest by squared magnitude, the first
    of equals.

    Args:
        n, height, width: the shape of the stack.
        channels: 1 for stacks (n, height, width), 3 for (n, height, width, 3).
    """

    def __init__(self, n: int, height: int, width: int, channels: int) -> None:
        # int32, because NumPy widens it to intp in half the time that float32 takes.
        self.pixels, self.dx, self.dy = np.zeros((3, channels * n, height, width), np.int32)
        planes = (channels, n * height, width)
        self.planes = list(np.empty(planes, np.uint8))
        self.pixel_planes, self.dx_planes, self.dy_planes = (
            list(stack.reshape(planes)) for stack in (self.pixels, self.dx, self.dy)
        )
        self.stronger = np.empty((n * height, width), np.uint8)
        self.index = np.empty((n, height, width), np.intp)
        # One long vector instead of rows; what runs over the seams between rows and images is overwritten.
        # Views are made once, since making one takes as long as subtracting 2,000 pixels.
        pixels = self.pixels.reshape(-1)
        self.x_terms = pixels[2:], pixels[:-2], self.dx.reshape(-1)[1:-1]
        self.y_terms = pixels[2 * width :], pixels[: -2 * width], self.dy.reshape(-1)[width:-width]
        self.x_border = self.dx[:, :, :: max(width - 1, 1)]
        self.y_border = self.dy[:, :: max(height - 1, 1)]

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.intp]:
        """``511 * (dx + 255) + (dy + 255)`` as (n, height, width), valid until the next call."""
        if images.ndim == 3:
            np.copyto(self.pixels, images)
            self._subtract()
        else:
            rows = np.ascontiguousarray(images).reshape(*self.stronger.shape, 3)
            cv2.split(rows, self.planes)
            for plane, pixels in zip(self.planes, self.pixel_planes, strict=True):
                np.copyto(pixels, plane)
            self._subtract()
            self._select_strongest()
        dx, dy = self.dx[: len(self.index)], self.dy[: len(self.index)]
        np.multiply(dx, SPAN, out=dx)
        np.add(dx, dy, out=dx)
        np.add(dx, ZERO_GRADIENT, out=dx)
        np.copyto(self.index, dx)
        return self.index

    def _subtract(self) -> None:
        right, left, dx = self.x_terms
        below, above, dy = self.y_terms
        np.subtract(right, left, out=dx)
        np.subtract(below, above, out=dy)
        self.x_border.fill(0)
        self.y_border.fill(0)

    def _select_strongest(self) -> None:
        """Copy the strongest channel's gradient to the first third of ``dx`` and ``dy``."""
        # Plane by plane, in the memory of the pixels, which are done with: what fits the cache is fast.
        strongest, squared, other = self.pixel_planes
        for channel, (dx, dy) in enumerate(zip(self.dx_planes, self.dy_planes, strict=True)):
            target = squared if channel else strongest
            np.multiply(dx, dx, out=target)
            np.multiply(dy, dy, out=other)
            np.add(target, other, out=target)
            if channel:
                np.greater(squared, strongest, out=self.stronger.view(np.bool_))
                np.maximum(squared, strongest, out=strongest)
                # cv2.copyTo takes a fifth of the time of np.copyto(..., where=...).
                cv2.copyTo(dx, self.stronger, self.dx_planes[0])
                cv2.copyTo(dy, self.stronger, self.dy_planes[0])


@functools.lru_cache(maxsize=8)
def orientation_tables(
    orientations: int, signed: bool, interpolation: str
) -> tuple[NDArray[np.float32], ...]:
    """What a pixel adds to the bins of its orientation histogram, for every possible gradient.

    The bins are cut into groups of 8, 4, 2 and 1, because ``np.take`` has specialized copies for rows of 32,
    16, 8 and 4 bytes: 9 bins as 8 + 1 are looked up in less than half the time of rows of 36 bytes. (float16
    rows would be no faster, and too coarse.)

    Returns:
        For each group a float32 (511 * 511, bins of the group), in the order of the bins.
    """
    sizes = [8] * (orientations // 8) + [bit for bit in (4, 2, 1) if orientations & bit]
    tables = tuple(np.empty((N_GRADIENTS, size), np.float32) for size in sizes)
    # In pieces: the whole at once would need three times the memory of the tables.
    for start in range(0, N_GRADIENTS, BUILD_ROWS):
        dx, dy = np.divmod(np.arange(start, min(start + BUILD_ROWS, N_GRADIENTS)), SPAN)
        votes = orientation_votes(dx - 255.0, dy - 255.0, orientations, signed, interpolation)
        for table, part in zip(tables, np.split(votes, np.cumsum(sizes)[:-1], axis=1), strict=True):
            table[start : start + len(part)] = part
    return tables


def orientation_votes(
    dx: NDArray[np.float64], dy: NDArray[np.float64], orientations: int, signed: bool, interpolation: str
) -> NDArray[np.float32]:
    """float32 (n, orientations): gradient magnitudes in the bins of their orientations.

    The half circle (the full circle if ``signed``) is cut into equal bins, the first starting at 0 degrees.
    With ``"bilinear"`` a magnitude is shared between the two bins with the nearest centers, in a circle.
    """
    period = 360.0 if signed else 180.0
    magnitude = np.hypot(dx, dy)
    angle = np.rad2deg(np.arctan2(dy, dx)) % period
    votes = np.zeros((len(dx), orientations), np.float32)
    rows = np.arange(len(dx))
    if interpolation == "bilinear":
        position = angle * (orientations / period) - 0.5
        lower = np.floor(position).astype(np.intp)
        share = position - lower
        votes[rows, lower % orientations] += magnitude * (1.0 - share)
        votes[rows, (lower + 1) % orientations] += magnitude * share
    else:
        # float32 edges, as scikit-image has them: 20 degrees of 9 bins are exact, 180 / 7 are not.
        edges = (period / orientations * np.arange(1, orientations)).astype(np.float32)
        votes[rows, np.searchsorted(edges, angle, side="right")] = magnitude
    return votes
