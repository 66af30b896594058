"""Training of T by sketches, beside the same loop with VGG16 in it, in one run.

A step is what `wstar-train flow` does between validations: a batch, eq. 3, its gradients, AdamW.
With VGG16 in the loop the judge looks at the 256 px pictures of the batch, which lie ready in
memory; weights and pictures are made up, the work is the same. Beside a step stand the matrix
products of its couplings alone, forward and backward, at the same shapes. In every round each way
runs in turns; medians are shown. The exit code is 1 if sketches gain less than `--least`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wstar.attributes import ATTRIBUTES
from wstar.graphs import W_DIM
from wstar.tables import table
from wstar_training.learning.config import FlowOptions
from wstar_training.learning.distributed import ALONE
from wstar_training.learning.loop import FlowData
from wstar_training.learning.objective import Objective
from wstar_training.learning.supervision import Exact, Sketched
from wstar_training.models.flow import Coupling, Flow, half_masks
from wstar_training.models.perceptual import PerceptualDistance
from wstar_training.models.vgg import VGG16
from wstar_training.readout.fitted import Readout

ROWS, SIDE, BATCH, COUPLINGS = 18, 256, 8, 13
FACES, SKETCH, PICTURES = 2000, 4096, 32
# Layout, coordinates of T, width of s and t: the demo's and the paper's.
SHAPES = (("principal(256)", 256, 128), ("principal(256)", 256, 512), ("rows", W_DIM, 512))
# Steps of the cheap ways per round.
STEPS = 20

Run = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """Medians of one layout; speedup is the median of rounds."""

    layout: str
    hidden: int
    step_ms: float
    vgg_step_ms: float
    speedup: float
    steps_per_s: float
    pairs_per_s: float
    products_ms: float
    over_products: float


def problem(layout: str, dim: int, hidden: int) -> tuple[Flow, Tensor]:
    """T and coordinates of made-up codes."""
    basis = torch.eye(dim, ROWS * W_DIM) if layout != "rows" else None
    couplings = [Coupling(mask, hidden) for mask in half_masks(dim, COUPLINGS, seed=0)]
    flow = Flow(couplings, torch.zeros(ROWS, W_DIM), 1.0, basis)
    return flow, torch.randn(FACES, *((ROWS, dim) if basis is None else (dim,)))


def stepper(flow: Flow, data: FlowData, options: FlowOptions) -> Run:
    """What takes one step of training after another."""
    dim = data.x[0].numel()
    rng = np.random.default_rng(0)
    readout = Readout(rng.standard_normal((len(ATTRIBUTES), dim)), np.zeros(len(ATTRIBUTES)))
    objective = Objective(flow, readout, data.distances.mean, options, ALONE, None)
    weights = list(flow.parameters())
    optimizer = torch.optim.AdamW(weights, options.rate, fused=True)

    def step() -> None:
        rows = torch.from_numpy(rng.choice(len(data), options.batch, replace=False))
        parts = objective(data.x[rows], data.attributes[rows], data.distances.pairs(rows))
        optimizer.zero_grad(set_to_none=True)
        parts["total"].backward()
        norm = torch.nn.utils.get_total_norm([p.grad for p in weights if p.grad is not None])
        assert norm < 1e3  # Else the loop scales them.
        # The loop looks at every loss.
        assert parts["total"].isfinite()
        optimizer.step()

    return step


def products(flow: Flow, x: Tensor) -> Run:
    """The matrix products of the couplings: outputs, gradients of inputs and of weights."""
    vectors = x.flatten(0, -2)
    calls: list[tuple[Tensor, Tensor]] = []
    for coupling in flow.couplings:
        for net in (cast(Coupling, coupling).s, cast(Coupling, coupling).t):
            for layer in net:
                if isinstance(layer, nn.Linear):
                    into = torch.randn(len(vectors), layer.in_features)
                    out = torch.randn(len(vectors), layer.out_features)
                    weight = layer.weight.detach()
                    calls += [(into, weight.T), (out, weight), (out.T, into)]

    def run() -> None:
        for a, b in calls:
            torch.mm(a, b)

    return run


def timed(run: Run, times: int) -> float:
    """Milliseconds of one call, the mean of some in a row."""
    started = time.perf_counter()
    for _ in range(times):
        run()
    return (time.perf_counter() - started) * 1e3 / times


def measured(layout: str, dim: int, hidden: int, rounds: int) -> Row:
    """Time a layout: sketches, VGG16 in the loop, and bare products, in turns."""
    torch.manual_seed(0)
    options = FlowOptions(couplings=COUPLINGS, steps=1, hidden=hidden, batch=BATCH)
    flow, x = problem(layout, dim, hidden)
    attributes = torch.randint(0, 2, (FACES, len(ATTRIBUTES))).float()
    sketched = Sketched((torch.randn(FACES, SKETCH) / SKETCH**0.5).half())
    faces = torch.rand(PICTURES, 3, SIDE, SIDE) * 2 - 1

    def pictures(rows: NDArray[np.int64]) -> Tensor:
        return faces[torch.from_numpy(rows % PICTURES)]

    exact = Exact(PerceptualDistance(VGG16()), [pictures], 10.0, sketched.mean)
    fast = stepper(flow, FlowData(x, attributes, sketched), options)
    slow = stepper(flow, FlowData(x, attributes, exact), options)
    bare = products(flow, x[:BATCH])
    ways = ((fast, STEPS), (slow, 1), (bare, STEPS))
    took: list[list[float]] = [[] for _ in ways]
    for run, times in ways:
        timed(run, times)
    for number in range(rounds):
        print(f"{layout}, hidden {hidden}: {number + 1} of {rounds}", file=sys.stderr)
        for (run, times), found in zip(ways, took, strict=True):
            found.append(timed(run, times))
    step, vgg, alone = map(median, took)
    speedup = median(b / a for a, b in zip(took[0], took[1], strict=True))
    over = median(a / b for a, b in zip(took[0], took[2], strict=True))
    pairs = BATCH * (BATCH - 1) // 2
    return Row(
        layout, hidden, step, vgg, speedup, 1e3 / step, pairs * 1e3 / step, alone, over
    )  # fmt: skip


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds (default: 5)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default: 2)")
    parser.add_argument(
        "--least", type=float, default=20.0, help="least gain over VGG16 (default: 20)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, no table")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = [measured(*shape, options.rounds) for shape in SHAPES]
    slow = [f"{row.layout}, hidden {row.hidden}" for row in rows if row.speedup < options.least]
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    else:
        print(f"batch {BATCH}, {COUPLINGS} couplings, {options.threads} threads, {SIDE} px, "
              f"float32, torch {torch.__version__}")  # fmt: skip
        print(
            table(
                ["layout", "hidden", "steps/s", "pairs/s", "step ms", "with VGG16 ms", "gain",
                 "products ms", "step over them"],
                [
                    [r.layout, str(r.hidden), f"{r.steps_per_s:.0f}", f"{r.pairs_per_s:.0f}",
                     f"{r.step_ms:.1f}", f"{r.vgg_step_ms:.0f}", f"{r.speedup:.0f} x",
                     f"{r.products_ms:.2f}", f"{r.over_products:.1f} x"]
                    for r in rows
                ],
            )
        )  # fmt: skip
    if slow:
        print(f"less than {options.least:g} x: {'; '.join(slow)}", file=sys.stderr)
    return int(bool(slow))


if __name__ == "__main__":
    sys.exit(main())
