"""Which network the search takes, with what it measures and trains with replaced; and once for real."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from classic_cv.compare.contestant import FitTask, Fitted
from classic_cv.dataset import Dataset
from classic_cv.dataset._sources import ArraySource
from classic_cv.deep.auto import candidates, fit_auto
from classic_cv.deep.predictor import OnnxPredictor
from classic_cv.deep.settings import DeepSettings
from classic_cv.deep.trials import Measured, Outcome, Slice, Tools
from classic_cv.errors import LatencyError, TrainingError


class Budget:
    """Seconds that pass when a test says so."""

    def __init__(self, total: float) -> None:
        self.total, self.spent = total, 0.0

    def used(self) -> float:
        return self.spent

    @property
    def left(self) -> float:
        return self.total - self.spent


def make_task(folder: Path, seconds: float = 100.0, n: int = 400) -> FitTask:
    pixels = np.random.default_rng(0).integers(0, 256, (n, 16, 16, 3), np.uint8)
    y = np.arange(n) % 4
    pixels[..., 0] = (60 * y)[:, None, None]
    names = ("a", "b", "c", "d")
    dataset = Dataset(
        path=folder,
        layout="npz",
        source=ArraySource([("images", pixels)]),
        targets=tuple(names[k] for k in y),
        class_names=names,
    )
    return FitTask(dataset, np.arange(n), y, names, np.arange(n), folder, 0, 1, Budget(seconds))


def network(name: str, **values: Any) -> tuple[str, DeepSettings]:
    return name, DeepSettings(architecture=name, **{"mode": "scratch", **values})


class Fakes:
    """Measures and trains by functions of the settings, and remembers what was asked for."""

    def __init__(
        self,
        task: FitTask,
        accuracy: Callable[[DeepSettings], float],
        seconds: Callable[[DeepSettings], float] = lambda _: 2.0,
        ms: Callable[[DeepSettings, int], float] = lambda *_: 1.0,
        n_bytes: Callable[[DeepSettings], int] = lambda _: 10**6,
    ) -> None:
        self.budget: Any = task.budget
        self.accuracy, self.seconds, self.ms, self.n_bytes = accuracy, seconds, ms, n_bytes
        self.measured: list[tuple[str, int]] = []
        self.attempts: list[tuple[DeepSettings, FitTask]] = []
        self.fits: list[tuple[DeepSettings, float]] = []

    def measure(self, settings: DeepSettings, size: int, task: FitTask) -> Measured:
        self.measured.append((settings.architecture, size))
        return Measured(self.ms(settings, size), self.n_bytes(settings))

    def attempt(self, settings: DeepSettings, task: FitTask) -> Outcome:
        self.attempts.append((settings, task))
        self.budget.spent += min(self.seconds(settings), task.budget.left)
        return Outcome(self.accuracy(settings), None if settings.mode == "frozen" else 0.5)

    def fit(self, settings: DeepSettings, task: FitTask) -> Fitted:
        self.fits.append((settings, task.budget.left))
        return Fitted(
            len(task.train),
            epochs=7.0,
            history=[{"cpu_seconds": 1.0, "epoch": 1.0}],
            log=["the long run"],
            skipped=[{"image": "x.png", "reason": "truncated"}],
            details={"own": 1},
        )

    def tools(self) -> Tools:
        return Tools(self.measure, self.attempt, self.fit, lambda settings: 3e-3)


def by_name(**values: float) -> Callable[[DeepSettings], float]:
    return lambda settings: values[settings.architecture]


def line_with(fitted: Fitted, text: str) -> str:
    return next(line for line in fitted.log if text in line)


def test_the_best_after_an_epoch_gets_what_is_left(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    fakes = Fakes(task, by_name(a=0.3, b=0.6, c=0.5, d=0.1))
    fitted = fit_auto([network(name) for name in "abcd"], task, tools=fakes.tools())
    assert fitted.details["chosen"] == "b"
    assert fitted.details["own"] == 1
    [(settings, left)] = fakes.fits
    assert (settings.architecture, settings.size, settings.epochs) == ("b", "auto", "auto")
    assert left == task.budget.left == 100 - 2 * len(fakes.attempts)
    first = [own for own, _ in fakes.attempts[:4]]
    assert [(own.architecture, own.size, own.epochs) for own in first] == [(name, 64, 1) for name in "abcd"]
    assert {own.ema for own in first} == {0.0}
    assert settings.ema > 0
    # The best two, with a lower rate and more pixels.
    later = [(own.architecture, own.size, own.learning_rate) for own, _ in fakes.attempts[4:]]
    assert later == [("b", 64, 1e-3), ("b", 128, "auto"), ("c", 64, 1e-3), ("c", 128, "auto")]
    assert "b: accuracy 0.600 with 64 pixels, 0.5 epochs of 375 images, 2.0 CPU seconds" in fitted.log
    assert "dropped: accuracy 0.300, the best has 0.600" in line_with(fitted, "a: dropped")
    assert line_with(fitted, "chosen: b, with the 84.0 CPU seconds")
    assert fitted.log[-1] == "the long run"
    assert (fitted.n_fit, fitted.epochs) == (400, 7.0)
    assert fitted.skipped == [{"image": "x.png", "reason": "truncated"}]
    # The history goes on from what the search has spent.
    assert fitted.history == [{"cpu_seconds": 17.0, "epoch": 1.0}]
    assert [trial["accuracy"] for trial in fitted.details["trials"]][:4] == [0.3, 0.6, 0.5, 0.1]


def test_a_variant_that_helps_is_kept_and_may_turn_the_order(tmp_path: Path) -> None:
    def accuracy(settings: DeepSettings) -> float:
        found = {"a": 0.5, "b": 0.6}[settings.architecture]
        if settings.architecture == "a":
            found += 0.2 * (settings.freeze == 0.0) + 0.1 * (settings.size == 192)
        return found - 0.1 * (settings.learning_rate != "auto")

    task = make_task(tmp_path)
    fakes = Fakes(task, accuracy)
    found = [network("a", mode="finetune"), network("b", mode="finetune")]
    fitted = fit_auto(found, task, tools=fakes.tools())
    [(settings, _)] = fakes.fits
    assert fitted.details["chosen"] == "a"
    assert (settings.freeze, settings.learning_rate, settings.max_size) == (0.0, "auto", 224)
    assert [line for line in fitted.log if line.startswith("a: ") and line.endswith("kept")] == [
        "a: a learning rate of 0.009 is not kept",
        "a: 0% of the layers frozen is kept",
        "a: 192 pixels is kept",
    ]


def test_more_pixels_that_do_not_help_bound_the_size_of_the_long_run(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    fakes = Fakes(task, lambda settings: 0.5)
    fit_auto([network("a"), network("b")], task, tools=fakes.tools())
    assert [settings.max_size for settings, _ in fakes.fits] == [128]


def test_a_runner_up_far_behind_is_not_refined(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    fakes = Fakes(task, by_name(a=0.9, b=0.4))
    fitted = fit_auto([network("a"), network("b")], task, tools=fakes.tools())
    assert [own.architecture for own, _ in fakes.attempts] == ["a", "b", "a", "a"]
    assert "b: dropped: accuracy 0.400, the best has 0.900" in fitted.log


def test_networks_that_break_a_limit_are_dropped(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    fakes = Fakes(
        task,
        lambda own: {"fast": 0.2, "scaled": 0.3}[own.architecture] + int(own.size) / 1000,
        ms=lambda own, size: {"slow": 50.0, "scaled": 4.0 * (size / 224) ** 2}.get(own.architecture, 1.0),
        n_bytes=lambda own: 50_000_000 if own.architecture == "large" else 2_000_000,
    )
    names = ("fast", "slow", "large", "scaled")
    fitted = fit_auto([network(name) for name in names], task, 2.0, 10_000_000, fakes.tools())
    assert {own.architecture for own, _ in fakes.attempts} == {"fast", "scaled"}
    assert "50.00 ms at 32 pixels, and the limit of 2 ms" in line_with(fitted, "slow: dropped")
    assert "large: dropped: 50.00 MB, more than 10 MB" in fitted.log
    assert fitted.details["chosen"] == "scaled"
    [(settings, _)] = fakes.fits
    # 4 ms at 224 pixels and 10 % of spread: 2 ms are kept at 151, so at 144.
    assert settings.max_size == 144
    assert settings.small_stem is False
    assert ("scaled", 144) in fakes.measured


def test_one_architecture_is_measured_once(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    fakes = Fakes(task, lambda own: 0.5 + 0.1 * (own.mode == "frozen"))
    both = [(f"net:{mode}", network("net", mode=mode)[1]) for mode in ("frozen", "finetune")]
    fitted = fit_auto(both, task, 5.0, tools=fakes.tools())
    assert fakes.measured == [("net", 224)]
    assert fitted.details["chosen"] == "net:frozen"


def test_without_a_network_within_the_limits_there_is_an_error(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    fakes = Fakes(task, by_name(a=0.5), ms=lambda *_: 9.0)
    with pytest.raises(LatencyError, match=r"no network keeps the limits: a: dropped: 9.00 ms at 64 pixels"):
        fit_auto([network("a", size=64)], task, 5.0, tools=fakes.tools())
    with pytest.raises(TrainingError, match="give one candidate at least"):
        fit_auto([], task, tools=fakes.tools())


def test_what_the_time_does_not_reach_for_is_told(tmp_path: Path) -> None:
    task = make_task(tmp_path, 100.0)
    fakes = Fakes(task, by_name(a=0.3, b=0.6, c=0.9, d=0.9), seconds=lambda _: 1000.0)
    fitted = fit_auto([network(name) for name in "abcd"], task, tools=fakes.tools())
    assert line_with(fitted, "not tried: d: 30% of the time are spent")
    spent = [trial["cpu_seconds"] for trial in fitted.details["trials"][:3]]
    # Twice an equal share each at most: of 30, of 15, of 5 seconds.
    np.testing.assert_allclose(spent, [15, 10, 5])
    assert sum(trial["cpu_seconds"] for trial in fitted.details["trials"][3:]) <= 20
    assert fakes.fits[0][1] >= 50


def test_trials_see_a_fair_subset_where_the_time_is_short(tmp_path: Path) -> None:
    task = make_task(tmp_path, 4.0)
    fakes = Fakes(task, by_name(a=0.3, b=0.6), seconds=lambda _: 0.1)
    fit_auto([network("a"), network("b")], task, tools=fakes.tools())
    trains = [own.train for _, own in fakes.attempts]
    assert np.bincount(task.y[trains[0]]).tolist() == [8, 8, 8, 8]
    assert all(np.array_equal(train, trains[0]) for train in trains)
    fakes = Fakes(make_task(tmp_path, 1e4), by_name(a=0.3, b=0.6))
    fit_auto([network("a"), network("b")], make_task(tmp_path, 1e4), tools=fakes.tools())
    assert len(fakes.attempts[0][1].train) == 400
    assert fakes.attempts[0][0].epochs == 5


def test_a_candidate_that_fails_is_dropped(tmp_path: Path) -> None:
    def accuracy(settings: DeepSettings) -> float:
        if settings.architecture == "broken":
            raise TrainingError("the loss is nan")
        return 0.4

    task = make_task(tmp_path)
    fakes = Fakes(task, accuracy)
    fitted = fit_auto([network("broken"), network("b")], task, tools=fakes.tools())
    assert fitted.details["chosen"] == "b"
    assert "broken: dropped: the loss is nan" in fitted.log


def test_where_the_best_cannot_be_fitted_the_next_one_is(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    fakes = Fakes(task, by_name(a=0.3, b=0.6))
    fit = fakes.fit

    def failing(settings: DeepSettings, own: FitTask) -> Fitted:
        if settings.architecture == "b":
            raise TrainingError("it cannot be stored")
        return fit(settings, own)

    tools = Tools(fakes.measure, fakes.attempt, failing, lambda _: 1e-3)
    fitted = fit_auto([network("a"), network("b")], task, tools=tools)
    assert fitted.details["chosen"] == "a"
    assert "b: dropped: it cannot be stored" in fitted.log
    with pytest.raises(TrainingError, match=r"none of the networks can be fitted: .*it cannot be stored"):
        fit_auto([network("b")], task, tools=tools)


@pytest.mark.parametrize("seconds", [0.0, float("inf")])
def test_no_time_and_time_without_end(tmp_path: Path, seconds: float) -> None:
    task = make_task(tmp_path, seconds)
    fakes = Fakes(task, by_name(a=0.3, b=0.6))
    fitted = fit_auto([network("a"), network("b")], task, tools=fakes.tools())
    assert fitted.details["chosen"] == ("b" if seconds else "a")
    assert bool(fakes.attempts) == bool(seconds)


def test_a_single_candidate_is_not_tried(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    fakes = Fakes(task, by_name(a=0.3))
    fitted = fit_auto([network("a")], task, tools=fakes.tools())
    assert (fakes.attempts, fakes.fits[0][1]) == ([], 100.0)
    assert "a: the only candidate, not tried before the long run" in fitted.log


def test_a_slice_counts_from_its_start() -> None:
    whole = Budget(10)
    whole.spent = 4
    part = Slice(whole, 3)
    whole.spent = 6
    assert (part.total, part.used(), part.left) == (3, 2, 1)
    assert Slice(whole, -1).total == 0


def test_candidates_are_the_shelf_pretrained_ones_first() -> None:
    found = dict(candidates())
    names = list(found)
    assert names[:2] == ["efficientnet-lite0:frozen", "efficientnet-lite0:finetune"]
    assert "resnet18:scratch" in names or "resnet18:frozen" in names
    for name, settings in found.items():
        assert name.rpartition(":")[2] == settings.mode


def test_for_real_with_a_tiny_network(tmp_path: Path) -> None:
    class Seconds(Budget):
        def used(self) -> float:
            return time.process_time() - self.spent

        @property
        def left(self) -> float:
            return self.total - self.used()

    task = make_task(tmp_path, n=48)
    budget = Seconds(60)
    budget.spent = time.process_time()
    task = replace(task, budget=budget)
    small: dict[str, Any] = {"size": 32, "min_size": 32, "max_size": 32, "batch_size": 16, "epochs": 12}
    found = [network("test_resnet", learning_rate=rate, **small) for rate in (1e-7, 1e-2)]
    fitted = fit_auto([("stuck", found[0][1]), ("learns", found[1][1])], task, latency_limit_ms=1000.0)
    assert fitted.log[0].startswith("stuck: ")
    assert "ms at 32 pixels, " in fitted.log[0]
    assert {trial["name"] for trial in fitted.details["trials"]} == {"stuck", "learns"}
    assert fitted.details["chosen"] in ("stuck", "learns")
    assert fitted.epochs == 12
    predictor = OnnxPredictor.load(tmp_path, 1)
    probabilities = predictor.probabilities([task.dataset.read(k) for k in range(8)])
    assert probabilities.shape == (8, 4)
