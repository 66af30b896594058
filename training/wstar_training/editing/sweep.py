"""Edits of one attribute on some faces, at several strengths, as independent networks see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wstar.attributes import ATTRIBUTES
from wstar.edits import squared_distance_moved
from wstar.geometry import sigmoid
from wstar_training.editing.edits import Bools, Edit, EditSpace, Float64
from wstar_training.editing.studio import Studio

# Everyone is one or the other: these are flipped; the rest is given to faces without it.
FLIPPED = ("Male", "Young")


@dataclass(frozen=True)
class Pool:
    """Held-out faces that edits are made of.

    w: float32 (P, n, 512). attributes: bool (P, K), the truth. logits: (P, K), what the referee
    reads off their reconstructions. given: (P, E), embeddings of the given pictures; None without
    an identity network.
    """

    w: Tensor
    attributes: Bools
    logits: Float64
    given: Tensor | None


@dataclass(frozen=True)
class Sitting:
    """Faces about to be edited in one attribute, and what is seen of their reconstructions.

    faces: rows (F,) of the pool. give: bool (F,), which are given the attribute, not freed of it.
    pictures: (F, 3, S, S). logits: (F, K). rebuilt, given: embeddings (F, E) of the
    reconstructions and of the given pictures.
    """

    name: str
    faces: NDArray[np.int64]
    give: Bools
    w: Tensor
    pictures: Tensor
    logits: Float64
    rebuilt: Tensor | None
    given: Tensor | None

    @property
    def column(self) -> int:
        """Position of the attribute."""
        return ATTRIBUTES.index(self.name)

    @property
    def sign(self) -> Float64:
        """1 for faces that are given the attribute, −1 for those freed of it, (F,)."""
        return np.where(self.give, 1.0, -1.0)


@dataclass(frozen=True)
class Sweep:
    """Edits of a sitting at strengths 0 (none) and S − 1 others, in rising order.

    strengths: (S,). logits: the referee's, (S, F, K). squared_distance: D* moved in the space,
    (S, F). perceptual: distance from the reconstruction, (S, F). identity_reconstruction,
    identity_input: cosine of the identity network to the reconstruction and to the given picture,
    (S, F); None without one.
    """

    strengths: Float64
    logits: Float64
    squared_distance: Float64
    perceptual: Float64
    identity_reconstruction: Float64 | None
    identity_input: Float64 | None


def faces_to_edit(pool: Pool, name: str, count: int) -> NDArray[np.int64]:
    """The first `count` faces whose truth and referee agree on the attribute before the edit.

    Any, for attributes that are flipped, else those without the attribute.
    """
    column = ATTRIBUTES.index(name)
    truth = pool.attributes[:, column]
    agreed = truth == (pool.logits[:, column] > 0)
    return np.flatnonzero(agreed if name in FLIPPED else agreed & ~truth)[:count]


def sit(studio: Studio, pool: Pool, name: str, faces: NDArray[np.int64]) -> Sitting:
    """Draw faces of the pool and look at them."""
    rows = torch.from_numpy(faces)
    pictures = studio.pictures(pool.w[rows])
    return Sitting(
        name=name,
        faces=faces,
        give=~pool.attributes[faces, ATTRIBUTES.index(name)],
        w=pool.w[rows],
        pictures=pictures,
        logits=pool.logits[faces],
        rebuilt=studio.recognise(pictures),
        given=None if pool.given is None else pool.given[rows],
    )


def sweep(
    studio: Studio, sitting: Sitting, space: EditSpace, edit: Edit, strengths: Sequence[float]
) -> Sweep:
    """Edit the faces of a sitting at every strength and look at what comes out.

    A space that cannot tell the attribute leaves the faces as they are.
    """
    count = len(strengths)
    w_star, logits = space.codes(sitting.w)
    coefficients = np.zeros((count, *logits.shape))
    if sitting.name in space.told:
        for row, strength in enumerate(strengths):
            coefficients[row] = edit(space, sitting.name, logits, sitting.give, strength)
    edited = space.edited(w_star.repeat(count, 1, 1), coefficients.reshape(-1, len(ATTRIBUTES)))
    seen = studio.compare(edited, sitting.pictures)

    def grid(values: Float64, before: Float64) -> Float64:
        """(S·F, ...) to (S, F, ...), what is seen before the edit at first."""
        edits = values.reshape(count, len(sitting.faces), *values.shape[1:])
        return np.concatenate([before[None], edits])

    def cosines(beside: Tensor | None) -> Float64 | None:
        if seen.embedding is None or sitting.rebuilt is None or beside is None:
            return None
        cosine = (seen.embedding * beside.repeat(count, 1)).sum(1)
        return grid(cosine.double().numpy(), (sitting.rebuilt * beside).sum(1).double().numpy())

    nothing = np.zeros(len(sitting.faces))
    moved = squared_distance_moved(space.planes, coefficients)
    return Sweep(
        strengths=np.array([0.0, *strengths]),
        logits=grid(seen.logits, sitting.logits),
        squared_distance=grid(moved.flatten(), nothing),
        perceptual=grid(seen.perceptual, nothing),
        identity_reconstruction=cosines(sitting.rebuilt),
        identity_input=cosines(sitting.given),
    )


@dataclass(frozen=True)
class Effects:
    """What edits did, one number per edit, any shape (...); None without an identity network.

    change: of the target's probability, in the direction asked for. agreed: the referee sees what
    was asked for. leakage: mean |change of probability| of the other attributes. flipped: share
    of them whose presence the referee sees changed. The others are as in `Sweep`.
    """

    change: Float64
    agreed: Float64
    leakage: Float64
    flipped: Float64
    identity_reconstruction: Float64 | None
    identity_input: Float64 | None
    perceptual: Float64
    squared_distance: Float64


def effects(sitting: Sitting, seen: Sweep) -> Effects:
    """What the edits of a sweep did, (S, F) each."""
    before, after = sigmoid(sitting.logits), sigmoid(seen.logits)
    k = sitting.column
    others = np.arange(len(ATTRIBUTES)) != k
    difference = after - before
    return Effects(
        change=difference[..., k] * sitting.sign,
        agreed=((after[..., k] > 0.5) == sitting.give).astype(np.float64),
        leakage=np.abs(difference[..., others]).mean(-1),
        flipped=((after > 0.5) != (before > 0.5))[..., others].mean(-1),
        identity_reconstruction=seen.identity_reconstruction,
        identity_input=seen.identity_input,
        perceptual=seen.perceptual,
        squared_distance=seen.squared_distance,
    )
