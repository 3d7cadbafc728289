"""Whether mirrored copies of the training images help: ``train.mirror = "auto"``, decided by cross-validation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import msgspec
import numpy as np

from classic_cv.extraction import Extraction, extract
from classic_cv.featurizer import Featurizer
from classic_cv.fitting import Job, training_set
from classic_cv.heads.fitting import Effort, TrainingSet, can_cross_validate, choose, held_out_losses
from classic_cv.heads.rbf_svm import MAX_ROWS
from classic_cv.neural.settings import HybridSettings
from classic_cv.recipe import (
    DummySettings,
    Head,
    LinearSVMSettings,
    LinearSVRSettings,
    RBFSVMSettings,
    RBFSVRSettings,
    Recipe,
)

COMPARED = 2500
"""Training images that are compared on at most: on more, copies gain less and cost more."""

LEAD = 1.0
"""Standard errors of the paired difference that copies must gain: no less, since they double the time of a fit."""


class Mirroring(NamedTuple):
    """What was decided.

    Attributes:
        recipe: with ``train.mirror`` true or false.
        summary: how it was decided, as plain data.
        extraction: the recipe's training features, where the comparison has seen all of its images.
    """

    recipe: Recipe
    summary: dict[str, Any]
    extraction: Extraction | None


def choose_mirroring(job: Job, recipe: Recipe, featurizer: Featurizer) -> Mirroring:
    """Decide ``train.mirror`` of ``recipe`` by cross-validation on its training images, or ``COMPARED`` of them.

    Raises:
        DatasetError: too many unreadable images, or a single class.
    """
    reason = _reason_against(job, recipe)
    if reason:
        return Mirroring(_resolved(recipe, False), {"chosen": False, "reason": reason}, None)
    indices = job.training_indices(recipe)
    everything = len(indices) <= COMPARED
    if not everything:
        indices = np.sort(job.order()[:COMPARED])
    found = extract(
        job.dataset, indices, featurizer, job.jobs, job.progress, "mirrored features", with_copies=True
    )
    summary = compare_copies(*_judged_by(recipe, training_set(job, found, featurizer.group_widths)))
    recipe = _resolved(recipe, summary["chosen"])
    if not everything:
        return Mirroring(recipe, summary, None)
    n = len(found.kept)
    # A copy of the originals' rows, so that those of the mirror images are freed.
    X = found.X if summary["chosen"] else found.X[:n].copy()
    return Mirroring(recipe, summary, Extraction(X, found.kept, found.problems))


def _judged_by(recipe: Recipe, training: TrainingSet) -> tuple[Head, TrainingSet]:
    """The head and the features that copies are judged with: for a network an SVM on the features beside it.

    Whether a mirror image is still of its class is a matter of the images, and a network takes minutes to ask.
    """
    if not isinstance(recipe.head, HybridSettings):
        return recipe.head, training
    head: Head = LinearSVMSettings() if training.task == "classification" else LinearSVRSettings()
    if len(training.widths) == 1:
        return head, training
    columns = sum(training.widths[:-1])
    return head, replace(training, X=training.X[:, :columns], widths=training.widths[:-1])


def compare_copies(settings: Head, training: TrainingSet, effort: Effort | None = None) -> dict[str, Any]:
    """Cross-validate ``settings`` with and without the copies that ``training`` has; its X is kept.

    Both are scored on the same held-out images, themselves and not their copies, in the same folds. The copies are
    chosen where they are better by more than ``LEAD`` standard errors of the paired difference.

    Returns:
        ``chosen, scoring, with, without, gain, standard_error, n_images, n_rows``, or ``chosen`` and ``reason``.
    """
    if not can_cross_validate(training.y, training.groups, training.task):
        return {"chosen": False, "reason": "nothing can be held out to compare by"}
    n, effort = len(training.y), effort or Effort(max_samples=None)
    loss = {}
    for name, rows in (("with", 2 * n), ("without", n)):
        choice = choose(settings, replace(training, X=training.X[:rows].copy()), effort)
        loss[name], weight = held_out_losses(choice, training.task, training.unequal)
    lead = (loss["without"] - loss["with"]) * weight * len(weight)
    gain, error = float(lead.mean()), float(lead.std(ddof=1) / np.sqrt(len(lead)))
    score = {name: float(values @ weight) for name, values in loss.items()}
    if training.task == "classification":
        score = {name: 1 - value for name, value in score.items()}
    return {
        # A single image that only one of them gets right is a lead of one standard error, give or take rounding.
        "chosen": gain > 1.000001 * LEAD * error,
        "scoring": _scoring(training),
        **score,
        "gain": gain,
        "standard_error": error,
        "n_images": n,
        "n_rows": len(lead),
    }


def _reason_against(job: Job, recipe: Recipe) -> str:
    """Why copies are out of the question; empty where they are not."""
    if isinstance(recipe.head, DummySettings):
        return "the head does not look at the features"
    if recipe.image.mirror:
        return "with image.mirror an image and its mirror image have the same features"
    n = len(job.training_indices(recipe))
    if isinstance(recipe.head, RBFSVMSettings | RBFSVRSettings) and 2 * n > MAX_ROWS:
        return f"{2 * n} rows are more than the {MAX_ROWS} that the exact RBF kernel takes"
    return ""


def _resolved(recipe: Recipe, mirror: bool) -> Recipe:
    return msgspec.structs.replace(recipe, train=msgspec.structs.replace(recipe.train, mirror=mirror))


def _scoring(training: TrainingSet) -> str:
    if training.task == "regression":
        return "mean absolute error"
    return training.scoring.replace("_", " ")
