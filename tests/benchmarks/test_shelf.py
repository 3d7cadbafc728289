"""The shelf table: rows merged, rendered and put between the README's markers; fits are stand-ins here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from benchmarks import shelf
from benchmarks.accuracy import FitError, WholeFit, failure, run_timed
from benchmarks.shelf import Figures, Origin, Row
from classic_cv.recipe import load_recipe
from classic_cv.recipe import shelf as shelf_recipes

ORIGIN = Origin(
    "2026-01-31", "A CPU", 2, {"Python": "3.11.2", "numpy": "2.4.6"}, None, "python benchmarks/shelf.py"
)
FIGURES = Figures(
    "classification", 17, 1088, 272, 0.8125, (0.7617, 0.8548), 12.34, 0.512, 0.684, 30_720, 341.6
)
README = f"# Title\n\n{shelf.BEGIN}\n\nold\n\n{shelf.END}\nafter\n"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """``shelf.json``, not there yet, and a README with markers, in place of the real ones."""
    kept, readme = tmp_path / "shelf.json", tmp_path / "README.md"
    readme.write_text(README, encoding="utf-8")
    monkeypatch.setattr(shelf, "KEPT", kept)
    monkeypatch.setattr(shelf, "README", readme)
    return kept, readme


def row(data: str, recipe: str, **changes: Any) -> Row:
    return msgspec.structs.replace(Row(data, recipe, ORIGIN, FIGURES), **changes)


def report(task: str, name: str, score: float, interval: Sequence[float]) -> dict[str, Any]:
    """What ``fit --json`` writes, as far as the table needs it."""
    return {
        "recipe": "hog-128",
        "classes": 0 if task == "regression" else 3,
        "n_train": 80,
        "test": {
            "task": task,
            "n": 20,
            name: score,
            f"{name}_ci95": list(interval),
            "latency_ms": {"p50": 0.5, "p90": 0.6, "p95": 0.7, "p99": 0.8},
            "model_bytes": 2048,
        },
    }


def test_rendered_table() -> None:
    small = msgspec.structs.replace(FIGURES, model_bytes=1344, n_train=500, chosen="hog-128")
    text = shelf.rendered([row("flowers17", "hog-color"), row("flowers17", "auto", figures=small)])
    assert text.endswith(
        """
### flowers17

17 classes; 272 test images.

2026-01-31, A CPU, 2 threads, Python 3.11.2, numpy 2.4.6: `python benchmarks/shelf.py`.

| recipe | test part | fitted on | fit, s | ms per image | p95 | model, KiB | peak, MB |
|---|---:|---:|---:|---:|---:|---:|---:|
| `hog-color` | 81.2 % [76.2, 85.5] | 1,088 | 12.3 | 0.51 | 0.68 | 30 | 342 |
| `auto`: `hog-128` | 81.2 % [76.2, 85.5] | 500 | 12.3 | 0.51 | 0.68 | 1.3 | 342 |
"""
    )


def test_rendered_regression_is_a_mean_absolute_error() -> None:
    figures = msgspec.structs.replace(
        FIGURES, task="regression", n_classes=0, score=3.14159, score_ci95=(2.9, 3.5)
    )
    text = shelf.rendered_set([row("cells", "blobs", figures=figures)])
    assert "A number to estimate; 272 test images." in text
    assert "| `blobs` | MAE 3.142 [2.9, 3.5] | 1,088 |" in text


def test_rendered_error_stays_in_its_cell() -> None:
    lines = shelf.rendered_set([row("a", "hog", figures=None, error="x | y")]).splitlines()
    assert lines[-1] == "| `hog` | failed: x \\| y |  |  |  |  |  |  |"
    assert {line.replace("\\|", "").count("|") for line in lines[-3:]} == {len(shelf.COLUMNS) + 1}


def test_rendered_rows_of_different_runs_keep_their_dates() -> None:
    later = msgspec.structs.replace(ORIGIN, date="2026-02-01", images=1500, threads=1)
    text = shelf.rendered_set([row("a", "hog"), row("a", "lbp", origin=later), row("a", "color")])
    assert "\n`hog`, `color`: 2026-01-31, A CPU, 2 threads" in text
    assert "\n`lbp`: 2026-02-01, A CPU, 1 thread," in text
    assert text.count("at most 1,500 training images") == 1


def test_merged_replaces_by_set_and_recipe_and_keeps_the_rest() -> None:
    kept = [row("b", "hog"), row("b", "gone"), row("a", "hog")]
    new = [row("a", "hog", error="x", figures=None), row("c", "auto"), row("c", "hog"), row("b", "dummy")]
    rows = shelf.merged(kept, new, ["dummy", "hog", "auto"])
    assert [(r.data, r.recipe) for r in rows] == [
        ("b", "dummy"), ("b", "hog"), ("b", "gone"), ("a", "hog"), ("c", "hog"), ("c", "auto"),
    ]  # fmt: skip
    assert rows[3] == new[0]
    assert rows[1] == kept[0]
    assert shelf.merged(rows, [], ["dummy", "hog", "auto"]) == rows


def test_replace_block_touches_nothing_else() -> None:
    assert shelf.replace_block(README, "new\n") == README.replace("old", "new")


@pytest.mark.parametrize(
    "text",
    [
        "no markers",
        f"{shelf.BEGIN} only",
        f"{shelf.END} before {shelf.BEGIN}",
        README + shelf.BEGIN,
        README + shelf.END,
    ],
)
def test_replace_block_needs_each_marker_once(text: str) -> None:
    with pytest.raises(ValueError, match="expected one '<!-- shelf table -->' and, after it, one"):
        shelf.replace_block(text, "new\n")


def test_keep_and_read_again(files: tuple[Path, Path]) -> None:
    kept, readme = files
    shelf.keep([row("a", "hog")], ["hog"])
    shelf.keep([row("b", "hog", figures=None, error="naïve")], ["hog"])
    assert shelf.read_kept(kept) == [row("a", "hog"), row("b", "hog", figures=None, error="naïve")]
    assert readme.read_text(encoding="utf-8") == shelf.replace_block(
        README, shelf.rendered(shelf.read_kept(kept))
    )
    assert sorted(path.name for path in kept.parent.iterdir()) == ["README.md", "shelf.json"]


def test_keep_writes_nothing_where_the_files_are_not_its_own(files: tuple[Path, Path]) -> None:
    kept, readme = files
    readme.write_text("no markers", encoding="utf-8")
    with pytest.raises(ValueError, match=r"README.md: expected one"):
        shelf.keep([row("a", "hog")], ["hog"])
    assert not kept.exists()
    kept.write_text('[{"data": 1}]', encoding="utf-8")
    with pytest.raises(ValueError, match=r"shelf.json: Expected `str`, got `int`.*repair it, or remove it"):
        shelf.keep([row("a", "hog")], ["hog"])


def test_the_committed_readme_shows_the_committed_rows() -> None:
    text = shelf.README.read_text(encoding="utf-8")
    assert text == shelf.replace_block(text, shelf.rendered(shelf.read_kept(shelf.KEPT)))


def test_figures_of_a_report() -> None:
    fit = WholeFit(report("classification", "accuracy", 0.9, (0.7, 0.97)), 3.5, 200.0)
    assert shelf.figures_of(fit, searched=True) == Figures(
        "classification", 3, 80, 20, 0.9, (0.7, 0.97), 3.5, 0.5, 0.7, 2048, 200.0, "hog-128"
    )
    fit = WholeFit(report("regression", "mae", 4.0, (3.0, 5.0)), 3.5, 200.0)
    found = shelf.figures_of(fit, searched=False)
    assert (found.score, found.score_ci95, found.chosen) == (4.0, (3.0, 5.0), None)
    with pytest.raises(FitError, match="no test part"):
        shelf.figures_of(WholeFit({"test": None}, 3.5, 200.0), searched=False)


def test_portable_errors_name_no_folder(tmp_path: Path) -> None:
    data = tmp_path / "my flowers"
    message = f"{data}: bad:\n  {data}/a/b.jpg: cut; see '/tmp/x/hog.toml' (1/2 of a/b), https://a.org/b"
    assert shelf.portable(message, data) == (
        "my flowers: bad: my flowers/a/b.jpg: cut; see 'hog.toml' (1/2 of a/b), https://a.org/b"
    )
    assert len(shelf.portable("x" * 1000, data)) == shelf.MAX_ERROR


def test_shelf_order_begins_with_the_floors_and_has_all() -> None:
    order = shelf.shelf_order()
    assert order[:2] == ["dummy", "properties"]
    assert sorted(order) == sorted(shelf_recipes())
    assert order.index("hog-small") < order.index("hog") < order.index("hog-color-lbp")


def test_smaller_changes_only_the_number_of_images(tmp_path: Path) -> None:
    recipe = load_recipe(shelf.smaller("hog-color", 300, tmp_path))
    assert recipe.train.images == 300
    assert msgspec.structs.replace(recipe, train=load_recipe("hog-color").train) == load_recipe("hog-color")


def test_command_text_names_no_folder(tmp_path: Path) -> None:
    words = [
        "--data",
        str(tmp_path),
        "--recipe",
        "hog",
        "--auto",
        "--time-limit",
        "5m",
        "--images",
        "9",
        "--write",
    ]
    text = shelf.command_text(shelf.parsed([*words, "--json", str(tmp_path / "x.json")]), tmp_path)
    assert text == (
        f"python benchmarks/shelf.py --data {tmp_path.name} --recipe hog --auto --time-limit 5m --images 9 --write"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "missing"], f"no such file or folder: {Path.cwd() / 'missing'}"),
        (["--data", ".", "--data", "."], "rows are kept by the last component"),
        (["--recipe", "hgo"], "invalid choice: 'hgo'"),
        (["--images", "1"], "--images 1: expected at least 2"),
    ],
)
def test_wrong_arguments(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        shelf.parsed(words)
    assert message in capsys.readouterr().err


def test_a_failed_fit_is_a_row_and_an_interrupt_keeps_what_was_measured(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stand_in(data: Path, recipe: str, options: Sequence[str]) -> WholeFit:
        assert options == ["--time-limit", "9s"]
        match Path(recipe).stem:
            case "hog":
                assert load_recipe(recipe).train.images == 7
                return WholeFit(report("classification", "accuracy", 0.9, (0.7, 0.97)), 3.5, 200.0)
            case "lbp":
                raise FitError(f"{data}: no")
            case _:
                assert recipe == "auto"
                raise KeyboardInterrupt

    (kept, readme), rows = files, tmp_path / "rows.json"
    monkeypatch.setattr(shelf, "run_fit", stand_in)
    words = ["--data", str(tmp_path), "--recipe", "hog", "--recipe", "lbp", "--auto", "--time-limit", "9s"]
    arguments = shelf.parsed([*words, "--images", "7", "--json", str(rows), "--write"])
    with pytest.raises(KeyboardInterrupt):
        shelf.run(arguments)
    found = shelf.read_kept(kept)
    assert {(row.recipe, row.error) for row in found} == {
        ("hog", None),
        ("lbp", f"{tmp_path.name}: no"),
    }
    assert json.loads(rows.read_bytes()) == json.loads(kept.read_bytes())
    assert str(tmp_path.parent) not in readme.read_text(encoding="utf-8")


def test_failure_is_the_last_message() -> None:
    assert failure(2, "warning: x\nerror: 3 of 9 images:\n  a.jpg: cut\n") == "3 of 9 images: a.jpg: cut"
    assert failure(1, "Traceback ...\nMemoryError\n") == "MemoryError"
    assert failure(-9, "half a") == "ended by signal 9"
    assert failure(3, "") == "exit status 3"


def test_run_timed_measures_the_process_and_not_this_one() -> None:
    ballast = bytearray(b"x") * 300_000_000
    timed = run_timed(["sh", "-c", "exit 0"])
    assert timed["peak_mb"] < 100 < len(ballast) / 1e6
    with pytest.raises(FitError, match=r"^no$"):
        run_timed(["sh", "-c", "echo error: no >&2; exit 2"])
    with pytest.raises(FitError, match=r"^ended by signal 15$"):
        run_timed(["sh", "-c", "kill $$"])
