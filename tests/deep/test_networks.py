"""Networks of timm for any classes: seeded, frozen in part, fed with pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import nn

from classic_cv.deep.networks import (
    as_input,
    build,
    check_size,
    freeze,
    head_names,
    keep_resolution,
    layers,
    statistics,
    to_training,
)
from classic_cv.deep.settings import DeepSettings, load_deep
from classic_cv.errors import RecipeError, TrainingError

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = DeepSettings("test_resnet", mode="scratch")


def test_the_seed_alone_says_what_a_network_begins_with() -> None:
    before = torch.random.get_rng_state()
    one, same, other = (build(TINY, 4, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    "name", ["efficientnet-b0", "resnet18", "vgg11-bn", "cs3darknet-focus-s", "inception-v3"]
)
def test_a_new_head_takes_all_classes_for_nearly_alike(name: str) -> None:
    network = build(load_deep(f"{name}:scratch"), 4, seed=0)
    weight, bias = (network.get_parameter(own).detach() for own in head_names(network))
    assert weight.shape[0] == 4
    assert float(weight.std()) == pytest.approx(0.01, rel=0.1)
    assert not bias.any()


def test_an_unknown_architecture_is_an_error_that_names_near_ones() -> None:
    with pytest.raises(RecipeError, match=r"has no architecture 'resnet19': did you mean .*resnet18"):
        build(load_deep("timm:resnet19:scratch"), 3, seed=0)


def test_vgg_pools_straight_into_the_classes() -> None:
    network = build(load_deep("vgg11-bn:scratch"), 7, seed=0)
    assert sum(parameter.numel() for parameter in network.parameters()) == 9_225_984 + 512 * 7 + 7
    assert head_names(network) == ["head.fc.weight", "head.fc.bias"]


def test_layers_are_all_weights_but_those_of_the_head_once() -> None:
    network = build(load_deep("resnet18:scratch"), 3, seed=0)
    names = [name for group in layers(network) for name in group]
    assert sorted([*names, *head_names(network)]) == sorted(name for name, _ in network.named_parameters())
    assert layers(network)[0][0] == "conv1.weight"
    assert "layer4.1.conv2.weight" in layers(network)[-1]
    assert len(layers(network)) == 9


def test_the_first_layers_are_frozen_with_their_statistics() -> None:
    network = build(load_deep("resnet18:scratch"), 3, seed=0)
    frozen = freeze(network, 0.34)
    assert {name.split(".")[0] for name in frozen} == {"conv1", "bn1", "layer1"}
    to_training(network)
    assert network.training
    norms = {name: module for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert {name for name, norm in norms.items() if not norm.training} == {
        name for name in norms if name.startswith(("bn1", "layer1."))
    }
    assert not freeze(network, 0.0)
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize(
    ("architecture", "changed", "factor"),
    [
        ("resnet18", True, 4),
        ("mobilenetv3_small_100", True, 2),
        ("darknet53", False, 1),
        ("vgg11_bn", False, 1),
    ],
)
def test_a_stem_that_halves_may_keep_the_resolution(architecture: str, changed: bool, factor: int) -> None:
    network: Any = timm.create_model(architecture).eval()
    with torch.inference_mode():
        before = network.forward_features(torch.zeros(1, 3, 64, 64)).shape[-1]
        assert keep_resolution(network) == changed
        assert network.forward_features(torch.zeros(1, 3, 64, 64)).shape[-1] == factor * before


def test_statistics_are_those_of_the_weights_the_images_or_the_settings() -> None:
    pixels = np.zeros((2, 2, 2, 3), np.uint8)
    pixels[1] = (51, 102, 255)
    scratch = statistics(TINY, pixels)
    np.testing.assert_allclose(scratch.mean, (0.1, 0.2, 0.5), atol=1e-6)
    np.testing.assert_allclose(scratch.std, (0.1, 0.2, 0.5), atol=1e-6)
    assert statistics(load_deep("resnet18"), pixels).mean == (0.485, 0.456, 0.406)
    given = DeepSettings("resnet18", mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 2.0))
    assert statistics(given, pixels) == ((0.1, 0.2, 0.3), (1.0, 1.0, 2.0))


def test_pixels_are_standardised_by_color() -> None:
    pixels = np.full((1, 2, 4, 3), (0, 51, 255), np.uint8)
    found = as_input(pixels, statistics(DeepSettings("resnet18", mean=(0.5, 0.2, 0.0), std=(0.5, 1.0, 2.0))))
    assert found.shape == (1, 3, 2, 4)
    np.testing.assert_allclose(found[0, :, 1, 3].numpy(), (-1, 0, 0.5), atol=1e-6)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_a_size_that_a_network_does_not_take_is_an_error() -> None:
    settings = load_deep("inception-v3:scratch")
    network = build(settings, 3, seed=0)
    check_size(network, 75, settings)
    with pytest.raises(
        TrainingError, match=r"inception_v3 does not take images of 32 pixels .* min_size is 75"
    ):
        check_size(network, 32, settings)
