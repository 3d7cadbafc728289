"""Models and primaries as they are given on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from classic_cv.serve.settings import ModelSource
from classic_cv.serve.sources import SourceError, model_sources

ADDRESS = "http://127.0.0.1:9000/v2/models/deep?a=b"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_model_has_the_name_of_its_file_or_the_one_it_is_given(folder: Path) -> None:
    assert model_sources(["models/digits.safetensors", "new=/elsewhere/digits.safetensors"]) == (
        ModelSource(name="digits", path=str(folder / "models/digits.safetensors")),
        ModelSource(name="new", path="/elsewhere/digits.safetensors"),
    )


def test_a_link_is_not_followed_once_and_for_all(folder: Path) -> None:
    (folder / "now.safetensors").symlink_to(folder / "v1.safetensors")

    [source] = model_sources(["now.safetensors"])
    assert source.path == str(folder / "now.safetensors")


def test_a_file_with_an_equals_sign_is_a_file(folder: Path) -> None:
    (folder / "a=b.safetensors").touch()

    with pytest.raises(SourceError, match=r"'a=b' is no name .* NAME=a=b\.safetensors"):
        model_sources(["a=b.safetensors"])
    [source] = model_sources(["c=a=b.safetensors"])
    assert source == ModelSource(name="c", path=str(folder / "a=b.safetensors"))


@pytest.mark.parametrize("name", ["my model", "über", ".hidden.safetensors", "x" * 65])
def test_a_name_that_does_not_fit_into_a_path_is_refused(name: str) -> None:
    with pytest.raises(SourceError, match="is no name for a model"):
        model_sources([f"{name}.safetensors"])


def test_two_models_of_a_name_are_refused() -> None:
    with pytest.raises(SourceError, match="there is a model 'm' already"):
        model_sources(["m.safetensors", "other/m.safetensors"])


def test_primaries_belong_to_the_only_model_or_the_named_one(folder: Path) -> None:
    [only] = model_sources(["m.safetensors"], [ADDRESS])
    assert only.primary == ADDRESS
    first, second = model_sources(["m.safetensors", "n.safetensors"], ["n=deep.onnx", f"m={ADDRESS}"])
    assert first.primary == ADDRESS
    assert second.primary == str(folder / "deep.onnx")


@pytest.mark.parametrize(
    ("models", "primaries", "message"),
    [
        (["m.safetensors", "n.safetensors"], ["deep.onnx"], "for which of the models m, n is it"),
        (["m.safetensors"], ["n=deep.onnx"], "there is no model 'n': there are m"),
        (["m.safetensors"], ["deep.onnx", "m=other.onnx"], "the model 'm' has a primary already"),
    ],
)
def test_an_unclear_primary_is_refused(models: list[str], primaries: list[str], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        model_sources(models, primaries)
