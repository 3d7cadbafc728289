"""Which tricks of the hybrid head pay: one part changed at a time, every network with the same time.

    python benchmarks/hybrid_ablation.py --data cifar10.npz --recipe hybrid-20k --seconds 120
    python benchmarks/hybrid_ablation.py --data cifar10.npz --only "no features" --images 1000 --images 5000

Every row is a `classic-cv fit` in a process of its own, on the same split, with the same `--time-limit`; a row whose
part costs time (a teacher, a second pass) gets fewer epochs for it. Differences to the recipe as it is are paired,
image by image, with a 95 % interval. CPU seconds are user and system time of the process. The table is of the test
part of the data that is given: to choose by it, give data whose test part is a part of the training images.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from classic_cv.dataset import load_dataset, make_split
from classic_cv.fitting import with_max_parameters
from classic_cv.model import load
from classic_cv.neural.settings import HybridSettings
from classic_cv.recipe import Recipe, load_recipe
from classic_cv.report import table
from classic_cv.stats import mean_interval
from classic_cv.task import make_task, strata_of

Change = Callable[[Recipe], Recipe]


def as_it_is(recipe: Recipe) -> Recipe:
    """No change."""
    return recipe


def head(recipe: Recipe) -> HybridSettings:
    """The hybrid head of a recipe.

    Raises:
        SystemExit: it has another one.
    """
    if not isinstance(recipe.head, HybridSettings):
        raise SystemExit(f"recipe {recipe.name} is no hybrid")
    return recipe.head


def changed(part: str, **values: Any) -> Change:
    """Set values in one table of the head, such as ``network``."""

    def change(recipe: Recipe) -> Recipe:
        settings = head(recipe)
        table = msgspec.structs.replace(getattr(settings, part), **values)
        return msgspec.structs.replace(recipe, head=msgspec.structs.replace(settings, **{part: table}))

    return change


def in_head(**values: Any) -> Change:
    """Set values of the head itself."""
    return lambda recipe: msgspec.structs.replace(
        recipe, head=msgspec.structs.replace(head(recipe), **values)
    )


def without_features(recipe: Recipe) -> Recipe:
    """The same limit on parameters without features: what they took goes to the network."""
    return msgspec.structs.replace(recipe, features=())


def coarse_features(recipe: Recipe) -> Recipe:
    """HOG cells of twice the side: a quarter of the columns, each of which has a weight per class."""
    features = tuple(
        msgspec.structs.replace(
            spec, params=spec.params | {"pixels_per_cell": 2 * spec.params["pixels_per_cell"]}
        )
        if spec.type == "hog"
        else spec
        for spec in recipe.features
    )
    return msgspec.structs.replace(recipe, features=features)


def mirrored(yes: bool) -> Change:
    """With or without mirror images in training."""
    return lambda r: msgspec.structs.replace(r, train=msgspec.structs.replace(r.train, mirror=yes))


CHANGES: dict[str, Change] = {
    # 1. blocks
    "plain blocks": changed("network", block="plain"),
    "residual blocks": changed("network", block="residual", channels=(8, 16, 32), blocks=(1, 1, 1)),
    "dense blocks": changed("network", block="dense"),
    "separable blocks": changed("network", block="separable"),
    "whitened first layer": changed("network", first="whitened"),
    "mean and maximum": changed("network", pooling="mean-max"),
    # 2. features
    "no features": without_features,
    "coarse features": coarse_features,
    "no head start": changed("network", head_start=False),
    "PCA to 32": in_head(pca=32),
    "features of the original": changed("optimization", features_of="original"),
    "features of the changed image": changed("optimization", features_of="augmented"),
    # 3. training
    "AdamW": changed("optimization", optimizer="adamw"),
    "restarts": changed("optimization", schedule="restarts"),
    "full resolution": changed("optimization", low_resolution=0.0),
    "no label smoothing": changed("optimization", label_smoothing=0.0),
    "SAM 0.05": changed("optimization", sam=0.05),
    "no EMA": changed("optimization", ema=0.0),
    "EMA 0.998": changed("optimization", ema=0.998),
    "no mirror images": mirrored(False),
    "no shift": changed("augmentation", shift=0.0),
    "rotation 10": changed("augmentation", rotation=10.0),
    "color 0.2": changed("augmentation", color=0.2),
    "no cutout": changed("augmentation", cutout=0.0),
    "cutout 0.25": changed("augmentation", cutout=0.25),
    "mixup 0.2": changed("augmentation", mixup=0.2),
    "float32": changed("optimization", bfloat16=False),
    "float32, channels first": changed("optimization", bfloat16=False, channels_last=False),
    # 4. tuning
    "tuned, TPE": changed("tuning", trials=20, sampler="tpe"),
    "tuned, GP": changed("tuning", trials=20, sampler="gp"),
    # 5. compression
    "wider teacher": changed("compression", teacher="wider"),
    "pruned by 30 %": changed("compression", prune=0.3),
    "int8": changed("compression", quantize="int8"),
}


def run(data: Path, recipe: Recipe, seconds: float, folder: Path, seed: int) -> dict[str, Any]:
    """Fit a recipe in a process of its own: its report, its CPU seconds, and the loss of each test image."""
    source, out, report = folder / "recipe.toml", folder / "model.safetensors", folder / "report.json"
    source.write_text(recipe.to_toml(), encoding="utf-8")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "classic_cv", "fit", str(data), "--recipe", str(source)]
    command += [
        "--time-limit",
        f"{seconds:g}s",
        "--seed",
        str(seed),
        "--out",
        str(out),
        "--json",
        str(report),
    ]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1:] or ["no message"]}
    found = json.loads(report.read_bytes())
    return {
        "network": found["fit"]["network"],
        "ms": found["test"]["latency_ms"]["p50"],
        "model_bytes": found["test"]["model_bytes"],
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "loss": losses(out, data, seed),
    }


def losses(model_file: Path, data: Path, seed: int) -> NDArray[np.float64]:
    """0 or 1, or the absolute error, of each test image."""
    model, dataset = load(model_file), load_dataset(data)
    task = make_task(dataset, "auto", None)
    indices = make_split(dataset, seed=seed, stratify=strata_of(dataset, task)).test.tolist()
    answers = model.predict([dataset.read(index) for index in indices], jobs=-1)
    if model.task == "regression":
        return np.asarray(np.abs(answers - task.y[indices]), np.float64)
    names = np.array([task.class_names[k] for k in task.y[indices]])
    return np.asarray(answers != names, np.float64)


def rows_of(
    data: Path, recipe: Recipe, seconds: float, wanted: list[str], seeds: list[int], images: int | None
) -> list[dict[str, Any]]:
    """A row for the recipe as it is and for each wanted change, over all seeds."""
    if images:
        recipe = msgspec.structs.replace(recipe, train=msgspec.structs.replace(recipe.train, images=images))
    rows: list[dict[str, Any]] = []
    base: NDArray[np.float64] | None = None
    for name in ["as it is", *wanted]:
        change = CHANGES.get(name, as_it_is)
        runs = []
        for seed in seeds:
            with tempfile.TemporaryDirectory() as folder:
                runs.append(run(data, change(recipe), seconds, Path(folder), seed))
            print(f"{name}, seed {seed}: {summary(runs[-1])}", file=sys.stderr, flush=True)
        row = row_of(name, runs, base, images)
        rows.append(row)
        if name == "as it is" and "loss" in runs[0]:
            base = np.concatenate([one["loss"] for one in runs])
    return rows


def summary(one: dict[str, Any]) -> str:
    """A run in a few words."""
    if "failed" in one:
        return f"failed: {one['failed'][0]}"
    return f"{float(one['loss'].mean()):.4f} loss, {one['network']['training']['epochs']:.0f} epochs"


def row_of(
    name: str, runs: list[dict[str, Any]], base: NDArray[np.float64] | None, images: int | None
) -> dict[str, Any]:
    """The row of some runs that differ in their seed."""
    row: dict[str, Any] = {"change": name, "images": images or "all", "seeds": len(runs)}
    if any("failed" in one for one in runs):
        return row | {"failed": next(one["failed"][0] for one in runs if "failed" in one)}
    loss = np.concatenate([one["loss"] for one in runs])
    row |= {
        "loss": float(loss.mean()),
        "loss_ci95": list(mean_interval(loss, np.full(len(loss), 1 / len(loss)))),
        "per_seed": [float(one["loss"].mean()) for one in runs],
        "parameters": runs[0]["network"]["n_parameters"],
        "epochs": float(np.mean([one["network"]["training"]["epochs"] for one in runs])),
        "ms": float(np.median([one["ms"] for one in runs])),
        "model_bytes": runs[0]["model_bytes"],
        "cpu_seconds": float(np.mean([one["cpu_seconds"] for one in runs])),
    }
    if base is not None:
        difference = loss - base
        row["difference"] = float(difference.mean())
        row["difference_ci95"] = list(mean_interval(difference, np.full(len(loss), 1 / len(loss))))
    return row


def as_table(rows: list[dict[str, Any]]) -> str:
    """The rows as text."""
    names = ["change", "images", "loss", "95 %", "to as it is", "95 %", "parameters", "epochs", "ms", "CPU s"]
    return table(names, [_cells(row) for row in rows])


def _cells(row: dict[str, Any]) -> list[str]:
    start = [str(row["change"]), str(row["images"])]
    if "failed" in row:
        return [*start, row["failed"], *[""] * 7]
    difference, interval = "", ""
    if "difference" in row:
        difference = f"{row['difference']:+.4f}"
        interval = "{:+.4f} to {:+.4f}".format(*row["difference_ci95"])
    return [
        *start,
        f"{row['loss']:.4f}",
        "{:.4f} to {:.4f}".format(*row["loss_ci95"]),
        difference,
        interval,
        f"{row['parameters']:,}",
        f"{row['epochs']:.1f}",
        f"{row['ms']:.2f}",
        f"{row['cpu_seconds']:.0f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--recipe", default="hybrid-20k")
    parser.add_argument("--max-parameters", type=int, help="in place of the recipe's own limit")
    parser.add_argument("--seconds", type=float, default=120.0, help="of each fit, from start to figures")
    parser.add_argument(
        "--only", action="append", choices=list(CHANGES), help="these changes; all by default"
    )
    parser.add_argument("--images", action="append", type=int, help="train on so many; may be given again")
    parser.add_argument("--seeds", type=int, default=1, help="fits of each row, with seeds from 0 on")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    recipe = load_recipe(arguments.recipe)
    if arguments.max_parameters:
        recipe = with_max_parameters(recipe, arguments.max_parameters)
    rows: list[dict[str, Any]] = []
    for images in arguments.images or [None]:
        rows += rows_of(
            arguments.data,
            recipe,
            arguments.seconds,
            arguments.only or list(CHANGES),
            list(range(arguments.seeds)),
            images,
        )
    print(as_table(rows))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
