"""Copies of every image, and images too small to show anything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from classic_cv.checks.duplicates.finding_copies import Copies, find_copies
from classic_cv.checks.duplicates.groups import groups_of_copies
from classic_cv.checks.surveying import read_survey
from classic_cv.dataset import load_dataset


def found(root: Path) -> tuple[Copies, list[str]]:
    dataset = load_dataset(root)
    return find_copies(dataset, read_survey(dataset), 0), [Path(name).stem for name in dataset.names]


def save(pixels: NDArray[np.uint8], root: Path, name: str, quality: int = 95) -> None:
    folder = root / ("a" if int(name.split("-")[0]) % 2 else "b")
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(folder / name, quality=quality)


def test_copies_of_every_image_are_found(tmp_path: Path) -> None:
    photos = [
        np.asarray(getattr(data, name)(), np.uint8) for name in ("astronaut", "coffee", "rocket", "chelsea")
    ]
    crops = [photo[y : y + 90, x : x + 90] for photo in photos for y in (10, 200) for x in range(0, 350, 90)]
    for number, crop in enumerate(crop for crop in crops if crop.std() > 30):
        save(crop, tmp_path, f"{number}-0.jpg")
        save(crop, tmp_path, f"{number}-1.jpg", quality=40)
        save(np.ascontiguousarray(crop[:, ::-1]), tmp_path, f"{number}-2.jpg")
    copies, names = found(tmp_path)
    groups = [
        {names[index].split("-")[0] for index in group}
        for group in groups_of_copies(len(names), copies.pairs)
    ]
    assert all(len(group) == 1 for group in groups)
    assert len(np.unique(copies.pairs)) > 0.9 * len(names) > 50


def test_images_of_a_few_pixels_are_no_copies_unless_exact(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(40):
        save(rng.integers(0, 256, (2, 3, 3), dtype=np.uint8), tmp_path, f"{number}-0.png")
    (tmp_path / "b" / "0-1.png").write_bytes((tmp_path / "b" / "0-0.png").read_bytes())
    copies, names = found(tmp_path)
    assert copies.kinds.tolist() == ["exact-duplicates"]
    assert {names[index] for index in copies.pairs[0]} == {"0-0", "0-1"}
