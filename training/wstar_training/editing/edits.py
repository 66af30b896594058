"""Edits of codes in a space: steps of the paper, targeted edits, and those that hold the rest.

A step edit and a targeted edit of one attribute move along the same normal; a step is as long for
every face, a targeted edit as long as each face needs. Only one that holds the other attributes
goes another way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wstar.attributes import ATTRIBUTES
from wstar.edits import step_coefficients, targeted_coefficients
from wstar.errors import DependentAttributes
from wstar.graphs import W_DIM
from wstar.hyperplanes import Hyperplanes
from wstar_training.models.classifiers import Classifiers
from wstar_training.models.flow import Flow

Float64 = NDArray[np.float64]
Bools = NDArray[np.bool_]


def hyperplanes_of(classifiers: Classifiers) -> Hyperplanes:
    """The geometry of a served read-out, float64."""
    weight = classifiers.weight.double().numpy()
    gram = weight @ weight.T
    norms = np.sqrt(gram.diagonal())
    return Hyperplanes(ATTRIBUTES, norms, classifiers.bias.double().numpy(), gram, weight.shape[1])


@dataclass(frozen=True)
class EditSpace:
    """Where edits are made: T of a space, and the hyperplanes served of it."""

    flow: Flow
    classifiers: Classifiers

    @cached_property
    def planes(self) -> Hyperplanes:
        """The geometry of the read-out."""
        return hyperplanes_of(self.classifiers)

    @cached_property
    def told(self) -> tuple[str, ...]:
        """Attributes that this space can tell, so that there is a normal to move along."""
        return tuple(np.array(ATTRIBUTES)[self.planes.norms > 0].tolist())

    @cached_property
    def condition(self) -> float:
        """Condition number of the cosines of all normals; 1 where they are orthogonal."""
        told = self.planes.norms > 0
        eigenvalues = np.linalg.eigvalsh(self.planes.cosines[np.ix_(told, told)])
        return float(eigenvalues[-1] / max(eigenvalues[0], np.finfo(np.float64).tiny))

    @cached_property
    def dependent(self) -> tuple[str, ...]:
        """Attributes that cannot be moved while all others are held: `Hyperplanes` refuses."""
        found: list[str] = []
        while True:
            rest = [name for name in self.told if name not in found]
            positions = self.planes.positions(rest, "attributes")
            try:
                self.planes.least_norm(positions, np.zeros(len(positions)))
            except DependentAttributes as refused:
                found += list(refused.value)  # type: ignore[call-overload]
                continue
            return tuple(name for name in self.told if name in found)

    def held_beside(self, name: str) -> tuple[str, ...]:
        """All attributes but one, without those that depend on each other."""
        return tuple(other for other in self.told if other != name and other not in self.dependent)

    @torch.no_grad()
    def codes(self, w: Tensor) -> tuple[Tensor, Float64]:
        """T(w) of w (N, n, 512), and its logits (N, K)."""
        w_star = self.flow(w)
        return w_star, self.classifiers(w_star).double().numpy()

    @torch.no_grad()
    def spread(self, w: Tensor) -> Float64:
        """Standard deviation of the codes of w (N, n, 512) along each unit normal, (K,)."""
        _, logits = self.codes(w)
        return np.asarray(logits.std(0) / np.where(self.planes.norms > 0, self.planes.norms, 1.0))

    @torch.no_grad()
    def edited(self, w_star: Tensor, coefficients: Float64) -> Tensor:
        """T⁻¹(w_star + Σ_k coefficients_k·n_k), (N, n, 512) in W+; coefficients are (N, K)."""
        change = torch.from_numpy(coefficients).float() @ self.classifiers.normals
        return self.flow.inverse(w_star + change.unflatten(1, (-1, W_DIM)))


# Of a space, an attribute, the logits (F, K) of faces, which of them are given the attribute
# rather than freed from it (F,), and a strength: the coefficients (F, K).
Edit = Callable[[EditSpace, str, Float64, Bools, float], Float64]


def stepped(spread: Float64) -> Edit:
    """Step edits (paper section 5.1), w_star ± strength·spread_k·n_k: equally long for all faces.

    spread: (K,), the unit of the strength; see `EditSpace.spread`.
    """

    def edit(space: EditSpace, name: str, logits: Float64, give: Bools, strength: float) -> Float64:
        step = strength * spread[ATTRIBUTES.index(name)]
        direction = step_coefficients(space.planes, {name: 1.0})
        return np.asarray(np.where(give, step, -step)[:, None] * direction)

    return edit


def targeted(space: EditSpace, name: str, logits: Float64, give: Bools, strength: float) -> Float64:
    """Targeted edits to the probability `strength`, of faces freed from it to 1 − strength."""
    return _to_probability(space, name, logits, give, strength, ())


def held(space: EditSpace, name: str, logits: Float64, give: Bools, strength: float) -> Float64:
    """Targeted edits that hold the logits of all other attributes."""
    return _to_probability(space, name, logits, give, strength, space.held_beside(name))


def _to_probability(
    space: EditSpace, name: str, logits: Float64, give: Bools, strength: float, kept: Sequence[str]
) -> Float64:
    wanted = np.where(give, strength, 1.0 - strength)
    rows = [
        targeted_coefficients(space.planes, row, {name: p}, kept)[0]
        for row, p in zip(logits, wanted, strict=True)
    ]
    return np.array(rows).reshape(len(logits), len(ATTRIBUTES))
