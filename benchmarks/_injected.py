"""Faults for `check` to find, injected into real images: copies across parts, wrong labels, planted shortcuts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from classic_cv.dataset import Dataset
from classic_cv.images import to_picture

Image = NDArray[np.uint8]
Transform = Callable[[Image], Image]

QUALITY = 95
"""Of the JPEG that a changed image is saved as, where the change is not its quality."""


def resized(image: Image) -> Image:
    """At 70 % of its size."""
    height, width = image.shape[:2]
    size = max(1, round(0.7 * width)), max(1, round(0.7 * height))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def cropped(image: Image, share: float = 0.05) -> Image:
    """Without half of that share on each side: 95 % of its width and height."""
    height, width = image.shape[:2]
    top, left = max(1, round(share / 2 * height)), max(1, round(share / 2 * width))
    return np.ascontiguousarray(image[top : height - top, left : width - left])


def cropped_more(image: Image) -> Image:
    """Without 5 % on each side."""
    return cropped(image, 0.1)


def brighter(image: Image) -> Image:
    """By 20 %."""
    return cv2.convertScaleAbs(image, alpha=1.2).astype(np.uint8)


def mirrored(image: Image) -> Image:
    """Left to right."""
    return np.ascontiguousarray(image[:, ::-1])


def as_it_is(image: Image) -> Image:
    """No change of the pixels."""
    return image


TRANSFORMS: Mapping[str, tuple[Transform, int]] = {
    "resize 70 %": (resized, QUALITY),
    "JPEG q40": (as_it_is, 40),
    "5 % crop": (cropped, QUALITY),
    "5 % off each side": (cropped_more, QUALITY),
    "brightness +20 %": (brighter, QUALITY),
    "mirrored": (mirrored, QUALITY),
    "mirrored, JPEG q40": (mirrored, 40),
}
"""The change, and the JPEG quality that it is saved at."""


def pixels_of(dataset: Dataset, index: int) -> Image:
    """RGB (height, width, 3)."""
    return np.asarray(to_picture(dataset.read(index), source=dataset.names[index]).pixels, np.uint8)


def encoded(image: Image, quality: int) -> bytes:
    """As JPEG."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def as_folder(dataset: Dataset, folder: Path, most: int | None = None) -> None:
    """The data as train/ and test/ folders: links to the files, PNG files of arrays; at most so many of each part."""
    parts = dataset.parts or ("train",) * len(dataset)
    counts: dict[str, int] = {}
    for index, part in enumerate(parts):
        counts[part] = counts.get(part, 0) + 1
        if most is not None and counts[part] > most:
            continue
        place = folder / part / dataset.targets[index]
        place.mkdir(parents=True, exist_ok=True)
        data = dataset.read(index)
        if isinstance(data, bytes):
            (place / f"{index}{Path(dataset.names[index]).suffix}").write_bytes(data)
        else:
            cv2.imwrite(str(place / f"{index}.png"), data if data.ndim == 2 else data[..., ::-1])


def plant_copies(
    folder: Path, transform: Transform, quality: int, most: int, seed: int
) -> list[tuple[str, str]]:
    """Copies of test images among the training images of their class, changed; returns (test image, copy) as names."""
    rng = np.random.default_rng(seed)
    files = sorted((folder / "test").glob("*/*"))
    chosen = [files[k] for k in sorted(rng.choice(len(files), min(most, len(files)), replace=False))]
    planted = []
    for file in chosen:
        image = to_picture(file.read_bytes(), source=file.name).pixels
        copy = folder / "train" / file.parent.name / f"copy-of-{file.stem}.jpg"
        copy.write_bytes(encoded(transform(np.asarray(image, np.uint8)), quality))
        planted.append((str(file.relative_to(folder)), str(copy.relative_to(folder))))
    return planted


def flip_labels(folder: Path, share: float, seed: int) -> set[str]:
    """Move a share of the training images to another class at random; returns the names that are wrong now."""
    rng = np.random.default_rng(seed)
    classes = sorted(path.name for path in (folder / "train").iterdir())
    files = sorted((folder / "train").glob("*/*"))
    wrong = set()
    for k in rng.choice(len(files), round(share * len(files)), replace=False):
        file = files[k]
        other = str(rng.choice([name for name in classes if name != file.parent.name]))
        place = folder / "train" / other / f"{file.parent.name}-{file.name}"
        os.rename(file, place)
        wrong.add(str(place.relative_to(folder)))
    return wrong


def flip_npz(data: Path, out: Path, share: float, seed: int) -> set[str]:
    """The npz with a share of the training labels changed at random; returns the names that are wrong now."""
    rng = np.random.default_rng(seed)
    with np.load(data) as stored:
        arrays = {name: stored[name] for name in stored.files}
    labels = arrays["train_labels"]
    n_classes = int(labels.max()) + 1
    chosen = rng.choice(len(labels), round(share * len(labels)), replace=False)
    labels.reshape(-1)[chosen] += rng.integers(1, n_classes, len(chosen)).astype(labels.dtype)
    labels %= n_classes
    np.savez(out, **arrays)
    return {f"train_images[{k}]" for k in chosen.tolist()}


def change_class(folder: Path, name: str, change: Callable[[Image], bytes], suffix: str = ".jpg") -> None:
    """Save all images of one class anew."""
    for file in sorted(folder.glob(f"*/{name}/*")):
        image = np.asarray(to_picture(file.read_bytes(), source=file.name).pixels, np.uint8)
        file.unlink()
        file.with_suffix(suffix).write_bytes(change(image))


def at_quality(quality: int) -> Callable[[Image], bytes]:
    """Saved as JPEG of this quality."""
    return lambda image: encoded(image, quality)


def bordered(color: tuple[int, int, int], width: int = 4) -> Callable[[Image], bytes]:
    """With a border of so many pixels painted over its outermost ones."""

    def change(image: Image) -> bytes:
        framed = image.copy()
        for edge in (framed[:width], framed[-width:], framed[:, :width], framed[:, -width:]):
            edge[:] = color
        return encoded(framed, QUALITY)

    return change


def emptied(folder: Path) -> None:
    """Remove what an earlier fault has left."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
