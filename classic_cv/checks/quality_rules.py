"""Which kinds of bad images there are, what each is measured by, and the stated defaults."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.survey import Survey

BLANK = 1 / 255
"""Standard deviation of gray, in 0..1, below which an image shows nothing."""


@dataclass(frozen=True)
class Rule:
    """One kind of bad image: beyond a stated default and at the same time an outlier among the data.

    Attributes:
        kind: of the finding.
        words: what such images are, after "3 images are".
        measure: float64 (n,) of a survey.
        default: the value beyond which an image may be bad.
        direction: 1 where high values are bad, -1 where low ones are.
        unit: what the measure is, or what its power of two is.
        doublings: whether the measure is a logarithm to base 2, and told as its power of two.
        why, action: of the finding.
    """

    kind: str
    words: str
    measure: Callable[[Survey], NDArray[np.float64]]
    default: float
    direction: int
    unit: str
    why: str
    action: str
    doublings: bool = False

    def told(self, value: float) -> float:
        """The value that people are told."""
        return float(2**value) if self.doublings else value


def column(name: str) -> Callable[[Survey], NDArray[np.float64]]:
    """A measure that reads one column of ``Survey.quality``."""

    def read(survey: Survey) -> NDArray[np.float64]:
        return survey.quality[:, survey.quality_names.index(name)].astype(np.float64)

    return read


def _log2(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.log2(np.maximum(values, BLANK)), np.float64)


def _lightest(survey: Survey) -> NDArray[np.float64]:
    return _log2(column("lightest")(survey))


def _below_white(survey: Survey) -> NDArray[np.float64]:
    return _log2(1 - column("dark")(survey))


def _contrast(survey: Survey) -> NDArray[np.float64]:
    return _log2(column("deviation")(survey))


def _away(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.abs(values - np.median(values))


def _aspect(survey: Survey) -> NDArray[np.float64]:
    """How many doublings from the usual elongation; upright and lying images count as one shape."""
    return _away(np.abs(np.log2(survey.width / survey.height)))


def _size(survey: Survey) -> NDArray[np.float64]:
    """How many doublings of the side from the usual."""
    return _away(np.log2(survey.width * survey.height) / 2)


_LOOK = "Look at the images, and remove those that a model should not have to judge."

RULES = (
    Rule(
        "dark",
        "dark",
        _lightest,
        math.log2(0.3),
        -1,
        "brightness of the lightest pixels (99th percentile, 0 to 1)",
        "Next to nothing can be seen in them.",
        _LOOK,
        doublings=True,
    ),
    Rule(
        "bright",
        "too bright",
        _below_white,
        math.log2(0.1),
        -1,
        "distance of the darkest pixels from white (5th percentile, 0 to 1)",
        "Overexposed areas hold no detail.",
        _LOOK,
        doublings=True,
    ),
    Rule(
        "low-contrast",
        "of low contrast",
        _contrast,
        math.log2(1 / 16),
        -1,
        "spread of brightness (standard deviation, 0 to 1)",
        "Features of contrast and edges drown in noise.",
        _LOOK,
        doublings=True,
    ),
    Rule(
        "blurred",
        "blurred",
        column("sharpness"),
        -3.3,
        -1,
        "sharpness (edges over contrast, log scale)",
        "The fine detail that others show is missing.",
        _LOOK,
    ),
    Rule(
        "low-information",
        "nearly empty",
        column("entropy"),
        1.5,
        -1,
        "information in the gray levels (bits)",
        "They hold hardly anything that could tell a class.",
        _LOOK,
    ),
    Rule(
        "odd-aspect",
        "of an odd shape",
        _aspect,
        math.log2(2.5),
        1,
        "factor from the usual aspect ratio",
        "A model that squeezes all images to one shape distorts them.",
        "See whether they were cropped or rotated by mistake.",
        doublings=True,
    ),
    Rule(
        "odd-size",
        "of an odd size",
        _size,
        math.log2(4),
        1,
        "factor from the usual side",
        "Thumbnails among photos, or the reverse, look unlike the rest after resizing.",
        "Replace thumbnails by their originals, or see whether they belong to the data.",
        doublings=True,
    ),
)
"""Brightness in 0..1. The defaults: a dark image has 99 % of its pixels in the darkest third, a bright one 95 % in the
lightest tenth; contrast is low below 16 gray levels; photos have a sharpness of -3 to 2, and below -3.3 after a blur
of 2 px at 256 px; below 1.5 bits there are three gray levels in effect; 2.5 times the usual aspect; 4 times the usual
side."""
