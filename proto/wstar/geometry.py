"""Distances in a latent space, whole or by attribute: pure functions, float64 inside.

A code has M = n·512 numbers and counts as one vector. What attributes explain of a distance
follows from differences of logits and the Gram matrix alone. NaN in a code stays NaN.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wstar.blocks import Codes, blocks, centred, codes_in, paired
from wstar.errors import InvalidInput
from wstar.hyperplanes import Float64, Hyperplanes

PROBABILITY_BOUNDS = (0.001, 0.999)
# Of each side, this much is float64 at a time: 1,024 codes of 18 x 512. A product of large blocks
# is the quicker one.
_BLOCK_BYTES = 72 * 2**20
# Below this share of the two squared lengths, too few digits of their difference are left.
_CANCELLED = 1e-4


@dataclass(frozen=True, eq=False)
class ExplainedDistance:
    """A squared distance split over attributes; `shares.sum(-1) + residual` is the distance.

    shares: float64 (..., K); may be negative, because correlated attributes share.
    residual: float64 (...), what no attribute sees.
    """

    shares: Float64
    residual: Float64


def sigmoid(logits: ArrayLike) -> Float64:
    """Probability of a logit, elementwise, without overflow at either end."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * np.asarray(logits, np.float64))))


def logit(probability: ArrayLike) -> Float64:
    """Logit of a probability, elementwise; probabilities are bounded to [0.001, 0.999]."""
    p = np.clip(np.asarray(probability, np.float64), *PROBABILITY_BOUNDS)
    return np.asarray(np.log(p) - np.log1p(-p))


def squared_distance(a: ArrayLike, b: ArrayLike) -> Float64:
    """Latent distance D*(a, b) = ‖a - b‖² / M (eq. 1), over pairs.

    Parameters
    ----------
    a, b: (..., n, 512), codes of one space; leading axes broadcast.

    Returns float64 (...), 0 or more. Beside the result it works in 10 MiB for each CPU, eight at
    most. Raises InvalidInput for shapes that do not fit.
    """
    x, y = np.asarray(a), np.asarray(b)
    _check_codes(x, y)
    shape = x.shape[-2:]
    pairs: tuple[int, ...] = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    found = np.empty(pairs or (1,))
    left, right = (np.broadcast_to(codes, found.shape + shape) for codes in (x, y))
    for row in np.ndindex(found.shape[:-1]):
        found[row] = paired(found.shape[-1], shape, left[row].__getitem__, right[row].__getitem__)
    return found.reshape(pairs)


def squared_distance_matrix(a: ArrayLike, b: ArrayLike) -> Float64:
    """Latent distance D* (eq. 1) of every code of `a` to every code of `b`.

    Parameters
    ----------
    a, b: (A, n, 512) and (B, n, 512), codes of one space; arrays mapped from files will do.

    Returns float64 (A, B), 0 or more, and exactly 0 between equal codes. Beside the result it
    works in at most 320 MiB. Fast as long as most codes lie no farther from the mean of `b` than a
    hundred times their distances; with one code on a side, always. Raises InvalidInput for shapes
    that do not fit.
    """
    x, y = np.asarray(a), np.asarray(b)
    if x.ndim != 3 or y.ndim != 3:
        raise InvalidInput("a, b", f"shapes {x.shape} and {y.shape}", "(A, n, 512) and (B, n, 512)")
    _check_codes(x[:1], y[:1])
    shape = x.shape[1:]
    if 1 in (len(x), len(y)):
        many, one = (x, y) if len(y) == 1 else (y, x)
        return paired(len(many), shape, many.__getitem__, lambda _: one).reshape(len(x), len(y))
    return _by_product(x, y)


def squared_distance_ignoring(
    hyperplanes: Hyperplanes,
    squared_distance: ArrayLike,
    logit_difference: ArrayLike,
    ignored: Iterable[str],
) -> Float64:
    """D* without what attributes S explain: D* - Δℓ_Sᵀ·Γ_S⁻¹·Δℓ_S / M, never below 0.

    Parameters
    ----------
    squared_distance: (...), D* of each pair.
    logit_difference: (..., K), Δℓ, logits of one code minus logits of the other.
    ignored: names of S.

    Returns float64 (...). Raises InvalidInput (unknown name, wrong shape), DependentAttributes.
    """
    difference = hyperplanes.rows(logit_difference, "logit_difference")
    shares = _shares(hyperplanes, hyperplanes.positions(ignored, "ignored"), difference)
    rest = np.asarray(squared_distance, np.float64) - shares.sum(axis=-1)
    return np.asarray(np.maximum(rest, 0.0))


def explained_distance(
    hyperplanes: Hyperplanes, squared_distance: ArrayLike, logit_difference: ArrayLike
) -> ExplainedDistance:
    """Split D* over all attributes: share_k = Δℓ_k·(Γ⁻¹·Δℓ)_k / M; the rest is the residual.

    Parameters
    ----------
    squared_distance: (...), D* of each pair.
    logit_difference: (..., K), Δℓ, logits of one code minus logits of the other.

    Raises InvalidInput (wrong shape), DependentAttributes.
    """
    difference = hyperplanes.rows(logit_difference, "logit_difference")
    shares = _shares(hyperplanes, list(range(len(hyperplanes.attributes))), difference)
    residual = np.asarray(squared_distance, np.float64) - shares.sum(axis=-1)
    return ExplainedDistance(shares, np.asarray(residual))


def percentile(squared_distance: ArrayLike, quantiles: ArrayLike) -> Float64:
    """Where a squared distance lies among reference pairs, in percent: 0 to 100, clamped.

    Parameters
    ----------
    squared_distance: (...), D*.
    quantiles: (101,), never decreasing: D* of the reference pairs at 0, 1, ... 100 %.

    Returns float64 (...), linear between quantiles. Raises InvalidInput for other quantiles.
    """
    grid = np.asarray(quantiles, np.float64)
    if grid.shape != (101,) or not (np.diff(grid) >= 0).all():
        raise InvalidInput("quantiles", grid, "101 numbers, never decreasing")
    return np.asarray(np.interp(np.asarray(squared_distance, np.float64), grid, np.arange(101.0)))


def _check_codes(a: Codes, b: Codes) -> None:
    for field, codes in (("a", a), ("b", b)):
        if codes.ndim < 2:
            raise InvalidInput(field, f"shape {codes.shape}", "shape (..., n, 512)")
    if a.shape[-2:] != b.shape[-2:]:
        raise InvalidInput("b", f"codes of shape {b.shape[-2:]}", f"{a.shape[-2:]}, as in a")
    try:
        np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        raise InvalidInput("b", f"shape {b.shape}", f"one that broadcasts with {a.shape}") from None


def _by_product(x: Codes, y: Codes) -> Float64:
    """‖a‖² + ‖b‖² - 2·a·b around a centre; directly where that leaves too few digits."""
    squared = np.empty((len(x), len(y)))
    if squared.size == 0:
        return squared
    shape, centre = x.shape[1:], _centre(y)
    rows, columns = (blocks(len(codes), codes_in(_BLOCK_BYTES, shape)) for codes in (x, y))
    left_buffer, right_buffer = (
        np.empty((max(part.stop - part.start for part in parts), *shape))
        for parts in (rows, columns)
    )
    # Infinite codes are found below; until then they give infinity less infinity.
    with np.errstate(over="ignore", invalid="ignore"):
        for i in rows:
            left, left_lengths = centred(x[i], centre, left_buffer)
            left *= -2.0
            for j in columns:
                right, right_lengths = centred(y[j], centre, right_buffer)
                found = squared[i, j]
                np.matmul(left, right.T, out=found)
                lengths = np.add.outer(left_lengths, right_lengths)
                found += lengths
                cancelled = ~(found > _CANCELLED * lengths) & ~np.isnan(lengths)
                found /= centre.size
                _replace(found, cancelled, x[i], y[j])
    return squared


def _centre(codes: Codes) -> Float64:
    """Mean of up to 64 codes spread over all, those with NaN or infinity left out: (n, 512).

    The mean code is far longer than differences between codes: with it they would cancel.
    """
    some = codes[:: -(-len(codes) // 64)].astype(np.float64)
    finite = some[np.isfinite(some).all(axis=(1, 2))]
    return np.asarray(finite.mean(axis=0)) if len(finite) else np.zeros(codes.shape[1:])


def _replace(found: Float64, wrong: NDArray[np.bool_], x: Codes, y: Codes) -> None:
    """Compute the pairs marked `wrong` again, by direct differences."""
    i, j = np.nonzero(wrong)
    found[i, j] = paired(len(i), x.shape[1:], lambda some: x[i[some]], lambda some: y[j[some]])


def _shares(hyperplanes: Hyperplanes, positions: list[int], difference: Float64) -> Float64:
    """Δℓ_k·(Γ_S⁻¹·Δℓ_S)_k / M for k in S = `positions`, 0 elsewhere; (..., K) to (..., K)."""
    told = [k for k in positions if hyperplanes.norms[k] > 0]
    change = difference[..., told]
    coefficients = hyperplanes.least_norm(told, change)
    shares = np.zeros(difference.shape)
    shares[..., told] = change / hyperplanes.norms[told] * coefficients / hyperplanes.code_size
    return shares
