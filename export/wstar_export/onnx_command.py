"""`wstar-export onnx`: graphs of a run as ONNX files, for other tools than a Triton server."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from wstar.errors import InvalidInput
from wstar.graphs import graphs
from wstar_export.assembly import Graph, assemble, space_ids
from wstar_export.external_data import model_bytes, move_model
from wstar_export.figures import FIGURES, figures_table
from wstar_export.findings import Finding, refuse
from wstar_export.lower import precision_findings
from wstar_export.precisions import parse_precisions
from wstar_export.repository import metadata, write_graph
from wstar_export.run import Run, read_run
from wstar_export.session import Session
from wstar_export.tolerances import Precision
from wstar_export.verify import parity


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.description = (
        "Export graphs of a run to GRAPH.onnx, with GRAPH.onnx.data beside it where weights are "
        "many, and compare each with torch. A graph out of its bound is not kept."
    )
    parser.epilog = f"{FIGURES}\n{parser.epilog}"
    parser.add_argument(
        "--run", type=Path, metavar="RUN", required=True, help="folder of a finished training run"
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", required=True, help="folder to write into"
    )
    parser.add_argument(
        "--graphs", metavar="GRAPH,...", help="such as encoder,flow (default: every graph)"
    )
    parser.add_argument(
        "--precision",
        metavar="GRAPH=PRECISION,...",
        default="",
        help="such as encoder=fp16,generator=fp16; graphs that are not named are fp32",
    )


def run(options: argparse.Namespace) -> int:
    """Write the graphs asked for.

    Raises
    ------
    InvalidInput: an unknown graph, or a precision that it may not have.
    ContractMismatch: a graph is not that of the contract, or a figure is out of bounds.
    ToolMissing: a precision needs a tool that is not installed.
    """
    made = read_run(options.run)
    names = tuple(spec.name for spec in graphs(made.resolution, made.encoder_side))
    precisions = parse_precisions(options.precision, names)
    wanted = names if options.graphs is None else options.graphs.split(",")
    for name in wanted:
        if name not in names:
            raise InvalidInput("graphs", name, ", ".join(names))
    options.output.mkdir(parents=True, exist_ok=True)
    ids = space_ids(made, precisions.get("encoder", Precision.FP32))
    findings = []
    for graph in assemble(made):
        if graph.spec.name in wanted:
            precision = precisions.get(graph.spec.name, Precision.FP32)
            findings += _write(made, graph, options.output, metadata(graph, ids), precision)
    print(figures_table(findings))
    return 0


def _write(
    run: Run, graph: Graph, output: Path, stamps: Mapping[str, str], precision: Precision
) -> list[Finding]:
    """Export one graph beside its place, and put it there when it has passed."""
    name, start = graph.spec.name, time.monotonic()
    # Within the output folder: a rename is atomic only within one file system.
    with tempfile.TemporaryDirectory(dir=output) as folder:
        path = Path(folder) / f"{name}.onnx"
        write_graph(run, graph, path, stamps, precision)
        seconds = time.monotonic() - start
        session = Session(path, graph.spec)
        findings = [*parity(graph, session), *precision_findings(run, graph, session)]
        refuse(findings)
        session.close()
        print(f"{name}: {model_bytes(path) / 1e6:.2f} MB, {seconds:.1f} s", flush=True)
        move_model(path, output / path.name)
    return findings
