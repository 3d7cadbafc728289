"""The training images of a network, decoded once: uint8 at the size that it works with."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.dataset import Dataset
from classic_cv.deep.preparation import Resize, prepare
from classic_cv.errors import DatasetError, ImageError
from classic_cv.extraction import Progress, closed_up
from classic_cv.images import is_gray, read_header
from classic_cv.timing import thread_limit

MOST_BYTES = 6_000_000_000
"""Of decoded pixels: they stay in memory while a network trains."""

SAMPLED = 200
"""Images that the typical side is taken from."""

AT_A_TIME = 64
"""Images that a thread decodes before progress is told."""


@dataclass
class Decoded:
    """Images as a network sees them.

    Attributes:
        pixels: uint8 (n_kept, size, size, 3).
        kept: int64 (n_kept,): positions in the data set, in the order that they were asked for.
        problems: one error per image that cannot be used.
    """

    pixels: NDArray[np.uint8]
    kept: NDArray[np.int64]
    problems: list[ImageError]


def decode(
    dataset: Dataset,
    positions: Sequence[int] | NDArray[np.int64],
    size: int,
    resize: Resize,
    threads: int = 1,
    progress: Progress | None = None,
) -> Decoded:
    """Decode and resize images; the ones that cannot be used are recorded, not raised.

    Args:
        dataset: what they are read from.
        positions: which of its images.
        size: pixels of both sides.
        resize: see ``prepare``.
        threads: so many images are decoded at a time.
        progress: called with (task, done, total).

    Raises:
        DatasetError: their pixels are more than ``MOST_BYTES``, or none can be used.
    """
    wanted = [int(position) for position in positions]
    check_memory(len(wanted), size)
    pixels = np.empty((len(wanted), size, size, 3), np.uint8)

    def one(part: range) -> list[ImageError | None]:
        return [_into(pixels[row], dataset, wanted[row], size, resize) for row in part]

    parts = [range(k, min(k + AT_A_TIME, len(wanted))) for k in range(0, len(wanted), AT_A_TIME)]
    found: list[ImageError | None] = []
    with thread_limit(1), ThreadPoolExecutor(max(threads, 1)) as pool:
        for results in pool.map(one, parts):
            found += results
            if progress:
                progress("decoding", len(found), len(wanted))
    good = np.array([error is None for error in found], np.bool_)
    if not good.any():
        first = next((error for error in found if error), "there are none")
        raise DatasetError(f"{dataset.path}: no training image can be used; the first: {first}")
    kept = np.array(wanted, np.int64)[good]
    return Decoded(moved_up(pixels, np.flatnonzero(good)), kept, [error for error in found if error])


def moved_up(pixels: NDArray[np.uint8], rows: NDArray[np.intp]) -> NDArray[np.uint8]:
    """The given rows, ascending, moved in place to where the others leave gaps: a copy may not fit into memory."""
    values: Any = pixels
    return np.asarray(closed_up(values, rows), np.uint8)


def _into(
    out: NDArray[np.uint8], dataset: Dataset, position: int, size: int, resize: Resize
) -> ImageError | None:
    name = dataset.names[position]
    try:
        out[...] = prepare(dataset.read(position), size, resize, source=name)
    except ImageError as error:
        return error
    return None


def check_memory(n: int, size: int) -> None:
    """Refuse what does not fit.

    Raises:
        DatasetError: ``n`` images of ``size`` pixels are more than ``MOST_BYTES``.
    """
    if 3 * n * size**2 > MOST_BYTES:
        raise DatasetError(
            f"{n} images of {size} x {size} pixels take {3 * n * size**2 / 1e9:.1f} GB of memory, more than "
            f'{MOST_BYTES / 1e9:.0f}: give a size of at most {most_side(n)}, or size = "auto"'
        )


def most_side(n: int) -> int:
    """The largest side at which ``n`` images fit into ``MOST_BYTES``."""
    return int((MOST_BYTES / (3 * max(n, 1))) ** 0.5)


def typical_side(dataset: Dataset, positions: Sequence[int] | NDArray[np.int64]) -> int:
    """Median of the images' shorter sides, from the headers of at most ``SAMPLED`` of them, evenly spaced.

    Raises:
        DatasetError: none of these can be used.
    """
    chosen = np.unique(np.linspace(0, len(positions) - 1, min(SAMPLED, len(positions))).astype(int))
    sides = []
    for position in (int(positions[k]) for k in chosen):
        try:
            image = dataset.read(position)
            if isinstance(image, bytes):
                header = read_header(image)
                sides.append(min(header.width, header.height))
            else:
                sides.append(min(image.shape[:2]))
        except ImageError:
            continue
    if not sides:
        raise DatasetError(f"{dataset.path}: none of {len(chosen)} training images can be used")
    return int(np.median(sides))


def has_color(pixels: NDArray[np.uint8]) -> bool:
    """Whether any image of uint8 (n, height, width, 3) has color."""
    return not all(
        is_gray(pixels[k : k + AT_A_TIME].reshape(-1, *pixels.shape[2:]))
        for k in range(0, len(pixels), AT_A_TIME)
    )
