"""A fit, an evaluation, a comparison or a check as one HTML file that opens anywhere: no network, no JavaScript.

It computes no metrics: it draws what it is given. Importing this package is cheap; matplotlib and Jinja2 are
loaded by the first page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from classic_cv.checks.finding import Finding

__all__ = ["Disagreement", "Mistake", "needed_pictures", "render_check", "render_comparison", "render_report"]

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


def render_check(
    record: Mapping[str, Any],
    findings: Sequence[Finding],
    names: Sequence[str],
    pictures: Mapping[int, NDArray[np.uint8]],
) -> str:
    """A check of data and score as the text of one HTML file; the same input gives the same text.

    Args:
        record: JSON-like data, as ``classic-cv check --json`` writes it. A section is left out when what it shows is
            missing, None or empty. All text in it may hold anything: it is escaped.
        findings: those of the record, in the order in which they are told.
        names: the data set's, by position.
        pictures: RGB (height, width, 3), thumbnails up to about 160 px, by position in the data set: those that
            ``needed_pictures`` asks for. Where one is missing, the name alone is shown.
    """
    from classic_cv.html_report._check import check_page

    return check_page(record, findings, names, pictures)


def needed_pictures(
    findings: Sequence[Finding], sheets: Mapping[str, Mapping[str, Sequence[int]]]
) -> list[int]:
    """Positions in the data set of the images whose thumbnails a check's page shows, ascending; 600 at most.

    Args:
        findings: in the order in which they are in the record.
        sheets: positions of each class that are ``random``, ``typical`` and ``unusual``; empty for no contact sheets.
    """
    from classic_cv.html_report._check_pictures import positions

    return positions(findings, sheets)
