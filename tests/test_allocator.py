"""What becomes of freed memory: in processes of their own, since it cannot be undone."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")

KEEPING = """
import resource, sys
import numpy as np
from classic_cv.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(3):
    np.ones(2**22)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(2**22)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

RETURNING = """
import sys
import numpy as np
from classic_cv.allocator import return_freed_memory
if sys.argv[1] == "return":
    assert return_freed_memory()
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
before = resident()
for _ in range(3):
    np.ones(2**21)
large, kept = [np.ones(2**20) for _ in range(8)], np.ones(30000)
del large
print(resident() - before)
"""


def printed(program: str, what: str) -> int:
    run = subprocess.run([sys.executable, "-c", program, what], capture_output=True, text=True, check=True)
    return int(run.stdout)


def test_memory_is_used_again() -> None:
    """Pages that the system gave for 20 arrays of 32 MiB, one after the other."""
    assert printed(KEEPING, "keep") < 0.1 * printed(KEEPING, "leave")


def test_memory_goes_back_after_something_large() -> None:
    """Bytes that stay after arrays of 16 MiB, and then eight of 8 MiB with something that is kept behind them."""
    assert printed(RETURNING, "return") < 2**21
    assert printed(RETURNING, "leave") > 2**24
