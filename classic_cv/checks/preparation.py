"""What comes before the checks: the data is read, split and surveyed, and the reference is fitted."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from classic_cv.checks.reference import fit_reference
from classic_cv.checks.subject import Subject
from classic_cv.checks.surveying import read_survey
from classic_cv.dataset import Dataset, load_dataset, make_split
from classic_cv.errors import ClassicCVError, DatasetError, ParameterError
from classic_cv.extraction import Progress
from classic_cv.fitting import Job
from classic_cv.recipe import Recipe
from classic_cv.task import TaskName, make_task, strata_of


def make_job(
    data: str | Path | Dataset,
    target: str | None = None,
    task: TaskName = "auto",
    positive: str | None = None,
    seed: int = 0,
    jobs: int = -1,
    test_fraction: float = 0.2,
    progress: Progress | None = None,
) -> Job:
    """Read and split the data; what a fit would refuse is to be found here.

    Raises:
        ParameterError: no threads, ``jobs=0``.
        ClassicCVError: the data cannot be read at all.
    """
    if jobs == 0:
        raise ParameterError("jobs=0: expected -1 for all cores, or at least 1")
    dataset = data if isinstance(data, Dataset) else load_dataset(data, target=target)
    decided = make_task(dataset, task, positive)
    split = make_split(dataset, test_fraction=test_fraction, seed=seed, stratify=strata_of(dataset, decided))
    train = np.sort(np.concatenate([split.train, split.val]))
    return Job(dataset, split, decided, train, seed, test_fraction, 1.0, jobs, time.perf_counter(), progress)


def survey_and_fit(job: Job, folder: Path, recipe: Recipe | None = None) -> Subject:
    """Look at every image once, and fit the reference where that can be done.

    Args:
        job: data, split and task.
        folder: for files of the moment, empty; the caller removes it.
        recipe: of the reference; chosen by the data without.

    Raises:
        DatasetError: no image can be decoded.
    """
    survey = read_survey(job.dataset, job.jobs, job.progress)
    if not len(survey):
        first = survey.problems[0]
        raise DatasetError(
            f"{job.dataset.path}: none of its {len(job.dataset):,} images can be decoded; the first: "
            f"{first.source}: {first.reason}"
        )
    reference, reason = None, ""
    try:
        reference = fit_reference(job, survey.indices, folder, recipe)
    except ClassicCVError as error:
        reason = str(error)
    return Subject(job, survey, reference, reason)
