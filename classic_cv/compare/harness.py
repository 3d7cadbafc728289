"""The harness: it alone holds data, clock and metrics; contestants are asked, each in a process of its own.

One split for all; training images are handed over, the test part is opened after a fit, as encoded bytes without names
or classes. What is done is kept, so that an interrupted comparison goes on where it stopped.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.compare.bundle import write_queries, write_training
from classic_cv.compare.entries import Entry, Limits, store_given
from classic_cv.compare.measuring import Stored, Timed, answers_differ, time_all
from classic_cv.compare.process import OVER, Contestant, Ended, Rules
from classic_cv.compare.store import Slot, Store
from classic_cv.dataset import Dataset, Split
from classic_cv.errors import ClassicCVError, ImageError
from classic_cv.metrics import classification_metrics
from classic_cv.stats import quantile_bound
from classic_cv.task import Task
from classic_cv.timing import percentiles

LEAST_EPOCHS = 10
"""A network with fewer passes over the images is undertrained: nothing is claimed of it."""

KEPT_METRICS = (
    "accuracy",
    "accuracy_ci95",
    "balanced_accuracy",
    "macro_f1",
    "log_loss",
    "per_class",
    "confusion",
)

Told = Callable[[str, float, float], None]


@dataclass(frozen=True, eq=False)
class Arena:
    """Data, split and rules: the same for every contestant.

    Attributes:
        train: positions in ``dataset`` that are learned from, those of the split's validation part included.
        rules: cores, memory, when a process hangs.
        limits: that the winner has to keep.
        seed: of the order in which contestants are asked.
        telling: called with (contestant, CPU seconds used, budget).
        lines: called with a line on each thing done.
    """

    dataset: Dataset
    split: Split
    task: Task
    train: NDArray[np.int64]
    rules: Rules
    limits: Limits
    seed: int
    telling: Told | None = None
    lines: Callable[[str], None] | None = None

    @property
    def y(self) -> NDArray[np.int64]:
        """Class numbers, (len(dataset),)."""
        return np.asarray(self.task.y, np.int64)

    @property
    def class_names(self) -> tuple[str, ...]:
        """By class number."""
        return self.task.class_names

    def say(self, text: str) -> None:
        """A line for whoever watches."""
        if self.lines:
            self.lines(text)


@dataclass(frozen=True, eq=False)
class Run:
    """One fit of one contestant.

    Attributes:
        indices: positions in the data set that it learns from, ascending.
        part: what these are, in words, for the progress.
    """

    entry: Entry
    budget: float
    seed: int
    indices: NDArray[np.int64]
    part: str = ""


@dataclass(eq=False)
class Done:
    """A run that came to its end, one way or another.

    Attributes:
        result: its part of the record.
        probabilities: float32 (n_test, n_classes); None where it was not scored.
    """

    run: Run
    slot: Slot
    result: dict[str, Any]
    probabilities: NDArray[np.float32] | None

    @property
    def accuracy(self) -> float | None:
        """On the test part."""
        found: float | None = self.result.get("accuracy")
        return found


@dataclass(eq=False)
class Harness:
    """Runs contestants in an arena.

    Attributes:
        files: the readable test images, encoded, without names and classes.
        tested: their positions in the data set.
        problems: the others.
    """

    arena: Arena
    store: Store
    files: list[Path] = field(init=False)
    tested: NDArray[np.int64] = field(init=False)
    problems: list[ImageError] = field(init=False)

    def __enter__(self) -> Harness:
        self._work = Path(tempfile.mkdtemp(prefix="work-", dir=self.store.folder))
        queries = self._work / "queries"
        queries.mkdir()
        arena = self.arena
        self.files, self.tested, self.problems = write_queries(queries, arena.dataset, arena.split.test)
        return self

    def __exit__(self, *exception: object) -> None:
        shutil.rmtree(self._work, ignore_errors=True)

    @property
    def y_test(self) -> NDArray[np.int64]:
        """Classes of the test images."""
        return self.arena.y[self.tested]

    # Fitting.

    def run(self, run: Run) -> Done:
        """Fit and score a contestant, unless that is done already."""
        slot = self.store.slot(run.entry.name, self._identity(run))
        # What is behind an address may have changed, and nothing here would show it.
        known = None if run.entry.method == "oip" else slot.result()
        if known is None:
            slot.clear()
            if run.entry.method == "predictions":
                known, probabilities = self._read(run)
            else:
                known = self._fit(run, slot) if run.entry.is_fitted else self._take(run, slot)
                probabilities = self._score(run, slot, known) if slot.has_model else None
            slot.keep(known, probabilities)
            self.arena.say(told(run, known))
        return Done(run, slot, known, slot.probabilities())

    def _identity(self, run: Run) -> dict[str, Any]:
        """All that the result of a run follows from."""
        arena = self.arena
        path = Path(run.entry.source)
        changed = path.stat().st_mtime_ns if path.is_file() else 0
        return {
            "entry": asdict(replace(run.entry, name="", description="")),
            "file": changed,
            "twice": run.entry.name,
            "split": arena.split.fingerprint,
            "classes": arena.class_names,
            "budget": run.budget,
            "seed": run.seed,
            "indices": [len(run.indices), int(run.indices.sum()), run.part],
            "cores": len(arena.rules.cores),
            "memory": arena.rules.memory_limit,
            "limits": asdict(arena.limits),
        }

    def _fit(self, run: Run, slot: Slot) -> dict[str, Any]:
        """Fit in a process of its own; what is known of it then."""
        arena, rules = self.arena, self.arena.rules
        result: dict[str, Any] = {
            "outcome": "ok",
            "message": "",
            "budget_cpu_seconds": run.budget,
            "seed": run.seed,
        }
        twin = self._twin(run)
        with tempfile.TemporaryDirectory(dir=self._work) as bundle:
            self._write_bundle(run, Path(bundle))
            try:
                with Contestant(rules, rules.cores, slot.log) as process:
                    process.ask(
                        "prepare",
                        entry=run.entry.plain(),
                        threads=len(rules.cores),
                        forbidden=[*self._forbidden(), *map(str, self.files)],
                    )
                    fit = process.fit(
                        run.budget,
                        lambda used, progress: self._tell(run, used),
                        entry=run.entry.plain(),
                        bundle=bundle,
                        folder=str(slot.model),
                        threads=len(rules.cores),
                        seed=run.seed,
                        limits=asdict(arena.limits),
                        twin=None if twin is None else str(twin.slot.model),
                    )
            except Ended as ended:
                # A model that is only half of one is not measured.
                shutil.rmtree(slot.model, ignore_errors=True)
                return result | {
                    "outcome": ended.outcome,
                    "message": str(ended),
                    "fit_cpu_seconds": ended.cpu_seconds,
                }
        result |= {
            name: fit.told[name] for name in ("n_fit", "epochs", "history", "log", "skipped", "details")
        }
        result |= {
            "fit_cpu_seconds": fit.cpu_seconds,
            "fit_seconds": fit.seconds,
            "fit_peak_rss_mb": fit.peak_rss_mb,
            "fit_threads": fit.told["threads"],
        }
        if twin is not None:
            # It is the same training, which counts as its own.
            result |= {name: twin.result[name] for name in ("n_fit", "epochs", "history")}
            for name in ("fit_cpu_seconds", "fit_seconds", "log"):
                result[name] = twin.result[name] + result[name]
        return result | self._judged(run, result)

    def _twin(self, run: Run) -> Done | None:
        """The run of the network that this one quantises."""
        twin = run.entry.twin
        if twin is None:
            return None
        done = self.run(replace(run, entry=twin))
        return done if done.slot.has_model else None

    @staticmethod
    def _judged(run: Run, result: Mapping[str, Any]) -> dict[str, Any]:
        """The outcome of a fit that came to its end."""
        used = result["fit_cpu_seconds"]
        if used > OVER * run.budget:
            return {"outcome": "over budget", "message": f"used {used:.1f} CPU seconds of {run.budget:g}"}
        epochs, mode = result["epochs"], result["details"].get("mode", run.entry.mode)
        if run.entry.is_epochal and mode != "frozen" and epochs is not None and epochs < LEAST_EPOCHS:
            return {
                "outcome": "undertrained",
                "message": f"{epochs:.3g} epochs within {run.budget:g} CPU seconds, fewer than {LEAST_EPOCHS}",
            }
        return {}

    def _write_bundle(self, run: Run, folder: Path) -> None:
        arena = self.arena
        y = arena.y[run.indices]
        if run.entry.method == "shuffled":
            y = np.random.default_rng(run.seed).permutation(y)
        groups = arena.split.groups[run.indices]
        write_training(folder, arena.dataset, run.indices, y, arena.class_names, groups)

    def _forbidden(self) -> list[str]:
        """Files and folders with test images or their classes."""
        dataset = self.arena.dataset
        files = getattr(dataset.source, "files", None)
        if files is None:
            # One file holds everything: contestants have their own copy of the training images.
            return [str(dataset.path.resolve())]
        root = dataset.source.root.resolve()  # type: ignore[attr-defined]
        paths = [os.path.join(root, files[i]) for i in self.arena.split.test.tolist()]
        trained = {os.path.dirname(os.path.join(root, files[i])) for i in self.arena.train.tolist()}
        folders = {os.path.dirname(path) for path in paths} - trained
        manifest = [str(dataset.path.resolve())] if dataset.path.is_file() else []
        return [*paths, *sorted(folders), *manifest]

    def _tell(self, run: Run, used: float) -> None:
        if self.arena.telling:
            self.arena.telling(f"{run.entry.name}{run.part and ' '}{run.part}", used, run.budget)

    # Brought along.

    def _take(self, run: Run, slot: Slot) -> dict[str, Any]:
        """Store a network that the user brought, or what asks a server for answers."""
        result = not_fitted()
        try:
            result["log"] = store_given(run.entry, self.arena.class_names, slot.model)
        except (ClassicCVError, TimeoutError) as error:
            shutil.rmtree(slot.model, ignore_errors=True)
            result |= {"outcome": "failed", "message": str(error)}
        return result

    def _read(self, run: Run) -> tuple[dict[str, Any], NDArray[np.float32] | None]:
        """Answers that the user brought; their latency is what the file says."""
        from classic_cv.compare.predictions import read_predictions

        result = not_fitted()
        dataset, names = self.arena.dataset, self.arena.class_names
        try:
            given = read_predictions(
                Path(run.entry.source), [dataset.names[i] for i in self.tested.tolist()], names
            )
        except ClassicCVError as error:
            return result | {"outcome": "failed", "message": str(error)}, None
        probabilities = given.probabilities
        if probabilities is None:
            probabilities = np.eye(len(names), dtype=np.float32)[given.labels]
        result |= self.figures(probabilities)
        if given.probabilities is None:
            result |= {"log_loss": None, "expected_calibration_error": None}
        if given.ms is not None:
            ms = given.ms.tolist()
            result["latency_ms"] = {
                **percentiles(ms),
                "p99_bound": quantile_bound(ms, 0.99),
                "n": len(ms),
                "restarts": [],
            }
        return result, probabilities

    # Scoring.

    def _score(self, run: Run, slot: Slot, result: dict[str, Any]) -> NDArray[np.float32] | None:
        """Answers for the whole test part on all threads, and the figures of them, which go into ``result``."""
        rules = self.arena.rules
        out = self._work / "probabilities.npy"
        try:
            with Contestant(rules, rules.cores, slot.log) as process:
                process.ask(
                    "prepare", entry=run.entry.plain(), threads=len(rules.cores), forbidden=self._forbidden()
                )
                process.ask(
                    "load",
                    entry=run.entry.plain(),
                    folder=str(slot.model),
                    class_names=list(self.arena.class_names),
                    threads=len(rules.cores),
                    first=str(self.files[0]),
                )
                scored = process.ask(
                    "score", rules.silent + len(self.tested), files=[*map(str, self.files)], out=str(out)
                )
            probabilities = checked(
                np.load(out, allow_pickle=False), len(self.tested), len(self.arena.class_names)
            )
        except Ended as ended:
            result |= {"outcome": ended.outcome, "message": f"while it answered: {ended}"}
            return None
        except ValueError as error:
            result |= {"outcome": "failed", "message": f"while it answered: {error}"}
            return None
        result["throughput"] = scored["n"] / max(scored["seconds"], 1e-9)
        result |= self.figures(probabilities)
        return probabilities

    def figures(self, probabilities: NDArray[np.float32]) -> dict[str, Any]:
        """Metrics of the test part."""
        found = classification_metrics(self.y_test, probabilities, self.arena.class_names)
        return {name: found[name] for name in KEPT_METRICS} | {"expected_calibration_error": found["ece"]}

    # Timing.

    def time(self, done: Sequence[Done], restarts: int, queries: int) -> None:
        """Measure latency of all contestants with a model, in turn; writes into their results."""
        mine = [one for one in done if one.slot.has_model and one.probabilities is not None]
        if not mine:
            return
        rules = self.arena.rules
        stored = [Stored(one.run.entry, one.slot.model, one.slot.log) for one in mine]
        n = min(len(self.tested), 500)
        settings: dict[str, Any] = {"restarts": restarts, "queries": queries, "seed": self.arena.seed}

        def progress(what: str, number: int, total: int) -> None:
            if self.arena.telling:
                self.arena.telling(what, number, total)

        names = self.arena.class_names
        single = time_all(
            stored, self.files[:1], n, names, rules, rules.cores[:1], **settings, progress=progress
        )
        several = single
        if len(rules.cores) > 1:
            several = time_all(
                stored, self.files[:1], n, names, rules, rules.cores, **settings, progress=progress
            )
        for one in mine:
            self._note(one, single[one.run.entry.name], several[one.run.entry.name])

    def _note(self, one: Done, single: Timed, several: Timed) -> None:
        assert one.probabilities is not None
        result = one.result
        ended = single.ended or several.ended
        if ended:
            result |= {"outcome": ended.outcome, "message": f"while it was timed: {ended}"}
            return
        wrong = answers_differ(single, one.probabilities.argmax(axis=1))
        if wrong:
            result |= {
                "outcome": "disqualified",
                "message": f"{wrong} of {len(single.labels)} timed answers differ from those that are scored: accuracy "
                "and time have to be of the same model",
            }
        result |= {
            "latency_ms": single.latency(),
            "latency_threads_ms": several.latency(),
            "stages_ms": single.stages_ms(),
            "cold_start_ms": float(np.median(single.cold_start_ms)),
            # The memory of a server is not this process's.
            "peak_rss_mb": None if one.run.entry.method == "oip" else single.peak_rss_mb,
            "model_bytes": single.model_bytes,
            "threads": single.threads,
            "threads_all": several.threads,
        }


def not_fitted() -> dict[str, Any]:
    """What is known of a contestant that was brought along before it is measured."""
    blank = dict.fromkeys(("budget_cpu_seconds", "seed", "fit_cpu_seconds", "n_fit", "epochs"))
    return {"outcome": "ok", "message": "", **blank, "log": []}


def checked(probabilities: NDArray[Any], n: int, n_classes: int) -> NDArray[np.float32]:
    """Probabilities as a contestant gave them.

    Raises:
        ValueError: another shape, no finite numbers, negative ones, or rows that do not sum to 1.
    """
    if probabilities.shape != (n, n_classes):
        raise ValueError(f"gave probabilities of shape {probabilities.shape}, expected {(n, n_classes)}")
    if not np.isfinite(probabilities).all() or (probabilities < 0).any():
        raise ValueError("gave probabilities that are no numbers from 0 on")
    if np.abs(probabilities.sum(axis=1) - 1).max(initial=0) > 1e-2:
        raise ValueError("gave probabilities whose rows do not sum to 1")
    return probabilities.astype(np.float32)


def told(run: Run, result: Mapping[str, Any]) -> str:
    """A run in a line."""
    part = f" ({run.part})" if run.part else ""
    used = result.get("fit_cpu_seconds")
    spent = "" if used is None else f", {used:.1f} of {run.budget:g} CPU seconds"
    score = "" if result.get("accuracy") is None else f"{100 * result['accuracy']:.1f} %"
    state = "" if result["outcome"] == "ok" else f"{result['outcome']}: {result['message']}"
    return f"{run.entry.name}{part}: {', '.join(filter(None, (score, state)))}{spent}"
