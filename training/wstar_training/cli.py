"""The command `wstar-train`: make a demo world, and measure one."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from wstar.errors import WstarError
from wstar_training.demo.measure_demo import measure
from wstar_training.demo.sizes import recall, remember
from wstar_training.demo.train_demo import World, build
from wstar_training.report import markdown


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = argparse.ArgumentParser(prog="wstar-train", description=__doc__)
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
    for command in (demo, evaluate):
        command.add_argument("--run", type=Path, required=True, help="folder of the run")
        command.add_argument("--threads", type=int, metavar="N", help="threads torch may use")
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0, or 1 with a message when something cannot be used."""
    options = parser().parse_args(arguments)
    if options.threads is not None:
        torch.set_num_threads(max(1, options.threads))
    try:
        if options.command == "demo-world":
            sizes = remember(options.run, "quick" if options.quick else "full")
            world = World(options.run, sizes, options.compile)
            build(world)
            if not world.path("evaluation.json").exists():
                measure(world)
            print(f"demo world complete: {options.run}")
        else:
            report = measure(World(options.run, recall(options.run)))
            print(json.dumps(report, indent=1) if options.json else markdown(report))
    except (WstarError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
