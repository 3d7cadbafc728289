"""What a check writes: findings as CSV, and cleaned data that can be read again."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from classic_cv.checks.files import (
    COLUMNS,
    check_clean_path,
    clean_manifest,
    clean_rows,
    findings_csv,
    write_clean,
)
from classic_cv.checks.finding import Finding, Item
from classic_cv.dataset import Dataset, load_dataset, make_split
from classic_cv.errors import ArtifactError, DatasetError, ParameterError


def finding(*items: Item) -> Finding:
    return Finding("leakage", "near", "error", 1, 'a "message", told', "why", "do", items, "similarity")


def images(folder: Path, names: list[str]) -> Path:
    """Different images at these paths."""
    for k, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 10 + k).save(path, "PNG")
    return folder


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    names = [
        f"{part}/{name}/{k}.png"
        for part in ("train", "test")
        for name in ("rose", "wild tulip")
        for k in (0, 1)
    ]
    return images(tmp_path / "flowers", names)


def everything(dataset: Dataset) -> np.ndarray[Any, np.dtype[np.intp]]:
    return np.arange(len(dataset), dtype=np.intp)


def parsed(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_findings_have_a_row_per_file() -> None:
    names = ["a b,c.jpg", 'd"e.jpg', "f\\xff.jpg"]
    text = findings_csv([finding(Item((0, 1), 0.1 + 0.2, "mirrored"), Item((2,), 1.0)), finding()], names)
    rows = parsed(text)
    assert tuple(rows[0]) == COLUMNS
    assert [(row["item"], row["file"], row["note"]) for row in rows] == [
        ("1", names[0], "mirrored"),
        ("1", names[1], "mirrored"),
        ("2", names[2], ""),
        ("", "", ""),
    ]
    assert [row["score"] for row in rows] == ["0.30000000000000004", "0.30000000000000004", "1.0", ""]
    assert {row["message"] for row in rows} == {'a "message", told'}
    assert {(row["check"], row["kind"], row["severity"]) for row in rows} == {("leakage", "near", "error")}


def test_no_findings_are_a_header() -> None:
    assert findings_csv([], []) == ",".join(COLUMNS) + "\n"


def test_rows_leave_out_what_cannot_be_read_and_what_is_dropped(flowers: Path) -> None:
    dataset = load_dataset(flowers)
    split = make_split(dataset)
    assert clean_rows(split, np.array([0, 1, 2, 4, 7]), {1, 99}) == [
        (0, "train"),
        (2, "train"),
        (4, "test"),
        (7, "test"),
    ]


def test_a_file_that_is_in_no_part_does_not_stay(flowers: Path) -> None:
    (flowers / "train" / "rose" / "0.png").write_bytes(b"")
    dataset = load_dataset(flowers)
    rows = clean_rows(make_split(dataset), everything(dataset), set())
    assert [index for index, _ in rows] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".CSV"])
def test_a_manifest_is_read_back_as_the_same_data(flowers: Path, suffix: str) -> None:
    dataset = load_dataset(flowers)
    rows = clean_rows(make_split(dataset), everything(dataset), {1})
    path = flowers / f"clean{suffix}"
    write_clean(path, dataset, rows)
    again = load_dataset(path)
    kept = [index for index, _ in rows]
    assert list(again.names) == [dataset.names[index] for index in kept]
    assert again.targets == tuple(dataset.targets[index] for index in kept)
    assert again.parts == tuple(part for _, part in rows)
    assert [again.read(k) for k in range(len(again))] == [dataset.read(index) for index in kept]
    assert not again.problems


def test_a_manifest_elsewhere_has_absolute_paths(flowers: Path, tmp_path: Path) -> None:
    dataset = load_dataset(flowers)
    path = tmp_path / "other" / "clean.csv"
    path.parent.mkdir()
    write_clean(path, dataset, clean_rows(make_split(dataset), everything(dataset), set()))
    assert all(os.path.isabs(row["path"]) for row in parsed(path.read_text()))
    assert len(load_dataset(path)) == 8


def test_paths_are_absolute_whatever_the_working_directory(
    flowers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(flowers.parent)
    dataset = load_dataset("flowers")
    text = clean_manifest(dataset, [(0, "train")], Path("flowers/train"))
    assert parsed(text)[0]["path"] == "rose/0.png"
    text = clean_manifest(dataset, [(0, "train")], tmp_path / "elsewhere")
    assert parsed(text)[0]["path"] == str(flowers / "train/rose/0.png")


def test_target_groups_and_parts_of_a_manifest_are_kept(tmp_path: Path) -> None:
    images(tmp_path, [f"{k}.png" for k in range(4)])
    source = tmp_path / "data.csv"
    source.write_text(
        "file,group,count,split\n0.png,a,1.5,train\n1.png,,2,train\n2.png,nan,3,val\n3.png,b,4,test\n"
    )
    dataset = load_dataset(source)
    clean = tmp_path / "clean.csv"
    write_clean(clean, dataset, clean_rows(make_split(dataset), everything(dataset), set()))
    again = load_dataset(clean)
    assert again.target_name == "count"
    assert again.targets == ("1.5", "2", "3", "4")
    assert again.parts == ("train", "train", "val", "test")
    assert again.groups is not None
    assert again.groups.tolist() == ["a", "(line 3)", "nan", "b"]


def test_a_test_part_that_was_split_off_stays_the_same(tmp_path: Path) -> None:
    folder = images(tmp_path / "data", [f"{name}/{k}.png" for name in "ab" for k in range(10)])
    dataset = load_dataset(folder)
    split = make_split(dataset)
    write_clean(folder / "clean.csv", dataset, clean_rows(split, everything(dataset), set()))
    again = make_split(load_dataset(folder / "clean.csv"))
    assert again.given
    assert again.fingerprint == split.fingerprint


@pytest.mark.parametrize(
    "name", ["a, b;c.png", 'a"b.png', " a.png", "a\tb.png", "a\\b.png", "a\nb.png", "花.png"]
)
def test_odd_file_names_are_read_back(name: str, tmp_path: Path) -> None:
    folder = images(tmp_path / "data", [f"rose/{name}", "tulip/1.png", name])
    dataset = load_dataset(folder)
    write_clean(folder / "clean.csv", dataset, clean_rows(make_split(dataset), everything(dataset), set()))
    again = load_dataset(folder / "clean.csv")
    assert list(again.names) == list(dataset.names)


def test_a_name_that_begins_with_a_blank_beside_the_manifest(tmp_path: Path) -> None:
    folder = images(tmp_path / "data", ["rose/ 0.png", "rose/1.png", "tulip/2.png"])
    dataset = load_dataset(folder)
    path = folder / "rose" / "clean.csv"
    write_clean(path, dataset, [(0, "train"), (1, "train"), (2, "train")])
    again = load_dataset(path)
    assert list(again.names) == [" 0.png", "1.png", str(folder / "tulip/2.png")]
    assert not again.problems


@pytest.mark.parametrize("target", ["nan", " rose"])
def test_a_class_that_a_manifest_cannot_hold(target: str, tmp_path: Path) -> None:
    dataset = load_dataset(images(tmp_path / "data", [f"{target}/0.png", "tulip/1.png"]))
    with pytest.raises(DatasetError, match="would be read back as something else; rename it first"):
        clean_manifest(dataset, [(0, "train"), (1, "train")], tmp_path)


def test_a_file_name_that_is_not_utf_8(tmp_path: Path) -> None:
    folder = images(tmp_path / "data", ["rose/0.png", "tulip/1.png"])
    (folder / "rose" / "0.png").rename(os.fsdecode(os.fsencode(folder / "rose") + b"/\xff.png"))
    dataset = load_dataset(folder)
    with pytest.raises(DatasetError, match=r"rose/\\xff.png: cannot be written .* not UTF-8"):
        clean_manifest(dataset, [(0, "train")], tmp_path)


def test_what_a_manifest_cannot_hold_is_told_before_any_work(tmp_path: Path) -> None:
    folder = images(tmp_path / os.fsdecode(b"\xff"), ["a/0.png", "b/0.png"])
    with pytest.raises(DatasetError, match=r"a/0\.png: .*its path .*\\xff/a/0\.png is not UTF-8"):
        check_clean_path(load_dataset(folder), tmp_path / "clean.csv")
    # Relative to itself the path of the folder does not matter.
    check_clean_path(load_dataset(folder), folder / "clean.csv")


def arrays(labels: Any) -> dict[str, Any]:
    pixels = np.arange(6 * 4 * 4, dtype=np.uint8).reshape(6, 4, 4)
    return {"training_images": pixels, "training_labels": labels, "other": np.ones(2)}


def test_an_npz_keeps_its_keys_and_labels(tmp_path: Path) -> None:
    source = tmp_path / "data.npz"
    given = arrays(np.array([[0], [1], [0], [1], [0], [1]], np.uint8))
    test = {"test_images": given["training_images"][:3] + 7, "test_labels": np.array([1, 0, 1])}
    np.savez(source, **given, **test, class_names=np.array(["a", "b", "unused"]))
    dataset = load_dataset(source)
    rows = clean_rows(make_split(dataset), everything(dataset), {1, 7})
    write_clean(tmp_path / "clean.npz", dataset, rows)
    with np.load(tmp_path / "clean.npz") as found:
        kept = [0, 2, 3, 4, 5]
        assert set(found.files) == {*given, *test, "class_names"} - {"other"}
        np.testing.assert_array_equal(found["training_images"], given["training_images"][kept])
        np.testing.assert_array_equal(found["training_labels"], given["training_labels"][kept])
        np.testing.assert_array_equal(found["test_images"], test["test_images"][[0, 2]])
        np.testing.assert_array_equal(found["test_labels"], [1, 1])
        assert found["class_names"].tolist() == ["a", "b", "unused"]
    assert load_dataset(tmp_path / "clean.npz").class_names == ("a", "b")


def test_a_test_part_split_off_an_npz_is_written_as_one(tmp_path: Path) -> None:
    source = tmp_path / "data.npz"
    np.savez(source, **arrays(np.array(list("ababab"))))
    dataset = load_dataset(source)
    split = make_split(dataset, test_fraction=0.34)
    assert len(split.test)
    write_clean(tmp_path / "clean.npz", dataset, clean_rows(split, everything(dataset), set()))
    again = make_split(load_dataset(tmp_path / "clean.npz"))
    assert again.given
    assert again.fingerprint == split.fingerprint


def test_a_suffix_that_does_not_fit_is_refused(flowers: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ParameterError, match=r"clean.npz: .* image files; give a name that ends in .csv or .tsv"
    ):
        check_clean_path(load_dataset(flowers), tmp_path / "clean.npz")
    np.savez(tmp_path / "data.npz", **arrays(np.arange(6) % 2))
    dataset = load_dataset(tmp_path / "data.npz")
    with pytest.raises(ParameterError, match=r"an npz; give a name that ends in .npz"):
        check_clean_path(dataset, tmp_path / "clean.csv")
    with pytest.raises(ParameterError, match="is the data that is checked"):
        check_clean_path(dataset, tmp_path / "data.npz")
    check_clean_path(dataset, tmp_path / "clean.npz")


def test_nothing_left_and_nowhere_to_write(flowers: Path, tmp_path: Path) -> None:
    dataset = load_dataset(flowers)
    with pytest.raises(DatasetError, match="no image is left"):
        write_clean(tmp_path / "clean.csv", dataset, [])
    with pytest.raises(ArtifactError, match="cannot be written"):
        write_clean(tmp_path / "missing" / "clean.csv", dataset, [(0, "train")])
