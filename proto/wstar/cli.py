"""The `wstar` command: ask a server from a terminal."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from wstar import __version__, commands
from wstar.client import DEFAULT_TARGET, DEFAULT_TIMEOUT_S
from wstar.errors import InvalidInput, LimitExceeded, SpaceMismatch, WstarError
from wstar.graphs import Space

SERVER_VARIABLE = "WSTAR_SERVER"
MAX_TIMEOUT_S = 86_400.0
EXIT_CODES = """exit codes:
  0    done
  1    the server could not be reached, was full, too slow, or failed
  2    wrong usage, a wrong picture, code, attribute or number, or an unusable file
  130  interrupted
"""
FACE = "a picture (JPEG, PNG or WebP; an aligned face), or all codes of a .npz file of `embed`"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; argparse exits with 2 on wrong usage."""
    arguments = parser(os.environ).parse_args(argv)
    try:
        arguments.command(arguments)
        sys.stdout.flush()
    except (InvalidInput, LimitExceeded, SpaceMismatch) as error:
        print(f"wstar: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader left; Python would complain again when it closes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = f"{error.filename}: {error.strerror}" if error.filename else error
        print(f"wstar: {where}", file=sys.stderr)
        return 2
    except WstarError as error:
        print(f"wstar: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("wstar: interrupted", file=sys.stderr)
        return 130
    return 0


def parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    """Describe the command line; WSTAR_SERVER in `environ` replaces the default address."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--server",
        metavar="HOST:PORT",
        type=_address,
        default=environ.get(SERVER_VARIABLE, DEFAULT_TARGET),
        help=f"address of the server (default: {SERVER_VARIABLE}, else {DEFAULT_TARGET})",
    )
    common.add_argument(
        "--timeout-s",
        metavar="SECONDS",
        type=_seconds,
        default=DEFAULT_TIMEOUT_S,
        help="most time one request may take (default: %(default)g)",
    )
    common.add_argument("--json", action="store_true", help="print one JSON object, no tables")
    result = argparse.ArgumentParser(
        prog="wstar",
        description="Embed, compare, classify and edit faces with a wstar server.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("--version", action="version", version=f"wstar {__version__}")
    add = result.add_subparsers(title="commands", metavar="COMMAND", required=True).add_parser

    def command(
        name: str, run: Callable[[argparse.Namespace], None], text: str
    ) -> argparse.ArgumentParser:
        added = add(
            name,
            parents=[common],
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            epilog=EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(command=run)
        return added

    command("info", commands.info, "show spaces, attributes, limits and versions of the server")
    _add_embed(command("embed", commands.embed, "write codes of pictures to a .npz file"))
    _add_distance(command("distance", commands.distance, "compare faces"))
    _add_classify(command("classify", commands.classify, "show attribute probabilities of faces"))
    _add_edit(command("edit", commands.edit, "change attributes of a face and write the pictures"))
    return result


def _add_embed(embed: argparse.ArgumentParser) -> None:
    embed.add_argument("faces", nargs="+", metavar="FACE", help=FACE)
    embed.add_argument("--output", type=Path, metavar="FILE.npz", required=True, help="file made")
    embed.add_argument("--force", action="store_true", help="replace the file if there is one")
    embed.add_argument("--f16", action="store_true", help="half precision: half the size, no edits")
    _add_space(embed, Space.W_STAR)


def _add_distance(distance: argparse.ArgumentParser) -> None:
    distance.add_argument(
        "faces", nargs="+", metavar="FACE", help=f"{FACE}; two for a pair, more for all with all"
    )
    _add_names(distance, "--ignore", "attributes whose difference does not count")
    distance.add_argument(
        "--explain", action="store_true", help="show what each attribute contributes (two faces)"
    )
    _add_space(distance, Space.W_STAR)


def _add_classify(classify: argparse.ArgumentParser) -> None:
    classify.add_argument("faces", nargs="+", metavar="FACE", help=FACE)
    _add_names(classify, "--attributes", "attributes to show (default: all)")
    _add_space(classify, Space.W_STAR)


def _add_edit(edit: argparse.ArgumentParser) -> None:
    edit.add_argument(
        "face",
        metavar="FACE",
        help="a picture (JPEG, PNG or WebP; an aligned face), or a .npz file of one code",
    )
    edit.add_argument(
        "--set",
        dest="targets",
        metavar="ATTRIBUTE=PROBABILITY",
        type=_assignment,
        action="append",
        default=[],
        help="probability to reach, 0 to 1 (bounded to 0.001 to 0.999); may be repeated",
    )
    edit.add_argument(
        "--step",
        dest="steps",
        metavar="ATTRIBUTE=STEP",
        type=_assignment,
        action="append",
        default=[],
        help="instead of --set: signed step along the attribute, in units of the code",
    )
    _add_names(edit, "--preserve", "attributes to hold")
    edit.add_argument(
        "--strengths",
        metavar="NUMBER,...",
        type=_numbers,
        default=[],
        help="multiples of the whole edit, one picture each, 0 for the face itself (default: 1); "
        "a negative first number needs the form --strengths=-1,1",
    )
    edit.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        required=True,
        help="picture made, .png, .jpg or .webp; several strengths add theirs: out-0.5.png",
    )
    edit.add_argument("--force", action="store_true", help="replace pictures that are there")
    _add_space(edit, Space.W_STAR_ID)


def _add_space(command: argparse.ArgumentParser, default: Space) -> None:
    command.add_argument(
        "--space",
        choices=[space.value for space in Space],
        default=default.value,
        help="latent space (default: %(default)s)",
    )


def _add_names(command: argparse.ArgumentParser, flag: str, text: str) -> None:
    command.add_argument(
        flag, metavar="ATTRIBUTE,...", type=_names, action="extend", default=[], help=text
    )


def _address(text: str) -> str:
    # gRPC itself would take 65537 for port 1.
    found = re.fullmatch(r"\S+:([0-9]{1,5})", text)
    if found is None or not 1 <= int(found[1]) <= 65535:
        allowed = "HOST:PORT, the port from 1 to 65535"
        raise argparse.ArgumentTypeError(f"found {text!r}, allowed: {allowed}")
    return text


def _seconds(text: str) -> float:
    value = _number(text)
    if not 0 < value <= MAX_TIMEOUT_S:
        allowed = f"above 0 to {MAX_TIMEOUT_S:g} seconds"
        raise argparse.ArgumentTypeError(f"found {text!r}, allowed: {allowed}")
    return value


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _numbers(text: str) -> list[float]:
    return [_number(part) for part in text.split(",")]


def _assignment(text: str) -> tuple[str, float]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"found {text!r}, allowed: ATTRIBUTE=NUMBER")
    return name, _number(value)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"found {text!r}, allowed: a number") from None


if __name__ == "__main__":
    sys.exit(main())
