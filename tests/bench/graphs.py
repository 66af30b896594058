"""How near each graph comes to what this machine can multiply, beside other ways to run it.

The peak is that of a matrix product by the faster of two libraries, measured here before and after
each round: the clock of a busy machine moves. Arithmetic is counted by torch on the module (2 per
multiply-add). One graph after the other, the engines alternate run by run, and medians are shown.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import onnx
import onnxruntime
import torch
from torch.utils.flop_counter import FlopCounterMode

from wstar.tables import table
from wstar_export.assembly import Graph, assemble
from wstar_export.onnx import OPSET
from wstar_export.repository import model_path
from wstar_export.run import read_run

_PEAK_SIDE = 3072
_PEAK_RUNS = 4
_ROUNDS = 5

Call = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One graph at one batch: gigaflop, share of the peak, and milliseconds by engine."""

    graph: str
    batch: int
    gflop: float
    peak_gflops: float
    of_peak: float
    ms: Mapping[str, float]


class Peak:
    """A float32 matrix product by torch and by ONNX Runtime, whose libraries differ by machine."""

    def __init__(self) -> None:
        self._a, self._b = torch.randn(2, _PEAK_SIDE, _PEAK_SIDE)
        shape = [_PEAK_SIDE, _PEAK_SIDE]
        a, b, c = (
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
            for name in "abc"
        )
        product = onnx.helper.make_node("MatMul", ["a", "b"], ["c"])
        graph = onnx.helper.make_graph([product], "peak", [a, b], [c])
        model = onnx.helper.make_model(
            graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=10
        )
        self._session = _session(model.SerializeToString())

    def gflops(self) -> float:
        """Billions of operations a second, the best of a few."""
        feed = {"a": self._a.numpy(), "b": self._b.numpy()}
        calls: tuple[Call, ...] = (
            lambda: torch.mm(self._a, self._b),
            lambda: self._session.run(None, feed),
        )
        fastest = min(_timed(call) for call in calls for _ in range(_PEAK_RUNS))
        return float(2 * _PEAK_SIDE**3 / fastest / 1e9)


def _session(model: str | bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])


def engines(graph: Graph, path: Path, batch: int, compiled: bool) -> Iterator[tuple[str, Call]]:
    """Every way to run a graph that can be had here, on its first `batch` inputs."""
    inputs = tuple(tensor[:batch] for tensor in graph.inputs)
    feed = {s.name: t.numpy() for s, t in zip(graph.spec.inputs, inputs, strict=True)}
    session = _session(str(path))
    yield "ONNX Runtime", lambda: session.run(None, feed)
    yield "torch eager", lambda: graph.module(*inputs)
    if compiled:
        made = torch.compile(graph.module)
        yield "torch.compile", lambda: made(*inputs)
    try:
        import openvino
    except ImportError:
        print("OpenVINO: not installed, not run (pip install openvino)", file=sys.stderr)
        return
    settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_PRECISION_HINT": "f32"}  # fmt: skip
    request = openvino.Core().compile_model(str(path), "CPU", settings).create_infer_request()
    yield "OpenVINO", lambda: request.infer(feed)


@torch.inference_mode()
def measured(
    graph: Graph, path: Path, batch: int, seconds: float, compiled: bool, best: Peak
) -> Row:
    """Time one graph by every engine, alternately, for about `seconds` each."""
    print(f"{graph.spec.name}, batch {batch}", file=sys.stderr)
    with FlopCounterMode(display=False) as counter:
        graph.module(*(tensor[:batch] for tensor in graph.inputs))
    gflop = counter.get_total_flops() / 1e9
    calls = dict(engines(graph, path, batch, compiled))
    slowest = max(_timed(call) for call in calls.values() for _ in range(2))
    runs = max(1, int(seconds / slowest / _ROUNDS))
    found: dict[str, list[float]] = {name: [] for name in calls}
    peaks, shares = [], []
    for _ in range(_ROUNDS):
        peak = best.gflops()
        spent: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(runs):
            for name, call in calls.items():
                spent[name].append(_timed(call))
        for name, each in spent.items():
            found[name] += each
        peaks.append(max(peak, best.gflops()))
        shares.append(gflop / median(spent["ONNX Runtime"]) / peaks[-1])
    ms = {name: 1e3 * median(each) for name, each in found.items()}
    return Row(graph.spec.name, batch, gflop, median(peaks), median(shares), ms)


def _timed(call: Call) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of a finished run")
    parser.add_argument("--repository", type=Path, required=True, help="made from that run")
    parser.add_argument("--threads", type=int, default=2, help="of every engine (default: 2)")
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="per graph, batch and engine (default: 5)"
    )
    parser.add_argument(
        "--graphs", nargs="*", metavar="NAME", help="only these (default: every graph of W_STAR)"
    )
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile too: needs a C++ compiler, minutes"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, no table")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    wanted = options.graphs or ["encoder", "flow", "flow_inverse", "classifiers", "generator"]
    rows, peak = [], Peak()
    for graph in assemble(read_run(options.run)):
        if graph.spec.name in wanted:
            path = model_path(options.repository, graph.spec)
            for batch in (1, 8) if graph.space is not None else (1,):
                rows.append(measured(graph, path, batch, options.seconds, options.compile, peak))
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return
    names = list(rows[0].ms)
    print(f"float32, {options.threads} threads, torch {torch.__version__}, "
          f"ONNX Runtime {onnxruntime.__version__}")  # fmt: skip
    print(
        table(
            ["graph", "batch", "GFLOP", "peak GFLOP/s", "of peak", *(f"{n} ms" for n in names)],
            [
                [r.graph, str(r.batch), f"{r.gflop:.3g}", f"{r.peak_gflops:.0f}",
                 f"{r.of_peak:.0%}", *(f"{r.ms[name]:.4g}" for name in names)]
                for r in rows
            ],
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
