"""The network: its size by arithmetic, its blocks against plain formulas, whitening, folding."""

from __future__ import annotations

import copy
import itertools
import math
import re
from typing import Any

import msgspec
import numpy as np
import pytest
import skimage.data
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from classic_cv.neural import architecture
from classic_cv.neural.architecture import (
    BLOCKS,
    MOST_CHANNELS,
    STEP,
    Network,
    block_shapes,
    fold_norms,
    initialise,
    n_channels_out,
    n_parameters,
    whiten,
    within,
)
from classic_cv.neural.settings import NetworkSettings

BLOCK_NAMES = tuple(BLOCKS)


@st.composite
def shapes(draw: st.DrawFn) -> NetworkSettings:
    """Networks of up to three narrow stages."""
    n = draw(st.integers(1, 3))
    some: Any = st.lists(st.integers(1, 12), min_size=n, max_size=n)
    depths: Any = st.lists(st.integers(0, 3), min_size=n, max_size=n)
    return NetworkSettings(
        block=draw(st.sampled_from(BLOCK_NAMES)),
        channels=tuple(draw(some)),
        blocks=tuple(draw(depths)),
        pooling=draw(st.sampled_from(["mean", "mean-max"])),
    )


def shape_of(block: str, **others: Any) -> NetworkSettings:
    parts = {"block": block, "channels": (16, 32, 64), "blocks": (1, 1, 1), **others}
    return msgspec.convert(parts, NetworkSettings)


def random_network(shape: NetworkSettings, n_features: int = 0, seed: int = 0, planes: int = 3) -> Network:
    """A network none of whose weights and statistics are what they begin with."""
    network = Network(shape, planes, n_features, 3)
    generator = torch.Generator().manual_seed(seed)
    initialise(network, generator)
    network.mean.copy_(torch.linspace(90, 130, planes))
    network.scale.copy_(torch.linspace(50, 70, planes))
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                for tensor in (module.running_mean, module.bias):
                    tensor.copy_(0.3 * torch.randn(tensor.shape, generator=generator))
                for tensor in (module.running_var, module.weight):
                    tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
        network.linear.weight.normal_(generator=generator)
        network.linear.bias.normal_(generator=generator)
    return network.eval()


def images(n: int = 5, planes: int = 3, size: int = 16, seed: int = 0) -> Tensor:
    return 255 * torch.rand(n, planes, size, size, generator=torch.Generator().manual_seed(seed))


# Size.


@given(shapes(), st.sampled_from([1, 3]), st.integers(0, 7), st.integers(1, 5))
@settings(deadline=None, derandomize=True, max_examples=80)
def test_the_arithmetic_counts_what_the_folded_network_has(
    shape: NetworkSettings, planes: int, n_features: int, n_outputs: int
) -> None:
    network = Network(shape, planes, n_features, n_outputs)
    fold_norms(network)
    # The mean color is stored as well; the scale becomes part of the weights.
    counted = sum(p.numel() for p in network.parameters()) + network.mean.numel()
    assert n_parameters(shape, planes, n_features, n_outputs) == counted
    assert network.linear.in_features == n_features + n_channels_out(shape) * (
        2 if shape.pooling == "mean-max" else 1
    )


def test_known_sizes_counted_by_hand() -> None:
    # First convolution 3 -> 2: 54 + 2; residual 2 -> 4: 72 + 4, 144 + 4, shortcut 8 + 4; linear 4 + 5 features.
    residual = NetworkSettings(block="residual", channels=(2, 4), blocks=(0, 1))
    assert n_parameters(residual, 3, 5, 1) == 3 + 56 + 76 + 148 + 12 + 10
    separable = NetworkSettings(block="separable", channels=(2, 4), blocks=(0, 1), pooling="mean-max")
    assert n_parameters(separable, 1, 0, 3) == 1 + 20 + (18 + 12) + 3 * 9


@given(shapes(), st.integers(1, 3))
@settings(deadline=None, derandomize=True, max_examples=60)
def test_blocks_join_and_every_stage_after_the_first_halves_once(shape: NetworkSettings, n: int) -> None:
    found = list(block_shapes(shape))
    assert len(found) == sum(shape.blocks)
    channels = shape.channels[0]
    for n_in, n_out, _ in found:
        assert n_in == channels
        channels = n_out
    halved = [halve for _, _, halve in found]
    assert sum(halved) == sum(1 for depth in shape.blocks[1:] if depth)
    side = 16 // 2 ** sum(halved)
    network = Network(shape, 3, 0, 2)
    x: Tensor = network.first(images(n))
    for block in network.blocks:
        x = block(x)
    assert x.shape == (n, channels, side, side)


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 20)), min_size=1, max_size=3), st.integers(1, 16))
def test_the_blocks_of_a_dense_stage_share_its_growth(stages: list[tuple[int, int]], first: int) -> None:
    channels, blocks = [first], [0]
    for depth, more in stages:
        channels.append(channels[-1] + depth + more)
        blocks.append(depth)
    shape = NetworkSettings(block="dense", channels=tuple(channels), blocks=tuple(blocks))
    found, at = list(block_shapes(shape)), 0
    for depth, (before, after) in zip(blocks[1:], itertools.pairwise(channels), strict=True):
        growth = [n_out - n_in for n_in, n_out, _ in found[at : at + depth]]
        assert sum(growth) == after - before
        assert max(growth) - min(growth) <= 1
        at += depth


# Under a limit.

LIMITS = [int(limit) for limit in np.geomspace(3_000, 1_000_000, 60)]


@pytest.mark.parametrize("block", BLOCK_NAMES)
@pytest.mark.parametrize(("planes", "n_features", "n_outputs"), [(3, 0, 10), (1, 20, 1), (3, 7, 50)])
def test_a_limit_is_kept_and_nearly_used(block: str, planes: int, n_features: int, n_outputs: int) -> None:
    sizes = []
    for limit in LIMITS:
        found = within(shape_of(block, max_parameters=limit), planes, n_features, n_outputs)
        sizes.append(n_parameters(found, planes, n_features, n_outputs))
        assert sizes[-1] <= limit
        # Widths come in steps, which are large for the smallest networks.
        assert sizes[-1] > (0.7 if limit < 13_000 else 0.85 if limit < 100_000 else 0.94) * limit
        assert all(c % STEP == 0 for c in found.channels)
        assert found.max_parameters == limit
        assert msgspec.convert(msgspec.to_builtins(found), NetworkSettings) == found
    # More is never worse, but for one step in width where the depth changes.
    assert all(after > 0.97 * before for before, after in itertools.pairwise(sizes))


@given(shapes(), st.integers(100, 300_000), st.integers(0, 200), st.integers(1, 30))
@settings(deadline=None, derandomize=True, max_examples=60)
def test_no_shape_exceeds_its_limit(
    shape: NetworkSettings, limit: int, n_features: int, n_outputs: int
) -> None:
    limited = msgspec.structs.replace(shape, max_parameters=limit)
    narrowest = msgspec.structs.replace(
        shape,
        channels=(STEP,) * len(shape.channels),
        blocks=tuple(min(depth, 1) for depth in shape.blocks),
    )
    if n_parameters(narrowest, 3, n_features, n_outputs) > limit:
        with pytest.raises(ValueError, match="no network of this shape"):
            within(limited, 3, n_features, n_outputs)
        return
    found = within(limited, 3, n_features, n_outputs)
    assert n_parameters(found, 3, n_features, n_outputs) <= limit
    assert [bool(depth) for depth in found.blocks] == [bool(depth) for depth in shape.blocks]
    assert max(found.channels) <= MOST_CHANNELS


def test_a_larger_limit_gives_a_wider_and_deeper_network_of_the_same_proportions() -> None:
    small, large = (within(shape_of("residual", max_parameters=n), 3, 0, 10) for n in (50_000, 2_000_000))
    assert sum(large.blocks) > sum(small.blocks)
    for found in (small, large):
        narrow, middle, wide = found.channels
        assert 1.6 < middle / narrow < 2.6
        assert 1.6 < wide / middle < 2.6


def test_without_a_limit_the_settings_stay() -> None:
    given_ = NetworkSettings(block="residual", channels=(5, 7), blocks=(0, 2))
    assert within(given_, 3, 0, 2) is given_


def test_an_impossible_limit_is_told_with_what_the_features_take() -> None:
    shape = shape_of("residual", max_parameters=1000)
    expected = (
        "no network of this shape has at most 1000 parameters, 900 of which the features take: allow more "
        "(max_parameters, --max-parameters), or give fewer features"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        within(shape, 3, 90, 10)


# What it computes.


def by_hand(network: Network, pixels: Tensor) -> Tensor:
    """The pooled output by convolutions in 64 bits, block by block as the papers draw them."""

    def conv(unit: Any, x: Tensor, stride: int = 1) -> Tensor:
        weight, norm = unit.conv.weight.double(), unit.norm
        out = F.conv2d(x, weight, None, stride, weight.shape[2] // 2)
        scale = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).double()
        scaled = (out - norm.running_mean.double()[:, None, None]) * scale[:, None, None]
        result: Tensor = scaled + norm.bias.double()[:, None, None]
        return result

    def halved(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return x.reshape(n, c, h // 2, 2, w // 2, 2).amax(dim=(3, 5))

    x = (pixels.double() - network.mean[:, None, None]) / network.scale[:, None, None]
    x = conv(network.first, x).clamp(min=0)
    for block, (n_in, n_out, halve) in zip(network.blocks, block_shapes(network.settings), strict=True):
        one: Any = block
        if network.settings.block == "plain":
            x = conv(one.body, x).clamp(min=0)
            x = halved(x) if halve else x
        elif network.settings.block == "residual":
            stride = 2 if halve else 1
            out = conv(one.second, conv(one.first, x, stride).clamp(min=0))
            x = (out + (x if n_in == n_out and not halve else conv(one.shortcut, x, stride))).clamp(min=0)
        elif network.settings.block == "dense":
            x = halved(x) if halve else x
            x = torch.cat([x, conv(one.body, x).clamp(min=0)], dim=1)
        else:
            out = F.conv2d(x, one.depthwise.weight.double(), padding=1, groups=n_in)
            out = conv(one.pointwise, halved(out) if halve else out)
            x = (out + x if n_in == n_out and not halve else out).clamp(min=0)
    mean: Tensor = x.mean(dim=(2, 3))
    if network.settings.pooling == "mean":
        return mean
    return torch.cat([mean, x.amax(dim=(2, 3))], dim=1)


@pytest.mark.parametrize("block", BLOCK_NAMES)
@pytest.mark.parametrize("pooling", ["mean", "mean-max"])
@torch.no_grad()
def test_scores_are_those_of_the_formulas(block: str, pooling: str) -> None:
    shape = shape_of(block, channels=[4, 6, 8], blocks=[2, 0, 2], pooling=pooling)
    network, pixels = random_network(shape, n_features=3), images()
    features = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    joined = torch.cat([by_hand(network, pixels), features.double()], dim=1)
    expected = joined @ network.linear.weight.double().T + network.linear.bias.double()
    torch.testing.assert_close(network(pixels, features), expected.float(), rtol=1e-4, atol=1e-4)


def test_a_blank_image_of_the_mean_color_shows_no_border() -> None:
    network = random_network(NetworkSettings(block="residual", channels=(4,), blocks=(0,)))
    blank = network.mean[:, None, None].expand(1, 3, 9, 9)
    maps = network.first((blank - network.mean[:, None, None]) / network.scale[:, None, None])
    torch.testing.assert_close(maps, maps[:, :, 4:5, 4:5].expand_as(maps))


@pytest.mark.parametrize("block", BLOCK_NAMES)
@torch.no_grad()
def test_folding_the_normalisations_changes_no_score(block: str) -> None:
    network = random_network(shape_of(block, channels=[4, 8], blocks=[1, 2]))
    folded = copy.deepcopy(network)
    fold_norms(folded)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    torch.testing.assert_close(folded(images()), network(images()), rtol=1e-4, atol=1e-4)


# Initial weights.


def weights(network: Network) -> list[NDArray[np.float32]]:
    return [p.detach().numpy().copy() for p in network.parameters()]


@pytest.mark.parametrize("block", BLOCK_NAMES)
def test_initial_weights_come_from_the_generator_alone(block: str) -> None:
    def drawn(seed: int) -> Network:
        torch.rand(seed + 1)
        network = Network(shape_of(block, channels=[4, 8], blocks=[1, 1]), 3, 2, 3)
        generator = torch.Generator().manual_seed(seed)
        initialise(network, generator)
        whiten(network, images(8), generator)
        return network

    one, again, other = weights(drawn(3)), weights(drawn(3)), weights(drawn(4))
    for a, b in zip(one, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(not np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_convolutions_begin_with_the_variance_of_he_and_the_linear_layer_with_zeros() -> None:
    network = Network(NetworkSettings(block="residual", channels=(32, 128), blocks=(0, 1)), 3, 4, 3)
    initialise(network, torch.Generator().manual_seed(0))
    block: Any = network.blocks[0]
    for conv in (block.first.conv, block.second.conv):
        fan_out = conv.weight.shape[0] * 9
        assert float(conv.weight.detach().std()) == pytest.approx(math.sqrt(2 / fan_out), rel=0.05)
    assert not network.linear.weight.any()
    assert not network.linear.bias.any()


def photo_patches(n: int = 60, size: int = 24) -> Tensor:
    """Parts of a photo: neighbouring pixels are alike, as in training images."""
    load: Any = skimage.data.astronaut
    photo, rng = load(), np.random.default_rng(0)
    corners = rng.integers(0, 512 - size, (n, 2))
    parts = np.stack([photo[y : y + size, x : x + size] for y, x in corners])
    return torch.from_numpy(parts.transpose(0, 3, 1, 2).copy()).float()


def responses(network: Network, pixels: Tensor) -> NDArray[np.float64]:
    """What the first convolution gives at the places of whole patches, (n_places, channels)."""
    x = (pixels - network.mean[:, None, None]) / network.scale[:, None, None]
    maps = F.conv2d(x.double(), network.first.conv.weight.detach().double(), stride=2)
    found: NDArray[np.float64] = maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1]).numpy()
    return found


def test_whitened_filters_respond_without_correlation_and_with_about_unit_variance() -> None:
    pixels = photo_patches()
    network = Network(NetworkSettings(block="residual", channels=(16,), blocks=(0,)), 3, 0, 2)
    network.mean.copy_(pixels.mean(dim=(0, 2, 3)))
    network.scale.copy_(pixels.std(dim=(0, 2, 3)))
    initialise(network, torch.Generator().manual_seed(0))
    whiten(network, pixels, torch.Generator().manual_seed(0))
    found = responses(network, pixels)
    pairs = found.reshape(len(found), 8, 2)
    np.testing.assert_allclose(pairs[..., 1], -pairs[..., 0], atol=1e-5)
    covariance = np.cov(pairs[..., 0].T)
    variance = np.diag(covariance)
    correlation = covariance / np.sqrt(np.outer(variance, variance))
    np.testing.assert_allclose(correlation, np.eye(8), atol=1e-3)
    assert (np.diff(variance) <= 1e-6).all()
    # Of an eigenvalue v what is damped by a hundredth of the largest has the variance v / (v + largest / 100).
    x = ((pixels - network.mean[:, None, None]) / network.scale[:, None, None]).numpy()
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))[:, :, ::2, ::2]
    flat = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, 27).astype(np.float64)
    eigenvalues = np.linalg.eigvalsh(np.cov(flat.T))[::-1][:8]
    np.testing.assert_allclose(variance, eigenvalues / (eigenvalues + eigenvalues[0] / 100), rtol=1e-2)
    assert variance[0] > 0.98


def test_whitened_noise_has_unit_variance_in_every_filter_and_more_channels_stay_drawn() -> None:
    pixels = images(40, planes=1, size=16)
    network = Network(NetworkSettings(block="residual", channels=(20,), blocks=(0,)), 1, 0, 2)
    network.mean.copy_(pixels.mean(dim=(0, 2, 3)))
    network.scale.copy_(pixels.std(dim=(0, 2, 3)))
    whiten(network, pixels, torch.Generator().manual_seed(0))
    variance = responses(network, pixels).var(axis=0)
    np.testing.assert_allclose(variance[:18], 0.99, atol=0.01)
    assert (np.abs(variance[18:] - variance[0]) > 0.1).all()


def test_patches_are_counted_alike_however_many_images_are_looked_at_at_a_time() -> None:
    network = random_network(NetworkSettings(block="residual", channels=(4,), blocks=(0,)))
    few, all_ = (architecture._patch_covariance(network, images(23), n) for n in (7, 100))
    torch.testing.assert_close(few, all_)
