"""Edits in closed form: attribute changes to coefficients of the unit normals, float64.

The coefficients (K,) go to the `flow_inverse` graph, which adds Σ_k coefficients_k·n_k to the
code. Two edits of one code add up: sum their coefficients.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import ArrayLike

from wstar.errors import InvalidInput
from wstar.geometry import logit
from wstar.hyperplanes import Float64, Hyperplanes


def step_coefficients(
    hyperplanes: Hyperplanes, steps: Mapping[str, float], preserve: Iterable[str] = ()
) -> Float64:
    """Step edit of the paper: Σ_k step_k·n_k, each n_k first freed from the preserved normals.

    n_k loses its component in the span of the preserved normals and is renormalised, so a single
    step moves the code by exactly |step|.

    Parameters
    ----------
    steps: attribute to signed step, in units of w_star; positive raises the logit.
    preserve: attributes whose logits must not move.

    Returns float64 (K,), coefficients of the unit normals.

    Raises
    ------
    InvalidInput: unknown name, step not finite, attribute both moved and preserved.
    DependentAttributes: nothing of n_k is left beside the preserved normals.
    """
    moved, kept = _moved_and_kept(hyperplanes, steps, "steps", preserve)
    coefficients = np.zeros(len(hyperplanes.attributes))
    for position, (name, step) in zip(moved, steps.items(), strict=True):
        if not np.isfinite(step):
            raise InvalidInput(f"steps[{name}]", step, "a finite number")
        involved = [position, *kept]
        change = np.zeros(len(involved))
        change[0] = hyperplanes.norms[position]
        # First column of the inverse cosines: parallel to n_k minus its preserved part, and by
        # block inversion its first entry is its own squared norm.
        freed = hyperplanes.least_norm(involved, change)
        coefficients[involved] += step * freed / np.sqrt(freed[0])
    return coefficients


def targeted_coefficients(
    hyperplanes: Hyperplanes,
    logits: ArrayLike,
    probabilities: Mapping[str, float],
    preserve: Iterable[str] = (),
) -> tuple[Float64, float]:
    """Targeted edit: the smallest move that reaches given probabilities and holds others.

    With S = targets and preserved, δ = A_Sᵀ·Γ_S⁻¹·Δℓ_S is the least-norm δ with A_S·δ = Δℓ_S.

    Parameters
    ----------
    logits: (K,), logits of the code before the edit.
    probabilities: attribute to wanted probability, 0 to 1, bounded to [0.001, 0.999].
    preserve: attributes whose logits must not move.

    Returns float64 (K,), coefficients c_k = ‖a_k‖·(Γ_S⁻¹·Δℓ_S)_k of the unit normals, and the
    squared distance moved in this space, ‖δ‖² / M.

    Raises
    ------
    InvalidInput: unknown name, probability outside 0 to 1, logits not finite, attribute both
    moved and preserved.
    DependentAttributes: the targets and the preserved attributes cannot be moved independently.
    """
    before = hyperplanes.rows(logits, "logits")
    if before.ndim != 1 or not np.isfinite(before).all():
        raise InvalidInput("logits", logits, f"{len(hyperplanes.attributes)} finite numbers")
    moved, kept = _moved_and_kept(hyperplanes, probabilities, "probabilities", preserve)
    for name, probability in probabilities.items():
        if not 0.0 <= probability <= 1.0:
            raise InvalidInput(f"probabilities[{name}]", probability, "0 to 1")
    change = np.zeros(len(moved) + len(kept))
    change[: len(moved)] = logit(list(probabilities.values())) - before[moved]
    coefficients = np.zeros(len(hyperplanes.attributes))
    coefficients[moved + kept] = hyperplanes.least_norm(moved + kept, change)
    return coefficients, float(squared_distance_moved(hyperplanes, coefficients))


def squared_distance_moved(hyperplanes: Hyperplanes, coefficients: ArrayLike) -> Float64:
    """D* from a code to the same code edited: (..., K) coefficients to float64 (...)."""
    c = hyperplanes.rows(coefficients, "coefficients")
    squared_norm = np.sum(c @ hyperplanes.cosines * c, axis=-1)
    return np.asarray(np.maximum(squared_norm, 0.0) / hyperplanes.code_size)


def _moved_and_kept(
    hyperplanes: Hyperplanes, moved: Iterable[str], field: str, preserve: Iterable[str]
) -> tuple[list[int], list[int]]:
    moved_positions = hyperplanes.positions(moved, field)
    kept = hyperplanes.positions(preserve, "preserve")
    for k in moved_positions:
        if hyperplanes.norms[k] == 0:
            raise InvalidInput(field, hyperplanes.attributes[k], "attributes this space can tell")
        if k in kept:
            raise InvalidInput("preserve", hyperplanes.attributes[k], f"attributes not in {field}")
    # A logit whose norm is 0 never moves: nothing to hold.
    return moved_positions, [k for k in kept if hyperplanes.norms[k] > 0]
