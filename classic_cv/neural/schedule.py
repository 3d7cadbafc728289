"""The learning rate over the course of training, as a share of its peak."""

from __future__ import annotations

import math

WARM_UP = 0.25
"""Share of the training in which the learning rate rises."""

LEAST = 0.01
"""Of the peak, at the very beginning."""

CYCLES = (0.25, 0.35, 0.4)
"""Shares of the training of the three cycles of ``restarts``; the first contains the short rise before it."""

RESTART_WARM_UP = 0.05


def one_cycle(progress: float) -> float:
    """Linear up to the peak and down to zero (Smith and Topin 2018, arXiv:1708.07120).

    Args:
        progress: 0 at the first step, towards 1 at the last.
    """
    if progress < WARM_UP:
        return LEAST + (1 - LEAST) * progress / WARM_UP
    return (1 - progress) / (1 - WARM_UP)


def restarts(progress: float) -> float:
    """Three half cosines from the peak to zero, each longer than the one before (SGDR, arXiv:1608.03983).

    A short rise to the first peak comes before the first; ``progress`` as in ``one_cycle``.
    """
    if progress < RESTART_WARM_UP:
        return LEAST + (1 - LEAST) * progress / RESTART_WARM_UP
    start, end = RESTART_WARM_UP, 0.0
    for length in CYCLES:
        end += length
        if progress < end:
            return 0.5 * (1 + math.cos(math.pi * (progress - start) / (end - start)))
        start = end
    return 0.0


SCHEDULES = {"one-cycle": one_cycle, "restarts": restarts}
