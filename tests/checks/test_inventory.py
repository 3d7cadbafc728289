"""Counts, sizes and what is missing, on folders that are made to lack something."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow
from skimage import data

from classic_cv.checks.finding import Checked, Finding
from classic_cv.checks.inventory import check_inventory, distribution, named_counts
from classic_cv.checks.subject import Subject
from classic_cv.checks.surveying import read_survey
from classic_cv.fitting import read_job

DATA: Any = data
PHOTO: NDArray[np.uint8] = DATA.astronaut()


def subject(path: Path) -> Subject:
    job = read_job(path, jobs=1)
    return Subject(job, read_survey(job.dataset), None, "not needed")


def write(root: Path, counts: Mapping[str, int], mode: str = "png") -> Path:
    """So many different crops in each folder."""
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True)
        for i in range(count):
            at = (37 * i + 11 * len(folder) + sum(map(ord, folder))) % 480
            Pillow.fromarray(PHOTO[at : at + 16, i : i + 24]).save(root / folder / f"{i}.{mode}")
    return root


def kinds(checked: Checked) -> dict[str, str]:
    return {finding.kind: finding.severity for finding in checked.findings}


def only(checked: Checked, kind: str) -> Finding:
    (found,) = [finding for finding in checked.findings if finding.kind == kind]
    return found


def test_clean_data_have_no_findings(tmp_path: Path) -> None:
    counts = {"train/a": 12, "train/b": 14, "test/a": 10, "test/b": 11, "val/a": 1}
    checked = check_inventory(subject(write(tmp_path, counts)))
    assert checked.findings == []
    figures = checked.figures["inventory"]
    assert figures["classes"] == {
        "a": {"train": 12, "val": 1, "test": 10},
        "b": {"train": 14, "val": 0, "test": 11},
    }
    assert figures["parts"] == {"train": 26, "val": 1, "test": 21}
    assert figures["imbalance"] == pytest.approx(25 / 23)
    assert figures["formats"] == {"PNG": 48}
    assert figures["modes"] == {"RGB": 48}
    assert figures["orientations"] == {"1": 48}
    assert (figures["width"]["median"], figures["height"]["max"], figures["aspect"]["min"]) == (24, 16, 1.5)
    assert figures["dates"] == {"known": 0.0, "first": None, "last": None}
    assert checked.figures["unreadable"] == {"n": 0, "of": 48, "files": []}
    json.dumps(checked.figures, allow_nan=False)


def test_files_that_cannot_be_used_are_named_with_the_reason(tmp_path: Path) -> None:
    write(tmp_path, {"train/a": 30, "train/b": 30, "test/a": 10, "test/b": 10})
    whole = (tmp_path / "train/a/3.png").read_bytes()
    (tmp_path / "train/a/3.png").write_bytes(whole[:100])
    (tmp_path / "test/b/0.png").write_bytes(b"")
    checked = check_inventory(subject(tmp_path))
    found = only(checked, "unreadable")
    assert (found.check, found.severity, found.count) == ("unreadable", "warning", 2)
    assert "2 of 80 files (2.5 %)" in found.message
    assert "train/a/3.png" in found.message
    names = subject(tmp_path).dataset.names
    assert {names[item.indices[0]]: item.note for item in found.items} == {
        entry["file"]: entry["reason"] for entry in checked.figures["unreadable"]["files"]
    }
    notes = " ".join(item.note for item in found.items)
    assert "truncated PNG" in notes
    assert "empty" in notes
    assert checked.figures["inventory"]["classes"]["a"]["train"] == 29


def test_many_unreadable_files_are_an_error(tmp_path: Path) -> None:
    write(tmp_path, {"a": 12, "b": 12})
    for i in range(3):
        (tmp_path / "a" / f"{i}.png").write_bytes(b"gone")
    assert kinds(check_inventory(subject(tmp_path)))["unreadable"] == "error"


def test_a_manifest_row_without_a_file_is_unreadable(tmp_path: Path) -> None:
    write(tmp_path, {"a": 12, "b": 12})
    rows = [f"{c}/{i}.png,{c}" for c in "ab" for i in range(12)]
    (tmp_path / "x.csv").write_text("\n".join(["path,label", *rows, "a/99.png,a"]), encoding="utf-8")
    found = only(check_inventory(subject(tmp_path / "x.csv")), "unreadable")
    assert found.count == 1
    assert "a/99.png" in found.message


def test_classes_that_a_part_lacks_are_left_to_drift(tmp_path: Path) -> None:
    checked = check_inventory(
        subject(write(tmp_path, {"train/a": 12, "train/b": 12, "train/c": 12, "test/a": 12, "test/d": 12}))
    )
    assert kinds(checked) == {}
    assert checked.figures["inventory"]["classes"]["d"] == {"train": 0, "val": 0, "test": 12}


def test_small_classes(tmp_path: Path) -> None:
    checked = check_inventory(
        subject(write(tmp_path, {"train/a": 12, "train/b": 9, "test/a": 12, "test/b": 3}))
    )
    assert kinds(checked) == {"few-images": "warning", "few-test-images": "info"}
    assert "b (9)" in only(checked, "few-images").message
    assert "b (3)" in only(checked, "few-test-images").message


@pytest.mark.parametrize(
    ("large", "small", "severity"), [(40, 20, None), (40, 12, "info"), (110, 11, "warning"), (20, 2, None)]
)
def test_imbalance(tmp_path: Path, large: int, small: int, severity: str | None) -> None:
    checked = check_inventory(subject(write(tmp_path, {"a": large, "b": small})))
    assert kinds(checked).get("imbalance") == severity
    assert checked.figures["inventory"]["imbalance"] == large / small


def test_one_class_and_no_test_part(tmp_path: Path) -> None:
    checked = check_inventory(subject(write(tmp_path, {"train/a": 12, "val/a": 2})))
    assert kinds(checked)["one-class"] == "error"
    assert checked.figures["inventory"]["imbalance"] is None


def test_two_images_in_all(tmp_path: Path) -> None:
    checked = check_inventory(subject(write(tmp_path, {"a": 1, "b": 1})))
    assert kinds(checked) == {"no-test-part": "warning", "few-images": "warning"}


def test_few_files_of_another_kind_are_named(tmp_path: Path) -> None:
    write(tmp_path, {"train/a": 30, "train/b": 30, "test/a": 12, "test/b": 12})
    Pillow.fromarray(PHOTO[:30, :40, 0]).save(tmp_path / "train/b/gray.jpg")
    checked = check_inventory(subject(tmp_path))
    assert kinds(checked) == {"mixed-formats": "info", "mixed-modes": "info"}
    formats = only(checked, "mixed-formats")
    assert "2 file formats: PNG (84), JPEG (1)" in formats.message
    names = subject(tmp_path).dataset.names
    assert [(names[item.indices[0]], item.note) for item in formats.items] == [("train/b/gray.jpg", "JPEG")]
    assert "RGB (84), L (1)" in only(checked, "mixed-modes").message


def test_half_and_half_names_no_exceptions(tmp_path: Path) -> None:
    write(tmp_path, {"train/a": 12, "test/a": 12})
    write(tmp_path, {"train/b": 12, "test/b": 12}, "jpg")
    formats = only(check_inventory(subject(tmp_path)), "mixed-formats")
    assert (formats.count, formats.items) == (24, ())


def test_dates_and_cameras(tmp_path: Path) -> None:
    write(tmp_path, {"a": 12, "b": 12})
    for i, date in enumerate(["2024:05:31 12:00:00", "2023:01:01 00:00:00"]):
        block = Pillow.Exif()
        block[306], block[272] = date, "Brownie"
        Pillow.fromarray(PHOTO[:30, i : i + 40]).save(tmp_path / "a" / f"d{i}.png", exif=block)
    figures = check_inventory(subject(tmp_path)).figures["inventory"]
    assert figures["cameras"] == {"Brownie": 2}
    assert figures["dates"] == {
        "known": pytest.approx(2 / 26),
        "first": "2023-01-01T00:00:00",
        "last": "2024-05-31T12:00:00",
    }


def test_files_left_out_are_told(tmp_path: Path) -> None:
    write(tmp_path, {"a": 12, "b": 12})
    Pillow.fromarray(PHOTO[:30, :40]).save(tmp_path / "stray.png")
    checked = check_inventory(subject(tmp_path))
    assert only(checked, "ignored-files").severity == "info"
    assert "stray.png" in only(checked, "ignored-files").message


def test_a_regression_has_no_classes(tmp_path: Path) -> None:
    write(tmp_path, {"all": 40})
    rows = [f"all/{i}.png,{i * 1.5}" for i in range(40)]
    (tmp_path / "x.csv").write_text("\n".join(["path,size", *rows]), encoding="utf-8")
    checked = check_inventory(subject(tmp_path / "x.csv"))
    assert checked.findings == []
    figures = checked.figures["inventory"]
    assert figures["classes"] == {}
    assert figures["imbalance"] is None
    assert (figures["target"]["min"], figures["target"]["max"]) == (0, 58.5)


def test_distribution() -> None:
    found = distribution(np.array([1, 2, 3, 4, 100]))
    assert [found[name] for name in ("min", "q25", "median", "q75", "max")] == [1, 2, 3, 4, 100]
    assert sum(found["histogram"]["counts"]) == 5
    same: Any = distribution(np.full(7, 28))
    assert (same["min"], same["max"], sum(same["histogram"]["counts"])) == (28, 28, 7)
    assert distribution(np.zeros(0))["median"] is None


def test_counts_are_of_the_most_frequent() -> None:
    assert named_counts(["b", "a", "b"]) == {"b": 2, "a": 1}
    assert list(named_counts(["b", "a", "b"])) == ["b", "a"]
    many = named_counts([str(i) for i in range(60)] + ["x", "x"])
    assert (many["x"], many["others"], len(many)) == (2, 11, 51)


def test_real_sets_have_a_plain_inventory(digits_subject: Subject) -> None:
    checked = check_inventory(digits_subject)
    assert [finding for finding in checked.findings if finding.severity != "info"] == []
    assert sum(sum(parts.values()) for parts in checked.figures["inventory"]["classes"].values()) == 1797
