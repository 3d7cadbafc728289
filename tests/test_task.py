"""What is learned from a data set: classes, one class against the rest, or a number."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from classic_cv.dataset import Dataset, make_split, quantile_bins
from classic_cv.errors import DatasetError
from classic_cv.task import MAX_NUMERIC_CLASSES, TaskName, listed, make_task, rest_of, strata_of


class Memory:
    """A source of short byte strings."""

    def __init__(self, n: int) -> None:
        self.names = [f"{i}.png" for i in range(n)]

    def read(self, index: int, max_bytes: int | None = None) -> bytes:
        return b"%d" % index

    def digest(self, index: int) -> str:
        return hashlib.sha256(self.read(index)).hexdigest()


def dataset_of(targets: Sequence[str], *, manifest: bool = False, name: str = "class") -> Dataset:
    """``targets`` as a folder's classes, or as the numbers of a manifest's column."""
    return Dataset(
        path=Path("things"),
        layout="manifest" if manifest else "folder",
        source=Memory(len(targets)),
        targets=tuple(targets),
        class_names=tuple(sorted(set(targets))),
        target_name=name,
        numeric=np.array([float(target) for target in targets]) if manifest else None,
    )


def numbers(n: int) -> list[str]:
    return [str(1.5 * i) for i in range(n)] * 2


def test_many_different_numbers_of_a_manifest_are_a_regression() -> None:
    dataset = dataset_of(numbers(MAX_NUMERIC_CLASSES + 1), manifest=True, name="weight")
    task = make_task(dataset)
    assert (task.kind, task.class_names, task.positive) == ("regression", (), None)
    assert task.y.tolist() == [1.5 * i for i in range(21)] * 2
    assert task.note.startswith("the target 'weight' has 21 different numbers, more than 20: estimated")
    asked = make_task(dataset, "regression")
    assert asked.y.tolist() == task.y.tolist()
    assert asked.note == ""


def test_few_different_numbers_are_classes_unless_asked() -> None:
    dataset = dataset_of(numbers(MAX_NUMERIC_CLASSES), manifest=True)
    task = make_task(dataset)
    assert (task.kind, task.class_names, task.note) == ("classification", dataset.class_names, "")
    np.testing.assert_array_equal(task.y, dataset.y)
    assert make_task(dataset, "regression").y.tolist() == [1.5 * i for i in range(20)] * 2


def test_many_numbers_are_classes_where_asked() -> None:
    dataset = dataset_of(numbers(30), manifest=True)
    task = make_task(dataset, "classification")
    assert (task.kind, len(task.class_names), task.note) == ("classification", 30, "")


def test_folders_named_by_numbers_are_classes_unless_asked() -> None:
    dataset = dataset_of(numbers(30))
    assert make_task(dataset).kind == "classification"
    task = make_task(dataset, "regression")
    assert task.kind == "regression"
    assert task.y.tolist() == [1.5 * i for i in range(30)] * 2


@pytest.mark.parametrize("odd", ["cat", "nan", "inf", ""])
def test_a_regression_needs_numbers(odd: str) -> None:
    with pytest.raises(
        DatasetError, match=r"things: the target 'kind' is not numeric, such as '.*': a regression needs"
    ):
        make_task(dataset_of(["1", odd, "2"], name="kind"), "regression")


@pytest.mark.parametrize("task", ["auto", "classification"])
def test_one_class_is_told_from_all_others(task: TaskName) -> None:
    found = make_task(dataset_of(["cat", "dog", "cow", "dog"]), task, "dog")
    assert found.kind == "classification"
    assert found.y.tolist() == [0, 1, 0, 1]
    assert found.class_names == ("not dog", "dog")
    assert found.positive == "dog"


def test_one_number_of_many_may_be_told_from_the_others() -> None:
    found = make_task(dataset_of(numbers(30), manifest=True), positive="4.5")
    assert (found.kind, found.class_names) == ("classification", ("not 4.5", "4.5"))
    assert np.flatnonzero(found.y).tolist() == [3, 33]


def test_the_rest_may_be_called_like_a_class() -> None:
    found = make_task(dataset_of(["dog", rest_of("dog"), "cat"]), positive="dog")
    assert found.y.tolist() == [1, 0, 0]


def test_a_positive_class_that_is_none_is_named_with_those_there_are() -> None:
    with pytest.raises(DatasetError, match="no class 'wolf' for --positive; its classes are: 'cat', 'dog'"):
        make_task(dataset_of(["cat", "dog"]), positive="wolf")
    with pytest.raises(DatasetError, match="give --positive or --task regression"):
        make_task(dataset_of(["1", "2"]), "regression", "1")


def test_one_class_against_the_rest_keeps_the_split_of_all_classes() -> None:
    dataset = dataset_of(["cat", "dog", "cow", "cow"] * 10)
    task = make_task(dataset, positive="dog")
    assert strata_of(dataset, task) is None
    assert strata_of(dataset, make_task(dataset)) is None
    split = make_split(dataset, stratify=strata_of(dataset, task))
    assert split.fingerprint == make_split(dataset).fingerprint


def test_numbers_are_stratified_by_their_quantiles() -> None:
    dataset = dataset_of(numbers(50), manifest=True)
    strata = strata_of(dataset, make_task(dataset))
    assert strata is not None
    np.testing.assert_array_equal(
        strata, quantile_bins(dataset.numeric if dataset.numeric is not None else [])
    )
    assert np.bincount(strata).tolist() == [10] * 10


def test_listed_counts_what_it_leaves_out() -> None:
    assert listed(["a"]) == "'a'"
    assert listed(["a", "b", "c"], most=2) == "'a', 'b' and 1 more"
    assert listed([str(i) for i in range(10)]).endswith("'8', '9'")
