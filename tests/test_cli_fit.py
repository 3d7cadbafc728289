"""``classic-cv fit`` and what follows it, as a user meets it: limits, tasks, reports, the same model again."""

from __future__ import annotations

import csv
import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest

import classic_cv.cli
import classic_cv.search
from classic_cv.candidates import feature_recipes
from classic_cv.cli import Duration, main
from classic_cv.model import Model, load
from classic_cv.recipe import Recipe


class Run(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Run]

FEW = ("hog-color-32", "color-32", "hog-small")


def few_recipes(task: Any, sizes: Any) -> list[Recipe]:
    """Three feature sets: what is tested here does not depend on how many there are."""
    return [recipe for recipe in feature_recipes(task, [32]) if recipe.name in FEW]


@pytest.fixture(autouse=True)
def small_shelf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classic_cv.search, "feature_recipes", few_recipes)
    monkeypatch.setattr(classic_cv.search, "FIRST_CS", (0.1, 1.0, 10.0))
    monkeypatch.setattr(classic_cv.search, "EXPANDED", 0)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run ``classic-cv ARGUMENTS`` in this process, as if it had just started."""

    def command(*arguments: object) -> Run:
        monkeypatch.setattr(sys, "argv", ["classic-cv", *map(str, arguments)])
        monkeypatch.setattr(classic_cv.cli, "STARTED", time.perf_counter())
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Run(code, captured.out, captured.err)

    return command


def draw(path: Path, level: float, seed: int) -> None:
    """A disc on noise: its brightness is the class, or the number."""
    pixels = np.random.default_rng(seed).integers(0, 40, (24, 24, 3), dtype=np.uint8)
    cv2.circle(pixels, (12, 12), 8, (30, level, level), -1)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of dark, medium and light discs."""
    folder = tmp_path_factory.mktemp("three") / "discs"
    for k, name in enumerate(("dark", "medium", "light")):
        for index in range(20):
            draw(folder / name / f"{index}.png", 50 + 90 * k, 100 * k + index)
    return folder


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Discs with their brightness: 30 different numbers, and three different ones."""
    folder = tmp_path_factory.mktemp("numbers") / "discs"
    rows = []
    for index in range(60):
        draw(folder / f"{index}.png", 20 + 7 * (index // 2), index)
        rows.append(f"{index}.png,{(index // 2) / 10},{index // 20}")
    (folder / "labels.csv").write_text("file,level,step\n" + "\n".join(rows))
    return folder


@pytest.fixture(scope="module")
def level_model(numbers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A regression, fitted once."""
    path = tmp_path_factory.mktemp("models") / "level.safetensors"
    classic_cv.fit(numbers, "color", target="level", jobs=1).save(path)
    return path


def report_of(result: Run) -> dict[str, Any]:
    assert result.code == 0, result.err
    report: dict[str, Any] = json.loads(result.out)
    return report


@pytest.mark.parametrize(
    ("text", "seconds"), [("5m", 300), ("30s", 30), ("90", 90), ("1h", 3600), ("500ms", 0.5), ("1.5m", 90)]
)
def test_a_time_limit_has_a_unit_or_is_in_seconds(
    run: Command, three: Path, tmp_path: Path, text: str, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    def fitted(*arguments: Any, **options: Any) -> Model:
        given.update(options)
        raise KeyError("enough")

    monkeypatch.setattr("classic_cv.fitting.fit", fitted)
    with pytest.raises(KeyError, match="enough"):
        run("fit", three, "--out", tmp_path / "model.safetensors", "--time-limit", text)
    assert given["time_limit"] == pytest.approx(seconds)
    assert given["latency_limit"] is None


@pytest.mark.parametrize(("text", "ms"), [("0.3ms", 0.3), ("2", 2.0), ("0.01s", 10.0), (".5", 0.5)])
def test_a_latency_limit_has_a_unit_or_is_in_milliseconds(text: str, ms: float) -> None:
    assert Duration("ms").convert(text, None, None) == pytest.approx(ms)


@pytest.mark.parametrize("option", ["--time-limit", "--latency-limit"])
@pytest.mark.parametrize("text", ["soon", "5 minutes", "-3", "0", "0s", "1e3", "", "5d", "nan"])
def test_what_is_no_time_is_wrong_usage(
    run: Command, three: Path, tmp_path: Path, option: str, text: str
) -> None:
    result = run("fit", three, "--out", tmp_path / "model.safetensors", f"{option}={text}")
    assert result.code == 2
    assert f"'{text}' is not a time above 0" in result.err
    assert list(tmp_path.iterdir()) == []


def test_a_search_within_a_limit(run: Command, three: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    result = run("fit", three, "--out", model, "--time-limit", "30s")
    assert result.code == 0
    # The leaderboard as it comes is on standard error, a line per candidate.
    lines = result.err.splitlines()
    assert lines[0].split()[:3] == ["recipe", "size", "score"]
    assert [line.split()[0] for line in lines[1:3]] == ["dummy", "properties"]
    assert {line.split()[0] for line in lines[1:]} >= set(FEW)
    assert "search by accuracy on training images" in result.out
    assert "winner" in result.out
    assert f"wrote {model}" in result.out
    assert load(model).recipe.name in result.out
    # What it says to run gives the same bytes.
    [again] = [line for line in result.out.splitlines() if line.startswith("the same model again: ")]
    assert f"fit {three} --recipe {model} --out again.safetensors" in again
    repeated = run("fit", three, "--recipe", model, "--out", tmp_path / "again.safetensors")
    assert repeated.code == 0
    assert repeated.err == ""
    assert (tmp_path / "again.safetensors").read_bytes() == model.read_bytes()


def test_json_on_standard_output_is_all_there_is(run: Command, three: Path, tmp_path: Path) -> None:
    result = run("fit", three, "--out", tmp_path / "model.safetensors", "--json", "-")
    report = report_of(result)
    leaderboard = report["search"]["leaderboard"]
    assert leaderboard[0]["status"] == "winner"
    assert leaderboard[0]["recipe"] == report["recipe"]
    assert report["test"]["accuracy"] > 0.9
    measured = [entry for entry in leaderboard if entry["score"] is not None]
    assert len(result.err.splitlines()) == 1 + len(measured)


@pytest.mark.parametrize("recipe", ["auto", "hog-small"])
def test_an_impossible_latency_limit_is_a_no(run: Command, three: Path, tmp_path: Path, recipe: str) -> None:
    model, page = tmp_path / "model.safetensors", tmp_path / "report.html"
    limit = ["--latency-limit", "0.001ms", "--report", page]
    result = run("fit", three, "--recipe", recipe, "--out", model, *limit)
    assert result.code == 1
    assert result.out == ""
    [no] = [line for line in result.err.splitlines() if line.startswith("no: ")]
    assert "--latency-limit" in no
    assert any(name in no for name in FEW)
    assert list(tmp_path.iterdir()) == []


def test_one_class_against_the_rest(run: Command, three: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    options = ["--recipe", "color", "--out", model, "--json", "-"]
    every = report_of(run("fit", three, *options))
    one = report_of(run("fit", three, *options, "--positive", "medium"))
    assert load(model).class_names == ("not medium", "medium")
    assert one["positive"] == "medium"
    assert one["split_sha256"] == every["split_sha256"]
    assert one["test"]["n"] == every["test"]["n"]
    assert "--positive medium" in one["reproduce"]

    evaluated = report_of(run("evaluate", model, three, "--json", "-"))
    assert evaluated["same_split"] is True
    assert evaluated["accuracy"] == one["test"]["accuracy"] > 0.8
    assert list(evaluated["per_class"]) == ["not medium", "medium"]

    predicted = run("predict", model, three / "dark", three / "medium", "--format", "jsonl")
    labels = [
        (Path(row["path"]).parent.name, row["label"]) for row in map(json.loads, predicted.out.splitlines())
    ]
    right = [label == ("medium" if folder == "medium" else "not medium") for folder, label in labels]
    assert np.mean(right) > 0.9

    again = tmp_path / "again.safetensors"
    assert run("fit", three, "--recipe", model, "--out", again, "--positive", "medium").code == 0
    images = sorted(three.rglob("*.png"))
    np.testing.assert_array_equal(load(again).predict_proba(images), load(model).predict_proba(images))

    unknown = run("fit", three, *options, "--positive", "mediun")
    assert unknown.code == 2
    assert "no class 'mediun' for --positive; its classes are: 'dark', 'light', 'medium'" in unknown.err
    both = run("fit", three, *options, "--positive", "medium", "--task", "regression")
    assert both.code == 2
    assert "give --positive or --task regression" in both.err


@pytest.mark.parametrize(
    ("target", "task", "expected"),
    [
        ("level", "auto", "regression"),
        ("step", "auto", "classification"),
        ("step", "regression", "regression"),
        ("step", "classification", "classification"),
    ],
)
def test_what_is_learned_can_be_said(
    run: Command, numbers: Path, tmp_path: Path, target: str, task: str, expected: str
) -> None:
    model = tmp_path / "model.safetensors"
    options = ["--recipe", "color", "--out", model, "--target", target, "--task", task, "--json", "-"]
    report = report_of(run("fit", numbers, *options))
    assert report["task"] == load(model).task == expected
    assert report["target"] == target
    assert ("mae" in report["test"]) == (expected == "regression")
    assert any("--task classification overrides" in note for note in report["notes"]) == (target == "level")
    assert (f"--task {task}" in report["reproduce"]) == (task != "auto")
    assert f"--target {target}" in report["reproduce"]
    evaluated = report_of(run("evaluate", model, numbers, "--target", target, "--json", "-"))
    figure = "mae" if expected == "regression" else "accuracy"
    assert evaluated[figure] == report["test"][figure]


def test_many_numbers_as_classes(run: Command, numbers: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    options = ["--recipe", "dummy", "--out", model, "--target", "level", "--task", "classification"]
    report = report_of(run("fit", numbers, *options, "--json", "-"))
    assert report["task"] == "classification"
    assert report["classes"] == 30


def test_a_regression_needs_numbers(run: Command, three: Path, tmp_path: Path) -> None:
    result = run("fit", three, "--task", "regression", "--out", tmp_path / "model.safetensors")
    assert result.code == 2
    assert "is not numeric" in result.err


def test_a_search_for_a_number(run: Command, numbers: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    result = run("fit", numbers, "--target", "level", "--out", model)
    assert result.code == 0
    assert "search by mean absolute error" in result.out
    assert "level, a number" in result.out
    assert load(model).task == "regression"
    shown = run("show", model)
    assert shown.code == 0
    assert "predicts  level, a number" in shown.out


def test_numbers_are_predicted_in_every_format(run: Command, numbers: Path, level_model: Path) -> None:
    images = [numbers / f"{index}.png" for index in (2, 30, 58)]
    expected = load(level_model).predict(images)
    assert np.abs(expected - [0.1, 1.5, 2.9]).max() < 0.6

    lines = run("predict", level_model, *images, "--format", "jsonl").out.splitlines()
    assert [json.loads(line)["path"] for line in lines] == [str(image) for image in images]
    assert [json.loads(line)["value"] for line in lines] == pytest.approx(expected.tolist(), rel=1e-5)

    rows = list(csv.DictReader(io.StringIO(run("predict", level_model, *images, "--format", "csv").out)))
    assert [row["path"] for row in rows] == [str(image) for image in images]
    assert [float(row["value"]) for row in rows] == pytest.approx(expected.tolist(), rel=1e-4)
    assert set(rows[0]) == {"path", "value"}

    table = run("predict", level_model, *images).out.splitlines()
    assert [line.split("  ")[0] for line in table] == [str(image) for image in images]
    assert [float(line.split("  ")[1]) for line in table] == pytest.approx(expected.tolist(), rel=1e-4)

    every = json.loads(run("predict", level_model, *images, "--json", "-").out)
    assert [entry["value"] for entry in every] == pytest.approx(expected.tolist(), rel=1e-5)


def check_page(page: Path) -> str:
    """The page, which refers to nothing outside itself."""
    text = page.read_text(encoding="utf-8")
    assert text.lstrip().lower().startswith("<!doctype html>")
    for outside in ('src="http', "src='http", 'href="http', "url(http", "@import", "<script src"):
        assert outside not in text
    assert all(link.startswith(' rel="icon" href="data:') for link in text.split("<link")[1:])
    return text


def test_a_report_of_a_search(run: Command, three: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    result = run("fit", three, "--out", tmp_path / "model.safetensors", "--report", page, "--json", "-")
    report = report_of(result)
    text = check_page(page)
    for entry in report["search"]["leaderboard"]:
        if entry["score"] is not None:
            assert entry["recipe"] in text
    assert report["split_sha256"][:16] in text
    assert f"classic-cv fit {three}" in text
    assert {"groups", "easier"} <= set(report)
    assert "dark" in text


@pytest.mark.parametrize("kind", ["fit", "evaluate"])
def test_a_report_of_a_regression(
    run: Command, numbers: Path, level_model: Path, tmp_path: Path, kind: str
) -> None:
    page = tmp_path / "report.html"
    if kind == "fit":
        options = ["--recipe", "color", "--target", "level", "--out", tmp_path / "model.safetensors"]
        result = run("fit", numbers, *options, "--report", page, "--json", "-")
    else:
        result = run("evaluate", level_model, numbers, "--target", "level", "--report", page, "--json", "-")
    report_of(result)
    text = check_page(page)
    assert "level" in text or kind == "evaluate"
    assert "mean absolute error" in text.lower() or "mae" in text.lower()


def test_a_report_of_an_evaluation(run: Command, three: Path, tmp_path: Path) -> None:
    model, page = tmp_path / "model.safetensors", tmp_path / "report.html"
    assert run("fit", three, "--recipe", "hog-color", "--out", model).code == 0
    result = run("evaluate", model, three, "--split", "all", "--report", page)
    assert result.code == 0
    text = check_page(page)
    assert "evaluation on the all part" in text
    for name in ("dark", "medium", "light"):
        assert name in text
    assert "color-histogram" in text


@pytest.mark.parametrize("n", [1, 2])
def test_a_report_of_almost_nothing(run: Command, tmp_path: Path, n: int) -> None:
    """One image per class: no test part, nothing to compare by."""
    for k in range(2):
        for index in range(n):
            draw(tmp_path / "data" / "ab"[k] / f"{index}.png", 50 + 150 * k, 10 * k + index)
    page = tmp_path / "report.html"
    result = run("fit", tmp_path / "data", "--out", tmp_path / "model.safetensors", "--report", page)
    assert result.code == 0
    check_page(page)
    assert ("no test part: nothing was measured" in result.out) == (n == 1)


def test_a_report_that_cannot_be_written_is_said_before_fitting(
    run: Command, three: Path, tmp_path: Path
) -> None:
    page = tmp_path / "none" / "report.html"
    result = run("fit", three, "--out", tmp_path / "model.safetensors", "--report", page)
    assert result.code == 2
    assert "does not exist; make it first" in result.err
    assert list(tmp_path.iterdir()) == []
