"""Plain properties of an image: size, file bytes, brightness, contrast, sharpness, mean color.

Nothing here looks at what an image shows. A classifier that does well on these columns has found a
shortcut in the data: classes that differ in camera, resolution, compression or lighting.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from classic_cv.features.base import Extractor, Features, Image, Images, check_images

NAMES = (
    "log_width",
    "log_height",
    "log_aspect",
    "log_bytes_per_pixel",
    "brightness",
    "contrast",
    "log_sharpness",
    "mean_r",
    "mean_g",
    "mean_b",
)


class StoredImage(Protocol):
    """Pixels that know the image they came from: what ``classic_cv.images.Picture`` offers."""

    @property
    def pixels(self) -> Image:
        """uint8 (height, width) or (height, width, 3), perhaps resized."""

    @property
    def width(self) -> int:
        """Width of the stored image in pixels."""

    @property
    def height(self) -> int:
        """Height of the stored image in pixels."""

    @property
    def n_bytes(self) -> int:
        """Encoded size of the stored image in bytes."""


Items = Images | Sequence[StoredImage] | Sequence[Image | StoredImage]


def image_properties(pixels: Image, width: int, height: int, n_bytes: int) -> NDArray[np.float32]:
    """Ten properties of one image, in the order of ``NAMES``.

    Sizes, bytes per pixel and sharpness are heavy-tailed and so in natural logarithms, which a linear
    classifier can use.

    Args:
        pixels: uint8 (height, width) or (height, width, 3) RGB, of any size: the last six columns describe
            these pixels.
        width: of the stored image in pixels.
        height: of the stored image in pixels.
        n_bytes: encoded size of the stored image.

    Returns:
        float32 (10,): log width, log height, log of width / height, log of (1 + n_bytes) / (width * height),
        mean and standard deviation of gray in 0..1, log of 1 + the variance of the 3x3 Laplacian of gray
        in 0..255 [1], means of red, green and blue in 0..1.

    [1] Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy: a comparative study, ICPR 2000.
    """
    gray = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    mean, deviation = (float(value[0, 0]) / 255 for value in cv2.meanStdDev(gray))
    _, edges = cv2.meanStdDev(cv2.Laplacian(gray, cv2.CV_16S))
    sharpness = float(edges[0, 0]) ** 2
    color = [value / 255 for value in cv2.mean(pixels)[:3]] if pixels.ndim == 3 else [mean] * 3
    log_width, log_height = np.log(width), np.log(height)
    return np.array(
        [
            log_width,
            log_height,
            log_width - log_height,
            np.log1p(n_bytes) - log_width - log_height,
            mean,
            deviation,
            np.log1p(sharpness),
            *color,
        ],
        np.float32,
    )


def _stored(item: Image | StoredImage) -> tuple[Image, int, int, int]:
    """(pixels, width, height, n_bytes); a bare array is its own stored image, uncompressed."""
    if isinstance(item, np.ndarray):
        height, width = item.shape[:2]
        return item, width, height, item.nbytes
    return item.pixels, item.width, item.height, item.n_bytes


class ImageProperties(Extractor):
    """Ten plain properties of each image, named in ``NAMES``; see ``image_properties``.

    Takes arrays, or objects with ``pixels``, ``width``, ``height`` and ``n_bytes`` (``StoredImage``). An
    array counts as stored uncompressed at its own size.
    """

    accepts_pictures: ClassVar[bool] = True
    learned: ClassVar[tuple[str, ...]] = ("n_features_out_",)

    def __init__(self) -> None:
        pass

    def fit(self, X: Items, y: Any = None) -> Self:
        """Check the images; nothing is learned but the width, 10."""
        self.check_params()
        _check(X)
        self.n_features_out_ = len(NAMES)
        return self

    def transform(self, X: Items) -> Features:
        """Properties of images or pictures ``X``: float32 (n_samples, 10), in the order of ``NAMES``."""
        self.check_fitted()
        _check(X)
        rows = []
        for item in X:
            pixels, width, height, n_bytes = _stored(item)
            rows.append(image_properties(np.ascontiguousarray(pixels), width, height, n_bytes))
        return np.stack(rows)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """The names in ``NAMES``."""
        return np.array(NAMES, dtype=object)


def _check(X: Items) -> None:
    """Check the pixels of every item as ``check_images`` does."""
    items: Any = X
    check_images(X if isinstance(X, np.ndarray) else [getattr(item, "pixels", item) for item in items])
