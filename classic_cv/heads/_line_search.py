"""Exact minimisation of the squared-hinge objective along given directions, a batch at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from classic_cv.heads._newton_step import Floats, row_dot

PRECISION = 0.01
"""The slope left where the search stops, as a share of the slope at its start."""


def line_search(
    M: Floats,
    Q: Floats,
    slope: NDArray[np.float64],
    curve: NDArray[np.float64],
    C: float,
    S: Floats | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Minimise ``slope t + curve t^2 / 2 + C sum s max(0, M - t Q)^2`` over t > 0, row by row.

    The derivative is increasing and piecewise linear: Newton's method, kept inside the bracket found so far,
    ends in a few passes.

    Args:
        M: margins left, ``1 - y * score``, float32 (n_problems, n_samples).
        Q: their decrease along the direction.
        slope: dot product of weights and direction, (n_problems,).
        curve: squared length of the direction.
        C: weight of the losses.
        S: sample weights like M, or None for all ones.

    Returns:
        The steps t, and the derivatives at t = 0.
    """
    count = len(M)
    t, low, high = np.ones(count), np.zeros(count), np.full(count, np.inf)
    WQ = Q if S is None else Q * S
    start = slope - 2 * C * row_dot(np.maximum(M, 0), WQ)
    todo = np.arange(count)
    for _ in range(50):
        m, q, wq = (M, Q, WQ) if len(todo) == count else (M[todo], Q[todo], WQ[todo])
        left = m - t[todo, None].astype(np.float32) * q
        inside = left > 0
        left *= inside
        first = slope[todo] + curve[todo] * t[todo] - 2 * C * row_dot(left, wq)
        second = curve[todo] + 2 * C * row_dot(q * inside, wq)
        going = np.abs(first) > PRECISION * np.abs(start[todo])
        if not going.any():
            break
        todo, first, second = todo[going], first[going], second[going]
        beyond = first > 0
        high[todo[beyond]] = t[todo[beyond]]
        low[todo[~beyond]] = t[todo[~beyond]]
        step = t[todo] - first / np.maximum(second, np.finfo(float).tiny)
        middle = np.where(np.isfinite(high[todo]), 0.5 * (low[todo] + high[todo]), 2 * t[todo])
        t[todo] = np.where((step > low[todo]) & (step < high[todo]), step, middle)
    return t, start
