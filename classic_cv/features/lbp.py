"""Local binary patterns (Ojala, Pietikäinen and Mäenpää 2002), histogrammed over a spatial grid.

Codes equal scikit-image's ``local_binary_pattern`` pixel by pixel. Where a sample equals the center, as in
every flat region, the comparison hangs on the last bit of an interpolation, so the arithmetic here follows
its order of operations in float64: columns first, then rows, with weights from the absolute coordinate
(``r + dr - floor(r + dr)`` has fewer bits far from the origin). Samples that fall on whole pixels need
none of it and are compared as bytes.

[1] Ojala, Pietikäinen and Mäenpää, Multiresolution gray-scale and rotation invariant texture classification
    with local binary patterns, PAMI 2002.
[2] Ahonen, Hadid and Pietikäinen, Face description with local binary patterns, PAMI 2006.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

import cv2
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from classic_cv.errors import ParameterError
from classic_cv.features.base import Extractor, Features, Image, Images, Regions, check_images
from classic_cv.features.grid import (
    BATCH_PIXELS,
    Grid,
    cell_areas,
    cell_names,
    equal_size_batches,
    grid_counts,
    normalize,
    pair,
    spread_over_cells,
)

Method = Literal["uniform", "nri_uniform"]
Points = Annotated[int, Meta(ge=2, le=24)]
Radius = Annotated[float, Meta(gt=0, le=64)]
PointsRadii = Annotated[tuple[tuple[Points, Radius], ...], Meta(min_length=1)]

TABLE_POINTS = 16
"""Up to this many points a table over all 2^P patterns gives the label; beyond it is computed per pixel."""

Planes = NDArray[np.uint8] | NDArray[np.uint16]
Real = NDArray[np.float64]


def n_labels(points: int, method: Method) -> int:
    """Labels of a method: P + 2 when rotation-invariant, else P (P - 1) + 3."""
    return points + 2 if method == "uniform" else points * (points - 1) + 3


def _label_type(points: int, method: Method) -> Any:
    return np.uint8 if n_labels(points, method) <= 256 else np.uint16


def sample_offsets(points: int, radius: float) -> list[tuple[float, float]]:
    """(row, column) offsets of the samples, counterclockwise from the right, rounded to 5 decimals."""
    # scikit-image holds the radius in single precision.
    angles = 2 * np.pi * np.arange(points) / points
    rows = np.round(-float(np.float32(radius)) * np.sin(angles), 5)
    columns = np.round(float(np.float32(radius)) * np.cos(angles), 5)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


class Axis(NamedTuple):
    """Where a sample lies along one axis: whole pixels, and for each center the shares of the next two."""

    whole: int
    shares: tuple[NDArray[np.float64], NDArray[np.float64]] | None


def _axis(offset: float, length: int) -> Axis:
    whole = math.floor(offset)
    if whole == offset:
        return Axis(whole, None)
    positions = np.arange(length) + offset
    share = positions - np.floor(positions)
    return Axis(whole, (1 - share, share))


@functools.lru_cache(maxsize=64)
def _samples(points: int, radius: float, height: int, width: int) -> list[tuple[Axis, Axis]]:
    """The (row, column) position of each sample; column positions of equal offsets are the same object."""
    offsets = sample_offsets(points, radius)
    columns = {dx: _axis(dx, width) for _, dx in offsets}
    return [(_axis(dy, height), columns[dx]) for dy, dx in offsets]


def _mix(low: Real, high: Real, low_share: Real, high_share: Real) -> Real:
    """``low_share * low + high_share * high``, each product rounded: no fused multiply-add."""
    mixed = low * low_share
    mixed += high * high_share
    return mixed


def _signs(
    padded: NDArray[np.uint8], margin: int, first: int, samples: list[tuple[Axis, Axis]]
) -> Iterator[NDArray[np.bool_]]:
    """For each sample whether it is at least the center.

    Args:
        padded: uint8 (n, rows + 2 margin, columns + 2 margin), a band of the images with what surrounds it.
        margin: pixels around the band on every side.
        first: image row of the band's first row.
        samples: where they lie.

    Yields:
        bool (n, rows, columns) per sample.
    """
    rows, columns = padded.shape[1] - 2 * margin, padded.shape[2] - 2 * margin
    inside = np.s_[:, margin : margin + rows, margin : margin + columns]
    center = padded[inside]
    real = padded.astype(np.float64)
    real_center = real[inside]
    across: dict[int, Real] = {}
    for row, column in samples:
        y, x = margin + row.whole, margin + column.whole
        if row.shares is None and column.shares is None:
            yield padded[:, y : y + rows, x : x + columns] >= center
            continue
        if id(column) not in across:
            left, right = real[:, :, x : x + columns], real[:, :, x + 1 : x + 1 + columns]
            across[id(column)] = _mix(left, right, *column.shares) if column.shares else left
        mixed = across[id(column)]
        sample = mixed[:, y : y + rows]
        if row.shares:
            low, high = (share[first : first + rows, None] for share in row.shares)
            sample = _mix(sample, mixed[:, y + 1 : y + 1 + rows], low, high)
        yield sample >= real_center


def labels_of_bits(bits: list[NDArray[np.bool_]], method: Method) -> Planes:
    """The label of each pattern, as scikit-image numbers them.

    A pattern is uniform when its circle changes between 0 and 1 at most twice. ``uniform`` numbers those by
    how many ones they have, 0 to P. ``nri_uniform`` tells their rotations apart: 0 for no ones,
    ``1 + (ones - 1) P + rotation`` for the others, ``P (P - 1) + 1`` for all ones. All other patterns share
    the last label.

    Args:
        bits: one bool array per sample, in order around the circle.
        method: ``uniform`` or ``nri_uniform``.

    Returns:
        Labels in the shape of one of ``bits``: uint8, or uint16 when there are more than 256.
    """
    points = len(bits)
    last = n_labels(points, method) - 1
    kind = _label_type(points, method)
    ones = np.zeros(bits[0].shape, np.uint8)
    rises = np.zeros_like(ones)
    rotation = np.zeros_like(ones)
    for index, bit in enumerate(bits):
        rise = bit > bits[index - 1]
        ones += bit
        rises += rise
        if method == "nri_uniform":
            # The run of ones starts here: so many turns bring it to the front.
            rotation += rise * np.uint8(-index % points)
    labels = ones.astype(kind)
    if method == "nri_uniform":
        labels = np.where(ones > 0, 1 + (labels - kind(1)) * kind(points) + rotation, labels)
    # A circle has as many rises as falls: two changes are one rise.
    return np.where(rises <= 1, labels, kind(last)).astype(kind, copy=False)


@functools.lru_cache(maxsize=16)
def _label_table(points: int, method: Method) -> Planes:
    """Labels of all 2^points patterns, first sample in the lowest bit; read-only."""
    patterns = np.arange(2**points, dtype=np.uint32)
    bits = [(patterns >> np.uint32(index) & np.uint32(1)).astype(np.bool_) for index in range(points)]
    table = labels_of_bits(bits, method)
    table.flags.writeable = False
    return table


def _labels(signs: Iterator[NDArray[np.bool_]], points: int, method: Method) -> Planes:
    """Labels of the patterns that ``points`` sign planes form."""
    if points > TABLE_POINTS:
        return labels_of_bits(list(signs), method)
    kind: Any = np.uint8 if points <= 8 else np.uint16
    code: Any = next(signs).astype(kind)
    for index, sign in enumerate(signs, start=1):
        code |= sign.view(np.uint8) * kind(1 << index)
    table = _label_table(points, method)
    if points == 8 and table.dtype == np.uint8:
        tall = code.reshape(-1, code.shape[2])
        return np.asarray(cv2.LUT(tall, table), np.uint8).reshape(code.shape)
    return np.asarray(table.take(code))


def local_binary_patterns(
    images: NDArray[np.uint8], points: int = 8, radius: float = 1.0, method: Method = "uniform"
) -> Planes:
    """The label of every pixel.

    Samples lie on a circle, interpolated bilinearly; outside the image everything is 0; a sample counts as 1
    when it is at least the center.

    Args:
        images: uint8 (n, height, width) gray.
        points: samples on the circle, 2 to 24.
        radius: of the circle in pixels.
        method: ``uniform`` (rotation-invariant) or ``nri_uniform``, see ``labels_of_bits``.

    Returns:
        (n, height, width): uint8, or uint16 when there are more than 256 labels; equal to scikit-image's
        ``local_binary_pattern(image, points, radius, method)`` of each image.
    """
    n, height, width = images.shape
    margin = math.ceil(radius) + 1
    padded = np.zeros((n, height + 2 * margin, width + 2 * margin), np.uint8)
    padded[:, margin:-margin, margin:-margin] = images
    samples = _samples(points, radius, height, width)
    labels: Any = np.empty(images.shape, _label_type(points, method))
    # Bands of rows whose float64 planes stay in the cache.
    band = max(1, BATCH_PIXELS // (n * width))
    for first in range(0, height, band):
        part = padded[:, first : first + band + 2 * margin]
        signs = _signs(part, margin, first, samples)
        labels[:, first : first + band] = _labels(signs, points, method)
    return np.asarray(labels)


def to_gray(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(n, height, width) gray of (n, height, width[, 3]): ITU-R 601 luma, rounded to 8 bits."""
    if images.ndim == 3:
        return images
    n, height, width, _ = images.shape
    tall = cv2.cvtColor(images.reshape(n * height, width, 3), cv2.COLOR_RGB2GRAY)
    return np.asarray(tall, np.uint8).reshape(n, height, width)


class LBP(Extractor):
    """Histograms of local binary patterns over a spatial grid; works on images of any sizes, color as gray.

    Args:
        method: ``uniform`` is rotation-invariant with P + 2 labels, ``nri_uniform`` has P (P - 1) + 3.
        points_radii: one or several (P, R): samples on a circle (2 to 24), its radius in pixels (up to 64).
        grid: cells per side, or (rows, columns).
        hellinger: square root of the L1-normalised histogram of each cell.
    """

    learned: ClassVar[tuple[str, ...]] = ("n_features_out_",)

    def __init__(
        self,
        method: Method = "uniform",
        points_radii: PointsRadii = ((8, 1.0),),
        grid: Grid = 1,
        hellinger: bool = True,
    ) -> None:
        self.method = method
        self.points_radii = points_radii
        self.grid = grid
        self.hellinger = hellinger

    def fit(self, X: Images, y: Any = None) -> Self:
        """Check parameters and images; nothing is learned but the width.

        Raises:
            ParameterError: a parameter has the wrong type or range, or the same (P, R) is given twice.
        """
        self.check_params()
        check_images(X)
        circles = self._circles()
        if len(set(circles)) < len(circles):
            raise ParameterError(f"LBP(points_radii={self.points_radii!r}): the same (P, R) is given twice")
        rows, columns = pair(self.grid)
        self.n_features_out_ = rows * columns * sum(n_labels(points, self.method) for points, _ in circles)
        return self

    def transform(self, X: Images) -> Features:
        """Histograms of images ``X``: float32 (n_samples, n_features_out_), values 0 to 1.

        For each (P, R), for each cell, the share of pixels with each label, or its square root. A cell
        without pixels is all zeros.
        """
        self.check_fitted()
        check_images(X)
        grid = pair(self.grid)
        out = np.empty((len(X), self.n_features_out_), np.float32)
        for rows, images in equal_size_batches(X, grid[0] * grid[1]):
            gray = to_gray(images)
            areas = cell_areas(gray.shape[1:], grid)
            parts = []
            for points, radius in self._circles():
                labels = local_binary_patterns(gray, points, radius, self.method)
                counts = grid_counts([labels], [n_labels(points, self.method)], grid)
                parts.append(normalize(counts, areas, self.hellinger).reshape(len(gray), -1))
            out[rows] = np.concatenate(parts, axis=1)
        return out

    def spread(self, image: Image, contributions: NDArray[np.float64]) -> Regions:
        """One region per cell, row by row, with all circles; see ``Extractor.spread``."""
        self.check_fitted()
        bins = [n_labels(points, self.method) for points, _ in self._circles()]
        return spread_over_cells(image, contributions, pair(self.grid), bins)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """``lbp8r1_y0_x1_3``: 8 points, radius 1, cell in row 0, column 1, label 3."""
        cells = cell_names(pair(self.grid))
        names = [
            f"lbp{points}r{radius:g}_{cell}_{label}"
            for points, radius in self._circles()
            for cell, label in itertools.product(cells, range(n_labels(points, self.method)))
        ]
        return np.array(names, dtype=object)

    def _circles(self) -> list[tuple[int, float]]:
        return [(int(points), float(radius)) for points, radius in self.points_radii]
