"""Which labels a model doubts that was fitted without the image, and how many labels are wrong."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from classic_cv.stats import accuracy_interval

SHARES = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
"""Shares of wrong labels that a threshold is set to find. A weak model's own mistakes are all but absent among the
least probable labels alone (objects, 64 % right: 4 to 55 of 5,000 are counted; from a half on, 90 to 157); above 0.9
they abound with a good one."""

LEAST_FOUND = 0.05
"""The share of wrong labels that must be found for their number to be estimated: below, the model is hardly ever sure
of a class."""

IMPROBABLE = 0.5
"""A label is counted if it is at most so probable, of what a class gets from a model that knows nothing."""

SIMILAR = 0.5
"""The share of wrong labels that are taken to be of a class which looks like the right one, where they are not all
random. Measured with 5 % of the labels wrong, as estimate of 100: random ones of clothes 105 and 114, of flowers 65
to 84; those of the most similar class of clothes 82, of flowers 58 and 88, where supposing random ones gave 46, 72 and
81. With 0.8 random ones came to 112 to 177."""

MOST_VALUES = 4_000_000
"""Probabilities that are looked at: with more every so-manieth image is."""


class Doubts(NamedTuple):
    """What a model says against the label of each image.

    Attributes:
        own: (n,), the probability of its label.
        likely: intp (n,), the most probable other class.
        rival: (n,), that one's probability.
        doubted: (n,), whether the model is confident of another class, see ``confident``.
    """

    own: NDArray[Any]
    likely: NDArray[np.intp]
    rival: NDArray[Any]
    doubted: NDArray[np.bool_]


class Expected(NamedTuple):
    """How many labels are wrong.

    Attributes:
        n: the estimate.
        low, high: its 95 % interval.
        threshold: doubted labels whose probability is at most this were counted ...
        found: ... and so large a share of the wrong ones would have been among them.
    """

    n: float
    low: float
    high: float
    threshold: float
    found: float


def confident(probabilities: NDArray[np.floating[Any]], y: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Of which classes a model is confident: those at least as probable as they are on average where they are given.

    Args:
        probabilities: (n, n_classes).
        y: class numbers (n,), as given.

    Returns:
        (n, n_classes); never of a class that no image has.
    """
    n, n_classes = probabilities.shape
    counts = np.bincount(y, minlength=n_classes)
    sums = np.bincount(y, probabilities[np.arange(n), y], minlength=n_classes)
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    return np.asarray(probabilities >= thresholds)


def doubts_of(probabilities: NDArray[np.floating[Any]], y: NDArray[np.integer]) -> Doubts:
    """What speaks against labels ``y`` (n,), from probabilities (n, n_classes) of a model fitted without the images."""
    rows = np.arange(len(y))
    others = probabilities.copy()
    others[rows, y] = -1
    likely = others.argmax(axis=1)
    sure = confident(probabilities, y)
    sure[rows, y] = False
    return Doubts(probabilities[rows, y], likely, others[rows, likely], np.asarray(sure.any(axis=1)))


def expected_errors(probabilities: NDArray[np.floating[Any]], y: NDArray[np.integer]) -> Expected | None:
    """How many labels are wrong, without a model's own mistakes, with the wrong labels that it does not notice.

    Off the diagonal of the confident joint (Northcutt, Jiang and Chuang, JAIR 2021) are all of a model's confident
    mistakes, which on clean data is all there is. So only labels are counted that are as improbable as wrong ones are.
    How probable these are is known without any: what a model gave each image for the classes that are not its own. A
    threshold which finds a share q of them and has k labels below it bounds their number by k / q; the threshold is
    the one with the smallest upper bound (Garg, Wu, Smola, Balakrishnan and Lipton, Mixture proportion estimation and
    PU learning, NeurIPS 2021).

    Wrong labels are taken to be random in part, and in part of classes that the model takes for each other. The lower
    end of the interval supposes random ones alone, which are noticed more easily.

    Args:
        probabilities: (n, n_classes), each image's from a model that was fitted without it.
        y: class numbers (n,), as given.

    Returns:
        the number, with Wilson's intervals; None where the model is not sure enough of its answers, or there are fewer
        than two classes.
    """
    if len(np.unique(y)) < 2:
        return None
    doubts = doubts_of(probabilities, y)
    wrong = _WrongLabels.of(probabilities, y)
    random = _fewest(doubts, wrong, wrong.random)
    if random is None or not doubts.doubted.any():
        return random
    pairs = np.zeros((probabilities.shape[1],) * 2)
    np.add.at(pairs, (doubts.likely[doubts.doubted], y[doubts.doubted]), 1)
    similar = wrong.of_pairs(pairs)
    mixed = _fewest(doubts, wrong, SIMILAR * similar + (1 - SIMILAR) * wrong.random)
    if mixed is None:
        return random
    return mixed._replace(low=min(random.low, mixed.low), high=max(random.high, mixed.high))


class _WrongLabels(NamedTuple):
    """Labels that some images could have been given wrongly, the least probable first.

    Attributes:
        probability: of the label, by the model (m,).
        doubted: whether it would be (m,).
        right, given: class numbers (m,), what the image has and what it would have been given.
        random: weights with sum 1, all equal.
        threshold: the largest probability that is counted.
    """

    probability: NDArray[Any]
    doubted: NDArray[np.bool_]
    right: NDArray[np.integer]
    given: NDArray[np.intp]
    random: NDArray[np.float64]
    threshold: float

    @classmethod
    def of(cls, probabilities: NDArray[np.floating[Any]], y: NDArray[np.integer]) -> _WrongLabels:
        n, n_classes = probabilities.shape
        rows = np.arange(0, n, max(1, n * n_classes // MOST_VALUES))
        sure = confident(probabilities, y)[rows]
        known = np.unique(y)
        possible = np.zeros((len(rows), n_classes), bool)
        possible[:, known] = True
        possible[np.arange(len(rows)), y[rows]] = False
        image, given = np.nonzero(possible)
        order = np.argsort(probabilities[rows][possible], kind="stable")
        image, given = image[order], given[order]
        doubted = sure.sum(axis=1)[image] > sure[image, given]
        random = np.full(len(order), 1 / len(order))
        chance = IMPROBABLE / len(known)
        return cls(probabilities[rows[image], given], doubted, y[rows[image]], given, random, chance)

    def of_pairs(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weights with sum 1, so that classes (right, given) have the shares that they have in (n_classes, n_classes)
        counts."""
        there = np.zeros(counts.shape)
        np.add.at(there, (self.right, self.given), 1)
        weights = (counts / np.maximum(there, 1))[self.right, self.given]
        return np.asarray(weights / weights.sum() if weights.any() else self.random, np.float64)


def _fewest(doubts: Doubts, wrong: _WrongLabels, weights: NDArray[np.float64]) -> Expected | None:
    """The estimate with the smallest upper bound among all thresholds."""
    n, best = len(doubts.own), None
    below = np.cumsum(weights)
    noticed = np.cumsum(weights * wrong.doubted)
    own = np.sort(doubts.own[doubts.doubted])
    for share in SHARES:
        place = min(int(np.searchsorted(below, share)), len(below) - 1)
        threshold = float(wrong.probability[place])
        found = float(noticed[np.searchsorted(wrong.probability, threshold, side="right") - 1])
        if threshold > wrong.threshold or found < LEAST_FOUND:
            continue
        count = int(np.searchsorted(own, threshold, side="right"))
        low, high = (float(min(n, n * end / found)) for end in accuracy_interval(count, n))
        if best is None or high < best.high:
            best = Expected(float(min(n, count / found)), low, high, threshold, found)
    return best
