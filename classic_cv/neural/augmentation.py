"""Random changes of training images: shift, rotation, zoom, color, cutout, symmetries; the draws of mixup.

Each change is a pure function of a batch and of what was drawn for each of its images; ``augment`` draws for
all of them and applies those that are on. Batches are uint8 (n, height, width, 1 or 3).
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import cv2
import msgspec
import numpy as np
from msgspec import Meta
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from classic_cv.errors import ParameterError

STRENGTHS: tuple[tuple[float, dict[str, float]], ...] = (
    (10_000, {"shift": 0.0625}),
    (50_000, {"shift": 0.0625}),
    (300_000, {"shift": 0.125, "cutout": 0.25}),
    (math.inf, {"shift": 0.125, "cutout": 0.25, "mixup": 0.2}),
)
"""What "auto" means for networks with fewer parameters than the row's number; what is not named is 0.

A small network underfits: changes that a large one needs only take away from what it can learn.
"""

FEW_IMAGES = 2000
FOR_FEW_IMAGES: dict[str, float] = {"shift": 0.1, "rotation": 10, "zoom": 0.1, "color": 0.2}
"""With fewer than ``FEW_IMAGES`` training images, "auto" is at least this much."""

GRAY_WEIGHTS = {1: (1.0,), 3: (0.299, 0.587, 0.114)}
"""Brightness of a pixel by its number of channels: ITU-R BT.601 for RGB, as in Pillow and torchvision."""

FOR_NUMBERS: dict[str, float] = {"shift": 0.03125}
"""What "auto" means where a number is estimated: a count, an angle or a size changes with what these changes do."""

STRENGTH_NAMES = ("shift", "rotation", "zoom", "color", "cutout", "mixup")
SYMMETRIES = 8

Images = NDArray[np.uint8]
Numbers = NDArray[np.float64]
UpToHalf = Annotated[float, Meta(ge=0, le=0.5)]
UpToOne = Annotated[float, Meta(ge=0, le=1)]


class AugmentationSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much training images are changed: 0 is not at all, ``"auto"`` fits the network's size.

    ``shift``: at most this share of the side, in both directions, by whole pixels; the border is reflected.
    ``rotation``: at most this many degrees, either way.
    ``zoom``: scale factors from 1 - zoom to 1 + zoom.
    ``color``: factors of brightness, contrast and, in color images, saturation, from 1 - color to 1 + color.
    ``cutout``: side of a square that is filled with the mean color, as a share of the shorter side [1].
    ``mixup``: alpha of the Beta distribution that weights are drawn from when two images are blended [2].
    ``quarter_turns``: turn by multiples of 90 degrees and mirror, for square images without an upright side.

    [1] DeVries and Taylor, Improved regularization of convolutional neural networks with cutout, 2017.
    [2] Zhang, Cisse, Dauphin and Lopez-Paz, mixup: beyond empirical risk minimization, 2018.
    """

    shift: Literal["auto"] | UpToHalf = "auto"
    rotation: Literal["auto"] | Annotated[float, Meta(ge=0, le=180)] = "auto"
    zoom: Literal["auto"] | UpToHalf = "auto"
    color: Literal["auto"] | UpToOne = "auto"
    cutout: Literal["auto"] | UpToOne = "auto"
    # Beyond 100 all weights are one half anyway, and infinity would make them NaN.
    mixup: Literal["auto"] | Annotated[float, Meta(ge=0, le=100)] = "auto"
    quarter_turns: bool = False


def resolved(
    settings: AugmentationSettings, n_parameters: int, n_images: int, of_numbers: bool = False
) -> AugmentationSettings:
    """``settings`` with a number for every "auto", by ``STRENGTHS``; what was given stays.

    Args:
        settings: what to resolve.
        n_parameters: of the network.
        n_images: of the training part.
        of_numbers: whether it estimates a number rather than a class.
    """
    found = dict.fromkeys(STRENGTH_NAMES, 0.0)
    found |= next(strengths for below, strengths in STRENGTHS if n_parameters < below)
    if of_numbers:
        found = dict.fromkeys(STRENGTH_NAMES, 0.0) | FOR_NUMBERS
    elif n_images < FEW_IMAGES:
        found |= {name: max(found[name], least) for name, least in FOR_FEW_IMAGES.items()}
    automatic = {name: float(value) for name, value in found.items() if getattr(settings, name) == "auto"}
    return msgspec.structs.replace(settings, **automatic)


def augment(
    pixels: Images,
    indices: NDArray[np.intp],
    settings: AugmentationSettings,
    rng: np.random.Generator,
    mean: NDArray[np.float32],
    flip: bool = False,
) -> tuple[Images, NDArray[np.bool_]]:
    """Randomly changed copies of some images; all of ``settings`` but ``mixup``, which is for ``mixed``.

    Every call draws equally many numbers per image, each change has its own, and all come from ``rng``:
    the same state gives the same batch, and turning one change on leaves the others as they were.

    Args:
        pixels: uint8 (n, height, width, 1 or 3), the images; not changed.
        indices: intp (n_chosen,), those that are wanted; an image may come up more than once.
        settings: how much; without "auto", see ``resolved``.
        rng: source of randomness.
        mean: float32 (channels,), 0 to 255: the color that cutout fills with.
        flip: mirror each image left-right with probability one half.

    Returns:
        uint8 (n_chosen, height, width, channels), C-contiguous; bool (n_chosen,): mirrored by ``flip``.

    Raises:
        ParameterError: an "auto" in ``settings``, ``quarter_turns`` and images that are not square, a number
            of channels other than 1 and 3, or another length of ``mean``.
    """
    shift, rotation, zoom, color, cutout, _ = (_number(settings, name) for name in STRENGTH_NAMES)
    height, width, channels = pixels.shape[1:]
    _check(settings, height, width, channels, mean)
    draws = rng.random((11, len(indices)))
    flips, turns, down, right, angle, scale, brightness, contrast, saturation, cut_y, cut_x = draws

    batch = np.ascontiguousarray(pixels[indices])
    flipped = (flips < 0.5) if flip else np.zeros(len(indices), np.bool_)
    if flip:
        batch = mirrored(batch, flipped)
    if settings.quarter_turns:
        batch = turned(batch, _whole(turns, SYMMETRIES))
    reach_y, reach_x = round(shift * height), round(shift * width)
    offset_y = _whole(down, 2 * reach_y + 1) - reach_y
    offset_x = _whole(right, 2 * reach_x + 1) - reach_x
    if rotation or zoom:
        batch = warped(batch, offset_y, offset_x, _around(0, rotation, angle), _around(1, zoom, scale))
    elif reach_y or reach_x:
        batch = shifted(batch, offset_y, offset_x)
    if color:
        factors = (_around(1, color, draw) for draw in (brightness, contrast, saturation))
        batch = recolored(batch, *factors)
    side = round(cutout * min(height, width))
    if side:
        batch = with_squares(batch, _whole(cut_y, height), _whole(cut_x, width), side, mean)
    return batch, flipped


def mixed(rng: np.random.Generator, n: int, alpha: float) -> tuple[float, NDArray[np.intp]]:
    """What mixup needs for a batch: the weight of each image and the image that gets the rest of the weight.

    The weight is drawn from Beta(alpha, alpha) and is at least one half (below that it would be the same
    pairs, the other way round), so that each image stays the larger part of its own mixture.

    Args:
        rng: source of randomness.
        n: images in the batch.
        alpha: at least 0, where the weight is 1: nothing is mixed.

    Returns:
        The weight, 0.5 to 1; intp (n,), a permutation of ``range(n)``.
    """
    weight = float(rng.beta(alpha, alpha)) if alpha else 1.0
    return max(weight, 1 - weight), rng.permutation(n).astype(np.intp, copy=False)


def mirrored(batch: Images, chosen: NDArray[np.bool_]) -> Images:
    """A copy of the batch with the ``chosen``, bool (n,), mirrored left-right."""
    result = batch.copy()
    some = batch[chosen]
    if some.size:
        # One tall image: OpenCV mirrors all of them in one call, 20 times as fast as NumPy's negative stride.
        tall = some.reshape(-1, *some.shape[2:])
        result[chosen] = np.asarray(cv2.flip(tall, 1)).reshape(some.shape)
    return result


def turned(batch: Images, symmetry: NDArray[np.intp]) -> Images:
    """A copy of the square images, each under one of the 8 symmetries of the square.

    Args:
        batch: uint8 (n, side, side, channels).
        symmetry: intp (n,), 0 to 7: bit 2 transposes, then bit 1 mirrors top-bottom, then bit 0 left-right.
    """
    result = batch.copy()
    transposed, upside_down = symmetry & 4 > 0, symmetry & 2 > 0
    result[transposed] = batch[transposed].transpose(0, 2, 1, 3)
    result[upside_down] = result[upside_down][:, ::-1]
    return mirrored(result, symmetry & 1 > 0)


def shifted(batch: Images, down: NDArray[np.intp], right: NDArray[np.intp]) -> Images:
    """A copy of the batch, moved by whole pixels; what comes in is the reflection about the edge pixels.

    Args:
        batch: uint8 (n, height, width, channels).
        down, right: intp (n,), pixels; smaller than the height and the width.
    """
    n, height, width, channels = batch.shape
    reach_y, reach_x = int(np.abs(down).max(initial=0)), int(np.abs(right).max(initial=0))
    padded = np.pad(batch, ((0, 0), (reach_y, reach_y), (reach_x, reach_x), (0, 0)), "reflect")
    # Rows as bytes, so that a window is a few long runs: with the channels as an axis NumPy copies 3 bytes at
    # a time.
    rows = padded.reshape(n, height + 2 * reach_y, (width + 2 * reach_x) * channels)
    windows: Images = sliding_window_view(rows, (height, width * channels), axis=(1, 2))
    moved: Images = windows[np.arange(n), reach_y - down, (reach_x - right) * channels]
    return moved.reshape(batch.shape)


def warped(
    batch: Images, down: NDArray[np.intp], right: NDArray[np.intp], degrees: Numbers, scale: Numbers
) -> Images:
    """A copy of the batch, turned and scaled about the image's middle, then moved; linear interpolation.

    Args:
        batch: uint8 (n, height, width, channels).
        down, right: intp (n,), pixels.
        degrees: float64 (n,), counter-clockwise.
        scale: float64 (n,), above 0; above 1 enlarges.
    """
    height, width = batch.shape[1:3]
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    angle = np.deg2rad(degrees)
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    # From the result's pixels back to the image's, which saves OpenCV the inversion.
    linear = np.stack([cos, -sin, sin, cos], axis=1).reshape(-1, 2, 2)
    moved = middle + np.stack([right, down], axis=1)
    offset = middle - np.einsum("nij,nj->ni", linear, moved)
    matrices = np.concatenate([linear, offset[:, :, None]], axis=2)
    result = np.empty_like(batch)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for image, matrix, out in zip(batch, matrices, result, strict=True):
        cv2.warpAffine(image, matrix, (width, height), out, flags, cv2.BORDER_REFLECT_101)
    return result


def recolored(batch: Images, brightness: Numbers, contrast: Numbers, saturation: Numbers) -> Images:
    """A copy of the batch with other brightness, contrast and saturation.

    As in torchvision's ``ColorJitter``, a factor leads from something plain (0) to the image (1) and beyond:
    brightness from black, contrast from the image's mean gray value, saturation from the gray image. Without
    clipping in between the three commute, whatever their order: one affine map of the color, clipped once.

    Args:
        batch: uint8 (n, height, width, 1 or 3); saturation has no effect on 1 channel.
        brightness, contrast, saturation: float64 (n,), at least 0; 1 leaves the image as it is.
    """
    channels = batch.shape[3]
    weights = np.array(GRAY_WEIGHTS[channels])
    gray = np.array([cv2.mean(image) for image in batch]).reshape(-1, 4)[:, :channels] @ weights
    to_gray = np.broadcast_to(weights, (channels, channels))
    kept = saturation[:, None, None]
    linear = (brightness * contrast)[:, None, None] * (kept * np.eye(channels) + (1 - kept) * to_gray)
    offset = np.repeat((brightness * (1 - contrast) * gray)[:, None], channels, axis=1)
    matrices = np.concatenate([linear, offset[:, :, None]], axis=2)
    result = np.empty_like(batch)
    for image, matrix, out in zip(batch, matrices, result, strict=True):
        cv2.transform(image, matrix, out)
    return result


def with_squares(
    batch: Images, y: NDArray[np.intp], x: NDArray[np.intp], side: int, color: NDArray[np.float32]
) -> Images:
    """A copy of the batch with a filled square in each image, of which the image's border may cut off a part.

    Args:
        batch: uint8 (n, height, width, channels).
        y, x: intp (n,), the square's middle pixel (for an even side the one below and right of the middle).
        side: of the square, in pixels.
        color: float32 (channels,), 0 to 255; rounded.
    """
    result = batch.copy()
    fill = np.rint(color).astype(np.uint8)
    tops, lefts = y - side // 2, x - side // 2
    edges = (np.maximum(tops, 0), tops + side, np.maximum(lefts, 0), lefts + side)
    for image, top, bottom, left, right in zip(result, *(edge.tolist() for edge in edges), strict=True):
        image[top:bottom, left:right] = fill
    return result


def _number(settings: AugmentationSettings, name: str) -> float:
    value = getattr(settings, name)
    if value == "auto":
        raise ParameterError(
            f'augmentation: {name} is "auto" where a number is needed: call resolved() first'
        )
    return float(value)


def _check(
    settings: AugmentationSettings, height: int, width: int, channels: int, mean: NDArray[np.float32]
) -> None:
    if channels not in GRAY_WEIGHTS:
        raise ParameterError(f"augmentation: images have {channels} channels: give them 1 (gray) or 3 (RGB)")
    if mean.shape != (channels,):
        raise ParameterError(
            f"augmentation: mean has the shape {mean.shape}, but images have {channels} channels: give it "
            "one number per channel"
        )
    if settings.quarter_turns and height != width:
        raise ParameterError(
            f"augmentation: quarter_turns needs square images, these are {height} x {width} pixels: set "
            "it to false, or choose a square image size"
        )


def _around(center: float, spread: float, draw: Numbers) -> Numbers:
    """Uniform in [center - spread, center + spread], from draws uniform in [0, 1)."""
    return center + spread * (2 * draw - 1)


def _whole(draw: Numbers, n: int) -> NDArray[np.intp]:
    """Uniform in 0 to n - 1, from draws uniform in [0, 1)."""
    return (draw * n).astype(np.intp)
