"""A face inside the service: a decoded picture or a code, each with its path in the request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wstar.errors import InvalidInput, RunnerUnavailable
from wstar.graphs import Space
from wstar_service.runner import Array, Float32


@dataclass(frozen=True, eq=False)
class PictureFace:
    """A picture: uint8 (S, S, 3) RGB, aligned, S = encoder_side."""

    field: str
    pixels: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class CodeFace:
    """A code: float32 (n, 512) in `space`."""

    field: str
    space: Space
    values: Float32


Face = PictureFace | CodeFace


def positions_in(faces: Sequence[Face], space: Space) -> list[int]:
    """Return the positions of the codes of `space`."""
    return [i for i, face in enumerate(faces) if isinstance(face, CodeFace) and face.space is space]


def check_finite(faces: Sequence[Face], *results: Array) -> None:
    """Refuse results (B, ...) with NaN or infinity; a result for no face (0, ...) is skipped.

    Raises
    ------
    InvalidInput: the face was a code, finite but so far out that the graphs overflow.
    RunnerUnavailable: the face was a picture, which cannot make sound graphs overflow.
    """
    for result in results:
        finite = np.isfinite(result)
        if finite.all():
            continue
        face = faces[int(np.argmin(finite.reshape(len(result), -1).all(axis=1)))]
        if isinstance(face, CodeFace):
            raise InvalidInput(
                f"{face.field}.code.data", "numbers that overflow", "a code of a face"
            )
        raise RunnerUnavailable(f"{face.field}: a graph answered with NaN or infinity")
