"""The identity loss (eq. 4) as a measure: how far what F sees moves with a code of a space."""

from __future__ import annotations

import numpy as np
import torch

from wstar.graphs import Space
from wstar_training.learning.codes import embeddings, rendered
from wstar_training.learning.losses import identity_loss
from wstar_training.models.flow import Flow
from wstar_training.study.stages import Study

_CODES = 256


@torch.no_grad()
def held_out_identity(study: Study, flow: Flow) -> float:
    """L_ID of a flow on held-out codes.

    ε is the same for all flows of a study: normal, of the deviation τ that the study's T of
    W_STAR_ID is trained with, in standardised coordinates. Both sides are of regenerated faces.
    """
    path, noise = study.identity_path, study.flow_options[Space.W_STAR_ID].noise
    w = study.codes.w["test"][:_CODES]
    before = embeddings(path.identity, len(w), rendered(path.generator, flow, w)).float()
    x = flow.coordinates(w)
    epsilon = torch.from_numpy(noise * np.random.default_rng(0).standard_normal(x.shape)).to(x)
    return identity_loss(flow, path.generator, path.identity, x, epsilon, before).item()
