"""The referee of own files: a network that reads attributes off pictures and only measures.

It is trained from nothing on labelled pictures of the split `probe`, which no loss of T has seen;
the faces whose edits it judges are of the split `test`.
"""

from __future__ import annotations

import copy
import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from wstar_training import checkpoint
from wstar_training.learning.codes import Batch, over_batches
from wstar_training.models.vgg import VGG16
from wstar_training.readout.fitted import Bools

# Five poolings of VGG16.
_REDUCTION = 32


@dataclass(frozen=True)
class RefereeOptions:
    """Settings of a referee and of its training.

    width: channels of the first block of its VGG16. side: px that it looks at, a multiple of 32.
    epochs, at_most: passes over its pictures, and pictures seen in all at most.
    validated: share of its pictures that choose the epoch that is kept.
    """

    width: int = 16
    side: int = 128
    epochs: int = 20
    at_most: int = 100_000
    batch: int = 32
    peak_rate: float = 3e-3
    validated: float = 0.1
    seed: int = 0


class Referee(nn.Module):
    """Pictures float32 (N, 3, S, S) in [-1, 1], of any S, to logits (N, `outputs`)."""

    def __init__(self, width: int, side: int, outputs: int) -> None:
        super().__init__()
        self.side = side
        self.vgg = VGG16(width, batch_norm=True)
        self.head = nn.Linear(self.vgg.out_channels * (side // _REDUCTION) ** 2, outputs)

    def forward(self, picture: Tensor) -> Tensor:
        """Read the attributes."""
        logits: Tensor = self.head(self.vgg(self.resized(picture)).flatten(1))
        return logits

    def resized(self, picture: Tensor) -> Tensor:
        """Pictures at the side that is looked at; smooth both ways, unlike averages over areas."""
        size = (self.side, self.side)
        if picture.shape[-2:] == size:
            return picture
        return functional.interpolate(picture, size, mode="bilinear", antialias=True)


class UnitVectors(nn.Module):
    """A network whose embeddings (N, D) are brought to length 1."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, picture: Tensor) -> Tensor:
        """Embed pictures (N, 3, S, S)."""
        return functional.normalize(self.network(picture), dim=1)


def train_referee(
    path: Path, options: RefereeOptions, pictures: Batch, attributes: Bools
) -> Referee:
    """Train a referee by binary cross entropy and write it.

    Parameters
    ----------
    pictures: rows to float32 (N, 3, S, S) in [-1, 1]. attributes: bool (N, K).

    Every picture is shown as it is or mirrored; the epoch that does best on the pictures left
    out of training is kept.
    """
    torch.manual_seed(options.seed)
    random = np.random.default_rng(options.seed)
    network = Referee(options.width, options.side, attributes.shape[1])
    seen, wanted = _levels(network, len(attributes), pictures), torch.from_numpy(attributes).float()
    order = random.permutation(len(attributes))
    held_out = max(1, int(options.validated * len(order)))
    left_out, trained = order[:held_out], order[held_out:]
    epochs = max(1, min(options.epochs, options.at_most // max(1, len(trained))))
    batch = min(options.batch, len(trained))
    steps = epochs * math.ceil(len(trained) / batch)
    optimizer = torch.optim.AdamW(network.parameters(), options.peak_rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, options.peak_rate, total_steps=steps)
    best, kept = math.inf, network.state_dict()
    for epoch in range(epochs):
        shuffled = random.permutation(trained)
        for step in range(steps // epochs):
            # The last batch is filled up with others.
            start = min(step * batch, len(trained) - batch)
            rows = shuffled[start : start + batch]
            x = _as_shown(seen, rows)
            if random.random() < 0.5:
                x = x.flip(-1)
            loss = functional.binary_cross_entropy_with_logits(
                network(x), wanted[torch.from_numpy(rows)]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        error = _error(network, seen, wanted, left_out)
        print(f"referee: epoch {epoch + 1}/{epochs}, error {error:.4f}", file=sys.stderr)
        if error < best:
            best, kept = error, copy.deepcopy(network.state_dict())
    content = {"options": asdict(options), "outputs": attributes.shape[1], "state": kept}
    checkpoint.save(path, content)
    return load_referee(path)


def load_referee(path: Path) -> Referee:
    """The referee of a file written by `train_referee`, frozen, in evaluation mode."""
    content = checkpoint.load(path)
    options = RefereeOptions(**content["options"])
    network = Referee(options.width, options.side, content["outputs"])
    network.load_state_dict(content["state"])
    return network.eval().requires_grad_(False)


def _levels(network: Referee, count: int, pictures: Batch) -> Tensor:
    """All pictures at the referee's side, uint8 (N, 3, side, side): read from disk only once."""

    def batch(rows: NDArray[np.int64]) -> Tensor:
        return (network.resized(pictures(rows)) * 127.5 + 128.0).clamp(0, 255).to(torch.uint8)

    return over_batches(count, batch)


def _as_shown(levels: Tensor, rows: NDArray[np.int64]) -> Tensor:
    return levels[torch.from_numpy(rows)].float() / 127.5 - 1.0


def _error(network: Referee, seen: Tensor, wanted: Tensor, rows: NDArray[np.int64]) -> float:
    """Cross entropy on pictures left out of training."""
    network.eval()

    def batch(some: NDArray[np.int64]) -> Tensor:
        logits, truth = network(_as_shown(seen, rows[some])), wanted[torch.from_numpy(rows[some])]
        each = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        return each.mean(1)

    error = over_batches(len(rows), batch).mean().item()
    network.train()
    return error
