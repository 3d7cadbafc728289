"""The images of a network: decoded once, the same as one at a time, bad ones named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from classic_cv.dataset import load_dataset
from classic_cv.deep import images
from classic_cv.deep.images import decode, has_color, most_side, moved_up, typical_side
from classic_cv.deep.preparation import prepare
from classic_cv.errors import DatasetError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight images of 40 x 60 pixels, a gray one, and one that is none."""
    rng = np.random.default_rng(0)
    for index in range(8):
        path = tmp_path / "ab"[index % 2] / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, 256, (40, 60, 3)).astype(np.uint8))
    cv2.imwrite(str(tmp_path / "a" / "gray.png"), np.full((40, 40), 77, np.uint8))
    data = (tmp_path / "a" / "0.png").read_bytes()
    (tmp_path / "b" / "broken.png").write_bytes(data[: len(data) // 2])
    return tmp_path


@pytest.mark.parametrize("resize", ["squash", "crop"])
def test_decoded_images_are_those_prepared_one_at_a_time(folder: Path, resize: Any) -> None:
    dataset = load_dataset(folder)
    seen: list[tuple[str, int, int]] = []
    found = decode(
        dataset, np.arange(len(dataset)), 32, resize, threads=2, progress=lambda *step: seen.append(step)
    )
    assert [dataset.names[k] for k in found.kept] == [n for n in dataset.names if "broken" not in n]
    assert [problem.source for problem in found.problems] == [n for n in dataset.names if "broken" in n]
    assert seen[-1] == ("decoding", len(dataset), len(dataset))
    for position, pixels in zip(found.kept, found.pixels, strict=True):
        np.testing.assert_array_equal(pixels, prepare(dataset.read(position), 32, resize))


def test_squash_takes_all_and_crop_the_middle_square() -> None:
    image = np.zeros((20, 60, 3), np.uint8)
    image[:, 20:40] = 255
    assert prepare(image, 10, "crop").min() == 255
    squashed = prepare(image, 12, "squash")
    assert squashed.shape == (12, 12, 3)
    assert squashed[:, 5:7].min() == 255
    assert squashed[:, :3].max() == 0


def test_gray_images_get_three_equal_planes() -> None:
    pixels = prepare(np.arange(256, dtype=np.uint8).reshape(16, 16), 16, "squash")
    assert pixels.shape == (16, 16, 3)
    assert not has_color(pixels[None])
    assert pixels[3, 4].tolist() == [52, 52, 52]


def test_one_image_with_color_is_enough() -> None:
    pixels = np.full((130, 4, 4, 3), 9, np.uint8)
    assert not has_color(pixels)
    pixels[129, 2, 2, 1] = 10
    assert has_color(pixels)


def test_the_typical_side_is_the_median_of_the_shorter_ones(folder: Path) -> None:
    dataset = load_dataset(folder)
    assert typical_side(dataset, np.arange(len(dataset))) == 40


def test_images_that_do_not_fit_into_memory_are_refused_before_they_are_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = load_dataset(folder)
    monkeypatch.setattr(images, "MOST_BYTES", 3 * 10 * 20**2)
    assert most_side(10) == 20
    decode(dataset, range(10), 20, "squash")
    with pytest.raises(DatasetError, match=r"10 images of 21 x 21 pixels take .* give a size of at most 20"):
        decode(dataset, range(10), 21, "squash")


def test_a_data_set_without_a_usable_image_is_an_error(folder: Path) -> None:
    dataset = load_dataset(folder)
    broken = [k for k, name in enumerate(dataset.names) if "broken" in name]
    with pytest.raises(DatasetError, match=r"no training image can be used; the first: .*broken\.png"):
        decode(dataset, broken, 32, "squash")
    with pytest.raises(DatasetError, match="none of 0 training images"):
        typical_side(dataset, [])


def test_rows_are_moved_within_their_array() -> None:
    pixels = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1) * np.ones((1, 2, 2, 3), np.uint8)
    found = moved_up(pixels, np.array([0, 2, 4]))
    assert found[:, 0, 0, 0].tolist() == [0, 2, 4]
    assert np.shares_memory(found, pixels)
