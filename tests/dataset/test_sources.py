from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from classic_cv.dataset import Dataset, load_dataset, make_split
from classic_cv.errors import DatasetError, ImageError


def write(root: Path, **files: bytes) -> Dataset:
    for name, data in files.items():
        folder = root / name.split("_")[0]
        folder.mkdir(exist_ok=True)
        (folder / f"{name.split('_')[1]}.png").write_bytes(data)
    return load_dataset(root)


def test_batches_are_read_when_asked_for(tmp_path: Path) -> None:
    dataset = write(tmp_path, a_1=b"one", a_2=b"two", b_3=b"three")
    batches = dataset.batches(np.array([2, 0, 1]), 2)
    first = next(batches)
    assert [(item.index, item.name, item.data) for item in first] == [
        (2, "b/3.png", b"three"),
        (0, "a/1.png", b"one"),
    ]
    (tmp_path / "a" / "2.png").write_bytes(b"changed")
    assert [item.data for item in next(batches)] == [b"changed"]
    assert list(batches) == []


def test_files_that_vanish_are_reported_by_name(tmp_path: Path) -> None:
    dataset = write(tmp_path, a_1=b"one", a_2=b"two", b_3=b"three")
    (tmp_path / "a" / "2.png").unlink()
    with pytest.raises(ImageError, match=r"^a/2\.png: no such file or directory$"):
        dataset.read(1)
    with pytest.raises(ImageError, match=r"^a/2\.png"):
        list(dataset.batches([0, 1, 2], 2))
    errors: list[ImageError] = []
    batches = [
        [item.index for item in batch] for batch in dataset.batches([0, 1, 2], 2, on_error=errors.append)
    ]
    assert batches == [[0], [2]]
    assert [(error.source, error.reason) for error in errors] == [("a/2.png", "no such file or directory")]
    with pytest.raises(ValueError, match="batch_size=0: expected at least 1"):
        list(dataset.batches([0], 0))


def test_files_that_cannot_be_opened_are_reported_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = write(tmp_path, a_1=b"one", b_3=b"three")

    def refuse(path: str, *args: object, **kwargs: object) -> object:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(ImageError, match=r"^a/1\.png: permission denied$"):
        dataset.read(0)
    with pytest.raises(
        DatasetError, match=r"none of its 2 files can be read \(a/1\.png: permission denied\)$"
    ):
        make_split(dataset)


def test_large_files_are_refused(tmp_path: Path) -> None:
    dataset = write(tmp_path, a_1=b"x" * 1001, b_3=b"three")
    assert dataset.read(0, max_bytes=1001) == b"x" * 1001
    reason = r"^a/1\.png: the file has 1,001 bytes, more than the limit of 1,000$"
    with pytest.raises(ImageError, match=reason):
        dataset.read(0, max_bytes=1000)
    with open(tmp_path / "a" / "1.png", "wb") as file:
        file.truncate(64 * 2**20 + 1)
    with pytest.raises(ImageError, match="67,108,865 bytes, more than the limit of 67,108,864"):
        dataset.read(0)


def test_hashes_are_those_of_the_files(tmp_path: Path) -> None:
    files = {f"{'ab'[i % 2]}_{i:03d}": b"%d" % (i // 2) for i in range(300)}
    dataset = write(tmp_path, **files)
    seen: list[tuple[int, int]] = []
    hashes = dataset.content_hashes(lambda done, total: seen.append((done, total)))
    assert list(hashes.digests) == [
        hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in dataset.names
    ]
    assert seen[-1] == (300, 300)
    assert sorted(seen) == seen
    (tmp_path / "a" / "000.png").write_bytes(b"later")
    assert dataset.content_hashes() is hashes


def test_empty_and_vanished_files_have_no_hash(tmp_path: Path) -> None:
    dataset = write(tmp_path, a_1=b"one", a_2=b"", b_3=b"three", b_4=b"four")
    (tmp_path / "b" / "3.png").unlink()
    hashes = dataset.content_hashes()
    assert [digest is None for digest in hashes.digests] == [False, True, True, False]
    assert hashes.problems == (
        ("a/2.png", "the file is empty (0 bytes)"),
        ("b/3.png", "no such file or directory"),
    )
    split = make_split(dataset)
    assert split.problems == hashes.problems
    assert sorted([*split.train, *split.val, *split.test]) == [0, 3]
    assert (split.groups < 0).tolist() == [False, True, True, False]


def test_hashes_of_arrays_know_shape_and_pixels(tmp_path: Path) -> None:
    flat = np.arange(12, dtype=np.uint8)
    np.savez(
        tmp_path / "x.npz",
        train_images=np.stack([flat.reshape(3, 4), flat.reshape(3, 4), flat[::-1].reshape(3, 4)]),
        train_labels=[0, 1, 1],
        test_images=flat.reshape(1, 4, 3),
        test_labels=[0],
    )
    digests = load_dataset(tmp_path / "x.npz").content_hashes().digests
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
