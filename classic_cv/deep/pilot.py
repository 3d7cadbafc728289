"""At which size a network is trained: the largest one that leaves time for enough epochs, by trial steps."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from classic_cv.deep.networks import Statistics, as_input, freeze, keep_resolution, to_training
from classic_cv.deep.settings import DeepSettings
from classic_cv.deep.training import CpuClock, optimizer_of, uses_bfloat16
from classic_cv.neural.training import batch_size

LADDER = (32, 48, 64, 96, 128, 160, 192, 224)
"""Sizes that are chosen from, with the least and the most that a network is made for."""

ENLARGED = 1.15
"""Images are enlarged by so much at most: larger ones have more pixels and show no more."""

WANTED_EPOCHS = {"scratch": 25, "finetune": 8}
"""Epochs that a size must leave time for. Networks that start from random weights learn in dozens of epochs, pretrained
ones in a few (Kornblith et al. 2019 fine-tune small sets longer, with little gain beyond the first epochs)."""

SMALL_STEM_BELOW = 64
"""Pixels of a side below which a stem that halves the resolution leaves too little."""

TRIED = 16
"""Images of a trial step."""

MOST_TRIALS = 5
"""Sizes that are tried at most."""

PROMISING = 0.6
"""A size that was not measured is tried where its estimate leaves time for such a share of the epochs: estimates by the
number of pixels are too high for larger images, which take less time per pixel."""

LOW_COST = 0.75**2
"""Cost of a step at the lower resolution."""

STANDARD = Statistics((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


class Candidate(NamedTuple):
    """A size, and whether the stem keeps the resolution."""

    size: int
    small_stem: bool = False


@dataclass(frozen=True)
class Cost:
    """CPU seconds of training: of an image in a step, and of the rest of a step."""

    image: float
    step: float

    def scaled(self, factor: float) -> Cost:
        """With images that take ``factor`` times as long."""
        return Cost(factor * self.image, self.step)


def candidates(settings: DeepSettings, side: int, most: int) -> list[Candidate]:
    """What is chosen from, the best one first.

    Args:
        settings: a size that they give is the only one.
        side: pixels of a typical image's shorter side.
        most: pixels of a side for which there is memory.
    """
    sizes = [settings.size] if isinstance(settings.size, int) else _sizes(settings, side, most)
    if settings.small_stem != "auto":
        return [Candidate(size, settings.small_stem) for size in sizes]
    below = [size for size in sizes if size < SMALL_STEM_BELOW and settings.mode == "scratch"]
    above = [Candidate(size) for size in sizes if size not in below]
    return [*above, *(Candidate(size, True) for size in below), *(Candidate(size) for size in below)]


def _sizes(settings: DeepSettings, side: int, most: int) -> list[int]:
    steps = sorted({settings.min_size, *LADDER, settings.max_size}, reverse=True)
    limit = min(settings.max_size, most, math.floor(ENLARGED * side))
    return [size for size in steps if settings.min_size <= size <= limit] or [settings.min_size]


class Pilot:
    """Measures what training costs on copies of a network, with images of noise.

    Args:
        network: as it would be trained; not changed.
        settings: how it would be.
        n_classes: how many.
        clock: of CPU seconds.
        n: training images.
    """

    def __init__(
        self, network: nn.Module, settings: DeepSettings, n_classes: int, clock: CpuClock, n: int
    ) -> None:
        self.network, self.settings, self.n_classes, self.clock, self.n = (
            network,
            settings,
            n_classes,
            clock,
            n,
        )
        self.costs: dict[Candidate, Cost] = {}

    def cost(self, candidate: Candidate) -> Cost:
        """Measured once for each candidate."""
        if candidate not in self.costs:
            self.costs[candidate] = self._measured(candidate)
        return self.costs[candidate]

    def _measured(self, candidate: Candidate) -> Cost:
        twin = copy.deepcopy(self.network)
        if candidate.small_stem:
            keep_resolution(twin)
        freeze(twin, self.settings.freeze if self.settings.mode == "finetune" else 0.0)
        to_training(twin)
        optimizer = optimizer_of(twin, self.settings)
        rng = np.random.default_rng(0)
        pixels = rng.integers(0, 256, (TRIED, candidate.size, candidate.size, 3), np.uint8)
        y = torch.from_numpy(rng.integers(0, self.n_classes, TRIED))
        for _ in range(2):  # the first one allocates
            start = self.clock.used()
            with torch.autocast("cpu", torch.bfloat16, enabled=uses_bfloat16(self.settings)):
                logits = twin(as_input(pixels, STANDARD)).float()
            optimizer.zero_grad()
            nn.functional.cross_entropy(logits, y).backward()  # type: ignore[no-untyped-call]
            middle = self.clock.used()
            optimizer.step()
            end = self.clock.used()
        return Cost((middle - start) / TRIED, end - middle)

    def epoch_seconds(self, cost: Cost) -> float:
        """CPU seconds of an epoch on average, with its share of validation."""
        steps = max(1, self.n // batch_size(self.n, self.settings.batch_size))
        low = self.settings.low_resolution
        images = self.n * cost.image * ((1 - low) + low * LOW_COST + 0.05)
        return images + steps * cost.step

    def wanted_epochs(self) -> float:
        """Epochs that a size must leave time for."""
        wanted = WANTED_EPOCHS.get(self.settings.mode, 8)
        return wanted if self.settings.epochs == "auto" else self.settings.epochs


def choose(found: Sequence[Candidate], pilot: Pilot, seconds: float) -> tuple[Candidate, float]:
    """The first candidate that leaves time for enough epochs, else the cheapest; and the epochs there is time for.

    Only few are measured: what others cost follows from their pixels, and the one that is chosen has been measured.

    Args:
        found: the best one first.
        pilot: what measures.
        seconds: CPU seconds that there are.
    """
    if math.isinf(seconds):
        return found[0], math.inf
    start = pilot.clock.used()
    cheapest = min(found, key=lambda candidate: (candidate.small_stem, candidate.size))
    tried = cheapest
    for _ in range(MOST_TRIALS):
        pilot.cost(tried)
        left = max(seconds - (pilot.clock.used() - start), 0.0)
        chosen = _first_promising(found, pilot, left) or cheapest
        if chosen in pilot.costs:
            break
        tried = chosen
    else:
        affordable = [
            c for c in found if c in pilot.costs and _epochs(c, pilot, left) >= pilot.wanted_epochs()
        ]
        chosen = affordable[0] if affordable else cheapest
    return chosen, _epochs(chosen, pilot, left)


def _first_promising(found: Sequence[Candidate], pilot: Pilot, seconds: float) -> Candidate | None:
    """Measured to leave time for enough epochs, or nearly so by an estimate."""
    for candidate in found:
        needed = pilot.wanted_epochs() * (1 if candidate in pilot.costs else PROMISING)
        if _epochs(candidate, pilot, seconds) >= needed:
            return candidate
    return None


def _epochs(candidate: Candidate, pilot: Pilot, seconds: float) -> float:
    return seconds / max(pilot.epoch_seconds(_estimated(candidate, pilot)), 1e-9)


def _estimated(candidate: Candidate, pilot: Pilot) -> Cost:
    """As measured, or from the measured one that is nearest in size, by the number of pixels."""
    if candidate in pilot.costs:
        return pilot.costs[candidate]

    def pixels(of: Candidate) -> float:
        # A stem that keeps the resolution quadruples what the layers behind it see, or more.
        return of.size**2 * (4 if of.small_stem else 1)

    nearest = min(
        pilot.costs,
        key=lambda other: (other.small_stem != candidate.small_stem, abs(other.size - candidate.size)),
    )
    return pilot.costs[nearest].scaled(pixels(candidate) / pixels(nearest))
