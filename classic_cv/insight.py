"""What a report adds to the figures: what each feature group brings, what an easier task would gain, mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from classic_cv.dataset import Dataset
from classic_cv.errors import ClassicCVError, ImageError
from classic_cv.extraction import Extraction, extract
from classic_cv.features.base import Features
from classic_cv.featurizer import Featurizer
from classic_cv.fitting import Job, fit_featurizer, fold_groups
from classic_cv.heads.fitting import (
    Choice,
    Effort,
    TrainingSet,
    are_unequal,
    can_cross_validate,
    choose,
    held_out_losses,
)
from classic_cv.heads.late_fusion import without_extractor
from classic_cv.html_report import Mistake
from classic_cv.images import shrink, to_picture
from classic_cv.model import Model
from classic_cv.neural.settings import HybridSettings
from classic_cv.recipe import DummySettings, Head, Recipe, feature_groups
from classic_cv.shadow import shadow_of
from classic_cv.stats import mean_interval
from classic_cv.task import Task, rest_of

IMAGES = 2000
"""Training images that the refits of a report look at."""

ONE_AGAINST_REST = 5
"""Classes that are tried against all others: those that are recognised least."""

MISTAKES = 24
THUMBNAIL = 160
"""Pixels of the longer side."""


def worst_mistakes(
    model: Model,
    dataset: Dataset,
    task: Task,
    kept: NDArray[np.intp],
    outputs: NDArray[Any],
    most: int = MISTAKES,
) -> list[Mistake]:
    """The wrong answers that the model was surest of, or the largest errors of a regression, worst first."""
    if task.kind == "regression":
        error = np.abs(outputs - task.y[kept])
        rows = np.argsort(-error, kind="stable")[:most]
    else:
        names = np.array(model.class_names, dtype=object)
        truth = np.array([task.class_names[k] for k in task.y[kept]], dtype=object)
        wrong = np.flatnonzero(names[outputs.argmax(axis=1)] != truth)
        rows = wrong[np.argsort(-outputs[wrong].max(axis=1), kind="stable")][:most]
    found = []
    for row in rows.tolist():
        pixels = thumbnail(dataset, int(kept[row]))
        if pixels is None:
            continue
        name = dataset.names[int(kept[row])]
        if task.kind == "regression":
            found.append(Mistake(name, pixels, f"{task.y[kept[row]]:g}", f"{outputs[row]:.4g}", None))
        else:
            best = int(outputs[row].argmax())
            found.append(Mistake(name, pixels, truth[row], names[best], float(outputs[row, best])))
    return found


def thumbnail(dataset: Dataset, index: int) -> NDArray[np.uint8] | None:
    """An image at most ``THUMBNAIL`` px on its longer side: uint8 RGB (height, width, 3); None if unreadable."""
    try:
        pixels = to_picture(dataset.read(index), source=dataset.names[index], min_side=THUMBNAIL).pixels
    except ImageError:
        return None
    if pixels.ndim == 2:
        pixels = np.dstack([pixels] * 3)
    return np.asarray(shrink(pixels, THUMBNAIL), np.uint8)


def ablation(model: Model, X: Features, y: NDArray[Any]) -> dict[str, Any]:
    """What a fitted model loses when it cannot see one group of features: its columns are set to their mean.

    Args:
        model: any fitted model.
        X: features of the measured part, (n, n_features).
        y: class numbers in the order of ``model.class_names``, or targets.

    Returns:
        ``method, scoring, full`` and per group ``group, columns, without, loss, loss_ci95`` in ``rows``.
    """
    widths = model.featurizer.group_widths
    if len(widths) < 2:
        return {}
    base = _losses(model, X, y)
    rows = []
    edges = np.cumsum([0, *widths])
    for name, start, stop in zip(feature_groups(model.recipe), edges[:-1], edges[1:], strict=True):
        hidden = X.copy()
        hidden[:, start:stop] = X[:, start:stop].mean(axis=0)
        rows.append(_group_row(name, int(stop - start), base, _losses(model, hidden, y), model.task))
    return {
        "method": "the group's columns set to their mean over this part, without refitting",
        "scoring": _scoring_name(model.task, None),
        "full": _figure(base.mean(), model.task),
        "rows": rows,
    }


def _losses(model: Model, X: Features, y: NDArray[Any]) -> NDArray[np.float64]:
    outputs = model.outputs(X)
    wrong = np.abs(outputs - y) if model.task == "regression" else outputs.argmax(axis=1) != y
    return np.asarray(wrong, np.float64)


def _figure(loss: Any, task: str) -> float:
    return float(loss) if task == "regression" else 1 - float(loss)


def _group_row(
    name: str,
    columns: int,
    base: NDArray[np.float64],
    without: NDArray[np.float64],
    task: str,
    weight: NDArray[np.float64] | None = None,
) -> dict[str, Any]:
    weight = np.full(len(base), 1 / len(base)) if weight is None else weight
    lead = without - base
    return {
        "group": name,
        "columns": columns,
        "without": _figure(without @ weight, task),
        "loss": float(lead @ weight),
        "loss_ci95": list(mean_interval(lead, weight)),
    }


def _scoring_name(task: str, training: TrainingSet | None) -> str:
    if task == "regression":
        return "mean absolute error"
    return "balanced accuracy" if training is not None and training.unequal else "accuracy"


class Refits:
    """Refits of a model's recipe on some training images, by cross-validation: what ``fit --report`` adds.

    Args:
        job: data, split and task.
        recipe: with every choice filled in.
    """

    def __init__(self, job: Job, recipe: Recipe) -> None:
        self.job, self.recipe = job, recipe
        self.images = np.sort(job.order()[:IMAGES])

    def possible(self) -> bool:
        """Whether there is something to hold out, something to leave out, and a head that is fitted in seconds."""
        groups = fold_groups(self.job.split, self.images)
        return not isinstance(self.recipe.head, DummySettings | HybridSettings) and can_cross_validate(
            self.job.task.y[self.images], groups, self.job.task.kind
        )

    def run(self) -> dict[str, Any]:
        """``groups`` and ``easier`` of a report."""
        featurizer = fit_featurizer(self.recipe, self.job.dataset, self.job.train)
        found = self._features(featurizer)
        y, widths = self._y(found.kept), featurizer.group_widths
        base = self._choose(found.X.copy(), y, widths, found.kept)
        easier = self._easier(found.X, y, widths, found.kept, base, featurizer.gray)
        return {"groups": self._groups(found.X, y, widths, found.kept, base), "easier": easier}

    def _features(self, featurizer: Featurizer) -> Extraction:
        return extract(
            self.job.dataset,
            self.images,
            featurizer,
            self.job.jobs,
            self.job.progress,
            "features for the report",
            with_copies=self.recipe.train.mirror is True,
        )

    def _y(self, kept: NDArray[np.intp]) -> NDArray[Any]:
        y = self.job.task.y[kept]
        return y if self.job.task.kind == "regression" else np.unique(y, return_inverse=True)[1]

    def _training(
        self, X: Features, y: NDArray[Any], widths: Sequence[int], kept: NDArray[np.intp]
    ) -> TrainingSet:
        return TrainingSet(X, y, fold_groups(self.job.split, kept), widths, self.job.task.kind, self.job.seed)

    def _choose(
        self,
        X: Features,
        y: NDArray[Any],
        widths: Sequence[int],
        kept: NDArray[np.intp],
        head: Head | None = None,
    ) -> Choice:
        return choose(head or self.recipe.head, self._training(X, y, widths, kept), Effort(max_samples=None))

    def _loss(self, choice: Choice) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Loss and weight of each held-out image."""
        kind = self.job.task.kind
        return held_out_losses(choice, kind, kind == "classification" and are_unequal(choice.y))

    def _groups(
        self, X: Features, y: NDArray[Any], widths: Sequence[int], kept: NDArray[np.intp], base: Choice
    ) -> dict[str, Any]:
        if len(widths) < 2:
            return {}
        loss, weight = self._loss(base)
        edges = np.cumsum([0, *widths])
        rows = []
        for i, name in enumerate(feature_groups(self.recipe)):
            rest = np.ascontiguousarray(np.delete(X, slice(edges[i], edges[i + 1]), axis=1))
            head = without_extractor(self.recipe.head, i)
            without = self._choose(rest, y, [*widths[:i], *widths[i + 1 :]], kept, head)
            rows.append(_group_row(name, widths[i], loss, self._loss(without)[0], self.job.task.kind, weight))
        return {
            "method": f"refitted without the group, cross-validated on {len(kept)} training images",
            "scoring": _scoring_name(self.job.task.kind, self._training(X, y, widths, kept)),
            "full": _figure(loss @ weight, self.job.task.kind),
            "rows": rows,
        }

    def _easier(
        self,
        X: Features,
        y: NDArray[Any],
        widths: Sequence[int],
        kept: NDArray[np.intp],
        base: Choice,
        gray: bool,
    ) -> dict[str, Any]:
        rows = [] if gray else self._gray(base, y)
        rows += self._one_against_rest(X, y, widths, kept, base)
        note = f"cross-validated on {len(kept)} training images" + (
            "; the images are gray already" if gray else ""
        )
        return {"note": note, "rows": rows} if rows else {}

    def _gray(self, base: Choice, y: NDArray[Any]) -> list[dict[str, Any]]:
        """The same recipe on gray images."""
        recipe = msgspec.structs.replace(
            self.recipe, image=msgspec.structs.replace(self.recipe.image, color="gray")
        )
        try:
            featurizer = fit_featurizer(recipe, self.job.dataset, self.job.train)
        except ClassicCVError:
            return []
        found = self._features(featurizer)
        choice = self._choose(found.X, y, featurizer.group_widths, found.kept)
        loss, weight = self._loss(choice)
        before, _ = self._loss(base)
        regression = self.job.task.kind == "regression"
        color = shadow_of(
            self.job, fit_featurizer(self.recipe, self.job.dataset, self.job.train), self.recipe
        )
        shadow = shadow_of(self.job, featurizer, recipe)
        interval = mean_interval(loss if regression else 1 - loss, weight)
        return [
            {
                "task": "gray input",
                "score": _figure(loss @ weight, self.job.task.kind),
                "score_name": _scoring_name(self.job.task.kind, self._training(found.X, y, [1], found.kept)),
                "ci95": list(interval),
                "change": float((loss - before) @ weight) * (1 if regression else -1),
                "detail": f'{shadow.ms:.2f} ms per image in place of {color.ms:.2f} (color = "gray" in [image])',
            }
        ]

    def _one_against_rest(
        self, X: Features, y: NDArray[Any], widths: Sequence[int], kept: NDArray[np.intp], base: Choice
    ) -> list[dict[str, Any]]:
        """The classes that are recognised least, each against all others."""
        if self.job.task.kind == "regression" or len(np.unique(y)) < 3:
            return []
        loss, _ = self._loss(base)
        recall = {k: 1 - float(loss[base.y == k].mean()) for k in np.unique(base.y).tolist()}
        present = np.unique(self.job.task.y[kept])
        rows = []
        for k in sorted(recall, key=lambda k: recall[k])[:ONE_AGAINST_REST]:
            name = self.job.task.class_names[int(present[k])]
            choice = self._choose(X.copy(), (y == k).astype(np.intp), widths, kept)
            hit = (choice.scores > 0) == choice.y
            counts = np.bincount(choice.y, minlength=2)
            weight = 1 / (2 * counts[choice.y])
            rows.append(
                {
                    "task": f"{name} or {rest_of(name)}",
                    "score": float(hit @ weight),
                    "score_name": "balanced accuracy",
                    "ci95": list(mean_interval(hit.astype(np.float64), weight)),
                    "detail": f"recall among all classes {100 * recall[k]:.1f} % (--positive {name})",
                }
            )
        return rows
