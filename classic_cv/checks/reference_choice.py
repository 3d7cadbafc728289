"""Which recipe the reference is: the best by cross-validation among those that all images can be described with."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from classic_cv.candidates import head_variants, is_worth_its_size, learns, typical_side
from classic_cv.comparison import Candidate, measured
from classic_cv.errors import DatasetError
from classic_cv.feature_store import FeatureStore
from classic_cv.fitting import Job, fold_groups, training_set
from classic_cv.heads.fitting import Effort, can_cross_validate, choose
from classic_cv.recipe import LinearSVMSettings, Recipe, load_recipe
from classic_cv.shadow import Shadow, shadow_of
from classic_cv.timing import available_cores

RECIPES = ("fisher-color", "fisher-patches", "hog-color-lbp-dog", "patches", "hog-color", "hog-small")
"""What may be the reference, the richest first. A search would try all of the shelf and end with the best on a part of
the images; here every image needs an answer, so that what costs too much for all of them is not tried."""

SECONDS = 75.0
"""Reading all images once for the chosen recipe's features should take no longer."""

PILOT = 1000
"""Training images that the recipes are compared on at most."""

PILOT_SECONDS = 25.0
"""Comparing the recipes goes on to the next as long as no more than that has passed."""

MOST_BYTES = 1.0e9
"""What the features of all images may take as float32."""

MOST_FIT = 2.5e9
"""Training images times columns times classes: with 1.7e9, of 60,000 clothes, the reference took 163 s in all."""

SIDES = (64, 128)
"""Sides in pixels that recipes without a codebook are taken at: the first for images below ``SMALL``."""

SMALL = 48

CS = (0.03, 0.3, 3.0, 30.0)

KERNEL_MAPS = ("none", "hellinger", "chi2")
"""Heads that are tried on the best features."""


@dataclass
class RecipeChoice:
    """The recipe, and what it was compared with."""

    recipe: Recipe
    compared: list[dict[str, Any]] = field(default_factory=list)


def choose_recipe(job: Job, store: FeatureStore) -> RecipeChoice:
    """Compare what is affordable on at most ``PILOT`` images.

    Args:
        job: data, split and task.
        store: where features are kept, so that the chosen recipe's are not computed twice.

    Raises:
        ClassicCVError: no recipe can be used.
    """
    chooser = _Chooser(job, store)
    candidates = chooser.affordable()
    if not chooser.can_compare():
        return RecipeChoice(candidates[0].recipe, [*chooser.left_out, {"recipe": candidates[0].recipe.name}])
    return chooser.compare(candidates)


class _Chooser:
    def __init__(self, job: Job, store: FeatureStore) -> None:
        self.job, self.store = job, store
        self.n_images = len(job.train) + len(job.split.test)
        self.n = min(PILOT, len(job.train))
        self.left_out: list[dict[str, Any]] = []

    def affordable(self) -> list[Candidate]:
        """Those whose features fit time and memory; the narrowest where none does."""
        side = typical_side(self.job.dataset, self.job.train.tolist())
        found: list[Candidate] = []
        costs: list[tuple[int, int, Candidate]] = []
        for recipe in _sized(self.job, side):
            shadow = shadow_of(self.job, self.store.sketch(recipe), recipe)
            seconds = self._seconds(shadow)
            size = 4.0 * shadow.columns * self.n_images
            candidate = Candidate(recipe, shadow)
            costs.append((shadow.columns, len(costs), candidate))
            fit = shadow.columns * len(self.job.train) * max(1, len(self.job.task.class_names))
            if seconds > SECONDS or size > MOST_BYTES:
                reason = f"all images would take {seconds:.0f} s and {size / 1e9:.1f} GB"
                self.left_out.append({"recipe": recipe.name, "reason": reason})
            elif fit > MOST_FIT:
                reason = f"a fit of {len(self.job.task.class_names):,} classes would take too long"
                self.left_out.append({"recipe": recipe.name, "reason": reason})
            else:
                found.append(candidate)
        return found or [min(costs)[2]]

    def _seconds(self, shadow: Shadow) -> float:
        return shadow.ms / 1000 * self.n_images / available_cores()

    def can_compare(self) -> bool:
        """Whether something can be held out among the pilot's images."""
        indices = self.store.order[: self.n]
        groups = fold_groups(self.job.split, indices)
        return can_cross_validate(self.job.task.y[indices], groups, self.job.task.kind)

    def compare(self, candidates: Sequence[Candidate]) -> RecipeChoice:
        """The best on the pilot's images, with the best of the heads that suit it."""
        started = time.perf_counter()
        compared: list[Candidate] = []
        for candidate in candidates:
            if compared and time.perf_counter() - started > PILOT_SECONDS:
                self.left_out.append({"recipe": candidate.recipe.name, "reason": "there was no time left"})
                continue
            self._measure(candidate)
            compared.append(candidate)
        best = min(compared, key=lambda one: one.last.mean)
        for recipe in self._variants(best):
            variant = Candidate(recipe, best.shadow)
            self._measure(variant)
            compared.append(variant)
        best = min(compared, key=lambda one: one.last.mean)
        rows = [
            {"recipe": one.recipe.name, "images": one.last.n, "loss": float(one.last.mean)}
            for one in compared
        ]
        return RecipeChoice(best.recipe, rows + self.left_out)

    def _variants(self, best: Candidate) -> list[Recipe]:
        """The best features with other kernel maps, which all images still have room for."""
        if learns(best.recipe) or not isinstance(best.recipe.head, LinearSVMSettings):
            return []
        variants = [r for r in head_variants(best.recipe, self.n_images) if _map_of(r) in KERNEL_MAPS]
        classes = max(1, len(self.job.task.class_names))
        return [
            recipe
            for recipe in variants
            if 4.0 * self._columns(best, recipe) * self.n_images <= MOST_BYTES
            and self._columns(best, recipe) * len(self.job.train) * classes <= MOST_FIT
        ]

    def _columns(self, best: Candidate, recipe: Recipe) -> int:
        return best.shadow.n_features * (3 if _map_of(recipe) == "chi2" else 1)

    def _measure(self, candidate: Candidate) -> None:
        start = time.perf_counter()
        extraction = self.store.extraction(candidate.recipe, self.n)
        training = training_set(self.job, extraction, self.store.sketch(candidate.recipe).group_widths)
        effort = Effort(max_samples=None) if self.job.task.kind == "regression" else _effort(self.n)
        fitted = time.perf_counter()
        choice = choose(candidate.recipe.head, training, effort)
        end = time.perf_counter()
        candidate.rungs.append(
            measured(training, extraction, choice, self.n, end - start, end - fitted, len(CS))
        )


def _effort(n: int) -> Effort:
    """Few folds where there are many images."""
    return Effort(Cs=CS, n_held_out=None if n < PILOT else 2, max_samples=None)


def _map_of(recipe: Recipe) -> str:
    return str(getattr(recipe.head, "kernel_map", ""))


def _sized(job: Job, side: float) -> list[Recipe]:
    """The recipes at the size that suits images of this typical side in pixels."""
    found: list[Recipe] = []
    for name in RECIPES:
        recipe = load_recipe(name)
        if learns(recipe):
            if not is_worth_its_size(recipe, side):
                continue
        else:
            recipe = recipe.resized(SIDES[0] if side < SMALL else SIDES[1])
        found.append(recipe.for_regression() if job.task.kind == "regression" else recipe)
    if not found:
        raise DatasetError("no recipe suits these images")
    return found
