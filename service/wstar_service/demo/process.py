"""A `wstar-serve` of our own: started on a free port, stopped whatever happens."""

from __future__ import annotations

import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
_LOG_LINES_SHOWN = 8


class ServerFailed(Exception):
    """The server did not start; the message holds the end of its log."""


class ServerProcess:
    """A server over one repository, as a context manager; inside the block it is serving.

    target: HOST:PORT, once it is serving.

    Raises
    ------
    ServerFailed: it ended, or was not serving within 60 s.
    """

    def __init__(self, repository: Path) -> None:
        self._repository = repository
        self.target = ""

    def __enter__(self) -> Self:
        """Start the server and wait until its health is SERVING."""
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "wstar_service"),
                *("--repository", str(self._repository), "--listen", "127.0.0.1:0"),
            ],
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            # Ctrl-C in the terminal reaches us alone, and we stop the server.
            start_new_session=True,
        )
        try:
            self.target = self._address(time.monotonic() + START_TIMEOUT_S)
            self._check_health()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the server and wait for it."""
        self._stop()

    def _address(self, deadline: float) -> str:
        """Read the address, which the server prints once it has proved itself."""
        stdout = _opened(self._process.stdout)
        ready, _, _ = select.select([stdout], [], [], deadline - time.monotonic())
        line = stdout.readline().strip() if ready else ""
        if not line:
            ended = self._process.poll() is not None or ready
            what = "ended" if ended else f"was not ready within {START_TIMEOUT_S:g} s"
            raise ServerFailed(f"wstar-serve {what}; the end of its log:\n{self._log_end()}")
        return line

    def _check_health(self) -> None:
        with grpc.insecure_channel(self.target) as channel:
            reply = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=START_TIMEOUT_S, wait_for_ready=True
            )
        if reply.status != health_pb2.HealthCheckResponse.SERVING:
            raise ServerFailed(f"wstar-serve at {self.target} is not serving:\n{self._log_end()}")

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            print(f"wstar-serve did not stop within {STOP_TIMEOUT_S:g} s: killed", file=sys.stderr)
        finally:
            # Also on a second Ctrl-C; without effect on a process that has ended.
            self._process.kill()
            self._process.wait()
            _opened(self._process.stdout).close()
            self._log.close()

    def _log_end(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-_LOG_LINES_SHOWN:])


def _opened(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise ServerFailed("wstar-serve was started without a pipe")
    return pipe
