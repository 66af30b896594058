"""Training of T from codes, attributes and perceptual distances; readable top to bottom.

T learns in the coordinates its couplings act on, where nothing is lost. What the judge sees is
computed once per picture (see `supervision`), so a step costs milliseconds, and all pairs of a
batch count. What a step draws depends on seed and step alone, and nothing else is random: a
training that was killed ends in the same weights, bit for bit on one machine's CPU.
"""

from __future__ import annotations

import copy
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wstar.errors import InvalidInput
from wstar_training import checkpoint
from wstar_training.learning.average import Average
from wstar_training.learning.config import FlowOptions
from wstar_training.learning.distributed import ALONE, Group
from wstar_training.learning.log import TrainingLog
from wstar_training.learning.losses import pair_distances
from wstar_training.learning.objective import Disturbed, IdentityPath, Objective
from wstar_training.learning.schedule import learning_rate
from wstar_training.learning.state import TrainingState, best_path
from wstar_training.learning.stopping import stop_requests
from wstar_training.learning.supervision import Sketched, Supervision
from wstar_training.models.flow import Flow, flow_from_checkpoint
from wstar_training.readout.fitted import Readout

_ROUND_TRIP_CODES = 256
# That validate eq. 4, however few a step disturbs.
_IDENTITY_CODES = 64
# Of the gradient, in units of λ_d: it guards against one mad batch, and cuts no ordinary one.
_LARGEST_GRADIENT = 1e3


@dataclass(frozen=True)
class FlowData:
    """What T learns from, one row per face, on the device that it trains on.

    x: float32 (N, ...), coordinates of the codes (`Flow.coordinates`).
    attributes: float32 (N, K), 0 or 1.
    distances: perceptual distances of faces by their rows.
    before: (N, E), F of the pictures before ε (eq. 4); None where there is no identity path.
    """

    x: Tensor
    attributes: Tensor
    distances: Supervision
    before: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def to(self, device: torch.device) -> FlowData:
        """The same on a device; a judge that looks at pictures stays where it is."""
        distances = self.distances
        if isinstance(distances, Sketched):
            distances = Sketched(distances.features.to(device))
        before = None if self.before is None else self.before.to(device)
        return FlowData(self.x.to(device), self.attributes.to(device), distances, before)


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
    group: Group = ALONE,
) -> Flow:
    """Train `flow` and write the best validated one to `path`.

    Beside it grow logs (see `TrainingLog`) and, until the end, the state to go on from (`.state`),
    which all processes of a group read and the first one writes.

    Raises
    ------
    FloatingPointError: the loss is no longer finite, or diverges. The best validated T, if there
        is one, is written beside `path` (`.best.pt`).
    CheckpointError: the state to go on from cannot be read, or is of other options.
    InvalidInput: the processes of the group cannot share the batch evenly.
    KeyboardInterrupt: Ctrl-C or SIGTERM came; the state is saved.
    """
    # Build.
    if options.batch % group.size:
        raise InvalidInput("batch", options.batch, f"a multiple of the {group.size} processes")
    state_path, device = path.with_suffix(".state"), group.device
    flow = flow.to(device)
    identity = None if identity is None else _placed(identity, device)
    average = Average(flow, options.ema)
    unit = data.distances.mean
    objective = Objective(flow, classifiers, unit, options, group, identity).to(device)
    judged = Objective(average.flow, classifiers, unit, options, ALONE, identity).to(device)
    wanted = validation.distances.pairs(torch.arange(len(validation))).to(device)
    if options.precision == "bf16":
        flow.networks_in_bfloat16()
    if options.compile:
        objective.compile_map()
    parallel = group.parallel(objective)
    weights, decay = list(flow.parameters()), options.weight_decay
    optimizer = torch.optim.AdamW(
        weights, options.rate, betas=options.betas, weight_decay=decay, fused=True
    )
    largest_norm = _LARGEST_GRADIENT * max(1.0, options.distance_weight)

    # Go on where a killed training stopped.
    state = TrainingState(flow, average, optimizer)
    if group.agreed(state_path.exists()):
        state.restore(state_path, options)
    group.wait()
    log = None
    if group.first:
        checkpoint.remove_partial(path, state_path, best_path(path))
        log = TrainingLog(path.with_suffix(".jsonl"), state.step, options.steps)

    with stop_requests() as stop, log or nullcontext():
        while state.step < options.steps and state.stale < options.patience:
            # One step of all processes, each with its share of the batch.
            random = np.random.default_rng([options.seed, state.step])
            rate = learning_rate(options, state.step)
            for parameters in optimizer.param_groups:
                parameters["lr"] = rate
            rows = torch.from_numpy(random.choice(len(data), options.batch, replace=False))
            parts = parallel(
                data.x[group.share(rows)],
                data.attributes[rows],
                data.distances.pairs(rows).to(device),
                None
                if identity is None
                else _disturbed(random, options, data, rows[: options.identity_batch], group),
            )
            optimizer.zero_grad(set_to_none=True)
            parts["total"].backward()
            gradients = [p.grad for p in weights if p.grad is not None]
            norm = torch.nn.utils.get_total_norm(gradients)
            if norm > largest_norm:  # Else there is nothing to scale, and no pass over memory.
                torch.nn.utils.clip_grads_with_norm_(weights, largest_norm, norm)

            # All processes see the same figures; a step that spoils the weights is not taken.
            loss, length, asked = group.mean([parts["total"], norm, float(stop.asked)])
            with state.explaining(path, rate, options, group.first):
                state.watch.look(loss, length)
            optimizer.step()
            average.update(flow, state.step)
            state.step += 1

            # Validate on held-out codes, keep the best, log.
            if state.step % options.validate_every == 0 or state.step == options.steps:
                line = {"step": state.step, "rate": rate, "train_total": loss}
                average.catch_up(flow)
                if group.first:
                    line |= _validate(judged, validation, wanted)
                line = group.agreed(line)
                if log is not None:
                    log.write(line)
                with state.explaining(path, rate, options, group.first):
                    state.validated(line)

            # Save what a killed training goes on from.
            if asked or state.step % options.save_every == 0:
                if group.first and state.watch.calm:
                    state.save(state_path, options)
                if asked:
                    raise KeyboardInterrupt

    # Write the best.
    if group.first:
        state.save_best(path, options)
        for left in (state_path, best_path(path)):
            left.unlink(missing_ok=True)
    group.wait()
    return flow_from_checkpoint(state.kept)


def _placed(path: IdentityPath, device: torch.device) -> IdentityPath:
    """G and F on a device; the study goes on using its own."""
    if device.type == "cpu":
        return path
    return IdentityPath(
        copy.deepcopy(path.generator).to(device), copy.deepcopy(path.identity).to(device)
    )


def _disturbed(
    random: np.random.Generator,
    options: FlowOptions,
    data: FlowData,
    rows: Tensor,
    group: Group,
) -> Disturbed:
    """The share of this process in the codes of some rows, which eq. 4 disturbs."""
    epsilon = options.noise * random.standard_normal((len(rows), *data.x.shape[1:]))
    mine = torch.arange(len(rows))[group.rank :: group.size]
    chosen = rows[mine]
    if data.before is None:
        raise InvalidInput("before", None, "F of every picture: there is an identity path")
    return Disturbed(
        data.x[chosen],
        torch.from_numpy(epsilon)[mine].to(data.x),
        data.before[chosen].to(data.x),
        len(rows),
    )


@torch.no_grad()
def _validate(objective: Objective, validation: FlowData, wanted: Tensor) -> dict[str, float]:
    """The loss and its parts on held-out codes, the order of distances, and T's conditioning.

    wanted: perceptual distances of all their pairs.
    """
    flow, x = objective.flow, validation.x
    random = np.random.default_rng(objective.options.seed)
    disturbed = None
    if objective.identity is not None:
        some = torch.arange(min(_IDENTITY_CODES, len(validation)))
        disturbed = _disturbed(random, objective.options, validation, some, ALONE)
    parts = objective(x, validation.attributes, wanted, disturbed)
    line = {name: part.item() for name, part in parts.items()}
    y, scales = flow.stretched(x)
    line["s_std"] = max(s.std().item() for s in scales)
    found = pair_distances(y.flatten(1))
    line["pearson"] = torch.corrcoef(torch.stack([found, wanted.to(found)]))[0, 1].item()
    other = torch.from_numpy(random.permutation(len(found)))
    same_order = (found < found[other]) == (wanted < wanted[other])
    line["order"] = same_order.double().mean().item()
    line["round_trip"] = round_trip_error(flow, flow.codes(x[:_ROUND_TRIP_CODES]))
    return line


@torch.no_grad()
def round_trip_error(flow: Flow, w: Tensor) -> float:
    """Largest |T⁻¹(T(w)) − w| / std(w) of codes w (N, n, 512), in their own precision."""
    return ((flow.inverse(flow(w)) - w).abs().max() / w.std()).item()
