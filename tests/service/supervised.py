"""A supervisor and its workers, started as users start them, for tests to ask, kill and stop."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from prometheus_client.parser import text_string_to_metric_families

from wstar.v1 import wstar_pb2 as pb
from wstar.v1.wstar_pb2_grpc import LatentSpaceServiceStub
from wstar_service.settings import Address

# Interpreters start, import and prove themselves on cores that others use too.
PATIENCE_S = 60.0


@dataclass
class Supervised:
    """A started supervisor, its log so far, and where it answers."""

    process: subprocess.Popen[str]
    pages: Address
    address: str = ""
    log: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Read the log as it comes."""
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            # ONNX Runtime writes lines of its own.
            if line.startswith("{"):
                self.log.append(json.loads(line))

    def ended(self) -> int:
        """Wait for the end; return the exit code."""
        code = self.process.wait(PATIENCE_S)
        self._reading.join(PATIENCE_S)
        return code

    def workers(self) -> list[int]:
        """Process ids of the workers that run."""
        return [pid for pid in children(self.process.pid) if b"spawn_main" in command(pid)]

    def page(self, path: str) -> tuple[int, str]:
        """Ask the HTTP port."""
        connection = http.client.HTTPConnection(self.pages.host, self.pages.port, timeout=10)
        connection.request("GET", path)
        answer = connection.getresponse()
        found = answer.status, answer.read().decode()
        connection.close()
        return found

    def samples(self) -> dict[tuple[str, ...], float]:
        """What /metrics tells, by name and values of labels."""
        return {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(self.page("/metrics")[1])
            for sample in family.samples
        }

    def call(self) -> pb.GetInfoResponse:
        """Make a call over a connection of its own, to whichever worker gets it."""
        # Channels of one process share connections unless they differ.
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(self.address, options=options) as channel:
            reply = LatentSpaceServiceStub(channel).GetInfo(pb.GetInfoRequest(), timeout=30)
            assert isinstance(reply, pb.GetInfoResponse)
            return reply


def children(pid: int) -> list[int]:
    """Process ids of the processes that one started."""
    return [int(found) for found in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command(pid: int) -> bytes:
    """Return the command line of a process, b"" for one that ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def gone(pids: list[int]) -> bool:
    """Whether none runs; one that nobody has waited for has ended as well."""
    return all(command(pid) == b"" for pid in pids)


def until(true: Callable[[], bool]) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def started(repository: Path, folder: Path, *arguments: str) -> Iterator[Supervised]:
    """Start two workers on a free port; kill them if the test did not stop them."""
    pages = Address("127.0.0.1", free_port())
    command = [sys.executable, "-m", "wstar_service", "--workers", "2", "--drain-s", "0"]
    command += ["--listen", "127.0.0.1:0", "--metrics", str(pages)]
    command += ["--repository", str(repository), *arguments]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
        process_group=0,
    )
    found = Supervised(process, pages)
    try:
        yield found
    finally:
        process.kill()
        found.ended()
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        process.stderr.close()
