"""HOG: histograms of oriented gradients, normalized in overlapping blocks of cells."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from itertools import groupby
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from classic_cv.errors import ParameterError
from classic_cv.features._hog_workspace import TILE_PIXELS, Color, Interpolation, Layout, Workspace
from classic_cv.features.base import Extractor, Features, Image, Images, Regions, check_images
from classic_cv.features.grid import boxes_between

CellSize = Annotated[int, Meta(ge=1, le=256)]


class _ThreadLocal(threading.local):
    """A few workspaces for each thread: extractors are called from several threads at once."""

    def __init__(self) -> None:
        self.workspace = functools.lru_cache(maxsize=4)(Workspace)


_local = _ThreadLocal()


def hog(images: Images, layout: Layout) -> Features:
    """Histograms of oriented gradients [1] of images of one size; ``HOG`` says what the parameters mean.

    Args:
        images: uint8, each (height, width) or (height, width, 3) RGB, of the layout's size.

    Returns:
        float32 (n, n_features), values in [0, 1]: for each cell size the blocks, row by row; in a block its
        cells, row by row; in a cell its bins. A row does not depend on the other images, bit for bit.

    References:
        [1] Dalal and Triggs, Histograms of oriented gradients for human detection, CVPR 2005.
    """
    features = np.empty((len(images), layout.columns()[-1].stop), np.float32)
    start = 0
    for tile in _tiles(images, max(1, TILE_PIXELS // (layout.height * layout.width))):
        channels = 3 if tile.ndim == 4 and layout.color == "strongest" else 1
        workspace = _local.workspace(layout, len(tile), channels)
        workspace.run(tile, features[start : start + len(tile)])
        start += len(tile)
    return features


def cell_regions(contributions: NDArray[np.float64], layout: Layout) -> Regions:
    """What HOG columns contribute, by the cell whose histogram they come from, summed over blocks and bins.

    Args:
        contributions: float64 (n_features, K).

    Returns:
        One region per cell, for each cell size row by row. Pixels behind the last whole cell are in none.
    """
    boxes, values = [], []
    for size, columns in zip(layout.pixels_per_cell, layout.columns(), strict=True):
        height, width = layout.height // size, layout.width // size
        # (block row, block column, cell row in it, cell column in it, K)
        blocks = contributions[columns].reshape(*layout.grid(size), -1).sum(axis=4)
        down, across, *in_block, n_sums = blocks.shape
        cells = np.zeros((height, width, n_sums))
        for i, j in np.ndindex(*in_block):
            cells[i : i + down, j : j + across] += blocks[:, :, i, j]
        boxes.append(boxes_between(np.arange(height + 1) * size, np.arange(width + 1) * size))
        values.append(cells.reshape(-1, n_sums))
    return Regions(np.concatenate(boxes), np.concatenate(values))


def _tiles(images: Images, size: int) -> Iterator[NDArray[np.uint8]]:
    """Arrays (n, height, width[, 3]) of at most ``size`` images, in order; gray and RGB ones apart."""
    if isinstance(images, np.ndarray):
        for start in range(0, len(images), size):
            yield images[start : start + size]
        return
    for _, group in groupby(images, key=np.ndim):
        run = list(group)
        for start in range(0, len(run), size):
            part = run[start : start + size]
            yield part[0][None] if len(part) == 1 else np.stack(part)


class HOG(Extractor):
    """Histograms of oriented gradients (Dalal and Triggs, CVPR 2005) of images of one size.

    The image is cut into ``height // cell`` x ``width // cell`` square cells. Each has a histogram of the
    gradient orientations of its pixels, weighted by magnitude and divided by the pixels of a cell; blocks of
    neighboring cells, one at each cell that has all of its neighbors, are normalized by L2-Hys. Gradients are
    central differences, 0 across the border of the image.

    Args:
        orientations: bins over 180 degrees, or over 360 if ``signed``.
        pixels_per_cell: side of a cell in pixels; of several sizes the features are concatenated.
        cells_per_block: side of a block in cells.
        color: what RGB images are reduced to: gray (ITU-R BT.601 luma, rounded, as ``cv2.cvtColor`` computes
            it), or per pixel the gradient of the channel where it is strongest by squared magnitude, the
            first of equals. For gray images both are the same.
        signed: whether gradients that point in opposite directions are told apart.
        interpolation: ``"bilinear"`` shares a pixel's magnitude linearly between the two orientation bins
            with the nearest centers (in a circle), and between the four cells with the nearest centers; the
            share of cells outside the grid is dropped, and pixels behind the last whole cell count for it as
            far as they are within one cell of its center. ``"none"`` gives each pixel to its bin and its
            cell: the values of ``skimage.feature.hog(..., block_norm="L2-Hys")``.

    Attributes:
        image_shape_: (height, width) of the images seen by ``fit``; ``transform`` takes no others.
        n_features_out_: width of the features.
    """

    learned: ClassVar[tuple[str, ...]] = ("image_shape_", "n_features_out_")

    def __init__(
        self,
        orientations: Annotated[int, Meta(ge=1, le=64)] = 9,
        pixels_per_cell: CellSize | Annotated[tuple[CellSize, ...], Meta(min_length=1)] = 8,
        cells_per_block: Annotated[int, Meta(ge=1, le=16)] = 2,
        color: Color = "gray",
        signed: bool = False,
        interpolation: Interpolation = "bilinear",
    ) -> None:
        self.orientations = orientations
        self.pixels_per_cell = pixels_per_cell
        self.cells_per_block = cells_per_block
        self.color = color
        self.signed = signed
        self.interpolation = interpolation

    def fit(self, X: Images, y: Any = None) -> Self:
        """Check parameters and learn the size of the images.

        Raises:
            ParameterError: a parameter out of range, or a cell size given twice.
            ValueError: images of different sizes, or smaller than a block.
        """
        self.check_params()
        sizes = self._cell_sizes()
        if len(set(sizes)) < len(sizes):
            raise ParameterError(f"HOG(pixels_per_cell={self.pixels_per_cell!r}): a cell size is given twice")
        check_images(X)
        height, width = X[0].shape[:2]
        smallest = max(sizes) * self.cells_per_block
        if min(height, width) < smallest:
            raise ValueError(
                f"images of {height}x{width} pixels (height x width) are smaller than a HOG block of "
                f"{smallest}x{smallest}: use larger images, smaller pixels_per_cell or fewer cells_per_block"
            )
        self._check_shapes(X, (height, width))
        self.image_shape_ = (height, width)
        self.n_features_out_ = self._layout().columns()[-1].stop
        return self

    def transform(self, X: Images) -> Features:
        """HOG of images ``X``: float32 (n_samples, n_features_out_), values 0 to 1.

        Raises:
            NotFittedError: before ``fit``.
            ValueError: an image whose size is not that of ``fit``.
        """
        self.check_fitted()
        check_images(X)
        self._check_shapes(X, self.image_shape_)
        return hog(X, self._layout())

    def spread(self, image: Image, contributions: NDArray[np.float64]) -> Regions:
        """One region per cell of each size; see ``Extractor.spread``."""
        self.check_fitted()
        return cell_regions(contributions, self._layout())

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """``hog8_y0_x1_cell2_o3``: cell size, block row and column, cell in the block row by row, bin."""
        self.check_fitted()
        layout = self._layout()
        names = [
            f"hog{size}_y{y}_x{x}_cell{i * layout.cells_per_block + j}_o{o}"
            for size in layout.pixels_per_cell
            for y, x, i, j, o in np.ndindex(*layout.grid(size))
        ]
        return np.array(names, dtype=object)

    def load_state(self, state: dict[str, NDArray[Any]]) -> Self:
        """Set the learned attributes from what ``state`` returned."""
        height, width = (int(side) for side in state["image_shape_"])
        self.image_shape_ = (height, width)
        self.n_features_out_ = int(state["n_features_out_"])
        return self

    def _cell_sizes(self) -> tuple[int, ...]:
        sizes = self.pixels_per_cell
        return (int(sizes),) if isinstance(sizes, int | np.integer) else tuple(int(size) for size in sizes)

    def _layout(self) -> Layout:
        return Layout(
            *self.image_shape_,
            int(self.orientations),
            self._cell_sizes(),
            int(self.cells_per_block),
            self.color,
            bool(self.signed),
            self.interpolation,
        )

    def _check_shapes(self, X: Images, expected: tuple[int, int]) -> None:
        for index, image in enumerate(X[:1] if isinstance(X, np.ndarray) else X):
            if image.shape[:2] != expected:
                given, fitted = ("x".join(map(str, shape)) for shape in (image.shape[:2], expected))
                raise ValueError(
                    f"HOG needs images of one size, {fitted} pixels (height x width), "
                    f"but image {index} is {given}: put a resize step "
                    "(classic_cv.features.resize.Resize) before HOG"
                )
