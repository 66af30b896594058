"""fp16: what stays in fp32, how far activations reach, and what AutoCast makes of it."""

from __future__ import annotations

import importlib.util
import math
import shutil
import sys
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto
from torch import Tensor, nn

from wstar_export.activations import LARGEST_HALF, largest_activation
from wstar_export.assembly import Graph
from wstar_export.cli import main
from wstar_export.folding import write_folded
from wstar_export.half import in_full
from wstar_export.lower import precision_findings
from wstar_export.precisions import apply
from wstar_export.run import Run
from wstar_export.session import Session
from wstar_export.tolerances import PRECISION_STAMP, Precision
from wstar_export.verify import parity

HAS_AUTOCAST = importlib.util.find_spec("modelopt") is not None
autocast = pytest.mark.skipif(not HAS_AUTOCAST, reason="needs the extra `half` (NVIDIA ModelOpt)")


def named(made: list[Graph], name: str) -> Graph:
    (graph,) = (graph for graph in made if graph.spec.name == name)
    return graph


def test_styles_demodulation_codes_and_rgb_stay_in_full(repository: Path, tmp_path: Path) -> None:
    for name in ("encoder", "generator"):
        write_folded(repository / name / "1" / "model.onnx", tmp_path / name)
        graph = onnx.load(tmp_path / name).graph
        full = set(in_full(graph))
        kinds = {node.name: node.op_type for node in graph.node}
        assert len(kinds) == len(graph.node)
        half = {kinds[name] for name in kinds.keys() - full}
        assert {"Conv", "LeakyRelu"} <= half
        # Sums of squares, their roots, every product that makes styles or codes, and bytes.
        assert not half & {"Gemm", "Pow", "Sqrt", "Reciprocal", "Clip", "Cast", "Sub", "Div"}
    # The RGB skip: the only transposed convolutions after a product of matrices.
    products = {output for node in graph.node if node.op_type == "MatMul" for output in node.output}
    reached = set(products)
    for node in graph.node:
        if reached & set(node.input):
            reached.update(node.output)
            assert node.name in full


class Reaching(nn.Module):
    """Makes a number in pictures, and a larger one in styles."""

    def __init__(self, pictures: float) -> None:
        super().__init__()
        self.pictures = pictures

    def forward(self, w: Tensor) -> Tensor:
        """Return pictures (N, 1, 4, 4) near 0."""
        style = w.square() * 1e9
        large = torch.zeros(len(w), 1, 4, 4) - self.pictures
        return large * 0.0 + (style / 1e9).mean()


@pytest.mark.parametrize("value", [3.0, 70000.0])
def test_largest_activation_is_found_inside_pictures_only(value: float) -> None:
    found, operation = largest_activation(Reaching(value), [torch.ones(2, 8)])
    assert found == value and "sub" in operation
    assert (found > LARGEST_HALF) == (value > LARGEST_HALF)


def test_activation_without_a_value_is_the_largest() -> None:
    found, _ = largest_activation(Reaching(math.nan), [torch.ones(2, 8)])
    assert math.isnan(found)


def test_without_autocast_nothing_is_written(
    run_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # As if it were not installed, where it is.
    monkeypatch.setitem(sys.modules, "modelopt.onnx.autocast", None)
    output = tmp_path / "out"
    arguments = ["repository", "--run", str(run_folder), "--output", str(output)]
    assert main([*arguments, "--precision", "encoder=fp16"]) == 3
    assert "NVIDIA ModelOpt is not installed" in (message := capsys.readouterr().err)
    assert "pip install" in message
    assert not list(tmp_path.iterdir())


@autocast
@pytest.mark.parametrize("name", ["encoder", "generator"])
def test_half_is_within_its_bounds_and_says_so(
    made: list[Graph], repository: Path, run: Run, tmp_path: Path, name: str
) -> None:
    graph = named(made, name)
    files = []
    for turn in ("first", "second"):
        path = tmp_path / turn / "model.onnx"
        path.parent.mkdir()
        shutil.copy(repository / name / "1" / "model.onnx", path)
        apply(graph, path, Precision.FP16, run)
        assert [file.name for file in path.parent.iterdir()] == ["model.onnx"]
        files.append(path.read_bytes())
    assert files[0] == files[1]
    model = onnx.load(path)
    assert {p.key: p.value for p in model.metadata_props}[PRECISION_STAMP] == "fp16"
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    types = {i.name: i.data_type for i in model.graph.initializer}
    assert {types[node.input[1]] for node in convolutions} == {TensorProto.FLOAT16}
    session = Session(path, graph.spec)
    findings = parity(graph, session) + precision_findings(run, graph, session)
    assert {finding.precision for finding in findings} == {"fp16"}
    assert all(finding.passed for finding in findings), findings
    assert "half_range_share" in {finding.name for finding in findings}
