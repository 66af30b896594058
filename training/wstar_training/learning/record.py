"""What a training was started with: machine, versions, source and data, kept beside its results."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from wstar.errors import CheckpointError
from wstar.files import write_file
from wstar_training.checkpoint import file_sha256
from wstar_training.learning.distributed import Group

FILE = "environment.json"

_PACKAGES = ("wstar", "torch", "numpy", "scikit-learn")
_GIT_PATIENCE_S = 10


def record_start(
    folder: Path, what: str, options: Mapping[str, Any], data: Sequence[Path], group: Group
) -> None:
    """Add a start to the list in `environment.json` of a folder; a resumed training adds another.

    Parameters
    ----------
    what: name of what is trained. options: its settings. data: files that it learns from.

    Raises
    ------
    CheckpointError: the folder holds something else under that name.
    """
    path = folder / FILE
    try:
        starts = json.loads(path.read_text()) if path.exists() else []
        starts.append(
            {
                "training": what,
                "started": datetime.now(UTC).isoformat(timespec="seconds"),
                "command": sys.argv,
                "options": dict(options),
                "data_sha256": {file.name: file_sha256(file) for file in data},
                "git": git_revision(),
                "environment": environment(group),
            }
        )
    except (AttributeError, ValueError) as error:
        raise CheckpointError(f"{path}: not a list of starts: {error}") from error
    folder.mkdir(parents=True, exist_ok=True)
    write_file(path, (json.dumps(starts, indent=1) + "\n").encode())


def environment(group: Group) -> dict[str, Any]:
    """Versions, threads, processes and machine."""
    cuda = group.device.type == "cuda"
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "processor": _processor(),
        "device": torch.cuda.get_device_name(group.device) if cuda else "cpu",
        "cuda": torch.version.cuda if cuda else None,
        "threads": torch.get_num_threads(),
        "processes": group.size,
    }


def git_revision() -> str | None:
    """Commit of the source that runs, `-dirty` if it was changed; None outside a checkout of it."""
    here = Path(__file__)
    # A virtual environment may lie in the checkout of something else.
    if _git(here.parent, "ls-files", "--error-unmatch", here.name) is None:
        return None
    return _git(here.parent, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=_GIT_PATIENCE_S
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    """Name of the processor, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
