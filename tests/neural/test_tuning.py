from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import optuna
import pytest
import sklearn.datasets
import torch

from classic_cv.errors import TrainingError
from classic_cv.neural import optimizer, tuning
from classic_cv.neural.architecture import Network, initialise, n_parameters, within
from classic_cv.neural.augmentation import AugmentationSettings, resolved
from classic_cv.neural.export import FeatureScaling
from classic_cv.neural.log import JsonLines
from classic_cv.neural.objective import Figures, Objective
from classic_cv.neural.preparation import Prepared
from classic_cv.neural.samples import Samples
from classic_cv.neural.settings import HybridSettings, NetworkSettings, OptimizationSettings, TuningSettings
from classic_cv.neural.training import Clock, Run, Trainer
from classic_cv.neural.tuning import Knob, Plan, Speed, planned, proportions, rounded, tune, with_values

FIXED = AugmentationSettings(shift=0.1, rotation=0, zoom=0, color=0, cutout=0.1, mixup=0.1)
"""Nothing of the augmentation is open."""

RATE_ONLY = OptimizationSettings(batch_size=64, weight_decay=1e-3, label_smoothing=0.05, ema=0.9)
"""Nothing of the optimization is open but the learning rate."""


class FakeClock:
    """Seconds that pass only where a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def perf_counter(self) -> float:
        return self.now

    def process_time(self) -> float:
        return 2 * self.now


class FakeTrainer:
    """Takes time by its settings and images, and has the errors that ``error_of`` says; it learns nothing."""

    def __init__(
        self,
        error_of: Callable[[HybridSettings], float],
        clock: FakeClock,
        settings: HybridSettings,
        samples: Samples,
        run: Run,
    ) -> None:
        self.error_of, self.clock = error_of, clock
        self.settings, self.samples, self.hooks = settings, samples, run

    def run(self) -> Any:
        epochs, steps = self.settings.optimization.epochs, 10
        assert isinstance(epochs, int)
        final, error = self.error_of(self.settings), math.nan
        for epoch in range(1, epochs + 1):
            for step in range(steps):
                self.clock.now += len(self.samples) / steps * 1e-3
                if self.hooks.progress:
                    self.hooks.progress("training", step, steps)
            error = final + 0.3 * (1 - epoch / epochs)
            if self.hooks.should_stop and self.hooks.should_stop(epoch, error):
                break
        return SimpleNamespace(figures=Figures(error, error), summary={"interrupted": False})


class Tried:
    """A search among fake trainers, and what it asked them for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error_of: Callable[[HybridSettings], float]) -> None:
        self.clock, self.error_of = FakeClock(), error_of
        self.settings: list[HybridSettings] = []
        self.sizes: list[int] = []
        self.progress: list[tuple[str, int, int]] = []
        monkeypatch.setattr(tuning, "time", self.clock)

    def new_trainer(self, settings: HybridSettings, samples: Samples, clock: Clock, run: Run) -> Any:
        self.settings.append(settings)
        self.sizes.append(len(samples))
        return FakeTrainer(self.error_of, self.clock, settings, samples, run)

    def tune(
        self, settings: HybridSettings, prepared: Prepared, seconds: float, seed: int = 0
    ) -> tuple[HybridSettings, dict[str, Any]]:
        return tune(
            settings,
            prepared,
            seed,
            self.clock.now + seconds,
            new_trainer=self.new_trainer,
            log=JsonLines(None),
            progress=lambda *args: self.progress.append(args),
        )


def images(n: int, n_validation: int = 50, task: Any = "classification", side: int = 8) -> Prepared:
    """Noise, for searches that do not look at it."""
    rng = np.random.default_rng(0)

    def samples(n: int) -> Samples:
        y: Any = np.arange(n) % 4 if task == "classification" else rng.normal(size=n).astype(np.float32)
        pixels = rng.integers(0, 256, (n, side, side, 3)).astype(np.uint8)
        return Samples(pixels, np.zeros((n, 0), np.float32), y)

    scaling = FeatureScaling(np.zeros(0, np.float32), np.ones(0, np.float32))
    n_outputs = 4 if task == "classification" else 1
    return Prepared(
        samples(n),
        samples(n_validation),
        scaling,
        Objective(task),
        n_outputs,
        (0.0, 1.0),
        np.arange(n_validation),
        np.zeros(3, np.float32),
    )


def digits() -> Prepared:
    """300 digits of 8x8 pixels to train on, 300 others to judge by."""
    data: Any = sklearn.datasets.load_digits()
    pixels = np.minimum(data.images[:600, :, :, None] * 16, 255).astype(np.uint8)
    y = data.target[:600].astype(np.int64)
    samples = Samples(pixels, np.zeros((600, 0), np.float32), y)
    scaling = FeatureScaling(np.zeros(0, np.float32), np.ones(0, np.float32))
    training, validation = samples.part(np.arange(300)), samples.part(np.arange(300, 600))
    objective = Objective("classification", 0.1)
    return Prepared(
        training, validation, scaling, objective, 10, (0.0, 1.0), np.arange(300, 600), np.zeros(1, np.float32)
    )


def real_factory(prepared: Prepared, made: list[HybridSettings] | None = None) -> tuning.NewTrainer:
    """Trainers of networks, all with the same initial weights for the same shape."""

    def new_trainer(settings: HybridSettings, samples: Samples, clock: Clock, run: Run) -> Trainer:
        if made is not None:
            made.append(settings)
        network = Network(settings.network, prepared.shape[0], 0, prepared.n_outputs)
        network.mean.fill_(80.0)
        network.scale.fill_(96.0)
        initialise(network, torch.Generator().manual_seed(0))
        smoothing = settings.optimization.label_smoothing
        objective = Objective(prepared.objective.task, smoothing)
        validation = prepared.validation
        optimization, augmentation = settings.optimization, settings.augmentation
        return Trainer(network, samples, validation, optimization, augmentation, objective, clock, 0, run)

    return new_trainer


def small(trials: int, sampler: Any = "tpe", epochs: Any = 6, **optimization: Any) -> HybridSettings:
    """Settings of a network that is trained in a tenth of a second."""
    return HybridSettings(
        network=NetworkSettings(block="plain", channels=(4, 8), blocks=(0, 1)),
        optimization=OptimizationSettings(epochs=epochs, bfloat16=False, **optimization),
        augmentation=AugmentationSettings(rotation=0, zoom=0, color=0),
        tuning=TuningSettings(trials=trials, sampler=sampler),
    )


def error_by_rate(best: float) -> Callable[[HybridSettings], float]:
    """An error that grows by 0.1 per doubling away from the ``best`` learning rate."""

    def error(settings: HybridSettings) -> float:
        rate = optimizer.learning_rate(settings.optimization, 64)
        return 0.1 + 0.1 * abs(math.log2(rate / best))

    return error


# With real trainings.


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_finds_a_better_learning_rate_than_a_poor_default(
    monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    monkeypatch.setitem(optimizer.LEARNING_RATES, "sgd", 0.007)
    prepared = digits()
    settings = small(8, sampler, weight_decay=1e-3, label_smoothing=0.05, ema=0.9)
    settings = msgspec.structs.replace(settings, augmentation=FIXED)
    made: list[HybridSettings] = []

    new_trainer = real_factory(prepared, made)
    found, summary = tune(settings, prepared, 0, math.inf, new_trainer=new_trainer, log=JsonLines(None))

    usual = optimizer.learning_rate(settings.optimization, 30)
    rate = found.optimization.learning_rate
    assert rate != "auto"
    assert usual < rate <= 4.001 * usual
    assert summary["best_value"] < summary["default_value"]
    assert len(summary["trials"]) == 8
    assert summary["sampler"] == sampler
    # What was judged is what is returned: another training gives the same error.
    again = msgspec.structs.replace(
        found, optimization=msgspec.structs.replace(found.optimization, epochs=summary["epochs"], patience=0)
    )
    figures = real_factory(prepared)(again, prepared.training, Clock(), Run()).run().figures
    assert figures.error == pytest.approx(summary["best_value"])
    # The first two are the measurement of the speed and the settings as they are.
    assert made[1].optimization.learning_rate == "auto"


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_the_same_seed_gives_the_same_trials(sampler: str) -> None:
    prepared, settings = digits(), small(7, sampler, epochs=2)
    runs = [
        tune(settings, prepared, seed, math.inf, new_trainer=real_factory(prepared), log=JsonLines(None))
        for seed in (3, 3, 4)
    ]
    told = [[(t["params"], t["value"], t["state"]) for t in summary["trials"]] for _, summary in runs]
    assert told[0] == told[1]
    assert told[0][:3] == told[2][:3]
    assert told[0] != told[2]
    assert runs[0][0] == runs[1][0]


def test_a_trial_that_diverges_is_not_the_end(tmp_path: Path) -> None:
    # Two of three learning rates are absurd, that of the first trial too.
    prepared = digits()
    settings = small(6, epochs=8, learning_rate=0.05)
    path = tmp_path / "log.jsonl"
    usual = real_factory(prepared)
    calls = 0

    def new_trainer(settings: HybridSettings, samples: Samples, clock: Clock, run: Run) -> Trainer:
        nonlocal calls
        calls += 1
        rate = 1e6 if calls % 3 else 0.05
        optimization = msgspec.structs.replace(settings.optimization, learning_rate=rate)
        return usual(msgspec.structs.replace(settings, optimization=optimization), samples, clock, run)

    with JsonLines(path) as log:
        found, summary = tune(settings, prepared, 0, math.inf, new_trainer=new_trainer, log=log)

    assert summary["failed"] == 4
    assert summary["done"] == 2
    assert summary["default_value"] is None
    assert summary["best_value"] < 0.85
    failed = [t for t in summary["trials"] if t["state"] == "failed"]
    assert all("learning rate" in t["note"] and t["value"] is None for t in failed)
    assert found.optimization.learning_rate == 0.05
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [line["event"] for line in lines] == ["trial"] * 6 + ["tuning"]
    assert lines[-1]["failed"] == 4


# The search itself, with trainers that only say how good they are.


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_the_result_is_never_worse_than_the_settings_as_they_are(
    monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    settings = small(12, sampler)
    best = optimizer.learning_rate(settings.optimization, 64)
    tried = Tried(monkeypatch, error_by_rate(best))
    found, summary = tried.tune(settings, images(1000), 1e6)
    assert found == settings
    assert summary["best_value"] == summary["default_value"] == pytest.approx(0.1)
    assert "no trial was better" in summary["note"]


def test_equal_errors_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = small(10)
    found, _ = Tried(monkeypatch, lambda _: 0.5).tune(settings, images(500), 1e6)
    assert found == settings


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_goes_where_it_is_better(monkeypatch: pytest.MonkeyPatch, sampler: Any) -> None:
    tried = Tried(monkeypatch, error_by_rate(0.12))
    settings = HybridSettings(
        optimization=msgspec.structs.replace(RATE_ONLY, batch_size=64),
        augmentation=FIXED,
        tuning=TuningSettings(20, sampler),
    )
    found, summary = tried.tune(settings, images(2000), 1e6)
    rate = found.optimization.learning_rate
    assert rate != "auto"
    # The settings as they are mean 0.4 * 64 / 256.
    assert abs(math.log2(rate / 0.12)) < 0.1
    assert summary["best_value"] < summary["default_value"]
    assert rate == rounded(rate)


def test_keeps_what_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = Tried(monkeypatch, lambda s: 0.5 - optimizer.learning_rate(s.optimization, 64))
    network = NetworkSettings(channels=(8, 12), blocks=(2, 1))
    settings = HybridSettings(network, RATE_ONLY, FIXED, TuningSettings(12))
    found, summary = tried.tune(settings, images(500), 1e6)
    rate = found.optimization.learning_rate
    assert rate != "auto"
    kept = msgspec.structs.replace(found.optimization, learning_rate="auto")
    assert msgspec.structs.replace(found, optimization=kept) == settings
    assert all(list(trial["params"]) == ["learning_rate"] for trial in summary["trials"])
    for seen in tried.settings:
        assert seen.augmentation == FIXED
        assert seen.network == network
        assert seen.optimization.batch_size == 64


def test_nothing_open_is_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    optimization = msgspec.structs.replace(RATE_ONLY, learning_rate=0.1)
    settings = HybridSettings(optimization=optimization, augmentation=FIXED, tuning=TuningSettings(5))
    tried = Tried(monkeypatch, lambda _: 0.5)
    found, summary = tried.tune(settings, images(500), 100)
    assert found == settings
    assert summary["ended"] == "nothing"
    assert summary["note"] == "every value that could be tuned was given"
    assert not tried.settings


@pytest.mark.parametrize(
    ("trials", "n_validation", "note"),
    [(0, 50, "fewer than two trials"), (1, 50, "fewer"), (9, 0, "too few")],
)
def test_cases_without_a_search(
    monkeypatch: pytest.MonkeyPatch, trials: int, n_validation: int, note: str
) -> None:
    settings = HybridSettings(tuning=TuningSettings(trials))
    tried = Tried(monkeypatch, lambda _: 0.5)
    found, summary = tried.tune(settings, images(500, n_validation), 100)
    assert found == settings
    assert note in summary["note"]
    assert summary["trials"] == []
    assert not tried.settings


def test_everything_open_stays_in_its_range(monkeypatch: pytest.MonkeyPatch) -> None:
    network = within(NetworkSettings(channels=(8, 16), blocks=(2, 2), max_parameters=20_000), 3, 0, 4)
    settings = HybridSettings(network, tuning=TuningSettings(40))
    rng = np.random.default_rng(0)
    tried = Tried(monkeypatch, lambda _: float(rng.random()))
    prepared = images(6000)
    _, summary = tried.tune(settings, prepared, 1e6)
    names = {"learning_rate", "weight_decay", "label_smoothing", "ema", "batch_size", "channels", "blocks"}
    assert set(summary["trials"][0]["params"]) == names | set(tuning.MOST_CHANGE)
    blocks, batches, averages = set(), set(), set()
    for trial in summary["trials"]:
        params = trial["params"]
        usual = 0.4 * params["batch_size"] / 256
        assert 0.2499 * usual <= params["learning_rate"] <= 4.001 * usual
        assert 0.4999e-4 <= params["weight_decay"] <= 5.001e-3
        assert 0 <= params["label_smoothing"] <= 0.2
        assert all(0 <= params[name] <= most for name, most in tuning.MOST_CHANGE.items())
        assert params["ema"] == 0 or 0.94 < params["ema"] <= 0.998
        shape = NetworkSettings(channels=tuple(params["channels"]), blocks=tuple(params["blocks"]))
        assert 15_000 < n_parameters(shape, 3, 0, 4) <= 20_000
        blocks.add(shape.blocks)
        batches.add(params["batch_size"])
        averages.add(params["ema"] > 0)
    assert len(blocks) == 3
    assert batches == {128, 256, 512}
    assert averages == {False, True}
    # What a trial was trained with is what it says.
    for seen, trial in zip(tried.settings[2:], summary["trials"][1:], strict=True):
        assert seen.optimization.learning_rate == trial["params"]["learning_rate"]
        assert seen.augmentation.cutout == trial["params"]["cutout"]
        assert seen.network.channels == tuple(trial["params"]["channels"])


def test_first_is_the_settings_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = HybridSettings(
        optimization=OptimizationSettings(epochs=9, patience=3), tuning=TuningSettings(3)
    )
    tried = Tried(monkeypatch, lambda _: 0.5)
    prepared = images(2500)
    _, summary = tried.tune(settings, prepared, 1e6)
    pilot, first, second, third = tried.settings
    size = n_parameters(settings.network, 3, 0, 4)
    expected = msgspec.structs.replace(
        settings,
        optimization=msgspec.structs.replace(settings.optimization, patience=0),
        augmentation=resolved(settings.augmentation, size, 2500),
    )
    assert first == expected
    assert pilot.optimization.epochs == 1
    usual = optimizer.learning_rate(first.optimization, 250)
    assert second.optimization.learning_rate == pytest.approx(2 * usual, rel=1e-3)
    assert third.optimization.learning_rate == pytest.approx(0.5 * usual, rel=1e-3)
    assert summary["epochs"] == 9


def test_poor_trials_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = small(20, epochs=12, batch_size=64)
    tried = Tried(monkeypatch, error_by_rate(0.1))
    _, summary = tried.tune(settings, images(1000), 1e6)
    assert summary["pruned"] >= 3
    assert summary["pruned"] + summary["done"] == len(summary["trials"]) == 20
    whole = max(trial["seconds"] for trial in summary["trials"] if trial["state"] == "complete")
    for trial in summary["trials"]:
        if trial["state"] == "pruned":
            assert trial["value"] is None
            assert 0.3 * whole < trial["seconds"] < whole
    assert [trial["state"] for trial in summary["trials"][:3]] == ["complete"] * 3


def test_only_a_trial_that_is_not_at_its_end_is_given_up() -> None:
    study = optuna.create_study(pruner=optuna.pruners.ThresholdPruner(upper=0.4))
    trial = study.ask()
    errors = tuning.Errors(trial, epochs=5)
    assert [errors.should_stop(*seen) for seen in [(1, 0.3), (2, math.nan), (5, 0.5)]] == [False] * 3
    assert study.trials[0].intermediate_values == {1: 0.3, 5: 0.5}
    assert tuning.Errors(study.ask(), epochs=5).should_stop(1, 0.5)


@pytest.mark.parametrize("seconds", [60, 100, 200, 1000])
def test_ends_in_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    tried = Tried(monkeypatch, lambda _: 0.5)
    end = tried.clock.now + seconds
    _, summary = tried.tune(HybridSettings(tuning=TuningSettings(50)), images(5000), seconds)
    assert tried.clock.now <= end
    assert summary["seconds"] > 0.6 * seconds
    assert summary["cpu_seconds"] == pytest.approx(2 * summary["seconds"])
    assert summary["ended"] == "time"
    expected = 8 if seconds > 150 else 2
    assert len(summary["trials"]) >= expected
    assert set(tried.sizes[1:]) == {summary["images"]}
    assert tried.progress[-1] == ("tuning", len(summary["trials"]), len(summary["trials"]))
    assert tried.progress[0][1] == 1
    assert tried.progress[0][2] >= expected


def test_a_machine_that_becomes_slow_ends_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    def slower(settings: HybridSettings) -> float:
        # Before the second trial all the time but a little has gone.
        if len(tried.settings) == 2:
            tried.clock.now = end - 1
        return 0.5

    tried = Tried(monkeypatch, slower)
    end = tried.clock.now + 500
    settings = HybridSettings(tuning=TuningSettings(50))
    found, summary = tried.tune(settings, images(4000), 500)
    assert found == settings
    assert len(summary["trials"]) == 1
    assert summary["default_value"] == 0.5
    assert summary["ended"] == "time"
    assert summary["note"] == "the time was not enough for two trials"


@pytest.mark.parametrize("seconds", [-1, 10])
def test_too_little_time_changes_nothing(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    settings = HybridSettings(tuning=TuningSettings(50))
    tried = Tried(monkeypatch, lambda _: 0.5)
    found, summary = tried.tune(settings, images(5000), seconds)
    assert found == settings
    assert summary["note"] == "the time was not enough for two trials"
    assert summary["ended"] == "time"
    assert summary["default_value"] is None
    assert summary["best_value"] is None
    # At most the few steps that the speed is measured in.
    assert len(tried.settings) == (1 if seconds > 0 else 0)


def test_an_interrupted_trial_ends_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = Tried(monkeypatch, lambda s: 0.5 - optimizer.learning_rate(s.optimization, 50) / 100)

    def new_trainer(settings: HybridSettings, samples: Samples, clock: Clock, run: Run) -> Any:
        trainer = tried.new_trainer(settings, samples, clock, run)
        if len(tried.settings) < 5:
            return trainer
        figures = Figures(0.0, 0.0)
        return SimpleNamespace(run=lambda: SimpleNamespace(figures=figures, summary={"interrupted": True}))

    found, summary = tune(
        HybridSettings(tuning=TuningSettings(50)),
        images(500),
        0,
        tried.clock.now + 1e6,
        new_trainer=new_trainer,
        log=JsonLines(None),
    )
    assert summary["ended"] == "interrupted"
    assert [trial["state"] for trial in summary["trials"]] == ["complete"] * 3 + ["pruned"]
    # The second one, of twice the learning rate, was the best of those that ended.
    assert found.optimization.learning_rate == summary["trials"][1]["params"]["learning_rate"]
    assert summary["best_value"] == summary["trials"][1]["value"]


def test_no_number_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = small(4)
    found, summary = Tried(monkeypatch, lambda _: math.nan).tune(settings, images(500), 1e6)
    assert found == settings
    assert summary["failed"] == 4
    assert summary["best_value"] is None
    assert summary["note"] == "no trial came to its end"


def test_a_speed_measurement_that_breaks_is_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def error(settings: HybridSettings) -> float:
        if len(tried.settings) == 1:
            raise TrainingError("broken")
        return 0.5

    tried = Tried(monkeypatch, error)
    _, summary = tried.tune(small(4), images(500), 1e6)
    assert summary["done"] == 4


def test_summary_is_complete_plain_data(monkeypatch: pytest.MonkeyPatch) -> None:
    _, summary = Tried(monkeypatch, error_by_rate(0.1)).tune(small(9, "gp"), images(500), 1e6)
    keys = "sampler done pruned failed best_value default_value images epochs ended note trials seconds cpu_seconds"
    assert set(summary) == set(keys.split())
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["ended"] == "trials"
    assert summary["done"] + summary["pruned"] + summary["failed"] == len(summary["trials"]) == 9
    for number, trial in enumerate(summary["trials"]):
        assert {"params", "value", "state", "seconds"} < set(trial)
        assert trial["number"] == number


def test_subsets_are_stratified_and_nested(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = images(8000)
    search = tuning.Search(
        HybridSettings(),
        prepared,
        0,
        math.inf,
        Tried(monkeypatch, lambda _: 0.5).new_trainer,
        JsonLines(None),
    )
    few, more = search._samples(1000), search._samples(2000)
    np.testing.assert_array_equal(np.bincount(few.y), 250)
    assert {row.tobytes() for row in few.pixels} < {row.tobytes() for row in more.pixels}
    assert search._samples(8000) is prepared.training


def test_regression(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = Tried(monkeypatch, lambda s: 0.5 + s.optimization.ema)
    prepared = images(8000, task="regression")
    _, summary = tried.tune(HybridSettings(tuning=TuningSettings(5)), prepared, 200)
    assert "label_smoothing" not in summary["trials"][0]["params"]
    assert summary["images"] < 8000
    assert summary["done"] > 1


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_optuna_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], sampler: str
) -> None:
    before = optuna.logging.get_verbosity()
    Tried(monkeypatch, error_by_rate(0.1)).tune(small(8, sampler), images(500), 1e6)
    assert optuna.logging.get_verbosity() == before
    assert capfd.readouterr() == ("", "")


# Parts.


@pytest.mark.parametrize(
    ("left", "trials", "most", "expected"),
    [
        # 1000 images per second, and 1 second for each training; a tenth of the time is kept back.
        (2000.0, 10, 300, Plan(10_000, 17, 10)),
        (2000.0, 10, 5, Plan(10_000, 5, 10)),
        (2000.0, 50, 300, Plan(10_000, 6, 29)),
        (200.0, 50, 300, Plan(3583, 6, 8)),
        (60.0, 50, 300, Plan(2000, 6, 4)),
        (200.0, 3, 300, Plan(9833, 6, 3)),
        (28.0, 50, 300, None),
        (math.inf, 50, 300, Plan(10_000, 300, 50)),
    ],
)
def test_plan(left: float, trials: int, most: int, expected: Plan | None) -> None:
    speed = Speed(1e-3, 1.0)
    found = planned(left, trials, 10_000, most, speed)
    assert found == expected
    if found and math.isfinite(left):
        assert found.trials * speed.seconds(found.images, found.epochs) <= left


def test_depth_changes_at_the_same_size() -> None:
    network = within(
        NetworkSettings(channels=(8, 16, 32), blocks=(2, 2, 2), max_parameters=50_000), 3, 10, 10
    )
    found = proportions(network, 3, 10, 10, n_learned=5000)
    depth = network.blocks[0]
    assert {more: shape.blocks for more, shape in found.items()} == {
        0: network.blocks,
        -1: (depth - 1,) * 3,
        1: (depth + 1,) * 3,
    }
    assert found[0] is network
    assert max(found[-1].channels) > max(network.channels) > max(found[1].channels)
    for more in (-1, 1):
        assert n_parameters(found[more], 3, 10, 10) <= 45_000
        assert found[more].max_parameters == 50_000


def test_depth_needs_a_limit() -> None:
    assert list(proportions(NetworkSettings(), 3, 0, 10, 0)) == [0]
    # One block per stage is the least.
    flat = NetworkSettings(block="residual", channels=(16,), blocks=(1,), max_parameters=10_000)
    assert list(proportions(flat, 3, 0, 10, 0)) == [0, 1]
    assert list(proportions(flat, 3, 0, 10, 9990)) == [0]


def test_rates_fit_the_batch() -> None:
    settings = HybridSettings()
    values = {"learning_rate": 2.0, "batch_size": 1.0}
    many = with_values(settings, values, {0: settings.network}, 50_000).optimization
    few = with_values(settings, values, {0: settings.network}, 2000).optimization
    assert (many.batch_size, few.batch_size) == (512, 512)
    assert many.learning_rate == pytest.approx(2 * 0.4 * 2**0.5, abs=1e-3)
    assert few.learning_rate == pytest.approx(2 * 0.4 * (200 / 256) ** 0.5, abs=1e-3)


def test_few_images_leave_the_batch_alone() -> None:
    assert tuning._batch_knob(1000, 256) == []
    assert tuning._batch_knob(2000, 256) == [Knob("batch_size", -1, 0, 0, whole=True)]
    assert tuning._batch_knob(50_000, 256) == [Knob("batch_size", -1, 1, 0, whole=True)]


@pytest.mark.parametrize(("value", "expected"), [(0.123456, 0.1235), (12345.6, 12350.0), (0.0, 0.0)])
def test_rounding(value: float, expected: float) -> None:
    assert rounded(value) == expected
