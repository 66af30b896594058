"""The commands of the demo world: make one, draw new faces from one."""

from __future__ import annotations

import argparse
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from wstar_training.commands.arguments import positive
from wstar_training.commands.evaluate import evaluate
from wstar_training.demo.new_faces import contact_sheet
from wstar_training.demo.sizes import recall, remember
from wstar_training.demo.train_demo import World, build

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    Commands = _SubParsersAction[argparse.ArgumentParser]


def add_commands(commands: Commands) -> None:
    """Add `demo-world` and `new-faces`."""
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
    demo.set_defaults(carry_out=_demo_world)
    faces = commands.add_parser("new-faces", help="render faces drawn from the codes' statistics")
    faces.add_argument("--output", type=Path, required=True, help="picture to write, .png")
    faces.add_argument("--count", type=int, default=32, help="faces (default: 32)")
    faces.add_argument(
        "--truncation", type=float, default=0.8, help="0 (mean face) to 1 (default: 0.8)"
    )
    faces.add_argument("--seed", type=int, default=0, help="of the draw (default: 0)")
    faces.set_defaults(carry_out=_new_faces)
    for command in (demo, faces):
        command.add_argument("--run", type=Path, required=True, help="folder of the run")
        command.add_argument("--threads", type=positive, metavar="N", help="threads torch may use")


def _demo_world(options: argparse.Namespace) -> int:
    sizes = remember(options.run, "quick" if options.quick else "full")
    world = World(options.run, sizes, options.compile)
    build(world)
    if not world.path("evaluation.json").exists():
        evaluate(world)
    print(f"demo world complete: {options.run}")
    return 0


def _new_faces(options: argparse.Namespace) -> int:
    world = _built(options.run)
    contact_sheet(world, options.output, options.count, options.truncation, options.seed)
    print(f"wrote {options.output}")
    return 0


def _built(run: Path) -> World:
    """A run made whole: a released one lacks what can be made from the rest."""
    world = World(run, recall(run))
    # Progress stays out of the answer.
    with redirect_stdout(sys.stderr):
        build(world)
    return world
