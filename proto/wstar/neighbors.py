"""Nearest stored codes by latent distance, exactly, without an index."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wstar.blocks import Codes, blocks, codes_in, paired
from wstar.errors import InvalidInput
from wstar.geometry import squared_distance_matrix
from wstar.hyperplanes import Float64

Indices = NDArray[np.int64]

# 3,640 codes of 18 x 512, whose distances to 512 queries are 14 MiB.
_BLOCK_BYTES = 256 * 2**20
_QUERIES = 512
# Far above what rounding changes in a distance by product, far below differences that matter.
_MARGIN = 1 + 1e-6


def nearest(queries: ArrayLike, codes: ArrayLike, count: int) -> tuple[Indices, Float64]:
    """Find the `count` codes nearest to each query by D* (eq. 1).

    Parameters
    ----------
    queries: (Q, n, 512), float16 or float32.
    codes: (N, n, 512) of the same space, float16 or float32; an array mapped from a file
        (`np.load(path, mmap_mode="r")`) is read block by block, once for every 512 queries.
    count: 1 to N.

    Returns int64 (Q, count), positions in `codes`, and float64 (Q, count), the distances of
    `squared_distance`, nearest first. Of equally near codes the first come first; codes with NaN
    come last. Works in at most 384 MiB beside queries, codes and result. Raises InvalidInput for a
    count out of range and for shapes that do not fit.
    """
    asked, stored = np.asarray(queries), np.asarray(codes)
    # Refuses what does not fit.
    squared_distance_matrix(asked[:0], stored[:0])
    if not 1 <= count <= len(stored):
        raise InvalidInput("count", count, f"1 to {len(stored)}, the number of codes")
    indices = np.empty((len(asked), count), np.int64)
    squared = np.empty((len(asked), count))
    for rows in blocks(len(asked), _QUERIES):
        _search(asked[rows], stored, indices[rows], squared[rows])
    return indices, squared


def _search(queries: Codes, codes: Codes, indices: Indices, squared: Float64) -> None:
    """Fill `indices` and `squared` for some queries by one pass over the codes."""
    count = squared.shape[1]
    # Every place is taken before the last code was seen: there are at least as many codes.
    indices[...] = len(codes)
    squared[...] = np.nan
    for block in blocks(len(codes), codes_in(_BLOCK_BYTES, codes.shape[1:])):
        here = codes[block]
        # By product: much faster than by differences, and good enough to choose from.
        rough = squared_distance_matrix(queries, here)
        # NaN compares with nothing, infinity comes last as well.
        rough[np.isnan(rough)] = np.inf
        farthest = np.nan_to_num(squared[:, -1], nan=np.inf, posinf=np.inf)
        if count <= len(here):
            farthest = np.minimum(farthest, np.partition(rough, count - 1)[:, count - 1])
        candidates = rough <= (farthest * _MARGIN)[:, None]
        for query in np.flatnonzero(candidates.any(axis=1)):
            found = np.flatnonzero(candidates[query])
            exact = _to_one(here, found, queries[query])
            all_indices = np.concatenate([indices[query], block.start + found])
            all_squared = np.concatenate([squared[query], exact])
            best = np.lexsort((all_indices, all_squared))[:count]
            indices[query], squared[query] = all_indices[best], all_squared[best]


def _to_one(codes: Codes, found: NDArray[np.intp], query: Codes) -> Float64:
    """D* of the codes at `found` to one query, by differences: (len(found),)."""
    return paired(len(found), query.shape, lambda some: codes[found[some]], lambda _: query[None])
