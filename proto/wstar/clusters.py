"""Faces that look alike, grouped by latent distance."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wstar.blocks import blocks
from wstar.errors import InvalidInput, LimitExceeded
from wstar.extras import extra
from wstar.geometry import squared_distance_matrix
from wstar.hyperplanes import Float64

Labels = NDArray[np.int64]

# Distances of all pairs, twice, are 3 GiB for so many.
MOST_CODES = 20_000
_AT_ONCE = 1024


def within(codes: ArrayLike, squared_distance: float) -> Labels:
    """Group codes so that no two of a group are farther apart than D* = `squared_distance`.

    Complete linkage: the two groups whose farthest members are nearest are joined, as long as that
    distance is allowed. Needs SciPy.

    Parameters
    ----------
    codes: (N, n, 512) of one space, finite; N is at most 20,000 (for N codes 8·N² bytes are taken).
    squared_distance: 0 or more.

    Returns int64 (N,): the largest group is 0; of equally large ones that of the earliest code
    comes first. Raises InvalidInput, LimitExceeded, MissingPackage.
    """
    values = _checked(codes)
    if len(values) > MOST_CODES:
        raise LimitExceeded("codes", len(values), MOST_CODES, "codes")
    if not squared_distance >= 0:
        raise InvalidInput("squared_distance", squared_distance, "0 or more")
    if len(values) == 1:
        return np.zeros(1, np.int64)
    # What scikit-learn's complete linkage calls, but given half of the matrix instead of all of it:
    # a third of the memory.
    hierarchy = extra("scipy.cluster.hierarchy")
    tree = hierarchy.complete(_pairs(values))
    return _by_size(hierarchy.fcluster(tree, squared_distance, criterion="distance"))


def into(codes: ArrayLike, count: int, seed: int) -> Labels:
    """Group codes into `count` groups around their means (k-means), in float32.

    Squared Euclid on flat codes is M·D*, so the groups are those of D*. Needs scikit-learn.

    Parameters
    ----------
    codes: (N, n, 512) of one space, finite; two copies in float32 are made.
    count: 1 to N. Where fewer codes differ, there are fewer groups.
    seed: 0 to 2³² - 1; the same seed and codes give the same groups.

    Returns int64 (N,), numbered as by `within`. Raises InvalidInput, MissingPackage.
    """
    values = _checked(codes)
    if not 1 <= count <= len(values):
        raise InvalidInput("count", count, f"1 to {len(values)}, the number of codes")
    if not 0 <= seed < 2**32:
        raise InvalidInput("seed", seed, "0 to 4294967295")
    flat = values.reshape(len(values), -1).astype(np.float32)
    means = extra("sklearn.cluster").KMeans(count, random_state=seed)
    # One thread of OpenMP: several add up in the order in which they finish.
    with warnings.catch_warnings(), extra("threadpoolctl").threadpool_limits(1, "openmp"):
        warnings.filterwarnings("ignore", "Number of distinct clusters")
        return _by_size(means.fit_predict(flat))


def _checked(codes: ArrayLike) -> NDArray[np.floating]:
    values = np.asarray(codes)
    if values.ndim != 3 or not values.size:
        raise InvalidInput("codes", f"shape {values.shape}", "shape (N, n, 512), N 1 or more")
    for some in blocks(len(values), _AT_ONCE):
        if not np.isfinite(values[some]).all():
            raise InvalidInput("codes", "NaN or infinity", "finite numbers")
    return values


def _pairs(codes: NDArray[np.floating]) -> Float64:
    """D* of each code to all later ones, row after row, as SciPy wants them."""
    found = np.empty(len(codes) * (len(codes) - 1) // 2)
    start = 0
    for some in blocks(len(codes), _AT_ONCE):
        rows = squared_distance_matrix(codes[some], codes[some.start :])
        for i, row in enumerate(rows):
            later = row[i + 1 :]
            found[start : start + len(later)] = later
            start += len(later)
    return found


def _by_size(labels: NDArray[np.integer]) -> Labels:
    """Number the groups anew: largest first, then by first member."""
    _, first, group, sizes = np.unique(
        labels, return_index=True, return_inverse=True, return_counts=True
    )
    numbers = np.empty(len(sizes), np.int64)
    numbers[np.lexsort((first, -sizes))] = np.arange(len(sizes))
    return np.asarray(numbers[group])
