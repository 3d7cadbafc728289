"""Small square patches of pixels, each normalised: what patch dictionaries are learned from.

Mean and contrast are removed per patch (Coates, Lee and Ng 2011 [1], Coates and Ng 2011 [2]); whitening, which
is learned, is the encoder's.

[1] Coates, Lee and Ng, An analysis of single-layer networks in unsupervised feature learning, AISTATS 2011.
[2] Coates and Ng, The importance of encoding versus training with sparse coding and vector quantization,
    ICML 2011.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from classic_cv.features.base import Image
from classic_cv.features.local._dense import box_sums, grid_line, grid_places, sum_tables
from classic_cv.features.local.base import LocalDescriptor, LocalFeatures, no_features

PatchSide = Annotated[int, Meta(ge=2, le=64)]
Step = Annotated[int, Meta(ge=1, le=256)]

EPSILON = 10.0
"""Added to a patch's variance, in squared gray levels: keeps noise in flat patches small."""

BAND_VALUES = 2**16
"""Values normalised at a time."""


def normalized_patches(image: NDArray[np.uint8], size: int, step: int) -> NDArray[np.float32]:
    """``(patch - mean) / sqrt(variance + 10)`` of every patch on a dense grid.

    Args:
        image: uint8 (height, width, channels), at least ``size`` pixels a side.
        size: pixels of a side.
        step: pixels between patches.

    Returns:
        float32 (patches, size * size * channels): patches row by row, pixels row by row, channels fastest.
        Mean and variance are those of all values of a patch, channels together.
    """
    height, width, channels = image.shape
    (top, rows), (left, columns) = (grid_line(length, size, step) for length in (height, width))
    sums, squares = (box_sums(table, size, step, top, rows, left, columns) for table in sum_tables(image))
    values = size * size * channels
    mean = sums.sum(axis=2) / values
    variance = np.maximum(squares.sum(axis=2) / values - mean * mean, 0)
    mean, scale = (
        part.astype(np.float32)[..., None, None] for part in (mean, 1 / np.sqrt(variance + EPSILON))
    )
    # A row of a patch is size * channels values in a row.
    flat = image.reshape(height, width * channels).astype(np.float32)
    y, x = flat.strides
    # This constructor checks the bounds of the view, unlike as_strided.
    windows: NDArray[np.float32] = np.ndarray(
        (rows, columns, size, size * channels),
        np.float32,
        flat,
        top * y + left * channels * x,
        (step * y, step * channels * x, y, x),
    )
    patches = np.empty(windows.shape, np.float32)
    # In bands that stay in the cache.
    band = max(1, BAND_VALUES // (columns * values))
    for start in range(0, rows, band):
        part = slice(start, start + band)
        np.subtract(windows[part], mean[part], out=patches[part])
        patches[part] *= scale[part]
    return patches.reshape(rows * columns, values)


class Patches(LocalDescriptor, frozen=True, tag="patches"):
    """Square patches of pixels on a dense grid, normalised for brightness and contrast.

    Args:
        size: pixels of a side; a row has size * size values in gray and three times as many in color.
        step: pixels between patches. With 1 there is about one row per pixel: 27 MB for 256 x 256 in color
            at size 6.
    """

    size: PatchSide = 6
    step: Step = 1

    def n_values(self, color: bool) -> int:
        """size * size, in color three times that."""
        return self.size * self.size * (3 if color else 1)

    def describe(self, image: Image) -> LocalFeatures:
        """Patches of one image, row by row; a flat patch is all zeros."""
        height, width = image.shape[:2]
        if min(height, width) < self.size:
            return no_features(self.n_values(image.ndim == 3))
        pixels = np.ascontiguousarray(image).reshape(height, width, -1)
        places = grid_places(height, width, (self.size,), self.step)
        return LocalFeatures(normalized_patches(pixels, self.size, self.step), *places)
