"""int8: what NVIDIA's parser asks of a quantised encoder, and the gate in front of its codes."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from wstar.errors import ContractMismatch, InvalidInput
from wstar_export.assembly import Graph
from wstar_export.findings import Finding, refuse
from wstar_export.lower import judged_pictures, precision_findings
from wstar_export.precisions import apply
from wstar_export.run import Run
from wstar_export.session import Session
from wstar_export.tolerances import Precision
from wstar_export.verify import parity


def converted(graph: Graph, repository: Path, folder: Path, run: Run) -> Path:
    path = folder / "model.onnx"
    shutil.copy(repository / "encoder" / "1" / "model.onnx", path)
    apply(graph, path, Precision.INT8, run)
    assert [file.name for file in folder.iterdir()] == ["model.onnx"]
    return path


def measured(graph: Graph, path: Path, run: Run) -> dict[str, Finding]:
    session = Session(path, graph.spec)
    found = parity(graph, session) + precision_findings(run, graph, session)
    assert {finding.precision for finding in found} == {"int8"}
    return {finding.name: finding for finding in found}


def test_symmetric_integers_and_convolutions_only(
    made: list[Graph], repository: Path, run: Run, tmp_path: Path
) -> None:
    path = converted(made[0], repository, tmp_path, run)
    model = onnx.load(path)
    constants = {i.name: i for i in model.graph.initializer}
    quantised = [n for n in model.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert quantised
    for node in quantised:
        zero = constants[node.input[2]]
        assert zero.data_type == TensorProto.INT8
        assert not numpy_helper.to_array(zero).any()
    producers = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        if node.op_type == "Conv":
            features, weight = (producers[name] for name in node.input[:2])
            assert {features.op_type, weight.op_type} == {"DequantizeLinear"}
            channels = constants[weight.input[0]].dims[0]
            assert list(constants[weight.input[1]].dims) == [channels]
    findings = measured(made[0], path, run)
    assert findings.keys() == {
        "w_error",
        "w_noise_error",
        "w_rms_error",
        "two_alternative_loss",
        "top10_loss",
    }
    # Not fp32 under another name.
    assert findings["w_rms_error"].value > 1e-3


def test_encoder_calibrated_on_no_faces_is_refused(
    made: list[Graph], repository: Path, run: Run, tmp_path: Path
) -> None:
    """Grey pictures leave activations no room: the gate sees it in codes and in their order."""
    judged = len(judged_pictures(run))
    grey = np.concatenate([run.pictures[:judged], np.full_like(run.pictures[judged:], 128)])
    path = converted(made[0], repository, tmp_path, replace(run, pictures=grey))
    findings = measured(made[0], path, run)
    assert not findings["two_alternative_loss"].passed
    with pytest.raises(ContractMismatch, match="graph 'encoder', w_"):
        refuse(findings.values())


def test_run_of_one_picture_cannot_calibrate(
    made: list[Graph], repository: Path, run: Run, tmp_path: Path
) -> None:
    shutil.copy(repository / "encoder" / "1" / "model.onnx", tmp_path / "model.onnx")
    one = replace(run, pictures=run.pictures[:1])
    with pytest.raises(InvalidInput, match="2 or more, to calibrate on"):
        apply(made[0], tmp_path / "model.onnx", Precision.INT8, one)
