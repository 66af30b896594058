"""StyleGAN2's mapping network: from z, and labels where a model has them, to w.

Module names are those of the published `.pt` files under `style.`; layers count from 1, index 0
being the normalisation, which has no parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from wstar.errors import InvalidInput
from wstar_training.models.ops import EqualLinear, leaky_relu, normalised

LEARNING_RATE_MULTIPLIER = 0.01


class MappingNetwork(nn.Module):
    """z (N, z_dim) and labels (N, c) to w (N, w_dim) (Karras et al. 2019, section 2).

    Parameters
    ----------
    z_dim: width of z.
    widths: what each layer gives, in their order; the last is the width of w.
    labels, embedding: width c of the labels and what they are embedded to; 0 for neither.
    """

    def __init__(
        self, z_dim: int, widths: Sequence[int], labels: int = 0, embedding: int = 0
    ) -> None:
        super().__init__()
        self.z_dim = z_dim
        self.labels = labels
        self.embed = EqualLinear(labels, embedding) if labels else None
        steps = list(pairwise([z_dim + embedding, *widths]))
        self.depth = len(steps)
        for index, step in enumerate(steps, start=1):
            self.add_module(str(index), EqualLinear(*step, multiplier=LEARNING_RATE_MULTIPLIER))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map z float32 (N, z_dim) and labels float32 (N, c) to w float32 (N, w_dim).

        Raises
        ------
        InvalidInput: z or labels of another shape, labels missing, or given to a network that
        takes none.
        """
        if z.ndim != 2 or z.shape[1] != self.z_dim:
            raise InvalidInput("z", tuple(z.shape), f"shape (N, {self.z_dim})")
        x = normalised(z)
        if self.embed is None:
            if labels is not None:
                raise InvalidInput("labels", tuple(labels.shape), "None: the model takes no labels")
        elif labels is None or labels.shape != (len(z), self.labels):
            raise InvalidInput(
                "labels",
                None if labels is None else tuple(labels.shape),
                f"shape (N, {self.labels}), one row per row of z: the model is conditional",
            )
        else:
            x = torch.cat([x, normalised(self.embed(labels))], dim=1)
        for index in range(1, self.depth + 1):
            x = leaky_relu(self.get_submodule(str(index))(x))
        return x


def truncated(w: Tensor, mean_w: Tensor, psi: float, cutoff: int | None) -> Tensor:
    """Pull the first `cutoff` rows (None: all) of w (N, n, w_dim) to the mean: w̄ + ψ(w - w̄)."""
    pulled = mean_w + psi * (w - mean_w)
    return pulled if cutoff is None else torch.cat([pulled[:, :cutoff], w[:, cutoff:]], dim=1)
