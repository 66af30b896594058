"""The read-out of an editing space: hyperplanes whose normals do what they say to the picture.

Logistic regression with a weak penalty finds what tells an attribute, be it a detail no one sees;
moving along it changes the logit and not the face. A strong penalty turns the normal towards the
mean difference between faces with and without, which shows, but drags along what goes with it. So
each attribute gets the weakest penalty whose edits a judge of pictures believes.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wstar.attributes import ATTRIBUTES
from wstar.geometry import sigmoid
from wstar_training.editing.edits import EditSpace, targeted
from wstar_training.evaluation.probes import Faces
from wstar_training.models.flow import Flow
from wstar_training.readout.fitted import Readout, on_codes
from wstar_training.readout.served import calibrated_readout

_PROBABILITY = 0.99
_MARGIN = 0.05


def editing_readout(
    flow: Flow,
    faces: Faces,
    w: Tensor,
    generator: nn.Module,
    judge: nn.Module,
    penalties: tuple[float, ...],
    edited: int,
) -> tuple[Readout, NDArray[np.float64]]:
    """Fit a calibrated read-out on faces, each attribute with a penalty chosen by its edits.

    Parameters
    ----------
    faces: coordinates in the flow's space, and attributes. w: (N, n, 512), the same faces in W+.
    generator: codes to pictures. judge: pictures to logits (N, K); not the one that evaluates.
    penalties: to choose from, weakest first.
    edited: faces without an attribute that are given it, per attribute and penalty.

    Returns the read-out and the chosen penalties (K,).
    """
    believed = np.zeros((len(penalties), len(ATTRIBUTES)))
    for row, penalty in enumerate(penalties):
        readout = calibrated_readout(faces.y, faces.attributes, penalty)
        space = EditSpace(flow, on_codes(readout, flow))
        believed[row] = _believed(space, faces.attributes, w, generator, judge, edited)
    # The first, weakest penalty that is nearly as good as the best one.
    enough = believed >= believed.max(0) - _MARGIN
    chosen = np.array(penalties)[enough.argmax(0)]
    return calibrated_readout(faces.y, faces.attributes, chosen), chosen


@torch.no_grad()
def _believed(
    space: EditSpace,
    attributes: NDArray[np.bool_],
    w: Tensor,
    generator: nn.Module,
    judge: nn.Module,
    edited: int,
) -> NDArray[np.float64]:
    """Mean probability that the judge gives each attribute after it was asked for, (K,)."""
    means = np.zeros(len(ATTRIBUTES))
    for name in space.told:
        k = ATTRIBUTES.index(name)
        rows = np.flatnonzero(~attributes[:, k])[:edited]
        if not len(rows):
            continue
        w_star, logits = space.codes(w[torch.from_numpy(rows)])
        give = np.ones(len(rows), bool)
        codes = space.edited(w_star, targeted(space, name, logits, give, _PROBABILITY))
        seen = judge(generator(codes).clamp(-1.0, 1.0))
        means[k] = sigmoid(seen[:, k].numpy()).mean()
    return means
