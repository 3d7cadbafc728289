"""The command line as a user meets it: results on stdout, no tracebacks, meaningful exit codes."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest

from classic_cv import artifact
from classic_cv.cli import main
from classic_cv.errors import ArtifactError
from classic_cv.model import Model, load
from classic_cv.recipe import shelf


class Run(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Run]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run ``classic-cv ARGUMENTS`` in this process."""

    def command(*arguments: object) -> Run:
        monkeypatch.setattr(sys, "argv", ["classic-cv", *map(str, arguments)])
        monkeypatch.setattr("classic_cv.cli.STARTED", time.perf_counter())
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


@pytest.fixture
def fit_small(run: Command, small_recipe: Path, tmp_path: Path) -> Command:
    """``classic-cv fit DATA`` with the small recipe; the model goes to ``tmp_path / "model.safetensors"``."""

    def command(data: Path, *more: object) -> Run:
        return run("fit", data, "--recipe", small_recipe, "--out", tmp_path / "model.safetensors", *more)

    return command


def draw(path: Path, seed: int, size: tuple[int, int] = (24, 24), level: int = 0) -> Path:
    """A small PNG of noise whose brightness tells its class."""
    pixels = np.random.default_rng(seed).integers(level, level + 100, (*size, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    return path


def two_classes(folder: Path, names: tuple[str, str] = ("dark", "light"), n: int = 12) -> Path:
    for k, name in enumerate(names):
        for index in range(n):
            draw(folder / name / f"{index}.png", seed=100 * k + index, level=150 * k)
    return folder


def test_fit_predict_evaluate_show(faces: Path, fit_small: Command, run: Command, tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    fitted = fit_small(faces, "--json", tmp_path / "fit.json")
    assert fitted.code == 0
    assert f"wrote {model}" in fitted.out
    report = json.loads((tmp_path / "fit.json").read_text())
    assert report["n_train"] == 150
    assert report["model"] == str(model)
    assert report["test"]["accuracy"] > 0.85

    evaluated = run("evaluate", model, faces, "--json", "-")
    figures = json.loads(evaluated.out)
    keys = """task n accuracy accuracy_ci95 balanced_accuracy macro_f1 log_loss ece per_class confusion
        latency_ms throughput threads model_bytes peak_rss_mb split_sha256 recipe versions cpu"""
    assert set(keys.split()) <= set(figures)
    assert set(figures["latency_ms"]) == {"p50", "p90", "p95", "p99"}
    assert figures["accuracy"] == report["test"]["accuracy"]
    assert figures["split_sha256"] == report["split_sha256"]
    assert figures["same_split"] is True
    assert figures["model_bytes"] == model.stat().st_size

    seen = run("evaluate", model, faces, "--split", "train")
    assert "note: the train part holds images that the model was fitted on" in seen.out
    assert "holds images that the model was fitted on" not in run("evaluate", model, faces).out

    shown = run("show", model, "--json", "-")
    assert json.loads(shown.out)["class_names"] == list(load(model).class_names)
    assert "hog" in run("show", model).out


def test_predict_formats(model_file: Path, model: Model, faces: Path, run: Command) -> None:
    images = sorted((faces / "test").rglob("*.png"))[::10]
    expected = model.predict(images).tolist()

    lines = [
        json.loads(line) for line in run("predict", model_file, *images, "--format", "jsonl").out.splitlines()
    ]
    assert [line["label"] for line in lines] == expected
    assert [line["path"] for line in lines] == [str(image) for image in images]
    assert sum(entry["probability"] for entry in lines[0]["top"]) == pytest.approx(1, abs=1e-5)

    rows = list(csv.DictReader(io.StringIO(run("predict", model_file, *images, "--format", "csv").out)))
    assert [row["label"] for row in rows] == expected
    assert set(rows[0]) == {"path", "label", "probability", "label_2", "probability_2"}

    table = run("predict", model_file, *images, "--top", 1).out.splitlines()
    assert [line.split("  ")[1].split(" ")[0] for line in table] == expected


def test_predict_abstains(model_file: Path, model: Model, faces: Path, run: Command, tmp_path: Path) -> None:
    images = sorted((faces / "test").rglob("*.png"))[::3]
    top = model.predict_proba(images).max(axis=1)
    threshold = float(np.sort(top)[5])
    unknown = (top < np.float32(threshold)).tolist()
    assert sum(unknown) == 5
    names = model.predict(images)
    expected = ["unknown" if is_unknown else name for name, is_unknown in zip(names, unknown, strict=True)]
    command = ("predict", model_file, *images, "--abstain", threshold)

    result = run(*command, "--format", "jsonl", "--json", tmp_path / "p.json")
    lines = [json.loads(line) for line in result.out.splitlines()]
    assert lines == json.loads((tmp_path / "p.json").read_text())
    assert [line["label"] for line in lines] == expected
    assert [line["abstained"] for line in lines] == unknown
    assert [line["top"][0]["label"] for line in lines] == names.tolist()
    assert all(line["probability"] == line["top"][0]["probability"] for line in lines)
    assert list(lines[0]) == ["path", "label", "probability", "abstained", "top"]

    rows = list(csv.DictReader(io.StringIO(run(*command, "--format", "csv").out)))
    assert [row["label"] for row in rows] == expected
    assert [row["abstained"] for row in rows] == [str(value).lower() for value in unknown]
    assert [row["label_1"] for row in rows] == names.tolist()
    assert list(rows[0])[3:] == ["abstained", "label_1", "probability_1", "label_2", "probability_2"]

    table = [line.split("  ") for line in run(*command, "--top", 1).out.splitlines()]
    assert [len(cells) for cells in table] == [3 if is_unknown else 2 for is_unknown in unknown]
    assert [cells[-1].split(" ")[0] for cells in table] == names.tolist()
    assert {cells[1] for cells in table if len(cells) == 3} == {"unknown"}

    # The explanation is of the best candidate, which there is all the same.
    drawn = run(
        *("predict", model_file, images[unknown.index(True)], "--abstain", threshold, "--format", "jsonl"),
        *("--explain", tmp_path / "why.png"),
    )
    told = json.loads(drawn.out)
    assert (told["label"], told["explanation"]["class"]) == ("unknown", told["top"][0]["label"])


@pytest.mark.parametrize("threshold", ["0", "1.5", "nan", "high"])
def test_predict_refuses_a_threshold_that_is_no_probability(
    model_file: Path, faces: Path, run: Command, threshold: str
) -> None:
    result = run("predict", model_file, faces / "test", "--abstain", threshold)
    assert result.code == 2
    assert "--abstain" in result.err
    assert not result.out


def test_predict_does_not_begin_where_it_cannot_abstain(faces: Path, run: Command, tmp_path: Path) -> None:
    assert run("fit", faces, "--recipe", "dummy", "--out", tmp_path / "m.safetensors").code == 0
    result = run("predict", tmp_path / "m.safetensors", faces / "test", "--abstain", "0.9", "--format", "csv")
    assert (result.code, result.out) == (2, "")
    assert "the probabilities of this model are not calibrated" in result.err


def test_predict_a_folder_names_what_it_skips(
    model_file: Path, faces: Path, run: Command, tmp_path: Path
) -> None:
    folder = tmp_path / "some images"
    shutil.copytree(faces / "test", folder)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not really")
    result = run("predict", model_file, folder, "--format", "jsonl")
    assert result.code == 0
    assert len(result.out.splitlines()) == len(list(folder.rglob("*.png")))
    assert "broken.jpg" in result.err


def test_predict_from_standard_input(model_file: Path, faces: Path) -> None:
    image = next((faces / "test").rglob("*.png"))
    command = [sys.executable, "-m", "classic_cv", "predict", str(model_file), "-", "--format", "jsonl"]
    result = subprocess.run(command, input=image.read_bytes(), capture_output=True, check=True)
    assert json.loads(result.stdout)["path"] == "<stdin>"
    assert json.loads(result.stdout)["label"] == load(model_file).predict([image])[0]


def test_predict_without_a_single_readable_image_is_wrong_input(
    model_file: Path, run: Command, tmp_path: Path
) -> None:
    missing = run("predict", model_file, tmp_path / "none.jpg")
    assert missing.code == 2
    assert "none.jpg" in missing.err
    empty = tmp_path / "empty"
    empty.mkdir()
    result = run("predict", model_file, empty)
    assert result.code == 2
    assert "no image files in this folder" in result.err


def test_predict_explains_one_image(model_file: Path, faces: Path, run: Command, tmp_path: Path) -> None:
    image = draw(tmp_path / "my photos ů" / "a b.png", 3)
    drawing = tmp_path / "why not.png"
    result = run("predict", model_file, image, "--explain", drawing, "--json", tmp_path / "p.json")
    assert result.code == 0
    [prediction] = json.loads((tmp_path / "p.json").read_text())
    explanation = prediction["explanation"]
    assert list(explanation) == ["class", "score", "bias", "groups", "file"]
    assert explanation["class"] == prediction["label"]
    assert explanation["file"] == str(drawing)
    assert [group["extractor"] for group in explanation["groups"]] == ["hog", "color-histogram"]
    total = explanation["bias"] + sum(group["contribution"] for group in explanation["groups"])
    assert total == pytest.approx(explanation["score"], rel=1e-4, abs=1e-5)
    assert f"{prediction['label']}: score" in result.out
    assert f"drawn in {drawing}" in result.out
    pixels = cv2.imdecode(np.fromfile(drawing, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    assert pixels.shape[0] > pixels.shape[1] == 384

    [other] = {*load(model_file).class_names} - {prediction["label"]}
    # A folder with one image is one image.
    line = run(
        *("predict", model_file, image.parent, "--format", "jsonl"),
        *("--explain", drawing, "--explain-class", other),
    ).out
    assert json.loads(line)["explanation"]["class"] == other
    assert json.loads(line)["explanation"]["score"] == pytest.approx(-explanation["score"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("{image}", "{image}", "--explain", "why.png"),
            "--explain draws one image, but 2 are given: give one",
        ),
        (("{folder}", "--explain", "why.png"), "--explain draws one image, but 2 are given: give one"),
        (("{image}", "--explain", "why.jpg"), "give a name that ends in .png"),
        (("{image}", "--explain", "none/why.png"), "does not exist; make it first"),
        (("{image}", "--explain", "{image}"), "is read here and would be overwritten; give another name"),
        (
            ("{image}", "--explain", "why.png", "--explain-class", "rose"),
            "this model has no class 'rose'; it has:",
        ),
        (("{image}", "--explain-class", "rose"), "--explain-class needs --explain FILE.png"),
        (("{folder}/none.png", "--explain", "why.png"), "none.png: no such file"),
    ],
)
def test_wrong_use_of_explain_is_an_error(
    model_file: Path,
    run: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    image, _ = draw(folder / "a.png", 1), draw(folder / "b.png", 2)
    before = image.read_bytes()
    result = run("predict", model_file, *(a.format(image=image, folder=folder) for a in arguments))
    assert result.code == 2
    assert message in result.err
    assert not result.out
    assert not (tmp_path / "why.png").exists()
    assert image.read_bytes() == before


def test_explain_refuses_a_head_that_is_no_sum(run: Command, tmp_path: Path) -> None:
    data = two_classes(tmp_path / "data")
    assert run("fit", data, "--recipe", "dummy", "--out", tmp_path / "m.safetensors").code == 0
    image = data / "dark" / "0.png"
    result = run("predict", tmp_path / "m.safetensors", image, "--explain", tmp_path / "why.png")
    assert result.code == 2
    assert "the head of this model is dummy, whose score is not a sum over parts of the image" in result.err


def test_recipes_lists_the_shelf(run: Command) -> None:
    entries = json.loads(run("recipes", "--json", "-").out)
    assert [entry["name"] for entry in entries] == list(shelf())
    assert {"dummy", "properties", "color", "lbp", "hog", "hog-color", "hog-color-lbp"} <= set(shelf())
    assert "hog-color-lbp" in run("recipes").out


def test_demo_writes_a_set_that_fit_takes(run: Command, tmp_path: Path) -> None:
    result = run("demo", tmp_path / "textures", "--set", "textures")
    assert result.code == 0
    assert {path.name for path in (tmp_path / "textures" / "train").iterdir()} == {"brick", "grass", "gravel"}


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: folder / "none", "no such file or directory"),
        (lambda folder: folder, "the folder is empty"),
        (lambda folder: draw(folder / "only" / "a.png", 0).parents[1], "only one class"),
        (lambda folder: draw(folder / "a.png", 0), "not a data set"),
    ],
)
def test_data_that_is_none(
    fit_small: Command, tmp_path: Path, prepare: Callable[[Path], Path], message: str
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    result = fit_small(prepare(folder))
    assert result.code == 2
    assert message in result.err
    assert not (tmp_path / "model.safetensors").exists()


def numbers(folder: Path) -> Path:
    """Thirty images of rising brightness, and a manifest that gives each another number."""
    rows = [f"{draw(folder / f'{i}.png', i, level=5 * i).name},{i * 1.5}" for i in range(30)]
    (folder / "labels.csv").write_text("file,count\n" + "\n".join(rows))
    return folder


def test_a_numeric_target_is_estimated_not_taken_as_classes(
    fit_small: Command, run: Command, tmp_path: Path
) -> None:
    data = numbers(tmp_path / "data")
    result = fit_small(data, "--json", tmp_path / "fit.json")
    assert result.code == 0
    note = "the target 'count' has 30 different numbers, more than 20: estimated as a number"
    assert note in result.out
    report = json.loads((tmp_path / "fit.json").read_text())
    assert (report["task"], report["target"], report["classes"]) == ("regression", "count", 0)
    # Thirty numbers from 0 to 43.5 lie 10.9 from their middle on average.
    assert report["test"]["mae"] < 5
    model = load(tmp_path / "model.safetensors")
    [line] = run(
        "predict", tmp_path / "model.safetensors", data / "20.png", "--format", "jsonl"
    ).out.splitlines()
    assert json.loads(line)["value"] == pytest.approx(float(model.predict([data / "20.png"])[0]), rel=1e-5)
    assert (
        json.loads(run("evaluate", tmp_path / "model.safetensors", data, "--json", "-").out)["mae"]
        == (report["test"]["mae"])
    )


def test_a_numeric_target_is_classes_where_asked_for(fit_small: Command, tmp_path: Path) -> None:
    data = tmp_path / "data"
    rows = [f"{draw(data / f'{i}.png', i, level=150 * (i % 2)).name},{i % 2}" for i in range(24)]
    (data / "labels.csv").write_text("file,count\n" + "\n".join(rows))
    assert fit_small(data).code == 0
    assert load(tmp_path / "model.safetensors").class_names == ("0", "1")
    assert fit_small(data, "--task", "regression").code == 0
    assert load(tmp_path / "model.safetensors").task == "regression"
    assert fit_small(numbers(tmp_path / "more"), "--task", "classification").code == 0
    assert len(load(tmp_path / "model.safetensors").class_names) == 30


def test_odd_class_names(fit_small: Command, run: Command, tmp_path: Path) -> None:
    names = ("-v leading dash", "žluťoučký kůň 花")
    result = fit_small(two_classes(tmp_path / "my data", names))
    assert result.code == 0
    model = tmp_path / "model.safetensors"
    assert load(model).class_names == names
    predicted = run("predict", model, tmp_path / "my data" / names[1], "--format", "jsonl")
    assert {json.loads(line)["label"] for line in predicted.out.splitlines()} == {names[1]}


def test_one_broken_file_is_skipped_by_name(fit_small: Command, tmp_path: Path) -> None:
    data = two_classes(tmp_path / "data")
    (data / "dark" / "text.jpg").write_text("this is no picture")
    result = fit_small(data, "--json", tmp_path / "fit.json")
    assert result.code == 0
    assert "skipped 1 unreadable images" in result.out
    assert "text.jpg" in result.out
    [skipped] = json.loads((tmp_path / "fit.json").read_text())["skipped"]
    assert skipped["image"].endswith("text.jpg")


def test_too_many_broken_files_fail_unless_allowed(fit_small: Command, tmp_path: Path) -> None:
    data = two_classes(tmp_path / "data")
    for index in range(4):
        (data / "dark" / f"broken{index}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes([index]) * 30)
    (data / "light" / "zero.png").write_bytes(b"")
    result = fit_small(data)
    assert result.code == 2
    assert "images cannot be used, more than the 10% allowed (--max-bad)" in result.err
    assert fit_small(data, "--max-bad", 0.5).code == 0


def test_a_class_with_one_image_still_fits(fit_small: Command, tmp_path: Path) -> None:
    data = two_classes(tmp_path / "data")
    draw(data / "single" / "one.png", 999, level=60)
    result = fit_small(data, "--json", tmp_path / "fit.json")
    assert result.code == 0
    report = json.loads((tmp_path / "fit.json").read_text())
    assert report["classes"] == 3
    assert "single" in " ".join(report["notes"])


def test_a_class_without_a_readable_image_is_left_out(fit_small: Command, tmp_path: Path) -> None:
    data = two_classes(tmp_path / "data")
    (data / "broken").mkdir()
    (data / "broken" / "one.png").write_bytes(b"no image")
    result = fit_small(data)
    assert result.code == 0
    assert "left out, no training image can be read: class 'broken'" in result.out
    assert load(tmp_path / "model.safetensors").class_names == ("dark", "light")


def test_a_tested_class_without_a_readable_training_image_is_an_error(
    fit_small: Command, tmp_path: Path
) -> None:
    for part in ("train", "test"):
        two_classes(tmp_path / "data" / part)
        (tmp_path / "data" / part / "broken").mkdir()
        (tmp_path / "data" / part / "broken" / "one.png").write_bytes(b"no image " + part.encode())
    result = fit_small(tmp_path / "data")
    assert result.code == 2
    assert "no training image can be read of classes that have test images: 'broken'" in result.err


def test_two_images_in_all_still_fit(fit_small: Command, tmp_path: Path) -> None:
    result = fit_small(two_classes(tmp_path / "data", n=1))
    assert result.code == 0
    assert "no test part" in result.out


def test_extreme_shapes(fit_small: Command, tmp_path: Path) -> None:
    data = two_classes(tmp_path / "data")
    draw(data / "dark" / "dot.png", 1, size=(1, 1))
    draw(data / "light" / "strip.png", 2, size=(20, 20000), level=150)
    result = fit_small(data, "--json", tmp_path / "fit.json")
    assert result.code == 0
    assert json.loads((tmp_path / "fit.json").read_text())["skipped"] == []


def test_symlink_loops_end(fit_small: Command, tmp_path: Path) -> None:
    data = two_classes(tmp_path / "data")
    (data / "dark" / "loop").symlink_to(data, target_is_directory=True)
    assert fit_small(data).code == 0


def test_output_problems_are_found_before_fitting(
    fit_small: Command, run: Command, faces: Path, tmp_path: Path
) -> None:
    missing = run("fit", faces, "--out", tmp_path / "none" / "model.safetensors")
    assert missing.code == 2
    assert "does not exist; make it first" in missing.err
    folder = run("fit", faces, "--out", tmp_path)
    assert folder.code == 2
    assert "is a folder; give the name of a file" in folder.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_named(run: Command, faces: Path, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    result = run("fit", faces, "--out", locked / "model.safetensors")
    assert result.code == 2
    assert "cannot be written there (Permission denied)" in result.err


def test_a_disk_that_fills_up_loses_nothing(
    fit_small: Command, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rescue = tmp_path / "rescue"
    rescue.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(rescue))
    write = artifact.write_atomically

    def full(path: Path, data: bytes) -> None:
        if path.parent != rescue:
            raise ArtifactError(f"{path}: cannot be written (No space left on device)")
        write(path, data)

    monkeypatch.setattr(artifact, "write_atomically", full)
    result = fit_small(faces)
    assert result.code == 2
    assert "No space left on device" in result.err
    assert "accuracy" in result.out
    [saved] = rescue.glob("*.safetensors")
    assert str(saved) in result.err
    assert load(saved).class_names == ("face", "not-face") or len(load(saved).class_names) == 2


def test_wrong_usage(run: Command, faces: Path) -> None:
    assert run("fit").code == 2
    assert run("nonsense").code == 2
    unknown = run("fit", faces, "--recipe", "hogg")
    assert unknown.code == 2
    assert "no recipe 'hogg'" in unknown.err
    foreign = run("predict", faces / "train", "x.jpg")
    assert foreign.code == 2
    assert "cannot be read" in foreign.err


def test_evaluate_on_other_data_asks_for_all(model_file: Path, run: Command, tmp_path: Path) -> None:
    other = two_classes(tmp_path / "other", ("a", "b"))
    result = run("evaluate", model_file, other)
    assert result.code == 2
    assert "to measure on all its images use --split all" in result.err
    unknown = run("evaluate", model_file, other, "--split", "all")
    assert unknown.code == 2
    assert "classes that the model does not know: 'a', 'b'" in unknown.err


# The fit stops where one of its steps would begin, says so and waits: the interrupt then comes half-way, every time.
INTERRUPTIBLE = """
import sys, time
from importlib import import_module
from classic_cv.cli import main

def wait(*arguments, **keywords):
    print("half-way", flush=True)
    time.sleep(60)

module, _, name = sys.argv.pop(1).rpartition(".")
setattr(import_module(module), name, wait)
main()
"""


@pytest.mark.parametrize(
    ("recipe", "step"),
    [
        ("hog-color-lbp", "classic_cv.heads.fitting.cross_validate"),
        ("hog-color-lbp", "classic_cv.fitting.measure"),
        ("auto", "classic_cv.search.choose"),
    ],
)
def test_interrupting_fit_leaves_no_file(faces: Path, tmp_path: Path, recipe: str, step: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "model.safetensors").write_bytes(b"the old model")
    command = [
        sys.executable,
        "-c",
        INTERRUPTIBLE,
        step,
        "fit",
        str(faces),
        "--recipe",
        recipe,
        "--out",
        str(out / "model.safetensors"),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "half-way\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "\ninterrupted: no file was changed\n"
    assert [path.name for path in out.iterdir()] == ["model.safetensors"]
    assert (out / "model.safetensors").read_bytes() == b"the old model"


def test_the_result_does_not_depend_on_jobs(
    fit_small: Command, faces: Path, tmp_path: Path, small_recipe: Path
) -> None:
    written: list[bytes] = []
    for jobs in (1, 2, 3):
        assert fit_small(faces, "--jobs", jobs).code == 0
        written.append((tmp_path / "model.safetensors").read_bytes())
    assert written[0] == written[1] == written[2]


def test_results_go_to_stdout_and_nothing_else(faces: Path, fit_small: Command) -> None:
    result = fit_small(faces, "--json", "-")
    report: dict[str, Any] = json.loads(result.out)
    assert report["data"] == faces.name
    assert result.err == ""
