"""Decoding: this project's ``decode`` beside bare ``cv2.imdecode``, alternating in one process, one thread.

    python benchmarks/decode.py [IMAGE] [--json]

JPEG (quality 90) and PNG of the image or of a scikit-image photo at 32² to 2048². ``decode`` adds to
OpenCV's work the walk over the whole container (completeness, size, limits, orientation) and RGB order.
The reduced columns decode for a 128² recipe; their error is the mean difference in gray levels from the
full decode after both are resized to 128².
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from classic_cv.images import decode, read_header, read_image, resize

SIZES = (32, 64, 128, 256, 512, 1024, 2048)
REDUCED_FOR = 128


def photo(path: Path | None) -> NDArray[np.uint8]:
    """The photo that all sizes are made from: RGB."""
    if path:
        return read_image(path).pixels
    from skimage import data

    return np.asarray(data.astronaut(), np.uint8)  # type: ignore[no-untyped-call]


def encoded(image: NDArray[np.uint8], side: int, extension: str) -> bytes:
    """``image`` at side² with some noise, so that enlarged photos are not unnaturally smooth."""
    method = cv2.INTER_AREA if side <= min(image.shape[:2]) else cv2.INTER_CUBIC
    values = cv2.resize(image, (side, side), interpolation=method).astype(np.float32)
    values += np.random.default_rng(side).normal(0, 3, values.shape)
    bgr = np.clip(values[..., ::-1], 0, 255).astype(np.uint8)
    options = [cv2.IMWRITE_JPEG_QUALITY, 90] if extension == ".jpg" else []
    _, buffer = cv2.imencode(extension, bgr, options)
    return buffer.tobytes()


def alternate(functions: dict[str, Callable[[], object]], seconds: float = 0.6) -> dict[str, float]:
    """Median µs of each function; they take turns, so that a busy machine slows all of them."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[next(iter(times))]) < 5:
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name].append((time.perf_counter() - start) * 1e6)
    return {name: statistics.median(values) for name, values in times.items()}


def row(image: NDArray[np.uint8], side: int, extension: str) -> dict[str, Any]:
    """One line of the table."""
    data = encoded(image, side, extension)
    functions: dict[str, Callable[[], object]] = {
        "cv2": lambda: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR),
        "decode": lambda: decode(data),
        "header": lambda: read_header(data),
        "reduced": lambda: decode(data, min_side=REDUCED_FOR),
    }
    result: dict[str, Any] = {"format": extension[1:], "side": side, "bytes": len(data)}
    result |= {f"{name}_us": round(value, 1) for name, value in alternate(functions).items()}
    result["ratio"] = round(result["decode_us"] / result["cv2_us"], 3)
    target = (REDUCED_FOR, REDUCED_FOR)
    full = resize(decode(data).pixels, target).astype(float)
    reduced = resize(decode(data, min_side=REDUCED_FOR).pixels, target)
    result["reduced_error"] = round(float(np.abs(full - reduced).mean()), 2)
    return result


def start_ms(statements: dict[str, str], repeats: int = 9) -> dict[str, float]:
    """Least milliseconds of a fresh process that runs each statement; they take turns."""
    times: dict[str, list[float]] = {name: [] for name in statements}
    for _ in range(repeats):
        for name, statement in statements.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], check=True)
            times[name].append((time.perf_counter() - start) * 1e3)
    return {name: round(min(values), 1) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("image", nargs="?", type=Path, help="photo to encode; default: one from scikit-image")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    image = photo(args.image)
    rows = [row(image, side, extension) for extension in (".jpg", ".png") for side in SIZES]
    start = start_ms({"numpy_cv2_ms": "import numpy, cv2", "images_ms": "import classic_cv.images"})
    if args.json:
        print(json.dumps({"rows": rows, "start": start, "opencv": cv2.__version__}, indent=1))
        return
    columns = ("format", "side", "cv2_us", "decode_us", "ratio", "header_us", "reduced_us", "reduced_error")
    print(" ".join(f"{column:>13}" for column in columns))
    for line in rows:
        print(" ".join(f"{line[column]:>13}" for column in columns))
    print(f"process start: {start['images_ms']} ms, of which numpy and cv2 {start['numpy_cv2_ms']} ms")


if __name__ == "__main__":
    main()
