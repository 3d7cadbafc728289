"""What the encoders share: the sample that they learn from, whitening, a spatial pyramid, sharing out contributions.

An encoder turns the local descriptors of an image into one row. Each descriptor adds a vector to a sum; the sum
over each cell of a pyramid is normalized by itself (Lazebnik, Schmid and Ponce, CVPR 2006). Which vector, and which
normalization, is what encoders differ in.

Rows of zeros, which descriptors give for parts without contrast, are left out when learning and when encoding: they
are all one point, and where they are many, as on plain backgrounds, words would crowd there and that one
point would outweigh everything else in the sums.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, ClassVar, NamedTuple, Self, TypeVar

import cv2
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from classic_cv.errors import ParameterError
from classic_cv.features.base import Extractor, Features, Image, Images, Regions, check_images, whole_image
from classic_cv.features.encoding.codebook import one_thread
from classic_cv.features.encoding.whitening import learn_whitening
from classic_cv.features.grid import Grid, cell_names, pair
from classic_cv.features.local import AnyDescriptor, DenseSIFT, LocalFeatures

Array = NDArray[np.float32]
Reals = NDArray[np.floating]
Real = TypeVar("Real", np.float32, np.float64)

Words = Annotated[int, Meta(ge=1, le=20_000)]
Components = Annotated[int, Meta(ge=0, le=4096)]
"""Principal components that are kept; 0 leaves the descriptors as they are."""
Pyramid = Annotated[tuple[Grid, ...], Meta(min_length=1, max_length=8)]
"""Grids laid over the image, one after the other; each an int, cells per side, or (rows, columns)."""
SampleSize = Annotated[int, Meta(ge=1, le=10_000_000)]
Seed = Annotated[int, Meta(ge=0, lt=2**32)]

DENSE_SIFT = DenseSIFT()

POSITION_SCALE = math.sqrt(12)
"""Brings positions of -0.5 to 0.5, evenly spread, to the unit variance of the whitened values beside them."""


class Sample(NamedTuple):
    """Descriptors that were drawn to learn from.

    Attributes:
        descriptors: float32 (n, d); n may be 0.
        positions: float32 (n, 2): x and y from -0.5 to 0.5.
    """

    descriptors: Array
    positions: Array


def relative_positions(positions: Array, shape: tuple[int, ...]) -> Array:
    """Positions (n, 2), x and y in pixels, as parts of the width and height from the center: -0.5 to 0.5."""
    relative = np.asarray(positions / np.array([shape[1], shape[0]]), np.float32)
    relative -= np.float32(0.5)
    return relative


def in_color(image: Image, color: bool) -> Image:
    """The image as RGB, or as gray; as it is where it is so already."""
    if (image.ndim == 3) == color:
        return image
    code = cv2.COLOR_GRAY2RGB if color else cv2.COLOR_RGB2GRAY
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(image), code), np.uint8)


def without_zeros(local: LocalFeatures) -> LocalFeatures:
    """Without the rows whose values are all 0."""
    there = np.vecdot(local.descriptors, local.descriptors) > 0
    return local if there.all() else LocalFeatures(*(part[there] for part in local))


def cell_numbers(relative: Array, grid: tuple[int, int]) -> NDArray[np.intp]:
    """The cell, row by row, of each of the ``relative_positions`` (n, 2) in a grid of (rows, columns)."""
    sides = np.array(grid[::-1])
    column_row = np.clip(np.floor((relative + np.float32(0.5)) * sides), 0, sides - 1).astype(np.intp)
    numbers: NDArray[np.intp] = column_row[:, 1] * grid[1] + column_row[:, 0]
    return numbers


class Pieces(NamedTuple):
    """The pieces that the borders of all grids of a pyramid cut an image into, as far as there are descriptors.

    Each cell of each grid is made of whole pieces, so sums are made once per piece, whatever the number of grids.

    Attributes:
        order: (n,) descriptor numbers, piece by piece; None if that is their order already.
        starts: (n_pieces + 1,) where each piece's descriptors start and end.
        cells: for each grid the cell of each piece, (n_pieces,).
    """

    order: NDArray[np.intp] | None
    starts: NDArray[np.intp]
    cells: list[NDArray[np.intp]]

    @classmethod
    def of(cls, relative: Array, grids: list[tuple[int, int]]) -> Pieces:
        """Pieces of ``relative_positions`` (n, 2), n at least 1."""
        if all(grid == (1, 1) for grid in grids):
            whole = np.zeros(1, np.intp)
            return cls(None, np.array([0, len(relative)]), [whole] * len(grids))
        numbers = [cell_numbers(relative, grid) for grid in grids]
        joined = np.zeros(len(relative), np.intp)
        for number, (rows, columns) in zip(numbers, grids, strict=True):
            joined = joined * (rows * columns) + number
        order = np.argsort(joined, kind="stable")
        first = np.flatnonzero(np.diff(joined[order], prepend=-1))
        starts = np.append(first, len(joined))
        return cls(order, starts, [number[order[first]] for number in numbers])


@functools.cache
def random_rows(n: int, k: int, seed: int) -> Array:
    """float32 (n, k) of standard normal values: placeholders for what is not learned. Read-only."""
    rows = np.random.Generator(np.random.PCG64(seed)).standard_normal((n, k), np.float32)
    rows.flags.writeable = False
    return rows


def draw(n: int, wanted: int, random: np.random.Generator) -> NDArray[np.intp]:
    """``wanted`` of n numbers without repetition, or all of them, in order."""
    if n <= wanted:
        return np.arange(n)
    return np.sort(random.choice(n, wanted, replace=False, shuffle=False))


class Encoder(Extractor):
    """Base of the encoders.

    A subclass has the parameters ``descriptor``, ``pca``, ``pyramid``, ``n_samples`` and ``random_state`` and defines

    - ``_learn(white)``: sets the learned codebook from whitened descriptors (n, n_values), n at least 1;
    - ``_placeholder(n_values)``: sets a codebook of the same shapes without learning;
    - ``_prepare()``: what is computed once from the learned arrays;
    - ``_width(n_values)``: values of a row of one cell;
    - ``_sums(white, starts)``: (pieces, width) sums of what descriptors add, over each run of rows;
    - ``_normalize(sums)``: (cells, width) rows from sums;
    - ``_shares(white, ratios)``: (n, K) products of what each descriptor adds, (n, width), with (width, K);
    - ``_value_names(n_values)``: names of the values of a cell's row.
    """

    learns: ClassVar[bool] = True
    fit_images: ClassVar[int] = 500
    learned: ClassVar[tuple[str, ...]] = ("color_", "n_features_out_", "whitening_", "codebook_")

    descriptor: AnyDescriptor
    pca: int
    pyramid: tuple[Any, ...]
    n_samples: int
    random_state: int
    positions: bool = False
    """Whether x and y join the whitened values."""

    color_: int
    """1 if images are worked on in color, 0 in gray."""
    whitening_: Array
    """(d + 1, k): projection, and below it what is added; (1, d) without PCA: minus the mean."""
    codebook_: Array

    def _learn(self, white: Array) -> None:
        raise NotImplementedError

    def _placeholder(self, n_values: int) -> None:
        raise NotImplementedError

    def _prepare(self) -> None:
        raise NotImplementedError

    def _width(self, n_values: int) -> int:
        raise NotImplementedError

    def _sums(self, white: Reals, starts: NDArray[np.intp]) -> Reals:
        raise NotImplementedError

    def _normalize(self, sums: Array) -> Array:
        raise NotImplementedError

    def _shares(self, white: Reals, ratios: NDArray[np.float64]) -> NDArray[np.float64]:
        raise NotImplementedError

    def _value_names(self, n_values: int) -> list[str]:
        raise NotImplementedError

    def fit(self, X: Images, y: Any = None) -> Self:
        """Learn whitening and codebook from descriptors drawn evenly from images ``X``.

        The same images, parameters and seed give the same arrays. Images work in color if any of ``X`` is in color.
        Where no image has a descriptor with contrast, the arrays are placeholders.

        Raises:
            ParameterError: a parameter has the wrong type or range, or a grid is given twice.
        """
        self._start(X)
        sample = self._sample(X)
        if len(sample.descriptors) == 0:
            return self._without_learning()
        with one_thread():
            self.whitening_ = self._learn_whitening(sample.descriptors)
            self._learn(self._whiten(sample.descriptors, sample.positions))
        self._prepare()
        return self

    def unlearned(self, X: Images) -> Self:
        """Like ``fit``, with random arrays of the right shapes; ``X`` may be a single image."""
        self._start(X)
        return self._without_learning()

    def transform(self, X: Images) -> Features:
        """Rows of images ``X``: float32 (n_samples, n_features_out_), cell by cell, grid by grid."""
        self.check_fitted()
        check_images(X)
        out = np.empty((len(X), self.n_features_out_), np.float32)
        # One by one: shapes of BLAS calls, and so the last bits, do not depend on the batch.
        for row, image in zip(out, X, strict=True):
            self._encode(image, row)
        return out

    def spread(self, image: Image, contributions: NDArray[np.float64]) -> Regions:
        """One region per descriptor with contrast: the square that it covers; see ``Extractor.spread``.

        A column is a function of a sum over descriptors; each gets the share of the column's contribution that its
        summand has in the sum. Shares may be negative, and larger than the whole where summands cancel out. What
        columns with a sum of 0 contribute is shared evenly by the cell's descriptors, and what those of a cell without
        descriptors contribute by all.
        """
        self.check_fitted()
        local, relative = self._describe(image)
        if len(relative) == 0:
            return whole_image(image, contributions)
        values = np.zeros((len(relative), contributions.shape[1]))
        white = self._whiten(local.descriptors, relative).astype(np.float64)
        parts = iter(contributions.reshape(self._n_cells(), -1, contributions.shape[1]))
        for grid in self._grids():
            cells = cell_numbers(relative, grid)
            for cell in range(grid[0] * grid[1]):
                inside = cells == cell
                values[inside] += self._cell_shares(white[inside], next(parts))
        values += (contributions.sum(axis=0) - values.sum(axis=0)) / len(values)
        height, width = image.shape[:2]
        half = local.sides[:, None] / 2
        corners = np.hstack([local.positions - half, local.positions + half])
        return Regions(np.clip(corners, 0, np.array([width, height] * 2, np.float32)), values)

    def _cell_shares(self, white: Reals, contributions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Shares (n, K) of the descriptors of a cell in the contributions (width, K) of its columns."""
        if len(white) == 0:
            return np.zeros((0, contributions.shape[1]))
        sums = self._sums(white, np.array([0, len(white)]))[0][:, None]
        ratios = np.divide(contributions, sums, out=np.zeros_like(contributions), where=sums != 0)
        shares = self._shares(white, ratios)
        # What columns of 0 contribute, and what was lost to rounding where summands nearly cancel out.
        shares += (contributions.sum(axis=0) - shares.sum(axis=0)) / len(white)
        return shares

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """``2x2_y0_x1_w3_mean5``: grid, its cell in row 0, column 1, word 3, value 5."""
        self.check_fitted()
        values = self._value_names(self._n_values())
        return np.array(
            [
                f"{grid[0]}x{grid[1]}_{cell}_{value}"
                for grid in self._grids()
                for cell in cell_names(grid)
                for value in values
            ],
            object,
        )

    def load_state(self, state: dict[str, NDArray[Any]]) -> Self:
        """Set the learned attributes from what ``state`` returned."""
        super().load_state(state)
        self._prepare()
        return self

    def _grids(self) -> list[tuple[int, int]]:
        return [pair(grid) for grid in self.pyramid]

    def _n_cells(self) -> int:
        return sum(rows * columns for rows, columns in self._grids())

    def _n_values(self) -> int:
        """Values of a whitened descriptor, positions included."""
        return int(self.whitening_.shape[1]) + 2 * self.positions

    def _start(self, X: Images) -> None:
        self.check_params()
        check_images(X)
        grids = self._grids()
        if len(set(grids)) < len(grids):
            raise ParameterError(
                f"{type(self).__name__}(pyramid={self.pyramid!r}): the same grid is given twice; give each once"
            )
        self.color_ = int(any(image.ndim == 3 for image in X))
        d = self.descriptor.n_values(bool(self.color_))
        n_values = (min(self.pca, d) or d) + 2 * self.positions
        self.n_features_out_ = self._n_cells() * self._width(n_values)

    def _without_learning(self) -> Self:
        d = self.descriptor.n_values(bool(self.color_))
        k = min(self.pca, d)
        self.whitening_ = (
            random_rows(d + 1, k, self.random_state) if k else np.zeros((1, d), np.float32)
        ).copy()
        self._placeholder(self._n_values())
        self._prepare()
        return self

    def _learn_whitening(self, descriptors: Array) -> Array:
        if not self.pca:
            mean: Array = descriptors.mean(axis=0, dtype=np.float64, keepdims=True).astype(np.float32)
            return -mean
        center, projection = learn_whitening(descriptors, "pca", self.pca)
        return np.vstack([projection, -(center @ projection)])

    def _describe(self, image: Image) -> tuple[LocalFeatures, Array]:
        """Descriptors with contrast and their relative positions."""
        local = without_zeros(self.descriptor.describe(in_color(image, bool(self.color_))))
        return local, relative_positions(local.positions, image.shape)

    def _sample(self, X: Images) -> Sample:
        """At most ``n_samples`` descriptors, as many of each image as of the others if it has them."""
        from classic_cv.timing import available_cores

        random = np.random.Generator(np.random.PCG64(self.random_state))
        chosen = draw(len(X), self.n_samples, random)
        per_image = self.n_samples // len(chosen)
        # Each image has its own generator: what is drawn does not depend on the order of threads.
        jobs = zip(chosen, random.spawn(len(chosen)), strict=True)

        def one(job: tuple[int, np.random.Generator]) -> Sample:
            local, relative = self._describe(X[job[0]])
            rows = draw(len(relative), per_image, job[1])
            return Sample(local.descriptors[rows], relative[rows])

        with ThreadPoolExecutor(available_cores()) as pool:
            samples = list(pool.map(one, jobs))
        return Sample(*(np.concatenate(part) for part in zip(*samples, strict=True)))

    def _whiten(self, descriptors: Array, relative: Array) -> Array:
        """float32 (n, n_values): whitened descriptors, with their scaled positions if ``positions``."""
        d = descriptors.shape[1]
        k = self.whitening_.shape[1]
        white = np.empty((len(descriptors), self._n_values()), np.float32)
        if len(self.whitening_) == 1:
            np.add(descriptors, self.whitening_, out=white[:, :k])
        else:
            np.matmul(descriptors, self.whitening_[:d], out=white[:, :k])
            white[:, :k] += self.whitening_[d]
        if self.positions:
            np.multiply(relative, np.float32(POSITION_SCALE), out=white[:, k:])
        return white

    def _encode(self, image: Image, row: Array) -> None:
        """Write the features of one image to ``row``."""
        local, relative = self._describe(image)
        if len(relative) == 0:
            row[:] = 0
            return
        white = self._whiten(local.descriptors, relative)
        grids = self._grids()
        pieces = Pieces.of(relative, grids)
        if pieces.order is not None:
            white = white[pieces.order]
        sums = self._sums(white, pieces.starts)
        cells = row.reshape(self._n_cells(), -1)
        start = 0
        for grid, numbers in zip(grids, pieces.cells, strict=True):
            totals = np.zeros((grid[0] * grid[1], sums.shape[1]), np.float32)
            for number, summand in zip(numbers, sums, strict=True):
                totals[number] += summand
            cells[start : start + len(totals)] = self._normalize(totals)
            start += len(totals)


def signed_root(values: Array) -> Array:
    """``sign(v) * sqrt(|v|)`` in place (Perronnin, Sanchez and Mensink, ECCV 2010)."""
    signs = values.copy()
    np.abs(values, out=values)
    np.sqrt(values, out=values)
    np.copysign(values, signs, out=values)
    return values


def to_unit_length(rows: Array) -> Array:
    """Divide rows (..., n) by their Euclidean length in place; rows of zeros stay."""
    lengths = np.sqrt(np.vecdot(rows, rows))[..., None]
    np.divide(rows, lengths, out=rows, where=lengths > 0)
    return rows


def runs(starts: NDArray[np.intp]) -> Iterator[slice]:
    """The runs of rows between ``starts``."""
    for start, end in itertools.pairwise(starts):
        yield slice(int(start), int(end))
