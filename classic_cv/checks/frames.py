"""Sides of images along which one color runs, as frames and scan edges leave it, in some classes alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.border import SEGMENTS
from classic_cv.checks.predictive import enriched
from classic_cv.features.base import Features

SIDES = ("top", "bottom", "left", "right")

FLAT = 0.08
"""Spread within and between segments of a side, of the range of colors, up to which one color runs along it:
JPEG leaves 0.05 of a frame's edge in the four outermost pixels."""

RARER = 0.1
"""Share of other classes' images that may have a frame, in parts of the share of the class's own: skies and dark
backgrounds run along a side of one photo in twenty, too."""

THROUGHOUT = 0.9
"""Share of images of each class with the same frame, where it is several: backgrounds that classes have in common, such
as the black of clothes and digits, come in all shares."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One color along sides of a class's images, that images of other classes hardly ever have.

    Attributes:
        code: the class.
        sides: of ``SIDES``.
        color: red, green, blue, 0 to 255.
        members: bool (n,), the images that have it along all these sides.
        elsewhere: share of the images of classes that have no such frame with it along some of these sides.
        sharing: the classes with this frame, ``code`` among them.
    """

    code: int
    sides: tuple[str, ...]
    color: tuple[int, int, int]
    members: NDArray[np.bool_]
    elsewhere: float
    sharing: tuple[int, ...]


def frames(border: Features, codes: NDArray[np.intp], least: float, alpha: float) -> list[Frame]:
    """The frame of each class that has one, at most one each.

    Args:
        border: (n, N_BORDER), see ``border_features``.
        codes: (n,), classes.
        least: share of a class's images that must have it.
        alpha: of all classes and sides together (Bonferroni).
    """
    n_classes = int(codes.max()) + 1
    strips = border.reshape(len(border), 2, len(SIDES), SEGMENTS, 4)
    means, deviations = strips[..., :3], strips[..., 3]
    flat = (np.ptp(means, axis=3).max(axis=-1) <= FLAT) & (deviations.max(axis=-1) <= FLAT)
    colors = means.mean(axis=3)
    found = []
    for code in np.unique(codes).tolist():
        inside = codes == code
        usual = {
            (width, side): np.median(colors[inside & flat[:, width, side], width, side], axis=0)
            for width in range(2)
            for side in range(len(SIDES))
            if flat[inside, width, side].mean() >= least
        }
        found.append(_frame(code, usual, flat, colors, codes, least, alpha / (n_classes * 2 * len(SIDES))))
    return [frame for frame in found if frame is not None]


def _frame(
    code: int,
    usual: dict[tuple[int, int], NDArray[np.float32]],
    flat: NDArray[np.bool_],
    colors: NDArray[np.float32],
    codes: NDArray[np.intp],
    least: float,
    alpha: float,
) -> Frame | None:
    """The frame along all sides that have one in this class, from each side's usual color."""
    sides: dict[str, tuple[NDArray[np.bool_], float, tuple[int, ...]]] = {}
    for strip, color in usual.items():
        width, side = strip
        has = flat[:, width, side] & (np.abs(colors[:, width, side] - color).max(axis=-1) <= FLAT)
        shares = np.bincount(codes, has) / np.maximum(np.bincount(codes), 1)
        sharing = np.flatnonzero(shares >= least)
        others = ~np.isin(codes, sharing)
        if (
            shares[code] < least
            or not others.any()
            or not _drawn(shares[sharing], len(np.unique(codes)))
            or has[others].mean() > RARER * shares[code]
        ):
            continue
        compared = others | (codes == code)
        if enriched(has[compared], codes[compared] == code) < alpha:
            sides[SIDES[side]] = (has, float(has[others].mean()), tuple(sharing.tolist()))
    if not sides:
        return None
    first = min(strip for strip in usual if SIDES[strip[1]] in sides)
    members = np.logical_and.reduce([has for has, _, _ in sides.values()])
    red, green, blue = (round(255 * float(value)) for value in usual[first])
    elsewhere = max(share for _, share, _ in sides.values())
    sharing_all = set.intersection(*(set(one) for _, _, one in sides.values()))
    return Frame(code, tuple(sides), (red, green, blue), members, elsewhere, tuple(sorted(sharing_all)))


def _drawn(shares: NDArray[np.float64], n_classes: int) -> bool:
    """Whether a color along a side, that so large shares of some classes have, is not just the background of most."""
    return len(shares) == 1 or (2 * len(shares) <= n_classes and bool(shares.min() >= THROUGHOUT))
