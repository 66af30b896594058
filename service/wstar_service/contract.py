"""What every runner compares with `wstar.graphs` before its first run, wherever graphs run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wstar.attributes import ATTRIBUTES
from wstar.errors import ContractMismatch
from wstar.graphs import GraphSpec, Space, TensorSpec, flow, graphs
from wstar.space import SpaceManifest
from wstar_service.runner import Array


@dataclass(frozen=True)
class Found:
    """One tensor as an engine describes it.

    dtype: the contract's name of its type, or the engine's where the contract has none.
    shape: the batch axis first; an axis that is no int is free.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]


def flow_name(space: Space) -> str:
    """Name the flow of a space: it does not depend on the resolution, which a manifest tells."""
    return flow(space, 8).name


def agreed_graphs(manifests: Mapping[Space, SpaceManifest], source: str) -> tuple[GraphSpec, ...]:
    """Return the graphs that the manifests of all spaces describe together.

    Raises ContractMismatch: they disagree about space, resolution, encoder side or attributes;
    `source` names the manifest in the message.
    """
    first = manifests[Space.W_STAR]
    for space, manifest in manifests.items():
        for name, expected in (
            ("space", space),
            ("resolution", first.resolution),
            ("encoder_side", first.encoder_side),
            ("attributes", ATTRIBUTES),
        ):
            found = getattr(manifest, name)
            if found != expected:
                raise ContractMismatch(flow_name(space), f"{source} {name}", expected, found)
    return graphs(first.resolution, first.encoder_side)


def check_tensors(
    graph: str, kind: str, expected: Sequence[TensorSpec], found: Sequence[Found]
) -> None:
    """Compare the `kind`s (input, output) of a graph with the contract; the batch must be free.

    Raises ContractMismatch.
    """
    names = [tensor.name for tensor in expected]
    tensors = {tensor.name: tensor for tensor in found}
    if sorted(names) != sorted(tensor.name for tensor in found):
        raise ContractMismatch(graph, f"{kind}s", names, [tensor.name for tensor in found])
    for tensor in expected:
        other = tensors[tensor.name]
        where = f"{kind} {tensor.name!r}"
        if other.dtype != tensor.dtype:
            raise ContractMismatch(graph, f"{where} type", tensor.dtype, other.dtype)
        batch, *shape = other.shape or (0,)
        if isinstance(batch, int) or tuple(shape) != tensor.shape:
            wanted = ["batch", *tensor.shape]
            raise ContractMismatch(graph, f"{where} shape", wanted, list(other.shape))


def parts(arrays: Mapping[str, Array], size: int) -> Iterator[dict[str, Array]]:
    """Cut a batch into parts of at most `size`, in order."""
    batch = len(next(iter(arrays.values())))
    for start in range(0, batch, size):
        yield {name: array[start : start + size] for name, array in arrays.items()}


def joined(found: Sequence[dict[str, Array]]) -> dict[str, Array]:
    """Put the results of the parts of a batch together again."""
    if len(found) == 1:
        return found[0]
    return {name: np.concatenate([part[name] for part in found]) for name in found[0]}
