from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from classic_cv.dataset import load_dataset
from classic_cv.errors import DatasetError

RNG = np.random.default_rng(0)


def pixels(*shape: int) -> NDArray[np.uint8]:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def save(folder: Path, **arrays: Any) -> Path:
    np.savez_compressed(folder / "x.npz", **arrays)
    return folder / "x.npz"


def fails(path: Path, reason: str) -> None:
    with pytest.raises(DatasetError, match=f"^{re.escape(str(path))}{re.escape(reason)}$"):
        load_dataset(path)


def test_medmnist_form(tmp_path: Path) -> None:
    train, val, test = pixels(4, 5, 6), pixels(2, 5, 6), pixels(3, 5, 6)
    labels = [np.array([[2], [0], [10], [2]], np.uint8), np.array([[0], [2]]), np.array([[10], [2], [0]])]
    path = save(
        tmp_path,
        test_images=test,
        train_images=train,
        val_images=val,
        train_labels=labels[0],
        val_labels=labels[1],
        test_labels=labels[2],
    )
    dataset = load_dataset(path)
    assert dataset.parts == ("train",) * 4 + ("val",) * 2 + ("test",) * 3
    assert dataset.targets == ("2", "0", "10", "2", "0", "2", "10", "2", "0")
    assert dataset.class_names == ("0", "2", "10")
    assert dataset.y.tolist() == [1, 0, 2, 1, 0, 1, 2, 1, 0]
    for i, image in enumerate([*train, *val, *test]):
        np.testing.assert_array_equal(dataset.read(i), image)
    assert dataset.names[0] == "train_images[0]"
    assert dataset.names[8] == "test_images[2]"


def test_class_names_keep_the_order_of_the_labels(tmp_path: Path) -> None:
    names = np.array(["zebra", "ant", "cow"])
    path = save(tmp_path, train_images=pixels(3, 4, 4), train_labels=np.array([2, 0, 0]), class_names=names)
    dataset = load_dataset(path)
    assert dataset.targets == ("cow", "zebra", "zebra")
    assert dataset.class_names == ("zebra", "cow")
    assert dataset.notes == ("classes without images are left out: ant",)


@pytest.mark.parametrize("dtype", ["U", "S"])
def test_string_labels(tmp_path: Path, dtype: str) -> None:
    path = save(tmp_path, train_images=pixels(3, 4, 4), train_labels=np.array(["b", "a", "b"], dtype=dtype))
    dataset = load_dataset(path)
    assert (dataset.targets, dataset.class_names) == (("b", "a", "b"), ("a", "b"))


def test_channels(tmp_path: Path) -> None:
    gray, rgb = pixels(2, 4, 5, 1), pixels(2, 4, 5, 3)
    path = save(tmp_path, train_images=gray, train_labels=[0, 1], test_images=rgb, test_labels=[0, 1])
    dataset = load_dataset(path)
    np.testing.assert_array_equal(dataset.read(1), gray[1, :, :, 0])
    np.testing.assert_array_equal(dataset.read(3), rgb[1])


def test_alpha_lies_over_white(tmp_path: Path) -> None:
    rgba = pixels(2, 16, 16, 4)
    rgba[0, 0, 0], rgba[0, 0, 1] = (10, 20, 30, 0), (10, 20, 30, 255)
    dataset = load_dataset(save(tmp_path, train_images=rgba, train_labels=[0, 1]))
    image = dataset.read(0)
    assert isinstance(image, np.ndarray)
    assert image[0, 0].tolist() == [255, 255, 255]
    assert image[0, 1].tolist() == [10, 20, 30]
    alpha = rgba[0, :, :, 3:] / 255.0
    exact = rgba[0, :, :, :3] * alpha + 255 * (1 - alpha)
    assert np.abs(image - exact).max() <= 0.5 + 1e-9


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        (
            {"x": np.zeros(2), "y": np.zeros(2)},
            ": no array train_images, val_images or test_images; it holds: x, y",
        ),
        ({"train_images": pixels(2, 3, 3)}, ": train_images has no array train_labels beside it"),
        (
            {"train_images": np.zeros((2, 3, 3), np.float32), "train_labels": [0, 1]},
            ": train_images is float32, expected uint8 with values from 0 to 255: convert it before saving",
        ),
        (
            {"train_images": pixels(2, 3, 3, 2), "train_labels": [0, 1]},
            ": train_images has shape (2, 3, 3, 2), expected (n, height, width) or "
            "(n, height, width, channels) with 1, 3 or 4 channels",
        ),
        (
            {"train_images": pixels(2, 0, 3), "train_labels": [0, 1]},
            ": train_images has shape (2, 0, 3), expected (n, height, width) or "
            "(n, height, width, channels) with 1, 3 or 4 channels",
        ),
        (
            {"train_images": pixels(2, 3, 3), "train_labels": [0, 1, 1]},
            ": train_labels has 3 labels for 2 images",
        ),
        (
            {"train_images": pixels(2, 3, 3), "train_labels": np.zeros((2, 14), np.uint8)},
            ": train_labels has shape (2, 14), several labels per image (multi-label), which is not "
            "supported; expected (n,) or (n, 1)",
        ),
        (
            {"train_images": pixels(2, 3, 3), "train_labels": np.zeros((2, 1, 1), np.uint8)},
            ": train_labels has shape (2, 1, 1), expected (n,) or (n, 1)",
        ),
        (
            {"train_images": pixels(2, 3, 3), "train_labels": [0.5, 1.5]},
            ": train_labels is float64, expected integers or strings",
        ),
        (
            {"train_images": pixels(2, 3, 3), "train_labels": np.array(["a", 1], dtype=object)},
            ": array 'train_labels' holds Python objects, which are not loaded; "
            "save numbers or plain strings",
        ),
        (
            {"train_images": pixels(2, 3, 3), "train_labels": [0, 7], "class_names": ["a", "b"]},
            ": labels without a class name: 7; class_names has 2 names",
        ),
        (
            {"train_images": pixels(2, 3, 3), "train_labels": [0, -1], "class_names": ["a", "b"]},
            ": labels without a class name: -1; class_names has 2 names",
        ),
        (
            {"train_images": pixels(2, 3, 3), "train_labels": ["a", "c"], "class_names": ["a", "b"]},
            ": labels without a class name: c; class_names has 2 names",
        ),
        (
            {"train_images": pixels(2, 3, 3), "train_labels": [0, 1], "class_names": ["a", "a"]},
            ": class_names holds 'a' more than once",
        ),
        (
            {"train_images": pixels(2, 3, 3), "train_labels": [0, 1], "class_names": [1, 2]},
            ": class_names is int64 (2,), expected strings (n,)",
        ),
        (
            {
                "train_images": pixels(1, 3, 3),
                "train_labels": ["a"],
                "test_images": pixels(1, 3, 3),
                "test_labels": [0],
            },
            ": the labels of one part are strings and of another integers",
        ),
        ({"train_images": pixels(0, 3, 3), "train_labels": []}, ": its image arrays are empty"),
    ],
)
def test_arrays_that_cannot_be_used(tmp_path: Path, arrays: dict[str, Any], reason: str) -> None:
    fails(save(tmp_path, **arrays), reason)


def test_not_an_npz(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(b"no zip")
    fails(path, ": not an npz file (no zip archive of arrays), or it is cut short")
    np.save(tmp_path / "y.npy", pixels(2, 3, 3))
    (tmp_path / "y.npy").rename(path)
    fails(path, ": not an npz file (no zip archive of arrays), or it is cut short")


def test_damaged_npz(tmp_path: Path) -> None:
    path = save(tmp_path, train_images=pixels(50, 9, 9), train_labels=np.zeros(50, np.uint8))
    data = bytearray(path.read_bytes())
    whole = bytes(data)
    for i in range(200, 400):
        data[i] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=r"x\.npz: array 'train_images' cannot be read \("):
        load_dataset(path)
    path.write_bytes(whole[: len(whole) // 2])
    fails(path, ": not an npz file (no zip archive of arrays), or it is cut short")
