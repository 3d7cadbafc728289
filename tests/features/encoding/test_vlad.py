"""VLAD against a loop over descriptors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray

from classic_cv.features.encoding import VLAD
from classic_cv.features.encoding.vlad import residual_sums
from classic_cv.features.local import DenseSIFT


def photos(n: int = 6, side: int = 48) -> NDArray[np.uint8]:
    load: Any = skimage.data.astronaut
    photo = load()[::2, ::2]
    return np.stack([photo[20 * i : 20 * i + side, 25 * i : 25 * i + side] for i in range(n)])


def test_residual_sums_equal_a_loop() -> None:
    rng = np.random.default_rng(0)
    x, centers = (rng.normal(size=(n, 4)).astype(np.float32) for n in (50, 6))
    words = rng.integers(0, 5, 50)  # word 5 has none
    starts = np.array([0, 20, 21, 50])
    expected = np.zeros((3, 6, 4))
    for index, (row, word) in enumerate(zip(x, words, strict=True)):
        expected[np.searchsorted(starts, index, side="right") - 1, word] += row - centers[word]
    np.testing.assert_allclose(residual_sums(x, words, centers, starts), expected, atol=1e-5)


@pytest.mark.parametrize("root", [True, False])
@pytest.mark.parametrize("intra", [True, False])
def test_equals_a_loop_over_descriptors(root: bool, intra: bool) -> None:
    X = photos()
    extractor = VLAD(DenseSIFT(bins=(3.0,)), n_words=7, pca=6, root=root, intra=intra, pyramid=((2, 1),)).fit(
        X
    )
    centers = extractor.codebook_[:-1].T
    local = extractor.descriptor.describe(X[0])
    expected = np.zeros((2, 7, 6))
    for descriptor, (_, y) in zip(local.descriptors, local.positions, strict=True):
        white = descriptor @ extractor.whitening_[:-1] + extractor.whitening_[-1]
        word = np.linalg.norm(white - centers, axis=1).argmin()
        expected[int(y >= 24), word] += white - centers[word]
    if root:
        expected = np.sign(expected) * np.sqrt(np.abs(expected))
    if intra:
        lengths = np.linalg.norm(expected, axis=2, keepdims=True)
        expected /= np.where(lengths > 0, lengths, 1)
    expected /= np.linalg.norm(expected, axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(extractor.transform(X[:1])[0], expected.ravel(), atol=2e-3)


def test_residuals_of_the_training_descriptors_cancel_out() -> None:
    # Centers are means of their descriptors: over all images residuals sum to about 0, over one they do not.
    X = photos()
    extractor = VLAD(DenseSIFT(bins=(3.0,)), n_words=4, pca=6, root=False).fit(X)
    sums, lengths = np.zeros(24), 0.0
    for image in X:
        descriptors = extractor.descriptor.describe(image).descriptors
        white = descriptors @ extractor.whitening_[:-1] + extractor.whitening_[-1]
        words = np.linalg.norm(white[:, None] - extractor.codebook_[:-1].T, axis=2).argmin(axis=1)
        one = residual_sums(white, words, extractor.codebook_[:-1].T, np.array([0, len(white)])).ravel()
        sums += one
        lengths += float(np.linalg.norm(one))
    assert np.linalg.norm(sums) < 0.1 * lengths


def test_names_say_cell_word_and_value() -> None:
    extractor = VLAD(DenseSIFT(bins=(3.0,)), n_words=2, pca=3).fit(photos())
    names = extractor.get_feature_names_out().tolist()
    assert names == [f"1x1_y0_x0_w{word}_{value}" for word in range(2) for value in range(3)]
