"""Sources: those that give classes away are named, and those that cannot, or that say nothing, are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from classic_cv.checks.evidence import Evidence
from classic_cv.checks.finding import Finding
from classic_cv.checks.shortcut_findings import shortcut_findings
from classic_cv.checks.sources import UNKNOWN, find_sources
from classic_cv.checks.subject import Subject
from classic_cv.checks.surveying import read_survey
from classic_cv.fitting import read_job

CLASSES = ("ash", "birch", "cedar")
PER_CLASS = 30


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """Noise in three classes, all of it training images, no EXIF."""
    folder = tmp_path_factory.mktemp("plain")
    rng = np.random.default_rng(0)
    for name in CLASSES:
        for part, n in (("train", PER_CLASS), ("test", 1)):
            (folder / part / name).mkdir(parents=True)
            for number in range(n):
                pixels = rng.integers(256, size=(12, 12, 3), dtype=np.uint8)
                cv2.imwrite(str(folder / part / name / f"{number:02d}.png"), pixels)
    job = read_job(folder, jobs=1)
    return Subject(job, read_survey(job.dataset), None, "not wanted")


def _evidence(subject: Subject, groups: Sequence[str] | None = None, **sources: Sequence[str]) -> Evidence:
    """With these sources of the training images, which are ordered by class."""
    n = len(subject.survey)
    rows = subject.survey.rows(subject.train)
    changed: dict[str, Any] = {}
    for name, values in sources.items():
        changed[name] = np.full(n, "", "U40")
        changed[name][rows] = values
    if groups is not None:
        every = np.full(n, "", "U40")
        every[subject.train] = groups
        subject = replace(subject, job=replace(subject.job, dataset=replace(subject.dataset, groups=every)))
    subject = replace(subject, survey=replace(subject.survey, **changed))
    classes, codes = np.unique(subject.y(subject.train), return_inverse=True)
    found = find_sources(subject, subject.train, codes)
    return Evidence(subject, subject.train, codes, classes, {}, {}, [], [], [], found)


def _findings(
    subject: Subject, groups: Sequence[str] | None = None, **sources: Sequence[str]
) -> list[Finding]:
    return shortcut_findings(_evidence(subject, groups, **sources))


def _each(*per_class: str) -> list[str]:
    return [name for name in per_class for _ in range(PER_CLASS)]


def _in_turn(*names: str) -> list[str]:
    return [names[number % len(names)] for number in range(PER_CLASS * len(CLASSES))]


def test_nothing_known_is_no_source(plain: Subject) -> None:
    assert _evidence(plain).sources == []


def test_a_camera_for_each_class(plain: Subject) -> None:
    [finding] = _findings(plain, camera=_each("Canon A", "Canon B", "Nikon"))
    assert (finding.kind, finding.severity, finding.count) == ("source-camera", "warning", 3)
    assert "3 of 3 classes" in finding.message


def test_a_camera_for_one_class_names_both(plain: Subject) -> None:
    cameras = np.array(_in_turn("Canon", "Nikon"), "U10")
    cameras[PER_CLASS : 2 * PER_CLASS] = "Leica"
    [finding] = _findings(plain, camera=cameras.tolist())
    assert finding.count == 1
    assert "Class birch" in finding.message
    assert "100.0 % of birch have the camera 'Leica'" in finding.message
    assert all(item.note == "class birch" for item in finding.items)


def test_a_class_without_exif_among_others_with(plain: Subject) -> None:
    [finding] = _findings(plain, camera=_each("Canon", "Canon", ""))
    assert "cedar" in finding.message
    assert repr(UNKNOWN) in finding.message


@pytest.mark.parametrize(
    "cameras",
    [
        _in_turn("Canon", "Nikon"),
        [f"camera {number}" for number in range(90)],
        _each("Canon", "Canon", "Canon"),
    ],
    ids=["shared", "each its own", "all the same"],
)
def test_cameras_that_say_nothing(plain: Subject, cameras: list[str]) -> None:
    assert _findings(plain, camera=cameras) == []


def test_days_of_one_class_each_and_their_months_not_twice(plain: Subject) -> None:
    dates = [f"2024-0{1 + number // 30}-0{1 + number % 3}T10:00:{number % 60:02d}" for number in range(90)]
    [finding] = _findings(plain, date=dates)
    assert finding.kind == "source-day"
    assert {source.name for source in _evidence(plain, date=dates).sources} == {"day", "month"}


def test_months_of_which_every_day_has_one_image(plain: Subject) -> None:
    dates = [f"2024-0{1 + number // 30}-{1 + number % 30:02d}T10:00:00" for number in range(90)]
    dates = [date.replace("2024-02-30", "2024-02-01") for date in dates]
    [finding] = _findings(plain, date=dates)
    assert finding.kind == "source-month"


def test_folders_within_a_class_are_kinds_of_it(plain: Subject) -> None:
    """Varieties of a tree, each in a folder of its own, are what the class is about."""
    kinds = [f"{name} {number % 3}" for name in CLASSES for number in range(PER_CLASS)]
    evidence = _evidence(plain, folder=kinds)
    assert evidence.sources[0].shared == 0
    assert shortcut_findings(evidence) == []


def test_folders_that_classes_share_are_places(plain: Subject) -> None:
    folders = np.array(_in_turn("north", "south"), "U10")
    folders[PER_CLASS : 2 * PER_CLASS] = "studio"
    [finding] = _findings(plain, folder=folders.tolist())
    assert finding.kind == "source-folder"
    assert "'studio'" in finding.message


def test_groups_of_the_data_are_good_to_know(plain: Subject) -> None:
    groups = [f"{name} {number % 4}" for name in CLASSES for number in range(PER_CLASS)]
    [finding] = _findings(plain, groups)
    assert (finding.kind, finding.severity) == ("source-group", "info")
