"""The command `wstar-train`: make a demo world, measure one, draw new faces from one."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

import torch

from wstar.errors import WstarError
from wstar_training.demo.measure_demo import measure
from wstar_training.demo.new_faces import contact_sheet
from wstar_training.demo.sizes import recall, remember
from wstar_training.demo.train_demo import World, build
from wstar_training.report import markdown

_EXIT_CODES = """exit codes:
  0    done
  1    a file of the run cannot be used, or a loss stopped being finite
  2    wrong usage
  130  interrupted; the same command goes on where it stopped
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = argparse.ArgumentParser(
        prog="wstar-train",
        description=__doc__,
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = root.add_subparsers(dest="command", required=True)
    demo = commands.add_parser(
        "demo-world", help="train the demo world from nothing, or what of it is missing"
    )
    demo.add_argument(
        "--compile",
        action="store_true",
        help="compile the autoencoder (needs a C++ compiler; twice as fast)",
    )
    demo.add_argument(
        "--quick", action="store_true", help="the size that only shows that everything runs"
    )
    evaluate = commands.add_parser("evaluate", help="measure a run again and print its tables")
    evaluate.add_argument("--json", action="store_true", help="print every figure as JSON")
    faces = commands.add_parser("new-faces", help="render faces drawn from the codes' statistics")
    faces.add_argument("--output", type=Path, required=True, help="picture to write, .png")
    faces.add_argument("--count", type=int, default=32, help="faces (default: 32)")
    faces.add_argument(
        "--truncation", type=float, default=0.8, help="0 (mean face) to 1 (default: 0.8)"
    )
    faces.add_argument("--seed", type=int, default=0, help="of the draw (default: 0)")
    for command in (demo, evaluate, faces):
        command.add_argument("--run", type=Path, required=True, help="folder of the run")
        command.add_argument("--threads", type=int, metavar="N", help="threads torch may use")
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0, 1 with a message when something cannot be used, 130 on Ctrl-C."""
    options = parser().parse_args(arguments)
    if options.threads is not None:
        torch.set_num_threads(max(1, options.threads))
    try:
        _run(options)
    except (WstarError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def _run(options: argparse.Namespace) -> None:
    if options.command == "demo-world":
        sizes = remember(options.run, "quick" if options.quick else "full")
        world = World(options.run, sizes, options.compile)
        build(world)
        if not world.path("evaluation.json").exists():
            measure(world)
        print(f"demo world complete: {options.run}")
        return
    world = World(options.run, recall(options.run))
    # A released run lacks what can be made from the rest; progress stays out of the answer.
    with redirect_stdout(sys.stderr):
        build(world)
    if options.command == "evaluate":
        with redirect_stdout(sys.stderr):
            report = measure(world)
        print(json.dumps(report, indent=1) if options.json else markdown(report))
    else:
        contact_sheet(world, options.output, options.count, options.truncation, options.seed)
        print(f"wrote {options.output}")
