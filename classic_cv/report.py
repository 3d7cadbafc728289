"""Results as text for the terminal; no computation. Progress goes to standard error."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from classic_cv.extraction import Progress

Prediction = Mapping[str, Any]


class Live:
    """What is shown on standard error while work goes on: bars on a terminal, the leaderboard anywhere."""

    def __init__(self, progress: Progress | None, line: Callable[[str], None]) -> None:
        self.progress = progress
        self.line = line
        self._headed = False

    def budget(self, name: str, used: float, budget: float) -> None:
        """How much of its CPU seconds a contestant has used."""
        if self.progress:
            self.progress(name, min(round(used), max(round(budget) - 1, 0)), max(round(budget), 1))

    def entry(self, entry: Mapping[str, Any]) -> None:
        """A candidate of the search, as soon as it is measured."""
        if not self._headed:
            self.line(LEADERBOARD_HEADER)
            self._headed = True
        self.line(leaderboard_line(entry))


@contextlib.contextmanager
def live() -> Iterator[Live]:
    """Bars and lines on standard error; bars only where that is a terminal."""
    if not sys.stderr.isatty():
        yield Live(None, lambda line: print(line, file=sys.stderr, flush=True))
        return
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    with Bars(console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def update(task: str, done: int, total: int) -> None:
            if task not in tasks:
                tasks[task] = bars.add_task(task, total=total)
            # A search has many tasks: those that are done make room.
            bars.update(tasks[task], completed=done, total=total, visible=done < total)

        yield Live(update, lambda line: bars.console.print(line, markup=False, highlight=False))


LEADERBOARD_COLUMNS = ("recipe", "size", "score", "95 % interval", "images", "seconds", "ms", "p95", "KiB")
LEADERBOARD_FORMAT = "{:32} {:>5} {:>8} {:>16} {:>7} {:>8} {:>7} {:>7} {:>7}"
LEADERBOARD_HEADER = LEADERBOARD_FORMAT.format(*LEADERBOARD_COLUMNS)


def leaderboard_line(entry: Mapping[str, Any]) -> str:
    """One candidate: recipe, size, score, interval, images compared on, seconds, ms per image, p95, KiB."""
    return LEADERBOARD_FORMAT.format(*leaderboard_cells(entry))


def leaderboard_cells(entry: Mapping[str, Any]) -> list[str]:
    """The cells of one candidate, in the order of ``LEADERBOARD_COLUMNS``."""
    size = entry["size"]
    shape = str(size) if isinstance(size, int) else "x".join(map(str, size))
    score = interval = seconds = "-"
    if entry["score"] is not None:
        # An error in the target's unit may be any number, an accuracy is at most 1.
        regression = entry["score_name"] == "mean absolute error"
        low, high = entry["score_ci95"]
        score = f"{entry['score']:.3f}" if regression else percent(entry["score"])
        interval = f"{low:.3f} to {high:.3f}" if regression else f"{100 * low:.1f} to {percent(high)}"
        seconds = f"{entry['fit_seconds']:.1f}"
    return [
        entry["recipe"],
        shape,
        score,
        interval,
        str(entry["n_images"]),
        seconds,
        f"{entry['ms_per_image']:.2f}",
        f"{entry['p95_ms']:.2f}",
        f"{entry['model_bytes'] / 1024:.0f}",
    ]


def leaderboard_text(search: Mapping[str, Any], most: int = 12) -> str:
    """The best of a search as a table, with why it ended."""
    entries = search["leaderboard"]
    measured = [entry for entry in entries if entry["score"] is not None]
    shown = [entry for i, entry in enumerate(measured) if i < most or entry["status"] == "floor"]
    rows = [[*leaderboard_cells(entry), entry["status"]] for entry in shown]
    limit = search["latency_limit_ms"]
    kept = f", at most {limit:g} ms (p95)" if limit is not None else ""
    return (
        f"search by {search['scoring']} on training images{kept}: {len(measured)} of {len(entries)} candidates "
        f"measured, ended by: {search['stopped']}\n" + table([*LEADERBOARD_COLUMNS, "status"], rows)
    )


def reproduce_command(data: Any, recipe: Any, flags: Mapping[str, str | None]) -> str:
    """The command that fits the same recipe again: of the shelf, a file's, or the one in a model file."""
    words = ["classic-cv", "fit", str(data), "--recipe", str(recipe), "--out", "again.safetensors"]
    for name, value in flags.items():
        if value is not None:
            words += [f"--{name}", value]
    return shlex.join(words)


def evaluation_page(figures: Mapping[str, Any], model: Any, path: str) -> dict[str, Any]:
    """The data of an evaluation's HTML report."""
    part = figures["split"]
    counts = {name: {part: c["n"]} for name, c in figures.get("per_class", {}).items()}
    return {
        "title": f"{figures['data']}: evaluation on the {part} part",
        "task": figures["task"],
        "data": figures["data"],
        "recipe": figures["recipe"],
        "classes": len(model.class_names),
        "n_train": model.metadata.n_train,
        "seed": model.metadata.seed,
        "split_sha256": figures["split_sha256"],
        "model": path,
        "notes": figures["notes"],
        "skipped": figures["skipped"],
        "test": {**figures, "part": part},
        "class_counts": {name: {"train": 0, "test": c[part]} for name, c in counts.items()},
        "groups": figures.get("groups") or {},
        "recipe_toml": model.recipe.to_toml(),
    }


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
    return "\n".join([*_quality_lines(figures), *_cost_lines(figures)])


def _quality_lines(figures: Mapping[str, Any]) -> list[str]:
    if figures["task"] == "regression":
        names = {"mae": "mean abs. error", "rmse": "rms error", "r2": "R2"}
        return [_number_line(label, figures[key], figures[f"{key}_ci95"]) for key, label in names.items()]
    return [
        f"accuracy           {accuracy_text(figures)}",
        f"balanced accuracy  {percent(figures['balanced_accuracy'])}{_ci(figures['balanced_accuracy_ci95'], 100)}",
        f"macro F1           {percent(figures['macro_f1'])}{_ci(figures['macro_f1_ci95'], 100)}",
        f"log loss           {figures['log_loss']:.3f}{_ci(figures['log_loss_ci95'], 1)}",
        f"calibration error  {figures['ece']:.3f} (ECE, 15 bins; perfect calibration would show "
        f"{figures['ece_noise']:.3f} on so few images)",
    ]


def _ci(interval: Sequence[float] | None, unit: float) -> str:
    if interval is None:
        return ""
    low, high = (unit * value for value in interval)
    return f" ({low:.1f} to {high:.1f})" if unit == 100 else f" ({low:.3f} to {high:.3f})"


def _number_line(label: str, value: float | None, interval: Sequence[float] | None) -> str:
    if value is None:
        return f"{label:19}-"
    reach = f" (95 % interval {interval[0]:.4g} to {interval[1]:.4g})" if interval else ""
    return f"{label:19}{value:.4g}{reach}"


def _cost_lines(figures: Mapping[str, Any]) -> list[str]:
    latency = figures["latency_ms"]
    return [
        f"latency            {latency['p50']:.2f} ms median, {latency['p95']:.2f} ms p95 "
        "(encoded bytes to label, one image, one thread)",
        f"throughput         {figures['throughput']:.0f} images/s on {figures['threads']} threads",
        f"model              {figures['model_bytes'] / 1024:.0f} KiB, peak memory {figures['peak_rss_mb']:.0f} MB",
    ]


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
    test = report["test"]
    what = (
        f"{report['classes']} classes"
        if report["task"] == "classification"
        else f"{report['target']}, a number"
    )
    parts = [
        leaderboard_text(report["search"]) if "search" in report else "",
        f"data               {report['data']}: {what}, {report['n_train']} training and "
        f"{test['n'] if test else 0} test images",
        f"recipe             {report['recipe']}, fitted in {report['fit_seconds']:.1f} s{choice_text(report['fit'])}",
        "",
        f"on the test part:\n{figures_text(test)}" if test else "no test part: nothing was measured",
        "",
        f"split              {report['split_sha256'][:16]}… (seed {report['seed']})",
        notes_text(report["notes"]),
        ignored_text(report),
        skipped_text(report["skipped"]),
        f"the recipe:\n\n{report['recipe_toml']}" if "search" in report else "",
        f"the same model again: {report['reproduce']}" if "search" in report else "",
        f"wrote {report['model']}" if report["model"] else "",
    ]
    return "\n".join(part for index, part in enumerate(parts) if part or index in (3, 5))


def choice_text(choices: Mapping[str, Any]) -> str:
    """How the head's values were chosen; empty when nothing was."""
    if not choices:
        return ""
    if "network" in choices:
        mirrored = f"\n{mirroring_text(choices['mirror'])}" if "mirror" in choices else ""
        return f"\n{network_text(choices['network'])}{mirrored}"
    error = choices["cv_standard_error"]
    folds = f"{choices['n_splits']} folds of {choices['n_rows']} training images"
    if "cv_mae" in choices:
        score = f"mean absolute error {choices['cv_mae']:.4g} +- {error:.2g}"
    else:
        score = f"{percent(choices['cv_accuracy'])} +- {100 * error:.1f}"
    late = f"\n{late_fusion_text(choices['extractors'])}" if "extractors" in choices else ""
    mirrored = f"\n{mirroring_text(choices['mirror'])}" if "mirror" in choices else ""
    return f"\ncross-validation   {score} (standard error, {folds}), {_chosen(choices)}{late}{mirrored}"


def network_text(found: Mapping[str, Any]) -> str:
    """What a trained network is, how it was trained, and what it reached on the images held out."""
    training = found["training"]
    shape = f"channels {_dashed(found['channels'])}, blocks {_dashed(found['blocks'])}"
    n_held_out = found["validation_images"]
    if "validation_mae" in found:
        score = f"mean absolute error {found['validation_mae']:.4g}"
    else:
        score = f"{found['scoring']} {percent(found['validation_score'])}"
    where = (
        f"{n_held_out} training images held out"
        if n_held_out
        else "its training images, too few to hold some out"
    )
    lines = [
        f"network            {found['block']}, {shape}: {found['n_parameters']:,} parameters, features included",
        f"training           {training['epochs']:.3g} epochs in {training['seconds']:.0f} s "
        f"({training['images_per_second']:,.0f} images/s, {'bfloat16' if training['bfloat16'] else 'float32'})"
        f"{_ended(training)}",
        f"validation         {score} on {where}",
        *([f"small batch        {_overfit(found['overfit_check'])}"] if "overfit_check" in found else []),
        *([_tuned(found["tuning"])] if "tuning" in found else []),
        *([_taught(found["teacher"])] if "teacher" in found else []),
        *[_compressed(entry, "validation_mae" in found) for entry in found["compression"]],
    ]
    return "\n".join(lines)


def _tuned(found: Mapping[str, Any]) -> str:
    """What a search for the training's values brought."""
    tried = f"{len(found['trials'])} trials ({found['sampler']}, {found['pruned']} given up early)"
    spent = f"{found['seconds']:.0f} s, {found['cpu_seconds']:.0f} CPU seconds"
    if found["best_value"] is None:
        return f"tuning             {tried}, {spent}; nothing changed{': ' if found['note'] else ''}{found['note']}"
    errors = (
        f"error {found['default_value']:.4g} as it was, {found['best_value']:.4g} at best in short trainings"
    )
    return f"tuning             {tried}, {spent}; {errors}"


def _taught(entry: Mapping[str, Any]) -> str:
    reached = f", {percent(entry['validation_score'])} itself" if "validation_score" in entry else ""
    return f"distilled from     {entry['name']}{reached}"


def _compressed(entry: Mapping[str, Any], is_error: bool) -> str:
    """A change of the network, before and after."""
    if is_error:
        scores = f"mean absolute error {1 - entry['score_before']:.4g} to {1 - entry['score_after']:.4g}"
    else:
        scores = f"{percent(entry['score_before'])} to {percent(entry['score_after'])}"
    size = f"{entry['bytes_before']:,} to {entry['bytes_after']:,} bytes"
    times = f"{entry['ms_before']:.3f} to {entry['ms_after']:.3f} ms"
    return f"{entry['name']:<19}{scores}, {size}, {times}: {'kept' if entry['kept'] else 'not kept'}"


def _ended(training: Mapping[str, Any]) -> str:
    """How a training ended where that was not the plan."""
    reasons = {
        "interrupted": "interrupted: the best weights so far",
        "stopped_early": "ended early, no longer better on the images held out",
        "shortened": "shortened to keep the time limit",
        "resumed": "gone on from a checkpoint",
    }
    told = [text for key, text in reasons.items() if training[key]]
    return "".join(f"; {text}" for text in told)


def _overfit(check: Mapping[str, Any]) -> str:
    images, steps = check["images"], check["steps"]
    if check["overfits"]:
        return f"{images} images learned by heart in {steps} steps, as it should be"
    if check["overfits"] is None:
        return f"no time to see whether {images} images can be learned by heart"
    return (
        f"WARNING: {images} images could not be learned by heart in {steps} steps (loss {check['loss_at_start']:.3g} "
        f"to {check['loss']:.3g}): the network is too small for them, or labels contradict each other"
    )


def _dashed(numbers: Sequence[int]) -> str:
    return "-".join(map(str, numbers))


def late_fusion_text(extractors: Sequence[Mapping[str, Any]]) -> str:
    """How well each extractor does alone, and its share of the fused score."""
    alone, shares = (", ".join(percent(e[key]) for e in extractors) for key in ("cv_accuracy", "share"))
    return f"late fusion        extractors in the recipe's order: alone {alone}; share of the score {shares}"


def mirroring_text(found: Mapping[str, Any]) -> str:
    """Whether mirrored copies of the training images joined them, and why."""
    taken = f"mirrored copies    {'taken' if found['chosen'] else 'not taken'}: "
    if "reason" in found:
        return taken + str(found["reason"])
    if found["scoring"] == "mean absolute error":
        scores = [f"{found[name]:.4g}" for name in ("with", "without", "gain", "standard_error")]
    else:
        scores = [percent(found["with"]), percent(found["without"])]
        scores += [f"{100 * found[name]:.1f}" for name in ("gain", "standard_error")]
    return taken + "{} {} with them, {} without (gain {} +- {})".format(found["scoring"], *scores)


def evaluate_text(figures: Mapping[str, Any]) -> str:
    """What ``evaluate`` tells."""
    same = "the split that the model was fitted on" if figures["same_split"] else "not the split of the fit"
    parts = [
        f"{figures['recipe']} on the {figures['split']} part of {figures['data']} ({figures['n']} images)",
        figures_text(figures),
        f"split              {figures['split_sha256'][:16]}… ({same})",
        per_class_text(figures) if figures["task"] == "classification" else "",
        degraded_text(figures["degraded"]) if "degraded" in figures else "",
        notes_text(figures["notes"]),
        skipped_text(figures["skipped"]),
    ]
    return "\n".join(part for part in parts if part)


def degraded_text(found: Mapping[str, Any], most: int = 20) -> str:
    """Accuracy by the share of fallbacks, and what the primary did not answer."""
    rows = [
        [
            percent(row["share"]),
            percent(row["accuracy"]),
            _points(row["accuracy_ci95"]),
            f"{100 * row['loss']:.1f}",
            "-" if row["loss_ci95"] is None else _points(row["loss_ci95"]),
        ]
        for row in found["shares"]
    ]
    low, high = found["agreement_ci95"]
    lines = [
        f"as the fallback of {found['primary']}, whose answers these are where they are not the model's own:",
        table(["fallbacks", "accuracy", "95 % interval", "loss (points)", "95 % interval"], rows),
        f"agreement          {percent(found['agreement'])} of the images that the primary answered "
        f"(95 % interval {100 * low:.1f} to {percent(high)}, n = {found['n'] - found['n_failed']})",
    ]
    if found["failures"]:
        lines.append(f"the primary did not answer {found['n_failed']} images, which count as fallbacks:")
        lines += [f"  {entry['image']}: {entry['reason']}" for entry in found["failures"][:most]]
    if len(found["failures"]) > most:
        lines.append(f"  and {len(found['failures']) - most} more: see --json")
    return "\n".join(lines)


def _points(interval: Sequence[float]) -> str:
    """``70.5 to 79.6``."""
    return f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"


def recipes_text(entries: Sequence[Mapping[str, str]]) -> str:
    """The shelf, a line per recipe."""
    return table(["recipe", "description"], [[entry["name"], entry["description"]] for entry in entries])


def _chosen(choices: Mapping[str, Any]) -> str:
    names = [name for name in ("C", "gamma", "epsilon", "fusion_weights") if name in choices]
    return ", ".join(f"{name} = {_numbers(choices[name])}" for name in names)


def _numbers(value: float | Sequence[float]) -> str:
    """A number, or a list of them, without needless digits."""
    return f"{value:g}" if isinstance(value, int | float) else f"[{', '.join(f'{v:g}' for v in value)}]"


def show_text(summary: Mapping[str, Any]) -> str:
    """What ``show`` tells of a model file."""
    recipe = summary["recipe"]
    size = recipe["image"]["size"]
    # Older model files have no such setting.
    copies = " and their mirror images" if recipe.get("train", {}).get("mirror") is True else ""
    lines = [
        f"recipe    {summary['recipe_name']}: {recipe['description']}",
        f"image     {size} px, {'gray' if summary['gray'] else 'color'}"
        + (", mean of the image and its mirror image" if recipe["image"].get("mirror") else ""),
    ]
    lines += [
        f"feature   {spec['type']}: " + ", ".join(f"{k} = {v}" for k, v in spec.items() if k != "type")
        for spec in recipe["features"]
    ]
    lines += [
        "head      " + ", ".join(f"{k} = {v}" for k, v in recipe["head"].items()),
        *(
            [f"chosen    by {summary['fit']['n_splits']}-fold cross-validation: " + _chosen(summary["fit"])]
            if summary["fit"] and "network" not in summary["fit"]
            else []
        ),
        (
            f"classes   {len(summary['class_names'])}: " + ", ".join(summary["class_names"])
            if summary["task"] == "classification"
            else f"predicts  {summary['target']}, a number"
        ),
        f"fitted    on {summary['n_train']} images{copies}, {summary['n_features']} features, seed {summary['seed']}",
        f"split     {summary['split_sha256']}",
        "versions  " + ", ".join(f"{k} {v}" for k, v in summary["versions"].items()),
        f"file      {summary['model_bytes']} bytes",
    ]
    return "\n".join(lines)


def predictions_writer(
    style: str, top: int, task: str = "classification", abstaining: bool = False
) -> Callable[[Prediction], None]:
    """A function that prints one prediction to standard output as ``table``, ``csv``, ``jsonl`` or not at all."""
    if style == "jsonl":
        return lambda prediction: print(json.dumps(prediction, ensure_ascii=False))
    if style == "csv":
        if task == "regression":
            return _csv_numbers()
        return _csv_candidates(top) if abstaining else _csv_writer(top)
    if style == "table":
        return _print_lines
    return lambda prediction: None


def prediction_line(prediction: Prediction) -> str:
    """``rose.jpg  rose 93.1 %  tulip 4.0 %``, ``rose.jpg  unknown  rose 41.0 %  tulip 9.3 %``, ``cells.png  152.3``."""
    if "value" in prediction:
        return f"{prediction['path']}  {prediction['value']:.6g}"
    ranked = "  ".join(f"{entry['label']} {percent(entry['probability'])}" for entry in prediction["top"])
    unanswered = f"{prediction['label']}  " if prediction.get("abstained") else ""
    return f"{prediction['path']}  {unanswered}{ranked}"


def explanation_line(explanation: Mapping[str, Any]) -> str:
    """``rose: score +0.51 = -1.20 bias +1.00 hog +0.71 lbp, drawn in rose.png``."""
    name = "estimate" if explanation["class"] is None else f"{explanation['class']}: score"
    groups = "".join(f" {group['contribution']:+.3g} {group['extractor']}" for group in explanation["groups"])
    total = f"{explanation['score']:+.3g} = {explanation['bias']:+.3g} bias{groups}"
    return f"{name} {total}, drawn in {explanation['file']}"


def _print_lines(prediction: Prediction) -> None:
    print(prediction_line(prediction))
    if "explanation" in prediction:
        print(explanation_line(prediction["explanation"]))


def _csv_numbers() -> Callable[[Prediction], None]:
    """One row per image: path, value."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["path", "value"])
    return lambda prediction: writer.writerow([prediction["path"], f"{prediction['value']:.6g}"])


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


def _csv_candidates(top: int) -> Callable[[Prediction], None]:
    """One row per image: path, label, probability, abstained, then all candidates as label_1, probability_1, …"""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    header = ["path", "label", "probability", "abstained"]
    header += [f"{name}_{rank}" for rank in range(1, top + 1) for name in ("label", "probability")]
    writer.writerow(header)

    def write(prediction: Prediction) -> None:
        row = [prediction["path"], prediction["label"], f"{prediction['probability']:.6f}"]
        row.append(str(prediction["abstained"]).lower())
        for entry in prediction["top"]:
            row += [entry["label"], f"{entry['probability']:.6f}"]
        writer.writerow(row)

    return write
