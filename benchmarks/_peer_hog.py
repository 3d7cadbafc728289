"""Times contrib OpenCV's HOGDescriptor on request: the child process of ``benchmarks/hog.py``.

It runs in an environment of its own, because opencv-contrib-python and opencv-python-headless share a folder.
Each line on standard input is a JSON request ``{"images": FILE.npy, "loops": N}``; the answer on standard
output is a line ``{"seconds": ...}`` for N passes over all images, by one thread.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import cv2
import numpy as np


def descriptor(height: int, width: int) -> Any:
    """Dalal and Triggs' layout: cells of 8 pixels, blocks of 2 x 2 cells, 9 bins."""
    hog_descriptor: Any = getattr(cv2, "HOGDescriptor", None)
    if hog_descriptor is None:
        sys.exit(f"OpenCV {cv2.__version__} of {sys.executable} has no HOGDescriptor")
    return hog_descriptor((width, height), (16, 16), (8, 8), (8, 8), 9)


def main() -> None:
    cv2.setNumThreads(1)
    descriptor(128, 128)
    print(json.dumps({"opencv": cv2.__version__}), flush=True)
    loaded: dict[str, Any] = {}
    for line in sys.stdin:
        request = json.loads(line)
        path, loops = request["images"], request["loops"]
        if path not in loaded:
            loaded[path] = np.load(path)
        images = loaded[path]
        compute = descriptor(*images.shape[1:3]).compute
        start = time.process_time()
        for _ in range(loops):
            for image in images:
                compute(image)
        print(json.dumps({"seconds": time.process_time() - start}), flush=True)


if __name__ == "__main__":
    main()
