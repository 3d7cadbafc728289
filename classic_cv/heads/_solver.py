"""A finite Newton solver for many squared-hinge linear SVMs over the same rows at once.

Problem p has signs ``y`` and weights ``s`` over all rows; its objective is that of scikit-learn's
``LinearSVC(loss="squared_hinge", intercept_scaling=1)``, the penalised bias included:

    0.5 * (|w|^2 + b^2) + C * sum_i s_i * max(0, 1 - y_i (w . x_i + b))^2

It is convex and piecewise quadratic: a Newton step on the rows inside the margin with an exact line search
reaches the optimum in a finite number of steps (Keerthi and DeCoste 2005, "A modified finite Newton method
for fast solution of large scale linear SVMs"; Chapelle 2007, "Training a support vector machine in the
primal"). All problems share the passes over X, one pair of matrix products per iteration. The first steps
are L-BFGS steps preconditioned by one Gram matrix that all problems share, because a Hessian per problem
pays only when few rows still cross the margin. A row of weight 0 is left out of a problem, and its score
still comes out: cross-validation needs no copy of X.

BLAS works on one thread here, and the products with X are cut into slices that run on all cores. OpenBLAS's
own threads wait for each other by spinning: with one other busy process on a machine of two cores they made
the same cross-validation 3.5 times slower than one thread. The result does not depend on the cores either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from classic_cv.heads._lbfgs import BatchLBFGS
from classic_cv.heads._line_search import line_search
from classic_cv.heads._newton_step import CHUNK_BYTES, Factor, Floats, Gram, Mask, NewtonSystems, row_dot
from classic_cv.heads._reduction import RowSpace
from classic_cv.timing import available_cores, thread_limit

Part = TypeVar("Part")
Item = TypeVar("Item")

WARM_UP = 3
"""L-BFGS iterations before a problem may be given its own Hessian."""

NEWTON_ITERATIONS = 5
"""Newton steps that a problem is expected to need after that."""

PASS_COST = (2.5, 45.0)
"""a and b: a multiplication in the skinny products with X takes a + b / n_problems times as long as one in a
Hessian. Measured with two BLAS threads; with one, values from a quarter to twice these change a fit by up to 40 %
either way, depending on the data, and none was best for all."""

QUASI_TOL = 0.1
"""L-BFGS ends at this share of the tolerance: unlike a Newton step, its last step does not end at the optimum."""

GRAM_FEATURES = 10_000
"""No Gram matrix of all columns for wider data, which would take too much memory, but one of each block of columns."""

BLOCK_FEATURES = 4500
"""Columns of such a block at most."""

WIDE_LEVEL = 2.0
"""In wide data shares of rows inside the margin are told apart in steps of so many powers of 2."""

ROW_SPACE_ROWS = 6000
"""With at most this many rows, and clearly fewer rows than features, the problem is posed in the rows' span."""

MAX_STEP_FLOPS = 2e12
"""Above this cost of one problem's Newton step, as plans count it, the L-BFGS steps go on instead."""

SLICES = 8
"""Pieces that the products with X are cut into, whatever the number of cores: so the result is the same."""

MIN_SLICE_VALUES = 2**19
"""Smaller pieces cost more in starting threads than they save."""

SYSTEM_BYTES = 2**30
"""Problems are solved in blocks whose Hessians together take at most about this much memory."""

LEAST_BLOCK = 16
"""Blocks are not smaller than this, to share the passes over X: in wide data some problems go without Hessians."""

RATE_WINDOW = 10
"""Iterations over which the rate of an L-BFGS descent is taken: from one to the next its promises go up and down."""

MAX_STALLS = 5
"""Iterations without a decrease that float32 can show after which a problem is given up."""


@dataclass(frozen=True)
class Solution:
    """The problems at one C.

    Attributes:
        weights: float32 (n_problems, n_features + 1), the bias last.
        scores: float32 (n_problems, n_samples), decision values of every row, also those of weight 0.
        objective: float64 (n_problems,).
        n_iter: iterations of each problem.
        converged: whether each reached the tolerance.
    """

    weights: Floats
    scores: Floats
    objective: NDArray[np.float64]
    n_iter: NDArray[np.int64]
    converged: Mask


@dataclass
class _Live:
    """The problems that have not ended yet: their index, state, and what the last iteration left."""

    index: NDArray[np.intp]
    W: Floats
    M: Floats
    Y: Floats
    S: Floats | None
    f: NDArray[np.float64]
    stalls: NDArray[np.int64]
    newton: Mask
    promised: NDArray[np.float64]
    trail: list[NDArray[np.float64]]
    history: BatchLBFGS
    step: Floats | None = None
    gradient: Floats | None = None

    def rate(self) -> NDArray[np.float64]:
        """How the logarithm of the promised decrease has changed per iteration of late."""
        changes: NDArray[np.float64] = np.log(self.trail[-1] / self.trail[0]) / max(1, len(self.trail) - 1)
        return changes

    def keep(self, on: Mask) -> None:
        self.index, self.W, self.M, self.Y = self.index[on], self.W[on], self.M[on], self.Y[on]
        self.f, self.stalls, self.newton = self.f[on], self.stalls[on], self.newton[on]
        self.promised, self.trail = self.promised[on], [promised[on] for promised in self.trail]
        self.S = None if self.S is None else self.S[on]
        self.step = None if self.step is None else self.step[on]
        self.gradient = None if self.gradient is None else self.gradient[on]
        self.history.keep(on)


class SquaredHingeSolver:
    """Solves the problems given by ``signs`` over the rows of ``X``; each ``solve`` starts where the last ended.

    Args:
        X: float32 (n_samples, n_features), C-contiguous, not copied.
        signs: +1 or -1, float32 (n_problems, n_samples).
        weights: float32 of the same shape, or None for all ones; 0 leaves a row out of a problem.
    """

    @thread_limit(1)
    def __init__(self, X: Floats, signs: Floats, weights: Floats | None = None) -> None:
        n, d = X.shape
        self.row_space = RowSpace(X) if n <= min(ROW_SPACE_ROWS, 0.8 * d) else None
        self.X = X if self.row_space is None else self.row_space.coordinates
        self.Y, self.S = signs, weights
        self.W: Floats = np.zeros((len(signs), self.X.shape[1] + 1), np.float32)
        self.M: Floats = np.ones(signs.shape, np.float32)
        size = max(-(-len(self.X) // SLICES), MIN_SLICE_VALUES // self.X.shape[1] + 1)
        self.slices = [slice(start, start + size) for start in range(0, len(self.X), size)]
        self.systems = NewtonSystems(self.X, len(signs))
        self.grams = shared_grams(self.X)
        self.room = max(1, SYSTEM_BYTES // (4 * self.X.shape[1] ** 2))
        size = max(self.room, LEAST_BLOCK)
        self.blocks = [np.arange(i, min(i + size, len(signs))) for i in range(0, len(signs), size)]

    @thread_limit(1)
    def solve(self, C: float, tol: float = 1e-5, max_iter: int = 200) -> Solution:
        """Minimise at this C.

        A problem ends when the decrease that its next step promises is at most ``tol`` times its objective;
        that step is still taken, which leaves it far closer to the optimum than ``tol``.
        """
        count = len(self.W)
        n_iter, converged = np.zeros(count, np.int64), np.zeros(count, np.bool_)
        self.factors: dict[float, list[Factor]] = {}
        for block in self.blocks:
            self._solve_block(block, C, tol, n_iter, converged, max_iter)
            if len(self.blocks) > 1:
                self.systems.forget()
        self.factors = {}
        weights = self.W.copy() if self.row_space is None else self.row_space.weights(self.W)
        return Solution(weights, self.Y * (1 - self.M), self.objective(C), n_iter, converged)

    def _solve_block(
        self,
        block: NDArray[np.intp],
        C: float,
        tol: float,
        n_iter: NDArray[np.int64],
        converged: Mask,
        max_iter: int,
    ) -> None:
        live = _Live(
            index=block,
            W=self.W[block],
            M=self.M[block],
            Y=self.Y[block],
            S=None if self.S is None else self.S[block],
            f=np.full(len(block), np.inf),
            stalls=np.zeros(len(block), np.int64),
            newton=np.array([self.systems.is_ready(problem) for problem in block]),
            promised=np.full(len(block), np.inf),
            trail=[],
            history=BatchLBFGS(memory=8),
        )
        for iteration in range(max_iter):
            self._iterate(live, C)
            n_iter[live.index] += 1
            converged[live.index] = done = (
                live.promised <= np.where(live.newton, tol, QUASI_TOL * tol) * live.f
            )
            end = done | (live.stalls >= MAX_STALLS)
            if end.any():
                self.W[live.index[end]], self.M[live.index[end]] = live.W[end], live.M[end]
                live.keep(~end)
                if len(live.index) == 0:
                    break
            if iteration + 1 >= WARM_UP:
                self._choose_newton(live, tol, iteration + 1)
        self.W[live.index], self.M[live.index] = live.W, live.M

    def objective(self, C: float) -> NDArray[np.float64]:
        """The objective of each problem at the present weights."""
        losses = np.maximum(self.M, 0).astype(np.float64) ** 2
        if self.S is not None:
            losses *= self.S
        W = self.W.astype(np.float64)
        values: NDArray[np.float64] = 0.5 * row_dot(W, W) + C * losses.sum(axis=1)
        return values

    def _choose_newton(self, live: _Live, tol: float, spent: int) -> None:
        """Give problems their own Hessians where going on at the present rate would take longer.

        Also where it has taken as long already: a rate that promises too much costs at most that.
        """
        n, d = self.X.shape
        a_pass = 2 * n * d * (PASS_COST[0] + PASS_COST[1] / len(live.index))
        rates = live.rate()
        for i in np.flatnonzero(~live.newton):
            ratio = live.promised[i] / (QUASI_TOL * tol * live.f[i])
            remaining = np.log(ratio) / max(-rates[i], 1e-2)
            plan = self.systems.plan(live.index[i], live.M[i] > 0)
            newton = plan.first + NEWTON_ITERATIONS * (plan.next + a_pass)
            affordable = plan.first < MAX_STEP_FLOPS and (plan.by_rows or live.newton.sum() < self.room)
            live.newton[i] = affordable and max(remaining, spent) * a_pass > newton

    def _iterate(self, live: _Live, C: float) -> None:
        """One step of every live problem; notes the decrease that each quadratic model promised."""
        A = np.maximum(live.M, 0)
        SA = A if live.S is None else A * live.S
        f = 0.5 * row_dot(live.W, live.W).astype(np.float64) + C * row_dot(SA, A)
        live.stalls = np.where(live.f - f <= 1e-7 * f, live.stalls + 1, 0)
        live.f = f
        D = self._directions(live, SA, C)
        Q = self._forward(D)
        Q *= live.Y
        slope, curve = row_dot(live.W, D).astype(np.float64), row_dot(D, D).astype(np.float64)
        t, start = line_search(live.M, Q, slope, curve, C, live.S)
        length = t.astype(np.float32)[:, None]
        D *= length
        Q *= length
        live.W, live.M, live.step = live.W + D, live.M - Q, D
        live.promised = np.maximum(-0.5 * start, np.finfo(float).tiny)
        live.trail = [*live.trail[-RATE_WINDOW:], live.promised]

    def _directions(self, live: _Live, SA: Floats, C: float) -> Floats:
        inside = SA > 0
        slow = ~live.newton
        plans = [self.systems.plan(p, mask) for p, mask in zip(live.index, inside, strict=True)]
        by_rows = np.array([plan.by_rows for plan in plans]) & ~slow
        R = np.float32(-2 * C) * SA
        R *= live.Y
        for i in np.flatnonzero(by_rows):
            R[i] = self.systems.row_coefficients(
                live.index[i], inside[i], live.Y[i], None if live.S is None else live.S[i], C
            )
        D = self._backward(R)
        D[by_rows] -= live.W[by_rows]
        gradient = live.W + D
        if slow.any():
            if live.gradient is not None and live.step is not None:
                live.history.add(live.step, gradient - live.gradient)
            share = inside.mean(axis=1)
            D[slow] = live.history.direction(gradient, lambda V: self._precondition(V, share, C))[slow]
        live.gradient = gradient if slow.any() else None
        for i in np.flatnonzero(~slow & ~by_rows):
            weights = None if live.S is None else live.S[i]
            D[i] = self.systems.column_direction(live.index[i], inside[i], weights, gradient[i], C)
        return D

    def _precondition(self, V: Floats, share: NDArray[np.float64], C: float) -> Floats:
        """Solve with the Hessians that the problems would have if their rows inside the margin were typical."""
        levels = np.log2(np.maximum(share, 1e-4))
        if len(self.grams) > 1:
            # Factors of wide data take much memory and time: all problems share them. The line search finds the length.
            levels = np.full(len(levels), WIDE_LEVEL * round(float(levels.mean()) / WIDE_LEVEL))
        out = np.empty_like(V)
        for level in np.unique(np.round(levels)):
            chosen = np.round(levels) == level
            self._solve_blocks(V, chosen, self._factors(level, C), out)
        out /= np.float32(2 * C)
        return out

    def _factors(self, level: float, C: float) -> list[Factor]:
        """The Gram matrices' factors for a share of ``2 ** level`` of the rows inside the margin."""
        if level not in self.factors:
            if len(self.grams) > 1:
                self.factors.clear()

            def factor(entry: tuple[slice, Gram]) -> Factor:
                return Factor(entry[1], 1 / (2 * C), 2.0**level)

            self.factors[level] = self._on_all_cores(factor, self.grams)
        return self.factors[level]

    def _solve_blocks(self, V: Floats, chosen: Mask, factors: list[Factor], out: Floats) -> None:
        part = V[chosen]

        def solve(entry: tuple[tuple[slice, Gram], Factor]) -> Floats:
            (columns, _), factor = entry
            return factor.solve(np.column_stack([part[:, columns], part[:, -1:]]))

        solved = self._on_all_cores(solve, list(zip(self.grams, factors, strict=True)))
        for (columns, _), rows in zip(self.grams, solved, strict=True):
            out[chosen, columns] = rows[:, :-1]
        # The bias goes with the last block, whose columns it is solved with.
        out[chosen, -1] = solved[-1][:, -1]

    def _forward(self, D: Floats) -> Floats:
        """Scores of all rows: (n_problems, n_samples)."""
        weights = np.ascontiguousarray(D[:, :-1])
        P = np.empty((len(D), len(self.X)), np.float32)

        def part(rows: slice) -> None:
            np.matmul(weights, self.X[rows].T, out=P[:, rows])

        self._each_slice(part)
        P += D[:, -1:]
        return P

    def _backward(self, R: Floats) -> Floats:
        """``R [X, 1]``: (n_problems, n_features + 1)."""

        def part(rows: slice) -> Floats:
            product: Floats = R[:, rows] @ self.X[rows]
            return product

        out = np.empty((len(R), self.X.shape[1] + 1), np.float32)
        first, *others = self._each_slice(part)
        out[:, :-1] = first
        for other in others:
            out[:, :-1] += other
        out[:, -1] = R.sum(axis=1)
        return out

    def _each_slice(self, part: Callable[[slice], Part]) -> list[Part]:
        """``part(rows)`` for each slice of the rows, on all cores, in order."""
        return self._on_all_cores(part, self.slices)

    @staticmethod
    def _on_all_cores(one: Callable[[Item], Part], items: Sequence[Item]) -> list[Part]:
        """``one(item)`` for each item, in order."""
        if len(items) == 1:
            return [one(items[0])]
        with ThreadPoolExecutor(available_cores()) as pool:
            return list(pool.map(one, items))


def is_wide(n: int, d: int) -> bool:
    """Whether n rows of d features are too many for their own span and too wide for one Gram matrix."""
    return n > ROW_SPACE_ROWS and d > GRAM_FEATURES


def shared_grams(X: Floats) -> list[tuple[slice, Gram]]:
    """Gram matrices of blocks of columns of X, one block of all where there are not too many.

    From a fixed random sample when there are many more rows than features: they only shape the first directions, so 4
    rows per feature (2 for wide data, where it costs more) are enough. Only the last has the bias.
    """
    n, d = X.shape
    count = 1 if d <= GRAM_FEATURES else -(-d // BLOCK_FEATURES)
    edges = np.linspace(0, d, count + 1).round().astype(int)
    blocks = [slice(start, stop) for start, stop in pairwise(edges.tolist())]
    width = max(block.stop - block.start for block in blocks)
    rows = np.arange(n)
    enough = (4 if width <= 4000 else 2) * width
    if n > enough:
        rows = np.sort(np.random.default_rng(0).choice(n, enough, replace=False))
    grams = [Gram(block.stop - block.start) for block in blocks]
    if count == 1:
        grams[0].add(X, rows)
    else:
        step = max(1, CHUNK_BYTES // (4 * d))
        with ThreadPoolExecutor(available_cores()) as pool:
            for start in range(0, len(rows), step):
                part = X[rows[start : start + step]]
                every = np.arange(len(part))

                def add(number: int, part: Floats = part, every: NDArray[np.intp] = every) -> None:
                    grams[number].add(np.ascontiguousarray(part[:, blocks[number]]), every)

                list(pool.map(add, range(count)))
    for gram in grams:
        gram.scale(n / len(rows))
    for gram in grams[:-1]:
        gram.h[:] = 0
    return list(zip(blocks, grams, strict=True))
