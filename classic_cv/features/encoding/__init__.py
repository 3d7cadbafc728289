"""Encoders: one row per image from its local descriptors."""

from __future__ import annotations

from classic_cv.features.encoding.bag_of_visual_words import BagOfVisualWords
from classic_cv.features.encoding.base import Encoder
from classic_cv.features.encoding.fisher_vector import FisherVector
from classic_cv.features.encoding.patch_dictionary import PatchDictionary
from classic_cv.features.encoding.vlad import VLAD

__all__ = ["VLAD", "BagOfVisualWords", "Encoder", "FisherVector", "PatchDictionary"]
