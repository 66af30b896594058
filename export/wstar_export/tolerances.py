"""Precisions of graphs, and how far each may be from torch in fp32."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from wstar.errors import ContractMismatch

# The key under which an ONNX file says its precision; a file without it is fp32.
PRECISION_STAMP = "wstar_precision"


class Precision(Enum):
    """What a graph computes in; the value is its name on the command line and in manifests.

    fp32: all of it. fp16: pictures and convolutions in half precision, the rest in fp32.
    int8: convolutions on 8-bit integers.
    """

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


@dataclass(frozen=True)
class Bounds:
    """Largest accepted figures of encoder and generator.

    code: error of a number of w over the standard deviation of w; the largest found.
    code_rms: the same, the root of its mean square over all numbers.
    order: share of triples of faces of which another than in fp32 is the nearer.
    neighbours: share of the ten nearest faces that are others.
    levels: difference of a colour, 0 to 255. changed: share of colours that differ at all.
    whole_way: that share where pictures went through all graphs, whose roundings add up.
    golden: what a server's answer may differ from the record, in standard deviations.
    """

    code: float
    code_rms: float
    order: float
    neighbours: float
    levels: float
    changed: float
    whole_way: float
    golden: float


BOUNDS = {
    # Deep convolutions add in another order than torch: 1e-6 to 1e-4, and a level tips over where
    # two pictures straddle a rounding edge. Golden: other CPUs and GPUs differ by up to 1e-4; wrong
    # weights, colours swapped or a picture normalised otherwise by more than 0.1.
    Precision.FP32: Bounds(1e-3, 1e-3, 1e-3, 1e-2, 1.0, 1e-3, 1e-3, 1e-3),
    # 11 bits of mantissa: 5e-4 per rounding. Distances move by less than 1 % of the square of the
    # first two, and codes keep their space. A tenth of colours off by a level is a third of one in
    # the root mean square, what rounding to bytes costs by itself: ONNX Runtime on a CPU changes
    # 0.3 % of the demo world's, engines that round after every operation 2 %.
    Precision.FP16: Bounds(5e-2, 1e-2, 5e-3, 2e-2, 4.0, 0.1, 0.25, 5e-2),
    # Codes of their own: usable where 98 % of comparisons and nine of ten neighbours stay.
    Precision.INT8: Bounds(1.0, 5e-2, 2e-2, 1e-1, 0.0, 0.0, 0.0, 5e-2),
}

# T, its inverse and what is read off it: ten times what fp32 rounding costs a well-conditioned one.
FLOW_BOUND = 1e-4
# Above it a code does not survive the way to its space and back; well-conditioned flows reach 1e-5.
ROUND_TRIP_BOUND = 1e-4
# 1 - Kendall's tau of distances, and the share of the ten nearest codes that are others. fp32 moves
# a distance by 1e-6 of itself, and few distances are that near another: search must not notice.
KENDALL_BOUND = 1e-4
NEIGHBOURS_BOUND = 1e-3
# Largest activation of held-out faces over 65504, where fp16 ends: edits reach further than faces.
HALF_RANGE_BOUND = 0.25


_PICTURES = {
    "encoder": (Precision.FP32, Precision.FP16, Precision.INT8),
    "generator": (Precision.FP32, Precision.FP16),
}


def allowed(graph: str) -> tuple[Precision, ...]:
    """Precisions a graph may be served in: T, its inverse and what is read off it are fp32."""
    return _PICTURES.get(graph, (Precision.FP32,))


def precision_of(graph: str, stamp: str | None) -> Precision:
    """Read a file's stamp, None where it has none.

    Raises
    ------
    ContractMismatch: no precision that the graph may have.
    """
    found = Precision.FP32.value if stamp is None else stamp
    for precision in allowed(graph):
        if precision.value == found:
            return precision
    raise ContractMismatch(graph, PRECISION_STAMP, [p.value for p in allowed(graph)], found)
