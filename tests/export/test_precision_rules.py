"""Which precision a graph may have: asked for by name, and by what is in its file."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from wstar.errors import ContractMismatch, InvalidInput
from wstar.graphs import Space, flow, graphs
from wstar_export.assembly import Graph, space_ids
from wstar_export.onnx import check_interface
from wstar_export.precisions import apply, parse_precisions
from wstar_export.run import Run
from wstar_export.session import Session
from wstar_export.tolerances import PRECISION_STAMP, Precision, allowed

NAMES = tuple(spec.name for spec in graphs(64, 64))
FULL = [name for name in NAMES if name not in ("encoder", "generator")]


def test_precisions_are_read_by_graph() -> None:
    found = parse_precisions("encoder=int8,generator=fp16,flow=fp32", NAMES)
    assert found == {
        "encoder": Precision.INT8,
        "generator": Precision.FP16,
        "flow": Precision.FP32,
    }
    assert parse_precisions("", NAMES) == {}


@pytest.mark.parametrize("name", FULL)
@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_flows_and_read_outs_are_full_by_name(name: str, precision: str) -> None:
    assert allowed(name) == (Precision.FP32,)
    with pytest.raises(InvalidInput, match=f"precision of {name}: .*need all 24 bits"):
        parse_precisions(f"{name}={precision}", NAMES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("encoder=bf16", "precision of encoder: .*bf16 keeps 8 bits"),
        ("generator=bf16", "precision of generator: .*16 % of the demo world's colours"),
        ("generator=int8", "precision of generator: found 'int8', allowed: fp32 or fp16"),
        ("encoder=FP16", "allowed: fp32 or fp16 or int8"),
        ("encoder", "precision of encoder: found ''"),
        ("mapping=fp16", "GRAPH=PRECISION, a graph of encoder, flow, "),
        ("encoder=fp16,", "GRAPH=PRECISION"),
        ("encoder=fp16,encoder=int8", "encoder once"),
    ],
)
def test_what_cannot_be_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        parse_precisions(text, NAMES)


def test_flow_is_never_converted(made: list[Graph], run: Run, tmp_path: Path) -> None:
    (graph,) = (graph for graph in made if graph.spec.name == "flow_inverse")
    with pytest.raises(InvalidInput, match="precision of flow_inverse"):
        apply(graph, tmp_path / "model.onnx", Precision.FP16, run)
    assert not list(tmp_path.iterdir())


def test_exported_flows_compute_nothing_in_half(made: list[Graph], repository: Path) -> None:
    """A file that says fp32 and computes in half is refused, whoever wrote it."""
    for graph in made:
        model = onnx.load(repository / graph.spec.name / "1" / "model.onnx")
        check_interface(model, graph.spec)
        if graph.spec.name not in FULL:
            continue
        node = model.graph.node[-1]
        wrong = helper.make_node(
            "Cast", [node.input[0]], ["half"], name="spy", to=TensorProto.FLOAT16
        )
        model.graph.node.insert(len(model.graph.node) - 1, wrong)
        with pytest.raises(ContractMismatch, match=r"'spy' \(Cast\): expected 'fp32'"):
            check_interface(model, graph.spec)


def test_half_weights_that_are_used_as_they_are_are_refused(repository: Path) -> None:
    spec = flow(Space.W_STAR, 64)
    model = onnx.load(repository / "flow" / "1" / "model.onnx")
    names = {
        i.name
        for node in model.graph.node
        if node.op_type == "Gemm"
        for i in model.graph.initializer
        if i.name in node.input
    }
    (tensor, *_) = (i for i in model.graph.initializer if i.name in names)
    tensor.data_type = TensorProto.FLOAT16
    with pytest.raises(
        ContractMismatch, match=r"\(Gemm\): expected 'fp32', found 'half precision'"
    ):
        check_interface(model, spec)


@pytest.mark.parametrize("stamp", ["fp16", "int8", "fp8"])
def test_flow_that_says_another_precision_is_refused(
    repository: Path, tmp_path: Path, stamp: str
) -> None:
    model = onnx.load(repository / "flow" / "1" / "model.onnx")
    model.metadata_props.add(key=PRECISION_STAMP, value=stamp)
    onnx.save(model, tmp_path / "model.onnx")
    session = Session(tmp_path / "model.onnx", flow(Space.W_STAR, 64))
    with pytest.raises(ContractMismatch, match=f"wstar_precision: .*found '{stamp}'"):
        _ = session.precision


def test_half_keeps_the_space_and_int8_leaves_it(run: Run) -> None:
    full = space_ids(run)
    assert space_ids(run, Precision.FP16) == full
    assert not set(space_ids(run, Precision.INT8).values()) & set(full.values())
