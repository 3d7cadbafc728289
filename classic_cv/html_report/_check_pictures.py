"""Which pictures a check's page shows, and the cards that show them: bounded, so that the page stays light."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.html_report._check_blocks import short
from classic_cv.html_report._format import fixed, is_number, share
from classic_cv.html_report._parts import picture
from classic_cv.images import shrink

if TYPE_CHECKING:
    from classic_cv.checks.finding import Finding, Item

MOST_ITEMS = 24
"""Items of a finding that have pictures: a few rows of cards; of one that is for information half as many."""

MOST_OPEN = 12
"""Cards of a finding that are shown without unfolding them: two rows, or on a telephone a few screens."""

MOST_MEMBERS = 4
"""Pictures of an item, such as a group of copies."""

FINDING_PICTURES, SHEET_PICTURES = 276, 324
"""Pictures of all findings, and of the contact sheets: with some 10 KB each the page stays below 8 MB."""

SHEET_SIDE = 128
"""Pixels of the longer side of a contact sheet's pictures, which are shown smaller than the others."""

PER_KIND, FEWER_PER_KIND = 6, 3
"""Pictures of a class of one kind: full rows of three; fewer where there are many classes."""

MOST_LISTED = 50
"""Items that are named where they have no pictures."""

KINDS = ("random", "typical", "unusual")

Sheets = Mapping[str, Mapping[str, Sequence[int]]]
Pictures = Mapping[int, NDArray[np.uint8]]


def items_shown(findings: Sequence[Finding]) -> list[int]:
    """How many items of each finding have pictures: as many as fit into ``FINDING_PICTURES``, at least one each."""
    for most in range(MOST_ITEMS, 1, -1):
        chosen = [min(len(one.items), _limit(one, most)) for one in findings]
        if sum(len(_indices(one, n)) for one, n in zip(findings, chosen, strict=True)) <= FINDING_PICTURES:
            return chosen
    return [min(len(one.items), 1) for one in findings]


def _limit(finding: Finding, most: int) -> int:
    return most if finding.severity != "info" else max(1, most // 2)


def _indices(finding: Finding, most: int) -> list[int]:
    """Positions of the pictures of the first items."""
    return [index for item in finding.items[:most] for index in item.indices[:MOST_MEMBERS]]


def sheets_shown(sheets: Sheets) -> dict[str, dict[str, list[int]]]:
    """The positions that the contact sheets show: of as many classes as fit into ``SHEET_PICTURES``."""
    few = len(sheets) * len(KINDS) * PER_KIND <= SHEET_PICTURES
    each = PER_KIND if few else FEWER_PER_KIND
    classes = list(sheets)[: SHEET_PICTURES // (each * len(KINDS))]
    return {name: {kind: list(sheets[name].get(kind, ())[:each]) for kind in KINDS} for name in classes}


def positions(findings: Sequence[Finding], sheets: Sheets) -> list[int]:
    """See ``needed_pictures`` of the package."""
    chosen = items_shown(findings)
    needed = {index for one, n in zip(findings, chosen, strict=True) for index in _indices(one, n)}
    for kinds in sheets_shown(sheets).values():
        needed.update(index for found in kinds.values() for index in found)
    return sorted(needed)


class Album:
    """The pictures of a page.

    Args:
        names: the data set's, by position.
        pictures: uint8 RGB (height, width, 3) by position in the data set.
    """

    def __init__(self, names: Sequence[str], pictures: Pictures) -> None:
        self._names = names
        self._pictures = pictures

    def has(self, index: int) -> bool:
        """Whether there is a picture of this position."""
        return index in self._pictures

    def frame(self, index: int) -> dict[str, Any]:
        """A frame of a position, with or without its picture."""
        pixels = self._pictures.get(index)
        return {"name": self._names[index], "picture": None if pixels is None else picture(pixels)}

    def sheet(self, index: int) -> dict[str, Any]:
        """A small frame of a position whose picture is there."""
        return {"name": self._names[index], "picture": picture(shrink(self._pictures[index], SHEET_SIDE))}

    def sheets(self, sheets: Sheets) -> dict[str, Any] | None:
        """The contact sheets of the classes that are shown, and how many are not."""
        shown = {
            name: {
                kind: [self.sheet(k) for k in found if k in self._pictures] for kind, found in kinds.items()
            }
            for name, kinds in sheets_shown(sheets).items()
        }
        filled = {name: kinds for name, kinds in shown.items() if any(kinds.values())}
        return {"classes": filled, "more": len(sheets) - len(shown)} if filled else None


def items(finding: Finding, most: int, album: Album) -> dict[str, Any]:
    """The items of a finding: cards where there are pictures of them, else a list of names.

    Args:
        finding: with any items, or none.
        most: that have pictures.
        album: the pictures.
    """
    found = finding.items
    pictured = any(album.has(index) for index in _indices(finding, most))
    shown = found[: most if pictured else MOST_LISTED]
    # A score that is the same for all, such as 1 for each of them, says nothing.
    scoring = finding.scoring if len({item.score for item in found}) > 1 else ""
    cards = [_card(item, album, scoring) for item in shown]
    return {
        "cards": cards if pictured else [],
        "rows": [] if pictured else cards,
        "open": MOST_OPEN,
        "grouped": any(len(item.indices) > 1 for item in shown),
        "scoring": scoring,
        "noted": any(item.note for item in shown),
        "more": len(found) - len(shown),
    }


def _card(item: Item, album: Album, scoring: str) -> dict[str, Any]:
    return {
        "frames": [album.frame(index) for index in item.indices[:MOST_MEMBERS]],
        "others": max(0, len(item.indices) - MOST_MEMBERS),
        "note": item.note,
        "score": score_text(item.score, scoring) if scoring and is_number(item.score) else "",
    }


def score_text(score: float, scoring: str) -> str:
    """A score of an item: a confidence or a probability as a share, others as numbers."""
    if any(word in scoring for word in ("confidence", "probability")):
        return share(score)
    # What is on a scale up to 1 would else all look like 1 near its end.
    return fixed(3)(score) if 0 <= score <= 1 else short(score)
