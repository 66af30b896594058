"""The `wstar-export` command: from a training run to what a server loads."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Sequence

from wstar import __version__
from wstar.errors import InvalidInput, WstarError
from wstar_export import engines_command, onnx_command, repository_command, verify_command
from wstar_export.tools import ToolMissing

COMMANDS = {
    "repository": (repository_command, "write a repository of every graph of a run, or check one"),
    "verify": (verify_command, "compare a repository with the run it came from"),
    "onnx": (onnx_command, "write graphs of a run as ONNX files alone"),
    "engines": (engines_command, "build the TensorRT engines of a repository for this GPU"),
}
_WIDTH = 98
EXIT_CODES = """exit codes:
  0    done; every figure is within its bound
  1    the run or the repository is incomplete, broken, or a figure is out of its bound
  2    wrong usage, or a file or folder that cannot be read or written
  3    an optional tool, or the GPU it needs, is missing; the message says what to install
  130  interrupted
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; argparse exits with 2 on wrong usage."""
    options = parser().parse_args(argv)
    try:
        code: int = options.run_command(options)
    except (InvalidInput, OSError) as error:
        print(f"wstar-export: {error}", file=sys.stderr)
        return 2
    except ToolMissing as error:
        print(f"wstar-export: {error}", file=sys.stderr)
        return 3
    except WstarError as error:
        print(f"wstar-export: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("wstar-export: interrupted", file=sys.stderr)
        return 130
    return code


def parser() -> argparse.ArgumentParser:
    """Describe the command line; each command describes its own part."""
    result = argparse.ArgumentParser(
        prog="wstar-export",
        description="Turn a training run into a repository of graphs, and check one.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("--version", action="version", version=f"wstar {__version__}")
    add = result.add_subparsers(title="commands", metavar="COMMAND", required=True).add_parser
    for name, (module, summary) in COMMANDS.items():
        command = add(
            name,
            help=summary,
            epilog=EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        paragraphs = (command.description or "").split("\n\n")
        command.description = "\n\n".join(textwrap.fill(text, _WIDTH) for text in paragraphs)
        command.set_defaults(run_command=module.run)
    return result


if __name__ == "__main__":
    sys.exit(main())
