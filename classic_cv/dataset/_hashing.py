"""Content hashes of all images of a source, on several threads."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from classic_cv.dataset._sources import Source
from classic_cv.errors import ImageError

Progress = Callable[[int, int], None]
"""Called with (images done, images in all)."""

CHUNK = 64


class Problem(NamedTuple):
    """Something in the data that cannot be used, or was left out, and why."""

    source: str
    reason: str


class ContentHashes(NamedTuple):
    """SHA-256 hex digest per image, ``None`` where the image cannot be read, and the reasons."""

    digests: tuple[str | None, ...]
    problems: tuple[Problem, ...]


def _hash_chunk(source: Source, start: int, stop: int) -> list[str | ImageError]:
    results: list[str | ImageError] = []
    for index in range(start, stop):
        try:
            results.append(source.digest(index))
        except ImageError as error:
            results.append(error)
    return results


def hash_all(source: Source, progress: Progress | None = None) -> ContentHashes:
    """Hash every image of ``source``; reading waits on disks and hashing frees the GIL, so threads pay."""
    total = len(source.names)
    results: list[str | ImageError] = []
    pool = ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1))
    try:
        starts = range(0, total, CHUNK)
        chunks = [pool.submit(_hash_chunk, source, start, min(start + CHUNK, total)) for start in starts]
        for chunk in chunks:
            results.extend(chunk.result())
            if progress is not None:
                progress(len(results), total)
    finally:
        pool.shutdown(cancel_futures=True)
    digests = tuple(None if isinstance(result, ImageError) else result for result in results)
    errors = (result for result in results if isinstance(result, ImageError))
    return ContentHashes(digests, tuple(Problem(error.source, error.reason) for error in errors))
