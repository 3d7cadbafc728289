"""A contestant's process: fits, or answers, as the harness asks through a pipe of JSON lines.

The clock of an answer is read here, right around it; everything else is measured from outside.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from classic_cv.compare.bundle import read_queries, read_training
from classic_cv.compare.contestant import FitTask, Fitted, Predictor
from classic_cv.compare.cpu import CpuBudget, stay_in_tree
from classic_cv.compare.entries import Entry, Limits, fit_entry, import_heavy, load_entry
from classic_cv.compare.limits import Guard, set_threads, verified_threads
from classic_cv.dataset import Encoded
from classic_cv.timing import peak_rss_mb

Message = dict[str, Any]


class Channel:
    """JSON lines from and to the harness; everything that is printed goes to the log instead."""

    def __init__(self) -> None:
        self._lines = sys.stdin
        # What libraries print must not end up between the messages.
        self._out: TextIO = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def receive(self) -> Message | None:
        """The next message; None once the harness is gone."""
        line = self._lines.readline()
        return json.loads(line) if line else None

    def send(self, **message: Any) -> None:
        """Answer."""
        self._out.write(json.dumps(message) + "\n")
        self._out.flush()


class Worker:
    """What a contestant's process can be asked for, one method per message."""

    def __init__(self, channel: Channel) -> None:
        self.channel, self.guard = channel, Guard()
        self.predictor: Predictor
        self.images: Sequence[Encoded] = ()

    def prepare(self, entry: Message, threads: int, forbidden: list[str]) -> Message:
        """Import what fitting needs, before the clock starts; nothing of the data is known yet."""
        set_threads(threads)
        import_heavy(Entry(**entry))
        # From here on: code of a contestant has not run before.
        self.guard.forbid(forbidden)
        self._confine(entry)
        return {"ready": True}

    def fit(
        self,
        entry: Message,
        bundle: str,
        folder: str,
        budget: float,
        threads: int,
        seed: int,
        limits: Message,
        twin: str | None = None,
    ) -> Message:
        """Fit and store; the budget runs from here."""
        clock = CpuBudget(budget)
        training = read_training(Path(bundle))
        told = _Telling(self.channel)
        task = FitTask(
            training.dataset,
            np.arange(len(training.y), dtype=np.int64),
            training.y,
            training.class_names,
            training.groups,
            Path(folder),
            seed,
            threads,
            clock,
            told,
            lambda fitted: self.channel.send(kept=self._plain(fitted)),
        )
        fitted = fit_entry(Entry(**entry), task, Limits(**limits), None if twin is None else Path(twin))
        return self._plain(fitted)

    def _plain(self, fitted: Fitted) -> Message:
        """What a fit tells of itself, as a message."""
        return {
            "n_fit": int(fitted.n_fit),
            "epochs": None if fitted.epochs is None else float(fitted.epochs),
            "history": fitted.history,
            "log": fitted.log,
            "skipped": fitted.skipped,
            "details": fitted.details,
            "threads": verified_threads(),
            "opened": self.guard.opened,
        }

    def load(self, entry: Message, folder: str, class_names: list[str], threads: int, first: str) -> Message:
        """Load the stored contestant and answer for one image: the end of a cold start."""
        set_threads(threads)
        self._confine(entry)
        self.predictor = load_entry(Entry(**entry), Path(folder), class_names, threads)
        [image, *_] = read_queries([Path(first)])
        n_bytes = self.predictor.model_bytes
        return {
            "label": int(self.predictor.label(image)),
            "model_bytes": None if n_bytes is None else int(n_bytes),
            "threads": verified_threads() | self.predictor.threads(),
        }

    def _confine(self, entry: Message) -> None:
        """Another process's work would be on nobody's account: only who is measured as a client may connect."""
        if Entry(**entry).method != "oip":
            self.guard.refuse_connections()

    def read(self, files: list[str]) -> Message:
        """Take encoded images into memory."""
        self.images = read_queries([Path(file) for file in files])
        return {"n": len(self.images)}

    def answer(self, indices: list[int]) -> Message:
        """Milliseconds and label of each image, one at a time."""
        seconds, labels = timed(self.predictor.label, [self.images[i] for i in indices])
        return {"ms": [1e3 * one for one in seconds], "labels": labels}

    def stages(self, indices: list[int]) -> Message:
        """Milliseconds of the parts of an answer, for each image."""
        found = [self.predictor.stages(self.images[i]) for i in indices]
        return {"ms": [{name: 1e3 * seconds for name, seconds in one.items()} for one in found]}

    def score(self, files: list[str], out: str) -> Message:
        """Write the probabilities of all images of some files; seconds of the answering alone."""
        parts, seconds = [], 0.0
        for file in files:
            images = read_queries([Path(file)])
            start = time.perf_counter()
            parts.append(np.asarray(self.predictor.probabilities(images), np.float32))
            seconds += time.perf_counter() - start
        np.save(out, np.concatenate(parts))
        return {"seconds": seconds, "n": sum(map(len, parts))}

    def memory(self) -> Message:
        """Peak memory so far."""
        return {"peak_rss_mb": peak_rss_mb(), "opened": self.guard.opened}


def timed(answer: Callable[[Encoded], Any], images: Sequence[Encoded]) -> tuple[list[float], list[int]]:
    """Seconds and label of each answer; nothing but the call lies between the two looks at the clock."""
    clock = time.perf_counter
    seconds, labels = [0.0] * len(images), [0] * len(images)
    for i, image in enumerate(images):
        start = clock()
        label = answer(image)
        end = clock()
        seconds[i], labels[i] = end - start, int(label)
    return seconds, labels


class _Telling:
    """Progress of a fit as messages, a few a second."""

    EVERY = 0.25

    def __init__(self, channel: Channel) -> None:
        self.channel, self.last = channel, 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self.last >= self.EVERY:
            self.last = now
            self.channel.send(progress=[what, done, total])


def main() -> None:
    """Answer messages until the harness closes the pipe; an exception becomes a message, and ends the process."""
    stay_in_tree()
    channel = Channel()
    worker = Worker(channel)
    while (message := channel.receive()) is not None:
        name = str(message.pop("do"))
        try:
            found = getattr(worker, name)(**message)
        except Exception as error:
            import traceback

            traceback.print_exc()
            channel.send(failed=f"{type(error).__name__}: {error}", opened=worker.guard.opened)
            return
        channel.send(done=name, **found)


if __name__ == "__main__":
    main()
