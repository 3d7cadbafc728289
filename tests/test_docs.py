"""The documentation is executed: README's commands, Python and recipe, CONTRIBUTING's extractor."""

from __future__ import annotations

import re
import shlex
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from classic_cv.checks.finding import CHECKS
from classic_cv.cli import cli, main
from classic_cv.neural.settings import HybridSettings
from classic_cv.recipe import parse_recipe, shelf

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """The blocks of one language; all are read in order, so that no end of one is taken for another one's beginning."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.M | re.S)
    return [block for name, block in found if name == language]


def test_readme_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^classic-cv .*$", "".join(blocks(README, "")), flags=re.M)
    names = [shlex.split(command)[1] for command in commands]
    trained = ["fit", "fit", "compare", "compare", "check", "check", "check"]
    served = ["fit", "serve", "serve", "serve", "evaluate"]
    assert names == ["demo", "fit", "predict", "evaluate", *trained, *served]
    # The others take minutes, or serve until they are ended: their options are real ones.
    for command, name in zip(commands[4:], names[4:], strict=True):
        parent = cli.make_context("classic-cv", [name])
        context = cli.commands[name].make_context(name, shlex.split(command)[2:], parent=parent)
        if name == "fit":
            assert context.params["recipe"] in shelf()
        elif name == "compare":
            assert context.params["report_file"] or context.params["challenger"] == "mine"
        elif name == "check":
            assert set(context.params["fail_on"]) <= set(CHECKS)
        elif name == "evaluate":
            assert context.params["shares"] == (0.01, 0.1, 0.5)
    for command in commands[:4]:
        # The search takes what it is given: not minutes here. It counts from the start of the process.
        limit = ["--time-limit", "8s"] if "classic-cv fit " in command else []
        monkeypatch.setattr("classic_cv.cli.STARTED", time.perf_counter())
        monkeypatch.setattr(sys, "argv", [*shlex.split(command), *limit])
        main()
    assert (tmp_path / "digits.safetensors").is_file()


def test_readme_python_runs(tmp_path: Path, digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").symlink_to(digits)
    assert (digits / "test" / "3" / "0023.png").is_file()
    names: dict[str, object] = {}
    for block in blocks(README, "python"):
        exec(block, names)
    assert names["labels"] == ["3"]


def test_readme_recipes_are_valid() -> None:
    whole, part, hybrid = (tomllib.loads(block) for block in blocks(README, "toml"))
    recipe = parse_recipe(whole, name="mine", source="README.md")
    assert [feature.type for feature in recipe.features] == ["hog", "color-histogram"]
    recipe = parse_recipe({**whole, **part}, name="mine", source="README.md")
    assert [(feature.type, feature.image_size) for feature in recipe.features] == [("fisher-vector", 192)]
    recipe = parse_recipe(hybrid, name="mine", source="README.md")
    assert isinstance(recipe.head, HybridSettings)
    assert (recipe.head.network.max_parameters, recipe.head.compression.quantize) == (20000, "int8")


def test_readme_help_is_what_the_program_prints() -> None:
    [block] = [block for block in blocks(README, "") if block.startswith("Usage: classic-cv fit")]
    result = CliRunner().invoke(cli, ["fit", "--help"], prog_name="classic-cv", terminal_width=100)
    assert block.strip() == result.output.strip()


def test_readme_lists_every_recipe() -> None:
    for name in shelf():
        assert f"| `{name}` |" in README, name


def test_contributing_example_is_an_extractor() -> None:
    # get_type_hints looks the annotations up in the module of the class.
    module = type(sys)("cell_mean")
    sys.modules["cell_mean"] = module
    try:
        exec(blocks(CONTRIBUTING, "python")[0], module.__dict__)
        cell_mean = module.__dict__["CellMean"]
        image = np.zeros((8, 8), np.uint8)
        image[:4, 4:] = 200
        extractor = cell_mean(grid=2).fit([image])
        np.testing.assert_array_equal(extractor.transform([image]), [[0, 200, 0, 0]])
        assert extractor.get_feature_names_out()[1] == "cell_mean_y0_x1"
        with pytest.raises(ValueError, match=r"CellMean\(grid=0\): expected `int` >= 1"):
            cell_mean(grid=0).fit([image])
    finally:
        del sys.modules["cell_mean"]


def test_readme_lists_every_check() -> None:
    section = README.split("## Can the number be trusted?")[1].split("## The service")[0]
    for name in CHECKS:
        assert f"`{name}`" in section, name
