"""A fallback that answers whatever its primary does, and the primary's breaker, which no image can mislead."""

from __future__ import annotations

import contextlib
import gc
import http.server
import json
import random
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from classic_cv._own import Own
from classic_cv.answer import Answer
from classic_cv.breaker import Breaker, Outcome, Permit
from classic_cv.errors import ArtifactError, ImageError, ParameterError
from classic_cv.fallback import Agreement, Fallback
from classic_cv.model import Model
from classic_cv.oip.tensors import OipError
from classic_cv.primary import Primary

SOON = 20.0
"""Seconds within which happens what takes milliseconds on an idle machine."""

LONG = 60.0
"""A deadline that nothing here ever waits for."""

SAYS = np.array([0.25, 0.75], np.float32)
"""What primaries answer here; the model says something else."""


class Watched(Breaker):
    """A breaker that remembers how its permits were settled."""

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self.settled: list[Outcome] = []

    def settle(self, permit: Permit, outcome: Outcome) -> None:
        if not permit.settled:
            self.settled.append(outcome)
        super().settle(permit, outcome)


@pytest.fixture(scope="module")
def image(faces: Path) -> bytes:
    return next((faces / "test").rglob("*.png")).read_bytes()


@pytest.fixture(scope="module")
def damaged(image: bytes) -> bytes:
    """An image whose header is sound, and whose pixels are not."""
    start = image.index(b"IDAT")
    [n] = struct.unpack(">I", image[start - 4 : start])
    chunk = b"IDAT" + bytes(n)
    return image[:start] + chunk + struct.pack(">I", zlib.crc32(chunk)) + image[start + 8 + n :]


@pytest.fixture(scope="module")
def own(model: Model, image: bytes) -> NDArray[np.float32]:
    """What the model says of the image."""
    row: NDArray[np.float32] = model.predict_proba([image])[0]
    return row


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What hanging primaries wait for; open at the end of each test."""
    gate = threading.Event()
    yield gate
    gate.set()


def says(image: Any) -> NDArray[np.float32]:
    return SAYS


def fails(image: Any) -> Any:
    raise ValueError("out of memory")


def leaves(image: Any) -> Any:
    raise SystemExit("bye")


def gives_up(image: Any) -> Any:
    raise TimeoutError("no answer")


def waits(gate: threading.Event) -> Callable[[Any], NDArray[np.float32]]:
    def primary(image: Any) -> NDArray[np.float32]:
        gate.wait()
        return SAYS

    return primary


def state_of(fallback: Fallback) -> str:
    return fallback.breaker.state


def eventually(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < until, "it never happens"
        time.sleep(0.001)


def close(found: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    """One by one there are other roundings than in a batch."""
    np.testing.assert_allclose(found, expected, atol=1e-4)


def is_own(answer: Answer, own: NDArray[np.float32], reason: str) -> None:
    assert (answer.served_by, answer.reason) == ("fallback", reason)
    np.testing.assert_array_equal(answer.output, own)
    assert answer.stages.keys() >= {"decode", "features", "head"}


def test_the_primary_answers(model: Model, image: bytes) -> None:
    breaker = Watched()
    seen: list[Any] = []

    def primary(image: Any) -> NDArray[np.float32]:
        seen.append(image)
        time.sleep(0.02)
        return SAYS

    with Fallback(primary, model, LONG, breaker, sample=0) as fallback:
        found = fallback.answer(image)
    assert (found.served_by, found.reason, found.detail) == ("primary", None, None)
    np.testing.assert_array_equal(found.output, SAYS)
    assert seen == [image]
    assert found.stages.keys() == {"decode", "primary"}
    assert 0.02 <= found.stages["primary"] <= found.seconds < SOON
    assert breaker.settled == ["good"]


@pytest.mark.parametrize("mode", ["fallback", "hedged"])
@pytest.mark.parametrize(
    ("primary", "reason", "detail"),
    [
        (fails, "failed", "ValueError: out of memory"),
        (leaves, "failed", "SystemExit: bye"),
        (gives_up, "late", "TimeoutError: no answer"),
        (lambda: None, "failed", "TypeError"),
        (lambda image: None, "nonsense", "gave a NoneType"),
        (lambda image: "face", "nonsense", "gave a str"),
        (lambda image: [float("nan"), 1.0], "nonsense", "not finite"),
        (lambda image: [0.2, 0.3, 0.5], "nonsense", "shape (3,), expected is (2,)"),
        (lambda image: [-0.5, 1.5], "nonsense", "values from -0.5"),
        (lambda image: [0.7, 0.7], "nonsense", "sum to 1.4"),
    ],
)
def test_whatever_goes_wrong_the_own_model_answers_at_once(
    model: Model, image: bytes, own: NDArray[np.float32], primary: Any, reason: str, detail: str, mode: Any
) -> None:
    breaker = Watched()
    with Fallback(primary, model, LONG, breaker, mode=mode) as fallback:
        found = fallback.answer(image)
    is_own(found, own, reason)
    assert found.detail is not None
    assert detail in found.detail
    # The deadline is not waited for.
    assert found.seconds < SOON
    assert breaker.settled == ["failed"]


@pytest.mark.parametrize("mode", ["fallback", "hedged"])
def test_a_primary_that_hangs_is_late(
    model: Model, image: bytes, own: NDArray[np.float32], gate: threading.Event, mode: Any
) -> None:
    breaker = Watched()
    with Fallback(waits(gate), model, 0.3, breaker, mode=mode) as fallback:
        found = fallback.answer(image)
        is_own(found, own, "late")
        assert found.seconds < 0.3 + 1.0
        assert found.stages["primary"] > 0.1
        # What comes after that changes nothing.
        gate.set()
        fallback._caller.close()
        eventually(lambda: not fallback._caller.busy)
    assert breaker.settled == ["failed"]


def test_hedged_the_own_answer_is_computed_while_the_primary_is(
    model: Model, image: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = threading.Event()

    def primary(image: Any) -> NDArray[np.float32]:
        assert computed.wait(SOON)
        return SAYS

    with Fallback(primary, model, LONG, mode="hedged", sample=0) as fallback:
        compute = fallback._own.answer

        def answer(picture: Any) -> Answer:
            found = compute(picture)
            computed.set()
            return found

        monkeypatch.setattr(fallback._own, "answer", answer)
        found = fallback.answer(image)
    assert found.served_by == "primary"
    np.testing.assert_array_equal(found.output, SAYS)


def test_slow_answers_in_time_are_taken_and_counted_as_slow(model: Model, image: bytes) -> None:
    breaker = Watched(window=4, minimum=4, slow_rate=1.0, slow_seconds=0.005)

    def primary(image: Any) -> NDArray[np.float32]:
        time.sleep(0.01)
        return SAYS

    with Fallback(primary, model, LONG, breaker) as fallback:
        assert [fallback.answer(image).served_by for _ in range(4)] == ["primary"] * 4
        assert breaker.settled == ["slow"] * 4
        assert breaker.state == "open"
        assert fallback.answer(image).reason == "open"


def test_the_breaker_takes_the_deadline_for_slow_unless_it_has_a_limit(model: Model) -> None:
    assert Fallback(says, model, 0.2).breaker.slow_seconds == 0.2
    assert Fallback(says, model, 0.2, Breaker(slow_seconds=0.1)).breaker.slow_seconds == 0.1


def test_an_open_breaker_keeps_the_primary_alone_until_it_is_well(
    model: Model, image: bytes, own: NDArray[np.float32]
) -> None:
    now = [0.0]
    breaker = Breaker(window=2, minimum=2, trials=2, clock=lambda: now[0])
    calls: list[int] = []
    is_well = False

    def primary(image: Any) -> NDArray[np.float32]:
        calls.append(1)
        return SAYS if is_well else fails(image)

    with Fallback(primary, model, LONG, breaker) as fallback:
        reasons = [fallback.answer(image).reason for _ in range(4)]
        assert reasons == ["failed", "failed", "open", "open"]
        is_own(fallback.answer(image), own, "open")
        assert len(calls) == 2
        now[0] += 1.0
        assert [fallback.answer(image).reason for _ in range(2)] == ["failed", "open"]
        now[0] += 1.0
        is_well = True
        assert [fallback.answer(image).served_by for _ in range(3)] == ["primary"] * 3
        assert state_of(fallback) == "closed"


def test_where_all_places_are_taken_nothing_waits(
    model: Model, image: bytes, own: NDArray[np.float32], gate: threading.Event
) -> None:
    breaker = Watched(minimum=20)
    with Fallback(waits(gate), model, 0.05, breaker, max_calls=2) as fallback:
        assert [fallback.answer(image).reason for _ in range(3)] == ["late", "late", "busy"]
        found = fallback.answer(image)
        is_own(found, own, "busy")
        assert found.detail == "too many calls have not come back"
        assert breaker.settled == ["failed"] * 4
        gate.set()
        eventually(lambda: not fallback._caller.busy)
        fallback.deadline = LONG
        assert fallback.answer(image).served_by == "primary"


BAD = [
    b"",
    b"no image",
    b"\x89PNG\r\n\x1a\n" + bytes(50),
    np.zeros((3, 4), np.int32),
    np.zeros((0, 3), np.uint8),
    "no/such/file.png",
    17,
    None,
]
"""None stands for the damaged one."""


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
@pytest.mark.parametrize("mode", ["fallback", "hedged"])
def test_a_bad_image_is_the_clients_error_whatever_the_primary_does(
    model: Model, damaged: bytes, gate: threading.Event, bad: Any, mode: Any
) -> None:
    bad = damaged if bad is None else bad
    for primary in (says, fails, leaves, waits(gate)):
        breaker = Watched(window=1, minimum=1)
        with Fallback(primary, model, LONG, breaker, mode=mode) as fallback, pytest.raises(ImageError):
            fallback.answer(bad)
        assert set(breaker.settled) <= {"cancelled"}
        assert breaker.state == "closed"


def test_a_bad_image_is_an_error_where_the_breaker_is_open_or_the_places_are_taken(
    model: Model, image: bytes, damaged: bytes, gate: threading.Event
) -> None:
    with Fallback(fails, model, LONG, Breaker(window=1, minimum=1, cool_down=1e6)) as fallback:
        assert fallback.answer(image).reason == "failed"
        with pytest.raises(ImageError):
            fallback.answer(b"no image")
    breaker = Watched()
    with Fallback(waits(gate), model, 0.05, breaker, max_calls=1) as fallback:
        assert fallback.answer(image).reason == "late"
        with pytest.raises(ImageError):
            fallback.answer(damaged)
    assert breaker.settled == ["failed", "cancelled"]


@pytest.mark.parametrize("max_pixels", [10, 10**6])
def test_what_is_no_image_or_too_large_never_reaches_the_primary(
    model: Model, image: bytes, max_pixels: int
) -> None:
    seen: list[Any] = []
    breaker = Watched()
    bad = image if max_pixels == 10 else image[:100]
    with Fallback(seen.append, model, LONG, breaker, max_pixels=max_pixels) as fallback:
        with pytest.raises(ImageError, match=r"^<image>: "):
            fallback.answer(bad)
        eventually(lambda: not fallback._caller.busy)
    assert seen == []
    assert breaker.settled == []


@pytest.mark.parametrize("status", [400, 413, 415, 422, 401, 404, 500, None])
def test_an_address_that_refuses_one_image_is_not_switched_off_for_all(
    model: Model, image: bytes, own: NDArray[np.float32], status: int | None
) -> None:
    def ask(image: Any, timeout: float) -> Any:
        raise OipError("no, thank you", status)

    breaker = Watched(window=1, minimum=1)
    with Fallback(Primary(ask), model, LONG, breaker) as fallback:
        found = fallback.answer(image)
    is_own(found, own, "failed")
    assert found.detail == "OipError: no, thank you"
    of_the_image = status in (400, 413, 415, 422)
    assert breaker.settled == ["cancelled" if of_the_image else "failed"]
    assert breaker.state == ("closed" if of_the_image else "open")


def test_a_bad_image_takes_no_trial_from_the_others(model: Model, image: bytes, damaged: bytes) -> None:
    now = [0.0]
    breaker = Breaker(window=1, minimum=1, trials=1, clock=lambda: now[0])
    primary = iter([fails, says, says, says])
    with Fallback(lambda image: next(primary)(image), model, LONG, breaker) as fallback:
        assert fallback.answer(image).reason == "failed"
        now[0] += 1.0
        with pytest.raises(ImageError):
            fallback.answer(damaged)
        assert state_of(fallback) == "half-open"
        assert fallback.answer(image).served_by == "primary"
        assert state_of(fallback) == "closed"


def test_an_image_that_takes_the_whole_deadline_to_decode_says_nothing_of_the_primary(
    model: Model, image: bytes, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaker = Watched(window=1, minimum=1)
    with Fallback(waits(gate), model, 0.05, breaker) as fallback:
        decode = fallback._own.picture

        def slowly(image: Any) -> Any:
            time.sleep(0.06)
            return decode(image)

        monkeypatch.setattr(fallback._own, "picture", slowly)
        found = fallback.answer(image)
    assert (found.reason, found.detail) == ("late", "the image took all the time to decode")
    assert breaker.settled == ["cancelled"]


def test_a_fallback_that_comes_to_need_all_of_the_deadline_is_told_and_lateness_counts(
    model: Model, image: bytes, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaker = Watched(window=1, minimum=1)
    with Fallback(waits(gate), model, 0.2, breaker) as fallback:
        monkeypatch.setattr(fallback._own, "reserve", lambda deadline: 0.3)
        found = fallback.answer(image)
    assert (found.reason, found.detail) == ("late", "the fallback needs all of the deadline")
    assert breaker.settled == ["failed"]


def too_slow(monkeypatch: pytest.MonkeyPatch, seconds: Callable[[], float]) -> None:
    """Let the own model seem to take so long."""
    add = Own._add
    monkeypatch.setattr(Own, "_add", lambda self, taken: add(self, seconds()))


def test_a_fallback_that_always_needs_all_of_the_deadline_is_refused(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    too_slow(monkeypatch, lambda: 0.04)
    with pytest.raises(ParameterError) as raised:
        Fallback(says, model, 0.05)
    assert str(raised.value) == (
        "deadline=0.05: the fallback typically takes 0.051 seconds, margin included, and the primary would never have "
        'its turn: give a longer deadline, a faster model, or mode="hedged"'
    )
    Fallback(says, model, 0.052).close()
    Fallback(says, model, 0.05, mode="hedged").close()


def test_a_fallback_that_was_slow_by_chance_is_measured_again(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter([0.5, 0.5, *[0.004] * 100])
    too_slow(monkeypatch, lambda: next(seconds))
    with Fallback(says, model, 0.05) as fallback:
        assert fallback._own.typical < 0.05


def test_an_answer_that_is_there_when_the_image_is_decoded_is_taken(
    model: Model, image: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Fallback(says, model, 0.04) as fallback:
        decode = fallback._own.picture

        def slowly(image: Any) -> Any:
            eventually(lambda: not fallback._caller.busy)
            time.sleep(0.05)
            return decode(image)

        monkeypatch.setattr(fallback._own, "picture", slowly)
        assert fallback.answer(image).served_by == "primary"


def test_an_error_of_the_own_model_leaves_no_trial_behind(
    model: Model, image: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    breaker = Watched(window=1, minimum=1, trials=1, clock=lambda: now[0])
    with Fallback(says, model, LONG, breaker, mode="hedged") as fallback:
        permit = breaker.acquire()
        assert permit is not None
        permit.failed()
        now[0] += 1.0
        with monkeypatch.context() as patch:

            def broken(picture: Any) -> Any:
                raise MemoryError

            patch.setattr(fallback._own, "answer", broken)
            with pytest.raises(MemoryError):
                fallback.answer(image)
        assert breaker.settled == ["failed", "cancelled"]
        assert fallback.answer(image).served_by == "primary"


def test_pixels_paths_and_many_images(model: Model, faces: Path, image: bytes) -> None:
    files = sorted((faces / "test").rglob("*.png"))[:3]
    with Fallback(fails, model, LONG) as fallback:
        expected = model.predict_proba(files)
        close(fallback.predict_proba(files), expected)
        close(fallback.predict_proba([str(file) for file in files]), expected)
        close(fallback.predict_proba(str(files[0])), expected[:1])
        assert fallback.predict(files).tolist() == model.predict(files).tolist()
        pixels = np.random.default_rng(0).integers(0, 256, (2, 40, 30, 3), np.uint8)
        close(fallback.predict_proba(pixels), model.predict_proba(pixels))
        assert fallback.predict_proba([]).shape == (0, 2)
        with pytest.raises(ImageError, match=r"^image 1: "):
            fallback.predict([image, b"no image"])
        with pytest.raises(ImageError, match=r"^/no/such: no such file"):
            fallback.predict(["/no/such"])
    assert (fallback.class_names, fallback.task) == (model.class_names, "classification")


def test_a_path_is_read_for_the_primary_and_named_in_errors(
    model: Model, image: bytes, tmp_path: Path
) -> None:
    seen: list[Any] = []

    def primary(image: Any) -> NDArray[np.float32]:
        seen.append(image)
        return SAYS

    (tmp_path / "a.png").write_bytes(image)
    (tmp_path / "b.png").write_bytes(image[:100])
    with Fallback(primary, model, LONG, sample=0) as fallback:
        assert fallback.answer(tmp_path / "a.png").served_by == "primary"
        assert seen == [image]
        with pytest.raises(ImageError) as raised:
            fallback.answer(tmp_path / "b.png")
        assert raised.value.source == str(tmp_path / "b.png")


def test_the_fallback_may_be_a_file(model_file: Path, image: bytes, own: NDArray[np.float32]) -> None:
    with Fallback(fails, str(model_file), LONG) as fallback:
        np.testing.assert_allclose(fallback.answer(image).output, own, atol=1e-5)
    with pytest.raises(ArtifactError):
        Fallback(says, model_file.with_name("none.safetensors"))


def test_larger_images_are_refused(model: Model, image: bytes) -> None:
    with (
        Fallback(says, model, LONG, max_pixels=10) as fallback,
        pytest.raises(ImageError, match="max_pixels=10"),
    ):
        fallback.answer(image)


def compared(fallback: Fallback, told: list[bool], n: int) -> bool:
    return fallback.agreement.n == len(told) == n


def test_calls_that_are_just_many_do_not_open_the_breaker(
    model: Model, image: bytes, own: NDArray[np.float32], gate: threading.Event
) -> None:
    breaker = Watched(window=1, minimum=1)
    with Fallback(waits(gate), model, LONG, breaker, max_calls=1, sample=0) as fallback:
        thread = threading.Thread(target=fallback.answer, args=(image,))
        thread.start()
        eventually(lambda: fallback._caller.busy)
        for _ in range(3):
            is_own(fallback.answer(image), own, "busy")
        assert breaker.settled == ["cancelled"] * 3
        gate.set()
        thread.join(SOON)
    assert breaker.state == "closed"


@pytest.mark.parametrize("mode", ["fallback", "hedged"])
def test_a_sample_is_compared(model: Model, image: bytes, own: NDArray[np.float32], mode: Any) -> None:
    answers = iter([own, own[::-1], own])
    told: list[bool] = []
    with Fallback(
        lambda image: next(answers), model, LONG, mode=mode, sample=1.0, on_compared=told.append
    ) as fallback:
        for n in range(1, 4):
            assert fallback.answer(image).served_by == "primary"
            eventually(partial(compared, fallback, told, n))
        assert fallback.agreement == Agreement(3, 2)
    assert told == [True, False, True]


def test_the_share_that_is_compared(model: Model, image: bytes) -> None:
    with Fallback(says, model, LONG, mode="hedged", sample=0.25) as fallback:
        for _ in range(100):
            fallback.answer(image)
            eventually(lambda: not fallback._comparisons._caller.busy)
        assert 10 <= fallback.agreement.n <= 40
    with Fallback(says, model, LONG, mode="hedged", sample=0.0) as fallback:
        for _ in range(20):
            fallback.answer(image)
        assert fallback.agreement == Agreement(0, 0)


def test_only_answers_of_the_primary_are_compared(model: Model, image: bytes) -> None:
    with Fallback(fails, model, LONG, mode="hedged", sample=1.0) as fallback:
        fallback.answer(image)
        assert fallback.agreement.n == 0


def test_an_array_may_be_overwritten_once_the_answer_is_there(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    height, width = model.featurizer.settings.shape
    pixels = np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)
    before = pixels.copy()
    seen: list[NDArray[np.uint8]] = []
    gate = threading.Event()
    with Fallback(says, model, LONG, sample=1.0) as fallback:
        compute = fallback._own.answer

        def answer(picture: Any) -> Answer:
            assert gate.wait(SOON)
            seen.append(picture.pixels)
            return compute(picture)

        monkeypatch.setattr(fallback._own, "answer", answer)
        fallback.answer(pixels)
        pixels[:] = 0
        gate.set()
        eventually(lambda: fallback.agreement.n == 1)
    np.testing.assert_array_equal(seen[0], before)


@pytest.mark.parametrize("mode", ["fallback", "hedged"])
def test_an_answer_may_be_overwritten_and_waits_for_no_listener(
    model: Model, image: bytes, own: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch, mode: Any
) -> None:
    gate = threading.Event()
    told: list[tuple[bool, str]] = []

    def on_compared(agreed: bool) -> None:
        assert gate.wait(SOON)
        told.append((agreed, threading.current_thread().name))

    values: dict[str, Any] = {"mode": mode, "sample": 1.0, "on_compared": on_compared}
    with Fallback(lambda image: own, model, LONG, **values) as fallback:
        compute = fallback._own.answer

        def answer(picture: Any) -> Answer:
            if threading.current_thread().name == "comparison":
                assert gate.wait(SOON)
            return compute(picture)

        monkeypatch.setattr(fallback._own, "answer", answer)
        found = fallback.answer(image)
        assert told == []
        found.output[:] = found.output[::-1].copy()
        gate.set()
        eventually(lambda: told == [(True, "comparison")])
        assert fallback.agreement == Agreement(1, 1)


def test_a_primary_that_works_in_place_spoils_nothing(model: Model) -> None:
    def primary(image: Any) -> NDArray[np.float32]:
        image[:] = 0
        return SAYS

    pixels = np.random.default_rng(3).integers(0, 256, (40, 30, 3), np.uint8)
    before = pixels.copy()
    with Fallback(primary, model, LONG) as fallback:
        found = fallback.answer(pixels)
    np.testing.assert_array_equal(pixels, before)
    assert found.reason == "failed"
    close(found.output, model.predict_proba([before])[0])


def test_a_fallback_that_is_dropped_leaves_no_threads(model: Model, image: bytes) -> None:
    closed: list[int] = []
    fallback = Fallback(
        Primary(lambda image, timeout: SAYS, lambda: closed.append(1)), model, LONG, sample=1.0
    )
    assert fallback.answer(image).served_by == "primary"
    callers = [fallback._caller, fallback._comparisons._caller]
    eventually(lambda: not any(caller.busy for caller in callers))
    assert fallback.agreement.n == 1
    del fallback
    gc.collect()
    assert [caller.closed for caller in callers] == [True, True]
    eventually(lambda: closed == [1])


def test_what_the_primary_leaves_open_is_noted(model: Model) -> None:
    with Fallback(
        Primary(lambda image, timeout: SAYS, assumed=lambda: ("no names are said",)), model, LONG
    ) as fallback:
        assert fallback.notes == ("no names are said",)
    with Fallback(says, model, LONG) as fallback:
        assert fallback.notes == ()


def test_an_error_of_the_listener_is_logged(
    model: Model, image: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    def on_compared(agreed: bool) -> None:
        raise RuntimeError("no disk")

    with Fallback(says, model, LONG, mode="hedged", sample=1.0, on_compared=on_compared) as fallback:
        assert fallback.answer(image).served_by == "primary"
        eventually(lambda: "no disk" in caplog.text)
        assert fallback.agreement.n == 1


def test_a_comparison_takes_no_place_of_the_primary(
    model: Model, image: bytes, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Fallback(says, model, LONG, sample=1.0, max_calls=1) as fallback:
        monkeypatch.setattr(fallback._own, "answer", lambda picture: gate.wait())
        assert [fallback.answer(image).served_by for _ in range(5)] == ["primary"] * 5


@pytest.fixture(scope="module")
def numbers(model: Model) -> Model:
    """The scores of the faces as a regression."""
    metadata = msgspec.structs.replace(model.metadata, task="regression", class_names=())
    return Model(model.recipe, model.featurizer, model.head, None, metadata, model.maps)


def test_a_regression(numbers: Model, image: bytes) -> None:
    answers = iter([1.5, "1.5", float("nan"), np.array([2.5])])
    with Fallback(lambda image: next(answers), numbers, LONG, sample=1.0) as fallback:
        found = fallback.answer(image)
        assert (found.served_by, found.output.shape, float(found.output)) == ("primary", (), 1.5)
        own = float(numbers.predict([image])[0])
        for _ in range(2):
            wrong = fallback.answer(image)
            assert (wrong.reason, wrong.output.shape) == ("nonsense", ())
            assert float(wrong.output) == pytest.approx(own)
        assert fallback.predict([image]).tolist() == [2.5]
        with pytest.raises(TypeError, match="use predict"):
            fallback.predict_proba([image])
        assert fallback.agreement.n == 0
    assert (fallback.task, fallback.class_names) == ("regression", ())


def test_closed_the_own_model_answers_and_the_breaker_is_left_alone(
    model: Model, image: bytes, own: NDArray[np.float32]
) -> None:
    breaker = Watched(window=1, minimum=1)
    fallback = Fallback(says, model, LONG, breaker)
    fallback.close()
    fallback.close()
    found = fallback.answer(image)
    is_own(found, own, "busy")
    assert found.detail == "closed: the primary is asked no more"
    assert breaker.settled == ["cancelled"]


def test_closing_lets_calls_under_way_answer_and_frees_the_primary_after_them(
    model: Model, image: bytes, gate: threading.Event
) -> None:
    order: list[str] = []
    begun = threading.Event()

    def ask(image: Any, timeout: float) -> NDArray[np.float32]:
        begun.set()
        gate.wait()
        order.append("answered")
        return SAYS

    fallback = Fallback(Primary(ask, lambda: order.append("closed")), model, LONG, sample=0)
    found: list[Answer] = []
    thread = threading.Thread(target=lambda: found.append(fallback.answer(image)))
    thread.start()
    assert begun.wait(SOON)
    fallback.close()
    assert order == []
    gate.set()
    thread.join(SOON)
    assert found[0].served_by == "primary"
    eventually(lambda: len(order) == 2)
    assert order == ["answered", "closed"]


def test_the_primary_is_told_how_long_it_is_waited_for(model: Model, image: bytes) -> None:
    timeouts: list[float] = []

    def ask(image: Any, timeout: float) -> NDArray[np.float32]:
        timeouts.append(timeout)
        return SAYS

    with Fallback(Primary(ask), model, 50.0) as fallback:
        fallback.answer(image)
    assert 50.0 - SOON < timeouts[0] <= 50.0


def test_threads_in_trouble_get_an_answer_each_and_settle_each_permit_once(
    model: Model, image: bytes, own: NDArray[np.float32]
) -> None:
    """Every kind of trouble at random, and a close in the middle of it."""
    draw = random.Random(5)
    under_way, most = 0, 0
    lock = threading.Lock()

    def primary(image: Any) -> Any:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
            kind = draw.randrange(5)
        try:
            if kind == 0:
                raise ValueError
            time.sleep(0.1 if kind == 1 else 0.001)
            return None if kind == 2 else SAYS
        finally:
            with lock:
                under_way -= 1

    breaker = Watched(window=10, minimum=5, error_rate=0.9, cool_down=0.01)
    permits: list[Permit] = []
    acquire = breaker.acquire

    def counted() -> Permit | None:
        permit = acquire()
        if permit is not None:
            permits.append(permit)
        return permit

    breaker.acquire = counted  # type: ignore[method-assign]
    fallback = Fallback(primary, model, 0.05, breaker, max_calls=4, sample=0.5)
    answers: list[Answer] = []
    errors: list[ImageError] = []

    def ask(number: int) -> None:
        for turn in range(25):
            try:
                answers.append(fallback.answer(image if (turn + number) % 7 else b"no image"))
            except ImageError as error:
                errors.append(error)
            if number == 0 and turn == 20:
                fallback.close()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) + len(errors) == 150
    assert len(errors) == sum(not (turn + number) % 7 for number in range(6) for turn in range(25))
    for answer in answers:
        expected = SAYS if answer.served_by == "primary" else own
        np.testing.assert_array_equal(answer.output, expected)
        assert (answer.reason is None) == (answer.served_by == "primary")
    assert {answer.served_by for answer in answers} == {"primary", "fallback"}
    assert all(permit.settled for permit in permits)
    assert len(breaker.settled) == len(permits)
    assert 1 < most <= 4


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"deadline": 0.0}, "deadline=0.0: allowed are seconds above 0"),
        ({"deadline": float("nan")}, "deadline=nan"),
        ({"mode": "both"}, "mode='both': allowed are fallback and hedged"),
        ({"sample": 1.5}, "sample=1.5: allowed are shares from 0 to 1"),
        ({"max_calls": 0}, "max_calls=0: allowed are 1 or more"),
    ],
)
def test_values_that_are_not_allowed(model: Model, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError) as raised:
        Fallback(says, model, **values)
    assert message in str(raised.value)


HANGS = """
import sys, threading
from classic_cv import Fallback
fallback = Fallback(lambda image: threading.Event().wait(), sys.argv[1], 0.05)
print(fallback.answer(sys.argv[2]).reason)
"""


def test_a_hanging_primary_does_not_keep_the_program_from_ending(model_file: Path, faces: Path) -> None:
    file = next((faces / "test").rglob("*.png"))
    run = subprocess.run(
        [sys.executable, "-c", HANGS, str(model_file), str(file)], capture_output=True, text=True, timeout=60
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "late\n", "")


class Server(http.server.BaseHTTPRequestHandler):
    """The Open Inference Protocol as far as a client needs it; the classes are in the other order."""

    class_names: tuple[str, ...] = ()
    trouble: Callable[[], object] | None = None
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        described = {
            "name": "faces",
            "versions": ["1"],
            "platform": "",
            "inputs": [{"name": "image", "datatype": "BYTES", "shape": [-1]}],
            "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]}],
            "parameters": {"class_names": self.class_names},
        }
        self._send(described if self.path.startswith("/v2/models/") else {"name": "s", "version": "1"})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.trouble is not None:
            type(self).trouble()  # type: ignore[misc]
        row = {"name": "probabilities", "datatype": "FP32", "shape": [1, 2], "data": [0.75, 0.25]}
        self._send({"model_name": "faces", "model_version": "1", "outputs": [row]})

    def _send(self, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Nothing: standard error is for errors."""


def test_an_address_that_hangs_goes_down_and_comes_up(
    model: Model, image: bytes, own: NDArray[np.float32], gate: threading.Event
) -> None:
    handler = type("Handler", (Server,), {"class_names": model.class_names[::-1]})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler, bind_and_activate=False)
    server.daemon_threads = True
    server.server_bind()
    breaker = Watched(minimum=20)
    url = f"http://127.0.0.1:{server.server_port}/v2/models/faces"
    # Nothing listens there yet.
    with Fallback(url, model, 2.0, breaker, sample=0) as fallback:
        down = fallback.answer(image)
        assert down.reason in ("failed", "late")
        np.testing.assert_array_equal(down.output, own)
        server.server_activate()
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            eventually(lambda: fallback.answer(image).served_by == "primary")
            np.testing.assert_allclose(fallback.answer(image).output, SAYS)
            handler.trouble = staticmethod(gate.wait)  # type: ignore[attr-defined]
            fallback.deadline = 0.2
            late = fallback.answer(image)
            is_own(late, own, "late")
            assert late.seconds < 0.2 + 1.0
            handler.trouble = None  # type: ignore[attr-defined]
            gate.set()
            eventually(lambda: fallback.answer(image).served_by == "primary")
        finally:
            server.shutdown()
            server.server_close()
    assert "good" in breaker.settled


def test_an_address_that_tells_no_class_names_is_noted(model: Model, image: bytes) -> None:
    handler = type("Handler", (Server,), {"class_names": None})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        with Fallback(f"http://127.0.0.1:{server.server_port}/v2/models/faces", model, LONG) as fallback:
            np.testing.assert_allclose(fallback.answer(image).output, SAYS[::-1])
            assert ["class_names are not said" in note for note in fallback.notes] == [True]
    finally:
        server.shutdown()
        server.server_close()
