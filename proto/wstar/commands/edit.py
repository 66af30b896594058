"""`wstar edit`: one picture per strength, and what changed."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wstar import reports
from wstar.commands.common import answer, client, naming, refuse_folders
from wstar.errors import InvalidInput
from wstar.files import write_file
from wstar.graphs import Space
from wstar.inputs import read_inputs
from wstar.operations import ImageFormat
from wstar.replies import EditResult

_IMAGE_FORMATS: dict[str, ImageFormat] = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".webp": "webp",
}


def edit(arguments: argparse.Namespace) -> int:
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
    paths = _paths(output, strengths)
    refuse_folders(paths)
    for path in paths:
        if path.exists() and not arguments.force:
            raise InvalidInput("--output", str(path), "a new file (--force replaces it)")
    given = read_inputs([arguments.face])
    if len(given) != 1:
        raise InvalidInput(arguments.face, f"{len(given)} faces", "one")
    budget = arguments.max_squared_distance
    with client(arguments) as server, naming({"face": given}):
        found = server.edit(
            given[0].face,
            targets,
            steps=steps,
            preserve=arguments.preserve,
            strengths=strengths,
            space=Space(arguments.space),
            image_format=image_format,
            max_squared_distance=budget,
            remeasure=arguments.remeasure,
        )
    results = []
    for path, result in zip(paths, found.results, strict=True):
        write_file(path, result.picture)
        results.append(_facts(path, result))
    facts = {
        "results": results,
        "probabilities_before": dict(found.scores_before),
        "space_id": found.space_id,
    }
    shown = list(dict.fromkeys([*targets, *steps, *arguments.preserve]))
    report = reports.edit(list(map(str, paths)), found, shown, budget=budget is not None)
    answer(arguments, report, facts)
    return 0


def _paths(output: Path, strengths: Sequence[float]) -> list[Path]:
    if len(strengths) == 1:
        return [output]
    # Python's shortest form of a number is that of no other: no picture overwrites another.
    return [
        output.with_stem(f"{output.stem}-{repr(strength).removesuffix('.0')}")
        for strength in strengths
    ]


def _facts(path: Path, result: EditResult) -> dict[str, Any]:
    facts = {
        "picture": str(path),
        "strength": result.strength,
        "scale": result.scale,
        "squared_distance_moved": result.squared_distance_moved,
        "probabilities": dict(result.scores),
    }
    if result.remeasured is not None:
        facts["remeasured"] = {
            "squared_distance_moved": result.remeasured.squared_distance_moved,
            "probabilities": dict(result.remeasured.scores),
        }
    return facts


def _once(flag: str, values: Sequence[tuple[str, float]]) -> dict[str, float]:
    """Gather one number per attribute; InvalidInput names an attribute given twice."""
    found: dict[str, float] = {}
    for name, value in values:
        if name in found:
            raise InvalidInput(f"{flag} {name}", [found[name], value], "one number")
        found[name] = value
    return found
