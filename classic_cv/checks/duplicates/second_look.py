"""The second look at pairs that seem to be copies: how far local descriptors tell them apart on this data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.duplicates.alignment import compared, likeness
from classic_cv.checks.duplicates.calibration import TRANSFORMS
from classic_cv.checks.duplicates.hashes import View
from classic_cv.features.base import Image

COPIED = 24
"""Images whose copies show how well descriptors of copies match: 216 copies."""

LOST = 0.02
"""Share of the made copies that a second look may lose."""

LOOK_ALIKES = 80
"""Pairs of look-alikes that are looked at."""

APART = 4.0
"""Standard deviations between look-alikes and the worst copies with which descriptors alone tell them apart: beyond
them lies one look-alike in 30,000."""

CERTAIN = 1 - 1e-6
"""A perfect match, just finite on the scale on which matches of look-alikes are about normally distributed."""


@dataclass(frozen=True)
class DescriptorLimit:
    """What the second look asks for.

    Attributes:
        least: the least ``likeness`` of a copy: between look-alikes and made copies where these lie apart, else what
            most of these reach.
        decides: whether look-alikes stay so far below that it decides alone.
        look_alikes: the median likeness of look-alikes; None where there are none.
    """

    least: float
    decides: bool
    look_alikes: float | None


def made_likeness(images: Sequence[Image]) -> NDArray[np.float64]:
    """Likeness of images, uint8 RGB, with copies made of them; what has no gradients at all is left out."""
    found = [
        likeness(compared(one.make(image)), compared(image), one.view)
        for image in images[:: max(1, len(images) // COPIED)][:COPIED]
        for one in TRANSFORMS.values()
    ]
    return np.array([value for value in found if value > 0])


def descriptor_limit(made: NDArray[np.float64], look_alikes: NDArray[np.float64]) -> DescriptorLimit:
    """From the likeness of made copies and of look-alikes, each (n,), 0 to 1."""
    if not len(made):
        return DescriptorLimit(0.0, False, None)
    least = float(np.quantile(made, LOST))
    if len(look_alikes) < LOOK_ALIKES // 2:
        return DescriptorLimit(least, False, float(np.median(look_alikes)) if len(look_alikes) else None)
    # Fisher's z. There may be copies among them: the spread is that of the lower half.
    middle, low, worst = np.arctanh(np.minimum([*np.quantile(look_alikes, [0.5, 0.16]), least], CERTAIN))
    beyond = middle + APART * (middle - low)
    decides = bool(worst > beyond)
    between = float(np.tanh((beyond + worst) / 2))
    return DescriptorLimit(between if decides else least, decides, float(np.tanh(middle)))


def likeness_of_pairs(
    pairs: NDArray[np.int64], views: Sequence[View], read: Callable[[int], Image | None]
) -> NDArray[np.float64]:
    """Likeness of pairs (m, 2), the second seen so; 0 where one cannot be read.

    Args:
        read: from a position to the gray image (``compared``), or None.
    """
    found = np.zeros(len(pairs))
    for place, ((first, second), view) in enumerate(zip(pairs.tolist(), views, strict=True)):
        image, other = read(first), read(second)
        if image is not None and other is not None:
            found[place] = likeness(image, other, view)
    return found
