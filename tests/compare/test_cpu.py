"""CPU seconds and memory of a tree of processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from classic_cv.compare.cpu import CpuBudget, TreeMeter

BUSY = "import time\nstart = time.process_time()\nwhile time.process_time() - start < {}: pass\n"


def spend(seconds: float) -> None:
    start = time.process_time()
    while time.process_time() - start < seconds:
        pass


def test_a_budget_counts_work_and_not_waiting() -> None:
    budget = CpuBudget(10.0)
    time.sleep(0.3)
    assert budget.used() < 0.2
    spend(0.3)
    assert 0.3 <= budget.used() < 0.6
    assert abs(budget.left + budget.used() - 10.0) < 0.05


def test_a_budget_counts_a_child_that_lives_and_one_that_ended() -> None:
    budget = CpuBudget(10.0)
    child = subprocess.Popen([sys.executable, "-c", BUSY.format(0.6) + "time.sleep(30)"])
    try:
        deadline = time.monotonic() + 20
        while budget.used() < 0.5 and time.monotonic() < deadline:
            spend(0.01)
            time.sleep(0.05)
        alive = budget.used()
    finally:
        child.kill()
        child.wait()
    assert alive >= 0.5
    spend(0.25)
    assert budget.used() >= alive
    subprocess.run([sys.executable, "-c", BUSY.format(0.4)], check=True)
    spend(0.25)
    assert budget.used() >= alive + 0.4


def test_what_a_meter_has_counted_never_falls() -> None:
    child = subprocess.Popen([sys.executable, "-c", BUSY.format(0.3) + "time.sleep(30)"])
    try:
        meter = TreeMeter(child.pid)
        deadline = time.monotonic() + 20
        while meter.read().cpu_seconds < 0.3 and time.monotonic() < deadline:
            time.sleep(0.02)
        use = meter.read()
        assert use.processes == 1
        assert use.rss_bytes > 2**20
    finally:
        child.kill()
        child.wait()
    gone = meter.read()
    assert gone.processes == 0
    assert gone.cpu_seconds >= use.cpu_seconds >= 0.3


def test_descendants_are_found() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])
    try:
        assert child.pid in [one.pid for one in TreeMeter(os.getpid()).descendants()]
    finally:
        child.kill()
        child.wait()
