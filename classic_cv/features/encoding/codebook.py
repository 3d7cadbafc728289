"""Codebooks learned with scikit-learn: k-means and Gaussian mixtures with diagonal covariances.

Learning runs on one thread: with more, k-means adds up its threads' sums in the order in which they end, so that
results would differ from run to run; and the BLAS libraries of NumPy and SciPy wait for each other, which made
expectation maximization many times slower on two busy cores.

Times of one thread for 100,000 whitened dense SIFT descriptors of 64 values: k-means takes 0.3 s for 64 words and 4 s
for 1000 (17 s, for 0.7% less inertia, with all samples to start from and 20 rounds; OpenCV's takes a third longer
than scikit-learn's, whose mini-batches give 2% more inertia). Expectation maximization with 64 components, positions
included, takes 2.4 s for 20 rounds, after which the mean log-likelihood is -83.35; 50 rounds end at -83.28. OpenCV 5
has none.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

START_SAMPLES = 10
"""Samples per word among which k-means++ chooses where to start; its time grows with this times words squared."""

LEAST_START_SAMPLES = 5000

K_MEANS_ITERATIONS = 10
EM_ITERATIONS = 20

VARIANCE_FLOOR = 0.01
"""Added to each variance of a mixture, of data of unit variance: keeps float32 exact enough, and rare equal
descriptors from becoming a component of their own."""

NEVER = np.float32(-1e30)
"""Score, or logarithm of the weight, of what only fills up a codebook: never the nearest, posterior exactly 0."""

_learning = threading.RLock()


class Mixture(NamedTuple):
    """A mixture of K Gaussians with diagonal covariances over d values.

    Attributes:
        weights: float32 (K,), sum 1; 0 for components that are there only to fill up.
        means, variances: float32 (K, d).
    """

    weights: Array
    means: Array
    variances: Array


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for the libraries, one learner at a time, and no warnings of what is meant to be cut short."""
    from sklearn.exceptions import ConvergenceWarning

    from classic_cv.timing import thread_limit

    # The lock: limits are of the process, and two that overlap would not be undone in order.
    with _learning, thread_limit(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def _centers(X: Array, n_words: int, seed: int) -> Array:
    from sklearn.cluster import KMeans, kmeans_plusplus

    random = np.random.Generator(np.random.PCG64(seed))
    wanted = min(len(X), max(LEAST_START_SAMPLES, START_SAMPLES * n_words))
    some = X[random.choice(len(X), wanted, replace=False)]
    k = min(n_words, len(X))
    start, _ = kmeans_plusplus(some, k, random_state=seed)
    model = KMeans(k, init=start, n_init=1, max_iter=K_MEANS_ITERATIONS, random_state=seed)
    # Equal centers, where there are fewer different rows than words, are one word.
    found: Array = np.unique(model.fit(X).cluster_centers_.astype(np.float32), axis=0)
    return found


def k_means(X: Array, n_words: int, seed: int) -> Array:
    """Centers of at most ``n_words`` clusters of the rows of ``X``: k-means++ and Lloyd's algorithm.

    Args:
        X: float32 (n, d), n at least 1.

    Returns:
        float32 (k, d), all different; k is less than ``n_words`` where there are fewer different rows.
    """
    with one_thread():
        return _centers(X, n_words, seed)


def score_table(centers: Array, n_words: int) -> Array:
    """float32 (d + 1, n_words): with a row of ones below x, products with it are larger the nearer a word is.

    The score of word c is ``x . c - c . c / 2``, half the squared length of x less half the squared distance. Words
    that the (k, d) centers are short of follow and are never the nearest.
    """
    k, d = centers.shape
    table = np.zeros((d + 1, n_words), np.float32)
    table[:d, :k] = centers.T
    table[d] = NEVER
    table[d, :k] = -0.5 * np.vecdot(centers, centers)
    return table


def gaussian_mixture(X: Array, n_components: int, seed: int) -> Mixture:
    """A mixture fitted to ``X`` (n, d), of unit variance or less, by expectation maximization from k-means.

    Where there are fewer different rows than components, the others have weight 0, mean 0 and variance 1.
    """
    from sklearn.mixture import GaussianMixture

    if len(X) == 1:  # scikit-learn asks for two
        X = np.repeat(X, 2, axis=0)
    with one_thread():
        centers = _centers(X, n_components, seed)
        k = len(centers)
        model = GaussianMixture(
            k,
            covariance_type="diag",
            reg_covar=VARIANCE_FLOOR,
            max_iter=EM_ITERATIONS,
            init_params="random_from_data",  # replaced by the three below
            weights_init=np.full(k, 1 / k, np.float32),
            means_init=centers,
            precisions_init=np.ones_like(centers),
            random_state=seed,
        ).fit(X)
    mixture = Mixture(
        np.zeros(n_components, np.float32),
        np.zeros((n_components, X.shape[1]), np.float32),
        np.ones((n_components, X.shape[1]), np.float32),
    )
    for whole, learned in zip(mixture, (model.weights_, model.means_, model.covariances_), strict=True):
        whole[:k] = learned
    return mixture
