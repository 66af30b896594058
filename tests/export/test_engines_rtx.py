"""NVIDIA's ONNX parser and builder on our graphs, as TensorRT for RTX carries them: no GPU needed.

Another product than TensorRT, of its family 11: its plans are not engines that Triton loads, and
are never written. What is proved: graphs, profiles and calls are ones that parser and builder
take, and what must be refused is refused with the node or the reason.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper
from tests.export.rtx_report import MODULE, built
from tests.export.test_engines_operators import DEMO, TABLE

from wstar.errors import ContractMismatch, InvalidInput
from wstar.graphs import GraphSpec, Space, flow, graphs
from wstar_export.engine_files import plan_files
from wstar_export.engines import Settings, Target, build_engines
from wstar_export.plans import Plan, build_plan
from wstar_export.profiles import Profile, Shapes, profile
from wstar_export.repository import model_path
from wstar_export.sidecar import Machine

trt: ModuleType = pytest.importorskip(
    MODULE, reason="TensorRT for RTX is not installed (extra: rtx), or not for this platform"
)
SPECS = graphs(64, 64)
BATCHES = Shapes((1, 4), (2, 4), (4, 4))


def plan(model: Path, shapes: Profile, lines: list[str] | None = None) -> Plan:
    report = lines.append if lines is not None else print
    return build_plan(trt, model, shapes, 64, None, report)


def small(tmp_path: Path, *nodes: NodeProto, **constants: np.generic) -> Path:
    """A graph of the given nodes from `x` to `y`, both float32 (batch, 4)."""
    make = onnx.helper
    shape = [make.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 4]) for n in ("x", "y")]
    tensors = [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()]
    graph = make.make_graph(list(nodes), "small", shape[:1], shape[1:], tensors)
    made: ModelProto = make.make_model(
        graph, opset_imports=[make.make_opsetid("", 18)], ir_version=10
    )
    path = tmp_path / "small" / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    onnx.save(made, path)
    return path


def node(kind: str, inputs: list[str], outputs: list[str]) -> NodeProto:
    return onnx.helper.make_node(kind, inputs, outputs, name=f"the_{kind}")


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_demo_graph_is_parsed_and_built(spec: GraphSpec) -> None:
    made = plan(model_path(DEMO, spec), profile(spec))
    # A plan holds the weights, in fp32 where the file keeps them in half precision.
    assert len(made.data) > 0.9 * model_path(DEMO, spec).stat().st_size
    assert made.layers >= len(spec.inputs)


def test_a_fresh_export_is_built(repository: Path) -> None:
    assert [row.graph for row in built(trt, repository)] == [spec.name for spec in SPECS]


def test_weights_beside_the_graph_are_found(tmp_path: Path) -> None:
    spec = flow(Space.W_PLUS, 64)
    path = tmp_path / spec.name / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    made = onnx.load(model_path(DEMO, spec))
    onnx.save(made, path, save_as_external_data=True, location="model.onnx.data", size_threshold=64)
    assert path.stat().st_size < 10_000
    assert len(plan(path, profile(spec)).data) > path.with_name("model.onnx.data").stat().st_size


def test_the_parser_knows_every_operator_of_the_table() -> None:
    network = trt.Builder(trt.Logger(trt.Logger.ERROR)).create_network(0)
    parser = trt.OnnxParser(network, trt.Logger(trt.Logger.ERROR))
    assert [name for name in TABLE if not parser.supports_operator(name)] == []
    assert not parser.supports_operator("Det")


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        ({}, "no optimization profile"),
        ({"x": Shapes((4, 4), (2, 4), (1, 4))}, "Invalid optimization profile"),
        ({"w": BATCHES}, "missing dimensions in profile"),
        ({"x": Shapes((1, 5), (2, 5), (4, 5))}, "Dimension mismatch"),
    ],
    ids=["no profile", "min above max", "another name", "another shape"],
)
def test_wrong_profile_is_refused(tmp_path: Path, shapes: Profile, reason: str) -> None:
    path = small(tmp_path, node("Relu", ["x"], ["y"]))
    assert plan(path, {"x": BATCHES}).data
    with pytest.raises(ContractMismatch, match=reason):
        plan(path, shapes)


@pytest.mark.parametrize("kind", ["Det", "Unique", "NoSuchOperator"])
def test_unreadable_node_is_named(tmp_path: Path, kind: str) -> None:
    lines: list[str] = []
    path = small(tmp_path, node("Relu", ["x"], ["a"]), node(kind, ["a"], ["y"]))
    with pytest.raises(ContractMismatch, match=rf"graph 'small', node 1 'the_{kind}' \({kind}\)"):
        plan(path, {"x": BATCHES}, lines)
    assert f"small: node 1 'the_{kind}' ({kind})" in lines[0]


@pytest.mark.parametrize(("zero", "taken"), [(np.int8(0), True), (np.uint8(128), False)])
def test_integers_are_symmetric(tmp_path: Path, zero: np.generic, taken: bool) -> None:
    path = small(
        tmp_path,
        node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
        scale=np.float32(0.1),
        zero=zero,
    )
    if taken:
        assert plan(path, {"x": BATCHES}).data
        return
    with pytest.raises(ContractMismatch, match=r"node 0 'the_QuantizeLinear'.*zero point"):
        plan(path, {"x": BATCHES})


def test_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    path = small(tmp_path, node("Relu", ["x"], ["y"]))
    path.write_bytes(b"nothing")
    with pytest.raises(ContractMismatch, match="a graph that TensorRT reads"):
        plan(path, {"x": BATCHES})


def test_it_never_builds_engines_of_a_repository(repository: Path) -> None:
    machine = Machine(trt.__name__, trt.__version__, "none", "0.0")
    target = Target(trt, machine, torch.device("cpu"))
    with pytest.raises(InvalidInput, match="found 'tensorrt_rtx_bindings.*allowed: tensorrt"):
        build_engines(target, repository, Settings(), False, print)
    assert not any(path.exists() for spec in SPECS for path in plan_files(repository, spec))


def test_family_11_takes_types_from_the_graph_alone() -> None:
    """What a builder flag for half precision would do is the graph's to say."""
    with pytest.raises(AttributeError):
        trt.BuilderFlag.FP16  # noqa: B018
    assert not hasattr(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH")
