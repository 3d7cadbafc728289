"""Bags of visual words against loops over descriptors."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray

from classic_cv.features.encoding import BagOfVisualWords
from classic_cv.features.encoding.bag_of_visual_words import nearest_words, smoothing, soft_shares
from classic_cv.features.encoding.codebook import score_table
from classic_cv.features.local import DenseSIFT


def photos(n: int = 6, side: int = 48) -> NDArray[np.uint8]:
    load: Any = skimage.data.astronaut
    photo = load()[::2, ::2]
    return np.stack([photo[20 * i : 20 * i + side, 25 * i : 25 * i + side] for i in range(n)])


@pytest.mark.parametrize("block", [1, 100, 2**20])
def test_nearest_words_are_those_of_sorted_distances(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("classic_cv.features.encoding.bag_of_visual_words.BLOCK_SCORES", block)
    rng = np.random.default_rng(0)
    x, centers = (rng.normal(size=(n, 7)).astype(np.float32) for n in (60, 30))
    words, scores = nearest_words(x, score_table(centers, 30), 4)
    distances = np.linalg.norm(x[:, None] - centers, axis=2)
    np.testing.assert_array_equal(words, distances.argsort(axis=1)[:, :4])
    assert (np.diff(scores, axis=1) <= 0).all()


def test_soft_shares_fall_with_the_squared_distance() -> None:
    rng = np.random.default_rng(0)
    x, centers = (rng.normal(size=(n, 7)).astype(np.float32) for n in (60, 30))
    table = score_table(centers, 30)
    factor = smoothing(x, table, 4)
    words, scores = nearest_words(x, table * np.float32(factor), 4)
    squared = ((x[:, None] - centers[words]) ** 2).sum(axis=2)
    expected = np.exp(-factor / 2 * squared)
    np.testing.assert_allclose(soft_shares(scores), expected / expected.sum(axis=1, keepdims=True), rtol=1e-3)
    # What smoothing promises: the last of the neighbors gets e^-2 of the first's share, in the geometric mean.
    shares = soft_shares(scores)
    assert np.log(shares[:, 0] / shares[:, -1]).mean() == pytest.approx(2, rel=1e-3)


def test_equal_words_are_not_smoothed() -> None:
    x = np.ones((5, 2), np.float32)
    assert smoothing(x, score_table(np.zeros((3, 2), np.float32), 3), 3) == 1


@pytest.mark.parametrize("assignment", ["hard", "soft"])
@pytest.mark.parametrize("hellinger", [True, False])
def test_equals_a_loop_over_descriptors(assignment: Literal["hard", "soft"], hellinger: bool) -> None:
    X = photos()
    extractor = BagOfVisualWords(
        DenseSIFT(bins=(3.0,)),
        n_words=12,
        assignment=assignment,
        pca=6,
        pyramid=((1, 2),),
        hellinger=hellinger,
    ).fit(X)
    local = extractor.descriptor.describe(X[0])
    counts = np.zeros((2, 12))
    for descriptor, (x, _) in zip(local.descriptors, local.positions, strict=True):
        white = descriptor @ extractor.whitening_[:-1] + extractor.whitening_[-1]
        scores = white @ extractor.codebook_[:-1] + extractor.codebook_[-1]
        nearest = np.argsort(-scores)[: 1 if assignment == "hard" else 5]
        weights = np.exp(scores[nearest] - scores[nearest[0]])
        counts[int(x >= 24), nearest] += weights / weights.sum()
    expected = counts / counts.sum(axis=1, keepdims=True)
    if hellinger:
        expected = np.sqrt(expected)
    found = extractor.transform(X[:1])[0]
    np.testing.assert_allclose(found, expected.ravel(), atol=2e-4)
    sums = (found.reshape(2, 12) ** (2 if hellinger else 1)).sum(axis=1)
    np.testing.assert_allclose(sums, 1, atol=1e-5)


@pytest.mark.parametrize("assignment", ["hard", "soft"])
def test_more_words_than_descriptors_keep_the_width(assignment: Literal["hard", "soft"]) -> None:
    X = photos(2, 20)
    extractor = BagOfVisualWords(DenseSIFT(bins=(3.0,), step=8), n_words=1000, assignment=assignment)
    features = extractor.fit(X).transform(X)
    assert features.shape == (2, 1000)
    used = features.any(axis=0)
    assert 1 < used.sum() < 20
    np.testing.assert_allclose((features**2).sum(axis=1), 1, atol=1e-5)


def test_one_word_counts_everything() -> None:
    for assignment in ("hard", "soft"):
        extractor = BagOfVisualWords(DenseSIFT(bins=(3.0,)), n_words=1, assignment=assignment)
        np.testing.assert_allclose(extractor.fit(photos()).transform(photos()), 1, atol=1e-6)


def test_names_say_cell_and_word() -> None:
    names = BagOfVisualWords(n_words=3, pyramid=(2, 1)).fit(photos()).get_feature_names_out().tolist()
    assert names[:4] == ["2x2_y0_x0_w0", "2x2_y0_x0_w1", "2x2_y0_x0_w2", "2x2_y0_x1_w0"]
    assert names[-1] == "1x1_y0_x0_w2"
