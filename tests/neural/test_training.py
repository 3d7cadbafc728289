"""The training loop: the same weights again, going on after an interruption, what is learned and what is told."""

from __future__ import annotations

import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from classic_cv.errors import TrainingError
from classic_cv.neural import training
from classic_cv.neural.architecture import Network, initialise
from classic_cv.neural.augmentation import AugmentationSettings
from classic_cv.neural.log import JsonLines
from classic_cv.neural.objective import Objective
from classic_cv.neural.samples import Samples
from classic_cv.neural.settings import NetworkSettings, OptimizationSettings
from classic_cv.neural.training import (
    MOST_EPOCHS,
    Clock,
    Run,
    Trained,
    Trainer,
    batch_size,
    color_scale,
    mean_color,
    score,
)

if TYPE_CHECKING:
    from tests.neural.conftest import Stripes

OFF = AugmentationSettings(shift=0, rotation=0, zoom=0, color=0, cutout=0, mixup=0)
MOVED = msgspec.structs.replace(OFF, shift=0.1, color=0.1)
MIXED = msgspec.structs.replace(MOVED, mixup=0.3)
PLAIN = OptimizationSettings(epochs=3, batch_size=32, bfloat16=False)
CLASSES = Objective("classification", 0.05)


def new_network(samples: Samples, n_outputs: int = 1, channels: tuple[int, ...] = (6, 8)) -> Network:
    planes = samples.pixels.shape[3]
    shape = NetworkSettings(block="residual", channels=channels, blocks=(1,) * len(channels))
    network = Network(shape, planes, samples.features.shape[1], n_outputs)
    network.mean.copy_(torch.from_numpy(mean_color(samples.pixels)))
    network.scale.copy_(torch.from_numpy(color_scale(samples.pixels)))
    initialise(network, torch.Generator().manual_seed(0))
    return network


def make(
    samples: Samples,
    validation: Samples | None = None,
    settings: OptimizationSettings = PLAIN,
    augmentation: AugmentationSettings = MOVED,
    objective: Objective = CLASSES,
    **others: Any,
) -> Trainer:
    """A trainer of a new small network."""
    clock = others.pop("clock", Clock())
    n_outputs = others.pop("n_outputs", 1)
    held_out = samples.part(np.arange(0)) if validation is None else validation
    return Trainer(
        new_network(samples, n_outputs), samples, held_out, settings, augmentation, objective, clock, **others
    )


def settings_of(**changes: Any) -> OptimizationSettings:
    return msgspec.structs.replace(PLAIN, **changes)


def assert_same_weights(one: Trained, other: Trained) -> None:
    for name, value in one.network.state_dict().items():
        assert torch.equal(value, other.network.state_dict()[name]), name


def with_features(samples: Samples, features: NDArray[Any], mirrored: NDArray[Any] | None = None) -> Samples:
    copies = None if mirrored is None else mirrored.astype(np.float32)
    return Samples(samples.pixels, features.astype(np.float32), samples.y, copies)


@pytest.fixture
def data(stripes: Stripes) -> tuple[Samples, Samples]:
    """160 samples to train on, in epochs of 10 steps, and 18 to judge by after each."""
    return stripes(160), stripes(18, seed=1)


# The same again.


@pytest.mark.parametrize(
    "settings", [PLAIN, settings_of(bfloat16=True, ema=0.9)], ids=["float32", "bfloat16"]
)
def test_the_same_seed_gives_the_same_weights_and_another_one_others(
    data: tuple[Samples, Samples], settings: OptimizationSettings
) -> None:
    one, again, other = (make(*data, settings, seed=seed).run() for seed in (5, 5, 6))
    assert_same_weights(one, again)
    assert one.history == again.history
    assert not torch.equal(one.network.linear.weight, other.network.linear.weight)


VARIANTS: dict[str, tuple[OptimizationSettings, AugmentationSettings]] = {
    "sgd": (PLAIN, MOVED),
    "adamw, averaged, restarts": (settings_of(optimizer="adamw", ema=0.9, schedule="restarts"), MOVED),
    "sharpness-aware, mixup": (settings_of(sam=0.05), MIXED),
    "bfloat16, patience": (settings_of(bfloat16=True, patience=3), MOVED),
}


# At the end of an epoch, which is judged anyway, and within one.
@pytest.mark.parametrize(
    ("variant", "stop_at"),
    [
        ("sgd", 10),
        ("sgd", 14),
        ("sharpness-aware, mixup", 14),
        ("adamw, averaged, restarts", 17),
        ("adamw, averaged, restarts", 20),
        ("bfloat16, patience", 23),
    ],
)
def test_an_interrupted_training_goes_on_to_exactly_the_weights_of_one_run(
    data: tuple[Samples, Samples], tmp_path: Path, variant: str, stop_at: int
) -> None:
    settings, augmentation = VARIANTS[variant]
    path = tmp_path / "state.pt"

    def training_of(progress: Callable[[str, int, int], None] | None, checkpoint: Path | None) -> Trainer:
        run = Run(checkpoint=checkpoint, fingerprint="mine", progress=progress)
        return make(*data, settings, augmentation, run=run)

    def press(task: str, done: int, total: int) -> None:
        if done == stop_at:
            os.kill(os.getpid(), signal.SIGINT)

    whole = training_of(None, None).run()
    part = training_of(press, path).run()
    assert (part.summary["interrupted"], part.summary["steps"]) == (True, stop_at)
    rest = training_of(None, path).run()
    assert rest.summary["resumed"]
    assert rest.summary["steps"] == whole.summary["steps"] == 30
    assert_same_weights(rest, whole)
    assert rest.figures == whole.figures
    judged = [(entry["step"], entry["validation_error"]) for entry in whole.history]
    assert [(entry["step"], entry["validation_error"]) for entry in rest.history] == judged


def test_a_training_that_is_killed_goes_on_from_its_last_validation(
    data: tuple[Samples, Samples], tmp_path: Path
) -> None:
    path = tmp_path / "state.pt"

    def killed(task: str, done: int, total: int) -> None:
        if done == 27:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(*data, run=Run(checkpoint=path, progress=killed)).run()
    steps: list[int] = []
    rest = make(*data, run=Run(checkpoint=path, progress=lambda _, done, total: steps.append(done))).run()
    assert steps == list(range(21, 31))
    assert_same_weights(rest, make(*data).run())


def test_a_finished_training_is_not_gone_on_with(data: tuple[Samples, Samples], tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    whole = make(*data, run=Run(checkpoint=path)).run()
    again = make(*data, run=Run(checkpoint=path, progress=lambda *_: pytest.fail("a step"))).run()
    assert_same_weights(again, whole)
    assert again.figures == whole.figures


def test_a_checkpoint_of_other_settings_is_refused(data: tuple[Samples, Samples], tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    make(*data, settings_of(epochs=1), run=Run(checkpoint=path, fingerprint="mine")).run()
    with pytest.raises(
        TrainingError,
        match="is the checkpoint of a training with other data, settings or seed; give another file",
    ):
        make(*data, run=Run(checkpoint=path, fingerprint="other")).run()


def test_the_number_of_epochs_that_was_planned_gives_the_same_training_again(
    data: tuple[Samples, Samples], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "_step_seconds", lambda self: 3600.0)
    clock = Clock(time.perf_counter() + 25 * 3600)
    planned = make(*data, settings_of(epochs="auto"), clock=clock).run()
    assert planned.summary["epochs"] == planned.summary["planned_epochs"] == 2
    assert_same_weights(planned, make(*data, settings_of(epochs=2)).run())


# The plan.


def test_without_a_deadline_the_planned_epochs_are_capped(data: tuple[Samples, Samples]) -> None:
    assert make(*data, settings_of(epochs="auto")).planned_steps() == MOST_EPOCHS * 10
    assert make(*data, settings_of(epochs=1000)).planned_steps() == 10_000


@pytest.mark.parametrize(("hours", "epochs"), [(-1.0, 1), (0.5, 1), (50.0, 4), (1e6, MOST_EPOCHS)])
def test_as_many_whole_epochs_are_planned_as_fit(
    data: tuple[Samples, Samples], monkeypatch: pytest.MonkeyPatch, hours: float, epochs: int
) -> None:
    monkeypatch.setattr(Trainer, "_step_seconds", lambda self: 3600.0)
    trainer = make(*data, settings_of(epochs="auto"), clock=Clock(time.perf_counter() + 3600 * hours))
    assert trainer.planned_steps() == epochs * 10


def test_measuring_the_speed_changes_nothing(data: tuple[Samples, Samples]) -> None:
    measured = make(*data)
    assert measured._step_seconds() > 0
    assert_same_weights(measured.run(), make(*data).run())


def test_a_deadline_that_is_over_shortens_the_training_to_one_more_step(
    data: tuple[Samples, Samples],
) -> None:
    found = make(*data, settings_of(epochs=50), clock=Clock(time.perf_counter())).run()
    assert found.summary["shortened"]
    assert found.summary["steps"] == 11
    assert found.history[-1]["step"] == 11


def test_a_near_deadline_shortens_the_training(data: tuple[Samples, Samples]) -> None:
    clock = Clock(time.perf_counter() + 0.5)
    found = make(*data, settings_of(epochs=5000), clock=clock).run()
    assert found.summary["shortened"]
    assert 10 < found.summary["steps"] < 50_000
    assert not make(*data, settings_of(epochs=1)).run().summary["shortened"]


def test_a_shortened_plan_is_lengthened_where_the_machine_is_faster_again(
    data: tuple[Samples, Samples],
) -> None:
    trainer = make(*data, clock=Clock(time.perf_counter() + 1000))
    state = training._State(total=100, step=40, planned=100, seconds=1000.0)
    trainer._replan(state, step_seconds=50.0)
    shortened = state.total
    assert 40 < shortened < 60
    trainer._replan(state, step_seconds=25.0)
    assert shortened < state.total < 80
    trainer._replan(state, step_seconds=0.1)
    assert state.total == 100  # never beyond the plan
    trainer._replan(state, step_seconds=16.0)
    assert state.total == 100  # it still fits


def test_low_resolution_steps_are_cheaper_than_those_ahead(data: tuple[Samples, Samples]) -> None:
    trainer = make(*data)
    big = Samples(np.zeros((40, 32, 32, 3), np.uint8), np.zeros((40, 0), np.float32), np.arange(40) % 2)
    of_big = make(big, big, msgspec.structs.replace(trainer.settings, low_resolution=0.5))
    # 24 of 32 pixels: 9/16 of the time; from the beginning on half of the steps take 16/9 of the first ones'.
    assert of_big._cost_ahead(0.0) == pytest.approx(0.5 + 0.5 * 16 / 9)
    assert of_big._cost_ahead(0.5) == of_big._cost_ahead(0.9) == 1.0


def test_images_shrink_by_areas_to_three_quarters() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 40, 3), np.uint8)
    small = training.shrunk(pixels)
    assert small.shape == (3, 24, 32, 3)
    np.testing.assert_allclose(small.mean(axis=(1, 2)), pixels.mean(axis=(1, 2)), atol=1.5)
    tiny = pixels[:, :16, :16]
    np.testing.assert_array_equal(training.shrunk(tiny), tiny)
    assert training.shrunk(pixels[..., :1]).shape == (3, 24, 32, 1)


def test_the_first_part_of_a_training_sees_small_images(
    data: tuple[Samples, Samples], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    step = Trainer._step

    def spy(self: Trainer, network: Any, optimizer: Any, batch: Any, watched: Any) -> Any:
        seen.append(batch[1].shape[1])
        return step(self, network, optimizer, batch, watched)

    monkeypatch.setattr(Trainer, "_step", spy)
    monkeypatch.setattr(training, "LEAST_SIDE", 8)
    trainer = make(*data, settings_of(epochs=2))
    trainer.settings = msgspec.structs.replace(trainer.settings, low_resolution=0.25)
    trainer.run()
    assert seen == [12] * 5 + [16] * 15


def test_a_shortened_plan_goes_through_what_is_left_of_the_schedule() -> None:
    state = training._State(total=100, step=40)
    assert state.progress() == 0.4
    state.end_after(10)
    assert state.progress() == 0.4
    state.step = 45
    assert state.progress() == pytest.approx(0.7)
    state.step = 50
    assert state.progress() == 1
    assert (state.total, state.shortened) == (50, True)


@pytest.mark.parametrize(
    ("n", "wanted", "expected"),
    [(50_000, 256, 256), (1000, 256, 100), (100, 256, 16), (9, 256, 9), (100, 4, 4)],
)
def test_small_sets_have_smaller_batches(n: int, wanted: int, expected: int) -> None:
    assert batch_size(n, wanted) == expected


# What is told.


def test_the_log_has_a_line_for_every_twentieth_step_and_for_every_validation(
    data: tuple[Samples, Samples], tmp_path: Path
) -> None:
    path = tmp_path / "log.jsonl"
    with JsonLines(path) as log:
        found = make(*data, settings_of(epochs=6), run=Run(log)).run()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    steps = [line for line in lines if line["event"] == "step"]
    assert [line["step"] for line in steps] == [20, 40, 60]
    assert [line["epoch"] for line in steps] == [2, 4, 6]
    for line in steps:
        assert 0 <= line["accuracy"] <= 1
        assert line["loss"] > 0
        assert line["gradient_norm"] > 0
        assert 0 < line["learning_rate"] <= found.summary["learning_rate"]
    judged = [line for line in lines if line["event"] == "validation"]
    assert [line["step"] for line in judged] == [10, 20, 30, 40, 50, 60]
    for line, entry in zip(judged, found.history, strict=True):
        assert line["validation_error"] == pytest.approx(entry["validation_error"], rel=1e-5)
        assert line["validation_loss"] == pytest.approx(entry["validation_loss"], rel=1e-5)


def test_a_regression_has_no_accuracy_in_its_log(stripes: Stripes, tmp_path: Path) -> None:
    samples = stripes(160)
    target = Samples(samples.pixels, samples.features, samples.y.astype(np.float32))
    with JsonLines(tmp_path / "log.jsonl") as log:
        make(target, objective=Objective("regression"), settings=settings_of(epochs=2), run=Run(log)).run()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines[1]["event"] == "step"
    assert lines[1]["accuracy"] is None


def test_the_summary_is_plain_data_that_adds_up(data: tuple[Samples, Samples]) -> None:
    calls: list[tuple[str, int, int]] = []
    found = make(*data, run=Run(progress=lambda *call: calls.append(call))).run()
    summary = json.loads(json.dumps(found.summary))
    assert (summary["epochs"], summary["steps"], summary["batch_size"], summary["threads"]) == (3, 30, 16, 1)
    assert summary["learning_rate"] == pytest.approx(0.4 * (16 / 256) ** 0.5)
    assert summary["images_per_second"] > 0
    for name in ("shortened", "interrupted", "stopped_early", "resumed", "bfloat16"):
        assert summary[name] is False
    assert calls == [("training", step, 30) for step in range(1, 31)]


# Judging.


def test_the_best_weights_are_kept_with_their_figures(stripes: Stripes) -> None:
    samples, validation = stripes(160), stripes(19, seed=1, noise=110)
    for ema in (0.0, 0.8):
        trainer = make(samples, validation, settings_of(epochs=6, ema=ema, learning_rate=0.5))
        found = trainer.run()
        judged = [(entry["validation_error"], entry["validation_loss"]) for entry in found.history]
        assert len(judged) == 6
        assert len(set(judged)) > 1
        assert tuple(found.figures) == min(judged)
        assert tuple(trainer.figures(found.network)) == min(judged)
        best = max(k for k, figures in enumerate(judged, 1) if figures == min(judged))
        assert found.summary["best_epoch"] == best
        assert not found.network.training


def test_a_large_validation_part_is_looked_at_after_some_epochs_only(stripes: Stripes) -> None:
    # 60 of 160 images cost an eighth of an epoch: a twenty-fifth of the time is after every fourth.
    found = make(stripes(160), stripes(60, seed=1), settings_of(epochs=6)).run()
    assert [entry["epoch"] for entry in found.history] == [4, 6]


def test_without_validation_the_last_weights_count(stripes: Stripes) -> None:
    samples = stripes(160)
    trainer = make(samples)
    found = trainer.run()
    assert found.figures == trainer.figures(found.network)
    assert all("validation_error" not in entry for entry in found.history)
    scores = score(found.network, samples.pixels, samples.features)
    assert found.figures == CLASSES.figures(scores, torch.from_numpy(samples.y))


def test_training_ends_when_nothing_becomes_better(stripes: Stripes) -> None:
    # On labels turned round every step that learns is a step away.
    validation = stripes(19, seed=1)
    turned = Samples(validation.pixels, validation.features, 1 - validation.y)
    found = make(stripes(160), turned, settings_of(epochs=40, patience=3)).run()
    assert found.summary["stopped_early"]
    assert found.summary["epochs"] == found.summary["best_epoch"] + 3 < 40
    # The schedule was that of all 40 epochs: these give the same training again.
    assert found.summary["planned_epochs"] == 40


def test_whoever_follows_a_training_may_end_it(data: tuple[Samples, Samples]) -> None:
    seen: list[tuple[int, float]] = []

    def enough(epoch: int, error: float) -> bool:
        seen.append((epoch, error))
        return epoch == 2

    found = make(*data, settings_of(epochs=5), run=Run(should_stop=enough)).run()
    assert found.summary["steps"] == 20
    assert found.summary["stopped_early"]
    assert seen == [(entry["epoch"], entry["validation_error"]) for entry in found.history]


def test_the_first_interrupt_ends_the_training_after_its_step_and_keeps_the_best_weights(
    data: tuple[Samples, Samples],
) -> None:
    before = signal.getsignal(signal.SIGINT)

    def press(task: str, done: int, total: int) -> None:
        if done == 25:
            assert signal.getsignal(signal.SIGINT) is not before
            os.kill(os.getpid(), signal.SIGINT)
            # A second one would end everything.
            assert signal.getsignal(signal.SIGINT) is before

    trainer = make(*data, settings_of(epochs=9), run=Run(progress=press))
    found = trainer.run()
    assert signal.getsignal(signal.SIGINT) is before
    assert (found.summary["interrupted"], found.summary["steps"]) == (True, 25)
    assert [entry["step"] for entry in found.history] == [10, 20, 25]
    assert tuple(trainer.figures(found.network)) == min(
        (entry["validation_error"], entry["validation_loss"]) for entry in found.history
    )


def test_the_second_interrupt_ends_everything_and_the_handler_comes_back(
    data: tuple[Samples, Samples],
) -> None:
    before = signal.getsignal(signal.SIGINT)

    def press(task: str, done: int, total: int) -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        make(*data, run=Run(progress=press)).run()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_training_in_another_thread_leaves_signals_alone(data: tuple[Samples, Samples]) -> None:
    found: list[Trained] = []
    thread = threading.Thread(target=lambda: found.append(make(*data, settings_of(epochs=1)).run()))
    thread.start()
    thread.join()
    assert found[0].summary["steps"] == 10


# What is learned.

LEARNERS: dict[str, tuple[dict[str, Any], AugmentationSettings]] = {
    "sgd": ({}, MOVED),
    "adamw": ({"optimizer": "adamw"}, MOVED),
    "restarts": ({"schedule": "restarts"}, MOVED),
    "mixup": ({}, MIXED),
    "sharpness-aware": ({"sam": 0.05}, MOVED),
    "averaged": ({"ema": 0.9}, MOVED),
    "bfloat16": ({"bfloat16": True}, MOVED),
    "planes first": ({"channels_last": False}, MOVED),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_stripes_are_told_apart_by_every_variant(stripes: Stripes, name: str) -> None:
    changes, augmentation = LEARNERS[name]
    test = stripes(200, seed=9)
    found = make(stripes(160), settings=settings_of(epochs=12, **changes), augmentation=augmentation).run()
    scores = score(found.network, test.pixels, test.features)
    error = CLASSES.figures(scores, torch.from_numpy(test.y)).error
    assert error <= 0.02, error


def test_several_classes_and_class_weights_are_learned(stripes: Stripes) -> None:
    def three(n: int, seed: int) -> Samples:
        drawn = stripes(n, seed)
        gray = np.arange(n) % 3 == 2
        noise = np.random.default_rng(seed).normal(128, 40, drawn.pixels.shape).clip(0, 255).astype(np.uint8)
        pixels = np.where(gray[:, None, None, None], noise, drawn.pixels)
        return Samples(pixels, drawn.features, np.where(gray, 2, drawn.y))

    objective = Objective("classification", 0.1, class_weights=torch.tensor([0.8, 1.2, 1.0]))
    test = three(150, 9)
    found = make(three(240, 0), objective=objective, settings=settings_of(epochs=10), n_outputs=3).run()
    scores = score(found.network, test.pixels, test.features)
    assert objective.figures(scores, torch.from_numpy(test.y)).error <= 0.05


def test_gray_images_are_learned(stripes: Stripes) -> None:
    samples, test = stripes(160, planes=1), stripes(100, seed=9, planes=1)
    found = make(samples, settings=settings_of(epochs=8)).run()
    scores = score(found.network, test.pixels, test.features)
    assert CLASSES.figures(scores, torch.from_numpy(test.y)).error <= 0.02


def bright(n: int, seed: int) -> Samples:
    """Noise of a brightness that is the target, in standard deviations."""
    rng = np.random.default_rng(seed)
    target = rng.standard_normal(n)
    pixels = 128 + 25 * target[:, None, None, None] + rng.normal(0, 20, (n, 16, 16, 3))
    return Samples(
        pixels.clip(0, 255).astype(np.uint8), np.zeros((n, 0), np.float32), target.astype(np.float32)
    )


@pytest.mark.parametrize("loss", ["huber", "mse"])
def test_a_regression_learns_a_brightness(loss: Any) -> None:
    objective, test = Objective("regression", regression_loss=loss), bright(100, 1)
    found = make(bright(240, 0), objective=objective, settings=settings_of(epochs=12), augmentation=OFF).run()
    scores = score(found.network, test.pixels, test.features)
    # A guess of the mean is 0.8 off.
    assert objective.figures(scores, torch.from_numpy(test.y)).error < 0.2


def noise_with_features(n: int, seed: int) -> Samples:
    """Images that tell nothing, labels that the first of three features tells."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, 3)).astype(np.float32)
    pixels = rng.integers(0, 256, (n, 16, 16, 3)).astype(np.uint8)
    return Samples(pixels, features, (features[:, 0] > 0).astype(np.int64))


def test_labels_that_only_the_features_tell_are_learned() -> None:
    test = noise_with_features(200, 9)
    found = make(noise_with_features(160, 0), settings=settings_of(epochs=10)).run()
    scores = score(found.network, test.pixels, test.features)
    y = torch.from_numpy(test.y)
    assert CLASSES.figures(scores, y).error <= 0.1
    unknown = score(found.network, test.pixels, np.zeros_like(test.features))
    assert CLASSES.figures(unknown, y).error > 0.3


def halves(n: int) -> Samples:
    """Images whose left half is bright; the features say whether they are of the mirror image, and which image."""
    pixels = np.zeros((n, 8, 8, 3), np.uint8)
    pixels[:, :, :4] = 200
    features = np.column_stack([np.zeros(n), np.arange(n)]).astype(np.float32)
    mirrored = np.column_stack([np.ones(n), np.arange(n)]).astype(np.float32)
    return Samples(pixels, features, np.arange(n) % 2, mirrored)


def test_a_mirrored_image_gets_the_features_of_the_mirror_image() -> None:
    seen: list[bool] = []
    for rows, pixels, features, mirrored, _ in make(halves(160), augmentation=OFF)._batches(0):
        is_mirrored = pixels[:, 0, -1, 0] == 200
        np.testing.assert_array_equal(mirrored, is_mirrored)
        np.testing.assert_array_equal(features[:, 0], is_mirrored)
        np.testing.assert_array_equal(features[:, 1], rows)
        seen += is_mirrored.tolist()
    assert len(seen) == 160
    assert 50 < sum(seen) < 110


def test_features_may_be_those_of_the_original_or_of_the_changed_image() -> None:
    samples = halves(160)
    original = make(samples, settings=settings_of(features_of="original"), augmentation=OFF)
    for rows, _, features, mirrored, _ in original._batches(0):
        np.testing.assert_array_equal(features, samples.features[rows])
        assert mirrored.any()

    def corners(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return pixels[:, 0, [0, -1], 0].astype(np.float32)

    changed = make(
        samples, settings=settings_of(features_of="augmented"), augmentation=OFF, features_of=corners
    )
    for _, pixels, features, mirrored, _ in changed._batches(0):
        np.testing.assert_array_equal(features, pixels[:, 0, [0, -1], 0])
        np.testing.assert_array_equal(features[:, 1] == 200, mirrored)


def test_features_of_changed_images_need_someone_who_computes_them() -> None:
    with pytest.raises(ValueError, match=r'^features_of = "augmented" needs a function that computes them$'):
        make(halves(160), settings=settings_of(features_of="augmented")).run()


def test_every_epoch_has_another_order_and_hardly_leaves_an_image_out(stripes: Stripes) -> None:
    trainer = make(stripes(165))
    orders = [np.concatenate([rows for rows, *_ in trainer._batches(epoch)]) for epoch in (0, 1)]
    for order in orders:
        assert len(set(order.tolist())) == 160
    assert not np.array_equal(orders[0], orders[1])


def test_a_teacher_is_followed_rather_than_the_labels(stripes: Stripes) -> None:
    samples = stripes(160)
    # A teacher that is sure of the opposite, of images and of their mirror images.
    opposite = np.repeat(np.where(samples.y == 1, -4.0, 4.0)[:, None, None], 2, axis=1).astype(np.float32)
    taught = Samples(samples.pixels, samples.features, samples.y, samples.features, opposite)
    for share, error in ((1.0, 1.0), (0.0, 0.0)):
        found = make(taught, settings=settings_of(epochs=8), distil=(share, 2.0)).run()
        assert found.figures.error == pytest.approx(error, abs=0.03)


def test_a_mirrored_image_gets_the_teachers_scores_of_the_mirror_image() -> None:
    samples = halves(160)
    teacher = np.stack([np.zeros((160, 1)), np.ones((160, 1))], axis=1).astype(np.float32)
    taught = Samples(samples.pixels, samples.features, samples.y, samples.mirrored, teacher)
    trainer = make(taught, augmentation=OFF)
    for rows, _, _, mirrored, _ in trainer._batches(0):
        found = trainer._teacher(rows, mirrored)
        assert found is not None
        np.testing.assert_array_equal(found[:, 0], mirrored)


# Helpers.


def test_color_statistics_are_those_of_all_pixels_at_once() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, [256, 100, 7], (1203, 5, 4, 3)).astype(np.uint8)
    np.testing.assert_allclose(mean_color(pixels), pixels.reshape(-1, 3).mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(color_scale(pixels), pixels.reshape(-1, 3).std(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(color_scale(np.full((3, 4, 4, 1), 9, np.uint8)), [1])


def test_scores_in_parts_are_those_of_each_image(stripes: Stripes) -> None:
    samples = stripes(1100, size=8)
    rng = np.random.default_rng(0)
    samples = with_features(samples, rng.standard_normal((1100, 2)))
    network = new_network(samples, n_outputs=2)
    torch.nn.init.normal_(network.linear.weight, generator=torch.Generator().manual_seed(0))
    found = score(network, samples.pixels, samples.features)
    assert found.shape == (1100, 2)
    for k in (0, 499, 500, 1000, 1099):
        alone = score(network, samples.pixels[k : k + 1], samples.features[k : k + 1])[0]
        torch.testing.assert_close(found[k], alone, rtol=1e-4, atol=1e-5)
    assert not found.is_inference()


def test_samples_are_chosen_with_all_that_belongs_to_them() -> None:
    whole = halves(10)
    teacher = np.arange(20, dtype=np.float32).reshape(10, 2, 1)
    whole = Samples(whole.pixels, whole.features, whole.y, whole.mirrored, teacher)
    part = whole.part(np.array([7, 2]))
    assert len(part) == 2
    assert part.mirrors
    np.testing.assert_array_equal(part.features[:, 1], [7, 2])
    assert part.teacher is not None
    np.testing.assert_array_equal(part.teacher[:, 1, 0], [15, 5])
    np.testing.assert_array_equal(
        whole.features_for(np.array([3, 4]), np.array([True, False])), [[1, 3], [0, 4]]
    )
    assert math.isinf(Clock().left)
