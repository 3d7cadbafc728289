"""Newton directions of the squared-hinge problems of ``_solver``: Hessians, their factors, their choice.

With the rows ``A`` inside the margin (weights ``s``), one problem's Hessian divided by ``2 C`` is
``I / (2 C) + A.T diag(s) A`` with a bias column in ``A``. It is factored in the smaller of two spaces:

* column space, (n_features, n_features): kept between iterations and brought up to date by the rows that
  entered or left, which are few after the first steps;
* row space, (rows, rows), by the representer theorem (Chapelle 2007): ``w = A.T beta`` with
  ``(A A.T + diag(1 / (2 C s))) beta = y``; for wide data and for classes with few rows inside the margin.

Run it with one BLAS thread, as ``_solver`` does: NumPy and SciPy ship an OpenBLAS each whose threads wait by
spinning, and with two threads on a busy machine a Cholesky factor took 20 times as long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

CHUNK_BYTES = 64 * 2**20
"""Rows are gathered in pieces of this size, so that a Hessian never copies a large part of X."""


ROW_COST = 3.0
"""What a multiplication in row space takes in those of column space: the kernel is made anew each time, from gathered
rows, and factored in float64."""


def row_dot(A: NDArray[Any], B: NDArray[Any]) -> NDArray[Any]:
    """Row-wise dot products, of any dtype and without a copy."""
    dots: NDArray[Any] = np.einsum("ij,ij->i", A, B)
    return dots


class Workspace:
    """Buffers used again and again: fresh memory of this size costs a page fault per 4 KiB, each time."""

    def __init__(self, n_features: int) -> None:
        self.step = max(1, CHUNK_BYTES // (4 * n_features))
        self.n_features = n_features
        self.rows: Floats = np.empty((0, n_features), np.float32)
        self.square: Floats | None = None

    def gather(self, X: Floats, rows: NDArray[np.intp], weights: Floats | None) -> tuple[Floats, Floats]:
        """At most ``step`` rows of X, multiplied by their weights' square roots; and those roots."""
        if len(rows) > len(self.rows):
            self.rows = np.empty((min(self.step, 2 * len(rows)), self.n_features), np.float32)
        A = self.rows[: len(rows)]
        np.take(X, rows, axis=0, out=A, mode="clip")
        if weights is None:
            return A, np.ones(len(rows), np.float32)
        root = np.sqrt(weights[rows])
        A *= root[:, None]
        return A, root

    def copy_square(self, H: Floats) -> Floats:
        """A copy of H that the next call overwrites."""
        if self.square is None:
            self.square = np.empty_like(H, order="F")
        np.copyto(self.square, H)
        return self.square


class Gram:
    """``[A, 1].T diag(s) [A, 1]`` as its blocks: ``H`` (only the lower triangle), ``h`` and ``c``."""

    def __init__(self, n_features: int) -> None:
        self.H: Floats = np.zeros((n_features, n_features), np.float32, order="F")
        self.h: Floats = np.zeros(n_features, np.float32)
        self.c = 0.0

    def add(
        self,
        X: Floats,
        rows: NDArray[np.intp],
        weights: Floats | None = None,
        sign: float = 1.0,
        workspace: Workspace | None = None,
    ) -> None:
        """Add (or with ``sign=-1`` take away) rows of X with their weights."""
        from scipy.linalg import blas

        space = workspace or Workspace(X.shape[1])
        for start in range(0, len(rows), space.step):
            A, root = space.gather(X, rows[start : start + space.step], weights)
            self.H = blas.ssyrk(sign, A.T, beta=1.0, c=self.H, lower=1, overwrite_c=1)
            self.h = blas.sgemv(sign, A.T, root, beta=1.0, y=self.h, overwrite_y=1)
            self.c += sign * float(np.einsum("i,i->", root, root))

    def scale(self, factor: float) -> None:
        """Multiply all by a number."""
        self.H *= np.float32(factor)
        self.h *= np.float32(factor)
        self.c *= factor


class Factor:
    """Cholesky factor of ``scale * gram + ridge * I``, bias included, in float32.

    It is used for directions only, whose length an exact line search chooses, so a factor that had to be
    made a little more positive costs iterations, never the optimum. With a workspace the factor lives until
    the next one is made in it.
    """

    def __init__(
        self, gram: Gram, ridge: float, scale: float = 1.0, workspace: Workspace | None = None
    ) -> None:
        from scipy.linalg import lapack

        diagonal = scale * np.diagonal(gram.H).astype(np.float64) + ridge
        self.h: Floats = gram.h * np.float32(scale)
        self.corner = scale * gram.c + ridge
        for jitter in (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2):
            A = gram.H.copy(order="F") if workspace is None else workspace.copy_square(gram.H)
            if scale != 1.0:
                A *= np.float32(scale)
            np.fill_diagonal(A, diagonal * (1 + jitter))
            self.L, info = lapack.spotrf(A, lower=1, clean=0, overwrite_a=1)
            if info == 0:
                return
        raise FloatingPointError("the features' second moments are not finite in float32")

    def solve(self, V: Floats) -> Floats:
        """Solve for each row of V (n, n_features + 1), the bias in the last column."""
        from scipy.linalg import lapack

        Z = lapack.spotrs(self.L, np.vstack([V[:, :-1], self.h]).T, lower=1)[0].T
        u = Z[-1]
        schur = self.corner - float(np.einsum("i,i->", self.h, u, dtype=np.float64))
        b = (V[:, -1] - np.einsum("ij,j->i", Z[:-1], self.h)) / np.float32(max(schur, 1e-6 * self.corner))
        out = np.empty_like(V)
        out[:, :-1] = Z[:-1] - b[:, None] * u
        out[:, -1] = b
        return out


def _rows_kernel(X: Floats, rows: NDArray[np.intp]) -> Floats:
    """Inner products of the rows, without the bias: only the lower triangle, in Fortran's order."""
    from scipy.linalg import blas

    K = np.zeros((len(rows), len(rows)), np.float32, order="F")
    step = max(1, CHUNK_BYTES // (4 * len(rows)))
    for start in range(0, X.shape[1], step):
        A = X[rows, start : start + step]
        K = blas.ssyrk(1.0, A.T, beta=1.0, c=K, trans=1, lower=1, overwrite_c=1)
    return np.asarray(K, np.float32)


def row_solution(
    X: Floats,
    rows: NDArray[np.intp],
    y: Floats,
    ridge: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The Newton point's coefficients over ``rows``: ``(K + diag(ridge)) beta = y``."""
    from scipy.linalg import lapack

    if len(rows) == 0:
        return np.zeros(0)
    K = _rows_kernel(X, rows)
    diagonal = np.diagonal(K).astype(np.float64) + 1.0
    for jitter in (0.0, 1e-7, 1e-6, 1e-5, 1e-4, 1e-2):
        # In float64 once only: with thousands of rows each copy is hundreds of megabytes.
        A = K.astype(np.float64, order="F")
        A += 1.0
        np.fill_diagonal(A, diagonal * (1 + jitter) + ridge)
        L, info = lapack.dpotrf(A, lower=1, clean=0, overwrite_a=1)
        if info == 0:
            beta: NDArray[np.float64] = lapack.dpotrs(L, y.astype(np.float64), lower=1)[0]
            return beta
    raise FloatingPointError("the rows' inner products are not finite or too large for float32")


@dataclass(frozen=True)
class Plan:
    """How a problem's Newton steps are best computed, and what they cost: about so many multiplications in column
    space; one in row space counts ``ROW_COST`` times."""

    by_rows: bool
    first: float
    next: float


class NewtonSystems:
    """The Newton systems of a batch of problems over X, with what they keep between iterations."""

    def __init__(self, X: Floats, n_problems: int) -> None:
        self.X = X
        self.grams: list[Gram | None] = [None] * n_problems
        self.inside: list[Mask | None] = [None] * n_problems
        self.workspace = Workspace(X.shape[1])

    def forget(self) -> None:
        """Free the Gram matrices."""
        self.grams = [None] * len(self.grams)
        self.inside = [None] * len(self.inside)

    def is_ready(self, problem: int) -> bool:
        """Whether a Newton step needs no costly preparation."""
        return self.grams[problem] is not None

    def plan(self, problem: int, inside: Mask) -> Plan:
        """Compare both spaces, for a problem with these rows inside the margin."""
        m, d = float(np.count_nonzero(inside)), float(self.X.shape[1])
        rows = ROW_COST * (m * m * d + m**3)
        first, later = m * d * d + d**3 / 2, 0.1 * m * d * d + d**3 / 2
        present = first if self.grams[problem] is None else later
        return Plan(True, rows, rows) if rows < present else Plan(False, first, later)

    def row_coefficients(
        self, problem: int, inside: Mask, y: Floats, weights: Floats | None, C: float
    ) -> Floats:
        """``beta`` of the Newton point ``[X, 1].T beta``, float32 (n_samples,)."""
        self.grams[problem] = None
        rows = np.flatnonzero(inside)
        s = np.ones(len(rows)) if weights is None else weights[rows].astype(np.float64)
        beta = np.zeros(len(inside), np.float32)
        beta[rows] = row_solution(self.X, rows, y[rows], 1 / (2 * C * s))
        return beta

    def column_direction(
        self, problem: int, inside: Mask, weights: Floats | None, gradient: Floats, C: float
    ) -> Floats:
        """The Newton direction, float32 (n_features + 1,)."""
        gram = self._updated(problem, inside, weights)
        solved = Factor(gram, 1 / (2 * C), workspace=self.workspace).solve(gradient[None])[0]
        direction: Floats = solved / np.float32(-2 * C)
        return direction

    def _updated(self, problem: int, inside: Mask, weights: Floats | None) -> Gram:
        """The problem's Gram matrix over the rows inside the margin, from the last one where that is cheaper."""
        gram, before = self.grams[problem], self.inside[problem]
        if gram is not None and before is not None:
            entered, left = np.flatnonzero(inside & ~before), np.flatnonzero(before & ~inside)
        if gram is None or before is None or len(entered) + len(left) > np.count_nonzero(inside):
            gram, entered, left = Gram(self.X.shape[1]), np.flatnonzero(inside), np.zeros(0, np.intp)
        gram.add(self.X, entered, weights, workspace=self.workspace)
        gram.add(self.X, left, weights, sign=-1.0, workspace=self.workspace)
        self.grams[problem], self.inside[problem] = gram, inside.copy()
        return gram
