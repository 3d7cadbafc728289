"""Candidates of a search as they were measured, and whether one is clearly worse than another."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from classic_cv.extraction import Extraction
from classic_cv.heads.calibration import Calibrator
from classic_cv.heads.fitting import Choice, TrainingSet, held_out_losses
from classic_cv.recipe import Recipe
from classic_cv.shadow import Shadow

BEHIND = 2.0
"""Standard errors of the paired difference by which a candidate is clearly worse."""


class Measured(NamedTuple):
    """A candidate at one rung.

    Attributes:
        n: images that it was compared on.
        items: dataset indices of the held-out images.
        loss: what each of them costs: 0 or 1, or the absolute error.
        weight: of each in the score, summing to 1.
        settings: the head with its choices.
        seconds: for features and cross-validation; ``cv_seconds`` for the latter alone.
        log_loss: of calibrated probabilities, which tells candidates apart whose accuracy is equal; 0 for numbers.
        fits: values tried times share of the rows held out: what the time is proportional to.
    """

    n: int
    items: NDArray[np.intp]
    loss: NDArray[np.float64]
    weight: NDArray[np.float64]
    settings: Any
    seconds: float
    cv_seconds: float
    fits: float
    log_loss: float = 0.0

    @property
    def mean(self) -> float:
        """The weighted mean loss: 1 - accuracy, or the mean absolute error."""
        return float(self.loss @ self.weight)


@dataclass
class Candidate:
    """A recipe in the search.

    Attributes:
        shadow: its latency and size, measured on arrays of the right shapes.
        rungs: what was measured, the largest part last.
        parent: the candidate with the same features whose head it exchanges.
        status: what became of it.
    """

    recipe: Recipe
    shadow: Shadow
    floor: bool = False
    parent: Candidate | None = None
    rungs: list[Measured] = field(default_factory=list)
    status: str = "not reached"

    @property
    def last(self) -> Measured:
        """The measurement on the most images."""
        return self.rungs[-1]


def measured(
    training: TrainingSet,
    extraction: Extraction,
    choice: Choice,
    n: int,
    seconds: float,
    cv_seconds: float,
    fits: float,
) -> Measured:
    """What a choice by cross-validation says of a candidate."""
    loss, weight = held_out_losses(choice, training.task, training.unequal)
    log_loss = 0.0
    if training.task == "classification":
        y, scores = choice.y, choice.scores
        probabilities = Calibrator().fit(scores, y, balanced=training.unequal).transform(scores)
        chosen = np.maximum(probabilities[np.arange(len(y)), y], np.finfo(np.float32).tiny)
        log_loss = float(-np.log(chosen) @ weight)
    return Measured(
        n, extraction.kept[choice.rows], loss, weight, choice.settings, seconds, cv_seconds, fits, log_loss
    )


def is_behind(candidate: Candidate, best: Candidate, errors: float = BEHIND) -> bool:
    """Whether the paired difference to the best is more than so many standard errors."""
    mine, other = candidate.last, best.last
    _, left, right = np.intersect1d(mine.items, other.items, return_indices=True)
    if len(left) < 2:
        return False
    lead = (mine.loss[left] - other.loss[right]) * mine.weight[left] * len(left)
    error = lead.std(ddof=1) / np.sqrt(len(lead))
    return bool(lead.mean() > errors * error and lead.mean() > 0)
