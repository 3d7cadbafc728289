"""Limits on a contestant's process."""

from __future__ import annotations

import os
import subprocess
import sys

from classic_cv.compare.limits import (
    THREAD_VARIABLES,
    cores_of,
    environment,
    pinned,
    set_threads,
    verified_threads,
)


def test_the_environment_limits_threads_before_anything_is_imported() -> None:
    code = (
        "import numpy, json, os, sys; from threadpoolctl import threadpool_info; "
        "print(max(pool['num_threads'] for pool in threadpool_info()))"
    )
    env = environment(1, [path for path in sys.path if path])
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
    assert all(env[name] == "1" for name in THREAD_VARIABLES)


def test_a_process_that_is_started_pinned_stays_on_its_cores() -> None:
    before = os.sched_getaffinity(0)
    core = min(before)
    with pinned([core]):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert cores_of(child.pid) == {core}
        assert os.sched_getaffinity(0) == before
    finally:
        child.kill()
        child.wait()
        assert child.stdin is not None
        child.stdin.close()


def test_threads_are_what_the_libraries_say() -> None:
    import cv2

    before = cv2.getNumThreads()
    set_threads(1)
    try:
        assert verified_threads()["opencv"] == 1
        assert verified_threads()["cores"] == len(os.sched_getaffinity(0))
    finally:
        cv2.setNumThreads(before)
