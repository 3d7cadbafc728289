"""Image data sets: a folder per class, split folders, a CSV or TSV manifest, or an npz, read without flags.

A data set hands out encoded bytes (or raw arrays from an npz) one batch at a time; it never decodes and,
but for an npz, never holds all images.
"""

from __future__ import annotations

from classic_cv.dataset._dataset import Dataset, Part
from classic_cv.dataset._folder import find_images
from classic_cv.dataset._hashing import Problem
from classic_cv.dataset._load import load_dataset
from classic_cv.dataset._sources import Encoded, EncodedItem
from classic_cv.dataset._split import Split, check_fittable, make_split, quantile_bins

__all__ = [
    "Dataset",
    "Encoded",
    "EncodedItem",
    "Part",
    "Problem",
    "Split",
    "check_fittable",
    "find_images",
    "load_dataset",
    "make_split",
    "quantile_bins",
]
