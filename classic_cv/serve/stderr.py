"""Standard error of a worker: what libraries write there, past Python's logging, becomes lines of the log."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import socket
import stat
import threading
import time
from collections.abc import Callable

STDERR = 2

LONGEST = 500
"""Characters of a line that are kept."""

MOST = 10
"""Lines in a second: libjpeg has one for every damaged image, and whoever sends these should not fill the log."""

Tell = Callable[[str, int], object]
"""Takes a line, and how many before it were left out."""


class StandardError:
    """The file that standard error was when this was made, for lines that are in order already."""

    def __init__(self) -> None:
        self._file = os.dup(STDERR)
        self._send = _sender(self._file)
        self._follower: threading.Thread | None = None

    def write(self, line: bytes) -> None:
        """Write at once, so that lines of several processes do not mix; lines that nobody takes are lost."""
        with contextlib.suppress(OSError):
            self._send(line)

    def capture(self, tell: Tell) -> None:
        """Let everything else that is written to standard error be told, line by line; crashes still go to the file."""
        source, sink = os.pipe()
        os.dup2(sink, STDERR)
        os.close(sink)
        faulthandler.enable(self._file)
        self._follower = threading.Thread(target=_follow, args=(source, tell), name="stderr", daemon=True)
        self._follower.start()

    def release(self) -> None:
        """Make standard error what it was."""
        if self._follower is None:
            return
        faulthandler.disable()
        os.dup2(self._file, STDERR)
        # A child of this process may hold the other end for longer.
        self._follower.join(1.0)
        self._follower = None


def _sender(file: int) -> Callable[[bytes], object]:
    """What writes to a file without waiting for whoever reads it: a log that nobody reads must stop no service.

    The flag for that belongs to the open file, which other processes have too, so pipes and terminals are opened anew.
    Other files take everything.
    """
    mode = os.fstat(file).st_mode
    if stat.S_ISSOCK(mode):
        other = socket.socket(fileno=os.dup(file))
        return lambda line: other.send(line, socket.MSG_DONTWAIT)
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        with contextlib.suppress(OSError):
            file = os.open(f"/dev/fd/{file}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    return lambda line: os.write(file, line)


def _follow(source: int, tell: Tell) -> None:
    """Tell lines until nobody can write any more."""
    second, told, left_out = 0, 0, 0
    with open(source, "rb") as lines:
        # Bounded, as a line that never ends would be kept in memory.
        while line := lines.readline(LONGEST):
            if second != int(time.monotonic()):
                second, told = int(time.monotonic()), 0
            if told >= MOST:
                left_out += 1
                continue
            tell(line.decode("utf-8", "replace").rstrip(), left_out)
            told, left_out = told + 1, 0
