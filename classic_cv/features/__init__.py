"""Feature extractors: images to float32 (n_samples, n_features).

``EXTRACTORS`` maps the ``type`` of a recipe's ``[[features]]`` to its class; adding an extractor is one
module here, one line below and one test file.
"""

from __future__ import annotations

from classic_cv.features.base import Extractor
from classic_cv.features.color import ColorHistogram
from classic_cv.features.dog import DoGHistogram
from classic_cv.features.hog import HOG
from classic_cv.features.lbp import LBP
from classic_cv.features.properties import ImageProperties

EXTRACTORS: dict[str, type[Extractor]] = {
    "color-histogram": ColorHistogram,
    "dog-histogram": DoGHistogram,
    "hog": HOG,
    "image-properties": ImageProperties,
    "lbp": LBP,
}

__all__ = ["EXTRACTORS", "HOG", "LBP", "ColorHistogram", "DoGHistogram", "Extractor", "ImageProperties"]
