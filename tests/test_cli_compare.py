"""``classic-cv compare`` from the command line: text, JSON, page, Markdown, exit status."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from classic_cv.cli import cli
from tests.compare.conftest import draw_disc


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red and green discs, one training image of them broken, in a folder with an odd name."""
    import cv2

    root = tmp_path_factory.mktemp("ünï code")
    for part, n, start in (("train", 15, 0), ("test", 12, 500)):
        for name, color in (("red", (0, 0, 220)), ("green <b>", (0, 220, 0))):
            place = root / "data" / part / name
            place.mkdir(parents=True)
            for k in range(n):
                cv2.imwrite(str(place / f"{k:02d}.png"), draw_disc(color, start + k + len(name) * 1000))
    broken = root / "data" / "train" / "red" / "07.png"
    broken.write_bytes(broken.read_bytes()[:60])
    return root


def invoke(folder: Path, *arguments: str) -> Result:
    options = ["--folder", str(folder / "kept"), "--budget", "30s", "--threads", "1"]
    return CliRunner().invoke(cli, ["compare", str(folder / "data"), *options, *arguments])


@pytest.fixture(scope="module")
def first(folder: Path) -> tuple[Result, dict[str, Any]]:
    files = [
        "--report",
        str(folder / "r.html"),
        "--markdown",
        str(folder / "r.md"),
        "--json",
        str(folder / "r.json"),
    ]
    result = invoke(folder, "dummy", "color", "again=color", "shuffled", *files)
    return result, json.loads((folder / "r.json").read_text(encoding="utf-8"))


def test_the_record_holds_what_it_should(first: tuple[Result, dict[str, Any]]) -> None:
    result, record = first
    assert result.exit_code == 0, result.output
    assert record["format"] == 1
    assert (record["n_train"], record["n_test"], record["threads"]) == (30, 24, 1)
    assert (record["budget_cpu_seconds"], record["budgets_cpu_seconds"]) == (30.0, [30.0])
    rows = {row["name"]: row for row in record["contestants"]}
    assert list(rows) == ["dummy", "color", "again", "shuffled"]
    assert [row["outcome"] for row in rows.values()] == ["ok"] * 4
    assert [row["kind"] for row in rows.values()] == ["floor", "classical", "classical", "floor"]
    assert rows["dummy"]["accuracy"] == 0.5
    assert rows["color"]["accuracy"] == 1.0
    assert rows["again"]["accuracy"] == 1.0
    assert rows["color"]["n_fit"] == 29
    for row in rows.values():
        assert 0 < row["fit_cpu_seconds"] <= 31.5
        assert 0 < row["latency_ms"]["p50"] <= row["latency_ms"]["p99"]
        assert row["model_bytes"] > 100
        assert row["peak_rss_mb"] > 20
        assert row["cold_start_ms"] > 10
        assert row["threads"]["cores"] == 1
        assert set(row["stages_ms"]) == {"decode", "features", "head"}
    assert record["skipped"][0]["image"] == "train/red/07.png"
    assert len(record["skipped"]) == 1


def test_shuffled_learns_nothing(first: tuple[Result, dict[str, Any]]) -> None:
    rows = {row["name"]: row for row in first[1]["contestants"]}
    assert rows["shuffled"]["description"] in ("color on permuted labels", "again on permuted labels")
    assert rows["shuffled"]["accuracy"] < 0.9


def test_the_verdict_names_a_winner(first: tuple[Result, dict[str, Any]]) -> None:
    verdict = first[1]["verdict"]
    assert verdict["winner"] in ("color", "again")
    assert "No deep contestant took part." in verdict["text"]
    assert verdict["challenger"] is None


def test_text_page_and_markdown(first: tuple[Result, dict[str, Any]], folder: Path) -> None:
    result, _ = first
    assert "verdict: Use " in result.output
    assert "train/red/07.png" in result.output
    page = (folder / "r.html").read_text(encoding="utf-8")
    assert "green <b>" not in page
    assert "One budget for all: CPU seconds" in page
    assert "| color |" in (folder / "r.md").read_text(encoding="utf-8")


def test_what_is_done_stays_and_a_challenger_that_wins_nothing_exits_with_1(
    first: tuple[Result, dict[str, Any]], folder: Path
) -> None:
    before = {file: file.stat().st_mtime_ns for file in folder.glob("kept/runs/*/model/*")}
    assert len(before) == 4
    result = invoke(folder, "dummy", "color", "again=color", "--challenger", "again", "--json", "-")
    assert result.exit_code == 1
    record = json.loads(result.stdout)
    assert record["verdict"]["challenger"]["passed"] is False
    after = {file: file.stat().st_mtime_ns for file in folder.glob("kept/runs/*/model/*")}
    assert after == before


def test_a_learning_curve_and_two_budgets(folder: Path) -> None:
    result = invoke(
        folder, "color", "--budget", "20s,30s", "--learning-curve", "2,5,all", "--draws", "2", "--json", "-"
    )
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    [row] = record["contestants"]
    assert [point["budget_cpu_seconds"] for point in row["curve"]] == [20.0, 30.0]
    points = record["learning_curve"]["curves"]["color"]
    assert [point["images_per_class"] for point in points] == [2, 5, "all"]
    assert [point["n_fit"] for point in points] == [4, 10, 30]
    assert [len(point["accuracies"]) for point in points] == [2, 2, 1]
    assert record["learning_curve"]["crossover"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "no contestant 'nothing'"),
        (["dummy", "--challenger", "color"], "challenger 'color' is not among the contestants: dummy"),
        (["dummy", "--threads", "1000"], "threads=1000: expected from 1 to"),
    ],
)
def test_wrong_usage(folder: Path, arguments: list[str], message: str) -> None:
    result = invoke(folder, *arguments)
    assert result.exit_code != 0
    assert message in str(result.exception)


def test_a_folder_that_cannot_be_written_is_refused_before_anything_runs(folder: Path) -> None:
    blocked = folder / "file"
    blocked.write_text("no folder", encoding="utf-8")
    result = CliRunner().invoke(cli, ["compare", str(folder / "data"), "dummy", "--folder", str(blocked)])
    assert "cannot be made" in str(result.exception)
    shutil.rmtree(blocked, ignore_errors=True)
