"""Where copies end and look-alikes begin on this data: copies made of its own images, and its own look-alikes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.appearance import gray_of, thumbnail
from classic_cv.checks.duplicates.hashes import PLAIN, View
from classic_cv.checks.survey import THUMBNAIL
from classic_cv.dataset import Dataset
from classic_cv.errors import ImageError
from classic_cv.features.base import Image
from classic_cv.images import to_picture

SAMPLE = 120
"""Images that copies are made of: recall is then known to about 4 points, 2 near 95 %."""

MADE_SIDE = 128
"""Pixels of the shorter side that copies are made at: four times what is compared."""

FALSE_ALARMS = 1.0
"""Images of the whole data that are expected to be taken for copies by chance, at the most.
A number, not a share: 70,000 images make so many pairs that a share that is harmless in a small set fills a page."""

LARGEST_SHARE = 3e-4
"""Share of the images that may be taken for copies by chance, whatever their number: it holds below 1,000 images."""

MOST = 0.25
"""The largest ratio of a copy, whatever the data: made copies of photos stay below 0.15, and a few images alone do not
tell where look-alikes begin."""

BULK, BULK_ENDS = 0.3, (0.6, 0.8, 1.0)
"""Shares of the median ratio between which look-alikes' distribution is fitted: below there may be copies, and the
nearer to the median the more the number of look-alikes compared shows. The first end is taken below which there are
enough."""

LEAST_FITTED = 20
"""Ratios to fit a distribution to."""

CROWDED, FEW_CROWDED = 0.02, 3
"""Share and number of a class's images whose second nearest may have a ratio between its limit and twice that. Copies
stand apart from look-alikes, a weak copy too; where the next ones are as near, as among pieces of a brick wall, all are
look-alikes."""

LEAST_LIMIT = 1e-4
"""No ratio is smaller but of images that are equal."""


def _jpeg(pixels: Image, quality: int) -> Image:
    _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)


def _resized(pixels: Image, share: float) -> Image:
    height, width = (max(1, round(share * side)) for side in pixels.shape[:2])
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _cropped(pixels: Image, before: float, after: float) -> Image:
    """Without these shares of width and height, left and above, and right and below; also parts of pixels."""
    height, width = pixels.shape[:2]
    kept = 1 - before - after
    size = max(1, round(kept * width)), max(1, round(kept * height))
    scale = kept * width / size[0], kept * height / size[1]
    # The centers of pixels are at halves.
    offset = before * width + scale[0] / 2 - 0.5, before * height + scale[1] / 2 - 0.5
    matrix = np.array([[scale[0], 0, offset[0]], [0, scale[1], offset[1]]], np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(pixels, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


class Transform(NamedTuple):
    """A way to make a copy.

    Attributes:
        make: from an image's uint8 RGB pixels to the copy's.
        view: how the image has to be seen to look like the copy, nearly.
    """

    make: Callable[[Image], Image]
    view: View


def _brighter(pixels: Image) -> Image:
    return np.asarray(cv2.convertScaleAbs(pixels, alpha=1.2), np.uint8)


def _mirrored(pixels: Image) -> Image:
    return np.ascontiguousarray(pixels[:, ::-1])


TRANSFORMS: Mapping[str, Transform] = {
    "resized to 70 %": Transform(lambda pixels: _resized(pixels, 0.7), PLAIN),
    "JPEG quality 40": Transform(lambda pixels: _jpeg(pixels, 40), PLAIN),
    "cropped by 2.5 % a side": Transform(lambda pixels: _cropped(pixels, 0.025, 0.025), View(0.025, False)),
    "cropped by 5 % a side": Transform(lambda pixels: _cropped(pixels, 0.05, 0.05), View(0.05, False)),
    "cropped by 5 % at two sides": Transform(lambda pixels: _cropped(pixels, 0.05, 0), View(0.025, False)),
    "20 % brighter": Transform(_brighter, PLAIN),
    "mirrored": Transform(_mirrored, View(0, True)),
    "mirrored, JPEG quality 40": Transform(lambda pixels: _jpeg(_mirrored(pixels), 40), View(0, True)),
    "70 %, brighter, JPEG quality 40": Transform(
        lambda pixels: _jpeg(_brighter(_resized(pixels, 0.7)), 40), PLAIN
    ),
}
"""Copies as they come about: thumbnails, saved again, cropped, corrected, mirrored, and several of these at once."""


def sample_pixels(
    dataset: Dataset, indices: NDArray[np.intp], seed: int
) -> tuple[NDArray[np.int64], list[Image]]:
    """Some images, uint8 RGB, and their places in ``indices``, ascending; what cannot be read is left out."""
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(len(indices), min(SAMPLE, len(indices)), replace=False))
    places, images = [], []
    for place in chosen.tolist():
        index = int(indices[place])
        try:
            picture = to_picture(dataset.read(index), source=dataset.names[index], min_side=MADE_SIDE)
        except ImageError:
            continue
        places.append(place)
        images.append(np.ascontiguousarray(picture.pixels))
    return np.array(places, np.int64), images


def made_thumbnails(images: list[Image]) -> NDArray[np.uint8]:
    """Thumbnails of copies: uint8 (transforms * images, THUMBNAIL, THUMBNAIL), transform by transform."""
    made = [thumbnail(gray_of(one.make(image))) for one in TRANSFORMS.values() for image in images]
    return np.array(made, np.uint8).reshape(-1, THUMBNAIL, THUMBNAIL)


def threshold(ratios: NDArray[np.floating[Any]]) -> float:
    """The ratio below which ``FALSE_ALARMS`` images, or ``LARGEST_SHARE`` of them, come by chance.

    How near the nearest of many images comes falls off as a power, the intrinsic dimension of the data (Levina and
    Bickel 2004). It is fitted to the bulk of the ratios by maximum likelihood and followed down to the share.

    Args:
        ratios: (n,), the least of each image.
    """
    from scipy.optimize import brentq

    median = float(np.median(ratios))
    low = BULK * median
    for end in BULK_ENDS:
        high = end * median
        inside = ratios[(ratios >= low) & (ratios <= high)].astype(np.float64)
        if len(inside) >= LEAST_FITTED:
            break
    if len(inside) < LEAST_FITTED or low <= 0:
        return MOST
    mean_log = float(np.log(inside / high).mean())
    span = np.log(low / high)

    def excess(power: float) -> float:
        """The mean of the logarithm under this power, less what it is."""
        return float(-1 / power - span / np.expm1(-power * span)) - mean_log

    smallest, largest = 0.1, 200.0
    if excess(smallest) * excess(largest) > 0:
        return MOST
    power = float(brentq(excess, smallest, largest))
    share_below_high = len(inside) / len(ratios) / (1 - (low / high) ** power)
    return float(min(MOST, high * (false_share(len(ratios)) / share_below_high) ** (1 / power)))


def limits_by_class(
    second: NDArray[np.floating[Any]], classes: NDArray[np.integer], limit: float
) -> NDArray[np.float64]:
    """The limit of each image: the data's, or where its class is crowded there, half of it or a quarter, and so on.

    Args:
        second: (n,), the second least ratio of each image.
        classes: (n,), numbers.
        limit: of the data, see ``threshold``.
    """
    limits = np.full(len(second), limit, np.float64)
    for number in np.unique(classes):
        its = classes == number
        limits[its] = _before_crowd(second[its], limit)
    return limits


def _before_crowd(second: NDArray[np.floating[Any]], limit: float) -> float:
    allowed = max(FEW_CROWDED, CROWDED * len(second))
    while limit > LEAST_LIMIT and int(((second >= limit) & (second < 2 * limit)).sum()) > allowed:
        limit /= 2
    return limit


def false_share(n: int) -> float:
    """The share of n images that may be taken for copies by chance."""
    return min(LARGEST_SHARE, FALSE_ALARMS / n)
