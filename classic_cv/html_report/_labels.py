"""Labels of points, each where it hides nothing else."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from classic_cv.html_report._sheet import FONT

Box = tuple[float, float, float, float]
"""(left, top, right, bottom) in px from the top left corner of a sheet."""


def free_spot(
    place: tuple[float, float],
    width: float,
    size: float,
    bounds: Box,
    taken: Sequence[Box],
    marks: Sequence[Box],
    lines: Sequence[Box],
) -> Box | None:
    """The box near ``place`` for a label that covers no label and as little else as possible."""
    x, y = place
    height = size + 6
    best, best_cost = None, math.inf
    # A larger label is the winner's, whose mark has a ring.
    nearest = 12 if size <= FONT else 17
    for distance, (dx, dy) in itertools.product((nearest, 22, 32, 48, 68), _DIRECTIONS):
        left = x + dx * distance + (0 if dx > 0 else -width if dx < 0 else -width / 2)
        top = y + dy * distance - height / 2
        box = (left, top, left + width, top + height)
        if box[0] < bounds[0] or box[1] < bounds[1] or box[2] > bounds[2] or box[3] > bounds[3]:
            continue
        if any(overlap(box, other) for other in taken):
            continue
        cost = distance + 4 * sum(overlap(box, m) for m in marks)
        cost += 0.5 * sum(overlap(box, line) for line in lines)
        if cost < best_cost:
            best, best_cost = box, cost
    return best if best_cost < 400 else None


_DIRECTIONS = ((1, 0), (-1, 0), (1, -0.7), (-1, -0.7), (1, 0.7), (-1, 0.7), (0, -1), (0, 1))


def around(x: float, y: float, radius: float) -> Box:
    return x - radius, y - radius, x + radius, y + radius


def along(places: Sequence[tuple[float, float]]) -> list[Box]:
    """Small boxes along the line through ``places``."""
    boxes = []
    for (x0, y0), (x1, y1) in itertools.pairwise(places):
        steps = max(1, round(math.dist((x0, y0), (x1, y1)) / 4))
        parts = [k / steps for k in range(steps + 1)]
        boxes += [around(x0 + part * (x1 - x0), y0 + part * (y1 - y0), 2) for part in parts]
    return boxes


def overlap(a: Box, b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0.0
