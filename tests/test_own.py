"""What is kept free for the own answer: enough for what it typically takes, whatever a single one took."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from classic_cv import _own
from classic_cv._own import Own
from classic_cv.answer import Answer, picture_for
from classic_cv.errors import ImageError
from classic_cv.images import DEFAULT_MAX_PIXELS
from classic_cv.model import Model


def own_of(model: Model, monkeypatch: pytest.MonkeyPatch, seconds: list[float]) -> Own:
    """One whose answers, two runs on two images while it is made first, take so long."""
    times = iter([9.0, 9.0, 0.004, 0.004, *seconds])

    def answer_of(model: Model, picture: object) -> Answer:
        taken = next(times)
        # Half for features, half for the head; what decoding took does not count.
        stages = {"decode": 5.0, "features": taken / 2, "head": taken / 2}
        return Answer(np.zeros(2, np.float32), stages=stages)

    monkeypatch.setattr(_own, "answer_of", answer_of)
    own = Own(model, DEFAULT_MAX_PIXELS)
    picture = picture_for(model, np.zeros((8, 8, 3), np.uint8))
    for _ in seconds:
        own.answer(picture)
    return own


def test_it_begins_with_what_the_second_runs_took(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    own = own_of(model, monkeypatch, [])
    assert own.reserve(1.0) == pytest.approx(1.25 * 0.004 + 0.001)


def test_the_longest_of_the_last_ones_counts(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    own = own_of(model, monkeypatch, [0.02, *[0.003] * 63])
    assert own.reserve(1.0) == pytest.approx(1.25 * 0.02 + 0.001)


def test_one_before_the_last_ones_does_not(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    own = own_of(model, monkeypatch, [0.02, *[0.003] * 64])
    assert own.reserve(1.0) == pytest.approx(1.25 * 0.003 + 0.001)


def test_a_single_long_one_leaves_the_primary_half_of_the_deadline(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = own_of(model, monkeypatch, [0.003, 0.003, 0.003, 0.5])
    assert own.reserve(0.05) == 0.025


def test_what_it_typically_takes_is_kept_free_whatever_the_deadline_is(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = own_of(model, monkeypatch, [0.04] * 10)
    assert own.reserve(0.05) == pytest.approx(1.25 * 0.04 + 0.001)
    assert own.reserve(0.02) == pytest.approx(1.25 * 0.04 + 0.001)


def test_it_answers_as_the_model_does(model: Model, faces: Path) -> None:
    file = next((faces / "test").rglob("*.png"))
    own = Own(model, DEFAULT_MAX_PIXELS)
    found = own.answer(own.picture(file.read_bytes()))
    np.testing.assert_array_equal(found.output, model.predict_proba([file])[0])
    assert 0 < own.reserve(60.0) < 30.0


def test_larger_images_are_refused(model: Model, faces: Path) -> None:
    data = next((faces / "test").rglob("*.png")).read_bytes()
    with pytest.raises(ImageError, match="more than max_pixels=10"):
        Own(model, 10).picture(data)


def test_what_it_typically_takes_is_the_median_of_what_was_measured(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = own_of(model, monkeypatch, [0.5])
    assert own.typical == pytest.approx(1.25 * 0.004 + 0.001)
    times = iter([0.01] * 4)
    monkeypatch.setattr(
        _own,
        "answer_of",
        lambda model, picture: Answer(np.zeros(2, np.float32), stages={"features": next(times), "head": 0.0}),
    )
    own.measure()
    own.measure()
    assert own.typical == pytest.approx(1.25 * 0.01 + 0.001)
    assert next(times, None) is None
