"""The Job of `deploy/kubernetes/bulk`, and its pods as processes of this machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy/kubernetes/bulk"
PICTURES = ROOT / "service/wstar_service/demo/pictures"


def job() -> dict[str, Any]:
    """The manifest as it is."""
    found: dict[str, Any] = yaml.safe_load((FOLDER / "job.yaml").read_text(encoding="utf-8"))
    return found


def container() -> dict[str, Any]:
    """The only container of the Job's pods."""
    (found,) = job()["spec"]["template"]["spec"]["containers"]
    return dict(found)


def variables() -> dict[str, str]:
    """What the container finds in its environment, but for the index."""
    return {each["name"]: each["value"] for each in container()["env"]}


@dataclass(frozen=True)
class Pods:
    """Starts the container's command with its volumes at other places.

    volumes: where each `mountPath` lies here. server: HOST:PORT that stands for the service.
    """

    volumes: Mapping[str, Path]
    server: str

    def start(self, index: int) -> subprocess.Popen[str]:
        """Start the pod of one index; it finds nothing in its environment but what a pod would."""
        assert {each["mountPath"] for each in container()["volumeMounts"]} == set(self.volumes)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        found = {**variables(), "WSTAR_SERVER": self.server}
        environ = {name: self._here(value) for name, value in found.items()}
        environ |= {"JOB_COMPLETION_INDEX": str(index), "PATH": path}
        # The packages as the tests import them, for where they are not installed from here.
        environ |= {"PYTHONPATH": ":".join(each for each in sys.path if each)}
        return subprocess.Popen(
            [self._here(text) for text in (*container()["command"], *container()["args"])],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, index: int) -> tuple[int, str]:
        """Run the pod of one index to its end: exit code and output."""
        with self.start(index) as process:
            told, _ = process.communicate(timeout=120)
        return process.returncode, told

    def _here(self, text: str) -> str:
        for mounted, folder in self.volumes.items():
            # A whole path or its beginning: `/codes`, but not `/codes-of-others` or `/bin/codes`.
            text = re.sub(rf"(?<![\w/]){mounted}(?![\w-])", str(folder), text)
        return text
