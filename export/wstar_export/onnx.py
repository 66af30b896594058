"""One torch module to one ONNX file, named and shaped by the contract."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import ModelProto, TensorProto, ValueInfoProto
from torch import Tensor, nn

from wstar.errors import ContractMismatch
from wstar.files import write_file
from wstar.graphs import GraphSpec, TensorSpec

OPSET = 18
_BATCH = "batch"
_WORTH_HALVING = 1024
_TYPES = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}


def export(
    module: nn.Module,
    spec: GraphSpec,
    example: tuple[Tensor, ...],
    path: Path,
    metadata: Mapping[str, str],
) -> None:
    """Write `module` as the graph `spec`; the same module and metadata give the same bytes.

    The file replaces `path` whole or not at all. Besides `metadata` it says nothing about where
    it was made: torch writes source lines and stack traces into every node.

    Parameters
    ----------
    module: takes the inputs and returns the outputs of `spec`, batch axis first.
    example: one tensor per input, at least 2 items: with 1 the batch axis could become fixed.

    Raises
    ------
    ContractMismatch: what torch made is not the graph of `spec`.
    """
    model = _traced(module.eval(), spec, example)
    _strip(model)
    _store_halves(model)
    model.graph.name = spec.name
    for key, value in sorted(metadata.items()):
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model, full_check=True)
    check_interface(model, spec)
    write_file(path, model.SerializeToString(deterministic=True))


def check_interface(model: ModelProto, spec: GraphSpec) -> None:
    """Compare names, types and shapes of a model with the contract.

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


def _check_tensor(spec: GraphSpec, where: str, tensor: TensorSpec, value: ValueInfoProto) -> None:
    found = value.type.tensor_type
    if found.elem_type != _TYPES[tensor.dtype]:
        dtype = TensorProto.DataType.Name(found.elem_type)
        raise ContractMismatch(spec.name, f"{where} type", tensor.dtype, dtype)
    shape = [axis.dim_param or axis.dim_value for axis in found.shape.dim]
    if shape != [_BATCH, *tensor.shape]:
        raise ContractMismatch(spec.name, f"{where} shape", [_BATCH, *tensor.shape], shape)


def _traced(module: nn.Module, spec: GraphSpec, example: tuple[Tensor, ...]) -> ModelProto:
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
    return program.model_proto


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


def _store_halves(model: ModelProto) -> None:
    """Keep float32 weights that half precision holds exactly as such, cast back when loaded.

    The numbers stay the same and the file shrinks; engines fold the casts away before they run.
    """
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or math.prod(tensor.dims) < _WORTH_HALVING:
            continue
        values = onnx.numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            halves = values.astype(np.float16)
        if np.array_equal(halves.astype(np.float32), values):
            name = tensor.name
            tensor.CopyFrom(onnx.numpy_helper.from_array(halves, f"{name}_half"))
            casts.append(onnx.helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _strip(model: ModelProto) -> None:
    """Remove every comment and note of the exporter: they hold source paths of this machine."""
    graph = model.graph
    values = (*graph.input, *graph.output, *graph.value_info)
    for part in (model, graph, *graph.node, *graph.initializer, *values):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
