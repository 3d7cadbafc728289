"""The last layer as a linear SVM of what the backbone gives."""

from __future__ import annotations

import numpy as np
import torch

from classic_cv.deep.linear_head import start_head
from classic_cv.deep.networks import build, head_of, statistics
from classic_cv.deep.settings import DeepSettings
from classic_cv.deep.training import CpuClock, DeepData, logits_of, train
from tests.neural.conftest import draw_stripes

SETTINGS = DeepSettings("resnet10t", mode="scratch", size=32)


def stripes(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    samples = draw_stripes(n, seed, size=32, noise=10.0)
    return samples.pixels, samples.y


def data() -> DeepData:
    pixels, y = stripes(80, 0)
    validation, validation_y = stripes(40, 1)
    return DeepData(pixels, y, validation, validation_y, statistics(SETTINGS, pixels))


def right(network: torch.nn.Module, of: DeepData) -> float:
    logits = logits_of(network, of.validation_pixels, of.values, False)
    return float((logits.argmax(dim=1).numpy() == of.validation_y).mean())


def test_the_head_begins_by_knowing_what_random_features_tell() -> None:
    found, network = data(), build(SETTINGS, 3, 0)
    start_head(network, found, 3, 0)
    # The third class has no image: it is never answered.
    logits = logits_of(network, found.validation_pixels, found.values, False)
    assert (logits.argmax(dim=1) < 2).all()
    assert right(network, found) > 0.9


def test_a_single_class_leaves_the_head_alone() -> None:
    found, network = data(), build(SETTINGS, 2, 0)
    before = head_of(network).weight.detach().clone()  # type: ignore[operator]
    found.y = np.zeros_like(found.y)
    start_head(network, found, 2, 0)
    assert torch.equal(head_of(network).weight, before)  # type: ignore[arg-type]


def test_fine_tuning_does_not_end_worse_than_it_began() -> None:
    found, network = data(), build(SETTINGS, 2, 0)
    start_head(network, found, 2, 0)
    began = right(network, found)
    # Steps so large that they spoil everything.
    settings = DeepSettings(
        "resnet10t", mode="finetune", size=32, learning_rate=0.5, backbone_rate=1.0, epochs=1
    )
    trained = train(network, found, settings, CpuClock(lambda: 0.0), 0)
    assert trained.history[0]["epoch"] == 0
    assert trained.validation_accuracy >= began
    assert right(trained.network, found) >= began


def test_fine_tuning_within_a_budget_looks_at_its_beginning_and_keeps_the_budget() -> None:
    found, network, now = data(), build(SETTINGS, 2, 0), [0.0]

    def used() -> float:
        now[0] += 0.05
        return now[0]

    settings = DeepSettings("resnet10t", mode="finetune", size=32)
    trained = train(network, found, settings, CpuClock(used, 10.0), 0)
    assert trained.history[0]["epoch"] == 0
    assert "training_loss" not in trained.history[0]
    assert trained.epochs >= 1
    assert now[0] <= 11.0
