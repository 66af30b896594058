"""Train a T as a process of its own: python train_saved.py FOLDER [--kill-at STEP].

FOLDER holds `problem.pt`, what is learned from what; the T is written beside it. The process kills
itself in the middle of a step, as nothing it does could be left to the end then. Under torchrun all
processes train one T.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from wstar_training import checkpoint
from wstar_training.learning.config import FlowOptions
from wstar_training.learning.distributed import joined
from wstar_training.learning.loop import FlowData, train
from wstar_training.learning.objective import IdentityPath
from wstar_training.learning.supervision import Sketched
from wstar_training.models.flow import flow_from_checkpoint
from wstar_training.readout.fitted import Readout


@dataclass
class Mortal:
    """Distances of sketches, asked for once per step; the process dies while it is told them."""

    sketched: Sketched
    left: int | None

    @property
    def mean(self) -> float:
        """As of the sketches."""
        return self.sketched.mean

    def pairs(self, rows: Tensor) -> Tensor:
        """As of the sketches, or never."""
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return self.sketched.pairs(rows)


class Picture(nn.Module):
    """A picture that is two numbers of the code."""

    def forward(self, w: Tensor) -> Tensor:
        """Take w (N, n, 512), give (N, 2)."""
        return w[:, 0, :2]


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kill-at", type=int)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    problem = checkpoint.load(arguments.folder / "problem.pt")
    with joined("cpu") as group:
        for name, settings in json.loads(problem["options"]).items():
            options = FlowOptions(**settings)
            sketched = Sketched(problem["features"])
            x, attributes, before = problem["x"], problem["attributes"], problem["before"]
            data = FlowData(x, attributes, Mortal(sketched, arguments.kill_at), before)
            validation = FlowData(x[:50], attributes[:50], sketched, before[:50])
            readout = Readout(problem["weight"].numpy(), problem["bias"].numpy())
            flow = flow_from_checkpoint(problem["flow"]).train().requires_grad_(True).to(x.dtype)
            identity = IdentityPath(Picture(), nn.Identity()) if options.identity_weight else None
            path = arguments.folder / f"{name}.pt"
            train(path, options, flow, data, validation, readout, identity, group)


if __name__ == "__main__":
    main()
