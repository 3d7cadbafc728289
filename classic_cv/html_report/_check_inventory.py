"""What the data are made of, as blocks of a page: images per class, sizes, kinds of files, quality, bad files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from classic_cv.checks.wording import small_share
from classic_cv.html_report._check_blocks import Block, Cell, Chart, Heading, Sentence, short, table, whole
from classic_cv.html_report._format import fixed, is_number, maybe, share
from classic_cv.html_report._page import balance
from classic_cv.html_report._parts import Record

MOST_VALUES = 10
"""Formats, cameras and the like that are listed; data from many phones has hundreds."""

MOST_FILES = 50
"""Unreadable files that are listed."""

LEAST_IMBALANCE = 1.005
"""The imbalance above which it is worth a figure: below it the classes are as good as equal."""

KINDS = {"formats": "format", "modes": "color mode", "orientations": "orientation", "cameras": "camera"}

VALUES: Mapping[str, Mapping[str, str]] = {
    "modes": {"1": "black and white", "L": "gray (L)", "LA": "gray with alpha (LA)", "P": "palette (P)"},
    "orientations": {
        "0": "not said",
        "1": "upright",
        "2": "mirrored",
        "3": "turned by half",
        "4": "upside down, mirrored",
        "5": "turned left, mirrored",
        "6": "turned left",
        "7": "turned right, mirrored",
        "8": "turned right",
    },
}
"""What codes of files stand for; orientations are those of EXIF, as the pixels are stored."""

UNITS = {
    "blank": "spread of brightness (standard deviation, 0 to 1)",
    "gray-among-color": "share of gray images, above which they are no exceptions",
}
"""What those kinds of bad images are measured by that do not say it."""

SIZES = {
    "width": "width, px",
    "height": "height, px",
    "aspect": "width : height",
    "bytes": "file size, bytes",
    "target": "target",
}

QUANTILES = {
    "min": "smallest",
    "q25": "a quarter below",
    "median": "median",
    "q75": "a quarter above",
    "max": "largest",
}


def unreadable(found: Record) -> list[Block]:
    """The files with their reasons, also those that have no place in the data set."""
    rows: list[list[Cell]] = [[entry["file"], entry["reason"]] for entry in found.get("files") or []]
    return table("Unreadable files", [("file", "name"), ("reason", "text")], rows, MOST_FILES)


# --- inventory ----------------------------------------------------------------------------------------------


def inventory(found: Record) -> list[Block]:
    """Images per class and part, sizes, formats, dates, and what was left out by design."""
    return [
        *_balance(found.get("classes") or {}, found.get("imbalance")),
        *_sizes(found),
        *_kinds(found),
        *_dates(found.get("dates") or {}),
        *_ignored(found),
    ]


def _balance(classes: Mapping[str, Mapping[str, Any]], imbalance: Any) -> list[Block]:
    counts = {
        name: {
            "train": int(parts.get("train") or 0) + int(parts.get("val") or 0),
            "test": int(parts.get("test") or 0),
        }
        for name, parts in classes.items()
    }
    shown = balance(counts)
    if shown is None:
        return []
    (most, n_most), (fewest, n_fewest) = shown["ends"]
    text = f"From {most} with {n_most} to {fewest} with {n_fewest}"
    if n_most == n_fewest:
        text = f"{n_most} of each class"
    if is_number(imbalance) and imbalance > LEAST_IMBALANCE:
        text += f", {short(imbalance)} times as many"
    val = any(parts.get("val") for parts in classes.values())
    text += ". The training part includes the validation part." if val else "."
    return [Heading("Images per class"), Sentence(text, "note"), Chart("images per class", shown["chart"])]


def _sizes(found: Record) -> list[Block]:
    rows: list[list[Cell]] = []
    for key, label in SIZES.items():
        entry = found.get(key)
        if isinstance(entry, Mapping) and is_number(entry.get("median")):
            text = fixed(2) if key == "aspect" else short if key == "target" else whole
            rows.append([label, *(maybe(entry.get(q), text) for q in QUANTILES), _bars(entry)])
    columns: list[Any] = [("", "name"), *((title, "number") for title in QUANTILES.values())]
    shown = table("Sizes of the images", [*columns, ("how often", "histogram")], rows)
    return [Heading("Sizes"), *shown] if shown else []


def _bars(entry: Record) -> list[str] | None:
    """Heights of a small histogram as CSS lengths."""
    counts: Sequence[int] = (entry.get("histogram") or {}).get("counts") or []
    most = max(counts, default=0)
    return [f"{100 * n / most:.0f}%" for n in counts] if most else None


def _kinds(found: Record) -> list[Block]:
    rows: list[list[Cell]] = []
    for key, label in KINDS.items():
        counts = found.get(key) or {}
        # Cameras are known of some images only.
        n_images = found["images"] if is_number(found.get("images")) else sum(counts.values())
        ranked = sorted(counts.items(), key=lambda entry: -entry[1])
        if key == "orientations" and set(counts) <= {"0", "1"}:
            # All as they were stored.
            continue
        for value, n in ranked[:MOST_VALUES]:
            told = VALUES.get(key, {}).get(str(value), str(value))
            rows.append([label, told or "unknown", whole(n), small_share(n / max(n_images, 1))])
        if len(ranked) > MOST_VALUES:
            rest = sum(n for _, n in ranked[MOST_VALUES:])
            rows.append(
                [
                    label,
                    f"{len(ranked) - MOST_VALUES} others",
                    whole(rest),
                    small_share(rest / max(n_images, 1)),
                ]
            )
    columns: list[Any] = [("", "name"), ("value", "text"), ("images", "number"), ("share", "number")]
    shown = table("Kinds of files", columns, rows)
    return [Heading("Kinds of files"), *shown] if shown else []


def _dates(dates: Record) -> list[Block]:
    if not dates.get("known"):
        return []
    text = f"{share(dates['known'])} of the images say when they were taken"
    if dates.get("first") and dates.get("last"):
        text += f": from {dates['first'][:10]} to {dates['last'][:10]}"
    return [Sentence(f"{text}.")]


def _ignored(found: Record) -> list[Block]:
    suffixes: Mapping[str, int] = found.get("ignored_suffixes") or {}
    rows: list[list[Cell]] = [[str(reason), whole(n)] for reason, n in (found.get("ignored") or {}).items()]
    rows += [[f"not an image: {suffix or 'no suffix'}", whole(n)] for suffix, n in suffixes.items()]
    shown = table("Files left out by design", [("reason", "name"), ("files", "number")], rows, MOST_VALUES)
    return [Heading("Files left out by design"), *shown] if shown else []


# --- quality ------------------------------------------------------------------------------------------------


def quality(found: Record) -> list[Block]:
    """The thresholds by which images were told apart."""
    rows: list[list[Cell]] = [
        [
            kind,
            str(entry.get("unit") or UNITS.get(kind, "")),
            maybe(entry.get("median"), short) if "median" in entry else "",
            maybe(entry.get("threshold"), short),
            maybe(entry.get("default"), short),
            maybe(entry.get("from_data"), short),
            whole(entry["n"]) if "n" in entry else "",
        ]
        for kind, entry in found.items()
        if isinstance(entry, Mapping) and "threshold" in entry
    ]
    columns: list[Any] = [
        ("kind", "name"),
        ("measured by", "text"),
        ("median", "number"),
        ("threshold", "number"),
        ("default", "number"),
        ("from the data", "number"),
        ("images", "number"),
    ]
    shown = table("Thresholds of the quality check", columns, rows)
    note = (
        "The threshold is the farther one of the default and of what would be an outlier among these images."
    )
    return [Heading("Thresholds"), Sentence(note, "note"), *shown] if shown else []
