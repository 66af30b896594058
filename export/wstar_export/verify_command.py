"""`wstar-export verify`: compare every graph of a repository with the networks of its run."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict
from pathlib import Path

from wstar_export.audit import audit
from wstar_export.figures import FIGURES, figures_table
from wstar_export.run import read_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.description = (
        "Check every file of a repository and compare every graph with torch again."
    )
    parser.epilog = f"{FIGURES}\n{parser.epilog}"
    parser.add_argument(
        "--run", type=Path, metavar="RUN", required=True, help="folder of a finished training run"
    )
    parser.add_argument(
        "--repository", type=Path, metavar="DIR", required=True, help="repository to check"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, no table")


def run(options: argparse.Namespace) -> int:
    """Measure and print; 1 if a figure is out of its bound."""
    findings = audit(read_run(options.run), options.repository)
    if options.json:
        rows = [{**asdict(finding), "passed": finding.passed} for finding in findings]
        # JSON has no NaN: a figure that could not be measured is null.
        for row in rows:
            row["value"] = row["value"] if math.isfinite(row["value"]) else None
        print(json.dumps({"findings": rows}))
    else:
        print(figures_table(findings))
    return 0 if all(finding.passed for finding in findings) else 1
