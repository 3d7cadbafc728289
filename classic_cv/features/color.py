"""Color histograms (Swain and Ballard 1991) over a spatial grid, with hard or linearly interpolated bins.

Pixels are 8-bit, so a marginal histogram of any binning is a linear map of the counts of the 256 values:
the counts cost one pass, the binning one small product. All votes are multiples of 2^-9 (2^-27 joint),
so sums are exact in floating point and do not depend on their order.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, cast

import cv2
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from classic_cv.errors import ParameterError
from classic_cv.features.base import Extractor, Features, Image, Images, Regions, check_images
from classic_cv.features.grid import (
    CELL_IDS,
    Grid,
    cell_areas,
    cell_ids,
    cell_names,
    equal_size_batches,
    grid_counts,
    normalize,
    pair,
    spread_over_cells,
)

Scalar = TypeVar("Scalar", bound=np.generic)
Space = Literal["rgb", "hsv", "lab", "opponent", "gray"]
Bins = Annotated[int, Meta(ge=1, le=256)]

CHANNELS: dict[Space, tuple[str, ...]] = {
    "rgb": ("r", "g", "b"),
    "hsv": ("h", "s", "v"),
    "lab": ("l", "a", "b"),
    "opponent": ("o1", "o2", "o3"),
    "gray": ("gray",),
}
CYCLIC = frozenset({"h"})
MAX_JOINT_BINS = 65_536
EXACT_FLOAT32_AREA = 2**15
"""Cells below this many pixels sum votes of 2^-9 exactly in float32's 24 bits."""


def color_planes(images: NDArray[np.uint8], space: Space) -> list[NDArray[np.uint8]]:
    """The channels of ``images`` in a color space, all 8-bit over the full range 0 to 255.

    hsv: hue in 256 steps per turn (OpenCV's ``HSV_FULL``; its other form, 0 to 179, has fewer levels and
    splits unevenly into 4, 8 or 16 bins). lab: lightness times 2.55, a and b plus 128. opponent, rounded
    down [1]: o1 = (r - g + 256) / 2, o2 = (r + g - 2 b + 512) / 4, o3 = (r + g + b) / 3.

    Args:
        images: uint8 (n, height, width) gray, taken as r = g = b, or (n, height, width, 3) RGB; C-contiguous.
        space: the color space.

    Returns:
        One uint8 (n, height, width) per channel.

    [1] van de Sande, Gevers and Snoek, Evaluating color descriptors for object and scene recognition, 2010,
    with offsets and scales that fill 8 bits.
    """
    n, height, width = images.shape[:3]
    # One tall image: OpenCV converts the whole batch in one call.
    tall = images.reshape(n * height, width, *images.shape[3:])
    if space == "gray":
        planes: Sequence[Any] = [tall if tall.ndim == 2 else cv2.cvtColor(tall, cv2.COLOR_RGB2GRAY)]
    else:
        rgb = cv2.cvtColor(tall, cv2.COLOR_GRAY2RGB) if tall.ndim == 2 else tall
        if space == "hsv":
            planes = cv2.split(cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV_FULL))
        elif space == "lab":
            planes = cv2.split(cv2.cvtColor(rgb, cv2.COLOR_RGB2Lab))
        elif space == "opponent":
            planes = _opponent(cv2.split(rgb))
        else:
            planes = cv2.split(rgb)
    return [np.asarray(plane, np.uint8).reshape(n, height, width) for plane in planes]


def _opponent(rgb: Sequence[Any]) -> list[NDArray[np.uint8]]:
    r, g, b = (np.asarray(plane, np.int16) for plane in rgb)
    planes = ((r - g + 256) >> 1, (r + g - 2 * b + 512) >> 2, (r + g + b) // 3)
    return [plane.astype(np.uint8) for plane in planes]


def _neighbors(n_bins: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """For each 8-bit value: the last bin whose center is not above it (-1: none), and how far past."""
    # Value v stands for [v, v + 1); with bins 256 / n_bins wide its middle is this many 512ths of a bin
    # past the first bin's center.
    position = (2 * np.arange(256) + 1) * n_bins - 256
    return position // 512, (position % 512) / 512


def _place(bins: NDArray[np.intp], n_bins: int, cyclic: bool) -> NDArray[np.intp]:
    """Bins beyond the ends: around the circle, or into the end bins."""
    return bins % n_bins if cyclic else np.clip(bins, 0, n_bins - 1)


@functools.cache
def bin_weights(n_bins: int, soft: bool, cyclic: bool) -> NDArray[np.float64]:
    """float64 (256, n_bins): the vote of each 8-bit value for each bin; rows sum to 1.

    Hard: all to bin ``value * n_bins // 256``. Soft: shared linearly by the two bins whose centers are
    nearest; past the outer centers all to the end bin, or around the circle when ``cyclic``.
    """
    weights = np.zeros((256, n_bins))
    values = np.arange(256)
    if soft:
        low, share = _neighbors(n_bins)
        np.add.at(weights, (values, _place(low, n_bins, cyclic)), 1 - share)
        np.add.at(weights, (values, _place(low + 1, n_bins, cyclic)), share)
    else:
        weights[values, values * n_bins // 256] = 1
    weights.flags.writeable = False
    return weights


@functools.cache
def _spread(n_bins: int, cyclic: bool) -> NDArray[np.float64]:
    """float64 (2, n_bins + 1, n_bins): from (count, sum of shares) per lower neighbor to votes per bin."""
    lows = np.arange(-1, n_bins)
    here = np.eye(n_bins)[_place(lows, n_bins, cyclic)]
    above = np.eye(n_bins)[_place(lows + 1, n_bins, cyclic)]
    return np.stack([here, above - here])


def _lookup(table: NDArray[Scalar], plane: NDArray[np.uint8]) -> NDArray[Scalar]:
    """``table[plane]`` for a table of 256 numbers, by OpenCV: 4 times as fast as NumPy's indexing."""
    tall = plane.reshape(-1, plane.shape[-1])
    found: Any = cv2.LUT(tall, cast(NDArray[Any], table))
    return np.asarray(found, table.dtype).reshape(plane.shape)


@functools.cache
def _pair_tables(first: int, second: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Tables whose sum is the code of two channels' hard bins; read-only."""
    tables = [np.arange(256) * n_bins // 256 * stride for n_bins, stride in ((first, second), (second, 1))]
    one, other = (table.astype(np.uint8) for table in tables)
    one.flags.writeable = other.flags.writeable = False
    return one, other


def _joint_hard(
    planes: list[NDArray[np.uint8]], bins: tuple[int, ...], grid: tuple[int, int]
) -> NDArray[np.float32]:
    """(n, cells, product of bins) counts."""
    pair_size = bins[0] * bins[1]
    if pair_size > 256:
        return grid_counts(planes, bins, grid, (256, 256, 256))
    # Two channels in one plane: OpenCV counts 3 dimensions (with the cells) 3 times as fast as 4.
    tables = _pair_tables(bins[0], bins[1])
    joined = _lookup(tables[0], planes[0]) + _lookup(tables[1], planes[1])
    return grid_counts([joined, planes[2]], [pair_size, bins[2]], grid, [pair_size, 256])


def _joint_soft(
    planes: list[NDArray[np.uint8]], bins: tuple[int, ...], cyclic: list[bool], grid: tuple[int, int]
) -> NDArray[np.float64]:
    """(n, cells, product of bins) multilinear votes.

    A pixel's vote for a corner is a product over channels of ``share`` or ``1 - share``. So it is enough to
    sum, per cell and lower neighbor, the products of every subset of its shares, and to spread those sums.
    """
    n, height, width = planes[0].shape
    n_channels = len(planes)
    codes = cell_ids(n, (height, width), grid).astype(np.intp)
    shares = []
    for plane, n_bins in zip(planes, bins, strict=True):
        tall = plane.reshape(n * height, width)
        low, share = _neighbors(n_bins)
        codes *= n_bins + 1
        codes += _lookup(low + 1, tall)
        shares.append(_lookup(share, tall).ravel())
    shape = (n * grid[0] * grid[1], *(n_bins + 1 for n_bins in bins))
    size = int(np.prod(shape))
    sums = np.empty((2**n_channels, size))
    for row, subset in enumerate(itertools.product((False, True), repeat=n_channels)):
        chosen = list(itertools.compress(shares, subset))
        weights = functools.reduce(np.multiply, chosen) if chosen else None
        sums[row] = np.bincount(codes.ravel(), weights, minlength=size)
    votes = sums.reshape((2,) * n_channels + shape)
    for left, (n_bins, around) in zip(range(n_channels, 0, -1), zip(bins, cyclic, strict=True), strict=True):
        votes = np.tensordot(votes, _spread(n_bins, around), axes=([0, left + 1], [0, 1]))
    return votes.reshape(n, grid[0] * grid[1], -1)


def color_histograms(
    images: NDArray[np.uint8],
    space: Space = "hsv",
    bins: tuple[int, ...] = (8, 8, 8),
    *,
    joint: bool = False,
    grid: tuple[int, int] = (1, 1),
    soft: bool = False,
    hellinger: bool = True,
) -> Features:
    """Color histograms of equal-size images.

    Args:
        images: uint8 (n, height, width) gray or (n, height, width, 3) RGB, C-contiguous.
        space: color space, see ``color_planes``.
        bins: bins of each channel.
        joint: one histogram over all channels together, else one per channel, concatenated.
        grid: (rows, columns) of cells, their edges in proportion to the image.
        soft: share each pixel between the nearest bins of each channel linearly.
        hellinger: square root of the normalised histograms.

    Returns:
        float32 (n, rows * columns * n_bins), cell by cell, where n_bins is the sum of ``bins`` or, when
        joint, their product with the last channel fastest. Each cell's histogram sums to 1 before the
        square root, channels together; a cell without pixels is all zeros.
    """
    cyclic = [name in CYCLIC for name in CHANNELS[space]]
    planes = color_planes(images, space)
    areas = cell_areas(images.shape[1:3], grid)
    votes: NDArray[np.floating]
    if joint and len(planes) > 1:
        votes = _joint_soft(planes, bins, cyclic, grid) if soft else _joint_hard(planes, bins, grid)
        totals = areas
    else:
        kind: Any = np.float32 if areas.max() < EXACT_FLOAT32_AREA else np.float64
        tables = [bin_weights(b, soft, c) for b, c in zip(bins, cyclic, strict=True)]
        counts = [grid_counts([plane], [256], grid) for plane in planes]
        parts = [c.astype(kind, copy=False) @ t.astype(kind) for c, t in zip(counts, tables, strict=True)]
        votes = np.concatenate(parts, axis=2)
        totals = areas * len(planes)
    return normalize(votes, totals, hellinger).reshape(len(images), -1)


class ColorHistogram(Extractor):
    """Color histograms over a spatial grid; works on images of any sizes, gray ones as r = g = b.

    Args:
        space: ``rgb``, ``hsv``, ``lab``, ``opponent`` or ``gray``; every channel spans 0 to 255 in 8 bits.
        bins: bins per channel, or a tuple with one number for each channel.
        joint: one histogram over all channels together (bins multiply), else one for each channel.
        grid: cells per side, or (rows, columns).
        soft: linear interpolation between the nearest bins, cyclic for hue, trilinear when joint.
        hellinger: square root of the L1-normalised histogram of each cell.
    """

    learned: ClassVar[tuple[str, ...]] = ("n_features_out_",)

    def __init__(
        self,
        space: Space = "hsv",
        bins: Bins | tuple[Bins, ...] = 8,
        joint: bool = False,
        grid: Grid = 1,
        soft: bool = False,
        hellinger: bool = True,
    ) -> None:
        self.space = space
        self.bins = bins
        self.joint = joint
        self.grid = grid
        self.soft = soft
        self.hellinger = hellinger

    def fit(self, X: Images, y: Any = None) -> Self:
        """Check parameters and images; nothing is learned but the width.

        Raises:
            ParameterError: a parameter has the wrong type or range, or ``bins`` does not fit the space.
        """
        self.check_params()
        check_images(X)
        channels = CHANNELS[self.space]
        if len(self._bins()) != len(channels):
            raise ParameterError(
                f"ColorHistogram(bins={self.bins!r}): space {self.space!r} has {len(channels)} channel(s) "
                f"({', '.join(channels)}); give one number, or one for each channel"
            )
        if self._bins_per_cell() > MAX_JOINT_BINS:
            raise ParameterError(
                f"ColorHistogram(bins={self.bins!r}): a joint histogram of {self._bins_per_cell()} bins is "
                f"too large, at most {MAX_JOINT_BINS} are allowed"
            )
        rows, columns = pair(self.grid)
        self.n_features_out_ = rows * columns * self._bins_per_cell()
        return self

    def transform(self, X: Images) -> Features:
        """Histograms of images ``X``: float32 (n_samples, n_features_out_), values 0 to 1."""
        self.check_fitted()
        check_images(X)
        grid = pair(self.grid)
        out = np.empty((len(X), self.n_features_out_), np.float32)
        # Bins beyond 256 count as further cells, so that a batch's histograms stay small.
        load = grid[0] * grid[1] * max(1, self._bins_per_cell() // CELL_IDS)
        for rows, images in equal_size_batches(X, load):
            out[rows] = color_histograms(
                images,
                self.space,
                self._bins(),
                joint=self.joint,
                grid=grid,
                soft=self.soft,
                hellinger=self.hellinger,
            )
        return out

    def spread(self, image: Image, contributions: NDArray[np.float64]) -> Regions:
        """One region per cell, row by row; see ``Extractor.spread``."""
        self.check_fitted()
        return spread_over_cells(image, contributions, pair(self.grid), [self._bins_per_cell()])

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """``hsv_y0_x1_h3``: cell in row 0, column 1, bin 3 of hue; joint: ``hsv_y0_x1_h3s0v7``."""
        channels, bins = CHANNELS[self.space], self._bins()
        each = [[f"{name}{i}" for i in range(b)] for name, b in zip(channels, bins, strict=True)]
        names = map("".join, itertools.product(*each)) if self.joint else itertools.chain(*each)
        pairs = itertools.product(cell_names(pair(self.grid)), list(names))
        return np.array([f"{self.space}_{cell}_{name}" for cell, name in pairs], dtype=object)

    def _bins(self) -> tuple[int, ...]:
        """Bins of each channel."""
        if isinstance(self.bins, int):
            return (self.bins,) * len(CHANNELS[self.space])
        return tuple(self.bins)

    def _bins_per_cell(self) -> int:
        return int(np.prod(self._bins()) if self.joint else np.sum(self._bins()))
