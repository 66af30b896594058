"""The command `wstar-train`: own files to codes and T; the demo world from nothing."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

import torch

from wstar.errors import InvalidInput, WstarError
from wstar_training.commands import ablate, codes, demo, evaluate, figures, flow, inspect, sketch

EXIT_CODES = """exit codes:
  0    done
  1    a file cannot be used, or a loss stopped being finite
  2    wrong usage, or options other than those that a run was begun with
  3    `evaluate`: a figure does not keep a bound of --require
  130  interrupted; the same command goes on where it stopped
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = argparse.ArgumentParser(
        prog="wstar-train",
        description=__doc__,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = root.add_subparsers(metavar="COMMAND", required=True)
    for name, module, text in (
        ("inspect", inspect, "say what a checkpoint is, without building its network"),
        ("codes", codes, "encode a folder of pictures to W+ codes"),
        ("flow", flow, "make T from codes, pictures, labels and networks of your own"),
        ("evaluate", evaluate, "measure a run again and print its tables"),
        ("ablate", ablate, "train the paper's variants and print its Tables 1 to 3"),
        ("figures", figures, "draw what was trained and measured, as PNG and SVG"),
        ("sketch", sketch, "how far sketched distances are from exact ones, by size"),
    ):
        command = commands.add_parser(
            name,
            help=text,
            description=module.__doc__,
            epilog=EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(carry_out=module.run)
    demo.add_commands(commands)
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit code, after a message of one line if it is not 0."""
    options = parser().parse_args(arguments)
    if getattr(options, "threads", None) is not None:
        torch.set_num_threads(options.threads)
    return exit_code(lambda: options.carry_out(options))


def exit_code(carry_out: Callable[[], int]) -> int:
    """Carry out a command; its exit code, after a message of one line if it failed."""
    try:
        return carry_out()
    except InvalidInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (WstarError, FloatingPointError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
