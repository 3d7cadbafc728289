"""The log of a training: one JSON object per line."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from classic_cv.errors import ArtifactError
from classic_cv.neural.log import JsonLines


def test_each_entry_is_a_line_that_is_there_at_once(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with JsonLines(path) as log:
        log.write(event="step", step=1, loss=0.5)
        assert [json.loads(line) for line in path.read_text().splitlines()] == [
            {"event": "step", "step": 1, "loss": 0.5}
        ]
        log.write(event="ü\n", done=True, none=None)
        assert len(path.read_text(encoding="utf-8").splitlines()) == 2
    last = json.loads(path.read_text(encoding="utf-8").splitlines()[1])
    assert last == {"event": "ü\n", "done": True, "none": None}


def test_what_json_has_no_number_for_is_null(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with JsonLines(path) as log:
        log.write(a=math.nan, b=math.inf, c=-math.inf, d=1 / 3, e=1e-30, f=2**60, g=np.float64(0.25))
        log.write(h=np.float32(0.1), i=np.int64(7), j=np.float32("nan"))
        log.write(k={"inner": [math.nan, (1 / 3, np.int32(2))]}, l=np.bool_(True))

    def refuse(name: str) -> None:
        raise AssertionError(name)

    lines = [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]
    assert lines[0] == {"a": None, "b": None, "c": None, "d": 0.333333, "e": 1e-30, "f": 2**60, "g": 0.25}
    assert lines[1] == {"h": 0.1, "i": 7, "j": None}
    assert lines[2] == {"k": {"inner": [None, [0.333333, 2]]}, "l": True}


def test_a_new_log_replaces_the_old_one_and_an_appended_one_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    for value, append in ((1, False), (2, False), (3, True)):
        with JsonLines(path, append=append) as log:
            log.write(value=value)
    assert [json.loads(line)["value"] for line in path.read_text().splitlines()] == [2, 3]


def test_without_a_path_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with JsonLines(None) as log:
        log.write(event="step")
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "log.jsonl"
    expected = f"{path}: the log cannot be written (No such file or directory); give another file"
    with pytest.raises(ArtifactError, match=f"^{re.escape(expected)}$"):
        JsonLines(path)
