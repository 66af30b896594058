"""One torch module to one ONNX graph, named and shaped by the contract."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx_ir
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, ValueInfoProto
from torch import Tensor, nn

from wstar.errors import ContractMismatch
from wstar.graphs import GraphSpec, TensorSpec
from wstar_export.external_data import INLINE_BYTES, write_model
from wstar_export.halves import check_full, store_halves
from wstar_export.tolerances import Precision, allowed

OPSET = 18
_BATCH = "batch"
_TYPES = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}


def export(
    module: nn.Module,
    spec: GraphSpec,
    example: tuple[Tensor, ...],
    path: Path,
    metadata: Mapping[str, str],
    inline_bytes: int = INLINE_BYTES,
) -> None:
    """Write `module` as the graph `spec`; the same module and metadata give the same bytes.

    The file replaces `path` whole or not at all, with a second file `<path>.data` where weights
    are many. Besides `metadata` it says nothing about where it was made: torch writes source
    lines and stack traces into every node.

    Parameters
    ----------
    module: takes the inputs and returns the outputs of `spec`, batch axis first.
    example: one tensor per input, at least 2 items: with 1 the batch axis could become fixed.
    inline_bytes: up to this many bytes of weights are written into the graph itself.

    Raises
    ------
    ContractMismatch: what torch made is not the graph of `spec`.
    """
    model, weights = _detached(_traced(module.eval(), spec, example))
    store_halves(model, weights)
    finish(model, spec, metadata)
    write_model(model, weights, path, inline_bytes)


def finish(model: ModelProto, spec: GraphSpec, metadata: Mapping[str, str]) -> None:
    """Replace all that a tool noted in a graph by `metadata`, and compare it with the contract.

    Raises
    ------
    ContractMismatch: the graph is not that of `spec`.
    """
    _strip(model)
    model.graph.name = spec.name
    for key, value in sorted(metadata.items()):
        model.metadata_props.add(key=key, value=value)
    check_interface(model, spec)


def check_interface(model: ModelProto, spec: GraphSpec) -> None:
    """Compare names, types and shapes of a model with the contract; T must compute in fp32.

    Raises
    ------
    ContractMismatch: at the first difference.
    """
    for kind, tensors, values in (
        ("input", spec.inputs, model.graph.input),
        ("output", spec.outputs, model.graph.output),
    ):
        names = [value.name for value in values]
        wanted = [tensor.name for tensor in tensors]
        if names != wanted:
            raise ContractMismatch(spec.name, f"{kind}s", wanted, names)
        for tensor, value in zip(tensors, values, strict=True):
            _check_tensor(spec, f"{kind} {tensor.name!r}", tensor, value)
    if allowed(spec.name) == (Precision.FP32,):
        check_full(model, spec.name)


def _check_tensor(spec: GraphSpec, where: str, tensor: TensorSpec, value: ValueInfoProto) -> None:
    found = value.type.tensor_type
    if found.elem_type != _TYPES[tensor.dtype]:
        dtype = TensorProto.DataType.Name(found.elem_type)
        raise ContractMismatch(spec.name, f"{where} type", tensor.dtype, dtype)
    shape = [axis.dim_param or axis.dim_value for axis in found.shape.dim]
    if shape != [_BATCH, *tensor.shape]:
        raise ContractMismatch(spec.name, f"{where} shape", [_BATCH, *tensor.shape], shape)


def _traced(module: nn.Module, spec: GraphSpec, example: tuple[Tensor, ...]) -> onnx_ir.Model:
    batch = torch.export.Dim(_BATCH, min=1, max=spec.max_batch)
    with _quiet_exporter():
        program = torch.onnx.export(
            module,
            example,
            dynamo=True,
            opset_version=OPSET,
            input_names=[tensor.name for tensor in spec.inputs],
            output_names=[tensor.name for tensor in spec.outputs],
            dynamic_shapes=tuple({0: batch} for _ in spec.inputs),
            external_data=False,
            verbose=False,
        )
    assert program is not None  # dynamo=True always returns one.
    return program.model


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep three things from users that they can do nothing about."""
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registration.level
    # A missing torchvision, whose operators no graph uses.
    registration.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # torch 2.13 calls what torch 2.13 deprecates.
            warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)
            # Two inputs share the batch axis, which is what we ask for.
            warnings.filterwarnings(
                "ignore", ".*The axis name: batch will not be used", UserWarning
            )
            yield
    finally:
        registration.setLevel(level)


def _detached(model: onnx_ir.Model) -> tuple[ModelProto, dict[str, NDArray[Any]]]:
    """The graph without numbers, and its weights by name, which stay in torch's memory."""
    weights = {}
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        assert tensor is not None  # torch's exporter leaves no initializer empty.
        # Shapes and indices stay: the checker reads them to infer shapes.
        if tensor.dtype == onnx_ir.DataType.FLOAT and tensor.size > 1:
            weights[name] = tensor.numpy()
            value.const_value = onnx_ir.ExternalTensor(
                "", 0, 0, tensor.dtype, shape=onnx_ir.Shape(tensor.numpy().shape), name=name
            )
    proto = onnx_ir.to_proto(model)
    for initializer in proto.graph.initializer:
        if initializer.name in weights:
            initializer.ClearField("external_data")
            initializer.ClearField("data_location")
    return proto, weights


def _strip(model: ModelProto) -> None:
    """Remove every comment and note of the exporter: they hold source paths of this machine."""
    graph = model.graph
    values = (*graph.input, *graph.output, *graph.value_info)
    for part in (model, graph, *graph.node, *graph.initializer, *values):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
