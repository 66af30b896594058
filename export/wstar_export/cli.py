"""The `wstar-export` command: a training run to a repository of graphs, and its check."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from wstar import __version__
from wstar.errors import InvalidInput, WstarError
from wstar.tables import table
from wstar_export.audit import audit
from wstar_export.repository import write_repository
from wstar_export.run import read_run
from wstar_export.verify import Finding

EXIT_CODES = """exit codes:
  0    done; every figure is within its bound
  1    the run or the repository is incomplete, broken, or a figure is out of its bound
  2    wrong usage, or a file or folder that cannot be read or written
  130  interrupted
"""
FIGURES = """figures (all in fp32 on this machine's CPU, against torch):
  ..._error          largest difference, in standard deviations of the output over real faces
  round_trip_error   largest |inverse(flow(w)) - w|, in standard deviations of w
  ..._levels         largest difference of a colour, in levels of 0 to 255
  ..._changed_bytes  fraction of colours that differ
  golden_..._error   distance from the recorded answer, in its standard deviations
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; argparse exits with 2 on wrong usage."""
    arguments = parser().parse_args(argv)
    try:
        done: bool = arguments.command(arguments)
    except InvalidInput as error:
        print(f"wstar-export: {error}", file=sys.stderr)
        return 2
    except WstarError as error:
        print(f"wstar-export: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"wstar-export: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("wstar-export: interrupted", file=sys.stderr)
        return 130
    return 0 if done else 1


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    result = argparse.ArgumentParser(
        prog="wstar-export",
        description="Turn a training run into a repository of graphs, and check one.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("--version", action="version", version=f"wstar {__version__}")
    add = result.add_subparsers(title="commands", metavar="COMMAND", required=True).add_parser

    repository = add(
        "repository",
        help="export every graph of a run",
        description="Export every graph of a run to ONNX, compare each with torch, and write the "
        "repository. A graph out of its bound writes nothing, and an old repository stays.",
        epilog=f"{FIGURES}\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_run(repository)
    repository.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        required=True,
        help="repository to write; one that is there is replaced as a whole",
    )
    repository.set_defaults(command=_repository)

    verify = add(
        "verify",
        help="compare a repository with the run it came from",
        description="Check every file of a repository and compare every graph with torch again.",
        epilog=f"{FIGURES}\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_run(verify)
    verify.add_argument(
        "--repository", type=Path, metavar="DIR", required=True, help="repository to check"
    )
    verify.add_argument("--json", action="store_true", help="print one JSON object, no table")
    verify.set_defaults(command=_verify)
    return result


def _add_run(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--run", type=Path, metavar="RUN", required=True, help="folder of a finished training run"
    )


def _repository(arguments: argparse.Namespace) -> bool:
    def report(line: str) -> None:
        print(line, flush=True)

    findings = write_repository(read_run(arguments.run), arguments.output, report)
    print(_table(findings))
    print(f"wrote {arguments.output}")
    return True


def _verify(arguments: argparse.Namespace) -> bool:
    findings = audit(read_run(arguments.run), arguments.repository)
    if arguments.json:
        rows = [{**asdict(finding), "passed": finding.passed} for finding in findings]
        # JSON has no NaN: a figure that could not be measured is null.
        for row in rows:
            row["value"] = row["value"] if math.isfinite(row["value"]) else None
        print(json.dumps({"findings": rows}))
    else:
        print(_table(findings))
    return all(finding.passed for finding in findings)


def _table(findings: Sequence[Finding]) -> str:
    return table(
        ["graph", "figure", "value", "bound", ""],
        [
            [f.graph, f.name, f"{f.value:.3g}", f"{f.bound:g}", "" if f.passed else "OUT OF BOUND"]
            for f in findings
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
