"""An inverse power law through a learning curve, and what it says of twice the images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

N_RESAMPLES = 300

EXPONENTS: NDArray[np.float64] = np.geomspace(0.05, 2.0, 40)
"""Measured exponents are 0.07 to 0.5 (Hestness et al. 2017), 1 in theory where classes can be told apart without error;
steeper ones fit noise. Steps of a tenth are finer than any curve of a few points tells apart."""

LEAST_ERROR = 1e-4
"""Standard error of a point that no resample moves, such as one without any mistake: it must not be taken for exact."""


@dataclass(frozen=True)
class PowerLaw:
    """The error at n images is ``a * (n / images) ** -b + c`` (Cortes et al. 1993; Hestness et al. 2017).

    Attributes:
        images: the largest number of images that was measured.
        a, b, c: what more images can take away of the error at ``images``, how fast, and what remains, which is below
            0 for a curve that no law with a remainder explains.
    """

    images: int
    a: float
    b: float
    c: float

    def error(self, n: float) -> float:
        """At n images, from 0 to 1."""
        return float(np.clip(self.a * (n / self.images) ** -self.b + self.c, 0.0, 1.0))

    @property
    def gain(self) -> float:
        """How much smaller the error is at twice the images."""
        return self.error(self.images) - self.error(2 * self.images)


def fit_power_laws(
    sizes: Sequence[int], errors: NDArray[np.float64], spread: NDArray[np.float64]
) -> list[PowerLaw]:
    """Weighted least squares with a and c not below 0 and b among ``EXPONENTS``, for many curves at once.

    For a given exponent the law is linear in a and c (variable projection, Golub & Pereyra 1973), so that all exponents
    can be tried: the best is found whatever the start, hundreds of resamples in milliseconds.

    Args:
        sizes: ascending numbers of images (k,), at least three.
        errors: mean errors of each curve, (n, k), from 0 to 1.
        spread: standard errors of the points (k,).
    """
    x = np.asarray(sizes, np.float64) / sizes[-1]
    weight = 1 / np.square(np.maximum(spread, LEAST_ERROR))
    weight /= weight.sum()
    costs, found = [], []
    for b in EXPONENTS:
        a, c = _nonnegative(x**-b, errors, weight)
        costs.append(np.square(a[:, None] * x**-b + c[:, None] - errors) @ weight)
        found.append(np.stack([a, np.full(len(a), b), c], axis=1))
    best = np.argmin(costs, axis=0)
    chosen = np.stack(found)[best, np.arange(len(errors))]
    return [PowerLaw(int(sizes[-1]), *row) for row in chosen.tolist()]


def _nonnegative(
    column: NDArray[np.float64], errors: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The a and c, neither below 0, with which ``a * column + c`` is nearest to each row of errors (n, k)."""
    mean, means = column @ weight, errors @ weight
    centered = column - mean
    a = np.maximum((errors - means[:, None]) @ (weight * centered) / (weight @ np.square(centered)), 0.0)
    c = means - a * mean
    alone = errors @ (weight * column) / (weight @ np.square(column))
    return np.where(c < 0, alone, a), np.maximum(c, 0.0)


def resampled(
    sizes: Sequence[int], wrong: Sequence[NDArray[np.float64]], seed: int
) -> tuple[list[PowerLaw], NDArray[np.float64]]:
    """Laws of resampled curves, three for each, and the points' standard errors (k,).

    Real curves are no exact laws, least of all where images are few: the error often falls in a straight line over the
    logarithm of images, which no law with a remainder of 0 or more follows. So laws are fitted to all points, without
    the first, and through the last two alone, with an exponent by lot and any remainder: the last gain goes on, and
    fades at a speed that nobody knows. On 150 curves of digits and clothes with 160 to 1,600 images, intervals of 95 %
    from the first two cover 80 % of what twice the images bring, from all three 90 %, and are half as wide again.

    Test images are drawn with replacement, the same for all points: what makes the curve higher or lower as a whole
    leaves its slope alone. The choice of training images adds normal noise to each point, as large as draws of the
    same size differ, which falls with the square root of their size.

    Args:
        sizes: ascending (k,), at least four.
        wrong: for each size whether each answer is wrong, (draws, n_test).
        seed: of both.
    """
    rng = np.random.default_rng(seed)
    n_test = wrong[0].shape[1]
    weights = rng.multinomial(n_test, np.full(n_test, 1 / n_test), N_RESAMPLES) / n_test
    means = np.stack([each.mean(axis=0) for each in wrong])
    noise = _draw_deviation(sizes, wrong) / np.sqrt([len(each) for each in wrong])
    drawn = weights @ means.T + rng.normal(size=(N_RESAMPLES, len(sizes))) * noise
    drawn = np.clip(drawn, 0.0, 1.0)
    # What all points share moves them together: weights go by what sets them apart.
    common = drawn.mean(axis=1, keepdims=True)
    spread = (drawn - common).std(axis=0)
    later = fit_power_laws(sizes[1:], drawn[:, 1:], spread[1:])
    last = _through_the_last(sizes, drawn, rng)
    return [*fit_power_laws(sizes, drawn, spread), *later, *last], spread


def _through_the_last(
    sizes: Sequence[int], errors: NDArray[np.float64], rng: np.random.Generator
) -> list[PowerLaw]:
    """A law through the last two points of each curve (n, k); one that rises is flat."""
    b = rng.choice(EXPONENTS, len(errors))
    falls = np.maximum(errors[:, -2] - errors[:, -1], 0.0)
    a = falls / ((sizes[-2] / sizes[-1]) ** -b - 1)
    rows = np.stack([a, b, errors[:, -1] - a], axis=1)
    return [PowerLaw(int(sizes[-1]), *row) for row in rows.tolist()]


def _draw_deviation(sizes: Sequence[int], wrong: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Standard deviation of a draw's error at each size (k,), from all sizes that have two draws or more."""
    squares, freedom = 0.0, 0
    for n, each in zip(sizes, wrong, strict=True):
        errors = each.mean(axis=1)
        squares += n * float(np.square(errors - errors.mean()).sum())
        freedom += len(each) - 1
    scale = np.sqrt(squares / freedom) if freedom else 0.0
    return np.asarray(scale / np.sqrt(np.asarray(sizes, np.float64)))
