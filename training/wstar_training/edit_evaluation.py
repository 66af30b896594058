"""Targeted edits, judged on the rendered picture by a network that took no part in training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wstar.attributes import ATTRIBUTES
from wstar.edits import targeted_coefficients
from wstar.geometry import sigmoid
from wstar.graphs import W_DIM
from wstar.hyperplanes import Hyperplanes
from wstar_training.models.classifiers import Classifiers
from wstar_training.models.flow import Flow

Float64 = NDArray[np.float64]

EDITED = ("Smiling", "Eyeglasses", "Male", "Young", "Bangs", "Blond_Hair", "Wearing_Hat")
# Everyone is one or the other: these are flipped; the rest is given to faces without it.
FLIPPED = ("Male", "Young")


@dataclass(frozen=True)
class Studio:
    """What an edit is made and looked at with, frozen.

    generator: codes to pictures. referee: pictures to logits (N, 40). identity: pictures to
    unit vectors.
    """

    generator: nn.Module
    referee: nn.Module
    identity: nn.Module


@dataclass(frozen=True)
class EditFigures:
    """One attribute edited on some faces.

    agreement: share of edited pictures in which the referee sees what was asked for.
    before: the same share before the edit.
    leakage: mean over the other attributes of the referee's |change of probability|.
    flipped: share of the other attributes whose presence the referee sees changed.
    identity: mean cosine of F before and after.
    squared_distance: mean D* moved in the space of the edit.
    """

    faces: int
    agreement: float
    before: float
    leakage: float
    flipped: float
    identity: float
    squared_distance: float


def hyperplanes_of(classifiers: Classifiers) -> Hyperplanes:
    """The geometry of a served read-out, float64."""
    weight = classifiers.weight.double().numpy()
    gram = weight @ weight.T
    norms = np.sqrt(gram.diagonal())
    return Hyperplanes(ATTRIBUTES, norms, classifiers.bias.double().numpy(), gram, weight.shape[1])


@torch.no_grad()
def edited_codes(
    flow: Flow, classifiers: Classifiers, w: Tensor, name: str, wanted: Float64
) -> tuple[Tensor, Float64]:
    """Edit w (N, n, 512) to `wanted` probabilities (N,) of one attribute.

    Returns the edited codes in W+ and the squared distance moved in the flow's space, (N,).
    """
    planes = hyperplanes_of(classifiers)
    w_star = flow(w)
    logits = classifiers(w_star).double().numpy()
    changes = [
        targeted_coefficients(planes, row, {name: p}) for row, p in zip(logits, wanted, strict=True)
    ]
    coefficients = torch.from_numpy(np.stack([c for c, _ in changes])).float()
    moved = w_star + (coefficients @ classifiers.normals).unflatten(1, (-1, W_DIM))
    return flow.inverse(moved), np.array([distance for _, distance in changes])


@torch.no_grad()
def edit_figures(
    studio: Studio,
    flow: Flow,
    classifiers: Classifiers,
    w: Tensor,
    attributes: NDArray[np.bool_],
    name: str,
    probability: float,
) -> EditFigures:
    """Edit faces w (N, n, 512) with true attributes (N, 40) to have `name`, or to flip it."""
    column = ATTRIBUTES.index(name)
    give = ~attributes[:, column]
    wanted = np.where(give, probability, 1.0 - probability)
    edited, moved = edited_codes(flow, classifiers, w, name, wanted)
    before, after = studio.generator(w).clamp(-1, 1), studio.generator(edited).clamp(-1, 1)
    seen_before = sigmoid(studio.referee(before).numpy())
    seen_after = sigmoid(studio.referee(after).numpy())
    others = np.delete(np.abs(seen_after - seen_before), column, axis=1)
    flips = np.delete((seen_after > 0.5) != (seen_before > 0.5), column, axis=1)
    same = (studio.identity(before) * studio.identity(after)).sum(1)
    return EditFigures(
        faces=len(w),
        agreement=float(((seen_after[:, column] > 0.5) == give).mean()),
        before=float(((seen_before[:, column] > 0.5) == give).mean()),
        leakage=float(others.mean()),
        flipped=float(flips.mean()),
        identity=float(same.mean()),
        squared_distance=float(moved.mean()),
    )


def faces_to_edit(attributes: NDArray[np.bool_], name: str, count: int) -> NDArray[np.int64]:
    """The first `count` faces to edit: any for attributes that are flipped, else those without."""
    rows = np.arange(len(attributes))
    if name not in FLIPPED:
        rows = rows[~attributes[:, ATTRIBUTES.index(name)]]
    return rows[:count]
