"""Images divided by what they have in common: a range of a property, a format, a camera, a folder."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.survey import Survey
from classic_cv.checks.wording import property_amount, property_title

COARSE, FINE, MANY = 3, 5, 150
"""A property is cut into thirds, or into fifths where there are so many images: a fifth is then 30 or more."""

KINDS = ("format", "mode", "camera", "folder", "orientation")
"""Attributes of the survey that are kinds, not amounts."""

CODES = ("format", "mode")
"""Properties that only number what ``KINDS`` names."""


def divisions(survey: Survey, rows: NDArray[np.intp]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Ways in which images belong together, each with a name that can be printed.

    Args:
        survey: of the images.
        rows: (n,) of the survey; images may repeat.

    Yields:
        ``format JPEG``, ``gray``, ``brightness at most 0.21`` and the like, with bool (n,): which images it is. A
        division that leaves all images together is not told.
    """
    for kind in KINDS:
        values = getattr(survey, kind)[rows]
        for value in _distinct(values):
            yield f"{kind} {value}" if str(value) else f"no {kind} known", values == value
    gray = survey.gray[rows]
    if gray.any() and not gray.all():
        yield "gray", gray
        yield "in color", ~gray
    for name, column in zip(survey.property_names, survey.properties.T, strict=True):
        if name not in CODES:
            yield from _ranges(name, column[rows])


def _distinct(values: NDArray[np.generic]) -> list[object]:
    found: list[object] = np.unique(values).tolist()
    return found if len(found) > 1 else []


def _ranges(name: str, values: NDArray[np.float32]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    bins = _bins(values, FINE if len(values) >= MANY else COARSE)
    for code in _distinct(bins):
        members = bins == code
        inside, others = values[members], values[~members]
        low, high = (property_amount(name, float(end)) for end in (inside.min(), inside.max()))
        if low == high:
            span = low
        elif inside.max() < others.min():
            span = f"at most {high}"
        else:
            span = f"at least {low}" if inside.min() > others.max() else f"{low} to {high}"
        yield f"{property_title(name)} {span}", members


def _bins(values: NDArray[np.float32], most: int) -> NDArray[np.intp]:
    """Each value by itself where they are few; else parts of about equal size, in which equal values stay together.

    A value that fills more than one part has a bin of its own: the few images on either side of it are the ones that
    may be different.
    """
    distinct, codes = np.unique(values, return_inverse=True)
    if len(distinct) <= most:
        return np.asarray(codes, np.intp)
    edges, parts = np.unique(np.quantile(values, np.linspace(0, 1, most + 1)[1:-1]), return_counts=True)
    return 2 * np.searchsorted(edges, values) + np.isin(values, edges[parts > 1])
