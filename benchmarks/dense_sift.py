"""Dense SIFT: ours and OpenCV's SIFT at the same upright keypoints, one thread, in the same run.

    python benchmarks/dense_sift.py

The repetitions alternate between the contestants, so that a busy machine is unfair to all of them alike; the
clock is the CPU time of the process. The image is a photo of 256 x 256 gray pixels, the grid has a step of 4
pixels. ``cv2.SIFT.compute`` is given the keypoints of our grid, in one call, and a sigma that blurs the image
as ours is blurred; its time includes that of its scale space. The cosine is the mean over descriptors, between
it and our plain SIFT: OpenCV rounds keypoints to pixels, the grid of an image of even sides lies between them.
"root" is our RootSIFT, the default. At last, all default scales, gray and in color.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from classic_cv.features.local.dense_sift import Channels, DenseSIFT
from classic_cv.timing import cpu_name, thread_limit

SIDE = 256
STEP = 4
BINS = (4, 6, 8, 10, 12)

Work = Callable[[], object]


def photo() -> NDArray[np.uint8]:
    """A photo in RGB, 256 x 256."""
    import skimage.data

    load: Any = skimage.data.astronaut
    return np.asarray(cv2.resize(load(), (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def keypoints(positions: NDArray[np.float32], size: float) -> list[cv2.KeyPoint]:
    """OpenCV's keypoints whose spatial bins have ``size`` pixels, in the image as it was given."""
    # Octave and layer 0. OpenCV's first pixel has its center at 0, its bins are 1.5 times the keypoint's size.
    return [cv2.KeyPoint(float(x) - 0.5, float(y) - 0.5, size / 1.5, 0, 1, 0) for x, y in positions]


def mean_cosine(ours: NDArray[Any], others: NDArray[Any]) -> float:
    """Mean over the descriptors that are not zeros in both."""
    rows, others = ours.astype(np.float64), others.astype(np.float64)
    norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(others, axis=1)
    return float(((rows * others).sum(axis=1)[norms > 0] / norms[norms > 0]).mean())


def measure(contestants: dict[str, Work], repetitions: int, budget: float) -> dict[str, list[float]]:
    """CPU seconds of one call in each repetition, by contestant; ``budget`` is seconds of one repetition."""

    def seconds(work: Work, loops: int) -> float:
        start = time.process_time()
        for _ in range(loops):
            work()
        return (time.process_time() - start) / loops

    loops = {}
    for name, work in contestants.items():
        work()
        loops[name] = max(1, round(budget / seconds(work, 1)))
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repetitions):
        for name, work in contestants.items():
            times[name].append(seconds(work, loops[name]))
    return times


def compare(gray: NDArray[np.uint8], size: int, repetitions: int, budget: float) -> dict[str, Any]:
    """One scale: the cosine, and µs per descriptor of each repetition, by contestant."""
    root, plain = (DenseSIFT(bins=(size,), step=STEP, root=root) for root in (True, False))
    found = plain.describe(gray)
    points = keypoints(found.positions, size)
    peer: Any = cv2.SIFT.create(sigma=size / 6)
    _, others = peer.compute(gray, points)
    times = measure(
        {
            "root": lambda: root.describe(gray),
            "plain": lambda: plain.describe(gray),
            "cv2.SIFT": lambda: peer.compute(gray, points),
        },
        repetitions,
        budget,
    )
    return {
        "bin": size,
        "n": len(points),
        "cosine": mean_cosine(found.descriptors, others),
        "us_per_descriptor": {
            name: [t / len(points) * 1e6 for t in values] for name, values in times.items()
        },
    }


def table_row(row: dict[str, Any]) -> str:
    """Min / median of each contestant, and how many times ours OpenCV takes, pair by pair."""
    cells = [f"{row['bin']:3} {row['n']:6} {row['cosine']:7.4f}"]
    times: dict[str, list[float]] = row["us_per_descriptor"]
    for name, values in times.items():
        cells.append(f"{min(values):7.3f} /{median(values):7.3f}")
        if name != "cv2.SIFT":
            pairs = zip(times["cv2.SIFT"], values, strict=True)
            cells.append(f"{median(other / own for other, own in pairs):5.0f}x")
    return "  ".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.03, help="of one repetition of one contestant")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    color = photo()
    gray = np.asarray(cv2.cvtColor(color, cv2.COLOR_RGB2GRAY), np.uint8)
    with thread_limit(1):
        print(
            f"{cpu_name()}, one thread, CPU µs per descriptor: min / median of {arguments.repetitions}; "
            "x: cv2.SIFT over ours, median of the pairs"
        )
        print(
            f"{'bin':>3} {'n':>6} {'cosine':>7}  {'root':>16}  {'':6}  {'plain':>16}  {'':6}  {'cv2.SIFT':>16}"
        )
        rows = []
        for size in BINS:
            rows.append(compare(gray, size, arguments.repetitions, arguments.seconds))
            print(table_row(rows[-1]))
        images: dict[Channels, NDArray[np.uint8]] = {"gray": gray, "rgb": color, "opponent": color}
        works: dict[str, Work] = {
            channels: partial(DenseSIFT(channels=channels).describe, image)
            for channels, image in images.items()
        }
        whole = measure(works, arguments.repetitions, arguments.seconds)
        print(f"\nms per image of all scales, bins {DenseSIFT().bins}: min / median; x: over gray")
        for name, values in whole.items():
            ratio = median(v / g for v, g in zip(values, whole["gray"], strict=True))
            print(f"{name:9} {min(values) * 1e3:7.2f} /{median(values) * 1e3:7.2f} {ratio:5.2f}x")
    if arguments.json:
        result = {
            "cpu": cpu_name(),
            "threads": 1,
            "opencv": cv2.__version__,
            "image": [SIDE, SIDE],
            "step": STEP,
            "rows": rows,
            "ms_per_image": {name: [t * 1e3 for t in values] for name, values in whole.items()},
        }
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
