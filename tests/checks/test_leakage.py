"""Copies that the test plants among real images: found, told by kind and parts, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from classic_cv.checks.finding import Checked, Finding
from classic_cv.checks.leakage import check_copies
from classic_cv.checks.subject import Subject

Make = Callable[[Path], Subject]


def crops(count: int) -> list[Image.Image]:
    """Crops of photos that do not overlap."""
    names = ("astronaut", "coffee", "chelsea", "rocket", "retina")
    photos = [np.asarray(getattr(data, name)(), np.uint8) for name in names]
    found = [
        Image.fromarray(np.ascontiguousarray(photo[top : top + 96, left : left + 96]))
        for photo in photos
        for top in range(0, photo.shape[0] - 96, 100)
        for left in range(0, photo.shape[1] - 96, 100)
    ]
    detailed = [crop for crop in found if np.asarray(crop.convert("L")).std() > 25]
    return detailed[:count]


def write(picture: Image.Image, path: Path, quality: int = 95) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=quality)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory, subject_of: Make) -> Subject:
    """40 photos in two classes: four of the test images have copies in training, one of them in the other class."""
    root = tmp_path_factory.mktemp("planted")
    test = crops(40)
    for number, crop in enumerate(test):
        write(crop, root / ("test" if number >= 28 else "train") / "ab"[number % 2] / f"{number:02}.jpg")
    write(test[28].resize((67, 67)), root / "train" / "a" / "resized.jpg")
    write(test[29].transpose(Image.Transpose.FLIP_LEFT_RIGHT), root / "train" / "b" / "mirrored.jpg", 60)
    write(test[30].crop((5, 5, 91, 91)), root / "train" / "b" / "cropped.jpg")
    (root / "train" / "b" / "exact.jpg").write_bytes((root / "test" / "b" / "31.jpg").read_bytes())
    (root / "train" / "a" / "again.jpg").write_bytes((root / "train" / "a" / "02.jpg").read_bytes())
    return subject_of(root)


@pytest.fixture(scope="module")
def checked(planted: Subject) -> Checked:
    return check_copies(planted)


def told(checked: Checked, subject: Subject, check: str) -> dict[str, list[list[str]]]:
    """Files of each item by the kind of finding."""
    names = subject.dataset.names
    return {
        finding.kind: sorted([Path(names[index]).stem for index in item.indices] for item in finding.items)
        for finding in checked.findings
        if finding.check == check
    }


def finding(checked: Checked, check: str, kind: str) -> Finding:
    return next(one for one in checked.findings if (one.check, one.kind) == (check, kind))


def as_sets(found: dict[str, list[list[str]]]) -> dict[str, set[frozenset[str]]]:
    return {kind: {frozenset(item) for item in items} for kind, items in found.items()}


def test_leakage_is_found_by_kind_and_nothing_else(checked: Checked, planted: Subject) -> None:
    assert as_sets(told(checked, planted, "leakage")) == {
        "exact-duplicates": {frozenset({"31", "exact"})},
        "near-duplicates": {frozenset({"28", "resized"}), frozenset({"30", "cropped"})},
        "mirrored-duplicates": {frozenset({"29", "mirrored"})},
    }
    near = finding(checked, "leakage", "near-duplicates")
    assert near.severity == "error"
    assert near.count == 2
    assert near.message.startswith(
        "2 of 12 test images have near copies in another part (2 pairs between train and test)"
    )
    assert all(item.score > 0.8 for item in near.items)


def test_copies_within_training_are_a_warning(checked: Checked, planted: Subject) -> None:
    assert as_sets(told(checked, planted, "duplicates")) == {"exact-duplicates": {frozenset({"02", "again"})}}
    assert finding(checked, "duplicates", "exact-duplicates").severity == "warning"


def test_a_copy_of_another_class_is_a_conflict(checked: Checked, planted: Subject) -> None:
    assert as_sets(told(checked, planted, "conflict")) == {"near-duplicates": {frozenset({"30", "cropped"})}}
    found = finding(checked, "conflict", "near-duplicates")
    assert found.severity == "error"
    assert "a and b (1)" in found.message
    assert {"labelled a in test", "labelled b in train"} == set(found.items[0].note.split(" and "))


def test_figures_say_what_to_drop_and_what_it_does_to_the_score(checked: Checked, planted: Subject) -> None:
    figures, names = checked.figures["leakage"], planted.dataset.names
    dropped = {Path(names[index]).stem for index in figures["leaked_train"]}
    assert dropped == {"resized", "mirrored", "cropped", "exact"}
    assert {Path(names[index]).stem for index in figures["leaked_test"]} == {"28", "29", "30", "31"}
    assert len(figures["copies"]) == 5
    accuracy = figures["accuracy"]
    assert [accuracy[key]["n"] for key in ("all", "without_leaked", "leaked")] == [12, 8, 4]
    right = [accuracy[key]["n"] * accuracy[key]["accuracy"] for key in ("all", "without_leaked", "leaked")]
    assert right[0] == pytest.approx(right[1] + right[2])
    assert figures["pairs"]["near-duplicates"] == {"train and test": 2}
    assert figures["calibration"]["recall"]["JPEG quality 40"] > 0.9


def test_the_same_data_give_the_same_copies_also_without_a_reference(
    planted: Subject, checked: Checked
) -> None:
    again = check_copies(replace(planted, reference=None, no_reference="none"))
    assert [one.items for one in again.findings] == [one.items for one in checked.findings]
    assert again.figures["leakage"].pop("accuracy") == {}
    kept = {name: value for name, value in checked.figures["leakage"].items() if name != "accuracy"}
    assert again.figures["leakage"] == kept


def test_digits_that_look_alike_are_no_copies(digits_subject: Subject) -> None:
    found = check_copies(digits_subject)
    assert [one for one in found.findings if one.kind != "exact-duplicates"] == []
    assert found.figures["leakage"]["calibration"]["recall"]["mirrored"] > 0.9


def test_blank_images_and_two_images_in_all(tmp_path: Path, subject_of: Make) -> None:
    for number, level in enumerate((10, 10, 200)):
        write(
            Image.new("RGB", (40, 40), (level, level, level)),
            tmp_path / "blank" / "ab"[number % 2] / f"{number}.png",
        )
    write(crops(1)[0], tmp_path / "two" / "a" / "0.jpg")
    write(crops(2)[1], tmp_path / "two" / "b" / "1.jpg")
    blank = check_copies(subject_of(tmp_path / "blank"))
    assert {one.kind for one in blank.findings} <= {"exact-duplicates"}
    assert check_copies(subject_of(tmp_path / "two")).findings == []


def test_targets_of_a_regression_that_differ_are_a_conflict(tmp_path: Path, subject_of: Make) -> None:
    lines = ["path,size"]
    for number, crop in enumerate(crops(30)):
        write(crop, tmp_path / f"{number}.jpg")
        lines.append(f"{number}.jpg,{number + 0.5}")
    for name, target in (("same", 3.5), ("other", 20)):
        (tmp_path / f"{name}.jpg").write_bytes((tmp_path / "3.jpg").read_bytes())
        lines.append(f"{name}.jpg,{target}")
    (tmp_path / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    subject = subject_of(tmp_path / "labels.csv")
    found = as_sets(told(check_copies(subject), subject, "conflict"))
    assert found == {"exact-duplicates": {frozenset({"3", "other"})}}
