"""Local color statistics: mean and standard deviation of each channel in 4 x 4 cells of patches on a dense grid.

The color descriptor of Clinchant et al. (2007 [1]) and of Perronnin, Sánchez and Mensink (2010 [2]), 96 values
in color; Fisher vectors of it complement those of SIFT.

Sums over cells come from tables of sums (Crow 1984), which are exact: pixels are 8-bit.

[1] Clinchant, Csurka, Perronnin and Renders, XRCE's participation to ImageEval, 2007.
[2] Perronnin, Sánchez and Mensink, Improving the Fisher kernel for large-scale image classification, ECCV 2010.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import cv2
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from classic_cv.features.base import Image
from classic_cv.features.color import color_planes
from classic_cv.features.local._dense import box_sums, grid_line, grid_places, grid_size, sum_tables
from classic_cv.features.local.base import LocalDescriptor, LocalFeatures

CellSide = Annotated[float, Meta(ge=1, le=256)]
CellSides = Annotated[tuple[CellSide, ...], Meta(min_length=1)]
Step = Annotated[int, Meta(ge=1, le=256)]
ColorSpace = Literal["rgb", "lab", "opponent"]

CELLS = 4
"""Cells per side of a patch."""

LEVELS = 255.0
"""What a value of 1 stands for, in gray levels."""

BAND_VALUES = 2**14
"""Cells times channels that are computed at a time."""


def cell_statistics(
    sums: NDArray[Any], squares: NDArray[np.float64], cell: int, step: int, out: NDArray[np.float32]
) -> None:
    """Means and standard deviations of the cells of all patches, one size of cells.

    Args:
        sums, squares: (height + 1, width + 1, channels) sums of an 8-bit image and of its squares over all
            pixels above and to the left (``sum_tables``); the image is at least ``4 cell`` pixels a side.
        cell: pixels of a side of a cell.
        step: pixels between patches.
        out: float32 (patches, 4 * 4 * channels * 2): patches row by row, cells row by row, channel by channel
            mean and standard deviation, in units of 255 levels.
    """
    height, width, channels = sums.shape
    (top, rows), (left, columns) = (grid_line(length - 1, CELLS * cell, step) for length in (height, width))
    # Patches share cells: those of all patches lie on a grid of this pitch.
    pitch = math.gcd(cell, step)
    stride, apart = step // pitch, cell // pitch
    down, across = ((count - 1) * stride + (CELLS - 1) * apart + 1 for count in (rows, columns))
    both = np.empty((down, across, channels, 2), np.float32)
    # In bands whose float64 values stay in the cache.
    band = max(1, BAND_VALUES // (across * channels))
    for start in range(0, down, band):
        part = both[start : start + band]
        place = (cell, pitch, top + start * pitch, len(part), left, across)
        mean, variance = (box_sums(table, *place) / (cell * cell) for table in (sums, squares))
        variance -= mean * mean
        part[..., 0] = mean
        # Rounding can leave a variance just below 0.
        np.sqrt(np.maximum(variance, 0), out=part[..., 1], casting="same_kind")
        part *= np.float32(1 / LEVELS)
    y, x, channel, value = both.strides
    # This constructor checks the bounds of the view, unlike as_strided.
    windows: NDArray[np.float32] = np.ndarray(
        (rows, columns, CELLS, CELLS, channels, 2),
        np.float32,
        both,
        0,
        (stride * y, stride * x, apart * y, apart * x, channel, value),
    )
    np.copyto(out.reshape(windows.shape), windows)


def local_color(image: NDArray[np.uint8], cells: tuple[int, ...], step: int) -> NDArray[np.float32]:
    """``cell_statistics`` of uint8 (height, width, channels), one size of cells after the other.

    Returns:
        float32 (n, 32 * channels), values 0 to 1; sizes of cells that make the patch larger than the image
        have none.
    """
    sizes = [grid_size(image.shape, CELLS * cell, step) for cell in cells]
    out = np.empty((sum(sizes), 2 * CELLS**2 * image.shape[2]), np.float32)
    if len(out):
        tables = sum_tables(image)
        for cell, part in zip(cells, np.split(out, np.cumsum(sizes)[:-1]), strict=True):
            if len(part):
                cell_statistics(*tables, cell, step, part)
    return out


def image_in(image: Image, space: ColorSpace) -> NDArray[np.uint8]:
    """uint8 (height, width, channels), C-contiguous: 1 channel of a gray image, 3 in ``space`` of an RGB one."""
    image = np.ascontiguousarray(image)
    if image.ndim == 2:
        return image[..., None]
    if space == "rgb":
        return image
    return np.asarray(cv2.merge([plane[0] for plane in color_planes(image[None], space)]), np.uint8)


class LocalColor(LocalDescriptor, frozen=True, tag="local-color"):
    """Mean and standard deviation of each channel in 4 x 4 square cells, on a dense grid: 96 values, of gray 32.

    Args:
        bins: pixels of a side of a cell, one scale each, rounded to whole pixels; a patch is 4 cells a side.
            The same numbers cover about the same places as in ``DenseSIFT``.
        step: pixels between patches.
        space: ``rgb``, ``lab`` or ``opponent``, 8-bit as in ``color_planes``; does not matter to gray images.
    """

    bins: CellSides = (4.0, 6.0, 8.0, 10.0)
    step: Step = 4
    space: ColorSpace = "rgb"

    def n_values(self, color: bool) -> int:
        """96 in color, 32 in gray."""
        return 2 * CELLS**2 * (3 if color else 1)

    def describe(self, image: Image) -> LocalFeatures:
        """Statistics of patches of one image, scale by scale, row by row; values 0 to 1."""
        cells = tuple(round(side) for side in self.bins)
        descriptors = local_color(image_in(image, self.space), cells, self.step)
        patches = tuple(CELLS * cell for cell in cells)
        return LocalFeatures(descriptors, *grid_places(*image.shape[:2], patches, self.step))
