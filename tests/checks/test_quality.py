"""Bad images among good ones: planted ones are found, each by its kind, and clean sets are quiet."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow
from skimage import data

from classic_cv.checks.finding import Checked
from classic_cv.checks.quality import check_quality
from classic_cv.checks.subject import Subject
from classic_cv.checks.surveying import read_survey
from classic_cv.fitting import read_job

Pixels = NDArray[np.uint8]
DATA: Any = data
PHOTOS: list[Pixels] = [DATA.astronaut(), DATA.coffee(), DATA.chelsea()]


def crops(count: int, seed: int = 0) -> list[Pixels]:
    """Parts of photos, 160x200."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(count):
        photo = PHOTOS[i % len(PHOTOS)]
        top, left = rng.integers(photo.shape[0] - 160), rng.integers(photo.shape[1] - 200)
        found.append(photo[top : top + 160, left : left + 200])
    return found


def scaled(pixels: Pixels, factor: float, offset: float) -> Pixels:
    return np.asarray(np.clip(pixels * factor + offset, 0, 255), np.uint8)


def gray(pixels: Pixels) -> Pixels:
    return np.asarray(cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8)


def low_information(pixels: Pixels) -> Pixels:
    out = np.full_like(pixels, 200)
    out[70:80, 90:120] = 20
    return out


PLANTED: dict[str, Callable[[Pixels], Pixels]] = {
    "dark": lambda pixels: scaled(pixels, 0.15, 0),
    "bright": lambda pixels: scaled(pixels, 0.09, 233),
    "low-contrast": lambda pixels: scaled(pixels, 0.06, 120),
    "blurred": lambda pixels: np.asarray(cv2.GaussianBlur(pixels, (0, 0), 6), np.uint8),
    "low-information": low_information,
    "odd-aspect": lambda pixels: np.tile(pixels[:50], (1, 3, 1)),
    "odd-size": lambda pixels: np.asarray(
        cv2.resize(pixels, (40, 32), interpolation=cv2.INTER_AREA), np.uint8
    ),
    "gray-among-color": gray,
}


def checked(root: Path, images: list[Pixels]) -> tuple[Checked, Subject]:
    for i, pixels in enumerate(images):
        folder = root / ("a" if i % 2 else "b")
        folder.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(pixels).save(folder / f"{i}.png")
    job = read_job(root, jobs=1)
    subject = Subject(job, read_survey(job.dataset), None, "not needed")
    return check_quality(subject), subject


def flagged(found: Checked, subject: Subject) -> dict[str, set[str]]:
    return {
        finding.kind: {Path(subject.dataset.names[item.indices[0]]).stem for item in finding.items}
        for finding in found.findings
    }


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checked, Subject, list[str]]:
    """60 crops, and then one image with each fault, the same of two photos."""
    faults = [kind for kind in PLANTED for _ in range(2)]
    bad = [PLANTED[kind](pixels) for kind, pixels in zip(faults, crops(len(faults), seed=1), strict=True)]
    return *checked(tmp_path_factory.mktemp("quality"), [*crops(60), *bad]), faults


@pytest.mark.parametrize("kind", PLANTED)
def test_planted_faults_are_found(planted: tuple[Checked, Subject, list[str]], kind: str) -> None:
    found, subject, faults = planted
    expected = {str(60 + i) for i, fault in enumerate(faults) if fault == kind}
    assert expected <= flagged(found, subject)[kind]


def test_clean_images_among_them_are_not(planted: tuple[Checked, Subject, list[str]]) -> None:
    found, subject, _ = planted
    named = set().union(*flagged(found, subject).values())
    assert {name for name in named if int(name) < 60} == set()


def test_findings_tell_figures(planted: tuple[Checked, Subject, list[str]]) -> None:
    found, _, _ = planted
    (dark,) = [finding for finding in found.findings if finding.kind == "dark"]
    figures = found.figures["quality"]["dark"]
    assert dark.severity == "info"
    assert dark.count == len(dark.items) == figures["n"]
    assert dark.message.startswith("2 of 76 images (2.6 %) are dark: brightness of the lightest pixels (99th")
    assert f"below {figures['threshold']:.3g}" in dark.message
    assert figures["threshold"] == min(figures["default"], figures["from_data"])
    assert [item.score for item in dark.items] == sorted((item.score for item in dark.items), reverse=True)
    assert all(
        item.score > 0 and item.note.startswith("brightness of the lightest pixels 0.") for item in dark.items
    )
    json.dumps(found.figures, allow_nan=False)


def test_blank_images_are_a_warning_and_of_no_other_kind(tmp_path: Path) -> None:
    blank = [np.full((160, 200, 3), level, np.uint8) for level in (0, 255)]
    found, subject = checked(tmp_path, [*crops(24), *blank])
    assert flagged(found, subject) == {"low-information": {"24", "25"}}
    assert found.findings[0].severity == "warning"
    assert found.findings[0].message == "2 of 26 images (7.7 %) are blank: all pixels are alike."


@pytest.mark.parametrize("kind", ["dark", "low-contrast", "blurred", "odd-aspect", "gray-among-color"])
def test_a_set_that_is_all_like_that_is_quiet(tmp_path: Path, kind: str) -> None:
    found, subject = checked(tmp_path, [PLANTED[kind](pixels) for pixels in crops(24)])
    assert len(flagged(found, subject).get(kind, set())) <= 1


def test_a_dark_set_of_few_gray_levels_is_quiet(tmp_path: Path) -> None:
    dark = [scaled(pixels, 0, 20) for pixels in crops(40)]
    for i, pixels in enumerate(dark):
        pixels[::2] = 27 if i % 3 else 26
    found, subject = checked(tmp_path, dark)
    assert flagged(found, subject) == {}


def test_few_images_are_judged_by_the_defaults(tmp_path: Path) -> None:
    found, subject = checked(tmp_path, [*crops(3), PLANTED["dark"](crops(4)[3])])
    assert flagged(found, subject)["dark"] == {"3"}
    assert found.figures["quality"]["dark"]["from_data"] is None


def test_images_that_are_all_the_same(tmp_path: Path) -> None:
    found, _ = checked(tmp_path, [crops(1)[0]] * 30)
    assert found.findings == []


def test_digits_are_quiet(digits_subject: Subject) -> None:
    found = check_quality(digits_subject)
    assert sum(finding.count for finding in found.findings) <= 2


def test_no_images() -> None:
    empty: Any = SimpleNamespace(survey=[])
    assert list(check_quality(empty).left_out) == ["quality"]
