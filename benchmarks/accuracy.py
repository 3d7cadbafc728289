"""Accuracy, time and memory of whole fits: each shelf recipe on each data set, beside a hand-written peer.

    python benchmarks/accuracy.py --data flowers17/ --recipe hog-color-lbp --folds 5 --repeats 2
    python benchmarks/accuracy.py --data flowers17/ --recipe auto --time-limit 5m

Every fit runs as its own process (`classic-cv fit`), so seconds are end to end and memory is its peak.
`--folds` adds repeated cross-validation of the whole procedure, choice of C included, on the training part; not of
a search. `--time-limit` and `--latency-limit` are handed to `fit` as they are.
The peer is what one would write by hand: scikit-image's HOG, an HSV histogram, scikit-learn's LinearSVC.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from classic_cv.dataset import load_dataset, make_split
from classic_cv.evaluation import measure
from classic_cv.fitting import fit_recipe, fold_groups, make_job
from classic_cv.images import resize, to_picture
from classic_cv.recipe import AUTO, DummySettings, load_recipe
from classic_cv.stats import accuracy_interval


class FitError(Exception):
    """A fit ended without a report; the message is what it said last."""


@dataclass(frozen=True)
class WholeFit:
    """A ``classic-cv fit`` from start to end: its JSON report, seconds and peak MB of the process."""

    report: dict[str, Any]
    seconds: float
    peak_mb: float


def run_fit(data: Path, recipe: str, options: Sequence[str] = ()) -> WholeFit:
    """Run ``classic-cv fit`` in a process of its own, with ``options`` such as ``--time-limit 5m``.

    Raises:
        FitError: it failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        out, report = Path(folder) / "model.safetensors", Path(folder) / "report.json"
        command = [sys.executable, "-m", "classic_cv", "fit", str(data), "--recipe", recipe, *options]
        timed = run_timed([*command, "--out", str(out), "--json", str(report)])
        return WholeFit(json.loads(report.read_bytes()), timed["seconds"], timed["peak_mb"])


def run_timed(command: Sequence[str]) -> dict[str, Any]:
    """``seconds`` and ``peak_mb`` of a whole process.

    Raises:
        FitError: it failed.
    """
    timer = [sys.executable, "-I", "-S", str(Path(__file__).with_name("_timed.py"))]
    process = subprocess.Popen(
        [*timer, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", errors="replace"
    )
    try:
        output, errors = process.communicate()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    timed: dict[str, Any] = json.loads(output) if output else {"status": process.returncode}
    if timed["status"]:
        raise FitError(failure(timed["status"], errors))
    return timed


def failure(status: int, errors: str) -> str:
    """Why a process failed: what it says after ``error:`` or ``no:``, else its last line, else how it ended."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    ended = f"ended by signal {-status}" if status < 0 else f"exit status {status}"
    if status < 0 or not lines:
        return ended
    starts = [i for i, line in enumerate(lines) if line.startswith(("error: ", "no: "))]
    return " ".join(lines[starts[-1] :]).partition(": ")[2] if starts else lines[-1]


def whole_fit(data: Path, recipe: str, limits: Sequence[str] = ()) -> dict[str, Any]:
    """The row of a whole fit, with ``limits`` such as ``--time-limit 5m``."""
    try:
        fit = run_fit(data, recipe, limits)
    except FitError as error:
        raise SystemExit(f"classic-cv fit {data} --recipe {recipe} failed: {error}") from None
    test = fit.report["test"]
    return {
        "model": f"auto: {fit.report['recipe']}" if recipe == AUTO else recipe,
        "accuracy": test["accuracy"],
        "accuracy_ci95": test["accuracy_ci95"],
        "ece": test["ece"],
        "seconds": fit.seconds,
        "peak_mb": fit.peak_mb,
        "latency_ms_p95": test["latency_ms"]["p95"],
        "model_bytes": test["model_bytes"],
    }


def hand_written_features(pixels: NDArray[np.uint8], size: int = 128) -> NDArray[np.float32]:
    """HOG of scikit-image and an 8x8x8 HSV histogram of OpenCV."""
    from skimage.feature import hog

    small = resize(pixels, (size, size))
    gray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    gradients = hog(gray, orientations=9, pixels_per_cell=(8, 8), cells_per_block=(2, 2))
    hsv = cv2.cvtColor(small, cv2.COLOR_RGB2HSV)
    colors = cv2.calcHist([hsv], [0, 1, 2], None, [8, 8, 8], [0, 180, 0, 256, 0, 256]).ravel()
    # The largest bin is 1: with a sum or length of 1 the colors hardly count beside HOG's 8,100 columns.
    return np.concatenate([gradients, colors / colors.max()]).astype(np.float32)


def hand_written(data: Path) -> dict[str, Any]:
    """The peer on the same split: raw features, LinearSVC with C from a grid by cross-validation."""
    from sklearn.model_selection import GridSearchCV
    from sklearn.svm import LinearSVC

    start = time.perf_counter()
    dataset = load_dataset(data)
    split = make_split(dataset)
    train = np.concatenate([split.train, split.val])
    rows = {
        int(index): hand_written_features(to_picture(dataset.read(int(index))).pixels)
        for index in np.concatenate([train, split.test])
    }
    X = np.stack([rows[int(index)] for index in train])
    X_test = np.stack([rows[int(index)] for index in split.test])
    search = GridSearchCV(LinearSVC(), {"C": [1e-3, 1e-2]}, cv=3)
    correct = int((search.fit(X, dataset.y[train]).predict(X_test) == dataset.y[split.test]).sum())
    return {
        "model": "hand-written HOG + HSV + LinearSVC",
        "accuracy": correct / len(split.test),
        "accuracy_ci95": accuracy_interval(correct, len(split.test)),
        "seconds": time.perf_counter() - start,
    }


def repeated_folds(data: Path, recipe_name: str, folds: int, repeats: int) -> dict[str, float]:
    """Accuracy of the whole procedure, codebooks included, in repeated stratified folds of the training part.

    Groups, where they are known, and exact copies stay together. Nothing for a search and the dummy.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    if recipe_name == AUTO:
        return {}
    job, recipe = make_job(data), load_recipe(recipe_name)
    if isinstance(recipe.head, DummySettings):
        return {}
    y, groups = job.task.y[job.train], fold_groups(job.split, job.train)
    if groups is None:
        groups = np.arange(len(y))
    # A class that is all in one group cannot be both learned and held out: it is always learned.
    alone = np.array([len(np.unique(groups[y == k])) == 1 for k in range(y.max() + 1)])[y]
    rows, always = np.flatnonzero(~alone), np.flatnonzero(alone)
    accuracies = []
    for repeat in range(repeats):
        cut = StratifiedGroupKFold(folds, shuffle=True, random_state=repeat)
        for inside, outside in cut.split(rows, y[rows], groups[rows]):
            learned = np.sort(np.concatenate([rows[inside], always]))
            model, _ = fit_recipe(replace(job, train=job.train[learned], seed=repeat), recipe)
            measured = measure(model, job.dataset, job.task, job.train[rows[outside]], jobs=-1)
            accuracies.append(float(measured.figures["accuracy"]))
    return {"folds_accuracy": float(np.mean(accuracies)), "folds_sd": float(np.std(accuracies, ddof=1))}


def line(data: Path, row: dict[str, Any]) -> str:
    low, high = row["accuracy_ci95"]
    text = (
        f"{data.name:16} {row['model']:36} {100 * row['accuracy']:5.1f} % [{100 * low:.1f}, {100 * high:.1f}] "
        f"{row['seconds']:6.1f} s"
    )
    if "peak_mb" in row:
        text += f"  {row['peak_mb']:5.0f} MB  p95 {row['latency_ms_p95']:.2f} ms  {row['model_bytes'] / 1024:.0f} KiB"
        text += f"  ECE {row['ece']:.3f}"
    if "folds_accuracy" in row:
        text += f"  folds {100 * row['folds_accuracy']:.1f} +- {100 * row['folds_sd']:.1f} %"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, action="append", required=True, help="a data set; repeatable")
    parser.add_argument(
        "--recipe", action="append", help="a recipe or auto; repeatable (default: hog-color-lbp)"
    )
    parser.add_argument("--time-limit", metavar="TIME", help="of the search of --recipe auto, such as 5m")
    parser.add_argument("--latency-limit", metavar="TIME", help="only models that keep it, such as 1ms")
    parser.add_argument("--folds", type=int, default=0, help="also cross-validate on the training part")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--peer", action="store_true", help="also the hand-written peer")
    parser.add_argument("--json", type=Path, help="write the rows as JSON")
    arguments = parser.parse_args()
    given = {"--time-limit": arguments.time_limit, "--latency-limit": arguments.latency_limit}
    limits = [word for flag, value in given.items() if value is not None for word in (flag, value)]
    rows = []
    for data in arguments.data:
        for recipe in arguments.recipe or ["hog-color-lbp"]:
            row = whole_fit(data, recipe, limits)
            if arguments.folds:
                row |= repeated_folds(data, recipe, arguments.folds, arguments.repeats)
            rows.append({"data": data.name, **row})
            print(line(data, row), flush=True)
        if arguments.peer:
            row = hand_written(data)
            rows.append({"data": data.name, **row})
            print(line(data, row), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
