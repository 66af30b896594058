"""`deploy/triton/serve.py` says what is missing before it starts anything."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.service.triton_process import DEMO, ENVIRONMENTS, SERVE, environments


def refused(*flags: str) -> str:
    done = subprocess.run(
        [sys.executable, SERVE, *flags], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_missing_environment_is_named(tmp_path: Path) -> None:
    both = [f"--server-environment={tmp_path}", f"--model-environment={tmp_path}"]
    message = refused(f"--repository={DEMO}", *both)
    assert f"there is no nvidia-pytriton in {tmp_path}; `make triton` installs it" in message
    message = refused(f"--repository={tmp_path / 'none'}", *both)
    assert f"there is no repository {tmp_path / 'none'}" in message


@pytest.mark.triton
def test_numpy_2_is_refused_for_models() -> None:
    environments()
    # The environment of these tests has numpy 2, with which this server answers nothing.
    flags = [
        f"--server-environment={ENVIRONMENTS['server']}",
        f"--model-environment={sys.prefix}",
    ]
    assert f"numpy in {sys.prefix} must be below 2, found: 2" in refused(
        f"--repository={DEMO}", *flags
    )


@pytest.mark.triton
def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        message = refused(f"--repository={DEMO}", *environments(), f"--grpc-port={port}")
    assert f"port {port} for grpc on 127.0.0.1 is in use" in message


@pytest.mark.triton
def test_a_repository_that_does_not_load_is_told(tmp_path: Path) -> None:
    (tmp_path / "flow").mkdir()
    (tmp_path / "flow/config.pbtxt").write_text('name: "flow"\nbackend: "nobody"\n')
    free = [f"--{name}-port=0" for name in ("grpc", "http", "metrics")]
    message = refused(f"--repository={tmp_path}", *environments(), *free)
    assert "cannot start Triton: tritonserver ended with exit code 1" in message
