"""Pixels to grid cells as small matrix products: the second stage of HOG.

Pooling is separable: along y, then along x. A cell touches few pixels, so the weight matrix of an axis is a
band. It is cut into products of a few cells with only the pixels that they touch, and products with equal
weights run as one ``np.matmul`` over overlapping windows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


class Product(NamedTuple):
    """``repeats`` products of ``weights`` (cells, pixels) with windows of pixels, ``step`` apart."""

    weights: Array
    cell: int
    pixel: int
    step: int
    repeats: int
    fresh: bool
    """Whether the cells have no pixels in an earlier strip: set them, or else add to them."""


class BoundProduct(NamedTuple):
    """A product with the views that it reads and writes."""

    weights: Array
    windows: Array
    target: Array
    fresh: bool

    def run(self) -> None:
        """Compute it."""
        if self.fresh:
            np.matmul(self.weights, self.windows, out=self.target)
        else:
            np.add(self.target, np.matmul(self.weights, self.windows), out=self.target)


def cell_weights(length: int, cell: int, interpolation: str) -> Array:
    """float32 (cells, length): the share of each pixel in the ``length // cell`` cells along one axis.

    Pixel p lies at ``(p + 0.5) / cell - 0.5`` in units of cells, cell i at i. With ``"bilinear"`` its weight
    is ``max(0, 1 - distance)``: it is shared between the two nearest cells, and the share of a cell that the
    grid does not have is dropped. So pixels within half a cell of the border count less, and pixels behind
    the last whole cell count as far as they are near to it. With ``"none"`` the weight is 1 in the cell that
    holds the pixel; pixels behind the last whole cell are left out. All are divided by ``cell``: sums become
    means over a cell.
    """
    position = (np.arange(length) + 0.5) / cell - 0.5
    distance = np.abs(position - np.arange(length // cell)[:, None])
    weights = np.maximum(0.0, 1.0 - distance) if interpolation == "bilinear" else distance < 0.5
    return (weights / cell).astype(np.float32)


def plan(weights: Array, group: int, start: int, stop: int) -> list[Product]:
    """The products that pool the strip ``start:stop`` of an axis.

    Args:
        weights: (cells, length), as from ``cell_weights``; every cell has a pixel.
        group: how many cells a product makes.
        start, stop: pixels; those of the strip's array are counted from ``start``.
    """
    lows = np.argmax(weights > 0, axis=1).tolist()
    highs = (weights.shape[1] - np.argmax(weights[:, ::-1] > 0, axis=1)).tolist()
    products: list[Product] = []
    for first in range(0, len(weights), group):
        last = min(first + group, len(weights))
        low, high = max(lows[first], start), min(highs[last - 1], stop)
        if low < high:
            part = np.ascontiguousarray(weights[first:last, low:high])
            _append(products, Product(part, first, low - start, 0, 1, lows[first] >= start))
    return products


def _append(products: list[Product], new: Product) -> None:
    """Add a product to the list, or one more window to the last product if only its place differs."""
    if products:
        last = products[-1]
        way = new.pixel - last.pixel
        in_step = last.repeats == 1 or way == last.repeats * last.step
        if in_step and last.fresh == new.fresh and np.array_equal(last.weights, new.weights):
            products[-1] = last._replace(step=way // last.repeats, repeats=last.repeats + 1)
            return
    products.append(new)


def bind(source: Array, products: list[Product], out: Array) -> list[BoundProduct]:
    """Products that pool ``source`` (n, pixels, values), C-contiguous, into ``out`` (n, cells, values).

    Views are made here, once: making one takes as long as a small product. The shapes of the products do not
    depend on n, so neither does a result, bit for bit, whatever kernel BLAS picks for a shape.
    """
    n, _, values = source.shape
    image, row, value = source.strides
    bound = []
    for weights, cell, pixel, step, repeats, fresh in products:
        cells, pixels = weights.shape
        target = out[:, cell : cell + repeats * cells].reshape(n, repeats, cells, values)
        # This constructor checks the bounds of the view, unlike as_strided.
        shape, strides = (n, repeats, pixels, values), (image, step * row, row, value)
        windows: Array = np.ndarray(shape, np.float32, source, pixel * row, strides)
        bound.append(BoundProduct(weights, windows, target, fresh))
    return bound
