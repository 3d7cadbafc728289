"""The fit of a deep contestant: within its budget, a stored network that answers, and a log that says why."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from classic_cv.compare.contestant import FitTask
from classic_cv.deep import fitting
from classic_cv.deep.fitting import fit_deep, split_data, training_end
from classic_cv.deep.images import Decoded
from classic_cv.deep.predictor import OnnxPredictor
from classic_cv.deep.settings import DeepSettings, load_deep
from classic_cv.errors import DatasetError

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = DeepSettings("test_resnet", mode="scratch", mirror=False)
Tasks = Callable[..., FitTask]


def test_a_fitted_network_answers_from_its_files(striped_task: Tasks, budget: Any) -> None:
    task = striped_task(160, budget(math.inf))
    fitted = fit_deep(msgspec.structs.replace(TINY, epochs=12, size=32, small_stem=False), task)
    assert {path.name for path in task.folder.iterdir()} == {"network.onnx", "network.json"}
    predictor = OnnxPredictor.load(task.folder, 1)
    images = [task.dataset.read(k) for k in task.train]
    found = predictor.probabilities(images)
    assert found.shape == (160, 2)
    assert (found.argmax(axis=1) == task.y).mean() > 0.9
    assert predictor.label(images[3]) == found[3].argmax()
    assert fitted.epochs == 12
    assert fitted.n_fit == 160 - fitted.details["n_validation"] == 128
    assert fitted.details["size"] == 32
    assert fitted.details["validation_accuracy"] > 0.9
    assert fitted.history[-1]["epoch"] == 12
    text = "\n".join(fitted.log)
    for part in ("32 pixels", "128 images to train on, 32 to judge by", "12.0 epochs", "learning rate up to"):
        assert part in text


@pytest.mark.parametrize("seconds", [40.0, 12.0])
def test_the_budget_is_kept_by_its_own_clock(striped_task: Tasks, budget: Any, seconds: float) -> None:
    own = budget(seconds, per_look=0.25)
    fitted = fit_deep(TINY, striped_task(48, own))
    # Storing has no look at the clock here, so its time stays unused.
    assert 0.7 * seconds <= own.now <= seconds
    assert fitted.epochs is not None
    assert fitted.epochs > 0
    assert any("time for about" in line for line in fitted.log)
    assert f"of {seconds} CPU seconds used" in fitted.log[-1]
    assert all(entry["cpu_seconds"] <= seconds for entry in fitted.history)


def test_a_budget_that_nothing_fits_into_gives_a_network_of_one_step(
    striped_task: Tasks, budget: Any
) -> None:
    task = striped_task(48, budget(1.0, per_look=0.25))
    fitted = fit_deep(TINY, task)
    assert fitted.details["steps"] == 1
    assert OnnxPredictor.load(task.folder, 1).probabilities([task.dataset.read(0)]).shape == (1, 2)


def test_fine_tuning_begins_with_the_weights_and_keeps_the_first_layers(
    striped_task: Tasks, budget: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = msgspec.structs.replace(load_deep("efficientnet-lite0"), epochs=1, size=32, batch_size=8)
    begun: dict[str, torch.Tensor] = {}
    trained: list[torch.nn.Module] = []
    from classic_cv.deep.training import train

    def noted(network: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        begun.update({name: value.clone() for name, value in network.state_dict().items()})
        found = train(network, *args, **kwargs)
        trained.append(found.network)
        return found

    monkeypatch.setattr(fitting, "train", noted)
    fitted = fit_deep(settings, striped_task(24, budget(math.inf)))
    after = trained[0].state_dict()
    assert torch.equal(after["conv_stem.weight"], begun["conv_stem.weight"])
    assert not torch.equal(after["conv_head.weight"], begun["conv_head.weight"])
    assert fitted.details["mode"] == "finetune"
    assert 0 < fitted.details["n_frozen"] < fitted.details["n_parameters"]
    assert any("weights stayed as they were" in line for line in fitted.log)


def test_images_that_cannot_be_used_are_left_out_by_name(
    striped_task: Tasks, budget: Any, tmp_path: Path
) -> None:
    task = striped_task(40, budget(math.inf))
    broken = sorted((tmp_path / "data" / "down").iterdir())[3]
    broken.write_bytes(broken.read_bytes()[:60])
    fitted = fit_deep(msgspec.structs.replace(TINY, epochs=1, size=32), task)
    assert fitted.n_fit + fitted.details["n_validation"] == 39
    assert broken.name in "\n".join(fitted.log)
    assert [Path(entry["image"]).name for entry in fitted.skipped] == [broken.name]


def test_where_decoding_takes_too_long_a_fair_choice_of_images_is_taken(
    striped_task: Tasks, budget: Any
) -> None:
    class Slow(budget):  # type: ignore[misc]
        """A second for each look: of 16 images decoding takes one, so 16 per second."""

    task = striped_task(200, Slow(20.0, per_look=1.0))
    log: list[str] = []
    chosen = fitting._affordable_images(TINY, task, log)
    assert 80 <= len(chosen) < 100
    assert (np.diff(chosen) > 0).all()
    assert abs(np.bincount(task.y[chosen]) / len(chosen) - 0.5).max() < 0.05
    assert "of 200 images: decoding takes 62.5 CPU ms each" in log[0]


# The validation part.


def decoded_of(task: FitTask) -> Decoded:
    n = len(task.train)
    pixels = (np.arange(n) % 256).astype(np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    return Decoded(pixels, task.train.copy(), [])


@pytest.mark.parametrize(("n", "held_out"), [(1200, 120), (700, 100), (200, 40), (60, 12), (30, 0)])
def test_a_tenth_is_held_out_but_enough_to_judge_by(
    striped_task: Tasks, budget: Any, n: int, held_out: int
) -> None:
    task = striped_task(4, budget(1.0))
    task = replace(task, train=np.arange(n), y=np.arange(n) % 2, groups=np.arange(n))
    data = split_data(TINY, decoded_of(task), task)
    assert len(data.validation_y) == held_out
    assert len(data.y) == n - held_out
    if held_out:
        assert abs(data.validation_y.mean() - 0.5) < 0.05


def test_no_group_is_on_both_sides_and_pixels_stay_with_their_class(striped_task: Tasks, budget: Any) -> None:
    n = 240
    task = striped_task(4, budget(1.0))
    task = replace(task, train=np.arange(n), y=np.arange(n) % 3, groups=np.arange(n) // 6)
    data = split_data(TINY, decoded_of(task), task)
    train, validation = (pixels[:, 0, 0, 0].astype(int) for pixels in (data.pixels, data.validation_pixels))
    assert not set(train // 6) & set(validation // 6)
    np.testing.assert_array_equal(train % 3, data.y)
    np.testing.assert_array_equal(validation % 3, data.validation_y)
    assert len(validation) >= 40


def test_too_few_images_are_an_error(striped_task: Tasks, budget: Any) -> None:
    task = striped_task(2, budget(1.0))
    one = replace(task, train=task.train[:1])
    with pytest.raises(DatasetError, match="1 images that can be used are too few"):
        split_data(TINY, decoded_of(one), one)


def test_the_end_of_a_training_leaves_time_to_store_the_network(budget: Any) -> None:
    network = torch.nn.Linear(1000, 999)
    assert training_end(budget(100.0), network) == pytest.approx(96 - 2 - 0.05, abs=0.01)
    assert math.isinf(training_end(budget(math.inf), network))
