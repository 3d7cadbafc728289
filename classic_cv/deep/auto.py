"""Which network: those that keep the limits get a short training, the best two are refined, the best gets the rest.

Everything is charged to the CPU seconds of the fit, as a practitioner's trials are charged to the practitioner.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from classic_cv.compare.contestant import FitTask, Fitted
from classic_cv.deep.settings import LITE0_PACKAGE, TIMM, DeepSettings, deep_shelf, load_deep
from classic_cv.deep.trials import Measured, Slice, Tools
from classic_cv.errors import ClassicCVError, LatencyError, TrainingError
from classic_cv.subset import nested_order

EPOCH_SHARE, REFINING_SHARE = 0.3, 0.2
"""Of the CPU seconds, for an epoch of each candidate, and for the variants of the best ones."""

REFINED = 2
"""Candidates that are refined."""

HOPELESS = 0.5
"""A runner-up with less than this share of the best accuracy is not refined: no variant makes up for so much."""

IMAGE_SECONDS = 0.02
"""CPU seconds of an image in a trial: what the images and epochs of trials go by, the same for all candidates."""

MOST_EPOCHS = 5
"""Of a trial; one where the time is short."""

FEWEST_PER_CLASS = 8
"""Images per class that a trial needs to say something."""

LOW, LOW_PRETRAINED = 64, 96
"""Pixels of a side in trials: pretrained networks expect larger things than those that start anew."""

STEP = 16
"""Sizes are multiples of it where a limit asks for a smaller one."""

SPREAD = 1.1
"""The 95th percentile of a latency, which a limit is about, is so many times the median or more."""

QUICK_FIRST = (
    "efficientnet-lite0",
    "mobilenetv3-small",
    "resnet18",
    "cs3darknet-focus-s",
    "efficientnet-b0",
)
"""Networks of the shelf that learn much in little time: they come first, since the time may not reach for all."""

Candidate = tuple[str, DeepSettings]


class Trial(NamedTuple):
    """A short training: of what, with which settings, how it did on images that it did not see."""

    name: str
    what: str
    settings: DeepSettings
    accuracy: float
    seconds: float


# Candidates.


def candidates() -> list[Candidate]:
    """The networks of the shelf as candidates, in the order in which they are tried.

    One whose weights are at hand, without a download, is a candidate frozen and fine-tuned; the others start from
    scratch.
    """
    names = sorted(deep_shelf(), key=lambda name: (name not in QUICK_FIRST, _rank(name), name))
    found: list[tuple[int, Candidate]] = []
    for name in names:
        settings = load_deep(name)
        modes = ("frozen", "finetune") if has_weights(settings) else ("scratch",)
        for mode in modes:
            own = msgspec.structs.replace(settings, mode=mode)
            found.append((("frozen", "finetune", "scratch").index(mode), (f"{name}:{mode}", own)))
    return [candidate for _, candidate in sorted(found, key=lambda entry: entry[0])]


def _rank(name: str) -> int:
    return QUICK_FIRST.index(name) if name in QUICK_FIRST else len(QUICK_FIRST)


def has_weights(settings: DeepSettings) -> bool:
    """Whether pretrained weights are on this machine."""
    if settings.weights == LITE0_PACKAGE:
        return find_spec(LITE0_PACKAGE.replace("-", "_")) is not None
    if settings.weights != TIMM:
        return Path(settings.weights).is_file()
    if find_spec("timm") is None or find_spec("huggingface_hub") is None:
        return False
    from huggingface_hub import constants, try_to_load_from_cache

    if not Path(constants.HF_HUB_CACHE).is_dir():
        return False
    import timm

    configuration = timm.get_pretrained_cfg(settings.architecture)
    repository = str(getattr(configuration, "hf_hub_id", None) or "")
    files = ("model.safetensors", "pytorch_model.bin")
    return bool(repository) and any(isinstance(try_to_load_from_cache(repository, f), str) for f in files)


# The search.


def fit_auto(
    candidates: Sequence[Candidate],
    task: FitTask,
    latency_limit_ms: float | None = None,
    size_limit_bytes: int | None = None,
    tools: Tools | None = None,
) -> Fitted:
    """Choose a network on the training images, and fit it in what is left of the budget.

    Candidates that break a limit at every size are dropped. The others get one epoch each, or some where there is much
    time, on the same images at a low size, in ``EPOCH_SHARE`` of the time; the best ``REFINED`` then another learning
    rate, another share of frozen layers, and more pixels, in ``REFINING_SHARE``.

    Args:
        candidates: names and settings; where the time does not reach for all, the first ones are tried.
        task: what is learned from; its budget pays for everything.
        latency_limit_ms: of one image on one thread; None for no limit.
        size_limit_bytes: of the stored network; None for no limit.
        tools: what measures and trains.

    Returns:
        What the final fit tells, with a line for each decision; ``details`` has ``chosen``, and ``trials`` as plain
        data.

    Raises:
        LatencyError: no candidate keeps the limits.
        TrainingError: none can be fitted, or there are none.
    """
    if not candidates:
        raise TrainingError("no network to choose from; give one candidate at least")
    search = _Search(task, latency_limit_ms, size_limit_bytes, tools or Tools())
    kept = search.within_limits(candidates)
    tried = search.one_epoch_each(kept)
    refined = search.refined(tried) if tried else []
    return search.long_run(refined, kept)


@dataclass
class _Search:
    """The state of one call of ``fit_auto``."""

    task: FitTask
    latency_limit_ms: float | None
    size_limit_bytes: int | None
    tools: Tools
    log: list[str] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)
    measured: dict[tuple[str, int], Measured] = field(default_factory=dict)
    subset: FitTask = field(init=False)
    epochs: int = 1

    # Limits.

    def within_limits(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """The candidates that keep the limits, with the largest size at which they do."""
        if self.latency_limit_ms is None and self.size_limit_bytes is None:
            return list(candidates)
        kept: list[Candidate] = []
        for name, settings in candidates:
            size = self._size_within_limits(name, settings)
            if size is None:
                continue
            # A stem that keeps the resolution would take more time than was measured.
            stem = False if settings.small_stem == "auto" else settings.small_stem
            kept.append((name, msgspec.structs.replace(settings, max_size=size, small_stem=stem)))
        if not kept:
            raise LatencyError("no network keeps the limits: " + "; ".join(self.log))
        return kept

    def _size_within_limits(self, name: str, settings: DeepSettings) -> int | None:
        """The largest size that keeps the limits, found by two measurements or three; None for none."""
        fixed = settings.size != "auto"
        size = settings.max_size if settings.size == "auto" else settings.size
        ms = math.inf
        for _ in range(3):
            found = self._measure(name, settings, size)
            if found is None:
                return None
            ms = found.ms
            if self.size_limit_bytes is not None and found.n_bytes > self.size_limit_bytes:
                self.log.append(
                    f"{name}: dropped: {found.n_bytes / 1e6:.2f} MB, more than {self.size_limit_bytes / 1e6:g} MB"
                )
                return None
            if self.latency_limit_ms is None or SPREAD * ms <= self.latency_limit_ms:
                self.log.append(f"{name}: {ms:.2f} ms at {size} pixels, {found.n_bytes / 1e6:.2f} MB")
                return size
            # Time goes with the pixels, or falls more slowly.
            share = math.sqrt(self.latency_limit_ms / (SPREAD * ms))
            smaller = min(int(share * size), size - 1) // STEP * STEP
            smaller = max(smaller, settings.min_size)
            if fixed or smaller >= size:
                break
            size = smaller
        self.log.append(
            f"{name}: dropped: {ms:.2f} ms at {size} pixels, and the limit of {self.latency_limit_ms:g} ms is "
            f"for the 95th percentile, about {SPREAD:g} times the median"
        )
        return None

    def _measure(self, name: str, settings: DeepSettings, size: int) -> Measured | None:
        key = settings.architecture, size
        if key not in self.measured:
            try:
                self.measured[key] = self.tools.measure(settings, size, self.task)
            except ClassicCVError as error:
                self.log.append(f"{name}: dropped: {error}")
                return None
        return self.measured[key]

    # Trials.

    def one_epoch_each(self, candidates: Sequence[Candidate]) -> list[Trial]:
        """A trial of each candidate that the time reaches for, the best first."""
        if len(candidates) == 1:
            self.log.append(f"{candidates[0][0]}: the only candidate, not tried before the long run")
            return []
        seconds = EPOCH_SHARE * self.task.budget.left
        share = Slice(self.task.budget, seconds)
        self._plan_trials(seconds / len(candidates))
        found: list[Trial] = []
        for k, (name, settings) in enumerate(candidates):
            if share.left <= 0:
                names = ", ".join(other for other, _ in candidates[k:])
                self.log.append(f"not tried: {names}: {EPOCH_SHARE:.0%} of the time are spent")
                break
            own = self._low(settings)
            # A cheap candidate leaves its seconds to the next ones; a dear one ends at twice its own.
            allowed = min(share.left, 2 * share.left / (len(candidates) - k))
            trial = self._trial(name, f"{own.size} pixels", own, allowed)
            if trial is not None:
                found.append(trial)
        return sorted(found, key=lambda trial: -trial.accuracy)

    def _plan_trials(self, seconds: float) -> None:
        """As many images, and then epochs, as ``seconds`` reach for, but not too few of the former."""
        task = self.task
        n = len(task.train)
        if seconds < n * IMAGE_SECONDS:
            n = min(n, max(int(seconds / IMAGE_SECONDS), FEWEST_PER_CLASS * len(task.class_names)))
        self.epochs = int(min(max(seconds / (n * IMAGE_SECONDS), 1), MOST_EPOCHS))
        order = nested_order(task.y[task.train], task.groups[task.train], task.seed)
        self.subset = replace(task, train=np.sort(task.train[order[:n]]))

    def _low(self, settings: DeepSettings) -> DeepSettings:
        """For the epochs and the size of trials; the last weights are judged, whose average would lag behind."""
        changes: dict[str, Any] = {"epochs": self.epochs, "ema": 0.0}
        if settings.size == "auto":
            low = LOW if settings.mode == "scratch" else LOW_PRETRAINED
            changes["size"] = min(max(settings.min_size, low), settings.max_size)
        return msgspec.structs.replace(settings, **changes)

    def _trial(self, name: str, what: str, settings: DeepSettings, seconds: float) -> Trial | None:
        """One short training, on the same images as all others; None where it fails."""
        part = Slice(self.task.budget, seconds)
        try:
            accuracy, epochs = self.tools.attempt(settings, replace(self.subset, budget=part, progress=None))
        except ClassicCVError as error:
            self.log.append(f"{name}: dropped: {error}")
            return None
        trial = Trial(name, what, settings, accuracy, part.used())
        self.trials.append(trial)
        passes = "" if epochs is None else f"{epochs:.1f} epochs of "
        self.log.append(
            f"{name}: accuracy {accuracy:.3f} with {what}, {passes}{len(self.subset.train)} images, "
            f"{trial.seconds:.1f} CPU seconds"
        )
        return trial

    def refined(self, tried: Sequence[Trial]) -> list[Trial]:
        """The best candidates with what made them better."""
        top = tried[0].accuracy
        best = [trial for trial in tried[:REFINED] if trial.accuracy >= HOPELESS * top]
        for trial in tried[len(best) :]:
            self.log.append(f"{trial.name}: dropped: accuracy {trial.accuracy:.3f}, the best has {top:.3f}")
        budget = self.task.budget
        share = Slice(budget, min(REFINING_SHARE * budget.total, budget.left / 2))
        return [self._refine(trial, share) for trial in best]

    def _refine(self, base: Trial, share: Slice) -> Trial:
        """``base`` or the best of its variants; each is tried on top of those that helped before it."""
        best = base
        for what, changes in self._variants(base.settings):
            # About half of a trial's time goes with the pixels.
            pixels = (changes.get("size", base.settings.size) / base.settings.size) ** 2
            if share.left < base.seconds * (1 + pixels) / 2:
                self.log.append(
                    f"{base.name}: {what} not tried: {share.left:.1f} CPU seconds are left for it"
                )
                continue
            settings = msgspec.structs.replace(best.settings, **changes)
            trial = self._trial(base.name, what, settings, share.left)
            if trial is None:
                continue
            better = trial.accuracy > best.accuracy
            self.log.append(f"{base.name}: {what} is {'kept' if better else 'not kept'}")
            if better:
                best = trial
            elif "size" in changes:
                # It has not shown that more pixels help, so the long run does not go beyond these.
                best = best._replace(
                    settings=msgspec.structs.replace(best.settings, max_size=changes["size"])
                )
        return best

    def _variants(self, settings: DeepSettings) -> list[tuple[str, dict[str, Any]]]:
        """What is tried on the best candidates: names and changed settings."""
        found: list[tuple[str, dict[str, Any]]] = []
        if settings.mode != "frozen":
            # A pretrained backbone bears a faster head; what starts anew may have begun too fast.
            rate = self.tools.rate(settings) * (3 if settings.mode == "finetune" else 1 / 3)
            found.append((f"a learning rate of {rate:.2g}", {"learning_rate": rate}))
        if settings.mode == "finetune":
            freeze = 0.0 if settings.freeze else 0.5
            found.append((f"{freeze:.0%} of the layers frozen", {"freeze": freeze}))
        larger = min(settings.max_size, 2 * int(settings.size))
        if larger > int(settings.size):
            found.append((f"{larger} pixels", {"size": larger}))
        return found

    # The long run.

    def long_run(self, refined: Sequence[Trial], kept: Sequence[Candidate]) -> Fitted:
        """Fit the best; where that fails, the next one."""
        original = dict(kept)
        order = sorted(refined, key=lambda trial: -trial.accuracy)
        choices = [(trial.name, self._for_long_run(trial, original[trial.name])) for trial in order]
        choices += [(name, settings) for name, settings in kept if not choices]
        for name, settings in choices:
            offset = self.task.budget.used()
            part = Slice(self.task.budget, self.task.budget.left)
            self.log.append(f"chosen: {name}, with the {part.total:.1f} CPU seconds that are left")
            try:
                fitted = self.tools.fit(settings, replace(self.task, budget=part))
            except ClassicCVError as error:
                self.log.append(f"{name}: dropped: {error}")
                continue
            return self._told(name, fitted, offset)
        raise TrainingError("none of the networks can be fitted: " + "; ".join(self.log))

    def _for_long_run(self, trial: Trial, original: DeepSettings) -> DeepSettings:
        """The settings that a trial has found, with what only trials change as it was before."""
        return msgspec.structs.replace(
            trial.settings, size=original.size, epochs=original.epochs, ema=original.ema
        )

    def _told(self, name: str, fitted: Fitted, offset: float) -> Fitted:
        history = [
            {**entry, "cpu_seconds": entry["cpu_seconds"] + offset} if "cpu_seconds" in entry else entry
            for entry in fitted.history
        ]
        trials = [
            {"name": t.name, "what": t.what, "accuracy": t.accuracy, "cpu_seconds": t.seconds}
            for t in self.trials
        ]
        details = {**fitted.details, "chosen": name, "trials": trials}
        return replace(fitted, history=history, log=self.log + fitted.log, details=details)
