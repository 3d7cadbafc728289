"""From an image to its feature row: decode, resize, color handling, every extractor of the recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from classic_cv.features.base import Extractor, Features
from classic_cv.images import Picture, is_gray, resize, to_picture
from classic_cv.recipe import ImageSettings, Recipe


class Featurizer:
    """The extractors of a recipe behind one image preparation.

    Attributes:
        settings: image size and color handling of the recipe.
        extractors: in the recipe's order; their columns are concatenated.
        gray: whether images are worked on in gray; decided by ``fit`` when the recipe says ``auto``.
    """

    def __init__(self, settings: ImageSettings, extractors: Sequence[Extractor], gray: bool = False) -> None:
        self.settings = settings
        self.extractors = list(extractors)
        self.gray = gray

    @classmethod
    def of(cls, recipe: Recipe) -> Featurizer:
        """An unfitted featurizer of ``recipe``."""
        return cls(recipe.image, [spec.build() for spec in recipe.features])

    @property
    def group_widths(self) -> list[int]:
        """The number of columns of each extractor."""
        return [extractor.n_features_out_ for extractor in self.extractors]

    @property
    def n_features(self) -> int:
        """The number of columns of all extractors together."""
        return sum(self.group_widths)

    def prepare(self, item: Any, source: str = "<image>") -> Picture:
        """Decode one path, encoded image or array and resize it; the full-size pixels are dropped here.

        Raises:
            ImageError: the image cannot be used.
        """
        shape = self.settings.shape
        picture = to_picture(item, source=source, min_side=max(shape))
        return Picture(resize(picture.pixels, shape), picture.width, picture.height, picture.n_bytes)

    def fit(self, pictures: Sequence[Picture]) -> Featurizer:
        """Decide the color handling and fit every extractor on prepared training pictures."""
        if self.settings.color == "auto":
            self.gray = all(is_gray(picture.pixels) for picture in pictures)
        else:
            self.gray = self.settings.color == "gray"
        pixels = self._stack(pictures)
        for extractor in self.extractors:
            extractor.fit(self._input(extractor, pictures, pixels))
        return self

    def transform(self, pictures: Sequence[Picture]) -> Features:
        """Features of prepared pictures: float32 (n_pictures, n_features)."""
        pixels = self._stack(pictures)
        if len(self.extractors) == 1:
            return self.extractors[0].transform(self._input(self.extractors[0], pictures, pixels))
        out = np.empty((len(pictures), self.n_features), np.float32)
        start = 0
        for extractor, width in zip(self.extractors, self.group_widths, strict=True):
            out[:, start : start + width] = extractor.transform(self._input(extractor, pictures, pixels))
            start += width
        return out

    def _stack(self, pictures: Sequence[Picture]) -> NDArray[np.uint8]:
        """All pixels in one array: (n, height, width), or (n, height, width, 3) in color."""
        if len(pictures) == 1:
            return self._alone(pictures[0].pixels)
        stack = np.stack([picture.pixels for picture in pictures])
        if not self.gray:
            return stack
        n, height, width, _ = stack.shape
        # One tall image: one call converts the whole batch.
        tall = cv2.cvtColor(stack.reshape(n * height, width, 3), cv2.COLOR_RGB2GRAY)
        return np.asarray(tall, np.uint8).reshape(n, height, width)

    def _alone(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """One image as ``_stack`` would give it, without the copy."""
        if not self.gray:
            return np.ascontiguousarray(pixels)[None]
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)[None]

    def _input(self, extractor: Extractor, pictures: Sequence[Picture], pixels: NDArray[np.uint8]) -> Any:
        """What this extractor takes: pixels, or pictures that also know the stored image."""
        if not extractor.accepts_pictures:
            return pixels
        return [dataclasses.replace(p, pixels=row) for p, row in zip(pictures, pixels, strict=True)]
