"""Random changes of a network's training images: crops of photographs, shifts of small images, color, mirroring."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from classic_cv.deep.settings import DeepSettings
from classic_cv.images import resize
from classic_cv.neural.augmentation import AugmentationSettings, augment, resolved
from classic_cv.neural.training import mean_color, shrunk, smaller_side

CROPPED_FROM = 64
"""Pixels of a side from which photographs are cropped at random; smaller images are shifted."""

LEAST_AREA = {"scratch": 0.35, "finetune": 0.5}
"""Of a random crop, as a share of the image. ImageNet is trained with 0.08 (Szegedy et al. 2015) in hundreds of epochs;
short trainings do better with larger crops (0.35 in the fast ImageNet trainings of DAWNBench and FFCV)."""

ASPECTS = (3 / 4, 4 / 3)
"""Of a random crop, width to height, on a logarithmic scale (Szegedy et al. 2015)."""

COLOR = 0.2
"""Brightness, contrast and saturation of photographs change by so much, either way."""

Images = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Augmenter:
    """Makes batches of changed training images.

    Attributes:
        pixels: uint8 (n, size, size, 3), the training images.
        changes: shift, turn, zoom, color and cutout; without "auto".
        least_area: of random crops; 1 for none.
        mirror: whether half of the images are mirrored.
        mean: float32 (3,), the color that cutout fills with.
    """

    pixels: Images
    changes: AugmentationSettings
    least_area: float
    mirror: bool
    mean: NDArray[np.float32]

    @classmethod
    def of(cls, settings: DeepSettings, pixels: Images, n_parameters: int, color: bool) -> Augmenter:
        """What suits a network of so many weights and these images, of which ``color`` says whether any has color."""
        mirror = color if settings.mirror == "auto" else settings.mirror
        photographs = color and pixels.shape[1] >= CROPPED_FROM
        if photographs:
            changes = AugmentationSettings(0.0, 0.0, 0.0, COLOR, settings.cutout, 0.0)
        else:
            asked = AugmentationSettings(cutout=settings.cutout or "auto", mixup=0.0)
            changes = resolved(asked, n_parameters, len(pixels))
        least_area = LEAST_AREA.get(settings.mode, 1.0) if photographs else 1.0
        return cls(pixels, changes, least_area, mirror, mean_color(pixels[:: max(1, len(pixels) // 500)]))

    def batch(self, rows: NDArray[np.intp], size: int, rng: np.random.Generator) -> Images:
        """Changed copies of some images at ``size``, that of the images or the lower one: uint8 (n, size, size, 3)."""
        if self.least_area == 1:
            changed, _ = augment(self.pixels, rows, self.changes, rng, self.mean, self.mirror)
            return changed if size == self.pixels.shape[1] else shrunk(changed)
        crops = random_crops(self.pixels, rows, size, self.least_area, rng)
        changed, _ = augment(crops, np.arange(len(rows)), self.changes, rng, self.mean, self.mirror)
        return changed

    def describe(self) -> str:
        """In words, for a log."""
        crops = f"crops of at least {self.least_area:.0%} of the image" if self.least_area < 1 else "shifts"
        return f"{crops}, {'mirroring' if self.mirror else 'no mirroring'}"


def lower_side(size: int, min_size: int) -> int:
    """The side of the lower resolution: three quarters, or ``size`` where that is less than ``min_size``."""
    smaller = smaller_side(size)
    return smaller if smaller >= min_size else size


def random_crops(
    pixels: Images, rows: NDArray[np.intp], size: int, least_area: float, rng: np.random.Generator
) -> Images:
    """Random rectangles of images, resized (Szegedy et al. 2015, section 6): uint8 (len(rows), size, size, 3).

    Args:
        pixels: uint8 (n, height, width, 3).
        rows: which of them.
        size: pixels of both sides of the result.
        least_area: of a rectangle, as a share of the image; its aspect is within ``ASPECTS``.
        rng: source of randomness.
    """
    height, width = pixels.shape[1:3]
    draws = rng.random((4, len(rows)))
    area = least_area + (1 - least_area) * draws[0]
    aspect = np.exp(math.log(ASPECTS[0]) + math.log(ASPECTS[1] / ASPECTS[0]) * draws[1])
    tall = np.clip(np.rint(height * np.sqrt(area / aspect)), 1, height).astype(int)
    wide = np.clip(np.rint(width * np.sqrt(area * aspect)), 1, width).astype(int)
    tops = ((height - tall + 1) * draws[2]).astype(int)
    lefts = ((width - wide + 1) * draws[3]).astype(int)
    found = np.empty((len(rows), size, size, 3), np.uint8)
    for out, row, top, left, h, w in zip(found, rows, tops, lefts, tall, wide, strict=True):
        out[...] = resize(pixels[row, top : top + h, left : left + w], (size, size))
    return found
