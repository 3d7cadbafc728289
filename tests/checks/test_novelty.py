"""How far images are from those a model was fitted on: features whose outliers are planted."""

from __future__ import annotations

import numpy as np
import pytest

from classic_cv.checks.novelty import Novelty, put_aside
from classic_cv.checks.other_images import other_sets
from classic_cv.checks.reference import Reference
from classic_cv.checks.subject import Subject
from classic_cv.errors import NotFittedError
from classic_cv.features.base import Features


def blobs(n: int, rng: np.random.Generator, n_features: int = 40) -> tuple[Features, np.ndarray]:
    """Three classes apart within the first three coordinates, with a little of everything in the others."""
    y = np.arange(n) % 3
    X = rng.normal(0, 0.1, (n, n_features))
    X[:, :3] += 5 * np.eye(3)[y] + rng.normal(0, 1, (n, 3))
    return X.astype(np.float32), y


@pytest.fixture(scope="module")
def fitted() -> Novelty:
    X, y = blobs(400, np.random.default_rng(0))
    return Novelty(n_components=8).fit(X, y)


def share_above(fitted: Novelty, X: Features, share: float = 0.95) -> float:
    """Share of images that are further than most new images of the own kind."""
    own = fitted.score(blobs(300, np.random.default_rng(1))[0])
    return float((fitted.score(X) > np.quantile(own, share)).mean())


def test_new_images_of_the_kind_are_near(fitted: Novelty) -> None:
    own = fitted.score(blobs(300, np.random.default_rng(2))[0])
    assert (own < 3).mean() > 0.85
    assert share_above(fitted, blobs(300, np.random.default_rng(3))[0]) < 0.12


def test_what_lies_outside_the_components_is_far(fitted: Novelty) -> None:
    X, _ = blobs(50, np.random.default_rng(4))
    X[:, 10:] *= 5
    assert share_above(fitted, X) > 0.95


def test_too_little_outside_the_components_is_far_too(fitted: Novelty) -> None:
    X, _ = blobs(50, np.random.default_rng(5))
    X[:, 3:] *= 0.05
    assert share_above(fitted, X) > 0.95


def test_what_lies_between_the_classes_is_far_only_with_classes(fitted: Novelty) -> None:
    rng = np.random.default_rng(6)
    X, _ = blobs(50, rng)
    X[:, :3] = 5 / 3 + rng.normal(0, 0.3, (50, 3))
    assert share_above(fitted, X) > 0.9
    training, _ = blobs(400, np.random.default_rng(0))
    assert share_above(Novelty(n_components=8).fit(training), X) < 0.5


def test_every_extractor_counts_alike() -> None:
    """A narrow one of large numbers does not hide a wide one of small numbers."""
    rng = np.random.default_rng(7)
    X = np.hstack([rng.normal(0, 100, (300, 5)), rng.normal(0, 0.01, (300, 60))]).astype(np.float32)
    other = X[:60].copy()
    other[:, 5:] *= 3
    novelty = Novelty().fit(X[100:], widths=[5, 60])
    assert np.median(novelty.score(other)) > np.quantile(novelty.score(X[:100]), 0.95)
    alone = Novelty().fit(X[100:])
    assert np.median(alone.score(other)) < np.quantile(alone.score(X[:100]), 0.95)


def test_the_same_data_give_the_same_scores_and_nothing_is_overwritten(fitted: Novelty) -> None:
    X, y = blobs(400, np.random.default_rng(0))
    before = X.copy()
    again = Novelty(n_components=8).fit(X, y)
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(again.score(X), fitted.score(X))


@pytest.mark.parametrize("n_classes", [1, 10])
def test_few_images_or_equal_ones_give_finite_scores(n_classes: int) -> None:
    X = np.random.default_rng(0).normal(size=(10, 200)).astype(np.float32)
    y = np.arange(10) % n_classes
    assert np.isfinite(Novelty().fit(X, y).score(X)).all()
    assert np.isfinite(Novelty().fit(np.ones_like(X), y).score(X)).all()
    assert np.isfinite(Novelty().fit(X, y, groups=np.zeros(10, int)).score(X)).all()


def test_it_needs_some_images_and_to_be_fitted() -> None:
    with pytest.raises(ValueError, match="from 9 images: expected at least 10"):
        Novelty().fit(np.ones((9, 3), np.float32))
    with pytest.raises(NotFittedError, match="call fit first"):
        Novelty().score(np.ones((1, 3), np.float32))


def test_whole_groups_are_put_aside() -> None:
    groups = np.repeat(np.arange(50), 4)
    aside = put_aside(groups, 0.2, seed=0)
    assert aside.sum() == 40
    assert all(len(set(aside[groups == group].tolist())) == 1 for group in range(50))
    assert (aside != put_aside(groups, 0.2, seed=1)).any()


def test_digits_are_told_from_other_images(digits_subject: Subject) -> None:
    """A real model: its own test images are nearer than photos, faces and noise."""
    reference = digits_subject.reference
    assert isinstance(reference, Reference)
    novelty = Novelty().fit(
        reference.features(reference.train),
        digits_subject.y(reference.train),
        widths=reference.featurizer.group_widths,
    )
    own = novelty.score(reference.features(reference.test))
    for name, pictures in other_sets(0).items():
        scores = novelty.score(reference.model.features(pictures))
        above = float((scores[:, None] > own).mean())
        # What it was fitted on is no other set.
        assert above < 0.8 if name == "scikit-learn digits" else above > 0.85, name
