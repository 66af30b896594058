"""What Triton costs over graphs in this process: median and throughput, in turns in one run.

Each case runs with ONNX Runtime in this process, on a Triton of this machine over gRPC, and on
the same Triton with pictures in shared memory. The last two cases are graphs of full-size
pictures that compute next to nothing: what they take is the way there and back.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, save
from tests.service.triton_process import DEMO, TritonProcess

from wstar.graphs import GraphSpec, encoder, generator, graphs
from wstar_export.config import CPU_CONFIG, cpu_config
from wstar_service.cpus import allowed_cpus
from wstar_service.embedded import EmbeddedRunner
from wstar_service.runner import Array, GraphRunner
from wstar_service.triton import TritonRunner, Wire

CALLERS = 8
BATCHES = {"flow": (1, 8), "encoder": (1, 8), "generator": (1, 8)}
WAYS = ("in process", "gRPC", "shared memory")
FULL_SIZE = (encoder(1024, 256), generator(1024))
TYPES = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}


@dataclass
class Case:
    """One graph and batch; milliseconds of single calls and calls per second, by way."""

    name: str
    graph: str
    inputs: Mapping[str, Array]
    runners: Mapping[str, GraphRunner]
    ms: dict[str, list[float]] = field(default_factory=dict)
    per_second: dict[str, float] = field(default_factory=dict)


def drawn(spec: GraphSpec, batch: int) -> dict[str, Array]:
    """Inputs of one batch: noise."""
    rng = np.random.default_rng(0)
    return {
        t.name: rng.integers(0, 256, (batch, *t.shape)).astype(np.uint8)
        if t.dtype == "uint8"
        else rng.standard_normal((batch, *t.shape)).astype(np.float32)
        for t in spec.inputs
    }


def write_ways_only(folder: Path) -> None:
    """Write graphs of the contract at full size whose outputs are one input number, repeated."""
    for spec in FULL_SIZE:
        ((given,), (wanted,)) = spec.inputs, spec.outputs
        nodes = [
            helper.make_node("Slice", [given.name, "zeros", "ones", "axes"], ["first"]),
            helper.make_node("Reshape", ["first", "column"], ["numbers"]),
            helper.make_node("Cast", ["numbers"], ["cast"], to=TYPES[wanted.dtype]),
            helper.make_node("Expand", ["cast", "shape"], [wanted.name]),
        ]
        axes = list(range(1, len(given.shape) + 1))
        constants = {
            "zeros": [0] * len(axes),
            "ones": [1] * len(axes),
            "axes": axes,
            "column": [-1] + [1] * len(wanted.shape),
            "shape": [1, *wanted.shape],
        }
        inputs, outputs = (
            [helper.make_tensor_value_info(t.name, TYPES[t.dtype], ["batch", *t.shape])]
            for t in (given, wanted)
        )
        graph = helper.make_graph(
            nodes,
            spec.name,
            inputs,
            outputs,
            [helper.make_tensor(n, TensorProto.INT64, [len(v)], v) for n, v in constants.items()],
        )
        path = folder / spec.name / "1" / "model.onnx"
        path.parent.mkdir(parents=True)
        opset = helper.make_opsetid("", 18)
        save(helper.make_model(graph, opset_imports=[opset], ir_version=9), path)
        config = folder / spec.name / CPU_CONFIG
        config.parent.mkdir()
        config.write_text(cpu_config(spec, {}))
        (folder / spec.name / "config.pbtxt").write_text(cpu_config(spec, {}))


async def demo_cases(triton: TritonProcess, threads: int) -> list[Case]:
    """Cases of the demo world's graphs."""
    runners: dict[str, GraphRunner] = {WAYS[0]: EmbeddedRunner.open(DEMO, threads)}
    for way, shared_memory in ((WAYS[1], False), (WAYS[2], True)):
        runners[way] = await TritonRunner.open(triton.grpc, shared_memory)
    manifest = next(iter((await runners[WAYS[0]].manifests()).values()))
    specs = {s.name: s for s in graphs(manifest.resolution, manifest.encoder_side)}
    return [
        Case(f"{graph}, batch {batch}", graph, drawn(specs[graph], batch), runners)
        for graph, batches in BATCHES.items()
        for batch in batches
    ]


async def way_cases(triton: TritonProcess, folder: Path) -> list[Case]:
    """Cases of full-size pictures in graphs that compute next to nothing."""
    sessions = {
        spec.name: onnxruntime.InferenceSession(
            folder / spec.name / "1" / "model.onnx", providers=["CPUExecutionProvider"]
        )
        for spec in FULL_SIZE
    }
    runners: dict[str, GraphRunner] = {WAYS[0]: EmbeddedRunner({}, FULL_SIZE, sessions)}
    for way, shared_memory in ((WAYS[1], False), (WAYS[2], True)):
        wire = Wire(triton.grpc)
        models = await wire.models([spec.name for spec in FULL_SIZE])
        runners[way] = TritonRunner(wire, models, {}, FULL_SIZE, shared_memory=shared_memory)
    names = ("picture in, 256 px (0.2 MB)", "picture out, 1024 px (3.1 MB)")
    return [
        Case(name, spec.name, drawn(spec, 1), runners)
        for name, spec in zip(names, FULL_SIZE, strict=True)
    ]


async def measure(cases: Sequence[Case], repeats: int, seconds: float) -> None:
    """Single calls in turns, after two rounds that do not count; then callers at once."""
    for turn in range(-2, repeats):
        for case in cases:
            for way, runner in case.runners.items():
                started = time.perf_counter()
                await runner.run(case.graph, **case.inputs)
                if turn >= 0:
                    case.ms.setdefault(way, []).append(1e3 * (time.perf_counter() - started))
    for case in cases:
        for way, runner in case.runners.items():
            case.per_second[way] = await rate(case, runner, seconds)


async def rate(case: Case, runner: GraphRunner, seconds: float) -> float:
    """Calls per second of several callers who each wait for their answer."""
    done = 0
    ends = time.perf_counter() + seconds

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() < ends:
            await runner.run(case.graph, **case.inputs)
            done += 1

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return done / (time.perf_counter() - started)


async def measured(
    cases: Callable[[], Awaitable[list[Case]]], repeats: int, seconds: float
) -> list[Case]:
    """Measure cases and close their runners."""
    found = await cases()
    await measure(found, repeats, seconds)
    for runner in found[0].runners.values():
        await runner.close()
    return found


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=40, metavar="COUNT", help="default: 40")
    parser.add_argument("--seconds", type=float, default=2.0, help="per throughput (default: 2)")
    arguments = parser.parse_args()
    threads = allowed_cpus()
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory()))
        write_ways_only(folder / "ways")
        demo = TritonProcess(DEMO, folder / "demo.log")
        held.callback(demo.stop)
        ways = TritonProcess(folder / "ways", folder / "ways.log")
        held.callback(ways.stop)
        sizes = arguments.repeats, arguments.seconds
        rows = asyncio.run(measured(lambda: demo_cases(demo, threads), *sizes))
        rows += asyncio.run(measured(lambda: way_cases(ways, folder / "ways"), *sizes))
    print(
        f"demo world; {platform.machine()}, {len(os.sched_getaffinity(0))} CPUs, {threads} "
        f"thread(s) per graph, onnxruntime {onnxruntime.__version__}, medians of "
        f"{arguments.repeats}, {CALLERS} callers at once"
    )
    print(f"{'':30}" + "".join(f"{way:>26}" for way in WAYS))
    for case in rows:
        cells = (f"{median(case.ms[way]):9.2f} ms {case.per_second[way]:9.1f} /s" for way in WAYS)
        print(f"{case.name:30}" + "".join(f"{cell:>26}" for cell in cells))
    return 0


if __name__ == "__main__":
    sys.exit(main())
