"""From an image to its feature row: decode, resize, color handling, every extractor of the recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from classic_cv.features.base import Extractor, Features
from classic_cv.features.resize import Sides, shape_of
from classic_cv.images import Picture, is_gray, resize, to_picture
from classic_cv.recipe import ImageSettings, Recipe


class Featurizer:
    """The extractors of a recipe behind one image preparation.

    Attributes:
        settings: image size, color handling and mirroring of the recipe.
        extractors: in the recipe's order; their columns are concatenated.
        gray: whether images are worked on in gray; decided by ``fit`` when the recipe says ``auto``.
        shapes: (height, width) of the image that each extractor sees, None for that of ``settings``.
    """

    def __init__(
        self,
        settings: ImageSettings,
        extractors: Sequence[Extractor],
        gray: bool = False,
        sizes: Sequence[Sides | None] | None = None,
    ) -> None:
        self.settings = settings
        self.extractors = list(extractors)
        self.gray = gray
        self.shapes = [shape_of(size) for size in sizes] if sizes else [None] * len(self.extractors)

    @classmethod
    def of(cls, recipe: Recipe) -> Featurizer:
        """An unfitted featurizer of ``recipe``."""
        specs = recipe.all_features
        return cls(recipe.image, [spec.build() for spec in specs], sizes=[spec.image_size for spec in specs])

    def only(self, number: int, settings: ImageSettings) -> Featurizer:
        """One of the extractors, with settings that may differ in what is mirrored."""
        alone = Featurizer(settings, [self.extractors[number]], self.gray)
        alone.shapes = [self.shapes[number]]
        return alone

    @property
    def group_widths(self) -> list[int]:
        """The number of columns of each extractor."""
        return [extractor.n_features_out_ for extractor in self.extractors]

    @property
    def n_features(self) -> int:
        """The number of columns of all extractors together."""
        return sum(self.group_widths)

    @property
    def n_learned(self) -> int:
        """Numbers that the extractors have learned from images, such as codebooks."""
        return sum(
            array.size
            for extractor in self.extractors
            if extractor.learns
            for array in extractor.state().values()
            if array.dtype.kind == "f"
        )

    def prepare(self, item: Any, source: str = "<image>") -> Picture:
        """Decode one path, encoded image or array and resize it; the full-size pixels are dropped here.

        Raises:
            ImageError: the image cannot be used.
        """
        shape = self.settings.shape
        picture = to_picture(item, source=source, min_side=max(shape))
        return Picture(resize(picture.pixels, shape), picture.width, picture.height, picture.n_bytes)

    @property
    def fit_images(self) -> int:
        """How many training images ``fit`` wants to see at most."""
        return max((extractor.fit_images for extractor in self.extractors), default=Extractor.fit_images)

    def fit(self, pictures: Sequence[Picture], learn: bool = True) -> Featurizer:
        """Decide the color handling and fit every extractor on prepared training pictures.

        Each extractor sees the first ``fit_images`` that it wants. Without ``learn`` extractors get placeholders for
        what is costly to learn, see ``Extractor.unlearned``.
        """
        if self.settings.color == "auto":
            # As many as any recipe has: the same answer whatever the extractors are.
            self.gray = all(is_gray(picture.pixels) for picture in pictures[: Extractor.fit_images])
        else:
            self.gray = self.settings.color == "gray"
        pixels = self._stack(pictures)
        for number, extractor in enumerate(self.extractors):
            images = self._input(number, pictures[: extractor.fit_images], pixels[: extractor.fit_images])
            if learn:
                extractor.fit(images)
            else:
                extractor.unlearned(images)
        return self

    def transform(self, pictures: Sequence[Picture], mirrored: bool = False) -> Features:
        """Features of prepared pictures, or of their left-right mirror images: float32 (n_pictures, n_features).

        Where the settings say ``mirror``, both are the same: the mean of the features of the two.
        """
        pixels = self._stack(pictures)
        if self.settings.mirror:
            features = self._features(pictures, pixels) + self._features(pictures, _mirrored(pixels))
            features *= np.float32(0.5)
            return features
        return self._features(pictures, _mirrored(pixels) if mirrored else pixels)

    def transform_pixels(self, pixels: NDArray[np.uint8]) -> Features:
        """Features of prepared pixels that are no picture's any more: changed ones.

        Args:
            pixels: uint8 (n, height, width, planes), with one plane where the featurizer is ``gray``.
        """
        stack = pixels[..., 0] if pixels.shape[3] == 1 else pixels
        height, width = stack.shape[1:3]
        return self._features([Picture(row, width, height, row.nbytes) for row in stack], stack)

    def _features(self, pictures: Sequence[Picture], pixels: NDArray[np.uint8]) -> Features:
        """What the extractors say of ``pixels``, prepared from ``pictures``."""
        if len(self.extractors) == 1:
            return self.extractors[0].transform(self._input(0, pictures, pixels))
        out = np.empty((len(pictures), self.n_features), np.float32)
        start = 0
        for number, (extractor, width) in enumerate(zip(self.extractors, self.group_widths, strict=True)):
            out[:, start : start + width] = extractor.transform(self._input(number, pictures, pixels))
            start += width
        return out

    def views(self, picture: Picture) -> list[tuple[NDArray[np.uint8], Features]]:
        """What ``transform`` takes the mean of: the picture and, where the settings say ``mirror``, its mirror image.

        Returns:
            Of each the prepared pixels, (height, width[, 3]), and the features, float32 (1, n_features).
        """
        pixels = self._stack([picture])
        stacks = [pixels, _mirrored(pixels)] if self.settings.mirror else [pixels]
        return [(stack[0], self._features([picture], stack)) for stack in stacks]

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

    def seen_by(self, number: int, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Pixels (n, height, width[, 3]) at the size that extractor ``number`` sees."""
        shape = self.shapes[number]
        if shape is None or pixels.shape[1:3] == shape:
            return pixels
        return np.stack([resize(image, shape) for image in pixels])

    def _input(self, number: int, pictures: Sequence[Picture], pixels: NDArray[np.uint8]) -> Any:
        """What this extractor takes: pixels, or pictures that also know the stored image."""
        pixels = self.seen_by(number, pixels)
        if not self.extractors[number].accepts_pictures:
            return pixels
        return [dataclasses.replace(p, pixels=row) for p, row in zip(pictures, pixels, strict=True)]


def _mirrored(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Left-right mirror images of pixels (n, height, width[, 3])."""
    # One tall image: one call turns the whole batch.
    tall = cv2.flip(pixels.reshape(-1, *pixels.shape[2:]), 1)
    return np.asarray(tall, np.uint8).reshape(pixels.shape)
