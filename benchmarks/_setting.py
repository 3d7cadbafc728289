"""What the figures of the service have in common: the model, the image, rows, and sums over replies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray
from skimage import data as photos

from benchmarks._load import Reply
from benchmarks._mutation import encoded
from benchmarks.latency import quick
from classic_cv.dataset import load_dataset
from classic_cv.demo import write_demo
from classic_cv.fitting import fit
from classic_cv.images import resize, to_picture
from classic_cv.model import Model, load
from classic_cv.recipe import load_recipe

SIDE = 128
BEHIND = 0.002
"""Seconds; a client whose 99th percentile of lateness is above is said to have fallen behind."""


@dataclass(frozen=True)
class Row:
    """A figure: what is asked, what was measured, and all numbers behind it."""

    figure: str
    asked: str
    measured: str
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Setting:
    """What to measure with.

    Attributes:
        model_path: of the model that is served.
        folder: of images; None for photos of scikit-image.
        seconds: of every load; None for what each figure has by itself.
        mutations: images of ``fuzz``; half as many requests.
        seed: of the mutations.
    """

    model_path: Path
    folder: Path | None = None
    seconds: float | None = None
    mutations: int = 10_000
    seed: int = 0

    @property
    def name(self) -> str:
        """Of the model in paths."""
        return self.model_path.stem

    @cached_property
    def model(self) -> Model:
        return load(self.model_path)

    @cached_property
    def pictures(self) -> list[NDArray[np.uint8]]:
        """Some pictures of 128 pixels, uint8 (128, 128, 3)."""
        if self.folder is None:
            made: Any = photos
            pixels = [made.astronaut(), made.coffee(), made.chelsea(), made.rocket()]
        else:
            dataset = load_dataset(self.folder)
            pixels = [to_picture(dataset.read(index)).pixels for index in range(min(4, len(dataset)))]
        return [np.asarray(resize(_rgb(one), (SIDE, SIDE)), np.uint8) for one in pixels]

    @cached_property
    def jpeg(self) -> bytes:
        """The first picture as JPEG of quality 90."""
        done, data = cv2.imencode(".jpg", self.pictures[0][..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
        if not done:
            raise RuntimeError("OpenCV could not write a JPEG")
        return data.tobytes()

    @cached_property
    def files(self) -> list[bytes]:
        """All pictures in all formats."""
        return [data for pixels in self.pictures for data in encoded(pixels).values()]


def _rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.dstack([pixels] * 3) if pixels.ndim == 2 else pixels


def default_model(folder: Path) -> Path:
    """``hog-color`` fitted on the demo's textures, with a fixed C, which the time does not depend on."""
    write_demo(folder / "textures", "textures")
    path = folder / "textures.safetensors"
    fit(folder / "textures", quick(load_recipe("hog-color"))).save(path)
    return path


def p(quantile: float, values: Sequence[float]) -> float:
    """A quantile in percent, such as 99; not a number of no values."""
    return float(np.percentile(values, quantile)) if len(values) else float("nan")


def summary(replies: Sequence[Reply]) -> dict[str, Any]:
    """Numbers of a load: latencies in ms of the answers with status 200, outcomes, and how late the client was."""
    good = [1e3 * one.seconds for one in replies if one.status == 200]
    return {
        "n": len(replies),
        "p50_ms": p(50, good),
        "p99_ms": p(99, good),
        "max_ms": max(good, default=float("nan")),
        "outcomes": dict(Counter(one.error or str(one.status) for one in replies)),
        "served_by": dict(Counter(one.served_by for one in replies if one.served_by)),
        "client_late_p99_ms": 1e3 * p(99, [one.fired - one.due for one in replies]),
        "waited_for_connection": sum(one.sent - one.fired > BEHIND for one in replies),
    }


def behind(found: dict[str, Any]) -> str:
    """A remark on a client that did not keep to its schedule; empty where it did."""
    late = found["client_late_p99_ms"]
    return f"; the client fell behind: {late:.1f} ms late at p99" if late > 1e3 * BEHIND else ""


def in_a_row(flags: Sequence[bool], n: int) -> int | None:
    """Where the first ``n`` true flags in a row begin; None for nowhere."""
    run = 0
    for position, flag in enumerate(flags):
        run = run + 1 if flag else 0
        if run == n:
            return position - n + 1
    return None


def plain(rows: Sequence[Row]) -> bytes:
    """The rows as JSON."""
    return msgspec.json.format(msgspec.json.encode(rows), indent=2) + b"\n"
