"""Weak segments: those that a test plants are named, others and chance are not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from classic_cv.checks.divisions import divisions
from classic_cv.checks.segments import ALPHA, LEAST, check_segments, segment_findings, weak_segments
from classic_cv.checks.subject import Subject
from classic_cv.checks.survey import THUMBNAIL, Survey

CLASSES = ("rose", "tulip", "daisy", "iris")
NAMES = ("log_width", "log_sharpness", "brightness", "jpeg_quality", "format", "saturation")


def survey_of(n: int, seed: int = 0, **columns: NDArray[Any]) -> Survey:
    """A survey of n images that have nothing in common by chance only; columns and properties can be given."""
    rng = np.random.default_rng(seed)
    properties = rng.random((n, len(NAMES)), np.float32)
    properties[:, NAMES.index("format")] = 3
    properties[:, NAMES.index("jpeg_quality")] = 75
    for name in set(columns) & set(NAMES) - {"format"}:
        properties[:, NAMES.index(name)] = columns.pop(name)
    kinds: Mapping[str, Any] = {
        "format": np.full(n, "JPEG"),
        "mode": np.full(n, "RGB"),
        "camera": np.full(n, ""),
        "folder": np.full(n, ""),
        "date": np.full(n, ""),
        "gray": np.zeros(n, np.bool_),
        **columns,
    }
    return Survey(
        indices=np.arange(n, dtype=np.intp),
        problems=(),
        width=np.full(n, 20),
        height=np.full(n, 20),
        n_bytes=np.full(n, 900),
        orientation=np.ones(n, np.int64),
        properties=properties,
        property_names=NAMES,
        quality=np.zeros((n, 0), np.float32),
        quality_names=(),
        color=np.zeros((n, 0), np.float32),
        border=np.zeros((n, 0), np.float32),
        thumbnails=np.zeros((n, THUMBNAIL, THUMBNAIL), np.uint8),
        **kinds,
    )


def answers(n: int, accuracy: float = 0.9, seed: int = 1) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Whether n answers are right, and classes, both by lot."""
    rng = np.random.default_rng(seed)
    return rng.random(n) < accuracy, rng.integers(0, len(CLASSES), n)


def names(correct: NDArray[np.bool_], y: NDArray[np.int64], survey: Survey) -> list[str]:
    return [one.name for one in weak_segments(correct, y, CLASSES, survey, np.arange(len(y)))]


def test_a_weak_class_is_named_with_its_figures() -> None:
    correct, y = answers(400)
    correct[np.flatnonzero(y == 1)[::2]] = False
    (found,) = weak_segments(correct, y, CLASSES, survey_of(400), np.arange(400))
    mine = y == 1
    assert found.name == "class tulip"
    assert found.n == mine.sum()
    assert found.accuracy == correct[mine].mean()
    assert found.rest == correct[~mine].mean()
    assert found.gap == pytest.approx(found.rest - found.accuracy)
    assert found.ci95[0] < found.accuracy < found.ci95[1] < found.rest
    assert 0 < found.p < 1e-6
    assert set(found.to_table()) == {"name", "n", "accuracy", "ci95", "rest", "gap", "p"}


@pytest.mark.parametrize(
    ("column", "weak", "name"),
    [
        ("brightness", lambda values: values < 0.2, "brightness at most 0.199"),
        ("brightness", lambda values: values > 0.8, "brightness at least 0.8"),
        ("log_width", lambda values: values < 0.2, "width at most 1.22"),
        ("log_sharpness", lambda values: values > 0.8, "sharpness at least 1.23"),
        ("brightness", lambda values: (values > 0.41) & (values < 0.59), "brightness 0.4 to 0.599"),
    ],
)
def test_a_weak_range_of_a_property_is_named_by_its_ends(column: str, weak: Any, name: str) -> None:
    correct, y = answers(1000)
    values = np.random.default_rng(2).permutation(1000) / 1000
    correct[weak(values) & (np.arange(1000) % 3 == 0)] = False
    columns: dict[str, Any] = {column: values}
    assert names(correct, y, survey_of(1000, **columns)) == [name]


@pytest.mark.parametrize(
    ("column", "values", "name"),
    [
        ("format", ("PNG", "JPEG"), "format PNG"),
        ("mode", ("L", "RGB"), "mode L"),
        ("camera", ("Box 2", ""), "camera Box 2"),
        ("camera", ("", "Box 2"), "no camera known"),
        ("folder", ("site b", "site a"), "folder site b"),
        ("gray", (True, False), "gray"),
        ("gray", (False, True), "in color"),
        ("jpeg_quality", (30, 75), "JPEG quality 30"),
        ("jpeg_quality", (99, 75), "JPEG quality 99"),
    ],
)
def test_a_weak_kind_is_named(column: str, values: tuple[Any, Any], name: str) -> None:
    correct, y = answers(400)
    mine = np.random.default_rng(3).random(400) < 0.2
    correct[np.flatnonzero(mine)[::2]] = False
    assert names(correct, y, survey_of(400, **{column: np.where(mine, *values)})) == [name]


def test_the_few_images_beside_a_value_that_most_have_are_told() -> None:
    correct, y = answers(600)
    mine = np.random.default_rng(3).random(600) < 0.1
    correct[np.flatnonzero(mine)[::2]] = False
    quality = np.where(mine, np.arange(600) % 40 + 10, 75)
    assert names(correct, y, survey_of(600, jpeg_quality=quality)) == ["JPEG quality at most 49"]


def test_what_is_weak_through_another_segment_only_is_not_told_again() -> None:
    correct, y = answers(600)
    rng = np.random.default_rng(4)
    mine = rng.random(600) < 0.14
    correct[np.flatnonzero(mine)[::2]] = False
    # The gray images are the darkest fifth, too, but for a few.
    brightness = np.where(mine, 0.1, 0.5) + 0.42 * rng.random(600)
    assert names(correct, y, survey_of(600, gray=mine, brightness=brightness)) == ["gray"]


def test_a_property_of_a_hard_class_is_not_held_against_the_property() -> None:
    correct, y = answers(600)
    correct[np.flatnonzero(y == 2)[::2]] = False
    brightness = np.where(y == 2, 0.0, 0.3) + 0.5 * np.random.default_rng(5).random(600)
    assert names(correct, y, survey_of(600, brightness=brightness)) == ["class daisy"]


def test_the_segment_that_costs_most_comes_first() -> None:
    correct, y = answers(1500, 0.97)
    rng = np.random.default_rng(6)
    small, large = rng.random(1500) < 0.04, rng.random(1500) < 0.4
    correct &= ~(small & (rng.random(1500) < 0.5)) & ~(large & (rng.random(1500) < 0.2))
    assert names(correct, y, survey_of(1500, gray=small, mode=np.where(large, "P", "RGB"))) == [
        "mode P",
        "gray",
    ]


def test_chance_is_quiet() -> None:
    found = 0
    for seed in range(40):
        correct, y = answers(300, 0.85, seed)
        kinds = np.random.default_rng(seed).choice(["a", "b", "c"], 300)
        found += bool(names(correct, y, survey_of(300, seed, folder=kinds)))
    # One in twenty sets at most, by Holm's correction.
    assert found <= 4


def test_a_difference_too_small_to_matter_is_not_told() -> None:
    rng = np.random.default_rng(7)
    y = np.repeat(np.arange(4), 5000)
    correct = rng.random(20_000) < np.where(y == 1, 0.80, 0.83)
    assert names(correct, y, survey_of(20_000)) == []


def test_twice_the_mistakes_of_a_good_model_matter() -> None:
    rng = np.random.default_rng(8)
    y = np.repeat(np.arange(4), 2000)
    correct = rng.random(8000) < np.where(y == 1, 0.96, 0.99)
    assert names(correct, y, survey_of(8000)) == ["class tulip"]


@pytest.mark.parametrize("n", [0, 1, 2, 9, 12])
def test_few_images_are_survived_and_tell_nothing(n: int) -> None:
    y = np.arange(n) % 2
    assert names(y == 0, y, survey_of(n)) == []


def test_one_class_identical_images_and_all_wrong_tell_nothing() -> None:
    same = survey_of(60)
    same.properties[:] = 0.5
    y = np.zeros(60, np.int64)
    assert names(np.arange(60) % 2 == 0, y, same) == []
    assert names(np.zeros(60, np.bool_), y, survey_of(60)) == []


def test_rows_of_the_survey_may_be_some_and_in_any_order() -> None:
    correct, y = answers(600)
    gray = np.random.default_rng(9).random(600) < 0.2
    correct[np.flatnonzero(gray)[::2]] = False
    chosen = np.random.default_rng(10).permutation(600)[:450]
    survey = survey_of(600, gray=gray)
    (found,) = weak_segments(correct[chosen], y[chosen], CLASSES, survey, chosen)
    assert (found.name, found.n) == ("gray", gray[chosen].sum())
    assert found.members.tolist() == gray[chosen].tolist()


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(1, 200),
    st.floats(0, 1),
    st.sampled_from(["folder", "mode", "camera"]),
)
def test_what_is_told_keeps_its_promises_in_any_order(seed: int, n: int, accuracy: float, kind: str) -> None:
    correct, y = answers(n, accuracy, seed)
    few = np.random.default_rng(seed).integers(0, 3, n)
    correct &= (few > 0) | (np.arange(n) % 2 == 0)
    survey = survey_of(n, seed, **{kind: few.astype(np.str_)})
    rows = np.arange(n)
    found = weak_segments(correct, y, CLASSES, survey, rows)
    for one in found:
        assert LEAST <= one.n == one.members.sum() < n
        assert one.accuracy == correct[one.members].mean()
        assert one.gap > 0
        assert one.p < ALPHA
    order = np.random.default_rng(seed + 1).permutation(n)
    again = weak_segments(correct[order], y[order], CLASSES, survey, rows[order])
    assert [one.to_table() for one in again] == [one.to_table() for one in found]
    assert weak_segments(np.ones(n, np.bool_), y, CLASSES, survey, rows) == []


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.7, 1.0]), min_size=1, max_size=200))
def test_ranges_of_a_property_hold_each_image_once(values: list[float]) -> None:
    n = len(values)
    survey = survey_of(n, brightness=np.array(values))
    ranges = {name: of for name, of in divisions(survey, np.arange(n)) if name.startswith("brightness")}
    assert len(ranges) != 1
    if ranges:
        assert (np.sum(list(ranges.values()), axis=0) == 1).all()
    for name, members in ranges.items():
        inside = np.array(values)[members]
        assert f"{inside.min():.3g}" in name or f"{inside.max():.3g}" in name


def test_a_finding_lists_the_mistakes_the_weakest_segment_and_the_surest_first() -> None:
    correct, y = answers(400, 1.0)
    survey = survey_of(400)
    correct[np.flatnonzero(y == 1)[::2]] = False
    correct[np.flatnonzero(y == 3)[::3]] = False
    labels = np.where(correct, y, 0)
    outputs = np.full((400, 4), 0.1, np.float32)
    outputs[np.arange(400), labels] = np.linspace(0.4, 0.9, 400)
    found = weak_segments(correct, y, CLASSES, survey, np.arange(400))
    assert [one.name for one in found] == ["class tulip", "class iris"]
    indices = np.arange(400) + 1000
    (finding,) = segment_findings("score", "the model", found, indices, y, labels, outputs, CLASSES)
    assert (finding.severity, finding.kind, finding.count) == ("info", "weak-segments", 2)
    assert f"class tulip (50.0 % of {(y == 1).sum()} images" in finding.message
    assert [item.indices[0] - 1000 for item in finding.items] == [
        *np.flatnonzero((y == 1) & ~correct)[::-1].tolist(),
        *np.flatnonzero((y == 3) & ~correct)[::-1].tolist(),
    ]
    assert finding.items[0].note == "labelled tulip, predicted rose"
    assert [item.score for item in finding.items] == sorted(
        (item.score for item in finding.items), reverse=True
    )


def planted(subject: Subject, weak: NDArray[np.bool_]) -> Subject:
    """The same data with a reference that is always right, but for a half of these images, by position."""
    reference = subject.reference
    assert reference is not None
    outputs = []
    for indices in (reference.train, reference.test):
        labels = subject.y(indices)
        labels = np.where(weak[indices] & (indices % 2 == 0), (labels + 1) % len(subject.class_names), labels)
        outputs.append(np.eye(len(subject.class_names), dtype=np.float32)[labels])
    return replace(subject, reference=replace(reference, outputs_train=outputs[0], outputs_test=outputs[1]))


def test_the_reference_is_checked_on_all_images(digits_subject: Subject) -> None:
    weak = digits_subject.y(np.arange(len(digits_subject.dataset))) == 8
    checked = check_segments(planted(digits_subject, weak))
    (row,) = checked.figures["score"]["segments"]
    assert row["name"] == "class 8"
    reference = digits_subject.reference
    assert reference is not None
    indices = np.concatenate([reference.train, reference.test])
    assert row["n"] == weak[indices].sum()
    (finding,) = checked.findings
    assert (finding.check, finding.severity) == ("score", "info")
    mistakes = indices[weak[indices] & (indices % 2 == 0)]
    assert sorted(item.indices[0] for item in finding.items) == sorted(mistakes.tolist())
    nobody = np.zeros(len(weak), np.bool_)
    assert check_segments(planted(digits_subject, nobody)).findings == []


def test_without_a_reference_the_reason_is_told(digits_subject: Subject) -> None:
    checked = check_segments(replace(digits_subject, reference=None, no_reference="a single class"))
    assert checked.findings == []
    assert checked.figures["score"] == {
        "segments": [],
        "segments_note": "Weak segments are not told: there is no classical model (a single class).",
    }
