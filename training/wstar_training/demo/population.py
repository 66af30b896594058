"""Populations of demo faces: who they are, how they look today, and their 40 attributes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wstar_training.demo.labels import label
from wstar_training.demo.sampling import IDENTITY, NUISANCE, draw_identity, draw_nuisance

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Population:
    """A set of faces, one row per face.

    identity: float32 (count, len(IDENTITY)): bones, skin, hair, facial hair, sex and age.
    nuisance: float32 (count, len(NUISANCE)): pose, light, expression, background, accessories.
    attributes: bool (count, 40) in the order of the CelebA data set; a function of the other two.
    """

    identity: FloatArray
    nuisance: FloatArray
    attributes: BoolArray

    def __len__(self) -> int:
        return len(self.identity)

    def parameter(self, name: str) -> FloatArray:
        """Return one parameter, float32 (count,); KeyError if no parameter has that name."""
        if name in IDENTITY:
            return self.identity[:, IDENTITY.index(name)]
        if name in NUISANCE:
            return self.nuisance[:, NUISANCE.index(name)]
        raise KeyError(name)

    def slice(self, start: int, stop: int) -> "Population":
        """Return the faces start..stop-1."""
        return Population(
            self.identity[start:stop], self.nuisance[start:stop], self.attributes[start:stop]
        )

    def replace(self, **parameters: float) -> "Population":
        """Return the faces with the named parameters set, and the attributes that follow."""
        identity, nuisance = self.identity.copy(), self.nuisance.copy()
        for name, value in parameters.items():
            if name in IDENTITY:
                identity[:, IDENTITY.index(name)] = value
            elif name in NUISANCE:
                nuisance[:, NUISANCE.index(name)] = value
            else:
                raise KeyError(name)
        return from_parameters(identity, nuisance)


def from_parameters(identity: FloatArray, nuisance: FloatArray) -> Population:
    """Label faces given by their parameters."""
    columns = {name: identity[:, i] for i, name in enumerate(IDENTITY)}
    columns.update({name: nuisance[:, i] for i, name in enumerate(NUISANCE)})
    return Population(identity, nuisance, label(columns))


def sample(seed: int, count: int) -> Population:
    """Draw `count` faces; a longer draw with the same seed begins with the same faces."""
    identity = draw_identity(np.random.SeedSequence([seed, 0]), count)
    nuisance = draw_nuisance(np.random.SeedSequence([seed, 1]), identity)
    return from_parameters(identity, nuisance)


def vary(population: Population, seed: int) -> Population:
    """Draw the same people again: same identity, new pose, light, expression and accessories."""
    nuisance = draw_nuisance(np.random.SeedSequence([seed, 2]), population.identity)
    return from_parameters(population.identity, nuisance)
