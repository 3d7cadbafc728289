"""The extractor contract: images in, one float32 row per image out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from classic_cv.estimator import Estimator

Image = NDArray[np.uint8]
"""uint8 pixels: (height, width) gray or (height, width, 3) RGB."""

Images = Sequence[Image] | NDArray[np.uint8]
"""A list of images of any sizes, or one array (n, height, width[, 3])."""

Features = NDArray[np.float32]
"""float32 (n_samples, n_features)."""


class Regions(NamedTuple):
    """Where in an image numbers belong to, such as the parts of a score.

    Attributes:
        boxes: float32 (m, 4): left, upper, right and lower edge (x0, y0, x1, y1) in pixels; the image is
            (0, 0, width, height), from which they may stick out.
        values: float64 (m, K): K numbers for each box.
    """

    boxes: NDArray[np.float32]
    values: NDArray[np.float64]


def whole_image(image: Image, contributions: NDArray[np.float64]) -> Regions:
    """One region, all of ``image``, with the sums of ``contributions`` (n, K)."""
    height, width = image.shape[:2]
    return Regions(np.array([[0, 0, width, height]], np.float32), contributions.sum(axis=0)[None])


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

    learns: ClassVar[bool] = False
    """Whether ``fit`` learns from the images, which takes time, rather than from their kind and size alone."""

    fit_images: ClassVar[int] = 64
    """How many training images ``fit`` wants to see at most; more only cost time."""

    centered: ClassVar[bool] = False
    """Whether columns are sums of differences from what is usual, so that 0 says nothing and terms cancel out."""

    n_features_out_: int

    def fit(self, X: Images, y: Any = None) -> Self:
        """Check parameters and learn from images ``X``; returns self."""
        raise NotImplementedError

    def unlearned(self, X: Images) -> Self:
        """Like ``fit``, but what is costly to learn gets placeholders of the right shapes.

        Enough to measure time and size before anything is learned; ``X`` may be a single image.
        """
        return self.fit(X)

    def transform(self, X: Images) -> Features:
        """Features of images ``X``: float32 (n_samples, n_features_out_)."""
        raise NotImplementedError

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Column names, one per feature, unique and stable."""
        raise NotImplementedError

    def spread(self, image: Image, contributions: NDArray[np.float64]) -> Regions:
        """Share out what the columns contribute to some sums over the parts of ``image`` that they describe.

        Args:
            image: uint8 pixels, as ``transform`` takes them.
            contributions: float64 (n_features_out_, K), of the columns to each of K sums.

        Returns:
            Regions of ``image``. Their values sum to the contributions' sums. By default one region, the whole.
        """
        self.check_fitted()
        return whole_image(image, contributions)

    def fit_transform(self, X: Images, y: Any = None) -> Features:
        """``fit(X, y).transform(X)``."""
        return self.fit(X, y).transform(X)

    def __sklearn_tags__(self) -> Any:
        return transformer_tags()
