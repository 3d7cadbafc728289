"""Memory that the training's steps use again and again."""

from __future__ import annotations

import ctypes
import functools
import platform

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
"""Parameters of glibc's mallopt (malloc.h)."""

LARGEST = 2**30
PAD = 2**28


@functools.cache
def keep_freed_memory() -> bool:
    """Let this process keep what it frees for what it allocates next; False where the C library has no such setting.

    glibc gives arrays of some megabytes back to the system at once, and every step of a training asks for the same
    ones again, zeroed page by page.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    wanted = {M_MMAP_THRESHOLD: LARGEST, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: PAD}
    return all([libc.mallopt(parameter, value) for parameter, value in wanted.items()])
