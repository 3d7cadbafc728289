"""Microseconds per image of each extractor and of its peer, in the same run, alternating, on one thread.

    python benchmarks/extractors.py [--sizes 64 128 256] [--json FILE]

A peer is what one would write with scikit-image or plain OpenCV for the same features; it is checked to give
the same values before it is timed where its bins are the same. Images are parts of a photo that scikit-image
ships with. Single images go through ``transform([image])``; the last row of each is a batch of 32 x 32.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import skimage.data
from numpy.typing import NDArray
from skimage import feature

from classic_cv.features.base import Extractor
from classic_cv.features.color import ColorHistogram
from classic_cv.features.encoding.patch_dictionary import NOISE, PatchDictionary
from classic_cv.features.grid import cell_edges
from classic_cv.features.hog import HOG
from classic_cv.features.lbp import LBP
from classic_cv.features.properties import ImageProperties
from classic_cv.timing import cpu_name, thread_limit

Image = NDArray[np.uint8]
Peer = Callable[[Image], NDArray[Any]]

BATCH_SIDE = 32


@dataclass(frozen=True)
class Case:
    """An extractor and who it is compared with; ``exact`` says that both give the same values."""

    name: str
    extractor: Extractor
    peer_name: str
    peer: Peer
    exact: bool = True


def cells(image: Image, grid: int) -> list[Image]:
    """The cells of an image, row by row."""
    rows, columns = (list(itertools.pairwise(cell_edges(n, grid).tolist())) for n in image.shape[:2])
    return [image[a:b, c:d] for a, b in rows for c, d in columns]


def opencv_color(image: Image, code: int, bins: tuple[int, ...], joint: bool, grid: int) -> NDArray[Any]:
    """Hellinger color histograms: one ``cv2.calcHist`` per cell and histogram."""
    converted = np.asarray(cv2.cvtColor(image, code), np.uint8)
    channels = [0, 1, 2]
    parts = []
    for cell in cells(converted, grid):
        area = cell.shape[0] * cell.shape[1]
        if joint:
            parts.append(cv2.calcHist([cell], channels, None, list(bins), [0, 256] * 3).ravel() / area)
        else:
            found = [cv2.calcHist([cell], [c], None, [bins[c]], [0, 256]).ravel() for c in channels]
            parts.append(np.concatenate(found) / (3 * area))
    return np.asarray(np.sqrt(np.concatenate(parts)))


def skimage_lbp(image: Image, points: int, radius: float, method: str, grid: int) -> NDArray[Any]:
    """Hellinger LBP histograms: ``local_binary_pattern``, then ``np.bincount`` per cell."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    size = points + 2 if method == "uniform" else points * (points - 1) + 3
    codes = feature.local_binary_pattern(gray, points, radius, method).astype(np.intp)  # type: ignore[no-untyped-call]
    parts = [np.bincount(cell.ravel(), minlength=size) / cell.size for cell in cells(codes, grid)]
    return np.sqrt(np.concatenate(parts))


def skimage_hog(image: Image) -> NDArray[Any]:
    """``skimage.feature.hog`` with the parameters of ``HOG()``; it has hard bins only."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return np.asarray(feature.hog(gray, 9, (8, 8), (2, 2)))


def numpy_properties(image: Image) -> NDArray[Any]:
    """The pixel statistics of ``ImageProperties`` with NumPy's means and deviations."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    sharpness = cv2.Laplacian(gray, cv2.CV_64F).var()
    height, width = image.shape[:2]
    sizes = [
        np.log(width),
        np.log(height),
        np.log(width / height),
        np.log1p(image.nbytes) - np.log(height * width),
    ]
    statistics = [gray.mean() / 255, gray.std() / 255, np.log1p(sharpness)]
    return np.array([*sizes, *statistics, *image.mean(axis=(0, 1)) / 255])


def numpy_patches(image: Image, extractor: PatchDictionary) -> NDArray[Any]:
    """Thresholded responses to the dictionary of ``extractor``, with NumPy and one step after the other."""
    size = extractor.size
    windows = np.lib.stride_tricks.sliding_window_view(image, (size, size), axis=(0, 1))
    patches = windows.transpose(0, 1, 4, 3, 2).reshape(-1, 3 * size**2).astype(np.float32)
    patches -= patches.mean(axis=1, keepdims=True)
    patches /= np.sqrt(patches.var(axis=1, keepdims=True) + np.float32(NOISE))
    above = patches @ extractor.filters_[:-1] + extractor.filters_[-1]
    both = np.hstack([np.maximum(above, 0), np.maximum(-above - 2 * extractor.threshold_, 0)])
    responses: Any = both.reshape(*windows.shape[:2], -1)
    assert isinstance(extractor.grid, int)
    return np.concatenate([cell.mean(axis=(0, 1)) for cell in cells(responses, extractor.grid)])


def patch_case(extractor: PatchDictionary) -> Case:
    peer = functools.partial(numpy_patches, extractor=extractor)
    return Case(f"patches {extractor.n_atoms} step {extractor.step}", extractor, "NumPy", peer)


def color_case(name: str, extractor: ColorHistogram, code: int, exact: bool = True) -> Case:
    bins = (extractor.bins,) * 3 if isinstance(extractor.bins, int) else extractor.bins
    assert isinstance(extractor.grid, int)
    peer = functools.partial(
        opencv_color, code=code, bins=tuple(bins), joint=extractor.joint, grid=extractor.grid
    )
    peer_name = "cvtColor, calcHist per cell" + (", hard bins" if extractor.soft else "")
    return Case(name, extractor, peer_name, peer, exact)


def lbp_case(points: int, radius: float, method: Any, grid: int = 4) -> Case:
    peer = functools.partial(skimage_lbp, points=points, radius=radius, method=method, grid=grid)
    extractor = LBP(method, ((points, radius),), grid)
    return Case(f"LBP {points},{radius:g} {method}", extractor, "scikit-image", peer)


def cases() -> list[Case]:
    hsv = cv2.COLOR_RGB2HSV_FULL
    return [
        Case("HOG none", HOG(interpolation="none"), "scikit-image", skimage_hog),
        Case("HOG bilinear", HOG(), "scikit-image, hard bins", skimage_hog, exact=False),
        color_case("color hsv 8+8+8", ColorHistogram("hsv", 8, grid=4), hsv),
        color_case("color hsv 8+8+8 soft", ColorHistogram("hsv", 8, grid=4, soft=True), hsv, exact=False),
        color_case("color hsv 8x4x4", ColorHistogram("hsv", (8, 4, 4), joint=True, grid=4), hsv),
        color_case("color hsv 8x8x8", ColorHistogram("hsv", 8, joint=True, grid=4), hsv),
        color_case(
            "color hsv 8x4x4 soft",
            ColorHistogram("hsv", (8, 4, 4), joint=True, grid=4, soft=True),
            hsv,
            exact=False,
        ),
        color_case("color lab 8+8+8", ColorHistogram("lab", 8, grid=4), cv2.COLOR_RGB2Lab),
        lbp_case(8, 1, "uniform"),
        lbp_case(8, 1, "nri_uniform"),
        lbp_case(16, 2, "uniform"),
        lbp_case(24, 3, "uniform"),
        Case("properties", ImageProperties(), "NumPy", numpy_properties),
        patch_case(PatchDictionary(root=False)),
        patch_case(PatchDictionary(n_atoms=1600, dictionary="sampled", root=False)),
    ]


def photo_parts(n: int, size: int) -> Image:
    """(n, size, size, 3) parts of a photo, each shrunk from a square of at least 128 pixels."""
    photo = np.asarray(skimage.data.astronaut(), np.uint8)  # type: ignore[no-untyped-call]
    side = min(512, max(128, 2 * size))
    places = np.linspace(0, 512 - side, n).astype(int).tolist()
    parts = [photo[y : y + side, x : x + side] for y, x in zip(places, reversed(places), strict=True)]
    resized = [cv2.resize(part, (size, size), interpolation=cv2.INTER_AREA) for part in parts]
    return np.stack([np.asarray(image, np.uint8) for image in resized])


def check(case: Case, image: Image) -> None:
    """Raise unless extractor and peer give the same values."""
    found = case.extractor.fit([image]).transform([image])[0]
    np.testing.assert_allclose(found, case.peer(image), atol=2e-4, err_msg=case.name)


def alternate(
    ours: Callable[[], object], theirs: Callable[[], object], seconds: float
) -> tuple[float, float]:
    """Median microseconds of both, called in turn for about ``seconds``."""
    times: tuple[list[float], list[float]] = ([], [])
    ours(), theirs()
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop or len(times[0]) < 3:
        for function, taken in zip((ours, theirs), times, strict=True):
            start = time.perf_counter()
            function()
            taken.append((time.perf_counter() - start) * 1e6)
    return float(np.median(times[0])), float(np.median(times[1]))


def measure(case: Case, sizes: list[int], batch: int, seconds: float) -> list[dict[str, Any]]:
    rows = []
    for size in sizes:
        image = photo_parts(1, size)[0]
        if case.exact:
            check(case, image)
        extractor = case.extractor.fit([image])
        ours, theirs = alternate(
            lambda e=extractor, i=image: e.transform([i]),  # type: ignore[misc]
            lambda i=image: case.peer(i),  # type: ignore[misc]
            seconds,
        )
        rows.append(row(case, f"{size} x {size}", ours, theirs))
    images = photo_parts(batch, BATCH_SIDE)
    extractor = case.extractor.fit(images)
    ours, theirs = alternate(
        lambda: extractor.transform(images), lambda: [case.peer(image) for image in images[:50]], seconds
    )
    rows.append(row(case, f"{batch} of {BATCH_SIDE} x {BATCH_SIDE}", ours / batch, theirs / min(batch, 50)))
    return rows


def row(case: Case, images: str, ours: float, theirs: float) -> dict[str, Any]:
    return {
        "extractor": case.name,
        "parameters": repr(case.extractor),
        "images": images,
        "us_per_image": ours,
        "peer": case.peer_name,
        "peer_us_per_image": theirs,
        "ratio": theirs / ours,
        "same_values": case.exact,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256], metavar="PIXELS")
    parser.add_argument("--batch", type=int, default=1000, help="32 x 32 images in the batch")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each extractor at each size")
    parser.add_argument("--only", default="", help="extractors whose name contains this")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    print(f"{cpu_name()}, one thread, OpenCV {cv2.__version__}, NumPy {np.__version__}")
    print(f"{'extractor':22} {'images':>16} {'µs/image':>9} {'peer':>9} {'ratio':>6}  peer")
    rows = []
    with thread_limit(1):
        for case in cases():
            if arguments.only not in case.name:
                continue
            for found in measure(case, arguments.sizes, arguments.batch, arguments.seconds):
                rows.append(found)
                print(
                    f"{found['extractor']:22} {found['images']:>16} {found['us_per_image']:9.1f} "
                    f"{found['peer_us_per_image']:9.1f} {found['ratio']:6.1f}  {found['peer']}"
                )
    if arguments.json:
        result = {"cpu": cpu_name(), "opencv": cv2.__version__, "numpy": np.__version__, "rows": rows}
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
