"""What a contestant is: something that fits within a budget, is stored, loaded in another process, and answers.

A contestant owns neither clock nor data nor metrics. It is given training images and their classes, and later encoded
images to answer for; what it is measured by happens outside of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from classic_cv.dataset import Dataset, Encoded

Progress = Callable[[str, int, int], None]


class Budget(Protocol):
    """The CPU seconds of a fit: user and system time of the process and all that it started."""

    total: float
    """Seconds that there are; infinity for no limit."""

    def used(self) -> float:
        """Seconds that are spent."""

    @property
    def left(self) -> float:
        """Seconds that are left; negative once they are overspent."""


@dataclass(frozen=True, eq=False)
class FitTask:
    """What a contestant learns from.

    Attributes:
        dataset: holds no test image.
        train: int64 positions in ``dataset`` to learn from, ascending; a contestant that needs a validation part takes
            it from these.
        y: int64 (len(dataset),), class numbers.
        class_names: by class number.
        groups: int64 (len(dataset),): what has the same number must not be on both sides of a validation split.
        folder: an empty folder for what is stored; nothing outside it may be written.
        seed: of everything random.
        threads: so many may compute at a time.
        budget: to be kept.
        progress: called with (what, done, total), or None.
        keep: called with what a fit would tell, once the folder holds a whole model that is to be taken if the budget
            ends before a better one is stored in its place, aside and renamed; None outside of a comparison.
    """

    dataset: Dataset
    train: NDArray[np.int64]
    y: NDArray[np.int64]
    class_names: tuple[str, ...]
    groups: NDArray[np.int64]
    folder: Path
    seed: int
    threads: int
    budget: Budget
    progress: Progress | None = None
    keep: Callable[[Fitted], None] | None = None


@dataclass
class Fitted:
    """What a fit tells of itself.

    Attributes:
        n_fit: images that the stored model was fitted on.
        epochs: passes over them of the final training; None where that is no notion of the method.
        history: an entry per validation, for the learning curves of networks: ``cpu_seconds`` of the budget used,
            ``epoch``, ``validation_accuracy``, and ``training_loss`` unless it is before the first step.
        log: lines on what was decided and why.
        skipped: ``image`` and ``reason`` of each training image that could not be used.
        details: anything else that a report may show, as plain data.
    """

    n_fit: int
    epochs: float | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)


class Predictor(Protocol):
    """A stored model as it answers."""

    def label(self, image: Encoded) -> int:
        """The class number of one encoded image (or of uint8 pixels): the path whose latency is measured."""

    def probabilities(self, images: Sequence[Encoded]) -> NDArray[np.float32]:
        """float32 (n, n_classes), rows sum to 1; the same model at the same precision as ``label``.

        Raises:
            ImageError: an image cannot be used.
        """

    def stages(self, image: Encoded) -> dict[str, float]:
        """Seconds of the parts of one answer: ``decode``, ``features``, ``head``."""

    def threads(self) -> dict[str, int]:
        """How many threads each library in use computes with, as it says itself."""

    @property
    def model_bytes(self) -> int | None:
        """Bytes of the files that the model is stored in; None where they are on another machine."""
