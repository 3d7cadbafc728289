"""Where copies lie: in which parts of the data, and in which groups of copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.duplicates.finding_copies import EXACT, MIRRORED, NEAR, Copies
from classic_cv.checks.duplicates.groups import group_numbers
from classic_cv.checks.finding import Item
from classic_cv.checks.subject import Subject

PARTS = ("train", "val", "test")

PHRASES = {EXACT: "exact copies", NEAR: "near copies", MIRRORED: "mirrored copies"}

SCORING = "similarity"


@dataclass(frozen=True, eq=False)
class Placed:
    """Copies, and where they lie: each part has its own first one of images with the same content.

    Attributes:
        part: int64 (len(dataset),), the position in ``PARTS``; -1 for an image in none.
        group: int64 (len(dataset),), the group of copies that an image belongs to.
    """

    copies: Copies
    part: NDArray[np.int64]
    group: NDArray[np.int64]

    @property
    def across(self) -> NDArray[np.bool_]:
        """(m,), pairs whose images are in different parts."""
        found: NDArray[np.bool_] = self.part[self.copies.pairs[:, 0]] != self.part[self.copies.pairs[:, 1]]
        return found

    def with_copies_in(self, part: int, others: Sequence[int]) -> list[int]:
        """Images of a part that have copies, directly or through others, in other parts; ascending."""
        reached = np.unique(self.group[np.isin(self.part, others) & self._copied])
        return np.flatnonzero((self.part == part) & self._copied & np.isin(self.group, reached)).tolist()

    @property
    def _copied(self) -> NDArray[np.bool_]:
        copied = np.zeros(len(self.part), np.bool_)
        copied[self.copies.pairs.ravel()] = True
        return copied


def placed(subject: Subject, copies: Copies) -> Placed:
    """The copies of a subject's images in its parts."""
    n = len(subject.dataset)
    part = _parts(subject)
    return Placed(by_part(copies, part), part, group_numbers(n, copies.pairs))


def _parts(subject: Subject) -> NDArray[np.int64]:
    part = np.full(len(subject.dataset), -1, np.int64)
    for number, name in enumerate(PARTS):
        part[getattr(subject.job.split, name)] = number
    return part


def by_part(copies: Copies, part: NDArray[np.int64]) -> Copies:
    """The same copies and more: each part has a first one of images with the same content, not only all parts together.

    Without it two copies in test whose first is in training would be no copies within test, and an image nearly the
    same as that first one none of what is exactly the same in another part.
    """
    firsts = _firsts(copies, part)
    pairs: list[tuple[int, int]] = []
    origin: list[int] = []
    for row, (first, second) in enumerate(copies.pairs.tolist()):
        mine = firsts.get(first, [first])
        if copies.kinds[row] == EXACT:
            found = [(one, second) for one in _partners(mine, second, part)]
        else:
            found = [(one, other) for one in mine for other in firsts.get(second, [second])]
        pairs += found
        origin += [row] * len(found)
    in_order = np.sort(np.array(pairs, np.int64).reshape(-1, 2), axis=1)
    rows = np.array(origin, np.intp)
    return Copies(in_order, copies.kinds[rows], copies.similarity[rows], copies.figures)


def _partners(firsts: Sequence[int], image: int, part: NDArray[np.int64]) -> list[int]:
    """Which firsts an image of the same content makes a pair with: the first of all and of its part, or all before it
    where it is a first one itself."""
    if image in firsts:
        return list(firsts[: firsts.index(image)])
    return [one for place, one in enumerate(firsts) if not place or part[one] == part[image]]


def _firsts(copies: Copies, part: NDArray[np.int64]) -> dict[int, list[int]]:
    """By the first image of each content: the first one in each part that has one, itself at the head."""
    firsts: dict[int, list[int]] = {}
    for first, second in copies.pairs[copies.kinds == EXACT].tolist():
        mine = firsts.setdefault(first, [first])
        if all(part[second] != part[one] for one in mine):
            mine.append(second)
    return firsts


def told_parts(parts: Sequence[int]) -> str:
    """Names of parts by their positions in ``PARTS``, each once."""
    return " and ".join(PARTS[number] for number in sorted(set(parts)) if number >= 0)


def items(copies: Copies, chosen: NDArray[np.bool_], notes: Sequence[str] = ()) -> tuple[Item, ...]:
    """Pairs, or of exact copies all with the same content, the most alike first."""
    places = np.flatnonzero(chosen)
    places = places[np.argsort(-copies.similarity[places], kind="stable")]
    told = dict(zip(np.flatnonzero(chosen).tolist(), notes, strict=True)) if notes else {}
    return tuple(
        Item(
            (int(copies.pairs[place, 0]), int(copies.pairs[place, 1])),
            round(float(copies.similarity[place]), 4),
            told.get(place, ""),
        )
        for place in places.tolist()
    )
