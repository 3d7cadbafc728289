"""What the checks of the data found out, as blocks of a page: copies, labels, drift, shortcuts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from classic_cv.checks.wording import p_value, property_amount, property_title, small_share
from classic_cv.html_report._check_blocks import (
    Block,
    Cell,
    Heading,
    Sentence,
    bar_cell,
    interval_cells,
    listed,
    p_text,
    reaching,
    short,
    table,
    whole,
)
from classic_cv.html_report._format import fixed, is_number, maybe, points, share
from classic_cv.html_report._parts import Record, bar

MOST_ROWS = 15
"""Rows of a table that is ranked: what follows matters less than all that is shown."""


# --- copies -------------------------------------------------------------------------------------------------


def duplicates(found: Record) -> list[Block]:
    """Pairs of copies within a part by kind, and how many copies of its own images the search finds."""
    return [*_pairs(found.get("pairs") or {}, across=False), *_recall(found.get("calibration") or {})]


def _recall(found: Record) -> list[Block]:
    recall: Mapping[str, Any] = found.get("recall") or {}
    rows: list[list[Cell]] = [
        [name, share(value), bar(0, value, value)] for name, value in recall.items() if is_number(value)
    ]
    shown = table("Copies found", [("changed", "name"), ("found", "number"), ("", "bar")], rows)
    if not shown:
        return []
    made = whole(found["made"]) if is_number(found.get("made")) else "some"
    note = f"Copies were made of {made} of the images, to see how many of them the search would find on these data."
    return [Heading("What would be found"), Sentence(f"{note}{_false_alarms(found)}", "note"), *shown]


def _false_alarms(found: Record) -> str:
    """How the limits were set, for those who wonder about look-alikes."""
    if not is_number(found.get("expected_false_alarms")):
        return ""
    told = " Limits were set on these data, so that of all images look-alikes are expected to make "
    told += f"{short(found['expected_false_alarms'])} pass for copies"
    if is_number(found.get("descriptor_limit")):
        told += f": the details of a copy have to agree to {found['descriptor_limit']:.2f} of 1"
        if is_number(found.get("look_alikes")):
            told += f", those of look-alikes agree to {found['look_alikes']:.2f}"
    return f"{told}."


def leakage(found: Record) -> list[Block]:
    """Accuracy with and without the leaked test images, and the pairs of copies by kind and parts."""
    title = "What the leaked images do to the score of the classical model"
    accuracy = found.get("accuracy") or {}
    return [
        *leaked_accuracy(accuracy, title),
        *_leaked_difference(accuracy.get("difference") or {}),
        *_pairs(found.get("pairs") or {}, across=True),
    ]


def _leaked_difference(found: Record) -> list[Block]:
    """What the leaked images add to the accuracy."""
    if not is_number(found.get("value")):
        return []
    reach = reaching(found, "ci95", points)
    return [Sentence(f"The leaked images change the accuracy by {points(found['value'])}{reach}.")]


LEAKED = {
    "all": "all test images",
    "without_leaked": "those without a copy in training",
    "leaked": "those with a copy in training",
}


def leaked_accuracy(found: Record, title: str) -> list[Block]:
    """Accuracy on all test images, on those without a leaked one, and on the leaked ones."""
    rows: list[list[Cell]] = []
    for key, label in LEAKED.items():
        entry = found.get(key) or {}
        if is_number(entry.get("accuracy")):
            value, interval = interval_cells(entry, "accuracy", "ci95")
            rows.append([label, whole(entry.get("n")), value, interval, bar_cell(entry, "accuracy", "ci95")])
    shown = table(
        "Accuracy with and without leaked images", [("", "name"), ("images", "number"), *SCORE], rows
    )
    return [Heading(title), *shown] if shown else []


SCORE: tuple[Any, ...] = (("accuracy", "number"), ("95 % interval", "interval"), ("", "bar"))


def _pairs(found: Mapping[str, Mapping[str, int]], *, across: bool) -> list[Block]:
    """Pairs of copies in two parts, or in one."""
    named = dict.fromkeys(part for entry in found.values() for part in entry)
    parts = [part for part in named if (" and " in part) == across]
    rows: list[list[Cell]] = [
        [kind, *(whole(entry.get(part, 0)) for part in parts)]
        for kind, entry in found.items()
        if any(entry.get(part) for part in parts)
    ]
    shown = table("Pairs of copies", [("kind", "name"), *((part, "number") for part in parts)], rows)
    return [Heading("Pairs of copies by part"), *shown] if shown else []


# --- labels -------------------------------------------------------------------------------------------------


def labels(found: Record) -> list[Block]:
    """How many labels are probably wrong, in all and by class."""
    expected = found.get("expected") or {}
    blocks: list[Block] = []
    if is_number(expected.get("n")):
        n = f" of {found['n']:,}" if is_number(found.get("n")) else ""
        interval = reaching(expected, "ci95", whole)
        told = f"About {expected['n']:,.0f}{n} labels are expected to be wrong{interval}."
        blocks.append(Sentence(told, unless=frozenset({"label-errors"})))
    by_class = found.get("by_class") or {}
    ranked = sorted(by_class.items(), key=lambda entry: -(entry[1].get("errors") or 0))
    rows: list[list[Cell]] = [
        [name, maybe(entry["errors"], fixed(1)), entry.get("likely") or ""]
        for name, entry in ranked
        if entry.get("errors")
    ]
    columns: list[Any] = [("class", "name"), ("probably wrong", "number"), ("mostly looks like", "text")]
    shown = table("Labels that are probably wrong by class", columns, rows, MOST_ROWS)
    return [*blocks, *([Heading("By class"), *shown] if shown else [])]


# --- drift --------------------------------------------------------------------------------------------------


def drift(found: Record) -> list[Block]:
    """How well training and test images can be told apart, and by what."""
    blocks: list[Block] = []
    auc = found.get("auc") or {}
    if is_number(auc.get("value")):
        text = f"A classifier that has to tell training from test images reaches an AUC of {auc['value']:.3f}"
        text += f"{reaching(auc, 'ci95', fixed(3))}; 0.5 is guessing, 1 is always right."
        blocks.append(Sentence(text, unless=frozenset({"parts-differ"})))
    return [*blocks, *_label_shift(found), *_drift_table(found.get("properties") or [])]


def _label_shift(found: Record) -> list[Block]:
    blocks: list[Block] = []
    shift = found.get("label_shift") or {}
    if is_number(shift.get("total_variation")):
        told = f"The shares of the classes differ by {small_share(shift['total_variation'])} of the images in all"
        blocks.append(Sentence(f"{told}{_shift_by_chance(shift)}.", unless=frozenset({"label-shift"})))
    if is_number(shift.get("ks")):
        told = f"The cumulative shares of the targets differ by up to {share(shift['ks'])}"
        blocks.append(Sentence(f"{told}{_shift_by_chance(shift)}.", unless=frozenset({"target-shift"})))
    for key, text in (("missing", "Not in the test part"), ("new", "In the test part only")):
        if found.get(key):
            blocks.append(Sentence(f"{text}: {listed(found[key])}."))
    return blocks


def _shift_by_chance(shift: Record) -> str:
    """`` (chance alone gives 2.0 %, p = 0.4)``, of what is known."""
    chance = shift.get("by_chance")
    told = [f"chance alone gives {share(chance)}"] if is_number(chance) else []
    told += [p_value(shift["p"])] if is_number(shift.get("p")) else []
    return f" ({', '.join(told)})" if told else ""


def _drift_table(found: Sequence[Record]) -> list[Block]:
    ranked = sorted(found, key=lambda entry: -(entry.get("ks") or 0))
    rows: list[list[Cell]] = [
        [
            property_title(str(entry["name"])),
            *(_amount(str(entry["name"]), entry.get(part)) for part in ("train", "test")),
            maybe(entry.get("ks"), fixed(3)),
            maybe(entry.get("p"), p_text),
        ]
        for entry in ranked
    ]
    columns: list[Any] = [
        ("property", "name"),
        ("median, training", "number"),
        ("median, test", "number"),
        ("distance (KS)", "number"),
        ("p", "number"),
    ]
    shown = table("Properties in the training and the test part", columns, rows, MOST_ROWS)
    return [Heading("Properties of the images, those that differ most first"), *shown] if shown else []


def _amount(name: str, value: Any) -> str:
    return maybe(value, lambda number: property_amount(name, number))


# --- shortcuts ----------------------------------------------------------------------------------------------


FROM = {
    "dummy": "nothing: the most frequent class",
    "properties": "properties of file and image",
    "color": "color alone",
    "border": "border alone",
    "full model": "the whole image",
}
"""What each model of the check looks at."""


def shortcut(found: Record) -> list[Block]:
    """What can be said of an image's class without looking at what it shows."""
    rows: list[list[Cell]] = []
    for entry in found.get("rows") or []:
        value, interval = interval_cells(entry, "accuracy", "ci95")
        whisker = bar_cell(entry, "accuracy", "ci95")
        balanced = maybe(entry.get("balanced_accuracy"), share)
        name = str(entry["name"])
        rows.append([FROM.get(name, name), value, interval, whisker, balanced, whole(entry.get("columns"))])
    columns: list[Any] = [("from", "name"), *SCORE, ("balanced", "number"), ("numbers used", "number")]
    shown = table("Accuracy from what should not matter", columns, rows)
    head: list[Block] = [Heading("What the class can be told from"), *shown] if shown else []
    return [*head, *_predictive(found.get("properties") or []), *_sources(found.get("sources") or [])]


def _predictive(found: Sequence[Record]) -> list[Block]:
    rows: list[list[Cell]] = []
    for entry in found:
        value, interval = interval_cells(entry, "auc", "ci95", fixed(3))
        # From guessing to perfect.
        whisker = bar_cell(entry, "auc", "ci95", 0.5)
        rows.append(
            [property_title(str(entry["property"])), str(entry.get("class") or ""), value, interval, whisker]
        )
    columns: list[Any] = [
        ("property", "name"),
        ("class", "text"),
        ("AUC", "number"),
        ("95 % interval", "interval"),
        ("", "bar"),
    ]
    shown = table("Properties that tell a class", columns, rows, MOST_ROWS)
    if not shown:
        return []
    note = "How well one property alone tells a class from all others: 0.5 is guessing, 1 is always right."
    return [Heading("Single properties, the strongest first"), Sentence(note, "note"), *shown]


def _sources(found: Sequence[Record]) -> list[Block]:
    """Folders, cameras and dates, and how well each tells the class."""
    rows: list[list[Cell]] = []
    for entry in found:
        value, interval = interval_cells(entry, "accuracy", "ci95")
        whisker, shared = bar_cell(entry, "accuracy", "ci95"), maybe(entry.get("images_in_shared"), share)
        rows.append([str(entry["name"]), whole(entry.get("n")), value, interval, whisker, shared])
    columns: list[Any] = [
        ("source", "name"),
        ("different ones", "number"),
        *SCORE,
        ("images in mixed ones", "number"),
    ]
    shown = table("What the source of an image says of its class", columns, rows, MOST_ROWS)
    if not shown:
        return []
    note = (
        "How well the class can be told from an image's source; a mixed source has images of several classes."
    )
    return [Heading("Where the images come from"), Sentence(note, "note"), *shown]
