"""Weights that are stored in half precision while the graph computes in full."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from wstar.errors import ContractMismatch

_WORTH_HALVING = 1024
_HALVES = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


def store_halves(model: ModelProto, weights: dict[str, NDArray[Any]]) -> None:
    """Keep float32 weights that half precision holds exactly as such, cast back when loaded.

    The numbers stay the same and the file shrinks; engines fold the casts away before they run.
    """
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        values = weights.get(tensor.name)
        if values is None or values.dtype != np.float32 or values.size < _WORTH_HALVING:
            continue
        with np.errstate(over="ignore"):
            halves = values.astype(np.float16)
        if np.array_equal(halves, values):
            name = tensor.name
            del weights[name]
            tensor.name, tensor.data_type = f"{name}_half", TensorProto.FLOAT16
            weights[tensor.name] = halves
            casts.append(onnx.helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def check_full(model: ModelProto, graph: str) -> None:
    """Refuse a graph that computes anything in half precision.

    Inputs are fp32 by contract, and operands of one operation have one type: without a cast to
    half, and with every stored half cast before it is used, nothing can.

    Raises
    ------
    ContractMismatch: the first node that does.
    """
    stored = {i.name for i in model.graph.initializer if i.data_type in _HALVES}
    for node in model.graph.node:
        target = [onnx.helper.get_attribute_value(a) for a in node.attribute if a.name == "to"]
        uses = node.op_type != "Cast" and not stored.isdisjoint(node.input)
        if uses or (node.op_type == "Cast" and target[0] in _HALVES):
            where = f"node {node.name or node.output[0]!r} ({node.op_type})"
            raise ContractMismatch(graph, where, "fp32", "half precision")
