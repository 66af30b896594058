"""The losses of the paper, equations 1 to 5, one function each.

Codes and features come scaled so that their plain squared distance is the distance meant: D* for
codes (‖a − b‖²/M), d for features (see `PerceptualDistance.features`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from wstar_training.models.flow import Flow


def pair_distances(x: Tensor) -> Tensor:
    """Squared distance of every pair of the rows of x: (N, F) to (N·(N − 1)/2,)."""
    x = x - x.mean(0)
    norms = x.square().sum(1)
    squared = norms[:, None] + norms[None, :] - 2.0 * (x @ x.T)
    first, second = torch.triu_indices(len(x), len(x), offset=1)
    return squared[first, second].clamp_min(0.0)


def distance_loss(w_star: Tensor, features: Tensor) -> Tensor:
    """L_d = mean over the pairs of a batch of (D*(a, b) − d(a, b))² (eq. 1).

    Parameters
    ----------
    w_star: (N, dim), scaled codes. features: (N, F), scaled perceptual features of their pictures.
    """
    return (pair_distances(w_star) - pair_distances(features)).square().mean()


def attribute_loss(logits: Tensor, attributes: Tensor) -> Tensor:
    """L_C = mean binary cross entropy of C(T(w)), C frozen (eq. 2); both are (N, K)."""
    return functional.binary_cross_entropy_with_logits(logits, attributes)


def flow_loss(attribute: Tensor, distance: Tensor, distance_weight: float) -> Tensor:
    """L = L_C + λ_d·L_d (eq. 3)."""
    return attribute + distance_weight * distance


def identity_loss(
    flow: Flow, generator: nn.Module, identity: nn.Module, x: Tensor, epsilon: Tensor
) -> Tensor:
    """L_ID = mean of ‖F(G(w)) − F(G(T⁻¹(T(w) + ε)))‖² over the batch (eq. 4).

    Parameters
    ----------
    x: coordinates of w, as `flow.coordinates` gives them. epsilon: ε, of the shape of x and, like
    it, in standardised coordinates.
    """
    with torch.no_grad():
        before = identity(generator(flow.codes(x)))
    after = identity(generator(flow.codes(flow.map_inverse(flow.map(x) + epsilon))))
    loss: Tensor = (after - before).square().sum(1).mean()
    return loss


def identity_flow_loss(flow_loss: Tensor, identity: Tensor, identity_weight: float) -> Tensor:
    """L = L_C + λ_d·L_d + λ_ID·L_ID (eq. 5)."""
    return flow_loss + identity_weight * identity
