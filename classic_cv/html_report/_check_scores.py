"""What the checks of the score found out, as blocks of a page: score, limits, given predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from classic_cv.checks.text import sentence
from classic_cv.checks.wording import p_value
from classic_cv.html_report._check_blocks import (
    Block,
    Cell,
    Chart,
    Heading,
    Pair,
    Sentence,
    bar_cell,
    interval_cells,
    p_text,
    reaching,
    table,
    whole,
)
from classic_cv.html_report._check_charts import Point, learning_curve
from classic_cv.html_report._check_data import MOST_ROWS, SCORE, leaked_accuracy
from classic_cv.html_report._format import (
    Score,
    ci,
    ci_text,
    fixed,
    is_number,
    maybe,
    points,
    share,
    size_text,
)
from classic_cv.html_report._page import quality_tiles
from classic_cv.html_report._parts import Record

DIFFERENCE: tuple[Any, ...] = (("difference", "number"), ("95 % interval", "interval"))


# --- score --------------------------------------------------------------------------------------------------


def score(found: Record) -> list[Block]:
    """The classical model against what knows nothing, chance, other splits, and where it is weak."""
    told = (
        (_permutation(found),),
        (_smallest(found), "small-test-part"),
        (_spread(found),),
        (found.get("segments_note"),),
    )
    return [
        *_baselines(found),
        *(Sentence(sentence(text), unless=frozenset(unless)) for text, *unless in told if text),
        *segments(found.get("segments") or []),
    ]


def _scoring(found: Record) -> tuple[Score, str]:
    """What is measured, and the key that holds it: a regression has its mean absolute error."""
    name = found.get("scoring") or "accuracy"
    key = "accuracy" if name == "accuracy" else "mae"
    values = [row[key] for row in found.get("rows") or [] if is_number(row.get(key))]
    return Score(name, max(values, default=None)), key


MODELS = {"dummy": "no look at the image", "properties": "properties of file and image"}
"""Baselines as they are told; the classical model has its own name."""


def _baselines(found: Record) -> list[Block]:
    scale, key = _scoring(found)
    rows: list[list[Cell]] = []
    for entry in found.get("rows") or []:
        value, interval = interval_cells(entry, key, "ci95", scale.text)
        whisker = bar_cell(entry, key, "ci95") if scale.is_share else None
        lead = interval_cells(entry, "difference", "difference_ci95", scale.change)
        known = is_number(entry.get("difference"))
        name = str(entry["name"])
        rows.append([MODELS.get(name, name), value, interval, whisker, *(lead if known else ("", ""))])
    columns: list[Any] = [
        ("model", "name"),
        (scale.name, "number"),
        ("95 % interval", "interval"),
        ("", "bar"),
        ("lead of the classical model", "number"),
        ("95 % interval", "interval"),
    ]
    shown = table("The classical model against baselines", columns, rows)
    where: list[Block] = [Sentence(f"Measured on {found['where']}.", "note")] if found.get("where") else []
    return [Heading("Against baselines"), *where, *shown] if shown else []


def _permutation(found: Record) -> str:
    entry = found.get("permutation") or {}
    if not is_number(entry.get("p")):
        return ""
    text = fixed(2) if entry.get("scoring") == "correlation" else share
    told = f"With the labels shuffled {whole(entry.get('n_permutations'))} times, a linear model on the same features "
    told += f"reached a {entry.get('scoring') or 'score'} of {maybe(entry.get('null_mean'), text)} on average and of "
    told += f"{maybe(entry.get('null_max'), text)} at best; "
    return told + f"with the true labels {maybe(entry.get('observed'), text)} ({p_value(entry['p'])})."


def _smallest(found: Record) -> str:
    value = found.get("smallest_difference")
    if not is_number(value):
        return ""
    return f"The smallest difference of two models that this test part can show: about {fixed(1)(100 * value)} points."


def _spread(found: Record) -> str:
    entry = found.get("spread") or {}
    splits = [value for value in entry.get("splits") or [] if is_number(value)]
    if not splits:
        return ""
    scale, _ = _scoring(found)
    told = f"The {scale.name} on {len(splits)} other splits of the same images: {scale.text(min(splits))} to "
    told += scale.text(max(splits))
    if is_number(entry.get("mean")) and is_number(entry.get("deviation")):
        # A deviation is a difference without a direction.
        deviation = scale.change(entry["deviation"]).lstrip("+")
        told += f", mean {scale.text(entry['mean'])}, standard deviation {deviation}"
    return f"{told}."


def segments(found: Sequence[Record]) -> list[Block]:
    """Groups of images on which the model is weaker than on the rest."""
    rows: list[list[Cell]] = []
    for entry in found:
        value, interval = interval_cells(entry, "accuracy", "ci95")
        rest, p = maybe(entry.get("rest"), share), maybe(entry.get("p"), p_text)
        whisker = bar_cell(entry, "accuracy", "ci95")
        rows.append([str(entry["name"]), whole(entry.get("n")), value, interval, whisker, rest, p])
    columns: list[Any] = [("images", "number"), *SCORE, ("the rest", "number"), ("p", "number")]
    shown = table("Weak segments", [("segment", "name"), *columns], rows, MOST_ROWS)
    return [Heading("Where it is weak"), *shown] if shown else []


LIMITED = frozenset({"limited-by-data", "limited-by-features", "nothing-to-gain", "limit-undecided"})
"""Kinds of findings that say what more images would bring."""

# --- limits -------------------------------------------------------------------------------------------------


def limits(found: Record) -> list[Block]:
    """The learning curve with what twice the images would bring, and the accuracy of other input sizes."""
    note: list[Block] = [Sentence(sentence(found["note"]), "note")] if found.get("note") else []
    return [*_learning(found), *note, *_input_size(found.get("input_size") or {})]


def _learning(found: Record) -> list[Block]:
    measured = sorted(
        (
            Point(float(entry["images"]), float(entry["mean"]), ci(entry, "ci95"))
            for entry in found.get("points") or []
            if is_number(entry.get("mean")) and is_number(entry.get("images")) and entry["images"] > 0
        ),
        key=lambda point: point.x,
    )
    if not measured:
        return []
    curve = sorted((float(x), float(y)) for x, y in found.get("curve") or [] if is_number(y) and x > 0)
    expected = _expected(found.get("twice") or {}, measured[-1], curve)
    rows: list[list[Cell]] = [
        [whole(one.x), share(one.y), ci_text(one.interval, share)]
        for one in (*measured, *([expected] if expected else []))
    ]
    if expected:
        rows[-1][0] = f"{rows[-1][0]} (expected)"
    columns: list[Any] = [("images", "name"), ("accuracy", "number"), ("95 % interval", "interval")]
    chart = Chart("learning curve", learning_curve(measured, curve, expected), half=True)
    text = "Dots are measured, with the 95 % interval of the mean over draws of training images."
    if curve:
        text += " The dashed line is the law that was fitted to them."
    if is_number(found.get("train_accuracy")):
        text += f" On the training images themselves the accuracy is {share(found['train_accuracy'])}."
    right: list[Block] = [*_twice_text(found.get("twice") or {}), Sentence(text, "note")]
    return [
        Heading("With more images to learn from"),
        Pair([chart], [*right, *table("Accuracy by training images", columns, rows)]),
    ]


def _expected(twice: Record, last: Point, curve: Sequence[tuple[float, float]]) -> Point | None:
    """Accuracy with twice the images: what is gained counts from the fitted law where there is one."""
    images, gain = twice.get("images"), twice.get("gain")
    if not is_number(images) or not is_number(gain) or images <= 0:
        return None
    before = [y for x, y in curve if x <= images / 2 * 1.001]
    base = before[-1] if before else last.y
    interval = ci(twice, "ci95")
    reach = (base + interval[0], base + interval[1]) if interval else None
    return Point(float(images), base + gain, reach)


def _twice_text(twice: Record) -> list[Block]:
    if not is_number(twice.get("gain")):
        return []
    gain = points(twice["gain"]) + reaching(twice, "ci95", points)
    return [Sentence(f"Twice the images would bring about {gain}.", unless=LIMITED)]


def _input_size(found: Record) -> list[Block]:
    rows: list[list[Cell]] = []
    for entry in found.get("rows") or []:
        value, interval = interval_cells(entry, "accuracy", "ci95")
        change = interval_cells(entry, "difference", "difference_ci95", points)
        label = size_text(entry.get("size"))
        rows.append([label, value, interval, *(change if is_number(entry.get("difference")) else ("", ""))])
    columns: list[Any] = [
        ("input", "name"),
        ("accuracy", "number"),
        ("95 % interval", "interval"),
        *DIFFERENCE,
    ]
    shown = table("Accuracy by input size", columns, rows)
    note: list[Block] = [Sentence(sentence(found["note"]), "note")] if found.get("note") else []
    return [Heading("With larger or smaller images"), *shown, *note] if shown or note else []


# --- predictions --------------------------------------------------------------------------------------------


def predictions(found: Record) -> list[Block]:
    """Somebody else's predictions: the verdict, figures, the difference to the classical model, weak segments."""
    verdict: list[Block] = [Sentence(str(found["verdict"]), "lead")] if found.get("verdict") else []
    rows: list[list[Cell]] = [
        [tile["label"], tile["value"], tile["interval"], tile["bar"]]
        for tile in quality_tiles(found.get("metrics") or {}, {})
    ]
    columns: list[Any] = [("figure", "name"), ("value", "number"), ("95 % interval", "interval"), ("", "bar")]
    shown = table("Figures of the given predictions", columns, rows)
    return [
        *verdict,
        *_given_difference(found.get("difference") or {}),
        *shown,
        *leaked_accuracy(found.get("leakage") or {}, "What the leaked images do to their score"),
        *segments(found.get("segments") or []),
    ]


def _given_difference(found: Record) -> list[Block]:
    if not is_number(found.get("value")):
        return []
    text = f"Against the classical model: {points(found['value'])}{reaching(found, 'ci95', points)}"
    if is_number(found.get("wins")) and is_number(found.get("losses")):
        text += (
            f"; they alone are right on {whole(found['wins'])} images, it alone on {whole(found['losses'])}"
        )
    p = f" (McNemar's test, {p_value(found['p'])})" if is_number(found.get("p")) else ""
    return [Sentence(f"{text}{p}.")]
