"""A real Triton server, started as `make triton` starts it, on free ports of this machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from wstar_service.settings import Address

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "model_repository/demo"
SERVE = ROOT / "deploy/triton/serve.py"
ENVIRONMENTS = {"server": ROOT / ".venv-triton", "model": ROOT / ".venv-triton-models"}
STOP_S = 30.0


def environments() -> list[str]:
    """The flags that name both environments; skips the test where they are not installed."""
    missing = [path.name for path in ENVIRONMENTS.values() if not (path / ".installed").is_file()]
    if missing:
        pytest.skip(f"no tritonserver: {' and '.join(missing)} missing (`make test` installs them)")
    return [f"--{name}-environment={path}" for name, path in ENVIRONMENTS.items()]


class TritonProcess:
    """Started when it is made, ready when that returns; `log` gets what it writes."""

    def __init__(self, repository: Path, log: Path) -> None:
        self.repository = repository
        self.log = log
        self._ports: Sequence[int] = (0, 0, 0)
        self.start()

    def start(self) -> None:
        """Start it, on the same ports as before."""
        names = ("grpc", "http", "metrics")
        ports = [f"--{n}-port={p}" for n, p in zip(names, self._ports, strict=True)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, SERVE, f"--repository={self.repository}", *environments(), *ports],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        lines = self._until_ready()
        found = re.findall(r"127\.0\.0\.1:(\d+)", lines[-1])
        self._ports = [int(port) for port in found]
        self.pid = int(lines[-1].rsplit(" ", 1)[1])
        self.answered = [line.removeprefix("answers: ") for line in lines[:-1]]

    @property
    def metrics(self) -> Address:
        """Where it answers Prometheus."""
        return Address("127.0.0.1", self._ports[2])

    @property
    def grpc(self) -> Address:
        """Where it answers gRPC."""
        return Address("127.0.0.1", self._ports[0])

    def backends(self) -> dict[str, int]:
        """The backend processes, by instance (such as `flow_0_0`)."""
        found = {}
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                words = path.read_text().rstrip("\0").split("\0")
                if words[0].endswith("triton_python_backend_stub") and str(self.pid) in words:
                    found[words[-2]] = int(path.parent.name)
        return found

    def kill_backend(self, graph: str) -> None:
        """Kill the backend process of one model, as a machine without memory would."""
        os.kill(self.backends()[f"{graph}_0_0"], signal.SIGKILL)

    def kill(self) -> int:
        """Kill tritonserver itself, and return how the one who started it ended."""
        if self._process.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
        return self._ended()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop it gracefully, if it runs, and return its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        return self._ended()

    def load(self, graph: str, change: Callable[[dict[str, Any]], object] | None = None) -> None:
        """Load a model again from its folder, or with a changed configuration."""
        parameters = {}
        if change is None:
            # Without news in the folder Triton keeps a changed configuration.
            (self.repository / graph / "configs/cpu.pbtxt").touch()
        else:
            config = self.get(f"models/{graph}/config")
            change(config)
            parameters = {"config": json.dumps(config)}
        self._post(f"repository/models/{graph}/load", {"parameters": parameters})

    def unload(self, graph: str) -> None:
        """Unload a model."""
        self._post(f"repository/models/{graph}/unload", {})

    def counts(self, graph: str) -> dict[str, int]:
        """How many requests a model has answered (success), refused (fail), and executed."""
        (stats,) = self.get(f"models/{graph}/stats")["model_stats"]
        found = {name: stats["inference_stats"][name]["count"] for name in ("success", "fail")}
        return {**found, "executions": stats["execution_count"], "items": stats["inference_count"]}

    def waiting(self, graph: str) -> int:
        """How many requests are in the queue of a model."""
        with urllib.request.urlopen(f"http://{self.metrics}/metrics", timeout=5) as got:
            text = got.read().decode()
        pattern = rf'^nv_inference_pending_request_count{{model="{graph}",[^}}]*}} (\d+)'
        return sum(int(count) for count in re.findall(pattern, text, re.MULTILINE))

    def regions(self) -> list[str]:
        """The shared memory that clients have registered."""
        return [region["name"] for region in self.get("systemsharedmemory/status")]

    def get(self, path: str) -> Any:  # noqa: ANN401
        """Ask over HTTP."""
        with urllib.request.urlopen(self._url(path), timeout=10) as reply:
            return json.load(reply)

    def _post(self, path: str, body: dict[str, Any]) -> None:
        request = urllib.request.Request(self._url(path), json.dumps(body).encode())
        urllib.request.urlopen(request, timeout=30).close()

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._ports[1]}/v2/{path}"

    def _ended(self) -> int:
        self._process.communicate(timeout=STOP_S)
        return self._process.returncode

    def _until_ready(self) -> list[str]:
        lines: list[str] = []
        assert self._process.stdout is not None
        for line in self._process.stdout:
            lines.append(line.strip())
            if line.startswith("ready: "):
                return lines
        raise AssertionError(f"{lines}\n{self.log.read_text()[-4000:]}")


def copied(folder: Path) -> Path:
    """A copy of the demo repository to change, and therefore without its checksums."""
    ignored = shutil.ignore_patterns("SHA256SUMS")
    return Path(shutil.copytree(DEMO, folder / "repository", ignore=ignored))


def eventually(what: Callable[[], bool], seconds: float) -> float:
    """Wait until something is so; return after how many seconds, or fail."""
    started = time.monotonic()
    while not what():
        assert time.monotonic() - started < seconds, "it never came true"
        time.sleep(0.05)
    return time.monotonic() - started
