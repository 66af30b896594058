"""`wstar-export engines`: TensorRT plans for the GPU of this machine, and their check."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from wstar.errors import RunnerUnavailable
from wstar_export.engine_files import check_engines, trtexec_lines
from wstar_export.engines import Settings, build_engines, this_target

DESCRIPTION = """Build model.plan beside every model.onnx of a repository, for the GPU and the
TensorRT of this machine. Each plan answers as ONNX Runtime does before it is written; its sidecar
model.plan.json says what it was built from and for. Triton reads plans where the repository was
exported with --backend tensorrt. A graph without a plan keeps its ONNX file."""
# As for a tool that is not installed.
_EXIT_MISSING = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.description = DESCRIPTION
    defaults = Settings()
    parser.add_argument(
        "--repository",
        type=Path,
        metavar="DIR",
        required=True,
        help="folder written by `wstar-export repository`",
    )
    only = parser.add_mutually_exclusive_group()
    only.add_argument(
        "--check",
        action="store_true",
        help="build nothing; check that every plan was built for this machine, from its graph",
    )
    only.add_argument(
        "--trtexec",
        action="store_true",
        help="build nothing; print the equivalent trtexec lines (needs no TensorRT)",
    )
    only.add_argument(
        "--replace",
        action="store_true",
        help="remove plans built for another machine or from another graph, else refused",
    )
    parser.add_argument(
        "--workspace-mib",
        type=int,
        metavar="MIB",
        default=defaults.workspace_mib,
        help="GPU memory a layer may use while it runs (default: %(default)s)",
    )
    parser.add_argument(
        "--timing-cache",
        type=Path,
        metavar="DIR",
        help="keep the builder's measurements here, a file per GPU and version (default: nowhere)",
    )


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit code: 0 done, 1 a graph without a plan, 3 no GPU.

    Raises
    ------
    ToolMissing: TensorRT is not installed.
    """
    settings = Settings(options.workspace_mib, options.timing_cache)
    if options.trtexec:
        print(*trtexec_lines(options.repository, settings.workspace_mib), sep="\n")
        return 0
    try:
        return _check(options.repository) if options.check else _build(options, settings)
    except RunnerUnavailable as error:
        print(f"wstar-export: {error}", file=sys.stderr)
        return _EXIT_MISSING


def _check(repository: Path) -> int:
    errors = [str(error) for error in check_engines(this_target().machine, repository)]
    print(*(errors or ["every plan was built for this machine"]), sep="\n")
    return 1 if errors else 0


def _build(options: argparse.Namespace, settings: Settings) -> int:
    def report(line: str) -> None:
        print(line, flush=True)

    failed = build_engines(this_target(), options.repository, settings, options.replace, report)
    if failed:
        print(f"wstar-export: no plan for {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0
