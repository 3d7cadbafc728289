from __future__ import annotations

import csv
import errno
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from classic_cv.cli import cli, main
from classic_cv.dataset import load_dataset
from classic_cv.errors import ClassicCVError


@pytest.fixture(scope="module")
def leaky(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("leaky") / "gesichter und mehr"
    shutil.copytree(faces, folder)
    first = min((folder / "test" / "face").iterdir())
    shutil.copy(first, folder / "train" / "face" / "größer.png")
    return folder


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["check", *map(str, arguments), "--jobs", "1"])


@pytest.fixture(scope="module")
def written(leaky: Path, small_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    out = tmp_path_factory.mktemp("out")
    result = run(
        leaky,
        *("--recipe", small_recipe, "--report", out / "check.html", "--json", out / "check.json"),
        *("--findings", out / "findings.csv", "--write-manifest", out / "clean.csv"),
        *("--fail-on", "leakage, shortcut"),
    )
    return result, out


def test_a_named_check_that_fails_exits_with_1(written: tuple[Result, Path]) -> None:
    result, _ = written
    assert result.exit_code == 1, result.output
    assert "leakage" in result.stdout
    assert "größer.png" in result.stdout
    assert "failed: leakage" in result.stderr


def test_the_json_has_findings_as_promised(written: tuple[Result, Path]) -> None:
    record = json.loads((written[1] / "check.json").read_text())
    leak = next(one for one in record["findings"] if one["check"] == "leakage")
    assert leak["severity"] == "error"
    assert leak["count"] == 1
    assert any("train/face/größer.png" in item["files"] for item in leak["items"])
    assert all(isinstance(item["score"], float) for item in leak["items"])
    assert record["command"].startswith("classic-cv")


def test_the_csv_names_files(written: tuple[Result, Path]) -> None:
    with open(written[1] / "findings.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert any(row["check"] == "leakage" and row["file"] == "train/face/größer.png" for row in rows)


def test_the_cleaned_manifest_is_fitted(
    written: tuple[Result, Path], small_recipe: Path, tmp_path: Path
) -> None:
    clean = written[1] / "clean.csv"
    assert not any("größer" in name for name in load_dataset(clean).names)
    model = tmp_path / "m.safetensors"
    result = CliRunner().invoke(
        cli, ["fit", str(clean), "--recipe", str(small_recipe), "--out", str(model), "--jobs", "1"]
    )
    assert result.exit_code == 0, result.output
    assert model.exists()


def test_the_report_is_one_page(written: tuple[Result, Path]) -> None:
    page = (written[1] / "check.html").read_text(encoding="utf-8")
    assert "größer.png" in page
    assert "<script" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_json_on_standard_output_stands_alone(leaky: Path, small_recipe: Path) -> None:
    result = run(leaky, "--recipe", small_recipe, "--json", "-")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["data"]["images"] == 201


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--fail-on", "leaks"), "no check is called 'leaks'"),
        (("--report", "missing/check.html"), "the folder missing does not exist"),
        (("--predictions", "missing.csv"), "missing.csv: no such file"),
        (("--write-manifest", "clean.npz"), "cannot hold the cleaned data"),
        (("--recipe", "nothing"), "nothing"),
    ],
)
def test_wrong_usage_is_told_before_any_work(leaky: Path, arguments: tuple[str, str], text: str) -> None:
    result = run(leaky, *arguments)
    assert isinstance(result.exception, ClassicCVError)
    assert text in str(result.exception)


def test_an_output_must_not_be_the_data(faces: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "labels.csv"
    manifest.write_text(f"file,class\n{next((faces / 'test' / 'face').iterdir())},a\n", encoding="utf-8")
    before = manifest.read_bytes()
    result = run(manifest, "--findings", manifest)
    assert "would be overwritten" in str(result.exception)
    assert manifest.read_bytes() == before


def test_an_empty_folder(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert isinstance(result.exception, ClassicCVError)


def test_failing_on_predictions_takes_predictions(leaky: Path) -> None:
    result = run(leaky, "--fail-on", "predictions")
    assert result.exit_code == 2
    assert "without --predictions" in result.output


def test_standard_output_on_a_full_disk(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    dropped: list[object] = []
    monkeypatch.setattr("classic_cv.cli.cli.main", full)
    monkeypatch.setattr("classic_cv.cli._drop_output", lambda: dropped.append(1))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2, "1 would say that a check failed"
    assert "error: No space left on device" in capfd.readouterr().err
    assert dropped
