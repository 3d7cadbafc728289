"""Images as a network is trained on: pixels, features beside them, targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.features.base import Features

FeaturesOf = Callable[[NDArray[np.uint8]], Features]
"""Standardised features (n, n_features) of pixels (n, height, width, planes)."""


@dataclass(frozen=True, eq=False)
class Samples:
    """What a network is trained or judged on.

    Attributes:
        pixels: uint8 (n, height, width, planes).
        features: float32 (n, n_features), standardised; no columns where the network takes none.
        y: int64 class numbers, or float32 targets in standard deviations from their mean, (n,).
        mirrored: the features of the mirror images; None where images are not mirrored.
        teacher: float32 (n, 2, n_outputs): a teacher's scores of each image and its mirror image; None without.
    """

    pixels: NDArray[np.uint8]
    features: Features
    y: NDArray[Any]
    mirrored: Features | None = None
    teacher: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.y)

    @property
    def mirrors(self) -> bool:
        """Whether training mirrors images at random."""
        return self.mirrored is not None

    def part(self, rows: NDArray[np.intp]) -> Samples:
        """The samples ``rows``."""
        return Samples(
            self.pixels[rows],
            self.features[rows],
            self.y[rows],
            None if self.mirrored is None else self.mirrored[rows],
            None if self.teacher is None else self.teacher[rows],
        )

    def features_for(self, rows: NDArray[np.intp], is_mirrored: NDArray[np.bool_]) -> Features:
        """Features of images, or of their mirror images where ``is_mirrored``: (len(rows), n_features)."""
        if self.mirrored is None:
            return self.features[rows]
        return np.where(is_mirrored[:, None], self.mirrored[rows], self.features[rows])
