"""Fit a recipe to a dataset, or find the best one: features once, choices by cross-validation, one look at test."""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from classic_cv._latency import Encoded, fresh_latency, settled
from classic_cv.artifact import Metadata, check_writable
from classic_cv.candidates import typical_side
from classic_cv.dataset import Dataset, Split, check_fittable, load_dataset, make_split
from classic_cv.errors import (
    ArtifactError,
    ClassicCVError,
    DatasetError,
    ImageError,
    LatencyError,
    MissingExtraError,
    ParameterError,
    RecipeError,
)
from classic_cv.evaluation import LATENCY_IMAGES, measure, single_image_latency, skipped_images
from classic_cv.extraction import Extraction, Progress, extract, read_pictures
from classic_cv.features.base import Extractor
from classic_cv.featurizer import Featurizer
from classic_cv.heads.fitting import FittedStack, TrainingSet, fit_head
from classic_cv.heads.rbf_svm import MAX_ROWS
from classic_cv.images import Picture, to_picture
from classic_cv.model import Model
from classic_cv.neural.settings import HybridSettings
from classic_cv.recipe import (
    AUTO,
    AUTO_SIDE,
    LinearSVRSettings,
    RBFSVMSettings,
    RBFSVRSettings,
    Recipe,
    load_recipe,
)
from classic_cv.subset import nested_order
from classic_cv.task import Task, TaskName, make_task, strata_of

if TYPE_CHECKING:
    from classic_cv.insight import Refits

MAX_BAD = 0.1
"""The share of unreadable images above which fitting fails."""

AFTER_TRAINING, AFTER_TRAINING_PER_IMAGE = 8.0, 0.001
"""Seconds kept after a network's training, and per test image."""

NETWORK_SIDES = (32, 48, 64, 96, 128)
"""Sides in pixels that a recipe of automatic size is tried at; the first is the smallest."""

TRAINED_PER_SECOND = 2500
"""Images of 32 pixels that two cores train a network of 50,000 parameters on, per second: for the choice of a size."""

ENOUGH_EPOCHS = 25

MOST_PIXEL_BYTES = 3e9
"""That the pixels which networks are trained on may take while they are read."""

LEAST_PARAMETERS = 100
"""A limit on parameters below that is a mistake."""

TIME_LIMIT = 300.0
"""Seconds that a search may take by default, from reading to the written model."""


@dataclass(frozen=True, eq=False)
class Job:
    """What is to be fitted: data, split, task; everything but the recipe.

    Attributes:
        train: dataset indices for training, ascending: the training and the validation part.
        started: ``clock()`` when the work began.
        deadline: ``clock()`` until which a network may be trained; infinity for as long as it likes.
        log, checkpoint: files of a network's training, see ``fit``.
        clock: what a search goes by, in seconds that run at most as fast as ``time.perf_counter()``.
    """

    dataset: Dataset
    split: Split
    task: Task
    train: NDArray[np.int64]
    seed: int
    test_fraction: float
    max_bad: float
    jobs: int
    started: float
    progress: Progress | None = None
    deadline: float = math.inf
    log: Path | None = None
    checkpoint: Path | None = None
    clock: Callable[[], float] = time.perf_counter

    def training_indices(self, recipe: Recipe) -> NDArray[np.int64]:
        """The images that a recipe is fitted on, ascending: all, or its number of them."""
        images = recipe.train.images
        if images == "all" or images >= len(self.train):
            return self.train
        return np.sort(self.order()[:images])

    def order(self) -> NDArray[np.int64]:
        """The training images such that every beginning is a stratified choice of them, by the seed."""
        strata = strata_of(self.dataset, self.task)
        y = self.task.y if strata is None else strata
        return self.train[nested_order(y[self.train], self.split.groups[self.train], self.seed)]


def fit(
    data: str | Path,
    recipe: str | Path | Recipe = AUTO,
    *,
    target: str | None = None,
    task: TaskName = "auto",
    positive: str | None = None,
    seed: int = 0,
    jobs: int = -1,
    test_fraction: float = 0.2,
    max_bad: float = MAX_BAD,
    time_limit: float = TIME_LIMIT,
    latency_limit: float | None = None,
    max_parameters: int | None = None,
    log: str | Path | None = None,
    checkpoint: str | Path | None = None,
    insight: bool = False,
    progress: Progress | None = None,
    on_entry: Callable[[dict[str, Any]], None] | None = None,
    started: float | None = None,
) -> Model:
    """Fit a recipe to a dataset and measure it on the test part, which is read once, at the end.

    Args:
        data: a folder, manifest or npz file, as ``load_dataset`` takes them. A validation part joins the
            training part: choices are made by cross-validation, so nothing has to be held out for them.
        recipe: ``auto`` to search for the best one, the name of a shelf recipe, the path of a TOML file or of a
            model file whose recipe is fitted again, or a ``Recipe``.
        target: the manifest column that holds the target.
        task: ``classification`` or ``regression``; ``auto`` takes a numeric target with more than 20 different
            values as a regression.
        positive: tell this class from all others.
        seed: of the split, the folds and the samples.
        jobs: threads for feature extraction; -1 for all cores. The model does not depend on it.
        test_fraction: share of the images held out when the data has no test part.
        max_bad: share of unreadable images above which fitting fails; fewer are skipped by name.
        time_limit: seconds that a search, or a network's training, may take, from reading to the figures on the test
            part. Other recipes take what they take.
        latency_limit: milliseconds that the 95th percentile of single images, encoded bytes to label on one
            thread, may take.
        max_parameters: of a hybrid recipe: the best width and depth with at most so many parameters is taken.
        log: a file for the course of a network's training, as JSON lines.
        checkpoint: a file that keeps the state of a network's training; where it is there, training goes on from it.
        insight: also find what a report shows, after the fit and outside the time limit: ``groups`` and ``easier``
            in the report, and the worst mistakes in ``model.mistakes``.
        progress: called with (task, done, total).
        on_entry: called with each entry of the search's leaderboard as it is measured.
        started: ``time.perf_counter()`` from which the time limit counts; now by default.

    Returns:
        the fitted model; ``model.report`` holds the figures, the skipped images and the notes on the data.

    Raises:
        LatencyError: no model keeps the latency limit.
        ClassicCVError: the data or the recipe cannot be used, or too many images are unreadable.
    """
    started = time.perf_counter() if started is None else started
    _check_limits(time_limit, latency_limit)
    fixed = None if recipe == AUTO else recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    if max_parameters is not None:
        fixed = with_max_parameters(fixed, max_parameters)
    for path in (log, checkpoint):
        if path is not None:
            check_writable(Path(path))
    job = make_job(
        data,
        target=target,
        task=task,
        positive=positive,
        seed=seed,
        jobs=jobs,
        test_fraction=test_fraction,
        max_bad=max_bad,
        progress=progress,
        started=started,
    )
    job = replace(
        job,
        deadline=started + time_limit - after_training(job),
        log=None if log is None else Path(log),
        checkpoint=None if checkpoint is None else Path(checkpoint),
    )
    model, extraction, summary = fit_job(job, fixed, time_limit, latency_limit, on_entry)
    fit_seconds = time.perf_counter() - started
    model.report = _report(model, job, extraction, fit_seconds, insight)
    if latency_limit is not None and model.report["test"] is not None:
        # Measured like the limit that was given.
        model.report["test"]["latency_ms"] = latency_in_use(model, job.dataset, job.split.test)
    failed = model.report.pop("insight_failed", None)
    model.report["notes"] += [failed] if failed else []
    if summary is not None:
        model.report["search"] = summary
        model.report["notes"] += summary["notes"]
    return model


def fit_job(
    job: Job,
    recipe: Recipe | None,
    time_limit: float,
    latency_limit: float | None = None,
    on_entry: Callable[[dict[str, Any]], None] | None = None,
) -> tuple[Model, Extraction, dict[str, Any] | None]:
    """Fit a recipe, or search for the best one where it is None, on a job's training images; see ``fit``.

    Returns:
        the model, the features that it was fitted on, and what the search tells of itself, None without a search.

    Raises:
        LatencyError: no model keeps the latency limit.
        ClassicCVError: the recipe cannot be used, or too many images are unreadable.
    """
    if recipe is None:
        from classic_cv.search import search

        found = search(job, time_limit=time_limit, latency_limit=latency_limit, on_entry=on_entry)
        return found.model, found.extraction, found.summary
    if recipe.image.size == "auto":
        recipe = suitably_sized(recipe, job, time_limit)
    model, extraction = fit_recipe(job, recipe)
    if latency_limit is not None:
        check_latency(model, job, latency_limit)
    return model, extraction, None


def suitably_sized(recipe: Recipe, job: Job, time_limit: float) -> Recipe:
    """A recipe whose size is open at the largest size that its images have and the time allows.

    More pixels are worth more than more passes over the images, as long as there are ``ENOUGH_EPOCHS``.
    """
    side = typical_side(job.dataset, job.train.tolist())
    n = len(job.training_indices(recipe))

    def epochs(size: int) -> float:
        pixels = (size / AUTO_SIDE) * (size / AUTO_SIDE)
        return time_limit * TRAINED_PER_SECOND / (pixels * n)

    def fits(size: int) -> bool:
        # Pixels are columns of float32, and a mirror image has a row of its own.
        return size <= 1.1 * side and epochs(size) >= ENOUGH_EPOCHS and 24 * size**2 * n <= MOST_PIXEL_BYTES

    fitting = [size for size in NETWORK_SIDES if fits(size)]
    found = recipe.resized(max(fitting, default=NETWORK_SIDES[0]))
    return msgspec.structs.replace(found, name=recipe.name)


def after_training(job: Job) -> float:
    """Seconds kept for what follows the training of a network: storing it and the figures on the test part."""
    return AFTER_TRAINING + AFTER_TRAINING_PER_IMAGE * len(job.split.test)


def with_max_parameters(recipe: Recipe | None, limit: int) -> Recipe:
    """A hybrid recipe whose network has at most ``limit`` parameters.

    Raises:
        ParameterError: the recipe has no network, or the limit is too small for any.
    """
    if recipe is None or not isinstance(recipe.head, HybridSettings):
        name = AUTO if recipe is None else recipe.name
        raise ParameterError(
            f"max_parameters={limit} (--max-parameters) is for hybrid recipes, and {name} is none: leave it out, or "
            "give --recipe hybrid"
        )
    if limit < LEAST_PARAMETERS:
        raise ParameterError(f"max_parameters={limit}: expected at least {LEAST_PARAMETERS}")
    network = msgspec.structs.replace(recipe.head.network, max_parameters=limit)
    return msgspec.structs.replace(recipe, head=msgspec.structs.replace(recipe.head, network=network))


def _check_limits(time_limit: float, latency_limit: float | None) -> None:
    if not time_limit > 0:
        raise ParameterError(f"time_limit={time_limit!r}: expected more than 0 seconds")
    if latency_limit is not None and not latency_limit > 0:
        raise ParameterError(f"latency_limit={latency_limit!r}: expected more than 0 milliseconds")


def make_job(
    data: str | Path,
    *,
    target: str | None = None,
    task: TaskName = "auto",
    positive: str | None = None,
    seed: int = 0,
    jobs: int = -1,
    test_fraction: float = 0.2,
    max_bad: float = MAX_BAD,
    progress: Progress | None = None,
    started: float | None = None,
) -> Job:
    """Read and split the data and decide the task; the arguments are those of ``fit``.

    Raises:
        DatasetError: the data cannot be read, or nothing can be fitted to it.
    """
    job = read_job(
        data,
        target=target,
        task=task,
        positive=positive,
        seed=seed,
        jobs=jobs,
        test_fraction=test_fraction,
        max_bad=max_bad,
        progress=progress,
        started=started,
    )
    if job.task.kind == "classification":
        check_fittable(job.dataset, job.split)
    if len(job.train) < 2:
        raise DatasetError(f"{job.dataset.path}: {len(job.train)} training images: expected at least 2")
    return job


def read_job(
    data: str | Path | Dataset,
    *,
    target: str | None = None,
    task: TaskName = "auto",
    positive: str | None = None,
    seed: int = 0,
    jobs: int = -1,
    test_fraction: float = 0.2,
    max_bad: float = MAX_BAD,
    progress: Progress | None = None,
    started: float | None = None,
) -> Job:
    """The same for data that nothing may be fitted to, such as those of one class; or that are read already.

    Raises:
        ParameterError: no threads, ``jobs=0``.
        DatasetError: the data cannot be read.
    """
    if jobs == 0:
        raise ParameterError("jobs=0: expected -1 for all cores, or at least 1")
    started = time.perf_counter() if started is None else started
    dataset = data if isinstance(data, Dataset) else load_dataset(data, target=target)
    decided = make_task(dataset, task, positive)
    split = make_split(dataset, test_fraction=test_fraction, seed=seed, stratify=strata_of(dataset, decided))
    train = np.sort(np.concatenate([split.train, split.val]))
    return Job(dataset, split, decided, train, seed, test_fraction, max_bad, jobs, started, progress)


def fit_recipe(
    job: Job, recipe: Recipe, extraction: Extraction | None = None, featurizer: Featurizer | None = None
) -> tuple[Model, Extraction]:
    """Fit one recipe on its training images.

    Args:
        job: data, split and task.
        recipe: what to fit; for a regression its head is exchanged for one that estimates numbers.
        extraction: its features, where they are known already, with mirrored copies where the recipe says
            ``train.mirror = true``; overwritten. Not used with ``"auto"``.
        featurizer: the recipe's, where it is fitted already, see ``fit_featurizer``.

    Raises:
        RecipeError: the recipe cannot learn the task.
        DatasetError: too many images cannot be read, or all of a class.
        ValueError: ``extraction`` has copies and should not, or the other way round.
    """
    if job.task.kind == "regression":
        recipe = recipe.for_regression()
    _check_recipe(job, recipe)
    if featurizer is None:
        featurizer = fit_featurizer(recipe, job.dataset, job.train)
    mirroring: dict[str, Any] = {}
    if recipe.train.mirror == "auto":
        from classic_cv.mirroring import choose_mirroring

        chosen = choose_mirroring(job, recipe, featurizer)
        recipe, mirroring, extraction = chosen.recipe, chosen.summary, chosen.extraction
    if extraction is None:
        extraction = training_features(job, recipe, featurizer)
    elif extraction.has_copies != (recipe.train.mirror is True):
        raise ValueError(
            f"{len(extraction.X)} rows for {len(extraction.kept)} images do not fit train.mirror = "
            f"{recipe.train.mirror}: extract them with the recipe that is fitted"
        )
    training = training_set(job, extraction, featurizer.group_widths)
    names, _ = learned_targets(job, extraction.kept)
    if isinstance(recipe.head, HybridSettings):
        stack = _fit_network(job, recipe, featurizer, training)
    else:
        stack = fit_head(recipe.head, training, job.progress)
    # The model keeps the recipe with every choice filled in: fitted again, it gives the same model.
    recipe = msgspec.structs.replace(recipe, head=stack.settings)
    metadata = Metadata(
        recipe_name=recipe.name,
        recipe=recipe.to_table(),
        gray=featurizer.gray,
        class_names=names,
        seed=job.seed,
        test_fraction=job.test_fraction,
        split_sha256=job.split.fingerprint,
        n_train=len(extraction.kept),
        fit={**stack.choices, **({"mirror": mirroring} if mirroring and stack.choices else {})},
        versions=versions(),
        task=job.task.kind,
        positive=job.task.positive,
        target=job.dataset.target_name,
    )
    model = Model(recipe, featurizer, stack.head, stack.calibrator, metadata, stack.maps, stack.mean)
    if stack.course is not None:
        model.course = {**metadata.fit, **stack.course}
    return model, extraction


def _fit_network(job: Job, recipe: Recipe, featurizer: Featurizer, training: TrainingSet) -> FittedStack:
    """Train the network of a hybrid recipe."""
    from classic_cv.neural.course import Surroundings
    from classic_cv.neural.fitting import fit_hybrid

    assert isinstance(recipe.head, HybridSettings)
    shape = featurizer.extractors[-1].shape_  # type: ignore[attr-defined]
    around = Surroundings(
        deadline=job.deadline,
        n_learned=featurizer.n_learned,
        features_of=lambda pixels: featurizer.transform_pixels(pixels)[:, : -int(shape.prod())],
        log=job.log,
        checkpoint=job.checkpoint,
        jobs=job.jobs,
        progress=job.progress,
        clock=job.clock,
    )
    return fit_hybrid(recipe.head, training, shape.tolist(), around)


def require_torch(name: str) -> None:
    """Raise MissingExtraError unless what training a network needs is installed."""
    missing = [
        package for package in ("torch", "onnx", "onnxscript", "onnxruntime") if find_spec(package) is None
    ]
    if missing:
        raise MissingExtraError(
            f"{name} trains a network, which needs {', '.join(missing)}: pip install 'classic-cv[deep]'; "
            "predicting with the fitted model needs only 'classic-cv[onnx]'"
        )


def training_features(job: Job, recipe: Recipe, featurizer: Featurizer) -> Extraction:
    """Features of the recipe's training images, with mirrored copies where it says ``train.mirror = true``."""
    return extract(
        job.dataset,
        job.training_indices(recipe),
        featurizer,
        job.jobs,
        job.progress,
        "training features",
        with_copies=recipe.train.mirror is True,
    )


def training_set(job: Job, extraction: Extraction, widths: Sequence[int]) -> TrainingSet:
    """What a head is fitted on, or chosen by: features, mirrored copies if they have any, targets and groups.

    Args:
        job: data, split and task.
        extraction: of some or all training images; its X is not copied, so that fitting overwrites it.
        widths: columns of each extractor.

    Raises:
        DatasetError: too many unreadable images, none that is readable, or a single class.
    """
    if not len(extraction.kept):
        raise DatasetError(
            f"{job.dataset.name}: none of the first {len(extraction.problems)} training images can be read; "
            f"the first: {extraction.problems[0]}"
        )
    check_bad(skipped_images(job.dataset, job.split, extraction.problems), len(job.dataset), job.max_bad)
    y = job.task.y[extraction.kept]
    if job.task.kind == "classification":
        y = np.unique(y, return_inverse=True)[1]
        if y.max() == 0:
            learned_targets(job, extraction.kept)  # says which class is left
    groups = fold_groups(job.split, extraction.kept)
    return TrainingSet(extraction.X, y, groups, widths, job.task.kind, job.seed)


def _check_recipe(job: Job, recipe: Recipe) -> None:
    """Raise RecipeError when the recipe cannot learn the task, MissingExtraError when torch would have to."""
    if isinstance(recipe.head, HybridSettings):
        require_torch(f"recipe {recipe.name}")
    if job.task.kind == "classification" and isinstance(recipe.head, LinearSVRSettings | RBFSVRSettings):
        raise RecipeError(
            f"recipe {recipe.name}: its head estimates numbers, and {job.dataset.name} has classes: use a head of "
            "type linear-svm or rbf-svm, or --task regression"
        )
    if recipe.train.mirror is True:
        _check_copies(job, recipe)
    images, classes = recipe.train.images, len(job.task.class_names)
    if images != "all" and images < classes:
        raise RecipeError(
            f'recipe {recipe.name}: train.images is {images}, fewer than the {classes} classes; give more, or "all"'
        )


def _check_copies(job: Job, recipe: Recipe) -> None:
    """Raise RecipeError when the recipe gains nothing by mirrored copies, or cannot take so many rows."""
    if recipe.image.mirror:
        raise RecipeError(
            f"recipe {recipe.name}: image.mirror and train.mirror are both true, but with image.mirror an image and "
            "its mirror image have the same features: set one of them to false"
        )
    n = len(job.training_indices(recipe))
    if isinstance(recipe.head, RBFSVMSettings | RBFSVRSettings) and 2 * n > MAX_ROWS:
        raise RecipeError(
            f"recipe {recipe.name}: {n} images and their mirror images are too many for the exact RBF kernel, which "
            f"takes {MAX_ROWS} rows: set train.mirror to false, or train.images to at most {MAX_ROWS // 2}"
        )


def check_latency(model: Model, job: Job, limit: float) -> dict[str, float]:
    """Percentiles in ms of the model on training images, as it will be used: in a fresh process.

    Raises:
        LatencyError: the 95th percentile is above ``limit``.
    """
    latency = latency_in_use(model, job.dataset, job.train, limit)
    if latency["p95"] > limit:
        raise LatencyError(
            f"{model.recipe.name} takes {latency['p95']:.2f} ms (95th percentile, encoded bytes to label, one "
            f"thread), more than the {limit:g} ms allowed (--latency-limit): allow more, or give a smaller size, "
            "fewer features, or --recipe auto"
        )
    return latency


def latency_in_use(
    model: Model, dataset: Dataset, indices: NDArray[np.intp], limit: float = np.inf
) -> dict[str, float]:
    """Percentiles in ms of the dataset's items ``indices``, or of as many as count, one at a time on one thread.

    Measured in a fresh process that loads the model; in this one where that cannot be.

    Raises:
        ImageError: none of the images can be read.
    """
    chosen = _spread(indices, LATENCY_IMAGES)
    images: list[Encoded] = []
    for index in chosen.tolist():
        with contextlib.suppress(ImageError):
            images.append(dataset.read(index))
    found = fresh_latency(model, images, limit)
    if found is None:
        readable = _readable(dataset, chosen)
        found = settled(lambda: single_image_latency(model, dataset, readable), limit)
    return found


def _spread(indices: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """At most ``most`` of them, spread evenly."""
    return indices[np.linspace(0, len(indices) - 1, min(most, len(indices))).astype(np.intp)]


def training_latency(model: Model, job: Job, most: int, attempts: int = 1) -> dict[str, float]:
    """Percentiles in ms of single images, on at most ``most`` training images; unreadable ones are left out.

    Of several attempts the one with the smallest 95th percentile counts: other load on the machine only adds.

    Raises:
        ImageError: none of them can be read.
    """
    indices = _spread(job.train, most)
    try:
        runs = [single_image_latency(model, job.dataset, indices)]
    except ImageError:
        indices = _readable(job.dataset, indices)
        runs = [single_image_latency(model, job.dataset, indices)]
    runs += [single_image_latency(model, job.dataset, indices) for _ in range(attempts - 1)]
    return min(runs, key=lambda run: run["p95"])


def _readable(dataset: Dataset, indices: NDArray[np.intp]) -> NDArray[np.intp]:
    kept = []
    for index in indices.tolist():
        try:
            to_picture(dataset.read(index), source=dataset.names[index])
        except ImageError:
            continue
        kept.append(index)
    if not kept:
        raise ImageError(dataset.name, f"none of {len(indices)} sampled training images can be read")
    return np.array(kept, np.intp)


def fit_featurizer(recipe: Recipe, dataset: Dataset, train: NDArray[np.intp]) -> Featurizer:
    """Fit the extractors of ``recipe`` on a sample spread evenly over the training images."""
    return Featurizer.of(recipe).fit(sample_pictures(recipe, dataset, train))


def sample_pictures(
    recipe: Recipe, dataset: Dataset, train: NDArray[np.intp], most: int | None = None
) -> list[Picture]:
    """A sample spread evenly over the training images, prepared as the recipe says.

    As many as the recipe's extractors want to see, or at most ``most``.

    Raises:
        DatasetError: none of it can be read.
    """
    featurizer = Featurizer.of(recipe)
    first = _spread(train, Extractor.fit_images)
    rest = np.setdiff1d(train, first)
    more = min((featurizer.fit_images if most is None else most) - len(first), len(rest))
    # The beginning is the same however many there are.
    sample = np.concatenate([first, _spread(rest, more)]) if more > 0 else first
    batch, pictures = read_pictures(dataset, sample.tolist(), featurizer)
    if not pictures:
        raise DatasetError(
            f"{dataset.name}: none of {len(sample)} sampled training images can be read; "
            f"the first: {batch.problems[0]}"
        )
    return pictures


def fold_groups(split: Split, indices: NDArray[np.intp]) -> NDArray[np.int64] | None:
    """Groups that folds keep together (given ones and exact copies), None where every image is its own.

    A fold that has one copy of an image on each side measures memory, not skill.
    """
    groups = split.groups[indices]
    return groups if len(np.unique(groups)) < len(groups) else None


def check_bad(skipped: Sequence[dict[str, str]], n: int, max_bad: float) -> None:
    """Raise DatasetError when more than ``max_bad`` of ``n`` images were skipped."""
    if len(skipped) > max_bad * n:
        shown = "\n".join(f"  {entry['image']}: {entry['reason']}" for entry in skipped[:10])
        more = f"\n  and {len(skipped) - 10} more" if len(skipped) > 10 else ""
        raise DatasetError(
            f"{len(skipped)} of {n} images cannot be used, more than the {max_bad:.0%} allowed "
            f"(--max-bad):\n{shown}{more}"
        )


def learned_targets(job: Job, kept: NDArray[np.intp]) -> tuple[tuple[str, ...], NDArray[Any]]:
    """Names of the classes that have readable training images, and the targets of the images ``kept``.

    Raises:
        DatasetError: fewer than two classes, or a class with test images but no readable training image.
    """
    task, dataset = job.task, job.dataset
    if task.kind == "regression":
        return (), task.y[kept]
    classes = np.unique(task.y[kept])
    lost = np.setdiff1d(task.y[job.split.test], classes)
    if len(lost):
        names = ", ".join(repr(task.class_names[k]) for k in lost)
        raise DatasetError(
            f"{dataset.name}: no training image can be read of classes that have test images: {names}; "
            "replace the unreadable images or remove these classes"
        )
    if len(classes) < 2:
        names = ", ".join(repr(task.class_names[k]) for k in classes)
        raise DatasetError(f"{dataset.name}: only one class has readable training images: {names}")
    return tuple(task.class_names[k] for k in classes), np.searchsorted(classes, task.y[kept])


def save_or_rescue(model: Model, path: Path) -> tuple[Path, ArtifactError | None]:
    """Save the model; where that fails (a full disk), save it in the temporary folder rather than lose it.

    Returns:
        where it is now, and the error if that is not ``path``.

    Raises:
        ArtifactError: it cannot be written there either.
    """
    try:
        model.save(path)
    except ArtifactError as error:
        rescued = Path(tempfile.gettempdir()) / f"classic-cv-{os.getpid()}-{path.name}"
        model.save(rescued)
        return rescued, ArtifactError(f"{error}; the fitted model is in {rescued} instead")
    return path, None


def versions() -> dict[str, str]:
    """Versions of classic-cv and of the packages that its figures depend on."""
    packages = ("classic-cv", "numpy", "opencv-python-headless", "scikit-learn", "pillow")
    return {package: version(package) for package in packages}


def _class_notes(model: Model, job: Job) -> list[str]:
    unread = [name for name in job.task.class_names if name not in model.class_names]
    return [f"left out, no training image can be read: class {name!r}" for name in unread]


def _report(
    model: Model, job: Job, extraction: Extraction, fit_seconds: float, insight: bool
) -> dict[str, Any]:
    """Everything that ``fit`` tells: the data, the choices, the figures on the test part."""
    from classic_cv.insight import Refits, ablation, worst_mistakes

    dataset, split = job.dataset, job.split
    evaluation, undecodable = None, extraction.problems
    groups: dict[str, Any] = {}
    if len(split.test):
        measured = measure(model, dataset, job.task, split.test, job.jobs, job.progress)
        evaluation, undecodable = measured.figures, [*undecodable, *measured.problems]
        if insight:
            model.mistakes = worst_mistakes(model, dataset, job.task, measured.kept, measured.outputs)
            if isinstance(model.recipe.head, HybridSettings):
                # Fitting it again without a group takes minutes each: the fitted one shows what it loses.
                groups = ablation(model, measured.X, measured.y)
    refits = Refits(job, model.recipe)
    return {
        "data": dataset.name,
        "task": job.task.kind,
        "target": dataset.target_name,
        "positive": job.task.positive,
        "classes": len(model.class_names),
        "class_counts": _class_counts(job),
        "n_train": len(extraction.kept),
        "split_sha256": split.fingerprint,
        "seed": model.metadata.seed,
        "recipe": model.recipe.name,
        "recipe_toml": model.recipe.to_toml(),
        "fit": model.metadata.fit if model.course is None else model.course,
        "fit_seconds": fit_seconds,
        "test": evaluation,
        "skipped": skipped_images(dataset, split, undecodable),
        "ignored": [{"image": entry.source, "reason": entry.reason} for entry in dataset.ignored],
        "ignored_suffixes": dict(dataset.ignored_suffixes),
        "notes": [
            *([job.task.note] if job.task.note else []),
            *dataset.notes,
            *split.notes,
            *_class_notes(model, job),
        ],
        **({"groups": groups} if groups else {}),
        **(_refitted(refits) if insight and refits.possible() else {}),
    }


def _refitted(refits: Refits) -> dict[str, Any]:
    """What the refits found; a model that is fitted is never lost to a failure of theirs."""
    try:
        return refits.run()
    except (ClassicCVError, ValueError, ArithmeticError, MemoryError) as error:
        return {"insight_failed": f"feature groups and easier tasks were not measured: {error}"}


def _class_counts(job: Job) -> dict[str, dict[str, int]]:
    """Training and test images of each class."""
    return {
        name: {
            "train": int((job.task.y[job.train] == k).sum()),
            "test": int((job.task.y[job.split.test] == k).sum()),
        }
        for k, name in enumerate(job.task.class_names)
    }
