"""Patches compared with a learned dictionary, pooled over a spatial grid: one convolutional layer without labels.

Every small square of the image is brought to a common contrast, whitened, and compared with each atom of a
dictionary of such patches; what is near an atom is summed up per cell of a grid (Coates, Lee and Ng, AISTATS 2011
[1]; Coates and Ng, ICML 2011 [2]; Thiry et al., ICLR 2021 [3]).

Contrast, whitening and comparison are linear but for one factor per patch, so they are folded into one filter per
atom: ``atom . whiten((p - mean(p)) / std(p))  =  filter . (p - 128) / std(p) + bias``, where the filter sums to 0.
An image then costs one matrix product of its scaled patches with the filters.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

import cv2
import numpy as np
from msgspec import Meta
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from classic_cv.features.base import Extractor, Features, Image, Images, Regions, check_images
from classic_cv.features.encoding.codebook import k_means
from classic_cv.features.encoding.whitening import learn_whitening, whiten
from classic_cv.features.grid import Grid, cell_edges, cell_names, pair

Dictionary = Literal["kmeans", "sampled"]
Activation = Literal["threshold", "triangle"]
Floats = NDArray[np.float32]

NOISE = 10.0
"""Added to a patch's variance, in gray values squared: what varies less is sensor noise, not contrast [2]."""

CENTER = 128
"""Taken off each gray value: changes no response, as filters sum to 0, but keeps float32's rounding small."""

ATOM_BLOCK = 256
"""Atoms whose responses are computed at a time."""

BLOCK_VALUES = 2**17
"""Responses computed at a time: 512 KB, and as much for what is made of them, stay in the second-level cache."""

THRESHOLD_ROWS = 2000
"""Patches of the sample whose responses decide where the threshold is."""


class Layout(NamedTuple):
    """What turns an image's responses into a row."""

    size: int
    step: int
    grid: tuple[int, int]
    activation: Activation
    n_atoms: int

    @property
    def n_columns(self) -> int:
        """Columns of one cell."""
        return self.n_atoms * (2 if self.activation == "threshold" else 1)

    def positions(self, length: int) -> int:
        """Patches along a side of ``length`` pixels."""
        return (length - self.size) // self.step + 1


class Block(NamedTuple):
    """Consecutive rows of patches within one row of cells.

    Attributes:
        top, bottom: the pixel rows that they cover.
        cell_row: the row of cells that they are in.
        pool: float32 (columns of cells, patches): the share of each patch in the mean of its cell.
    """

    top: int
    bottom: int
    cell_row: int
    pool: Floats


@functools.lru_cache(maxsize=64)
def blocks(height: int, width: int, layout: Layout) -> tuple[Block, ...]:
    """The blocks of an image, from top to bottom; read-only. A cell without patches is in none."""
    down, across = layout.positions(height), layout.positions(width)
    block_atoms = layout.n_atoms if layout.activation == "triangle" else min(layout.n_atoms, ATOM_BLOCK)
    most = max(1, BLOCK_VALUES // (across * block_atoms))
    edges = cell_edges(down, layout.grid[0]).tolist()
    columns = np.repeat(np.arange(layout.grid[1]), np.diff(cell_edges(across, layout.grid[1])))
    inside = (columns == np.arange(layout.grid[1])[:, None]).astype(np.float32)
    pools: dict[tuple[int, int], Floats] = {}  # blocks of the same height share one
    found = []
    for cell_row in range(layout.grid[0]):
        first, last = edges[cell_row], edges[cell_row + 1]
        for start in range(first, last, most):
            stop = min(start + most, last)
            kind = stop - start, last - first
            if kind not in pools:
                area = np.maximum(inside.sum(axis=1, keepdims=True) * (last - first), 1)
                pools[kind] = np.tile(inside / area, stop - start)
                pools[kind].flags.writeable = False
            bottom = (stop - 1) * layout.step + layout.size
            found.append(Block(start * layout.step, bottom, cell_row, pools[kind]))
    return tuple(found)


def patch_rows(image: NDArray[np.uint8], size: int, step: int) -> Floats:
    """The patches of an image over their contrast: ``(p - 128) / sqrt(var(p) + NOISE)``, then a 1.

    Args:
        image: uint8 (height, width, channels), both sides at least ``size``.

    Returns:
        float32 (patches, size * size * channels + 1): the patches row by row; in a patch its columns from left to
        right, in a column its pixels from top to bottom, in a pixel its channels. The variance is over all values
        of the patch, and exact: a flat patch has exactly 0.
    """
    height, width, channels = image.shape
    n_values = size * size * channels
    down, across = (height - size) // step + 1, (width - size) // step + 1
    pixels = np.subtract(image, np.float32(CENTER), dtype=np.float32, order="C")
    # Strips of size pixels downwards lie next to each other, so that a patch is one run of memory.
    rows, columns, values = pixels.strides
    view = (down, width, size, channels), np.float32, pixels, 0, (rows * step, columns, rows, values)
    strips: Floats = np.ascontiguousarray(np.ndarray(*view))
    scale = _contrast(strips.reshape(down, width, -1), size, step, across)
    strip = size * channels * values
    patches: Floats = np.ndarray(
        (down, across, n_values), np.float32, strips, 0, (width * strip, step * strip, values)
    )
    out = np.empty((down, across, n_values + 1), np.float32)
    np.multiply(patches, scale[..., None], out=out[..., :n_values])
    out[..., n_values] = 1
    return out.reshape(down * across, n_values + 1)


def _contrast(strips: Floats, size: int, step: int, across: int) -> Floats:
    """``1 / sqrt(var + NOISE)`` of each patch, (down, across), from strips (down, width, values).

    The sums are whole numbers below 2^24 for patches of up to 1024 values, so float32 holds them exactly.
    """
    moments = np.empty((2, *strips.shape[:2]), np.float32)
    np.matmul(strips, np.ones(strips.shape[2], np.float32), out=moments[0])
    np.einsum("ijk,ijk->ij", strips, strips, out=moments[1])
    reach = (across - 1) * step + 1
    total, squares = sum(moments[:, :, x : x + reach : step] for x in range(size)).astype(np.float64)  # type: ignore[union-attr]
    n_values = size * strips.shape[2]
    variance = (squares * n_values - total * total) / n_values**2
    return np.asarray(1 / np.sqrt(variance + NOISE), np.float32)


def responses(
    rows: Floats, filters: Floats, threshold: float, layout: Layout
) -> Iterator[tuple[slice, Floats]]:
    """What each patch says about each atom, a block of columns at a time: (columns, float32 (patches, columns)).

    The array is reused: look at it before the next one is asked for.

    Args:
        rows: of ``patch_rows``.
        filters: of ``threshold_filters`` or ``triangle_filters``.
    """
    n_atoms = layout.n_atoms
    if layout.activation == "triangle":
        values = rows @ filters[:, :n_atoms]
        white = rows @ filters[:, n_atoms:]
        values += np.einsum("ij,ij->i", white, white)[:, None]
        np.sqrt(_positive(values), out=values)
        np.subtract(values.mean(axis=1, keepdims=True), values, out=values)
        yield slice(0, n_atoms), _positive(values)
        return
    for start in range(0, n_atoms, ATOM_BLOCK):
        stop = min(start + ATOM_BLOCK, n_atoms)
        above = rows @ filters[:, start:stop]
        below = np.subtract(np.float32(-2 * threshold), above)
        yield slice(start, stop), _positive(above)
        yield slice(n_atoms + start, n_atoms + stop), _positive(below)


def _positive(values: Floats) -> Floats:
    """``max(0, values)`` in place, in a quarter of the time that ``np.maximum`` takes."""
    return np.asarray(cv2.threshold(values, 0, 0, cv2.THRESH_TOZERO, dst=values)[1], np.float32)


def encode(image: NDArray[np.uint8], filters: Floats, threshold: float, layout: Layout) -> Floats:
    """Mean response per cell: float32 (rows of cells, columns of cells, ``layout.n_columns``), never negative.

    Args:
        image: uint8 (height, width, channels), both sides at least ``layout.size``.
        filters, threshold: as for ``responses``.
    """
    out = np.zeros((*layout.grid, layout.n_columns), np.float32)
    for block in blocks(*image.shape[:2], layout):
        rows = patch_rows(image[block.top : block.bottom], layout.size, layout.step)
        for columns, values in responses(rows, filters, threshold, layout):
            out[block.cell_row, :, columns] += block.pool @ values
    return out


def threshold_filters(atoms: Floats, mean: Floats, projection: Floats, threshold: float) -> Floats:
    """Filters whose product with ``patch_rows`` is ``atoms . ((x - mean) @ projection) - threshold``.

    Args:
        atoms: (n_atoms, d), in whitened space.
        mean, projection: of ``learn_whitening`` of normalized patches ``x``.

    Returns:
        float32 (d + 1, n_atoms); the last row is the bias.
    """
    return _folded(projection.astype(np.float64) @ atoms.T, mean, np.full(len(atoms), -threshold))


def triangle_filters(atoms: Floats, mean: Floats, projection: Floats) -> Floats:
    """Filters of squared distances: float32 (d + 1, n_atoms + d), for the whitened patch ``y``.

    The first give ``|atom|^2 - 2 atom . y``, the others ``y`` itself, of which ``|y|^2`` is missing in the first.
    """
    weights = projection.astype(np.float64)
    lengths = np.square(atoms, dtype=np.float64).sum(axis=1)
    near = _folded(-2 * weights @ atoms.T, mean, lengths)
    return np.concatenate([near, _folded(weights, mean, np.zeros(weights.shape[1]))], axis=1)


def _folded(weights: NDArray[np.float64], mean: Floats, bias: NDArray[np.float64]) -> Floats:
    """Weights (d, n) of ``x - mean`` as filters (d + 1, n) of ``patch_rows``."""
    offset = bias - mean.astype(np.float64) @ weights
    # A filter that sums to 0 takes the patch's mean off by itself.
    return np.vstack([weights - weights.mean(axis=0), offset]).astype(np.float32)


def normalize_patches(patches: NDArray[np.uint8]) -> Floats:
    """Patches (n, d) to mean 0 and ``sqrt(var + NOISE)`` to 1: float32 (n, d)."""
    out = patches.astype(np.float32)
    out -= out.mean(axis=1, keepdims=True)
    out /= np.sqrt(np.square(out).mean(axis=1, keepdims=True) + np.float32(NOISE))
    return out


def sample_patches(
    images: Sequence[NDArray[np.uint8]], size: int, n_samples: int, rng: np.random.Generator
) -> Floats:
    """About ``n_samples`` normalized patches, as many from each image; flat ones, which show nothing, are left out.

    Args:
        images: uint8 (height, width, channels), equal channels, sides at least ``size``.

    Returns:
        float32 (n, d), values in the order of ``patch_rows``. If all are flat, these.
    """
    each = -(-n_samples // len(images))
    parts = []
    for image in images:
        windows = sliding_window_view(image, (size, size), axis=(0, 1))
        down, across, channels = windows.shape[:3]
        count = min(each, down * across)
        y, x = np.divmod(rng.choice(down * across, count, replace=False), across)
        parts.append(windows[y, x].transpose(0, 3, 2, 1).reshape(count, size * size * channels))
    patches = np.concatenate(parts)
    flat = patches.max(axis=1) == patches.min(axis=1)
    return normalize_patches(patches if flat.all() else patches[~flat])


def learn_atoms(white: Floats, n_atoms: int, dictionary: Dictionary, seed: int) -> Floats:
    """A dictionary (n_atoms, d) of whitened patches (n, d), n at least 1.

    Random directions stand in for the atoms that too few, or too few different, patches leave out: of length
    ``sqrt(d)`` on average, as white patches are.
    """
    rng = np.random.default_rng(seed)
    sampled = white[rng.permutation(len(white))[:n_atoms]]
    atoms = sampled if dictionary == "sampled" else k_means(white, n_atoms, seed)
    missing = rng.standard_normal((n_atoms - len(atoms), white.shape[1]), np.float32)
    return np.concatenate([atoms, missing])


def unit_length(rows: Floats) -> Floats:
    """Rows divided by their length; rows of 0 stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1), np.float32)


class PatchDictionary(Extractor):
    """Mean response of a grid's cells to a dictionary of patches learned from the training images, without labels.

    For images whose content is a texture of small parts at a known scale, such as 32 x 32 photos. Images of other
    sizes are taken as they are. Those with a side below ``size`` are extended by their border pixels. Of images
    that are not like those of ``fit``, RGB ones are made gray, gray ones RGB.

    Args:
        size: side of a patch in pixels.
        step: pixels from a patch to the next; 2 takes a quarter of the time.
        n_atoms: patches in the dictionary. Time and columns grow with it.
        dictionary: ``"kmeans"`` centers of whitened patches, or a few of them ``"sampled"``, which takes no time
            to learn.
        activation: ``"threshold"`` compares with atoms of length 1 by the inner product z and has two columns
            per atom, the means of ``max(0, z - a)`` and of ``max(0, -z - a)``; ``"triangle"`` has one, the mean of
            ``max(0, m - distance)``, where m is the mean distance of the patch from all atoms.
        threshold: the share of the training patches' ``|z|`` that is below ``a``; triangles have no use for it.
        grid: cells per side, or (rows, columns). A patch belongs to one cell.
        root: whether means are replaced by their square roots.
        eps: added to the variances of normalized patches before whitening divides by their roots.
        n_samples: patches that whitening and dictionary are learned from.
        random_state: seed of the samples.

    Attributes:
        filters_: float32 (size * size * channels + 1, n), what ``patch_rows`` are multiplied with.
        threshold_: float32 (), the ``a`` above.
        n_features_out_: width of the features.
    """

    learned: ClassVar[tuple[str, ...]] = ("filters_", "threshold_", "n_features_out_")
    learns: ClassVar[bool] = True
    fit_images: ClassVar[int] = 500

    filters_: Floats
    threshold_: NDArray[np.float32]

    def __init__(
        self,
        size: Annotated[int, Meta(ge=2, le=18)] = 6,
        step: Annotated[int, Meta(ge=1, le=64)] = 1,
        n_atoms: Annotated[int, Meta(ge=1, le=16384)] = 256,
        dictionary: Dictionary = "kmeans",
        activation: Activation = "threshold",
        threshold: Annotated[float, Meta(ge=0, lt=1)] = 0.5,
        grid: Grid = 3,
        root: bool = True,
        eps: Annotated[float, Meta(ge=0)] = 0.03,
        n_samples: Annotated[int, Meta(ge=1)] = 100_000,
        random_state: Annotated[int, Meta(ge=0, lt=2**32)] = 0,
    ) -> None:
        self.size = size
        self.step = step
        self.n_atoms = n_atoms
        self.dictionary = dictionary
        self.activation = activation
        self.threshold = threshold
        self.grid = grid
        self.root = root
        self.eps = eps
        self.n_samples = n_samples
        self.random_state = random_state

    def fit(self, X: Images, y: Any = None) -> Self:
        """Check parameters; learn whitening, dictionary and threshold from patches of images ``X``.

        Raises:
            ParameterError: a parameter out of range.
        """
        self._start(X)
        channels = self._channels()
        rng = np.random.default_rng(self.random_state)
        images = [self._input(image, channels) for image in X]
        patches = sample_patches(images, int(self.size), int(self.n_samples), rng)
        mean, projection = learn_whitening(patches, "zca", eps=float(self.eps))
        white = whiten(patches, mean, projection)
        atoms = learn_atoms(white, int(self.n_atoms), self.dictionary, int(self.random_state))
        if self.activation == "triangle":
            self.filters_ = triangle_filters(atoms, mean, projection)
            return self
        atoms = unit_length(atoms)
        some = white[rng.permutation(len(white))[:THRESHOLD_ROWS]]
        self.threshold_ = np.asarray(np.quantile(np.abs(some @ atoms.T), self.threshold), np.float32)
        self.filters_ = threshold_filters(atoms, mean, projection, float(self.threshold_))
        return self

    def unlearned(self, X: Images) -> Self:
        """Check parameters and set filters of 0: every row is 0, in the time that it takes after ``fit``."""
        self._start(X)
        return self

    def transform(self, X: Images) -> Features:
        """Features of images ``X``: float32 (n_samples, n_features_out_), never negative.

        Raises:
            NotFittedError: before ``fit``.
        """
        self.check_fitted()
        check_images(X)
        layout, channels, threshold = self._layout(), self._channels(), float(self.threshold_)
        out = np.empty((len(X), self.n_features_out_), np.float32)
        for row, image in zip(out, X, strict=True):
            row[:] = encode(self._input(image, channels), self.filters_, threshold, layout).ravel()
        return np.sqrt(out, out=out) if self.root else out

    def spread(self, image: Image, contributions: NDArray[np.float64]) -> Regions:
        """Share what each column contributes among the patches that it was computed from.

        A patch gets of its cell's column what its response is of the sum of the cell's; where all are 0, equal
        parts. What columns of a cell without patches contribute is shared by all patches of the image.

        Args:
            image: uint8 (height, width) or (height, width, 3).
            contributions: (n_features_out_, k), k values per column.

        Returns:
            A region per patch: its box, and values (k,); all values sum to ``contributions.sum(axis=0)``.

        Raises:
            NotFittedError: before ``fit``.
            ValueError: another number of contributions than features.
        """
        self.check_fitted()
        check_images([image])
        given = np.asarray(contributions, np.float64)
        if given.ndim != 2 or len(given) != self.n_features_out_:
            raise ValueError(
                f"contributions have shape {given.shape}, expected ({self.n_features_out_}, k): "
                "one row per feature of this extractor"
            )
        layout, pixels = self._layout(), self._input(image, self._channels())
        values = _shares(pixels, self.filters_, float(self.threshold_), layout, given)
        return Regions(_patch_boxes(image.shape[:2], pixels.shape[:2], layout), values)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """``patch6_y0_x1_atom17_pos``: patch size, cell, atom; ``pos`` and ``neg`` for the sides of a threshold."""
        self.check_fitted()
        signs = ("_pos", "_neg") if self.activation == "threshold" else ("",)
        return np.array(
            [
                f"patch{self.size}_{cell}_atom{atom}{sign}"
                for cell in cell_names(pair(self.grid))
                for sign in signs
                for atom in range(self.n_atoms)
            ],
            dtype=object,
        )

    def _start(self, X: Images) -> None:
        """Check everything and set learned attributes of the right shapes."""
        self.check_params()
        check_images(X)
        color = X.ndim == 4 if isinstance(X, np.ndarray) else any(image.ndim == 3 for image in X)
        layout = self._layout()
        n_values = layout.size**2 * (3 if color else 1)
        n_filters = layout.n_atoms + (n_values if layout.activation == "triangle" else 0)
        self.filters_ = np.zeros((n_values + 1, n_filters), np.float32)
        self.threshold_ = np.zeros((), np.float32)
        self.n_features_out_ = layout.grid[0] * layout.grid[1] * layout.n_columns

    def _layout(self) -> Layout:
        return Layout(int(self.size), int(self.step), pair(self.grid), self.activation, int(self.n_atoms))

    def _channels(self) -> int:
        return (len(self.filters_) - 1) // int(self.size) ** 2

    def _input(self, image: Image, channels: int) -> NDArray[np.uint8]:
        """An image as (height, width, channels), each side at least ``size``."""
        if (image.ndim == 3) != (channels == 3):
            code = cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_RGB2GRAY
            image = np.asarray(cv2.cvtColor(np.ascontiguousarray(image), code), np.uint8)
        lacking = [max(0, int(self.size) - side) for side in image.shape[:2]]
        if any(lacking):
            before = [side // 2 for side in lacking]
            pads = [(first, both - first) for first, both in zip(before, lacking, strict=True)]
            image = np.pad(image, pads if image.ndim == 2 else [*pads, (0, 0)], mode="edge")
        return image if image.ndim == 3 else image[..., None]


def _shares(
    image: NDArray[np.uint8],
    filters: Floats,
    threshold: float,
    layout: Layout,
    contributions: NDArray[np.float64],
) -> NDArray[np.float64]:
    """``contributions`` (n_features, k) shared among the patches of an image: float64 (patches, k)."""
    k = contributions.shape[1]
    means = encode(image, filters, threshold, layout).astype(np.float64)
    silent = means == 0
    given = contributions.reshape(*means.shape, k)
    weights = np.where(silent, 0, 1 / np.where(silent, 1, means))[..., None] * given
    evenly = (given * silent[..., None]).sum(axis=2)
    parts = []
    for block in blocks(*image.shape[:2], layout):
        pool = block.pool.astype(np.float64)
        shares = pool.T @ evenly[block.cell_row]
        rows = patch_rows(image[block.top : block.bottom], layout.size, layout.step)
        for columns, values in responses(rows, filters, threshold, layout):
            for cell, share in enumerate(pool):
                inside = share > 0
                part = values[inside].astype(np.float64) @ weights[block.cell_row, cell, columns]
                shares[inside] += part * share[inside, None]
        parts.append(shares)
    out = np.concatenate(parts)
    # Rounding of the float32 means, and cells without patches.
    out += (contributions.sum(axis=0) - out.sum(axis=0)) / len(out)
    return out


def _patch_boxes(shape: tuple[int, ...], padded: tuple[int, ...], layout: Layout) -> NDArray[np.float32]:
    """Pixels that each patch covers, float32 (patches, 4); what is in the padding is cut off."""
    sides = []
    for length, full in zip(shape, padded, strict=True):
        starts = np.arange(layout.positions(full)) * layout.step - (full - length) // 2
        sides.append(np.clip(np.stack([starts, starts + layout.size]), 0, length))
    (y0, y1), (x0, x1) = sides
    down, across = len(y0), len(x0)
    columns = [np.tile(x0, down), np.repeat(y0, across), np.tile(x1, down), np.repeat(y1, across)]
    return np.stack(columns, axis=1).astype(np.float32)
