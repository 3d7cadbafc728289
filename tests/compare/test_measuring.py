"""What is made of timed answers."""

from __future__ import annotations

import numpy as np
import pytest

from classic_cv.compare.measuring import Timed, answers_differ
from classic_cv.compare.worker import timed


def test_percentiles_are_of_all_queries_and_medians_of_each_process() -> None:
    found = Timed(ms=[[1.0, 2.0, 3.0], [11.0, 12.0, 13.0]]).latency()
    assert found is not None
    assert found["p50"] == 7.0
    assert found["restarts"] == [2.0, 12.0]
    assert found["n"] == 6
    assert found["p99_bound"] is None


def test_nothing_is_told_of_what_was_not_timed() -> None:
    assert Timed().latency() is None
    assert Timed().stages_ms() is None


def test_the_parts_are_medians() -> None:
    stages = [{"decode": 1.0, "head": 5.0}, {"decode": 3.0, "head": 5.0}, {"decode": 2.0, "head": 50.0}]
    assert Timed(stages=stages).stages_ms() == {"decode": 2.0, "head": 5.0}


@pytest.mark.parametrize(("n", "wrong", "told"), [(100, 2, 0), (100, 3, 3), (1000, 10, 0), (1000, 11, 11)])
def test_answers_may_differ_at_ties_only(n: int, wrong: int, told: int) -> None:
    labels = [(k, 1 if k < wrong else 0) for k in range(n)]
    assert answers_differ(Timed(labels=labels), np.zeros(n, np.intp)) == told


def test_each_answer_has_its_own_time() -> None:
    import time

    def answer(image: bytes) -> int:
        time.sleep(0.02 * len(image))
        return len(image)

    seconds, labels = timed(answer, [b"", b"xx"])  # type: ignore[arg-type]
    assert labels == [0, 2]
    assert seconds[0] < 0.02
    assert seconds[1] >= 0.04
