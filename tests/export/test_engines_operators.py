"""Every node of every graph is one that NVIDIA's parser says it reads, in types it says it takes.

`TABLE` is our extract of `docs/operators.md` of onnx/onnx-tensorrt, the public source of the
parser, as of TensorRT 10.15 (opset 9 to 24), read 2026-11-23. It says of uint8: "only supported as
network input or output", and of the axes of a reduction: "must be an initializer". No such table
of TensorRT 11 was at hand; the parser of its family is asked itself in `test_engines_rtx`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, shape_inference

from wstar.graphs import encoder, generator, graphs
from wstar_export.onnx import OPSET

DEMO = Path(__file__).resolve().parents[2] / "model_repository" / "demo"
NAMES = [spec.name for spec in graphs(64, 64)]

FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16})
NUMBERS = FLOATS | {TensorProto.INT32, TensorProto.INT64}
ANY = NUMBERS | {TensorProto.BOOL}
TABLE = {
    "Add": NUMBERS,
    "AveragePool": FLOATS,
    "BatchNormalization": FLOATS,
    "Cast": ANY | {TensorProto.UINT8},
    "Clip": FLOATS,
    "Concat": ANY,
    "Conv": FLOATS,
    "ConvTranspose": FLOATS,
    "DequantizeLinear": frozenset({TensorProto.INT8}),
    "Div": NUMBERS,
    "Exp": FLOATS,
    "Expand": ANY,
    "Flatten": ANY,
    "Gather": ANY,
    "Gemm": FLOATS,
    "GlobalAveragePool": FLOATS,
    "Identity": ANY,
    "LeakyRelu": FLOATS,
    "MatMul": FLOATS,
    "MaxPool": FLOATS,
    "Mul": NUMBERS,
    "Neg": NUMBERS,
    "PRelu": FLOATS,
    "Pad": NUMBERS,
    "Pow": NUMBERS,
    "QuantizeLinear": FLOATS,
    "Reciprocal": FLOATS,
    "ReduceL2": NUMBERS,
    "ReduceMean": NUMBERS,
    "ReduceSum": NUMBERS,
    "ReduceSumSquare": NUMBERS,
    "Relu": NUMBERS,
    "Reshape": ANY,
    "Resize": FLOATS,
    "Shape": ANY,
    "Sigmoid": FLOATS,
    "Slice": ANY,
    "Split": ANY,
    "Sqrt": FLOATS,
    "Squeeze": ANY,
    "Sub": NUMBERS,
    "Tanh": FLOATS,
    "Transpose": ANY,
    "Unsqueeze": ANY,
}
# Position of the inputs that say how, and not what: constants of the graph.
CONSTANTS = {
    "Pad": (1, 2, 3),
    "ReduceL2": (1,),
    "ReduceMean": (1,),
    "ReduceSum": (1,),
    "ReduceSumSquare": (1,),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Unsqueeze": (1,),
}
# Position of the input that is a shape: of constants and of shapes, never of what is computed.
SHAPES = {"Expand": 1, "Reshape": 1}
# Pictures of three channels may become three times as many of one.
BATCHES = re.compile(r"(\d+\*)?batch")
QUANTISERS = {"QuantizeLinear", "DequantizeLinear"}


def problems(model: ModelProto) -> Iterator[str]:
    """Whatever in a graph TensorRT's own documentation advises against."""
    versions = {imported.domain: imported.version for imported in model.opset_import}
    if versions != {"": OPSET}:
        yield f"opsets {versions}"
    graph = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    types = _types(graph)
    constants = {tensor.name for tensor in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    for value in (*graph.value_info, *graph.input, *graph.output):
        if not _only_batch_is_open(value, constants):
            yield f"{value.name}: an axis other than batch is open"
    for node in graph.node:
        where = f"{node.op_type} {node.name}"
        if node.op_type not in TABLE:
            yield f"{where}: not in the table"
            continue
        if node.op_type not in QUANTISERS and types[node.input[0]] not in TABLE[node.op_type]:
            kind = TensorProto.DataType.Name(types[node.input[0]])
            yield f"{where}: {kind} goes in"
        if node.op_type == "Cast" and TensorProto.UINT8 in (
            types[node.input[0]],
            types[node.output[0]],
        ):
            inside = {value.name for value in (*graph.input, *graph.output)}
            if not inside & {node.input[0], node.output[0]}:
                yield f"{where}: uint8 inside the graph"
        for position in CONSTANTS.get(node.op_type, ()):
            if position < len(node.input) and node.input[position]:
                if node.input[position] not in constants:
                    yield f"{where}: input {position} is no initializer"
        if node.op_type in SHAPES:
            name = node.input[SHAPES[node.op_type]]
            if not _is_a_shape(name, makers, constants):
                yield f"{where}: its shape depends on data"


def _types(graph: GraphProto) -> dict[str, int]:
    values = (*graph.input, *graph.output, *graph.value_info)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {tensor.name: tensor.data_type for tensor in graph.initializer}


def _only_batch_is_open(value: ValueInfoProto, constants: set[str]) -> bool:
    if value.name in constants:
        return True
    axes = value.type.tensor_type.shape.dim
    return all(axis.HasField("dim_value") or BATCHES.fullmatch(axis.dim_param) for axis in axes)


def _is_a_shape(name: str, makers: dict[str, NodeProto], constants: set[str]) -> bool:
    if name in constants:
        return True
    maker = makers.get(name)
    if maker is None:
        return False
    if maker.op_type == "Shape":
        return True
    return all(_is_a_shape(part, makers, constants) for part in maker.input if part)


def model(path: Path) -> ModelProto:
    return onnx.load(path / "1" / "model.onnx")


@pytest.mark.parametrize("name", NAMES)
def test_demo_graph_holds_only_what_tensorrt_reads(name: str) -> None:
    assert list(problems(model(DEMO / name))) == []


@pytest.mark.parametrize("name", [encoder(64, 64).name, generator(64).name])
def test_pictures_leave_the_exporter_as_tensorrt_reads_them(repository: Path, name: str) -> None:
    """Cast touches the network's input or output itself; nothing moves bytes about."""
    assert list(problems(model(repository / name))) == []


def test_what_tensorrt_does_not_read_is_found() -> None:
    make, kind = onnx.helper, TensorProto
    nodes = [
        make.make_node("Transpose", ["x"], ["turned"], perm=[1, 0]),
        make.make_node("Cast", ["turned"], ["real"], to=kind.FLOAT),
        make.make_node("Cast", ["real"], ["bytes"], to=kind.UINT8),
        make.make_node("Cast", ["bytes"], ["y"], to=kind.FLOAT),
        make.make_node("NonZero", ["y"], ["where"]),
        make.make_node("Cast", ["sides"], ["target"], to=kind.INT64),
        make.make_node("Reshape", ["y", "target"], ["z"]),
    ]
    graph = make.make_graph(
        nodes,
        "bad",
        [
            make.make_tensor_value_info("x", kind.UINT8, ["batch", "width"]),
            make.make_tensor_value_info("sides", kind.FLOAT, [2]),
        ],
        [make.make_tensor_value_info("z", kind.FLOAT, ["batch", "other"])],
    )
    bad = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    found = "\n".join(problems(bad))
    for problem in (
        "opsets {'': 17}",
        "x: an axis other than batch is open",
        "Transpose : UINT8 goes in",
        "Cast : uint8 inside the graph",
        "NonZero : not in the table",
        "Reshape : its shape depends on data",
    ):
        assert problem in found
