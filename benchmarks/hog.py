"""HOG: ours, scikit-image's and contrib OpenCV's HOGDescriptor, one thread, in the same run.

    python benchmarks/hog.py --contrib-python contrib-venv/bin/python

The packages opencv-contrib-python-headless and opencv-python-headless overwrite each other, so HOGDescriptor
needs an environment of its own:

    python -m venv contrib-venv
    contrib-venv/bin/pip install "opencv-contrib-python-headless>=5.0"

The repetitions alternate between the contestants, so that a busy machine is unfair to all of them alike;
the clock is the CPU time of the process, which would also show work done in other threads. All use cells of
8 pixels, blocks of 2 x 2 cells, 9 unsigned bins and L2-Hys; ours is timed as ``HOG().transform``, with input
checks. "none" is ours without interpolation, which is what scikit-image computes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from classic_cv.features.hog import HOG
from classic_cv.timing import cpu_name, thread_limit

Images = NDArray[np.uint8]
Timer = Callable[[int], float]
"""CPU seconds that so many passes over a workload's images take."""


def workloads() -> dict[str, Images]:
    """Cut-outs of a photo, by name: single images, gray and RGB, and a batch of small gray ones."""
    import skimage.data

    load: Any = skimage.data.astronaut
    photo = load()
    found = {}
    for side in (64, 128, 256):
        color = cv2.resize(photo, (side, side), interpolation=cv2.INTER_AREA)[None]
        found[f"{side} gray"] = cv2.cvtColor(color[0], cv2.COLOR_RGB2GRAY)[None]
        found[f"{side} color"] = color
    gray = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    corners = np.random.default_rng(0).integers(0, 480, (1000, 2))
    found["1000 x 32 gray"] = np.stack([gray[y : y + 32, x : x + 32] for y, x in corners])
    return {name: np.ascontiguousarray(images, np.uint8) for name, images in found.items()}


def our_timer(images: Images, **parameters: Any) -> Timer:
    """Times our HOG: the strongest channel of color images, as the peers do."""
    transform = HOG(color="strongest", **parameters).fit(images).transform

    def seconds(loops: int) -> float:
        start = time.process_time()
        for _ in range(loops):
            transform(images)
        return time.process_time() - start

    return seconds


def scikit_image_timer(images: Images) -> Timer:
    """Times scikit-image's HOG, image by image."""
    from skimage.feature import hog

    axis = -1 if images.ndim == 4 else None
    sample = images[:20]

    def seconds(loops: int) -> float:
        start = time.process_time()
        for _ in range(loops):
            for image in sample:
                hog(image, 9, (8, 8), (2, 2), "L2-Hys", channel_axis=axis)
        return (time.process_time() - start) * len(images) / len(sample)

    return seconds


class ContribPeer:
    """The child process with contrib OpenCV, which times on request."""

    def __init__(self, python: str, folder: Path) -> None:
        self.folder = folder
        script = str(Path(__file__).with_name("_peer_hog.py"))
        self.child = subprocess.Popen(
            [python, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.version = self._answer()["opencv"]

    def _answer(self) -> Any:
        assert self.child.stdout is not None
        line = self.child.stdout.readline()
        if not line:
            raise SystemExit(
                f"the contrib peer ended with exit code {self.child.wait()}; see its message above"
            )
        return json.loads(line)

    def timer(self, name: str, images: Images) -> Timer:
        """Times HOGDescriptor, image by image."""
        path = str(self.folder / f"{name.replace(' ', '-')}.npy")
        np.save(path, images)

        def seconds(loops: int) -> float:
            assert self.child.stdin is not None
            self.child.stdin.write(json.dumps({"images": path, "loops": loops}) + "\n")
            return float(self._answer()["seconds"])

        return seconds

    def close(self) -> None:
        """End the child: it stops when its input does."""
        assert self.child.stdin is not None
        self.child.stdin.close()
        self.child.wait(timeout=10)


@contextlib.contextmanager
def contrib_peer(python: str | None) -> Iterator[ContribPeer | None]:
    """The peer, or None without an interpreter for it."""
    if python is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        peer = ContribPeer(python, Path(folder))
        try:
            yield peer
        finally:
            peer.close()


def measure(timers: dict[str, Timer], n: int, repetitions: int, budget: float) -> dict[str, list[float]]:
    """µs per image of each repetition, by contestant; ``budget`` is seconds of one repetition."""
    loops = {}
    for name, timer in timers.items():
        timer(1)
        loops[name] = max(1, round(budget / timer(1)))
    times: dict[str, list[float]] = {name: [] for name in timers}
    for _ in range(repetitions):
        for name, timer in timers.items():
            times[name].append(timer(loops[name]) / loops[name] / n * 1e6)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--contrib-python", metavar="PATH", help="interpreter that has contrib OpenCV")
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.03, help="of one repetition of one contestant")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.contrib_python is None:
        print("No --contrib-python, so no HOGDescriptor; --help says how to make an environment for it.\n")
    rows = []
    with thread_limit(1), contrib_peer(arguments.contrib_python) as peer:
        print(
            f"{cpu_name()}, one thread, CPU µs per image: min / median of {arguments.repetitions}; "
            "x: median over that of ours"
        )
        print(f"{'':15} {'ours':>15} {'ours, none':>15} {'scikit-image':>26} {'HOGDescriptor':>24}")
        for name, images in workloads().items():
            timers = {"ours": our_timer(images), "ours_none": our_timer(images, interpolation="none")}
            timers["scikit-image"] = scikit_image_timer(images)
            if peer is not None:
                timers["HOGDescriptor"] = peer.timer(name, images)
            times = measure(timers, len(images), arguments.repetitions, arguments.seconds)
            rows.append({"workload": name, "us_per_image": times})
            print(table_row(name, times))
    if arguments.json:
        result = {"cpu": cpu_name(), "threads": 1, "contrib_opencv": peer and peer.version, "rows": rows}
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


def table_row(name: str, times: dict[str, list[float]]) -> str:
    """Min / median of each contestant, and for the peers how many times ours it takes."""
    cells = [f"{name:15}"]
    for contestant, values in times.items():
        cell = f"{min(values):.1f} / {median(values):.1f}"
        if contestant.startswith("ours"):
            cells.append(f"{cell:>15}")
        else:
            ratio = median(values) / median(times["ours"])
            cells.append(f"{cell:>18} {ratio:5.1f}x")
    return " ".join(cells)


if __name__ == "__main__":
    main()
