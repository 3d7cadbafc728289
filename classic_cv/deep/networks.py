"""Networks of timm for any number of classes: built, begun with weights, frozen in part, fed with pixels."""

from __future__ import annotations

import copy
import difflib
from typing import NamedTuple

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from classic_cv.deep.settings import DeepSettings
from classic_cv.deep.weights import pretrained_state
from classic_cv.errors import RecipeError, TrainingError
from classic_cv.neural.training import color_scale, mean_color

SUGGESTED = 5
"""Architectures that an error names at most."""

HEAD_DEVIATION = 0.01
"""Standard deviation of the weights that a head begins with, as in torchvision's VGG and MobileNets."""

Three = tuple[float, float, float]


class Statistics(NamedTuple):
    """Mean and standard deviation of each color, pixels being 0 to 1: ``(pixel / 255 - mean) / std`` is the input."""

    mean: Three
    std: Three


def build(settings: DeepSettings, n_classes: int, seed: int, *, small_stem: bool = False) -> nn.Module:
    """A network for uint8 RGB images as ``as_input`` makes tensors of them: (n, 3, size, size) to logits.

    In mode ``scratch`` all weights are random, else only those of the head; the random ones depend on the seed alone.

    Raises:
        RecipeError: timm has no such architecture, or the weights cannot be had.
        MissingExtraError: the package that holds the weights is not installed.
    """
    network = _random(settings.architecture, n_classes, seed)
    if settings.mode != "scratch":
        state = pretrained_state(settings.architecture, settings.weights)
        _load_backbone(network, state)
    if small_stem:
        keep_resolution(network)
    return network.to(memory_format=torch.channels_last)


def _random(architecture: str, n_classes: int, seed: int) -> nn.Module:
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), SUGGESTED)
        hint = f": did you mean {', '.join(near)}?" if near else ""
        raise RecipeError(f"timm {timm.__version__} has no architecture {architecture!r}{hint}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: nn.Module = timm.create_model(architecture, num_classes=n_classes)
        if hasattr(network, "pre_logits") and hasattr(network.pre_logits, "fc1"):
            _pool_straight(network, n_classes)
        _calm(head_of(network))
    return network


def _calm(head: nn.Module) -> None:
    """All classes begin nearly alike: some networks of timm draw a head that is sure of itself, which costs epochs."""
    if isinstance(head, nn.Linear):
        nn.init.normal_(head.weight, std=HEAD_DEVIATION)
        if head.bias is not None:
            nn.init.zeros_(head.bias)


def _pool_straight(network: nn.Module, n_classes: int) -> None:
    """Without VGG's two hidden layers of 4,096 units: they are 119 of 129 million weights, and made for 224 pixels.

    Pooling straight into the classes is what VGG is trained with on smaller images (Liu and Deng 2015, Very deep
    convolutional neural network based image classification using small training sample size, has one small layer).
    """
    network.pre_logits = nn.Identity()
    head = network.head
    assert isinstance(head, nn.Module)
    n_features = int(network.num_features)  # type: ignore[arg-type]
    head.fc = nn.Linear(n_features, n_classes)


def _load_backbone(network: nn.Module, state: dict[str, Tensor]) -> None:
    """Everything but the head, whose classes are others."""
    head = set(head_names(network))
    own = network.state_dict()
    taken = {name: value for name, value in state.items() if name in own and name not in head}
    missing = [
        name for name in own if name not in taken and name not in head and "num_batches_tracked" not in name
    ]
    if missing:
        raise RecipeError(
            f"weights: {len(missing)} tensors of the backbone are missing, the first is {missing[0]}"
        )
    network.load_state_dict(taken, strict=False)


def head_of(network: nn.Module) -> nn.Module:
    """The layer that makes logits of the pooled features."""
    # timm's VGG names the head that was replaced, too.
    found = network.get_classifier()  # type: ignore[operator]
    if isinstance(found, nn.Module):
        return found
    raise RecipeError(f"{type(network).__name__} of timm has no single head: take another architecture")


def head_names(network: nn.Module) -> list[str]:
    """Names of the head's weights in the network."""
    own = {id(parameter) for parameter in head_of(network).parameters()}
    return [name for name, parameter in network.named_parameters() if id(parameter) in own]


def keep_resolution(network: nn.Module) -> bool:
    """Let the stem not halve the resolution, in place; False where it does not anyway.

    The first convolution steps by one pixel and the pooling of a ResNet's stem goes (He et al. 2016, section 4.2).
    """
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None or first.stride != (2, 2):
        return False
    first.stride = (1, 1)
    if isinstance(getattr(network, "maxpool", None), nn.MaxPool2d):
        network.maxpool = nn.Identity()
    return True


def layers(network: nn.Module) -> list[list[str]]:
    """Names of the weights by layer, from the first to the last before the head, as timm groups them.

    A layer is a block of convolutions, or in plain networks a convolution or a normalisation.
    """
    from timm.models import group_parameters

    grouped = group_parameters(network, network.group_matcher())  # type: ignore[operator]
    head = set(head_names(network))
    found = [[name for name in grouped[key] if name not in head] for key in sorted(grouped)]
    return [names for names in found if names]


def freeze(network: nn.Module, share: float) -> list[str]:
    """Let the first ``share`` of the layers take no gradient; returns the names of their weights."""
    groups = layers(network)
    frozen = {name for names in groups[: round(share * len(groups))] for name in names}
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name not in frozen)
    return sorted(frozen)


def to_training(network: nn.Module) -> nn.Module:
    """In training mode, but for the normalisations whose weights are frozen: their statistics stay."""
    network.train()
    for module in network.modules():
        own = list(module.parameters(recurse=False))
        if (
            isinstance(module, nn.modules.batchnorm._BatchNorm)
            and own
            and not any(p.requires_grad for p in own)
        ):
            module.eval()
    return network


def statistics(settings: DeepSettings, pixels: NDArray[np.uint8] | None = None) -> Statistics:
    """Of the settings; else those that the weights were trained with, or in mode scratch those of ``pixels``.

    Args:
        settings: of the network.
        pixels: uint8 (n, height, width, 3), training images.
    """
    configuration = timm.get_pretrained_cfg(settings.architecture)
    if settings.mode == "scratch" and pixels is not None and len(pixels):
        mean, std = mean_color(pixels) / 255, color_scale(pixels) / 255
    else:
        mean = np.array(configuration.mean if configuration else (0.5, 0.5, 0.5))
        std = np.array(configuration.std if configuration else (0.5, 0.5, 0.5))
    return Statistics(
        _three(mean) if settings.mean == "auto" else settings.mean,
        _three(std) if settings.std == "auto" else settings.std,
    )


def _three(values: NDArray[np.floating]) -> Three:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def as_input(pixels: NDArray[np.uint8], values: Statistics) -> Tensor:
    """Pixels uint8 (n, height, width, 3) as a network takes them: float32 (n, 3, height, width), channels last."""
    mean, scale = (255 * torch.tensor(three, dtype=torch.float32)[:, None, None] for three in values)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).to(torch.float32).sub_(mean).div_(scale)


def check_size(network: nn.Module, size: int, settings: DeepSettings) -> None:
    """Try whether the network takes images of this size.

    Raises:
        TrainingError: it does not.
    """
    twin = copy.deepcopy(network).eval()
    try:
        with torch.inference_mode():
            twin(torch.zeros(1, 3, size, size))
    except Exception as error:  # whatever a layer makes of it
        raise TrainingError(
            f"{settings.architecture} does not take images of {size} pixels ({str(error).splitlines()[0]}): give a "
            f"larger size; min_size is {settings.min_size}"
        ) from None
