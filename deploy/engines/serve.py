"""Becomes Triton, on engines built for this machine where there are some, and on ONNX otherwise.

python3 -m deploy.engines.serve ROOT: ROOT/onnx is a repository, ROOT/engines/KEY one with plans.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from deploy.engines.key import CHECKSUMS_FILE, engine_key, wait_for, whole

# Longer than a request may wait in a queue of `config.pbtxt`; a pod's grace is longer still.
EXIT_S = 65
# New replicas of Triton get their share when connections end and are made anew; in ms.
CONNECTION_AGE_MS = 300_000


def flags(repository: Path) -> list[str]:
    """What Triton is told; nothing may load, unload or replace a model while it runs."""
    return [
        f"--model-repository={repository}",
        "--model-control-mode=none",
        "--strict-readiness=true",
        "--http-port=8000",
        "--grpc-port=8001",
        "--metrics-port=8002",
        f"--exit-timeout-secs={EXIT_S}",
        f"--grpc-max-connection-age={CONNECTION_AGE_MS}",
        "--log-format=ISO8601",
    ]


def chosen(root: Path, key: Callable[[Path], str] = engine_key) -> Path:
    """Return the repository to serve; SystemExit if not even the ONNX files are whole."""
    onnx = root / "onnx"
    if not whole(onnx):
        raise SystemExit(f"{onnx}: not the files that {CHECKSUMS_FILE} lists")
    try:
        engines = root / "engines" / key(onnx)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"serving ONNX: {error}", file=sys.stderr)
        return onnx
    if engines.is_dir() and whole(engines):
        print(f"serving the engines {engines.name}", file=sys.stderr)
        return engines
    print(f"serving ONNX: there are no whole engines {engines.name}", file=sys.stderr)
    return onnx


def main() -> None:
    """Wait for the repository, then be Triton."""
    root = Path(sys.argv[1])
    wait_for(root / "onnx")
    command = ["tritonserver", *flags(chosen(root))]
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
