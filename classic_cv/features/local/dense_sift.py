"""Dense SIFT: orientation histograms of Lowe's descriptor [1] on a regular grid, upright, at fixed scales.

Computed as Vedaldi and Fulkerson's fast dense SIFT [2]: a Gaussian window over 4 x 4 spatial bins is replaced
by one weight per bin (a flat window), so that the histograms of neighboring descriptors are the same sums and
are computed once. Each bin sums gradient magnitudes with triangular weights along x and y, each magnitude
shared linearly by the two nearest of 8 orientations. Over photos the mean cosine to OpenCV's descriptors of
the same keypoints and the same blur is 0.998; to those of its default blur, which does not depend on the
bins, 0.972 (bins of 6 pixels), 0.994 (8) and 0.997 (10 and 12).

Where the time goes, and what saves it:

- A pixel's 8 votes are looked up: its gradient's direction in 248 steps and the square root of its magnitude
  in 256 make up 16 bits. The steps are finer than what the trilinear interpolation smooths anyway.
- A triangle whose half-width is a whole multiple of the grid's pitch is a weighted sum of triangles as wide
  as the pitch, so most sums are made once for the pitch, whatever the size of the bins.
- Square root, window and sums run over the cells of the grid, not over the descriptors that share them.

[1] Lowe, Distinctive image features from scale-invariant keypoints, IJCV 2004.
[2] Vedaldi and Fulkerson, VLFeat: an open and portable library of computer vision algorithms, ACM MM 2010.
[3] Arandjelovic and Zisserman, Three things everyone should know to improve object retrieval, CVPR 2012.
[4] van de Sande, Gevers and Snoek, Evaluating color descriptors for object and scene recognition, PAMI 2010.
"""

from __future__ import annotations

import functools
import math
import sys
import threading
from typing import Annotated, Any, Literal, NamedTuple

import cv2
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from classic_cv.features.base import Image
from classic_cv.features.local.base import LocalDescriptor, LocalFeatures, no_features

Channels = Literal["gray", "rgb", "opponent"]
Bin = Annotated[float, Meta(ge=1, le=256)]
Array = NDArray[np.float32]

BINS = 4
"""Spatial bins per side of a descriptor."""

ORIENTATIONS = 8

VALUES = BINS * BINS * ORIENTATIONS
"""Values of a descriptor of one channel."""

MAGNIFICATION = 6.0
"""Pixels of a spatial bin per pixel of the blur's standard deviation: VLFeat's choice for PHOW features."""

NOMINAL_SIGMA = 0.5
"""Blur that an image is taken to have already."""

WINDOW = np.exp(-0.5 * ((np.arange(BINS) - (BINS - 1) / 2) / (BINS / 2)) ** 2)
"""Weight of each bin along one axis: a Gaussian of 2 bins at the bins' centers."""

CLIP = 0.2

TINY = np.float32(1e-20)
"""What a norm of zero becomes."""

ONES = np.ones(ORIENTATIONS, np.float32)

LEAST_HALVED = 8.0
"""Bins of so many pixels may be computed at half the image's size: of 4 there, still several pixels wide."""

ANGLE_STEPS = 248
"""Directions told apart: the most that is a multiple of 8 and, with the full circle as a step, fits 8 bits."""

MAGNITUDE_GAIN = 10.5
"""Steps per square root of a gray level: the last of 255 is 589.8, yellow against blue at most 588.9."""

STRIP_VALUES = 2**17
"""Votes looked up at a time: 512 KiB stay in a cache until they are pooled."""

BLOCK_VALUES = 2**16
"""Values of descriptors normalized at a time."""

CACHE_LINE = 64

Product = tuple[Array, Array, Array]
"""Weights (1, rows), windows (sums, rows, values) and where the sums (sums, 1, values) go."""


@functools.cache
def vote_table() -> Array:
    """float32 (65536, 8), read-only: the votes of a pixel by the code of its gradient.

    A code's high byte is the direction in 248 steps, from x towards smaller y (counterclockwise on the
    screen), its low byte 10.5 times the square root of the magnitude.
    """
    code = np.arange(65536)
    position = (code >> 8) * (ORIENTATIONS / ANGLE_STEPS) % ORIENTATIONS
    magnitude = ((code & 255) / MAGNITUDE_GAIN) ** 2
    distance = np.abs(position[:, None] - np.arange(ORIENTATIONS))
    share = np.maximum(0.0, 1.0 - np.minimum(distance, ORIENTATIONS - distance))
    table: Array = aligned_empty(share.shape)
    np.multiply(magnitude[:, None], share, out=table, casting="same_kind")
    table.flags.writeable = False
    return table


@functools.lru_cache(maxsize=64)
def blur_kernel(bin_size: float, halved: bool = False) -> Array | None:
    """The Gaussian that brings an image's blur to ``bin_size / 6``, or None if it has as much already.

    Cut 3 standard deviations from its center: float32 weights (2 radius + 1,) of sum 1, read-only.

    Args:
        bin_size: in pixels of the image that is blurred.
        halved: whether each of them is the mean of 2 x 2.
    """
    # The variance of 2 pixels' places is a quarter; in a halved image so is the unit that variances have.
    present = (NOMINAL_SIGMA**2 + 0.25) / 4 if halved else NOMINAL_SIGMA**2
    variance = (bin_size / MAGNIFICATION) ** 2 - present
    # A standard deviation of a tenth of a pixel changes nothing.
    if variance <= 0.01:
        return None
    sigma = math.sqrt(variance)
    radius = max(1, math.ceil(3 * sigma))
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel: Array = (weights / weights.sum()).astype(np.float32)
    kernel.flags.writeable = False
    return kernel


def grid_centers(length: int, bin_size: float, step: int) -> NDArray[np.float64]:
    """Centers of the descriptors along an axis, in pixels; the first pixel's center is at 0.5.

    As many as fit with the centers of their outermost bins on pixels' centers or between them; what is left
    of the axis is left in equal parts at both ends.
    """
    room = length - 1 - (BINS - 1) * bin_size
    if room < 0:
        return np.empty(0)
    n = int(room // step) + 1
    return np.asarray(length / 2 + step * (np.arange(n) - (n - 1) / 2), np.float64)


class Pooling(NamedTuple):
    """``n`` weighted sums of ``len(weights)`` rows: from row ``first`` on, and the same every ``step`` rows."""

    first: int
    step: int
    n: int
    weights: Array

    def part(self, start: int, stop: int) -> tuple[int, int]:
        """The sums (from, to) whose first row is in ``start:stop``."""
        low, high = (-((self.first - row) // self.step) for row in (start, stop))
        return min(max(low, 0), self.n), min(max(high, 0), self.n)

    def bind(self, source: Array, out: Array) -> Product:
        """The product that pools ``source`` (rows, values) into ``out`` (n, values)."""
        values = source.shape[1]
        row, value = source.strides
        shape, strides = (self.n, len(self.weights), values), (self.step * row, row, value)
        # This constructor checks the bounds of the view, unlike as_strided.
        windows: Array = np.ndarray(shape, np.float32, source, self.first * row, strides)
        return self.weights[None], windows, out[:, None]


def triangles(center: float, half_width: float, step: int, n: int) -> Pooling:
    """Triangular weights of sum 1 (nearly, if the half-width is no whole number) around ``center``."""
    first = math.floor(center - half_width) + 1
    rows = np.arange(first, math.ceil(center + half_width))
    weights = (1 - np.abs(rows - center) / half_width) / half_width
    return Pooling(first, step, n, weights.astype(np.float32))


class Axis:
    """Where the cells along one axis are, and how they are pooled from pixels.

    A cell is one spatial bin, shared by the descriptors that have it. Cells that are whole steps apart make
    up a class (one if the bin is a multiple of the step); classes follow each other.

    Attributes:
        n: descriptors.
        pad: rows of zeros needed before and behind the pixels.
        stages: poolings that follow each other, the first one from the padded pixels: the last makes the
            cells, class by class; one before it, if any, makes sums that they share.
        counts: rows that each stage makes; the last is the number of cells.
        starts: for each of the 4 bins the cell that it has in the first descriptor; in the next, the next.
    """

    def __init__(self, length: int, bin_size: float, step: int) -> None:
        centers = grid_centers(length, bin_size, step)
        self.n = len(centers)
        self.pad = math.ceil(bin_size)
        self.stages: list[list[Pooling]] = []
        first = float(centers[0]) - 0.5 - (BINS - 1) / 2 * bin_size + self.pad
        pitch = math.gcd(int(bin_size), step) if bin_size == int(bin_size) else 1
        if 1 < pitch < bin_size:
            reach = int(bin_size) // pitch - 1
            count = ((self.n - 1) * step + (BINS - 1) * int(bin_size)) // pitch + 1 + 2 * reach
            self.stages.append([triangles(first - reach * pitch, pitch, pitch, count)])
            first, bin_size, step = float(reach), bin_size / pitch, step // pitch
        self._lay_out_cells(first, bin_size, step)
        self.counts = [sum(pooling.n for pooling in stage) for stage in self.stages]

    def _lay_out_cells(self, first: float, bin_size: float, step: int) -> None:
        offsets = [divmod(i * bin_size, step) for i in range(BINS)]
        self.starts = [0] * BINS
        classes: list[Pooling] = []
        for phase in sorted({phase for _, phase in offsets}):
            members = {i: int(steps) for i, (steps, p) in enumerate(offsets) if p == phase}
            low = min(members.values())
            made = sum(pooling.n for pooling in classes)
            for i, steps in members.items():
                self.starts[i] = made + steps - low
            count = max(members.values()) - low + self.n
            classes.append(triangles(first + phase + low * step, bin_size, step, count))
        self.stages.append(classes)

    def bins(self) -> list[slice]:
        """For each of the 4 bins its cells, in the order of the descriptors."""
        return [slice(start, start + self.n) for start in self.starts]


def bind(stage: list[Pooling], source: Array, out: Array) -> list[Product]:
    """The products of a whole stage."""
    ends = np.cumsum([pooling.n for pooling in stage]).tolist()
    return [p.bind(source, out[end - p.n : end]) for p, end in zip(stage, ends, strict=True)]


def run(products: list[Product]) -> None:
    """Compute products, each of one row of weights and a stack of windows."""
    for weights, windows, target in products:
        np.matmul(weights, windows, out=target)


def aligned_empty(shape: tuple[int, ...], dtype: Any = np.float32) -> NDArray[Any]:
    """An array that begins with a cache line: votes are 32 bytes, and none then lies across two lines."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    return np.asarray(memory[start : start + size].view(dtype).reshape(shape))


class Buffers:
    """Memory by name, which layouts of all shapes share: fresh arrays would cost more than the arithmetic.

    Attributes:
        layout: makes a ``Layout`` in this memory, or finds one made before, from its other arguments.
    """

    def __init__(self) -> None:
        self.memory: dict[str, NDArray[Any]] = {}
        self.layout = functools.lru_cache(maxsize=16)(functools.partial(Layout, buffers=self))

    def get(self, name: str, shape: tuple[int, ...], dtype: Any = np.float32) -> NDArray[Any]:
        """An array of this shape in the memory of this name; what it holds is anyone's."""
        size = math.prod(shape)
        if name not in self.memory or self.memory[name].size < size:
            # A quarter more, so that slightly larger images need no more.
            self.memory[name] = aligned_empty((size + size // 4,), dtype)
            # Layouts that use the old memory would keep it.
            self.layout.cache_clear()
        return self.memory[name][:size].reshape(shape)


class GradientCodes:
    """Codes of the gradients of images of one shape, see ``vote_table``."""

    def __init__(self, height: int, width: int, buffers: Buffers) -> None:
        planes = buffers.get("planes", (5, height, width))
        self.blurred, self.dx, self.dy, self.magnitude, self.angle = planes
        pixels, dx, dy = (plane.reshape(-1) for plane in planes[:3])
        # One long vector instead of rows; what runs over the seams between rows is overwritten.
        self.x_terms = pixels[2:], pixels[:-2], dx[1:-1]
        # Upwards: angles are counterclockwise.
        self.y_terms = pixels[: -2 * width], pixels[2 * width :], dy[width:-width]
        self.x_border, self.y_border = self.dx[:, :: width - 1], self.dy[:: height - 1]
        self.bytes = buffers.get("bytes", (2, height, width), np.uint8)
        self.pairs = buffers.get("pairs", (height, width, 2), np.uint8)
        self.codes = self.pairs.view(np.uint16)[:, :, 0]

    def __call__(self, plane: NDArray[Any], kernel: Array | None) -> NDArray[np.uint16]:
        """Codes (height, width) of the central differences of the blurred plane; 0 across the border."""
        if kernel is None:
            np.copyto(self.blurred, plane)
        else:
            cv2.sepFilter2D(
                plane, cv2.CV_32F, kernel, kernel, self.blurred, borderType=cv2.BORDER_REFLECT_101
            )
        for high, low, difference in (self.x_terms, self.y_terms):
            np.subtract(high, low, out=difference)
        self.x_border.fill(0)
        self.y_border.fill(0)
        cv2.cartToPolar(self.dx, self.dy, self.magnitude, self.angle)
        cv2.sqrt(self.magnitude, self.magnitude)
        size, turn = self.bytes
        cv2.convertScaleAbs(self.magnitude, size, MAGNITUDE_GAIN)
        cv2.convertScaleAbs(self.angle, turn, ANGLE_STEPS / (2 * math.pi))
        cv2.merge([size, turn] if sys.byteorder == "little" else [turn, size], self.pairs)
        return self.codes


class Strip(NamedTuple):
    """Rows of an image whose votes are looked up and pooled along y before the next ones."""

    rows: slice
    lookup: NDArray[np.intp]
    flat_lookup: NDArray[np.intp]
    votes: Array
    beyond: list[Array]
    """Rows of votes above and below the image: zeros."""
    products: list[Product]


class Layout:
    """One scale of images of one shape: views and products, laid out once, in buffers that others use, too."""

    def __init__(
        self,
        channels: int,
        height: int,
        width: int,
        bin_size: float,
        step: int,
        halved: bool,
        buffers: Buffers,
    ) -> None:
        self.y, self.x = Axis(height, bin_size, step), Axis(width, bin_size, step)
        self.kernel = blur_kernel(bin_size, halved)
        self.codes = GradientCodes(height, width, buffers)
        self.strips, pooled = self._along_y(height, width, buffers)
        cells_y = self.y.counts[-1]
        self._along_x(channels, width, cells_y, buffers)
        self._bind_transposition(pooled.reshape(-1, ORIENTATIONS), width, cells_y)
        self._bind_norms(channels, buffers)
        self._bind_gather(channels, buffers)

    def _along_y(self, height: int, width: int, buffers: Buffers) -> tuple[list[Strip], Array]:
        """The strips and the array of cells (rows of cells, pixels * 8) that they fill.

        What follows the first stage needs all strips, so it is among the products of the last one.
        """
        axis, values = self.y, width * ORIENTATIONS
        taps = max(len(pooling.weights) for pooling in axis.stages[0])
        rows = max(2 * taps, STRIP_VALUES // values - taps)
        made = [buffers.get(f"y{i}", (count, values)) for i, count in enumerate(axis.counts)]
        total = axis.pad + height + axis.pad
        strips = []
        for start in range(0, total, rows):
            votes = buffers.get("votes", (min(rows + taps, total - start), values))
            products = self._strip_products(start, min(start + rows, total), votes, made[0])
            if products:
                strips.append(self._strip(start, height, width, votes, products, buffers))
        for stage, source, out in zip(axis.stages[1:], made, made[1:], strict=False):
            strips[-1].products.extend(bind(stage, source, out))
        return strips, made[-1]

    def _strip_products(self, start: int, stop: int, votes: Array, out: Array) -> list[Product]:
        products, made = [], 0
        for pooling in self.y.stages[0]:
            low, high = pooling.part(start, stop)
            if low < high:
                first = pooling.first + low * pooling.step - start
                part = pooling._replace(first=first, n=high - low)
                products.append(part.bind(votes, out[made + low : made + high]))
            made += pooling.n
        return products

    def _strip(
        self, start: int, height: int, width: int, votes: Array, products: list[Product], buffers: Buffers
    ) -> Strip:
        """The strip whose votes begin at row ``start`` of the padded image."""
        top = self.y.pad - start
        low, high = (min(max(row, 0), len(votes)) for row in (top, top + height))
        beyond = [part for part in (votes[:low], votes[high:]) if len(part)]
        lookup = buffers.get("lookup", (high - low, width), np.intp)
        flat_votes = votes[low:high].reshape(-1, ORIENTATIONS)
        return Strip(slice(low - top, high - top), lookup, lookup.reshape(-1), flat_votes, beyond, products)

    def _along_x(self, channels: int, width: int, cells_y: int, buffers: Buffers) -> None:
        axis, values = self.x, cells_y * ORIENTATIONS
        padded = buffers.get("x", (axis.pad + width + axis.pad, values))
        self.x_beyond = [padded[: axis.pad], padded[axis.pad + width :]]
        self.transposed = padded[axis.pad : axis.pad + width].reshape(-1, ORIENTATIONS)
        # The cells, and the same with the weights of the window, of which there are three.
        self.cells = buffers.get("cells", (channels, 3, axis.counts[-1] * cells_y, ORIENTATIONS))
        made = [buffers.get(f"x{i}", (count, values)) for i, count in enumerate(axis.counts[:-1])]
        shared = [
            product
            for stage, source, out in zip(axis.stages[:-1], [padded, *made], made, strict=False)
            for product in bind(stage, source, out)
        ]
        source = made[-1] if made else padded
        self.x_products = [
            [*shared, *bind(axis.stages[-1], source, cells[0].reshape(-1, values))] for cells in self.cells
        ]

    def _bind_transposition(self, pooled: Array, width: int, cells_y: int) -> None:
        """Columns and rows change places, so that the vectors that are pooled along x are long, too."""
        columns = min(width, max(1, BLOCK_VALUES // (cells_y * ORIENTATIONS)))
        index = np.add.outer(np.arange(columns), np.arange(cells_y) * width).reshape(-1)
        self.transposition = []
        for start in range(0, width, columns):
            target = self.transposed[start * cells_y : (start + columns) * cells_y]
            self.transposition.append((pooled[start:], index[: len(target)], target))

    def _bind_norms(self, channels: int, buffers: Buffers) -> None:
        """Views for sums over each descriptor's cells, in the order of the cells: x, then y."""
        x, y = self.x, self.y
        self.cell_sums = buffers.get("cell_sums", (channels, x.counts[-1], y.counts[-1]))
        self.column_sums = buffers.get("column_sums", (channels, x.n, y.counts[-1]))
        spare_x = buffers.get("spare_x", self.column_sums.shape)
        self.sums, self.norms, spare_y = buffers.get("sums", (3, channels, x.n, y.n))
        self.scales = buffers.get("scales", (y.n, x.n, channels))
        self.terms_x = [*(self.cell_sums[:, cells] for cells in x.bins()), spare_x]
        self.terms_y = [*(self.column_sums[:, :, cells] for cells in y.bins()), spare_y]

    def _bind_gather(self, channels: int, buffers: Buffers) -> None:
        """Rows of ``cells`` that the first rows of descriptors are made of: for others, so many rows on."""
        x, y = self.x, self.y
        rows = min(y.n, max(1, BLOCK_VALUES // (x.n * channels * VALUES)))
        # Axes: row and column of the descriptor, channel, row and column of the bin.
        row = np.add.outer(np.arange(rows), y.starts)[:, None, None, :, None]
        column = np.add.outer(np.arange(x.n), x.starts)[:, None, None, :]
        channel = np.arange(channels)[:, None, None]
        outer = (np.arange(BINS) % (BINS - 1) == 0).astype(np.intp)
        variant = outer[:, None] + outer
        cells_y = y.counts[-1]
        gather = ((channel * 3 + variant) * (x.counts[-1] * cells_y) + column * cells_y + row).reshape(-1)
        values = buffers.get("block", (len(gather), ORIENTATIONS))
        table = self.cells.reshape(-1, ORIENTATIONS)
        self.blocks = []
        for start in range(0, y.n, rows):
            n = (min(start + rows, y.n) - start) * x.n * channels
            part = values[: n * BINS * BINS]
            first = start * x.n * channels
            block = table[start:], gather[: len(part)], part, part.reshape(n, VALUES)
            self.blocks.append((slice(first, first + n), *block))

    def describe(self, planes: list[NDArray[Any]], root: bool, contrast: float, out: Array) -> None:
        """Descriptors of an image of these channels, written to ``out`` (n * channels, 128), contiguous."""
        for plane, x_products in zip(planes, self.x_products, strict=True):
            self._pool(plane, x_products)
        self._normalize_cells(root, contrast)
        self._gather(root, out)

    def _pool(self, plane: NDArray[Any], x_products: list[Product]) -> None:
        codes = self.codes(plane, self.kernel)
        table = vote_table()
        for strip in self.strips:
            np.copyto(strip.lookup, codes[strip.rows])
            # The default mode checks every index and copies the output, which takes twice as long.
            np.take(table, strip.flat_lookup, axis=0, out=strip.votes, mode="clip")
            for rows in strip.beyond:
                rows.fill(0)
            run(strip.products)
        for source, index, target in self.transposition:
            np.take(source, index, axis=0, out=target, mode="clip")
        for rows in self.x_beyond:
            rows.fill(0)
        run(x_products)

    def _normalize_cells(self, root: bool, contrast: float) -> None:
        """The cells' square roots if ``root``, with the window's weights; and each descriptor's scale."""
        cells, inner, outer = (self.cells[:, variant] for variant in range(3))
        cell_sums = self.cell_sums.reshape(len(cells), -1)
        ratio = WINDOW[0] / WINDOW[1]
        np.matmul(cells, ONES, out=cell_sums)
        self._windowed(ratio, self.sums)
        if root:
            np.sqrt(self.sums, out=self.norms)
            np.sqrt(cells, out=cells)
            ratio = math.sqrt(ratio)
        else:
            np.multiply(cells, cells, out=inner)
            np.matmul(inner, ONES, out=cell_sums)
            self._windowed(ratio**2, self.norms)
            np.sqrt(self.norms, out=self.norms)
        np.multiply(cells, np.float32(ratio), out=inner)
        np.multiply(inner, np.float32(ratio), out=outer)
        # Twice the mean, since the differences are those of pixels two apart.
        least = np.float32(2 * contrast * (WINDOW.sum() / WINDOW[1]) ** 2)
        np.maximum(self.norms, TINY, out=self.norms)
        np.divide(self.sums >= least, self.norms, out=self.scales.transpose(2, 1, 0), dtype=np.float32)

    def _windowed(self, ratio: float, out: Array) -> None:
        """Sums of ``cell_sums`` over each descriptor's bins, the outer ones weighted by ``ratio``."""
        for (first, second, third, fourth, spare), total in (
            (self.terms_x, self.column_sums),
            (self.terms_y, out),
        ):
            np.add(first, fourth, out=spare)
            np.multiply(spare, np.float32(ratio), out=spare)
            np.add(second, third, out=total)
            np.add(total, spare, out=total)

    def _gather(self, root: bool, out: Array) -> None:
        scales = self.scales.reshape(-1, 1)
        for rows, table, index, values, block in self.blocks:
            np.take(table, index, axis=0, out=values, mode="clip")
            if not root:
                np.multiply(block, scales[rows], out=block)
                # A fifth of the time of np.minimum.
                cv2.threshold(block, CLIP, 0, cv2.THRESH_TRUNC, block)
                norms = np.sqrt(np.vecdot(block, block))
                np.divide(np.float32(1), np.maximum(norms, TINY), out=scales[rows, 0])
            np.multiply(block, scales[rows], out=out[rows])


class _ThreadLocal(threading.local):
    """Buffers and layouts of each thread: descriptors are called from several threads at once."""

    def __init__(self) -> None:
        self.buffers = Buffers()


_local = _ThreadLocal()

OPPONENT = np.array(
    [[1 / 3, 1 / 3, 1 / 3], [2**-0.5, -(2**-0.5), 0], [6**-0.5, 6**-0.5, -2 * 6**-0.5]], np.float32
)
"""Rows: intensity, red against green, yellow against blue [4]."""


def channel_planes(image: Image, channels: Channels) -> list[NDArray[Any]]:
    """The planes of an image, uint8 or float32 (height, width): 1 of a gray image, else 1 or 3."""
    if image.ndim == 2:
        return [np.ascontiguousarray(image)]
    image = np.ascontiguousarray(image)
    if channels == "gray":
        return [np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))]
    if channels == "rgb":
        return list(cv2.split(image))
    return list(cv2.split(cv2.transform(image.astype(np.float32), OPPONENT)))


def half_size(plane: NDArray[Any]) -> NDArray[Any]:
    """A plane with even sides at half its size: means of 2 x 2 pixels, of the plane's dtype."""
    height, width = plane.shape
    return np.asarray(cv2.resize(plane, (width // 2, height // 2), interpolation=cv2.INTER_AREA))


@functools.lru_cache(maxsize=16)
def grid(height: int, width: int, bins: tuple[float, ...], step: int) -> tuple[list[int], Array, Array]:
    """Ends of the scales' rows, positions and sides of all descriptors of an image of this size; read-only."""
    counts, positions, sides = [], [np.zeros((0, 2))], [np.zeros(0)]
    for bin_size in bins:
        y, x = grid_centers(height, bin_size, step), grid_centers(width, bin_size, step)
        positions.append(np.stack([np.tile(x, len(y)), np.repeat(y, len(x))], axis=1))
        sides.append(np.full(len(y) * len(x), BINS * bin_size))
        counts.append(len(y) * len(x))
    arrays = [np.concatenate(parts).astype(np.float32) for parts in (positions, sides)]
    for array in arrays:
        array.flags.writeable = False
    return np.cumsum(counts).tolist(), arrays[0], arrays[1]


class DenseSIFT(LocalDescriptor, tag="dense-sift", frozen=True):
    """SIFT descriptors on a grid, upright, at fixed scales (Vedaldi and Fulkerson 2010).

    Args:
        bins: pixels per side of a spatial bin, of which a descriptor has 4 x 4; each adds one scale, whose
            image is blurred to a standard deviation of a sixth of it.
        step: pixels between the centers of neighbors.
        channels: of color images ``gray``; or ``rgb``; or ``opponent``: intensity, red against green and
            yellow against blue [4]. Descriptors of the channels are concatenated. Gray images have one.
        root: RootSIFT [3]: divided by the sum, square root. Else divided by the L2 norm, clipped at 0.2 and
            divided again.
        contrast: mean gradient magnitude, in gray levels per pixel, below which a descriptor is all zeros.
            Each channel is judged by itself, because each is normalized by itself: the noise of a
            colorless region would look as important as its edges.
        halve: whether scales with bins of 8 pixels and more are computed from the image at half its size, as
            Lowe computes those of large keypoints [1]: in a quarter of the time, with a mean cosine of 0.98
            and more to the same descriptors at full size. Where bin, step and both sides are even numbers;
            other scales are computed at full size.
    """

    bins: Annotated[tuple[Bin, ...], Meta(min_length=1)] = (4.0, 6.0, 8.0, 10.0)
    step: Annotated[int, Meta(ge=1, le=256)] = 4
    channels: Channels = "gray"
    root: bool = True
    contrast: Annotated[float, Meta(ge=0, le=255)] = 0.5
    halve: bool = False

    def n_values(self, color: bool) -> int:
        """128, or 384 of a color image with three channels."""
        return VALUES * (3 if color and self.channels != "gray" else 1)

    def describe(self, image: Image) -> LocalFeatures:
        """Descriptors of a uint8 image, (height, width) gray or (height, width, 3) RGB, scale after scale.

        In a scale row after row of the grid, which is centered in the image. Values are 0 to 1, in the
        layout of ``cv2.SIFT``: channel, bin's row, bin's column, orientation counterclockwise from x.
        """
        height, width = image.shape[:2]
        bins = tuple(float(size) for size in self.bins)
        ends, positions, sides = grid(height, width, bins, self.step)
        n_values = self.n_values(image.ndim == 3)
        if ends[-1] == 0:
            return no_features(n_values)
        out: Array = aligned_empty((ends[-1], n_values))
        full = channel_planes(image, self.channels)
        halves = functools.cache(lambda: [half_size(plane) for plane in full])
        start = 0
        for size, stop in zip(bins, ends, strict=True):
            if stop > start:
                halved = self._is_halved(size, height, width)
                planes, unit = (halves(), 2) if halved else (full, 1)
                shape = len(planes), *planes[0].shape
                layout = _local.buffers.layout(*shape, size / unit, self.step // unit, halved)
                # A pixel of a halved image is two wide, and so far apart are gray levels in it.
                rows = out[start:stop].reshape(-1, VALUES)
                layout.describe(planes, self.root, unit * self.contrast, rows)
            start = stop
        return LocalFeatures(out, positions, sides)

    def _is_halved(self, size: float, height: int, width: int) -> bool:
        even = not any(length % 2 for length in (size, self.step, height, width))
        return self.halve and size >= LEAST_HALVED and even
