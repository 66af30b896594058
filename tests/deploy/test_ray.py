"""The example for Ray Data makes, on two workers of this machine, what one command makes."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.service.triton_process import DEMO, ROOT

from wstar.cli import main
from wstar.code_files import read_whole
from wstar_service.demo.process import ServerProcess

PICTURES = ROOT / "service/wstar_service/demo/pictures"
REQUIREMENTS = ROOT / "deploy/ray/requirements.txt"
SHARDS, WORKERS = 5, 2


def test_ray_is_pinned_and_no_dependency_of_the_project() -> None:
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    (pin,) = [line for line in lines if not line.startswith("#")]
    assert re.fullmatch(r"ray\[data\]==[0-9.]+", pin)
    for name in ("pyproject.toml", "constraints.txt"):
        assert not re.search(r"^\W*ray\b", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("ray") is None,
    reason="ray is not installed: pip install -r deploy/ray/requirements.txt",
)
def test_two_workers_make_what_one_command_makes(tmp_path: Path) -> None:
    codes, whole = tmp_path / "codes", tmp_path / "whole.npz"
    command = [sys.executable, str(ROOT / "deploy/ray/embed.py"), str(PICTURES)]
    command += ["--repository", str(DEMO), "--output", str(codes)]
    command += ["--shards", str(SHARDS), "--workers", str(WORKERS)]
    # Ray writes into the home folder; the packages are those that the tests import.
    environ = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": ":".join(filter(None, sys.path))}

    def run() -> list[str]:
        ran = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.splitlines()

    told = run()
    assert len({line.rpartition(" ")[2] for line in told}) == WORKERS
    with ServerProcess(DEMO) as server:
        asked = ["embed", str(PICTURES), "--output", str(whole), "--server", server.target]
        assert main(asked) == 0
    expected = read_whole(whole)
    parts = [read_whole(codes / f"codes-{index}.npz") for index in range(SHARDS)]
    assert [name for part in parts for name in part.names] == expected.names
    assert {(part.space, part.space_id) for part in parts} == {(expected.space, expected.space_id)}
    np.testing.assert_array_equal(np.concatenate([part.values for part in parts]), expected.values)
    # Again: the file that is missing is made, the others are left alone.
    (codes / "codes-1.npz").unlink()
    before = {path.name: path.stat().st_mtime_ns for path in codes.iterdir()}
    run()
    after = {path.name: path.stat().st_mtime_ns for path in codes.iterdir()}
    assert before.items() < after.items()
    assert after.keys() - before.keys() == {"codes-1.npz"}
