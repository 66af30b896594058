"""The losses of the paper, equations 1 to 5, one function each.

Codes come scaled so that their plain squared distance is D* (‖a − b‖²/M).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from wstar_training.learning.codes import picture_side
from wstar_training.models.flow import Flow

# G and VGGFace take 1.6 GB for one picture of 1024 px, or for three of 256 px.
_PIXELS_AT_ONCE = 512**2


def pair_distances(x: Tensor) -> Tensor:
    """Squared distance of every pair of the rows of x: (N, F) to (N·(N − 1)/2,).

    Pairs come in the order of `torch.triu_indices(N, N, offset=1)`.
    """
    x = x - x.mean(0)
    norms = x.square().sum(1)
    squared = norms[:, None] + norms[None, :] - 2.0 * (x @ x.T)
    first, second = torch.triu_indices(len(x), len(x), offset=1, device=x.device)
    return squared[first, second].clamp_min(0.0)


def distance_loss(w_star: Tensor, target: Tensor) -> Tensor:
    """L_d = mean over the pairs of a batch of (D*(a, b) − d(a, b))² (eq. 1).

    Parameters
    ----------
    w_star: (N, dim), scaled codes.
    target: (N·(N − 1)/2,), d of all pairs, in the order of `pair_distances`.
    """
    return (pair_distances(w_star) - target).square().mean()


def attribute_loss(logits: Tensor, attributes: Tensor) -> Tensor:
    """L_C = mean binary cross entropy of C(T(w)), C frozen (eq. 2); both are (N, K)."""
    return functional.binary_cross_entropy_with_logits(logits, attributes)


def flow_loss(attribute: Tensor, distance: Tensor, distance_weight: float) -> Tensor:
    """L = L_C + λ_d·L_d (eq. 3)."""
    return attribute + distance_weight * distance


def identity_loss(
    flow: Flow,
    generator: nn.Module,
    identity: nn.Module,
    x: Tensor,
    epsilon: Tensor,
    before: Tensor,
    at_once: int | None = None,
) -> Tensor:
    """L_ID = mean of ‖F(G(w)) − F(G(T⁻¹(T(w) + ε)))‖² over the batch (eq. 4).

    Parameters
    ----------
    x: coordinates of w, as `flow.coordinates` gives them. epsilon: ε, of the shape of x and, like
    it, in standardised coordinates. before: (N, E), F(G(w)), or F of the pictures w came from.
    at_once: codes whose activations in G and F are kept; a larger batch goes through them in parts
    and once more for the gradient, in the memory of one part. None: as many as have the pixels of
    one picture of 512 px, and one at least.
    """
    codes = flow.codes(flow.map_inverse(flow.map(x) + epsilon))
    if at_once is None:
        at_once = max(1, _PIXELS_AT_ONCE // picture_side(codes) ** 2)

    def seen(some: Tensor) -> Tensor:
        embedded: Tensor = identity(generator(some))
        return embedded

    parts = codes.split(at_once)
    if len(parts) == 1:
        after = seen(codes)
    else:
        after = torch.cat([checkpoint(seen, part, use_reentrant=False) for part in parts])
    loss: Tensor = (after - before).square().sum(1).mean()
    return loss


def identity_flow_loss(flow_loss: Tensor, identity: Tensor, identity_weight: float) -> Tensor:
    """L = L_C + λ_d·L_d + λ_ID·L_ID (eq. 5)."""
    return flow_loss + identity_weight * identity
