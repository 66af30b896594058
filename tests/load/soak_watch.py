"""The processes under load as the kernel sees them, and the server as its metrics tell."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tests.service.triton_process import DEMO, TritonProcess

SAMPLE_S = 5.0
_STOP_S = 60.0
# Of a process: it grows when the line through its memory rises by more than both over the run.
ALLOWED_MIB = 8.0
ALLOWED_SHARE = 0.02


@dataclass
class Served:
    """A running service, and the Triton behind it."""

    address: str
    metrics: str
    process: subprocess.Popen[bytes]
    triton: TritonProcess | None

    def gone(self) -> Iterator[str]:
        """Say which server ended during the load, with the end of its log."""
        if self.process.poll() is not None:
            yield f"the service ended with {self.process.returncode}"
        if self.triton is not None and not Path(f"/proc/{self.triton.pid}").exists():
            yield f"tritonserver ended:\n{self.triton.log.read_text()[-4000:]}"

    def gauge(self, name: str) -> float:
        """The sum of one gauge over its labels; KeyError if the server does not tell it."""
        with urllib.request.urlopen(f"http://{self.metrics}/metrics", timeout=10) as page:
            text = page.read().decode()
        found = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE)
        if not found:
            raise KeyError(name)
        return sum(map(float, found))

    def threads(self) -> int:
        """Threads of the service."""
        return len(list(Path(f"/proc/{self.process.pid}/task").iterdir()))

    def processes(self) -> dict[str, int]:
        """All processes under load, by name."""
        found = {"service": self.process.pid}
        if self.triton is not None:
            found["tritonserver"] = self.triton.pid
            found |= {f"backend {name}": pid for name, pid in self.triton.backends().items()}
        return found


@contextmanager
def served(runner: str) -> Iterator[Served]:
    """Serve the demo repository, in the service's process or on a real Triton."""
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory()))
        triton, graphs = None, ["--repository", str(DEMO)]
        if runner == "triton":
            triton = TritonProcess(DEMO, folder / "triton.log")
            held.callback(triton.stop)
            graphs = ["--triton", str(triton.grpc)]
        metrics = f"127.0.0.1:{_free_port()}"
        command = [sys.executable, "-m", "wstar_service", *graphs]
        command += ["--listen", "127.0.0.1:0", "--metrics", metrics, "--drain-s", "0"]
        log = held.enter_context((folder / "log").open("wb"))
        # A Ctrl-C in the terminal is for the soak, which still has questions to the server.
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, start_new_session=True
        )
        held.callback(_stopped, process)
        assert process.stdout is not None
        address = process.stdout.readline().decode().strip()
        if not address:
            raise RuntimeError(f"no server:\n{(folder / 'log').read_text()[-2000:]}")
        yield Served(address, metrics, process, triton)


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def _stopped(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@dataclass
class Memory:
    """Resident memory in MiB of several processes, by seconds since the start of the load."""

    seconds: list[float] = field(default_factory=list)
    mib: dict[str, list[float]] = field(default_factory=dict)

    def sample(self, second: float, processes: dict[str, int]) -> None:
        """Read all of them once; a process that is gone counts as 0."""
        self.seconds.append(second)
        for name, pid in processes.items():
            self.mib.setdefault(name, []).append(resident_mib(pid))

    def rows(self, warm_s: float, run_s: float) -> list[tuple[str, float, float, float, bool]]:
        """Process, first and last MiB after warm-up, slope in MiB/h, and whether that is flat."""
        seconds = np.array(self.seconds)
        warm = seconds >= warm_s
        found = []
        for name, values in self.mib.items():
            after = np.array(values)[warm]
            if len(after) < 3:
                continue
            slope = float(np.polyfit(seconds[warm] / 3600, after, 1)[0])
            allowed = max(ALLOWED_MIB, ALLOWED_SHARE * float(after.mean()))
            flat = slope * run_s / 3600 < allowed
            found.append((name, float(after[0]), float(after[-1]), slope, flat))
        return found


def resident_mib(pid: int) -> float:
    """Resident memory of a process, 0 when it is gone."""
    try:
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0


def cpu_s(pid: int) -> float:
    """CPU time that a process has used, in seconds; USER_HZ is 100 wherever Linux runs."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100.0


def settled(what: Callable[[], Sequence[str]], seconds: float) -> Sequence[str]:
    """Ask until nothing is left to complain about, so long at most; return what is left."""
    ends = time.monotonic() + seconds
    while (found := what()) and time.monotonic() < ends:
        time.sleep(0.5)
    return found
