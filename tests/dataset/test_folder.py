from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from classic_cv.dataset import Dataset, find_images, load_dataset
from classic_cv.errors import DatasetError


def write(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(file.encode())
    return root


def content(dataset: Dataset) -> dict[str, str]:
    return dict(zip(dataset.names, dataset.targets, strict=True))


def test_class_folders_are_read_to_any_depth(tmp_path: Path) -> None:
    dataset = load_dataset(write(tmp_path, "dog/1.JPG", "cat/a/b/2.png", "cat/1.webp"))
    assert content(dataset) == {"cat/1.webp": "cat", "cat/a/b/2.png": "cat", "dog/1.JPG": "dog"}
    assert dataset.class_names == ("cat", "dog")
    assert dataset.y.tolist() == [0, 0, 1]
    assert dataset.parts is None
    assert dataset.groups is None
    assert dataset.layout == "folder"
    assert dataset.read(1) == b"cat/a/b/2.png"


def test_class_names_with_spaces_unicode_and_leading_dash(tmp_path: Path) -> None:
    names = ["-rf", "two words", "žluťoučký", "日本", "a"]
    dataset = load_dataset(write(tmp_path, *(f"{name}/1.png" for name in names)))
    assert dataset.class_names == ("-rf", "a", "two words", "žluťoučký", "日本")


def test_composed_and_decomposed_spellings_are_one_class(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    write(tmp_path, f"{composed}/1.png", f"{decomposed}/2.png", "tea/1.png")
    dataset = load_dataset(tmp_path)
    assert dataset.class_names == (composed, "tea")
    assert len(dataset) == 3


@pytest.mark.skipif(os.name == "nt", reason="file names are text there")
def test_names_that_are_not_utf8_can_be_printed_and_read(tmp_path: Path) -> None:
    for name in (b"\xff\xfe", b"b"):
        os.mkdir(os.path.join(os.fsencode(tmp_path), name))
        with open(os.path.join(os.fsencode(tmp_path), name, b"\xff.png"), "wb") as file:
            file.write(name)
    dataset = load_dataset(tmp_path)
    assert content(dataset) == {r"\xff\xfe/\xff.png": r"\xff\xfe", r"b/\xff.png": "b"}
    assert [dataset.read(i) for i in range(2)] == [b"\xff\xfe", b"b"]


def test_clutter_is_left_out_and_other_files_are_counted(tmp_path: Path) -> None:
    write(tmp_path, "a/1.png", "b/1.png", "a/.hidden.png", ".cache/x.png", "__MACOSX/a/1.png")
    write(
        tmp_path, "a/Thumbs.db", "a/.DS_Store", "b/desktop.ini", "a/n.txt", "b/m.txt", "b/LICENSE", "c.heic"
    )
    dataset = load_dataset(tmp_path)
    assert list(content(dataset)) == ["a/1.png", "b/1.png"]
    assert dataset.ignored_suffixes == {".txt": 2, "(none)": 1, ".heic": 1}
    assert dataset.problems == ()


def test_images_beside_class_folders_are_ignored_by_name(tmp_path: Path) -> None:
    dataset = load_dataset(write(tmp_path, "a/1.png", "b/1.png", "stray.jpg"))
    assert dataset.ignored == (("stray.jpg", "an image outside the class folders"),)
    assert len(dataset) == 2


def test_class_folders_without_images_are_noted(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    dataset = load_dataset(write(tmp_path, "a/1.png", "b/x/1.png", "notes/readme.txt"))
    assert dataset.class_names == ("a", "b")
    assert dataset.notes == ("class folders without images are ignored: empty, notes",)


@pytest.mark.parametrize("val", ["val", "valid", "Validation"])
def test_split_folders(tmp_path: Path, val: str) -> None:
    write(tmp_path, "Train/a/1.png", "Train/b/1.png", f"{val}/a/2.png", "TEST/b/deep/3.png", "TEST/loose.png")
    dataset = load_dataset(tmp_path)
    assert dataset.layout == "split folders"
    assert dataset.parts == ("train", "train", "val", "test")
    assert content(dataset) == {
        "Train/a/1.png": "a",
        "Train/b/1.png": "b",
        f"{val}/a/2.png": "a",
        "TEST/b/deep/3.png": "b",
    }
    assert dataset.ignored == (("TEST/loose.png", "an image outside the class folders"),)


def test_spellings_of_one_part_are_joined(tmp_path: Path) -> None:
    dataset = load_dataset(
        write(tmp_path, "training/a/1.png", "val/a/1.png", "valid/b/1.png", "testing/a/2.png")
    )
    assert dataset.parts == ("train", "val", "val", "test")


def test_folders_beside_parts_are_ignored_and_named(tmp_path: Path) -> None:
    dataset = load_dataset(write(tmp_path, "train/a/1.png", "test/a/2.png", "extra/a/3.png"))
    assert list(dataset.names) == ["train/a/1.png", "test/a/2.png"]
    assert dataset.notes == ("folders beside the train and test parts are ignored: extra",)


def test_a_class_called_train_among_other_classes(tmp_path: Path) -> None:
    dataset = load_dataset(write(tmp_path, "train/1.png", "car/1.png", "bus/1.png"))
    assert dataset.class_names == ("bus", "car", "train")
    assert dataset.parts is None


def test_a_lone_test_part(tmp_path: Path) -> None:
    dataset = load_dataset(write(tmp_path, "test/a/1.png", "test/b/1.png"))
    assert dataset.parts == ("test", "test")
    assert dataset.class_names == ("a", "b")


def test_links_to_files_and_class_folders_are_followed(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside", "x/1.png", "2.png")
    data = write(tmp_path / "data", "a/1.png")
    (data / "b").symlink_to(outside / "x", target_is_directory=True)
    (data / "a" / "2.png").symlink_to(outside / "2.png")
    dataset = load_dataset(data)
    assert content(dataset) == {"a/1.png": "a", "a/2.png": "a", "b/1.png": "b"}
    assert dataset.read(1) == b"2.png"
    assert dataset.notes == ()


def test_link_loops_and_repeated_folders_are_read_once(tmp_path: Path) -> None:
    data = write(tmp_path / "data", "a/1.png", "b/1.png")
    write(tmp_path, "neighbour/3.png")
    (data / "a" / "loop").symlink_to(data / "a", target_is_directory=True)
    (data / "a" / "0-other").symlink_to(data / "b", target_is_directory=True)
    (data / "a" / "up").symlink_to(tmp_path, target_is_directory=True)
    (data / "self").symlink_to(data, target_is_directory=True)
    dataset = load_dataset(data)
    assert content(dataset) == {"a/1.png": "a", "b/1.png": "b"}
    assert set(dataset.notes) == {
        "a/loop is the same folder as a: read once",
        "a/0-other is the same folder as b: read once",
        "a/up is a link to a folder around the data: not followed",
        "self is the same folder as the data folder itself: read once",
        "class folders without images are ignored: self",
    }


def test_a_test_part_that_links_to_train_is_read_once(tmp_path: Path) -> None:
    write(tmp_path, "train/a/1.png", "train/b/1.png")
    (tmp_path / "test").symlink_to(tmp_path / "train", target_is_directory=True)
    dataset = load_dataset(tmp_path)
    assert dataset.parts == ("train", "train")
    assert dataset.notes == ("test is the same folder as train: read once",)


def test_links_that_lead_nowhere_are_problems(tmp_path: Path) -> None:
    write(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "a" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "b" / "me.png").symlink_to(tmp_path / "b" / "me.png")
    dataset = load_dataset(tmp_path)
    assert dataset.problems == (
        ("a/gone.png", "a symbolic link that leads nowhere"),
        ("b/me.png", "a symbolic link that leads nowhere"),
    )


def test_a_pipe_with_an_image_name_is_not_opened(tmp_path: Path) -> None:
    write(tmp_path, "a/1.png", "b/1.png")
    os.mkfifo(tmp_path / "a" / "pipe.png")
    assert list(load_dataset(tmp_path).names) == ["a/1.png", "b/1.png"]


def test_a_folder_that_cannot_be_listed_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a/1.png", "b/locked/2.png", "b/1.png")
    scandir = os.scandir

    def refuse(path: str | Path) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    dataset = load_dataset(tmp_path)
    assert list(dataset.names) == ["a/1.png", "b/1.png"]
    assert dataset.problems == (("b/locked", "permission denied"),)


def test_find_images(tmp_path: Path) -> None:
    write(tmp_path, "b.png", "a/c.jpg", "a/.no.jpg", "a/x.txt", "a/d/e.TIF")
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a", target_is_directory=True)
    assert find_images(tmp_path) == [tmp_path / "a/c.jpg", tmp_path / "a/d/e.TIF", tmp_path / "b.png"]
    with pytest.raises(DatasetError, match=r"absent: no such file or directory$"):
        find_images(tmp_path / "absent")
