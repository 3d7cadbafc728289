"""Resize: images of any sizes to one array, for extractors that need a fixed size."""

from __future__ import annotations

from typing import Annotated, Any, Self

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from classic_cv.estimator import Estimator
from classic_cv.features.base import Images, check_images, transformer_tags
from classic_cv.images import resize

Side = Annotated[int, Meta(ge=1, le=4096)]
# A union of a bounded int and a tuple of fixed length crashes msgspec 0.22; a bounded tuple does not.
Sides = Side | Annotated[tuple[Side, ...], Meta(min_length=2, max_length=2)]
"""Pixels of both sides, or (height, width)."""


def shape_of(size: Sides | None) -> tuple[int, int] | None:
    """(height, width) in pixels; None for None."""
    return size if size is None else (size, size) if isinstance(size, int) else (size[0], size[1])


class Resize(Estimator):
    """A transformer from images of any sizes to one uint8 array (n, height, width[, 3]).

    The first step of a scikit-learn ``Pipeline`` whose images differ in size. The aspect is not kept.

    Args:
        size: pixels of both sides, or (height, width).
    """

    def __init__(self, size: Sides = 128) -> None:
        self.size = size

    def fit(self, X: Images, y: Any = None) -> Self:
        """Check parameters and images; nothing is learned."""
        self.check_params()
        check_images(X)
        return self

    def transform(self, X: Images) -> NDArray[np.uint8]:
        """Resized images: uint8 (n, height, width, 3), or (n, height, width) when all are gray."""
        check_images(X)
        size = (self.size, self.size) if isinstance(self.size, int) else (self.size[0], self.size[1])
        resized = [resize(image, size) for image in X]
        if len({image.ndim for image in resized}) > 1:
            resized = [np.dstack([image] * 3) if image.ndim == 2 else image for image in resized]
        return np.stack(resized)

    def fit_transform(self, X: Images, y: Any = None) -> NDArray[np.uint8]:
        """``fit(X).transform(X)``."""
        return self.fit(X, y).transform(X)

    def __sklearn_tags__(self) -> Any:
        return transformer_tags()
