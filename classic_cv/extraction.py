"""Features of many images: in batches, on several threads, bad images skipped by name.

Batches have a fixed size and each is computed on its own with one BLAS and one OpenCV thread, so the
result is the same bit for bit whatever the number of jobs. Threads rather than processes: decoding and the
extractors' inner loops release the interpreter lock, nothing has to be copied or imported again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from classic_cv.errors import ImageError
from classic_cv.features.base import Features
from classic_cv.featurizer import Featurizer
from classic_cv.images import Picture

BATCH_BYTES = 2**21
"""Prepared pixels of one batch: small images go in big batches, so that Python's cost per call is shared."""

MOVED_ROWS = 256
"""Rows that are moved at a time where unreadable images have left a gap."""

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, how many are done, how many there are)."""


class ImageSource(Protocol):
    """Where images come from: a ``Dataset``, files, a list."""

    @property
    def names(self) -> Sequence[str]:
        """What each item is called in messages."""

    def read(self, index: int) -> Any:
        """Item ``index``: a path, encoded bytes or an array of pixels; ImageError when it cannot be read."""


@dataclass
class Batch:
    """One batch of results: which items have features, and why the others have none.

    ``copies`` are the features of their mirror images, where they were asked for.
    """

    kept: list[int] = field(default_factory=list)
    problems: list[ImageError] = field(default_factory=list)
    features: Features = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    copies: Features | None = None


@dataclass
class Extraction:
    """Features of the readable items.

    Attributes:
        X: float32 (n_kept, n_features), rows in the order of ``kept``; with mirrored copies (2 * n_kept, n_features),
            the items first and then the mirror image of each, in the same order.
        kept: (n_kept,) item indices that could be read.
        problems: one error per item that could not.
    """

    X: Features
    kept: NDArray[np.intp]
    problems: list[ImageError]

    @property
    def has_copies(self) -> bool:
        """Whether X also has a row for the mirror image of each item."""
        return len(self.X) != len(self.kept)


def read_pictures(
    source: ImageSource, indices: Sequence[int], featurizer: Featurizer
) -> tuple[Batch, list[Picture]]:
    """Read and prepare items; the ones that cannot be read are recorded, not raised."""
    batch, pictures = Batch(), []
    for index in indices:
        try:
            pictures.append(featurizer.prepare(source.read(index), source.names[index]))
        except ImageError as error:
            batch.problems.append(error)
        else:
            batch.kept.append(index)
    return batch, pictures


def extract_batches(
    source: ImageSource,
    indices: Sequence[int],
    featurizer: Featurizer,
    jobs: int = 1,
    with_copies: bool = False,
) -> Iterator[Batch]:
    """Features of ``source``'s items ``indices``, batch by batch in order, as they are ready."""

    def one(part: Sequence[int]) -> Batch:
        batch, pictures = read_pictures(source, part, featurizer)
        if pictures:
            batch.features = featurizer.transform(pictures)
            if with_copies:
                batch.copies = featurizer.transform(pictures, mirrored=True)
        return batch

    height, width = featurizer.settings.shape
    size = min(max(BATCH_BYTES // (3 * height * width), 8), 512)
    parts = [indices[start : start + size] for start in range(0, len(indices), size)]
    if len(parts) <= 1:
        yield from map(one, parts)
        return
    from joblib import Parallel, delayed

    from classic_cv.timing import thread_limit

    with thread_limit(1):
        yield from Parallel(n_jobs=jobs, prefer="threads", return_as="generator")(
            delayed(one)(part) for part in parts
        )


def extract(
    source: ImageSource,
    indices: Sequence[int] | NDArray[np.intp],
    featurizer: Featurizer,
    jobs: int = 1,
    progress: Progress | None = None,
    task: str = "features",
    with_copies: bool = False,
) -> Extraction:
    """Features of ``source``'s items ``indices`` in one array; memory grows with features, not pixels.

    ``with_copies``: those of their mirror images as well.
    """
    wanted = [int(index) for index in indices]
    X = np.empty(((2 if with_copies else 1) * len(wanted), featurizer.n_features), np.float32)
    kept: list[int] = []
    problems: list[ImageError] = []
    for batch in extract_batches(source, wanted, featurizer, jobs, with_copies):
        if batch.kept:
            X[len(kept) : len(kept) + len(batch.kept)] = batch.features
            if batch.copies is not None:
                start = len(wanted) + len(kept)
                X[start : start + len(batch.kept)] = batch.copies
        kept += batch.kept
        problems += batch.problems
        if progress:
            progress(task, len(kept) + len(problems), len(wanted))
    rows = np.arange(len(kept))
    if with_copies:
        rows = np.concatenate([rows, len(wanted) + rows])
    return Extraction(closed_up(X, rows), np.array(kept, np.intp), problems)


def closed_up(X: Features, rows: NDArray[np.intp]) -> Features:
    """The given rows of X, in ascending order, moved up in place to where the others leave gaps."""
    if len(rows) < len(X) and len(rows):
        # Part by part: a copy of all could be more than fits the memory. No row moves down.
        for start in range(int(np.argmax(rows > np.arange(len(rows)))), len(rows), MOVED_ROWS):
            stop = min(start + MOVED_ROWS, len(rows))
            X[start:stop] = X[rows[start:stop]]
    return X[: len(rows)]
