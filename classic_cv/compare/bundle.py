"""Images and classes as they are handed to a contestant's process: files on disk that hold only what it may see."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classic_cv._latency import read_images, write_images
from classic_cv.dataset import Dataset, Encoded
from classic_cv.dataset._sources import ArraySource, FileSource, Source
from classic_cv.errors import ImageError

LABELS, ITEMS, PIXELS = "labels.npz", "items.json", "pixels_{}.npy"

CHUNK = 500
"""Test images that are in memory at a time."""


def write_training(
    folder: Path,
    dataset: Dataset,
    indices: NDArray[np.int64],
    y: NDArray[np.int64],
    class_names: Sequence[str],
    groups: NDArray[np.int64],
) -> None:
    """Write what contestants learn from: the images of files stay where they are, arrays are copied.

    Args:
        folder: an empty one.
        dataset: of all images.
        indices: those that are learned from, (n,).
        y, groups: of these, (n,).
        class_names: by class number.
    """
    np.savez(folder / LABELS, y=y, groups=groups, class_names=np.array(class_names, np.str_))
    source, items = dataset.source, {"name": dataset.name, "files": [], "root": "", "runs": []}
    if isinstance(source, FileSource):
        items["root"] = str(source.root.resolve())
        items["files"] = [source.files[i] for i in indices.tolist()]
    else:
        items["runs"] = _write_arrays(folder, dataset, indices)
    (folder / ITEMS).write_text(json.dumps(items, ensure_ascii=True), encoding="utf-8")


def _write_arrays(folder: Path, dataset: Dataset, indices: NDArray[np.int64]) -> list[str]:
    """Pixels of the images, one file for each run of equal shape."""
    files: list[str] = []
    run: list[NDArray[np.uint8]] = []

    def flush() -> None:
        name = PIXELS.format(len(files))
        np.save(folder / name, np.stack(run))
        files.append(name)
        run.clear()

    for index in indices.tolist():
        image = dataset.read(index)
        pixels = np.frombuffer(image, np.uint8) if isinstance(image, bytes) else image
        if run and run[0].shape != pixels.shape:
            flush()
        run.append(pixels)
    if run:
        flush()
    return files


@dataclass(frozen=True, eq=False)
class Training:
    """What ``write_training`` wrote, read again: positions in the data set are those of its ``indices``."""

    dataset: Dataset
    y: NDArray[np.int64]
    class_names: tuple[str, ...]
    groups: NDArray[np.int64]


def read_training(folder: Path) -> Training:
    """Read a bundle; no image is decoded."""
    with np.load(folder / LABELS, allow_pickle=False) as labels:
        y, groups = labels["y"], labels["groups"]
        names = tuple(str(name) for name in labels["class_names"])
    items = json.loads((folder / ITEMS).read_text(encoding="utf-8"))
    source: Source
    if items["runs"]:
        source = ArraySource([(run, np.load(folder / run, mmap_mode="r")) for run in items["runs"]])
    else:
        source = FileSource(Path(items["root"]), items["files"])
    targets = tuple(names[k] for k in y.tolist())
    dataset = Dataset(
        path=folder / str(items["name"]),
        layout="npz" if items["runs"] else "folder",
        source=source,
        targets=targets,
        class_names=names,
    )
    return Training(dataset, y, names, groups)


def write_queries(
    folder: Path, dataset: Dataset, indices: NDArray[np.int64]
) -> tuple[list[Path], NDArray[np.int64], list[ImageError]]:
    """Write test images as encoded bytes without names or classes, in files of at most ``CHUNK``.

    Returns:
        the files, the positions in ``dataset`` of the images in them, and those that cannot be read.
    """
    from classic_cv.images import to_picture

    kept: list[int] = []
    problems: list[ImageError] = []
    files: list[Path] = []
    chunk: list[Encoded] = []

    def flush() -> None:
        if chunk:
            files.append(folder / f"queries_{len(files)}.npz")
            write_images(files[-1], chunk)
            chunk.clear()

    for index in indices.tolist():
        try:
            image = dataset.read(index)
            to_picture(image, source=dataset.names[index], min_side=32)
        except ImageError as error:
            problems.append(error)
            continue
        kept.append(index)
        chunk.append(image)
        if len(chunk) == CHUNK:
            flush()
    flush()
    return files, np.array(kept, np.int64), problems


def read_queries(files: Sequence[Path]) -> list[Encoded]:
    """The images of some files, in order."""
    return [image for file in files for image in read_images(file)]
