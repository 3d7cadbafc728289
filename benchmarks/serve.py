"""Figures of `classic-cv serve`: time added, steady load, overload, a primary in trouble, kill -9, memory, fuzz, start.

    python benchmarks/serve.py                                     # hog-color on a demo set, about ten minutes
    python benchmarks/serve.py model.safetensors --only steady --only overload --seconds 20 --json rows.json

Starts the service as a process on the loopback for each figure, and prints what the figure should be beside what it is.
Load comes from a process of its own, which needs a core beside the service's. In an open loop requests are sent at
fixed times and latencies count from these; a client that fell behind its own schedule says so.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil

from benchmarks._faults import fuzz, kill, primary
from benchmarks._serving import added, overload, start, steady, used
from benchmarks._setting import Row, Setting, default_model, plain
from classic_cv.errors import ClassicCVError
from classic_cv.report import table
from classic_cv.timing import available_cores, cpu_name

FIGURES: dict[str, Callable[[Setting], list[Row]]] = {
    "added": added,
    "steady": steady,
    "overload": overload,
    "primary": primary,
    "kill": kill,
    "memory": used,
    "fuzz": fuzz,
    "start": start,
}


def parsed(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, nargs="?", help="default: hog-color on the demo's textures")
    parser.add_argument("--data", type=Path, help="images to send (default: photos of scikit-image)")
    parser.add_argument(
        "--only", choices=FIGURES, action="append", help="a figure; repeatable (default: all)"
    )
    parser.add_argument("--seconds", type=float, help="of each load, in place of each figure's own")
    parser.add_argument("--mutations", type=int, default=10_000, help="images of fuzz; half as many requests")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations")
    parser.add_argument("--json", type=Path)
    return parser.parse_args(words)


def measure(figure: str, setting: Setting) -> list[Row]:
    """Its rows; a figure that cannot be measured is a row with the error."""
    try:
        return FIGURES[figure](setting)
    except (RuntimeError, OSError, ClassicCVError, psutil.Error) as error:
        return [Row(figure, "", f"failed: {error}")]


def run(arguments: argparse.Namespace, model: Path) -> list[Row]:
    setting = Setting(model, arguments.data, arguments.seconds, arguments.mutations, arguments.seed)
    rows = []
    for figure in arguments.only or FIGURES:
        rows += measure(figure, setting)
        if arguments.json:
            arguments.json.write_bytes(plain(rows))
    return rows


def main() -> None:
    arguments = parsed()
    with tempfile.TemporaryDirectory() as folder:
        rows = run(arguments, arguments.model or default_model(Path(folder)))
    print(f"{cpu_name()}, {available_cores()} threads")
    print(table(["figure", "asked", "measured"], [[row.figure, row.asked, row.measured] for row in rows]))


if __name__ == "__main__":
    main()
