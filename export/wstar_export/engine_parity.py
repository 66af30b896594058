"""A plan run on this machine's GPU and compared with ONNX Runtime on the CPU, on real codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray

from wstar.attributes import ATTRIBUTES
from wstar.errors import ContractMismatch
from wstar.graphs import GraphSpec, Space, classifiers, encoder, flow, flow_inverse, generator
from wstar_export.findings import Array, Finding, deviation, error_of, picture_findings
from wstar_export.plans import error_log
from wstar_export.repository import model_path
from wstar_export.session import Session
from wstar_export.tolerances import BOUNDS, FLOW_BOUND, Precision

_TYPES = {"uint8": torch.uint8, "float32": torch.float32}


@dataclass(frozen=True)
class Reference:
    """Inputs of a graph and what ONNX Runtime answers, arrays (N, ...) in the contract's order.

    precision: what the graph computes in.
    """

    inputs: Sequence[Array]
    outputs: Sequence[Array]
    precision: Precision


class Engine:
    """A plan, ready to run.

    Raises
    ------
    ContractMismatch: the plan cannot be loaded here, or does not have the tensors of `spec`.
    """

    def __init__(self, trt: ModuleType, plan: bytes, spec: GraphSpec, device: torch.device) -> None:
        self._spec, self._device = spec, device
        self._log = error_log(trt)
        self._runtime = trt.Runtime(self._log)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise ContractMismatch(spec.name, "plan", "one that loads here", self._log.reason())
        count = self._engine.num_io_tensors
        self._names = [self._engine.get_tensor_name(index) for index in range(count)]
        wanted = [tensor.name for tensor in (*spec.inputs, *spec.outputs)]
        if sorted(self._names) != sorted(wanted):
            raise ContractMismatch(spec.name, "tensors of the plan", wanted, self._names)
        self._context = self._engine.create_execution_context()

    def run(self, *inputs: Array) -> list[Array]:
        """Run on one (B, ...) array per input of the contract and return its outputs."""
        batch = len(inputs[0])
        tensors = {
            tensor.name: torch.from_numpy(np.ascontiguousarray(array)).to(self._device)
            for tensor, array in zip(self._spec.inputs, inputs, strict=True)
        }
        for name, tensor in tensors.items():
            self._context.set_input_shape(name, tuple(tensor.shape))
        for output in self._spec.outputs:
            tensors[output.name] = torch.empty(
                (batch, *output.shape), dtype=_TYPES[output.dtype], device=self._device
            )
        if not self._context.execute_v2([tensors[name].data_ptr() for name in self._names]):
            raise ContractMismatch(self._spec.name, "plan", f"an answer at batch {batch}", "none")
        return [tensors[output.name].cpu().numpy() for output in self._spec.outputs]


def references(
    repository: Path, resolution: int, encoder_side: int, picture: NDArray[np.uint8]
) -> dict[str, Reference]:
    """What every graph of a repository answers to one face in four lights, by graph name.

    picture: uint8 (S, S, 3) RGB, S the encoder's input side.
    """
    darker, brighter = picture // 2, 255 - (255 - picture) // 2
    pictures = np.stack([picture, picture[:, ::-1], darker, brighter])
    made: dict[str, Reference] = {}

    def answers(spec: GraphSpec, *inputs: Array) -> Sequence[Array]:
        session = Session(model_path(repository, spec), spec)
        outputs = session.run(*inputs)
        made[spec.name] = Reference(inputs, outputs, session.precision)
        return outputs

    (w,) = answers(encoder(resolution, encoder_side), pictures)
    for space in Space:
        w_star, _ = answers(flow(space, resolution), w)
        # Every code is moved along another attribute, by a unit of w_star.
        edits = np.eye(len(w), len(ATTRIBUTES), dtype=np.float32)
        answers(flow_inverse(space, resolution), w_star, edits)
        answers(classifiers(space, resolution), w_star)
    answers(generator(resolution), w)
    return made


def compare(engine: Engine, spec: GraphSpec, reference: Reference) -> list[Finding]:
    """Largest differences at batches of 1, of all of the reference and of `max_batch`."""
    sizes = (1, len(reference.inputs[0]), spec.max_batch)
    answers = [
        engine.run(*(_repeated(array, size) for array in reference.inputs)) for size in sizes
    ]
    precision, bounds = reference.precision, BOUNDS[reference.precision]
    findings: list[Finding] = []
    for position, output in enumerate(spec.outputs):
        answered = reference.outputs[position]
        wanted = np.concatenate([_repeated(answered, size) for size in sizes])
        got = np.concatenate([outputs[position] for outputs in answers])
        if output.dtype == "uint8":
            findings += picture_findings(spec.name, output.name, wanted, got, precision, bounds)
        else:
            bound = bounds.code if spec.inputs[0].dtype == "uint8" else FLOW_BOUND
            error = error_of(wanted, got, deviation(answered))
            name = f"{output.name}_error"
            findings.append(Finding(spec.name, name, error, bound, precision.value))
    return findings


def _repeated(array: Array, batch: int) -> Array:
    """The first `batch` items, beginning again where there are fewer."""
    return np.resize(array, (batch, *array.shape[1:]))
