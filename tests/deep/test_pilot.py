"""At which size a network is trained: the largest that leaves time for enough epochs."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
import torch

from classic_cv.deep.networks import build
from classic_cv.deep.pilot import Candidate, Cost, Pilot, candidates, choose
from classic_cv.deep.settings import DeepSettings, load_deep
from classic_cv.deep.training import CpuClock

pytestmark = pytest.mark.usefixtures("one_thread")

FINETUNED, SCRATCH = DeepSettings("test_resnet"), DeepSettings("test_resnet", mode="scratch")
UNLIMITED = 10_000


def sizes(settings: DeepSettings, side: int, most: int = UNLIMITED, **changes: Any) -> list[tuple[int, bool]]:
    return [
        (c.size, c.small_stem) for c in candidates(msgspec.structs.replace(settings, **changes), side, most)
    ]


def test_candidates_go_from_the_data_s_size_down_to_the_network_s() -> None:
    assert sizes(FINETUNED, 120) == [(128, False), (96, False), (64, False), (48, False), (32, False)]
    assert sizes(FINETUNED, 111)[0] == (96, False)
    assert sizes(FINETUNED, 5000)[0] == (224, False)
    assert sizes(FINETUNED, 5000, most=100)[0] == (96, False)
    assert [size for size, _ in sizes(load_deep("inception-v3"), 400)] == [299, 224, 192, 160, 128, 96, 75]
    assert sizes(load_deep("inception-v3"), 28) == [(75, False)]


def test_small_images_are_first_tried_with_a_stem_that_keeps_the_resolution() -> None:
    assert sizes(SCRATCH, 50) == [(48, True), (32, True), (48, False), (32, False)]
    assert sizes(SCRATCH, 64)[:2] == [(64, False), (48, True)]
    assert sizes(SCRATCH, 50, small_stem=False) == [(48, False), (32, False)]
    assert sizes(FINETUNED, 50, small_stem=True) == [(48, True), (32, True)]


def test_a_given_size_is_kept() -> None:
    assert sizes(FINETUNED, 20, size=160) == [(160, False)]
    assert sizes(SCRATCH, 20, size=40) == [(40, True), (40, False)]
    assert sizes(SCRATCH, 20, size=40, small_stem=False) == [(40, False)]


class Told(Pilot):
    """Costs as they are told, each trial taking ten images' time."""

    def __init__(self, settings: DeepSettings, n: int, second: float, stem: float = 4) -> None:
        self.now, self.second, self.stem, self.tried = 0.0, second, stem, list[Candidate]()
        super().__init__(torch.nn.Identity(), settings, 2, CpuClock(lambda: self.now), n)

    def _measured(self, candidate: Candidate) -> Cost:
        self.tried.append(candidate)
        factor = self.stem if candidate.small_stem else 1
        # Small images cost more per pixel.
        cost = Cost(factor * self.second * (candidate.size**2 + 1000) / 10_000, 0.01)
        self.now += 10 * cost.image
        return cost


@pytest.mark.parametrize("second", [1e-4, 1e-3, 3e-3, 1e-2, 0.03, 0.1, 1.0])
@pytest.mark.parametrize("settings", [SCRATCH, FINETUNED], ids=["scratch", "finetune"])
def test_the_largest_size_with_enough_epochs_is_chosen(settings: DeepSettings, second: float) -> None:
    found, pilot = candidates(settings, 300, UNLIMITED), Told(settings, 1000, second)
    chosen, epochs = choose(found, pilot, 300.0)
    wanted = 25 if settings.mode == "scratch" else 8
    assert pilot.wanted_epochs() == wanted
    assert chosen in pilot.tried
    assert len(pilot.tried) <= 5
    assert epochs >= wanted or chosen == (32, False)
    reach = {c: 300.0 / pilot.epoch_seconds(Told(settings, 1000, second).cost(c)) for c in found}
    better = found[: found.index(chosen)]
    assert all(reach[c] < 1.05 * wanted for c in better)


def test_a_stem_that_keeps_the_resolution_is_taken_where_time_allows_it() -> None:
    found = candidates(SCRATCH, 32, UNLIMITED)
    assert choose(found, Told(SCRATCH, 1000, 0.01, stem=4), 300.0)[0] == (32, True)
    assert choose(found, Told(SCRATCH, 1000, 0.002, stem=16), 300.0)[0] == (32, True)
    assert choose(found, Told(SCRATCH, 1000, 0.03, stem=16), 300.0)[0] == (32, False)


def test_without_a_limit_the_best_is_taken_untried() -> None:
    pilot = Told(FINETUNED, 1000, 1.0)
    assert choose(candidates(FINETUNED, 300, UNLIMITED), pilot, math.inf) == ((224, False), math.inf)
    assert not pilot.tried


def test_given_epochs_are_what_there_must_be_time_for() -> None:
    few = msgspec.structs.replace(FINETUNED, epochs=2)
    assert Told(few, 1000, 1.0).wanted_epochs() == 2


def test_trials_leave_the_network_as_it_is() -> None:
    network = build(SCRATCH, 3, seed=0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    looks = iter(range(1000))
    pilot = Pilot(network, SCRATCH, 3, CpuClock(lambda: float(next(looks))), 100)
    cost = pilot.cost(Candidate(32, True))
    assert pilot.cost(Candidate(32, True)) is cost
    assert cost == Cost(1 / 16, 1.0)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.get_submodule("conv1.0").stride == (2, 2)
