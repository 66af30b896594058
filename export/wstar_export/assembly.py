"""Every graph of the contract with its module and realistic inputs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wstar.graphs import GraphSpec, Space, classifiers, encoder, flow, flow_inverse, generator
from wstar.space import space_id
from wstar_export.run import Run
from wstar_export.wrappers import (
    PREPROCESSING,
    EncoderGraph,
    FlowGraph,
    FlowInverseGraph,
    GeneratorGraph,
)


@dataclass(frozen=True)
class Graph:
    """One graph to be made.

    module: its torch form, in evaluation mode; the reference of every parity check.
    inputs: one tensor per input of `spec`, `max_batch` items: real pictures, codes and edits.
    space: the space it belongs to; None for encoder and generator, which serve all.
    """

    spec: GraphSpec
    module: nn.Module
    inputs: tuple[Tensor, ...]
    space: Space | None


def assemble(run: Run) -> list[Graph]:
    """Make all graphs of `wstar.graphs.graphs`, in its order."""
    spec = encoder(run.resolution, run.encoder_side)
    pictures = torch.from_numpy(run.pictures[: spec.max_batch].copy())
    made = [Graph(spec, EncoderGraph(run.encoder).eval(), (_filled(pictures, spec),), None)]
    for space in Space:
        made += _space_graphs(run, space)
    spec = generator(run.resolution)
    codes = _filled(run.codes, spec)
    return [*made, Graph(spec, GeneratorGraph(run.generator).eval(), (codes,), None)]


@torch.no_grad()
def _space_graphs(run: Run, space: Space) -> list[Graph]:
    t, read_out = run.flows[space], run.read_outs[space].classifiers
    forward, inverse, read = (
        graph(space, run.resolution) for graph in (flow, flow_inverse, classifiers)
    )
    w = _filled(run.codes, forward)
    w_star = t(w)
    # Edits as large as the spread of real codes along each normal, all attributes at once.
    spread = (w_star.flatten(1) @ read_out.normals.T).std(0)
    coefficients = spread * torch.randn(
        len(w), len(spread), generator=torch.Generator().manual_seed(0)
    )
    coefficients[0] = 0.0
    return [
        Graph(forward, FlowGraph(t, read_out).eval(), (w,), space),
        Graph(inverse, FlowInverseGraph(t, read_out).eval(), (w_star, coefficients), space),
        Graph(read, read_out, (w_star,), space),
    ]


def _filled(items: Tensor, spec: GraphSpec) -> Tensor:
    """The first `max_batch` items, starting over where there are fewer."""
    return items[torch.arange(spec.max_batch) % len(items)]


def weights_sha256(module: nn.Module) -> str:
    """Hash all parameters and buffers by name, type, shape and value."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        array = tensor.detach().contiguous().numpy()
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def space_ids(run: Run) -> dict[Space, str]:
    """Name each space by its encoder, flow, hyperplanes and preprocessing."""

    def parts(space: Space) -> Iterable[bytes]:
        modules = (run.encoder, run.flows[space], run.read_outs[space].classifiers)
        yield from (weights_sha256(module).encode() for module in modules)
        yield f"{PREPROCESSING}; {run.encoder_side} px".encode()

    return {space: space_id(space, parts(space)) for space in Space}
