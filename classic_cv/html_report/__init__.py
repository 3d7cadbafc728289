"""A fit, an evaluation or a comparison as one HTML file that opens anywhere, without a network and without JavaScript.

It computes no metrics: it draws what it is given. Importing this package is cheap; matplotlib and Jinja2 are
loaded by the first page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Disagreement", "Mistake", "render_comparison", "render_report"]

Answer = tuple[str, str, float | None, bool]
"""(contestant, class name, its probability from 0 to 1 or None, whether it is right)"""


@dataclass(frozen=True)
class Mistake:
    """One of the worst mistakes.

    Args:
        name: file name.
        pixels: RGB (height, width, 3), a thumbnail up to about 160 px; it is embedded as it is.
        truth: class name, or the formatted number.
        predicted: class name, or the formatted number.
        probability: of the predicted class, 0 to 1; None for regression.
    """

    name: str
    pixels: NDArray[np.uint8]
    truth: str
    predicted: str
    probability: float | None


@dataclass(frozen=True)
class Disagreement:
    """A test image on which contestants of a comparison differ.

    Args:
        name: file name.
        pixels: RGB (height, width, 3), a thumbnail up to about 160 px; it is embedded as it is.
        truth: class name.
        answers: what each contestant said.
    """

    name: str
    pixels: NDArray[np.uint8]
    truth: str
    answers: Sequence[Answer]


def render_report(report: Mapping[str, Any], mistakes: Sequence[Mistake] = ()) -> str:
    """The report as the text of one HTML file; the same input gives the same text.

    Args:
        report: JSON-like data. A section is left out when its key is missing or empty; ``test`` present but
            None says that nothing was measured. All text in it may hold anything: it is escaped.
        mistakes: pictures of the worst mistakes, worst first.
    """
    from classic_cv.html_report._page import page

    return page(report, mistakes)


def render_comparison(
    record: Mapping[str, Any], disagreements: Sequence[Disagreement] = (), rules: str = ""
) -> str:
    """A comparison as the text of one HTML file; the same input gives the same text.

    Args:
        record: JSON-like data, as ``classic-cv compare`` writes it. A section is left out when what it shows is
            missing, None or empty. All text in it may hold anything: it is escaped.
        disagreements: pictures on which the best classical and the best deep contestant disagree.
        rules: what the contestants had to keep to, shown as it is.
    """
    from classic_cv.html_report._comparison import comparison_page

    return comparison_page(record, disagreements, rules)
