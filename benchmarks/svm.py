"""The linear SVM: ours against scikit-learn's LinearSVC, in the same run, to the same optimum.

    python benchmarks/svm.py [--repeat 2] [--only NAME] [--json FILE]

Data sets, all seeded:

* ``digits``: HOG of scikit-learn's digits, each warped and noised to make 15,000 training images of 32x32
  (test images come from other originals), cut to the first 1,000 columns and standardised, or left raw;
* ``descriptors``: 15,000 x 1,000, 10 classes, synthetic: class means in 200 latent directions whose strength
  falls with a power law, mixed into blocks of 36 non-negative columns of unit length each, like HOG; classes
  overlap and 5 % of the labels are wrong, so that some rows always stay inside the margin;
* ``descriptors, easy``: the same with class means twice as far apart, not standardised, C = 1;
* ``wide``: 1,000 x 20,000, 17 classes of the same kind, as encoded local descriptors are;
* ``square``: 3,000 x 3,000, 10 classes of the same kind.

LinearSVC runs with its defaults (its primal solver where there are more rows than columns), and the two
alternate; the CPU seconds, over all threads, say more than the clock on a machine that is busy otherwise.
``gap`` is how far an objective, summed over classes, is above the lower of the two.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from classic_cv.features.hog import HOG
from classic_cv.heads.scaler import standardize
from classic_cv.heads.svm import LinearSVM, one_vs_rest
from classic_cv.timing import cpu_name

Floats = NDArray[np.float32]
Labels = NDArray[np.intp]


@dataclass(frozen=True)
class Task:
    """Training and test features and labels."""

    X: Floats
    y: Labels
    X_test: Floats
    y_test: Labels


def digits(scaled: bool = True) -> Task:
    """Warped digits as HOG features."""
    from sklearn.datasets import load_digits

    rng = np.random.default_rng(0)
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8).astype(np.float32) * 15
    chosen = np.concatenate([rng.integers(0, 1400, 15_000), rng.integers(1400, len(images), 3_000)])
    warped = np.stack([_warp(images[index], rng) for index in chosen])
    X = HOG(pixels_per_cell=(4, 8)).fit(warped).transform(warped)[:, :1000]
    return _split(X, labels[chosen].astype(np.intp), 15_000, scaled)


def _warp(image: Floats, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The digit at 32x32, turned, sheared, scaled and shifted at random, with noise."""
    angle, shear = rng.normal(0, 0.2), rng.normal(0, 0.2)
    scale = 3.4 * np.exp(rng.normal(0, 0.12))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = scale * turn @ np.array([[1, shear], [0, 1]])
    shift = 16 - matrix @ np.array([4.0, 4.0]) + rng.normal(0, 1.5, 2)
    warped = cv2.warpAffine(image, np.column_stack([matrix, shift]), (32, 32), flags=cv2.INTER_CUBIC)
    return np.clip(warped + rng.normal(0, 12, (32, 32)), 0, 255).astype(np.uint8)


def descriptors(
    n: int, n_test: int, n_features: int, n_classes: int, *, apart: float = 0.35, scaled: bool = True
) -> Task:
    """Synthetic block-normalised histograms of classes whose means lie ``apart`` standard deviations."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, n_classes, n + n_test)
    strength = (1 + np.arange(200)) ** -0.6
    latent = rng.standard_normal((n_classes, 200))[y] * apart + rng.standard_normal((len(y), 200))
    mix = (rng.standard_normal((200, n_features)) * strength[:, None]).astype(np.float32)
    X = latent.astype(np.float32) @ mix + 0.5 * rng.standard_normal((len(y), n_features), dtype=np.float32)
    np.maximum(X, 0, out=X)
    for start in range(0, n_features, 36):
        block = X[:, start : start + 36]
        block /= np.linalg.norm(block, axis=1, keepdims=True) + 0.1
    wrong = rng.random(len(y)) < 0.05
    y[wrong] = rng.integers(0, n_classes, int(wrong.sum()))
    return _split(X, y.astype(np.intp), n, scaled)


def _split(X: Floats, y: Labels, n: int, scaled: bool = True) -> Task:
    train, test = np.ascontiguousarray(X[:n]), np.ascontiguousarray(X[n:])
    if scaled:
        mean, scale = standardize(train)
        test = (test - mean) / scale
    return Task(train, y[:n], test, y[n:])


TASKS: dict[str, tuple[Callable[[], Task], float]] = {
    "digits": (digits, 0.01),
    "descriptors": (lambda: descriptors(15_000, 3_000, 1_000, 10), 0.01),
    "descriptors, easy": (
        lambda: descriptors(15_000, 3_000, 1_000, 10, apart=0.7, scaled=False),
        1.0,
    ),
    "digits, raw": (lambda: digits(scaled=False), 1.0),
    "wide": (lambda: descriptors(1_000, 1_000, 20_000, 17), 0.01),
    "square": (lambda: descriptors(3_000, 1_000, 3_000, 10), 0.01),
}
"""Data and C by name: C near what cross-validation chooses on standardised features, LinearSVC's own on raw."""


def objective(task: Task, coef: NDArray[Any], intercept: NDArray[Any], C: float) -> float:
    """The sum of the classes' objectives, in float64."""
    signs, _ = one_vs_rest(task.y, int(task.y.max()) + 1)
    total = 0.5 * float((coef.astype(np.float64) ** 2).sum() + (intercept.astype(np.float64) ** 2).sum())
    for start in range(0, len(task.X), 2000):
        scores = task.X[start : start + 2000].astype(np.float64) @ coef.T.astype(np.float64) + intercept
        margins = np.maximum(0, 1 - signs[:, start : start + 2000].T * scores)
        total += C * float((margins**2).sum())
    return total


def measure(task: Task, C: float, repeat: int) -> dict[str, Any]:
    """Alternate the two, and compare seconds, objectives and test accuracy."""
    from sklearn.svm import LinearSVC

    makers: dict[str, Callable[[], Any]] = {
        "ours": lambda: LinearSVM(C=C),
        "LinearSVC": lambda: LinearSVC(C=C),
    }
    seconds: dict[str, list[float]] = {name: [] for name in makers}
    cpu: dict[str, list[float]] = {name: [] for name in makers}
    fitted = {}
    for _ in range(repeat):
        for name, make in makers.items():
            start, cpu_start = time.perf_counter(), time.process_time()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                fitted[name] = make().fit(task.X, task.y)
            seconds[name].append(time.perf_counter() - start)
            cpu[name].append(time.process_time() - cpu_start)
    values = {name: objective(task, model.coef_, model.intercept_, C) for name, model in fitted.items()}
    best = min(values.values())
    row: dict[str, Any] = {"shape": task.X.shape, "classes": len(np.unique(task.y)), "C": C}
    for name, model in fitted.items():
        row[name] = {
            "seconds": median(seconds[name]),
            "seconds_min": min(seconds[name]),
            "cpu_seconds": median(cpu[name]),
            "objective": values[name],
            "gap": values[name] / best - 1,
            "accuracy": float((model.predict(task.X_test) == task.y_test).mean()),
            "n_iter": int(model.n_iter_),
        }
    row["times_faster"] = row["LinearSVC"]["seconds"] / row["ours"]["seconds"]
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=2, help="fits of each, alternating")
    parser.add_argument(
        "--only", action="append", choices=list(TASKS), help="data set to run; all by default"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    rows = {}
    columns = f"{'seconds':>9}{'min':>9}{'CPU s':>9}{'objective':>12}{'gap':>9}{'test':>8}"
    print(f"{'data':<22}{'shape':>15}{'K':>4}  {'':<10}{columns}")
    for name in arguments.only or TASKS:
        make, C = TASKS[name]
        rows[name] = row = measure(make(), C, arguments.repeat)
        for who in ("ours", "LinearSVC"):
            figures = row[who]
            n, d = row["shape"]
            print(
                f"{name:<22}{f'{n} x {d}':>15}{row['classes']:>4}  {who:<10}{figures['seconds']:>9.3f}"
                f"{figures['seconds_min']:>9.3f}{figures['cpu_seconds']:>9.3f}"
                f"{figures['objective']:>12.4f}{figures['gap']:>9.1e}{figures['accuracy']:>8.2%}"
            )
        print(f"{'':<22}{row['times_faster']:.1f} times faster (median of {arguments.repeat})", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps({"cpu": cpu_name(), "tasks": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
