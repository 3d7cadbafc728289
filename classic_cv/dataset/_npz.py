"""An npz in MedMNIST's form: ``train_images``, ``train_labels``, ``val_*``, ``test_*``."""

from __future__ import annotations

import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.dataset._dataset import PARTS, Dataset, Part, class_name, listing, part_of
from classic_cv.dataset._sources import ArraySource, os_reason
from classic_cv.errors import DatasetError

KEY = re.compile(r"(\w+)_(images|labels)", re.ASCII)


def _load(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays that matter, by their names in the file."""
    if not zipfile.is_zipfile(path):
        raise DatasetError(f"{path}: not an npz file (no zip archive of arrays), or it is cut short")
    name = ""
    try:
        with np.load(path, allow_pickle=False) as npz:
            names = list(npz.files)
            arrays = {}
            for name in names:
                match = KEY.fullmatch(name)
                if name == "class_names" or (match and part_of(match[1])):
                    arrays[name] = npz[name]
    except (ValueError, EOFError, OSError, zlib.error, zipfile.BadZipFile, NotImplementedError) as error:
        where = f": array {name!r}" if name else ""
        if "allow_pickle" in str(error):
            reason = "holds Python objects, which are not loaded; save numbers or plain strings"
        else:
            reason = f"cannot be read ({os_reason(error) if isinstance(error, OSError) else error})"
        raise DatasetError(f"{path}{where} {reason}") from None
    if not any(name.endswith("_images") for name in arrays):
        raise DatasetError(
            f"{path}: no array train_images, val_images or test_images; "
            f"it holds: {listing(names, 8) or 'nothing'}"
        )
    return arrays


def _check_images(path: Path, name: str, images: NDArray[Any]) -> None:
    if images.dtype != np.uint8:
        raise DatasetError(
            f"{path}: {name} is {images.dtype}, expected uint8 with values from 0 to 255: "
            "convert it before saving"
        )
    color = images.ndim == 4 and images.shape[3] in (1, 3, 4)
    if not (images.ndim == 3 or color) or 0 in images.shape[1:]:
        raise DatasetError(
            f"{path}: {name} has shape {images.shape}, expected (n, height, width) or "
            "(n, height, width, channels) with 1, 3 or 4 channels"
        )


def _labels(path: Path, name: str, labels: NDArray[Any], n_images: int) -> NDArray[Any]:
    """Labels as int64 or str (n,)."""
    if labels.ndim == 2 and labels.shape[1] > 1:
        raise DatasetError(
            f"{path}: {name} has shape {labels.shape}, several labels per image (multi-label), which is not "
            "supported; expected (n,) or (n, 1)"
        )
    if labels.ndim not in (1, 2):
        raise DatasetError(f"{path}: {name} has shape {labels.shape}, expected (n,) or (n, 1)")
    if len(labels) != n_images:
        raise DatasetError(f"{path}: {name} has {len(labels):,} labels for {n_images:,} images")
    flat = labels.reshape(-1)
    if flat.dtype.kind in "iub":
        return flat.astype(np.int64)
    if flat.dtype.kind in "US":
        texts = np.char.decode(flat, "utf-8", "backslashreplace") if flat.dtype.kind == "S" else flat
        return np.array([class_name(str(text)) for text in texts], dtype=np.str_)
    raise DatasetError(f"{path}: {name} is {labels.dtype}, expected integers or strings")


def _named(path: Path, labels: NDArray[Any], names: NDArray[Any] | None) -> tuple[list[str], tuple[str, ...]]:
    """(target of each sample, all class names in the order of the labels)."""
    if names is None:
        distinct = np.unique(labels)  # integers by value, strings by code point
        return [str(label) for label in labels.tolist()], tuple(str(label) for label in distinct.tolist())
    if names.ndim != 1 or names.dtype.kind not in "US":
        raise DatasetError(f"{path}: class_names is {names.dtype} {names.shape}, expected strings (n,)")
    if names.dtype.kind == "S":
        names = np.char.decode(names, "utf-8", "backslashreplace")
    known = tuple(class_name(str(name)) for name in names)
    if len(set(known)) < len(known):
        twice = next(name for name in known if known.count(name) > 1)
        raise DatasetError(f"{path}: class_names holds {twice!r} more than once")
    distinct = np.unique(labels).tolist()
    if labels.dtype.kind == "U":
        unknown = [label for label in distinct if label not in known]
        targets = labels.tolist()
    else:
        unknown = [label for label in distinct if not 0 <= label < len(known)]
        targets = [] if unknown else [known[label] for label in labels.tolist()]
    if unknown:
        raise DatasetError(
            f"{path}: labels without a class name: {listing(map(str, unknown))}; "
            f"class_names has {len(known):,} names"
        )
    return targets, known


def read_npz(path: Path) -> Dataset:
    """Read an npz in MedMNIST's form; its images stay in memory as uint8.

    Raises:
        DatasetError: not an npz, arrays missing, or of a type, shape or length that cannot be used.
    """
    stored = _load(path)
    arrays: list[tuple[str, NDArray[np.uint8]]] = []
    labels: list[NDArray[Any]] = []
    parts: list[Part] = []
    keys = [key for key in stored if key.endswith("_images")]
    order: dict[str, Part] = {key: part for key in keys if (part := part_of(key.removesuffix("_images")))}
    for key in sorted(order, key=lambda key: PARTS.index(order[key])):
        images, label_key = stored[key], key.removesuffix("_images") + "_labels"
        if images.ndim and len(images) == 0:
            continue
        if label_key not in stored:
            raise DatasetError(f"{path}: {key} has no array {label_key} beside it")
        _check_images(path, key, images)
        labels.append(_labels(path, label_key, stored[label_key], len(images)))
        arrays.append((key, images))
        parts += [order[key]] * len(images)
    if not parts:
        raise DatasetError(f"{path}: its image arrays are empty")
    if len({array.dtype.kind for array in labels}) > 1:
        raise DatasetError(f"{path}: the labels of one part are strings and of another integers")
    targets, known = _named(path, np.concatenate(labels), stored.get("class_names"))
    present = set(targets)
    absent = [name for name in known if name not in present]
    return Dataset(
        path=path,
        layout="npz",
        source=ArraySource(arrays),
        targets=tuple(targets),
        class_names=tuple(name for name in known if name in present),
        parts=tuple(parts),
        notes=(f"classes without images are left out: {listing(absent)}",) if absent else (),
    )
