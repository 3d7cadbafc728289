"""Which reader a path needs."""

from __future__ import annotations

import os
from pathlib import Path

from classic_cv.dataset._dataset import Dataset, listing, no_images
from classic_cv.dataset._folder import FolderScan, folder_dataset, list_directory, suffix_of
from classic_cv.dataset._manifest import SUFFIXES, has_path_column, read_manifest
from classic_cv.dataset._npz import read_npz
from classic_cv.dataset._sources import os_reason, printable
from classic_cv.errors import DatasetError


def _read_folder(path: Path, target: str | None) -> Dataset:
    """A folder of class folders; or, with fewer than two classes in it, the one manifest it holds."""
    try:
        files = list_directory(path).files
    except OSError as error:
        raise DatasetError(f"{path}: {os_reason(error)}") from None
    manifests = [name for name in files if suffix_of(name) in SUFFIXES and has_path_column(path / name)]
    labels = [name for name in manifests if os.path.splitext(name)[0].casefold() == "labels"]
    chosen = labels if len(labels) == 1 else manifests
    if target is not None and len(chosen) == 1:
        return read_manifest(path / chosen[0], target)
    scan = FolderScan(path).run()
    if len(scan.targets) < 2 and manifests:
        if len(chosen) > 1:
            raise DatasetError(f"{path}: holds several manifests: {listing(chosen)}; give the path of one")
        return read_manifest(path / chosen[0], target)
    if target is not None:
        raise DatasetError(f"{path}: --target {target} needs a manifest, and this folder holds none")
    if manifests:
        scan.notes.append(f"classes are taken from the folders; to use {manifests[0]} instead, give its path")
    if scan.found:
        return folder_dataset(scan)
    arrays = [name for name in files if suffix_of(name) == ".npz"]
    if arrays:
        raise no_images(path, f"no images, but {listing(arrays)}: to read it, give its path")
    if scan.ignored:
        raise no_images(path, f"{len(scan.ignored):,} images but no class folders with images")
    if scan.problems:
        raise no_images(path, f"no images that can be read ({': '.join(scan.problems[0])})")
    if scan.suffixes:
        kinds = (f"{count:,} {suffix}" for suffix, count in scan.suffixes.most_common())
        raise no_images(path, f"no images among its files ({listing(kinds)})")
    raise no_images(path, "the folder is empty")


def load_dataset(path: str | os.PathLike[str], *, target: str | None = None) -> Dataset:
    """Read a data set without decoding its images.

    Taken are: a folder per class, searched to any depth; ``train/``, ``val/`` and ``test/`` of such folders
    (``training``, ``valid``, ``validation`` and ``testing`` are the same, in any case); a CSV or TSV
    manifest, or a folder that holds one and fewer than two class folders; an npz in MedMNIST's form.

    Args:
        path: the folder or file.
        target: the manifest's target column, where it has several that could be it.

    Raises:
        DatasetError: says what was found there and what is taken.
    """
    path = Path(path)
    try:
        path.stat()
    except (OSError, ValueError) as error:
        reason = os_reason(error) if isinstance(error, OSError) else str(error)
        raise DatasetError(f"{printable(str(path))}: {reason}") from None
    if path.is_dir():
        return _read_folder(path, target)
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return read_manifest(path, target)
    if target is not None:
        raise DatasetError(f"{path}: --target {target} needs a .csv or .tsv manifest")
    if suffix == ".npz":
        return read_npz(path)
    raise no_images(path, "not a data set")
