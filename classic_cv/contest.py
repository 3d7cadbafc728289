"""A search's winner against a small network, on training images that neither was fitted on.

A network learns from all images at once and for as long as there is time, so it cannot be compared rung by rung as
other candidates are. Where a search leaves time, both are fitted without the images that the network holds out, and
judged by those.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from classic_cv.candidates import typical_side
from classic_cv.comparison import Candidate, Measured
from classic_cv.errors import LatencyError, MissingExtraError, RecipeError, TrainingError
from classic_cv.extraction import Extraction, closed_up, extract
from classic_cv.fitting import (
    Job,
    check_latency,
    fit_recipe,
    require_torch,
    suitably_sized,
    training_latency,
    training_set,
)
from classic_cv.heads.fitting import are_unequal
from classic_cv.model import Model
from classic_cv.neural.settings import HybridSettings
from classic_cv.recipe import Recipe, load_recipe
from classic_cv.shadow import Shadow

SMALL_SIDE = 48
"""Images up to so many pixels are for the recipe of fixed size."""

LEAST_IMAGES = 5000
"""With fewer training images a network that begins with nothing is not tried: it learns too little from them."""

LEAST_SECONDS, LEAST_SHARE = 60.0, 0.3
"""Time, and share of the time limit, that has to be left beside the final fit of the winner so far."""

LARGE_PER_SECOND, ENOUGH_EPOCHS, LARGE_MS = 2000, 12, 1.0
"""Images that the network of 100,000 parameters is trained on per second (two cores), the passes that it needs at
least, and the latency limit in ms below which the one of 20,000 is taken."""

RIVAL_SHARE = 0.15
"""Of the time left, for each of two fits of the winner so far where it has to make room."""

SOLVED = 0.01
"""A winner with so small an error of classes has nothing left to gain."""


@dataclass
class Outcome:
    """The network, what it was fitted on, its entry in the search, and whether it is better than its rival."""

    model: Model
    extraction: Extraction
    network: Candidate
    network_wins: bool


def is_worth_trying(job: Job, error: float, seconds: float, time_limit: float) -> bool:
    """Whether a network may win: enough images and time for it, something to gain, and torch is there."""
    if len(job.train) < LEAST_IMAGES or seconds < max(LEAST_SECONDS, LEAST_SHARE * time_limit):
        return False
    if job.task.kind == "classification" and error < SOLVED:
        return False
    try:
        require_torch("a network")
    except MissingExtraError:
        return False
    return True


def rival_seconds(job: Job, left: float) -> float:
    """How long a fit of the winner so far may take, of the time left, and still a network is tried.

    Small images are where networks win most, so that there the winner so far makes room and is fitted on fewer images;
    elsewhere it has all the time it wants.
    """
    small = typical_side(job.dataset, job.train.tolist()) <= SMALL_SIDE
    return RIVAL_SHARE * left if small else math.inf


def network_recipe(job: Job, seconds: float, latency_limit: float | None) -> Recipe:
    """The recipe of a network for these images; of fewer parameters where time or latency is short."""
    if job.task.kind == "regression":
        return load_recipe("hybrid-regression")
    if typical_side(job.dataset, job.train.tolist()) <= SMALL_SIDE:
        enough = seconds * LARGE_PER_SECOND >= ENOUGH_EPOCHS * len(job.train)
        hurried = latency_limit is not None and latency_limit < LARGE_MS
        return load_recipe("hybrid-100k" if enough and not hurried else "hybrid-20k")
    return suitably_sized(load_recipe("hybrid"), job, seconds)


def decide(
    job: Job,
    recipe: Recipe,
    deadline: float,
    latency_limit: float | None,
    rival: Callable[[NDArray[np.int64]], Model],
) -> Outcome | None:
    """Train a network, and compare it with its rival on the training images that it holds out for itself.

    It wins where it is better by more than a standard error of the paired difference: its best weights were chosen on
    these images.

    Args:
        job: data, split and task.
        recipe: of the network.
        deadline: ``job.clock()`` when its training has to end.
        latency_limit: in ms for the 95th percentile, or None.
        rival: fits the winner so far without the images (dataset indices) given.

    Returns:
        None where no network could be trained, or where it is too slow, or held out nothing.
    """
    started = job.clock()
    try:
        model, extraction = fit_recipe(replace(job, deadline=deadline), recipe)
        if latency_limit is not None:
            check_latency(model, job, latency_limit)
    except (TrainingError, RecipeError, LatencyError):
        return None
    held_out = _held_out(job, model, extraction)
    if not len(held_out):
        return None
    # Its pixels are not needed any more, and the rival's features take room.
    extraction = Extraction(extraction.X[:0].copy(), extraction.kept, extraction.problems)
    items, losses = _losses(job, held_out, (rival(held_out), model))
    network = _entry(job, model, items, losses[1], job.clock() - started)
    lead = (losses[0] - losses[1]) * network.last.weight * len(items)
    error = float(lead.std(ddof=1) / np.sqrt(len(lead)))
    return Outcome(model, extraction, network, float(lead.mean()) > error)


def _held_out(job: Job, model: Model, extraction: Extraction) -> NDArray[np.int64]:
    """Dataset indices of the images that the network was not trained on."""
    from classic_cv.neural.preparation import validation_rows

    assert isinstance(model.recipe.head, HybridSettings)
    training = training_set(job, extraction, model.featurizer.group_widths)
    rows = validation_rows(training, model.recipe.head.validation)
    return extraction.kept[rows].astype(np.int64)


def _losses(
    job: Job, held_out: NDArray[np.int64], models: tuple[Model, Model]
) -> tuple[NDArray[np.intp], list[NDArray[np.float64]]]:
    """Readable images, and what each of them costs each model: 0 or 1, or the absolute error."""
    losses, kept = [], held_out.astype(np.intp)
    for model in models:
        found = extract(job.dataset, held_out, model.featurizer, job.jobs, job.progress, "held out")
        outputs, kept = model.outputs(found.X), found.kept
        if job.task.kind == "regression":
            losses.append(np.abs(outputs - job.task.y[kept]).astype(np.float64))
            continue
        names = np.array(model.class_names, dtype=object)[outputs.argmax(axis=1)]
        truth = np.array([job.task.class_names[k] for k in job.task.y[kept]], dtype=object)
        losses.append((names != truth).astype(np.float64))
    return kept, losses


def _entry(
    job: Job, model: Model, items: NDArray[np.intp], loss: NDArray[np.float64], seconds: float
) -> Candidate:
    """The network as the leaderboard shows it."""
    latency = training_latency(model, job, 50)
    n_features = model.featurizer.n_features
    shadow = Shadow(latency["p50"], latency["p95"], len(model.to_bytes()), n_features, n_features)
    candidate = Candidate(model.recipe, shadow)
    weight = np.full(len(loss), 1 / max(1, len(loss)))
    y = job.task.y[items]
    if job.task.kind == "classification" and are_unequal(job.task.y[job.train]):
        counts = np.bincount(y)
        weight = 1 / (counts[y] * (counts > 0).sum())
    candidate.rungs.append(
        Measured(len(job.train), items, loss, weight, model.recipe.head, seconds, seconds, 1.0)
    )
    return candidate


def without(extraction: Extraction, left_out: NDArray[np.int64]) -> Extraction:
    """The extraction of the other images; its X is closed up in place."""
    n = len(extraction.kept)
    rows = np.flatnonzero(~np.isin(extraction.kept, left_out))
    both = np.concatenate([rows, n + rows]) if extraction.has_copies else rows
    return Extraction(closed_up(extraction.X, both), extraction.kept[rows], extraction.problems)
