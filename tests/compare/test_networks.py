"""Networks in the harness: trained, quantised, brought along; and answers that are brought along."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from classic_cv.compare.entries import parse_entry
from classic_cv.compare.harness import Done, Harness, Run
from tests.compare.conftest import MakeHarness

pytest.importorskip("torch")


BUDGET = 7.0
"""CPU seconds: some ten epochs of forty discs."""


def go(harness: Harness, contestant: str, budget: float = BUDGET) -> Done:
    return harness.run(Run(parse_entry(contestant), budget, 0, harness.arena.train))


def test_a_network_its_twin_and_the_same_file_brought_along(
    discs: Path, make_harness: MakeHarness, tmp_path: Path
) -> None:
    harness = make_harness(discs)
    plain = go(harness, "timm:resnet10t:scratch")
    assert plain.result["outcome"] in ("ok", "undertrained"), plain.result["message"]
    assert plain.result["fit_cpu_seconds"] <= 1.05 * BUDGET
    assert plain.result["history"]
    assert plain.accuracy is not None
    twin = go(harness, "timm:resnet10t:scratch:int8")
    assert twin.result["outcome"] in ("ok", "undertrained"), twin.result["message"]
    # It is charged the training of its network, and is a quarter of its size.
    assert twin.result["fit_cpu_seconds"] > plain.result["fit_cpu_seconds"]
    assert [twin.result[key] for key in ("n_fit", "epochs")] == [
        plain.result[key] for key in ("n_fit", "epochs")
    ]
    sizes = [(one.slot.model / "network.onnx").stat().st_size for one in (plain, twin)]
    assert sizes[1] < 0.4 * sizes[0]
    assert twin.accuracy == pytest.approx(plain.accuracy, abs=0.1)
    own = tmp_path / "mine.onnx"
    shutil.copyfile(plain.slot.model / "network.onnx", own)
    given = go(harness, f"mine=onnx:{own}")
    assert given.result["outcome"] == "ok", given.result["message"]
    assert given.result["fit_cpu_seconds"] is None
    assert given.probabilities is not None
    assert plain.probabilities is not None
    np.testing.assert_allclose(given.probabilities, plain.probabilities, atol=1e-4)
    harness.time([plain, given], 1, 10)
    assert plain.result["threads"]["onnxruntime"] == 1


def test_a_file_that_is_no_network_fails_by_name(
    discs: Path, make_harness: MakeHarness, tmp_path: Path
) -> None:
    file = tmp_path / "broken.onnx"
    file.write_bytes(b"no network")
    done = go(make_harness(discs), f"onnx:{file}")
    assert done.result["outcome"] == "failed"
    assert "broken.onnx" in done.result["message"]


def test_predictions_are_scored_with_their_own_times(
    discs: Path, make_harness: MakeHarness, tmp_path: Path
) -> None:
    harness = make_harness(discs)
    dataset = harness.arena.dataset
    file = tmp_path / "answers.csv"
    with file.open("w", newline="", encoding="utf-8") as out:
        rows = csv.writer(out)
        rows.writerow(["path", "label", "ms"])
        for k, index in enumerate(harness.tested.tolist()):
            # Right but for the first two.
            label = (
                dataset.targets[index] if k > 1 else {"red": "green", "green": "red"}[dataset.targets[index]]
            )
            rows.writerow([dataset.names[index], label, 7.0])
    done = go(harness, f"predictions:{file}")
    assert done.result["outcome"] == "ok", done.result["message"]
    assert done.accuracy == pytest.approx(18 / 20)
    assert done.result["latency_ms"]["p50"] == 7.0
    assert done.result["log_loss"] is None
    # Nothing is stored that could be asked, so it is not timed.
    harness.time([done], 1, 5)
    assert done.result["latency_ms"]["restarts"] == []


def test_a_part_of_the_images_is_another_run(discs: Path, make_harness: MakeHarness) -> None:
    harness = make_harness(discs)
    run = Run(parse_entry("dummy"), 20.0, 0, harness.arena.train)
    few = replace(run, indices=harness.arena.train[::4], part="few")
    assert harness.run(run).result["n_fit"] == 40
    assert harness.run(few).result["n_fit"] == 10
