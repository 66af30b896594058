"""What is asked of a graph of less than fp32: a range that is not left, an order that stays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wstar.graphs import Space
from wstar_export.activations import LARGEST_HALF, largest_activation
from wstar_export.assembly import Graph
from wstar_export.findings import Finding, deviation
from wstar_export.ranks import choice_loss, distances, neighbour_loss
from wstar_export.run import Run
from wstar_export.session import Session, by_torch, parts_of
from wstar_export.tolerances import BOUNDS, HALF_RANGE_BOUND, Precision

_JUDGED = 128
# Single pictures may take another way through torch than the graph's.
_MEASURED = 2


def judged_pictures(run: Run) -> NDArray[np.uint8]:
    """The faces that judge an encoder of less than fp32, uint8 (N, S, S, 3)."""
    return run.pictures[: min(_JUDGED, (len(run.pictures) + 1) // 2)]


def precision_findings(run: Run, graph: Graph, session: Session) -> list[Finding]:
    """What is asked of a graph of less than fp32: a range that is not left, an order that stays."""
    name, precision = graph.spec.name, session.precision
    findings = []
    if precision is Precision.FP16:
        inputs = [tensor[:_MEASURED] for tensor in graph.inputs]
        largest, _ = largest_activation(graph.reference, inputs)
        share = largest / LARGEST_HALF
        findings.append(Finding(name, "half_range_share", share, HALF_RANGE_BOUND, precision.value))
    if precision is not Precision.FP32 and graph.spec.inputs[0].dtype == "uint8":
        pictures, bounds = judged_pictures(run), BOUNDS[precision]
        (wanted,) = by_torch(graph.reference, [pictures])
        got = np.concatenate([session.run(part)[0] for part in parts_of(pictures, graph.spec)])
        t = run.flows[Space.W_STAR]
        before, after = (distances(by_torch(t, [codes])[0]) for codes in (wanted, got))
        rms = float(np.sqrt(np.square(wanted - got, dtype=np.float64).mean()) / deviation(wanted))
        findings += [
            Finding(name, figure, value, bound, precision.value)
            for figure, value, bound in (
                ("w_rms_error", rms, bounds.code_rms),
                ("two_alternative_loss", choice_loss(before, after), bounds.order),
                ("top10_loss", neighbour_loss(before, after), bounds.neighbours),
            )
        ]
    return findings
