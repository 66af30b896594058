"""`wstar-train figures`: draw what was trained and measured, each figure as PNG and SVG."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wstar.errors import CheckpointError, InvalidInput
from wstar_training.commands.arguments import positive
from wstar_training.commands.opening import open_study
from wstar_training.figures.gallery import FIGURES, Source
from wstar_training.figures.material import NothingToDraw
from wstar_training.figures.style import style, write


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `wstar-train figures`."""
    parser.add_argument("--run", type=Path, required=True, metavar="DIR", help="folder of the run")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="folder for the figures (default: RUN/figures)"
    )
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help=f"some of {', '.join(FIGURES)} (default: all)"
    )
    parser.add_argument("--threads", type=positive, metavar="N", help="threads torch may use")


def run(options: argparse.Namespace) -> int:
    """Carry out the command; the written files go to standard output, one a line."""
    names = list(FIGURES) if options.only is None else options.only
    for name in names:
        if name not in FIGURES:
            raise InvalidInput("only", name, f"some of {', '.join(FIGURES)}")
    source = Source(open_study(options.run), read_report(options.run / "evaluation.json"))
    draw(source, names, options.output or options.run / "figures")
    return 0


def draw(source: Source, names: Sequence[str], output: Path) -> None:
    """Draw figures into a folder; one that there is nothing for is named on standard error."""
    for name in names:
        print(f"figures: {name}", file=sys.stderr, flush=True)
        try:
            with style():
                for file, figure in FIGURES[name](source):
                    for path in write(figure, output, file):
                        print(path, flush=True)
        except NothingToDraw as why:
            print(f"figures: {name}: left out: {why}", file=sys.stderr, flush=True)


def read_report(path: Path) -> Mapping[str, Any] | None:
    """What `wstar-train evaluate` wrote; None when it has not yet.

    Raises
    ------
    CheckpointError: the file is not what it wrote.
    """
    if not path.exists():
        return None
    try:
        report: Mapping[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise CheckpointError(f"{path}: not a report of an evaluation: {error}") from error
    return report
