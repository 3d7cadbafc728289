"""What is gathered to tell shortcuts: small models of parts of the images, single properties, sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks import small_model
from classic_cv.checks.class_groups import Grouping, groupings
from classic_cv.checks.predictive import Part, Separation, parts, property_probabilities, separations
from classic_cv.checks.sources import Source, find_sources
from classic_cv.checks.subject import Subject
from classic_cv.checks.wording import property_amount
from classic_cv.features.base import Features
from classic_cv.subset import nested_order

MOST = 4000
"""Training images that are looked at: an accuracy from them is known to 1.5 points."""

PARTS = ("properties", "color", "border")
"""What a model is given instead of the image; fields of the survey."""

FULL = "full model"
"""The name of the reference among the models."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """How well parts of the images tell their classes, each image answered by models that have not seen it.

    Attributes:
        subject: the data.
        indices: intp (n,), positions in the data set of the training images looked at.
        codes: intp (n,), their classes, positions in ``classes``.
        classes: class numbers of the task.
        models: float (n, n_classes) probabilities from each of ``PARTS``, and from the ``FULL`` model if there is one.
        columns: how many numbers each of them goes by.
        properties: how well each property alone tells each class, the best first.
        parts: images of a class that a property gives away where it does not give away the class.
        groupings: how well each property tells groups of classes.
        sources: where images come from.
    """

    subject: Subject
    indices: NDArray[np.intp]
    codes: NDArray[np.intp]
    classes: NDArray[np.int64]
    models: dict[str, NDArray[np.floating[Any]]]
    columns: dict[str, int]
    properties: list[Separation]
    parts: list[Part]
    groupings: list[Grouping]
    sources: list[Source]

    def class_name(self, code: int) -> str:
        """Of a position in ``classes``."""
        return self.subject.class_names[int(self.classes[code])]

    def right(self, model: str) -> NDArray[np.bool_]:
        """Which images a model gets right: (n,)."""
        found: NDArray[np.bool_] = self.models[model].argmax(axis=1) == self.codes
        return found

    def divided(
        self, name: str, inside: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """A property's values of these images, and of all others."""
        values = property_columns(self.subject, self.indices)[name]
        return values[inside], values[~inside]

    def typical(self, name: str, inside: NDArray[np.bool_]) -> tuple[str, str]:
        """A property's usual value in these images and elsewhere, as text."""
        if name in ("format", "mode"):
            stored = getattr(self.subject.survey, name)[self.subject.survey.rows(self.indices)]
            return most_common(stored[inside]), most_common(stored[~inside])
        first, second = (float(np.median(values)) for values in self.divided(name, inside))
        return property_amount(name, first), property_amount(name, second)

    def border_spread(self, code: int) -> float:
        """How much borders differ among the images of a class, over how much they do among all others."""
        border, inside = columns_of(self.subject, self.indices, "border"), self.codes == code
        return float(border[inside].std(axis=0).mean() / max(border[~inside].std(axis=0).mean(), 1e-9))


def most_common(values: NDArray[np.str_]) -> str:
    """The text that occurs most often; the first by code point where several do."""
    names, counts = np.unique(values, return_counts=True)
    found: list[str] = names.tolist()
    return found[int(counts.argmax())]


def columns_of(subject: Subject, indices: NDArray[np.intp], part: str) -> Features:
    """One of ``PARTS`` of the survey, of images by their positions in the data set."""
    found: Features = getattr(subject.survey, part)[subject.survey.rows(indices)]
    return found


def property_columns(subject: Subject, indices: NDArray[np.intp]) -> Mapping[str, NDArray[np.float32]]:
    """The survey's properties of images by name, and their longer and shorter side in pixels.

    Images that were all scaled to one longer side differ in width and height all the same.
    """
    survey = subject.survey
    rows = survey.rows(indices)
    sides = np.stack([survey.width[rows], survey.height[rows]]).astype(np.float32)
    columns = dict(zip(survey.property_names, survey.properties[rows].T, strict=True))
    return columns | {"longer_side": sides.max(axis=0), "shorter_side": sides.min(axis=0)}


def gather(subject: Subject) -> Evidence | None:
    """Fit the small models; None where nothing can be held out."""
    known = subject.train if subject.reference is None else subject.reference.train
    seed = subject.job.seed
    if not len(known):
        return None
    known = np.sort(known[nested_order(subject.y(known), subject.groups(known), seed)[:MOST]])
    y, groups = subject.y(known), subject.groups(known)
    classes, codes = np.unique(y, return_inverse=True)
    fold = small_model.folds(codes, groups, seed) if len(classes) > 1 else None
    if fold is None:
        return None
    told = fold >= 0
    models = dict(_models(subject, known, y, groups))
    single = {
        name: property_probabilities(column, codes, fold)[told]
        for name, column in property_columns(subject, known).items()
    }
    columns = {part: columns_of(subject, known, part).shape[1] for part in PARTS}
    indices = known[told]
    if subject.reference is not None:
        rows = np.searchsorted(subject.reference.train, indices)
        models[FULL] = subject.reference.outputs_train[rows][:, classes]
        columns[FULL] = subject.reference.features(indices[:1]).shape[1]
    return Evidence(
        subject,
        indices,
        codes[told],
        classes,
        models,
        columns,
        separations(list(single), list(single.values()), codes[told]),
        [part for name, one in single.items() for part in parts(name, one, codes[told], len(single))],
        groupings(property_columns(subject, indices), codes[told]),
        find_sources(subject, indices, codes[told]),
    )


def _models(
    subject: Subject, indices: NDArray[np.intp], y: NDArray[np.int64], groups: NDArray[np.int64]
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    for part in PARTS:
        X = columns_of(subject, indices, part)
        found = small_model.out_of_fold(X, y, groups, seed=subject.job.seed, jobs=subject.job.jobs, most=MOST)
        if found is not None:
            yield part, found.probabilities
