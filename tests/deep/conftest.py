"""Toy problems for networks, and a budget whose clock the test turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from classic_cv.compare.contestant import FitTask
from classic_cv.dataset import load_dataset

Striped = tuple[NDArray[np.uint8], NDArray[np.int64]]
Tasks = Callable[..., FitTask]


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As many threads as sums always have the same order with; what a fit sets is set back."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclass
class FakeBudget:
    """CPU seconds that pass by so much with each look at the clock."""

    total: float
    per_look: float = 0.0
    now: float = 0.0

    def used(self) -> float:
        self.now += self.per_look
        return self.now

    @property
    def left(self) -> float:
        return self.total - self.used()


@pytest.fixture
def budget() -> type[FakeBudget]:
    return FakeBudget


def draw_stripes(n: int, seed: int = 0, size: int = 32, gray: bool = False) -> Striped:
    """Horizontal (class 0) against vertical (class 1) stripes of any phase and color, under noise."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 2).astype(np.int64)
    waves = np.sin(np.arange(size)[None] * (np.pi / 4) + rng.uniform(0, 2 * np.pi, (n, 1)))
    horizontal = np.broadcast_to(waves[:, :, None], (n, size, size))
    pattern = np.where(y[:, None, None] == 0, horizontal, horizontal.transpose(0, 2, 1))
    planes = 1 if gray else 3
    color = rng.uniform(40, 80, (n, 1, 1, planes))
    pixels = 128 + color * pattern[..., None] + 20 * rng.standard_normal((n, size, size, planes))
    return np.clip(np.broadcast_to(pixels, (n, size, size, 3)), 0, 255).astype(np.uint8), y


@pytest.fixture
def stripes() -> Callable[..., Striped]:
    return draw_stripes


@pytest.fixture
def striped_task(tmp_path: Path) -> Tasks:
    """Makes a task of ``n`` striped PNG files in two folders."""

    def make(n: int, budget: FakeBudget, size: int = 32, seed: int = 0) -> FitTask:
        pixels, y = draw_stripes(n, seed, size)
        for index, (image, label) in enumerate(zip(pixels, y, strict=True)):
            path = tmp_path / "data" / ("across", "down")[label] / f"{index:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), image[..., ::-1])
        dataset = load_dataset(tmp_path / "data")
        (tmp_path / "out").mkdir()
        rows = np.arange(n)
        return FitTask(
            dataset,
            rows,
            dataset.y,
            dataset.class_names,
            rows,
            tmp_path / "out",
            seed=0,
            threads=1,
            budget=budget,
        )

    return make
