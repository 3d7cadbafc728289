"""Standard error as lines of the log: what C code and Python write there, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import os, sys
from classic_cv.serve.logs import RequestLog
from classic_cv.serve.stderr import StandardError
own = StandardError()
log = RequestLog(write=own.write)
own.capture(lambda line, left_out: log.event("stderr", line=line, left_out=left_out))
{what}
own.release()
print("after", file=sys.stderr)
"""


def lines(what: str) -> tuple[list[dict[str, object]], str]:
    """The log's lines, and what was written after the release."""
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(what=what)], capture_output=True, text=True, timeout=60
    )
    *log, after = run.stderr.splitlines()
    return [json.loads(line) for line in log], after


def test_what_is_written_past_the_log_becomes_lines_of_it() -> None:
    what = "os.write(2, b'Corrupt JPEG data: 7 extraneous bytes\\n'); print('from Python', file=sys.stderr, flush=True)"
    log, after = lines(what)
    assert [line["line"] for line in log] == ["Corrupt JPEG data: 7 extraneous bytes", "from Python"]
    assert {line["event"] for line in log} == {"stderr"}
    assert after == "after"


def test_nobody_can_fill_the_log_with_them() -> None:
    log, _ = lines("os.write(2, b'noise\\n' * 5000)")
    assert 10 <= len(log) <= 50


def test_what_was_left_out_is_told_later() -> None:
    log, _ = lines("import time; os.write(2, b'noise\\n' * 500); time.sleep(1.2); os.write(2, b'last\\n')")
    assert log[-1]["line"] == "last"
    assert sum(int(str(line["left_out"])) for line in log) + len(log) == 501


def test_a_line_that_does_not_end_is_cut() -> None:
    log, _ = lines("os.write(2, b'x' * 1300)")
    assert [len(str(line["line"])) for line in log] == [500, 500, 300]


def test_crashes_are_told_where_they_would_have_been() -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(what="import faulthandler; faulthandler._sigabrt()")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode
    assert "Fatal Python error: Aborted" in run.stderr
