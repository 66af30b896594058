"""`wstar-export engines` with TensorRT itself, on a GPU."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from tests.export.test_engines_operators import DEMO

from wstar.errors import ContractMismatch
from wstar.graphs import graphs
from wstar_export.engine_files import check_engines, plan_files
from wstar_export.engines import Settings, build_engines, this_target
from wstar_export.sidecar import SIDECAR_FILE

pytest.importorskip("tensorrt", reason="TensorRT is not installed")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU"),
]
SPECS = graphs(64, 64)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("engines")
    repository = Path(shutil.copytree(DEMO, folder / "demo"))
    settings = Settings(timing_cache=folder / "caches")
    assert build_engines(this_target(), repository, settings, False, print) == []
    assert len(list((folder / "caches").iterdir())) == 1
    return repository


def test_every_plan_answers_as_onnx_runtime_does(built: Path) -> None:
    """Out of bounds no plan is written: that there is one is the proof."""
    assert list(check_engines(this_target().machine, built)) == []
    assert all(path.exists() for spec in SPECS for path in plan_files(built, spec))


def test_a_second_build_finds_nothing_to_do(built: Path) -> None:
    lines: list[str] = []
    assert build_engines(this_target(), built, Settings(), False, lines.append) == []
    assert lines == [f"{spec.name}: its plan is up to date" for spec in SPECS]


def test_plan_of_another_gpu_is_refused(built: Path, tmp_path: Path) -> None:
    repository = Path(shutil.copytree(built, tmp_path / "copy"))
    sidecar = repository / "flow" / "1" / SIDECAR_FILE
    content = json.loads(sidecar.read_text())
    content["machine"]["gpu"] = "another"
    sidecar.write_text(json.dumps(content))
    with pytest.raises(ContractMismatch, match="GPU the plan was built for"):
        build_engines(this_target(), repository, Settings(), False, print)
