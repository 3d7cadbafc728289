from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from classic_cv.dataset import Dataset, Part, Split, check_fittable, load_dataset, make_split, quantile_bins
from classic_cv.errors import DatasetError, ParameterError

QUIET = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Sample(NamedTuple):
    content: int
    target: str
    group: str | None = None
    part: Part | None = None


class Memory:
    """A source of short byte strings."""

    def __init__(self, contents: Sequence[int]) -> None:
        self.contents = contents
        self.names = [f"{i}.png" for i in range(len(contents))]

    def read(self, index: int, max_bytes: int | None = None) -> bytes:
        return b"%d" % self.contents[index]

    def digest(self, index: int) -> str:
        return hashlib.sha256(self.read(index)).hexdigest()


def dataset_of(samples: Sequence[Sample]) -> Dataset:
    parts = tuple(sample.part for sample in samples if sample.part)
    groups = [sample.group for sample in samples if sample.group is not None]
    return Dataset(
        path=Path("memory"),
        layout="folder",
        source=Memory([sample.content for sample in samples]),
        targets=tuple(sample.target for sample in samples),
        class_names=tuple(sorted({sample.target for sample in samples})),
        parts=parts or None,
        groups=np.array(groups) if groups else None,
    )


def by_part(samples: Sequence[Sample], split: Split) -> dict[str, Counter[Sample]]:
    parts = {"train": split.train, "val": split.val, "test": split.test}
    return {name: Counter(samples[i] for i in indices) for name, indices in parts.items()}


def samples_of(contents: int, groups: str | None, *parts: Part) -> st.SearchStrategy[Sample]:
    group = st.sampled_from(groups) if groups else st.none()
    part = st.sampled_from(parts) if parts else st.none()
    return st.builds(Sample, st.integers(0, contents), st.sampled_from("abc"), group, part)


PLAIN = samples_of(40, None)
GROUPED = samples_of(10_000, "ghijklmnop")  # few copies: copies join groups, soon all into one
WITH_VAL = samples_of(10_000, "ghijklmnop", "train", "train", "train", "val")
ANY = st.one_of(*(st.lists(kind, min_size=1, max_size=60) for kind in (PLAIN, GROUPED, WITH_VAL)))


@QUIET
@given(ANY, st.floats(0, 0.7), st.integers(0, 5))
def test_parts_are_disjoint_complete_and_keep_copies_and_groups_together(
    samples: list[Sample], fraction: float, seed: int
) -> None:
    split = make_split(dataset_of(samples), test_fraction=fraction, seed=seed)
    assert sorted([*split.train, *split.val, *split.test]) == list(range(len(samples)))
    assert split.val.tolist() == [i for i, sample in enumerate(samples) if sample.part == "val"]
    tested = [samples[i] for i in split.test]
    others = [samples[i] for i in [*split.train, *split.val]]
    assert not {s.content for s in tested} & {s.content for s in others}
    assert not {s.group for s in tested if s.group} & {s.group for s in others if s.group}
    assert not set(split.groups[split.test]) & set(split.groups[np.r_[split.train, split.val].astype(int)])
    pool = [sample for sample in samples if sample.part != "val"]
    assert {s.target for s in pool} == {samples[i].target for i in split.train}


def orders(samples: list[Sample]) -> st.SearchStrategy[tuple[list[Sample], list[Sample]]]:
    return st.tuples(st.just(samples), st.permutations(samples))


@QUIET
@given(ANY.flatmap(orders), st.integers(0, 5))
def test_order_of_the_files_does_not_matter(two: tuple[list[Sample], list[Sample]], seed: int) -> None:
    samples, shuffled = two
    first, second = (make_split(dataset_of(order), seed=seed) for order in (samples, shuffled))
    assert by_part(samples, first) == by_part(shuffled, second)
    assert first.fingerprint == second.fingerprint


@QUIET
@given(st.lists(PLAIN, min_size=2, max_size=30), st.data())
def test_fingerprint_changes_with_any_image_target_or_part(
    samples: list[Sample], data: st.DataObject
) -> None:
    given_parts = [s._replace(part=data.draw(st.sampled_from(["train", "test"]))) for s in samples]
    given_parts.append(Sample(100, "a", None, "test"))
    fingerprint = make_split(dataset_of(given_parts)).fingerprint
    position = data.draw(st.integers(0, len(samples) - 1))
    old = given_parts[position]
    changes = [
        old._replace(content=old.content + 1000),
        old._replace(target=old.target + "x"),
        old._replace(part="test" if old.part == "train" else "train"),
    ]
    for change in changes:
        changed = [*given_parts[:position], change, *given_parts[position + 1 :]]
        assert make_split(dataset_of(changed)).fingerprint != fingerprint
    shorter = given_parts[:position] + given_parts[position + 1 :]
    assert make_split(dataset_of(shorter)).fingerprint != fingerprint


def test_fingerprint_is_a_documented_sum(tmp_path: Path) -> None:
    samples = [Sample(1, "a", None, "train"), Sample(2, "b\nc", None, "train"), Sample(3, "é", None, "test")]
    expected = sorted(
        [
            hashlib.sha256(b"1").hexdigest() + "\ttrain\ta\n",
            hashlib.sha256(b"2").hexdigest() + "\ttrain\tb\\nc\n",
            hashlib.sha256(b"3").hexdigest() + "\ttest\t\\xe9\n",
        ]
    )
    split = make_split(dataset_of(samples))
    assert split.fingerprint == hashlib.sha256("".join(expected).encode()).hexdigest()


def test_place_and_names_of_the_files_do_not_matter(tmp_path: Path) -> None:
    fingerprints, tests = [], []
    for root, start in ((tmp_path / "one", 0), (tmp_path / "two" / "deep", 500)):
        for i in range(60):
            folder = root / "ab"[i % 2]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{(i * 37 + start) % 997}.png").write_bytes(b"%d" % i)
        dataset = load_dataset(root)
        split = make_split(dataset, seed=3)
        fingerprints.append(split.fingerprint)
        tests.append({dataset.read(i) for i in split.test})
    assert fingerprints[0] == fingerprints[1]
    assert tests[0] == tests[1]
    assert len(tests[0]) == 12


def test_given_parts_are_kept_and_copies_across_them_reported() -> None:
    samples = [
        Sample(1, "a", None, "train"),
        Sample(2, "b", None, "train"),
        Sample(1, "a", None, "test"),
        Sample(3, "b", None, "test"),
        Sample(4, "b", None, "val"),
        Sample(4, "a", None, "val"),
    ]
    split = make_split(dataset_of(samples))
    assert split.given
    assert (split.train.tolist(), split.val.tolist(), split.test.tolist()) == ([0, 1], [4, 5], [2, 3])
    assert split.notes == (
        "2 images are exact copies of images in another part: 0.png = 2.png",
        "2 images are exact copies of each other with different targets: 4.png = 5.png",
        "2 images are exact copies within one part: 4.png = 5.png",
    )


def test_groups_across_given_parts_are_reported() -> None:
    samples = [
        Sample(1, "a", "g", "train"),
        Sample(2, "b", "h", "train"),
        Sample(3, "a", "g", "test"),
        Sample(4, "b", "i", "test"),
    ]
    split = make_split(dataset_of(samples))
    assert split.notes == ("1 groups are in more than one part: g",)
    assert split.test.tolist() == [2, 3]


def test_a_given_val_part_never_becomes_test() -> None:
    train = [Sample(i, "ab"[i % 2], f"g{i}", "train") for i in range(40)]
    val = [Sample(100 + i, "ab"[i % 2], f"g{i}", "val") for i in range(10)]
    split = make_split(dataset_of(train + val))
    assert not split.given
    assert split.val.tolist() == list(range(40, 50))
    assert len(split.test) == 8
    assert split.test.min() >= 10  # the groups of 0 to 9 are in val


def test_a_class_with_one_image_stays_in_train() -> None:
    samples = [Sample(i, "ab"[i % 2]) for i in range(20)] + [Sample(50, "lone")]
    split = make_split(dataset_of(samples))
    assert 20 in split.train
    assert split.notes == ("1 classes have no test images: lone",)


def test_classes_of_single_images_have_no_test_part() -> None:
    split = make_split(dataset_of([Sample(1, "a"), Sample(2, "b")]))
    assert len(split.test) == 0
    assert split.notes == (
        "there is no test part, and none could be split off: every class has one image or group",
    )


def test_numeric_targets_are_stratified_by_quantile(tmp_path: Path) -> None:
    values = np.random.default_rng(0).lognormal(3, 1, 200).round(3)
    rows = []
    for i, value in enumerate(values):
        (tmp_path / f"{i}.png").write_bytes(b"%d" % i)
        rows.append(f"{i}.png,{value}\n")
    (tmp_path / "labels.csv").write_text("path,size\n" + "".join(rows))
    dataset = load_dataset(tmp_path)
    numbers = dataset.numeric
    assert numbers is not None
    bins = quantile_bins(numbers)
    assert np.bincount(bins).tolist() == [20] * 10
    split = make_split(dataset, stratify=bins)
    assert np.bincount(bins[split.test]).tolist() == [4] * 10
    assert split.notes == ()


def test_quantile_bins_keep_equal_values_together_and_in_order() -> None:
    values = [5, 1, 1, 1, 1, 1, 9, 7, 1, 1]
    bins = quantile_bins(values, 4)
    assert len({int(b) for v, b in zip(values, bins, strict=True) if v == 1}) == 1
    assert all(bins[i] <= bins[j] for i in range(10) for j in range(10) if values[i] <= values[j])
    assert quantile_bins([3.0, 1.0]).tolist() == [0, 0]
    assert quantile_bins([]).tolist() == []


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_fraction_is_checked(fraction: float) -> None:
    with pytest.raises(ParameterError, match=rf"test_fraction={fraction}\): expected from 0 to below 1"):
        make_split(dataset_of([Sample(1, "a")]), test_fraction=fraction)


def test_strata_are_checked() -> None:
    dataset = dataset_of([Sample(1, "a"), Sample(2, "b")])
    with pytest.raises(ParameterError, match=r"stratify=float64 \(2,\)\): expected integers of shape \(2,\)"):
        make_split(dataset, stratify=np.array([0.5, 1.5]))
    with pytest.raises(ParameterError, match=r"stratify=int64 \(3,\)\): expected integers of shape \(2,\)"):
        make_split(dataset, stratify=np.array([0, 1, 2]))


def test_check_fittable() -> None:
    def check(*samples: Sample) -> None:
        dataset = dataset_of(samples)
        check_fittable(dataset, make_split(dataset))

    a, b = Sample(1, "a", None, "train"), Sample(2, "b", None, "train")
    check(a, b, Sample(3, "a", None, "test"))
    with pytest.raises(
        DatasetError,
        match=r"^memory: only one class, 'a' \(1 training images\); expected at least two to tell apart; "
        r"if the class folders are inside it, give its path$",
    ):
        check(Sample(1, "a"))
    with pytest.raises(
        DatasetError,
        match=r"^memory: the test part has classes that train lacks: c, d; "
        "add training images of them, or remove them$",
    ):
        check(a, b, Sample(3, "d", None, "test"), Sample(4, "c", None, "test"))
    with pytest.raises(DatasetError, match=r"^memory: the val part has classes that train lacks: c;"):
        check(a, b, Sample(3, "c", None, "val"))
    with pytest.raises(DatasetError, match=r"^memory: there are no training images; found parts: test 1$"):
        check(Sample(3, "a", None, "test"))
