"""Parity: what the exported graphs compute, compared with torch on real pictures and codes.

A graph is opened when it is needed and closed after: at full size two of them are more than a
machine may have to spare.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from wstar.attributes import ATTRIBUTES
from wstar.graphs import GraphSpec, Space, flow, flow_inverse
from wstar_export.assembly import Graph
from wstar_export.findings import Finding, deviation, error_of, picture_findings, refuse
from wstar_export.lower import precision_findings
from wstar_export.ranks import distances, kendall_loss, neighbour_loss
from wstar_export.run import Run
from wstar_export.session import Session, by_torch, parts_of
from wstar_export.tolerances import (
    BOUNDS,
    FLOW_BOUND,
    KENDALL_BOUND,
    NEIGHBOURS_BOUND,
    ROUND_TRIP_BOUND,
)
from wstar_export.whole_way import whole_way

__all__ = ["Finding", "Session", "measure", "order", "parity", "refuse", "round_trip"]

# Codes that go to their space and back, and codes whose distances are put in order.
_ROUND_TRIPS = 2048
_RANKED = 300


def measure(run: Run, graphs: Iterable[Graph], sessions: Mapping[str, Session]) -> list[Finding]:
    """Every figure of every graph, against torch in fp32; `sessions` by graph name.

    Parity of each graph; round trip and order of distances of each space; pictures that went
    through all graphs of a space; and what a lower precision costs, where a file says it has one.
    """
    made = {graph.spec.name: graph for graph in graphs}
    findings = []
    for name, graph in made.items():
        findings += parity(graph, sessions[name])
        findings += precision_findings(run, graph, sessions[name])
        sessions[name].close()
    for space in Space:
        forward, inverse = flow(space, run.resolution), flow_inverse(space, run.resolution)
        pair = sessions[forward.name], sessions[inverse.name]
        findings.append(round_trip(forward, *pair, run.codes[:_ROUND_TRIPS].numpy()))
        findings += order(made[forward.name], pair[0], run.codes[:_RANKED].numpy())
        for session in pair:
            session.close()
    return findings + whole_way(run, made, sessions)


def parity(graph: Graph, session: Session) -> list[Finding]:
    """Compare one graph with its module, at batches of 1, 2, 3 and `max_batch`, and on noise."""
    name, precision = graph.spec.name, session.precision
    inputs, noise = ([tensor.numpy() for tensor in given] for given in (graph.inputs, graph.noise))
    parts = (slice(0, 1), slice(1, 3), slice(3, 6), slice(0, graph.spec.max_batch))
    expected = by_torch(graph.reference, inputs)
    found = [session.run(*(array[part] for array in inputs)) for part in parts]
    bounds = BOUNDS[precision]
    findings: list[Finding] = []
    for position, tensor in enumerate(graph.spec.outputs):
        wanted = np.concatenate([expected[position][part] for part in parts])
        got = np.concatenate([outputs[position] for outputs in found])
        if tensor.dtype == "uint8":
            findings += picture_findings(name, tensor.name, wanted, got, precision, bounds)
            continue
        bound = bounds.code if graph.spec.inputs[0].dtype == "uint8" else FLOW_BOUND
        std = deviation(expected[position])
        errors = {f"{tensor.name}_error": error_of(wanted, got, std)}
        if noise:
            wanted = by_torch(graph.reference, noise)[position]
            got = session.run(*noise)[position]
            errors[f"{tensor.name}_noise_error"] = error_of(wanted, got, std)
        findings += [
            Finding(name, figure, value, bound, precision.value) for figure, value in errors.items()
        ]
    return findings


def round_trip(
    spec: GraphSpec, forward: Session, inverse: Session, codes: NDArray[np.float32]
) -> Finding:
    """Measure max |T⁻¹(T(w)) − w| / std(w) of float32 codes (N, n, 512) through both graphs.

    spec: of the forward graph, which the finding is reported under.
    """
    error, std = 0.0, deviation(codes)
    for start in range(0, len(codes), spec.max_batch):
        w = codes[start : start + spec.max_batch]
        w_star, _ = forward.run(w)
        (back,) = inverse.run(w_star, np.zeros((len(w), len(ATTRIBUTES)), np.float32))
        # np.maximum keeps a NaN, max() may lose it.
        error = float(np.maximum(error, error_of(w, back, std)))
    return Finding(spec.name, "round_trip_error", error, ROUND_TRIP_BOUND)


def order(graph: Graph, session: Session, codes: NDArray[np.float32]) -> list[Finding]:
    """Whether the distances of a space are in torch's order, over codes float32 (N, n, 512)."""
    wanted = distances(by_torch(graph.reference, [codes])[0])
    parts = parts_of(codes, graph.spec)
    found = distances(np.concatenate([session.run(part)[0] for part in parts]))
    return [
        Finding(graph.spec.name, "kendall_loss", kendall_loss(wanted, found), KENDALL_BOUND),
        Finding(graph.spec.name, "top10_loss", neighbour_loss(wanted, found), NEIGHBOURS_BOUND),
    ]
