"""Parse and build every graph of a repository with NVIDIA's own parser and builder, without a GPU.

    python tests/export/rtx_report.py model_repository/demo

TensorRT for RTX is another product than TensorRT: the same ONNX parser and builder interface, plans
that only it can load. What it reads, TensorRT is likely to read; nothing built here is an engine
for Triton, and nothing is kept. Needs the extra `rtx`.
"""

from __future__ import annotations

import argparse
import importlib
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from wstar.errors import ContractMismatch
from wstar.tables import table
from wstar_export.engine_files import contract
from wstar_export.plans import build_plan
from wstar_export.profiles import profile
from wstar_export.repository import model_path

MODULE = "tensorrt_rtx_bindings"


@dataclass(frozen=True)
class Row:
    """One graph: size of its files and of its plan, layers as parsed, seconds of both steps."""

    graph: str
    onnx_bytes: int
    layers: int
    plan_bytes: int
    seconds: float


def built(trt: ModuleType, repository: Path) -> Iterator[Row]:
    """Build every graph for the batches of the contract.

    Raises
    ------
    ContractMismatch: NVIDIA's parser or builder refuses a graph.
    """
    for spec in contract(repository)[1]:
        model = model_path(repository, spec)
        started = time.perf_counter()
        plan = build_plan(trt, model, profile(spec), 4096, None, print)
        seconds = time.perf_counter() - started
        size = sum(file.stat().st_size for file in model.parent.glob("model.onnx*"))
        yield Row(spec.name, size, plan.layers, len(plan.data), seconds)


def main() -> int:
    """Print a table; 1 if a graph is refused, 3 if the extra is not installed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("repository", type=Path, help="written by `wstar-export repository`")
    options = parser.parse_args()
    try:
        trt = importlib.import_module(MODULE)
    except ImportError as error:
        print(f"{error}: pip install -c constraints.txt '.[rtx]'", file=sys.stderr)
        return 3
    try:
        rows = [
            [r.graph, f"{r.onnx_bytes / 1e6:.2f}", str(r.layers), f"{r.plan_bytes / 1e6:.2f}",
             f"{r.seconds:.2f}"]
            for r in built(trt, options.repository)
        ]  # fmt: skip
    except ContractMismatch as error:
        print(error, file=sys.stderr)
        return 1
    print(table(["graph", "ONNX MB", "layers", "plan MB", "parse and build s"], rows))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"TensorRT for RTX {trt.__version__}, no GPU; peak memory {peak:.0f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
