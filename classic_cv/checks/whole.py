"""All checks of a data set, one after the other: what ``classic_cv.check`` and the command do."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.artifact import check_writable, write_atomically
from classic_cv.checks.confidence import check_confidence
from classic_cv.checks.drift import check_drift
from classic_cv.checks.files import check_clean_path, clean_rows, findings_csv, write_clean
from classic_cv.checks.finding import CHECKS, Checked, Finding, fails, ordered
from classic_cv.checks.given import check_predictions, read_given
from classic_cv.checks.inventory import check_inventory
from classic_cv.checks.labels import check_labels
from classic_cv.checks.leakage import check_copies
from classic_cv.checks.learning_curve import check_limits
from classic_cv.checks.preparation import survey_and_fit
from classic_cv.checks.quality import check_quality
from classic_cv.checks.reference import Reference
from classic_cv.checks.score import check_score
from classic_cv.checks.segments import check_segments
from classic_cv.checks.shortcuts import check_shortcuts
from classic_cv.checks.subject import Subject
from classic_cv.checks.typical import contact_sheets
from classic_cv.dataset import Dataset
from classic_cv.dataset._sources import printable
from classic_cv.errors import ArtifactError, ClassicCVError, ParameterError
from classic_cv.extraction import Progress
from classic_cv.fitting import Job, read_job, versions
from classic_cv.html_report import needed_pictures, render_check
from classic_cv.insight import thumbnail
from classic_cv.recipe import AUTO, Recipe, load_recipe
from classic_cv.stats import accuracy_interval
from classic_cv.task import MAX_NUMERIC_CLASSES, TaskName, numbers_of

Check = Callable[[Subject], Checked]

CHECKED_IN_ORDER: tuple[tuple[tuple[str, ...], Check], ...] = (
    (("unreadable", "inventory"), check_inventory),
    (("quality",), check_quality),
    (("duplicates", "conflict", "leakage"), check_copies),
    (("labels",), check_labels),
    (("drift",), check_drift),
    (("shortcut",), check_shortcuts),
    (("score",), check_score),
    (("score",), check_segments),
    (("limits",), check_limits),
    (("confidence",), check_confidence),
    (("inventory",), lambda subject: Checked(figures={"inventory": {"sheets": contact_sheets(subject)}})),
)
"""Names of checks, and the function that makes them."""

ALL = "all"
"""Stands for every check."""


@dataclass(frozen=True, eq=False)
class CheckResult:
    """What the checks of a data set found.

    Attributes:
        dataset: that was checked.
        findings: the most severe first.
        record: everything as JSON-like data: ``data, checks, findings, figures, left_out, reference, seconds,
            versions``.
    """

    dataset: Dataset
    findings: tuple[Finding, ...]
    record: dict[str, Any]
    job: Job
    decoded: NDArray[np.intp]

    def failed(self, names: Sequence[str]) -> list[str]:
        """Of the checks named those that have an error or a warning, or that could not be made."""
        return [name for name in names if self.record["checks"].get(name) in ("found", "left out")]

    def csv(self) -> str:
        """The findings as CSV, a row for each file."""
        return findings_csv(self.findings, self.dataset.names)

    def html(self, command: str = "") -> str:
        """The report as the text of one HTML file; the pictures are read now."""
        sheets = self.record["figures"].get("inventory", {}).get("sheets", {})
        pictures = {index: thumbnail(self.dataset, index) for index in needed_pictures(self.findings, sheets)}
        known = {index: pixels for index, pixels in pictures.items() if pixels is not None}
        return render_check({**self.record, "command": command}, self.findings, self.dataset.names, known)

    def dropped(self) -> set[int]:
        """Positions of training and validation images that have a copy in a later part, which is measured on."""
        return set(self.record["figures"].get("leakage", {}).get("leaked_train", ()))

    def write_csv(self, path: Path) -> None:
        """Write ``csv()`` aside, then rename."""
        write_atomically(path, self.csv().encode())

    def write_html(self, path: Path, command: str = "") -> None:
        """Write ``html(command)`` aside, then rename."""
        write_atomically(path, self.html(command).encode())

    def write_clean(self, path: Path) -> int:
        """Write the data without what cannot be read and without copies of test images in training.

        Returns:
            how many images are left.

        Raises:
            ClassicCVError: it cannot be written in this form, or there.
        """
        rows = clean_rows(self.job.split, self.decoded, self.dropped())
        write_clean(path, self.dataset, rows)
        return len(rows)

    def reads_as_numbers(self) -> bool:
        """Whether the classes would be taken for numbers to estimate where a manifest names them."""
        many = len(self.dataset.class_names) > MAX_NUMERIC_CLASSES
        return self.job.task.kind == "classification" and many and numbers_of(self.dataset) is not None


def check(
    data: str | Path | Dataset,
    *,
    predictions: str | Path | None = None,
    recipe: str | Path | Recipe = AUTO,
    target: str | None = None,
    task: TaskName = "auto",
    positive: str | None = None,
    seed: int = 0,
    jobs: int = -1,
    test_fraction: float = 0.2,
    clean: str | Path | None = None,
    progress: Progress | None = None,
) -> CheckResult:
    """Check whether the data are what they seem, and whether a score on them means anything.

    Args:
        data: a folder, manifest or npz file, as ``load_dataset`` takes them, or what it returned.
        predictions: a CSV with somebody else's predictions for the test part, see ``compare.predictions``.
        recipe: of the classical model that everything is compared with: ``auto`` chooses among a few that all images
            can be described with in about a minute; or as ``fit`` takes it.
        target: the manifest column that holds the target.
        task: ``classification`` or ``regression``; ``auto`` decides by the target.
        positive: tell this class from all others.
        seed: of the split and of everything that is drawn.
        jobs: threads; -1 for all cores. The findings do not depend on it.
        test_fraction: share of the images held out when the data has no test part.
        clean: a file that the cleaned data will be written to: it is checked now that it can hold them.
        progress: called with (task, done, total).

    Returns:
        the findings. A check that cannot be made on these data is in ``record["left_out"]`` with the reason.

    Raises:
        ClassicCVError: the data, or the predictions, cannot be read at all.
    """
    started = time.perf_counter()
    fixed = None if recipe == AUTO else recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    job = read_job(
        data,
        target=target,
        task=task,
        positive=positive,
        seed=seed,
        jobs=jobs,
        test_fraction=test_fraction,
        progress=progress,
    )
    if clean is not None:
        check_clean_path(job.dataset, Path(clean))
    given = None if predictions is None else read_given(job, Path(predictions))
    with tempfile.TemporaryDirectory(prefix="classic-cv-", ignore_cleanup_errors=True) as folder:
        subject = survey_and_fit(job, Path(folder), fixed)
        run = _Run(subject)
        for names, make in CHECKED_IN_ORDER:
            run.make(names, make)
        if predictions is not None:
            leaked = run.leaked_test()
            run.make(("predictions",), lambda its: check_predictions(its, given, leaked))
    return _result(run, time.perf_counter() - started)


def check_outputs(read: Sequence[Path], written: Sequence[Path]) -> None:
    """Fail before any work when a file that is read would be overwritten, or one cannot be written.

    Raises:
        ArtifactError: it says which.
    """
    for path in written:
        check_writable(path)
        if any(path.exists() and other.exists() and path.samefile(other) for other in read):
            raise ArtifactError(f"{path}: is read here and would be overwritten; give another name")
        if sum(path.resolve() == other.resolve() for other in written) > 1:
            raise ArtifactError(f"{path}: is to be written twice; give each its own name")


def check_names(names: Sequence[str]) -> list[str]:
    """Names of checks as a user gives them, ``all`` for every one.

    Raises:
        ParameterError: there is no such check.
    """
    if ALL in names:
        return list(CHECKS)
    unknown = [name for name in names if name not in CHECKS]
    if unknown:
        raise ParameterError(f"no check is called {unknown[0]!r}; there are {', '.join(CHECKS)}, or {ALL}")
    return list(dict.fromkeys(names))


class _Run:
    """Checks as they are made, with their seconds."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.checked = Checked()
        self.made: list[str] = []
        self.seconds: dict[str, float] = {}

    def make(self, names: Sequence[str], check: Check) -> None:
        """Make a check of these names; one that fails on odd data leaves the others as they are."""
        start = time.perf_counter()
        try:
            found = check(self.subject)
        except Exception as error:  # of OpenCV, say: what the others took minutes to find is not to be lost
            reason = str(error) if isinstance(error, ClassicCVError) else f"{type(error).__name__}: {error}"
            found = Checked(left_out={name: f"it failed on these data: {reason}" for name in names})
        self.checked.add(found)
        self.made += names
        told, took = " and ".join(names), time.perf_counter() - start
        self.seconds[told] = self.seconds.get(told, 0.0) + took

    def leaked_test(self) -> NDArray[np.intp]:
        """Positions of the test images that have a copy in training."""
        return np.array(self.checked.figures.get("leakage", {}).get("leaked_test", ()), np.intp)


def _result(run: _Run, total: float) -> CheckResult:
    subject, checked = run.subject, run.checked
    job, names = subject.job, subject.dataset.names
    findings = tuple(ordered(checked.findings))
    figures = {name: checked.figures[name] for name in CHECKS if name in checked.figures}
    record = {
        "data": _data(subject),
        "checks": {name: _state(name, findings, checked) for name in CHECKS if name in run.made},
        "findings": [finding.to_table(names) for finding in findings],
        "figures": figures,
        "left_out": checked.left_out,
        "reference": None if subject.reference is None else _reference(subject, subject.reference),
        "seconds": total,
        "seconds_by_check": run.seconds,
        "versions": versions(),
        "seed": job.seed,
        "split_sha256": job.split.fingerprint,
        "notes": [*([job.task.note] if job.task.note else []), *job.dataset.notes, *job.split.notes],
    }
    return CheckResult(subject.dataset, findings, record, job, subject.survey.indices)


def _state(name: str, findings: Sequence[Finding], checked: Checked) -> str:
    if fails(findings, name):
        return "found"
    return "left out" if name in checked.left_out else "passed"


def _data(subject: Subject) -> dict[str, Any]:
    dataset, split = subject.dataset, subject.job.split
    return {
        "path": printable(str(dataset.path)),
        "name": printable(dataset.name),
        "layout": dataset.layout,
        "task": subject.job.task.kind,
        "classes": len(subject.class_names),
        "images": len(dataset),
        "train": len(split.train),
        "val": len(split.val),
        "test": len(split.test),
        "given": split.given,
    }


def _reference(subject: Subject, reference: Reference) -> dict[str, Any]:
    """The recipe and, of a classification, its accuracy on the test part, or out of fold where there is none."""
    table: dict[str, Any] = {
        "recipe": reference.model.recipe.name,
        "recipe_toml": reference.model.recipe.to_toml(),
        "chosen_from": list(reference.chosen_from),
        "seconds": reference.seconds,
        "accuracy": None,
        "ci95": None,
    }
    if subject.is_classification:
        part, outputs = (
            (reference.test, reference.outputs_test)
            if len(reference.test)
            else (reference.train, reference.outputs_train)
        )
        right = int((outputs.argmax(axis=1) == subject.y(part)).sum())
        table |= {"accuracy": right / len(part), "ci95": list(accuracy_interval(right, len(part)))}
    return table
