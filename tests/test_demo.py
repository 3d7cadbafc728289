from __future__ import annotations

import errno
import hashlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from classic_cv.dataset import load_dataset, make_split
from classic_cv.demo import DemoSet, write_demo
from classic_cv.errors import DatasetError


def images_of(folder: Path) -> dict[str, NDArray[Any]]:
    return {
        path.relative_to(folder).as_posix(): np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
        for path in sorted(folder.rglob("*.png"))
    }


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def hashes(images: Iterable[NDArray[Any]]) -> Counter[str]:
    return Counter(hashlib.sha256(image.tobytes()).hexdigest() for image in images)


def test_digits_are_those_of_scikit_learn(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    summary = write_demo(tmp_path / "d", "digits")
    assert summary == {
        "set": "digits",
        "directory": str(tmp_path / "d"),
        "classes": 10,
        "n_train": 1348,
        "n_test": 449,
    }
    images, digits = images_of(tmp_path / "d"), load_digits()
    assert len(images) == 1797
    for path, image in images.items():
        index = int(Path(path).stem)
        assert path.split("/")[1] == str(digits.target[index])
        np.testing.assert_array_equal(image, np.floor(digits.images[index] * 255 / 16 + 0.5))
    per_class = np.bincount([int(path.split("/")[1]) for path in images if path.startswith("test/")])
    assert np.abs(per_class - np.bincount(digits.target) / 4).max() < 1


def test_faces_are_those_of_scikit_image(tmp_path: Path) -> None:
    from skimage import data

    summary = write_demo(tmp_path / "f", "faces")
    assert (summary["classes"], summary["n_train"], summary["n_test"]) == (2, 150, 50)
    photos: NDArray[np.float64] = getattr(data, "lfw_subset")()  # noqa: B009 - it has no types
    for path, image in images_of(tmp_path / "f").items():
        index = int(Path(path).stem)
        assert path.split("/")[1] == ("face" if index < 100 else "not-face")
        assert np.abs(image - photos[index] * 255).max() <= 0.5 + 1e-6
    assert Counter(path.split("/")[0] for path in images_of(tmp_path / "f") if "/face/" in path) == {
        "train": 75,
        "test": 25,
    }


def test_texture_patches_do_not_overlap_and_parts_are_apart(tmp_path: Path) -> None:
    from skimage import data

    summary = write_demo(tmp_path / "t", "textures")
    assert (summary["classes"], summary["n_train"], summary["n_test"]) == (3, 3 * 144, 3 * 64)
    for name in ("brick", "grass", "gravel"):
        photo = getattr(data, name)()
        covered = np.zeros(photo.shape, dtype=int)
        columns: dict[str, list[int]] = {"train": [], "test": []}
        for path, image in images_of(tmp_path / "t").items():
            part, target, file = path.split("/")
            if target == name:
                y, x = int(file[1:4]), int(file[6:9])
                np.testing.assert_array_equal(image, photo[y : y + 32, x : x + 32])
                covered[y : y + 32, x : x + 32] += 1
                columns[part].append(x)
        assert covered.max() == 1
        assert min(columns["test"]) - (max(columns["train"]) + 32) == 96


@pytest.mark.parametrize("name", get_args(DemoSet))
def test_sets_are_data_sets_without_copies(tmp_path: Path, name: DemoSet) -> None:
    summary = write_demo(tmp_path / "x", name)
    dataset = load_dataset(tmp_path / "x")
    split = make_split(dataset)
    assert split.given
    assert (len(split.train), len(split.test)) == (summary["n_train"], summary["n_test"])
    assert len(dataset.class_names) == summary["classes"]
    assert split.notes == ()
    assert hashes(images_of(tmp_path / "x").values()).most_common(1)[0][1] == 1


def test_the_same_bytes_every_time(tmp_path: Path) -> None:
    write_demo(tmp_path / "a", "faces")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / ".hidden").write_bytes(b"")
    write_demo(tmp_path / "b", "faces")
    first = bytes_of(tmp_path / "a")
    assert {**first, ".hidden": b""} == bytes_of(tmp_path / "b")
    again = write_demo(tmp_path / "a", "faces")
    assert again["n_train"] == 150
    assert bytes_of(tmp_path / "a") == first


def test_new_folders_are_as_open_as_others(tmp_path: Path) -> None:
    write_demo(tmp_path / "deep" / "a", "faces")
    (tmp_path / "other").mkdir()
    assert (tmp_path / "deep" / "a").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_demo(".", "faces")
    assert sorted(path.name for path in Path(".").iterdir()) == ["test", "train"]


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    write_demo(tmp_path / "a", "faces")
    with pytest.raises(
        DatasetError, match="a: holds something other than the digits demo set; give a new or"
    ):
        write_demo(tmp_path / "a", "digits")
    (tmp_path / "a" / "mine.txt").write_text("mine")
    with pytest.raises(DatasetError, match="a: holds something other than the faces demo set; give a new or"):
        write_demo(tmp_path / "a", "faces")
    assert (tmp_path / "a" / "mine.txt").read_text() == "mine"
    with pytest.raises(DatasetError, match=r"mine\.txt: is a file; give a new or empty folder$"):
        write_demo(tmp_path / "a" / "mine.txt", "faces")


def test_a_changed_image_is_refused(tmp_path: Path) -> None:
    write_demo(tmp_path, "faces")
    next(tmp_path.rglob("*.png")).write_bytes(b"")
    with pytest.raises(DatasetError, match="holds something other than the faces demo set"):
        write_demo(tmp_path, "faces")


@pytest.mark.parametrize("present", [False, True])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
@pytest.mark.parametrize("when", ["write_bytes", "rename"])
def test_an_interrupted_run_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, present: bool, error: BaseException, when: str
) -> None:
    target = tmp_path / "a"
    if present:
        target.mkdir()
    before = sorted(tmp_path.rglob("*"))
    calls, original = [0], getattr(Path, when)
    fail_at = 2 if when == "rename" and present else 1 if when == "rename" else 70

    def fail(self: Path, *args: Any) -> Any:
        calls[0] += 1
        if calls[0] == fail_at:
            raise error
        return original(self, *args)

    monkeypatch.setattr(Path, when, fail)
    if isinstance(error, OSError):
        with pytest.raises(
            DatasetError, match=r"a: the demo set cannot be written: no space left on device$"
        ):
            write_demo(target, "faces")
    else:
        with pytest.raises(KeyboardInterrupt):
            write_demo(target, "faces")
    assert calls[0] == fail_at
    assert sorted(tmp_path.rglob("*")) == before


def test_unknown_set(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"^no demo set 'cats'; there are: digits, textures, faces$"):
        write_demo(tmp_path, "cats")  # type: ignore[arg-type]
