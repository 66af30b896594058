"""Commands that are one question: info, distance, classify."""

from __future__ import annotations

import argparse

import numpy as np

from wstar import reports
from wstar.commands.common import answer, client, naming
from wstar.errors import InvalidInput
from wstar.graphs import Space
from wstar.inputs import labels, read_inputs


def info(arguments: argparse.Namespace) -> int:
    """Show what the server serves."""
    with client(arguments) as server:
        found = server.info()
    facts = {
        "version": found.version,
        "runner": found.runner,
        "n": found.n,
        "resolution_px": found.resolution,
        "encoder_side_px": found.encoder_side,
        "capabilities": found.capabilities,
        "limits": vars(found.limits),
        "spaces": [vars(summary) | {"space": summary.space.value} for summary in found.spaces],
        "attributes": found.attributes,
    }
    answer(arguments, reports.info(found), facts)
    return 0


def distance(arguments: argparse.Namespace) -> int:
    """Compare two faces, or all with all."""
    given = read_inputs(arguments.faces)
    if len(given) < 2:
        raise InvalidInput("FACE", f"{len(given)} face", "2 or more")
    if arguments.explain and len(given) > 2:
        raise InvalidInput("--explain", f"{len(given)} faces", "exactly 2 faces")
    pair = len(given) == 2
    a, b = (given[:1], given[1:]) if pair else (given, given)
    with client(arguments) as server, naming({"a": a, "b": b}):
        faces = [item.face for item in a]
        found = server.distance(
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
    report = reports.pair if pair else reports.matrix
    answer(arguments, report(labels(given), found), facts)
    return 0


def classify(arguments: argparse.Namespace) -> int:
    """Show probabilities of attributes."""
    given = read_inputs(arguments.faces)
    with client(arguments) as server, naming({"faces": given}):
        found = server.classify(
            [item.face for item in given],
            attributes=arguments.attributes,
            space=Space(arguments.space),
        )
    probabilities = [dict(scores) for scores in found.scores]
    names = [item.name for item in given]
    facts = {"names": names, "probabilities": probabilities, "space_id": found.space_id}
    answer(arguments, reports.scores(labels(given), found.scores), facts)
    return 0
