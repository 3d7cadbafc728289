from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

import classic_cv
from classic_cv.checks.finding import CHECKS, Checked
from classic_cv.checks.subject import Subject
from classic_cv.checks.whole import CheckResult, _Run, check, check_names, check_outputs
from classic_cv.dataset import load_dataset
from classic_cv.errors import ArtifactError, DatasetError, ParameterError
from classic_cv.fitting import read_job


@pytest.fixture(scope="module")
def faulty(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The faces with an exact copy across the parts, one with another label, and a file that is no image."""
    folder = tmp_path_factory.mktemp("faulty") / "faces"
    shutil.copytree(faces, folder)
    first, second = (sorted((folder / "test" / name).iterdir()) for name in ("face", "not-face"))
    shutil.copy(first[0], folder / "train" / "face" / "copy.png")
    shutil.copy(second[0], folder / "train" / "face" / "wrong.png")
    (folder / "train" / "face" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    return folder


@pytest.fixture(scope="module")
def found(faulty: Path, small_recipe: Path) -> CheckResult:
    return check(faulty, recipe=small_recipe, jobs=1)


def test_every_check_is_made_and_none_fails(found: CheckResult) -> None:
    assert set(found.record["checks"]) == set(CHECKS) - {"predictions"}
    assert not [reason for reason in found.record["left_out"].values() if "failed" in reason]
    assert set(found.record["seconds_by_check"]) >= {"labels", "drift", "score"}
    json.dumps(found.record, allow_nan=False)


def test_the_faults_are_found_by_name(found: CheckResult) -> None:
    names = found.dataset.names
    told = {
        (f.check, tuple(sorted(names[i] for i in item.indices))) for f in found.findings for item in f.items
    }
    test = sorted(name for name in names if name.startswith("test/"))
    face = next(name for name in test if name.startswith("test/face/"))
    other = next(name for name in test if name.startswith("test/not-face/"))
    assert ("leakage", (face, "train/face/copy.png")) in told
    assert ("conflict", (other, "train/face/wrong.png")) in told
    assert any(
        f.check == "unreadable" and f.count == 1 and "broken.png" in str(f.to_table(names))
        for f in found.findings
    )
    assert found.failed(["leakage", "conflict", "unreadable", "predictions"]) == [
        "leakage",
        "conflict",
        "unreadable",
    ]


def test_findings_are_the_most_severe_first(found: CheckResult) -> None:
    order = [("error", "warning", "info").index(one.severity) for one in found.findings]
    assert order == sorted(order)
    assert order[0] == 0


def test_the_cleaned_data_has_neither_copies_nor_broken_files(found: CheckResult, tmp_path: Path) -> None:
    clean = tmp_path / "clean.csv"
    left = found.write_clean(clean)
    dataset = load_dataset(clean)
    # One cannot be read; the faces themselves have blank images in both parts.
    assert len(dataset) == left == len(found.dataset) - 1 - len(found.dropped())
    assert {found.dataset.parts[i] for i in found.dropped() if found.dataset.parts} == {"train"}
    assert not {"copy.png", "wrong.png", "broken.png"} & {Path(name).name for name in dataset.names}
    assert classic_cv.make_split(dataset).given


def test_the_cleaned_data_can_be_checked_and_is_clean(
    found: CheckResult, small_recipe: Path, tmp_path: Path
) -> None:
    clean = tmp_path / "clean.csv"
    found.write_clean(clean)
    again = check(clean, recipe=small_recipe, jobs=1)
    assert again.failed(["unreadable", "leakage", "conflict"]) == []


def test_the_result_does_not_depend_on_jobs(faulty: Path, small_recipe: Path, found: CheckResult) -> None:
    again = classic_cv.check(load_dataset(faulty), recipe=small_recipe, jobs=2)
    assert [one.to_table(found.dataset.names) for one in again.findings] == found.record["findings"]


def test_names_of_checks() -> None:
    assert check_names(["leakage", "shortcut", "leakage"]) == ["leakage", "shortcut"]
    assert check_names(["all"]) == list(CHECKS)
    with pytest.raises(ParameterError, match="no check is called 'leaks'; there are unreadable, inventory"):
        check_names(["leaks"])


def drawn(folder: Path, classes: dict[str, int], size: int = 24) -> Path:
    rng = np.random.default_rng(0)
    for name, n in classes.items():
        (folder / name).mkdir(parents=True)
        for k in range(n):
            cv2.imwrite(str(folder / name / f"{k}.png"), rng.integers(0, 256, (size, size, 3), np.uint8))
    return folder


@pytest.mark.parametrize(
    "classes",
    [
        {"a": 1},
        {"a": 12},
        {"a": 1, "b": 1},
        {"a": 1, "b": 1, "c": 1, "d": 1},
        {"a": 2, "b": 2},
        {"a": 15, "b": 1},
    ],
    ids=str,
)
def test_odd_data_are_checked_as_far_as_they_can_be(
    classes: dict[str, int], small_recipe: Path, tmp_path: Path
) -> None:
    found = check(drawn(tmp_path / "data", classes), recipe=small_recipe, jobs=1)
    assert not [reason for reason in found.record["left_out"].values() if "failed" in reason]
    json.dumps(found.record, allow_nan=False)
    assert "<html" in found.html()


def test_images_that_are_all_the_same(small_recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for k in range(10):
            cv2.imwrite(str(folder / name / f"{k}.png"), np.full((16, 16, 3), 90, np.uint8))
    found = check(folder, recipe=small_recipe, jobs=1)
    assert not [reason for reason in found.record["left_out"].values() if "failed" in reason]
    assert "conflict" in found.failed(["conflict"])


def test_a_regression_is_checked_without_what_needs_classes(small_recipe: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = ["file,brightness"]
    for k in range(60):
        value = int(rng.integers(20, 230))
        noise = rng.integers(-15, 16, (24, 24, 3))
        cv2.imwrite(str(tmp_path / f"{k}.png"), np.clip(value + noise, 0, 255).astype(np.uint8))
        rows.append(f"{k}.png,{value + 0.25}")
    (tmp_path / "labels.csv").write_text("\n".join(rows), encoding="utf-8")
    found = check(tmp_path / "labels.csv", recipe=small_recipe, jobs=1)
    assert found.record["data"]["task"] == "regression"
    assert not [reason for reason in found.record["left_out"].values() if "failed" in reason]
    assert found.record["checks"]["leakage"] == "passed"
    assert "<html" in found.html()


def test_a_folder_whose_name_is_not_utf_8(small_recipe: Path, tmp_path: Path) -> None:
    # OpenCV writes no such name.
    folder = drawn(tmp_path / "data", {"a": 1}).rename(tmp_path / os.fsdecode(b"\xff"))
    found = check(folder, recipe=small_recipe, jobs=1)
    assert found.record["data"]["name"] == r"\xff"
    json.dumps(found.record, ensure_ascii=False).encode()


def test_a_check_that_fails_leaves_the_others_as_they_are(faces_subject: Subject) -> None:
    def failing(subject: Subject) -> Checked:
        raise cv2.error("bad argument")

    run = _Run(faces_subject)
    run.make(("labels", "drift"), failing)
    run.make(("inventory",), lambda its: Checked(figures={"inventory": {"images": len(its.survey)}}))
    assert run.checked.left_out == dict.fromkeys(
        ("labels", "drift"), "it failed on these data: error: bad argument"
    )
    assert run.checked.figures["inventory"]["images"] == 200
    assert run.made == ["labels", "drift", "inventory"]


def test_no_threads(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="jobs=0: expected -1 for all cores, or at least 1"):
        check(tmp_path, jobs=0)


def test_outputs_that_are_one_file_by_two_names(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(ArtifactError, match="written twice"):
        check_outputs([], [tmp_path / "x.json", tmp_path / "link" / "x.json"])


def test_nothing_that_can_be_decoded(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.png").write_bytes(b"no image")
    with pytest.raises(DatasetError, match="none of its 1 images can be decoded"):
        check(tmp_path, jobs=1)


def test_classes_that_are_numbers_are_told_of(small_recipe: Path, tmp_path: Path) -> None:
    found = check(drawn(tmp_path / "data", {str(k): 1 for k in range(25)}), recipe=small_recipe, jobs=1)
    assert found.reads_as_numbers()
    found.write_clean(tmp_path / "clean.csv")
    assert read_job(tmp_path / "clean.csv").task.kind == "regression"
    assert read_job(tmp_path / "clean.csv", task="classification").task.kind == "classification"
