"""Somebody else's predictions for the test images: what they are worth, and against the classical model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.finding import Checked, Finding
from classic_cv.checks.given_trust import calibration, label_suspects, leakage
from classic_cv.checks.segments import segment_findings, weak_segments
from classic_cv.checks.subject import Subject
from classic_cv.checks.wording import p_value
from classic_cv.compare.paired import differences
from classic_cv.compare.predictions import GivenPredictions, read_predictions
from classic_cv.compare.result import Result
from classic_cv.compare.wording import points, points_interval
from classic_cv.dataset import Dataset
from classic_cv.errors import DatasetError, ImageError
from classic_cv.fitting import Job
from classic_cv.images import read_header
from classic_cv.metrics import classification_metrics
from classic_cv.report import accuracy_text, percent
from classic_cv.stats import smallest_difference

CHECK = "predictions"

OF_PROBABILITIES = ("log_loss", "log_loss_ci95", "ece", "ece_noise", "reliability")
"""Figures that labels alone do not give."""


@dataclass(frozen=True, eq=False)
class Given:
    """Predictions of a file.

    Attributes:
        name: of the file.
        indices: intp (n,), positions in the data set of the test images, ascending.
        labels: int64 (n,), class numbers.
        probabilities: float32 (n, n_classes), rows sum to 1; None where the file has labels only.
        notes: sentences on what is not used.
    """

    name: str
    indices: NDArray[np.intp]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32] | None
    notes: tuple[str, ...] = ()

    def of(self, indices: NDArray[np.intp]) -> Given:
        """Of those images only that are among the positions ``indices``, which are ascending."""
        kept = np.isin(self.indices, indices)
        probabilities = None if self.probabilities is None else self.probabilities[kept]
        return Given(self.name, self.indices[kept], self.labels[kept], probabilities, self.notes)


def read_given(job: Job, file: Path) -> Given | None:
    """The predictions of a CSV file, see ``read_predictions``; to be called before any long work.

    Images that can be told to be damaged by their header need no row.

    Returns:
        None where there is nothing to predict: no test part, or a target that is a number.

    Raises:
        DatasetError: the file cannot be used; the message names the line or the images.
    """
    test = np.asarray(job.split.test, np.intp)
    if job.task.kind != "classification" or len(test) == 0:
        return None
    try:
        found = _read(job, file, test)
    except DatasetError:
        readable = np.array([_has_header(job.dataset, index) for index in test.tolist()], np.bool_)
        if readable.all() or not readable.any():
            raise
        test = test[readable]
        found = _read(job, file, test)
    return Given(file.name, test, found.labels, found.probabilities, found.notes)


def check_predictions(subject: Subject, given: Given | None, leaked: NDArray[np.integer]) -> Checked:
    """Predictions for the test images: figures, calibration, weak segments, labels, leakage, the classical model.

    Args:
        subject: the data; its reference is what the predictions have to beat.
        given: of ``read_given``.
        leaked: positions in the data set of the test images that have copies in training.
    """
    if given is not None:
        given = given.of(subject.test)
    if given is None or len(given.indices) == 0:
        return Checked(left_out={CHECK: _nothing_to_check(subject)})
    y = subject.y(given.indices)
    right = given.labels == y
    figures: dict[str, Any] = {"file": given.name, "metrics": metrics(given, y, subject.class_names)}
    figures["notes"] = list(given.notes)
    checked = Checked(figures={CHECK: figures})
    is_leaked = np.isin(given.indices, leaked)
    for name, (told, findings) in {
        "calibration": calibration(given.name, given.probabilities, y),
        "leakage": leakage(given.name, given.indices, right, is_leaked, y),
        "label_errors": label_suspects(subject, given.indices, given.labels, given.probabilities),
    }.items():
        figures[name] = told
        checked.findings += findings
    _add_segments(checked, subject, given, y)
    _add_difference(checked, subject, given, right, is_leaked)
    return checked


def metrics(given: Given, y: NDArray[np.int64], class_names: Sequence[str]) -> dict[str, Any]:
    """Figures as of ``classification_metrics``; those of probabilities are None where there are labels only.

    Where a file gives a label beside probabilities the label is the answer, whatever is the most probable class.
    """
    one_hot = np.eye(len(class_names), dtype=np.float32)[given.labels]
    if given.probabilities is None:
        return classification_metrics(y, one_hot, class_names) | dict.fromkeys(OF_PROBABILITIES)
    found = classification_metrics(y, given.probabilities, class_names)
    if (given.probabilities.argmax(axis=1) == given.labels).all():
        return found
    return classification_metrics(y, one_hot, class_names) | {name: found[name] for name in OF_PROBABILITIES}


def against_reference(subject: Subject, given: Given, right: NDArray[np.bool_]) -> dict[str, Any] | None:
    """The accuracy of predictions less the classical model's on the test images that both answer, paired.

    Returns:
        ``n, value, ci95, p`` (McNemar's exact), ``wins, losses, claim`` (``better``, ``worse``, ``no difference shown``
        or ``none``), ``accuracy, reference, reference_accuracy`` and ``smallest``: the least difference that so many
        images show in 80 of 100 cases. None where there is no such image or no model.
    """
    reference = subject.reference
    if reference is None:
        return None
    common, mine, theirs = np.intersect1d(given.indices, reference.test, return_indices=True)
    if len(common) == 0:
        return None
    a, b = right[mine], reference.outputs_test[theirs].argmax(axis=1) == subject.y(common)
    (found,) = differences([_result(given.name, "given", a)], _result(reference.recipe.name, "classical", b))
    wins, losses = found["wins"], found["losses"]
    return {
        "n": len(common),
        "value": found["difference"],
        "ci95": found["ci95"],
        "p": found["mcnemar_p"],
        "wins": wins,
        "losses": losses,
        "claim": found["claim"],
        "accuracy": float(a.mean()),
        "reference": reference.recipe.name,
        "reference_accuracy": float(b.mean()),
        "smallest": smallest_difference(len(common), (wins + losses) / len(common)),
    }


def verdict(name: str, figures: Mapping[str, Any], no_reference: str) -> str:
    """Whether the predictions beat the classical model, and by how much, in two sentences.

    Args:
        name: of the predictions.
        figures: of ``check_predictions``: ``metrics`` and ``difference``.
        no_reference: why there is no difference; empty where there is one.
    """
    told, found = f"{name} reaches {accuracy_text(figures['metrics'])}.", figures["difference"]
    if found is None:
        return f"{told} There is nothing to compare it with: {no_reference}."
    return f"{told} {_comparison('it', found)}"


def _comparison(name: str, found: Mapping[str, Any]) -> str:
    where = f"On {found['n']:,} test images{' without copies in training' * found['without_leaked']}"
    gap = points(found["value"])
    rival = f"the classical model, {found['reference']} ({percent(found['reference_accuracy'])})"
    size = f"{points_interval(found['ci95'])}, {p_value(found['p'])}"
    if not found["wins"] + found["losses"]:
        return f"{where} {name} is right and wrong on the same images as {rival}."
    if found["claim"] == "better":
        return f"{where} {name} earns {gap} over {rival}: {size}."
    if found["claim"] == "worse":
        return f"{where} {name} loses {gap} to {rival}: {size}."
    side = "ahead of" if found["value"] > 0 else "behind" if found["value"] < 0 else "apart from"
    return f"{where} {name} is {gap} {side} {rival}, which may be chance: {size}."


def _read(job: Job, file: Path, test: NDArray[np.intp]) -> GivenPredictions:
    return read_predictions(file, [job.dataset.names[k] for k in test.tolist()], job.task.class_names)


def _has_header(dataset: Dataset, index: int) -> bool:
    try:
        data = dataset.read(index)
        if isinstance(data, bytes):
            read_header(data)
    except ImageError:
        return False
    return True


def _nothing_to_check(subject: Subject) -> str:
    if not subject.is_classification:
        return "The target is a number: predictions are checked for classes only."
    return "There is no test image that can be decoded and has a prediction."


def _result(name: str, kind: str, right: NDArray[np.bool_]) -> Result:
    return Result({"name": name, "kind": kind, "outcome": "ok"}, right)


def _add_segments(checked: Checked, subject: Subject, given: Given, y: NDArray[np.int64]) -> None:
    rows = subject.survey.rows(given.indices)
    found = weak_segments(given.labels == y, y, subject.class_names, subject.survey, rows)
    checked.figures[CHECK]["segments"] = [one.to_table() for one in found]
    answers = given.labels, given.probabilities
    checked.findings += segment_findings(
        CHECK, given.name, found, given.indices, y, *answers, subject.class_names
    )


def _add_difference(
    checked: Checked, subject: Subject, given: Given, right: NDArray[np.bool_], is_leaked: NDArray[np.bool_]
) -> None:
    """The difference that counts is that without leaked images: both models may only remember these."""
    figures = checked.figures[CHECK]
    whole = against_reference(subject, given, right)
    clean = against_reference(subject, given.of(given.indices[~is_leaked]), right[~is_leaked])
    figures["difference_all"] = whole
    counted = whole if clean is None else clean
    figures["difference"] = counted and counted | {
        "without_leaked": bool(is_leaked.any()) and clean is not None
    }
    reason = subject.no_reference or "the classical model answers none of these images"
    figures["verdict"] = verdict(given.name, figures, reason)
    if counted is not None and counted["claim"] != "better":
        checked.findings.append(_no_better(given.name, figures["difference"]))


def _no_better(name: str, found: Mapping[str, Any]) -> Finding:
    worse = found["claim"] == "worse"
    action = "Use the classical model, or find out what the other one lacks before it is used."
    if not worse and found["smallest"] is not None:
        action = (
            f"Use the cheaper one, or measure on more test images: {found['n']:,} show differences from about "
            f"{points(found['smallest'])}."
        )
    return Finding(
        CHECK,
        "worse-than-classical" if worse else "no-better-than-classical",
        "warning",
        found["n"],
        _comparison(name, found),
        "A model that is not shown to beat a classical one has not shown that it is worth its cost.",
        action,
    )
