"""A small data set, and contestants that are a few lines of Python."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from classic_cv.compare.entries import Limits
from classic_cv.compare.harness import Arena, Harness
from classic_cv.compare.process import Rules
from classic_cv.compare.store import Store
from classic_cv.dataset import load_dataset, make_split
from classic_cv.task import make_task

WriteContestant = Callable[..., str]
MakeHarness = Callable[..., Harness]

ANSWERS = """
import json, time
from pathlib import Path
import numpy as np
from classic_cv.compare.contestant import Fitted

class Constant:
    def __init__(self, n_classes):
        self.n_classes = n_classes
    def label(self, image):
        return 0
    def probabilities(self, images):
        return np.tile(np.eye(self.n_classes, dtype=np.float32)[0], (len(images), 1))
    def stages(self, image):
        return {"decode": 0.0, "features": 0.0, "head": 0.0}
    def threads(self):
        return {}
    model_bytes = 1

def load(folder, threads):
    return Constant(json.loads((folder / "model.json").read_text()))

def store(task):
    (task.folder / "model.json").write_text(json.dumps(len(task.class_names)))
    return Fitted(len(task.train))
"""
"""A contestant that always answers with the first class; ``fit`` is added by each test."""


def draw_disc(color: tuple[int, int, int], seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 60, (32, 32, 3), dtype=np.uint8)
    center = tuple(int(k) for k in rng.integers(12, 20, 2))
    cv2.circle(image, center, 8, color, -1)
    return image


@pytest.fixture(scope="session")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red against green discs: 20 training and 10 test images of each, as split folders."""
    root = tmp_path_factory.mktemp("discs")
    for part, n, start in (("train", 20, 0), ("test", 10, 500)):
        for name, color in (("red", (0, 0, 220)), ("green", (0, 220, 0))):
            folder = root / part / name
            folder.mkdir(parents=True)
            for k in range(n):
                cv2.imwrite(str(folder / f"{k:02d}.png"), draw_disc(color, start + k + len(name) * 1000))
    return root


@pytest.fixture
def write_contestant(tmp_path: Path) -> WriteContestant:
    """Writes a Python contestant: the body of ``fit(task)``, and what replaces parts of its answers."""

    def write(fit: str = "return store(task)", name: str = "own", extra: str = "") -> str:
        file = tmp_path / f"{name}.py"
        body = textwrap.indent(textwrap.dedent(fit), "    ")
        file.write_text(
            f"{ANSWERS}\n\ndef fit(task):\n{body}\n\n{textwrap.dedent(extra)}\n", encoding="utf-8"
        )
        return f"{name}=python:{file}"

    return write


@pytest.fixture
def make_harness(tmp_path: Path) -> Iterator[MakeHarness]:
    """Makes a harness for a data set, on one core unless told otherwise; it is closed after the test."""
    opened: list[Harness] = []

    def make(data: Path, **rules: object) -> Harness:
        dataset = load_dataset(data)
        split = make_split(dataset)
        core = min(os.sched_getaffinity(0))
        arena = Arena(
            dataset,
            split,
            make_task(dataset),
            np.sort(np.concatenate([split.train, split.val])),
            Rules(**({"cores": (core,)} | rules)),  # type: ignore[arg-type]
            Limits(),
            0,
        )
        harness = Harness(arena, Store(tmp_path / "comparison"))
        opened.append(harness)
        return harness.__enter__()

    yield make
    for harness in opened:
        harness.__exit__()
