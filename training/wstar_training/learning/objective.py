"""The loss of a batch, as a module: eq. 3, or eq. 5 where there is an identity path."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from wstar_training.learning.config import FlowOptions
from wstar_training.learning.distributed import Group
from wstar_training.learning.losses import (
    attribute_loss,
    distance_loss,
    flow_loss,
    identity_flow_loss,
    identity_loss,
)
from wstar_training.models.flow import Flow
from wstar_training.readout.fitted import Readout


@dataclass(frozen=True)
class IdentityPath:
    """What eq. 4 needs beside T: G (codes to pictures) and F (pictures to embeddings), frozen."""

    generator: nn.Module
    identity: nn.Module


class Disturbed(NamedTuple):
    """The codes of a batch whose identity is to survive ε: coordinates x, ε, and F before it.

    whole: how many there are in the whole batch; a process may have fewer, or none.
    """

    x: Tensor
    epsilon: Tensor
    before: Tensor
    whole: int


class Objective(nn.Module):
    """The loss of a batch and its parts; in a group, of its share of the batch.

    Averaged over the processes of a group, values and gradients are those of the whole batch.

    Parameters
    ----------
    readout: C, frozen, on the coordinates of `flow`. unit: mean perceptual distance.
    identity: G and F on the device of `flow`; None leaves eq. 3.
    """

    weight: Tensor
    bias: Tensor

    def __init__(
        self,
        flow: Flow,
        readout: Readout,
        unit: float,
        options: FlowOptions,
        group: Group,
        identity: IdentityPath | None,
    ) -> None:
        super().__init__()
        self.flow = flow
        self.options = options
        self.group = group
        self.unit = unit
        # Not a submodule: neither trained nor saved.
        self.identity = identity
        self.register_buffer("weight", torch.from_numpy(readout.weight).to(flow.std))
        self.register_buffer("bias", torch.from_numpy(readout.bias).to(flow.std))
        # Scaled coordinates: their plain squared distance is D*, a mean over all M numbers.
        self.scale = float(flow.std) / math.sqrt(flow.mean.numel())
        self.map: Callable[[Tensor], tuple[Tensor, list[Tensor]]] = flow.stretched

    def compile_map(self) -> None:
        """Compute f through torch.compile."""
        self.map = torch.compile(self.flow.stretched, dynamic=False)

    def forward(
        self, x: Tensor, attributes: Tensor, target: Tensor, disturbed: Disturbed | None = None
    ) -> dict[str, Tensor]:
        """Attribute, distance, s-net and identity loss and the total, by name.

        Parameters
        ----------
        x: coordinates of this process's share of the batch. attributes: (B, K), of the whole batch.
        target: (B·(B − 1)/2,), distances of all its pairs.
        disturbed: this process's share of the codes of eq. 4; None leaves eq. 3.
        """
        options = self.options
        share, scales = self.map(x)
        y = self.group.gather(share.flatten(1))
        logits = nn.functional.linear(y, self.weight, self.bias)
        attribute = attribute_loss(logits, attributes)
        distance = distance_loss(self.scale * y, target) / self.unit**2
        stretch = torch.cat([s.flatten() for s in scales])
        total = flow_loss(attribute, distance, options.distance_weight)
        parts = {"attribute": attribute, "distance": distance, "scale": stretch.square().mean()}
        if disturbed is not None:
            same = self._identity(disturbed)
            total = identity_flow_loss(total, same, options.identity_weight)
            parts["identity"] = same
        parts["total"] = total + options.scale_weight * parts["scale"]
        return parts

    def _identity(self, disturbed: Disturbed) -> Tensor:
        """Eq. 4, of a share weighted so that the mean over processes is that of the whole."""
        path, mine = self.identity, len(disturbed.x)
        assert path is not None
        if mine == 0:
            return disturbed.x.new_zeros(())
        x, epsilon, before = disturbed[:3]
        loss = identity_loss(self.flow, path.generator, path.identity, x, epsilon, before)
        return loss * (mine * self.group.size / disturbed.whole)
