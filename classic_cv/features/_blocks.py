"""Cells to normalized blocks: the last stage of HOG."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

CLIP = np.float32(0.2)
EPSILON_SQUARED = np.float32(1e-10)


class BlockNormalizer:
    """L2-Hys: divide each block of cells by its L2 norm, clip at 0.2, divide again.

    The norm is ``sqrt(sum of squares + 1e-10)``: scikit-image's, so that values are equal.

    Args:
        cells: float32 (n, cell rows, cell columns, orientations), C-contiguous: read at each call.
        block: cells per side of a block.
    """

    def __init__(self, cells: Array, block: int) -> None:
        n, cell_rows, cell_columns, orientations = cells.shape
        rows, columns = cell_rows - block + 1, cell_columns - block + 1
        self.cells = cells
        self.layout = (rows, columns, block, block, orientations)
        image, row, column, value = cells.strides
        strides = (image, row, column, row, column, value)
        self.windows: Array = np.ndarray((n, *self.layout), np.float32, cells, 0, strides)
        # A block's squared norm is the sum of its cells' ones: cells are squared once, not once per block.
        self.energy = np.empty((n, cell_rows, cell_columns), np.float32)
        self.column_energy = np.empty((n, rows, cell_columns), np.float32)
        self.norm = np.empty((n, rows, columns), np.float32)
        self.terms = [
            *_additions([self.energy[:, i : i + rows] for i in range(block)], self.column_energy),
            *_additions([self.column_energy[:, :, i : i + columns] for i in range(block)], self.norm),
        ]

    def __call__(self, out: Array) -> None:
        """Write the blocks, row by row, to ``out`` (n, values): float32, rows contiguous."""
        n, rows, columns = self.norm.shape
        np.einsum("nyxo,nyxo->nyx", self.cells, self.cells, out=self.energy)
        for left, right, total in self.terms:
            np.add(left, right, out=total)
        np.multiply(self.windows, self._scale()[..., None, None, None], out=out.reshape(n, *self.layout))
        blocks = out.reshape(n, rows, columns, -1)
        np.minimum(blocks, CLIP, out=blocks)
        np.einsum("nyxk,nyxk->nyx", blocks, blocks, out=self.norm)
        np.multiply(blocks, self._scale()[..., None], out=blocks)

    def _scale(self) -> Array:
        """One over the norm, from its square."""
        np.add(self.norm, EPSILON_SQUARED, out=self.norm)
        np.sqrt(self.norm, out=self.norm)
        return np.reciprocal(self.norm, out=self.norm)


def _additions(parts: list[Array], total: Array) -> list[tuple[Array, Array, Array]]:
    """The additions (left, right, out) that sum the parts into ``total``."""
    if len(parts) == 1:
        return [(parts[0], np.zeros_like(total), total)]
    return [(parts[0], parts[1], total)] + [(total, part, total) for part in parts[2:]]
