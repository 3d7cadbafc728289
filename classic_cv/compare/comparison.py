"""A comparison from data to verdict: contestants on one split, within budgets of CPU seconds."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
from numpy.typing import NDArray

from classic_cv.artifact import write_atomically
from classic_cv.compare.curves import crossover, mean_and_interval
from classic_cv.compare.entries import Entry, Limits, default_names, parse_entries
from classic_cv.compare.harness import Arena, Done, Harness, Run
from classic_cv.compare.process import Rules
from classic_cv.compare.store import MODEL, Store
from classic_cv.compare.verdict import judge
from classic_cv.dataset import check_fittable, load_dataset, make_split
from classic_cv.errors import DatasetError, ParameterError
from classic_cv.evaluation import skipped_images
from classic_cv.html_report import Disagreement
from classic_cv.insight import thumbnail
from classic_cv.subset import nested_order
from classic_cv.task import make_task, strata_of
from classic_cv.timing import available_cores, cpu_name

FORMAT = 1
"""Of the record; another number means that keys were changed or removed."""

BUDGET = 300.0
"""CPU seconds that every contestant may use by default."""

DRAWS = 3
"""Choices of the images of each point of a learning curve."""

MEMORY_SHARE = 0.8
"""Of the machine's memory, that a contestant may use where no limit is given."""

SHOWN = 24
"""Pictures on which the best classical and the best deep contestant disagree."""

PACKAGES = (
    "classic-cv",
    "numpy",
    "opencv-python-headless",
    "scikit-learn",
    "scipy",
    "onnxruntime",
    "torch",
    "torchvision",
    "timm",
)

PerClass = int | Literal["all"]


@dataclass(frozen=True)
class Options:
    """How to compare.

    Attributes:
        budgets: CPU seconds per contestant, from the first image byte to the fitted model; contestants are fitted
            once for each, and measured in full at the largest.
        threads: cores that every contestant is pinned to; None for all.
        memory_limit_mb: resident memory of a contestant; ``MEMORY_SHARE`` of the machine's by default.
        latency_limit_ms: p95 of one image on one thread, that the winner has to keep.
        size_limit_mb: of its model.
        seed: of the split, the folds and the fits.
        seeds: fits of each contestant with different seeds, at the largest budget.
        learning_curve: images per class of the best classical and the best deep contestant.
        draws: choices of these images.
        challenger: has to beat the best classical contestant by more than ``margin`` points.
        restarts, queries: processes, and queries in each, that latency is measured on.
        test_fraction: share held out where the data has no test part.
        given: of ``onnx:`` files: size, mean, std and so on.
    """

    budgets: tuple[float, ...] = (BUDGET,)
    threads: int | None = None
    memory_limit_mb: float | None = None
    latency_limit_ms: float | None = None
    size_limit_mb: float | None = None
    seed: int = 0
    seeds: int = 1
    learning_curve: tuple[PerClass, ...] = ()
    draws: int = DRAWS
    challenger: str | None = None
    margin: float = 0.0
    restarts: int = 3
    queries: int = 200
    test_fraction: float = 0.2
    given: Mapping[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Raise ParameterError for what cannot be."""
        for budget in self.budgets:
            if not 1 <= budget < float("inf"):
                raise ParameterError(f"budget {budget:g} s: expected at least 1 CPU second")
        if not self.budgets:
            raise ParameterError("no budget given: expected at least one, such as 300s")
        if self.threads is not None and not 1 <= self.threads <= available_cores():
            raise ParameterError(
                f"threads={self.threads}: expected from 1 to {available_cores()}, the cores there are"
            )
        if self.seeds < 1 or self.draws < 1 or self.restarts < 1 or self.queries < 1:
            raise ParameterError("seeds, draws, restarts and queries: expected at least 1 each")
        if any(k != "all" and k < 1 for k in self.learning_curve):
            raise ParameterError(
                f"learning_curve={self.learning_curve}: expected images per class from 1 on, or all"
            )


@dataclass(eq=False)
class Comparison:
    """What ``compare`` found.

    Attributes:
        record: everything as plain data; see the README for its keys.
        disagreements: pictures on which the best classical and the best deep contestant differ.
    """

    record: dict[str, Any]
    disagreements: list[Disagreement]

    @property
    def passed(self) -> bool:
        """False only where a challenger was named and did not pass."""
        challenger = self.record["verdict"]["challenger"]
        return challenger is None or bool(challenger["passed"])


def compare(
    data: str | Path,
    contestants: Sequence[str] = (),
    *,
    folder: str | Path = "comparison",
    options: Options | None = None,
    target: str | None = None,
    positive: str | None = None,
    telling: Callable[[str, float, float], None] | None = None,
    lines: Callable[[str], None] | None = None,
) -> Comparison:
    """Fit contestants on the same training images within the same CPU seconds, measure them, and judge.

    Args:
        data: as for ``fit``; a validation part joins the training part.
        contestants: names, see ``entries``; a default field where none are given.
        folder: keeps what is done: the same call goes on where an interrupted one stopped, and one with a contestant
            more fits only that one.
        options: budgets, limits and the like.
        target, positive: as for ``fit``.
        telling: called with (contestant, CPU seconds used, budget) while it fits.
        lines: called with a line for each thing done.

    Raises:
        ParameterError: an option, or the name of a contestant, is not valid.
        DatasetError: the data cannot be used, has no test part, or numbers for targets.
        MissingExtraError: a contestant needs packages that are not installed.
    """
    options = options or Options()
    options.check()
    entries = parse_entries(contestants or default_names(), options.given)
    if options.challenger is not None and options.challenger not in [entry.name for entry in entries]:
        raise ParameterError(
            f"challenger {options.challenger!r} is not among the contestants: {', '.join(e.name for e in entries)}"
        )
    store = Store(Path(folder))
    arena = _arena(data, options, target, positive)
    arena = replace(arena, telling=telling, lines=lines)
    with Harness(arena, store) as harness:
        if not len(harness.tested):
            raise DatasetError(
                f"{arena.dataset.name}: none of its test images can be read: {harness.problems[0]}"
            )
        found = _Comparing(harness, entries, options).run()
    text = json.dumps(found.record, ensure_ascii=False, indent=2) + "\n"
    write_atomically(store.folder / "comparison.json", text.encode())
    return found


def _arena(data: str | Path, options: Options, target: str | None, positive: str | None) -> Arena:
    dataset = load_dataset(data, target=target)
    task = make_task(dataset, "auto", positive)
    if task.kind == "regression":
        raise DatasetError(
            f"{dataset.name}: its target is a number, and contestants are compared by the share of right classes; "
            "give --positive CLASS, or another --target"
        )
    stratify = strata_of(dataset, task)
    split = make_split(dataset, test_fraction=options.test_fraction, seed=options.seed, stratify=stratify)
    check_fittable(dataset, split)
    if not len(split.test):
        raise DatasetError(f"{dataset.name}: there is no test part, and none could be split off")
    cores = (
        sorted(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else list(range(available_cores()))
    )
    memory = options.memory_limit_mb
    rules = Rules(
        tuple(cores[: options.threads or len(cores)]),
        int(MEMORY_SHARE * psutil.virtual_memory().total if memory is None else 1e6 * memory),
    )
    train = np.sort(np.concatenate([split.train, split.val]))
    limits = Limits(options.latency_limit_ms, options.size_limit_mb)
    return Arena(dataset, split, task, train, rules, limits, options.seed)


class _Comparing:
    """The course of a comparison."""

    def __init__(self, harness: Harness, entries: Sequence[Entry], options: Options) -> None:
        self.harness, self.options = harness, options
        self.arena = harness.arena
        self.entries = entries
        self.budgets = sorted(set(options.budgets))

    def run(self) -> Comparison:
        main = self._all_at_largest()
        curves = {one.run.entry.name: self._at_budgets(one) for one in main}
        repeats = {one.run.entry.name: self._repeated(one) for one in main}
        self.harness.time(main, self.options.restarts, self.options.queries)
        rows = [self._row(one, curves[one.run.entry.name], repeats[one.run.entry.name]) for one in main]
        verdict = self._verdict(rows, main)
        by_name = {one.run.entry.name: one for one in main}
        best = [by_name.get(verdict[key] or "") for key in ("reference", "best_deep")]
        learning = self._learning_curve(*best)
        record = self._record(rows, verdict, learning)
        pair = [one for one in best if one is not None]
        record["confusions"] = {one.run.entry.name: one.result["confusion"] for one in pair if len(pair) == 2}
        return Comparison(record, self._disagreements(pair) if len(pair) == 2 else [])

    # Runs.

    def _run(self, entry: Entry, budget: float, seed: int) -> Done:
        return self.harness.run(Run(entry, budget, seed, self.arena.train))

    def _all_at_largest(self) -> list[Done]:
        """Everybody at the largest budget; shuffled labels last, when the best classical recipe is known."""
        done = {
            entry.name: self._run(entry, self.budgets[-1], self.options.seed)
            for entry in self.entries
            if entry.method != "shuffled"
        }
        for entry in self.entries:
            if entry.method == "shuffled":
                entry = self._shuffled(entry, list(done.values()))
                done[entry.name] = self._run(entry, self.budgets[-1], self.options.seed)
        return [done[entry.name] for entry in self.entries]

    @staticmethod
    def _shuffled(entry: Entry, done: Sequence[Done]) -> Entry:
        """With the recipe of the best classical contestant, as it was fitted."""
        classical = [
            one
            for one in done
            if one.run.entry.kind == "classical" and one.accuracy is not None and _kind(one) == "classical"
        ]
        if not classical:
            return replace(entry, source="hog-color")
        best = max(classical, key=lambda one: one.accuracy or 0.0)
        description = f"{best.run.entry.name} on permuted labels"
        return replace(
            entry, source=str(best.slot.folder / MODEL / "model.safetensors"), description=description
        )

    def _at_budgets(self, main: Done) -> list[dict[str, Any]]:
        """The contestant at each budget, the largest last."""
        if not main.run.entry.is_fitted or main.run.entry.method == "shuffled":
            return []
        done = [self._run(main.run.entry, budget, main.run.seed) for budget in self.budgets[:-1]]
        keys = (
            "budget_cpu_seconds",
            "accuracy",
            "accuracy_ci95",
            "fit_cpu_seconds",
            "n_fit",
            "epochs",
            "outcome",
        )
        return [{key: one.result.get(key) for key in keys} for one in [*done, main]]

    def _repeated(self, main: Done) -> list[dict[str, Any]]:
        """The contestant with further seeds."""
        if not main.run.entry.is_fitted:
            return []
        seeds = range(self.options.seed + 1, self.options.seed + self.options.seeds)
        done = [self._run(main.run.entry, main.run.budget, seed) for seed in seeds]
        keys = ("seed", "accuracy", "fit_cpu_seconds", "outcome")
        return [{key: one.result.get(key) for key in keys} for one in done]

    # The learning curve.

    def _learning_curve(self, classical: Done | None, deep: Done | None) -> dict[str, Any] | None:
        wanted = self.options.learning_curve
        chosen = [one for one in (classical, deep) if one is not None and one.run.entry.is_fitted]
        if not wanted or not chosen:
            return None
        counts = np.bincount(self.arena.y[self.arena.train], minlength=len(self.arena.class_names))
        sizes = sorted({k for k in wanted if k != "all" and k < counts.max()})
        curves = {one.run.entry.name: [self._point(one, k) for k in sizes] for one in chosen}
        if "all" in wanted:
            for one in chosen:
                curves[one.run.entry.name].append(self._last_point(one))
        found: dict[str, Any] = {
            "images_per_class": [*sizes, *(["all"] if "all" in wanted else [])],
            "draws": self.options.draws,
            "curves": curves,
            "crossover": None,
        }
        if classical is not None and deep is not None and len(chosen) == 2:
            names = classical.run.entry.name, deep.run.entry.name
            found["crossover"] = {
                "classical": names[0],
                "deep": names[1],
                **crossover(curves[names[0]], curves[names[1]], float(counts.mean())),
            }
        return found

    def _point(self, one: Done, per_class: int) -> dict[str, Any]:
        """Accuracy with so many images of each class, for several choices of them."""
        accuracies, n_fit = [], 0
        for draw in range(self.options.draws):
            indices = self._some_of_each(per_class, draw)
            part = f"{per_class} per class, draw {draw + 1}"
            done = self.harness.run(
                Run(one.run.entry, one.run.budget, self.options.seed + draw, indices, part)
            )
            n_fit = len(indices)
            if done.accuracy is not None:
                accuracies.append(done.accuracy)
        return {"images_per_class": per_class, "n_fit": n_fit, **_averaged(accuracies)}

    def _last_point(self, one: Done) -> dict[str, Any]:
        """Accuracy with all images: of the fits that there are."""
        seeds = range(self.options.seed, self.options.seed + self.options.seeds)
        found = [self._run(one.run.entry, one.run.budget, seed).accuracy for seed in seeds]
        accuracies = [accuracy for accuracy in found if accuracy is not None]
        return {"images_per_class": "all", "n_fit": len(self.arena.train), **_averaged(accuracies)}

    def _some_of_each(self, per_class: int, draw: int) -> NDArray[np.int64]:
        """So many training images of each class, all of a class that has fewer; more contain fewer of the same draw."""
        arena, train = self.arena, self.arena.train
        y = arena.y[train]
        order = nested_order(y, arena.split.groups[train], self.options.seed + draw)
        chosen = [order[y[order] == k][:per_class] for k in range(len(arena.class_names))]
        return np.sort(train[np.concatenate(chosen)])

    # What is told.

    def _row(self, one: Done, curve: list[dict[str, Any]], repeats: list[dict[str, Any]]) -> dict[str, Any]:
        entry, result = one.run.entry, one.result
        blank = dict.fromkeys(
            "accuracy accuracy_ci95 balanced_accuracy macro_f1 log_loss expected_calibration_error per_class "
            "fit_cpu_seconds fit_seconds epochs n_fit latency_ms latency_threads_ms stages_ms throughput "
            "cold_start_ms peak_rss_mb fit_peak_rss_mb model_bytes".split()
        )
        row = {
            "name": entry.name,
            "kind": _kind(one),
            "description": entry.description,
            "threads": {},
            "history": [],
            "log": [],
            "details": {},
            **blank,
            **result,
            "curve": curve if len(self.budgets) > 1 else [],
            "repeats": repeats,
        }
        row.pop("confusion", None)
        return row

    def _verdict(self, rows: list[dict[str, Any]], main: Sequence[Done]) -> dict[str, Any]:
        y = self.harness.y_test
        right = {
            one.run.entry.name: one.probabilities.argmax(axis=1) == y
            for one in main
            if one.probabilities is not None
        }
        options = self.options
        return judge(
            rows,
            right,
            y,
            self.arena.class_names,
            latency_limit_ms=options.latency_limit_ms,
            size_limit_mb=options.size_limit_mb,
            challenger=options.challenger,
            margin=options.margin / 100,
        )

    def _record(
        self, rows: list[dict[str, Any]], verdict: dict[str, Any], learning: dict[str, Any] | None
    ) -> dict[str, Any]:
        arena, options, rules = self.arena, self.options, self.arena.rules
        skipped = skipped_images(arena.dataset, arena.split, self.harness.problems)
        skipped += [entry for row in rows for entry in row.pop("skipped", [])]
        # Most contestants skip the same ones.
        skipped = list({entry["image"]: entry for entry in skipped}.values())
        return {
            "format": FORMAT,
            "data": arena.dataset.name,
            "n_train": len(arena.train),
            "n_test": len(self.harness.tested),
            "class_names": list(arena.class_names),
            "split_sha256": arena.split.fingerprint,
            "budget_cpu_seconds": self.budgets[-1],
            "budgets_cpu_seconds": self.budgets,
            "threads": len(rules.cores),
            "cores": list(rules.cores),
            "memory_limit_mb": None if rules.memory_limit is None else rules.memory_limit / 1e6,
            "latency_limit_ms": options.latency_limit_ms,
            "size_limit_mb": options.size_limit_mb,
            "seed": options.seed,
            "hardware": hardware(),
            "versions": versions(),
            "contestants": rows,
            "learning_curve": learning,
            "verdict": verdict,
            "skipped": skipped,
            "notes": [*arena.dataset.notes, *arena.split.notes],
        }

    def _disagreements(self, pair: Sequence[Done]) -> list[Disagreement]:
        """Test images that just one of the two is right on, the surest mistakes first."""
        y, names = self.harness.y_test, self.arena.class_names
        answers = [one.probabilities for one in pair if one.probabilities is not None]
        if len(answers) < 2:
            return []
        labels = np.stack([probabilities.argmax(axis=1) for probabilities in answers])
        surest = np.stack([probabilities.max(axis=1) for probabilities in answers])
        right = labels == y
        rows = np.flatnonzero(right[0] != right[1])
        wrong = np.where(right[0], 1, 0)
        order = rows[np.argsort(-surest[wrong[rows], rows], kind="stable")][:SHOWN]
        found = []
        for row in order.tolist():
            index = int(self.harness.tested[row])
            pixels = thumbnail(self.arena.dataset, index)
            if pixels is None:
                continue
            given = [
                (one.run.entry.name, names[labels[k, row]], float(surest[k, row]), bool(right[k, row]))
                for k, one in enumerate(pair)
            ]
            found.append(Disagreement(self.arena.dataset.names[index], pixels, names[y[row]], given))
        return found


def _kind(one: Done) -> str:
    """What a contestant turned out to be: a search may end with a network."""
    kind = one.run.entry.kind
    return kind if kind == "floor" else str(one.result.get("details", {}).get("kind", kind))


def _averaged(accuracies: Sequence[float]) -> dict[str, Any]:
    mean, interval = mean_and_interval(accuracies)
    return {"accuracies": list(accuracies), "mean": mean, "ci95": interval}


def hardware() -> dict[str, Any]:
    """What the machine is."""
    return {
        "cpu": cpu_name(),
        "cores": available_cores(),
        "memory_mb": psutil.virtual_memory().total / 1e6,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """Of the packages that matter and are installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
