"""The command line: arguments in, calls to the library, text out. No logic of its own.

Heavy modules are imported inside the commands, so that ``predict`` starts fast.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import click

from classic_cv.errors import ClassicCVError, LatencyError

if TYPE_CHECKING:
    from classic_cv.demo import DemoSet
    from classic_cv.fallback import Mode
    from classic_cv.task import TaskName

STARTED = time.perf_counter()
"""A time limit counts from here, before the heavy modules are imported."""

EXIT_NO = 1
EXIT_WRONG_INPUT = 2
EXIT_INTERRUPTED = 130

Command = TypeVar("Command", bound=Callable[..., Any])

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def json_option(command: Command) -> Command:
    """The ``--json FILE`` that every command has."""
    return click.option(
        "--json",
        "json_file",
        metavar="FILE",
        help="Write the result as JSON to FILE; - for standard output in place of the text.",
    )(command)


def jobs_option(command: Command) -> Command:
    """The ``--jobs N`` of commands that extract features."""
    return click.option(
        "--jobs",
        default=-1,
        show_default=True,
        type=Jobs(),
        metavar="N",
        help="Threads for features; -1 for all cores.",
    )(command)


def target_option(command: Command) -> Command:
    """The ``--target NAME`` of commands that read a dataset."""
    return click.option("--target", metavar="NAME", help="The column of a manifest that holds the class.")(
        command
    )


def task_option(command: Command) -> Command:
    """The ``--task`` of commands that decide what is learned."""
    return click.option(
        "--task",
        type=click.Choice(["auto", "classification", "regression"]),
        default="auto",
        show_default=True,
        help="auto: a numeric column with more than 20 values is a regression.",
    )(command)


def split_options(command: Command) -> Command:
    """The ``--positive``, ``--seed`` and ``--test-fraction`` of commands that split a dataset and fit."""
    options = [
        click.option("--positive", metavar="CLASS", help="Tell only this class from all others."),
        click.option(
            "--seed",
            default=0,
            show_default=True,
            type=click.IntRange(0, 2**32 - 1),
            help="Of split and fit.",
        ),
        click.option(
            "--test-fraction",
            default=0.2,
            show_default=True,
            type=click.FloatRange(0.0, 1.0, min_open=True, max_open=True),
            help="Share held out when the data has no test part.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def abstain_option(command: Command) -> Command:
    """The ``--abstain P`` of commands that answer for single images."""
    return click.option(
        "--abstain",
        type=Probability(0.0, 1.0, min_open=True),
        metavar="P",
        help="Answer unknown where the most probable class is less probable than P, such as 0.9.",
    )(command)


def report_option(command: Command) -> Command:
    """The ``--report FILE`` of commands that measure."""
    return click.option(
        "--report",
        "report_file",
        type=click.Path(path_type=Path),
        metavar="FILE.html",
        help="Write everything as one HTML file that opens offline.",
    )(command)


class Jobs(click.ParamType):  # type: ignore[type-arg]
    """A number of threads, or -1."""

    name = "N"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        """The number."""
        number: int = click.INT.convert(value, param, ctx)
        if number < -1 or number == 0:
            self.fail(f"{value!r}: expected threads from 1 on, or -1 for all cores", param, ctx)
        return number


class Duration(click.ParamType):  # type: ignore[type-arg]
    """A time such as ``5m``, ``30s`` or ``0.3ms``; a bare number is in the parameter's own unit."""

    name = "TIME"
    units: ClassVar[dict[str, float]] = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}

    def __init__(self, unit: str) -> None:
        self.unit = unit

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """The time in this parameter's unit."""
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*(ms|s|m|h|)\s*", str(value))
        if not match or float(match[1]) == 0:
            self.fail(f"{value!r} is not a time above 0 such as 5m, 30s or 0.3ms", param, ctx)
        return float(match[1]) * self.units[match[2] or self.unit] / self.units[self.unit]


class Probability(click.FloatRange):
    """A number in a range, and not ``nan``, which no comparison refuses."""

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """The number."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number", param, ctx)
        return number


class Budgets(click.ParamType):  # type: ignore[type-arg]
    """One or several times, such as ``300s`` or ``60s,300s,30m``, in seconds."""

    name = "TIME,..."

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[float, ...]:
        """The times in seconds."""
        if isinstance(value, tuple):
            return value
        one = Duration("s")
        return tuple(one.convert(part, param, ctx) for part in str(value).split(","))


class Shares(click.ParamType):  # type: ignore[type-arg]
    """Shares of a whole, such as ``0.01,0.1,0.5``."""

    name = "SHARE,..."

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[float, ...]:
        """The shares, from 0 to 1."""
        if isinstance(value, tuple):
            return value
        try:
            shares = tuple(float(part) for part in str(value).split(","))
        except ValueError:
            shares = (-1.0,)
        if not all(0 <= share <= 1 for share in shares):
            self.fail(f"{value!r}: expected shares from 0 to 1 such as 0.01,0.1,0.5", param, ctx)
        return shares


class PerClass(click.ParamType):  # type: ignore[type-arg]
    """Images per class, such as ``10,20,50,all``."""

    name = "N,..."

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int | str, ...]:
        """Numbers, and ``all``."""
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in str(value).split(",")]
        if not all(part == "all" or (part.isdecimal() and int(part)) for part in parts):
            self.fail(f"{value!r}: expected images per class such as 10,20,50,all", param, ctx)
        return tuple("all" if part == "all" else int(part) for part in parts)


class Names(click.ParamType):  # type: ignore[type-arg]
    """One name or several: ``leakage,shortcut``."""

    name = "NAME,..."

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, ...]:
        """The names, without blanks."""
        if isinstance(value, tuple):
            return value
        return tuple(part.strip() for part in str(value).split(",") if part.strip())


class Numbers(click.ParamType):  # type: ignore[type-arg]
    """One number for all channels, or one for each: ``0.5`` or ``0.485,0.456,0.406``."""

    name = "X,..."

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[float, ...]:
        """The numbers."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r}: expected numbers such as 0.485,0.456,0.406", param, ctx)


@click.group(context_settings=CONTEXT)
@click.version_option(package_name="classic-cv", prog_name="classic-cv")
def cli() -> None:
    """Classical computer vision as a baseline one can trust: fit, predict, evaluate.

    Exit status: 0 done, 1 the answer is no, 2 wrong usage or input, 130 interrupted.
    """


@cli.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option(
    "--set",
    "name",
    type=click.Choice(["digits", "textures", "faces"]),
    default="digits",
    show_default=True,
    help="Which image set to write.",
)
@json_option
def demo(directory: Path, name: DemoSet, json_file: str | None) -> None:
    """Write a real image set that the dependencies ship, as train/ and test/ folders of classes."""
    from classic_cv.demo import write_demo
    from classic_cv.report import demo_text

    summary = write_demo(directory, name)
    _emit(summary, demo_text(summary), json_file)


@cli.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--recipe",
    default="auto",
    show_default=True,
    metavar="NAME|FILE",
    help="auto searches for the best; or a recipe of the shelf, a .toml file, or a model file to fit again.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("model.safetensors"),
    show_default=True,
    help="The model file to write.",
)
@click.option(
    "--time-limit",
    type=Duration("s"),
    default="5m",
    show_default=True,
    help="How long auto, or training a network, may take, from reading to the figures.",
)
@click.option(
    "--latency-limit",
    type=Duration("ms"),
    help="Only models whose p95, encoded bytes to answer on one thread, keeps it.",
)
@click.option(
    "--max-parameters",
    type=click.IntRange(100),
    metavar="N",
    help="Of a hybrid recipe: the best width and depth with at most N parameters.",
)
@click.option(
    "--log",
    type=click.Path(path_type=Path),
    metavar="FILE.jsonl",
    help="Write the course of a network's training: loss, accuracy, learning rate, gradient norm.",
)
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Keep the state of a network's training there, and go on from it where it is.",
)
@report_option
@target_option
@task_option
@split_options
@click.option(
    "--max-bad",
    default=0.1,
    show_default=True,
    type=click.FloatRange(0.0, 1.0),
    help="Share of unreadable images above which fitting fails.",
)
@jobs_option
@json_option
def fit(
    data: Path,
    recipe: str,
    out: Path,
    time_limit: float,
    latency_limit: float | None,
    max_parameters: int | None,
    log: Path | None,
    checkpoint: Path | None,
    report_file: Path | None,
    target: str | None,
    task: TaskName,
    positive: str | None,
    seed: int,
    test_fraction: float,
    max_bad: float,
    jobs: int,
    json_file: str | None,
) -> None:
    """Fit a model to DATA, write it, and measure it on the test part.

    DATA is a folder per class; train/ [val/] test/ of such folders; a CSV or TSV manifest with a column path
    or file; or an npz file in MedMNIST's form. Without a test part one is split off.

    While a network is trained, Ctrl-C ends the training and goes on with the best weights so far; a second one ends
    everything.
    """
    from classic_cv.artifact import check_writable
    from classic_cv.fitting import fit as fit_model
    from classic_cv.fitting import save_or_rescue
    from classic_cv.report import fit_text, live, reproduce_command

    check_writable(out)
    if report_file:
        check_writable(report_file)
    with live() as show:
        model = fit_model(
            data,
            recipe,
            target=target,
            task=task,
            positive=positive,
            seed=seed,
            jobs=jobs,
            test_fraction=test_fraction,
            max_bad=max_bad,
            time_limit=time_limit,
            latency_limit=latency_limit,
            max_parameters=max_parameters,
            log=log,
            checkpoint=checkpoint,
            insight=report_file is not None,
            progress=show.progress,
            on_entry=show.entry,
            started=STARTED,
        )
    saved, failure = save_or_rescue(model, out)
    flags = {"target": target, "positive": positive}
    changed = {
        "task": (task, "auto"),
        "seed": (seed, 0),
        "test-fraction": (test_fraction, 0.2),
        "max-bad": (max_bad, 0.1),
    }
    flags |= {name: str(value) for name, (value, default) in changed.items() if value != default}
    report = {**(model.report or {}), "model": str(saved)}
    searched = "search" in report
    report["reproduce"] = reproduce_command(data, saved if searched else recipe, flags)
    _write_report(report_file, {**report, "title": f"{data.resolve().name}: fit"}, model.mistakes)
    _emit(report, fit_text(report), json_file)
    if failure:
        raise failure


@cli.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, metavar="IMAGE|FOLDER|-...")
@click.option(
    "--top", default=5, show_default=True, type=click.IntRange(1), help="Most probable classes to print."
)
@click.option(
    "--format",
    "style",
    type=click.Choice(["table", "csv", "jsonl"]),
    default="table",
    show_default=True,
    help="How to print.",
)
@click.option(
    "--explain",
    "drawing",
    type=click.Path(path_type=Path),
    metavar="FILE.png",
    help="Draw over the one image given what speaks for its class and what against.",
)
@click.option("--explain-class", metavar="NAME", help="Explain this class, not the predicted one.")
@abstain_option
@jobs_option
@json_option
def predict(
    model: Path,
    images: tuple[str, ...],
    top: int,
    style: str,
    drawing: Path | None,
    explain_class: str | None,
    abstain: float | None,
    jobs: int,
    json_file: str | None,
) -> None:
    """Predict the class, or the number, of images: files, folders of images, or - for one image on standard input.

    Unreadable images are named on standard error and skipped; when none is left the exit status is 2.
    """
    from classic_cv.abstention import check_abstention
    from classic_cv.model import load
    from classic_cv.prediction import check_explaining, predict_explained, predict_paths
    from classic_cv.report import predictions_writer

    if drawing:
        check_explaining(images, drawing, model)
    elif explain_class is not None:
        raise click.UsageError("--explain-class needs --explain FILE.png, the file to draw")
    loaded = load(model)
    if abstain is not None:
        check_abstention(loaded, abstain)
    style = style if json_file != "-" else "none"
    write = predictions_writer(style, min(top, len(loaded.class_names)), loaded.task, abstain is not None)
    predictions, done = [], 0
    if drawing:
        found = iter([predict_explained(loaded, images, drawing, explain_class, top, abstain)])
    else:
        found = predict_paths(loaded, images, top=top, jobs=jobs, abstain=abstain)
    for prediction in found:
        if "error" in prediction:
            click.echo(f"skipped: {prediction['error']}", err=True)
        else:
            write(prediction)
            done += 1
        if json_file:
            predictions.append(prediction)
    _write_json(predictions, json_file)
    if not done:
        sys.exit(EXIT_WRONG_INPUT)


@cli.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--split",
    type=click.Choice(["test", "val", "train", "all"]),
    default="test",
    show_default=True,
    help="The part to measure on.",
)
@click.option(
    "--primary",
    metavar="FILE|URL",
    help="What MODEL is the fallback of: an ONNX or model file, or an address http://host:8000/v2/models/NAME. Shows "
    "what it costs when MODEL answers in its place.",
)
@click.option(
    "--primary-token-file",
    metavar="FILE",
    help="Holds the bearer token that an address is shown.",
)
@click.option(
    "--fallback",
    "shares",
    type=Shares(),
    help="Shares of the answers that are MODEL's, with --primary; 0.01,0.1,0.5 by default.",
)
@report_option
@target_option
@jobs_option
@json_option
def evaluate(
    model: Path,
    data: Path,
    split: str,
    primary: str | None,
    primary_token_file: str | None,
    shares: tuple[float, ...] | None,
    report_file: Path | None,
    target: str | None,
    jobs: int,
    json_file: str | None,
) -> None:
    """Measure MODEL on a part of DATA: accuracy with interval, per class, calibration, latency, memory."""
    if shares is not None and primary is None:
        raise click.UsageError("--fallback needs --primary FILE|URL, what MODEL answers in place of")
    from classic_cv.artifact import check_writable
    from classic_cv.degraded import SHARES
    from classic_cv.evaluation import evaluate as evaluate_model
    from classic_cv.model import load
    from classic_cv.report import evaluate_text, evaluation_page, live
    from classic_cv.serve.tokens import read_token

    if report_file:
        check_writable(report_file)
    loaded = load(model)
    with live() as show:
        figures = evaluate_model(
            loaded,
            data,
            split,
            target=target,
            jobs=jobs,
            insight=report_file is not None,
            primary=primary,
            token=None if primary_token_file is None else read_token(primary_token_file),
            shares=SHARES if shares is None else shares,
            progress=show.progress,
        )
    mistakes = figures.pop("mistakes", [])
    _write_report(report_file, evaluation_page(figures, loaded, str(model)), mistakes)
    _emit(figures, evaluate_text(figures), json_file)


@cli.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.argument("contestants", nargs=-1, metavar="[CONTESTANT]...")
@click.option(
    "--budget",
    type=Budgets(),
    default="300s",
    show_default=True,
    help="CPU seconds of each contestant, first image byte to fitted model; several are drawn as a curve.",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path("comparison"),
    show_default=True,
    help="Keeps what is done: an interrupted comparison goes on, a contestant more is fitted alone.",
)
@click.option(
    "--threads", type=click.IntRange(1), metavar="N", help="Cores of every contestant; all by default."
)
@click.option(
    "--memory-limit",
    type=click.FloatRange(0, min_open=True),
    metavar="MB",
    help="Ends a contestant, not the comparison; 80 % of the machine's memory by default.",
)
@click.option(
    "--latency-limit", type=Duration("ms"), help="p95 of one image on one thread that the winner keeps."
)
@click.option(
    "--size-limit",
    type=click.FloatRange(0, min_open=True),
    metavar="MB",
    help="Model size that the winner keeps.",
)
@click.option(
    "--challenger",
    metavar="NAME",
    help="Exit with 1 unless it beats the best classical contestant, at 95 % confidence, within the limits.",
)
@click.option(
    "--margin", type=click.FloatRange(0), default=0.0, show_default=True, metavar="POINTS", help="By so much."
)
@click.option(
    "--learning-curve",
    type=PerClass(),
    default=(),
    metavar="10,20,50,all",
    help="Also fit the best classical and the best deep one on so many images per class.",
)
@click.option(
    "--draws",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Choices of images for each point of it.",
)
@click.option(
    "--seeds", type=click.IntRange(1), default=1, show_default=True, help="Fits of each contestant, by seed."
)
@click.option(
    "--onnx-size", type=click.IntRange(1), metavar="PIXELS", help="Of onnx:FILE, where it does not say."
)
@click.option("--onnx-mean", type=Numbers(), metavar="X,...", help="Of onnx:FILE, of pixels from 0 to 1.")
@click.option("--onnx-std", type=Numbers(), metavar="X,...", help="Of onnx:FILE, of pixels from 0 to 1.")
@report_option
@click.option(
    "--markdown",
    type=click.Path(path_type=Path),
    metavar="FILE.md",
    help="Write the table and the verdict as Markdown.",
)
@target_option
@split_options
@json_option
def compare(
    data: Path,
    contestants: tuple[str, ...],
    budget: tuple[float, ...],
    folder: Path,
    threads: int | None,
    memory_limit: float | None,
    latency_limit: float | None,
    size_limit: float | None,
    challenger: str | None,
    margin: float,
    learning_curve: tuple[Any, ...],
    draws: int,
    seeds: int,
    onnx_size: int | None,
    onnx_mean: tuple[float, ...] | None,
    onnx_std: tuple[float, ...] | None,
    report_file: Path | None,
    markdown: Path | None,
    target: str | None,
    positive: str | None,
    seed: int,
    test_fraction: float,
    json_file: str | None,
) -> None:
    """Compare classical, hybrid and deep contestants on DATA: is the deep model worth its cost?

    All get the same split and the same CPU seconds, each in a process of its own, on the same cores. A CONTESTANT is
    a recipe, auto, dummy, properties, shuffled; a network as NAME[:scratch|finetune|frozen][:int8], NAME one of
    models/deep/ or timm:ARCHITECTURE; deep:auto; onnx:FILE; oip:URL; predictions:FILE.csv; python:FILE.py; or a .toml
    file.
    LABEL=CONTESTANT gives it another name. Without any, a field of ten takes part, or five without torch.
    """
    from classic_cv.artifact import check_writable
    from classic_cv.compare.comparison import Options
    from classic_cv.compare.comparison import compare as run
    from classic_cv.compare.text import comparison_markdown, comparison_text
    from classic_cv.report import live

    for file in (report_file, markdown):
        if file:
            check_writable(file)
    given = {"size": onnx_size, "mean": onnx_mean, "std": onnx_std}
    options = Options(
        budgets=budget,
        threads=threads,
        memory_limit_mb=memory_limit,
        latency_limit_ms=latency_limit,
        size_limit_mb=size_limit,
        seed=seed,
        seeds=seeds,
        learning_curve=learning_curve,
        draws=draws,
        challenger=challenger,
        margin=margin,
        test_fraction=test_fraction,
        given={key: value for key, value in given.items() if value is not None},
    )
    with live() as show, _kept_in(folder):
        found = run(
            data,
            contestants,
            folder=folder,
            options=options,
            target=target,
            positive=positive,
            telling=show.budget,
            lines=show.line,
        )
    record = {**found.record, "command": shlex.join(["classic-cv", *sys.argv[1:]])}
    if report_file:
        _write_comparison(report_file, record, found.disagreements)
    if markdown:
        from classic_cv.artifact import write_atomically

        write_atomically(markdown, comparison_markdown(record).encode())
    _emit(record, comparison_text(record), json_file)
    if not found.passed:
        sys.exit(EXIT_NO)


@cli.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--predictions",
    type=click.Path(path_type=Path),
    metavar="FILE.csv",
    help="Check somebody else's predictions for the test part as well: path, and label or a column per class.",
)
@click.option(
    "--recipe",
    default="auto",
    show_default=True,
    metavar="NAME|FILE",
    help="Of the classical model to compare with; auto chooses one that is fitted in a few minutes.",
)
@report_option
@click.option(
    "--findings",
    "findings_file",
    type=click.Path(path_type=Path),
    metavar="FILE.csv",
    help="Write the findings as CSV, a row for each image.",
)
@click.option(
    "--write-manifest",
    "clean_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the data without unreadable images, and without copies of test images in training: a manifest that "
    "fit takes, or an npz.",
)
@click.option(
    "--fail-on",
    type=Names(),
    default=(),
    metavar="CHECK,...",
    help="Exit with 1 when one of these checks has an error or a warning, or cannot be made; all for any.",
)
@target_option
@task_option
@split_options
@jobs_option
@json_option
def check(
    data: Path,
    predictions: Path | None,
    recipe: str,
    report_file: Path | None,
    findings_file: Path | None,
    clean_file: Path | None,
    fail_on: tuple[str, ...],
    target: str | None,
    task: TaskName,
    positive: str | None,
    seed: int,
    test_fraction: float,
    jobs: int,
    json_file: str | None,
) -> None:
    """Check DATA, and whether a score on it can be trusted: what is found, how much it matters, and what to do.

    Looks for unreadable, odd and repeated images, copies across the parts, wrong labels, parts that differ, and
    shortcuts; compares a classical model with no model at all; tells what more or larger images would bring, and when
    not to answer. An error makes a score wrong, a warning may; the rest is for information.

    The checks: unreadable, inventory, quality, duplicates, conflict, leakage, labels, drift, shortcut, score, limits,
    confidence, predictions.
    """
    from classic_cv.checks.text import check_text, failure_text
    from classic_cv.checks.whole import check as run
    from classic_cv.checks.whole import check_names, check_outputs
    from classic_cv.dataset._sources import printable
    from classic_cv.report import live

    named = check_names(fail_on)
    outputs = (report_file, findings_file, clean_file, None if json_file in (None, "-") else Path(json_file))
    check_outputs([data, *([predictions] if predictions else [])], [file for file in outputs if file])
    if "predictions" in fail_on and predictions is None:
        raise click.UsageError("--fail-on predictions checks nothing without --predictions FILE.csv")
    with live() as show:
        found = run(
            data,
            predictions=predictions,
            recipe=recipe,
            target=target,
            task=task,
            positive=positive,
            seed=seed,
            jobs=jobs,
            test_fraction=test_fraction,
            clean=clean_file,
            progress=show.progress,
        )
    record = {**found.record, "command": printable(shlex.join(["classic-cv", *sys.argv[1:]]))}
    # First what takes longest, its pictures are read now: who interrupts it finds no file changed.
    if report_file:
        found.write_html(report_file, record["command"])
    if findings_file:
        found.write_csv(findings_file)
    if clean_file:
        left, numeric = found.write_clean(clean_file), found.reads_as_numbers()
        record["cleaned"] = {"file": printable(str(clean_file)), "images": left, "reads_as_numbers": numeric}
    _emit(record, check_text(record, color=sys.stdout.isatty()), json_file)
    failed = found.failed(named)
    if failed:
        click.echo(failure_text(record, failed), err=True)
        sys.exit(EXIT_NO)


@cli.command()
@click.argument("models", nargs=-1, required=True, metavar="[NAME=]FILE...")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Where to listen; 0.0.0.0 for everywhere."
)
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one."
)
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes.")
@click.option(
    "--threads",
    type=click.IntRange(1),
    metavar="N",
    help="Of each worker that compute; by default the cores, divided among the workers.",
)
@click.option(
    "--primary",
    "primaries",
    multiple=True,
    metavar="[NAME=]URL|FILE",
    help="What the model is the fallback of: http://HOST/v2/models/NAME, an ONNX file or a model file.",
)
@click.option(
    "--deadline",
    type=Duration("ms"),
    default="50ms",
    show_default=True,
    help="Of an image's answer, where there is a primary.",
)
@click.option(
    "--mode",
    type=click.Choice(["fallback", "hedged"]),
    default="fallback",
    show_default=True,
    help="hedged computes the own answer at once, not only when the primary's does not come.",
)
@click.option(
    "--sample",
    default=0.02,
    show_default=True,
    type=click.FloatRange(0.0, 1.0),
    help="Share of the primary's answers that are compared with the fallback's.",
)
@abstain_option
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Holds the bearer token that requests have to show.",
)
@click.option(
    "--primary-token-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Holds the bearer token that addresses of primaries are shown.",
)
@click.option(
    "--allow-host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="A name that requests may be addressed to; any, or where only this machine can connect localhost.",
)
@click.option(
    "--max-body", default=16, show_default=True, type=click.IntRange(1), metavar="MB", help="Of a request."
)
@click.option(
    "--max-pixels", default=50_000_000, show_default=True, type=click.IntRange(1), help="Of an image."
)
@click.option("--max-images", default=64, show_default=True, type=click.IntRange(1), help="Of a request.")
@click.option(
    "--max-in-flight",
    type=click.IntRange(1),
    help="Requests of a worker at a time, 6 by default, 16 with --primary; one more gets 503.",
)
@click.option(
    "--drain",
    type=Duration("s"),
    default="10s",
    show_default=True,
    help="How long requests in flight may go on after SIGTERM.",
)
@click.option("--quiet", is_flag=True, help="Log no line per request.")
@json_option
def serve(
    models: tuple[str, ...],
    host: str,
    port: int,
    workers: int,
    threads: int | None,
    primaries: tuple[str, ...],
    deadline: float,
    mode: Mode,
    sample: float,
    abstain: float | None,
    token_file: Path | None,
    primary_token_file: Path | None,
    hosts: tuple[str, ...],
    max_body: int,
    max_pixels: int,
    max_images: int,
    max_in_flight: int | None,
    drain: float,
    quiet: bool,
    json_file: str | None,
) -> None:
    """Serve models over HTTP: a page at /, POST /classify, and the Open Inference Protocol; /docs says all.

    A model's name is its FILE's, or NAME. A file that is replaced by a rename is loaded without losing a request. With
    --primary a model answers in time for another one that is late, fails or answers nonsense. The log goes to standard
    error as JSON lines. SIGTERM and Ctrl-C end the service after the requests in flight.
    """
    from classic_cv.serve.addresses import is_loopback
    from classic_cv.serve.server import serve
    from classic_cv.serve.settings import ServeSettings
    from classic_cv.serve.sources import model_sources

    settings = ServeSettings(
        models=model_sources(models, primaries),
        host=host,
        port=port,
        workers=workers,
        threads=threads,
        deadline=deadline / 1000,
        mode=mode,
        sample=sample,
        abstain=abstain,
        token_file=str(token_file.absolute()) if token_file else None,
        primary_token_file=str(primary_token_file.absolute()) if primary_token_file else None,
        allowed_hosts=hosts,
        max_body=max_body * 2**20,
        max_pixels=max_pixels,
        max_images=max_images,
        max_in_flight=max_in_flight,
        drain=drain,
        quiet=quiet,
    )
    if token_file is None and not is_loopback(host):
        click.echo(f"warning: anyone who can reach {host} can ask; --token-file asks for a token", err=True)
    if abstain is not None and settings.has_primary:
        click.echo(
            "warning: --abstain takes the primary's probabilities as they are, calibrated or not",
            err=True,
        )
    names = [source.name for source in settings.models]

    def ready(url: str) -> None:
        # The file first: who waits for the line may then read it.
        _write_json({"url": url, "models": names}, json_file)
        if json_file != "-":
            click.echo(f"serving {', '.join(names)} on {url}")

    sys.exit(serve(settings, ready))


@cli.command()
@json_option
def recipes(json_file: str | None) -> None:
    """List the recipes that ship with classic-cv."""
    from classic_cv.recipe import load_recipe, shelf
    from classic_cv.report import recipes_text

    entries = [
        {"name": name, "file": str(path), "description": load_recipe(name).description}
        for name, path in shelf().items()
    ]
    _emit(entries, recipes_text(entries), json_file)


@cli.command()
@click.argument("model", type=click.Path(path_type=Path))
@json_option
def show(model: Path, json_file: str | None) -> None:
    """Print what MODEL is: recipe, classes, choices made while fitting, versions, fingerprint."""
    from classic_cv.model import load
    from classic_cv.report import show_text

    summary = load(model).summary()
    _emit(summary, show_text(summary), json_file)


def _write_report(path: Path | None, report: dict[str, Any], mistakes: list[Any]) -> None:
    """Write the HTML report, aside and renamed."""
    if path is None:
        return
    from classic_cv.artifact import write_atomically
    from classic_cv.html_report import render_report

    page = render_report({**report, "command": shlex.join(["classic-cv", *sys.argv[1:]])}, mistakes)
    write_atomically(path, page.encode())


@contextlib.contextmanager
def _kept_in(folder: Path) -> Iterator[None]:
    """Say what an interruption leaves."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(f"\nwhat is done is kept in {folder}: the same command goes on from there", err=True)
        raise


def _write_comparison(path: Path, record: dict[str, Any], disagreements: list[Any]) -> None:
    """Write the HTML report of a comparison, aside and renamed."""
    from classic_cv.artifact import write_atomically
    from classic_cv.compare.rules import rules_text
    from classic_cv.html_report import render_comparison

    page = render_comparison(record, disagreements, rules_text())
    write_atomically(path, page.encode())


def _emit(result: Any, text: str, json_file: str | None) -> None:
    """Print the text, write the JSON; with ``--json -`` print only the JSON."""
    if json_file != "-":
        click.echo(text)
    _write_json(result, json_file)


def _write_json(result: Any, json_file: str | None) -> None:
    from classic_cv.artifact import write_atomically

    if json_file is None:
        return
    text = json.dumps(result, ensure_ascii=False, indent=2) + "\n"
    if json_file == "-":
        click.echo(text, nl=False)
    else:
        write_atomically(Path(json_file), text.encode())


def main() -> None:
    """Run the command line; errors of ours and wrong usage exit with 2, without a traceback."""
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except LatencyError as error:
        click.echo(f"no: {error}", err=True)
        sys.exit(EXIT_NO)
    except ClassicCVError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(EXIT_WRONG_INPUT)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted: no file was changed", err=True)
        sys.stdout.flush()
        # Not sys.exit: worker threads may be inside OpenCV, and Python 3.11 to 3.13 end such threads at
        # shutdown in a way that aborts the process.
        os._exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        # The reader went away, as in `| head`: not an error; keep Python from complaining at exit.
        _drop_output()
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        # Files that are named have their own error: this is standard output, or the folder for temporary files.
        click.echo(f"error: {error.strerror}, for standard output or in the temporary folder", err=True)
        _drop_output()
        sys.exit(EXIT_WRONG_INPUT)


def _drop_output() -> None:
    """What is still to be written on standard output goes nowhere, or Python would complain at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
