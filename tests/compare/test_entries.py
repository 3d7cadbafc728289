"""Names of contestants."""

from __future__ import annotations

from pathlib import Path

import pytest

from classic_cv.compare.entries import Entry, fit_entry, parse_entries, parse_entry
from classic_cv.errors import ParameterError, RecipeError


@pytest.mark.parametrize(
    ("name", "method", "kind", "mode", "int8"),
    [
        ("hog-color", "recipe", "classical", None, False),
        ("dummy", "recipe", "floor", None, False),
        ("properties", "recipe", "floor", None, False),
        ("shuffled", "shuffled", "floor", None, False),
        ("auto", "auto", "classical", None, False),
        ("hybrid-20k", "recipe", "hybrid", None, False),
        ("resnet18", "deep", "deep", "finetune", False),
        ("resnet18:scratch", "deep", "deep", "scratch", False),
        ("efficientnet-lite0:frozen:int8", "deep", "deep", "frozen", True),
        ("timm:resnet26d:scratch", "deep", "deep", "scratch", False),
        ("deep:auto", "deep-auto", "deep", None, False),
    ],
)
def test_names(name: str, method: str, kind: str, mode: str | None, int8: bool) -> None:
    entry = parse_entry(name)
    assert entry.name == name
    assert (entry.method, entry.kind, entry.mode, entry.int8) == (method, kind, mode, int8)


def test_another_name() -> None:
    entry = parse_entry("again=hog-color")
    assert (entry.name, entry.source) == ("again", "hog-color")


def test_a_twin_is_the_same_network_in_32_bits() -> None:
    twin = parse_entry("resnet18:scratch:int8").twin
    assert twin == parse_entry("resnet18:scratch")
    assert parse_entry("resnet18:scratch").twin is None


def test_files(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text('[[features]]\ntype = "lbp"\n[head]\ntype = "linear-svm"\n', encoding="utf-8")
    assert parse_entry(str(recipe)).method == "recipe"
    assert parse_entry(str(recipe)).name == "mine"
    network = tmp_path / "net.toml"
    network.write_text('architecture = "resnet18"\nmode = "scratch"\n', encoding="utf-8")
    assert (parse_entry(str(network)).method, parse_entry(str(network)).mode) == ("deep", "scratch")
    with pytest.raises(ParameterError, match="no such file"):
        parse_entry("onnx:missing.onnx")
    with pytest.raises(ParameterError, match="no such file"):
        parse_entry("predictions:missing.csv")


def test_what_is_no_contestant_is_told_with_what_there_is() -> None:
    with pytest.raises(
        ParameterError, match=r"no contestant 'resnet': give auto, .*hog-color.*resnet18.*onnx:FILE"
    ):
        parse_entry("resnet")
    with pytest.raises(RecipeError, match="expected NAME"):
        parse_entry("resnet18:trained")
    with pytest.raises(ParameterError, match=r"'hog-color' is named twice.*again=hog-color"):
        parse_entries(["hog-color", "auto", "hog-color"])


def test_a_python_file_without_the_two_functions_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text("def fit(task): ...\n", encoding="utf-8")
    entry = parse_entry(f"python:{file}")
    assert isinstance(entry, Entry)
    with pytest.raises(ParameterError, match=r"own.py: has no function load; expected fit\(task"):
        fit_entry(entry, None, None)  # type: ignore[arg-type]
