"""Optimisation profiles: the batches an engine accepts and is tuned for, from the contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wstar.errors import InvalidInput
from wstar.graphs import GraphSpec

# Pictures arrive singly and fill memory; codes arrive in crowds and cost little.
_USUAL = {"encoder": 4, "generator": 1}
_USUAL_CODES = 8

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Shapes:
    """Smallest, usual and largest shape of one input, batch axis first."""

    min: Shape
    opt: Shape
    max: Shape


Profile = Mapping[str, Shapes]


def batches(spec: GraphSpec) -> tuple[int, int, int]:
    """Smallest, usual and largest batch of a graph; the largest is the contract's."""
    return 1, min(_USUAL.get(spec.name, _USUAL_CODES), spec.max_batch), spec.max_batch


def profile(spec: GraphSpec, sizes: tuple[int, int, int] | None = None) -> Profile:
    """The shapes of every input of a graph by name, at `sizes` (default: `batches`).

    Raises
    ------
    InvalidInput: sizes fall, are below 1 or above what one call of the graph may hold.
    """
    least, usual, most = sizes = sizes or batches(spec)
    if not 1 <= least <= usual <= most <= spec.max_batch:
        raise InvalidInput(
            f"{spec.name}: batch sizes", sizes, f"min <= opt <= max, 1 to {spec.max_batch}"
        )
    return {
        tensor.name: Shapes((least, *tensor.shape), (usual, *tensor.shape), (most, *tensor.shape))
        for tensor in spec.inputs
    }
