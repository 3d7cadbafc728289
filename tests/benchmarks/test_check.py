from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks._injected import (
    TRANSFORMS,
    bordered,
    change_class,
    flip_labels,
    flip_npz,
    plant_copies,
)
from benchmarks.check import pairs_in, random_hashes, without_reference
from classic_cv.checks.leakage import check_copies
from classic_cv.images import read_image


@pytest.fixture
def data(faces: Path, tmp_path: Path) -> Path:
    shutil.copytree(faces, tmp_path / "faces")
    return tmp_path / "faces"


def test_copies_are_planted_in_training_and_looked_for_by_name(data: Path) -> None:
    planted = plant_copies(data, TRANSFORMS["mirrored"][0], 95, 5, 0)
    assert len(planted) == 5
    test, copy = planted[0]
    original, mirrored = (read_image(data / name).pixels.astype(int) for name in (test, copy))
    assert np.abs(original[:, ::-1] - mirrored).mean() < 3
    subject = without_reference(data)
    found = pairs_in(check_copies(subject), subject)
    assert all(
        len(pair) == 2 and {name.split("/")[0] for name in pair} == {"train", "test"} for pair in found
    )


def test_flipped_labels_are_those_that_are_returned(data: Path) -> None:
    before = {path.name for path in (data / "train" / "face").iterdir()}
    wrong = flip_labels(data, 0.1, 0)
    assert len(wrong) == 15
    for name in wrong:
        _, now, file = name.split("/")
        assert (data / name).is_file()
        was = "face" if file.startswith("face-") else "not-face"
        assert was != now
        assert (file.removeprefix("face-") in before) == (was == "face")


def test_flipped_labels_of_an_npz(tmp_path: Path) -> None:
    labels = np.arange(100, dtype=np.uint8) % 10
    np.savez(tmp_path / "a.npz", train_images=np.zeros((100, 4, 4), np.uint8), train_labels=labels)
    wrong = flip_npz(tmp_path / "a.npz", tmp_path / "b.npz", 0.05, 0)
    after = np.load(tmp_path / "b.npz")["train_labels"]
    assert {f"train_images[{k}]" for k in np.flatnonzero(after != labels)} == wrong
    assert len(wrong) == 5
    assert after.max() < 10


def test_a_border_is_painted_over_one_class(data: Path) -> None:
    change_class(data, "face", bordered((200, 30, 30)))
    image = read_image(next((data / "train" / "face").glob("*.jpg"))).pixels
    assert np.abs(image[:2].reshape(-1, 3).mean(axis=0) - (200, 30, 30)).max() < 12
    assert not list((data / "train" / "not-face").glob("*.jpg"))


def test_planted_hashes_are_near(data: Path) -> None:
    drawn, planted = random_hashes(1000)
    bits = [np.bitwise_count(drawn[a] ^ drawn[b]).sum() for a, b in planted]
    assert len(planted) == 10
    assert 0 < np.mean(bits) < 12
