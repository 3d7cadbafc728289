"""The data set that every reader returns."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from classic_cv.dataset._hashing import ContentHashes, Problem, Progress, hash_all
from classic_cv.dataset._sources import MAX_BYTES, Encoded, EncodedItem, Source
from classic_cv.errors import DatasetError, ImageError

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")

PART_NAMES: Mapping[str, Part] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""What a folder, a split column or an npz array may call a part, in lower case."""


def part_of(name: str) -> Part | None:
    """The part that ``name`` stands for, whatever its case, or ``None``."""
    return PART_NAMES.get(name.strip().casefold())


def class_name(text: str) -> str:
    """``text`` in Unicode's composed form (NFC): macOS and Linux spell ``é`` with different code points."""
    return unicodedata.normalize("NFC", text)


def listing(names: Iterable[str], most: int = 5) -> str:
    """``a, b, c and 4 more``."""
    shown = list(names)
    more = len(shown) - most
    return ", ".join(shown[:most]) + (f" and {more:,} more" if more > 0 else "")


@dataclass(eq=False, kw_only=True)
class Dataset:
    """Images with targets, and what was found while reading them. Not changed after reading.

    Attributes:
        path: what was read.
        layout: ``folder``, ``split folders``, ``manifest`` or ``npz``.
        source: where images are read from; ``read`` and ``batches`` are the ways to use it.
        targets: the target of each sample as text, in Unicode's composed form.
        target_name: the manifest's column, or ``class``.
        class_names: the distinct targets by code point; for an npz in the order of its labels.
        parts: ``train``, ``val`` or ``test`` per sample where the data says so, else ``None``.
        groups: str (n_samples,), one made up for a row without; ``None`` where the data has no groups.
        numeric: the targets as float64 where a manifest's are all finite numbers, else ``None``.
        problems: what was meant as a sample and cannot be used, by name and reason.
        ignored: what was left out by design, by name and reason: images outside class folders, repeated rows.
        ignored_suffixes: number of files left out for their suffix.
        notes: what else a user may want to know, in sentences.
    """

    path: Path
    layout: Literal["folder", "split folders", "manifest", "npz"]
    source: Source = field(repr=False)
    targets: tuple[str, ...] = field(repr=False)
    class_names: tuple[str, ...] = field(repr=False)
    target_name: str = "class"
    parts: tuple[Part, ...] | None = field(default=None, repr=False)
    groups: NDArray[np.str_] | None = field(default=None, repr=False)
    numeric: NDArray[np.float64] | None = field(default=None, repr=False)
    problems: tuple[Problem, ...] = field(default=(), repr=False)
    ignored: tuple[Problem, ...] = field(default=(), repr=False)
    ignored_suffixes: Mapping[str, int] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = field(default=(), repr=False)
    _hashes: ContentHashes | None = field(default=None, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def name(self) -> str:
        """The last part of the path: ``flowers17``."""
        return self.path.resolve().name

    @property
    def names(self) -> Sequence[str]:
        """What each sample is called."""
        return self.source.names

    @functools.cached_property
    def y(self) -> NDArray[np.int64]:
        """Labels: int64 (n_samples,), positions in ``class_names``."""
        position = {name: index for index, name in enumerate(self.class_names)}
        return np.fromiter((position[target] for target in self.targets), np.int64, len(self.targets))

    def read(self, index: int, *, max_bytes: int | None = MAX_BYTES) -> Encoded:
        """Sample ``index`` as its source has it, not decoded: bytes of a file, or pixels from an npz.

        Raises:
            ImageError: the file cannot be read, or is larger than ``max_bytes``.
        """
        return self.source.read(index, max_bytes)

    def batches(
        self,
        indices: Sequence[int] | NDArray[np.integer],
        batch_size: int,
        *,
        max_bytes: int | None = MAX_BYTES,
        on_error: Callable[[ImageError], None] | None = None,
    ) -> Iterator[list[EncodedItem]]:
        """Samples ``indices`` in lists of at most ``batch_size``, read when the list is asked for.

        Args:
            indices: which samples, in this order.
            batch_size: at least 1.
            max_bytes: refuse larger files before they are in memory.
            on_error: given the error of each sample that cannot be read, which is then left out of its
                list; without it the error is raised.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: expected at least 1")
        for start in range(0, len(indices), batch_size):
            batch = []
            for index in indices[start : start + batch_size]:
                try:
                    data = self.read(int(index), max_bytes=max_bytes)
                except ImageError as error:
                    if on_error is None:
                        raise
                    on_error(error)
                else:
                    batch.append(EncodedItem(int(index), self.names[index], data))
            yield batch

    def content_hashes(self, progress: Progress | None = None) -> ContentHashes:
        """SHA-256 of each file's bytes, or of an array's shape and bytes; reads every image once, then kept.

        A file that cannot be read has no digest and is in ``problems`` of the result.
        """
        if self._hashes is None:
            self._hashes = hash_all(self.source, progress)
        return self._hashes


def sorted_classes(targets: Iterable[str]) -> tuple[str, ...]:
    """The distinct targets by Unicode code point."""
    return tuple(sorted(set(targets)))


def no_images(path: Path, found: str) -> DatasetError:
    """The error for data without a usable image: says what was found and what is taken."""
    return DatasetError(
        f"{path}: {found}; expected a folder per class (CLASS/*.jpg), train/ and test/ folders of such "
        "folders, a .csv or .tsv manifest, or an .npz file"
    )
