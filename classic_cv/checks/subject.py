"""What is checked: the data with its split and task, the survey of its images, and the best classical model on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.reference import Reference
from classic_cv.checks.survey import Survey
from classic_cv.dataset import Dataset
from classic_cv.fitting import Job


@dataclass(frozen=True, eq=False)
class Subject:
    """The input of every check.

    Attributes:
        job: data, split, task, seed, jobs, progress; ``job.train`` holds the training and the validation part.
        survey: of all images that can be decoded.
        reference: the best classical model and what it says of every image; None where none can be fitted.
        no_reference: why there is none; empty where there is one.
    """

    job: Job
    survey: Survey
    reference: Reference | None
    no_reference: str

    @property
    def dataset(self) -> Dataset:
        """The data."""
        return self.job.dataset

    @property
    def is_classification(self) -> bool:
        """Whether the target is a class, not a number."""
        return self.job.task.kind == "classification"

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of a classification, by class number."""
        return self.job.task.class_names

    @property
    def train(self) -> NDArray[np.intp]:
        """Positions in the data set of the training images that can be decoded, ascending."""
        return self._decoded(self.job.train)

    @property
    def test(self) -> NDArray[np.intp]:
        """Positions in the data set of the test images that can be decoded, ascending."""
        return self._decoded(self.job.split.test)

    def y(self, indices: NDArray[np.intp]) -> NDArray[np.int64]:
        """Class numbers into ``class_names``, or the numbers of a regression, of images by their positions."""
        found: NDArray[np.int64] = self.job.task.y[indices]
        return found

    def groups(self, indices: NDArray[np.intp]) -> NDArray[np.int64]:
        """Images with the same number must stay on one side of a split: copies, and the data's own groups."""
        return self.job.split.groups[indices]

    def _decoded(self, indices: NDArray[np.integer]) -> NDArray[np.intp]:
        return self.survey.indices[self.survey.rows(indices)]
