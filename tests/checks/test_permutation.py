"""Shuffled targets: noise gives p-values as they should be, a signal a small one."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from classic_cv.checks import permutation
from classic_cv.checks.permutation import (
    LEAST_IMAGES,
    LEAST_PERMUTATIONS,
    MOST_CLASSES,
    MOST_IMAGES,
    MOST_PERMUTATIONS,
    permutation_test,
    sample_size,
)


def noise(n: int, seed: int, columns: int = 20) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(n, columns)).astype(np.float32)


@pytest.mark.parametrize("n_asked", [0, 12])
@pytest.mark.parametrize("kind", ["classes", "rare class", "numbers"])
def test_noise_has_p_values_that_are_spread_evenly(
    kind: str, n_asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(permutation, "MOST_PERMUTATIONS", 99)
    monkeypatch.setattr(permutation, "LEAST_PERMUTATIONS", 19)
    n = 40
    found = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        y = {
            "classes": np.arange(n) % 3,
            "rare class": (np.arange(n) % 7 == 0).astype(np.int64),
            "numbers": rng.normal(size=n),
        }[kind]
        result = permutation_test(noise(n, seed), y, np.arange(n), np.arange(n) < n_asked, seed=seed)
        assert result is not None
        found.append(result["p"])
    assert np.mean(np.array(found) <= 0.05) <= 0.15  # 3 of 60 expected; binomial: above 9 once in 500 times
    assert 0.3 < np.mean(found) < 0.75


@pytest.mark.parametrize("n_asked", [0, 30])
def test_a_signal_is_found_and_chance_is_one_over_the_classes(n_asked: int) -> None:
    n = 120
    y = np.arange(n) % 4
    X = noise(n, 0)
    X[:, 0] += 2 * (y == 1)
    X[:, 1] += 2 * (y == 2)
    result = permutation_test(X, y, np.arange(n), np.arange(n) < n_asked, seed=0)
    assert result is not None
    assert result["p"] == 1 / (1 + MOST_PERMUTATIONS)
    assert result["observed"] > result["null_max"]
    assert abs(result["null_mean"] - 0.25) < 0.02
    assert (result["images"], result["scoring"]) == (n, "balanced accuracy")


def test_a_number_is_told_by_its_correlation() -> None:
    X = noise(80, 1)
    y = X[:, 3] + np.random.default_rng(2).normal(size=80)
    result = permutation_test(X, y.astype(np.float64), np.arange(80), np.zeros(80, np.bool_), seed=0)
    assert result is not None
    assert (result["scoring"], result["p"]) == ("correlation", 0.001)
    assert 0.3 < result["observed"] < 0.9
    assert abs(result["null_mean"]) < 0.05


def test_copies_do_not_make_noise_look_like_a_signal() -> None:
    X, y = noise(30, 5), np.arange(30) % 2
    copied = np.tile(X, (6, 1)), np.tile(y, 6)
    groups = np.tile(np.arange(30), 6)
    apart = permutation_test(*copied, np.arange(180), np.zeros(180, np.bool_), seed=0)
    together = permutation_test(*copied, groups, np.zeros(180, np.bool_), seed=0)
    assert apart is not None
    assert together is not None
    assert apart["p"] < 0.01  # what it would be without groups
    assert together["p"] > 0.05
    assert together["images"] == 30


def test_the_same_seed_gives_the_same_and_rows_may_change_their_order() -> None:
    X, y = noise(50, 3), np.arange(50) % 2
    asked = np.arange(50) < 20
    first = permutation_test(X, y, np.arange(50), asked, seed=4)
    assert first == permutation_test(X.copy(), y, np.arange(50), asked, seed=4)


def test_what_cannot_be_tested_is_none() -> None:
    few = LEAST_IMAGES - 1
    assert (
        permutation_test(noise(few, 0), np.arange(few) % 2, np.arange(few), np.zeros(few, np.bool_), seed=0)
        is None
    )
    one = np.zeros(30, np.int64)
    assert permutation_test(noise(30, 0), one, np.arange(30), np.zeros(30, np.bool_), seed=0) is None
    same_group = np.zeros(30, np.int64)
    y = np.arange(30) % 2
    assert permutation_test(noise(30, 0), y, same_group, np.zeros(30, np.bool_), seed=0) is None


def test_equal_images_tell_nothing() -> None:
    y = np.arange(30) % 2
    result = permutation_test(np.ones((30, 5), np.float32), y, np.arange(30), np.arange(30) < 10, seed=0)
    assert result is not None
    assert result["p"] > 0.3


def test_hundreds_of_classes_are_sampled() -> None:
    n = 900
    y = np.arange(n) % 300
    result = permutation_test(noise(n, 0), y, np.arange(n), np.zeros(n, np.bool_), seed=0)
    assert result is not None
    assert result["images"] == 3 * MOST_CLASSES
    assert result["n_permutations"] >= LEAST_PERMUTATIONS
    assert sample_size(1) == MOST_IMAGES
    assert LEAST_IMAGES * MOST_CLASSES < sample_size(MOST_CLASSES) < MOST_IMAGES
