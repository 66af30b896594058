"""`wstar-train sketch`: how far distances of sketches are from exact ones, by size."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from wstar.tables import table
from wstar_training.commands.arguments import positive
from wstar_training.commands.opening import open_study
from wstar_training.evaluation.sketch_error import sketch_error

_SIZES = (256, 512, 1024, 2048, 4096, 8192, 16384)
_PAIRS = 3000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `wstar-train sketch`."""
    parser.add_argument("--run", type=Path, required=True, metavar="DIR", help="folder of the run")
    parser.add_argument(
        "--sizes",
        type=positive,
        nargs="+",
        default=_SIZES,
        metavar="N",
        help=f"numbers kept of a picture (default: {' '.join(map(str, _SIZES))})",
    )
    parser.add_argument(
        "--pairs",
        type=positive,
        default=_PAIRS,
        metavar="N",
        help=f"pairs of pictures that are compared, at least (default: {_PAIRS})",
    )
    parser.add_argument("--threads", type=positive, metavar="N", help="threads torch may use")
    parser.add_argument("--json", action="store_true", help="print JSON, no table")


def run(options: argparse.Namespace) -> int:
    """Carry out the command: pictures of the split `test`, the judge of the run."""
    study = open_study(options.run)
    count = len(study.codes.w["test"])
    rows = sketch_error(study.judge, study.faces("test"), count, options.sizes, options.pairs)
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return 0
    print(f"{rows[0].pairs} pairs; errors relative to the exact distance", file=sys.stderr)
    cells = [
        [
            str(row.size),
            *(f"{value:.2%}" for value in (row.mean, row.p95)),
            f"{row.bias:+.2%}",
            f"{row.expected:.2%}",
            f"{2 * row.size / 1024:.1f}",
        ]
        for row in rows
    ]
    print(table(["numbers", "mean error", "95th percentile", "bias", "√(2/n)", "KiB"], cells))
    return 0
