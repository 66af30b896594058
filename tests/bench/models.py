"""What a network costs over its own convolutions: medians side by side, interleaved in one run.

A network runs once on one picture; the calls of its dense convolutions are recorded with their
shapes and strides, and exactly those run back to back on tensors that lie ready. What is left is
the rest of the network: modulation, noise, activations, normalisation, linear layers. FIR filters
count as the rest, not as convolutions.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from wstar.tables import table
from wstar_training.models.psp import GradualStyleEncoder
from wstar_training.models.stylegan2 import Generator, channels_of

CONVOLUTIONS = (torch.conv2d, torch.conv_transpose2d, nn.functional.conv2d)
Call = Callable[[], Tensor]


@dataclass(frozen=True)
class Row:
    """Medians of one network, in milliseconds."""

    network: str
    convolutions: int
    network_ms: float
    convolutions_ms: float
    ratio: float


class Recorder(TorchFunctionMode):
    """Notes every dense convolution that runs while it is entered, with shapes, not tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = []

    def __torch_function__(
        self,
        function: Any,  # noqa: ANN401 (torch's own signature)
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        named = dict(kwargs or {})
        # A kernel from one channel to one is a FIR filter, its channels laid out as pictures.
        if function in CONVOLUTIONS and named.get("groups", 1) == 1 and args[1].shape[:2] != (1, 1):
            self.calls.append((function, tuple(map(_layout, args)), named))
        return function(*args, **named)


@dataclass(frozen=True)
class Layout:
    """Shape and strides: a tensor as it lay in memory, without its numbers."""

    shape: torch.Size
    stride: tuple[int, ...]


def _layout(value: object) -> object:
    return Layout(value.shape, value.stride()) if isinstance(value, Tensor) else value


def _call(function: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Call:  # noqa: ANN401
    """The same convolution on random tensors of the same shapes and strides."""
    ready = [
        torch.empty_strided(a.shape, a.stride).normal_() if isinstance(a, Layout) else a
        for a in args
    ]
    return lambda: function(*ready, **named)


@torch.inference_mode()
def measured(name: str, network: nn.Module, example: Tensor, runs: int) -> Row:
    """Time a network and its convolutions alternately."""
    with Recorder() as recorder:
        network(example)
    calls = [_call(*call) for call in recorder.calls]
    for call in calls:
        call()
    network(example)
    whole, alone = [], []
    for run in range(runs):
        print(f"{name}: {run + 1} of {runs}", file=sys.stderr)
        started = time.perf_counter()
        network(example)
        whole.append(time.perf_counter() - started)
        started = time.perf_counter()
        for call in calls:
            call()
        alone.append(time.perf_counter() - started)
    ratio = median(a / b for a, b in zip(whole, alone, strict=True))
    return Row(name, len(calls), median(whole) * 1e3, median(alone) * 1e3, ratio)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="measured runs (default: 5)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default: 2)")
    parser.add_argument("--json", action="store_true", help="print JSON, no table")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    generator = Generator(1024, channels_of(1024)).eval()
    rows = [measured("generator 1024", generator, torch.randn(1, 18, 512), options.runs)]
    del generator
    encoder = GradualStyleEncoder(18).eval()
    rows.append(measured("pSp encoder 256", encoder, torch.randn(1, 3, 256, 256), options.runs))
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return
    print(f"batch 1, float32, {options.threads} threads, torch {torch.__version__}")
    print(
        table(
            ["network", "convolutions", "network ms", "convolutions ms", "ratio"],
            [
                [r.network, str(r.convolutions), f"{r.network_ms:.0f}",
                 f"{r.convolutions_ms:.0f}", f"{r.ratio:.2f}"]
                for r in rows
            ],
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
