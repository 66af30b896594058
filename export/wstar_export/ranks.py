"""How much of the order of distances survives: what search and clustering see of an error.

All figures are 0 where nothing changed, and take squared distances float64 (N, N) between the same
N codes, N above 2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wstar.geometry import squared_distance_matrix
from wstar_export.findings import Array

Distances = NDArray[np.float64]

NEAREST = 10
_TRIPLES = 20_000
_SMALL = 64


def distances(codes: Array) -> Distances:
    """Squared distances between all codes float32 (N, n, 512), float64 (N, N)."""
    return squared_distance_matrix(codes, codes)


def kendall_loss(wanted: Distances, found: Distances) -> float:
    """1 - Kendall's tau of the distances of all pairs; 2 where the order is turned round.

    Distances that are equal count as in order.
    """
    above = np.triu_indices(len(wanted), 1)
    a, b = wanted[above], found[above]
    # Sorted by both, so that ties of the first make no inversions.
    wrong, _ = _inversions(b[np.lexsort((b, a))])
    return 4.0 * wrong / (len(a) * (len(a) - 1))


def _inversions(values: Distances) -> tuple[int, Distances]:
    """How many pairs stand the wrong way round, and the values sorted (merge sort)."""
    if len(values) <= _SMALL:
        wrong = np.triu(values[:, None] > values[None, :], 1)
        return int(wrong.sum()), np.sort(values)
    middle = len(values) // 2
    left, a = _inversions(values[:middle])
    right, b = _inversions(values[middle:])
    across = len(a) * len(b) - int(np.searchsorted(a, b, "right").sum())
    return left + right + across, np.sort(np.concatenate([a, b]), kind="stable")


def neighbour_loss(wanted: Distances, found: Distances) -> float:
    """Share of the ten nearest codes of each code that are not among the ten found."""
    nearest = min(NEAREST, len(wanted) - 1)
    itself = np.diag(np.full(len(wanted), np.inf))
    a, b = (np.argsort(d + itself, 1, kind="stable")[:, :nearest] for d in (wanted, found))
    kept = sum(len(np.intersect1d(x, y)) for x, y in zip(a, b, strict=True))
    return 1.0 - kept / a.size


def choice_loss(wanted: Distances, found: Distances) -> float:
    """Share of triples (a, b, c) of which another of b and c is the nearer one to a.

    The two-alternative forced choice of perceptual studies, with fp32 as the judge.
    """
    a, b, c = np.random.default_rng(0).integers(0, len(wanted), (3, _TRIPLES))
    different = (a != b) & (a != c) & (b != c)
    a, b, c = a[different], b[different], c[different]
    return float(np.mean((wanted[a, b] < wanted[a, c]) != (found[a, b] < found[a, c])))
