"""Which engines a machine can run: a name made of its GPU, its TensorRT and the graphs.

Python's own library only, because the image of Triton has no other.
"""

from __future__ import annotations

import ctypes
import hashlib
import re
import subprocess
import sys
import time
from pathlib import Path

CHECKSUMS_FILE = "SHA256SUMS"
_LIBRARY = re.compile(r"\blibnvinfer\.so\.\d+\b")
_HEX = 12
_LOOK_S = 5.0


def engine_key(repository: Path) -> str:
    """Name the engines of `repository` that this machine can run.

    Raises
    ------
    OSError, subprocess.CalledProcessError: this machine has no GPU or no TensorRT.
    """
    graphs = hashlib.sha256((repository / CHECKSUMS_FILE).read_bytes()).hexdigest()[:_HEX]
    return f"{gpu()}-tensorrt-{tensorrt()}-{graphs}"


def gpu() -> str:
    """Name of the first GPU, fit for a folder: `NVIDIA-L4`."""
    said = _said("nvidia-smi", "--query-gpu=name", "--format=csv,noheader", "--id=0")
    return re.sub(r"[^A-Za-z0-9]+", "-", said.strip()).strip("-")


def tensorrt() -> str:
    """Version of the TensorRT that the dynamic linker finds, as 10.16.1."""
    found = _LIBRARY.search(_said("ldconfig", "-p"))
    if found is None:
        raise OSError("there is no libnvinfer on this machine")
    number = int(ctypes.CDLL(found[0]).getInferLibVersion())
    # Two digits each for minor and patch.
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


def wait_for(repository: Path) -> None:
    """Return when a repository is there, which is copied by something else at the same time."""
    while not (repository / CHECKSUMS_FILE).is_file():
        print(f"waiting for {repository / CHECKSUMS_FILE}", file=sys.stderr, flush=True)
        time.sleep(_LOOK_S)


def whole(repository: Path) -> bool:
    """Whether every listed file is there and has its recorded checksum; says which has not."""
    command = ["sha256sum", "--check", "--strict", "--quiet", CHECKSUMS_FILE]
    return subprocess.run(command, cwd=repository, check=False).returncode == 0


def _said(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
