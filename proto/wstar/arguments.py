"""The command line of `wstar`: commands, options, variables and help."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from wstar import __version__
from wstar import argument_types as types
from wstar.client import DEFAULT_TARGET, DEFAULT_TIMEOUT_S
from wstar.examples import EXAMPLES
from wstar.graphs import Space

SERVER_VARIABLE = "WSTAR_SERVER"
EXIT_CODES = """exit codes:
  0    done
  1    the server could not be reached, was full, too slow, failed, or wants (another) token
  2    wrong usage, a wrong picture, code, attribute or number, an unusable file, or a package
       that is not installed; of `embed` also: some faces were skipped, the others are written
  130  interrupted
"""
CODES = "file of `embed` (.npz or .parquet)"
FACE = (
    f"a picture (JPEG, PNG or WebP; an aligned face), a folder of pictures, or all codes of a "
    f"{CODES}"
)


def parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    """Describe the command line; WSTAR_ variables in `environ` replace defaults."""
    result = argparse.ArgumentParser(
        prog="wstar",
        description="Embed, compare, classify and edit faces with a wstar server.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("-V", "--version", action="version", version=f"wstar {__version__}")
    add = result.add_subparsers(
        title="commands", metavar="COMMAND", dest="command", required=True
    ).add_parser
    output = _output()
    try:
        asking = _asking(environ)
    except argparse.ArgumentTypeError as error:
        result.error(f"WSTAR_TLS: {error}")

    def command(name: str, text: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        examples = "".join(f"  {example}\n" for example in EXAMPLES[name])
        return add(
            name,
            parents=[*parents, output],
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            epilog=f"examples:\n{examples}\n{EXIT_CODES}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    command("info", "show spaces, attributes, limits and versions of the server", asking)
    _add_embed(command("embed", "write codes of faces to a file", asking))
    _add_distance(command("distance", "compare faces", asking))
    _add_classify(command("classify", "show attribute probabilities of faces", asking))
    _add_edit(command("edit", "change attributes of a face and write the pictures", asking))
    near = "find the nearest stored faces; asks a server only about pictures"
    _add_neighbors(command("neighbors", near, asking))
    _add_cluster(command("cluster", "group stored faces by distance; needs no server"))
    return result


def _output() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(add_help=False)
    result.add_argument("--json", action="store_true", help="print one JSON object, no tables")
    return result


def _asking(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    """Options of every command that asks a server; each is also a variable."""
    result = argparse.ArgumentParser(add_help=False)
    group = result.add_argument_group(
        "server", "each option is also a variable: --timeout-s is WSTAR_TIMEOUT_S; options win"
    )

    def option(
        flag: str, metavar: str, text: str, read: Callable[[str], Any], default: object = None
    ) -> None:
        variable = f"WSTAR_{flag[2:].replace('-', '_').upper()}"
        group.add_argument(
            flag, metavar=metavar, help=text, type=read, default=environ.get(variable) or default
        )

    where = f"address of the server (default: {DEFAULT_TARGET})"
    option("--server", "HOST:PORT", where, types.address, DEFAULT_TARGET)
    most = f"most time one request may take (default: {DEFAULT_TIMEOUT_S:g})"
    option("--timeout-s", "SECONDS", most, types.seconds, DEFAULT_TIMEOUT_S)
    group.add_argument(
        "--tls",
        action=argparse.BooleanOptionalAction,
        default=types.truth(environ["WSTAR_TLS"]) if environ.get("WSTAR_TLS") else None,
        help="encrypt, and trust the certificates of this system; implied by the options below",
    )
    option("--tls-ca", "FILE", "PEM certificates to trust instead", Path)
    option("--tls-certificate", "FILE", "PEM certificate of this client", Path)
    option("--tls-key", "FILE", "PEM key of that certificate, without a password", Path)
    option("--token-file", "FILE", "file of the token that the server asks for", Path)
    return result


def _add_embed(embed: argparse.ArgumentParser) -> None:
    embed.add_argument("faces", nargs="+", metavar="FACE", help=FACE)
    embed.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        required=True,
        help="file made, .npz or .parquet; if it is there already, of these faces and this space, "
        "it is left alone",
    )
    embed.add_argument("--force", action="store_true", help="replace the file if there is one")
    embed.add_argument("--f16", action="store_true", help="half precision: half the size, no edits")
    embed.add_argument(
        "--shard",
        metavar="I/N",
        type=types.shard,
        help="embed only the I-th of N equal parts of the faces, sorted by name: for N commands "
        "side by side, each with a file of its own",
    )
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
        help=f"a picture (JPEG, PNG or WebP; an aligned face), or a {CODES} with one code",
    )
    edit.add_argument(
        "--set",
        dest="targets",
        metavar="ATTRIBUTE=PROBABILITY",
        type=types.assignment,
        action="append",
        default=[],
        help="probability to reach, 0 to 1 (bounded to 0.001 to 0.999); may be repeated",
    )
    edit.add_argument(
        "--step",
        dest="steps",
        metavar="ATTRIBUTE=STEP",
        type=types.assignment,
        action="append",
        default=[],
        help="instead of --set: signed step along the attribute, in units of the code",
    )
    _add_names(edit, "--preserve", "attributes to hold")
    edit.add_argument(
        "--strengths",
        metavar="NUMBER,...",
        type=types.numbers,
        default=[],
        help="multiples of the whole edit, one picture each, 0 for the face itself (default: 1); "
        "a negative first number needs the form --strengths=-1,1",
    )
    edit.add_argument(
        "--max-squared-distance",
        metavar="NUMBER",
        type=types.positive,
        help="most that a picture may differ from the face, as squared distance in W_STAR; an edit "
        "that would is made smaller, and its scale is shown",
    )
    edit.add_argument(
        "--remeasure",
        action="store_true",
        help="read each picture made again, and show the probabilities that it has",
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


def _add_neighbors(neighbors: argparse.ArgumentParser) -> None:
    neighbors.add_argument("faces", nargs="+", metavar="FACE", help=FACE)
    neighbors.add_argument(
        "--among",
        nargs="+",
        action="extend",
        type=Path,
        metavar="FILE",
        required=True,
        help=f"{CODES} to search; several are searched as one",
    )
    neighbors.add_argument(
        "--count",
        type=types.count,
        default=10,
        metavar="NUMBER",
        help="how many to show (default: %(default)s)",
    )


def _add_cluster(cluster: argparse.ArgumentParser) -> None:
    cluster.add_argument("codes", nargs="+", type=Path, metavar="FILE", help=CODES)
    how = cluster.add_mutually_exclusive_group(required=True)
    how.add_argument(
        "--within",
        type=types.positive,
        metavar="NUMBER",
        help="squared distance up to which two faces belong together",
    )
    how.add_argument("--into", type=types.count, metavar="NUMBER", help="how many clusters to make")
    cluster.add_argument(
        "--seed",
        type=types.whole,
        default=0,
        metavar="NUMBER",
        help="where --into starts from; the same seed gives the same clusters "
        "(default: %(default)s)",
    )


def _add_space(command: argparse.ArgumentParser, default: Space) -> None:
    command.add_argument(
        "--space",
        choices=[space.value for space in Space],
        default=default.value,
        help="latent space (default: %(default)s)",
    )


def _add_names(command: argparse.ArgumentParser, flag: str, text: str) -> None:
    command.add_argument(
        flag, metavar="ATTRIBUTE,...", type=types.names, action="extend", default=[], help=text
    )
