"""Measure a model on labelled images: accuracy figures, latency from encoded bytes to label, throughput."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.dataset import Dataset, Problem, Split, load_dataset, make_split
from classic_cv.degraded import SHARES, ask_all, check_shares, degraded_figures
from classic_cv.errors import DatasetError, ImageError
from classic_cv.extraction import Progress, extract
from classic_cv.features.base import Features
from classic_cv.metrics import classification_metrics, regression_metrics
from classic_cv.model import Model
from classic_cv.primary import Primary, primary_of
from classic_cv.task import Task, listed, make_task, strata_of
from classic_cv.timing import available_cores, cpu_name, one_by_one, peak_rss_mb

LATENCY_IMAGES = 200
"""Images that single-image latency is measured on, evenly spread over the part."""

PARTS = ("test", "val", "train", "all")


@dataclass(frozen=True, eq=False)
class Measurement:
    """A model's figures on one part, and what they came from.

    Attributes:
        figures: plain data, see ``measure``.
        problems: the images that could not be read.
        kept: dataset indices of the others.
        X: their features.
        y: their class numbers in the model's order, or their targets.
        outputs: probabilities (n, n_classes), or predicted numbers (n,).
    """

    figures: dict[str, Any]
    problems: list[ImageError]
    kept: NDArray[np.intp]
    X: Features
    y: NDArray[Any]
    outputs: NDArray[Any]


def evaluate(
    model: Model,
    data: str | Path,
    split: str = "test",
    *,
    target: str | None = None,
    jobs: int = -1,
    insight: bool = False,
    primary: Any = None,
    shares: Sequence[float] = SHARES,
    token: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure ``model`` on one part of a dataset.

    Args:
        model: a fitted model.
        data: a folder, manifest or npz file, as ``fit`` takes them.
        split: ``test``, ``val``, ``train`` or ``all``. Where the data has no test part, ``test`` is the
            part that ``fit`` held out, found again by the model's seed and checked by its fingerprint.
        target: the manifest column that holds the class.
        jobs: threads; -1 for all cores.
        insight: also what a report shows: ``groups``, what the model loses without each group of features, and
            ``mistakes``, the worst mistakes as ``Mistake`` objects, which are not JSON.
        primary: what the model is the fallback of, as ``Fallback`` takes it: also measure what being degraded costs.
        shares: of the answers that are the fallback's, from 0 to 1.
        token: the bearer token that a primary at an address is shown.
        progress: called with (task, done, total).

    Returns:
        the figures, see ``measure``, and ``split_sha256`` of the data's split, ``same_split``
        (whether it is the one that the model was fitted on), ``skipped`` images and ``data``; with a primary also
        ``degraded``, see ``degraded_figures``, with ``primary`` and its ``failures``.

    Raises:
        DatasetError: the part is empty, or has classes that the model does not know.
        ParameterError: the primary has other classes or answers nothing, a share is none, or the model is a regression.
        ArtifactError: the primary's file cannot be used.
    """
    if split not in PARTS:
        raise DatasetError(f"no part {split!r}; allowed are {', '.join(PARTS)}")
    degraded: dict[str, Any] = {}
    assumed: tuple[str, ...] = ()
    with contextlib.ExitStack() as stack:
        asked = None
        if primary is not None:
            check_shares(model, shares)
            asked = stack.enter_context(contextlib.closing(primary_of(primary, model, token=token)))
        dataset = load_dataset(data, target=target)
        task = make_task(dataset, model.metadata.task, model.metadata.positive)
        found = make_split(
            dataset,
            test_fraction=model.metadata.test_fraction,
            seed=model.metadata.seed,
            stratify=strata_of(dataset, task),
        )
        indices = _part(model, dataset, found, split)
        measured = measure(model, dataset, task, indices, jobs, progress)
        if asked is not None:
            names = {"primary": str(primary)}
            degraded = {"degraded": names | _degraded(asked, model, dataset, measured, shares, progress)}
            assumed = asked.notes
    same_split = found.fingerprint == model.metadata.split_sha256
    seen = (
        [f"the {split} part holds images that the model was fitted on"]
        if same_split and split != "test"
        else []
    )
    return {
        "data": dataset.name,
        "split": split,
        **measured.figures,
        **(_insight(model, dataset, task, measured) if insight else {}),
        **degraded,
        "split_sha256": found.fingerprint,
        "same_split": same_split,
        "notes": [*seen, *dataset.notes, *found.notes, *assumed],
        "skipped": skipped_images(dataset, found, measured.problems),
    }


def _insight(model: Model, dataset: Dataset, task: Task, measured: Measurement) -> dict[str, Any]:
    from classic_cv.insight import ablation, worst_mistakes

    return {
        "groups": ablation(model, measured.X, measured.y),
        "mistakes": worst_mistakes(model, dataset, task, measured.kept, measured.outputs),
    }


def _degraded(
    primary: Primary,
    model: Model,
    dataset: Dataset,
    measured: Measurement,
    shares: Sequence[float],
    progress: Progress | None,
) -> dict[str, Any]:
    labels, failures = ask_all(primary, len(model.class_names), dataset, measured.kept, progress)
    figures = degraded_figures(labels, measured.outputs.argmax(axis=1), measured.y, shares)
    return {**figures, "failures": [failure._asdict() for failure in failures]}


def skipped_images(dataset: Dataset, split: Split, undecodable: Sequence[ImageError]) -> list[dict[str, str]]:
    """Everything meant as a sample that was left out: found while listing, hashing and decoding."""
    problems: list[Problem | ImageError] = [*dataset.problems, *split.problems, *undecodable]
    return [{"image": problem.source, "reason": problem.reason} for problem in problems]


def _part(model: Model, dataset: Dataset, split: Split, name: str) -> NDArray[np.int64]:
    """Indices of the part ``name`` of the split, or of all readable files."""
    indices: NDArray[np.int64]
    if name == "all":
        indices = np.sort(np.concatenate([split.train, split.val, split.test]))
    else:
        if not split.given and split.fingerprint != model.metadata.split_sha256:
            raise DatasetError(
                f"{dataset.name}: has no {name} part, and is not the data that the model was fitted on, so the "
                "part held out then cannot be found again; to measure on all its images use --split all"
            )
        indices = getattr(split, name)
    if len(indices) == 0:
        raise DatasetError(f"{dataset.name}: its {name} part is empty")
    return indices


def measure(
    model: Model,
    dataset: Dataset,
    task: Task,
    indices: NDArray[np.intp],
    jobs: int = -1,
    progress: Progress | None = None,
) -> Measurement:
    """Measure ``model`` on the dataset's items ``indices``.

    The figures are ``task``, those of ``classification_metrics`` or ``regression_metrics``, ``latency_ms`` {p50,
    p90, p95, p99} of single images from encoded bytes to the answer on one thread, ``throughput`` (images/s of
    whole batches, reading included) on ``threads`` threads, ``model_bytes``, ``peak_rss_mb`` of this process,
    ``recipe``, ``versions``, ``cpu``.

    Raises:
        DatasetError: no image can be read, or there are classes that the model does not know.
    """
    classes = _class_indices(model, dataset, task, indices)
    start = time.perf_counter()
    extraction = extract(dataset, indices, model.featurizer, jobs, progress, "test features")
    if not len(extraction.kept):
        raise DatasetError(
            f"{dataset.name}: none of {len(indices)} images can be read: {extraction.problems[0]}"
        )
    outputs = model.outputs(extraction.X)
    seconds = time.perf_counter() - start
    y = task.y[extraction.kept]
    if task.kind == "regression":
        measured = regression_metrics(y, outputs)
    else:
        y = classes[y]
        measured = classification_metrics(y, outputs, model.class_names)
    figures = {
        "task": task.kind,
        **measured,
        "latency_ms": single_image_latency(model, dataset, extraction.kept),
        "throughput": len(extraction.kept) / seconds,
        "threads": available_cores() if jobs < 0 else jobs,
        "model_bytes": len(model.to_bytes()),
        "peak_rss_mb": peak_rss_mb(),
        "recipe": model.recipe.name,
        "versions": model.metadata.versions,
        "cpu": cpu_name(),
    }
    return Measurement(figures, extraction.problems, extraction.kept, extraction.X, y, outputs)


def _class_indices(model: Model, dataset: Dataset, task: Task, indices: NDArray[np.intp]) -> NDArray[np.intp]:
    """For each class of the task its index in the model, -1 where it has none and none is needed."""
    if task.kind == "regression":
        return np.zeros(0, np.intp)
    known = {name: k for k, name in enumerate(model.class_names)}
    unknown = {task.class_names[k] for k in np.unique(task.y[indices])} - known.keys()
    if unknown:
        raise DatasetError(
            f"{dataset.name}: has classes that the model does not know: {listed(sorted(unknown))}; "
            f"it knows: {listed(model.class_names)}"
        )
    return np.array([known.get(name, -1) for name in task.class_names], np.intp)


def single_image_latency(model: Model, dataset: Dataset, indices: NDArray[np.intp]) -> dict[str, float]:
    """Percentiles in ms of one image at a time, encoded bytes to probabilities, on one thread."""
    chosen = indices[np.linspace(0, len(indices) - 1, min(LATENCY_IMAGES, len(indices))).astype(np.intp)]
    return one_by_one(model.predict, [[dataset.read(int(index))] for index in chosen])
