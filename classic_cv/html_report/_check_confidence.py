"""How far probabilities can be trusted, as blocks of a page: calibration, coverage, foreign images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from classic_cv.html_report import _charts
from classic_cv.html_report._check_blocks import (
    Block,
    Cell,
    Chart,
    Heading,
    Pair,
    Sentence,
    bar_cell,
    interval_cells,
    table,
    whole,
)
from classic_cv.html_report._check_charts import Point, coverage_curve
from classic_cv.html_report._check_data import SCORE
from classic_cv.html_report._format import ci, fixed, is_number, maybe, share
from classic_cv.html_report._parts import Record


def confidence(found: Record) -> list[Block]:
    """Calibration beside accuracy against coverage, and how well foreign images are recognised as such."""
    left, right = _calibration(found), _coverage(found)
    both: list[Block] = [Pair(left, right)] if left and right else [*left, *right]
    return [*both, *_goals(found.get("goals") or []), *_novelty(found)]


def _goals(found: Sequence[Record]) -> list[Block]:
    rows: list[list[Cell]] = []
    for entry in found:
        value, interval = interval_cells(entry, "accuracy", "ci95")
        goal, threshold = maybe(entry.get("goal"), share), maybe(entry.get("threshold"), fixed(2))
        whisker = bar_cell(entry, "accuracy", "ci95")
        rows.append([goal, threshold, maybe(entry.get("coverage"), share), value, interval, whisker])
    columns: list[Any] = [
        ("right answers wanted", "name"),
        ("threshold", "number"),
        ("answered", "number"),
        *SCORE,
    ]
    shown = table("Thresholds for goals", columns, rows)
    if not shown:
        return []
    note = "Thresholds are chosen on training images, each answered by a model that was fitted without it."
    return [Heading("How sure an answer has to be"), Sentence(note, "note"), *shown]


def _calibration(found: Record) -> list[Block]:
    bins = found.get("reliability") or []
    if not any(entry.get("n") for entry in bins):
        return []
    ece = found.get("ece") if is_number(found.get("ece")) else None
    text = (
        "Points on the dashed line are right as often as they say; below it the model is too sure of itself."
    )
    if ece is not None:
        text += f" Expected calibration error: {ece:.3f}"
        if is_number(found.get("ece_noise")):
            text += f"; perfect calibration would show {found['ece_noise']:.3f} on so few images"
        text += "."
    chart = Chart("reliability diagram", _charts.reliability(bins, ece), half=True)
    return [Heading("Are the probabilities right?"), chart, Sentence(text, "note")]


def _coverage(found: Record) -> list[Block]:
    curve = sorted(
        (
            Point(float(entry["coverage"]), float(entry["accuracy"]), ci(entry, "ci95"))
            for entry in found.get("curve") or []
            if is_number(entry.get("coverage")) and is_number(entry.get("accuracy")) and entry["coverage"] > 0
        ),
        key=lambda point: point.x,
    )
    if not curve:
        return []
    suggested = found.get("suggested") or {}
    at = None
    blocks: list[Block] = []
    if is_number(suggested.get("coverage")) and is_number(suggested.get("accuracy")):
        at = Point(float(suggested["coverage"]), float(suggested["accuracy"]))
        option = f"--abstain {maybe(suggested.get('threshold'), fixed(2))}"
        text = f"With {option}, {share(at.x)} of the images get an answer, of which {share(at.y)} are right."
        blocks.append(Sentence(text, unless=frozenset({"abstain", "abstain-falls-short"})))
    note = "Only the surest answers are given: the fewer, the more of them are right. The band is the 95 % interval."
    chart = Chart("accuracy against coverage", coverage_curve(curve, at), half=True)
    return [Heading("When not to answer"), chart, *blocks, Sentence(note, "note")]


def _novelty(found: Record) -> list[Block]:
    rows: list[list[Cell]] = []
    for entry in found.get("novelty") or []:
        value, interval = interval_cells(entry, "auc", "ci95", fixed(3))
        whisker = bar_cell(entry, "auc", "ci95", 0.5)
        answered = maybe(entry["answered"], share) if "answered" in entry else ""
        rows.append([str(entry["set"]), whole(entry.get("n")), value, interval, whisker, answered])
    columns: list[Any] = [
        ("images of", "name"),
        ("images", "number"),
        ("AUC", "number"),
        ("95 % interval", "interval"),
        ("", "bar"),
        ("answered nevertheless", "number"),
    ]
    shown = table("How well foreign images are told from the data's own", columns, rows)
    left_out = [
        Sentence(f"{'' if name == 'all' else f'Without {name}: '}{reason}.", "note")
        for name, reason in (found.get("novelty_left_out") or {}).items()
    ]
    if not shown:
        return [Heading("Does it notice foreign images?"), *left_out] if left_out else []
    note = "How well images that are nothing of the kind are told from test images by their distance to the training "
    note += "images: 0.5 is guessing, 1 is always right."
    return [Heading("Does it notice foreign images?"), Sentence(note, "note"), *shown, *left_out]
