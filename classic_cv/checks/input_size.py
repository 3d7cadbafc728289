"""Whether a larger input helps: the reference's recipe at half and twice its size, cross-validated."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.finding import Checked, Finding
from classic_cv.checks.reference import Reference
from classic_cv.checks.spread import stratified
from classic_cv.checks.subject import Subject
from classic_cv.extraction import extract
from classic_cv.featurizer import Featurizer
from classic_cv.fitting import Job, fit_featurizer, fold_groups
from classic_cv.heads.fitting import TrainingSet, can_cross_validate, choose, held_out_losses
from classic_cv.neural.settings import HybridSettings
from classic_cv.recipe import LEAST_SIDE, DummySettings, Recipe
from classic_cv.report import percent
from classic_cv.stats import accuracy_interval, paired_difference

MOST_IMAGES = 1500
"""Training images that are cross-validated at each size."""

LEAST_IMAGES = 200
"""With fewer, an interval of the difference spans several points, and tells nothing."""

SECONDS = 25.0
"""That computing the features of all sizes may take on one core, by the time of a few images. Images are halved until
it suffices, and what other programs take of the machine is not counted: two runs should look at the same images."""

TIMED = 8
"""Images that are timed at each size."""

FACTORS = (0.5, 2.0)

BEYOND = 1.1
"""An input may be larger than the typical image by so much: sizes are powers of two, images seldom are."""

MATTERS = 0.01
"""A larger input costs four times the time: it is worth telling where it brings a point, for certain more than none."""


@dataclass(frozen=True, eq=False)
class _Sized:
    """The recipe at one size, with the fitted featurizer."""

    recipe: Recipe
    featurizer: Featurizer

    @property
    def side(self) -> int:
        return max(self.featurizer.settings.shape)


def check_input_size(subject: Subject, reference: Reference) -> Checked:
    """The figures ``limits.input_size``, and a finding where the larger input is better.

    Returns:
        ``rows`` (``size, n, accuracy, ci95, difference, difference_ci95`` against the reference's size, which is among
        them) and ``note``, why there are none or fewer images.
    """
    found = _compare(subject, reference)
    if isinstance(found, str):
        return Checked(figures={"limits": {"input_size": {"rows": [], "note": found}}})
    rows, note = found
    findings = _findings(rows, max(reference.featurizer.settings.shape))
    return Checked(findings, {"limits": {"input_size": {"rows": rows, "note": note}}})


def _compare(subject: Subject, reference: Reference) -> tuple[list[dict[str, Any]], str] | str:
    images = stratified(subject, reference.train, MOST_IMAGES, subject.job.seed)
    problem = _problem(subject, reference, images)
    if problem:
        return problem
    job = replace(subject.job, train=reference.train)
    sizes = _sizes(subject, reference, job)
    if len(sizes) < 2:
        side = _typical_side(subject, reference.train)
        return (
            f"the images, {side:.0f} pixels at the shorter side, allow for no other size than the reference's"
        )
    seconds = sum(_seconds_per_image(job, each.featurizer, images) for each in sizes)
    n = len(images)
    while n >= LEAST_IMAGES and n * seconds > SECONDS:
        n //= 2
    if n < LEAST_IMAGES:
        return f"left out for time: {LEAST_IMAGES} images at {len(sizes)} sizes take {LEAST_IMAGES * seconds:.0f} s"
    note = f"cross-validated on {n:,} training images"
    own = max(reference.featurizer.settings.shape)
    return _rows(job, sizes, own, np.sort(images[:n])), note


def _problem(subject: Subject, reference: Reference, images: NDArray[np.intp]) -> str:
    """Why sizes cannot be compared; empty where they can."""
    if isinstance(reference.recipe.head, DummySettings | HybridSettings):
        return "the classical model has no features that depend on the input size"
    if len(images) < LEAST_IMAGES:
        return (
            f"{len(images):,} training images are too few to compare input sizes: {LEAST_IMAGES} are needed"
        )
    groups = fold_groups(subject.job.split, images)
    if not can_cross_validate(subject.y(images), groups, subject.job.task.kind):
        return "no training image can be held out to compare input sizes"
    return ""


def _sizes(subject: Subject, reference: Reference, job: Job) -> list[_Sized]:
    """Ascending: half and twice the reference's size where the images allow for it, and the reference's own."""
    own = _Sized(reference.recipe, reference.featurizer)
    found = [own]
    for factor in FACTORS:
        side = round(factor * own.side)
        if LEAST_SIDE <= side <= BEYOND * _typical_side(subject, reference.train):
            recipe = reference.recipe.resized(side)
            found.append(_Sized(recipe, fit_featurizer(recipe, job.dataset, job.train)))
    return sorted(found, key=lambda each: each.side)


def _typical_side(subject: Subject, train: NDArray[np.intp]) -> float:
    rows = subject.survey.rows(train)
    return float(np.median(np.minimum(subject.survey.width[rows], subject.survey.height[rows])))


def _seconds_per_image(job: Job, featurizer: Featurizer, images: NDArray[np.intp]) -> float:
    extract(job.dataset, images[:1], featurizer)
    start = time.process_time()
    extract(job.dataset, images[:TIMED], featurizer)
    return max((time.process_time() - start) / TIMED, 1e-6)


def _rows(job: Job, sizes: list[_Sized], own: int, images: NDArray[np.intp]) -> list[dict[str, Any]]:
    found = {each.side: _losses(job, each, images) for each in sizes}
    return [_row(side, loss, None if side == own else found[own]) for side, loss in found.items()]


def _losses(job: Job, sized: _Sized, images: NDArray[np.intp]) -> NDArray[np.float64]:
    """Of the images that can be held out: the same ones in the same folds at every size."""
    extraction = extract(
        job.dataset, images, sized.featurizer, job.jobs, job.progress, f"features at {sized.side} pixels"
    )
    y = np.unique(job.task.y[extraction.kept], return_inverse=True)[1]
    groups = fold_groups(job.split, extraction.kept)
    training = TrainingSet(extraction.X, y, groups, sized.featurizer.group_widths, job.task.kind, job.seed)
    return held_out_losses(choose(sized.recipe.head, training), job.task.kind, balanced=False)[0]


def _row(side: int, loss: NDArray[np.float64], own: NDArray[np.float64] | None) -> dict[str, Any]:
    n = len(loss)
    value, interval = (None, None) if own is None else paired_difference(own, loss)
    return {
        "size": side,
        "n": n,
        "accuracy": 1 - float(loss.mean()),
        "ci95": list(accuracy_interval(n - int(loss.sum()), n)),
        "difference": value,
        "difference_ci95": None if interval is None else list(interval),
    }


def _findings(rows: list[dict[str, Any]], own: int) -> list[Finding]:
    """Where the largest size is better than the reference's."""
    largest = rows[-1]
    if largest["size"] <= own or largest["difference"] < MATTERS or largest["difference_ci95"][0] <= 0:
        return []
    low, high = (100 * end for end in largest["difference_ci95"])
    base = next(row for row in rows if row["size"] == own)
    return [
        Finding(
            check="limits",
            kind="larger-input",
            severity="info",
            count=largest["n"],
            message=f"a larger input helps: {100 * largest['difference']:+.1f} points [{low:+.1f}, {high:+.1f}] at "
            f"{largest['size']} pixels, {percent(largest['accuracy'])} in place of {percent(base['accuracy'])} at "
            f"{own}",
            why="What tells the classes apart is smaller than the input shows, for a deep model too.",
            action="Compare models at the larger size, if its time is affordable.",
        )
    ]
