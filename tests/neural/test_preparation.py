"""Which training images are held out from a network."""

from __future__ import annotations

import numpy as np

from classic_cv.heads.fitting import TrainingSet
from classic_cv.neural.preparation import validation_rows
from classic_cv.task import TaskKind


def a_set(n: int, task: TaskKind, n_classes: int = 4) -> TrainingSet:
    y = np.arange(n) % n_classes if task == "classification" else np.arange(n, dtype=np.float64)
    return TrainingSet(np.zeros((n, 1), np.float32), y, None, [1], task)


def test_a_regression_of_few_images_holds_none_out() -> None:
    assert len(validation_rows(a_set(380, "regression"), 0.05)) == 0
    assert len(validation_rows(a_set(400, "regression"), 0.05)) == 20


def test_a_classification_of_few_images_holds_some_out_for_its_calibration() -> None:
    rows = validation_rows(a_set(100, "classification"), 0.05)
    assert len(rows) == 20
    assert np.bincount(rows % 4).tolist() == [5, 5, 5, 5]
    assert len(validation_rows(a_set(49, "classification"), 0.05)) == 0


def test_the_share_counts_up_to_a_limit() -> None:
    assert len(validation_rows(a_set(1000, "classification"), 0.1)) == 100
    assert len(validation_rows(a_set(60_000, "classification"), 0.05)) == 2500
