"""Local descriptors: what encoders turn into one row per image."""

from __future__ import annotations

from classic_cv.features.local.base import LocalDescriptor, LocalFeatures
from classic_cv.features.local.dense_lbp import DenseLBP
from classic_cv.features.local.dense_sift import DenseSIFT
from classic_cv.features.local.keypoint_sift import KeypointSIFT
from classic_cv.features.local.local_color import LocalColor
from classic_cv.features.local.patches import Patches

AnyDescriptor = DenseSIFT | KeypointSIFT | LocalColor | DenseLBP | Patches
"""The local descriptors that a recipe may name by ``type``."""

__all__ = [
    "AnyDescriptor",
    "DenseLBP",
    "DenseSIFT",
    "KeypointSIFT",
    "LocalColor",
    "LocalDescriptor",
    "LocalFeatures",
    "Patches",
]
