"""Graphs too large for one file: weights beside the graph, both complete, the same every time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import external_data_helper
from torch import Tensor, nn

from wstar.errors import ContractMismatch
from wstar.graphs import GraphSpec, TensorSpec, encoder
from wstar_export.external_data import data_path, model_bytes, read_model
from wstar_export.onnx import export
from wstar_export.session import Session
from wstar_export.wrappers import EncoderGraph
from wstar_training.models.encoder import DemoEncoder

SPEC = encoder(64, 64)
PICTURES = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
# More weights than this go beside the graph.
FEW_BYTES = 1000

EXPORT = """
import sys, torch
from pathlib import Path
from wstar.graphs import encoder
from wstar_export.onnx import export
from wstar_export.wrappers import EncoderGraph
from wstar_training.models.encoder import DemoEncoder

torch.manual_seed(3)
module = EncoderGraph(DemoEncoder(64, 32)).requires_grad_(False)
pictures = torch.zeros(2, 64, 64, 3, dtype=torch.uint8)
export(module, encoder(64, 64), (pictures,), Path(sys.argv[1]), {"a": "b"}, inline_bytes=1000)
"""

MEMORY = """
import resource, sys, torch
from pathlib import Path
from torch import nn
from wstar.graphs import GraphSpec, TensorSpec
from wstar_export.onnx import export

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

spec = GraphSpec("big", (TensorSpec("w", "float32", (4096,)),),
                 (TensorSpec("w_star", "float32", (4096,)),), 8)
# A small one first, so that what the exporter itself loads is not counted.
export(nn.Linear(4096, 4096).requires_grad_(False), spec, (torch.zeros(2, 4096),),
       Path(sys.argv[1]) / "small.onnx", {})
big = nn.Sequential(*[nn.Linear(4096, 4096) for _ in range(5)]).requires_grad_(False)
before = peak()
export(big, spec, (torch.zeros(2, 4096),), Path(sys.argv[1]) / "big.onnx", {})
print(peak() - before, sum(p.nbytes for p in big.parameters()))
"""


def small_encoder() -> nn.Module:
    return EncoderGraph(DemoEncoder(64, 32)).eval().requires_grad_(False)


def exported(path: Path, inline_bytes: int) -> Path:
    export(small_encoder(), SPEC, (PICTURES,), path, {"key": "value"}, inline_bytes)
    return path


def run_code(code: str, *arguments: str, cwd: Path) -> str:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def test_two_processes_write_the_same_bytes_without_a_path(tmp_path: Path) -> None:
    found = []
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        run_code(EXPORT, str(folder / "model.onnx"), cwd=folder)
        assert sorted(path.name for path in folder.iterdir()) == ["model.onnx", "model.onnx.data"]
        found.append([path.read_bytes() for path in sorted(folder.iterdir())])
    assert found[0] == found[1]
    for text in (str(tmp_path), os.getcwd(), str(Path(torch.__file__).parent), ".py"):
        assert text.encode() not in found[0][0]


def test_weights_lie_beside_the_graph_at_page_borders(tmp_path: Path) -> None:
    path = exported(tmp_path / "model.onnx", FEW_BYTES)
    model = onnx.load(path, load_external_data=False)
    beside = [t for t in model.graph.initializer if external_data_helper.uses_external_data(t)]
    places = [external_data_helper.ExternalDataInfo(tensor) for tensor in beside]
    assert {place.location for place in places} == {"model.onnx.data"}
    assert all(place.offset is not None and place.offset % 4096 == 0 for place in places)
    assert model_bytes(path) == path.stat().st_size + data_path(path).stat().st_size
    # Shapes stay inside, or nobody could infer any.
    assert all(tensor.data_type == onnx.TensorProto.FLOAT for tensor in beside)


def test_both_kinds_compute_the_same_and_read_back(tmp_path: Path) -> None:
    module = small_encoder()
    answers, weights = [], []
    for name, inline_bytes in (("inside", 10**9), ("beside", FEW_BYTES)):
        path = tmp_path / name / "model.onnx"
        path.parent.mkdir()
        export(module, SPEC, (PICTURES,), path, {}, inline_bytes)
        answers.append(Session(path, SPEC).run(PICTURES.numpy())[0])
        weights.append(read_model(path)[1])
    np.testing.assert_array_equal(answers[0], answers[1])
    assert weights[0].keys() == weights[1].keys()
    for name, array in weights[0].items():
        np.testing.assert_array_equal(array, weights[1][name])


def test_pair_moves_to_another_folder(tmp_path: Path) -> None:
    path = exported(tmp_path / "model.onnx", FEW_BYTES)
    before = Session(path, SPEC).run(PICTURES.numpy())[0]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for file in (data_path(path), path):
        file.rename(elsewhere / file.name)
    np.testing.assert_array_equal(
        Session(elsewhere / path.name, SPEC).run(PICTURES.numpy())[0], before
    )


def test_graph_without_its_weights_is_refused(tmp_path: Path) -> None:
    path = exported(tmp_path / "model.onnx", FEW_BYTES)
    data_path(path).unlink()
    with pytest.raises(ContractMismatch, match=r"'encoder', model\.onnx"):
        Session(path, SPEC).run(PICTURES.numpy())


def test_small_graph_takes_the_place_of_a_large_one(tmp_path: Path) -> None:
    exported(tmp_path / "model.onnx", FEW_BYTES)
    exported(tmp_path / "model.onnx", 10**9)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


class Halved(nn.Module):
    """Of another output than the contract says."""

    def forward(self, w: Tensor) -> Tensor:
        """Drop half of w."""
        return w[:, :256]


def test_graph_of_another_contract_leaves_the_old_pair(tmp_path: Path) -> None:
    path = exported(tmp_path / "model.onnx", FEW_BYTES)
    before = [file.read_bytes() for file in sorted(tmp_path.iterdir())]
    spec = GraphSpec(
        "halved", (TensorSpec("w", "float32", (512,)),), (TensorSpec("v", "float32", (512,)),), 8
    )
    with pytest.raises(ContractMismatch, match="output 'v' shape"):
        export(Halved(), spec, (torch.zeros(2, 512),), path, {})
    assert [file.read_bytes() for file in sorted(tmp_path.iterdir())] == before


@pytest.mark.slow
def test_large_graph_is_written_without_a_second_copy_of_its_weights(tmp_path: Path) -> None:
    """335 MB of random matrices: beside the graph by size alone, and straight from torch."""
    extra, weights = map(int, run_code(MEMORY, str(tmp_path), cwd=tmp_path).split())
    assert data_path(tmp_path / "big.onnx").stat().st_size >= weights > 256 * 2**20
    # One matrix of 67 MB is looked at in half precision, with a comparison: measured 0.3.
    assert extra < 0.6 * weights
    spec = GraphSpec(
        "big",
        (TensorSpec("w", "float32", (4096,)),),
        (TensorSpec("w_star", "float32", (4096,)),),
        8,
    )
    (found,) = Session(tmp_path / "big.onnx", spec).run(np.ones((3, 4096), np.float32))
    assert found.shape == (3, 4096) and np.isfinite(found).all()
