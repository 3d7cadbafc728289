"""Where images come from: files that are read when asked for, or arrays that an npz held."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from classic_cv.errors import ImageError

Encoded = bytes | NDArray[np.uint8]
"""The bytes of an image file, or uint8 pixels (height, width) gray or (height, width, 3) RGB."""

MAX_BYTES = 64 * 2**20
"""Larger files are refused before they are in memory."""


@dataclass(frozen=True, slots=True, eq=False)
class EncodedItem:
    """One image as its source has it.

    Attributes:
        index: its position in the data set.
        name: the file's path relative to the data set, or ``train_images[17]`` for an npz.
        data: the bytes of the file, or uint8 pixels (height, width) or (height, width, 3).
    """

    index: int
    name: str
    data: Encoded


class Source(Protocol):
    """What a data set asks of the place its images come from."""

    @property
    def names(self) -> Sequence[str]:
        """What each image is called."""

    def read(self, index: int, max_bytes: int | None = MAX_BYTES) -> Encoded:
        """Image ``index``; ``ImageError`` when it cannot be read or is larger than ``max_bytes``."""

    def digest(self, index: int) -> str:
        """SHA-256 of the content of image ``index`` as 64 hex digits; ``ImageError`` when unreadable."""


def printable(path: str) -> str:
    """``path`` with bytes that are not UTF-8 written as ``\\xff``, so that it can be printed and hashed."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def os_reason(error: OSError) -> str:
    """What the system said, without the path and in lower case: ``permission denied``."""
    return (error.strerror or str(error)).lower()


class FileSource:
    """Image files below ``root``, opened one at a time.

    Args:
        root: the folder that relative paths start from.
        files: paths relative to ``root``, or absolute ones.
    """

    def __init__(self, root: Path, files: Sequence[str]) -> None:
        self.root = root
        self.files = tuple(files)
        self.names: Sequence[str] = tuple(printable(file) for file in files)

    def read(self, index: int, max_bytes: int | None = MAX_BYTES) -> Encoded:
        try:
            with open(os.path.join(self.root, self.files[index]), "rb") as file:
                size = os.fstat(file.fileno()).st_size
                if max_bytes is not None and size > max_bytes:
                    reason = f"the file has {size:,} bytes, more than the limit of {max_bytes:,}"
                    raise ImageError(self.names[index], reason)
                return file.read()
        except OSError as error:
            raise ImageError(self.names[index], os_reason(error)) from None

    def digest(self, index: int) -> str:
        try:
            with open(os.path.join(self.root, self.files[index]), "rb", buffering=0) as file:
                if os.fstat(file.fileno()).st_size == 0:
                    raise ImageError(self.names[index], "the file is empty (0 bytes)")
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ImageError(self.names[index], os_reason(error)) from None


def over_white(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 (height, width, 4) laid over white: uint8 (height, width, 3), rounded to nearest."""
    color = rgba[..., :3].astype(np.uint32)
    alpha = rgba[..., 3:].astype(np.uint32)
    return ((color * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


class ArraySource:
    """Images held in memory as uint8.

    Args:
        arrays: (name, uint8 (n, height, width[, 1, 3 or 4])) in order; an image is called ``name[position]``.
    """

    def __init__(self, arrays: Sequence[tuple[str, NDArray[np.uint8]]]) -> None:
        self.arrays = tuple(array for _, array in arrays)
        self.names: Sequence[str] = tuple(f"{name}[{i}]" for name, array in arrays for i in range(len(array)))
        self._ends = np.cumsum([len(array) for array in self.arrays])

    def _pixels(self, index: int) -> NDArray[np.uint8]:
        which = int(np.searchsorted(self._ends, index, side="right"))
        array = self.arrays[which]
        image: NDArray[np.uint8] = array[index - int(self._ends[which]) + len(array)]
        return image

    def read(self, index: int, max_bytes: int | None = MAX_BYTES) -> Encoded:
        image = self._pixels(index)
        if image.ndim == 2 or image.shape[2] == 3:
            return image
        return image[:, :, 0] if image.shape[2] == 1 else over_white(image)

    def digest(self, index: int) -> str:
        image = self._pixels(index)
        shape = "x".join(map(str, image.shape)).encode()
        return hashlib.sha256(shape + b":" + image.tobytes()).hexdigest()
