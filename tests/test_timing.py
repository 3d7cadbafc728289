"""What the measurements themselves are made of."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from classic_cv.timing import peak_rss_mb

PROBE = """
from classic_cv.timing import peak_rss_mb
before = peak_rss_mb()
import numpy
there = numpy.ones(10_000_000)
del there
print(before, peak_rss_mb())
"""


def test_peak_memory_is_that_of_the_process_alone() -> None:
    held = np.ones(40_000_000)  # 320 MB of this process
    run = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    before, after = map(float, run.stdout.split())
    assert peak_rss_mb() > held.nbytes / 1e6
    assert 5 < before < 200
    # What was held once counts, freed or not.
    assert 75 < after - before < 200
