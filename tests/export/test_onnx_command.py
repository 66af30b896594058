"""`wstar-export onnx`: the graphs asked for, each with what it needs, or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from wstar_export.cli import main
from wstar_training import checkpoint


def test_writes_the_graphs_asked_for_and_their_figures(
    run_folder: Path, repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "a" / "b"
    arguments = ["onnx", "--run", str(run_folder), "--output", str(output)]
    assert main([*arguments, "--graphs", "classifiers,flow_plus"]) == 0
    assert {path.name for path in output.iterdir()} == {"classifiers.onnx", "flow_plus.onnx"}
    # The same bytes as in a repository: one export, two places.
    for name in ("classifiers", "flow_plus"):
        inside = repository / name / "1" / "model.onnx"
        assert (output / f"{name}.onnx").read_bytes() == inside.read_bytes()
    text = capsys.readouterr().out
    assert "classifiers: 0." in text and "w_star_error" in text


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--graphs", "flow,mapping"], "graphs: found 'mapping', allowed: encoder, flow, "),
        (["--precision", "flow_id=fp16"], "precision of flow_id: found 'fp16', allowed: fp32: T "),
        (["--precision", "generator=bf16"], "bf16 keeps 8 bits of mantissa"),
    ],
)
def test_wrong_usage_writes_nothing(
    run_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    extra: list[str],
    message: str,
) -> None:
    output = tmp_path / "out"
    assert main(["onnx", "--run", str(run_folder), "--output", str(output), *extra]) == 2
    assert message in capsys.readouterr().err
    assert not output.exists()


def test_graph_out_of_its_bound_is_not_kept(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights without a value make figures without one, which no bound lets pass."""
    broken = tmp_path / "run"
    broken.mkdir()
    for path in run_folder.iterdir():
        (broken / path.name).symlink_to(path)
    content = checkpoint.load(run_folder / "space_W_PLUS.pt")
    content["weight"] = torch.full_like(content["weight"], torch.nan)
    (broken / "space_W_PLUS.pt").unlink()
    checkpoint.save(broken / "space_W_PLUS.pt", content)
    output = tmp_path / "out"
    arguments = ["onnx", "--run", str(broken), "--output", str(output)]
    assert main([*arguments, "--graphs", "classifiers_plus"]) == 1
    assert "graph 'classifiers_plus', logits_error: expected 'at most 0.0001'" in (
        capsys.readouterr().err
    )
    assert not list(output.iterdir())
