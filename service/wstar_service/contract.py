"""What every runner compares with `wstar.graphs` before its first run, wherever graphs run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wstar.errors import ContractMismatch, RunnerUnavailable
from wstar.graphs import GraphSpec, TensorSpec
from wstar_service.runner import Array

# The one graph that may be missing: whoever only measures pictures needs none drawn.
OPTIONAL_GRAPH = "generator"
# Of the pictures of one run: memory grows with every picture, speed on a CPU does not.
_PIXELS = 2**18


@dataclass(frozen=True)
class Found:
    """One tensor as an engine describes it.

    dtype: the contract's name of its type, or the engine's where the contract has none.
    shape: the batch axis first; an axis that is no int is free.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]


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


def not_served(graph: str) -> RunnerUnavailable:
    """Say that a graph was asked for that is not among those served."""
    return RunnerUnavailable(f"graph {graph!r} is not served")


def part_size(spec: GraphSpec) -> int:
    """Return how many faces run at once in this process: one of 1024 px, four of 256 px."""
    pictures = [t.shape for t in (*spec.inputs, *spec.outputs) if t.dtype == "uint8"]
    largest = max((height * width for height, width, _ in pictures), default=1)
    return max(1, min(spec.max_batch, _PIXELS // largest))


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
