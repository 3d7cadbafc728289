"""What the C library does with memory that is freed: kept for what comes next, or given back to the system."""

from __future__ import annotations

import ctypes
import functools
import platform

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
"""Parameters of glibc's mallopt (malloc.h)."""

LARGEST = 2**30
PAD = 2**28

SMALLEST_RETURNED = 2**20
"""Bytes; features of a picture at the usual sizes stay below it."""


@functools.cache
def keep_freed_memory() -> bool:
    """Let this process keep what it frees for what it allocates next; False where the C library has no such setting.

    glibc gives arrays of some megabytes back to the system at once, and every step of a training asks for the same
    ones again, zeroed page by page.
    """
    return _set({M_MMAP_THRESHOLD: LARGEST, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: PAD})


@functools.cache
def return_freed_memory() -> bool:
    """Let this process give back what it frees of a megabyte and more; False where the C library has no such setting.

    glibc raises its threshold to the size of whatever large array was freed once: after one huge image a service would
    hold on to as much memory for ever.
    """
    return _set({M_MMAP_THRESHOLD: SMALLEST_RETURNED, M_TRIM_THRESHOLD: SMALLEST_RETURNED})


def _set(wanted: dict[int, int]) -> bool:
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return all([libc.mallopt(parameter, value) for parameter, value in wanted.items()])
