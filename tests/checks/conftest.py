"""Real data with its survey and its best classical model, for the tests of all checks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from classic_cv.checks.preparation import survey_and_fit
from classic_cv.checks.subject import Subject
from classic_cv.fitting import read_job
from classic_cv.recipe import load_recipe

Make = Callable[[Path], Subject]


@pytest.fixture(scope="session")
def subject_of(tmp_path_factory: pytest.TempPathFactory, small_recipe: Path) -> Make:
    """The subject that data make: read, split, surveyed, with a small reference where one can be fitted."""

    def make(data: Path) -> Subject:
        return survey_and_fit(
            read_job(data, jobs=1), tmp_path_factory.mktemp("subject"), load_recipe(small_recipe)
        )

    return make


@pytest.fixture(scope="session")
def digits_subject(digits: Path, subject_of: Make) -> Subject:
    """scikit-learn's digits: ten classes, 8x8 pixels, no color."""
    return subject_of(digits)


@pytest.fixture(scope="session")
def faces_subject(faces: Path, subject_of: Make) -> Subject:
    """scikit-image's faces: two classes of 100 images."""
    return subject_of(faces)
