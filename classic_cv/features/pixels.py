"""The pixels themselves: what a convolutional network sees, or the plainest of all features."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from classic_cv.features.base import Extractor, Features, Image, Images, Regions, check_images


class Pixels(Extractor):
    """Gray or RGB values, 0 to 255, one color plane after the other, each row by row.

    All images have to be of one size and kind, those of ``fit``.

    Learned: ``shape_`` int64 (3,): channels, height, width.
    """

    learned = ("n_features_out_", "shape_")
    shape_: NDArray[np.int64]

    def __init__(self) -> None:
        pass

    def fit(self, X: Images, y: Any = None) -> Self:
        """Take over the size of the first image; ``y`` is not used.

        Raises:
            ValueError: no images, or one of another shape.
        """
        self.check_params()
        check_images(X)
        first = X[0]
        self.shape_ = np.array([1 if first.ndim == 2 else 3, *first.shape[:2]], np.int64)
        self.n_features_out_ = int(self.shape_.prod())
        self._check_shapes(X)
        return self

    def transform(self, X: Images) -> Features:
        """float32 (n_images, channels * height * width).

        Raises:
            NotFittedError: before ``fit``.
            ValueError: an image of another shape than in ``fit``.
        """
        self.check_fitted()
        check_images(X)
        self._check_shapes(X)
        pixels = np.asarray(X)
        planes = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)
        return planes.reshape(len(X), -1).astype(np.float32)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """``pixel_red_y3_x5``, or ``pixel_gray_y3_x5``, per column."""
        self.check_fitted()
        planes, height, width = self.shape_.tolist()
        names = ("gray",) if planes == 1 else ("red", "green", "blue")
        return np.array(
            [f"pixel_{name}_y{y}_x{x}" for name in names for y in range(height) for x in range(width)], object
        )

    def spread(self, image: Image, contributions: NDArray[np.float64]) -> Regions:
        """One region per pixel, with the sum of its color planes."""
        self.check_fitted()
        planes, height, width = self.shape_.tolist()
        y, x = (grid.ravel() for grid in np.indices((height, width)))
        boxes = np.column_stack([x, y, x + 1, y + 1]).astype(np.float32)
        return Regions(boxes, contributions.reshape(planes, height * width, -1).sum(axis=0))

    def _check_shapes(self, X: Images) -> None:
        planes, height, width = self.shape_.tolist()
        expected = (height, width) if planes == 1 else (height, width, planes)
        for index, image in enumerate(X[:1] if isinstance(X, np.ndarray) else X):
            if image.shape != expected:
                raise ValueError(
                    f"image {index} has shape {image.shape}, expected {expected} as in fit: resize the images first"
                )
