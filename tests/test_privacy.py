"""wstar calls nobody: ONNX Runtime, which reports to its maker by default, is told not to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BACKEND = Path(__file__).parent.parent / "deploy/triton/backends/wstar_onnx/model.py"


@pytest.mark.parametrize(
    ("statement", "reports"),
    [
        ("import onnxruntime", True),
        ("import wstar_service.embedded", False),
        ("import wstar_export.session", False),
    ],
)
def test_nothing_is_gathered_for_a_report(statement: str, reports: bool, tmp_path: Path) -> None:
    """What ONNX Runtime gathers it keeps in a file of the temporary folder, from its import on."""
    # Nothing else of the environment: with CI set, as in every CI, it gathers nothing by itself.
    environ = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", statement], check=True, env=environ)
    assert bool(list(tmp_path.iterdir())) is reports


def test_the_triton_backend_says_so_before_it_imports_the_runtime() -> None:
    text = BACKEND.read_text()
    assert text.index("ORT_DISABLE_TELEMETRY") < text.index("import onnxruntime")
