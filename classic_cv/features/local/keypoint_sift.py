"""SIFT at keypoints: OpenCV's detector and descriptor (Lowe 2004 [1]), by default as RootSIFT [2].

[1] Lowe, Distinctive image features from scale-invariant keypoints, IJCV 2004.
[2] Arandjelovic and Zisserman, Three things everyone should know to improve object retrieval, CVPR 2012.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import cv2
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from classic_cv.features.base import Image
from classic_cv.features.lbp import to_gray
from classic_cv.features.local.base import LocalDescriptor, LocalFeatures, no_features

KeypointLimit = Annotated[int, Meta(ge=0, le=100_000)]
ContrastThreshold = Annotated[float, Meta(ge=0, le=1)]
EdgeThreshold = Annotated[float, Meta(ge=1, le=1000)]

opencv: Any = cv2
"""Untyped: OpenCV's type stubs lack SIFT."""

N_VALUES = 128

SIDE_PER_SIZE = 6.0
"""A descriptor has 4 bins a side, each 3 times the scale, which is half of what OpenCV calls a keypoint's size."""

OPENCV_NORM = np.float32(512)
"""OpenCV's descriptors have this Euclidean norm, up to rounding to whole numbers."""


def ordered(keypoints: Sequence[Any], limit: int) -> NDArray[np.intp]:
    """The indices of the strongest keypoints, strongest first, at most ``limit`` (0: all).

    Equal responses, as of one place in several orientations, are ordered by place, size and angle, so that
    the order does not depend on OpenCV's.
    """
    keys = np.array([(k.angle, k.size, *k.pt, -k.response) for k in keypoints]).reshape(-1, 5)
    order = np.lexsort(keys.T)
    return order[:limit] if limit else order


def upright_keypoints(keypoints: Sequence[Any]) -> list[Any]:
    """One keypoint of angle 0 for each place and size; several orientations of it become one."""
    unique = {(*k.pt, k.size): k for k in keypoints}.values()
    return [opencv.KeyPoint(*k.pt, k.size, 0, k.response, k.octave, k.class_id) for k in unique]


def keypoint_sift(
    gray: NDArray[np.uint8],
    n_keypoints: int = 0,
    contrast_threshold: float = 0.04,
    edge_threshold: float = 10.0,
    *,
    upright: bool = False,
) -> tuple[list[Any], NDArray[np.float32]]:
    """Keypoints of uint8 (height, width) and OpenCV's SIFT of them, strongest first.

    Args:
        gray: the image, C-contiguous.
        n_keypoints: keep at most so many; 0 keeps all.
        contrast_threshold, edge_threshold: as in ``cv2.SIFT_create``.
        upright: all angles are 0.

    Returns:
        The ``cv2.KeyPoint`` objects, and float32 (n, 128) whole numbers from 0 to 255 of Euclidean norm about 512.
    """
    # Made per call, in a microsecond: OpenCV does not promise that threads may share one. With a limit it keeps
    # the strongest and all that equal the last of them. Upright ones are fewer, so there the limit comes later.
    sift = opencv.SIFT_create(
        nfeatures=0 if upright else n_keypoints,
        contrastThreshold=contrast_threshold,
        edgeThreshold=edge_threshold,
    )
    descriptors: Any
    if upright:
        found = upright_keypoints(sift.detect(gray))
        # All of them, because OpenCV's pyramid, and with it every value, depends on which octaves are asked for.
        found, descriptors = sift.compute(gray, found) if found else ([], None)
    else:
        found, descriptors = sift.detectAndCompute(gray, None)
    if not found:
        return [], np.zeros((0, N_VALUES), np.float32)
    order = ordered(found, n_keypoints)
    return [found[index] for index in order], np.asarray(descriptors, np.float32)[order]


def root_sift(descriptors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Square roots of the L1-normalised rows of non-negative (n, values); rows of zeros stay zeros."""
    totals = descriptors.sum(axis=1, keepdims=True)
    return np.sqrt(descriptors / np.where(totals > 0, totals, np.float32(1)))


class KeypointSIFT(LocalDescriptor, frozen=True, tag="keypoint-sift"):
    """SIFT at the keypoints of OpenCV's detector; color as gray. Few hundred rows for a photo, none if blank.

    Args:
        n_keypoints: keep at most so many, those of highest contrast; 0 keeps all.
        contrast_threshold: higher drops more keypoints of low contrast; as in OpenCV.
        edge_threshold: lower drops more keypoints on edges; as in OpenCV.
        upright: do not turn descriptors to the main orientation: more distinctive where things stand upright.
        root: RootSIFT; else plain SIFT. Rows have Euclidean norm 1, plain ones about 1.
    """

    n_keypoints: KeypointLimit = 0
    contrast_threshold: ContrastThreshold = 0.04
    edge_threshold: EdgeThreshold = 10.0
    upright: bool = False
    root: bool = True

    def n_values(self, color: bool) -> int:
        """128: 4 x 4 bins of place, 8 of orientation."""
        return N_VALUES

    def describe(self, image: Image) -> LocalFeatures:
        """SIFT of one image, strongest keypoint first; values 0 to 1."""
        gray = to_gray(np.ascontiguousarray(image)[None])[0]
        keypoints, descriptors = keypoint_sift(
            gray, self.n_keypoints, self.contrast_threshold, self.edge_threshold, upright=self.upright
        )
        if not keypoints:
            return no_features(N_VALUES)
        rows = root_sift(descriptors) if self.root else descriptors / OPENCV_NORM
        # OpenCV counts from the first pixel's center.
        positions = np.array([k.pt for k in keypoints], np.float32) + np.float32(0.5)
        sides = np.array([k.size for k in keypoints], np.float32) * np.float32(SIDE_PER_SIZE)
        return LocalFeatures(np.ascontiguousarray(rows), positions, sides)
