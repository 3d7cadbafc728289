"""Latency of a model as it will be used: in a fresh process, which loads it from its file.

A process that has just fitted a model on many images may answer more slowly than one that only predicts.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classic_cv.errors import ImageError
from classic_cv.images import to_picture
from classic_cv.model import Model, load
from classic_cv.timing import one_by_one

Encoded = bytes | NDArray[np.uint8]
Percentiles = dict[str, float]

ATTEMPTS = 3
"""How often latency is measured where a limit has to be kept."""

RETRIES, PAUSE = 8, 0.5
"""Further measurements of a fitted model that missed its limit, and the seconds before each."""

FAR = 2.0
"""A model whose median is more than so many times its limit is not measured again. Other load comes in bursts, which
raise the 95th percentile far more than the median."""

TIMEOUT = 600.0
"""Seconds after which a process that has not answered is given up."""

MODEL, IMAGES = "model.safetensors", "images.npz"

PROGRAM = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from classic_cv._latency import main
main(sys.argv[2], float(sys.argv[3]))
"""


def fresh_latency(
    model: Model, images: Sequence[Encoded], limit: float = math.inf, executable: str = sys.executable
) -> Percentiles | None:
    """Percentiles in ms of ``images`` one at a time on one thread, measured in a fresh process.

    The process and its files are gone when this returns or is interrupted.

    Args:
        model: is written to a temporary folder, from where the process loads it.
        images: encoded bytes or uint8 pixels; those that cannot be read are left out.
        limit: in ms, see ``settled``.
        executable: the Python interpreter.

    Returns:
        the percentiles; None where they could not be measured so: no interpreter to start, no space to write,
        no image that can be read.
    """
    # The executable of a frozen application is the application itself.
    if not executable or getattr(sys, "frozen", False):
        return None
    try:
        with tempfile.TemporaryDirectory(prefix="classic-cv-", ignore_cleanup_errors=True) as folder:
            (Path(folder) / MODEL).write_bytes(model.to_bytes())
            write_images(Path(folder) / IMAGES, images)
            run = subprocess.run(
                [executable, "-P", "-c", PROGRAM, json.dumps(import_path()), folder, repr(limit)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=TIMEOUT,
                check=True,
            )
        found: Percentiles = json.loads(run.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return found


def settled(measure: Callable[[], Percentiles], limit: float) -> Percentiles:
    """The best of some measurements; other load on the machine only adds.

    Where they miss ``limit``, and not by far, more follow, some time apart, until one keeps it: some seconds of
    other load must not cost a model that took minutes.
    """
    best = min((measure() for _ in range(ATTEMPTS)), key=_p95)
    for _ in range(RETRIES):
        if best["p95"] <= limit or best["p50"] > FAR * limit:
            break
        time.sleep(PAUSE)
        best = min(best, measure(), key=_p95)
    return best


def _p95(percentiles: Percentiles) -> float:
    return percentiles["p95"]


def write_images(path: Path, images: Sequence[Encoded]) -> None:
    """Write images as an npz file: encoded bytes are arrays of one dimension, pixels of two or three."""
    arrays = [np.frombuffer(one, np.uint8) if isinstance(one, bytes) else one for one in images]
    np.savez(path, *arrays)


def read_images(path: Path) -> list[Encoded]:
    """What ``write_images`` has written, in the same order."""
    with np.load(path, allow_pickle=False) as archive:
        arrays = [archive[f"arr_{index}"] for index in range(len(archive.files))]
    return [array.tobytes() if array.ndim == 1 else array for array in arrays]


def import_path() -> list[str]:
    """Where this process finds modules, this package included, whatever the working directory is by now."""
    root = str(Path(__file__).resolve().parent.parent)
    path = [entry for entry in sys.path if isinstance(entry, str) and entry]
    return path if root in path else [root, *path]


def main(folder: str, limit: float) -> None:
    """What the fresh process does: load, measure, print the percentiles as JSON."""
    model = load(Path(folder) / MODEL)
    images = read_images(Path(folder) / IMAGES)
    try:
        found = settled(lambda: one_by_one(model.predict, [[image] for image in images]), limit)
    except ImageError:
        readable = [[image] for image in images if _is_readable(image)]
        found = settled(lambda: one_by_one(model.predict, readable), limit)
    print(json.dumps(found))


def _is_readable(image: Encoded) -> bool:
    try:
        to_picture(image)
    except ImageError:
        return False
    return True
