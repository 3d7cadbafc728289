"""Recipes of the shelf, and ``auto``, as contestants: fitted within CPU seconds, answering by their model file."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from classic_cv.compare.contestant import FitTask, Fitted
from classic_cv.dataset import Encoded, Split
from classic_cv.fitting import TRAINED_PER_SECOND, Job, fit_job, require_torch
from classic_cv.heads.hybrid import HybridNetwork
from classic_cv.model import Model, load
from classic_cv.neural.settings import HybridSettings
from classic_cv.recipe import AUTO_SIDE, Recipe
from classic_cv.report import LEADERBOARD_HEADER, leaderboard_line
from classic_cv.task import Task

MODEL = "model.safetensors"

PILOT_IMAGES, PILOT_PER_CLASS = 200, 4
"""Images of the first pilot of a fixed recipe, and at least so many of each class."""

GROWTH = 5.0
"""A pilot has at most so many times the images of the one before: cost is only known near what was measured."""

SAFETY = 0.85
"""Share of the budget that a forecast may fill."""

WORTH = 1.25
"""Another fit has to learn from so many times the images of the last one."""

LEAST_EXPONENT, MOST_EXPONENT = 1.2, 2.0
"""The cost of a fit grows with such a power of the images: features linearly, the choice of C faster, a kernel's matrix
with the square. Small fits look cheaper than they are, since what is fixed in them hides the rest."""

PLANNED = 0.95
"""Share of the CPU seconds left, per thread, that a search or a training is given as its time limit."""

FEWEST_EPOCHS = 15
"""Passes of a network over its images for which it rather takes fewer images, by a speed that is not measured: that of
``TRAINED_PER_SECOND``."""

NO_TIME = "a fit on {:,} images was given up when the budget ended"

MAX_BAD = 0.5
"""Share of images that cannot be read above which a contestant gives up; the harness reports them by name."""


def fit_recipe_in_budget(recipe: Recipe | None, task: FitTask) -> Fitted:
    """Fit a recipe, or search for the best one (None), and write the model into the task's folder.

    A network, and a search, end by themselves: their clock shows the CPU seconds that are used, per thread. Any other
    recipe is fitted on a subset first, then on the largest nested subset that the CPU seconds pay for.

    Raises:
        ClassicCVError: the recipe cannot be fitted.
    """
    if recipe is not None and isinstance(recipe.head, HybridSettings):
        require_torch(f"recipe {recipe.name}")
    if recipe is None or isinstance(recipe.head, HybridSettings):
        note = ""
        if recipe is not None:
            recipe, note = _trainable(recipe, task)
        model, log, skipped = _fit(recipe, task, PLANNED * task.budget.left / task.threads)
        _save(model, task.folder)
        return _told(model, [note] * bool(note) + log, skipped)
    return _largest_affordable(recipe, task)


def _trainable(recipe: Recipe, task: FitTask) -> tuple[Recipe, str]:
    """A network's recipe on no more images than it can see often enough within the budget, and a line on that."""
    height, width = recipe.image.shape
    # Of two cores, and an image of 32 pixels.
    seconds = 2 / TRAINED_PER_SECOND * height * width / AUTO_SIDE**2
    reach = int(task.budget.left / (FEWEST_EPOCHS * seconds))
    n = max(reach, PILOT_IMAGES, PILOT_PER_CLASS * len(task.class_names))
    wanted = recipe.train.images
    if n >= (len(task.train) if wanted == "all" else min(wanted, len(task.train))):
        return recipe, ""
    part = msgspec.structs.replace(recipe, train=msgspec.structs.replace(recipe.train, images=n))
    return (
        part,
        f"{n:,} of {len(task.train):,} images: more could not be seen {FEWEST_EPOCHS} times within the budget",
    )


def _largest_affordable(recipe: Recipe, task: FitTask) -> Fitted:
    """Fits on growing nested subsets, each by the cost of those before, until all images or no money is left."""
    total = len(task.train)
    wanted = recipe.train.images
    most = total if wanted == "all" else min(total, int(wanted))
    n = min(most, max(PILOT_IMAGES, PILOT_PER_CLASS * len(task.class_names)))
    costs: list[tuple[int, float]] = []
    log: list[str] = []
    while True:
        before = task.budget.used()
        part = msgspec.structs.replace(recipe, train=msgspec.structs.replace(recipe.train, images=n))
        model, _, skipped = _fit(part if n < total else recipe, task, math.inf)
        _save(model, task.folder)
        cost = task.budget.used() - before
        costs.append((n, cost))
        log.append(f"fitted on {n:,} of {total:,} images in {cost:.1f} CPU seconds")
        following = next_size(costs, most, task.budget.left)
        if following is None:
            break
        if task.keep:
            task.keep(_told(model, [*log, NO_TIME.format(following)], skipped))
        n = following
    if n < most:
        log.append(f"more than {n:,} images would not fit the budget of {task.budget.total:g} CPU seconds")
    return _told(model, log, skipped)


def next_size(costs: Sequence[tuple[int, float]], most: int, left: float) -> int | None:
    """Images of the next fit, or None where no larger one is worth it or can be paid.

    Args:
        costs: images and CPU seconds of the fits so far, growing.
        most: images that there are.
        left: CPU seconds.
    """
    n, cost = costs[-1]
    if n >= most or left <= 0:
        return None
    exponent = (LEAST_EXPONENT + MOST_EXPONENT) / 2
    if len(costs) > 1:
        (n0, cost0), measured = costs[-2], costs[-1]
        slope = math.log(max(measured[1], 1e-3) / max(cost0, 1e-3)) / math.log(measured[0] / n0)
        exponent = min(max(slope, LEAST_EXPONENT), MOST_EXPONENT)
    affordable = n * (SAFETY * left / max(cost, 1e-3)) ** (1 / exponent)
    found = int(min(affordable, GROWTH * n, most))
    # A step that stops short of the last one is taken at once where all images can be paid.
    if most <= affordable and most <= 2 * GROWTH * n:
        found = most
    return found if found >= min(WORTH * n, most) else None


def _fit(
    recipe: Recipe | None, task: FitTask, time_limit: float
) -> tuple[Model, list[str], list[dict[str, str]]]:
    """A model, what the search says of its candidates, and the images that could not be used."""
    none = np.zeros(0, np.int64)
    split = Split(train=task.train, val=none, test=none, groups=task.groups, given=True, fingerprint="")
    decided = Task("classification", task.y, task.class_names)

    def clock() -> float:
        # Where all threads are busy it runs as fast as a clock on the wall, where one is, slower.
        return task.budget.used() / task.threads

    started = clock()
    job = Job(
        task.dataset,
        split,
        decided,
        task.train,
        task.seed,
        0.0,
        MAX_BAD,
        task.threads,
        started,
        task.progress,
        deadline=started + time_limit,
        clock=clock,
    )
    log: list[str] = [] if recipe is not None else [LEADERBOARD_HEADER]
    model, extraction, summary = fit_job(
        job, recipe, time_limit, on_entry=lambda entry: log.append(leaderboard_line(entry))
    )
    if summary is not None:
        log += summary["notes"]
    skipped = [{"image": problem.source, "reason": problem.reason} for problem in extraction.problems]
    return model, log, skipped


def _save(model: Model, folder: Path) -> None:
    model.save(folder / MODEL)


def _told(model: Model, log: list[str], skipped: list[dict[str, str]]) -> Fitted:
    """What a fitted model tells of itself."""
    network = (model.course or {}).get("network", {})
    training = network.get("training", {})
    details: dict[str, Any] = {"recipe": model.recipe.name, "recipe_toml": model.recipe.to_toml()}
    if network:
        details |= {"kind": "hybrid", "n_parameters": network["n_parameters"]}
    return Fitted(model.metadata.n_train, training.get("epochs"), log=log, skipped=skipped, details=details)


class ModelPredictor:
    """A model file as a contestant's ``Predictor``.

    Args:
        folder: that ``fit_recipe_in_budget`` wrote.
        class_names: of the comparison, by class number.
        threads: for features of many images; single images take one by nature of the model.
    """

    def __init__(self, folder: Path, class_names: Sequence[str], threads: int) -> None:
        self.path = folder / MODEL
        self.model = load(self.path)
        self.jobs = threads
        position = {name: k for k, name in enumerate(class_names)}
        # A class whose training images could not be read is unknown to the model, and never answered.
        self.columns = np.array([position[name] for name in self.model.class_names], np.intp)
        self.n_classes = len(class_names)

    def label(self, image: Encoded) -> int:
        """The class number of one image."""
        return int(self.columns[int(self.model.predict_proba([image])[0].argmax())])

    def probabilities(self, images: Sequence[Encoded]) -> NDArray[np.float32]:
        """float32 (n, n_classes).

        Raises:
            ImageError: an image cannot be used.
        """
        found = np.zeros((len(images), self.n_classes), np.float32)
        found[:, self.columns] = self.model.predict_proba(list(images), jobs=self.jobs)
        return found

    def stages(self, image: Encoded) -> dict[str, float]:
        """Seconds of the parts of one answer."""
        featurizer, clock = self.model.featurizer, time.perf_counter
        start = clock()
        picture = featurizer.prepare(image, "image")
        decoded = clock()
        X = featurizer.transform([picture])
        featured = clock()
        self.model.probabilities(X)
        return {"decode": decoded - start, "features": featured - decoded, "head": clock() - featured}

    def threads(self) -> dict[str, int]:
        """The networks of model files run on one thread."""
        return {"onnxruntime": 1} if isinstance(self.model.head, HybridNetwork) else {}

    @property
    def model_bytes(self) -> int:
        """Bytes of the model file."""
        return self.path.stat().st_size
