"""What each command of `wstar` does: read its arguments, ask the server, print the answer."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from wstar import tables
from wstar.client import Client
from wstar.code_files import read_codes, write_codes
from wstar.errors import InvalidInput, LimitExceeded, SpaceMismatch
from wstar.faces import Face
from wstar.files import write_file
from wstar.graphs import Space

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
    names, faces = _faces(arguments.faces)
    with _client(arguments) as client, _naming({"faces": names}):
        found = client.embed(
            faces, space=Space(arguments.space), dtype="f16" if arguments.f16 else "f32"
        )
    write_codes(output, names, [item.code for item in found.items])
    shape, dtype = found.codes.shape, str(found.codes.dtype)
    text = f"{output}: {' x '.join(map(str, shape))} {dtype}, space id {found.space_id}"
    facts = {"output": str(output), "names": names, "shape": shape, "dtype": dtype}
    _print(arguments, text, facts | {"space_id": found.space_id})


def distance(arguments: argparse.Namespace) -> None:
    """Compare two faces, or all with all."""
    names, faces = _faces(arguments.faces)
    if len(faces) < 2:
        raise InvalidInput("FACE", f"{len(faces)} face", "2 or more")
    if arguments.explain and len(faces) > 2:
        raise InvalidInput("--explain", f"{len(faces)} faces", "exactly 2 faces")
    pair = len(faces) == 2
    a, b = (slice(0, 1), slice(1, 2)) if pair else (slice(None), slice(None))
    with _client(arguments) as client, _naming({"a": names[a], "b": names[b]}):
        found = client.distance(
            faces[a],
            faces[b],
            mode="pairs" if pair else "matrix",
            space=Space(arguments.space),
            ignore=arguments.ignore,
            explain=arguments.explain,
        )
    facts = {
        "names": names,
        "squared_distance": found.squared_distance.tolist(),
        "distance": found.distance.tolist(),
        "percentile": found.percentile.tolist(),
        "space_id": found.space_id,
    }
    if arguments.explain:
        shares = dict(zip(found.attributes, found.shares[0].tolist(), strict=True))
        facts |= {"shares": shares, "residual": found.residual.tolist()[0]}
    text = tables.pair(names, found) if pair else tables.matrix(names, found)
    _print(arguments, text, facts)


def classify(arguments: argparse.Namespace) -> None:
    """Show probabilities of attributes."""
    names, faces = _faces(arguments.faces)
    with _client(arguments) as client, _naming({"faces": names}):
        found = client.classify(
            faces, attributes=arguments.attributes, space=Space(arguments.space)
        )
    probabilities = [dict(scores) for scores in found.scores]
    facts = {"names": names, "probabilities": probabilities, "space_id": found.space_id}
    _print(arguments, tables.scores(names, found.scores), facts)


def edit(arguments: argparse.Namespace) -> None:
    """Write one picture per strength and show what changed."""
    output: Path = arguments.output
    image_format = _IMAGE_FORMATS.get(output.suffix.lower())
    if image_format is None:
        raise InvalidInput("--output", str(output), f"a name ending in {', '.join(_IMAGE_FORMATS)}")
    strengths = arguments.strengths or [1.0]
    paths = [output.with_stem(f"{output.stem}-{strength:g}") for strength in strengths]
    if len(paths) == 1:
        paths = [output]
    _refuse_overwriting(paths, force=arguments.force)
    names, faces = _faces([arguments.face])
    if len(faces) != 1:
        raise InvalidInput("FACE", f"{len(faces)} codes", "one face")
    with _client(arguments) as client, _naming({"face": names}):
        found = client.edit(
            faces[0],
            dict(arguments.targets),
            steps=dict(arguments.steps),
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


def _faces(paths: Sequence[str]) -> tuple[list[str], list[Face]]:
    """Names and faces: a picture is one, a .npz file as many as it holds codes."""
    names: list[str] = []
    faces: list[Face] = []
    for path in paths:
        if path.endswith(".npz"):
            stored_names, codes = read_codes(Path(path))
            names += stored_names
            faces += codes
        else:
            names.append(path)
            # Read now: an unreadable file is found before anything is sent.
            faces.append(Path(path).read_bytes())
    return names, faces


def _refuse_overwriting(paths: Sequence[Path], *, force: bool) -> None:
    for path in paths:
        if not path.parent.is_dir():
            raise InvalidInput("--output", str(path), "a file in a folder that exists")
        if path.exists() and not force:
            raise InvalidInput("--output", str(path), "a new file (--force replaces it)")


@contextmanager
def _naming(lists: Mapping[str, Sequence[str]]) -> Iterator[None]:
    """Put the file's name in front of an error about a face of a request, as in faces[3]."""
    try:
        yield
    except (InvalidInput, LimitExceeded, SpaceMismatch) as error:
        at = re.match(r"(\w+)(?:\[(\d+)\])?", getattr(error, "field", ""))
        names = lists.get(at[1], ()) if at else ()
        index = int(at[2] or 0) if at else 0
        if index < len(names):
            error.args = (f"{names[index]}: {error}",)
        raise
