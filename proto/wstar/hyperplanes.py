"""The served read-out of one space, and the one linear system that all attribute geometry solves.

Logits are linear in a code: ℓ(w_star) = A·w_star + b, with rows a_k and unit normals
n_k = a_k / ‖a_k‖. The Gram matrix Γ = A·Aᵀ stands for A, so a service holds no weights: a
change of a code is a list of K coefficients, Δw_star = Σ_k coefficients_k·n_k.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wstar.errors import DependentAttributes, InvalidInput

MAX_CONDITION = 1e6
MAX_RESIDUAL = 1e-6

Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Hyperplanes:
    """Norms, biases and Gram matrix of the K hyperplanes of one space.

    attributes: K names, in the order of the logits.
    norms: float64 (K,), ‖a_k‖; 0 for an attribute that this space cannot tell.
    biases: float64 (K,), b_k, in logits.
    gram: float64 (K, K), Γ = A·Aᵀ; its diagonal is norms².
    code_size: M = n·512, numbers in a code.

    Raises
    ------
    InvalidInput: shapes that do not fit, numbers that are not finite, a Gram matrix that is not
    symmetric, norms of another matrix.
    """

    attributes: tuple[str, ...]
    norms: Float64
    biases: Float64
    gram: Float64
    code_size: int

    def __post_init__(self) -> None:
        """Refuse parts that do not belong together."""
        k = len(self.attributes)
        for name, shape in {"norms": (k,), "biases": (k,), "gram": (k, k)}.items():
            array: Float64 = getattr(self, name)
            if array.shape != shape or not np.isfinite(array).all():
                raise InvalidInput(name, f"shape {array.shape}", f"finite numbers of shape {shape}")
        if not np.allclose(self.gram, self.gram.T):
            raise InvalidInput("gram", "a matrix that is not symmetric", "A·Aᵀ")
        if (self.norms < 0).any() or not np.allclose(self.norms**2, self.gram.diagonal(), 1e-6, 0):
            raise InvalidInput("norms", self.norms, "square roots of the diagonal of gram")
        if self.code_size < 1:
            raise InvalidInput("code_size", self.code_size, "1 or more")

    @property
    def cosines(self) -> Float64:
        """n_k·n_l, float64 (K, K); a row of norm 0 is 0."""
        norms = np.where(self.norms > 0, self.norms, 1.0)
        return np.asarray(self.gram / np.outer(norms, norms))

    def positions(self, names: Iterable[str], field: str) -> list[int]:
        """Return the position of each name, once each; InvalidInput(`field`) for a stranger."""
        names = list(dict.fromkeys(names))
        for name in names:
            if name not in self.attributes:
                raise InvalidInput(field, name, f"one of {', '.join(self.attributes)}")
        return [self.attributes.index(name) for name in names]

    def rows(self, values: ArrayLike, field: str) -> Float64:
        """Return (..., K) values as float64; InvalidInput(`field`) for another shape."""
        array = np.asarray(values, np.float64)
        k = len(self.attributes)
        if array.ndim == 0 or array.shape[-1] != k:
            raise InvalidInput(field, f"shape {array.shape}", f"shape (..., {k})")
        return array

    def least_norm(self, positions: list[int], change: Float64) -> Float64:
        """Coefficients of the smallest move that changes the logits of S by `change`.

        δ = A_Sᵀ·Γ_S⁻¹·Δℓ_S, written as c_k = ‖a_k‖·(Γ_S⁻¹·Δℓ_S)_k over the unit normals of S.
        Solved with the cosines instead of Γ: the same solution, and a condition number that
        does not depend on how steep each attribute was calibrated.

        Parameters
        ----------
        positions: S, positions of attributes whose norm is not 0.
        change: float64 (..., S), Δℓ_S, in logits.

        Returns float64 (..., S). Raises DependentAttributes, naming the attributes whose normals
        depend on each other, for a condition number above 1e6 or a residual above 1e-6.
        """
        if not positions:
            return change
        cosines = self.cosines[np.ix_(positions, positions)]
        norms = self.norms[positions]
        self._check_independent(positions, cosines)
        wanted = (change / norms).reshape(-1, len(positions))
        solution = np.linalg.solve(cosines, wanted.T).T.reshape(change.shape)
        residual = np.abs((solution @ cosines) * norms - change).max(initial=0.0)
        if residual > MAX_RESIDUAL * max(1.0, np.abs(change).max(initial=0.0)):
            names = [self.attributes[k] for k in positions]
            raise DependentAttributes("attributes", names, "hyperplanes independent of each other")
        return np.asarray(solution)

    def _check_independent(self, positions: list[int], cosines: Float64) -> None:
        eigenvalues, eigenvectors = np.linalg.eigh(cosines)
        vanishing = eigenvalues * MAX_CONDITION <= eigenvalues[-1]
        if vanishing.any():
            # An attribute outside the dependence has weight 0 up to rounding.
            weights = np.abs(eigenvectors[:, vanishing]).max(axis=1)
            names = [
                self.attributes[k]
                for k, weight in zip(positions, weights, strict=True)
                if weight > 0.05
            ]
            raise DependentAttributes("attributes", names, "hyperplanes independent of each other")
