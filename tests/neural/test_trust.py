"""What a training can be trusted for: learning by heart, and errors that name step, layer and cause."""

from __future__ import annotations

import copy
import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from classic_cv.errors import TrainingError
from classic_cv.neural.architecture import Network, initialise
from classic_cv.neural.augmentation import AugmentationSettings
from classic_cv.neural.objective import Objective
from classic_cv.neural.samples import Samples
from classic_cv.neural.settings import NetworkSettings, OptimizationSettings
from classic_cv.neural.training import Clock, Trainer
from classic_cv.neural.trust import SMALL_BATCH, Watch, as_tensors, can_overfit

if TYPE_CHECKING:
    from tests.neural.conftest import Stripes

OFF = AugmentationSettings(shift=0, rotation=0, zoom=0, color=0, cutout=0, mixup=0)
CLASSES = Objective("classification")


def new_network(n_features: int = 0, n_outputs: int = 1, seed: int = 0) -> Network:
    network = Network(
        NetworkSettings(block="residual", channels=(8, 8), blocks=(1, 1)), 3, n_features, n_outputs
    )
    initialise(network, torch.Generator().manual_seed(seed))
    network.mean.fill_(128)
    network.scale.fill_(50)
    return network


def with_features(samples: Samples, features: Any) -> Samples:
    return Samples(samples.pixels, np.asarray(features, np.float32), samples.y)


def trainer(
    network: Network, samples: Samples, epochs: int = 3, learning_rate: Any = "auto", validation: Any = None
) -> Trainer:
    settings = OptimizationSettings(epochs=epochs, learning_rate=learning_rate, batch_size=32, bfloat16=False)
    held_out = samples.part(np.arange(0)) if validation is None else validation
    return Trainer(network, samples, held_out, settings, OFF, CLASSES, Clock())


# Learning by heart.


def test_a_good_network_learns_a_few_images_by_heart(stripes: Stripes) -> None:
    found = can_overfit(new_network(), stripes(60), CLASSES, math.inf)
    assert found["overfits"] is True
    assert found["images"] == SMALL_BATCH
    assert found["loss_at_start"] == pytest.approx(math.log(2), rel=1e-4)
    assert found["loss"] <= 0.1 * found["loss_at_start"]
    assert 0 < found["steps"] < 150


def test_even_labels_without_a_rule_are_learned_by_heart(stripes: Stripes) -> None:
    samples = stripes(40, noise=60)
    labels = np.random.default_rng(1).integers(0, 3, 40)
    chance = Samples(samples.pixels, samples.features, labels)
    network = Network(NetworkSettings(block="residual", channels=(16, 16), blocks=(1, 1)), 3, 0, 3)
    initialise(network, torch.Generator().manual_seed(0))
    assert can_overfit(network, chance, CLASSES, math.inf)["overfits"] is True


def test_a_regression_is_learned_by_heart(stripes: Stripes) -> None:
    samples = stripes(40)
    target = np.random.default_rng(1).standard_normal(40).astype(np.float32)
    of_numbers = Samples(samples.pixels, samples.features, target)
    assert can_overfit(new_network(), of_numbers, Objective("regression"), math.inf)["overfits"] is True


class Blind(Network):
    """What its blocks see does not reach the scores."""

    def pooled(self, pixels: torch.Tensor) -> torch.Tensor:
        return 0 * super().pooled(pixels).detach()


class Frozen(Network):
    """Only the first normalisation's bias is learned, and it is followed by zeros."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.requires_grad_(False)
        self.first.norm.bias.requires_grad_(True)


@pytest.mark.parametrize("kind", [Blind, Frozen])
def test_a_broken_network_cannot_and_that_is_told(stripes: Stripes, kind: type[Network]) -> None:
    network = kind(NetworkSettings(block="residual", channels=(8,), blocks=(1,)), 3, 0, 1)
    initialise(network, torch.Generator().manual_seed(0))
    found = can_overfit(network, stripes(60), CLASSES, math.inf)
    assert found["overfits"] is False
    assert found["steps"] == 150
    assert found["loss"] == pytest.approx(math.log(2), rel=0.01)


def test_what_the_features_alone_tell_is_no_success(stripes: Stripes) -> None:
    samples = stripes(60)
    told_by_feature = with_features(samples, np.where(samples.y == 1, 3.0, -3.0)[:, None])
    network = Blind(NetworkSettings(block="residual", channels=(8,), blocks=(1,)), 3, 1, 1)
    initialise(network, torch.Generator().manual_seed(0))
    with torch.no_grad():
        network.linear.weight[:, -1] = 1.0
    assert can_overfit(network, told_by_feature, CLASSES, math.inf)["overfits"] is False


def test_features_that_are_no_numbers_are_no_success(stripes: Stripes) -> None:
    samples = with_features(stripes(40), np.full((40, 2), np.nan))
    found = can_overfit(new_network(n_features=2), samples, CLASSES, math.inf)
    assert found["overfits"] is False
    assert math.isnan(found["loss"])


def test_too_little_time_is_no_verdict(stripes: Stripes) -> None:
    found = can_overfit(new_network(), stripes(60), CLASSES, seconds=-1.0)
    assert found["overfits"] is None
    assert found["steps"] == 0


def test_the_check_leaves_the_network_as_it_is(stripes: Stripes) -> None:
    network = new_network()
    before = copy.deepcopy(network.state_dict())
    can_overfit(network, stripes(40), CLASSES, math.inf)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_every_class_is_among_the_few_images(stripes: Stripes) -> None:
    # 200 images of class 0, then one each of 1 to 3: by chance alone the rare ones would not be seen.
    samples = stripes(203)
    y = np.concatenate([np.zeros(200, np.int64), [1, 2, 3]])
    from classic_cv.neural.trust import _few

    rows = _few(Samples(samples.pixels, samples.features, y), CLASSES, seed=0)
    assert len(set(rows.tolist())) == SMALL_BATCH
    assert set(y[rows].tolist()) == {0, 1, 2, 3}


# Tensors.


@pytest.mark.parametrize("channels_last", [True, False])
def test_pixels_become_planes_in_the_memory_order_asked_for(stripes: Stripes, channels_last: bool) -> None:
    samples = stripes(5)
    pixels, features = as_tensors(samples.pixels, samples.features, channels_last)
    assert features is None
    np.testing.assert_array_equal(pixels, samples.pixels.transpose(0, 3, 1, 2).astype(np.float32))
    order = torch.channels_last if channels_last else torch.contiguous_format
    assert pixels.is_contiguous(memory_format=order)


# What broke a training.


def told(message: str) -> str:
    return f"^{message}$"


HIGH = (
    r"likely cause: the learning rate, {rate} here, is too high: set head\.optimization\.learning_rate lower "
)


def test_features_that_are_not_finite_are_named(stripes: Stripes) -> None:
    features = np.zeros((40, 3))
    features[17, 1] = np.nan
    expected = (
        r"training stopped at step \d+: the loss is not a number; the features of this batch are not finite; likely "
        "cause: an extractor gives NaN or infinity for an image"
    )
    with pytest.raises(TrainingError, match=told(expected)):
        trainer(new_network(n_features=3), with_features(stripes(40), features)).run()


def test_an_absurd_learning_rate_is_named_with_layer_and_gradients(stripes: Stripes) -> None:
    expected = (
        r"training stopped at step 1: the loss has exploded to [\d.e+]+; the largest weights are in layer linear; "
        + HIGH.format(rate=r"4\.96e\+04")
        + r"\(norm of the last gradients: [\d.]+\)"
    )
    with pytest.raises(TrainingError, match=told(expected)):
        trainer(new_network(), stripes(160), epochs=10, learning_rate=1e6).run()


def test_weights_that_are_not_finite_are_named(stripes: Stripes) -> None:
    network = new_network()
    block: Any = network.blocks[1]
    with torch.no_grad():
        block.second.conv.weight[0, 0, 0, 0] = math.nan
    expected = (
        r"training stopped at step 0: the loss is not a number; weights are not finite first in layer "
        r"blocks\.1\.second\.conv; "
        + HIGH.format(rate="0.000625")
        + r"\(norm of the last gradients: none yet\)"
    )
    with pytest.raises(TrainingError, match=told(expected)):
        trainer(network, stripes(40), learning_rate=0.0625).run()


def test_outputs_that_are_not_finite_are_named(stripes: Stripes) -> None:
    network = new_network()
    block: Any = network.blocks[0]
    with torch.no_grad():
        block.first.norm.weight.fill_(3e38)
        block.second.conv.weight.fill_(10.0)
    expected = (
        r"training stopped at step 0: the loss is not a number; outputs are not finite first in layer "
        r"blocks\.0\.(first\.norm|second\.conv); " + HIGH.format(rate="0.001") + r"\(norm .* none yet\)"
    )
    with pytest.raises(TrainingError, match=told(expected)):
        trainer(network, stripes(40), learning_rate=0.1).run()


def test_a_loss_far_above_the_first_ones_has_exploded(stripes: Stripes) -> None:
    network, watch = new_network(), Watch()
    with torch.no_grad():
        network.linear.weight.fill_(1e3)
    pixels, features = as_tensors(stripes(4).pixels, np.zeros((4, 0), np.float32))
    watch.look(network, 0, 0.1, 0.7, pixels, features)
    watch.look(network, 1, 0.1, 13.9, pixels, features)
    watch = Watch([0.7])
    for norm in (1.0, 2.0, 3.5, 1234.5):
        watch.note_norm(norm)
    expected = (
        "training stopped at step 5: the loss has exploded to 14.1; the largest weights are in layer linear; likely "
        "cause: the learning rate, 0.1 here, is too high: set head.optimization.learning_rate lower (norm of the "
        "last gradients: 2, 3.5, 1.23e+03)"
    )
    with pytest.raises(TrainingError, match=told(re.escape(expected))):
        watch.look(network, 5, 0.1, 14.1, pixels, features)


def test_a_small_loss_may_vary_freely(stripes: Stripes) -> None:
    pixels, features = as_tensors(stripes(4).pixels, np.zeros((4, 0), np.float32))
    watch = Watch()
    for step, loss in enumerate([1e-6, 1.9, 1e-5]):
        watch.look(new_network(), step, 0.1, loss, pixels, features)


def test_what_breaks_in_the_last_step_is_noticed_as_well(stripes: Stripes) -> None:
    class Fragile(Network):
        """Breaks when it is judged: the state that an unlucky last step would leave."""

        def forward(self, pixels: torch.Tensor, features: torch.Tensor | None = None) -> torch.Tensor:
            scores = super().forward(pixels, features)
            return scores if self.training else scores * math.nan

    network = Fragile(NetworkSettings(block="residual", channels=(4,), blocks=(0,)), 3, 0, 1)
    initialise(network, torch.Generator().manual_seed(0))
    for validation in (None, stripes(20, seed=1)):
        with pytest.raises(
            TrainingError,
            match=r"^training stopped at step 10: the loss of judged images is not a number; the largest",
        ):
            trainer(copy.deepcopy(network), stripes(160), 1, validation=validation).run()


def test_features_of_judged_images_are_named(stripes: Stripes) -> None:
    features = np.zeros((50, 2))
    features[45] = np.inf
    broken = with_features(stripes(50, seed=1), features)
    expected = (
        "training stopped at step 10: the loss of judged images is not a number; the features of this batch are not "
        "finite; likely cause: an extractor gives NaN or infinity for an image"
    )
    with pytest.raises(TrainingError, match=told(expected)):
        trainer(
            new_network(n_features=2), with_features(stripes(160), np.zeros((160, 2))), 1, validation=broken
        ).run()


def test_a_watch_sees_through_every_layer_without_changing_weights(stripes: Stripes) -> None:
    network = new_network()
    before = copy.deepcopy(dict(network.named_parameters()))
    pixels, features = as_tensors(stripes(4).pixels, np.zeros((4, 0), np.float32))
    with pytest.raises(TrainingError):
        Watch().look(network, 0, 0.1, math.inf, pixels, features)
    assert all(torch.equal(p, before[name]) for name, p in network.named_parameters())
    assert not any(m._forward_hooks for m in network.modules() if isinstance(m, nn.Module))
