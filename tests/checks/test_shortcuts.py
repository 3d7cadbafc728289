"""Shortcuts: each that a test plants is flagged and named, and data without any stay quiet."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage import data as photos

from classic_cv.checks import small_model
from classic_cv.checks.finding import Checked, Finding
from classic_cv.checks.shortcuts import check_shortcuts
from classic_cv.checks.subject import Subject
from classic_cv.checks.surveying import read_survey
from classic_cv.fitting import read_job

Pixels = NDArray[np.uint8]
Encode = Callable[[Pixels], bytes]

CLASSES = ("ash", "birch", "cedar")
PER_CLASS = 24
SIDE = 72


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is planted is plain enough for ten trees."""
    monkeypatch.setattr(small_model, "N_TREES", small_model.TREES_AT_ONCE)


def _png(pixels: Pixels) -> bytes:
    return _saved(pixels, "PNG")


def _jpeg(quality: int) -> Encode:
    return lambda pixels: _saved(pixels, "JPEG", quality=quality)


def _saved(pixels: Pixels, format: str, **options: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, **options)
    return file.getvalue()


def _jpeg_then_png(pixels: Pixels) -> bytes:
    with Image.open(io.BytesIO(_jpeg(40)(pixels))) as image:
        return _png(np.asarray(image))


def _framed(color: tuple[int, int, int]) -> Encode:
    def encode(pixels: Pixels) -> bytes:
        return _png(
            np.asarray(cv2.copyMakeBorder(pixels[4:-4, 4:-4], 4, 4, 4, 4, cv2.BORDER_CONSTANT, value=color))
        )

    return encode


def _smaller(pixels: Pixels) -> bytes:
    return _png(np.asarray(cv2.resize(pixels, (SIDE - 8, SIDE - 8), interpolation=cv2.INTER_AREA)))


def _grayed(pixels: Pixels) -> bytes:
    return _png(np.repeat(pixels.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2))


def _crops(n: int) -> list[Pixels]:
    """Crops of three photos in turn: a class gets as many of one photo as of another, so classes do not differ."""
    rng = np.random.default_rng(7)
    sources: list[Pixels] = [getattr(photos, name)() for name in ("astronaut", "chelsea", "coffee")]
    found = []
    for number in range(n):
        photo = sources[(number // len(CLASSES)) % len(sources)]
        top, left = (int(rng.integers(side - SIDE)) for side in photo.shape[:2])
        found.append(photo[top : top + SIDE, left : left + SIDE])
    return found


def _write(folder: Path, planted: Mapping[str, Encode], usual: Encode = _png) -> Path:
    for number, pixels in enumerate(_crops(PER_CLASS * len(CLASSES))):
        target = CLASSES[number % len(CLASSES)]
        path = folder / target / f"{number}.img"
        path.parent.mkdir(parents=True, exist_ok=True)
        data = planted.get(target, usual)(pixels)
        path.with_suffix(".png" if data.startswith(b"\x89PNG") else ".jpg").write_bytes(data)
    return folder


def _subject(data: Path, work: Path) -> Subject:
    """Without a reference."""
    job = read_job(data, jobs=1)
    return Subject(job, read_survey(job.dataset), None, "not wanted")


def _check(tmp_path: Path, planted: Mapping[str, Encode], usual: Encode = _png) -> Checked:
    return check_shortcuts(_subject(_write(tmp_path / "data", planted, usual), tmp_path))


def _alarms(checked: Checked) -> list[Finding]:
    return [finding for finding in checked.findings if finding.severity != "info"]


@pytest.mark.parametrize("usual", [_png, _jpeg(90)], ids=["PNG", "JPEG"])
def test_quiet_where_nothing_is_planted(tmp_path: Path, usual: Encode) -> None:
    checked = _check(tmp_path, {}, usual)
    assert checked.findings == []
    assert not checked.left_out


@pytest.mark.parametrize(
    ("encode", "usual", "kind", "named"),
    [
        (_jpeg(60), _jpeg(90), "property-JPEG-quality", "JPEG quality 60 in birch, 90 elsewhere"),
        (_jpeg(90), _png, "property-format", "format JPEG in birch, PNG elsewhere"),
        (_jpeg_then_png, _png, "property-JPEG-quality-seen-in-the-pixels", "40 in birch"),
        (_framed((0, 0, 0)), _png, "border", "have black along all sides"),
        (_framed((20, 160, 90)), _jpeg(90), None, "border"),
        (_smaller, _png, "property-longer-side", "longer side 64 in birch, 72 elsewhere"),
        (_grayed, _png, "property-saturation", "saturation 0 in birch"),
    ],
    ids=["JPEG quality", "format", "PNG made from JPEG", "black frame", "green frame", "size", "gray"],
)
def test_what_is_planted_in_a_class_is_named(
    tmp_path: Path, encode: Encode, usual: Encode, kind: str | None, named: str
) -> None:
    alarms = _alarms(_check(tmp_path, {"birch": encode}, usual))
    assert alarms
    assert all(finding.check == "shortcut" and finding.count == 1 for finding in alarms)
    assert all("Class birch can be told" in finding.message for finding in alarms)
    assert any(named in finding.message for finding in alarms)
    assert kind is None or kind in {finding.kind for finding in alarms}


def test_half_of_a_class_grayed_is_named(tmp_path: Path) -> None:
    turns = iter(range(PER_CLASS))

    def encode(pixels: Pixels) -> bytes:
        return _grayed(pixels) if next(turns) % 2 else _png(pixels)

    [alarm] = _alarms(_check(tmp_path, {"birch": encode}))
    assert alarm.kind == "property-saturation"
    assert "images of class birch" in alarm.message
    assert "saturation alone, 0 in them" in alarm.message


def test_a_frame_of_another_color_for_each_class_is_an_error(tmp_path: Path) -> None:
    colors = dict(zip(CLASSES, [(0, 0, 0), (200, 30, 30), (240, 240, 240)], strict=True))
    checked = _check(tmp_path, {name: _framed(color) for name, color in colors.items()})
    [border] = [finding for finding in _alarms(checked) if finding.kind == "border"]
    assert border.severity == "error"
    assert border.count == 3
    rows = {row["name"]: row for row in checked.figures["shortcut"]["rows"]}
    assert rows["border"]["accuracy"] > 0.9
    assert rows["dummy"]["accuracy"] < 0.4


@pytest.mark.parametrize("name", ["digits_subject", "faces_subject"])
def test_quiet_on_real_data(name: str, request: pytest.FixtureRequest) -> None:
    """Faces are told from other crops by how smooth they are: real, so at most good to know."""
    checked = check_shortcuts(request.getfixturevalue(name))
    assert [one for one in _alarms(checked) if one.kind != "border"] == []
    figures = checked.figures["shortcut"]
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    rows = {row["name"]: row for row in figures["rows"]}
    assert list(rows) == ["dummy", "properties", "color", "border", "full model"]
    assert rows["full model"]["accuracy"] > 0.9
    assert rows["color"]["accuracy"] > rows["dummy"]["accuracy"]


def test_black_rows_that_real_data_came_with_are_found(
    digits_subject: Subject, faces_subject: Subject
) -> None:
    """Crops without a face were taken from pictures that had been turned: most have a black row at the top."""
    assert _alarms(check_shortcuts(digits_subject)) == []
    [border] = _alarms(check_shortcuts(faces_subject))
    assert border.severity == "warning"
    assert "not-face" in border.message
    assert "have black along the top, of the other classes' 0.0 %" in border.message


def test_a_part_as_good_as_the_whole_is_told(faces_subject: Subject) -> None:
    """Of a full model that knows nothing the properties are ahead."""
    assert faces_subject.reference is not None
    knows_nothing = np.full_like(faces_subject.reference.outputs_train, 0.5)
    weak = replace(faces_subject, reference=replace(faces_subject.reference, outputs_train=knows_nothing))
    found = {finding.kind: finding.severity for finding in check_shortcuts(weak).findings}
    assert found["properties-as-good"] == "info"


def test_shows_images_of_the_class_whatever_the_jobs(tmp_path: Path) -> None:
    subject = _subject(_write(tmp_path / "data", {"birch": _smaller}), tmp_path)
    checked = check_shortcuts(subject)
    [alarm] = _alarms(checked)
    shown = [index for item in alarm.items for index in item.indices]
    assert len(shown) == 6
    assert all(subject.dataset.targets[index] == "birch" for index in shown)
    again = check_shortcuts(replace(subject, job=replace(subject.job, jobs=2)))
    assert (again.figures, again.findings) == (checked.figures, checked.findings)


def _draw(folder: Path, counts: Mapping[str, int], value: Callable[[int], int]) -> Path:
    for name, n in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(n):
            pixels = np.full((16, 16, 3), value(number), np.uint8)
            (folder / name / f"{number}.png").write_bytes(_png(pixels))
    return folder


@pytest.mark.parametrize(
    "counts",
    [{"a": 4}, {"a": 1, "b": 1}, {"a": 1, "b": 1, "c": 1}],
    ids=["one class", "two images", "one each"],
)
def test_left_out_where_nothing_can_be_compared(tmp_path: Path, counts: Mapping[str, int]) -> None:
    subject = _subject(_draw(tmp_path / "data", counts, lambda number: number), tmp_path)
    checked = check_shortcuts(subject)
    assert checked.findings == []
    assert "Too few training images" in checked.left_out["shortcut"]


def test_identical_images_tell_nothing(tmp_path: Path) -> None:
    checked = check_shortcuts(
        _subject(_draw(tmp_path / "data", {"a": 12, "b": 12}, lambda number: 90), tmp_path)
    )
    assert checked.findings == []


def test_a_regression_is_left_out(tmp_path: Path) -> None:
    folder = _draw(tmp_path / "data", {"a": 30}, lambda number: 8 * number)
    lines = ["path,count", *(f"a/{number}.png,{number}" for number in range(30))]
    (folder / "labels.csv").write_text("\n".join(lines))
    checked = check_shortcuts(_subject(folder / "labels.csv", tmp_path))
    assert "number" in checked.left_out["shortcut"]
    assert not checked.figures
