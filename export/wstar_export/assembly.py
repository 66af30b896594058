"""Every graph of the contract with its module and realistic inputs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wstar.graphs import GraphSpec, Space, classifiers, encoder, flow, flow_inverse, generator
from wstar.space import space_id
from wstar_export.fused import FusedFlow
from wstar_export.run import Run
from wstar_export.tolerances import Precision
from wstar_export.wrappers import (
    PREPROCESSING,
    EncoderGraph,
    FlowGraph,
    FlowInverseGraph,
    GeneratorGraph,
)

_NOISE_PICTURES = 2


@dataclass(frozen=True)
class Graph:
    """One graph to be made.

    module: its torch form as it is exported, in evaluation mode.
    inputs: one tensor per input of `spec`, `max_batch` items: real pictures, codes and edits.
    space: the space it belongs to; None for encoder and generator, which serve all.
    reference: the module that every parity check compares with, as it was trained.
    noise: more inputs, that are no faces; the graph must agree on them as well.
    """

    spec: GraphSpec
    module: nn.Module
    inputs: tuple[Tensor, ...]
    space: Space | None
    reference: nn.Module
    noise: tuple[Tensor, ...] = ()


def assemble(run: Run) -> list[Graph]:
    """Make all graphs of `wstar.graphs.graphs`, in its order."""
    spec = encoder(run.resolution, run.encoder_side)
    pictures = torch.from_numpy(run.pictures[: spec.max_batch].copy())
    seeded = torch.Generator().manual_seed(0)
    shape = (_NOISE_PICTURES, *spec.inputs[0].shape)
    noise = torch.randint(0, 256, shape, generator=seeded, dtype=torch.uint8)
    e, g = EncoderGraph(run.encoder).eval(), GeneratorGraph(run.generator).eval()
    made = [Graph(spec, e, (_filled(pictures, spec),), None, e, (noise,))]
    for space in Space:
        made += _space_graphs(run, space)
    spec = generator(run.resolution)
    return [*made, Graph(spec, g, (_filled(run.codes, spec),), None, g)]


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
    fused = FusedFlow(t).eval()
    return [
        Graph(
            forward, FlowGraph(fused, read_out).eval(), (w,), space, FlowGraph(t, read_out).eval()
        ),
        Graph(
            inverse,
            FlowInverseGraph(fused, read_out).eval(),
            (w_star, coefficients),
            space,
            FlowInverseGraph(t, read_out).eval(),
        ),
        Graph(read, read_out, (w_star,), space, read_out),
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


def space_ids(run: Run, encoder_precision: Precision = Precision.FP32) -> dict[Space, str]:
    """Name each space by its encoder, flow, hyperplanes and preprocessing.

    Codes of an encoder in fp16 stay within its tolerance card and in their space; those of one in
    int8 do not, and their space has another name.
    """
    encoder_hash = weights_sha256(run.encoder)
    if encoder_precision is Precision.INT8:
        encoder_hash += f" {encoder_precision.value}"

    def parts(space: Space) -> Iterable[bytes]:
        yield encoder_hash.encode()
        for module in (run.flows[space], run.read_outs[space].classifiers):
            yield weights_sha256(module).encode()
        yield f"{PREPROCESSING}; {run.encoder_side} px".encode()

    return {space: space_id(space, parts(space)) for space in Space}
