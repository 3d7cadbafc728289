"""Cold start: process start to label of `classic-cv predict MODEL IMAGE`, beside bare imports as peers.

    python benchmarks/cold_start.py model.safetensors photo.jpg

Seconds and peak memory of whole processes as the operating system accounts them, alternating, after one
warm-up round that fills the file cache.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path


def measured(command: list[str]) -> tuple[float, float]:
    """(seconds, peak MB) of one run."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    return time.perf_counter() - start, usage.ru_maxrss * 1024 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("image", type=Path)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    script = Path(sys.executable).parent / "classic-cv"
    commands = {
        "classic-cv predict": [str(script), "predict", str(arguments.model), str(arguments.image)],
        "import numpy, cv2": [sys.executable, "-c", "import numpy, cv2"],
        "import sklearn.svm, cv2": [sys.executable, "-c", "import sklearn.svm, cv2"],
    }
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for round_ in range(arguments.runs + 1):
        for name, command in commands.items():
            result = measured(command)
            if round_:
                runs[name].append(result)
    rows = []
    for name, results in runs.items():
        seconds = [r[0] for r in results]
        row = {
            "command": name,
            "seconds_median": statistics.median(seconds),
            "seconds_min": min(seconds),
            "seconds_max": max(seconds),
            "peak_mb": max(r[1] for r in results),
        }
        rows.append(row)
        print(
            f"{name:24} median {row['seconds_median']:.3f} s (min {min(seconds):.3f}, max {max(seconds):.3f})  "
            f"peak {row['peak_mb']:.0f} MB"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
