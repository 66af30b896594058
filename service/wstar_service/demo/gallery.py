"""The faces of the demo: the samples, the user's pictures, and what the server says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wstar.client import Client
from wstar.codes import Code
from wstar.errors import InvalidInput, LimitExceeded, WstarError
from wstar.geometry import squared_distance_matrix
from wstar.images import decode, encoder_input
from wstar.info import Info
from wstar.replies import Scores

NEIGHBOURS = 5


@dataclass(frozen=True, eq=False)
class Portrait:
    """One face: its encoded picture, what the encoder sees of it, its codes and scores.

    seen: uint8 (S, S, 3) RGB.
    yours: whether the user brought it.
    """

    name: str
    picture: bytes
    seen: NDArray[np.uint8]
    w_star: Code
    w_plus: Code
    scores: Scores
    yours: bool


@dataclass(frozen=True)
class Neighbour:
    """A near face, by its index in the gallery, and its squared distance from the query."""

    index: int
    squared_distance: float


def read_pictures(folder: Path) -> list[tuple[str, bytes]]:
    """Read the files of a folder by name, hidden ones left out; OSError if it cannot be read."""
    paths = sorted(path for path in folder.iterdir() if path.is_file() and path.name[0] != ".")
    return [(path.name, path.read_bytes()) for path in paths]


def embed_samples(
    client: Client, info: Info, samples: Sequence[tuple[str, bytes]]
) -> list[Portrait]:
    """Embed pictures that are known to be good; raises WstarError if one is not."""
    return _embed(client, info, samples, yours=False)


def embed_yours(
    client: Client, info: Info, pictures: Sequence[tuple[str, bytes]]
) -> tuple[list[Portrait], list[str]]:
    """Embed the user's pictures one by one; return portraits, and why others were refused."""
    portraits: list[Portrait] = []
    refusals: list[str] = []
    for name, picture in pictures:
        try:
            portraits += _embed(client, info, [(name, picture)], yours=True)
        except (InvalidInput, LimitExceeded) as error:
            refusals.append(f"{name}: {error}")
    return portraits, refusals


def nearest(portraits: Sequence[Portrait], *, w_star: bool) -> list[list[Neighbour]]:
    """The five nearest other faces of each face, nearest first, by W* or by W+."""
    codes = np.stack(
        [(face.w_star if w_star else face.w_plus).values for face in portraits], dtype=np.float32
    )
    distances = squared_distance_matrix(codes, codes)
    np.fill_diagonal(distances, np.inf)
    order = np.argsort(distances, axis=1, kind="stable")[:, : min(NEIGHBOURS, len(portraits) - 1)]
    return [
        [Neighbour(int(index), float(row[index])) for index in indices]
        for row, indices in zip(distances, order, strict=True)
    ]


def _embed(
    client: Client, info: Info, pictures: Sequence[tuple[str, bytes]], *, yours: bool
) -> list[Portrait]:
    found = client.embed(
        [picture for _, picture in pictures], include_w_plus=True, include_scores=True
    )
    portraits = []
    for (name, picture), embedding in zip(pictures, found.items, strict=True):
        if embedding.w_plus is None or embedding.scores is None:
            raise WstarError(f"{name}: the server left out the W+ code or the scores")
        rgb = decode(
            picture,
            max_bytes=info.limits.max_image_bytes,
            max_pixels=info.limits.max_image_pixels,
        )
        seen = encoder_input(rgb, info.encoder_side)
        portraits.append(
            Portrait(
                Path(name).stem,
                picture,
                seen,
                embedding.code,
                embedding.w_plus,
                embedding.scores,
                yours,
            )
        )
    return portraits
