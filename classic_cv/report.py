"""Results as text for the terminal; no computation. Progress goes to standard error."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from classic_cv.extraction import Progress

Prediction = Mapping[str, Any]


@contextlib.contextmanager
def progress_bars() -> Iterator[Progress | None]:
    """A progress callback that draws bars on standard error; None when that is not a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    with Bars(console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def update(task: str, done: int, total: int) -> None:
            if task not in tasks:
                tasks[task] = bars.add_task(task, total=total)
            bars.update(tasks[task], completed=done, total=total)

        yield update


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A text table; every column but the first is right-aligned when it holds numbers."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for position, header in enumerate(headers):
        numeric = position > 0 and all(row[position][:1].isdigit() or row[position] == "-" for row in rows)
        grid.add_column(header, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))
    # Off a terminal, a fixed width and no escape codes: the text goes into files and tests.
    terminal = sys.stdout.isatty()
    console = Console() if terminal else Console(file=io.StringIO(), width=120)
    with console.capture() as capture:
        console.print(grid)
    return "\n".join(line.rstrip() for line in capture.get().rstrip("\n").split("\n"))


def percent(value: float) -> str:
    """0.7529 as ``75.3 %``."""
    return f"{100 * value:.1f} %"


def accuracy_text(figures: Mapping[str, Any]) -> str:
    """``75.3 % (95 % interval 70.5 to 79.6 %, n = 340)``."""
    low, high = figures["accuracy_ci95"]
    return f"{percent(figures['accuracy'])} (95 % interval {100 * low:.1f} to {percent(high)}, n = {figures['n']})"


def demo_text(summary: Mapping[str, Any]) -> str:
    """What ``demo`` wrote."""
    return (
        f"wrote {summary['n_train']} training and {summary['n_test']} test images of {summary['classes']} classes "
        f"to {summary['directory']}"
    )


def figures_text(figures: Mapping[str, Any]) -> str:
    """The figures of one evaluation."""
    latency = figures["latency_ms"]
    lines = [
        f"accuracy           {accuracy_text(figures)}",
        f"balanced accuracy  {percent(figures['balanced_accuracy'])}",
        f"macro F1           {percent(figures['macro_f1'])}",
        f"log loss           {figures['log_loss']:.3f}",
        f"calibration error  {figures['ece']:.3f} (ECE, 15 bins)",
        f"latency            {latency['p50']:.2f} ms median, {latency['p95']:.2f} ms p95 "
        "(encoded bytes to label, one image, one thread)",
        f"throughput         {figures['throughput']:.0f} images/s on {figures['threads']} threads",
        f"model              {figures['model_bytes'] / 1024:.0f} KiB, peak memory {figures['peak_rss_mb']:.0f} MB",
    ]
    return "\n".join(lines)


def per_class_text(figures: Mapping[str, Any], most: int = 40) -> str:
    """Precision, recall and F1 per class, and the most frequent confusions."""
    rows = [
        [name, percent(c["precision"]), percent(c["recall"]), percent(c["f1"]), str(c["n"])]
        for name, c in figures["per_class"].items()
        if c["n"]
    ]
    more = f"\nand {len(rows) - most} more classes: see --json" if len(rows) > most else ""
    return table(["class", "precision", "recall", "F1", "n"], rows[:most]) + more


def skipped_text(skipped: Sequence[Mapping[str, str]], most: int = 20) -> str:
    """The skipped images by name; empty when there are none."""
    if not skipped:
        return ""
    lines = [f"skipped {len(skipped)} unreadable images:"]
    lines += [f"  {entry['image']}: {entry['reason']}" for entry in skipped[:most]]
    if len(skipped) > most:
        lines.append(f"  and {len(skipped) - most} more: see --json")
    return "\n".join(lines)


def ignored_text(report: Mapping[str, Any], most: int = 5) -> str:
    """Files left out by design, such as images outside class folders; empty when there are none."""
    lines = [f"ignored: {entry['image']}: {entry['reason']}" for entry in report["ignored"][:most]]
    if len(report["ignored"]) > most:
        lines.append(f"ignored: {len(report['ignored']) - most} more: see --json")
    suffixes = report["ignored_suffixes"]
    if suffixes:
        kinds = ", ".join(f"{count} {suffix or 'without suffix'}" for suffix, count in suffixes.items())
        lines.append(f"ignored files that are not images: {kinds}")
    return "\n".join(lines)


def notes_text(notes: Sequence[str]) -> str:
    """What was noticed about the data, a line each."""
    return "\n".join(f"note: {note}" for note in notes)


def fit_text(report: Mapping[str, Any]) -> str:
    """What ``fit`` tells."""
    choices = report["fit"]
    chosen = ""
    if choices:
        error = choices["cv_standard_error"]
        chosen = (
            f"\ncross-validation   {percent(choices['cv_accuracy'])} +- {100 * error:.1f} (standard error, "
            f"{choices['n_splits']} folds of the training part), C = {choices['C']:g}"
        )
    test = report["test"]
    parts = [
        f"data               {report['data']}: {report['classes']} classes, {report['n_train']} training and "
        f"{test['n'] if test else 0} test images",
        f"recipe             {report['recipe']}, fitted in {report['fit_seconds']:.1f} s{chosen}",
        "",
        f"on the test part:\n{figures_text(test)}" if test else "no test part: nothing was measured",
        "",
        f"split              {report['split_sha256'][:16]}… (seed {report['seed']})",
        notes_text(report["notes"]),
        ignored_text(report),
        skipped_text(report["skipped"]),
        f"wrote {report['model']}" if report["model"] else "",
    ]
    return "\n".join(part for index, part in enumerate(parts) if part or index in (2, 4))


def evaluate_text(figures: Mapping[str, Any]) -> str:
    """What ``evaluate`` tells."""
    same = "the split that the model was fitted on" if figures["same_split"] else "not the split of the fit"
    parts = [
        f"{figures['recipe']} on the {figures['split']} part of {figures['data']}",
        figures_text(figures),
        f"split              {figures['split_sha256'][:16]}… ({same})",
        per_class_text(figures),
        notes_text(figures["notes"]),
        skipped_text(figures["skipped"]),
    ]
    return "\n".join(part for part in parts if part)


def recipes_text(entries: Sequence[Mapping[str, str]]) -> str:
    """The shelf, a line per recipe."""
    return table(["recipe", "description"], [[entry["name"], entry["description"]] for entry in entries])


def show_text(summary: Mapping[str, Any]) -> str:
    """What ``show`` tells of a model file."""
    recipe = summary["recipe"]
    size = recipe["image"]["size"]
    lines = [
        f"recipe    {summary['recipe_name']}: {recipe['description']}",
        f"image     {size} px, {'gray' if summary['gray'] else 'color'}",
    ]
    lines += [
        f"feature   {spec['type']}: " + ", ".join(f"{k} = {v}" for k, v in spec.items() if k != "type")
        for spec in recipe["features"]
    ]
    lines += [
        "head      " + ", ".join(f"{k} = {v}" for k, v in recipe["head"].items()),
        *(
            [f"chosen    C = {summary['fit']['C']:g} by {summary['fit']['n_splits']}-fold cross-validation"]
            if summary["fit"]
            else []
        ),
        f"classes   {len(summary['class_names'])}: " + ", ".join(summary["class_names"]),
        f"fitted    on {summary['n_train']} images, {summary['n_features']} features, seed {summary['seed']}",
        f"split     {summary['split_sha256']}",
        "versions  " + ", ".join(f"{k} {v}" for k, v in summary["versions"].items()),
        f"file      {summary['model_bytes']} bytes",
    ]
    return "\n".join(lines)


def predictions_writer(style: str, top: int) -> Callable[[Prediction], None]:
    """A function that prints one prediction to standard output as ``table``, ``csv``, ``jsonl`` or not at all."""
    if style == "jsonl":
        return lambda prediction: print(json.dumps(prediction, ensure_ascii=False))
    if style == "csv":
        return _csv_writer(top)
    if style == "table":
        return lambda prediction: print(prediction_line(prediction))
    return lambda prediction: None


def prediction_line(prediction: Prediction) -> str:
    """``rose.jpg  rose 93.1 %  tulip 4.0 %``."""
    ranked = "  ".join(f"{entry['label']} {percent(entry['probability'])}" for entry in prediction["top"])
    return f"{prediction['path']}  {ranked}"


def _csv_writer(top: int) -> Callable[[Prediction], None]:
    """One row per image: path, label, probability, then label_2, probability_2, …"""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    header = ["path", "label", "probability"]
    header += [f"{name}_{rank}" for rank in range(2, top + 1) for name in ("label", "probability")]
    writer.writerow(header)

    def write(prediction: Prediction) -> None:
        row: list[Any] = [prediction["path"]]
        for entry in prediction["top"]:
            row += [entry["label"], f"{entry['probability']:.6f}"]
        writer.writerow(row + [""] * (len(header) - len(row)))

    return write
