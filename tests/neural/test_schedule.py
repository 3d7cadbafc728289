"""Learning rates over the course of training."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classic_cv.neural.schedule import CYCLES, RESTART_WARM_UP, SCHEDULES, WARM_UP, one_cycle, restarts

ENDS = np.cumsum(CYCLES)


def test_one_cycle_rises_from_a_hundredth_to_the_peak_and_falls_to_zero() -> None:
    assert one_cycle(0) == 0.01
    assert one_cycle(WARM_UP) == 1
    assert one_cycle(1) == 0
    assert one_cycle(WARM_UP / 2) == pytest.approx(0.505)
    assert one_cycle((1 + WARM_UP) / 2) == pytest.approx(0.5)


def test_one_cycle_is_piecewise_linear() -> None:
    progress = np.linspace(0, 1, 201)
    expected = np.interp(progress, [0, WARM_UP, 1], [0.01, 1, 0])
    np.testing.assert_allclose([one_cycle(p) for p in progress], expected, atol=1e-12)


@given(st.floats(0, 1 - 1e-9))
def test_one_cycle_has_no_jumps(progress: float) -> None:
    assert abs(one_cycle(progress + 1e-9) - one_cycle(progress)) < 1e-8


def test_restarts_rise_shortly_and_fall_to_zero_three_times() -> None:
    assert restarts(0) == 0.01
    assert restarts(RESTART_WARM_UP) == 1
    assert restarts(1) == 0
    middles = [(RESTART_WARM_UP + ENDS[0]) / 2, (ENDS[0] + ENDS[1]) / 2, (ENDS[1] + 1) / 2]
    assert [restarts(middle) for middle in middles] == pytest.approx([0.5] * 3)
    for end in ENDS:
        assert restarts(end - 1e-6) < 1e-9


def test_restarts_have_three_peaks() -> None:
    progress = np.linspace(0, 1, 20_001)
    values = np.array([restarts(p) for p in progress])
    inner = (values[1:-1] > values[:-2]) & (values[1:-1] >= values[2:])
    peaks = progress[1:-1][inner]
    np.testing.assert_allclose(peaks, [RESTART_WARM_UP, *ENDS[:2]], atol=1e-4)
    np.testing.assert_allclose(values[1:-1][inner], 1, atol=1e-6)


def test_restarts_are_continuous_but_for_two_jumps_to_the_peak() -> None:
    progress = np.linspace(0, 1, 20_001)
    values = np.array([restarts(p) for p in progress])
    (jumps,) = np.nonzero(np.abs(np.diff(values)) > 0.01)
    np.testing.assert_allclose(progress[jumps], ENDS[:2], atol=1e-4)
    np.testing.assert_allclose(values[jumps + 1] - values[jumps], 1, atol=1e-3)


@given(st.floats(0, 1 - 1e-9))
def test_restarts_jump_only_where_a_cycle_begins(progress: float) -> None:
    if not any(progress < end <= progress + 1e-9 for end in ENDS[:2]):
        assert abs(restarts(progress + 1e-9) - restarts(progress)) < 1e-7


def test_the_cycles_fill_the_training_and_become_longer() -> None:
    assert math.fsum(CYCLES) == 1
    assert list(CYCLES) == sorted(CYCLES)


@pytest.mark.parametrize("name", SCHEDULES)
@given(progress=st.floats(0, 1))
def test_every_rate_is_a_share_of_the_peak(name: str, progress: float) -> None:
    assert 0 <= SCHEDULES[name](progress) <= 1
