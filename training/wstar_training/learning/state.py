"""What a killed training of T goes on from."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from wstar.errors import CheckpointError
from wstar_training import checkpoint
from wstar_training.learning.average import Average
from wstar_training.learning.config import FlowOptions
from wstar_training.learning.watch import Watch
from wstar_training.models.flow import Flow, flow_checkpoint


def best_path(path: Path) -> Path:
    """Where the best T of a training that failed is kept."""
    return path.with_suffix(".best.pt")


class TrainingState:
    """Weights, their average, the optimiser's memory, and how far training has come.

    step: steps taken. best, kept: the least validation loss, and the checkpoint of the T that had
    it. stale: validations since. saved: the step of the state on disk; None: there is none.
    """

    def __init__(self, flow: Flow, average: Average, optimizer: torch.optim.Optimizer) -> None:
        self.flow = flow
        self.average = average
        self.optimizer = optimizer
        self.watch = Watch()
        self.step = 0
        self.best = math.inf
        self.stale = 0
        self.kept: dict[str, Any] = {}
        self.saved: int | None = None

    def validated(self, line: dict[str, float]) -> None:
        """Keep the average if this validation is the best one yet.

        Raises
        ------
        FloatingPointError: its loss is not finite.
        """
        if not math.isfinite(line["total"]):
            raise FloatingPointError(f"the validation loss is {line['total']}")
        self.stale += 1
        if line["total"] < self.best:
            self.best, self.stale = line["total"], 0
            self.kept = {
                **flow_checkpoint(self.average.flow), "step": self.step, "validation": line
            }  # fmt: skip
            weights = self.kept["state"].items()
            self.kept["state"] = {name: value.cpu().clone() for name, value in weights}

    @contextmanager
    def explaining(
        self, path: Path, rate: float, options: FlowOptions, writes: bool
    ) -> Iterator[None]:
        """Add to a FloatingPointError of the block where training of `path` stands.

        writes: keep the best validated T, whose weights the error has not reached.
        """
        try:
            yield
        except FloatingPointError as error:
            good = []
            if self.kept:
                best = best_path(path)
                if writes:
                    self.save_best(best, options)
                good.append(f"{best} holds the best validated T, step {self.kept['step']}")
            if self.saved is not None:
                state = path.with_suffix(".state")
                good.append(
                    f"{state} the last good state, step {self.saved}: delete it to begin anew"
                )
            raise FloatingPointError(
                f"{path.stem}: {error} at step {self.step}; "
                f"{'; '.join(good) or 'nothing was validated or saved yet'}; "
                f"try a lower rate than {rate:g}"
            ) from None

    def save_best(self, path: Path, options: FlowOptions) -> None:
        """Write the best validated T and the settings it was trained with."""
        checkpoint.save(path, {**self.kept, "options": asdict(options)})

    def save(self, path: Path, options: FlowOptions) -> None:
        """Write the state, replacing an older one."""
        content = {
            "options": json.dumps(asdict(options)),
            "flow": self.flow.state_dict(),
            "average": self.average.flow.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "watch": self.watch.state(),
            "step": self.step,
            "best": self.best,
            "stale": self.stale,
            "kept": self.kept,
        }
        checkpoint.save(path, content)
        self.saved = self.step

    def restore(self, path: Path, options: FlowOptions) -> None:
        """Go on from a state that was saved.

        Raises
        ------
        CheckpointError: it cannot be read, or belongs to a training with other options.
        """
        state = checkpoint.load(path)
        try:
            if state["options"] != json.dumps(asdict(options)):
                raise CheckpointError(
                    f"{path}: of a training with other options; delete it to begin anew"
                )
            self.flow.load_state_dict(state["flow"])
            self.average.flow.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.watch.restore(state["watch"])
            self.step, self.best = state["step"], state["best"]
            self.stale, self.kept = state["stale"], state["kept"]
        except (KeyError, RuntimeError, ValueError) as error:
            raise CheckpointError(f"{path}: not a state of this training: {error}") from error
        self.saved = self.step
