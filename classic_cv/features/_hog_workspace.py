"""Everything HOG needs for batches of one shape: buffers, views and matrix products, laid out once."""

from __future__ import annotations

from itertools import accumulate
from math import prod
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from classic_cv.features._blocks import BlockNormalizer
from classic_cv.features._gradients import GradientIndex, orientation_tables
from classic_cv.features._pooling import BoundProduct, bind, cell_weights, plan
from classic_cv.features.base import Features

Color = Literal["gray", "strongest"]
Interpolation = Literal["bilinear", "none"]

TILE_PIXELS = 2**15
"""Pixels looked up at a time. With 8 float32 each they fill about the L2 cache until they are pooled."""

CELLS_PER_PRODUCT_X = 8
"""One small matrix product makes 8 cells along x; along y, over long rows, vector times matrix is faster."""


_Lookup = tuple[NDArray[np.float32], NDArray[np.float32], list[BoundProduct]]
"""A table, the array for what is looked up in it, and the products that read that array."""


class Layout(NamedTuple):
    """All that the shapes of the intermediate arrays depend on."""

    height: int
    width: int
    orientations: int = 9
    pixels_per_cell: tuple[int, ...] = (8,)
    cells_per_block: int = 2
    color: Color = "gray"
    signed: bool = False
    interpolation: Interpolation = "bilinear"

    def grid(self, cell: int) -> tuple[int, int, int, int, int]:
        """(block rows, block columns, cell rows in a block, cell columns in a block, orientations)."""
        block = self.cells_per_block
        rows, columns = (side // cell - block + 1 for side in (self.height, self.width))
        return rows, columns, block, block, self.orientations

    def columns(self) -> list[slice]:
        """For each cell size its columns in the features."""
        widths = [prod(self.grid(cell)) for cell in self.pixels_per_cell]
        ends = accumulate(widths)
        return [slice(end - width, end) for width, end in zip(widths, ends, strict=True)]


class Workspace:
    """The arrays and products for HOG of ``n`` images of one layout, made once and used for every such batch.

    Fresh arrays would cost more in page faults, and fresh views more in interpreter time, than the
    arithmetic. Large images (n is 1) are worked through in strips, whose sums add up in the cells.
    """

    def __init__(self, layout: Layout, n: int, channels: int) -> None:
        self.layout, self.n = layout, n
        height, width, sizes = layout.height, layout.width, layout.pixels_per_cell
        strip = height if n > 1 else min(height, max(1, TILE_PIXELS // width))
        # A row above and one below a strip, so that its gradients are those of the whole image.
        self.strip_height = min(height, strip + 2)
        self.gradient_index = GradientIndex(n, self.strip_height, width, channels)
        self.tables = orientation_tables(layout.orientations, layout.signed, layout.interpolation)
        self.bins = [table.shape[1] for table in self.tables]
        self.votes = np.empty(n * strip * width * max(self.bins), np.float32)
        # Pooled along y, for each cell size and table; then along x too, for each cell size.
        self.rows = {s: [np.empty((n, height // s, width * b), np.float32) for b in self.bins] for s in sizes}
        grids = {s: (n, height // s, width // s, layout.orientations) for s in sizes}
        self.cells = {s: np.empty(grid, np.float32) for s, grid in grids.items()}
        along_y = {s: cell_weights(height, s, layout.interpolation) for s in sizes}
        self.strips = [
            (start, min(start + strip, height), self._lookups(along_y, start, min(start + strip, height)))
            for start in range(0, height, strip)
        ]
        self.products_x = [product for s in sizes for product in self._bind_x(s)]
        normalizers = [BlockNormalizer(cells, layout.cells_per_block) for cells in self.cells.values()]
        self.blocks = list(zip(normalizers, layout.columns(), strict=True))

    def _lookups(self, along_y: dict[int, NDArray[np.float32]], start: int, stop: int) -> list[_Lookup]:
        """For each table where the votes of image rows ``start:stop`` go, and how to pool them along y."""
        n, height, width = self.n, stop - start, self.layout.width
        lookups = []
        for i, (table, bins) in enumerate(zip(self.tables, self.bins, strict=True)):
            votes = self.votes[: n * height * width * bins].reshape(n, height, width * bins)
            products = []
            for size, weights in along_y.items():
                products += bind(votes, plan(weights, 1, start, stop), self.rows[size][i])
            lookups.append((table, votes.reshape(-1, bins), products))
        return lookups

    def _bind_x(self, size: int) -> list[BoundProduct]:
        """The products that pool rows of cells along x, bins of one table after the other."""
        width = self.layout.width
        products_x = plan(cell_weights(width, size, self.layout.interpolation), CELLS_PER_PRODUCT_X, 0, width)
        cells = self.cells[size].reshape(-1, width // size, self.layout.orientations)
        products, first = [], 0
        for rows, bins in zip(self.rows[size], self.bins, strict=True):
            products += bind(rows.reshape(-1, width, bins), products_x, cells[:, :, first : first + bins])
            first += bins
        return products

    def run(self, images: NDArray[np.uint8], out: Features) -> None:
        """HOG of uint8 images (n, height, width[, 3]), written to ``out`` (n, n_features)."""
        for start, stop, lookups in self.strips:
            index = self._index(images, start, stop).reshape(-1)
            for table, votes, products in lookups:
                # The default mode checks every index and copies the output, which takes twice as long.
                np.take(table, index, axis=0, out=votes, mode="clip")
                for product in products:
                    product.run()
        for product in self.products_x:
            product.run()
        for normalize, columns in self.blocks:
            normalize(out[:, columns])

    def _index(self, images: NDArray[np.uint8], start: int, stop: int) -> NDArray[np.intp]:
        """Table rows of the pixels in image rows ``start:stop``."""
        low = min(max(start - 1, 0), self.layout.height - self.strip_height)
        strip = images[:, low : low + self.strip_height]
        if strip.ndim == 4 and self.layout.color == "gray":
            tall = np.ascontiguousarray(strip).reshape(-1, self.layout.width, 3)
            gray = np.asarray(cv2.cvtColor(tall, cv2.COLOR_RGB2GRAY), np.uint8)
            strip = gray.reshape(strip.shape[:3])
        return self.gradient_index(strip)[:, start - low : stop - low]
