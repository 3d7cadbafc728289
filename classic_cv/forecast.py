"""How long the steps of a search will take, told from how long the ones before took."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from classic_cv.comparison import Candidate
from classic_cv.feature_store import FeatureStore
from classic_cv.heads._solver import is_wide
from classic_cv.heads.fitting import MOST_ROWS, calibration_folds, calibration_splits
from classic_cv.recipe import RBFSVMSettings, RBFSVRSettings, Recipe
from classic_cv.task import Task

CAUTION = 1.25
"""Predicted times are taken as so much longer."""

EXTRACTION_CAUTION = 1.1
"""The same of features whose time per image was measured on this very recipe."""

COLD, FINAL = 1.5, 2.5
"""What a solve takes without a start from a smaller C, and to the final fit's tolerance, in those of the path."""

WIDE_COLD, WIDE_FINAL = 1.0, 1.3
"""The same of rows too many for their own span and too wide for a Gram matrix, where large C cost most."""

WIDE_SOLVE = 1.6e-7, 1.4e-8
"""Seconds of a final solve of such rows per value: to read it, and per class for its products; the larger counts."""

HEAD_COST = {"none": 1.0, "hellinger": 1.3, "chi2": 2.2, "rbf": 3.0, "exact": 2.5}
"""Cross-validation time of a head as a multiple of the plain linear one's on the same features."""

CODEBOOK_SECONDS = 5.0
"""What learning a codebook takes besides describing the images that it is learned from, until it was measured."""

LEAST_IMAGES = 100
"""Fewer images say little about the time of one."""

MOST_BYTES, MEMORY_SHARE = 4.2e9, 0.4
"""Features, mapped ones and those copied to calibrate included, that a final fit may hold: so many bytes, and this
share of the machine's memory. With more columns it takes fewer images."""

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""Where Linux tells a container's memory."""


class Forecast:
    """Predictions of seconds, which get better with every step that is noted.

    Args:
        store: knows which features are there already.
        task: what is learned.
        n: training images.

    Attributes:
        speed: seconds per image while features are computed, in those of a single prediction on one thread.
    """

    def __init__(self, store: FeatureStore, task: Task, n: int) -> None:
        self.store, self.n = store, n
        self.regression = task.kind == "regression"
        self.n_problems = max(1, len(task.class_names))
        self.cost_per_value = 2e-9
        self.speed = 1.0
        self.codebook_seconds = CODEBOOK_SECONDS
        self._per_image: dict[str, float] = {}

    # What is noted.

    def note_learning(self, candidate: Candidate, images: int, seconds: float) -> None:
        """Codebooks were learned from so many images."""
        if images:
            describing = images * candidate.shadow.ms / 1e3 * self.speed
            self.codebook_seconds = max(0.0, seconds - describing)

    def note_extraction(self, candidate: Candidate, images: int, seconds: float) -> None:
        """All features of so many images were computed."""
        if images >= LEAST_IMAGES and not candidate.floor:
            self.speed = seconds / (images * candidate.shadow.ms / 1e3)
            self._per_image[candidate.recipe.name] = seconds / images

    def note_comparison(
        self, candidate: Candidate, shape: tuple[int, ...], seconds: float, fits: float
    ) -> None:
        """Features of this shape were cross-validated; ``fits`` as in ``Measured``."""
        if not candidate.floor:
            values = shape[0] * max(shape[1], 200) * self.n_problems
            self.cost_per_value = max(1e-10, seconds / (values * fits))

    # What is predicted.

    def extraction(self, candidate: Candidate, n: int) -> float:
        """Seconds until the features of n images are there, codebooks that are still to be learned included."""
        recipe = candidate.recipe
        unlearned, missing = self.store.unlearned(recipe), self.store.missing(recipe, n)
        estimate = candidate.shadow.ms / 1e3 * self.speed
        per_image = self._per_image.get(recipe.name)
        caution = CAUTION if per_image is None else EXTRACTION_CAUTION
        seconds = unlearned * estimate + missing * (per_image or estimate) + n * 2e-5
        return caution * (seconds + (self.codebook_seconds if unlearned else 0.0))

    def comparison(self, candidate: Candidate, n: int) -> float:
        """Seconds to measure a candidate on n images."""
        if candidate.rungs:
            last = candidate.last
            held = 5 if n <= 1500 else 2 if n <= 4000 else 1
            grown = last.cv_seconds * self._growth(candidate, last.n, n)
            # A narrow path at few folds; numbers, and the exact kernel, take all of both again.
            narrow = not self.regression and head_kind(candidate.recipe) != "exact"
            cv = min(3 * held * self._solve(candidate, n), grown) if narrow else grown
        elif candidate.parent is not None and candidate.parent.rungs:
            parent = candidate.parent
            rows = rows_per_image(candidate.recipe) * n
            cv = parent.last.cv_seconds * self._growth(parent, parent.last.n, rows)
            cv *= HEAD_COST[head_kind(candidate.recipe)] / HEAD_COST[head_kind(parent.recipe)]
        else:
            cv = self.cost_per_value * n * max(candidate.shadow.n_features, 200) * self.n_problems * 5
        return self.extraction(candidate, n) + CAUTION * cv

    def final(self, candidate: Candidate, n: int) -> float:
        """Seconds of the final fit on n images: features, calibration's cross-validation and the fit itself."""
        features = self.extraction(candidate, n)
        columns = max(candidate.shadow.n_features, 200)
        if not candidate.rungs:
            return features + CAUTION * 3 * self.cost_per_value * n * self.n_problems * columns
        rows = rows_per_image(candidate.recipe)
        sample = min(n, MOST_ROWS // rows)
        folds = self._calibration_folds(candidate, n, sample)
        cold = WIDE_COLD if self._is_wide(candidate, sample) else COLD
        final = WIDE_FINAL if self._is_wide(candidate, n) else FINAL
        calibration = cold * folds * self._solve(candidate, sample)
        return features + CAUTION * (calibration + final * self._solve(candidate, n))

    def _calibration_folds(self, candidate: Candidate, n: int, sample: int) -> int:
        splits = 5 if self.regression else calibration_splits(n)
        if self.regression or head_kind(candidate.recipe) == "exact":
            return max(splits, 5)
        # Classes are about equal, or all folds are cheap beside the rest.
        return calibration_folds(n, sample / self.n_problems) or splits

    def most_images(self, candidate: Candidate) -> int:
        """Images whose features the memory holds, with those of the sample that calibration copies."""
        per_row = 4 * max(1, candidate.shadow.columns)
        rows = memory_limit() / per_row
        # What is no more than a sample is not copied.
        rows = rows - MOST_ROWS if rows > 2 * MOST_ROWS else min(rows, MOST_ROWS)
        return int(rows / rows_per_image(candidate.recipe))

    def _growth(self, candidate: Candidate, n: int, more: int) -> float:
        """How much longer a fit takes on more images: squared up to as many as there are columns, then linear.

        Up to there the problem is posed in the images' own span, whose dimensions grow with them.
        """
        columns = self.n if head_kind(candidate.recipe) == "exact" else max(candidate.shadow.n_features, 1)
        below = min(more, columns) / min(n, columns)
        return float(below**2 * max(more, columns) / max(n, columns))

    def _solve(self, candidate: Candidate, n: int) -> float:
        """Seconds of one value of C at one fold on n images, warm."""
        last = candidate.last
        measured = last.cv_seconds / max(5 * last.fits, 1.0)
        if not self._is_wide(candidate, n):
            return measured * self._growth(candidate, last.n, n)
        if self._is_wide(candidate, last.n):
            # Iterations that each read all values, and some more of them.
            return float(measured * (n / last.n) ** 1.3)
        rows = rows_per_image(candidate.recipe)
        reading, products = WIDE_SOLVE
        per_value = max(reading, products * self.n_problems) / WIDE_FINAL
        return per_value * rows * n * candidate.shadow.n_features

    def _is_wide(self, candidate: Candidate, n: int) -> bool:
        """Whether n images are solved for by passes over all values alone."""
        rows = rows_per_image(candidate.recipe)
        wide = is_wide(rows * n, candidate.shadow.n_features)
        return wide and not self.regression and head_kind(candidate.recipe) != "exact"


def rows_per_image(recipe: Recipe) -> int:
    """Rows that an image is fitted on: two where it has a mirrored copy."""
    return 2 if recipe.train.mirror is True else 1


def head_kind(recipe: Recipe) -> str:
    """Which entry of ``HEAD_COST`` a recipe's head is."""
    if isinstance(recipe.head, RBFSVMSettings | RBFSVRSettings):
        return "exact"
    kernel_map = str(getattr(recipe.head, "kernel_map", "none"))
    return "rbf" if "rbf" in kernel_map else kernel_map


def values_tried(summary: dict[str, Any]) -> int:
    """How many values (of C, times those of gamma) a choice has tried."""
    return max(1, len(summary.get("Cs", summary.get("tried", [1])))) * len(summary.get("gammas", [1]))


def memory_limit() -> float:
    """Bytes that the features of a final fit may take."""
    memory = -1
    with contextlib.suppress(AttributeError, ValueError, OSError):  # not on every system
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if memory <= 0:
        return MOST_BYTES / 2
    with contextlib.suppress(ValueError, OSError):  # "max" is no number
        memory = min(memory, int(CGROUP_LIMIT.read_text(encoding="ascii")))
    return float(min(MOST_BYTES, MEMORY_SHARE * memory))
