"""The network: a first convolution, stages of blocks, pooling, the features beside it, one linear layer.

Parameters are counted as the fitted network is stored: a normalisation disappears in the convolution before it, whose
output channels then have a bias each; the scaler and PCA of the features disappear in the linear layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from classic_cv.neural.settings import NetworkSettings


class ConvNorm(nn.Module):
    """A convolution without bias, padded to keep the size, and the normalisation of its output.

    ``norm`` becomes an identity, and ``conv`` gets a bias, when ``fold_norms`` has folded one into the other.
    """

    def __init__(self, n_in: int, n_out: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(n_out)

    def forward(self, x: Tensor) -> Tensor:
        """(n, n_in, h, w) to (n, n_out, h / stride, w / stride)."""
        out: Tensor = self.norm(self.conv(x))
        return out


class Plain(nn.Module):
    """One 3x3 convolution; the first of a later stage keeps the maximum of every 2x2 places."""

    def __init__(self, n_in: int, n_out: int, halve: bool) -> None:
        super().__init__()
        self.body = ConvNorm(n_in, n_out)
        self.halve = halve

    def forward(self, x: Tensor) -> Tensor:
        """(n, n_in, h, w) to (n, n_out, h, w), or half of h and w."""
        out = F.relu(self.body(x), inplace=True)
        return F.max_pool2d(out, 2) if self.halve else out


class Residual(nn.Module):
    """Two 3x3 convolutions and a shortcut around them, which is a 1x1 convolution where the shape changes."""

    def __init__(self, n_in: int, n_out: int, halve: bool) -> None:
        super().__init__()
        self.first, self.second = ConvNorm(n_in, n_out, 3, 2 if halve else 1), ConvNorm(n_out, n_out)
        same = not halve and n_in == n_out
        self.halve = halve
        self.shortcut = nn.Identity() if same else ConvNorm(n_in, n_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, n_in, h, w) to (n, n_out, h, w), or half of h and w."""
        out = self.second(F.relu(self.first(x), inplace=True))
        # Every second place, rather than a 1x1 convolution with a stride: of fewer than 8 channels, its gradient writes
        # beyond its memory on processors without AVX-512 (torch 2.14, oneDNN, channels last, one thread).
        seen = F.max_pool2d(x, 1, 2) if self.halve else x
        return F.relu(out + self.shortcut(seen), inplace=True)


class Dense(nn.Module):
    """A 3x3 convolution whose output channels are put beside its input; before it the image is halved by maxima."""

    def __init__(self, n_in: int, n_out: int, halve: bool) -> None:
        super().__init__()
        self.body = ConvNorm(n_in, n_out - n_in)
        self.halve = halve

    def forward(self, x: Tensor) -> Tensor:
        """(n, n_in, h, w) to (n, n_out, h, w), or half of h and w."""
        x = F.max_pool2d(x, 2) if self.halve else x
        return torch.cat([x, F.relu(self.body(x))], dim=1)


class Separable(nn.Module):
    """A 3x3 convolution of each channel, then a 1x1 convolution across them, with a shortcut where shapes allow.

    One normalisation for both, and a maximum in place of a stride: a strided depthwise convolution is much slower to
    train in bfloat16 (oneDNN, AVX-512), and a second normalisation takes time as a convolution does.
    """

    def __init__(self, n_in: int, n_out: int, halve: bool) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(n_in, n_in, 3, 1, 1, groups=n_in, bias=False)
        self.pointwise = ConvNorm(n_in, n_out, 1)
        self.halve = halve
        self.shortcut = not halve and n_in == n_out

    def forward(self, x: Tensor) -> Tensor:
        """(n, n_in, h, w) to (n, n_out, h, w), or half of h and w."""
        out = self.depthwise(x)
        out = self.pointwise(F.max_pool2d(out, 2) if self.halve else out)
        return F.relu(out + x if self.shortcut else out, inplace=True)


BLOCKS: dict[str, type[nn.Module]] = {
    "plain": Plain,
    "residual": Residual,
    "dense": Dense,
    "separable": Separable,
}


class Network(nn.Module):
    """Pixels and features to scores.

    Args:
        settings: block, channels, blocks, pooling.
        n_planes: color planes of the image, 1 or 3.
        n_features: columns beside the pooled channels; 0 for none.
        n_outputs: scores.

    Attributes:
        mean, scale: float32 (n_planes,), of the training pixels: what the first convolution sees is
            ``(pixels - mean) / scale``, so that the border, which is padded with zeros, is an average color.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, settings: NetworkSettings, n_planes: int, n_features: int, n_outputs: int) -> None:
        super().__init__()
        self.settings, self.n_features = settings, n_features
        self.register_buffer("mean", torch.zeros(n_planes))
        self.register_buffer("scale", torch.ones(n_planes))
        channels = settings.channels
        self.first = ConvNorm(n_planes, channels[0])
        blocks = [BLOCKS[settings.block](*shape) for shape in block_shapes(settings)]
        self.blocks = nn.ModuleList(blocks)
        n_pooled = (2 if settings.pooling == "mean-max" else 1) * n_channels_out(settings)
        self.linear = nn.Linear(n_pooled + n_features, n_outputs)

    def pooled(self, pixels: Tensor) -> Tensor:
        """Pixels (n, planes, h, w) from 0 to 255 to what is joined with the features, float32 (n, n_pooled)."""
        x = (pixels - self.mean[:, None, None]) / self.scale[:, None, None]
        x = F.relu(self.first(x), inplace=True)
        for block in self.blocks:
            x = block(x)
        # In float32: sums over many places of 16-bit values would lose what the linear layer tells apart.
        x = x.float()
        mean = x.mean(dim=(2, 3))
        return torch.cat([mean, x.amax(dim=(2, 3))], 1) if self.settings.pooling == "mean-max" else mean

    def forward(self, pixels: Tensor, features: Tensor | None = None) -> Tensor:
        """Scores: float32 (n, n_outputs).

        Args:
            pixels: (n, planes, h, w), 0 to 255.
            features: float32 (n, n_features); None where the network takes none.
        """
        x = self.pooled(pixels)
        if features is not None:
            x = torch.cat([x, features], dim=1)
        with torch.autocast("cpu", enabled=False):
            out: Tensor = self.linear(x)
        return out


def block_shapes(settings: NetworkSettings) -> Iterator[tuple[int, int, bool]]:
    """(channels in, channels out, whether it halves the image) of each block.

    A stage's first block changes the channels; the dense blocks of a stage share the growth between them. A stage
    without blocks is left out.
    """
    n_in, started = settings.channels[0], False
    for channels, depth in zip(settings.channels, settings.blocks, strict=True):
        for k in range(depth):
            n_out = channels
            if settings.block == "dense":
                n_out = n_in + max(1, round((channels - n_in) / (depth - k)))
            yield n_in, n_out, started and k == 0
            n_in = n_out
        # The first stage is there even without blocks: it has the first convolution.
        started = True


def n_channels_out(settings: NetworkSettings) -> int:
    """Channels of the last block, or of the first convolution where there is none."""
    return [settings.channels[0], *(n_out for _, n_out, _ in block_shapes(settings))][-1]


def n_parameters(settings: NetworkSettings, n_planes: int, n_features: int, n_outputs: int) -> int:
    """Parameters of the stored network, by arithmetic: weights and biases of every convolution and the linear layer.

    The mean of the pixels, one per plane, is one as well.
    """
    total = n_planes + settings.channels[0] * (9 * n_planes + 1)
    for n_in, n_out, halve in block_shapes(settings):
        total += _block_parameters(settings.block, n_in, n_out, halve)
    n_pooled = (2 if settings.pooling == "mean-max" else 1) * n_channels_out(settings)
    return total + n_outputs * (n_pooled + n_features + 1)


def _block_parameters(block: str, n_in: int, n_out: int, halve: bool) -> int:
    if block == "separable":
        return 9 * n_in + n_out * (n_in + 1)
    if block == "dense":
        return (n_out - n_in) * (9 * n_in + 1)
    if block == "plain":
        return n_out * (9 * n_in + 1)
    # The shortcut's bias is not counted twice: an exporter may keep it, so it is.
    shortcut = 0 if not halve and n_in == n_out else n_out * (n_in + 1)
    return n_out * (9 * n_in + 1) + n_out * (9 * n_out + 1) + shortcut


STEP = 4
"""Channels come in multiples of this many: vector units take 4 to 16 numbers at a time."""

FULL = 0.9
"""A shape that uses so much of its limit, and no more than all, is taken as it is given."""

MOST_CHANNELS = 4096
"""What settings allow."""

DEEPER = 2
"""So many blocks per stage more than given are tried at most."""


def within(settings: NetworkSettings, n_planes: int, n_features: int, n_outputs: int) -> NetworkSettings:
    """The widest network under ``max_parameters`` whose depth goes with its width.

    A shape that fits and leaves hardly anything is taken as it is. Otherwise all channels are multiplied by one
    factor, and every stage that has blocks gets as many more or fewer. Of each depth the widest that fits is a
    candidate; the one whose width and depth have changed most alike is taken (compound scaling, Tan and Le 2019,
    arXiv:1905.11946). What is then left goes to the last stages.

    Raises:
        ValueError: not even the narrowest network fits.
    """
    limit = settings.max_parameters
    if limit == "none":
        return settings

    def size(candidate: NetworkSettings) -> int:
        return n_parameters(candidate, n_planes, n_features, n_outputs)

    if FULL * limit <= size(settings) <= limit:
        return settings
    best, best_misfit = None, math.inf
    for more in range(1 - max(settings.blocks), DEEPER + 1):
        blocks = tuple(max(1, depth + more) if depth else 0 for depth in settings.blocks)
        fitting = _widest(msgspec.structs.replace(settings, blocks=blocks), size, limit)
        if fitting is None:
            continue
        found, factor = fitting
        misfit = abs(math.log(factor) - math.log(max(1, sum(blocks)) / max(1, sum(settings.blocks))))
        if misfit < best_misfit:
            best, best_misfit = found, misfit
    if best is None:
        raise ValueError(
            f"no network of this shape has at most {limit} parameters, {n_outputs * n_features} of which the "
            "features take: allow more (max_parameters, --max-parameters), or give fewer features"
        )
    return _filled(best, size, limit)


def _widest(
    settings: NetworkSettings, size: Callable[[NetworkSettings], int], limit: int
) -> tuple[NetworkSettings, float] | None:
    """The settings with channels multiplied by the largest factor that fits, and this factor."""
    found = None
    largest = max(settings.channels)
    for wanted in range(STEP, MOST_CHANNELS + 1, STEP):
        factor = wanted / largest
        channels = tuple(max(STEP, STEP * round(c * factor / STEP)) for c in settings.channels)
        candidate = msgspec.structs.replace(settings, channels=channels)
        if size(candidate) > limit:
            break
        found = candidate, factor
    return found


def _filled(settings: NetworkSettings, size: Callable[[NetworkSettings], int], limit: int) -> NetworkSettings:
    """Channels added stage by stage from the last one on, as long as they fit."""
    for stage in reversed(range(len(settings.channels))):
        channels = list(settings.channels)
        channels[stage] += STEP
        candidate = msgspec.structs.replace(settings, channels=tuple(channels))
        if channels[stage] <= MOST_CHANNELS and size(candidate) <= limit:
            settings = candidate
    return settings


def initialise(network: Network, generator: torch.Generator) -> None:
    """Draw the weights: He's normal distribution for convolutions; a linear layer of zeros tells nothing at first."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
    nn.init.zeros_(network.linear.weight)
    nn.init.zeros_(network.linear.bias)


def whiten(network: Network, pixels: Tensor, generator: torch.Generator) -> None:
    """Set the first convolution to the whitening of 3x3 training patches: eigenvectors over root eigenvalues.

    Each component is there with both signs, since what follows cuts negative values off; the strongest come first.

    Args:
        network: its mean and scale are set already.
        pixels: (n, planes, h, w), 0 to 255, of training images.
        generator: draws what is left when there are more channels than components.
    """
    values, vectors = torch.linalg.eigh(_patch_covariance(network, pixels))
    components = (vectors / torch.sqrt(values + 1e-2 * values.max())).T.flip(0).float()
    filters = torch.stack([components, -components], dim=1).reshape(-1, components.shape[1])
    weight = network.first.conv.weight
    n = min(len(filters), len(weight))
    with torch.no_grad():
        nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu", generator=generator)
        weight[:n] = filters[:n].reshape(n, *weight.shape[1:]).to(weight)


def _patch_covariance(network: Network, pixels: Tensor, at_a_time: int = 50) -> Tensor:
    """Covariance of the 3x3 patches that the first convolution sees: float64 (9 * planes, 9 * planes)."""
    n_columns = 9 * pixels.shape[1]
    n, sums = 0, torch.zeros(n_columns, dtype=torch.float64)
    products = torch.zeros(n_columns, n_columns, dtype=torch.float64)
    # A few images at a time: patches in 64 bits take 40 times the memory of the pixels.
    for start in range(0, len(pixels), at_a_time):
        some = pixels[start : start + at_a_time]
        x = (some.float() - network.mean[:, None, None]) / network.scale[:, None, None]
        patches = F.unfold(x, 3, stride=2).transpose(1, 2).reshape(-1, n_columns).double()
        n, sums, products = n + len(patches), sums + patches.sum(dim=0), products + patches.T @ patches
    return products / n - torch.outer(sums / n, sums / n)


def fold_norms(network: nn.Module) -> None:
    """Fold every normalisation into the convolution before it, in place; for a network that is done with training."""
    for module in network.modules():
        if isinstance(module, ConvNorm) and isinstance(module.norm, nn.BatchNorm2d):
            module.conv = nn.utils.fusion.fuse_conv_bn_eval(module.conv.eval(), module.norm.eval())
            module.norm = nn.Identity()
