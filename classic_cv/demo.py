"""Real image sets that the dependencies ship, written as ``train/CLASS/*.png`` and ``test/CLASS/*.png``."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from classic_cv.errors import DatasetError

PartName = Literal["train", "test"]
DemoSet = Literal["digits", "textures", "faces"]

TEST_FRACTION = 0.25
PATCH = 32
"""Side of a texture patch; the photos of 512 x 512 hold a grid of 16 x 16 of them."""
TRAIN_COLUMNS, TEST_COLUMNS = range(0, 9), range(12, 16)
"""Columns of that grid for each part; three between them are left out."""
STAGING = ".classic-cv-demo-"


class DemoSummary(TypedDict):
    """What ``write_demo`` wrote, or found written."""

    set: str
    directory: str
    classes: int
    n_train: int
    n_test: int


class _Image(NamedTuple):
    part: PartName
    target: str
    name: str
    pixels: NDArray[np.uint8]


def _divided(images: NDArray[np.uint8], targets: list[str]) -> Iterator[_Image]:
    """A stratified quarter of the images for test; which ones follows from their pixels."""
    from classic_cv.dataset._assign import choose_test

    names = [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
    strata = np.unique(targets, return_inverse=True)[1].astype(np.int64)
    blocks = np.arange(len(images), dtype=np.int64)
    test = choose_test(strata, blocks, names, fraction=TEST_FRACTION, seed=0)
    for index, (image, target, in_test) in enumerate(zip(images, targets, test, strict=True)):
        yield _Image("test" if in_test else "train", target, f"{index:04d}.png", image)


def _digits() -> Iterator[_Image]:
    """1,797 handwritten digits of 8 x 8, 17 levels of gray."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    return _divided(images, [str(target) for target in digits.target.tolist()])


def _faces() -> Iterator[_Image]:
    """100 faces and 100 other crops of photos, 25 x 25, gray."""
    from skimage import data

    skimage_data: Any = data
    images = np.rint(skimage_data.lfw_subset() * 255).astype(np.uint8)
    return _divided(images, ["face"] * 100 + ["not-face"] * 100)


def _textures() -> Iterator[_Image]:
    """Patches of three photos, none overlapping another; train and test come from opposite sides."""
    from skimage import data

    parts: tuple[tuple[PartName, range], ...] = (("train", TRAIN_COLUMNS), ("test", TEST_COLUMNS))
    for target in ("brick", "grass", "gravel"):
        photo = getattr(data, target)()
        for part, columns in parts:
            for row in range(photo.shape[0] // PATCH):
                for column in columns:
                    y, x = row * PATCH, column * PATCH
                    name = f"y{y:03d}-x{x:03d}.png"
                    yield _Image(part, target, name, photo[y : y + PATCH, x : x + PATCH])


_MAKERS = {"digits": _digits, "textures": _textures, "faces": _faces}


def _files(name: DemoSet) -> dict[str, bytes]:
    """PNG bytes by path."""
    files = {}
    for image in _MAKERS[name]():
        ok, encoded = cv2.imencode(".png", image.pixels)
        if not ok:
            raise DatasetError(f"demo {name}: OpenCV could not write {image.name} as PNG")
        files[f"{image.part}/{image.target}/{image.name}"] = encoded.tobytes()
    return files


def _holds(directory: Path, files: dict[str, bytes]) -> bool:
    """Whether the visible content of ``directory`` is exactly ``files``."""
    present = [path.relative_to(directory) for path in directory.rglob("*") if not path.is_dir()]
    visible = {path.as_posix() for path in present if not any(part.startswith(".") for part in path.parts)}
    if visible != files.keys():
        return False
    return all((directory / path).read_bytes() == data for path, data in files.items())


def _write_aside(directory: Path, files: dict[str, bytes]) -> None:
    """Write ``files`` into a hidden folder, then rename it, or its two folders, into place."""
    fresh = not directory.exists()
    parent = directory.parent if fresh else directory
    parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=STAGING, dir=parent))
    try:
        for path, data in files.items():
            (staging / path).parent.mkdir(parents=True, exist_ok=True)
            (staging / path).write_bytes(data)
        if fresh:
            staging.chmod((staging / "train").stat().st_mode)  # mkdtemp's folders are private
            staging.rename(directory)
        else:  # it may be the current folder or a mount, which a rename would not replace
            for part in ("test", "train"):
                (staging / part).rename(directory / part)
    except BaseException:
        for part in () if fresh else ("test", "train"):
            shutil.rmtree(directory / part, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write_demo(directory: str | os.PathLike[str], name: DemoSet = "digits") -> DemoSummary:
    """Write the image set ``name`` into a new or empty ``directory``; the same files every time.

    ``digits``: scikit-learn's 1,797 handwritten digits, 8 x 8. ``textures``: 32 x 32 patches of
    scikit-image's photos of brick, grass and gravel, train and test from different regions. ``faces``:
    scikit-image's 100 faces and 100 other crops, 25 x 25. All are 8-bit gray. An interrupted run leaves
    nothing half-written; a directory that already holds the same set is left as it is.

    Raises:
        DatasetError: no such set, or the directory holds something else, or cannot be written.
    """
    if name not in _MAKERS:
        raise DatasetError(f"no demo set {name!r}; there are: {', '.join(get_args(DemoSet))}")
    directory = Path(directory)
    files = _files(name)
    try:
        if directory.exists() and not directory.is_dir():
            raise DatasetError(f"{directory}: is a file; give a new or empty folder")
        empty = not directory.exists() or all(entry.name.startswith(".") for entry in directory.iterdir())
        if empty:
            _write_aside(directory, files)
        elif not _holds(directory, files):
            raise DatasetError(
                f"{directory}: holds something other than the {name} demo set; give a new or empty folder"
            )
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DatasetError(f"{directory}: the demo set cannot be written: {reason}") from None
    parts = [path.split("/") for path in files]
    return {
        "set": name,
        "directory": str(directory),
        "classes": len({target for _, target, _ in parts}),
        "n_train": sum(part == "train" for part, _, _ in parts),
        "n_test": sum(part == "test" for part, _, _ in parts),
    }
