"""What the histogram extractors share: batches of equal-size images, counts per cell of a spatial grid."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import cv2
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from classic_cv.features.base import Image, Images, Regions

GridSide = Annotated[int, Meta(ge=1, le=64)]
# Not tuple[GridSide, GridSide]: in a union with a bounded int, msgspec 0.22 crashes on a fixed-length tuple.
Grid = GridSide | Annotated[tuple[GridSide, ...], Meta(min_length=2, max_length=2)]
"""Cells per side, or (rows, columns) of cells."""

CELL_IDS = 256
"""Cells that one histogram call can tell apart: their ids are 8-bit."""

BATCH_PIXELS = 2**14
"""Pixels of one batch: its intermediate arrays stay in the processor's cache."""


def pair(grid: int | tuple[int, ...]) -> tuple[int, int]:
    """A grid as (rows, columns)."""
    rows, columns = (grid, grid) if isinstance(grid, int) else grid
    return int(rows), int(columns)


def cell_edges(length: int, cells: int) -> NDArray[np.intp]:
    """The ``cells + 1`` boundaries that cut ``length`` pixels in proportion; some cells may be empty."""
    return np.arange(cells + 1, dtype=np.intp) * length // cells


@functools.lru_cache(maxsize=64)
def cell_areas(shape: tuple[int, int], grid: tuple[int, int]) -> NDArray[np.intp]:
    """(rows * columns,) pixels in each cell of an image of ``shape``, row by row; read-only."""
    rows, columns = (np.diff(cell_edges(n, cells)) for n, cells in zip(shape, grid, strict=True))
    areas = np.outer(rows, columns).ravel()
    areas.flags.writeable = False
    return areas


def cell_names(grid: tuple[int, int]) -> list[str]:
    """``y0_x0, y0_x1, ...``: the names of a grid's cells, row by row."""
    return [f"y{row}_x{column}" for row in range(grid[0]) for column in range(grid[1])]


def boxes_between(y: NDArray[np.intp], x: NDArray[np.intp]) -> NDArray[np.float32]:
    """float32 (rows * columns, 4): x0, y0, x1, y1 of the cells between edges ``y`` and ``x``, row by row."""
    x0, y0 = np.meshgrid(x[:-1], y[:-1])
    x1, y1 = np.meshgrid(x[1:], y[1:])
    return np.stack([x0, y0, x1, y1], axis=-1).reshape(-1, 4).astype(np.float32)


def spread_over_cells(
    image: Image, contributions: NDArray[np.float64], grid: tuple[int, int], bins: Sequence[int]
) -> Regions:
    """What grid histograms contribute, summed over the bins of each cell: one region per cell, row by row.

    Args:
        image: uint8 (height, width[, 3]).
        contributions: float64 (rows * columns * sum of bins, K), of the columns of one histogram after the
            other, each cell by cell, bins fastest.
        grid: (rows, columns) of cells.
        bins: the number of bins of each histogram.
    """
    n_cells, n_sums = grid[0] * grid[1], contributions.shape[1]
    y, x = (cell_edges(length, cells) for length, cells in zip(image.shape[:2], grid, strict=True))
    ends = np.cumsum(bins)[:-1] * n_cells
    values = np.zeros((n_cells, n_sums))
    for part in np.split(contributions, ends):
        values += part.reshape(n_cells, -1, n_sums).sum(axis=1)
    return Regions(boxes_between(y, x), values)


def equal_size_batches(X: Images, cells: int) -> Iterator[tuple[NDArray[np.intp], NDArray[np.uint8]]]:
    """Cut images into batches of one shape: (row numbers, array (n, height, width[, 3])), C-contiguous.

    A batch has at most ``BATCH_PIXELS`` pixels and ``CELL_IDS`` grid cells, but at least one image.
    """
    if isinstance(X, np.ndarray):
        groups = {X.shape[1:]: np.arange(len(X))}
    else:
        found: dict[tuple[int, ...], list[int]] = {}
        for index, image in enumerate(X):
            found.setdefault(image.shape, []).append(index)
        groups = {shape: np.array(indices) for shape, indices in found.items()}
    for shape, indices in groups.items():
        size = max(1, min(BATCH_PIXELS // (shape[0] * shape[1]), CELL_IDS // cells))
        for start in range(0, len(indices), size):
            part = indices[start : start + size]
            if isinstance(X, np.ndarray):
                yield part, np.ascontiguousarray(X[start : start + size])
            else:
                yield part, np.stack([X[index] for index in part])


@functools.lru_cache(maxsize=64)
def _id_parts(n: int, shape: tuple[int, int], grid: tuple[int, int]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The two summands of ``cell_ids``: (n * height, 1) by row and (width,) by column; read-only."""
    rows, columns = (
        np.repeat(np.arange(cells), np.diff(cell_edges(length, cells)))
        for length, cells in zip(shape, grid, strict=True)
    )
    row_starts = (np.arange(n)[:, None] * grid[0] + rows).reshape(-1, 1) * grid[1]
    kind: Any = np.uint8 if n * grid[0] * grid[1] <= CELL_IDS else np.intp
    parts = row_starts.astype(kind), columns.astype(kind)
    for part in parts:
        part.flags.writeable = False
    return parts


def cell_ids(n: int, shape: tuple[int, int], grid: tuple[int, int]) -> NDArray[np.uint8] | NDArray[np.intp]:
    """(n * height, width): the cell of each pixel, counted through ``n`` images; uint8 if enough."""
    by_row, by_column = _id_parts(n, shape, grid)
    ids: NDArray[np.uint8] | NDArray[np.intp] = by_row + by_column
    return ids


def grid_counts(
    planes: Sequence[NDArray[np.uint8] | NDArray[np.uint16]],
    bins: Sequence[int],
    grid: tuple[int, int],
    levels: Sequence[int] | None = None,
) -> NDArray[np.float32]:
    """Count the joint values of planes, in equal bins, in each cell of a grid laid over each image.

    Args:
        planes: one to three (n, height, width), C-contiguous.
        bins: the number of bins of each plane.
        grid: (rows, columns) of cells.
        levels: the values of each plane are below this; value v falls in bin ``v * bins // levels``.
            Either ``bins`` again (the default) or a power of two, for which OpenCV's binning is exact.

    Returns:
        float32 (n, rows * columns, product of bins), the last plane's bins fastest: whole numbers, exact up
        to 2^24.
    """
    n, height, width = planes[0].shape
    levels = bins if levels is None else levels
    cells = n * grid[0] * grid[1]
    ids = cell_ids(n, (height, width), grid)
    tall = [plane.reshape(n * height, width) for plane in planes]
    if all(plane.dtype == np.uint8 for plane in (ids, *tall)):
        # One histogram over (cell, values...): OpenCV's 8-bit paths for 2 and 3 dimensions take 1 ns a pixel.
        ranges = itertools.chain.from_iterable((0, top) for top in (cells, *levels))
        counts = cv2.calcHist([ids, *tall], range(len(tall) + 1), None, [cells, *bins], list(ranges))
    else:
        joined = ids.astype(np.intp)
        for plane, size, top in zip(tall, bins, levels, strict=True):
            joined *= size
            joined += plane.astype(np.intp) * size // top
        counts = np.bincount(joined.ravel(), minlength=cells * math.prod(bins))
    return np.asarray(counts, np.float32).reshape(n, grid[0] * grid[1], -1)


def normalize(
    histograms: NDArray[np.floating], totals: NDArray[np.intp] | NDArray[np.floating], hellinger: bool
) -> NDArray[np.float32]:
    """Divide (n, cells, bins) by each cell's total; with ``hellinger`` the square root is taken.

    Totals of 0, cells without pixels, leave zeros. The square root turns the Euclidean inner product into
    the Bhattacharyya coefficient of the two histograms [1].

    [1] Arandjelovic and Zisserman, Three things everyone should know to improve object retrieval, CVPR 2012.
    """
    shares = histograms / np.maximum(totals, 1).astype(histograms.dtype)[:, None]
    if hellinger:
        np.sqrt(shares, out=shares)
    return shares.astype(np.float32, copy=False)
