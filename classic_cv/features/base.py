"""The extractor contract: images in, one float32 row per image out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from classic_cv.estimator import Estimator

Image = NDArray[np.uint8]
"""uint8 pixels: (height, width) gray or (height, width, 3) RGB."""

Images = Sequence[Image] | NDArray[np.uint8]
"""A list of images of any sizes, or one array (n, height, width[, 3])."""

Features = NDArray[np.float32]
"""float32 (n_samples, n_features)."""


def check_images(X: Images) -> Images:
    """Check that ``X`` is a non-empty list or array of uint8 images, gray or RGB.

    Raises:
        TypeError: not uint8 arrays.
        ValueError: no images, an empty image, or a shape that is neither gray nor RGB.
    """
    if len(X) == 0:
        raise ValueError("no images given: expected at least one")
    for index, image in enumerate(X[:1] if isinstance(X, np.ndarray) else X):
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
            kind = getattr(image, "dtype", type(image).__name__)
            raise TypeError(
                f"image {index} is {kind}, expected a uint8 array; classic_cv.images.to_rgb converts other dtypes"
            )
        gray, rgb = image.ndim == 2, image.ndim == 3 and image.shape[2] == 3
        if not (gray or rgb) or image.size == 0:
            raise ValueError(
                f"image {index} has shape {image.shape}, expected (height, width) or (height, width, 3), not empty"
            )
    return X


def transformer_tags() -> Any:
    """What scikit-learn asks a transformer of images about itself."""
    from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

    return Tags(
        estimator_type="transformer",
        target_tags=TargetTags(required=False),
        transformer_tags=TransformerTags(preserves_dtype=[]),
        input_tags=InputTags(two_d_array=False, three_d_array=True),
        no_validation=True,
        requires_fit=True,
    )


class Extractor(Estimator):
    """Base of the extractors: a transformer from images to float32 (n_samples, n_features).

    A subclass defines ``fit`` (checks parameters, learns what it needs, sets ``n_features_out_``),
    ``transform`` and ``get_feature_names_out``. ``transform`` of one image equals the row that it gets in
    a batch, bit for bit.
    """

    accepts_pictures: ClassVar[bool] = False
    """Whether ``fit`` and ``transform`` also take ``Picture`` objects, which know the stored image's size."""

    n_features_out_: int

    def fit(self, X: Images, y: Any = None) -> Self:
        """Check parameters and learn from images ``X``; returns self."""
        raise NotImplementedError

    def transform(self, X: Images) -> Features:
        """Features of images ``X``: float32 (n_samples, n_features_out_)."""
        raise NotImplementedError

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Column names, one per feature, unique and stable."""
        raise NotImplementedError

    def fit_transform(self, X: Images, y: Any = None) -> Features:
        """``fit(X, y).transform(X)``."""
        return self.fit(X, y).transform(X)

    def __sklearn_tags__(self) -> Any:
        return transformer_tags()
