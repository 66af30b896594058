"""Servers of the demo repository that share one port, started and replaced while others serve."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.service.triton_process import DEMO

from wstar_service.ports import reserved
from wstar_service.settings import Address

DRAIN_S = 1.0
_STOP_S = 60.0


@dataclass
class Instances:
    """Processes that share `address`, oldest first; `faults` says how any of them ended badly."""

    address: Address
    folder: Path
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    started: int = 0
    faults: list[str] = field(default_factory=list)

    async def start(self) -> None:
        """Start one more; return when it is ready."""
        self.started += 1
        path = self.folder / f"log-{self.started}"
        command = [sys.executable, "-m", "wstar_service", "--repository", str(DEMO)]
        command += ["--listen", str(self.address), "--reuse-port", "--drain-s", str(DRAIN_S)]
        with path.open("wb") as log:
            # Ctrl-C in the terminal is for the one who starts and stops it.
            process = subprocess.Popen(
                [*command, "--threads", "1"],
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self.running.append(process)
        assert process.stdout is not None
        if not await asyncio.to_thread(process.stdout.readline):
            raise RuntimeError(f"no server:\n{path.read_text()[-2000:]}")

    async def stop_oldest(self) -> None:
        """Stop the oldest with SIGTERM; return when it has ended."""
        process = self.running[0]
        process.terminate()
        code = await asyncio.to_thread(process.wait, _STOP_S)
        self.running.remove(process)
        if code:
            self.faults.append(f"a stopped server ended with {code}")

    def close(self) -> None:
        """Kill those that run, and look for tracebacks in the logs of all."""
        for process in self.running:
            process.kill()
            process.wait()
        for path in sorted(self.folder.glob("log-*")):
            text = path.read_text()
            if "Traceback" in text:
                self.faults.append(f"{path.name}: {text[text.index('Traceback') :][:1500]}")


@contextmanager
def instances(folder: Path) -> Iterator[Instances]:
    """Hold a free port for servers that come and go; none is left when the block ends."""
    with reserved(Address("127.0.0.1", 0), shared=False) as address:
        found = Instances(address, folder)
        try:
            yield found
        finally:
            found.close()
