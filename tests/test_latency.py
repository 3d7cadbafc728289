"""Latency in a fresh process: what is handed over, what is left behind, and what happens where it cannot be."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from classic_cv import _latency, fitting
from classic_cv._latency import (
    ATTEMPTS,
    FAR,
    IMAGES,
    MODEL,
    RETRIES,
    Encoded,
    fresh_latency,
    import_path,
    read_images,
    settled,
    write_images,
)
from classic_cv.errors import ImageError, LatencyError
from classic_cv.fitting import Job, check_latency, fit, latency_in_use, make_job
from classic_cv.model import Model

KEYS = ["p50", "p90", "p95", "p99"]
FOUND = {"p50": 1.0, "p90": 2.0, "p95": 3.0, "p99": 4.0}


@pytest.fixture(scope="module")
def encoded(faces: Path) -> list[Encoded]:
    return [path.read_bytes() for path in sorted((faces / "test").rglob("*.png"))[:8]]


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture(scope="module")
def job(faces: Path) -> Job:
    return make_job(faces, jobs=1)


def program(tmp_path: Path, text: str) -> str:
    """An executable that stands in for Python."""
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_a_fresh_process_measures_the_model(
    model: Model, encoded: list[Encoded], temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The package is found whatever the working directory is, and nothing stays behind.
    monkeypatch.chdir(temporary)
    found = fresh_latency(model, encoded)
    assert found is not None
    assert list(found) == KEYS
    assert 0 < found["p50"] <= found["p90"] <= found["p95"] <= found["p99"]
    assert list(temporary.iterdir()) == []


def test_pixels_are_measured_and_unreadable_images_left_out(model: Model, encoded: list[Encoded]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 40, 30, 3), dtype=np.uint8)
    images: list[Encoded] = [b"no image", *encoded[:2], pixels[0], pixels[1, :, :, 0], b""]
    assert fresh_latency(model, images) is not None
    assert fresh_latency(model, [b"no image", b""]) is None
    assert fresh_latency(model, []) is None


def test_images_are_handed_over_byte_for_byte(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    images: list[Encoded] = [
        b"\x89PNG\0\n",
        b"",
        pixels,
        pixels[:, :, 0],
        pixels[::2, ::-1],
        bytes(range(256)),
    ]
    write_images(tmp_path / "images.npz", images)
    back = read_images(tmp_path / "images.npz")
    assert len(back) == len(images)
    for one, other in zip(back, images, strict=True):
        assert type(one) is type(other)
        if isinstance(other, bytes):
            assert one == other
        else:
            np.testing.assert_array_equal(one, other)


def test_the_fresh_process_imports_what_predicting_imports(
    model: Model, encoded: list[Encoded], tmp_path: Path
) -> None:
    (tmp_path / MODEL).write_bytes(model.to_bytes())
    write_images(tmp_path / IMAGES, encoded)
    code = (
        "import sys; from classic_cv._latency import main; main(sys.argv[1], float('inf')); "
        "print([m for m in ('sklearn', 'scipy', 'skimage', 'matplotlib', 'rich', 'classic_cv.fitting', "
        "'classic_cv.search', 'classic_cv.dataset') if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    found, imported = run.stdout.splitlines()
    assert list(json.loads(found)) == KEYS
    assert imported == "[]"


@pytest.mark.parametrize(
    "text",
    ["exit 3", "kill -9 $$", "echo what is this", "true"],
    ids=["fails", "dies", "talks", "says nothing"],
)
def test_a_process_that_gives_no_answer(
    text: str, model: Model, encoded: list[Encoded], tmp_path: Path, temporary: Path
) -> None:
    assert fresh_latency(model, encoded, executable=program(tmp_path, text)) is None
    assert list(temporary.iterdir()) == []


def test_where_no_process_can_be_started(
    model: Model, encoded: list[Encoded], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fresh_latency(model, encoded, executable=str(tmp_path / "none")) is None
    assert fresh_latency(model, encoded, executable="") is None
    monkeypatch.setattr(_latency, "TIMEOUT", 0.1)
    assert fresh_latency(model, encoded, executable=program(tmp_path, "exec sleep 60")) is None
    # A frozen application must not be started again in place of Python.
    started = tmp_path / "started"
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert fresh_latency(model, encoded, executable=program(tmp_path, f"touch {started}")) is None
    assert not started.exists()


INTERRUPTED = """
import sys, tempfile
from classic_cv import load
from classic_cv._latency import fresh_latency
tempfile.tempdir = sys.argv[3]
fresh_latency(load(sys.argv[1]), [b"image"], executable=sys.argv[2])
"""


def test_an_interrupt_ends_the_process_and_removes_its_files(
    model_file: Path, tmp_path: Path, temporary: Path
) -> None:
    note = tmp_path / "pid"
    endless = program(tmp_path, f"echo $$ > {note}.part; mv {note}.part {note}; exec sleep 600")
    command = [sys.executable, "-c", INTERRUPTED, str(model_file), endless, str(temporary)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True) as parent:
        while not note.exists():
            assert parent.poll() is None
            time.sleep(0.01)
        assert list(temporary.iterdir()) != []
        parent.send_signal(signal.SIGINT)
        _, errors = parent.communicate()
    assert b"KeyboardInterrupt" in errors
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)
    assert list(temporary.iterdir()) == []


def test_the_import_path_is_that_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(Path(_latency.__file__).resolve().parent.parent)
    monkeypatch.setattr(sys, "path", ["", "/one", root, "/two"])
    assert import_path() == ["/one", root, "/two"]
    # Found through the working directory, which may be another by now.
    monkeypatch.setattr(sys, "path", ["", "/one", "/two"])
    assert import_path() == [root, "/one", "/two"]


def replayed(p50: float, p95: list[float]) -> tuple[Callable[[], dict[str, float]], list[float]]:
    """A measurement that gives these 95th percentiles in turn, and those that it has given."""
    given: list[float] = []

    def measure() -> dict[str, float]:
        given.append(p95[len(given)])
        return {"p50": p50, "p95": given[-1]}

    return measure, given


@pytest.mark.parametrize(
    ("limit", "p50", "p95", "best", "n"),
    [
        (math.inf, 0.5, [3.0, 1.0, 2.0], 1.0, ATTEMPTS),
        (1.0, 0.5, [3.0, 1.0, 2.0], 1.0, ATTEMPTS),
        (1.0, FAR + 0.1, [FAR + 0.2] * 3, FAR + 0.2, ATTEMPTS),
        (1.0, 0.5, [20.0, 15.0, 25.0, 18.0, 0.9], 0.9, 5),
        (1.0, FAR, [20.0, 15.0, 25.0, *[12.0] * RETRIES], 12.0, ATTEMPTS + RETRIES),
    ],
    ids=["no limit", "kept", "far from it", "kept later", "missed"],
)
def test_measuring_goes_on_until_the_limit_is_kept(
    limit: float, p50: float, p95: list[float], best: float, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_latency, "PAUSE", 0.0)
    measure, given = replayed(p50, p95)
    assert settled(measure, limit) == {"p50": p50, "p95": best}
    assert len(given) == n


def answers(monkeypatch: pytest.MonkeyPatch, found: Any) -> list[tuple[int, float]]:
    """Let the fresh process find this; returns (images, limit) of each call."""
    calls: list[tuple[int, float]] = []

    def fake(model: Model, images: list[Encoded], limit: float) -> Any:
        calls.append((len(images), limit))
        return found

    monkeypatch.setattr(fitting, "fresh_latency", fake)
    return calls


def test_the_limit_is_checked_by_what_the_fresh_process_finds(
    model: Model, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = answers(monkeypatch, FOUND)
    assert check_latency(model, job, 3.0) == FOUND
    with pytest.raises(LatencyError, match=r"^small takes 3\.00 ms .*, more than the 2\.9 ms allowed"):
        check_latency(model, job, 2.9)
    assert calls == [(len(job.train), 3.0), (len(job.train), 2.9)]


def test_without_a_fresh_process_this_one_measures(
    model: Model, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, None)
    assert list(check_latency(model, job, 1e6)) == KEYS
    with pytest.raises(LatencyError):
        check_latency(model, job, 1e-6)


def test_unreadable_images_are_not_handed_over(
    model: Model, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = type(job.dataset).read

    def failing(dataset: Any, index: int, *rest: Any) -> bytes | NDArray[np.uint8]:
        if index % 2:
            raise ImageError(dataset.names[index], "permission denied")
        return read(dataset, index, *rest)

    monkeypatch.setattr(type(job.dataset), "read", failing)
    calls = answers(monkeypatch, FOUND)
    assert latency_in_use(model, job.dataset, np.arange(20)) == FOUND
    assert calls == [(10, math.inf)]
    answers(monkeypatch, None)
    assert list(latency_in_use(model, job.dataset, np.arange(20))) == KEYS
    with pytest.raises(ImageError, match="none of 10 sampled"):
        latency_in_use(model, job.dataset, np.arange(1, 20, 2))


def test_with_a_limit_the_report_has_the_latency_of_the_fresh_process(
    faces: Path, small_recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = answers(monkeypatch, FOUND)
    limited = fit(faces, small_recipe, jobs=1, latency_limit=5.0)
    assert limited.report is not None
    assert limited.report["test"]["latency_ms"] == FOUND
    assert [limit for _, limit in calls] == [5.0, math.inf]
    free = fit(faces, small_recipe, jobs=1)
    assert free.report is not None
    assert free.report["test"]["latency_ms"] != FOUND
    assert len(calls) == 2
