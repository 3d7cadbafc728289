"""Toy problems that a small network learns within a second, on one thread."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import pytest
import torch

from classic_cv.neural.samples import Samples


class Stripes(Protocol):
    """Draws samples of striped images."""

    def __call__(
        self, n: int, seed: int = 0, planes: int = 3, size: int = 16, noise: float = 40.0
    ) -> Samples: ...


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As many threads as sums always have the same order with, and as other tests have left over."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def draw_stripes(n: int, seed: int = 0, planes: int = 3, size: int = 16, noise: float = 40.0) -> Samples:
    """Horizontal (class 0) against vertical (class 1) stripes of any phase and color, under noise."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 2)
    waves = np.sin(np.arange(size)[None] * (np.pi / 2) + rng.uniform(0, 2 * np.pi, (n, 1)))
    horizontal = np.broadcast_to(waves[:, :, None], (n, size, size))
    pattern = np.where(y[:, None, None] == 0, horizontal, horizontal.transpose(0, 2, 1))
    color = rng.uniform(30, 60, (n, 1, 1, planes))
    pixels = 128 + color * pattern[..., None] + noise * rng.standard_normal((n, size, size, planes))
    return Samples(np.clip(pixels, 0, 255).astype(np.uint8), np.zeros((n, 0), np.float32), y.astype(np.int64))


@pytest.fixture
def stripes() -> Stripes:
    return draw_stripes
