"""What figures are drawn from: distances, codes and pictures of a study's test faces.

Everything is of the split `test`, which no network and no probe has learned from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wstar.attributes import ATTRIBUTES
from wstar.errors import WstarError
from wstar.geometry import squared_distance
from wstar.graphs import Space
from wstar.images import RGB
from wstar_training.evaluation.metrics import Bools, Float64, Int64, draw_trials
from wstar_training.evaluation.probes import Faces, svm
from wstar_training.learning.codes import Batch
from wstar_training.models.flow import Flow
from wstar_training.models.perceptual import Judge

_ROUNDS = 10
# Triplets whose pictures are judged at a time: at 256 px one picture has 15 MB of features.
_AT_ONCE = 8


class NothingToDraw(WstarError):
    """A figure that this study has nothing for; the message says what is missing."""


@dataclass(frozen=True)
class Distances:
    """Distances of anchors to two candidates.

    triplets: rows of the test split, (Q, 3). perceptual: d of input pictures, (Q, 2).
    latent: D* (eq. 1), (Q, 2), by space.
    """

    triplets: Int64
    perceptual: Float64
    latent: Mapping[Space, Float64]


@torch.no_grad()
def distances(
    flows: Mapping[Space, Flow],
    w: Tensor,
    judge: Judge,
    perceptual_scale: float,
    pictures: Batch,
    count: int,
) -> Distances:
    """Judge up to `count` triplets of faces w (N, n, 512) and their pictures.

    In a round a face is used once, so that the first candidates give independent pairs.

    Raises
    ------
    NothingToDraw: fewer than three faces.
    """
    if len(w) < 3:
        raise NothingToDraw(f"distances need 3 test faces, found {len(w)}")
    rounds = min(_ROUNDS, math.ceil(count / (len(w) // 3)))
    triplets = draw_trials(len(w), rounds, seed=0).triplets[:count]
    perceptual = []
    for some in np.array_split(triplets, math.ceil(len(triplets) / _AT_ONCE)):
        anchor, *candidates = (
            torch.cat(judge.features(pictures(some[:, column])), 1) for column in range(3)
        )
        each = [(anchor - candidate).square().sum(1) for candidate in candidates]
        perceptual.append(torch.stack(each, 1).numpy())
    factor = perceptual_scale / judge.scale
    latent = {}
    for space, flow in flows.items():
        w_star = flow(w).numpy()
        # The anchor of each, beside either of its candidates.
        latent[space] = squared_distance(w_star[triplets[:, :1]], w_star[triplets[:, 1:]])
    return Distances(triplets, factor * np.concatenate(perceptual).astype(np.float64), latent)


def told_apart(attributes: Bools, wanted: tuple[str, ...], count: int) -> list[int]:
    """Columns of `attributes` (N, K): the first `count` wanted that some have and some have not."""
    mixed = np.asarray(attributes.any(0) & ~attributes.all(0))
    columns = [column for column in map(ATTRIBUTES.index, wanted) if mixed[column]]
    if not columns:
        raise NothingToDraw(f"no test face differs from others in {', '.join(wanted)}")
    return columns[:count]


@torch.no_grad()
def svm_accuracy(flow: Flow, fit: tuple[Tensor, Bools], test: tuple[Tensor, Bools]) -> list[float]:
    """Accuracy of a linear SVM per attribute, in the space of a flow.

    `fit` and `test` are codes w (N, n, 512) and attributes (N, A).
    """
    parts = (
        Faces(flow.map(flow.coordinates(w)).flatten(1).numpy(), attributes)
        for w, attributes in (fit, test)
    )
    return [float(value) for value in svm(*parts).accuracy]


def as_bytes(pictures: Tensor) -> list[RGB]:
    """Pictures (N, 3, S, S) in [-1, 1] to uint8 (S, S, 3) each."""
    levels = (pictures * 127.5 + 128.0).clamp(0, 255).to(torch.uint8)
    return list(levels.permute(0, 2, 3, 1).contiguous().numpy())
