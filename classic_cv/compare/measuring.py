"""Latency of stored contestants: fresh processes, all alive at once, asked in turn in short blocks.

What else the machine does then hits all of them alike. Every query is another image, so that nothing answered before
can be answered from memory.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classic_cv.compare.entries import Entry
from classic_cv.compare.process import Contestant, Ended, Rules
from classic_cv.stats import quantile_bound
from classic_cv.timing import percentiles

WARM_UP = 5
"""Queries that are not counted, on images that are not asked for again."""

BLOCK = 20
"""Queries to one contestant before the next one is asked."""

MOST_SECONDS = 6.0
"""That the queries of one contestant may take in one process."""

LEAST_QUERIES = 20

STAGED = 15
"""Images that the parts of an answer are timed on."""

DISAGREEING = 0.01
"""Share of timed answers that may differ from those that are scored: sums in another order, at a tie."""


@dataclass
class Timed:
    """What was measured of one contestant, over all restarts.

    Attributes:
        ms: of each query, a list per process.
        labels: answered, by the position of the image.
        stages: milliseconds of the parts, one dict per image.
        cold_start_ms: of each process: from its start to the first answer.
        peak_rss_mb: the largest.
        model_bytes: None where they are not known.
        ended: why it could not be timed, or None.
    """

    ms: list[list[float]] = field(default_factory=list)
    labels: list[tuple[int, int]] = field(default_factory=list)
    stages: list[dict[str, float]] = field(default_factory=list)
    cold_start_ms: list[float] = field(default_factory=list)
    peak_rss_mb: float = 0.0
    model_bytes: int | None = None
    threads: dict[str, int] = field(default_factory=dict)
    ended: Ended | None = None

    def latency(self) -> dict[str, Any] | None:
        """Percentiles of all queries, the bound of the 99th, and the median of each process."""
        everything = [one for process in self.ms for one in process]
        if not everything:
            return None
        return {
            **percentiles(everything),
            "p99_bound": quantile_bound(everything, 0.99),
            "n": len(everything),
            "restarts": [float(np.median(process)) for process in self.ms],
        }

    def stages_ms(self) -> dict[str, float] | None:
        """The median of each part."""
        if not self.stages:
            return None
        return {name: float(np.median([one[name] for one in self.stages])) for name in self.stages[0]}


@dataclass(frozen=True)
class Stored:
    """A contestant that can be asked: who, and where its model is."""

    entry: Entry
    folder: Path
    log: Path


def time_all(
    contestants: Sequence[Stored],
    files: Sequence[Path],
    n_images: int,
    class_names: Sequence[str],
    rules: Rules,
    cores: Sequence[int],
    *,
    restarts: int = 3,
    queries: int = 200,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Timed]:
    """Time contestants in turn.

    Args:
        contestants: who is asked.
        files: the test images, as ``write_queries`` wrote them; the first of them are asked for.
        n_images: in these files.
        class_names: by class number.
        rules: of the comparison.
        cores: that each process may use, which is how many threads it has.
        restarts: fresh processes of each contestant.
        queries: images that each process is asked for, fewer where there are fewer or they take long.
        seed: of the order in which contestants are asked, and of the images.
        progress: called with (what, done, total).
    """
    rng = np.random.default_rng(seed)
    found = {one.entry.name: Timed() for one in contestants}
    for restart in range(restarts):
        with contextlib.ExitStack() as stack:
            alive: dict[str, Contestant] = {}
            for one in contestants:
                if found[one.entry.name].ended is None:
                    process = Contestant(rules, cores, one.log)
                    stack.callback(process.end)
                    alive[one.entry.name] = process
                    _attempt(found, one.entry.name, partial(_start, process, one, files, class_names))
            _ask_in_turn(found, alive, n_images, queries, rng)
            for name, process in alive.items():
                _attempt(found, name, partial(_finish, process, n_images))
        if progress:
            progress("timing", restart + 1, restarts)
    return found


def _attempt(found: dict[str, Timed], name: str, action: Callable[[Timed], None]) -> None:
    """Do something with a contestant unless it has ended; note if it ends."""
    timed = found[name]
    if timed.ended is None:
        try:
            action(timed)
        except Ended as ended:
            timed.ended = ended


def _start(
    process: Contestant, stored: Stored, files: Sequence[Path], class_names: Sequence[str], timed: Timed
) -> None:
    loaded = process.ask(
        "load",
        entry=stored.entry.plain(),
        folder=str(stored.folder),
        class_names=list(class_names),
        threads=len(process.cores),
        first=str(files[0]),
    )
    timed.cold_start_ms.append(1e3 * (time.perf_counter() - process.started))
    timed.model_bytes, timed.threads = loaded["model_bytes"], loaded["threads"]
    process.ask("read", files=[str(file) for file in files])


def _ask_in_turn(
    found: dict[str, Timed],
    alive: dict[str, Contestant],
    n_images: int,
    queries: int,
    rng: np.random.Generator,
) -> None:
    """Warm up, then ask block by block, each time in another order."""
    order = rng.permutation(n_images).tolist()
    warm, asked = order[:WARM_UP], order[WARM_UP : WARM_UP + queries] or order
    left: dict[str, list[int]] = {}

    def warm_up(name: str, timed: Timed) -> None:
        answered = alive[name].ask("answer", indices=warm)
        affordable = int(1e3 * MOST_SECONDS / max(float(np.median(answered["ms"])), 1e-3))
        left[name] = asked[: max(LEAST_QUERIES, affordable)]
        timed.ms.append([])

    for name in alive:
        _attempt(found, name, partial(warm_up, name))
    while left:
        for name in rng.permutation(sorted(left)).tolist():
            block, left[name] = left[name][:BLOCK], left[name][BLOCK:]
            _attempt(found, name, partial(_ask, alive[name], block))
            if not left[name] or found[name].ended:
                del left[name]


def _ask(process: Contestant, block: list[int], timed: Timed) -> None:
    answered = process.ask("answer", indices=block)
    timed.ms[-1] += answered["ms"]
    timed.labels += zip(block, answered["labels"], strict=True)


def _finish(process: Contestant, n_images: int, timed: Timed) -> None:
    """The parts of an answer, after everything else, and the memory that all took."""
    memory = process.ask("memory")
    timed.peak_rss_mb = max(timed.peak_rss_mb, memory["peak_rss_mb"])
    timed.stages += process.ask("stages", indices=list(range(min(STAGED, n_images))))["ms"]


def answers_differ(timed: Timed, scored: NDArray[np.intp]) -> int:
    """Timed answers that are not those that were scored, where they are more than ties explain; else 0."""
    wrong = sum(int(scored[position]) != label for position, label in timed.labels)
    return wrong if wrong > max(2, DISAGREEING * len(timed.labels)) else 0
