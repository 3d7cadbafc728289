"""What one pass over all images has noted of each: facts of the file, properties, small pictures; never the pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from classic_cv.dataset import Problem

THUMBNAIL = 32
"""Pixels of each side of the gray pictures that are kept."""


@dataclass(frozen=True, eq=False)
class Survey:
    """One row per image that could be decoded, ascending by its position in the data set.

    Attributes:
        indices: intp (n,), positions in the data set.
        problems: images that could not be read or decoded, by name and reason.
        format: str (n,), ``JPEG``, ``PNG``, … or ``array`` for pixels of an npz.
        mode: str (n,), Pillow's name of the stored color mode: ``RGB``, ``L``, ``CMYK``, …
        width, height: int64 (n,), pixels of the stored image, upright.
        n_bytes: int64 (n,), encoded size.
        orientation: int64 (n,), of EXIF, 1 to 8.
        date: str (n,), EXIF's time of taking, ``2024-05-31T12:00:00``; empty where unknown.
        camera: str (n,), EXIF's make and model; empty where unknown.
        folder: str (n,), the folder that holds the file, within the class folder or the data; empty where none.
        gray: bool (n,), whether all pixels are gray.
        properties: float32 (n, len(property_names)), finite, see ``property_names``.
        property_names: columns of ``properties``: those of ``classic_cv.features.properties.NAMES`` and more of the
            file and the pixels, which show nothing of what an image is about.
        quality: float32 (n, len(quality_names)), finite, what the quality check goes by.
        quality_names: columns of ``quality``.
        color: float32 (n, n_color), a small color histogram of the whole image.
        border: float32 (n, n_border), the outermost pixels alone.
        thumbnails: uint8 (n, THUMBNAIL, THUMBNAIL), gray, the whole image squeezed into a square.
    """

    indices: NDArray[np.intp]
    problems: tuple[Problem, ...]
    format: NDArray[np.str_]
    mode: NDArray[np.str_]
    width: NDArray[np.int64]
    height: NDArray[np.int64]
    n_bytes: NDArray[np.int64]
    orientation: NDArray[np.int64]
    date: NDArray[np.str_]
    camera: NDArray[np.str_]
    folder: NDArray[np.str_]
    gray: NDArray[np.bool_]
    properties: NDArray[np.float32]
    property_names: tuple[str, ...]
    quality: NDArray[np.float32]
    quality_names: tuple[str, ...]
    color: NDArray[np.float32]
    border: NDArray[np.float32]
    thumbnails: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.indices)

    def rows(self, indices: NDArray[np.integer]) -> NDArray[np.intp]:
        """The rows of the images at these positions in the data set, in the order given; unreadable ones left out."""
        wanted = np.asarray(indices, np.intp)
        places = np.searchsorted(self.indices, wanted)
        there = places < len(self.indices)
        there[there] = self.indices[places[there]] == wanted[there]
        return places[there]
