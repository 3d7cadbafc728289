"""Dense grids: where square windows lie in an image, and sums over them."""

from __future__ import annotations

import functools
import threading
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Places = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Positions (n, 2) and sides (n,) of windows, as in ``LocalFeatures``."""

INT_PIXELS = 2**23
"""Sums of so many 8-bit values fit 32 bits."""

KEPT_VALUES = 2**20
"""Tables of sums up to this size are kept for the thread's next image."""

_last = threading.local()


def grid_line(length: int, window: int, step: int) -> tuple[int, int]:
    """The first pixel of the first window and how many windows, ``step`` apart, fit into ``length`` pixels.

    Pixels that are left over are shared by both ends, the odd one at the far end: when their number is even,
    mirroring the image mirrors the windows.
    """
    if length < window:
        return 0, 0
    count = (length - window) // step + 1
    return (length - window - (count - 1) * step) // 2, count


def grid_size(shape: tuple[int, ...], window: int, step: int) -> int:
    """How many windows an image of ``shape``, (height, width, ...), has."""
    return grid_line(shape[0], window, step)[1] * grid_line(shape[1], window, step)[1]


@functools.lru_cache(maxsize=64)
def grid_places(height: int, width: int, windows: tuple[int, ...], step: int) -> Places:
    """Centers and sides of the windows of an image, window size by window size, row by row; shared, read-only."""
    positions, sides = [np.zeros((0, 2))], [np.zeros(0)]
    for window in windows:
        (top, rows), (left, columns) = (grid_line(length, window, step) for length in (height, width))
        y = top + step * np.arange(rows) + window / 2
        x = left + step * np.arange(columns) + window / 2
        positions.append(np.stack(np.meshgrid(x, y), axis=2).reshape(-1, 2))
        sides.append(np.full(rows * columns, window))
    places = np.concatenate(positions).astype(np.float32), np.concatenate(sides).astype(np.float32)
    for array in places:
        array.flags.writeable = False
    return places


def sum_tables(image: NDArray[np.uint8]) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Sums of uint8 (height, width, channels) and of its squares over all pixels above and to the left.

    Returns:
        Sums, int32 or for large images float64, and float64 sums of squares: (height + 1, width + 1, channels),
        exact, valid until the thread's next call.
    """
    height, width, channels = image.shape
    depth = cv2.CV_32S if height * width <= INT_PIXELS else cv2.CV_64F
    # OpenCV writes into the last call's tables if they fit: new memory costs several times the sums.
    held: tuple[Any, Any] = getattr(_last, "tables", (None, None))
    tables: Any = cv2.integral2(image, *held, sdepth=depth)
    _last.tables = tables if tables[0].size <= KEPT_VALUES else (None, None)
    sums, squares = (table.reshape(height + 1, width + 1, channels) for table in tables)
    return sums, squares


def box_sums(table: NDArray[Any], box: int, pitch: int, top: int, rows: int, left: int, columns: int) -> Any:
    """Sums over square boxes from a table of sums (``sum_tables``).

    Args:
        table: (height + 1, width + 1, channels).
        box: pixels of a side.
        pitch: pixels between boxes.
        top, rows, left, columns: the first box's first row, how many rows of boxes, the same for columns.

    Returns:
        (rows, columns, channels), of the table's dtype.
    """
    below, right = top + (rows - 1) * pitch + 1, left + (columns - 1) * pitch + 1
    upper, lower = table[top:below:pitch], table[top + box : below + box : pitch]
    strips = lower - upper
    return strips[:, left + box : right + box : pitch] - strips[:, left:right:pitch]
