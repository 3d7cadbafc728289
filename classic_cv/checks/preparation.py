"""What comes before the checks: every image is looked at once, and the reference is fitted."""

from __future__ import annotations

from pathlib import Path

from classic_cv.checks.reference import fit_reference
from classic_cv.checks.subject import Subject
from classic_cv.checks.surveying import read_survey
from classic_cv.errors import ClassicCVError, DatasetError
from classic_cv.fitting import Job
from classic_cv.recipe import Recipe


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
