"""Commands over stored codes: neighbors and cluster."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wstar import clusters, reports
from wstar.code_blocks import CodeBlock
from wstar.code_files import read_blocks, read_whole
from wstar.codes import Code, CodeArray
from wstar.commands.common import answer, client, naming
from wstar.errors import InvalidInput
from wstar.inputs import Input, labels, read_inputs
from wstar.neighbors import nearest


def neighbors(arguments: argparse.Namespace) -> int:
    """Show the nearest stored faces of each query."""
    first = _first_of(arguments.among)
    given = read_inputs(arguments.faces)
    queries = _codes(arguments, given, first)
    names, squared = _search(arguments.among, queries, arguments.count)
    facts = {
        "queries": [
            {
                "name": item.name,
                "neighbors": [
                    {"name": name, "squared_distance": distance}
                    for name, distance in zip(near, distances, strict=True)
                ],
            }
            for item, near, distances in zip(given, names, squared.tolist(), strict=True)
        ],
        "space": first.space.value,
        "space_id": first.space_id,
    }
    answer(arguments, reports.neighbors(labels(given), names, squared), facts)
    return 0


def cluster(arguments: argparse.Namespace) -> int:
    """Group stored faces."""
    first = _first_of(arguments.codes)
    found = [read_whole(path) for path in arguments.codes]
    names = [name for block in found for name in block.names]
    codes = found[0].values if len(found) == 1 else np.concatenate([b.values for b in found])
    if arguments.into is None:
        numbers = clusters.within(codes, arguments.within)
    else:
        numbers = clusters.into(codes, arguments.into, arguments.seed)
    groups = [
        [names[index] for index in np.flatnonzero(numbers == number)]
        for number in range(int(numbers.max()) + 1)
    ]
    facts = {
        "clusters": [
            {"cluster": number, "size": len(members), "members": members}
            for number, members in enumerate(groups)
        ],
        "names": names,
        "labels": numbers.tolist(),
        "space": first.space.value,
        "space_id": first.space_id,
    }
    answer(arguments, reports.clusters(groups), facts)
    return 0


def _first_of(paths: Sequence[Path]) -> CodeBlock:
    """Return the first codes of the first file; all files are of its space, or refused."""
    first = next(read_blocks(paths[0]))
    for path in paths[1:]:
        other = next(read_blocks(path))
        _check_same(str(path), other.space_id, other.values, first)
    return first


def _codes(arguments: argparse.Namespace, given: Sequence[Input], first: CodeBlock) -> CodeArray:
    """Return the codes of all queries (faces, n, 512); the server is asked about pictures only."""
    for item in given:
        if isinstance(item.face, Code):
            _check_same(str(item), item.face.space_id, item.face.values[None], first)
    pictures = [item for item in given if not isinstance(item.face, Code)]
    embedded: Iterator[CodeArray] = iter(())
    if pictures:
        with client(arguments) as server, naming({"faces": pictures}):
            found = server.embed([item.face for item in pictures], space=first.space)
        _check_same(f"server {arguments.server}", found.space_id, found.codes, first)
        embedded = iter(found.codes)
    values = [item.face.values if isinstance(item.face, Code) else next(embedded) for item in given]
    return np.array(values, np.float32)


def _check_same(where: str, space_id: str, values: CodeArray, first: CodeBlock) -> None:
    """Refuse codes (faces, n, 512) of another space than the stored ones."""
    if space_id != first.space_id:
        raise InvalidInput(
            where,
            f"space id {space_id}",
            f"{first.space_id}, as in the first file; embed both again",
        )
    if values.shape[1:] != first.values.shape[1:]:
        found, allowed = values.shape[1:], first.values.shape[1:]
        raise InvalidInput(where, f"codes of shape {found}", f"{allowed}, as in the first file")


def _search(
    paths: Sequence[Path], queries: CodeArray, count: int
) -> tuple[list[list[str]], NDArray[np.float64]]:
    """Find the nearest codes of all files, which are read piece by piece."""
    best = np.empty((len(queries), 0))
    names = np.empty((len(queries), 0), object)
    for path in paths:
        for block in read_blocks(path):
            near, squared = nearest(queries, block.values, min(count, len(block.names)))
            names = np.concatenate([names, np.array(block.names, object)[near]], axis=1)
            best = np.concatenate([best, squared], axis=1)
            # Stable: of equally near faces the first in the files comes first.
            order = np.argsort(best, axis=1, kind="stable")[:, :count]
            names = np.take_along_axis(names, order, 1)
            best = np.take_along_axis(best, order, 1)
    return names.tolist(), best
