from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from classic_cv.dataset import load_dataset, make_split
from classic_cv.errors import DatasetError


def manifest(folder: Path, text: str | bytes, name: str = "labels.csv", images: int = 4) -> Path:
    for i in range(images):
        (folder / f"{i}.png").write_bytes(b"image %d" % i)
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder / name


def fails(path: Path, reason: str, target: str | None = None) -> None:
    with pytest.raises(DatasetError, match=f"^{re.escape(f'{path}: {reason}')}$"):
        load_dataset(path, target=target)


@pytest.mark.parametrize(
    ("name", "delimiter"),
    [("x.csv", ","), ("x.tsv", "\t"), ("x.csv", ";"), ("x.csv", "\t"), ("x.tsv", ","), ("X.CSV", ",")],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_delimiters_line_ends_and_byte_order_mark(
    tmp_path: Path, name: str, delimiter: str, end: str, mark: str
) -> None:
    lines = ["File,Kind", "0.png,pear", "1.png,\u0301apple"]
    text = mark + end.join(line.replace(",", delimiter) for line in lines)
    dataset = load_dataset(manifest(tmp_path, text, name))
    assert dataset.names == ("0.png", "1.png")
    assert dataset.targets == ("pear", "\u0301apple")
    assert dataset.target_name == "Kind"
    assert dataset.read(1) == b"image 1"


def test_quoted_fields_and_spaces(tmp_path: Path) -> None:
    (tmp_path / "a, b.png").write_bytes(b"x")
    text = 'path, label\n"a, b.png", "red, ripe"\n 1.png ,  green \n\n,\n'
    dataset = load_dataset(manifest(tmp_path, text))
    assert dataset.names == ("a, b.png", "1.png")
    assert dataset.targets == ("red, ripe", "green")


def test_split_and_group_columns(tmp_path: Path) -> None:
    text = (
        "split,label,group,path\ntrain,a,g1,0.png\nVALID,b,,1.png\nvalidation,b,g1,2.png\nTesting,a,,3.png\n"
    )
    dataset = load_dataset(manifest(tmp_path, text))
    assert dataset.parts == ("train", "val", "val", "test")
    assert dataset.groups is not None
    assert dataset.groups.tolist() == ["g1", "(line 3)", "g1", "(line 5)"]
    assert dataset.targets == ("a", "b", "b", "a")


def test_an_empty_split_column_gives_no_parts(tmp_path: Path) -> None:
    dataset = load_dataset(manifest(tmp_path, "path,label,split\n0.png,a,\n1.png,b,\n"))
    assert dataset.parts is None
    assert dataset.problems == ()


def test_absolute_windows_and_roundabout_paths(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.png").write_bytes(b"x")
    text = f"path,label\n{tmp_path}/0.png,a\nin\\x.png,b\nin/../1.png,c\n"
    dataset = load_dataset(manifest(tmp_path, text))
    assert dataset.names == (f"{tmp_path}/0.png", "in/x.png", "1.png")
    assert [dataset.read(i) for i in range(3)] == [b"image 0", b"x", b"image 1"]


def test_paths_are_relative_to_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest(tmp_path, "path,label\n0.png,a\n1.png,b\n")
    monkeypatch.chdir(tmp_path.parent)
    assert load_dataset(Path(tmp_path.name) / "labels.csv").read(0) == b"image 0"


def test_rows_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    (tmp_path / "dir.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    rows = [
        "path,label,split",
        "0.png,a,train",
        "gone.png,a,train",
        "1.png,,train",
        "2.png,NaN,train",
        "3.png,a,holdout",
        "1.png,b",
        "2.png,b,test,x",
        ",b,test",
        "dir.png,b,test",
        "pipe.png,b,test",
        "3.png,b,test",
    ]
    dataset = load_dataset(manifest(tmp_path, "\n".join(rows)))
    assert dataset.names == ("0.png", "3.png")
    assert dataset.problems == (
        ("gone.png", "line 3: no such file or directory"),
        ("1.png", "line 4: no target"),
        ("2.png", "line 5: no target"),
        ("3.png", "line 6: split is 'holdout', expected train, val or test"),
        ("1.png", "line 7: 2 fields where the header has 3"),
        ("2.png", "line 8: 4 fields where the header has 3"),
        ("labels.csv", "line 9: no path"),
        ("dir.png", "line 10: is a folder"),
        ("pipe.png", "line 11: is not a regular file"),
    )


def test_repeated_rows(tmp_path: Path) -> None:
    text = "path,label\n0.png,a\n1.png,b\n./0.png,a\n2.png,a\n2.png,b\n3.png,b\n"
    dataset = load_dataset(manifest(tmp_path, text))
    assert dataset.names == ("0.png", "1.png", "3.png")
    assert dataset.ignored == (("0.png", "line 4 repeats line 2"),)
    assert dataset.problems == (
        ("2.png", "line 5: listed with several targets: a, b"),
        ("2.png", "line 6: listed with several targets: a, b"),
    )


def test_one_file_in_two_parts_is_kept_and_reported_by_the_split(tmp_path: Path) -> None:
    text = "path,label,split\n0.png,a,train\n1.png,b,train\n0.png,a,test\n2.png,b,test\n"
    dataset = load_dataset(manifest(tmp_path, text))
    assert len(dataset) == 4
    split = make_split(dataset)
    assert split.notes == ("2 images are exact copies of images in another part: 0.png = 0.png",)


def test_target_column_by_name(tmp_path: Path) -> None:
    path = manifest(tmp_path, ",path,label,age\n0,0.png,a,3\n1,1.png,b,4.5\n")
    fails(path, "several columns could be the target: label, age; choose one with --target NAME")
    dataset = load_dataset(path, target="age")
    assert dataset.targets == ("3", "4.5")
    assert dataset.notes == ("columns not used: label",)
    fails(path, "no target column 'size'; its columns are: , path, label, age", target="size")
    fails(path, "no target column 'path'; its columns are: , path, label, age", target="path")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the manifest has no rows and no header"),
        ("path,label\n", "the manifest has no rows"),
        (
            "image,label\n0.png,a\n",
            "no path or file column; its columns are: image, label; a manifest has one of them, and a target",
        ),
        (
            "path,file,label\n0.png,1.png,a\n",
            "both a path and a file column; its columns are: path, file, label; "
            "a manifest has one of them, and a target",
        ),
        ("path,split\n0.png,train\n", "no target column beside 'path'; its columns are: path, split"),
        ("path,a,A\n0.png,1,2\n", "column 'a' occurs more than once; its columns are: path, a, A"),
        ("path,label\n0.png,'a\n1.png,\"b\n", "line 3: unexpected end of data"),
        (b"path,label\n0.png,caf\xe9\n", "line 2 is not UTF-8 text; save the file as UTF-8"),
        ("path,label\n0.png,a\n".encode("utf-16"), "line 1 is not UTF-8 text; save the file as UTF-8"),
    ],
)
def test_manifests_that_cannot_be_read(tmp_path: Path, text: str | bytes, reason: str) -> None:
    fails(manifest(tmp_path, text), reason)


def test_no_usable_row(tmp_path: Path) -> None:
    reason = (
        "none of its 3 rows can be used (x.png: line 2: no such file or directory, "
        f"y.png: line 3: no such file or directory and 1 more); paths are taken relative to {tmp_path}"
    )
    fails(manifest(tmp_path, "path,label\nx.png,a\ny.png,b\nz.png,b\n"), reason)


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (["1", "-2.5", "1e3"], [1.0, -2.5, 1000.0]),
        (["1", "2", "many"], None),
        (["1", "2", "inf"], None),
        (["1", "2", "1_0"], None),
    ],
)
def test_numeric_targets(tmp_path: Path, targets: list[str], expected: list[float] | None) -> None:
    rows = "".join(f"{i}.png,{target}\n" for i, target in enumerate(targets))
    dataset = load_dataset(manifest(tmp_path, "path,count\n" + rows))
    numeric = dataset.numeric
    assert (None if numeric is None else numeric.tolist()) == expected
    assert dataset.targets == tuple(targets)


def test_names_of_folders_are_not_numbers(tmp_path: Path) -> None:
    for digit in "01":
        (tmp_path / digit).mkdir()
        (tmp_path / digit / "x.png").write_bytes(digit.encode())
    assert load_dataset(tmp_path).numeric is None
