"""Training of T from codes, attributes and perceptual features; readable top to bottom.

T learns in the coordinates its couplings act on, where nothing is lost: a step costs
milliseconds. Features are computed once per picture (see `sketch`), and all pairs of a batch count.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wstar_training import checkpoint
from wstar_training.config import FlowOptions
from wstar_training.losses import (
    attribute_loss,
    distance_loss,
    flow_loss,
    identity_flow_loss,
    identity_loss,
    pair_distances,
)
from wstar_training.models.flow import Coupling, Flow, flow_checkpoint, flow_from_checkpoint
from wstar_training.pretrain import Readout

_VALIDATION_IDENTITY = 64
_ROUND_TRIP_CODES = 256


@dataclass(frozen=True)
class FlowData:
    """What T learns from, one row per face.

    x: float32 (N, r) or (N, n, 512), coordinates of the codes (`Flow.coordinates`).
    attributes: float32 (N, K), 0 or 1.
    features: float16 (N, F), scaled so that squared distances are perceptual distances.
    """

    x: Tensor
    attributes: Tensor
    features: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def rows(self, rows: slice | Tensor) -> FlowData:
        """Some of the faces."""
        return FlowData(self.x[rows], self.attributes[rows], self.features[rows])

    def mean_distance(self) -> float:
        """Mean perceptual distance of random pairs: twice the variance of the features."""
        return 2.0 * float(self.features[:2000].double().var(0).sum())


@dataclass(frozen=True)
class IdentityPath:
    """What eq. 4 needs beside T: G (codes to pictures) and F (pictures to embeddings), frozen."""

    generator: nn.Module
    identity: nn.Module


class _Objective:
    """The loss of a batch: eq. 3, or eq. 5 where there is an identity path; and its parts."""

    def __init__(self, flow: Flow, readout: Readout, data: FlowData, options: FlowOptions) -> None:
        self.flow = flow
        self.options = options
        self.weight = torch.from_numpy(readout.weight).float()
        self.bias = torch.from_numpy(readout.bias).float()
        # Scaled coordinates: their plain squared distance is D*, a mean over all M numbers.
        self.scale = float(flow.std) / math.sqrt(flow.mean.numel())
        self.unit = data.mean_distance()
        self.scales: list[Tensor] = []
        for coupling in flow.couplings:
            assert isinstance(coupling, Coupling)
            coupling.s.register_forward_hook(lambda _, __, out: self.scales.append(out))

    def parts(
        self, batch: FlowData, identity: IdentityPath | None, epsilon: Tensor
    ) -> dict[str, Tensor]:
        """Attribute, distance and identity loss, s-net terms and the total, by name."""
        options = self.options
        self.scales.clear()
        y = self.flow.map(batch.x).flatten(1)
        scales = torch.cat([s.flatten() for s in self.scales])
        attribute = attribute_loss(
            nn.functional.linear(y, self.weight, self.bias), batch.attributes
        )
        distance = distance_loss(self.scale * y, batch.features.float()) / self.unit**2
        total = flow_loss(attribute, distance, options.distance_weight)
        parts = {"attribute": attribute, "distance": distance, "scale": scales.square().mean()}
        if identity is not None:
            x = batch.x[: len(epsilon)]
            same = identity_loss(self.flow, identity.generator, identity.identity, x, epsilon)
            total = identity_flow_loss(total, same, options.identity_weight)
            parts["identity"] = same
        parts["total"] = total + options.scale_weight * parts["scale"]
        return parts


def load_flow(path: Path) -> Flow:
    """The T of a checkpoint written by `train`, in evaluation mode."""
    return flow_from_checkpoint(checkpoint.load(path))


def train(
    path: Path,
    options: FlowOptions,
    flow: Flow,
    data: FlowData,
    validation: FlowData,
    classifiers: Readout,
    identity: IdentityPath | None = None,
) -> Flow:
    """Train `flow` and write the best validated one to `path`.

    Beside it grow a log (`.jsonl`) and, until the end, the state to resume from (`.state`).

    Raises
    ------
    FloatingPointError: the loss is no longer finite; the state on disk is the last good one.
    CheckpointError: the state to resume from cannot be read.
    """
    state_path, log_path = path.with_suffix(".state"), path.with_suffix(".jsonl")
    objective = _Objective(flow, classifiers, data, options)
    optimizer = torch.optim.AdamW(
        flow.parameters(), options.rate, weight_decay=options.weight_decay, foreach=True
    )
    step, best, stale = 0, math.inf, 0
    kept: dict[str, Any] = {}
    if state_path.exists():
        state = checkpoint.load(state_path)
        flow.load_state_dict(state["flow"])
        optimizer.load_state_dict(state["optimizer"])
        step, best, stale, kept = state["step"], state["best"], state["stale"], state["kept"]
        print(f"{path.stem}: resuming at step {step} of {options.steps}")
    started = time.monotonic()

    while step < options.steps and stale < options.patience:
        # One step. Its randomness depends on seed and step alone, so resuming changes nothing.
        random = np.random.default_rng([options.seed, step])
        for group in optimizer.param_groups:
            group["lr"] = options.rate * 0.5 * (1 + math.cos(math.pi * step / options.steps))
        rows = torch.from_numpy(random.choice(len(data), options.batch, replace=False))
        epsilon = _noise(random, options, data)
        parts = objective.parts(data.rows(rows), identity, epsilon)
        optimizer.zero_grad(set_to_none=True)
        parts["total"].backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 1e3 * options.distance_weight)
        optimizer.step()
        step += 1
        if not math.isfinite(parts["total"].item()):
            raise FloatingPointError(
                f"{path.stem}: the loss is {parts['total'].item()} at step {step}; "
                f"{state_path} holds the last good state; lower `rate`, now {options.rate}"
            )
        if step % options.validate_every and step < options.steps:
            continue

        # Validate on held-out codes, keep the best, log and save.
        line = {"step": step, "train_total": parts["total"].item()}
        line |= _validate(objective, validation, identity)
        line["seconds"] = round(time.monotonic() - started, 1)
        with log_path.open("a") as log:
            log.write(json.dumps(line) + "\n")
        print(f"{path.stem}:", json.dumps(line), flush=True)
        stale += 1
        if line["total"] < best:
            best, stale = line["total"], 0
            kept = {**flow_checkpoint(flow), "step": step, "validation": line}
            kept["state"] = {name: value.clone() for name, value in kept["state"].items()}
        state = {"flow": flow.state_dict(), "optimizer": optimizer.state_dict(), "kept": kept}
        checkpoint.save(state_path, {**state, "step": step, "best": best, "stale": stale})

    checkpoint.save(path, {**kept, "options": asdict(options)})
    state_path.unlink(missing_ok=True)
    return flow_from_checkpoint(kept)


def _noise(random: np.random.Generator, options: FlowOptions, data: FlowData) -> Tensor:
    """ε of eq. 4, `identity_batch` times, in standardised coordinates."""
    shape = (min(options.identity_batch, options.batch, len(data)), *data.x.shape[1:])
    return torch.from_numpy(options.noise * random.standard_normal(shape)).float()


@torch.no_grad()
def _validate(
    objective: _Objective, validation: FlowData, identity: IdentityPath | None
) -> dict[str, float]:
    """The loss and its parts on held-out codes, the order of distances, and T's conditioning."""
    flow = objective.flow
    random = np.random.default_rng(objective.options.seed)
    epsilon = _noise(random, objective.options, validation)
    line = {
        name: part.item() for name, part in objective.parts(validation, identity, epsilon).items()
    }
    line["s_std"] = max(s.std().item() for s in objective.scales)
    found = pair_distances(flow.map(validation.x).flatten(1))
    wanted = pair_distances(validation.features.float())
    line["pearson"] = torch.corrcoef(torch.stack([found, wanted]))[0, 1].item()
    other = torch.from_numpy(random.permutation(len(found)))
    same_order = (found < found[other]) == (wanted < wanted[other])
    line["order"] = same_order.double().mean().item()
    line["round_trip"] = round_trip_error(flow, flow.codes(validation.x[:_ROUND_TRIP_CODES]))
    return line


@torch.no_grad()
def round_trip_error(flow: Flow, w: Tensor) -> float:
    """Largest |T⁻¹(T(w)) − w| / std(w) of codes w (N, n, 512), in their own precision."""
    return ((flow.inverse(flow(w)) - w).abs().max() / w.std()).item()
