"""Wide data as square data: fewer rows than features span a space of as many dimensions as there are rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from classic_cv.heads._newton_step import Floats

CHUNK_BYTES = 64 * 2**20
"""Columns are converted to float64 in pieces of this size."""


class RowSpace:
    """An orthonormal basis of the rows' span, in which the rows have ``n_samples`` coordinates.

    By the representer theorem the optimal weights lie in that span, and their length is the same in its
    coordinates: with ``X X.T = L L.T``, the rows of ``L`` pose the same problem as the rows of ``X``.

    Attributes:
        coordinates: float32 (n_samples, n_samples), ``L``.
    """

    def __init__(self, X: Floats) -> None:
        from scipy.linalg import lapack

        self.X = X
        K = _kernel(X)
        diagonal = np.diagonal(K).copy()
        # Repeated rows make the matrix singular; far below float32's precision nothing is lost.
        for jitter in (1e-13, 1e-12, 1e-11, 1e-10, 1e-9, 1e-8):
            np.fill_diagonal(K, diagonal + jitter * max(float(diagonal.mean()), np.finfo(np.float64).tiny))
            self.L, info = lapack.dpotrf(K, lower=1, clean=1)
            if info == 0:
                break
        else:
            raise FloatingPointError("the rows' inner products are not finite")
        self.coordinates: Floats = np.ascontiguousarray(self.L, np.float32)

    def weights(self, W: Floats) -> Floats:
        """Weights for the rows of X from weights for their coordinates; the last column is the bias of both."""
        from scipy.linalg import blas, lapack

        coefficients = lapack.dtrtrs(self.L, W[:, :-1].T.astype(np.float64), lower=1, trans=1)[0]
        out = np.empty((len(W), self.X.shape[1] + 1), np.float32)
        out[:, :-1] = blas.sgemm(1.0, self.X.T, np.asfortranarray(coefficients, np.float32)).T
        out[:, -1] = W[:, -1]
        return out


def _kernel(X: Floats) -> NDArray[np.float64]:
    """The lower triangle of ``X X.T``."""
    from scipy.linalg import blas

    n = len(X)
    K = np.zeros((n, n), order="F")
    step = max(1, CHUNK_BYTES // (8 * n))
    for start in range(0, X.shape[1], step):
        A = X[:, start : start + step].astype(np.float64)
        K = blas.dsyrk(1.0, A.T, beta=1.0, c=K, trans=1, lower=1, overwrite_c=1)
    return K
