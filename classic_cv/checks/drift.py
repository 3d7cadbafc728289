"""Whether training and test part differ by more than chance: in images of the same class, and in the classes' shares.

A classifier is to tell test images from training images by their properties, colors and features (Rabanser, Guennemann
and Lipton, Failing loudly, NeurIPS 2019). Only pairs of images of the same class count, so that other shares of the
classes are not taken for other images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks import small_model
from classic_cv.checks.auc import AUC, auc_with_interval
from classic_cv.checks.finding import Checked, Finding, Item
from classic_cv.checks.label_shift import check_label_shift
from classic_cv.checks.property_drift import check_properties
from classic_cv.checks.reference import Reference
from classic_cv.checks.subject import Subject
from classic_cv.dataset import quantile_bins
from classic_cv.features.base import Features
from classic_cv.heads.scaler import scale_in_place
from classic_cv.subset import nested_order

MARGIN = 0.55
"""The lower end of the AUC's interval above which parts are said to differ. Photos that were taken in series and kept
on one side of a split let a model tell the sides apart a little, and do no harm."""

LARGE = 0.6
"""The lower end above which that is a warning."""

EACH = 1000
"""Images of each part that the classifier looks at: enough for an interval of about 0.03 on either side."""

COMPONENTS = 64

STRATA = 5
"""Ranges of a regression's targets within which images are compared."""

SHOWN = 24
"""Test images that are shown for being unlike the training part."""

FEWEST = 10
"""Images of each part without which nothing is said of how they differ."""


@dataclass(frozen=True, eq=False)
class _Sample:
    """Images of both parts, and what is known of each, by family: float32 (n, any)."""

    indices: NDArray[np.intp]
    is_test: NDArray[np.bool_]
    strata: NDArray[np.int64]
    groups: NDArray[np.int64]
    families: dict[str, Features]

    def told_apart(
        self, families: list[str], seed: int, jobs: int
    ) -> tuple[small_model.OutOfFold, AUC] | None:
        """What a classifier makes of these families; None where nothing can be held out or compared."""
        X = np.hstack([self.families[name] for name in families])
        found = small_model.out_of_fold(X, self.is_test.astype(np.int64), self.groups, seed=seed, jobs=jobs)
        if found is None:
            return None
        rows = found.rows
        auc = auc_with_interval(found.probabilities[:, 1], self.is_test[rows], self.strata[rows])
        return None if auc is None else (found, auc)


def check_drift(subject: Subject) -> Checked:
    """Compares the training part, validation images included, with the test part: images, properties and classes."""
    train, test = subject.train, subject.test
    if not len(train) or not len(test):
        missing = "test" if len(train) else "training"
        return Checked(left_out={"drift": f"There is no {missing} part with images that can be read."})
    strata = strata_of(subject)
    checked = check_label_shift(subject)
    if min(len(train), len(test)) < FEWEST:
        checked.figures["drift"] |= {"auc": None, "properties": []}
        return checked
    checked.add(check_properties(subject, strata))
    checked.add(_check_images(subject, strata))
    return checked


def strata_of(subject: Subject) -> NDArray[np.int64]:
    """Classes, or ranges of a regression's targets, by position in the data set: (len(dataset),)."""
    y = subject.job.task.y
    return y if subject.is_classification else quantile_bins(y, STRATA)


def _check_images(subject: Subject, strata: NDArray[np.int64]) -> Checked:
    """The domain classifier. With few images the AUC of random parts lies a little below 0.5: of a class that is held
    out with more test images than its share, more training images are left to learn from."""
    sample = _sample(subject, strata)
    seed, jobs = subject.job.seed, subject.job.jobs
    told = sample.told_apart(list(sample.families), seed, jobs)
    if told is None:
        return Checked(figures={"drift": {"auc": None}})
    found, auc = told
    figures: dict[str, Any] = {
        "auc": {"value": auc.value, "ci95": [auc.low, auc.high]},
        "n": auc.n_positive + auc.n_negative,
    }
    if auc.low <= MARGIN:
        return Checked(figures={"drift": figures})
    figures["by"] = {}
    for name in sample.families:
        alone = sample.told_apart([name], seed, jobs)
        if alone is not None:
            figures["by"][name] = {"value": alone[1].value, "ci95": [alone[1].low, alone[1].high]}
    return Checked([_finding(sample, found, auc, figures["by"])], {"drift": figures})


def _sample(subject: Subject, strata: NDArray[np.int64]) -> _Sample:
    """At most ``EACH`` images of each part, of all classes in their shares."""
    reference, seed = subject.reference, subject.job.seed
    parts = [subject.train, subject.test]
    if reference is not None:
        parts = [np.intersect1d(parts[0], reference.train), np.intersect1d(parts[1], reference.test)]
    chosen = [
        np.sort(part[nested_order(strata[part], subject.groups(part), seed)[:EACH]]) if len(part) else part
        for part in parts
    ]
    indices = np.concatenate(chosen)
    rows = subject.survey.rows(indices)
    families = {"properties": subject.survey.properties[rows], "colors": subject.survey.color[rows]}
    if reference is not None and len(indices):
        families["features"] = _components(reference, indices, seed)
    is_test = np.arange(len(indices)) >= len(chosen[0])
    return _Sample(indices, is_test, strata[indices], subject.groups(indices), families)


def _components(reference: Reference, indices: NDArray[np.intp], seed: int) -> Features:
    """Principal components of the features of both parts: float32 (n, at most ``COMPONENTS``).

    The reference's embedding will not do: its axes were fitted on training images, which therefore lie farther out
    along them than test images do. On 1,020 random halves of one set of photos that alone gave an AUC of 0.83.
    """
    from sklearn.utils.extmath import randomized_svd

    X = reference.features(indices)
    scale_in_place(getattr(reference.recipe.head, "scale", "groups"), X, reference.featurizer.group_widths)
    X -= X.mean(axis=0)
    left, values, _ = randomized_svd(X, min(COMPONENTS, *X.shape), n_iter=2, random_state=seed)
    return np.asarray(left * values, np.float32)


def _finding(sample: _Sample, found: small_model.OutOfFold, auc: AUC, by: dict[str, Any]) -> Finding:
    most = max(by, key=lambda name: float(by[name]["value"]), default="")
    mostly = f", by their {most} alone {by[most]['value']:.2f}" if most else ""
    rows = found.rows[sample.is_test[found.rows]]
    unlike = found.probabilities[sample.is_test[found.rows], 1]
    ranked = np.argsort(-unlike, kind="stable")[:SHOWN]
    return Finding(
        check="drift",
        kind="parts-differ",
        severity="warning" if auc.low > LARGE else "info",
        count=auc.n_positive,
        message=f"A classifier tells images of the test part from training images of the same class with an AUC of "
        f"{auc.value:.2f} (95 % interval {auc.low:.2f} to {auc.high:.2f}; 0.5 is chance){mostly}.",
        why="A score on a test part that differs from the training part says how well a model bears the difference, "
        "not how well it has learned.",
        action="Look at the test images that are least like training images; find out how the parts were collected, "
        "and split at random or by group if the difference is not meant.",
        items=tuple(
            Item((int(sample.indices[rows[place]]),), float(unlike[place]), "unlike the training part")
            for place in ranked.tolist()
        ),
        scoring="probability of being of the test part",
    )
