"""Models by name, picked up anew when their files are replaced, with what stays over that."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest

from classic_cv.abstention import AbstentionError
from classic_cv.errors import ArtifactError, ImageError
from classic_cv.model import golden_images, load
from classic_cv.serve import registry as registry_module
from classic_cv.serve.logs import RequestLog
from classic_cv.serve.metrics import Metrics
from classic_cv.serve.model_file import UnreadableError
from classic_cv.serve.registry import Registry, UnknownModelError
from classic_cv.serve.settings import ModelSource, ServeSettings

POLL = 0.02

IMAGE = golden_images()[0]


class Bench:
    """Registries over one model file, with what they counted and logged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metrics = Metrics()
        self.lines: list[dict[str, Any]] = []
        self.registries: list[Registry] = []

    def registry(self, primary: str | None = None, kept: Path | None = None, **settings: Any) -> Registry:
        sources = (ModelSource(name="faces", path=str(self.path), primary=primary),)
        options = ServeSettings(models=sources, poll=POLL, **settings)
        log = RequestLog(write=lambda line: self.lines.append(json.loads(line)))
        self.registries.append(Registry(options, self.metrics, log, kept))
        return self.registries[-1]

    def replace(self, data: bytes) -> str:
        """Put another file in the place of the model's; returns its version."""
        aside = self.path.with_suffix(".new")
        aside.write_bytes(data)
        aside.replace(self.path)
        return version_of(data)

    def loads(self, outcome: str) -> float:
        return self.figure(f'classic_cv_model_loads_total{{model="faces",outcome="{outcome}"}}')

    def figure(self, name: str) -> float:
        for line in self.metrics.render()[0].decode().splitlines():
            if line.startswith(name):
                return float(line.rsplit(" ", 1)[1])
        return 0.0


@pytest.fixture
def bench(model_file: Path, tmp_path: Path) -> Iterator[Bench]:
    path = tmp_path / "faces.safetensors"
    path.write_bytes(model_file.read_bytes())
    bench = Bench(path)
    yield bench
    for registry in bench.registries:
        registry.close()


@pytest.fixture(scope="session")
def variant(model_file: Path) -> Callable[..., bytes]:
    """Makes the bytes of a model of the same kind with other metadata."""

    def make(**changes: Any) -> bytes:
        model = load(model_file)
        model.metadata = msgspec.structs.replace(model.metadata, **changes)
        return model.to_bytes()

    return make


def version_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:8]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(POLL / 2)


def test_a_model_is_found_by_its_name_and_version(bench: Bench) -> None:
    registry = bench.registry()

    version = version_of(bench.path.read_bytes())
    served = registry.get("faces")
    assert registry.names == ("faces",)
    assert served is registry.default is registry.get(None) is registry.get("faces", version)
    assert (served.name, served.version, served.fallback) == ("faces", version, None)
    assert registry.ready
    assert bench.loads("loaded") == 1


def test_what_is_not_there_is_an_error_that_names_what_is(bench: Bench) -> None:
    registry = bench.registry()

    with pytest.raises(UnknownModelError, match="no model 'cats': there are faces"):
        registry.get("cats")
    with pytest.raises(UnknownModelError, match=f"no version '1': it has {registry.default.version}"):
        registry.get("faces", "1")


def test_its_answers_are_the_model_s(bench: Bench) -> None:
    answer = bench.registry().default.answer(IMAGE)

    np.testing.assert_array_equal(answer.output, load(bench.path).predict_proba([IMAGE])[0])
    assert answer.served_by == "model"


def test_the_limit_of_pixels_holds(bench: Bench) -> None:
    height, width, _ = IMAGE.shape
    encoded = cv2.imencode(".png", IMAGE)[1].tobytes()
    bench.registry(max_pixels=height * width).default.answer(encoded)
    with pytest.raises(ImageError, match="pixels"):
        bench.registry(max_pixels=height * width - 1).default.answer(encoded)


def test_a_bad_file_is_an_error_before_anything_is_served(bench: Bench) -> None:
    bench.path.write_bytes(b"no model")

    with pytest.raises(ArtifactError, match=r"faces\.safetensors"):
        bench.registry()


def test_a_replaced_file_is_served_and_requests_keep_the_model_they_began_with(
    bench: Bench, variant: Callable[..., bytes]
) -> None:
    registry = bench.registry()
    registry.start()
    old = registry.get("faces")

    version = bench.replace(variant(seed=77))
    wait_until(lambda: registry.default.version == version)

    assert registry.get("faces").model.metadata.seed == 77
    assert old.model.metadata.seed == 0
    np.testing.assert_array_equal(old.answer(IMAGE).output, registry.default.answer(IMAGE).output)
    assert bench.loads("loaded") == 2


def test_a_bad_new_file_keeps_the_old_one_serving(bench: Bench, variant: Callable[..., bytes]) -> None:
    registry = bench.registry()
    registry.start()
    old = registry.default

    bench.replace(bench.path.read_bytes()[:-9])
    wait_until(lambda: bench.loads("refused") == 1)
    assert registry.default is old
    assert registry.ready
    # It is not tried again and again.
    time.sleep(5 * POLL)
    assert bench.loads("refused") == 1
    [refusal] = [line for line in bench.lines if line["event"] == "model refused"]
    assert "faces.safetensors" in refusal["error"]

    bench.path.unlink()
    wait_until(lambda: bench.loads("refused") == 2)
    assert registry.default is old

    version = bench.replace(variant(seed=78))
    wait_until(lambda: registry.default.version == version)


def test_a_new_file_that_cannot_be_read_now_is_tried_again(
    bench: Bench, variant: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[Any] = []

    def refuse_once(path: Any) -> None:
        if not refused:
            refused.append(path)
            raise UnreadableError("too many open files")

    monkeypatch.setattr(registry_module, "check_readable", refuse_once)
    monkeypatch.setattr(registry_module, "AGAIN", 0.1)
    registry = bench.registry()
    registry.start()
    version = bench.replace(variant(seed=5))
    wait_until(lambda: registry.get("faces").version == version)
    assert len(refused) == 1
    assert bench.loads("refused") == 1


def test_a_file_that_was_only_touched_is_not_loaded_again(bench: Bench) -> None:
    registry = bench.registry()
    registry.start()
    old = registry.default

    os.utime(bench.path, ns=(1, 1))
    time.sleep(10 * POLL)

    assert registry.default is old
    assert bench.loads("loaded") == 1


def test_a_worker_that_starts_beside_a_bad_file_serves_what_the_others_do(
    bench: Bench, variant: Callable[..., bytes], tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    first = bench.registry(kept=kept)
    first.start()
    version = bench.replace(variant(seed=79))
    wait_until(lambda: first.default.version == version and len(list(kept.iterdir())) == 1)
    wait_until(lambda: version_of(next(kept.iterdir()).read_bytes()) == version)

    bench.replace(b"no model")
    second = bench.registry(kept=kept)

    assert second.default.version == version
    second.start()
    wait_until(lambda: first.default.version == version == second.default.version)
    version = bench.replace(variant(seed=80))
    wait_until(lambda: second.default.version == version)


def test_a_worker_that_starts_beside_a_file_that_cannot_abstain_serves_what_the_others_do(
    bench: Bench, variant: Callable[..., bytes], tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    first = bench.registry(kept=kept, abstain=0.9)
    first.start()
    wait_until(lambda: (kept / "0.model").is_file())
    bench.replace(variant(class_names=("face", "unknown")))

    second = bench.registry(kept=kept, abstain=0.9)

    assert second.default.version == first.default.version
    with pytest.raises(AbstentionError):
        bench.registry(abstain=0.9)


def test_a_primary_answers_first(bench: Bench, model_file: Path) -> None:
    registry = bench.registry(str(model_file), deadline=20.0)

    assert registry.default.answer(IMAGE).served_by == "primary"
    assert bench.figure('classic_cv_breaker_state{model="faces",state="closed"}') == 1


def test_agreement_with_the_primary_is_counted(bench: Bench, model_file: Path) -> None:
    registry = bench.registry(str(model_file), deadline=20.0, sample=1.0)
    registry.default.answer(IMAGE)

    wait_until(lambda: bench.figure('classic_cv_agreement_total{agreed="yes",model="faces"}') == 1)


def test_a_primary_that_cannot_be_used_is_an_error_at_the_start(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"gone\.safetensors"):
        bench.registry(str(tmp_path / "gone.safetensors"))


def test_changes_of_a_breaker_are_counted_and_logged(bench: Bench, model_file: Path) -> None:
    fallback = bench.registry(str(model_file), deadline=20.0).default.fallback
    assert fallback is not None

    trip(fallback.breaker)

    assert bench.figure('classic_cv_breaker_state{model="faces",state="open"}') == 1
    assert bench.figure('classic_cv_breaker_state{model="faces",state="closed"}') == 0
    assert bench.lines[-1]["event"] == "breaker"
    assert (bench.lines[-1]["model"], bench.lines[-1]["state"]) == ("faces", "open")


def trip(breaker: Any) -> None:
    while (permit := breaker.acquire()) is not None:
        permit.failed()


def test_breaker_and_primary_stay_over_a_reload(
    bench: Bench, model_file: Path, variant: Callable[..., bytes]
) -> None:
    registry = bench.registry(str(model_file), deadline=20.0)
    registry.start()
    old = registry.default
    assert old.fallback is not None
    trip(old.fallback.breaker)

    version = bench.replace(variant(seed=81))
    wait_until(lambda: registry.default.version == version)

    new = registry.default
    assert new.fallback is not None
    assert new.fallback.breaker is old.fallback.breaker
    answer = new.answer(IMAGE)
    assert (answer.served_by, answer.reason) == ("fallback", "open")
    wait_until(lambda: new.answer(IMAGE).served_by == "primary")


def test_a_model_of_other_classes_begins_with_a_new_breaker(
    bench: Bench, tmp_path: Path, variant: Callable[..., bytes]
) -> None:
    primary = tmp_path / "primary.safetensors"
    primary.write_bytes(bench.path.read_bytes())
    registry = bench.registry(str(primary), deadline=20.0)
    registry.start()
    old = registry.default
    assert old.fallback is not None
    trip(old.fallback.breaker)
    renamed = variant(class_names=("a", "b"))

    # The primary's classes are not those of the new model.
    bench.replace(renamed)
    wait_until(lambda: bench.loads("refused") == 1)
    assert registry.default is old

    primary.write_bytes(renamed)
    os.utime(bench.path, ns=(1, 1))
    wait_until(lambda: registry.default is not old)
    assert registry.default.answer(IMAGE).served_by == "primary"
    assert bench.figure('classic_cv_breaker_state{model="faces",state="closed"}') == 1


def test_the_calls_of_a_replaced_model_end_after_its_last_request(
    bench: Bench, model_file: Path, variant: Callable[..., bytes]
) -> None:
    registry = bench.registry(str(model_file), deadline=20.0)
    registry.start()
    in_flight = registry.default
    fallback = in_flight.fallback
    assert fallback is not None

    version = bench.replace(variant(seed=82))
    wait_until(lambda: registry.default.version == version)
    assert in_flight.answer(IMAGE).served_by == "primary"

    del in_flight
    gc.collect()
    assert fallback.answer(IMAGE).reason == "busy"
    assert registry.default.answer(IMAGE).served_by == "primary"


def test_a_closed_registry_is_not_ready_and_looks_no_more(
    bench: Bench, variant: Callable[..., bytes]
) -> None:
    registry = bench.registry()
    registry.start()
    registry.close()
    version = registry.default.version

    bench.replace(variant(seed=83))
    time.sleep(5 * POLL)

    assert not registry.ready
    assert registry.default.version == version
    registry.close()


def test_a_new_file_that_cannot_abstain_does_not_replace_one_that_can(
    bench: Bench, variant: Callable[..., bytes]
) -> None:
    registry = bench.registry(abstain=0.9)
    version = registry.default.version
    registry.start()
    bench.replace(variant(class_names=("face", "unknown")))
    wait_until(lambda: bench.loads("refused") == 1)
    assert (registry.default.version, registry.default.abstain) == (version, 0.9)
    [line] = [line for line in bench.lines if line["event"] == "model refused"]
    assert "has a class 'unknown'" in line["error"]
