"""Speed of hybrid heads: training, and the parts of a prediction.

    python benchmarks/hybrid.py                      # training throughput, one network in several forms
    python benchmarks/hybrid.py --model model.safetensors --data cifar10.npz

Training is whole steps of the program's own loop (changed images, forward, backward, weights) on random images; the
forms take turns, and each row's figure is the median of its steps. Prediction is one image at a time on one thread.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from classic_cv.dataset import load_dataset, make_split
from classic_cv.features.base import Features
from classic_cv.model import Model, load
from classic_cv.neural.architecture import Network, initialise, n_parameters
from classic_cv.neural.augmentation import AugmentationSettings, resolved
from classic_cv.neural.objective import Objective
from classic_cv.neural.optimizer import make_optimizer
from classic_cv.neural.samples import Samples
from classic_cv.neural.settings import NetworkSettings, OptimizationSettings
from classic_cv.neural.training import Clock, Trainer
from classic_cv.report import table
from classic_cv.timing import available_cores, one_by_one

FORMS = {
    "float32, channels first": OptimizationSettings(bfloat16=False, channels_last=False),
    "float32, channels last": OptimizationSettings(bfloat16=False),
    "bfloat16, channels last": OptimizationSettings(bfloat16=True),
}

NETWORKS = {
    "residual": NetworkSettings(block="residual", channels=(16, 32, 64), blocks=(1, 1, 1)),
    "separable": NetworkSettings(block="separable", channels=(32, 96, 192), blocks=(1, 3, 2)),
}


def trainer_of(network: NetworkSettings, form: OptimizationSettings, n: int) -> Trainer:
    """A trainer of a new network on n random images of 32 pixels, 10 classes, without features."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (n, 32, 32, 3), np.uint8)
    empty = np.zeros((n, 0), np.float32)
    samples = Samples(pixels, empty, rng.integers(0, 10, n), empty)
    net = Network(network, 3, 0, 10)
    net.mean.fill_(128)
    net.scale.fill_(64)
    initialise(net, torch.Generator().manual_seed(0))
    augmentation = resolved(AugmentationSettings(), 78_000, 50_000)
    nothing = samples.part(np.zeros(0, np.intp))
    return Trainer(net, samples, nothing, form, augmentation, Objective("classification", 0.1), Clock())


def training_rows(name: str, steps: int) -> list[dict[str, Any]]:
    """Images per second of each form, in turns."""
    network = NETWORKS[name]
    trainers = {form: trainer_of(network, settings, 2560) for form, settings in FORMS.items()}
    optimizers = {form: make_optimizer(one.network.train(), one.settings) for form, one in trainers.items()}
    seconds: dict[str, list[float]] = {form: [] for form in FORMS}
    for number in range(steps):
        for form, one in trainers.items():
            start = time.perf_counter()
            batch = next(one._batches(number))
            one._step(one.network, optimizers[form], batch, None)
            seconds[form].append(time.perf_counter() - start)
    first = next(iter(FORMS))
    medians = {form: float(np.median(times[3:])) for form, times in seconds.items()}
    return [
        {
            "network": f"{name}, {n_parameters(network, 3, 0, 10):,} parameters",
            "form": form,
            "images_per_second": trainers[form].batch_size / median,
            "ratio": medians[first] / median,
        }
        for form, median in medians.items()
    ]


def prediction_rows(model: Model, data: Path, n: int) -> list[dict[str, Any]]:
    """Median and 95th percentile in ms of the parts of a prediction."""
    dataset = load_dataset(data)
    indices = make_split(dataset).test[:n].tolist()
    encoded = [_encoded(dataset.read(index)) for index in indices]
    prepared = [model.featurizer.prepare(item) for item in encoded]
    rows: list[Features] = [model.featurizer.transform([picture]) for picture in prepared]
    parts = {
        "encoded bytes to label": one_by_one(model.predict, [[item] for item in encoded]),
        "decoding and resizing": one_by_one(model.featurizer.prepare, encoded),
        "features": one_by_one(lambda picture: model.featurizer.transform([picture]), prepared),
        "network": one_by_one(model.scores, rows),
    }
    return [{"part": name, "p50": found["p50"], "p95": found["p95"]} for name, found in parts.items()]


def _encoded(item: Any) -> bytes:
    """Bytes of an image; pixels are encoded as JPEG of quality 95."""
    if isinstance(item, bytes):
        return item
    if isinstance(item, np.ndarray):
        ordered = cv2.cvtColor(item, cv2.COLOR_RGB2BGR) if item.ndim == 3 else item
        return cv2.imencode(".jpg", ordered, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    return Path(item).read_bytes()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="measure the predictions of this model")
    parser.add_argument("--data", type=Path, help="the images that it predicts")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if (arguments.model is None) != (arguments.data is None):
        parser.error("--model and --data go together")
    if arguments.model:
        rows = prediction_rows(load(arguments.model), arguments.data, arguments.images)
        print(
            table(
                ["part", "median ms", "p95 ms"],
                [[r["part"], f"{r['p50']:.3f}", f"{r['p95']:.3f}"] for r in rows],
            )
        )
    else:
        torch.set_num_threads(available_cores())
        rows = [row for name in NETWORKS for row in training_rows(name, arguments.steps)]
        cells = [
            [r["network"], r["form"], f"{r['images_per_second']:,.0f}", f"{r['ratio']:.2f}"] for r in rows
        ]
        print(table(["network", "form", "images/s", "times the first"], cells))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
