"""One pass over all images, for everything that the checks want to know of each but the features of a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.appearance import (
    N_COLOR,
    PIXEL_NAMES,
    QUALITY_NAMES,
    all_gray,
    color_histogram,
    entropy,
    gray_of,
    histogram,
    pixel_properties,
    quality_measures,
    thumbnail,
)
from classic_cv.checks.border import N_BORDER, border_features
from classic_cv.checks.exif import Traces, read_traces
from classic_cv.checks.survey import THUMBNAIL, Survey
from classic_cv.dataset import Dataset, Encoded, Problem
from classic_cv.errors import ImageError
from classic_cv.extraction import Progress
from classic_cv.features.base import Image
from classic_cv.features.properties import NAMES, image_properties
from classic_cv.images import FORMATS, Header, Picture, read_header, to_picture

MIN_SIDE = 512
"""Pixels of the shorter side that are enough: huge JPEGs are decoded at a part of their size."""

CHUNK = 64
"""Images that are surveyed at a time on one thread: fixed, so that the result does not depend on the threads."""

ARRAY = "array"
"""The format of pixels that were never a file."""

FILE_NAMES = ("jpeg_quality", "jpeg_subsampling", "jpeg_progressive", "format", "mode", "orientation")
PROPERTY_NAMES = (*NAMES, *FILE_NAMES, *PIXEL_NAMES)
"""Columns of ``Survey.properties``: see ``image_properties``, ``Traces`` and ``pixel_properties``; ``format`` and
``mode`` are positions in ``FORMAT_CODES`` and ``MODE_CODES``."""

FORMAT_CODES = (*FORMATS, ARRAY)
MODE_CODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I", "I;16", "F")


@dataclass(frozen=True, slots=True)
class _Row:
    """What is kept of one image."""

    index: int
    header: Header
    traces: Traces
    gray: bool
    properties: list[float]
    quality: list[float]
    color: NDArray[np.float32]
    border: NDArray[np.float32]
    thumbnail: Image


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Rows packed into arrays, so that 70,000 images are not 70,000 sets of small objects."""

    headers: list[tuple[int, Header, Traces, bool]]
    problems: list[Problem]
    properties: NDArray[np.float32]
    quality: NDArray[np.float32]
    color: NDArray[np.float32]
    border: NDArray[np.float32]
    thumbnails: NDArray[np.uint8]


def read_survey(dataset: Dataset, jobs: int = 1, progress: Progress | None = None) -> Survey:
    """Read every image once and note what ``Survey`` holds.

    Images that cannot be read or decoded are in ``problems`` and have no row.

    Args:
        dataset: any; its images are read in chunks, and memory grows with the survey's arrays alone.
        jobs: threads; -1 for all cores. The survey does not depend on it.
        progress: called with (``survey``, images done, images in all).
    """
    chunks, done = [], 0
    for chunk in _chunks(dataset, jobs):
        chunks.append(chunk)
        done += len(chunk.headers) + len(chunk.problems)
        if progress:
            progress("survey", done, len(dataset))
    return _joined(dataset, chunks)


def _chunks(dataset: Dataset, jobs: int) -> Iterator[_Chunk]:
    parts = [range(start, min(start + CHUNK, len(dataset))) for start in range(0, len(dataset), CHUNK)]
    from joblib import Parallel, delayed

    from classic_cv.timing import thread_limit

    with thread_limit(1):
        yield from Parallel(n_jobs=jobs, prefer="threads", return_as="generator")(
            delayed(_survey_chunk)(dataset, part) for part in parts
        )


def _survey_chunk(dataset: Dataset, indices: Sequence[int]) -> _Chunk:
    rows, problems = [], []
    for index in indices:
        try:
            rows.append(_survey_image(index, dataset.read(index), dataset.names[index]))
        except ImageError as error:
            problems.append(Problem(error.source, error.reason))
    return _Chunk(
        [(row.index, row.header, row.traces, row.gray) for row in rows],
        problems,
        _stacked([row.properties for row in rows], len(PROPERTY_NAMES)),
        _stacked([row.quality for row in rows], len(QUALITY_NAMES)),
        _stacked([row.color for row in rows], N_COLOR),
        _stacked([row.border for row in rows], N_BORDER),
        np.array([row.thumbnail for row in rows], np.uint8).reshape(-1, THUMBNAIL, THUMBNAIL),
    )


def _stacked(rows: Sequence[Any], width: int) -> NDArray[np.float32]:
    return np.array(rows, np.float32).reshape(-1, width)


def _survey_image(index: int, data: Encoded, name: str) -> _Row:
    picture = to_picture(data, source=name, min_side=MIN_SIDE)
    if isinstance(data, bytes):
        header = read_header(data, source=name)
        traces = read_traces(data, header.format)
    else:
        mode = "L" if data.ndim == 2 else "RGB"
        header, traces = Header(ARRAY, picture.width, picture.height, 1, mode, picture.n_bytes), Traces()
    return _row(index, picture, header, traces)


def _row(index: int, picture: Picture, header: Header, traces: Traces) -> _Row:
    pixels = np.ascontiguousarray(picture.pixels)
    gray = gray_of(pixels)
    shares = histogram(gray)
    bits = entropy(shares)
    plain = image_properties(pixels, picture.width, picture.height, picture.n_bytes)
    reduction = max(1, round(picture.width / pixels.shape[1]))
    return _Row(
        index,
        header,
        traces,
        header.mode in ("1", "L") or all_gray(pixels),
        [
            *plain.tolist(),
            *_file_properties(header, traces),
            *pixel_properties(pixels, gray, bits, header.orientation, reduction),
        ],
        quality_measures(gray, shares, bits),
        color_histogram(pixels, shares),
        border_features(pixels),
        thumbnail(gray),
    )


def _file_properties(header: Header, traces: Traces) -> list[float]:
    """The columns in ``FILE_NAMES``."""
    mode = MODE_CODES.index(header.mode) if header.mode in MODE_CODES else len(MODE_CODES)
    return [
        traces.jpeg_quality,
        traces.jpeg_subsampling,
        traces.jpeg_progressive,
        FORMAT_CODES.index(header.format),
        mode,
        header.orientation,
    ]


def _joined(dataset: Dataset, chunks: Sequence[_Chunk]) -> Survey:
    known = [entry for chunk in chunks for entry in chunk.headers]
    headers, traces = [header for _, header, _, _ in known], [traces for _, _, traces, _ in known]

    def numbers(name: str) -> NDArray[np.int64]:
        return np.array([getattr(header, name) for header in headers], np.int64)

    return Survey(
        indices=np.array([index for index, _, _, _ in known], np.intp),
        problems=tuple(problem for chunk in chunks for problem in chunk.problems),
        format=np.array([header.format for header in headers], np.str_),
        mode=np.array([header.mode for header in headers], np.str_),
        width=numbers("width"),
        height=numbers("height"),
        n_bytes=numbers("n_bytes"),
        orientation=numbers("orientation"),
        date=np.array([one.date for one in traces], np.str_),
        camera=np.array([one.camera for one in traces], np.str_),
        folder=np.array([folder_of(dataset, index) for index, _, _, _ in known], np.str_),
        gray=np.array([gray for _, _, _, gray in known], np.bool_),
        properties=np.concatenate([chunk.properties for chunk in chunks]),
        property_names=PROPERTY_NAMES,
        quality=np.concatenate([chunk.quality for chunk in chunks]),
        quality_names=QUALITY_NAMES,
        color=np.concatenate([chunk.color for chunk in chunks]),
        border=np.concatenate([chunk.border for chunk in chunks]),
        thumbnails=np.concatenate([chunk.thumbnails for chunk in chunks]),
    )


def folder_of(dataset: Dataset, index: int) -> str:
    """The folder that holds an image, within its class folder; empty where that holds it itself, and for an npz.

    In a manifest a folder that is called as the target counts as the class folder.
    """
    if dataset.layout == "npz":
        return ""
    above = PurePath(dataset.names[index]).parent.parts
    if dataset.layout == "manifest":
        names = [part.casefold() for part in above]
        target = dataset.targets[index].casefold()
        return "/".join(above[names.index(target) + 1 :] if target in names else above)
    return "/".join(above[2 if dataset.layout == "split folders" else 1 :])
