"""Runs a command and prints its seconds, peak memory and exit status as JSON; its own output goes to nowhere.

    python -I -S benchmarks/_timed.py COMMAND [ARGUMENT]...

Linux counts the memory of the process that starts a program towards the program's peak. The benchmarks hold NumPy,
OpenCV and data, so they start what they measure through this small process, which imports nothing that is large.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time


def main() -> None:
    # Ended by the benchmark, it ends what it measures.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    start = time.perf_counter()
    process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        process.terminate()
        process.wait()
        raise
    seconds = time.perf_counter() - start
    peak = usage.ru_maxrss if sys.platform == "darwin" else usage.ru_maxrss * 1024
    print(
        json.dumps({"status": os.waitstatus_to_exitcode(status), "seconds": seconds, "peak_mb": peak / 1e6})
    )


if __name__ == "__main__":
    main()
