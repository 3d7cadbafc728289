"""Where the score of a network comes from, measured by occlusion [1]: cover a place, and see how much the score falls.

The score of a network is no sum over parts of the image. So a window of the prepared image is covered with the mean
color of the training images, features are extracted from what is left, and the new score is compared with the old.
Windows are a quarter of the image's sides and lie an eighth apart; at the border they are cut off, so that each pixel
lies in four of them. The drop of a window is shared evenly by its pixels, and a pixel gets the mean of its four
shares. So the drops of a network that does add up places come out as these places' sums.

The explained score is that of ``Model.decision_function`` where there is one, for two classes or a number. Of several
classes only differences of scores mean something, as adding one number to all changes no probability. There it is the
log-odds of the class: its score minus the log of the sum of the others' exponentials.

[1] Zeiler and Fergus, Visualizing and understanding convolutional networks, ECCV 2014, section 4.2.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from classic_cv.errors import ExplanationError
from classic_cv.explanation import Contribution, Explanation, Reals
from classic_cv.images import Picture
from classic_cv.recipe import feature_groups

if TYPE_CHECKING:
    from classic_cv.features.base import Features
    from classic_cv.model import Model

CELLS = 8
"""Of the grid, per side; a window is two by two of them."""

BATCH_VALUES = 2**24
"""Feature and pixel values that are in memory at a time: all windows of 256 x 256 pixels in color, in 64 MiB."""

NOISE = 1e-6
"""Relative to the largest score: smaller drops are what float32 rounds, and count as none."""


class Grid(NamedTuple):
    """Disjoint cells over an image, and the windows that cover two by two of them, fewer at the border.

    Attributes:
        y, x: int64, the edges of cells along each axis in pixels, from 0 to the side.
    """

    y: NDArray[np.int64]
    x: NDArray[np.int64]

    @classmethod
    def over(cls, shape: tuple[int, int]) -> Grid:
        """``CELLS`` by ``CELLS`` cells over (height, width); along a shorter side one per pixel."""
        y, x = (np.rint(np.linspace(0, side, min(CELLS, side) + 1)).astype(np.int64) for side in shape)
        return cls(y, x)

    @property
    def cells(self) -> NDArray[np.int64]:
        """(n_rows * n_columns, 4): x0, y0, x1, y1 of each cell, row by row."""
        return _boxes((self.y[:-1], self.y[1:]), (self.x[:-1], self.x[1:]))

    @property
    def windows(self) -> NDArray[np.int64]:
        """((n_rows + 1) * (n_columns + 1), 4): x0, y0, x1, y1 of each window, row by row."""
        y, x = (
            (np.append(edges[0], edges[:-1]), np.append(edges[1:], edges[-1])) for edges in (self.y, self.x)
        )
        return _boxes(y, x)

    def share(self, drops: Reals) -> Reals:
        """What windows' drops are per cell: float64 (n_cells,), whose sum is a quarter of that of ``drops``.

        Args:
            drops: float64 (n_windows,), in the order of ``windows``.
        """
        by_pixel = (drops / _areas(self.windows)).reshape(len(self.y), len(self.x))
        four = by_pixel[:-1, :-1] + by_pixel[1:, :-1] + by_pixel[:-1, 1:] + by_pixel[1:, 1:]
        shares: Reals = four.ravel() / 4 * _areas(self.cells)
        return shares


def explain_by_occlusion(model: Model, picture: Picture, row: Features, number: int | None) -> Explanation:
    """What covering each part of an image takes from the score of a class, or from the estimated number.

    Args:
        model: one whose head is a ``HybridNetwork``.
        picture: the prepared image.
        row: float32 (n_features,), its features, and after them its pixels.
        number: of the class; None for a regression.

    Returns:
        ``boxes`` are the cells of a grid over the stored image, ``values`` their drops. ``bias`` is the part of the
        score that no single window accounts for, such as what two places show alike; it makes the sum come out.
        ``groups`` say how much the score falls when an extractor's columns are those of the mean training image and
        the rest is kept, "pixels" last. They do not add up: extractors can make up for each other.

    Raises:
        ExplanationError: the model does not know the mean of its training images.
    """
    usual, color = _usual(model)
    grid = Grid.over((picture.pixels.shape[0], picture.pixels.shape[1]))
    kept = model.scores(np.concatenate([row[None], _without_each(row, usual, model.featurizer.group_widths)]))
    scores = np.concatenate([kept, _covered_scores(model, picture, grid.windows, color)])
    found = log_odds(scores, number)
    drops = found[0] - found[1:]
    drops[np.abs(drops) <= NOISE * np.abs(scores).max()] = 0.0
    names = feature_groups(model.recipe)
    values = grid.share(drops[len(names) :])
    size = np.array([picture.width, picture.height] * 2) / np.array([grid.x[-1], grid.y[-1]] * 2)
    return Explanation(
        class_name=None if number is None else model.class_names[number],
        score=float(found[0]),
        bias=float(found[0] - values.sum()),
        groups=tuple(Contribution(*pair) for pair in zip(names, drops[: len(names)].tolist(), strict=True)),
        boxes=(grid.cells * size).astype(np.float32),
        values=values,
        width=picture.width,
        height=picture.height,
    )


def log_odds(scores: NDArray[np.floating], number: int | None) -> Reals:
    """What speaks for a class against all others, in nats: float64 (n,).

    Args:
        scores: (n, n_classes), or (n,): the score of the second of two classes, or numbers of a regression.
        number: of the class; None for a regression, whose numbers are returned as they are.
    """
    given = scores.astype(np.float64)
    if given.ndim == 1:
        return -given if number == 0 else given
    if number is None:
        raise ValueError(f"scores of shape {given.shape} are those of classes: give the number of one")
    others = np.logaddexp.reduce(np.delete(given, number, axis=1), axis=1)
    odds: Reals = given[:, number] - others
    return odds


def cover(picture: Picture, windows: NDArray[np.int64], color: NDArray[np.uint8]) -> list[Picture]:
    """Copies of a picture, each with one window in ``color``.

    Args:
        windows: (m, 4): x0, y0, x1, y1 in pixels of ``picture.pixels``.
        color: uint8 (3,), or (1,) for gray.
    """
    covered = []
    for x0, y0, x1, y1 in windows.tolist():
        pixels = picture.pixels.copy()
        pixels[y0:y1, x0:x1] = color
        covered.append(dataclasses.replace(picture, pixels=pixels))
    return covered


def _covered_scores(
    model: Model, picture: Picture, windows: NDArray[np.int64], color: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Scores, (m, n_classes) or (m,), of the picture with each of m windows covered."""
    n = max(1, BATCH_VALUES // model.featurizer.n_features)
    scores = [
        model.scores(model.featurizer.transform(cover(picture, windows[start : start + n], color)))
        for start in range(0, len(windows), n)
    ]
    return np.concatenate(scores)


def _usual(model: Model) -> tuple[Features, NDArray[np.uint8]]:
    """The row of the mean training image, all of one color, float32 (n_features,); and that color, uint8 (planes,)."""
    if model.mean is None:
        raise ExplanationError(
            "this model does not know the mean color of its training images, which places are covered with: "
            "fit it again"
        )
    n_pixels = model.featurizer.group_widths[-1]
    n_features = model.featurizer.n_features - n_pixels
    features, color = np.split(model.mean, [n_features])
    usual = np.concatenate([features, np.repeat(color, n_pixels // len(color))])
    return usual, np.rint(color).clip(0, 255).astype(np.uint8)


def _without_each(row: Features, usual: Features, widths: Sequence[int]) -> Features:
    """The row once for each group of columns, with these columns as usual: float32 (n_groups, n_features)."""
    rows = np.repeat(row[None], len(widths), axis=0)
    start = 0
    for changed, width in zip(rows, widths, strict=True):
        changed[start : start + width] = usual[start : start + width]
        start += width
    return rows


def _boxes(
    y: tuple[NDArray[np.int64], NDArray[np.int64]], x: tuple[NDArray[np.int64], NDArray[np.int64]]
) -> NDArray[np.int64]:
    """(m, 4): all combinations of intervals (starts, stops) along both axes, row by row."""
    rows, columns = (index.ravel() for index in np.indices((len(y[0]), len(x[0]))))
    return np.stack([x[0][columns], y[0][rows], x[1][columns], y[1][rows]], axis=1)


def _areas(boxes: NDArray[np.int64]) -> NDArray[np.int64]:
    areas: NDArray[np.int64] = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return areas
