"""Parity: what the exported graphs compute, compared with torch on real pictures and codes.

Errors of codes and logits are largest absolute differences over the standard deviation of the
output, which is taken over the real faces with each number's own mean taken off: a large mean
code must not hide an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from wstar.attributes import ATTRIBUTES
from wstar.errors import ContractMismatch
from wstar.graphs import GraphSpec
from wstar_export.assembly import Graph

PRECISION = "fp32"
CODE_BOUND = 1e-4
ENCODER_BOUND = 1e-3
ROUND_TRIP_BOUND = 1e-4
LEVELS_BOUND = 1.0
CHANGED_BYTES_BOUND = 1e-3

_BATCHES = (1, 2, 3)
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
    """An ONNX file, run by ONNX Runtime on the CPU."""

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
        """Run on one array per input of the contract; return its outputs."""
        names = [tensor.name for tensor in self._spec.inputs]
        outputs = [tensor.name for tensor in self._spec.outputs]
        found: list[Array] = self._session.run(outputs, dict(zip(names, inputs, strict=True)))
        return found


def parity(graph: Graph, session: Session) -> list[Finding]:
    """Compare one graph with its module at batches of 1, 2, 3 and `max_batch`."""
    inputs = [tensor.numpy() for tensor in graph.inputs]
    with torch.no_grad():
        result = graph.module(*graph.inputs)
    expected = [tensor.numpy() for tensor in (result if isinstance(result, tuple) else (result,))]
    found: list[list[Array]] = []
    start = 0
    for size in (*_BATCHES, graph.spec.max_batch):
        # Every size sees other items; the largest sees them all.
        rows = slice(start, start + size) if size in _BATCHES else slice(0, size)
        found.append(session.run(*(array[rows] for array in inputs)))
        start += size
    wanted = [slice(0, 1), slice(1, 3), slice(3, 6), slice(0, graph.spec.max_batch)]
    findings: list[Finding] = []
    for position, tensor in enumerate(graph.spec.outputs):
        pairs = [
            (outputs[position], expected[position][rows])
            for outputs, rows in zip(found, wanted, strict=True)
        ]
        if tensor.dtype == "uint8":
            findings += _picture_findings(graph.spec.name, tensor.name, pairs)
        else:
            bound = ENCODER_BOUND if graph.spec.inputs[0].dtype == "uint8" else CODE_BOUND
            error = _largest(pairs) / deviation(expected[position])
            findings.append(Finding(graph.spec.name, f"{tensor.name}_error", error, bound))
    return findings
