"""Whether a larger input helps: images whose classes only their details tell apart, and others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from classic_cv.checks.finding import Checked
from classic_cv.checks.input_size import LEAST_IMAGES, check_input_size
from classic_cv.checks.subject import Subject

Make = Callable[[Path], Subject]


def stripes(path: Path, period: int, side: int, n: int = 260) -> Path:
    """Upright and level stripes, with noise, and a phase by lot."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    phase = rng.integers(0, period, n)
    waves = np.where((np.arange(side)[None] + phase[:, None]) % period < period // 2, 40, -40)
    images = np.repeat(waves[:, None, :], side, axis=1)
    images[y == 1] = images[y == 1].transpose(0, 2, 1)
    images = (images + rng.normal(128, 25, images.shape)).clip(0, 255).astype(np.uint8)
    np.savez(
        path, train_images=images[:-30], train_labels=y[:-30], test_images=images[-30:], test_labels=y[-30:]
    )
    return path


def checked(subject: Subject) -> Checked:
    assert subject.reference is not None
    return check_input_size(subject, subject.reference)


def test_a_larger_input_that_shows_more_is_told(tmp_path: Path, subject_of: Make) -> None:
    # Stripes of 2 pixels are one pixel at the reference's 32: gradients over two pixels do not see them.
    found = checked(subject_of(stripes(tmp_path / "fine.npz", period=4, side=64)))
    rows = {row["size"]: row for row in found.figures["limits"]["input_size"]["rows"]}
    assert sorted(rows) == [16, 32, 64]
    assert rows[32]["difference"] is None
    assert rows[64]["difference"] == pytest.approx(rows[64]["accuracy"] - rows[32]["accuracy"])
    assert rows[64]["difference_ci95"][0] > 0.1
    (finding,) = found.findings
    assert (finding.check, finding.kind, finding.severity) == ("limits", "larger-input", "info")
    assert "at 64 pixels" in finding.message


def test_one_that_shows_nothing_more_is_not(tmp_path: Path, subject_of: Make) -> None:
    found = checked(subject_of(stripes(tmp_path / "coarse.npz", period=32, side=64)))
    assert found.findings == []
    rows = found.figures["limits"]["input_size"]["rows"]
    assert rows[-1]["size"] == 64
    assert abs(rows[-1]["difference"]) < 0.05
    assert found.figures["limits"]["input_size"]["note"].startswith("cross-validated on")


def test_images_are_not_enlarged(digits_subject: Subject) -> None:
    found = checked(digits_subject).figures["limits"]["input_size"]
    assert found["rows"] == []
    assert "8 pixels at the shorter side" in found["note"]


def test_few_images_are_left_out(faces_subject: Subject) -> None:
    reference = faces_subject.reference
    assert reference is not None
    few = replace(reference, train=reference.train[: LEAST_IMAGES - 150])
    assert "too few" in check_input_size(faces_subject, few).figures["limits"]["input_size"]["note"]


def test_what_takes_too_long_is_left_out(
    tmp_path: Path, subject_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = subject_of(stripes(tmp_path / "fine.npz", period=4, side=64))
    monkeypatch.setattr("classic_cv.checks.input_size.SECONDS", 0.0)
    note = checked(subject).figures["limits"]["input_size"]["note"]
    assert note.startswith("left out for time")


def test_images_are_halved_until_time_suffices(
    tmp_path: Path, subject_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = subject_of(stripes(tmp_path / "many.npz", period=4, side=64, n=480))
    notes = []
    # 450 training images at three sizes: 4.05 s, and half of them 2.03 s, whatever else the machine does.
    monkeypatch.setattr("classic_cv.checks.input_size._seconds_per_image", lambda *_: 0.003)
    for seconds in (3.9, 2.1, 1.5):
        monkeypatch.setattr("classic_cv.checks.input_size.SECONDS", seconds)
        notes.append(checked(subject).figures["limits"]["input_size"]["note"])
    assert notes[0] == notes[1] == "cross-validated on 225 training images"
    assert notes[2].startswith("left out for time")
