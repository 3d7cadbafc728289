"""The shelf table: every recipe of the shelf on each data set, as whole fits, one process each.

    python benchmarks/shelf.py                                       # the demo sets, printed only
    python benchmarks/shelf.py --data flowers17/ --images 500 --write
    python benchmarks/shelf.py --data flowers17/ --recipe hog --recipe hog-color --auto --time-limit 5m --write

Without `--data` the sets are those that `classic-cv demo` writes. `--write` keeps what is measured, by set and
recipe, in `benchmarks/shelf.json`, and renders all that is kept there into `benchmarks/README.md`; what is not
measured again keeps its rows and their date. A fit that fails is a row with its error. After each fit everything
is on disk, so that an interrupt loses one fit at most.

Seconds and peak memory are those of the whole `classic-cv fit` process; the other figures are from its report.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import platform
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import msgspec

from benchmarks.accuracy import FitError, WholeFit, run_fit
from classic_cv.artifact import write_atomically
from classic_cv.demo import DemoSet, write_demo
from classic_cv.errors import ClassicCVError
from classic_cv.fitting import versions
from classic_cv.recipe import AUTO, FLOORS, Recipe, load_recipe, shelf
from classic_cv.timing import available_cores, cpu_name

KEPT = Path(__file__).with_name("shelf.json")
README = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- shelf table -->", "<!-- end of shelf table -->"
MAX_ERROR = 240
"""Characters of an error that a row shows."""

EXPLANATION = """\
Accuracy on the test part, or the mean absolute error where the target is a number, with its 95 % interval; images
that the recipe was fitted on; seconds of the whole process, start to end; milliseconds from the encoded bytes of one
image to its label, on one thread, median and 95th percentile; size of the model file; peak memory of the process."""

COLUMNS = ("recipe", "test part", "fitted on", "fit, s", "ms per image", "p95", "model, KiB", "peak, MB")


class Origin(msgspec.Struct, frozen=True):
    """What rows that are comparable have in common.

    ``images``: what ``--images`` allowed, None for all. ``command``: without machine paths.
    """

    date: str
    cpu: str
    threads: int
    versions: dict[str, str]
    images: int | None
    command: str


class Figures(msgspec.Struct, frozen=True):
    """What a fit came to.

    ``score`` is an accuracy (0 to 1) or, for a regression, a mean absolute error in the target's unit;
    ``chosen`` the recipe that a search chose.
    """

    task: str
    n_classes: int
    n_train: int
    n_test: int
    score: float
    score_ci95: tuple[float, float]
    seconds: float
    ms_p50: float
    ms_p95: float
    model_bytes: int
    peak_mb: float
    chosen: str | None = None


class Row(msgspec.Struct, frozen=True):
    """One recipe on one set: figures, or the error that the fit ended with."""

    data: str
    recipe: str
    origin: Origin
    figures: Figures | None = None
    error: str | None = None


def figures_of(fit: WholeFit, searched: bool) -> Figures:
    """A fit's figures out of its report.

    Raises:
        FitError: it has no test part.
    """
    report, test = fit.report, fit.report["test"]
    if test is None:
        raise FitError("the set has no test part")
    score = "mae" if test["task"] == "regression" else "accuracy"
    low, high = test[f"{score}_ci95"]
    return Figures(
        task=test["task"],
        n_classes=report["classes"],
        n_train=report["n_train"],
        n_test=test["n"],
        score=test[score],
        score_ci95=(low, high),
        seconds=fit.seconds,
        ms_p50=test["latency_ms"]["p50"],
        ms_p95=test["latency_ms"]["p95"],
        model_bytes=test["model_bytes"],
        peak_mb=fit.peak_mb,
        chosen=report["recipe"] if searched else None,
    )


def portable(message: str, data: Path) -> str:
    """An error on ``data`` (absolute) in one line: paths by their last component, at most ``MAX_ERROR`` characters."""
    for path in (data, data.resolve()):
        message = message.replace(str(path), data.name)
    message = re.sub(r"(?<![\w.:/])/(?:[^\s/:'\"]+/)+", "", " ".join(message.split()))
    return message if len(message) <= MAX_ERROR else message[: MAX_ERROR - 1] + "…"


def shelf_order() -> list[str]:
    """The shelf's recipes: floors first, then by the number of extractors and the size of the image."""

    def effort(recipe: Recipe) -> tuple[bool, int, int, str]:
        height, width = recipe.image.shape
        return recipe.name not in FLOORS, len(recipe.features), height * width, recipe.name

    return [recipe.name for recipe in sorted(map(load_recipe, shelf()), key=effort)]


def merged(kept: Sequence[Row], new: Sequence[Row], order: Sequence[str]) -> list[Row]:
    """The rows of both, ``new`` in place of those of the same set and recipe.

    Sets stay where they are, new ones follow; within a set recipes stand in ``order``, others at the end by name.
    """
    rows = {(row.data, row.recipe): row for row in [*kept, *new]}
    sets = list(dict.fromkeys(row.data for row in [*kept, *new]))
    place = {name: i for i, name in enumerate(order)}
    return sorted(
        rows.values(),
        key=lambda row: (sets.index(row.data), place.get(row.recipe, len(place)), row.recipe),
    )


def rendered(rows: Sequence[Row]) -> str:
    """The rows as Markdown, one table per set."""
    if not rows:
        return "Nothing is measured yet.\n"
    sets = dict.fromkeys(row.data for row in rows)
    return "\n".join(
        [f"{EXPLANATION}\n", *(rendered_set([row for row in rows if row.data == name]) for name in sets)]
    )


def rendered_set(rows: Sequence[Row]) -> str:
    """One set's heading, where its rows are from, and their table."""
    parts = [f"### {rows[0].data}", "", *contents(rows)]
    by_origin: dict[bytes, list[Row]] = {}
    for row in rows:
        by_origin.setdefault(msgspec.json.encode(row.origin), []).append(row)
    for together in by_origin.values():
        names = "" if len(by_origin) == 1 else ", ".join(f"`{row.recipe}`" for row in together) + ": "
        parts += [names + origin_text(together[0].origin), ""]
    parts += [table_line(COLUMNS), "|" + "|".join(["---", *["---:"] * (len(COLUMNS) - 1)]) + "|"]
    return "\n".join([*parts, *(table_line(cells(row)) for row in rows)]) + "\n"


def contents(rows: Sequence[Row]) -> list[str]:
    """A paragraph on what the set is, as far as any row knows."""
    for row in rows:
        if found := row.figures:
            what = "A number to estimate" if found.task == "regression" else f"{found.n_classes:,} classes"
            return [f"{what}; {found.n_test:,} test images.", ""]
    return []


def origin_text(origin: Origin) -> str:
    """When, where and how rows were measured."""
    packages = ", ".join(f"{name} {number}" for name, number in origin.versions.items())
    limit = ""
    if origin.images is not None:
        limit = f" Fitted on a stratified choice of at most {origin.images:,} training images."
    return (
        f"{origin.date}, {origin.cpu}, {plural(origin.threads, 'thread')}, {packages}: "
        f"`{origin.command}`.{limit}"
    )


def plural(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def cells(row: Row) -> list[str]:
    """The cells of ``COLUMNS``; of a failed fit the error stands in the second."""
    found = row.figures
    if found is None:
        return [f"`{row.recipe}`", f"failed: {row.error}", *[""] * (len(COLUMNS) - 2)]
    return [
        f"`{row.recipe}`" + (f": `{found.chosen}`" if found.chosen else ""),
        score_text(found),
        f"{found.n_train:,}",
        f"{found.seconds:.1f}",
        f"{found.ms_p50:.2f}",
        f"{found.ms_p95:.2f}",
        f"{found.model_bytes / 1024:,.0f}"
        if found.model_bytes >= 10 * 1024
        else f"{found.model_bytes / 1024:.1f}",
        f"{found.peak_mb:,.0f}",
    ]


def score_text(figures: Figures) -> str:
    """``97.3 % [95.4, 98.5]``, or ``MAE 3.21 [2.9, 3.53]``."""
    low, high = figures.score_ci95
    if figures.task == "regression":
        return f"MAE {figures.score:.4g} [{low:.4g}, {high:.4g}]"
    return f"{100 * figures.score:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def table_line(values: Sequence[str]) -> str:
    return "| " + " | ".join(value.replace("|", "\\|") for value in values) + " |"


def replace_block(text: str, block: str) -> str:
    """``text`` with ``block`` between its two markers, which stay.

    Raises:
        ValueError: it does not have each marker once, in order.
    """
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end) or any(marker in part for marker in (BEGIN, END) for part in (head, tail)):
        raise ValueError(f"expected one {BEGIN!r} and, after it, one {END!r}")
    return f"{head}{BEGIN}\n\n{block}\n{END}{tail}"


def read_kept(path: Path) -> list[Row]:
    """The rows of ``shelf.json``; none where there is no such file.

    Raises:
        ValueError: it is not what ``keep`` writes.
    """
    if not path.exists():
        return []
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Row])
    except msgspec.DecodeError as error:
        raise ValueError(f"{path}: {error}; repair it, or remove it to begin anew") from None


def as_json(rows: Sequence[Row]) -> bytes:
    """Indented JSON."""
    return msgspec.json.format(msgspec.json.encode(rows), indent=2) + b"\n"


def keep(new: Sequence[Row], order: Sequence[str]) -> None:
    """Merge rows into ``KEPT`` and render it into ``README``, each file written aside and renamed.

    Raises:
        ValueError: ``KEPT`` is damaged, or ``README`` lacks a marker; nothing is written.
    """
    rows = merged(read_kept(KEPT), new, order)
    try:
        text = replace_block(README.read_text(encoding="utf-8"), rendered(rows))
    except ValueError as error:
        raise ValueError(f"{README}: {error}") from None
    if new:
        write_atomically(KEPT, as_json(rows))
    write_atomically(README, text.encode())


def command_text(arguments: argparse.Namespace, data: Path) -> str:
    """The command that measures one set like this again, the set by its last component."""
    words = ["python", "benchmarks/shelf.py"]
    words += ["--data", data.name] if arguments.data else []
    for recipe in arguments.recipe or []:
        words += ["--recipe", recipe]
    words += ["--auto"] if arguments.auto else []
    words += ["--time-limit", arguments.time_limit] if arguments.time_limit else []
    words += ["--images", str(arguments.images)] if arguments.images else []
    return shlex.join([*words, *(["--write"] if arguments.write else [])])


def smaller(name: str, images: int, folder: Path) -> Path:
    """A recipe file in ``folder``: the shelf's recipe ``name``, fitted on at most so many images."""
    recipe = load_recipe(name)
    train = msgspec.structs.replace(recipe.train, images=images)
    path = folder / f"{name}.toml"
    path.write_text(msgspec.structs.replace(recipe, train=train).to_toml(), encoding="utf-8")
    return path


def measure(data: Path, recipe: str, origin: Origin, options: Sequence[str]) -> Row:
    """The row of one fit, failed or not."""
    row = Row(data.name, recipe, origin)
    with tempfile.TemporaryDirectory() as folder:
        file = recipe if origin.images is None else str(smaller(recipe, origin.images, Path(folder)))
        try:
            figures = figures_of(run_fit(data, file, options), recipe == AUTO)
        except FitError as error:
            return msgspec.structs.replace(row, error=portable(str(error), data))
    return msgspec.structs.replace(row, figures=figures)


def measurements(
    arguments: argparse.Namespace, sets: Sequence[Path], recipes: Sequence[str]
) -> Iterator[Row]:
    """A row for each recipe on each set."""
    options = ["--time-limit", arguments.time_limit] if arguments.time_limit else []
    date = datetime.date.today().isoformat()
    numbers = {"Python": platform.python_version(), **versions()}
    for data in sets:
        for recipe in recipes:
            # A search decides by itself how many images it takes.
            images = None if recipe == AUTO else arguments.images
            command = command_text(arguments, data)
            yield measure(
                data, recipe, Origin(date, cpu_name(), available_cores(), numbers, images, command), options
            )


@contextlib.contextmanager
def data_sets(given: Sequence[Path] | None) -> Iterator[list[Path]]:
    """The given sets, or the demo sets in a temporary folder."""
    if given:
        yield list(given)
        return
    with tempfile.TemporaryDirectory() as folder:
        for name in get_args(DemoSet):
            write_demo(Path(folder) / name, name)
        yield [Path(folder) / name for name in get_args(DemoSet)]


def line(row: Row) -> str:
    name, score, n, *rest = cells(row)
    if row.figures is None:
        return f"{row.data:16} {row.recipe:28} {score}"
    seconds, p50, p95, size, peak = rest
    return (
        f"{row.data:16} {name.replace('`', ''):28} {score:24} {n:>8} images {seconds:>7} s  "
        f"p50 {p50} ms  p95 {p95} ms  {size} KiB  {peak} MB"
    )


def parsed(words: Sequence[str] | None = None) -> Any:
    """The command line's arguments, checked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        # Absolute, so that an error names it in a form that can be told from other words.
        type=lambda word: Path(os.path.abspath(word)),
        metavar="DATA",
        action="append",
        help="a data set; repeatable (default: the demo sets)",
    )
    parser.add_argument(
        "--recipe",
        action="append",
        choices=list(shelf()),
        metavar="NAME",
        help="a recipe of the shelf; repeatable (default: all)",
    )
    parser.add_argument("--auto", action="store_true", help="also the search, --recipe auto")
    parser.add_argument("--time-limit", metavar="TIME", help="of that search, such as 5m")
    parser.add_argument(
        "--images", type=int, metavar="N", help="fit recipes on at most N training images; not auto"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write this run's rows as JSON")
    parser.add_argument("--write", action="store_true", help="keep the rows and render the README's table")
    parser.add_argument("--render", action="store_true", help="only render what is kept, without any fit")
    arguments = parser.parse_args(words)
    names = [data.name for data in arguments.data or []]
    if missing := [str(data) for data in arguments.data or [] if not data.exists()]:
        parser.error(f"--data: no such file or folder: {', '.join(missing)}")
    if len(set(names)) < len(names):
        parser.error(
            f"--data: rows are kept by the last component of the path, but given are {', '.join(names)}"
        )
    if arguments.images is not None and arguments.images < 2:
        parser.error(f"--images {arguments.images}: expected at least 2")
    return arguments


def run(arguments: argparse.Namespace) -> None:
    """Measure, print and keep."""
    order = [*shelf_order(), AUTO]
    if arguments.write or arguments.render:
        keep([], order)  # A missing marker is found now rather than after the first fit.
    if arguments.render:
        return
    recipes = list(dict.fromkeys(arguments.recipe or order[:-1])) + ([AUTO] if arguments.auto else [])
    rows = []
    with data_sets(arguments.data) as sets:
        for row in measurements(arguments, sets, recipes):
            print(line(row), flush=True)
            rows.append(row)
            if arguments.json:
                write_atomically(arguments.json, as_json(rows))
            if arguments.write:
                keep([row], order)


def main() -> None:
    try:
        run(parsed())
    except KeyboardInterrupt:
        sys.exit(130)
    except (ClassicCVError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
