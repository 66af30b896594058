"""What a GPU makes of the networks: precision against fp64, throughput, memory, a training step.

    python export/gpu_check.py --json gpu.json

Networks of full size with made-up weights, 1024 px: T on rows, the pSp encoder, the generator.
Prints Markdown tables with device and date, and exits with 3 where torch sees no GPU.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from wstar.attributes import ATTRIBUTES
from wstar.graphs import W_DIM
from wstar_training.learning.losses import attribute_loss, distance_loss, flow_loss, pair_distances
from wstar_training.models.flow import Coupling, Flow, half_masks
from wstar_training.models.psp import GradualStyleEncoder
from wstar_training.models.stylegan2 import Generator, channels_of

ROWS = 18
COUPLINGS, HIDDEN = 13, 640
# Spread of numbers of real W+ codes, and of the last layers of a T well trained.
CODE_STD, LAST_STD = 2.0, 0.02
FEATURES = 4096
EXIT_NO_GPU = 3


@dataclass(frozen=True)
class Mode:
    """How a network computes: number format, and whether products and convolutions may use TF32."""

    name: str
    dtype: torch.dtype
    products_tf32: bool
    convolutions_tf32: bool


MODES = (
    Mode("fp32, torch's defaults", torch.float32, False, True),
    Mode("fp32, TF32 on", torch.float32, True, True),
    Mode("fp32, TF32 off", torch.float32, False, False),
    Mode("fp16", torch.float16, False, False),
    Mode("bf16", torch.bfloat16, False, False),
)
EXACT = Mode("fp64", torch.float64, False, False)


@dataclass(frozen=True)
class Network:
    """A module, inputs by batch size, and the batches at which it is timed."""

    name: str
    module: nn.Module
    example: Callable[[int], Tensor]
    batches: Sequence[int]


class RoundTrip(nn.Module):
    """T⁻¹(T(w)): what it is off w is the error that edits inherit."""

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, w: Tensor) -> Tensor:
        """There and back, (N, n, 512)."""
        back: Tensor = self.flow.inverse(self.flow(w))
        return back


def made_up_flow(rows: int, couplings: int, hidden: int) -> Flow:
    """A T on rows as well conditioned as trained ones."""
    made = [Coupling(mask, hidden) for mask in half_masks(W_DIM, couplings, seed=0)]
    for coupling in made:
        for layers in (coupling.s, coupling.t):
            for weight in layers[4].parameters():
                nn.init.normal_(weight, std=LAST_STD)
    return Flow(made, torch.randn(rows, W_DIM), CODE_STD)


def networks() -> list[Network]:
    """The networks of a run at 1024 px, on the CPU."""

    def codes(batch: int) -> Tensor:
        return CODE_STD * torch.randn(batch, ROWS, W_DIM)

    def pictures(batch: int) -> Tensor:
        return torch.rand(batch, 3, 256, 256) * 2 - 1

    flow = made_up_flow(ROWS, COUPLINGS, HIDDEN)
    encoder = GradualStyleEncoder(ROWS).eval()
    generator = Generator(1024, channels_of(1024)).eval()
    return [
        Network("T", flow, codes, (1, 8, 64)),
        Network("T, there and back", RoundTrip(flow), codes, (1, 8, 64)),
        Network("encoder 256", encoder, pictures, (1, 4, 8, 16)),
        Network("generator 1024", generator, codes, (1, 2, 4, 8)),
    ]


def set_tf32(mode: Mode) -> None:
    """Switch TF32 for the process."""
    torch.backends.cuda.matmul.allow_tf32 = mode.products_tf32
    torch.backends.cudnn.allow_tf32 = mode.convolutions_tf32


def placed(module: nn.Module, mode: Mode, device: torch.device) -> nn.Module:
    """A copy of a module in the number format of a mode, on a device."""
    return copy.deepcopy(module).to(device, mode.dtype)


@torch.inference_mode()
def precision(network: Network, device: torch.device) -> list[dict[str, object]]:
    """Largest and root mean square difference from fp64, in standard deviations of the answer."""
    torch.manual_seed(1)
    x = network.example(2)
    exact = _answer(network.module, EXACT, x, device)
    rows: list[dict[str, object]] = []
    for mode in MODES:
        apart = (_answer(network.module, mode, x, device) - exact).abs() / exact.std()
        rows.append(
            {
                "network": network.name,
                "mode": mode.name,
                "largest": float(apart.max()),
                "rms": float(apart.square().mean().sqrt()),
            }
        )
    return rows


def _answer(module: nn.Module, mode: Mode, x: Tensor, device: torch.device) -> Tensor:
    set_tf32(mode)
    found: Tensor = placed(module, mode, device)(x.to(device, mode.dtype))
    return found.double().cpu()


@torch.inference_mode()
def throughput(network: Network, device: torch.device, runs: int) -> list[dict[str, object]]:
    """Items a second and peak memory by batch; None where memory ends."""
    rows: list[dict[str, object]] = []
    for mode in MODES[1:4]:
        set_tf32(mode)
        module = placed(network.module, mode, device)
        for batch in network.batches:
            x = network.example(batch).to(device, mode.dtype)
            row: dict[str, object] = {"network": network.name, "mode": mode.name, "batch": batch}
            try:
                seconds, mib = timed(partial(module, x), device, runs)
                rows.append({**row, "items_per_s": batch / seconds, "peak_mib": mib})
            except torch.OutOfMemoryError:
                rows.append({**row, "items_per_s": None, "peak_mib": None})
    return rows


def training(flow: Flow, device: torch.device, batch: int, runs: int) -> dict[str, object]:
    """A step of T: both losses of eq. 3 over a batch of codes, backwards, and AdamW; TF32 off."""
    set_tf32(MODES[2])
    moved = copy.deepcopy(flow).to(device)
    optimizer = torch.optim.AdamW(moved.parameters(), 1e-3, foreach=True)
    codes, count = moved.mean.numel(), len(ATTRIBUTES)
    x = torch.randn(batch, *moved.mean.shape, device=device)
    weight = torch.randn(count, codes, device=device) / codes**0.5
    attributes = torch.randint(0, 2, (batch, count), device=device).float()
    features = torch.randn(batch, FEATURES, device=device)

    def step() -> None:
        y = moved.map(x).flatten(1)
        attribute = attribute_loss(y @ weight.T, attributes)
        loss = flow_loss(attribute, distance_loss(y / codes**0.5, pair_distances(features)), 1.0)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    seconds, mib = timed(step, device, runs)
    return {"batch": batch, "step_ms": seconds * 1e3, "peak_mib": mib}


def timed(call: Callable[[], object], device: torch.device, runs: int) -> tuple[float, float]:
    """Median seconds of a call after three others, and the peak memory of tensors in MiB."""
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    seconds = []
    for _ in range(3 + runs):
        started = time.perf_counter()
        call()
        if cuda:
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started)
    peak = torch.cuda.max_memory_allocated(device) / 2**20 if cuda else 0.0
    return median(seconds[3:]), peak


def markdown(rows: Sequence[dict[str, object]]) -> str:
    """A Markdown table of rows with the same keys."""
    lines = [[str(key) for key in rows[0]], ["---"] * len(rows[0])]
    lines += [[_shown(value) for value in row.values()] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _shown(value: object) -> str:
    if value is None:
        return "out of memory"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def measured(
    found: Sequence[Network], flow: Flow, device: torch.device, batch: int, runs: int
) -> dict[str, list[dict[str, object]]]:
    """Every table by name."""
    tables: dict[str, list[dict[str, object]]] = {"precision": [], "throughput": []}
    for network in found:
        print(f"{network.name} ...", file=sys.stderr)
        tables["precision"] += precision(network, device)
        tables["throughput"] += throughput(network, device, runs)
    tables["training"] = [training(flow, device, batch, runs)]
    return tables


def main() -> int:
    """Measure, print, and write the same as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here as well")
    parser.add_argument("--runs", type=int, default=20, help="timed runs (default: %(default)s)")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print(f"gpu_check: torch {torch.__version__} sees no GPU: not run", file=sys.stderr)
        return EXIT_NO_GPU
    device = torch.device("cuda", 0)
    torch.manual_seed(0)
    found = networks()
    flow = found[0].module
    assert isinstance(flow, Flow)
    about = {
        "device": torch.cuda.get_device_name(device),
        "date": str(datetime.date.today()),
        "torch": torch.__version__,
        "cuda": str(torch.version.cuda),
        "weights": "made up",
    }
    tables = measured(found, flow, device, 128, options.runs)
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    for name, rows in tables.items():
        print(f"\n{name}\n\n{markdown(rows)}")
    if options.json is not None:
        modes = [{**asdict(mode), "dtype": str(mode.dtype)} for mode in MODES]
        content = {**about, "modes": modes, **tables}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
