"""A server as a contestant: scored and timed like the others, with what is not known of it left out."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from classic_cv.compare.entries import parse_entry
from classic_cv.compare.harness import Done, Harness, Run
from classic_cv.compare.oip import ELSEWHERE, OipPredictor, store_address
from classic_cv.errors import ParameterError, RecipeError
from classic_cv.images import to_picture
from classic_cv.oip.tensors import OipError
from tests.compare.conftest import MakeHarness, WriteContestant
from tests.oip.conftest import ModelServer, running


def by_color(image: bytes | NDArray[np.uint8]) -> NDArray[np.float32]:
    """Red, then green."""
    red, green, _ = to_picture(image).pixels.reshape(-1, 3).mean(axis=0)
    return np.array([0.9, 0.1] if red > green else [0.1, 0.9], np.float32)


@pytest.fixture
def server() -> Iterator[ModelServer]:
    """Knows the discs, with its classes in another order than the data's."""
    with ExitStack() as stack:
        server = ModelServer(by_color)
        server.class_names = ["red", "green"]
        server.outputs = [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]}]
        stack.enter_context(running(server))
        yield server


def go(harness: Harness, contestant: str) -> Done:
    return harness.run(Run(parse_entry(contestant), 20.0, 0, harness.arena.train))


def test_its_name() -> None:
    entry = parse_entry("mine=oip:http://h:8000/v2/models/m")
    assert (entry.name, entry.method, entry.kind) == ("mine", "oip", "given")
    assert entry.source == "http://h:8000/v2/models/m"
    assert not entry.is_fitted
    with pytest.raises(ParameterError, match="no address of a model"):
        parse_entry("oip:http://h:8000/")


def test_it_is_scored_and_timed_and_what_is_not_known_is_left_out(
    discs: Path, make_harness: MakeHarness, server: ModelServer
) -> None:
    harness = make_harness(discs)
    assert harness.arena.class_names == ("green", "red")
    done = go(harness, f"oip:{server.url}")
    assert done.result["outcome"] == "ok"
    assert done.accuracy == 1.0
    assert done.probabilities is not None
    assert np.ptp(done.probabilities[:, 0]) == pytest.approx(0.8)
    assert done.result["log"] == [ELSEWHERE]
    assert done.result["fit_cpu_seconds"] is None
    harness.time([done], 1, 10)
    assert done.result["outcome"] == "ok"
    assert done.result["latency_ms"]["n"] == 10
    assert done.result["latency_ms"]["p50"] > 0
    assert (done.result["model_bytes"], done.result["peak_rss_mb"]) == (None, None)
    assert done.result["stages_ms"] == {}
    # What is behind an address may have changed: nothing that was kept is taken for it.
    server.model = lambda image: by_color(image)[::-1]
    assert go(harness, f"oip:{server.url}").accuracy == 0.0


@pytest.mark.parametrize(
    ("settings", "error", "match"),
    [
        (
            {"class_names": ["red", "blue"]},
            RecipeError,
            "its classes are 'red', 'blue', those of the data 'green', 'red'",
        ),
        ({"class_names": ["red"]}, OipError, r"has the shape \[1, 2\]; expected is \[1, 1\]"),
        (
            {"class_names": None, "model": lambda image: np.full(3, 1 / 3, np.float32)},
            RecipeError,
            r"gives 3 probabilities, but the data has 2 classes \('green', 'red'\)",
        ),
        ({"model": lambda image: np.array([2, -1], np.float32)}, OipError, "gives no probabilities"),
        ({"model": lambda image: np.array([np.nan, 1], np.float32)}, OipError, "gives no probabilities"),
        ({"status": 503}, OipError, "answers 503"),
    ],
)
def test_a_server_that_cannot_be_used_is_told_before_anything_is_measured(
    tmp_path: Path, server: ModelServer, settings: dict[str, Any], error: type[Exception], match: str
) -> None:
    for name, value in settings.items():
        setattr(server, name, value)
    with pytest.raises(error, match=match):
        store_address(server.url, ("green", "red"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_order_that_is_not_said_is_assumed_and_noted(tmp_path: Path, server: ModelServer) -> None:
    server.class_names = None
    notes = store_address(server.url, ("red", "green"), tmp_path)
    assert notes[1:] == [
        "its class_names are not said: its columns are taken for 'red', 'green', the data's order"
    ]
    predictor = OipPredictor.load(tmp_path)
    image = np.full((8, 8, 3), (200, 0, 0), np.uint8)
    assert predictor.label(image) == 0
    predictor.close()


def test_who_is_not_there_fails_alone(discs: Path, make_harness: MakeHarness) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    done = go(make_harness(discs), f"oip:http://127.0.0.1:{port}/v2/models/m")
    assert done.result["outcome"] == "failed"
    assert "cannot be reached" in done.result["message"]


def test_nobody_else_may_connect(
    discs: Path, make_harness: MakeHarness, write_contestant: WriteContestant, server: ModelServer
) -> None:
    fit = f"""
    import socket
    socket.create_connection(("127.0.0.1", {server.server_address[1]})).close()
    return store(task)
    """
    done = go(make_harness(discs), write_contestant(fit))
    assert done.result["outcome"] == "failed"
    assert "contestants compute by themselves; only oip:URL may connect" in done.result["message"]
    assert server.n_connections == 0
