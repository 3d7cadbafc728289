"""The two-loop recursion of L-BFGS (Nocedal 1980) for a batch of problems in lockstep."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from classic_cv.heads._newton_step import Floats, row_dot


class BatchLBFGS:
    """Steps and gradient changes of the last ``memory`` iterations, one row per problem."""

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self.pairs: list[tuple[Floats, Floats, Floats]] = []

    def add(self, step: Floats, change: Floats) -> None:
        """Remember a step and how the gradient changed; a problem without positive curvature is passed over."""
        curvature = row_dot(step, change)
        usable = curvature > 1e-12 * row_dot(step, step)
        inverse = np.where(usable, 1 / np.where(usable, curvature, 1), 0).astype(np.float32)
        self.pairs = [*self.pairs[1 - self.memory :], (step, change, inverse)]

    def keep(self, chosen: NDArray[np.bool_]) -> None:
        """Forget the problems that are not chosen."""
        self.pairs = [(s[chosen], z[chosen], r[chosen]) for s, z, r in self.pairs]

    def direction(self, gradient: Floats, precondition: Callable[[Floats], Floats]) -> Floats:
        """The descent direction, with ``precondition`` as the first guess of the inverse Hessian."""
        q = gradient.copy()
        factors = []
        for s, z, r in reversed(self.pairs):
            a = r * row_dot(s, q)
            factors.append(a)
            q -= a[:, None] * z
        q = precondition(q)
        for (s, z, r), a in zip(self.pairs, reversed(factors), strict=True):
            q += (a - r * row_dot(z, q))[:, None] * s
        return -q
