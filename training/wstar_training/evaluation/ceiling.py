"""What the codes allow: a free, not invertible map of the same codes on the same distance loss.

T must be a bijection; this network need not be. Where both order distances equally well, the
codes and not the flow set the limit.
"""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from torch import Tensor, nn

from wstar_training.learning.loop import FlowData
from wstar_training.learning.losses import distance_loss

_WIDTH = 512
_BATCH = 128
_RATE = 3e-3
_WEIGHT_DECAY = 0.1
_VALIDATE_EVERY = 200


class FreeMap(nn.Module):
    """Coordinates (N, r) to (N, r), the identity plus three layers; squared distances imitate d.

    Parameters
    ----------
    x: coordinates (N, r) of training codes: they set the scale, under which random pairs start at
    a mean squared distance of 1, as T starts from W+.
    """

    scale: Tensor
    deviation: Tensor

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        dim = x.shape[1]
        self.register_buffer("scale", (2.0 * x.var(0).sum()).rsqrt())
        self.register_buffer("deviation", x.std())
        self.rest = nn.Sequential(
            nn.Linear(dim, _WIDTH), nn.SiLU(), nn.Linear(_WIDTH, _WIDTH), nn.SiLU(),
            nn.Linear(_WIDTH, dim),
        )  # fmt: skip
        last = self.rest[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map coordinates to a Euclidean space."""
        out: Tensor = self.scale * (x + self.deviation * self.rest(x / self.deviation))
        return out


def train_ceiling(data: FlowData, validation: FlowData, steps: int, seed: int = 0) -> FreeMap:
    """Train on all pairs of batches; return the best validated map, in evaluation mode."""
    torch.manual_seed(seed)
    network = FreeMap(data.x)
    unit = data.distances.mean
    wanted = validation.distances.pairs(torch.arange(len(validation)))
    optimizer = torch.optim.AdamW(network.parameters(), _RATE, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / steps))
    )
    random = np.random.default_rng(seed)
    best, kept = math.inf, copy.deepcopy(network.state_dict())
    for step in range(1, steps + 1):
        rows = torch.from_numpy(random.choice(len(data), min(_BATCH, len(data)), replace=False))
        z = math.sqrt(unit) * network(data.x[rows])
        loss = distance_loss(z, data.distances.pairs(rows)) / unit**2
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % _VALIDATE_EVERY == 0 or step == steps:
            with torch.no_grad():
                error = distance_loss(math.sqrt(unit) * network(validation.x), wanted).item()
            if error < best:
                best, kept = error, copy.deepcopy(network.state_dict())
    network.load_state_dict(kept)
    return network.eval().requires_grad_(False)
