"""`wstar-export`: what it prints, and its exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from wstar.errors import CheckpointError
from wstar_export.cli import main
from wstar_export.run import read_run
from wstar_training import checkpoint


@pytest.fixture
def broken_run(run_folder: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be broken."""
    return Path(shutil.copytree(run_folder, tmp_path / "run"))


def test_verify_prints_every_figure(
    run_folder: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["verify", "--run", str(run_folder), "--repository", str(repository), "--json"]
    assert main(command) == 0
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert {"flow", "generator", "encoder"} <= {finding["graph"] for finding in findings}
    assert "golden_w_star_error" in {finding["name"] for finding in findings}
    assert all(finding["passed"] for finding in findings)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("flow/1/model.onnx", b"", "graph 'flow'"),
        ("encoder/config.pbtxt", b"name: 'other'", "graph 'encoder', encoder/config.pbtxt"),
        ("flow_id/space.json", b"{}", "manifest"),
        ("generator/configs/cpu.pbtxt", None, "cpu.pbtxt"),
    ],
)
def test_verify_names_a_broken_file(
    run_folder: Path,
    repository: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: bytes | None,
    message: str,
) -> None:
    copy = Path(shutil.copytree(repository, tmp_path / "repository"))
    if content is None:
        (copy / name).unlink()
    else:
        (copy / name).write_bytes(content)
    assert main(["verify", "--run", str(run_folder), "--repository", str(copy)]) == 1
    assert message in capsys.readouterr().err


def test_verify_refuses_graphs_of_another_run(
    broken_run: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = checkpoint.load(broken_run / "flow.pt")
    content["state"]["couplings.0.t.4.bias"] += 1.0
    checkpoint.save(broken_run / "flow.pt", content)
    assert main(["verify", "--run", str(broken_run), "--repository", str(repository)]) == 1
    assert "graph 'flow', wstar_" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("autoencoder.pt", "ema", {}),
        ("flow.pt", "masks", None),
        ("flow_id.pt", "hidden", 3),
        ("codes.pt", "w", {"train": torch.zeros(3, 10, 512)}),
        ("codes.pt", "w", {"test": torch.zeros(3, 14, 512)}),
        ("codes.pt", "w", {"test": torch.full((3, 10, 512), torch.nan)}),
        ("space_W_STAR.pt", "weight", torch.zeros(40, 512)),
        ("space_W_PLUS.pt", "quantiles", torch.zeros(100)),
    ],
)
def test_unusable_checkpoint_is_named(broken_run: Path, name: str, key: str, value: object) -> None:
    content = checkpoint.load(broken_run / name)
    checkpoint.save(broken_run / name, {**content, key: value})
    with pytest.raises(CheckpointError, match=name):
        read_run(broken_run)


@pytest.mark.parametrize("name", ["flow.pt", "pictures/test.bytes"])
def test_missing_file_exits_with_1(
    broken_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (broken_run / name).unlink()
    output = tmp_path / "repository"
    assert main(["repository", "--run", str(broken_run), "--output", str(output)]) == 1
    assert name in capsys.readouterr().err
    assert not output.exists()


def test_wrong_usage_exits_with_2(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").touch()
    assert main(["repository", "--run", str(run_folder), "--output", str(tmp_path)]) == 2
    assert "notes.txt" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main(["repository"])
    assert stopped.value.code == 2
