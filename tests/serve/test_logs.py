"""The log: one JSON object a line, whatever is in it."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from classic_cv.errors import ArtifactError
from classic_cv.serve.logs import RequestLog

REQUEST: dict[str, Any] = {
    "request_id": "abc",
    "method": "POST",
    "endpoint": "/classify",
    "status": 200,
    "ms": 1.23456,
    "bytes": 5,
}


@pytest.fixture
def lines() -> list[bytes]:
    return []


@pytest.fixture
def log(lines: list[bytes]) -> RequestLog:
    return RequestLog(write=lines.append)


def test_a_request_is_one_line_with_what_is_known_of_it(log: RequestLog, lines: list[bytes]) -> None:
    log.request(**REQUEST, model="digits", images=2, served_by="fallback", reason="late")

    [line] = lines
    assert line.endswith(b"}\n")
    record = json.loads(line)
    assert record.pop("time").endswith("+00:00")
    assert record == {
        **REQUEST,
        "ms": 1.235,
        "event": "request",
        "pid": os.getpid(),
        "model": "digits",
        "images": 2,
        "served_by": "fallback",
        "reason": "late",
    }


def test_only_a_client_that_went_away_is_said_to(log: RequestLog, lines: list[bytes]) -> None:
    log.request(**REQUEST)
    log.request(**REQUEST, client_gone=True)

    assert [json.loads(line).get("client_gone") for line in lines] == [None, True]


def test_quiet_drops_requests_only(lines: list[bytes]) -> None:
    log = RequestLog(quiet=True, write=lines.append)
    log.request(**REQUEST)
    log.event("draining", in_flight=3)

    [line] = lines
    assert json.loads(line)["event"] == "draining"
    assert json.loads(line)["in_flight"] == 3


def test_an_error_comes_with_its_traceback_on_one_line(log: RequestLog, lines: list[bytes]) -> None:
    try:
        raise ValueError("two\nlines \x1b[31m \udcff")
    except ValueError as error:
        log.event("model refused", model="digits", error=error)

    [line] = lines
    assert line.count(b"\n") == 1
    # A terminal that shows the log is sent no escape sequences.
    assert b"\x1b" not in line
    record = json.loads(line)
    assert record["error"] == "two\nlines \x1b[31m \udcff"
    assert record["traceback"].startswith("Traceback (most recent call last)")
    assert "test_logs.py" in record["traceback"]


def test_an_error_of_ours_is_said_in_its_message_alone(log: RequestLog, lines: list[bytes]) -> None:
    log.event("model refused", error=ArtifactError("m: is damaged"))

    record = json.loads(lines[0])
    assert record["error"] == "m: is damaged"
    assert "traceback" not in record


def test_it_goes_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    RequestLog().event("started", path=os.path)

    out, err = capfd.readouterr()
    assert out == ""
    assert json.loads(err)["event"] == "started"


def test_a_log_that_breaks_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def broken(descriptor: int, line: bytes) -> int:
        tried.append(descriptor)
        raise BrokenPipeError

    monkeypatch.setattr(os, "write", broken)
    RequestLog().event("started")

    assert len(tried) == 1
