"""Images of other kinds, at hand wherever the package is installed: what a model should not be sure of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Pictures = list[NDArray[np.uint8]]

PER_SET = 60
"""Images of a set at most: an AUC of 0.9 is then known to about 0.05 either way."""

PHOTOS = (
    *(
        "astronaut",
        "camera",
        "cat",
        "cell",
        "clock",
        "coffee",
        "coins",
        "hubble_deep_field",
        "immunohistochemistry",
    ),
    *("microaneurysms", "moon", "page", "retina", "rocket", "text"),
)
"""Pictures that scikit-image ships within its package, by the functions that read them. Those of textures are left
out: they are a set to classify."""


def other_sets(seed: int) -> dict[str, Pictures]:
    """Small image sets by name: uint8, gray (height, width) or RGB (height, width, 3).

    Args:
        seed: of what is drawn, and of which images are taken where there are more than ``PER_SET``.
    """
    return {name: _some(make(seed), seed) for name, make in _SETS.items()}


def _some(pictures: Pictures, seed: int) -> Pictures:
    rows = np.random.default_rng(seed).permutation(len(pictures))[:PER_SET]
    return [pictures[row] for row in np.sort(rows)]


def _photos(seed: int) -> Pictures:
    from skimage import data

    found = [np.asarray(getattr(data, name)(), np.uint8) for name in PHOTOS]
    return [np.ascontiguousarray(photo[..., :3]) if photo.ndim == 3 else photo for photo in found]


def _digits(seed: int) -> Pictures:
    from sklearn.datasets import load_digits

    return list(np.rint(load_digits().images * (255 / 16)).astype(np.uint8))


def _faces(seed: int) -> Pictures:
    from skimage import data

    skimage_data: Any = data
    # The first half are faces, the others are crops of anything.
    return list(np.rint(skimage_data.lfw_subset()[:100] * 255).astype(np.uint8))


def _noise(seed: int) -> Pictures:
    """Colored noise from coarse to fine, every other one smooth."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(PER_SET // 2):
        side = int(rng.integers(2, 64))
        blocks = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
        how = cv2.INTER_CUBIC if number % 2 else cv2.INTER_NEAREST
        found.append(np.asarray(cv2.resize(blocks, (128, 128), interpolation=how), np.uint8))
    return found


def _blank(seed: int) -> Pictures:
    """One color each."""
    colors = np.random.default_rng(seed).integers(0, 256, (PER_SET // 2, 3), dtype=np.uint8)
    return [np.full((64, 64, 3), color, np.uint8) for color in colors]


_SETS: Mapping[str, Callable[[int], Pictures]] = {
    "scikit-image photos": _photos,
    "scikit-learn digits": _digits,
    "scikit-image faces": _faces,
    "drawn noise": _noise,
    "blank images": _blank,
}
