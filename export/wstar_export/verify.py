"""Parity: what the exported graphs compute, compared with torch on real pictures and codes.

Errors of codes and logits are largest absolute differences over the standard deviation of the
output. That is taken over real faces with the mean of each number taken off, so that a large
mean code hides no error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from wstar.attributes import ATTRIBUTES
from wstar.errors import ContractMismatch
from wstar.graphs import GraphSpec, Space, flow, flow_inverse
from wstar_export.assembly import Graph
from wstar_export.run import Run

# T and what is read off it: ten times what fp32 rounding costs a well-conditioned flow.
CODE_BOUND = 1e-4
# Deep convolutions add their terms in another order than torch.
ENCODER_BOUND = 1e-3
# Above it a code does not survive the way to its space and back.
ROUND_TRIP_BOUND = 1e-4
# A level may tip over where torch's and ONNX Runtime's pictures straddle a rounding edge.
LEVELS_BOUND = 1.0
CHANGED_BYTES_BOUND = 1e-3

_NO_WARNINGS = 3

Array = NDArray[np.float32] | NDArray[np.uint8]


@dataclass(frozen=True)
class Finding:
    """One measured figure of a graph and the largest value that it may have."""

    graph: str
    name: str
    value: float
    bound: float

    @property
    def passed(self) -> bool:
        """Whether the figure is within its bound; a NaN is not."""
        return self.value <= self.bound


class Session:
    """An ONNX file, run by ONNX Runtime on the CPU with as many threads as torch.

    Raises
    ------
    ContractMismatch: the file is no readable graph.
    """

    def __init__(self, path: Path, spec: GraphSpec) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = _NO_WARNINGS
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's exceptions share no base class.
            raise ContractMismatch(spec.name, path.name, "a readable graph", error) from error
        self._spec = spec

    def run(self, *inputs: Array) -> list[Array]:
        """Run on one (B, ...) array per input of the contract and return its outputs."""
        names = [tensor.name for tensor in self._spec.inputs]
        outputs = [tensor.name for tensor in self._spec.outputs]
        found: list[Array] = self._session.run(outputs, dict(zip(names, inputs, strict=True)))
        return found


def parity(graph: Graph, session: Session) -> list[Finding]:
    """Compare one graph with its module, at batches of 1, 2, 3 and `max_batch`."""
    with torch.no_grad():
        result = graph.module(*graph.inputs)
    expected = [tensor.numpy() for tensor in (result if isinstance(result, tuple) else (result,))]
    inputs = [tensor.numpy() for tensor in graph.inputs]
    parts = (slice(0, 1), slice(1, 3), slice(3, 6), slice(0, graph.spec.max_batch))
    found = [session.run(*(array[part] for array in inputs)) for part in parts]
    findings: list[Finding] = []
    for position, tensor in enumerate(graph.spec.outputs):
        wanted = np.concatenate([expected[position][part] for part in parts])
        got = np.concatenate([outputs[position] for outputs in found])
        if tensor.dtype == "uint8":
            findings += _picture_findings(graph.spec.name, tensor.name, wanted, got)
        else:
            bound = ENCODER_BOUND if graph.spec.inputs[0].dtype == "uint8" else CODE_BOUND
            error = _error(wanted, got, deviation(expected[position]))
            findings.append(Finding(graph.spec.name, f"{tensor.name}_error", error, bound))
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
        error = float(np.maximum(error, _error(w, back, std)))
    return Finding(spec.name, "round_trip_error", error, ROUND_TRIP_BOUND)


def measure(run: Run, graphs: Iterable[Graph], sessions: Mapping[str, Session]) -> list[Finding]:
    """Parity of every graph and the round trip of every space; `sessions` by graph name."""
    findings = [finding for graph in graphs for finding in parity(graph, sessions[graph.spec.name])]
    for space in Space:
        forward, inverse = flow(space, run.resolution), flow_inverse(space, run.resolution)
        pair = sessions[forward.name], sessions[inverse.name]
        findings.append(round_trip(forward, *pair, run.codes.numpy()))
    return findings


def refuse(findings: Iterable[Finding]) -> None:
    """Raise ContractMismatch for the first figure out of bounds."""
    for finding in findings:
        if not finding.passed:
            raise ContractMismatch(
                finding.graph, finding.name, f"at most {finding.bound:g}", f"{finding.value:.3g}"
            )


def deviation(output: Array) -> float:
    """Standard deviation of (N, ...) numbers, N above 1, each around its own mean over N."""
    centred = output - output.mean(0, dtype=np.float64)
    return float(np.sqrt(np.square(centred).mean()))


def _error(wanted: Array, got: Array, std: float) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        largest = np.abs(np.subtract(wanted, got, dtype=np.float64)).max()
        return float(np.where(largest == 0.0, 0.0, largest / np.float64(std)))


def _picture_findings(graph: str, name: str, wanted: Array, got: Array) -> Sequence[Finding]:
    levels = np.abs(np.subtract(wanted, got, dtype=np.int16))
    return (
        Finding(graph, f"{name}_levels", float(levels.max()), LEVELS_BOUND),
        Finding(graph, f"{name}_changed_bytes", float((levels > 0).mean()), CHANGED_BYTES_BOUND),
    )
