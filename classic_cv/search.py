"""Which recipe: a search on training images only, inside a time limit, that always has an answer ready.

Successive halving (Jamieson and Talwalkar 2016) over the number of images: all feature sets at a few hundred
images, the better ones at more. The best feature sets are then tried with the other heads, the best head at the
other sizes. All candidates see the same images and the same folds, so they are compared image by image. Nothing is
begun that would not leave time for the final fit of the best so far. The test part is not touched.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from classic_cv._latency import PAUSE
from classic_cv.candidates import (
    averaged,
    feature_recipes,
    floor_recipes,
    head_label,
    head_variants,
    is_worth_its_size,
    sizes_for,
    typical_side,
    with_copies,
)
from classic_cv.comparison import Candidate, Measured, is_behind, measured
from classic_cv.contest import decide, is_worth_trying, network_recipe, rival_seconds, without
from classic_cv.errors import DatasetError, LatencyError
from classic_cv.extraction import Extraction
from classic_cv.feature_store import FeatureStore
from classic_cv.fitting import Job, check_latency, fit_recipe, fold_groups, training_set
from classic_cv.forecast import Forecast, values_tried
from classic_cv.heads.fitting import (
    Effort,
    are_unequal,
    can_cross_validate,
    choose,
)
from classic_cv.model import Model
from classic_cv.recipe import Recipe
from classic_cv.shadow import Shadow, shadow_of
from classic_cv.stats import accuracy_interval, mean_interval

RUNGS = (500, 2500, 8000, 15_000)
"""Images that candidates are compared on, from one rung to the next."""

FIRST_PER_CLASS = 10
"""The first rung has at least so many images per class on average."""

SURVIVORS = (6, 4, 3)
"""How many go on after the first, the second and the later rungs; fewer where the rest is clearly worse."""

EXPANDED = 3
"""How many of the best feature sets are tried with every head."""

BEST_HEADS = 2
"""How many heads are tried on all of them."""

MIRRORED = 2
"""How many of the best are tried with mirror images."""

TIE = 0.5
"""Standard errors up to which candidates count as equally accurate: the one with the smaller log loss goes first."""

FIRST_SHARE = 0.45
"""The first rung may take this share of the time, so that some is left to compare the best on more images."""

ADD_SHARE = 0.15
"""Measuring the latency of new candidates, before anything is compared, may take this share of the time left."""

ENOUGH_IMAGES = 60_000
"""A recipe of which the memory holds fewer than half of the images, or of so many, is not tried."""

OVERHEAD = 2.0
"""Seconds kept for starting, saving and the report."""

RESERVE = 0.6
"""At most this share of the time limit is kept for the final fit; where that is too little, it sees fewer images."""

SECOND_LOOKS, NEAR = 4, 1.8
"""How often a candidate within so many times the latency limit is measured again: other load comes and goes."""

ROOM = 0.9
"""Share of the latency limit that another head, or the next best after one that just missed it, may take."""

FIRST_CS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


@dataclass
class Found:
    """What a search returns: the fitted model, its features' extraction, the leaderboard as plain data."""

    model: Model
    extraction: Extraction
    summary: dict[str, Any]


def search(
    job: Job,
    *,
    time_limit: float,
    latency_limit: float | None = None,
    on_entry: Callable[[dict[str, Any]], None] | None = None,
) -> Found:
    """Find and fit the best recipe of the shelf for ``job``.

    Args:
        job: data, split and task.
        time_limit: seconds from ``job.started`` to the figures on the test part.
        latency_limit: milliseconds for the 95th percentile of a single image, or None.
        on_entry: called with each leaderboard entry as it is measured.

    Raises:
        LatencyError: no candidate keeps the latency limit.
        DatasetError: no candidate can be fitted.
    """
    with tempfile.TemporaryDirectory(prefix="classic-cv-", ignore_cleanup_errors=True) as folder:
        return _Search(job, FeatureStore(job, folder), time_limit, latency_limit, on_entry).run()


class _Search:
    def __init__(
        self,
        job: Job,
        store: FeatureStore,
        time_limit: float,
        latency_limit: float | None,
        on_entry: Callable[[dict[str, Any]], None] | None,
    ) -> None:
        self.job, self.store = job, store
        self.time_limit, self.latency_limit = time_limit, latency_limit
        self.on_entry = on_entry
        self.n = len(job.train)
        steps = rungs_for(self.n, max(1, len(job.task.class_names)))
        # A beginning that holds one group of each class has nothing to hold out.
        self.rungs = [n for n in steps if self._comparable(store.order[:n])] or steps[-1:]
        self.candidates: list[Candidate] = []
        self.stopped = ""
        self.forecast = Forecast(store, job.task, self.n)

    # What is measured, and when there is no more time for it.

    def run(self) -> Found:
        """The whole search and the final fit."""
        self._floors()
        side = typical_side(self.job.dataset, self.job.train.tolist())
        recipes = feature_recipes(self.job.task.kind, sizes_for(side))
        self._add([recipe for recipe in recipes if is_worth_its_size(recipe, side)])
        if not self._can_compare():
            return self._without_comparison()
        for number, n in enumerate(self.rungs):
            self._rung(number, n)
            if number == min(1, len(self.rungs) - 1):
                self._other_heads(n)
                self._mirrored(n)
        self.stopped = self.stopped or "every candidate was compared, or was clearly behind"
        return self._finish()

    def _can_compare(self) -> bool:
        return self._comparable(self.job.train)

    def _comparable(self, indices: NDArray[np.int64]) -> bool:
        groups = fold_groups(self.job.split, indices)
        return can_cross_validate(self.job.task.y[indices], groups, self.job.task.kind)

    def _without_comparison(self) -> Found:
        """One image per class: nothing can be held out, so the richest recipe has to do."""
        self.stopped = "nothing could be held out to compare by: every class has a single image or group"
        for candidate in [c for c in self.candidates if not c.floor and c.status == "not reached"]:
            model, extraction = fit_recipe(self.job, candidate.recipe)
            if self._wins(candidate, model):
                return Found(model, extraction, self._summary(candidate))
        raise self._too_slow()

    def _floors(self) -> None:
        for recipe in floor_recipes(self.job.task.kind):
            candidate = Candidate(recipe, shadow_of(self.job, self.store.sketch(recipe), recipe), floor=True)
            candidate.status = "floor"
            self.candidates.append(candidate)
            if self._can_compare():
                self._measure(candidate, self.rungs[0])
                self._tell(candidate)

    def _add(self, recipes: Sequence[Recipe], parent: Candidate | None = None) -> list[Candidate]:
        """New candidates; those over the latency limit are only noted."""
        known = {c.recipe.name for c in self.candidates}
        added: list[Candidate] = []
        started, budget = self.job.clock(), ADD_SHARE * self._left()
        for recipe in recipes:
            if recipe.name in known:
                continue
            if added and self.job.clock() - started > budget:
                self.stopped = "the time limit"
                break
            shadow = self._shadow(recipe)
            candidate = Candidate(recipe, shadow, parent=parent)
            # Another head is worth trying only with room to spare: it must not lose the limit to a busier moment.
            room = ROOM if parent is not None else 1.0
            if self.latency_limit is not None and shadow.p95_ms > room * self.latency_limit:
                candidate.status = "over the latency limit"
            elif self.forecast.most_images(candidate) < min(self.n, ENOUGH_IMAGES) / 2:
                # More images would be worth more than its columns.
                candidate.status = "too wide for so many images"
            self.candidates.append(candidate)
            added.append(candidate)
        return [c for c in added if c.status == "not reached"]

    def _shadow(self, recipe: Recipe) -> Shadow:
        """Latency and size; measured again, a moment later, where it just misses the limit."""
        featurizer, limit = self.store.sketch(recipe), self.latency_limit
        shadow = shadow_of(self.job, featurizer, recipe, exact=limit is not None)
        for _ in range(SECOND_LOOKS):
            if limit is None or not limit < shadow.p95_ms <= NEAR * limit:
                break
            time.sleep(PAUSE)
            again = shadow_of(self.job, featurizer, recipe, exact=True)
            shadow = min(shadow, again, key=lambda one: one.p95_ms)
        return shadow

    def _rung(self, number: int, n: int) -> None:
        """Compare the survivors of the rung before on n images."""
        if number == 0:
            runners = [c for c in self.candidates if c.status == "not reached" and not c.floor]
            budget = FIRST_SHARE * self._left()
        else:
            runners, budget = self._survivors(SURVIVORS[min(number, len(SURVIVORS)) - 1]), np.inf
        started = self.job.clock()
        for candidate in runners:
            if number == 0 and self._measured(n) and self.job.clock() - started > budget:
                candidate.status = "not reached in time"
                self.stopped = "the time limit"
                continue
            self._try(candidate, n)
            if number > 0 and candidate is runners[0] and candidate.last.n < n:
                # Where the best cannot be measured in time, the others would win by being cheap.
                break

    def _other_heads(self, n: int) -> None:
        """The best feature set with every head, the next ones with the heads that did best on it."""
        parents = self._ranking(n)[:EXPANDED]
        labels: list[str] | None = None
        for parent in parents:
            variants = head_variants(parent.recipe, self.n)
            if labels is not None:
                variants = [variant for variant in variants if head_label(variant.head) in labels]
            family = [parent, *self._add(variants, parent)]
            for candidate in family:
                self._try(candidate, n)
            # The next feature sets are tried with the heads that were best on the first.
            if labels is None and len(family) > 1:
                family = sorted((c for c in family if c.rungs), key=lambda c: c.last.mean)
                labels = [head_label(c.recipe.head) for c in family[:BEST_HEADS]]

    def _mirrored(self, n: int) -> None:
        """The best ones with features averaged over both mirror images, the very best with mirrored copies, too."""
        best = self._ranking(n)[:MIRRORED]
        variants = [(candidate, averaged(candidate.recipe)) for candidate in best]
        # Copies double the rows: pointless where the memory would not hold those of all images.
        variants += [
            (candidate, with_copies(candidate.recipe))
            for candidate in best[:1]
            if self.forecast.most_images(candidate) >= 2 * self.n
        ]
        for parent, recipe in variants:
            for candidate in self._add([recipe], parent):
                self._try(candidate, n)

    def _try(self, candidate: Candidate, n: int) -> None:
        """Measure a candidate on n images if that leaves time for the final fit."""
        if candidate.rungs and candidate.last.n >= n:
            return
        ahead = self.forecast.comparison(candidate, n)
        ranking = self._ranking()
        reserve = min(self.forecast.final((ranking or [candidate])[0], self.n), RESERVE * self.time_limit)
        # Without a result yet the search goes on: some model is better than none.
        if ranking and ahead > self._left() - reserve:
            candidate.status = candidate.status if candidate.rungs else "not reached in time"
            self.stopped = "the time limit"
            return
        self._measure(candidate, n)
        candidate.status = "compared"
        self._tell(candidate)

    def _measure(self, candidate: Candidate, n: int) -> None:
        start = self.job.clock()
        extraction = self._extract(candidate, n)
        extracted = self.job.clock()
        training = training_set(self.job, extraction, self.store.sketch(candidate.recipe).group_widths)
        shape = training.X.shape
        effort = self._effort(candidate, n)
        choice = choose(candidate.recipe.head, training, effort)
        cv_seconds = self.job.clock() - extracted
        fits = values_tried(choice.summary) * len(choice.rows) / len(training.y)
        self.forecast.note_comparison(candidate, shape, cv_seconds, fits)
        candidate.rungs.append(
            measured(training, extraction, choice, n, self.job.clock() - start, cv_seconds, fits)
        )

    def _extract(self, candidate: Candidate, n: int) -> Extraction:
        """The candidate's features of the first n images; learns from how long that takes."""
        recipe = candidate.recipe
        unlearned, missing = self.store.unlearned(recipe), self.store.missing(recipe, n)
        whole = missing == self.store.missing(recipe, n, all_features=True)
        start = self.job.clock()
        self.store.featurizer(recipe)
        learned = self.job.clock()
        extraction = self.store.extraction(recipe, n)
        self.forecast.note_learning(candidate, unlearned, learned - start)
        if whole:
            self.forecast.note_extraction(candidate, missing, self.job.clock() - learned)
        return extraction

    def _effort(self, candidate: Candidate, n: int) -> Effort:
        """Few folds and a narrow path where there are many images; all of both where there are few."""
        held_out = None if n <= 1500 else 2 if n <= 4000 else 1
        splits = 3 if n < min(self.n, 600) else 5
        if self.job.task.kind == "regression":
            return Effort(n_splits=splits, max_samples=None)
        if not candidate.rungs:
            return Effort(Cs=FIRST_CS, n_splits=splits, n_held_out=held_out, max_samples=None)
        C: Any = getattr(candidate.last.settings, "C", 1.0)
        if isinstance(C, tuple):  # late fusion: one for each extractor
            near = [[c / 3, c, c * 3] for c in C]
            return Effort(None, None, None, splits, held_out, None, extractor_Cs=near)
        gamma = getattr(candidate.last.settings, "gamma", None)
        gammas = [gamma] if isinstance(gamma, float) else None
        return Effort([C / 3, C, C * 3], gammas, None, splits, held_out, None)

    def _left(self) -> float:
        """Seconds until the model has to be fitted, with the test part still to be measured."""
        n_test = len(self.job.split.test)
        ranking = self._ranking()
        ms = ranking[0].shadow.ms if ranking else 1.0
        after = OVERHEAD + 1.2 * (n_test * ms * self.forecast.speed + 200 * ms) / 1e3
        left: float = self.job.started + self.time_limit - after - self.job.clock()
        return left

    # Comparison.

    def _measured(self, n: int) -> list[Candidate]:
        return [c for c in self.candidates if not c.floor and c.rungs and c.last.n == n]

    def _ranking(self, n: int | None = None) -> list[Candidate]:
        """Candidates on the most images that any was measured on, the best first; the faster of equals."""
        if n is None:
            n = max((c.last.n for c in self.candidates if c.rungs and not c.floor), default=0)
        ranking = sorted(self._measured(n), key=lambda c: (c.last.mean, c.shadow.ms))
        equals = [c for c in ranking if not is_behind(c, ranking[0], TIE)]
        equals.sort(key=lambda c: c.last.log_loss)
        return [*equals, *(c for c in ranking if c not in equals)]

    def _survivors(self, most: int) -> list[Candidate]:
        """The best of the last rung, without those that are clearly behind."""
        ranking = self._ranking()
        for candidate in ranking:
            candidate.status = "behind"
        kept = [c for c in ranking[:most] if not is_behind(c, ranking[0])]
        for candidate in kept:
            candidate.status = "compared"
        return kept

    # The end.

    def _finish(self) -> Found:
        """Fit the best; where it turns out too slow, the next."""
        ranking = self._ranking()
        if not ranking:
            raise self._too_slow()
        network = self._network(ranking[0])
        if network is not None:
            return network
        rest = sorted(
            (c for c in self.candidates if c.rungs and not c.floor and c not in ranking),
            key=lambda c: (-c.last.n, c.last.mean),
        )
        tried = 0
        for candidate in [*ranking, *rest]:
            # Once the first has turned out too slow, only those with room to spare, as long as there is time.
            if tried and self.latency_limit is not None:
                roomy = candidate.shadow.p95_ms <= ROOM * self.latency_limit
                if not roomy or (tried > 1 and self._left() < 0):
                    continue
            tried += 1
            model, extraction = self._fit(candidate)
            if self._wins(candidate, model):
                return Found(model, extraction, self._summary(candidate))
        raise self._too_slow()

    def _network(self, best: Candidate) -> Found | None:
        """A small network, where there is time to train one and it is better than the best so far."""
        # The best is fitted twice: without the images that decide, and once more if it wins.
        left = self._left()
        fit_seconds = min(self.forecast.final(best, self.n), rival_seconds(self.job, left))
        spare = left - 2 * fit_seconds
        if not is_worth_trying(self.job, best.last.mean, spare, self.time_limit):
            return None

        def rival(held_out: NDArray[np.int64]) -> Model:
            recipe, images = self._final_recipe(best, fit_seconds)
            extraction = without(self.store.extraction(recipe, images, final=True), held_out)
            return fit_recipe(self.job, recipe, extraction, self.store.featurizer(recipe))[0]

        recipe = network_recipe(self.job, spare, self.latency_limit)
        deadline = self.job.clock() + spare
        outcome = decide(self.job, recipe, deadline, self.latency_limit, rival)
        if outcome is None:
            return None
        outcome.network.status = "winner" if outcome.network_wins else "behind the winner"
        self.candidates.append(outcome.network)
        self._tell(outcome.network)
        if not outcome.network_wins:
            return None
        return Found(outcome.model, outcome.extraction, self._summary(outcome.network))

    def _wins(self, candidate: Candidate, model: Model) -> bool:
        """Whether the fitted model keeps the latency limit; notes what became of the candidate."""
        try:
            if self.latency_limit is not None:
                check_latency(model, self.job, self.latency_limit)
        except LatencyError:
            candidate.status = "over the latency limit when measured again"
            return False
        candidate.status = "winner"
        return True

    def _final_recipe(self, candidate: Candidate, seconds: float | None = None) -> tuple[Recipe, int]:
        """The recipe of the final fit, and how many images it sees in what time is left, or in so many seconds."""
        images = self._final_images(candidate, self._left() if seconds is None else seconds)
        settings = candidate.last.settings
        train = msgspec.structs.replace(candidate.recipe.train, images="all" if images >= self.n else images)
        return msgspec.structs.replace(candidate.recipe, head=settings, train=train), images

    def _fit(self, candidate: Candidate) -> tuple[Model, Extraction]:
        recipe, images = self._final_recipe(candidate)
        # A winner that turns out too slow leaves its features to the next one.
        keep = self.latency_limit is not None
        extraction = self.store.extraction(recipe, images, final=True, keep=keep)
        return fit_recipe(self.job, recipe, extraction, self.store.featurizer(recipe))

    def _final_images(self, candidate: Candidate, seconds: float) -> int:
        """All training images, or as many as time and memory allow; never fewer than were compared on."""
        least = min(candidate.last.n, self.n)
        n = max(least, min(self.n, self.forecast.most_images(candidate)))
        while n > least and self.forecast.final(candidate, n) > seconds:
            n = max(least, int(0.9 * n))
        return n

    def _too_slow(self) -> LatencyError | DatasetError:
        slow = [c for c in self.candidates if not c.floor]
        if self.latency_limit is None or not slow:
            return DatasetError(f"{self.job.dataset.name}: no recipe could be fitted")
        fastest = min(slow, key=lambda c: c.shadow.p95_ms)
        return LatencyError(
            f"no recipe keeps {self.latency_limit:g} ms (--latency-limit): the fastest, {fastest.recipe.name}, takes "
            f"{fastest.shadow.p95_ms:.2f} ms before it is fitted (95th percentile, encoded bytes to label, "
            "one thread); allow more"
        )

    # What is told.

    def _tell(self, candidate: Candidate) -> None:
        if self.on_entry:
            self.on_entry(self._entry(candidate))

    def _entry(self, candidate: Candidate) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "recipe": candidate.recipe.name,
            "size": candidate.recipe.image.size,
            "head": head_label(candidate.recipe.head),
            "score": None,
            "score_name": self._scoring(),
            "score_ci95": None,
            "n_images": 0,
            "n_rows": 0,
            "fit_seconds": None,
            "ms_per_image": candidate.shadow.ms,
            "p95_ms": candidate.shadow.p95_ms,
            "model_bytes": candidate.shadow.model_bytes,
            "status": candidate.status,
        }
        if candidate.rungs:
            last = candidate.last
            score, interval = self._score(last)
            entry |= {
                "score": score,
                "score_ci95": interval,
                "n_images": last.n,
                "n_rows": len(last.loss),
                "fit_seconds": sum(rung.seconds for rung in candidate.rungs),
            }
        return entry

    def _score(self, measured: Measured) -> tuple[float, list[float]]:
        if self.job.task.kind == "regression":
            return measured.mean, list(mean_interval(measured.loss, measured.weight))
        if np.ptp(measured.weight) == 0:
            correct = int((measured.loss == 0).sum())
            return max(1 - measured.mean, 0.0), list(accuracy_interval(correct, len(measured.loss)))
        low, high = mean_interval(1 - measured.loss, measured.weight)
        return max(1 - measured.mean, 0.0), [max(low, 0.0), min(high, 1.0)]

    def _summary(self, winner: Candidate) -> dict[str, Any]:
        def rank(candidate: Candidate) -> tuple[Any, ...]:
            n = candidate.last.n if candidate.rungs else 0
            loss = candidate.last.mean if candidate.rungs else np.inf
            return (candidate is not winner, candidate.floor, -n, loss)

        return {
            "scoring": self._scoring(),
            "stopped": self.stopped,
            "seconds": self.job.clock() - self.job.started,
            "time_limit": self.time_limit,
            "latency_limit_ms": self.latency_limit,
            "notes": self._notes(winner),
            "leaderboard": [self._entry(c) for c in sorted(self.candidates, key=rank)],
        }

    def _notes(self, winner: Candidate) -> list[str]:
        """A warning where a floor is as good as the winner: the data then has a shortcut."""
        if not winner.rungs:
            return []
        return [
            f"{floor.recipe.name} alone scores as well as the winner: file properties, or the class shares, tell the "
            "answer, so this score says little about what the images show"
            for floor in self.candidates
            if floor.floor and floor.rungs and floor.last.mean <= winner.last.mean
        ]

    def _scoring(self) -> str:
        if self.job.task.kind == "regression":
            return "mean absolute error"
        return "balanced accuracy" if are_unequal(self.job.task.y[self.job.train]) else "accuracy"


def rungs_for(n: int, n_classes: int) -> list[int]:
    """How many images candidates are compared on, rung by rung, of n."""
    first = max(RUNGS[0], FIRST_PER_CLASS * n_classes)
    steps = [first, *(step for step in RUNGS[1:] if step > 1.5 * first)]
    top = min(n, RUNGS[-1])
    return [*(step for step in steps if 1.5 * step <= top), top]
