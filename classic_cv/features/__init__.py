"""Feature extractors: images to float32 (n_samples, n_features).

``EXTRACTORS`` maps the ``type`` of a recipe's ``[[features]]`` to its class; adding an extractor is one
module here, one line below and one test file.
"""

from __future__ import annotations

from classic_cv.features.base import Extractor
from classic_cv.features.color import ColorHistogram
from classic_cv.features.dog import DoGHistogram
from classic_cv.features.encoding.bag_of_visual_words import BagOfVisualWords
from classic_cv.features.encoding.fisher_vector import FisherVector
from classic_cv.features.encoding.patch_dictionary import PatchDictionary
from classic_cv.features.encoding.vlad import VLAD
from classic_cv.features.hog import HOG
from classic_cv.features.lbp import LBP
from classic_cv.features.pixels import Pixels
from classic_cv.features.properties import ImageProperties

EXTRACTORS: dict[str, type[Extractor]] = {
    "bag-of-visual-words": BagOfVisualWords,
    "color-histogram": ColorHistogram,
    "dog-histogram": DoGHistogram,
    "fisher-vector": FisherVector,
    "hog": HOG,
    "image-properties": ImageProperties,
    "lbp": LBP,
    "patch-dictionary": PatchDictionary,
    "pixels": Pixels,
    "vlad": VLAD,
}

__all__ = [
    "EXTRACTORS",
    "HOG",
    "LBP",
    "VLAD",
    "BagOfVisualWords",
    "ColorHistogram",
    "DoGHistogram",
    "Extractor",
    "FisherVector",
    "ImageProperties",
    "PatchDictionary",
    "Pixels",
]
