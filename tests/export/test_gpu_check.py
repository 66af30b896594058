"""`export/gpu_check.py`: refused without a GPU; its measurements, on a CPU and small networks."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from wstar_training.models.stylegan2 import Generator

SCRIPT = Path(__file__).resolve().parents[2] / "export" / "gpu_check.py"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def script() -> Iterator[Any]:
    spec = importlib.util.spec_from_file_location("gpu_check", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu_check"] = module
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    spec.loader.exec_module(module)
    yield module
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
    del sys.modules["gpu_check"]


def test_without_a_gpu_it_says_not_run(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("torch sees a GPU here")
    target = tmp_path / "gpu.json"
    done = subprocess.run(
        [sys.executable, SCRIPT, "--json", target], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert done.stderr.endswith("sees no GPU: not run\n")
    assert done.stdout == "" and not target.exists()


def test_every_table_is_measured(script: Any) -> None:  # noqa: ANN401
    torch.manual_seed(0)

    def codes(batch: int) -> Tensor:
        return 2.0 * torch.randn(batch, 4, 512)

    flow = script.made_up_flow(4, 2, 16)
    generator = Generator(8, {4: 8, 8: 8}).eval()
    found = [
        script.Network("T, there and back", script.RoundTrip(flow), codes, (1, 2)),
        script.Network("generator", generator, codes, (1,)),
    ]
    tables = script.measured(found, flow, CPU, 4, 1)
    for network in found:
        error = {
            row["mode"]: row["rms"] for row in tables["precision"] if row["network"] == network.name
        }
        # 24, 11 and 8 bits of mantissa; TF32 changes nothing on a CPU.
        assert len(error) == len(script.MODES)
        assert 0 < error["fp32, TF32 off"] < 1e-5 < error["fp16"] < 1e-2
        assert 3 < error["bf16"] / error["fp16"] < 30
    rates = [row["items_per_s"] for row in tables["throughput"]]
    assert len(rates) == 3 * (2 + 1)
    assert min(rates) > 0
    (step,) = tables["training"]
    assert step["step_ms"] > 0
    head, line, *rows = script.markdown(tables["precision"]).splitlines()
    assert head == "| network | mode | largest | rms |"
    assert (line, len(rows)) == ("| --- | --- | --- | --- |", 2 * len(script.MODES))
    assert script.markdown([{"items_per_s": None}]).endswith("| out of memory |")


def test_networks_are_those_of_full_size(script: Any) -> None:  # noqa: ANN401
    flow = script.made_up_flow(script.ROWS, script.COUPLINGS, script.HIDDEN)
    parameters = sum(parameter.numel() for parameter in flow.parameters())
    # T on rows as it is served at 1024 px: 20 million numbers.
    assert 19e6 < parameters < 21e6
