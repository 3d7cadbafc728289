"""The state of a training in a file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from classic_cv.errors import ArtifactError, TrainingError
from classic_cv.neural.checkpoint import read_checkpoint, write_checkpoint
from classic_cv.neural.objective import Figures
from classic_cv.neural.optimizer import AveragedWeights

STATE: dict[str, Any] = {
    "step": 7,
    "best_figures": Figures(0.25, 0.5),
    "begun": (0, 0.0),
    "history": [{"a": 1.0}],
}


def trained() -> tuple[nn.Module, torch.optim.Optimizer, AveragedWeights]:
    """A layer that has taken a few steps."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    optimizer, average = (
        torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9),
        AveragedWeights(network, 0.5),
    )
    for _ in range(3):
        optimizer.zero_grad()
        network(torch.randn(8, 3)).square().sum().backward()
        optimizer.step()
        average.update(network)
    return network, optimizer, average


def test_everything_comes_back_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    network, optimizer, average = trained()
    write_checkpoint(path, "mine", network, optimizer, average, STATE)
    found = read_checkpoint(path, "mine")
    assert found is not None
    for name, value in network.state_dict().items():
        assert torch.equal(found["network"][name], value)
    momenta = optimizer.state_dict()["state"]
    assert momenta
    for key, entry in momenta.items():
        assert torch.equal(found["optimizer"]["state"][key]["momentum_buffer"], entry["momentum_buffer"])
    assert found["average"]["steps"] == 3
    for mine, its in zip(found["average"]["values"], average.values, strict=True):
        assert torch.equal(mine, its)
    assert found["state"] == {**STATE, "best_figures": [0.25, 0.5]}


def test_averages_and_figures_may_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    network, optimizer, _ = trained()
    write_checkpoint(path, "mine", network, optimizer, None, {"best_figures": None})
    found = read_checkpoint(path, "mine")
    assert found is not None
    assert found["average"] is None
    assert found["state"] == {"best_figures": None}


def test_without_a_file_there_is_nothing_to_go_on_from(tmp_path: Path) -> None:
    assert read_checkpoint(None, "mine") is None
    assert read_checkpoint(tmp_path / "none.pt", "mine") is None


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    write_checkpoint(path, "mine", *trained(), STATE)
    expected = (
        f"{path}: is the checkpoint of a training with other data, settings or seed; give another file, or remove "
        "it to begin anew"
    )
    with pytest.raises(TrainingError, match=f"^{re.escape(expected)}$"):
        read_checkpoint(path, "other")


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None, [1, 2]])
def test_what_is_no_whole_checkpoint_is_refused(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "state.pt"
    write_checkpoint(path, "mine", *trained(), STATE)
    if isinstance(content, list):
        torch.save(content, path)
    else:
        path.write_bytes(path.read_bytes()[:-200] if content is None else content)
    with pytest.raises(
        TrainingError,
        match=rf"^{re.escape(str(path))}: is not a whole checkpoint \(\w+\); remove it to begin anew$",
    ):
        read_checkpoint(path, "mine")


class _Opener:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_no_code_in_a_checkpoint_is_run(tmp_path: Path) -> None:
    path, touched = tmp_path / "state.pt", tmp_path / "touched"
    torch.save({"fingerprint": "mine", "network": _Opener(touched)}, path)
    with pytest.raises(TrainingError, match="is not a whole checkpoint"):
        read_checkpoint(path, "mine")
    assert not touched.exists()


def test_a_write_that_fails_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.pt"
    write_checkpoint(path, "mine", *trained(), STATE)
    before = path.read_bytes()

    def fail(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(ArtifactError, match=r"cannot be written \(No space left on device\)"):
        write_checkpoint(path, "mine", *trained(), STATE)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "state.pt"
    with pytest.raises(ArtifactError, match=rf"^{re.escape(str(path))}: cannot be written"):
        write_checkpoint(path, "mine", *trained(), STATE)
