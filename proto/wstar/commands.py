"""What each command of `wstar` does: read its arguments, ask the server, print the answer."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from wstar import tables
from wstar.client import Client
from wstar.code_files import write_codes
from wstar.errors import InvalidInput, LimitExceeded, SpaceMismatch
from wstar.files import write_file
from wstar.graphs import Space
from wstar.inputs import Input, labels, read_inputs

_IMAGE_FORMATS: dict[str, Literal["png", "jpeg", "webp"]] = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".webp": "webp",
}


def info(arguments: argparse.Namespace) -> None:
    """Show what the server serves."""
    with _client(arguments) as client:
        found = client.info()
    facts = {
        "version": found.version,
        "runner": found.runner,
        "n": found.n,
        "resolution_px": found.resolution,
        "encoder_side_px": found.encoder_side,
        "limits": vars(found.limits),
        "spaces": [vars(summary) | {"space": summary.space.value} for summary in found.spaces],
        "attributes": found.attributes,
    }
    _print(arguments, tables.info(found), facts)


def embed(arguments: argparse.Namespace) -> None:
    """Write codes to a .npz file."""
    output: Path = arguments.output
    if output.suffix != ".npz":
        raise InvalidInput("--output", str(output), "a name that ends in .npz")
    _refuse_overwriting([output], force=arguments.force)
    given = read_inputs(arguments.faces)
    names = [item.name for item in given]
    with _client(arguments) as client, _naming({"faces": given}):
        found = client.embed(
            [item.face for item in given],
            space=Space(arguments.space),
            dtype="f16" if arguments.f16 else "f32",
        )
    write_codes(output, names, [item.code for item in found.items])
    shape, dtype = found.codes.shape, str(found.codes.dtype)
    text = f"{output}: {' x '.join(map(str, shape))} {dtype}, space id {found.space_id}"
    facts = {"output": str(output), "names": names, "shape": shape, "dtype": dtype}
    _print(arguments, text, facts | {"space_id": found.space_id})


def distance(arguments: argparse.Namespace) -> None:
    """Compare two faces, or all with all."""
    given = read_inputs(arguments.faces)
    if len(given) < 2:
        raise InvalidInput("FACE", f"{len(given)} face", "2 or more")
    if arguments.explain and len(given) > 2:
        raise InvalidInput("--explain", f"{len(given)} faces", "exactly 2 faces")
    pair = len(given) == 2
    a, b = (given[:1], given[1:]) if pair else (given, given)
    with _client(arguments) as client, _naming({"a": a, "b": b}):
        faces = [item.face for item in a]
        found = client.distance(
            faces,
            [item.face for item in b] if pair else faces,
            mode="pairs" if pair else "matrix",
            space=Space(arguments.space),
            ignore=arguments.ignore,
            explain=arguments.explain,
        )
    facts = {
        "names": [item.name for item in given],
        "squared_distance": found.squared_distance.tolist(),
        "distance": found.distance.tolist(),
        # Not a number, and then all of them, if the client compared more than a request holds.
        "percentile": None if np.isnan(found.percentile).any() else found.percentile.tolist(),
        "space_id": found.space_id,
    }
    if arguments.explain:
        shares = dict(zip(found.attributes, found.shares[0].tolist(), strict=True))
        facts |= {"shares": shares, "residual": found.residual.tolist()[0]}
    text = tables.pair(labels(given), found) if pair else tables.matrix(labels(given), found)
    _print(arguments, text, facts)


def classify(arguments: argparse.Namespace) -> None:
    """Show probabilities of attributes."""
    given = read_inputs(arguments.faces)
    with _client(arguments) as client, _naming({"faces": given}):
        found = client.classify(
            [item.face for item in given],
            attributes=arguments.attributes,
            space=Space(arguments.space),
        )
    probabilities = [dict(scores) for scores in found.scores]
    names = [item.name for item in given]
    facts = {"names": names, "probabilities": probabilities, "space_id": found.space_id}
    _print(arguments, tables.scores(labels(given), found.scores), facts)


def edit(arguments: argparse.Namespace) -> None:
    """Write one picture per strength and show what changed."""
    output: Path = arguments.output
    image_format = _IMAGE_FORMATS.get(output.suffix.lower())
    if image_format is None:
        raise InvalidInput("--output", str(output), f"a name ending in {', '.join(_IMAGE_FORMATS)}")
    strengths = arguments.strengths or [1.0]
    if len(set(strengths)) < len(strengths):
        raise InvalidInput("--strengths", strengths, "different numbers, one picture each")
    targets = _once("--set", arguments.targets)
    steps = _once("--step", arguments.steps)
    # Python's shortest form of a number is that of no other: no picture overwrites another.
    paths = [
        output.with_stem(f"{output.stem}-{repr(strength).removesuffix('.0')}")
        for strength in strengths
    ]
    if len(paths) == 1:
        paths = [output]
    _refuse_overwriting(paths, force=arguments.force)
    given = read_inputs([arguments.face])
    if len(given) != 1:
        raise InvalidInput(arguments.face, f"{len(given)} codes", "a file of one code")
    with _client(arguments) as client, _naming({"face": given}):
        found = client.edit(
            given[0].face,
            targets,
            steps=steps,
            preserve=arguments.preserve,
            strengths=strengths,
            space=Space(arguments.space),
            image_format=image_format,
        )
    results = []
    for path, result in zip(paths, found.results, strict=True):
        write_file(path, result.picture)
        results.append(
            {
                "picture": str(path),
                "strength": result.strength,
                "squared_distance_moved": result.squared_distance_moved,
                "probabilities": dict(result.scores),
            }
        )
    facts = {
        "results": results,
        "probabilities_before": dict(found.scores_before),
        "space_id": found.space_id,
    }
    shown = [name for name, _ in arguments.targets + arguments.steps] + arguments.preserve
    _print(arguments, tables.edit(list(map(str, paths)), found, shown), facts)


def _client(arguments: argparse.Namespace) -> Client:
    return Client(arguments.server, timeout_s=arguments.timeout_s)


def _print(arguments: argparse.Namespace, text: str, facts: Mapping[str, Any]) -> None:
    print(json.dumps(facts) if arguments.json else text)


def _once(flag: str, values: Sequence[tuple[str, float]]) -> dict[str, float]:
    """Gather one number per attribute; InvalidInput names an attribute given twice."""
    found: dict[str, float] = {}
    for name, value in values:
        if name in found:
            raise InvalidInput(f"{flag} {name}", [found[name], value], "one number")
        found[name] = value
    return found


def _refuse_overwriting(paths: Sequence[Path], *, force: bool) -> None:
    for path in paths:
        if not path.parent.is_dir():
            raise InvalidInput("--output", str(path), "a file in a folder that exists")
        if path.is_dir():
            raise InvalidInput("--output", str(path), "a file; this is a folder")
        if path.exists() and not force:
            raise InvalidInput("--output", str(path), "a new file (--force replaces it)")


@contextmanager
def _naming(lists: Mapping[str, Sequence[Input]]) -> Iterator[None]:
    """Put the file's name in front of an error about one face of a request, as in faces[3]."""
    try:
        yield
    except (InvalidInput, LimitExceeded, SpaceMismatch) as error:
        # An error about a whole list, as its length, is no fault of one file.
        at = re.match(r"(?:(face)|(\w+)\[(\d+)\])(?=[.:]|$)", getattr(error, "field", ""))
        if at is not None:
            named = lists.get(at[1] or at[2], ())
            index = int(at[3] or 0)
            if index < len(named):
                error.args = (f"{named[index]}: {error}",)
        raise
