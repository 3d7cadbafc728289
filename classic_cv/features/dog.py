"""Histograms of difference-of-Gaussians responses over a spatial grid: spots by size, sign and strength.

The image blurred less minus the image blurred more (Marr and Hildreth 1980 [1]) answers to spots of one size:
bright ones positive, dark ones negative, edges and flat parts about 0. It approximates the scale-normalised
Laplacian of Gaussian, by the factor ``ratio - 1`` (Lowe 2004 [2]), so scales can be compared; Crowley and
Parker [3] describe shapes by its peaks. Here the responses of all pixels are counted.

Every weight is a whole number of 2^-22, so each blur is an exact sum in float64 (8 + 22 + 22 bits) and so is
their difference. Votes are multiples of 2^-10. Hence no result depends on the order of summation: not on
threads, batches or the instruction set, and symmetries hold bit for bit.

[1] Marr and Hildreth, Theory of edge detection, Proc. R. Soc. B 207, 1980.
[2] Lowe, Distinctive image features from scale-invariant keypoints, IJCV 2004, section 3.
[3] Crowley and Parker, A representation for shape based on peaks and ridges in the difference of low-pass
    transform, PAMI 1984.
"""

from __future__ import annotations

import functools
import itertools
from typing import Annotated, Any, ClassVar, Literal, Self

import cv2
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from classic_cv.errors import ParameterError
from classic_cv.features.base import Extractor, Features, Image, Images, Regions, check_images
from classic_cv.features.color import bin_weights, color_planes
from classic_cv.features.grid import (
    Grid,
    cell_areas,
    cell_names,
    equal_size_batches,
    grid_counts,
    normalize,
    pair,
    spread_over_cells,
)

Channel = Literal["value", "gray"]
Sigma = Annotated[float, Meta(ge=0.5, le=64)]
Sigmas = Annotated[tuple[Sigma, ...], Meta(min_length=1)]
Ratio = Annotated[float, Meta(ge=1.1, le=8)]
ResponseBins = Annotated[int, Meta(ge=2, le=256)]

TRUNCATE = 4.0
"""Where a Gaussian is cut, in standard deviations: scipy's default."""

WEIGHT_STEPS = 2**22
"""A Gaussian's weights are whole numbers of one part in so many."""

GAIN = 12.0
"""Code steps per square root of a gray level: a response of 1 level is 12 steps, one of 112 the last."""


@functools.lru_cache(maxsize=64)
def gaussian_weights(sigma: float) -> NDArray[np.float64]:
    """float64 (2 radius + 1,): a sampled Gaussian, cut ``int(4 sigma + 0.5)`` pixels from its center.

    Weights are rounded to multiples of 2^-22; the center takes up what is missing to a sum of exactly 1.
    Read-only.
    """
    radius = int(TRUNCATE * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    steps: NDArray[np.float64] = np.rint(weights / weights.sum() * WEIGHT_STEPS)
    steps[radius] += WEIGHT_STEPS - steps.sum()
    steps /= WEIGHT_STEPS
    steps.flags.writeable = False
    return steps


def blur(plane: NDArray[np.uint8], sigma: float) -> NDArray[np.float64]:
    """``gaussian_weights`` along rows and columns of uint8 (height, width): float64, 0 to 255, exact.

    Beyond the border the image is mirrored about its outermost pixels (``gfedcb|abcdefgh|gfedcba``), as
    often as it takes; a single row or column repeats.
    """
    weights: Any = gaussian_weights(sigma)
    return np.asarray(cv2.sepFilter2D(plane, cv2.CV_64F, weights, weights, borderType=cv2.BORDER_REFLECT_101))


def dog_responses(
    plane: NDArray[np.uint8], sigmas: tuple[float, ...], ratio: float
) -> list[NDArray[np.float64]]:
    """For each sigma ``blur(plane, sigma) - blur(plane, ratio * sigma)``.

    Args:
        plane: uint8 (height, width).
        sigmas: standard deviations of the narrower Gaussian, in pixels.
        ratio: standard deviation of the wider Gaussian over that of the narrower.

    Returns:
        float64 (height, width) per sigma, in gray levels, between -255 and 255, exact. Bright spots are
        positive. A Gaussian spot of standard deviation ``sigma * sqrt(ratio)`` answers most to ``sigma``.
    """
    widths = {*sigmas, *(ratio * sigma for sigma in sigmas)}
    blurred = {width: blur(plane, width) for width in widths}
    return [blurred[sigma] - blurred[ratio * sigma] for sigma in sigmas]


def response_codes(responses: NDArray[np.floating]) -> NDArray[np.uint8]:
    """``128 + sign(d) * min(127, round(12 sqrt|d|))``: uint8, 1 to 255, 128 for no response.

    The square root gives faint and strong spots alike their share of the codes.
    """
    d = responses.astype(np.float32)
    size = np.abs(d)
    np.sqrt(size, out=size)
    size *= np.float32(GAIN)
    np.rint(size, out=size)
    np.minimum(size, np.float32(127), out=size)
    np.copysign(size, d, out=size)
    size += np.float32(128)
    return size.astype(np.uint8)


@functools.cache
def code_votes(bins: int) -> NDArray[np.float64]:
    """float64 (256, bins): the votes of each code; rows sum to 1, multiples of 2^-10.

    ``bins`` equal bins cover 0 to 256. Code c votes as the mean of the 8-bit values c - 1 and c, whose
    middles are c - 1/2 and c + 1/2, each shared linearly by the bins with the nearest centers: so codes
    128 + k and 128 - k have mirrored votes. Read-only.
    """
    votes = bin_weights(bins, True, False).copy()
    votes[1:] = (votes[:-1] + votes[1:]) / 2
    votes.flags.writeable = False
    return votes


def channel_planes(images: NDArray[np.uint8], channel: Channel) -> NDArray[np.uint8]:
    """uint8 (n, height, width) of (n, height, width[, 3]): ``value``, the largest of r, g, b, or ``gray``."""
    if images.ndim == 3 or channel == "gray":
        return color_planes(images, "gray")[0]
    n, height, width, _ = images.shape
    red, green, blue = cv2.split(images.reshape(n * height, width, 3))
    return np.asarray(cv2.max(cv2.max(red, green), blue), np.uint8).reshape(n, height, width)


def dog_histograms(
    images: NDArray[np.uint8],
    sigmas: tuple[float, ...] = (1.0, 2.0, 4.0),
    ratio: float = 1.6,
    bins: int = 16,
    *,
    grid: tuple[int, int] = (1, 1),
    channel: Channel = "value",
    hellinger: bool = False,
) -> Features:
    """Histograms of the ``response_codes`` of equal-size images.

    Args:
        images: uint8 (n, height, width) gray or (n, height, width, 3) RGB, C-contiguous.
        sigmas: scales in pixels, see ``dog_responses``.
        ratio: wider over narrower Gaussian.
        bins: bins of each histogram, shared linearly; see ``code_votes``.
        grid: (rows, columns) of cells, their edges in proportion to the image.
        channel: of RGB images, see ``channel_planes``.
        hellinger: square root of the shares.

    Returns:
        float32 (n, len(sigmas) * rows * columns * bins), values 0 to 1: scale by scale, cell by cell, from
        dark spots (bin 0) to bright ones. Each cell's histogram sums to 1 before the square root; a cell
        without pixels is all zeros.
    """
    planes = channel_planes(images, channel)
    # (scale, image, height, width)
    codes = np.empty((len(sigmas), *planes.shape), np.uint8)
    for index, plane in enumerate(planes):
        for scale, response in enumerate(dog_responses(plane, sigmas, ratio)):
            codes[scale, index] = response_codes(response)
    areas = cell_areas(planes.shape[1:], grid)
    votes = [grid_counts([plane], [256], grid).astype(np.float64) @ code_votes(bins) for plane in codes]
    parts = [normalize(vote, areas, hellinger).reshape(len(planes), -1) for vote in votes]
    return np.concatenate(parts, axis=1)


class DoGHistogram(Extractor):
    """How many bright and dark spots of each size and strength: for counting and for texture.

    Works on images of any sizes; sizes of spots are in pixels of the image given. With the default ``grid``
    of 1 it does not matter where the spots are.

    Args:
        sigmas: scales in pixels, 0.5 to 64; each adds one histogram per cell. Scale s answers most to round
            spots of a radius of about ``s * sqrt(2 * ratio)``.
        ratio: wider over narrower Gaussian of a difference, 1.1 to 8; 1.6 is closest to the Laplacian [1].
        bins: bins of each histogram, 2 to 256, from dark spots to bright ones; no response lies in the middle.
        grid: cells per side, or (rows, columns).
        channel: of color images ``value``, the largest of r, g and b, or ``gray``, their luma.
        hellinger: square root of the shares. Off by default, unlike for other histograms: shares grow in
            proportion to the number of equal objects, square roots do not.

    [1] Marr and Hildreth, Theory of edge detection, 1980, appendix B.
    """

    learned: ClassVar[tuple[str, ...]] = ("n_features_out_",)

    def __init__(
        self,
        sigmas: Sigmas = (1.0, 2.0, 4.0),
        ratio: Ratio = 1.6,
        bins: ResponseBins = 16,
        grid: Grid = 1,
        channel: Channel = "value",
        hellinger: bool = False,
    ) -> None:
        self.sigmas = sigmas
        self.ratio = ratio
        self.bins = bins
        self.grid = grid
        self.channel = channel
        self.hellinger = hellinger

    def fit(self, X: Images, y: Any = None) -> Self:
        """Check parameters and images; nothing is learned but the width.

        Raises:
            ParameterError: a parameter has the wrong type or range, or two sigmas agree to 6 digits.
        """
        self.check_params()
        check_images(X)
        if len({f"{sigma:g}" for sigma in self.sigmas}) < len(self.sigmas):
            raise ParameterError(
                f"DoGHistogram(sigmas={self.sigmas!r}): the same sigma is given twice (to 6 digits); "
                "give each scale once"
            )
        rows, columns = pair(self.grid)
        self.n_features_out_ = len(self.sigmas) * rows * columns * self.bins
        return self

    def transform(self, X: Images) -> Features:
        """Histograms of images ``X``: float32 (n_samples, n_features_out_), values 0 to 1."""
        self.check_fitted()
        check_images(X)
        grid = pair(self.grid)
        out = np.empty((len(X), self.n_features_out_), np.float32)
        for rows, images in equal_size_batches(X, grid[0] * grid[1]):
            out[rows] = dog_histograms(
                images,
                tuple(float(sigma) for sigma in self.sigmas),
                float(self.ratio),
                self.bins,
                grid=grid,
                channel=self.channel,
                hellinger=self.hellinger,
            )
        return out

    def spread(self, image: Image, contributions: NDArray[np.float64]) -> Regions:
        """One region per cell, row by row, with all scales; see ``Extractor.spread``."""
        self.check_fitted()
        return spread_over_cells(image, contributions, pair(self.grid), [self.bins] * len(self.sigmas))

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """``dog2_y0_x1_b3``: sigma 2, cell in row 0, column 1, bin 3."""
        cells = cell_names(pair(self.grid))
        columns = itertools.product(self.sigmas, cells, range(self.bins))
        return np.array([f"dog{sigma:g}_{cell}_b{index}" for sigma, cell, index in columns], dtype=object)
