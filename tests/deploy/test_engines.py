"""Which repository Triton gets, how it comes to a volume, and how engines are put beside it.

TensorRT and a GPU are stand-ins here: engines themselves were not built.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest
from deploy.engines import build, fetch, key, serve

from wstar.checksums import check_checksums
from wstar.graphs import GraphSpec
from wstar_export import engines
from wstar_export.engine_files import contract

DEMO = Path(__file__).resolve().parents[2] / "model_repository/demo"
KEY = "NVIDIA-L4-tensorrt-10.16.1-abc"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A volume with the demo repository."""
    assert fetch.fetch(DEMO, tmp_path)
    return tmp_path


def spoil(repository: Path) -> None:
    path = repository / "flow/1/model.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def test_a_repository_comes_whole_and_once(root: Path) -> None:
    check_checksums(root / "onnx")
    assert not fetch.fetch(DEMO, root)
    spoil(root / "onnx")
    assert fetch.fetch(DEMO, root)
    check_checksums(root / "onnx")
    assert {path.name for path in root.iterdir()} == {"onnx"}


def test_a_broken_image_leaves_what_was_there(root: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(DEMO, broken)
    spoil(broken)
    (broken / "SHA256SUMS").write_text((broken / "SHA256SUMS").read_text().replace("\n", "\n\n", 1))
    with pytest.raises(SystemExit):
        fetch.fetch(broken, root)
    check_checksums(root / "onnx")


def test_onnx_is_served_where_there_are_no_engines(root: Path) -> None:
    assert serve.chosen(root, lambda onnx: KEY) == root / "onnx"


def test_onnx_is_served_where_there_is_no_gpu(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(key, "gpu", _no_gpu)
    assert serve.chosen(root) == root / "onnx"


def test_engines_of_this_machine_are_served(root: Path) -> None:
    shutil.copytree(DEMO, root / "engines" / KEY)
    assert serve.chosen(root, lambda onnx: KEY) == root / "engines" / KEY
    assert serve.chosen(root, lambda onnx: f"{KEY}d") == root / "onnx"


def test_engines_that_changed_are_not_served(root: Path) -> None:
    shutil.copytree(DEMO, root / "engines" / KEY)
    spoil(root / "engines" / KEY)
    assert serve.chosen(root, lambda onnx: KEY) == root / "onnx"


def test_graphs_that_changed_are_not_served(root: Path) -> None:
    spoil(root / "onnx")
    with pytest.raises(SystemExit):
        serve.chosen(root, lambda onnx: KEY)


def test_a_key_names_gpu_version_and_graphs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"nvidia-smi": "NVIDIA H100 80GB HBM3\n", "ldconfig": " libnvinfer.so.10 (libc6) => x"}
    monkeypatch.setattr(key, "_said", lambda *command: said[command[0]])
    library = type("Library", (), {"getInferLibVersion": staticmethod(lambda: 101601)})
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    before = key.engine_key(root / "onnx")
    assert before.startswith("NVIDIA-H100-80GB-HBM3-tensorrt-10.16.1-")
    (root / "onnx" / key.CHECKSUMS_FILE).write_text("other graphs")
    assert key.engine_key(root / "onnx") != before


def test_engines_are_put_beside_the_graphs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph without a plan stays ONNX; a second run builds nothing."""
    runs: list[Path] = []

    def plans(
        target: object, repository: Path, settings: engines.Settings, *told: object
    ) -> list[str]:
        runs.append(repository)
        assert settings.timing_cache == root / "timing"
        for spec in _specs():
            if spec.name != "generator":
                (repository / spec.name / "1/model.plan").write_bytes(b"plan")
        return ["generator"]

    monkeypatch.setattr(build, "engine_key", lambda onnx: KEY)
    monkeypatch.setattr(engines, "this_target", lambda: None)
    monkeypatch.setattr(engines, "build_engines", plans)
    made = build.build(root)
    assert made == root / "engines" / KEY
    check_checksums(made)
    backends = {spec.name: _backend(made, spec) for spec in _specs()}
    assert backends.pop("generator") == "onnxruntime"
    assert set(backends.values()) == {"tensorrt"}
    # The manifest of a space goes on being in the configuration of its flow.
    assert "wstar_space" in (made / "flow/config.pbtxt").read_text()
    assert build.build(root) == made
    assert len(runs) == 1
    check_checksums(root / "onnx")


def test_what_a_killed_build_left_is_no_engine(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*told: object) -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "engine_key", lambda onnx: KEY)
    monkeypatch.setattr(engines, "this_target", lambda: None)
    monkeypatch.setattr(engines, "build_engines", killed)
    with pytest.raises(KeyboardInterrupt):
        build.build(root)
    assert serve.chosen(root, lambda onnx: KEY) == root / "onnx"


def _specs() -> tuple[GraphSpec, ...]:
    return contract(DEMO)[1]


def _backend(repository: Path, spec: GraphSpec) -> str:
    text = (repository / spec.name / "config.pbtxt").read_text(encoding="utf-8")
    return text.split('backend: "', 1)[1].split('"', 1)[0]


def _no_gpu() -> str:
    raise subprocess.CalledProcessError(9, "nvidia-smi")
