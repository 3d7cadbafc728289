from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from classic_cv.dataset import load_dataset
from classic_cv.errors import DatasetError

EXPECTED = (
    "; expected a folder per class (CLASS/*.jpg), train/ and test/ folders of such folders, "
    "a .csv or .tsv manifest, or an .npz file"
)


def write(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(file.encode())
    return root


def fails(path: Path, reason: str, target: str | None = None) -> None:
    with pytest.raises(DatasetError, match=f"^{re.escape(f'{path}: {reason}')}$"):
        load_dataset(path, target=target)


def test_no_such_path(tmp_path: Path) -> None:
    fails(tmp_path / "absent", "no such file or directory")
    fails(tmp_path / ("x" * 300), "file name too long")


def test_empty_folder(tmp_path: Path) -> None:
    fails(tmp_path, f"the folder is empty{EXPECTED}")


def test_folder_of_hidden_files_is_empty(tmp_path: Path) -> None:
    fails(write(tmp_path, ".git/config", ".DS_Store"), f"the folder is empty{EXPECTED}")


def test_images_without_class_folders(tmp_path: Path) -> None:
    fails(write(tmp_path, "1.png", "2.png"), f"2 images but no class folders with images{EXPECTED}")


def test_flat_parts_without_class_folders(tmp_path: Path) -> None:
    write(tmp_path, "train/1.png", "test/2.png")
    fails(tmp_path, f"2 images but no class folders with images{EXPECTED}")


def test_other_files_only(tmp_path: Path) -> None:
    write(tmp_path, "a/1.heic", "a/2.heic", "b/1.txt")
    fails(tmp_path, f"no images among its files (2 .heic, 1 .txt){EXPECTED}")


def test_unreadable_only(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").symlink_to(tmp_path / "gone")
    reason = "no images that can be read (a/1.png: a symbolic link that leads nowhere)"
    fails(tmp_path, reason + EXPECTED)


def test_npz_inside_a_folder_is_pointed_at(tmp_path: Path) -> None:
    fails(write(tmp_path, "digits.npz"), f"no images, but digits.npz: to read it, give its path{EXPECTED}")


@pytest.mark.parametrize("name", ["data.zip", "photo.png", "nosuffix"])
def test_other_kinds_of_file(tmp_path: Path, name: str) -> None:
    write(tmp_path, name)
    fails(tmp_path / name, f"not a data set{EXPECTED}")


def test_target_needs_a_manifest(tmp_path: Path) -> None:
    write(tmp_path, "a/1.png", "b/1.png")
    fails(tmp_path, "--target age needs a manifest, and this folder holds none", target="age")
    np.savez(tmp_path / "x.npz", train_images=np.zeros((1, 2, 2), np.uint8), train_labels=[0])
    fails(tmp_path / "x.npz", "--target age needs a .csv or .tsv manifest", target="age")


def test_folder_with_one_manifest_and_a_folder_of_images(tmp_path: Path) -> None:
    write(tmp_path, "images/1.png", "images/2.png")
    (tmp_path / "cells.csv").write_text("file,count\nimages/1.png,3\nimages/2.png,4\n")
    dataset = load_dataset(tmp_path)
    assert (dataset.layout, dataset.targets) == ("manifest", ("3", "4"))
    assert dataset.path == tmp_path / "cells.csv"


def test_labels_csv_is_chosen_among_manifests(tmp_path: Path) -> None:
    write(tmp_path, "images/1.png")
    (tmp_path / "labels.csv").write_text("file,kind\nimages/1.png,a\n")
    (tmp_path / "old.csv").write_text("file,kind\nimages/1.png,b\n")
    assert load_dataset(tmp_path).targets == ("a",)
    (tmp_path / "labels.csv").rename(tmp_path / "new.csv")
    fails(tmp_path, "holds several manifests: new.csv, old.csv; give the path of one")


def test_class_folders_win_over_a_manifest_and_say_so(tmp_path: Path) -> None:
    write(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "labels.csv").write_text("file,age\na/1.png,3\nb/1.png,4\n")
    dataset = load_dataset(tmp_path)
    assert dataset.class_names == ("a", "b")
    assert dataset.notes == ("classes are taken from the folders; to use labels.csv instead, give its path",)
    assert load_dataset(tmp_path, target="age").targets == ("3", "4")


def test_a_table_that_is_no_manifest_is_only_counted(tmp_path: Path) -> None:
    write(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "results.csv").write_text("epoch,loss\n1,0.5\n")
    dataset = load_dataset(tmp_path)
    assert dataset.notes == ()
    assert dataset.ignored_suffixes == {".csv": 1}


def test_name_of_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "pets", "a/1.png", "b/1.png")
    monkeypatch.chdir(tmp_path / "pets")
    dataset = load_dataset(".")
    assert dataset.name == "pets"
    assert dataset.names == ("a/1.png", "b/1.png")
    assert repr(dataset).startswith("Dataset(path=PosixPath('.'), layout='folder'")
