"""`wstar-export repository`: write a repository from a run, or check one that is there."""

from __future__ import annotations

import argparse
from pathlib import Path

from wstar.errors import InvalidInput
from wstar.graphs import graphs
from wstar_export.audit import check
from wstar_export.config import GPU_BACKENDS
from wstar_export.figures import FIGURES, figures_table
from wstar_export.precisions import parse_precisions
from wstar_export.repository import write_repository
from wstar_export.run import read_run

DESCRIPTION = """Export every graph of a run to ONNX, compare each with torch, and write the
repository with a configuration for GPUs and one for CPUs. A graph out of its bound writes nothing,
and an old repository stays.

With --check: compare every file of a repository with its checksum and with the contract, and let
its graphs answer the recorded requests again."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.description = DESCRIPTION
    parser.epilog = f"{FIGURES}\n{parser.epilog}"
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", type=Path, metavar="RUN", help="folder of a finished training run")
    source.add_argument("--check", type=Path, metavar="DIR", help="repository to check")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="repository to write; one that is there is replaced as a whole",
    )
    parser.add_argument(
        "--backend",
        choices=GPU_BACKENDS,
        default=GPU_BACKENDS[0],
        help="what runs the graphs on a GPU; tensorrt needs engines, which "
        "`wstar-export engines` builds into the repository (default: %(default)s)",
    )
    parser.add_argument(
        "--precision",
        metavar="GRAPH=PRECISION,...",
        default="",
        help="such as encoder=fp16,generator=fp16; graphs that are not named are fp32",
    )


def run(options: argparse.Namespace) -> int:
    """Write or check; 1 if a recorded answer is not reproduced."""
    if options.check is not None:
        return _check(options.check)
    if options.output is None:
        raise InvalidInput("output", None, "--output DIR beside --run")

    def report(line: str) -> None:
        print(line, flush=True)

    made = read_run(options.run)
    names = tuple(spec.name for spec in graphs(made.resolution, made.encoder_side))
    precisions = parse_precisions(options.precision, names)
    findings = write_repository(made, options.output, report, options.backend, precisions)
    print(figures_table(findings))
    print(f"wrote {options.output}")
    return 0


def _check(repository: Path) -> int:
    findings = check(repository)
    print(figures_table(findings))
    if not all(finding.passed for finding in findings):
        return 1
    print(f"{repository} is whole")
    return 0
