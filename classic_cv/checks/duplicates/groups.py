"""Groups of copies: pairs that share an image belong together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def group_numbers(n: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """The connected component of each of n images, int64 (n,), given pairs (m, 2) of them."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return np.asarray(connected_components(edges, directed=False)[1], np.int64)


def groups_of_copies(n: int, pairs: NDArray[np.int64]) -> list[list[int]]:
    """The groups of two and more images, each ascending, in the order of their first images."""
    numbers = group_numbers(n, pairs)
    members: dict[int, list[int]] = {}
    for index in np.unique(pairs).tolist():
        members.setdefault(int(numbers[index]), []).append(index)
    return sorted(members.values())
