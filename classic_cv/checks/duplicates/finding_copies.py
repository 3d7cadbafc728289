"""From thumbnails to copies: search, comparison, a second look, each with limits from this data."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.duplicates.alignment import SIDE, compared
from classic_cv.checks.duplicates.calibration import (
    TRANSFORMS,
    false_share,
    limits_by_class,
    made_thumbnails,
    sample_pixels,
    threshold,
)
from classic_cv.checks.duplicates.comparison import Comparison, compare
from classic_cv.checks.duplicates.hashes import VIEWS
from classic_cv.checks.duplicates.second_look import (
    LOOK_ALIKES,
    DescriptorLimit,
    descriptor_limit,
    likeness_of_pairs,
    made_likeness,
)
from classic_cv.checks.survey import Survey
from classic_cv.dataset import Dataset
from classic_cv.errors import ImageError
from classic_cv.features.base import Image
from classic_cv.images import to_picture

LOOSE = 0.5
"""The largest ratio of pairs that are looked at again where descriptors decide alone: half the distance of other
look-alikes."""

MOST_LOOKED_AT = 2000
"""Pairs that are looked at again, the least certain. A minute's work."""

NEAREST, STAND = 200, 0.95
"""How many of these, the nearest, must stand the second look, and which share of them, for all that are nearer still
to be taken for copies unseen; else only those with ratios that look-alikes do not have by chance are."""

DECIDING_SIDE = 64
"""Pixels of the typical shorter side from which descriptors may decide alone: smaller images are enlarged for them, and
pieces of 32 pixels of a brick wall match one another well."""

LEAST_SHOWN = 8
"""Pixels of the shorter side below which only exact copies are looked for: so few show nothing but a gradient, and a
third of 40 random images of 3x2 were taken for copies."""

EXACT, NEAR, MIRRORED = "exact-duplicates", "near-duplicates", "mirrored-duplicates"
KINDS = (EXACT, NEAR, MIRRORED)


@dataclass(frozen=True, eq=False)
class Copies:
    """Pairs of copies.

    Attributes:
        pairs: int64 (m, 2), positions in the data set, the first below the second. Of images with the same content
            each is paired with the first of them, and only that one with others.
        kinds: of ``KINDS``, (m,).
        similarity: float64 (m,), the share of the details that the two have in common, 1 of exact ones.
        figures: JSON-like: the limits, and how many made copies are found.
    """

    pairs: NDArray[np.int64]
    kinds: NDArray[np.str_]
    similarity: NDArray[np.float64]
    figures: dict[str, Any] = field(default_factory=dict)


def find_copies(dataset: Dataset, survey: Survey, seed: int) -> Copies:
    """All copies among the images that can be decoded."""
    exact, rows = _exact_copies(dataset, survey)
    rows = rows[np.minimum(survey.width, survey.height)[rows] >= LEAST_SHOWN]
    if len(rows) < 2:
        return _joined(exact, np.zeros((0, 2), np.int64), np.zeros(0, np.str_), np.zeros(0), {})
    indices = survey.indices[rows]
    places, images = sample_pixels(dataset, indices, seed)
    originals = np.tile(places, len(TRANSFORMS))
    comparison, made = compare(survey.thumbnails[rows], made_thumbnails(images), originals, seed)
    limit = threshold(comparison.ratios.min(axis=1))
    reader = _Reader(dataset, indices)
    copied = made_likeness(images)
    asked = descriptor_limit(copied, _look_alikes(comparison, reader, seed))
    sides = np.minimum(survey.width, survey.height)[rows]
    decides = asked.decides and float(np.median(sides)) >= DECIDING_SIDE
    own = limits_by_class(np.sort(comparison.ratios, axis=1)[:, 1], _classes(dataset)[indices], limit)
    limits = np.full(len(rows), LOOSE) if decides else own
    pairs, at = _likely(comparison, limits)
    kept = _confirmed(comparison, pairs, at, asked, own, reader)
    pairs, at = pairs[kept], at[:, kept]
    mirrored = np.array([VIEWS[view].mirrored for view in comparison.views[*at].tolist()], np.bool_)
    figures = {
        "limit": limit,
        "descriptor_limit": asked.least,
        "descriptors_decide": decides,
        "look_alikes": asked.look_alikes,
        "expected_false_alarms": len(rows) * false_share(len(rows)),
        "made": len(images),
        "recall": recall(made, limits[originals]),
    }
    similarity = 1 - comparison.unexplained[*at].astype(np.float64)
    return _joined(exact, indices[pairs], np.where(mirrored, MIRRORED, NEAR), similarity, figures)


def _classes(dataset: Dataset) -> NDArray[np.int64]:
    """Class numbers (len(dataset),); of numbers to estimate one for all."""
    return dataset.y if dataset.numeric is None else np.zeros(len(dataset), np.int64)


def recall(ratios: NDArray[np.float32], limits: NDArray[np.float64]) -> dict[str, float | None]:
    """The share of made copies that are found, by transform; ratios as of ``made_thumbnails``, and their limits."""
    if not len(ratios):
        return dict.fromkeys(TRANSFORMS)
    shares = (ratios < limits).reshape(len(TRANSFORMS), -1).mean(axis=1)
    return {name: float(share) for name, share in zip(TRANSFORMS, shares, strict=True)}


class _Reader:
    """Gray images by their row, as they are compared; a few hundred are kept."""

    def __init__(self, dataset: Dataset, indices: NDArray[np.intp]) -> None:
        self._dataset, self._indices = dataset, indices
        self.read = functools.lru_cache(maxsize=512)(self._read)

    def _read(self, row: int) -> Image | None:
        index = int(self._indices[row])
        try:
            data = self._dataset.read(index)
            return compared(to_picture(data, source=self._dataset.names[index], min_side=SIDE).pixels)
        except ImageError:
            return None


def _exact_copies(dataset: Dataset, survey: Survey) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """Pairs of an image and the first with the same content, and the rows of all first ones."""
    digests = dataset.content_hashes().digests
    first: dict[str, int] = {}
    pairs, rows = [], []
    for row, index in enumerate(survey.indices.tolist()):
        digest = digests[index] or f"unread {index}"
        if digest in first:
            pairs.append((first[digest], index))
        else:
            first[digest] = index
            rows.append(row)
    return np.array(pairs, np.int64).reshape(-1, 2), np.array(rows, np.intp)


def _likely(
    comparison: Comparison, limits: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """Pairs of rows with a ratio below both limits, once each, the nearest first; and where they stand, (2, m)."""
    ratios = comparison.ratios
    both = np.minimum(limits[:, None], limits[comparison.others])
    at = np.array(np.nonzero((ratios < both) & (comparison.others >= 0)))
    pairs = np.stack([at[0], comparison.others[*at]], axis=1).astype(np.int64)
    pairs.sort(axis=1)
    order = np.lexsort((at[0], ratios[*at]))
    _, first = np.unique(pairs[order], axis=0, return_index=True)
    chosen = order[np.sort(first)]
    return pairs[chosen], at[:, chosen]


def _looked_at(comparison: Comparison, at: NDArray[np.intp], reader: _Reader) -> NDArray[np.float64]:
    """Likeness of the images that stand there."""
    pairs = np.stack([at[0], comparison.others[*at]], axis=1).astype(np.int64)
    views = [VIEWS[view] for view in comparison.views[*at].tolist()]
    return likeness_of_pairs(pairs, views, reader.read)


def _look_alikes(comparison: Comparison, reader: _Reader, seed: int) -> NDArray[np.float64]:
    """Likeness of some images with the nearest other that is no nearer than look-alikes are.

    Before it there may be copies, also where every image has some.
    """
    apart = (comparison.ratios >= LOOSE) & (comparison.others >= 0)
    rows = np.flatnonzero(apart.any(axis=1))
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(rows, min(LOOK_ALIKES, len(rows)), replace=False))
    return _looked_at(comparison, np.array([chosen, apart[chosen].argmax(axis=1)]), reader)


def _confirmed(
    comparison: Comparison,
    pairs: NDArray[np.int64],
    at: NDArray[np.intp],
    asked: DescriptorLimit,
    limits: NDArray[np.float64],
    reader: _Reader,
) -> NDArray[np.bool_]:
    """Which pairs, the nearest first, stand the second look."""
    kept = np.ones(len(pairs), np.bool_)
    start = max(0, len(pairs) - MOST_LOOKED_AT)
    kept[start:] = _looked_at(comparison, at[:, start:], reader) >= asked.least
    if start and kept[start : start + NEAREST].mean() < STAND:
        kept[:start] = comparison.ratios[*at[:, :start]] < limits[pairs[:start]].min(axis=1)
    return kept


def _joined(
    exact: NDArray[np.int64],
    pairs: NDArray[np.int64],
    kinds: NDArray[np.str_],
    similarity: NDArray[np.float64],
    figures: dict[str, Any],
) -> Copies:
    return Copies(
        np.concatenate([exact, np.sort(pairs, axis=1)]),
        np.array([EXACT] * len(exact) + kinds.tolist(), np.str_),
        np.concatenate([np.ones(len(exact)), similarity]),
        figures,
    )
