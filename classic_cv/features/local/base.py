"""The local descriptor contract: one image in, one float32 row per place and scale out.

A local descriptor learns nothing: it is a frozen value, the part of an encoder that says what is looked at. Encoders
(``classic_cv.features.encoding``) make one row per image of its rows.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from classic_cv.features.base import Image


class LocalFeatures(NamedTuple):
    """Descriptors of one image, and where they were taken.

    Attributes:
        descriptors: float32 (n, n_values), C-contiguous, finite; n may be 0.
        positions: float32 (n, 2): x and y of the center in pixels, from the image's upper left corner; the first
            pixel's center is at 0.5.
        sides: float32 (n,): pixels of the side of the square that a descriptor covers.
    """

    descriptors: NDArray[np.float32]
    positions: NDArray[np.float32]
    sides: NDArray[np.float32]


class LocalDescriptor(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type"):
    """Base of the local descriptors: parameters as fields, ``describe`` and the number of values of a row."""

    def n_values(self, color: bool) -> int:
        """Values of a descriptor of a color or of a gray image."""
        raise NotImplementedError

    def describe(self, image: Image) -> LocalFeatures:
        """Descriptors of a uint8 image, (height, width) gray or (height, width, 3) RGB.

        An image too small for any descriptor has none: arrays of no rows.
        """
        raise NotImplementedError


def no_features(n_values: int) -> LocalFeatures:
    """What an image without descriptors gets: arrays of the right widths without rows."""
    empty = np.zeros((0, 2), np.float32)
    return LocalFeatures(np.zeros((0, n_values), np.float32), empty, np.zeros(0, np.float32))
