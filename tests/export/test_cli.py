"""`wstar-export`: what it prints, and its exit codes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from wstar.checksums import write_checksums
from wstar.errors import CheckpointError
from wstar.graphs import Space, encoder, flow, graphs
from wstar.space import SpaceManifest
from wstar_export.cli import COMMANDS, main
from wstar_export.config import GPU_BACKENDS, GPU_CONFIG, GpuBackend, gpu_config
from wstar_export.repository import MANIFEST_FILE, texts
from wstar_export.run import Run, read_run
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
        (
            "flow/1/model.onnx",
            b"no graph",
            "graph 'flow', 1/model.onnx: expected 'a readable graph'",
        ),
        ("encoder/config.pbtxt", b"name: 'other'", "graph 'encoder', config.pbtxt: expected 'what"),
        ("flow_id/space.json", b"{}", "graph 'flow_id/space.json', manifest"),
        (
            "generator/configs/cpu.pbtxt",
            None,
            "graph 'generator', configs/cpu.pbtxt: expected 'a r",
        ),
    ],
)
@pytest.mark.parametrize("command", ["verify", "check"])
def test_a_broken_file_is_named(
    run_folder: Path,
    repository: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: bytes | None,
    message: str,
    command: str,
) -> None:
    """Also where the list of checksums vouches for it."""
    copy = Path(shutil.copytree(repository, tmp_path / "repository"))
    if content is None:
        (copy / name).unlink()
    else:
        (copy / name).write_bytes(content)
    words = {
        "verify": ["verify", "--run", str(run_folder), "--repository", str(copy)],
        "check": ["repository", "--check", str(copy)],
    }[command]
    graph, _, file = name.partition("/")
    assert main(words) == 1
    assert f"graph {graph!r}, {file}: expected" in capsys.readouterr().err
    write_checksums(copy)
    assert main(words) == 1
    assert message in capsys.readouterr().err


def test_check_says_that_a_repository_is_whole(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["repository", "--check", str(repository)]) == 0
    shown = capsys.readouterr().out
    assert shown.count("golden_w_star_error") == len(Space)
    assert shown.endswith(f"{repository} is whole\n")


def test_check_shows_graphs_that_answer_otherwise(
    run: Run, repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All files agree with each other, but the record is of other weights."""
    copy = Path(shutil.copytree(repository, tmp_path / "repository"))
    found = {space: copy / flow(space, 64).name / MANIFEST_FILE for space in Space}
    spaces = {s: SpaceManifest.from_json(p.read_text(), str(p)) for s, p in found.items()}
    golden = spaces[Space.W_STAR].golden
    other = replace(golden, w_star=golden.w_star[::-1].copy())
    spaces[Space.W_STAR] = replace(spaces[Space.W_STAR], golden=other)
    for name, text in texts(graphs(64, 64), spaces, "onnxruntime").items():
        (copy / name).write_text(text, encoding="utf-8")
    write_checksums(copy)
    assert main(["repository", "--check", str(copy)]) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "OUT OF BOUND" in line]
    assert line.split()[:3] == ["flow", "fp32", "golden_w_star_error"]


@pytest.mark.parametrize("backend", GPU_BACKENDS)
def test_check_accepts_a_repository_of_either_backend(
    repository: Path, tmp_path: Path, backend: GpuBackend
) -> None:
    copy = Path(shutil.copytree(repository, tmp_path / "repository"))
    spec = encoder(64, 64)
    (copy / "encoder" / GPU_CONFIG).write_text(gpu_config(spec, {}, backend))
    write_checksums(copy)
    assert main(["repository", "--check", str(copy)]) == 0


@pytest.mark.parametrize(
    ("name", "part", "key", "message"),
    [
        ("flow.pt", "state", "couplings.0.t.4.bias", "graph 'flow', space_id: expected 'w_star-"),
        # No space depends on it, and so no id.
        (
            "autoencoder.pt",
            "ema",
            "generator.conv1.activate.bias",
            "graph 'generator', wstar_weights_sha",
        ),
    ],
)
def test_verify_refuses_graphs_of_another_run(
    broken_run: Path,
    repository: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    part: str,
    key: str,
    message: str,
) -> None:
    content = checkpoint.load(broken_run / name)
    content[part][key] += 1.0
    checkpoint.save(broken_run / name, content)
    assert main(["verify", "--run", str(broken_run), "--repository", str(repository)]) == 1
    assert message in capsys.readouterr().err


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
    assert main(["repository", "--run", str(run_folder)]) == 2
    assert "--output DIR" in capsys.readouterr().err
    words = ["repository", "--run", str(run_folder), "--output", str(tmp_path / "repository")]
    assert main([*words, "--precision", "flow=fp16"]) == 2
    assert "precision of flow" in capsys.readouterr().err
    for wrong in ([], ["repository"], [*words, "--check", "x"], [*words, "--backend", "onnx"]):
        with pytest.raises(SystemExit) as stopped:
            main(wrong)
        assert stopped.value.code == 2
    assert not (tmp_path / "repository").exists()


def test_every_command_says_what_it_does_and_what_its_exit_code_means(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for words in ([], *([name] for name in COMMANDS)):
        with pytest.raises(SystemExit) as stopped:
            main([*words, "--help"])
        assert stopped.value.code == 0
        shown = capsys.readouterr().out
        assert all(f"\n  {code}" in shown for code in (0, 1, 2, 3, 130))
        assert max(map(len, shown.splitlines())) <= 100
