"""The two ways to run a graph: its ONNX file by ONNX Runtime, and its module by torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import nn

from wstar.errors import ContractMismatch
from wstar.graphs import GraphSpec
from wstar_export.findings import Array
from wstar_export.tolerances import PRECISION_STAMP, Precision, precision_of

# Pictures that torch works on at once: it keeps every layer's result of every one.
_TORCH_PICTURES = 2
_NO_WARNINGS = 3


class Session:
    """An ONNX file, run by ONNX Runtime on the CPU with as many threads as torch.

    It is opened by the first call of `run` or `precision`, and again after `close`; both raise
    ContractMismatch if the file is no readable graph.
    """

    def __init__(self, path: Path, spec: GraphSpec) -> None:
        self._path = path
        self._spec = spec
        self._opened: Any = None

    @property
    def precision(self) -> Precision:
        """What the file says that it computes in."""
        stamps: Mapping[str, str] = self._session().get_modelmeta().custom_metadata_map
        return precision_of(self._spec.name, stamps.get(PRECISION_STAMP))

    def run(self, *inputs: Array) -> list[Array]:
        """Run on one (B, ...) array per input of the contract and return its outputs."""
        names = [tensor.name for tensor in self._spec.inputs]
        outputs = [tensor.name for tensor in self._spec.outputs]
        found: list[Array] = self._session().run(outputs, dict(zip(names, inputs, strict=True)))
        return found

    def close(self) -> None:
        """Give the memory back."""
        self._opened = None

    def _session(self) -> Any:  # noqa: ANN401 - onnxruntime has no types
        if self._opened is None:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = torch.get_num_threads()
            options.log_severity_level = _NO_WARNINGS
            # What was needed for the largest batch would be kept until the end.
            options.enable_cpu_mem_arena = False
            try:
                self._opened = onnxruntime.InferenceSession(
                    str(self._path), options, providers=["CPUExecutionProvider"]
                )
            except Exception as error:  # ONNX Runtime's exceptions share no base class.
                raise ContractMismatch(
                    self._spec.name, self._path.name, "a readable graph", error
                ) from error
        return self._opened


@torch.no_grad()
def by_torch(module: nn.Module, inputs: Sequence[Array]) -> list[Array]:
    """The outputs of a module on (N, ...) arrays, a few items at a time."""
    found = []
    for start in range(0, len(inputs[0]), _TORCH_PICTURES):
        part = [torch.from_numpy(array[start : start + _TORCH_PICTURES].copy()) for array in inputs]
        result = module(*part)
        found.append(result if isinstance(result, tuple) else (result,))
    return [torch.cat(outputs).numpy() for outputs in zip(*found, strict=True)]


def parts_of(items: Array, spec: GraphSpec) -> Iterator[Array]:
    """Items (N, ...), as many at a time as a call may hold."""
    return (items[start : start + spec.max_batch] for start in range(0, len(items), spec.max_batch))
