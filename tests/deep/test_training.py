"""The training loop: it learns, keeps the clock, freezes what it should, and gives the same again."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from classic_cv.deep import training
from classic_cv.deep.networks import Statistics, build, freeze, head_names
from classic_cv.deep.settings import DeepSettings
from classic_cv.deep.training import CpuClock, DeepData, TrainedDeep, optimizer_of, peak_rate, train
from classic_cv.errors import TrainingError
from classic_cv.neural.schedule import one_cycle

pytestmark = pytest.mark.usefixtures("one_thread")

VALUES = Statistics((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
TINY = DeepSettings("test_resnet", mode="scratch", bfloat16=False, mirror=False)
ENDLESS = CpuClock(lambda: 0.0)

Stripes = Callable[..., tuple[NDArray[np.uint8], NDArray[np.int64]]]


def striped(stripes: Stripes, n: int = 96, n_validation: int = 48, size: int = 32) -> DeepData:
    pixels, y = stripes(n + n_validation, size=size)
    return DeepData(pixels[:n], y[:n], pixels[n:], y[n:], VALUES)


def tiny_network(seed: int = 0) -> nn.Module:
    return build(TINY, 2, seed)


def test_training_from_scratch_learns_stripes(stripes: Stripes) -> None:
    trained = train(tiny_network(), striped(stripes, 192, 64), TINY, ENDLESS, epochs=8)
    assert trained.validation_accuracy > 0.9
    pixels, y = stripes(64, seed=5)
    logits = training.logits_of(trained.network, pixels, VALUES, bfloat16=False)
    assert (logits.argmax(dim=1).numpy() == y).mean() > 0.9


def test_the_weights_that_were_best_on_the_validation_images_are_kept(stripes: Stripes) -> None:
    data = striped(stripes)
    trained = train(tiny_network(), data, TINY, ENDLESS, epochs=4)
    accuracies = [entry["validation_accuracy"] for entry in trained.history]
    assert trained.validation_accuracy == max(accuracies)
    logits = training.logits_of(trained.network, data.validation_pixels, VALUES, bfloat16=False)
    assert (logits.argmax(dim=1).numpy() == data.validation_y).mean() == trained.validation_accuracy
    assert trained.history[-1]["epoch"] == trained.epochs == 4
    assert trained.history[-1]["learning_rate"] == pytest.approx(0, abs=1e-9)
    assert not trained.network.training


def test_without_validation_images_the_last_weights_count(stripes: Stripes) -> None:
    trained = train(tiny_network(), striped(stripes, 48, 0), TINY, ENDLESS, epochs=2)
    assert math.isnan(trained.validation_accuracy)
    assert "validation_accuracy" not in trained.history[0]
    assert trained.history[-1]["training_loss"] > 0


def test_the_same_seed_gives_the_same_weights_and_another_does_not(stripes: Stripes) -> None:
    def weights(seed: int) -> dict[str, Any]:
        return train(tiny_network(), striped(stripes), TINY, ENDLESS, seed, epochs=1).network.state_dict()

    one, same, other = weights(3), weights(3), weights(4)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_a_training_goes_on_where_an_earlier_one_ended(stripes: Stripes) -> None:
    data = striped(stripes, 192, 64)
    first = train(tiny_network(), data, TINY, ENDLESS, epochs=3)
    second = train(first.network, data, TINY, ENDLESS, seed=1, epochs=3)
    assert second.network is first.network
    assert second.history[-1]["training_loss"] < first.history[-1]["training_loss"]


def test_frozen_layers_stay_bit_for_bit(stripes: Stripes) -> None:
    network = tiny_network()
    settings = msgspec.structs.replace(TINY, mode="finetune", freeze=0.5)
    frozen = freeze(network, 0.5)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    trained = train(network, striped(stripes), settings, ENDLESS, epochs=2)
    after = trained.network.state_dict()
    modules = {name.rpartition(".")[0] for name in frozen}
    for name, value in before.items():
        if name.rpartition(".")[0] in modules:
            assert torch.equal(after[name], value), name
    assert not torch.equal(after["fc.weight"], before["fc.weight"])
    assert not torch.equal(after["layer4.0.conv1.weight"], before["layer4.0.conv1.weight"])
    assert trained.summary["n_frozen"] == sum(before[name].numel() for name in frozen) > 0


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_backbone_learns_at_a_tenth_of_the_heads_rate(optimizer: Any) -> None:
    network = tiny_network()
    settings = msgspec.structs.replace(TINY, mode="finetune", optimizer=optimizer)
    found = optimizer_of(network, settings)
    head = {id(network.get_parameter(name)) for name in head_names(network)}
    shares = {id(p): group["share"] for group in found.param_groups for p in group["params"]}
    assert {shares[i] for i in head} == {1.0}
    assert {share for i, share in shares.items() if i not in head} == {0.1}
    decays = {p.ndim > 1: group["weight_decay"] for group in found.param_groups for p in group["params"]}
    assert decays == {True: {"adamw": 0.05, "sgd": 5e-4}[optimizer], False: 0.0}


def test_the_peak_rate_goes_with_the_root_of_the_batch() -> None:
    assert peak_rate(TINY, 64) == 2e-3
    assert peak_rate(TINY, 16) == 1e-3
    assert peak_rate(msgspec.structs.replace(TINY, learning_rate=0.5), 16) == 0.5


def test_a_loss_that_is_no_number_ends_the_training(stripes: Stripes) -> None:
    network = tiny_network()
    with torch.no_grad():
        network.get_parameter("fc.weight")[0, 0] = math.nan
    with pytest.raises(
        TrainingError, match=r"step 1: the loss is nan, at a learning rate of .*: give a lower"
    ):
        train(network, striped(stripes), TINY, ENDLESS, epochs=1)


def test_a_single_image_is_too_few(stripes: Stripes) -> None:
    with pytest.raises(TrainingError, match="1 images to train on: give at least 2"):
        train(tiny_network(), striped(stripes, 1, 0), TINY, ENDLESS, epochs=1)


# The clock.


class Course:
    """A training whose steps take CPU seconds as they are told to, and do nothing else."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: Callable[[int, int], float]) -> None:
        self.now, self.sizes, self.rates = 5.0, list[int](), list[float]()
        course = self

        def step(self: Any, rows: NDArray[np.intp], size: int, rng: np.random.Generator) -> float:
            course.sizes.append(size)
            course.rates.append(one_cycle(self.progress))
            course.now += seconds(len(course.sizes), size)
            return 1.0

        def accuracy(self: Any, network: nn.Module) -> float:
            course.now += seconds(len(course.sizes), self.size) / 3
            return 0.5

        monkeypatch.setattr(training._Training, "_step", step)
        monkeypatch.setattr(training._Training, "accuracy", accuracy)

    def run(self, end: float, stripes: Stripes, **changes: Any) -> TrainedDeep:
        settings = msgspec.structs.replace(TINY, **changes)
        data = striped(stripes, 160, 40, size=64)
        return train(tiny_network(), data, settings, CpuClock(lambda: self.now, end))


def even(step: int, size: int) -> float:
    return (size / 64) ** 2


def slower(step: int, size: int) -> float:
    return even(step, size) * (1 if step < 40 else 3)


def faster(step: int, size: int) -> float:
    return even(step, size) * (1 if step < 40 else 0.4)


def slow_start(step: int, size: int) -> float:
    return even(step, size) * (8 if step == 1 else 1)


@pytest.mark.parametrize("seconds", [even, slower, faster, slow_start])
def test_the_time_is_used_and_kept(
    seconds: Callable[[int, int], float], monkeypatch: pytest.MonkeyPatch, stripes: Stripes
) -> None:
    course = Course(monkeypatch, seconds)
    trained = course.run(end=105.0, stripes=stripes)
    assert 0.9 * 100 <= course.now - 5 <= 100.5
    assert trained.history[-1]["cpu_seconds"] == course.now
    # The rate has gone through its whole cycle all the same.
    assert max(course.rates) > 0.9
    assert course.rates[-1] < 0.1
    assert trained.epochs == len(course.sizes) / 10


def test_the_first_half_is_at_the_lower_resolution(monkeypatch: pytest.MonkeyPatch, stripes: Stripes) -> None:
    course = Course(monkeypatch, even)
    course.run(math.inf, stripes, epochs=10)
    assert course.sizes == [48] * 50 + [64] * 50
    other = Course(monkeypatch, even)
    other.run(math.inf, stripes, epochs=2, min_size=64)
    assert set(other.sizes) == {64}


def test_a_number_of_epochs_is_kept_where_time_allows_it(
    monkeypatch: pytest.MonkeyPatch, stripes: Stripes
) -> None:
    course = Course(monkeypatch, even)
    assert course.run(1000.0, stripes, epochs=3).epochs == 3
    short = Course(monkeypatch, even)
    assert short.run(15.0, stripes, epochs=3).epochs < 3
    assert short.now <= 15.5


def test_one_step_is_made_when_there_is_no_time(monkeypatch: pytest.MonkeyPatch, stripes: Stripes) -> None:
    course = Course(monkeypatch, even)
    trained = course.run(2.0, stripes)
    assert trained.summary["steps"] == 1
    assert trained.validation_accuracy == 0.5


def test_no_more_epochs_are_made_than_help(monkeypatch: pytest.MonkeyPatch, stripes: Stripes) -> None:
    assert Course(monkeypatch, even).run(math.inf, stripes, mode="finetune").epochs == 60


def test_only_long_trainings_from_scratch_mix_images(
    monkeypatch: pytest.MonkeyPatch, stripes: Stripes
) -> None:
    long, short = (Course(monkeypatch, even).run(end, stripes) for end in (1500.0, 100.0))
    assert long.epochs > 100
    assert long.summary["mixup"] == 0.2
    assert short.summary["mixup"] == 0
    tuned = Course(monkeypatch, even).run(100.0, stripes, mixup=0.4)
    assert tuned.summary["mixup"] == 0.4


def test_mixed_images_are_trained_on(stripes: Stripes) -> None:
    settings = msgspec.structs.replace(TINY, mixup=1.0)
    trained = train(tiny_network(), striped(stripes, 48, 16), settings, ENDLESS, epochs=1)
    assert math.isfinite(trained.history[-1]["training_loss"])
